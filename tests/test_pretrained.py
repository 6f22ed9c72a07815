"""Students as folders: equal in every bit, refused where damaged, and without a trace of the people in their data."""

import json
import shutil
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from safetensors.torch import load

import kdlab
from kdlab.data import ArrayDataModule
from kdlab.evaluate.command import restore
from kdlab.export import command, export
from kdlab.export.pretrained import CARD, README, WEIGHTS, about_file, digest_of, to_bytes
from kdlab.export.readme import _data
from kdlab.export.sharing import people_of
from kdlab.methods.checkpoints import weights_hash
from kdlab.nets import WideResNet
from kdlab.stream import Student
from kdlab.types import InputError, MissingFileError
from kdlab.views import GramianAngularField, Raw
from tests.conftest import trainer
from tests.test_export import motions

KEPT = Path(__file__).parent / "files/student_basic_motions.ckpt"
PEOPLE = [f"Zoltan{letter}" for letter in "ABCDEF"]
CHANNELS, CHOSEN = ["left", "right", "pressure"], ["pressure", "left"]


def windows(n=72, seed=0):
    """Two classes of six people; one channel has an offset that float32 would lose."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = rng.normal(size=(n, 3, 32)) + np.sin(np.arange(32) * (0.2 + 0.5 * y[:, None, None]))
    x[:, 2] += 1e6
    return x, y


def arrays(**kwargs):
    x, y = windows()
    views = {"raw": Raw(CHOSEN), "gaf": GramianAngularField(16)}
    return ArrayDataModule(
        x,
        y,
        subject=np.repeat(PEOPLE, 12),
        channels=CHANNELS,
        classes=["rest", "walk"],
        sampling_rate=16.0,
        dataset="gaits",
        test_subjects=[PEOPLE[0]],
        views=views,
        batch_size=12,
        **kwargs,
    )


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A student of two teachers, trained in a folder as a study with a fold of one person makes it."""
    root = tmp_path_factory.mktemp("study")
    job = root / "runs/gaits/kd" / f"subject{PEOPLE[0]}-seed0-0123456789"
    teacher = root / "runs/gaits/teacher_gaf" / f"subject{PEOPLE[0]}-shared-9876543210" / "checkpoints/teacher.ckpt"
    data = arrays()
    gaf = kdlab.Supervised(WideResNet(10, 1, 2, in_channels=3, num_classes=2), view="gaf")
    fit = trainer(root / "t", max_epochs=1, limit_train_batches=2)
    fit.fit(gaf, data)
    fit.save_checkpoint(teacher)
    torch.manual_seed(1)
    method = kdlab.Distillation(
        WideResNet(10, 1, in_channels=2, num_classes=2),
        {"gaf": kdlab.Teacher(checkpoint=str(teacher), view="gaf")},
        objective=kdlab.objectives.SoftTargets(),
    )
    fit = trainer(root / "s", max_epochs=2)
    fit.fit(method, data)
    (job / "checkpoints").mkdir(parents=True)
    fit.save_checkpoint(job / "checkpoints/best.ckpt")
    row = {
        **{
            "row": "kd",
            "accuracy": 0.61,
            "interval": [0.48, 0.72],
            "over": "people",
            "units": 6,
            "method": "bootstrap",
        },
        **{"confidence": 0.95, "runs": 6, "folds": 6, "seeds": 1, "selection": ["last epoch"]},
        "controls": [
            {"row": "scratch", "difference": -0.01, "interval": [-0.08, 0.07], "over": "people", "units": 6}
            | {"method": "bootstrap", "shown": False}
        ],
        "misses": ["not shown to be better than scratch: −1.0 [−8.0, +7.0] points"],
        "nets": {"0123456789": {"accuracy": 0.5, "windows": 12, "people": 1}},
    }
    content = {"format": 1, "study": "gaits", "kdlab": "0.1.0", "commit": "c0ffee", "rows": {"kd": row}}
    (root / "runs/gaits/evidence.json").write_text(json.dumps(content), encoding="utf-8")
    return method, data, job


