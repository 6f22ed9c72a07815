"""A walk over what opens a file of a user's: hostile, cut, empty and of another kind, none runs code or ends otherwise
than in one line."""

import io
import json
import os
import pickle
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy.io import savemat

import kdlab
import kdlab.cache
import kdlab.export
from kdlab import cli, data
from kdlab.evaluate import Evaluation, command, evaluate, trust
from kdlab.export.make import read_net
from kdlab.export.module import card_path
from kdlab.export.stored import read_card
from kdlab.methods.checkpoints import KEY, find_checkpoint, read_checkpoint
from kdlab.methods.class_embeddings import read_embeddings
from kdlab.types import InputError
from tests import fixtures
from tests.conftest import net, trainer
from tests.test_recording import module as recordings_of
from tests.test_recording import write_folder


class Canary:
    """Unpickled, it makes a file."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)


def _bytes(write: Callable[[io.BytesIO], None]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def _zipped(**entries: bytes) -> bytes:
    def write(stream):
        with zipfile.ZipFile(stream, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name, content)

    return _bytes(write)


def _bomb(stream):
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**24))
        archive.writestr("archive/version", b"3")
        archive.writestr("x.npy", bytes(2**24))


_OBJECTS = np.array([Canary()], dtype=object)
BAD: dict[str, bytes] = {
    "a hostile pickle": pickle.dumps(Canary()),
    "a hostile pickle of Python 2": pickle.dumps(Canary(), protocol=0),
    "a hostile checkpoint": _bytes(lambda s: torch.save({KEY: Canary(), "state_dict": {}, "epoch": 1}, s)),
    "a hostile npz": _bytes(lambda s: np.savez(s, x=_OBJECTS, y=_OBJECTS, index=_OBJECTS)),
    "a hostile npy": _bytes(lambda s: np.save(s, _OBJECTS, allow_pickle=True)),
    "a hostile YAML": b"data: !!python/object/apply:os.mkdir [pwned]\nmodel: !!python/object/apply:os.mkdir [pwned]\n",
    "an empty file": b"",
    "a picture": _bytes(lambda s: Image.new("RGB", (8, 8)).save(s, "PNG")),
    "another archive": _zipped(**{"a.txt": b"text", "b/c.bin": bytes(range(256))}),
    "words": b"x,y,z\nwalking,running,standing\n" * 20,
    "numbers": b"1.5 2.5 3.5\n" * 20,
    "bytes": bytes(range(256)) * 8,
    "UTF-16": "a: b\n".encode("utf-16"),
    "a list": b"[1, 2, 3]",
    "an object": b'{"a": 1}',
    "deep nesting": b"[" * 100_000,
    "a table of MATLAB": _bytes(lambda s: savemat(s, {"other": np.zeros((3, 3))})),
    "an array": _bytes(lambda s: np.save(s, np.zeros((2, 2)))),
    "arrays": _bytes(lambda s: np.savez(s, other=np.zeros(3))),
    "a list of weights": _bytes(lambda s: torch.save([torch.zeros(2)], s)),
    "a bomb": _bytes(lambda s: _bomb(s)),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in; what takes too long is stopped."""

    def late(*args):
        raise LateError("it waits for ever")

    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGALRM, late)
    yield tmp_path
    signal.signal(signal.SIGALRM, before)


class LateError(BaseException):
    """No OSError, which readers may take for a file that is not there."""


