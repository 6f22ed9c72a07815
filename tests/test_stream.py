"""A stream decides what a recording's windows decide, however it is cut; irregular samples follow the rules."""

import gc
import importlib.util
import json
import math
import re
import shutil
import subprocess
import threading
import time
import warnings
from itertools import pairwise

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch

import kdlab
import kdlab.export
from kdlab.data import RecordingDataModule, Scale
from kdlab.export.c.compiled import Compiled, compile_library, compiler, probe
from kdlab.nets import SensorFusion, WideResNet
from kdlab.nets.base import Backbone
from kdlab.stream import ModuleForm, ScaledNet, Student
from kdlab.stream.pushed import Pushed
from kdlab.types import InputError, MissingFileError
from kdlab.views import PersistenceImage, Raw
from tests.conftest import REPOSITORY, trainer

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


def pieces_of(n, seed):
    """Cuts of n samples: one by one, all at once, and at random."""
    if seed in (0, 1):
        return list(range(n + 1)) if seed == 0 else [0, n]
    rng = np.random.default_rng(seed)
    return [0, *sorted(rng.integers(0, n, rng.integers(1, 40)).tolist()), n]


def replay(stream, t, x, seed):
    decisions = []
    cuts = pieces_of(len(x), seed)
    for start, stop in pairwise(cuts):
        decisions += stream.push(None if t is None else t[start:stop], x[start:stop])
    return decisions + stream.end()


def windows_of(root, **kwargs):
    """The windows of the only recording in a folder, as the data module reads it, with the channels of the student."""
    data = module(root, **kwargs).load()
    names = data.channels["raw"]
    return np.asarray(data.windows["raw"])[:, [names.index(c) for c in CHOSEN]], data.windows["raw"].start


def moments_of(root, folder, **kwargs):
    """When the windows of the recordings in ``root`` begin, as predictions.csv tells, and those of training beside."""
    data = module(folder, predict_root={"root": root, "recorded_at": kwargs.get("recorded_at")}, **kwargs)
    data.setup("predict")
    return [float(begin) for _, begin, _ in data.moments_of(range(len(data._predicted.windows)))]


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
    if form == "onnx":
        assert other.form.module.threads == torch.get_num_threads()


def test_the_c_form(exported, compiled):
    other = loaded("c", exported, compiled)
    assert isinstance(other.form.module, Compiled)
    x = np.random.default_rng(0).normal(size=(5, 2, WINDOW)).astype(np.float32)
    sign = np.where(np.arange(WINDOW) % 2, -0.01, 0.03)
    expected = np.stack([x[:, 0].sum(1) * 0.02 - x[:, 1].sum(1) * 0.01, 0.1 + (x @ sign).sum(1)], 1)
    assert np.allclose(other.logits(x), expected, atol=1e-5)
    assert np.allclose(other.logits(x[:, ::-1], channels=["x", "z"]), expected, atol=1e-5)


def test_the_card_beside_a_library_names_its_function(exported, compiled, tmp_path):
    shutil.copy(compiled, tmp_path / "libmine.so")
    card = json.loads((exported["onnx"].parent / "student.onnx.json").read_text())
    named = loaded("c", exported, compiled)
    about = {"function": "hand_written_predict", "probe": named.form.module(probe(card))[0].tolist()}
    (tmp_path / "mine.c.json").write_text(json.dumps(card | {"c": about}))
    x = np.ones((2, WINDOW))
    beside = kdlab.load(tmp_path / "libmine.so", trust=True)
    assert np.array_equal(beside.logits(x), named.logits(x))


def test_a_library_of_another_export_is_refused_with_any_card(exported, compiled, tmp_path):
    named = loaded("c", exported, compiled)
    card = json.loads((exported["onnx"].parent / "student.onnx.json").read_text())
    logits = named.form.module(probe(card))[0].tolist()
    for changes, match in (
        ({"c": {"function": "hand_written_predict", "probe": logits[::-1]}}, r"was not compiled from the export that"),
        ({"c": {"function": "hand_written_predict"}}, r"was not compiled from the export that"),
        ({"classes": [*card["classes"], "new"]}, r"a logit for each of the 3 classes of card\.json, but returns 2\."),
    ):
        count = len(changes.get("classes", card["classes"]))
        output = {**card["output"], "shape": ["batch", count]}
        (tmp_path / "card.json").write_text(json.dumps(card | {"output": output} | changes))
        with pytest.raises(InputError, match=match):
            kdlab.load(compiled, card=tmp_path / "card.json", name="hand_written", trust=True)