@pytest.fixture(scope="module")
def saved(taught, tmp_path_factory):
    """By checkpoint alone, by checkpoint with its data, and by the method that was trained."""
    method, data, job = taught
    place = tmp_path_factory.mktemp("saved")
    return {
        "checkpoint": kdlab.save_pretrained(job, place / "checkpoint", about={"licence": "CC-BY-4.0"}),
        "data": kdlab.save_pretrained(job, place / "data", datamodule=data, about={"limits": "Right wrist only."}),
        "method": kdlab.save_pretrained(method, place / "method"),
    }


# ---------------------------------------------------------------------- in which unit it is fed
@pytest.mark.parametrize("how", ["checkpoint", "data", "method", "run", "torch.export"])
def test_windows_in_another_unit_are_told(taught, saved, tmp_path, recwarn, how):
    """The size of the training windows goes with the student, whatever it is kept in."""
    _, data, job = taught
    if how == "torch.export":
        student = kdlab.load(export(job, data, tmp_path / "s.pt2", format=how).path)
    else:
        student = kdlab.load(job) if how == "run" else kdlab.from_pretrained(saved[how])
    x = windows(40, seed=3)[0][:, [2, 0]]
    assert student.card["channels"][1]["root_mean_square"] == pytest.approx(data.amplitude["raw"][0])
    small = x.copy()
    small[:, 1] /= 9.80665  # one of two channels may be at rest
    for same in (x, small, 9.80665 * x[:19]):  # a few windows may be of a fast motion
        student.predict(same)
    assert not [w for w in recwarn if "in the units" in str(w.message)]
    with pytest.warns(UserWarning, match=r"Student: x: values must be in the units .* left (9|10) .*m/s\^2"):
        student.predict(x * [[1.0], [9.80665]])
    with pytest.warns(UserWarning, match=r"pressure 0\.001 times, left 0\.\d+ times"):
        student.predict(x * [[0.001], [0.017]])


def test_a_size_that_is_no_number_is_refused(saved, tmp_path):
    folder = Path(shutil.copytree(saved["checkpoint"], tmp_path / "student"))
    card = json.loads((folder / CARD).read_text())
    for wrong in ("9", -1.0, float("nan"), [1.0]):
        card["channels"][0]["root_mean_square"] = wrong
        card["digest"] = digest_of(card)
        (folder / CARD).write_text(json.dumps(card))
        with pytest.raises(InputError, match="channels"):
            kdlab.from_pretrained(folder)


def test_a_checkpoint_of_an_earlier_version_has_no_size():
    student = kdlab.load(KEPT)
    assert all("root_mean_square" not in channel for channel in student.card["channels"])
    assert len(student.predict(1000 * np.ones((30, *student.shape)))) == 30


# ---------------------------------------------------------------------- what it predicts
@pytest.mark.parametrize("kind", ["checkpoint", "data", "method"])
def test_predictions_are_equal_in_every_bit(taught, saved, kind):
    x, _ = windows(20, seed=5)
    expected, found = kdlab.load(taught[2]), kdlab.from_pretrained(saved[kind])
    np.testing.assert_array_equal(found.logits(x, CHANNELS), expected.logits(x, CHANNELS))  # float64 windows
    few = x[:, [2, 0]].astype(np.float32)
    np.testing.assert_array_equal(found.logits(few), expected.logits(few))
    assert float(np.ptp(expected.logits(x, CHANNELS))) > 0.05
    for one in (found, kdlab.load(saved[kind])):  # one way in
        assert (one.classes, one.channels, one.sampling_rate) == (("rest", "walk"), tuple(CHOSEN), 16.0)
        assert (one.shape, one.card["scale"], one.path) == ((2, 32), expected.card["scale"], saved[kind])
    assert sorted(p.name for p in saved[kind].iterdir()) == sorted([WEIGHTS, CARD, README])


def test_the_net_is_alone_with_its_standardisation(taught, saved):
    from safetensors.torch import load_file

    method, data, job = taught
    held = load_file(saved["checkpoint"] / WEIGHTS)
    assert held.keys() == method.net.state_dict().keys()  # no teacher, no adapter
    assert int(held["standardize.filled"]) == 1
    checkpoint = torch.load(job / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(held[name], checkpoint[f"net.{name}"]) for name in held)
    net = kdlab.from_pretrained(saved["method"]).form.net
    batch = next(data.batches("val"))
    reference = restore(job / "checkpoints/best.ckpt", data).net.eval()
    with torch.no_grad():
        assert torch.equal(net(batch.views["raw"]).logits, reference(batch.views["raw"]).logits)