def variants(good: bytes) -> dict[str, bytes]:
    """The contents that no reader takes, and those cut from a good one."""
    return BAD | {f"cut at {k} %": good[: len(good) * k // 100] for k in (1, 50, 97)}


def walk(
    place: Path, file: Path, read: Callable[[], object], may_pass: tuple[str, ...] = (), files_only: bool = False
) -> None:
    """Put every bad content in the place of a file, then a folder, a pipe, and nothing; it is put back afterwards."""
    good, wrong = file.read_bytes(), []
    for what, content in variants(good).items():
        file.write_bytes(content)
        wrong.append((what, outcome(read)))
        assert not (place / "pwned").exists(), what
    for what, make in (("a folder", file.mkdir), ("a pipe", lambda: os.mkfifo(file)), ("nothing", lambda: None)):
        file.unlink(missing_ok=True)
        if files_only and what != "nothing":
            continue
        make()
        wrong.append((what, outcome(read)))
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
    file.write_bytes(good)
    left = [f"{what}: {why}" for what, why in wrong if why and not (why == "taken" and what in may_pass)]
    assert not left, left
    assert sum(not why for _, why in wrong) > 15


def outcome(read: Callable[[], object], *names: str) -> str:
    """Nothing where it is refused in one line that holds ``names``; else what happened."""
    signal.alarm(20)
    try:
        read()
    except InputError as error:
        said = str(error).strip()
        fine = "\n" not in said and len(said) < 2000 and all(name in said for name in names)
        return "" if fine else f"said {said[:300]!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.alarm(0)
    return "taken"


# ---- checkpoints ----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    fit = trainer(folder, max_epochs=1, limit_train_batches=1)
    fit.fit(kdlab.Supervised(net()), data.BasicMotions())
    fit.save_checkpoint(folder / "best.ckpt")
    return folder / "best.ckpt"


@pytest.fixture
def checkpoint(trained, place):
    shutil.copy(trained, place / "best.ckpt")
    return place / "best.ckpt"


def starting(argument, path):
    kd = {"teachers": {"t": kdlab.Teacher(net=net(), mean=[0.0] * 6, std=[1.0] * 6)}} if argument != "init" else {}
    made = kdlab.KD(net(), **kd, student_init=path) if kd else kdlab.Supervised(net(), init=path)
    made.prepare(None, "fit")


READERS = {
    "read_checkpoint": read_checkpoint,
    "Teacher": lambda path: kdlab.Teacher(str(path)).load(),
    "Teacher with a net": lambda path: kdlab.Teacher(str(path), net=net()).load(),
    "init": lambda path: starting("init", str(path)),
    "student_init": lambda path: starting("student_init", str(path)),
    "export": lambda path: kdlab.export.export(path, data.BasicMotions(), format="torch", overwrite=True),
    "read_net": read_net,
    "evaluate": lambda path: command.restore(path, data.BasicMotions()),
}


@pytest.mark.parametrize("reader", READERS)
def test_checkpoints(reader, checkpoint, place):
    # a list of weights, and foreign files, have no description; only a reader of any dict takes them
    walk(place, checkpoint, lambda: READERS[reader](checkpoint))


def test_a_folder_of_checkpoints(checkpoint, place):
    version = place / "run/version_0/checkpoints"
    version.mkdir(parents=True)
    (version / "best.ckpt").mkdir()
    with pytest.raises(InputError, match="holds no finished version"):
        find_checkpoint(place / "run", ("best.ckpt",))
    os.mkfifo(place / "pipe.ckpt")
    for wrong in (place / "pipe.ckpt", place / "none", place / ("x" * 300)):
        with pytest.raises(InputError):
            find_checkpoint(wrong, ("best.ckpt",))


def test_a_flipped_bit_is_found(checkpoint):
    good, refused = checkpoint.read_bytes(), 0
    with zipfile.ZipFile(checkpoint) as archive:
        weights = [e for e in archive.infolist() if "/data/" in e.filename and e.file_size > 64]
    for entry in weights[:40:4]:
        harmed = bytearray(good)
        harmed[entry.header_offset + 64 + len(entry.filename) + entry.file_size // 2] ^= 0x40
        checkpoint.write_bytes(bytes(harmed))
        refused += not outcome(lambda: read_checkpoint(checkpoint), "damaged")
    assert refused > 5


WRONG = {
    "net": [[1], "WideResNet", {"class_path": "os.system", "init_args": {"command": "mkdir pwned"}}, {}],
    "view": [3, ["raw"], {"raw": 1}, None],
    "method": [3, []],
    "view_settings": [3, {}],
    "objective": [3, "KD", [1]],
    "provenance": ["word", [1], {"epoch": torch.zeros(1)}, {1: 2}],
    "teachers": ["word", [1], {"a": 1}],
    "fingerprint": ["word", [1], 3, {1: 2}],
}
WRONG_FINGERPRINT = {
    "classes": [None, 3, ["a"], [1, 2], "words", [["a"], ["b"]]],
    "scale": ["junk", {"raw": 3}, {"raw": {"offset": [0.0]}}, {"raw": {"offset": "a", "divisor": "b"}},
              {"raw": {"offset": [0.0] * 6, "divisor": [0.0] * 6}},
              {"raw": {"offset": [float("nan")], "divisor": [1.0]}}],
    "train": ["word", [[1]], 3, {"a": 1}],
    "val": [None, [{}]],
    "test": [None, [torch.zeros(1)]],
    "channels": ["word", {"raw": 3}, {"raw": []}],
    "dataset": [3, None],
    "grouping": [3, None],
    "window": ["long", {"raw": "x"}, -3, [1.5]],
    "step": ["long"],
    "sampling_rate": ["fast", {"raw": "fast"}, float("nan")],
}  # fmt: skip
WRONG_PARTS = {
    "state_dict": [None, 3, {}, {1: torch.zeros(1)}, {"net.head.weight": "x"}, {"net.head.weight": [1.0]},
                   {"net.head.weight": torch.zeros(3).to_sparse()}, {"net.head.weight": torch.zeros(3, device="meta")}],
    "epoch": ["word", -1, 10**30, 1.5],
    "optimizer_states": ["word", [3], [{}], [{"param_groups": [], "state": {}}]],
    "lr_schedulers": [3, [3]],
    "loops": [3, {"fit_loop": 3}],
    KEY: ["word", [1], None, {}],
}  # fmt: skip


def mutated(checkpoint: Path) -> list[tuple[str, dict]]:
    good = torch.load(checkpoint, weights_only=True)
    cases = []
    for key, values in WRONG.items():
        cases += [(f"{key}: {v!r:.60}", {**good, KEY: {**good[KEY], key: v}}) for v in values]
    for key, values in WRONG_FINGERPRINT.items():
        of = good[KEY]["fingerprint"]
        cases += [(f"{key}: {v!r:.60}", {**good, KEY: {**good[KEY], "fingerprint": {**of, key: v}}}) for v in values]
    for key, values in WRONG_PARTS.items():
        cases += [(f"{key}: {v!r:.60}", {**good, key: v}) for v in values]
    return cases


def test_descriptions_that_are_readable_but_wrong(checkpoint, place):
    """None is a traceback, by any reader; each names the file and what to do."""
    cases = mutated(checkpoint)
    assert len(cases) > 70
    wrong = []
    for what, content in cases:
        torch.save(content, checkpoint)
        for reader in ("read_checkpoint", "Teacher", "read_net"):
            why = outcome(lambda reader=reader: READERS[reader](checkpoint), "best.ckpt")
            later = (
                what.startswith(("net: {'class", "state_dict: {}")) and reader == "read_checkpoint" and why == "taken"
            )
            wrong += [f"{what}: {reader}: {why}"] if why and not later else []
        assert not (place / "pwned").exists()
    assert not wrong, wrong


def test_an_adapter_in_an_adapter_of_a_checkpoint(checkpoint, place):
    """As it was found: a weights-only checkpoint that ran a command, by every way in."""
    path = "kdlab.nets.adapter.Adapter"
    hostile = {"class_path": "os.system", "init_args": {"command": "mkdir pwned"}}
    inner = {"class_path": path, "init_args": {"head": "x", "net": hostile}}
    whole = {"class_path": path, "init_args": {"head": "x", "in_channels": 6, "num_classes": 4, "net": inner}}
    content = torch.load(checkpoint, weights_only=True)
    content[KEY] = content[KEY] | {"net": whole}
    torch.save(content, checkpoint)
    for name, reader in READERS.items():
        if name in ("Teacher", "export", "read_net", "evaluate"):
            with pytest.raises(InputError, match=r"best\.ckpt.*Adapter inside an Adapter"):
                reader(checkpoint)
        else:  # the net is given
            reader(checkpoint)
        assert not (place / "pwned").exists()
    config = {
        "model": {
            "class_path": "KD",
            "init_args": {
                "student": {"class_path": "WideResNet", "init_args": {"depth": 10, "in_channels": 6, "num_classes": 4}},
                "teachers": {"t": {"checkpoint": str(checkpoint)}},
            },
        },
        "data": {"class_path": "BasicMotions"},
    }
    (place / "kd.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match="Adapter inside an Adapter"):
        cli.run(["fit", "--config", "kd.yaml", "--trainer.accelerator=cpu", "--trainer.max_epochs=1"])
    config["model"] = {"class_path": "Supervised", "init_args": {"net": config["model"]["init_args"]["student"]}}
    (place / "kd.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match="ckpt_path: the net must be that of the configuration"):
        cli.run(["test", "--config", "kd.yaml", "--trainer.accelerator=cpu", "--ckpt_path", str(checkpoint)])
    assert not (place / "pwned").exists()


# ---- exported files -------------------------------------------------------------------------------------------------
SUFFIXES = {"torch": ".pt", "torch.export": ".pt2", "onnx": ".onnx"}


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    folder, motions = tmp_path_factory.mktemp("written"), data.BasicMotions()
    motions.setup()
    for format, suffix in SUFFIXES.items():
        kdlab.export.export(trained, motions, folder / f"s{suffix}", format=format)
    return folder


@pytest.fixture
def exports(written, place):
    return Path(shutil.copytree(written, place / "exports"))


@pytest.mark.parametrize("format", SUFFIXES)
@pytest.mark.parametrize("with_card", [True, False])
def test_exported_files(format, with_card, exports, place):
    file = exports / f"s{SUFFIXES[format]}"
    if not with_card:
        card_path(file).unlink()
    walk(place, file, lambda: kdlab.export.load(file))
    walk(place, file, lambda: read_card(file), may_pass=("cut at 97 %",) if format == "torch.export" else ())
    assert kdlab.export.load(file).card["format"] == format


@pytest.mark.parametrize("format", SUFFIXES)
def test_a_damaged_file_does_not_fit_its_card(format, exports):
    """Weights that a flipped bit changes: the hash in the card says so; without a card beside, that of the weights."""
    file = exports / f"s{SUFFIXES[format]}"
    good, rng = file.read_bytes(), np.random.default_rng(0)
    for spot in rng.integers(len(good) // 4, 3 * len(good) // 4, 6):
        harmed = bytearray(good)
        harmed[int(spot)] ^= 0x10
        file.write_bytes(bytes(harmed))
        with pytest.raises(InputError, match=r"kdlab export CKPT") as error:
            kdlab.export.load(file)
        assert file.name in str(error.value)
    if format != "onnx":  # whose own check sum nobody keeps
        card_path(file).unlink()
        with pytest.raises(InputError, match=r"damaged|carries no card|cannot be read"):
            kdlab.export.load(file)


def test_weights_of_another_net_do_not_fit_the_card_inside(exports):
    content = torch.load(exports / "s.pt", weights_only=True)
    content["state_dict"]["net.head.weight"] += 1
    torch.save(content, exports / "s.pt")
    card_path(exports / "s.pt").unlink()
    with pytest.raises(InputError, match="not those of its card"):
        kdlab.export.load(exports / "s.pt")


CARD = {
    "format": [None, 3, "tflite", []],
    "classes": [None, 3, ["a"], [1, 2], ["a", "b", "c"]],
    "channels": [None, 3, [], [1] * 6, [{"unit": "g"}] * 6, [{"name": "a", "unit": None}] * 5],
    "window": [None, 3],
    "sampling_rate": ["abc", -1, [50], True],
    "card_version": ["1", 0, 1.5],
    "input": [None, 3, {}, {"shape": ["batch", 6]}, {"shape": ["batch", 6, -1]}, {"shape": ["batch", 6, 10**12]},
              {"shape": "batch"}, {"shape": []}],
    "output": [None, 3, {}, {"shape": ["batch", 10**9]}],
    "scale": [None, 3, {}, {"offset": [0.0] * 6, "divisor": [0.0] * 6, "clip": False},
              {"offset": "a", "divisor": "b", "clip": False}, {"offset": [0.0], "divisor": [1.0], "clip": False},
              {"offset": [0.0] * 6, "divisor": [1.0] * 6, "clip": "no"}],
    "provenance": [None, 3, []],
}  # fmt: skip


@pytest.mark.parametrize("where", ["beside", "inside"])
def test_cards_with_missing_and_wrong_parts(where, exports):
    file = exports / "s.pt"
    good, inside = json.loads(card_path(file).read_text()), torch.load(file, weights_only=True)
    for key, values in CARD.items():
        for value in values:
            card = {**good, key: value} if value is not None else {k: v for k, v in good.items() if k != key}
            if where == "beside":
                card_path(file).write_text(json.dumps(card))
            else:
                card_path(file).unlink(missing_ok=True)
                torch.save({**inside, "kdlab": json.dumps(card)}, file)
            with pytest.raises(InputError, match=r"kdlab export CKPT") as error:
                kdlab.export.load(file)
            assert "s.pt" in str(error.value), (key, value)
            assert "\n" not in str(error.value)
    if where == "beside":
        for net_of_card in ([1], "x", {"class_path": "os.system"}, None):
            bad = {**good, "provenance": {**good["provenance"], "net": net_of_card}}
            torch.save({**inside, "kdlab": json.dumps(bad)}, file)
            card_path(file).unlink(missing_ok=True)
            with pytest.raises(InputError):
                kdlab.export.load(file)


def test_a_damaged_card_beside_its_file(exports, place):
    card = card_path(exports / "s.pt")
    walk(place, card, lambda: kdlab.export.load(exports / "s.pt"), may_pass=("a folder", "a pipe", "nothing"))


EVIL_PARTS = {
    "an expression": lambda j: j["graph_module"]["graph"]["nodes"][0].__setitem__("target", "os.mkdir"),
    "an operator of another library": lambda j: j["graph_module"]["graph"]["nodes"][0].__setitem__(
        "target", "torch.ops.mylib.run.default"
    ),
    "an operator that opens a file": lambda j: j["graph_module"]["graph"]["nodes"][0].__setitem__(
        "target", "torch.ops.aten.from_file.default"
    ),
    "an operator that writes a file": lambda j: j["graph_module"]["graph"]["nodes"][0].__setitem__(
        "target", "torch.ops.aten.save.default"
    ),
    "a guard": lambda j: j.__setitem__("guards_code", ["__import__('os').mkdir('pwned')"]),
    "a guard that calls": lambda j: j.__setitem__("guards_code", ["exec(L)"]),
    "a name that is code": lambda j: j["graph_module"]["module_call_graph"][0]["signature"].__setitem__(
        "forward_arg_names", ["windows, x=__import__('os').mkdir('pwned')"]
    ),
    "a tree that imports": lambda j: j["graph_module"]["module_call_graph"][0]["signature"].__setitem__(
        "in_spec", '[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]'
    ),
}


def rewritten(file: Path, change: Callable[[str, bytes], bytes | None], **more: bytes) -> None:
    """A copy of an archive with other entries, in its place."""
    with zipfile.ZipFile(file) as archive:
        held = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    root = next(iter(held)).partition("/")[0]
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in held.items():
            if (changed := change(name, content)) is not None:
                archive.writestr(name, changed)
        for name, content in more.items():
            archive.writestr(f"{root}/{name}", content)


@pytest.mark.parametrize("what", EVIL_PARTS)
def test_a_program_with_code_is_not_loaded(what, exports, place):
    def change(name, content):
        if not name.endswith("models/model.json"):
            return content
        model = json.loads(content)
        EVIL_PARTS[what](model)
        return json.dumps(model).encode()

    card_path(exports / "s.pt2").unlink()
    rewritten(exports / "s.pt2", change)
    with pytest.raises(InputError, match="could run any code"):
        kdlab.export.load(exports / "s.pt2")
    assert not (place / "pwned").exists()


def test_an_expression_in_a_program_is_not_evaluated(exports, place):
    card_path(exports / "s.pt2").unlink()
    evil = b'"expr_str": "__import__(chr(111)+chr(115)).mkdir(chr(112))"'

    def change(name, content):
        if not name.endswith("models/model.json"):
            return content
        at = content.index(b'"expr_str": "')
        return content[:at] + evil + content[content.index(b'"', at + 13) + 1 :]

    rewritten(exports / "s.pt2", change)
    with pytest.raises(InputError, match="could run any code"):
        kdlab.export.load(exports / "s.pt2")


def test_objects_and_libraries_in_a_program_are_not_loaded(exports, place):
    file, pickled = exports / "s.pt2", BAD["a hostile checkpoint"]
    good = file.read_bytes()
    card_path(file).unlink()

    def weights(name, content):
        if name.endswith("weight_0"):
            return pickled
        return (
            content.replace(b'"use_pickle": false', b'"use_pickle": true', 1) if "weights_config" in name else content
        )

    for change, more in (
        (weights, {}),
        (lambda n, c: pickled if n.endswith("sample_inputs/model.pt") else c, {}),
        (lambda n, c: c, {"data/aotinductor/model/a.so": b"\x7fELF"}),
        (lambda n, c: c, {"data/weights/model.pt": pickled}),
        (lambda n, c: c, {"data/constants/custom_obj_0": pickled}),
    ):
        rewritten(file, change, **more)
        with pytest.raises(InputError, match=r"could run any code|damaged"):
            kdlab.export.load(file)
        assert not (place / "pwned").exists()
        file.write_bytes(good)
    kdlab.export.load(file)


# ---- evaluations, configs, tables -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    motions = data.BasicMotions()
    method = command.restore(trained, motions)
    folder = tmp_path_factory.mktemp("evaluated")
    return evaluate(method, motions, robustness=False, cost=False).save(folder)


@pytest.mark.parametrize("name", ["evaluation.json", "predictions.npz"])
def test_evaluations(name, evaluated, place):
    folder = Path(shutil.copytree(evaluated, place / "evaluation"))
    before = Evaluation.load(folder)
    walk(place, folder / name, lambda: Evaluation.load(folder))
    assert Evaluation.load(folder).scalars == before.scalars


def test_evaluations_of_wrong_parts(evaluated, place):
    folder = Path(shutil.copytree(evaluated, place / "evaluation"))
    good = json.loads((folder / "evaluation.json").read_text())
    for key in good:
        for value in (None, 3, "word", [], {"a": "b"}, [["a"]], {"a": {"b": 1}}):
            if (key in ("description",) and isinstance(value, dict)) or value == good[key]:
                continue
            (folder / "evaluation.json").write_text(json.dumps({**good, key: value}))
            with pytest.raises(InputError, match=r"evaluation.*kdlab evaluate CKPT"):
                Evaluation.load(folder)
    (folder / "evaluation.json").write_text(json.dumps(good))
    with np.load(folder / "predictions.npz") as held:
        arrays = dict(held)
    for key in arrays:
        for value in (np.zeros((3, 3, 3)), np.zeros(2), np.array("word"), None):
            changed = {k: v for k, v in {**arrays, key: value}.items() if v is not None}
            np.savez(folder / "predictions.npz", **changed)
            with pytest.raises(InputError, match=r"predictions\.npz.*kdlab evaluate CKPT"):
                Evaluation.load(folder)


CONFIG = {"model": {"class_path": "Supervised"}, "data": {"class_path": "BasicMotions", "init_args": {"batch_size": 4}}}


@pytest.mark.parametrize("read", [trust.data_module, cli.build, cli.build_callbacks])
def test_configs(read, place):
    file = place / "config.yaml"
    file.write_text(yaml.safe_dump(CONFIG))
    may_pass = ("an object",) if read is cli.build_callbacks else ()  # it names no callbacks
    cut = {f"cut at {k} %" for k in (1, 50, 97)}  # text that is cut may be text still
    walk(place, file, lambda: _quietly(read, file), (*may_pass, *cut))


def _quietly(read, file):
    try:
        return read(file)
    except SystemExit as error:  # the parser says which key is wrong, as for any config
        raise InputError("the parser's line") from error


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_class_embeddings(suffix, place):
    file, table = place / f"classes.{suffix}", np.random.default_rng(0).normal(size=(4, 5))
    if suffix == "csv":
        np.savetxt(file, table, delimiter=",")
    else:
        (np.save if suffix == "npy" else np.savez)(file, table)
    assert read_embeddings(str(file)).shape == (4, 5)
    may_pass = {"npy": ("an array",), "npz": ("an array",), "csv": ("cut at 1 %", "cut at 50 %", "cut at 97 %")}
    walk(place, file, lambda: read_embeddings(str(file)), may_pass[suffix])


def test_cached_outputs(place):
    part = kdlab.cache.Part("t", "", "logits", (3,), "float32", 3, 4)
    file = place / "x.answers"
    for what, content in BAD.items():
        file.write_bytes(content)
        assert kdlab.cache.store.open_array(file, part) is None, what
    assert not (place / "pwned").exists()


# ---- recordings and pictures ----------------------------------------------------------------------------------------
def _npz(folder):
    np.savez(folder / "a.npz", x=np.random.default_rng(0).normal(size=(20, 3, 10)), y=np.arange(20) % 2)
    return folder / "a.npz", lambda: data.ArrayDataModule(path=folder / "a.npz").load()


def _file(write, make, pattern):
    def prepare(folder):
        root = write(folder)
        files = sorted(p for p in Path(root).rglob(pattern) if p.is_file())
        return files[0], lambda: make(root).load()

    return prepare


def _pictures(write, make, pattern):
    def prepare(folder):
        file, _ = _file(write, make, pattern)(folder)
        return file, lambda: make(folder).load().windows["raw"][:]  # they are decoded when they are needed

    return prepare


def _ts(folder):
    rng = np.random.default_rng(0)
    for stage in ("TRAIN", "TEST"):
        fixtures.write_ts(folder / "A" / f"A_{stage}.ts", [rng.normal(size=(2, 9)) for _ in range(6)], ["a", "b"] * 3)
    return folder / "A/A_TRAIN.ts", lambda: data.UEA(folder, "A").load()


def _archive(write, make):
    def prepare(folder):
        archive = fixtures.write_tar(folder / "all.tar.gz", write(folder / "held"))
        return archive, lambda: make(archive).load()

    return prepare


def _recordings(kind):
    def prepare(folder):
        write_folder(folder / "r", kind=kind)
        file = sorted((folder / "r").rglob(f"*.{kind}"))[0]
        return file, lambda: recordings_of(folder / "r").setup()

    return prepare


TEXT = ("cut at 1 %", "cut at 50 %", "cut at 97 %")  # a table that ends early is a shorter table
SOURCES: dict[str, tuple[Callable[[Path], tuple[Path, Callable[[], object]]], tuple[str, ...]]] = {
    "ArrayDataModule": (_npz, ()),
    "UEA": (_ts, TEXT),
    "UCIHAR": (_file(fixtures.write_ucihar, data.UCIHAR, "*acc_x*.txt"), TEXT),
    "PAMAP2": (_file(fixtures.write_pamap2, data.PAMAP2, "*.dat"), TEXT),
    "SPSWHAR": (_file(fixtures.write_spswhar, data.SPSWHAR, "*.csv"), TEXT),
    "SPSWHAR in an archive": (_archive(fixtures.write_spswhar, data.SPSWHAR), ()),
    "UTDMHAD": (_file(fixtures.write_utdmhad, data.UTDMHAD, "*.mat"), ()),
    "GENEActiv": (_file(fixtures.write_geneactiv, data.GENEActiv, "*.mat"), ()),
    "CIFAR10": (_file(fixtures.write_cifar10, data.CIFAR10, "data_batch_1"), ()),
    "CIFAR10's names": (_file(fixtures.write_cifar10, data.CIFAR10, "batches.meta"), ()),
    "CIFAR10, binary": (
        _file(lambda f: fixtures.write_cifar10(f, binary=True), data.CIFAR10, "data_batch_1.bin"),
        ("an empty file", "cut at 1 %", "cut at 50 %"),  # fewer pictures
    ),
    "CIFAR10 in an archive": (_archive(fixtures.write_cifar10, data.CIFAR10), ()),
    "CIFAR100": (_file(fixtures.write_cifar100, data.CIFAR100, "train"), ()),
    "CINIC10": (_file(fixtures.write_cinic10, data.CINIC10, "*.png"), ("a picture",)),
    "TinyImageNet": (_pictures(fixtures.write_tiny_imagenet, data.TinyImageNet, "n*_*.JPEG"), ("a picture",)),
    "TinyImageNet's labels": (
        _file(fixtures.write_tiny_imagenet, data.TinyImageNet, "val_annotations.txt"),
        ("cut at 97 %",),
    ),
    "ImageFolder": (_pictures(fixtures.write_image_folder, data.ImageFolder, "*.JPEG"), ("a picture",)),
    "recordings as csv": (_recordings("csv"), TEXT),
    "recordings as npz": (_recordings("npz"), ()),
}


@pytest.mark.parametrize("source", SOURCES)
def test_data_sets(source, place):
    prepare, may_pass = SOURCES[source]
    (place / "held").mkdir()
    file, read = prepare(place / "held")
    read()
    files_only = source.startswith("recordings")  # what else lies in such a folder is the business of its search
    walk(
        place, file, read, (*may_pass, "a folder", "a pipe", "nothing"), files_only
    )  # most read what is there of many files
