"""A loaded student predicts as the data module's nets do, whatever runs it."""

import json
import shutil
import subprocess

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch

import kdlab
import kdlab.export
from kdlab.data import RecordingDataModule, Scale
from kdlab.nets import WideResNet
from kdlab.stream import ModuleForm, ScaledNet, SharedObject
from kdlab.types import InputError, MissingFileError
from kdlab.views import PersistenceImage, Raw
from tests.conftest import trainer

RATE, WINDOW, HOP = 32.0, 48, 16
SCALE = Scale([0.0, 0.5, 9.0], [1.0, 2.0, 3.0])
ALL = ["x", "y", "z"]
CHOSEN = ("z", "x")  # what the student reads, in this order


def signal(n, rate, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(n) / rate
    x = np.sin(t[:, None] * (1 + np.arange(3)) + seed) * 2 + rng.normal(0, 0.5, (n, 3)) + [0.0, 0.5, 9.0]
    return t, x.astype(np.float32).astype(np.float64)


def write(file, t, x):
    frame = pd.DataFrame(x, columns=["x", "y", "z"])
    if t is not None:
        frame.insert(0, "time", t)
    frame["label"] = np.where(np.arange(len(x)) // 40 % 2, "walk", "sit")
    file.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(file, index=False, float_format="%.17g")


def module(root, **kwargs):
    settings = {
        "channels": ["x", "y", "z"],
        "window": WINDOW,
        "step": HOP,
        "sampling_rate": RATE,
        "time": "time",
        "agree": 0.01,
        "subject": {"folder": 0},
        "scale": SCALE,
        "views": {"raw": Raw(CHOSEN)},
        "cache_dir": root.parent / "cache",
        "batch_size": 8,
        "seed": 0,
    }
    return RecordingDataModule(root, **{**settings, **kwargs})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six people for 20 s at 32 Hz."""
    root = tmp_path_factory.mktemp("stream") / "recordings"
    for person in range(6):
        write(root / f"P{person}" / "a.csv", *signal(640, RATE, person))
    return root


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """The method, its data, and its checkpoint in a run folder."""
    pl.seed_everything(0)
    data = module(folder)
    method = kdlab.Supervised(WideResNet(10, 1, in_channels=2, num_classes=2))
    run = tmp_path_factory.mktemp("run")
    fit = trainer(run, max_epochs=1, limit_train_batches=8)
    fit.fit(method, data)
    (run / "checkpoints").mkdir()
    fit.save_checkpoint(run / "checkpoints" / "best.ckpt")
    method.eval()
    return method, data, run


@pytest.fixture(scope="module")
def student(trained):
    return kdlab.load(trained[2])


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """Format -> file."""
    _, data, run = trained
    place = tmp_path_factory.mktemp("exported")
    files = {}
    for format, suffix in (("torch", ".pt"), ("torch.export", ".pt2"), ("onnx", ".onnx")):
        files[format] = kdlab.export.export(run, data, place / f"student{suffix}", format=format).path
    return files


C_FORM = """
/* Mean and range of each channel through a linear layer, 2 x 48 -> 2. */
void hand_written_predict(const float *window, float *logits) {
    for (int k = 0; k < 2; ++k) logits[k] = 0.1f * (float)k;
    for (int c = 0; c < 2; ++c)
        for (int t = 0; t < 48; ++t) {
            logits[0] += window[48 * c + t] * (c == 0 ? 0.02f : -0.01f);
            logits[1] += window[48 * c + t] * (t % 2 == 0 ? 0.03f : -0.01f);
        }
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    place = tmp_path_factory.mktemp("c")
    (place / "student.c").write_text(C_FORM)
    line = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC"]
    subprocess.run([*line, "student.c", "-o", "student.so"], cwd=place, check=True)
    return place / "student.so"


def loaded(form, exported, compiled):
    if form == "c":
        return kdlab.load(compiled, card=f"{exported['onnx']}.json", name="hand_written", trust=True)
    return kdlab.load(exported[form])


# ---- load ------------------------------------------------------------------------------------------------------------
def test_a_checkpoint_describes_its_student(student, trained):
    assert isinstance(student.form, ScaledNet)
    assert (student.classes, student.channels, student.units) == (("sit", "walk"), CHOSEN, (None, None))
    assert (student.sampling_rate, student.shape, student.many_labels) == (RATE, (2, WINDOW), False)
    assert student.path == trained[2] / "checkpoints" / "best.ckpt"
    assert "sit" not in str(student.card["provenance"])  # nothing of the people or the data but what is needed


def test_predictions_are_those_of_the_data_module_in_every_bit(student, trained):
    method, data, _ = trained
    (batch,) = data.batches("test", 10_000)
    physical = np.asarray(data.data.windows["raw"][batch.index.numpy()])
    with torch.no_grad():
        expected = method.net(batch.views["raw"]).logits
    got = student.logits(physical, channels=["x", "y", "z"])
    assert np.array_equal(got, expected.numpy())
    assert np.array_equal(student.probabilities(physical[:, [2, 0]]), expected.softmax(1).numpy())
    names = student.predict(physical, channels=["x", "y", "z"])
    assert names.tolist() == [data.classes[k] for k in expected.argmax(1)]
    assert len(set(names.tolist())) == 2
    one = student.probabilities(torch.from_numpy(physical[3, [2, 0]]))
    assert one.shape == (2,)
    assert np.allclose(one, expected[3].softmax(0), atol=1e-6)
    assert student.predict(physical[3, [2, 0]]) == names[3]


@pytest.mark.parametrize("form", ["torch", "torch.export", "onnx"])
def test_exported_forms_predict_as_the_checkpoint(student, trained, exported, form):
    other = kdlab.load(exported[form])
    assert isinstance(other.form, ModuleForm)
    assert (other.classes, other.channels, other.sampling_rate, other.shape) == (
        *(student.classes, student.channels, student.sampling_rate, student.shape),
    )
    _, data, _ = trained
    physical = np.asarray(data.data.windows["raw"][:40])
    ours, theirs = (one.probabilities(physical, channels=ALL) for one in (student, other))
    assert np.allclose(ours, theirs, atol=1e-5)


def test_the_c_form(exported, compiled):
    other = loaded("c", exported, compiled)
    assert isinstance(other.form, SharedObject)
    x = np.random.default_rng(0).normal(size=(5, 2, WINDOW)).astype(np.float32)
    sign = np.where(np.arange(WINDOW) % 2, -0.01, 0.03)
    expected = np.stack([x[:, 0].sum(1) * 0.02 - x[:, 1].sum(1) * 0.01, 0.1 + (x @ sign).sum(1)], 1)
    assert np.allclose(other.logits(x), expected, atol=1e-5)
    assert np.allclose(other.logits(x[:, ::-1], channels=["x", "z"]), expected, atol=1e-5)


def test_the_card_beside_a_library_names_its_function(exported, compiled, tmp_path):
    shutil.copy(compiled, tmp_path / "libmine.so")
    card = json.loads((exported["onnx"].parent / "student.onnx.json").read_text())
    (tmp_path / "mine.c.json").write_text(json.dumps(card | {"c": {"function": "hand_written_predict"}}))
    x = np.ones((2, WINDOW))
    beside, named = kdlab.load(tmp_path / "libmine.so", trust=True), loaded("c", exported, compiled)
    assert np.array_equal(beside.logits(x), named.logits(x))


def test_windows_that_do_not_fit_are_refused(student):
    x = np.zeros((4, 2, WINDOW), np.float32)
    for wrong, text in (
        (x[:, :1], r"x must be \(B, 2, 48\) or one window, channels z, x, but got shape \(4, 1, 48\)"),
        (x[:, :, 1:], r"but got shape \(4, 2, 47\). Cut windows of 48 samples at 32 Hz"),
        (x[None], r"got shape \(1, 4, 2, 48\)"),
        (x[:0], r"got shape \(0, 2, 48\)"),
        (x + 1j, r"x must be real numbers, but got complex"),
        (x.astype(str), r"x must be real numbers, but got <U32"),
        (x.astype(np.float64) + 1e39, r"must be finite in float32, but got 384 .* in channel 'z'"),
    ):
        with pytest.raises(InputError, match=text):
            student.predict(wrong)
    x[2, 1, 5] = np.nan
    with pytest.raises(InputError, match=r"Student: x must be finite in float32, but got 1 .* in channel 'x'\. Fill"):
        student.predict(x)
    with pytest.raises(InputError, match=r"channels must hold .* \(z, x\), but got x, y, without z\. Name"):
        student.predict(np.zeros((4, 2, WINDOW)), channels=["x", "y"])
    with pytest.raises(InputError, match=r"channels must be 2 different names, .* but got x, y, z\."):
        student.predict(np.zeros((4, 2, WINDOW)), channels=["x", "y", "z"])


def test_files_that_do_not_fit_are_refused(trained, exported, compiled, tmp_path):
    card = f"{exported['onnx']}.json"
    with pytest.raises(MissingFileError, match="does not exist"):
        kdlab.load(tmp_path / "none")
    with pytest.raises(MissingFileError, match="does not exist"):
        kdlab.load(tmp_path / "none.so", card=card, trust=True)
    with pytest.raises(InputError, match=r"trust must be True for a shared object, which is code .* but got False"):
        kdlab.load(compiled, card=card)
    with pytest.raises(MissingFileError, match=r"card must be the JSON .* but '.*student\.c\.json' does not exist"):
        kdlab.load(compiled, trust=True)
    with pytest.raises(InputError, match=r"must be a shared object with the function \w+_predict, .* pass name="):
        kdlab.load(compiled, card=card, trust=True)
    (tmp_path / "other.so").write_bytes(b"no library")
    with pytest.raises(InputError, match=r"must be a shared object with the function mine_predict"):
        kdlab.load(tmp_path / "other.so", card=card, trust=True, name="mine")
    with pytest.raises(InputError, match=r"load: trust must be left out but for a shared object"):
        kdlab.load(exported["onnx"], trust=True)
    with pytest.raises(InputError, match=r"load: net must be left out but for a checkpoint"):
        kdlab.load(exported["onnx"], net=trained[0].net)
    damaged = json.loads((exported["onnx"].parent / "student.onnx.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(damaged | {"classes": "sit"}))
    with pytest.raises(InputError, match=r"the card of .* is damaged: classes"):
        kdlab.load(compiled, card=tmp_path / "card.json", trust=True)


def changed(checkpoint, file, **changes):
    content = torch.load(checkpoint, weights_only=True)
    content["kdlab"] = {**content["kdlab"], **changes}
    torch.save(content, file)
    return file


def test_nets_that_no_sensor_feeds_are_refused(trained, tmp_path):
    best = trained[2] / "checkpoints" / "best.ckpt"
    fingerprint = torch.load(best, weights_only=True)["kdlab"]["fingerprint"]
    images = changed(best, tmp_path / "a.ckpt", view="pi", view_settings=repr(PersistenceImage()))
    with pytest.raises(InputError, match=r"must read the raw signal, but reads view 'pi' \(PersistenceImage"):
        kdlab.load(images)
    other = {**fingerprint, "channels": {"raw": ["x", "y", "z"], "hip": ["u", "v"]}}
    second = changed(best, tmp_path / "b.ckpt", fingerprint=other, view_settings=repr(Raw((0, 1), source="hip")))
    with pytest.raises(InputError, match=r"must read the first source .* but reads 'hip'\. Export it"):
        kdlab.load(second)
    for settings in ("Raw(channels=(0, 9), source=None)", "Raw(channels=('q', 'x'), source=None)"):
        with pytest.raises(InputError, match="must read channels of x, y, z"):
            kdlab.load(changed(best, tmp_path / "c.ckpt", view_settings=settings))
    for settings in ("__import__('os').system('true')", "Raw(channels=open('x'))", "Raw(", None):
        with pytest.raises(InputError, match="must read the raw signal"):
            kdlab.load(changed(best, tmp_path / "d.ckpt", view_settings=settings))
    with pytest.raises(InputError, match="the net must read 1 channels and return 2 classes"):
        kdlab.load(changed(best, tmp_path / "e.ckpt", view_settings="Raw(channels=(2,), source=None)"))


def test_the_scaling_of_a_large_offset_is_exact(trained, tmp_path):
    """Air pressure: float32 would lose the signal, so windows stay in float64 until they are scaled."""
    best = trained[2] / "checkpoints" / "best.ckpt"
    fingerprint = torch.load(best, weights_only=True)["kdlab"]["fingerprint"]
    scale = {"raw": {"offset": [0.0, 0.0, 1e8], "divisor": [1.0, 1.0, 2.0]}}
    high = kdlab.load(changed(best, tmp_path / "high.ckpt", fingerprint={**fingerprint, "scale": scale}))
    flat = {"raw": {"offset": [0.0] * 3, "divisor": [1.0, 1.0, 2.0]}}
    low = kdlab.load(changed(best, tmp_path / "low.ckpt", fingerprint={**fingerprint, "scale": flat}))
    x = signal(160, RATE)[1] / 4
    up = x + np.array([0.0, 0.0, 1e8])
    assert high.form.exact
    assert not low.form.exact
    window = x[:WINDOW, [2, 0]].T
    assert np.allclose(high.logits(window + np.array([[1e8], [0.0]])), low.logits(window), atol=1e-4)