def test_units_and_labels_of_a_data_module_are_on_the_card(tmp_path):
    folder = kdlab.export.export(KEPT, motions(scale="minmax"), tmp_path / "s", format="pretrained").path
    card = kdlab.from_pretrained(folder).card
    assert card == json.loads((folder / CARD).read_text("utf-8")) == kdlab.export.load(folder).card
    assert (card["check"]["agreement"], card["metrics"]["count"]) == (1.0, 8)
    assert card["size"]["after"] == card["file"]["bytes"] == (folder / WEIGHTS).stat().st_size
    x = np.random.default_rng(0).normal(size=(3, 4, 100)).astype(np.float32)
    np.testing.assert_allclose(kdlab.export.load(folder)(x), kdlab.from_pretrained(folder).logits(x), atol=1e-4)


# ---------------------------------------------------------------------- what the card says
def test_the_card_says_licence_data_people_and_evidence(saved):
    said = {kind: kdlab.from_pretrained(folder).card["sharing"] for kind, folder in saved.items()}
    assert (said["checkpoint"]["licence"], said["data"]["licence"]) == ("CC-BY-4.0", None)
    assert said["checkpoint"]["people"] == {"unit": "people", "train": 3, "val": 2, "test": 1}
    assert said["checkpoint"]["data"] == {"dataset": "gaits", "class": None, "licence": None, "citation": None}
    assert said["data"]["data"]["class"] == "ArrayDataModule"
    evidence = said["data"]["evidence"]
    assert (evidence["study"], evidence["row"], evidence["units"], evidence["commit"]) == ("gaits", "kd", 6, "c0ffee")
    assert evidence["this_net"] == {"accuracy": 0.5, "windows": 12, "people": 1}
    assert said["data"]["limits"][0] == "Right wrist only."
    assert any("not shown to be better than scratch" in line for line in said["data"]["limits"])
    assert said["method"]["evidence"] is None  # where it was trained is not known
    text = (saved["data"] / README).read_text("utf-8")
    for words in (
        "people: 3 for training, 2 kept for validation, 1 kept for test",
        "61.0 % [48.0, 72.0] (95 %), over 6 people",
    ):
        assert words in text
    for words in (
        "Minus `scratch`: -1.0 points [-8.0, +7.0] (95 %)",
        "commit c0ffee",
        "last epoch",
        "Right wrist only",
    ):
        assert words in text
    known = kdlab.save_pretrained(KEPT, saved["data"].parent / "known")
    assert "bagnall2018uea" in kdlab.from_pretrained(known).card["sharing"]["data"]["citation"]


@pytest.mark.parametrize("ids", ["plain", "hashed"])
def test_nobody_is_named_in_the_folder_nor_on_any_card(taught, tmp_path, monkeypatch, ids):
    method, data, job = taught
    if ids == "hashed":
        monkeypatch.setenv("KDLAB_SALT", "a salt of one laboratory")
        data = arrays(subject_ids="hashed")
        method = kdlab.Supervised(WideResNet(10, 1, in_channels=2, num_classes=2))
        fit = trainer(tmp_path, max_epochs=1, limit_train_batches=1)
        fit.fit(method, data)
        fit.save_checkpoint(job / "checkpoints/hashed.ckpt")
        job = job / "checkpoints/hashed.ckpt"
    words = {person for stage in ("train", "val", "test") for person in data.fingerprint[stage]} | {*PEOPLE, "Zoltan"}
    assert len(words) == (13 if ids == "hashed" else 7)
    for format, name in (("pretrained", "folder"), ("torch", "s.pt")):
        kdlab.export.export(job, data, tmp_path / "out" / name, format=format)
    kdlab.save_pretrained(method, tmp_path / "out/method")
    kdlab.save_pretrained(job, tmp_path / "out/alone")
    kdlab.save_pretrained(kdlab.from_pretrained(tmp_path / "out/alone"), tmp_path / "out/copy")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 4 * 3 + 2
    for path in files:
        content = path.read_bytes() + str(path.relative_to(tmp_path)).encode()
        assert not [word for word in words if word.encode() in content], path
    card = kdlab.load(tmp_path / "out/folder").card
    assert card["provenance"]["fingerprint"]["test"] == 1
    if ids == "plain":  # folders that are called after people are left out, of teachers too
        assert card["name"] == "kd-one_person-seed0"
        assert card["provenance"]["checkpoint"] == "kd-one_person-seed0/best.ckpt"
        assert card["provenance"]["teachers"]["gaf"]["file"] == "teacher_gaf-one_person-shared/teacher.ckpt"