def test_a_library_of_more_classes_than_its_card_writes_beyond_no_row(exported, tmp_path):
    source = "void many_predict(const float *x, float *y) { for (int i = 0; i < 5000; i++) y[i] = x[0] + i; }"
    (tmp_path / "many.c").write_text(source)
    if (words := compiler()) is None:
        pytest.skip("no C compiler")
    compile_library(words, tmp_path / "many.c", tmp_path / "many.so")
    with pytest.raises(InputError, match=r"each of the 2 classes of student\.onnx\.json, but returns 5000\."):
        kdlab.load(tmp_path / "many.so", card=f"{exported['onnx']}.json", name="many", trust=True)


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
    with pytest.raises(MissingFileError, match=r"must have a card \(NAME\.c\.json\) beside it, but has none"):
        kdlab.load(compiled, trust=True)
    with pytest.raises(InputError, match=r"must be a shared library .* with the function \w+_predict"):
        kdlab.load(compiled, card=card, trust=True)
    (tmp_path / "other.so").write_bytes(b"no library")
    with pytest.raises(InputError, match=r"must be a shared library .* with the function mine_predict"):
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
    with pytest.raises(
        InputError, match=r"but reads 'hip'\. Pass datamodule=.* kdlab export RUN --format pretrained\."
    ):
        kdlab.save_pretrained(second, tmp_path / "folder")
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
    decisions = replay(kdlab.Stream(high, channels=ALL), None, up, 2)
    expected = replay(kdlab.Stream(low, channels=ALL), None, x, 2)
    assert np.allclose(*([d.probabilities for d in found] for found in (decisions, expected)), atol=1e-5)