def test_evidence_is_of_this_run_or_none(taught, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(taught[2].parents[2], runs)
    job = next((runs / "gaits/kd").iterdir())
    other = shutil.copytree(job, job.with_name("fold1-seed0-aaaaaaaaaa"))  # of settings that the report does not show
    assert kdlab.load(kdlab.save_pretrained(other, tmp_path / "other")).card["sharing"]["evidence"] is None
    (runs / "gaits/evidence.json").write_text('{"format": 1, "rows": {"kd": {}}}')
    with pytest.raises(InputError, match=r"evidence: .*evidence.json' must be the file of a report, but lacks 'nets'"):
        kdlab.save_pretrained(job, tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()


# ---------------------------------------------------------------------- what is refused
def test_nothing_is_overwritten_unasked(saved, taught, tmp_path):
    folder = shutil.copytree(saved["checkpoint"], tmp_path / "s")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    for kind in ({}, {"datamodule": taught[1]}):
        with pytest.raises(
            InputError, match=r"'.*s' holds model.safetensors, card.json, README.md. Pass overwrite=True"
        ):
            kdlab.save_pretrained(taught[2], folder, **kind)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    kdlab.save_pretrained(taught[2], folder, overwrite=True, about={"licence": "MIT"})
    assert kdlab.from_pretrained(folder).card["sharing"]["licence"] == "MIT"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("all of it")
    with pytest.raises(InputError, match=r"must be new, empty, or of a student, but .* holds thesis.tex"):
        kdlab.save_pretrained(taught[2], tmp_path / "mine", overwrite=True)
    with pytest.raises(InputError, match="is a file"):
        kdlab.save_pretrained(taught[2], tmp_path / "mine/thesis.tex")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def changed(card, **changes):
    """A card whose digest fits what was changed."""
    card = {**card, **changes}
    return {**card, "digest": digest_of(card)}


def test_damaged_and_foreign_folders_are_refused(saved, tmp_path):
    good = saved["checkpoint"]
    card, content = json.loads((good / CARD).read_text("utf-8")), (good / WEIGHTS).read_bytes()
    source = card["provenance"]
    stranger = {**source, "net": {"class_path": "os.system", "init_args": {"command": "true"}}}
    smaller = {**source, "net": {**source["net"], "init_args": {**source["net"]["init_args"], "width": 2}}}
    scale = {**card["scale"], "offset": [0.0, 0.0]}
    flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    about = {"name": WEIGHTS, "sha256": card["file"]["sha256"], "bytes": len(content)}
    cases = {
        "card.json is missing": {CARD: None},
        "model.safetensors is missing": {WEIGHTS: None},
        "its hash differs": {WEIGHTS: content[:-100]},
        "is not the file of card.json": {WEIGHTS: flipped},
        "card.json was changed": {CARD: {**card, "scale": scale}},
        "is not valid JSON": {CARD: (good / CARD).read_bytes()[:-50]},
        "must be of format 'pretrained'": {CARD: changed(card, format="torch")},
        "no net of this name is imported": {CARD: changed(card, provenance=stranger)},
        "weights are not those of": {CARD: changed(card, provenance=smaller)},
        "does not hold the weights of card.json": {CARD: changed(card, provenance={**source, "weights": "0" * 16})},
        "the net must read 1 channels": {CARD: changed(card, **_one_channel(card))},
        r"must be of card_version 1 at most, but is of 99, .* Update kdlab": {CARD: changed(card, card_version=99)},
        "sampling_rate must be a positive number, or null, but got 'abc'": {CARD: changed(card, sampling_rate="abc")},
        "sharing.data must be an object, but got nothing": {CARD: changed(card, sharing={})},
        r"sharing\.evidence\.row must be words, but got nothing": {
            CARD: changed(card, sharing={**card["sharing"], "evidence": {}})
        },
        r"name must be words, but got nothing": {CARD: changed({k: v for k, v in card.items() if k != "name"})},
        r"provenance\.training must be an object": {CARD: changed(card, provenance={**source, "training": None})},
        r"provenance\.teachers must be an object": {CARD: changed(card, provenance={**source, "teachers": 3})},
        "scale must be": {CARD: changed(card, scale={**card["scale"], "divisor": [0.0, 1.0]})},
    }
    assert card["file"] == about
    for number, (match, files) in enumerate(cases.items()):
        folder = shutil.copytree(good, tmp_path / str(number))
        for name, new in files.items():
            (folder / name).unlink()
            if new is not None:
                (folder / name).write_bytes(new if isinstance(new, bytes) else json.dumps(new).encode())
        for read in (kdlab.from_pretrained, kdlab.load, kdlab.export.load):
            with pytest.raises(InputError, match=match) as caught:
                read(folder)
            assert "\n" not in str(caught.value)
    with pytest.raises(MissingFileError, match="must be the folder of a student, but is none"):
        kdlab.from_pretrained(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds neither weights nor a card\. Read run folders .* with kdlab\.load"):
        kdlab.from_pretrained(tmp_path / "empty")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.complex64])
def test_weights_of_another_type_are_refused(saved, tmp_path, dtype):
    folder = Path(shutil.copytree(saved["checkpoint"], tmp_path / "folder"))
    state = load((folder / WEIGHTS).read_bytes())
    state["head.weight"] = state["head.weight"].to(dtype)
    card = json.loads((folder / CARD).read_text("utf-8"))
    try:
        content = to_bytes(state)
    except KeyError:
        if not dtype.is_complex:
            raise
        pytest.skip(f"this version of safetensors does not write {dtype}")
    (folder / WEIGHTS).write_bytes(content)
    source = {**card["provenance"], "weights": weights_hash(state)}
    (folder / CARD).write_text(json.dumps(changed(card, file=about_file(content), provenance=source)))
    with pytest.raises(InputError, match=rf"weight 'head.weight' must be of torch.float32, .* is of {dtype}\. Write"):
        kdlab.from_pretrained(folder)


def test_any_number_of_labels_is_told(tmp_path):
    x, y = windows()
    data = ArrayDataModule(
        x, np.eye(2, dtype=int)[y], classes=["rest", "walk"], sampling_rate=16.0, labels="many", batch_size=12
    )
    data.setup()
    method = kdlab.Supervised(WideResNet(10, 1, in_channels=3, num_classes=2))
    trainer(tmp_path, max_epochs=1, limit_train_batches=1).fit(method, data)
    for given in ({}, {"datamodule": data}):
        folder = kdlab.save_pretrained(method, tmp_path / "s", overwrite=True, **given)
        text = (folder / README).read_text("utf-8")
        assert "each into any number of 2 classes." in text
        assert "a window may have any number of them" in text


def _one_channel(card):
    shape = ["batch", 1, *card["input"]["shape"][2:]]
    scale = {"offset": [0.0], "divisor": [1.0], "clip": False}
    return {"channels": card["channels"][:1], "input": {**card["input"], "shape": shape}, "scale": scale}


def test_wrong_arguments(saved, taught, tmp_path):
    with pytest.raises(InputError, match=r"about: keys must be licence, .*, but got 'license'"):
        kdlab.save_pretrained(taught[2], tmp_path / "s", about={"license": "MIT"})
    with pytest.raises(InputError, match="about: limits must be words, but got ' '"):
        kdlab.save_pretrained(taught[2], tmp_path / "s", about={"limits": " "})
    with pytest.raises(InputError, match="datamodule: must be left out for a student that was loaded"):
        kdlab.save_pretrained(kdlab.load(taught[2]), tmp_path / "s", datamodule=taught[1])
    exported = kdlab.export.export(KEPT, motions(scale="minmax"), tmp_path / "s.pt", format="torch").path
    with pytest.raises(InputError, match="student: must come from a checkpoint or a folder"):
        kdlab.save_pretrained(kdlab.load(exported), tmp_path / "s")
    with pytest.raises(InputError, match="net must be left out"):
        kdlab.load(saved["data"], net=WideResNet(10, 1, in_channels=2, num_classes=2))
    plain = torch.nn.Sequential(torch.nn.Conv1d(2, 1, 3), torch.nn.Flatten(), torch.nn.Linear(30, 2))
    method = kdlab.Supervised(plain)
    trainer(tmp_path, max_epochs=1, limit_train_batches=1).fit(method, arrays())
    with pytest.raises(InputError, match="format='pretrained': the net must be known by its class and arguments"):
        kdlab.save_pretrained(method, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_students_that_were_loaded_are_saved(taught, saved, tmp_path):
    x, _ = windows(6, seed=2)
    for given in (kdlab.load(taught[2]), kdlab.from_pretrained(saved["data"])):
        assert isinstance(given, Student)
        folder = kdlab.save_pretrained(given, tmp_path / "s", about={"licence": "MIT"}, overwrite=True)
        again = kdlab.from_pretrained(folder)
        np.testing.assert_array_equal(again.logits(x, CHANNELS), given.logits(x, CHANNELS))
        assert again.card["sharing"]["licence"] == "MIT"
        assert again.card["sharing"]["evidence"]["row"] == "kd"


def test_a_loaded_student_is_saved_as_it_is_held_or_refused(taught, saved, tmp_path):
    x, _ = windows(6, seed=2)
    other = kdlab.Supervised(WideResNet(10, 1, in_channels=2, num_classes=2))
    fit = trainer(tmp_path, max_epochs=1, limit_train_batches=1)
    fit.fit(other, arrays())
    file, folder = tmp_path / "s.ckpt", shutil.copytree(saved["checkpoint"], tmp_path / "s")
    shutil.copy(taught[2] / "checkpoints/best.ckpt", file)
    of_file, of_folder = kdlab.load(file), kdlab.load(folder)
    expected = of_folder.logits(x, CHANNELS)
    fit.save_checkpoint(file)
    kdlab.save_pretrained(other, folder, overwrite=True)
    with pytest.raises(InputError, match=r"must be as '.*s.ckpt' holds it, but .* was changed .* Load it again: kdlab"):
        kdlab.save_pretrained(of_file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    shutil.rmtree(folder)
    again = kdlab.load(kdlab.save_pretrained(of_folder, tmp_path / "out"))
    np.testing.assert_array_equal(again.logits(x, CHANNELS), expected)
    assert again.card == of_folder.card
    with torch.no_grad():
        again.form.net.head.bias += 1
    with pytest.raises(InputError, match="the file or the student was changed since it was loaded"):
        kdlab.save_pretrained(again, tmp_path / "more")


def test_the_text_of_a_folder_may_be_edited(saved, tmp_path):
    folder = shutil.copytree(saved["checkpoint"], tmp_path / "s")
    (folder / README).write_text("my own words")
    assert kdlab.from_pretrained(folder).card == kdlab.from_pretrained(saved["checkpoint"]).card


def test_nobody_is_said_to_have_tested_a_student_that_was_not_measured(taught, tmp_path):
    file = shutil.copy(taught[2] / "checkpoints/best.ckpt", tmp_path / "s.ckpt")  # of no study
    text = (kdlab.save_pretrained(file, tmp_path / "s") / README).read_text("utf-8")
    assert "None: it was not measured." in text
    assert "kept for test" in text
    assert not [word for word in ("tested it", "validated it") if word in text]


# ---------------------------------------------------------------------- how far it was trained
class Ctrl(pl.Callback):
    """Saves the student in the middle of an epoch, and interrupts there."""

    def __init__(self, folder, batch=1):
        self.folder, self.batch = folder, batch

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx == self.batch:
            kdlab.save_pretrained(module, self.folder, overwrite=True)
            raise KeyboardInterrupt

    def on_exception(self, trainer, module, exception):
        trainer.save_checkpoint(self.folder.with_suffix(".ckpt"))


def training_of(folder):
    card = kdlab.load(folder).card
    assert f"- {card['provenance']['training']['reason']}\n" in (folder / README).read_text("utf-8")
    return card["provenance"]["training"]


def test_an_interrupted_fit_is_told(tmp_path):
    method = kdlab.Supervised(WideResNet(10, 1, in_channels=2, num_classes=2))
    with pytest.raises(SystemExit):
        trainer(tmp_path, max_epochs=1, callbacks=[Ctrl(tmp_path / "mid")]).fit(method, arrays())
    mid = training_of(tmp_path / "mid")
    within = "weights in epoch 0, counted from 0, of 1, after 2 of 3 batches"
    assert (mid["epoch"], mid["stopped_early"], mid["reason"]) == (0, False, within)
    trainer(tmp_path).validate(method, arrays(), verbose=False)  # another trainer knows nothing of it
    for made in (method, tmp_path / "mid.ckpt"):
        held = training_of(kdlab.save_pretrained(made, tmp_path / "s", overwrite=True))
        assert held["stopped_early"] is True
        assert held["reason"] == f"{within}, where the fit was interrupted"
    trainer(tmp_path, max_epochs=1).fit(method, arrays())
    held = training_of(kdlab.save_pretrained(method, tmp_path / "s", overwrite=True))
    assert (held["reason"], held["stopped_early"]) == ("weights after epoch 0, counted from 0, of 1", False)


# ---------------------------------------------------------------------- a student that is pruned
def test_pruning_that_leaves_its_masks_is_told_before_the_fit_and_refused(tmp_path):
    method = kdlab.Supervised(WideResNet(10, 1, in_channels=2, num_classes=2))
    pruning = pl.callbacks.ModelPruning("l1_unstructured", amount=0.5, make_pruning_permanent=False)
    fit = trainer(tmp_path, max_epochs=1, limit_train_batches=1, callbacks=[pruning])
    with pytest.warns(UserWarning, match=r"ModelPruning: make_pruning_permanent must be True .*, but got False"):
        fit.fit(method, arrays())
    fit.save_checkpoint(tmp_path / "masked.ckpt")
    remedy = r"got .*weight_orig and .*weight_mask .* Set make_pruning_permanent: true"
    with pytest.raises(InputError, match=remedy):
        kdlab.load(tmp_path / "masked.ckpt")
    with pytest.raises(InputError, match=remedy):
        kdlab.save_pretrained(method, tmp_path / "s", datamodule=arrays())
    started = kdlab.Supervised(WideResNet(10, 1, in_channels=2, num_classes=2), init=str(tmp_path / "masked.ckpt"))
    with pytest.raises(InputError, match=f"init: .*{remedy}"):
        trainer(tmp_path, max_epochs=1).fit(started, arrays())


def test_the_command(tmp_path, capsys):
    version = tmp_path / "runs/basic_motions/scratch/version_0"
    (version / "checkpoints").mkdir(parents=True)
    shutil.copy(KEPT, version / "checkpoints/best.ckpt")
    views = {"raw": {"class_path": "kdlab.views.Raw", "init_args": {"channels": [5, 0, 1, 3]}}}
    data = {"class_path": "kdlab.data.BasicMotions", "init_args": {"scale": "minmax", "seed": 0, "views": views}}
    (version / "config.yaml").write_text(json.dumps({"data": data}))
    (version / "finished.json").write_text("{}")
    words = [str(version.parent), "--format", "pretrained", "--about", "licence=CC-BY-4.0", "--about", "limits=a=b"]
    made = command.main(words, lambda config, overrides: (None, None))
    assert made.path == version / "checkpoints/scratch.pretrained"
    assert "scratch.pretrained (card: card.json)" in capsys.readouterr().out
    assert made.card["sharing"]["limits"][0] == "a=b"
    assert kdlab.from_pretrained(made.path).card == made.card
    with pytest.raises(InputError, match=r"holds model.safetensors, .* Pass overwrite=True \(--overwrite\)"):
        command.main(words, lambda config, overrides: (None, None))
    with pytest.raises(InputError, match="--about: must be KEY=TEXT, but got 'MIT'"):
        command.main([*words, "--overwrite", "--about", "MIT"], lambda config, overrides: (None, None))


def test_a_person_with_and_without_labels_is_counted_once():
    fingerprint = {"grouping": "subject", "train": ["a", "b", "c"], "unlabelled": ["a", "b", "c", "d", "e"]}
    fingerprint |= {"val": ["f", "g"], "test": ["h", "i"]}
    people = people_of(fingerprint)
    assert people == {"unit": "people", "train": 3, "unlabelled": 2, "val": 2, "test": 2}
    hashes = {key: [f"h{name}" for name in value] for key, value in fingerprint.items() if key != "grouping"}
    assert people_of({"grouping": "subject", **hashes, "salt": "1234"}) == people
    data = {"dataset": "d", "licence": None, "citation": None}
    assert "people: 3 for training, 2 more for training without labels" in _data(
        {"licence": None, "data": data, "people": people}
    )