# ---- a stream is its recording ---------------------------------------------------------------------------------------
def irregular(n, rate, seed):
    """Time stamps that jitter, come twice, leave gaps and, once, go back; samples with missing values."""
    rng = np.random.default_rng(seed)
    t, x = signal(n, rate, seed)
    t = np.round(t + rng.uniform(-0.2, 0.2, n) / rate, 4)
    t[n // 3 :] += 0.9  # a gap
    t[n // 2 :] += 0.3  # within what is interpolated
    for at in rng.integers(1, n - 1, 5):
        t[at] = t[at + 1]
    x[n // 5, 0] = np.nan
    x[n // 5 + 200, 2] = np.nan
    return np.sort(t), x


def coarse(parts, rate):
    """A clock of whole seconds, of which the first and the last are not complete, and parts of a recording, seconds."""
    t, x = signal(int(parts[-1][1] * rate), rate)
    there = np.any([(begin <= t) & (t < end) for begin, end in parts], axis=0)
    return np.floor(t[there]), x[there]


CASES = {
    "whole seconds": (lambda: coarse([(0.7, 20.3)], RATE), {}, {"recorded_at": "found"}),
    "a second between two gaps": (
        lambda: coarse([(0.3, 1), (20, 21), (40.6, 60), (61, 62), (63, 80)], RATE),
        {},
        {"recorded_at": "found"},
    ),
    "whole seconds, low-passed": (
        lambda: coarse([(0.7, 12), (15.2, 30)], 100.0),
        {"backwards": "sort"},
        {"recorded_at": "found"},
    ),
    "at the student's rate": (lambda: signal(900, RATE), {}, {}),
    "rising": (lambda: signal(900, 20.0), {}, {"recorded_at": 20.0}),
    "irregular": (lambda: irregular(1200, RATE, 1), {}, {}),
    "low-passed": (lambda: irregular(2000, 100.0, 2), {}, {"recorded_at": "found"}),
    "filled": (lambda: irregular(1200, RATE, 3), {"fill": {"x": "previous", "z": "linear"}, "fill_max": 0.3}, {}),
    "first of a stamp": (lambda: irregular(1200, RATE, 4), {"repeated": "first", "max_gap": 2.0}, {}),
    "without times": (lambda: (None, signal(900, RATE)[1]), {"time": None}, {}),
    "without times, low-passed": (
        lambda: (None, signal(2000, 80.0)[1]),
        {"time": None, "recorded_at": 80.0},
        {"recorded_at": 80.0},
    ),
    "polyphase": (
        lambda: (None, signal(2000, 80.0)[1]),
        {"time": None, "recorded_at": 80.0, "resample": "polyphase"},
        {"recorded_at": 80.0},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_decisions_are_those_of_the_recording_however_it_is_cut(student, folder, tmp_path, case):
    make, both, own = CASES[case]
    t, x = make()
    if case == "irregular":
        t[800:] -= 5.0  # the clock is set back
    write(tmp_path / "recordings" / "P0" / "a.csv", t, x[:, :3])
    back = {"backwards": "split"} if t is not None else {}
    names = ["z", "x"] if np.isnan(x[:, :3]).any() else ["x", "y", "z"]
    both = back | both
    windows, starts = windows_of(tmp_path / "recordings", **both, channels=names, scale="none")
    moments = moments_of(tmp_path / "recordings", folder, **both, channels=names, scale="none")
    expected = [tuple(student.probabilities(window).tolist()) for window in windows]
    settings = {key: value for key, value in both.items() if key not in ("time", "recorded_at")} | own
    stream = kdlab.Stream(student, hop=HOP, channels=ALL, **settings)
    found = None
    for seed in range(4):
        stream.reset()
        decisions = replay(stream, t, x, seed)
        assert found is None or decisions == found
        found = decisions
    decided = [(k, d) for k, d in enumerate(found) if d.prediction is not None]
    assert [HOP * k for k, _ in decided] == starts.tolist()
    found = np.array([d.probabilities for _, d in decided])
    assert np.allclose(found, expected, rtol=0, atol=1e-6)  # torch 2.9 rounds by the place of a window in memory
    assert [d.start for _, d in decided] == pytest.approx(moments, abs=2e-6)
    assert [d.end + 1 / RATE - d.start for _, d in decided] == pytest.approx([WINDOW / RATE] * len(decided), abs=1e-6)
    assert (stream.decided, stream.undecided) == (len(decided), len(decisions) - len(decided))
    assert len(expected) > 10
    if "irregular" in case:
        assert stream.undecided > 0


@pytest.mark.parametrize("form", ["torch", "torch.export", "onnx", "c"])
def test_every_form_streams(exported, compiled, tmp_path, form):
    other = loaded(form, exported, compiled)
    t, x = irregular(700, RATE, 5)
    write(tmp_path / "recordings" / "P0" / "a.csv", t, x)
    windows, starts = windows_of(tmp_path / "recordings", channels=["z", "x"], scale="none")
    expected = [tuple(other.probabilities(window).tolist()) for window in windows]
    for seed in (1, 2, 3):
        found = replay(kdlab.Stream(other, hop=HOP, channels=ALL), t, x, seed)
        decided = [(k, d) for k, d in enumerate(found) if d.prediction is not None]
        assert [d.probabilities for _, d in decided] == expected
        assert [HOP * k for k, _ in decided] == starts.tolist()


def test_a_declared_rate_differs_from_a_found_one_in_rounding_only(student):
    t, x = signal(3000, 100.0)
    declared, found = (
        replay(kdlab.Stream(student, hop=HOP, channels=ALL, recorded_at=rate), t, x, 1) for rate in (100.0, "found")
    )
    assert [d.prediction for d in declared] == [d.prediction for d in found]
    assert np.allclose(*([d.probabilities for d in one] for one in (declared, found)), atol=1e-6)


# ---- rules -----------------------------------------------------------------------------------------------------------
def test_windows_across_gaps_and_missing_samples_are_told(student):
    t, x = signal(400, RATE)
    t[200:] += 3.0
    x[300, 2] = np.nan
    stream = kdlab.Stream(student, hop=HOP, channels=ALL)
    decisions = replay(stream, t, x, 2)
    reasons = {d.reason for d in decisions}
    assert reasons == {"", "gap", "missing z"}
    for d in decisions:
        assert (d.prediction is None) == (d.probabilities is None) == bool(d.reason)
        if d.reason == "gap":
            assert d.start < t[200]
            assert d.end > t[199]
        elif d.reason:
            assert d.start <= t[300] <= d.end
        else:
            assert math.isclose(d.end - d.start, (WINDOW - 1) / RATE)
    assert (stream.report.gaps, stream.report.missing) == (1, {"z": 1, "x": 0})
    y = signal(400, RATE)[1]
    y[:, 1] = np.nan  # a channel that the student does not read
    assert {d.reason for d in replay(kdlab.Stream(student, hop=HOP, channels=ALL), *(t, y), 2)} == {"", "gap"}


def test_windows_whose_logits_are_not_finite_are_told(student, exported):
    t, x = signal(4 * WINDOW, RATE)
    x[WINDOW : 2 * WINDOW, 0] = np.where(np.arange(WINDOW) % 2, -3e38, 3e38)
    batch = x.reshape(4, WINDOW, 3).transpose(0, 2, 1)[:, [2, 0]].astype(np.float32)
    for one in (student, kdlab.load(exported["torch"])):
        decisions = replay(kdlab.Stream(one, channels=ALL), t, x, 2)
        assert [d.reason for d in decisions] == ["", "too large", "", ""]
        assert decisions[1].prediction is decisions[1].probabilities is decisions[1].stable is None
        with pytest.raises(InputError, match=r"logits of 1 of 4 windows are not finite, the first those of window 1\."):
            one.predict(batch)
    with pytest.raises(InputError, match=r"their logits are not finite\. Check the units"):
        kdlab.export.load(exported["torch"])(batch)


class Mixing(Backbone):
    """Normalises over the batch in evaluation, too."""

    def __init__(self, in_channels=2, num_classes=2):
        super().__init__(in_channels, num_classes)
        self.norm, self.head = torch.nn.BatchNorm1d(2, track_running_stats=False), torch.nn.Linear(2, num_classes)

    def taps(self, x):
        return {"embedding": self.norm(x).abs().mean(2) if len(x) > 1 else x.abs().mean(2)}


@pytest.mark.parametrize("declared", [True, False])
def test_nets_whose_answer_depends_on_the_batch_are_neither_streamed_nor_exported(student, tmp_path, declared):
    net = SensorFusion({"a": 1, "b": 1}, depth=10, num_classes=2).eval() if declared else Mixing().eval()
    words = "its answer depends on its batch" if declared else "together and one by one differ by"
    other = Student(ScaledNet(net, student.form.scaler, exact=False), student.card)
    with pytest.raises(InputError, match=rf"Stream: student must answer for each window alone, but .*{words}"):
        kdlab.Stream(other)
    data = kdlab.data.ArrayDataModule(np.random.default_rng(0).normal(size=(12, 2, WINDOW)), np.arange(12) % 2)
    data.setup()
    suffixes = {"torch": ".pt", "torch.export": ".pt2", "onnx": ".onnx", "c": ".c", "pretrained": ""}
    for format, suffix in suffixes.items():
        with pytest.raises(InputError, match=rf"CKPT: the net must answer for each window alone, but .*{words}"):
            kdlab.export.export(net, data, tmp_path / f"out{suffix}", format=format)
    method = kdlab.Supervised(net)
    method.trained_on, method.view_settings = data.fingerprint, data.view_settings("raw")
    with pytest.raises(InputError, match=rf"student: the net must answer for each window alone, but .*{words}"):
        kdlab.save_pretrained(method, tmp_path / "folder")


def test_start_and_end_are_time_stamps(student):
    _, x = signal(200, RATE)
    zero = 1_700_000_000_000
    stamps = zero + np.round(np.arange(200) * 1000 / RATE).astype(np.int64)
    stream = kdlab.Stream(student, channels=ALL, time_unit="ms")
    decisions = replay(stream, stamps, x, 3)
    assert [d.start for d in decisions] == pytest.approx([zero / 1000 + k * WINDOW / RATE for k in range(4)], abs=2e-3)
    dates = pd.to_datetime(stamps, unit="ms").strftime("%Y-%m-%d %H:%M:%S.%f").to_numpy()
    other = replay(kdlab.Stream(student, channels=ALL, time_unit="iso"), dates, x, 3)
    assert [d.end for d in other] == pytest.approx([d.end for d in decisions], abs=2e-3)
    assert [d.prediction for d in other] == [d.prediction for d in decisions]
    moments = replay(kdlab.Stream(student, channels=ALL), pd.to_datetime(stamps, unit="ms").to_numpy(), x, 3)
    assert [d.end for d in moments] == pytest.approx([d.end for d in other], abs=2e-3)


def test_time_that_goes_back_and_stamps_that_repeat(student):
    t, x = signal(400, RATE)
    t[200:] -= 2.0
    t[101] = t[100]
    stream = kdlab.Stream(student, hop=HOP, channels=ALL)
    reasons = [d.reason for d in replay(stream, t, x, 2)]
    assert (stream.report.back, stream.report.sessions, stream.report.spread) == (1, 1, 1)
    assert reasons.count("gap") == 3
    with pytest.raises(InputError, match=r"Stream, sample 200: times must not go back"):
        replay(kdlab.Stream(student, channels=ALL, backwards="error"), t, x, 1)
    with pytest.raises(InputError, match=r"Stream, sample 101: time stamps must differ"):
        replay(kdlab.Stream(student, channels=ALL, repeated="error"), t, x, 1)
    swapped = np.arange(400)
    swapped[[120, 121]] = 121, 120
    t, x = signal(400, RATE)
    sort = kdlab.Stream(student, hop=HOP, channels=ALL, backwards="sort")
    found = replay(sort, t[swapped], x[swapped], 2)
    assert found == replay(kdlab.Stream(student, hop=HOP, channels=ALL), t, x, 3)
    assert sort.report.sorted == 1
    assert sort.latency > 60


def test_probabilities_are_smoothed_and_decisions_dwell(student):
    t, x = signal(900, RATE, 7)
    x *= np.where(np.arange(900) // 60 % 2, 3.0, 0.3)[:, None]
    plain = replay(kdlab.Stream(student, hop=4, channels=ALL), t, x, 1)
    stream = kdlab.Stream(student, hop=4, channels=ALL, smooth=5, dwell=1.0)
    found = replay(stream, t, x, 2)
    mean = pd.DataFrame([d.probabilities for d in plain]).rolling(5, min_periods=1).mean().to_numpy()
    assert np.allclose([d.probabilities for d in found], mean, atol=1e-6)
    labels = [student.classes[k] for k in mean.argmax(1)]
    assert [d.prediction for d in found] == labels
    stable, since, held = None, None, None
    for d, label in zip(found, labels, strict=True):
        since, held = (d.end, label) if label != held else (since, held)
        stable = label if d.end - since >= 1.0 - 1e-9 else stable
        assert d.stable == stable
    assert {d.stable for d in found} > {None}
    assert sum(a.prediction != b.prediction for a, b in pairwise(plain)) > 0


def test_smoothing_begins_again_after_a_window_that_was_not_decided(student):
    t, x = signal(400, RATE)
    t[200:] += 3.0
    plain, smooth = (replay(kdlab.Stream(student, hop=HOP, channels=ALL, smooth=n), t, x, 1) for n in (1, 50))
    first = next(k for k, d in enumerate(plain) if d.reason) + 3
    assert plain[first - 1].reason
    assert smooth[first].probabilities == plain[first].probabilities
    assert smooth[first + 1].probabilities != plain[first + 1].probabilities


@pytest.mark.parametrize(
    ("rate", "settings"),
    [(RATE, {}), (100.0, {}), (20.0, {}), (100.0, {"times": False}), (80.0, {"times": False, "resample": "polyphase"})],
)
def test_latency_is_kept(student, rate, settings):
    times = settings.get("times", True)
    t, x = signal(int(12 * rate), rate)
    own = {key: value for key, value in settings.items() if key != "times"}
    stream = kdlab.Stream(student, hop=1, channels=ALL, recorded_at=rate, **own)
    stream.push(t[:1] if times else None, x[:1])
    late = []
    for k in range(1, len(t)):
        late += [t[k] - d.end for d in stream.push(t[k] if times else None, x[k])]
    assert len(late) > 100
    assert max(late) <= stream.latency + 1e-6
    assert stream.latency < max(late) + 0.2 + 2 / rate  # not stated too long


def test_a_stream_keeps_little(student):
    """Rows that it holds after a long and after a short time."""
    t, x = signal(20_000, 100.0)
    stream = kdlab.Stream(student, hop=2000, channels=ALL, recorded_at=100.0)
    stream.push(t, x)
    ring = stream._ring
    assert ring._signal.shape == (WINDOW, 2)
    import tracemalloc

    tracemalloc.start()
    stream.push(t + 200, x)
    before = tracemalloc.get_traced_memory()[0]
    for k in range(2, 6):
        stream.push(t + 200 * k, x)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 200_000  # of 3.2 MB that were pushed


def test_rates_that_do_not_fit_are_refused(student, trained):
    t, x = signal(600, 40.0)
    for seed in (0, 1, 2):
        stream = kdlab.Stream(student, channels=ALL)
        with pytest.raises(InputError, match=r"recorded_at must be within 5 % .* but got 32 .* have 40 Hz\. Pass"):
            replay(stream, t, x, seed)
        with pytest.raises(InputError, match=r"must not be pushed or ended after an error"):
            stream.push(t, x)
        stream.reset()
        assert stream.push(signal(60, RATE)[0], x[:60])
    short = kdlab.Stream(student, channels=ALL)  # of fewer samples than are checked in a longer one
    short.push(t[:100], x[:100])
    with pytest.raises(InputError, match=r"recorded_at must be within 5 % .* but got 32 where the first 100 samples"):
        short.end()
    rateless = Student(student.form, {**student.card, "sampling_rate": None})
    with pytest.raises(InputError, match="sampling_rate must be given"):
        kdlab.Stream(rateless)
    assert kdlab.Stream(rateless, sampling_rate=RATE).grid.rate == RATE
    with pytest.raises(InputError, match="sampling_rate must be that of the student's windows, 32, but got 50"):
        kdlab.Stream(student, sampling_rate=50.0)


def test_a_coarse_clock_is_spread_and_its_rate_checked(student):
    """A stamp holds for a second and a tenth, and so for 35 samples."""
    t, x = signal(1200, RATE)
    coarse = np.floor((t + 0.5) / 1.1) * 1.1
    found = [replay(kdlab.Stream(student, hop=HOP, channels=ALL), coarse, x, seed) for seed in (1, 2, 3)]
    assert found[0] == found[1] == found[2]
    plain = replay(kdlab.Stream(student, hop=HOP, channels=ALL), t, x, 1)
    same = np.mean([a.prediction == b.prediction for a, b in zip(found[0], plain, strict=False)])
    assert same > 0.5
    slow = kdlab.Stream(student, channels=ALL, recorded_at=20.0)
    with pytest.raises(InputError, match=r"but got 20 where the first 1024 samples have 31\.98 Hz"):
        replay(slow, coarse, x, 2)


def test_the_rate_is_found_as_in_recordings(student):
    t, x = signal(17_000, 100.0)
    stream = kdlab.Stream(student, hop=400, channels=ALL, recorded_at="found")
    assert stream.push(t[:16_000], x[:16_000]) == []
    assert stream.latency == math.inf
    decisions = stream.push(t[16_000:], x[16_000:])
    assert len(decisions) == 14
    assert stream.latency == pytest.approx(44 / RATE + 0.02)


def test_what_does_not_fit_is_refused(student):
    t, x = signal(60, RATE)
    stream = kdlab.Stream(student, channels=ALL)
    with pytest.raises(InputError, match=r"samples must be \(n, 3\), channels x, y, z, with n times, but got"):
        stream.push(t, x[:, :2])
    with pytest.raises(InputError, match=r"samples must be \(n, 3\)"):
        stream.push(t[1:], x)
    with pytest.raises(InputError, match=r"Stream, sample 3: time must be there for every sample"):
        stream.push([0.0, 1.0, np.nan], x[:3])
    with pytest.raises(InputError, match=r"samples must be real numbers"):
        stream.push(t, x.astype(object))
    assert stream.push([], np.empty((0, 3))) == []
    stream.push(t, x)
    with pytest.raises(InputError, match=r"times must be given for all samples or for none, but got none after 60"):
        stream.push(None, x)
    stream.end()
    with pytest.raises(InputError, match="must not be pushed or ended"):
        stream.end()
    for wrong, text in (
        ({"hop": 0}, "hop must be"),
        ({"smooth": 1.5}, "smooth must be"),
        ({"dwell": -1}, "dwell must be"),
        ({"dwell": "1"}, "dwell must be"),
        ({"resample": "cubic"}, "resample must be"),
        ({"channels": ["x", "y"]}, "without z"),
        ({"recorded_at": -3}, "recorded_at"),
        ({"fill": {"y": "previous"}}, "fill: must name channels"),
        ({"backwards": "never"}, "backwards"),
    ):
        with pytest.raises(InputError, match=text):
            kdlab.Stream(student, **wrong)
    with pytest.raises(InputError, match="recorded_at must be a rate where there are no times"):
        kdlab.Stream(student, recorded_at="found").push(None, x[:, :2])
    images = Student(student.form, {**student.card, "input": {"shape": ["batch", 3, 8, 8]}})
    with pytest.raises(InputError, match=r"student must read windows \(C, T\), but got \(3, 8, 8\)"):
        kdlab.Stream(images)


def test_any_number_of_labels(student):
    many = Student(student.form, {**student.card, "labels": "many"})
    t, x = signal(400, RATE)
    decisions = replay(kdlab.Stream(many, channels=ALL, hop=HOP), t, x, 2)
    windows = [x[k : k + WINDOW, [2, 0]].T for k in range(0, 400 - WINDOW + 1, HOP)]
    p = 1 / (1 + np.exp(-student.logits(np.stack(windows)).astype(np.float64)))
    expected = [tuple(name for name, q in zip(student.classes, row, strict=True) if q > 0.5) for row in p]
    assert [d.prediction for d in decisions] == expected
    assert many.predict(np.stack(windows)) == expected
    assert many.predict(windows[0]) == expected[0]


# ---- the thread ------------------------------------------------------------------------------------------------------
def test_a_function_is_fed_by_calls():
    def halves(items):
        held = None
        for item in items:
            if item < 0:
                raise ValueError(item)
            if held is not None:
                yield held
            held = item
        yield held

    pushed = Pushed(halves)
    assert [pushed.push(k) for k in range(3)] == [[], [0], [1]]
    assert pushed.end() == [2]
    failing = Pushed(halves)
    with pytest.raises(ValueError, match="-1"):
        failing.push(-1)
    few = Pushed(lambda items: iter([next(items)]))
    assert [few.push(1), few.push(2), few.end()] == [[1], [], []]


def test_threads_end_with_their_streams(student):
    before = set(threading.enumerate())
    streams = [kdlab.Stream(student) for _ in range(3)]
    streams[0].push(*(a[:5] for a in (signal(9, RATE)[0], np.zeros((9, 2)))))
    streams[1].reset()
    assert len(set(threading.enumerate()) - before) >= 3
    streams.clear()
    gc.collect()
    for _ in range(1000):
        if not set(threading.enumerate()) - before:
            break
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


# ---- the example and the benchmark -----------------------------------------------------------------------------------
def script(name):
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_replays_a_table(student, trained, tmp_path, capsys):
    t, x = signal(400, RATE)
    t[200:] += 3.0
    pd.DataFrame({"ms": 1000 * t, "up": x[:, 2] / 2, "x": x[:, 0] / 2}).to_csv(tmp_path / "a.csv", index=False)
    words = [str(trained[2]), str(tmp_path / "a.csv"), "--time", "ms", "--time-unit", "ms", "--columns", "up", "x"]
    found = script("stream").main([*words, "--factor", "2", "--hop", str(HOP)])
    assert found == replay(kdlab.Stream(student, hop=HOP, channels=ALL), t, x, 2)
    out = capsys.readouterr().out
    assert "sit, walk; reads z (unit not known), x (unit not known) at 32.0 Hz" in out
    assert " s: gap (" in out
    assert "1 gaps beyond 0.5 s" in out


def test_the_example_replays_a_file_of_a_device(student, trained, recordings, capsys):
    actfast = pytest.importorskip("actfast")
    file = recordings / "devices" / "ax6_testfile.cwa"
    rows = actfast.read(str(file))["timeseries"]["high_frequency"]
    words = [str(trained[2]), str(file), "--columns", "z", "gx", "--rate", "100", "--piece", "1000", "--all"]
    found = script("stream").main(words)
    stream = kdlab.Stream(student, recorded_at=100.0, time_unit="ns")
    samples = np.stack([rows["acceleration"][:, 2], rows["gyroscope"][:, 0]], 1)
    assert found == replay(stream, rows["datetime"], samples, 1)
    assert found[0].start == pytest.approx(rows["datetime"][0] / 1e9, abs=1e-3)
    assert len(found) > 50
    assert len(capsys.readouterr().out.splitlines()) == len(found) + 2


def test_the_benchmark_compares_a_replay_with_the_windows(capsys):
    pytest.importorskip("seglearn")
    from benchmarks import stream as benchmark

    benchmark.main(["--quick", "--forms", "torch"])
    out = capsys.readouterr().out
    titles = r"windows/s +ms/window +us/sample, 1 +longest push, ms +us/sample, 50 +x real time"
    assert re.search(rf"{titles}\n +torch( +[\d.e+]+){{6}}\n", out)
    count, same = re.search(r"torch: (\d+) decisions .*, (\d+) as on the windows", out).groups()
    assert count == same
    assert int(count) > 100


def test_dates_of_any_container_are_read(student):
    _, x = signal(200, RATE)
    naive = pd.to_datetime(1_700_000_000_000 + np.round(np.arange(200) * 1000 / RATE).astype(np.int64), unit="ms")
    aware = naive.tz_localize("UTC").tz_convert("Europe/Berlin")
    kinds = (naive, aware, pd.Series(aware), aware.tolist(), [one.to_pydatetime() for one in naive], naive.to_numpy())
    ends = [[d.end for d in kdlab.Stream(student, channels=ALL).push(kind, x)] for kind in kinds]
    assert len(ends[0]) == 4
    for found in ends:
        assert found == pytest.approx(ends[0], abs=1e-5)
    with pytest.raises(InputError, match=r"Stream: times must be dates of one zone"):
        kdlab.Stream(student, channels=ALL).push([naive[0], aware[1]], x[:2])


def test_a_frame_is_not_read_by_place_where_its_names_say_another(student):
    _, x = signal(200, RATE)
    own = list(student.channels)
    frame = pd.DataFrame(x[:, [ALL.index(name) for name in own]], columns=own)
    found = [d.probabilities for d in kdlab.Stream(student).push(None, frame)]
    assert found == [d.probabilities for d in kdlab.Stream(student).push(None, frame.to_numpy())]
    refused = r"columns of the frame must be .*, in this order, but are .*frame.to_numpy\(\)"
    for other in (frame[own[::-1]], frame.rename(columns={own[0]: "a"})):
        with pytest.raises(InputError, match=refused):
            kdlab.Stream(student).push(None, other)
    with pytest.raises(InputError, match=refused):  # names are given, in another order than the frame's
        kdlab.Stream(student, channels=own).push(None, frame[own[::-1]])
    named = frame.rename(columns=dict(zip(own, "ab", strict=True)))
    assert [d.probabilities for d in kdlab.Stream(student, channels=own).push(None, named)] == found
    window = frame.iloc[:WINDOW].T
    np.testing.assert_array_equal(student.probabilities(window), student.probabilities(window.to_numpy()))
    with pytest.raises(InputError, match=r"Student: rows of the frame must be"):
        student.predict(window.iloc[::-1])


def test_samples_in_another_unit_are_told_once(student):
    _, x = signal(WINDOW * 45, RATE)
    usual, mg = kdlab.Stream(student, channels=ALL), kdlab.Stream(student, channels=ALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        usual.push(None, x)
        mg.push(None, 1000 * x[: WINDOW * 19])
    with pytest.warns(UserWarning, match=r"Stream: samples: values must be in the units of .* times") as told:
        mg.push(None, 1000 * x[WINDOW * 19 :])
    assert len(told) == 1
    mg.reset()
    with pytest.warns(UserWarning, match="Stream: samples"):
        mg.push(None, 1000 * x)
