"""The evaluation: its numbers against independent ones, its refusals, its files and its pictures."""

import dataclasses
import json
import math
import time
import typing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import f1_score, log_loss, precision_recall_fscore_support
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchmetrics.functional.classification import multiclass_calibration_error

import kdlab
from kdlab.augment import Corruption
from kdlab.data import ArrayDataModule, BasicMotions
from kdlab.evaluate import (
    Evaluation,
    command,
    evaluate,
    latency,
    macs,
    parameters,
    plot_embeddings,
    plot_reliability,
    plot_robustness,
    reliability_bins,
    scores,
    tables,
    v_measure,
    view_latency,
)
from kdlab.evaluate.metrics import class_scores, confusion_matrix
from kdlab.methods.checkpoints import KEY, read_checkpoint
from kdlab.nets import SensorFusion, WideResNet, build
from kdlab.types import InputError, MissingFileError
from kdlab.views import GramianAngularField, PersistenceImage, Raw, View
from tests.conftest import net, trainer

VIEWS = {"raw": Raw(), "pi": PersistenceImage(size=16)}


def restored(path, **data) -> tuple[kdlab.Supervised, BasicMotions]:
    """The method of a checkpoint with its weights, and BasicMotions."""
    described = read_checkpoint(path)[KEY]
    module = kdlab.Supervised(build(described["net"]), view=described["view"])
    datamodule = BasicMotions(**{"views": VIEWS, **data})
    command.load(module, datamodule, Path(path))
    return module, datamodule


@pytest.fixture(scope="module")
def raw_and_pi(teachers) -> dict[str, Evaluation]:
    return {name: evaluate(*restored(path)) for name, path in teachers.items()}


# ---------------------------------------------------------------------------------------------------------------- cost
@pytest.mark.parametrize(
    ("depth", "width", "shape", "classes", "millions"),
    [
        (16, 1, (3, 500), 14, 10.1),
        (28, 3, (3, 500), 14, 185),
        (16, 3, (40, 100), 12, 17.8),
        (16, 1, (3, 64, 64), 14, 107),
        (16, 3, (3, 64, 64), 14, 892),
        (40, 2, (3, 32, 32), 10, 328),
    ],
)
def test_macs_of_wide_residual_nets(depth, width, shape, classes, millions):
    one = WideResNet(depth, width, len(shape) - 1, in_channels=shape[0], num_classes=classes)
    assert macs(one, shape) / 1e6 == pytest.approx(millions, rel=0.005)


class Sequence(nn.Module):
    """A recurrent or an attending layer over (B, C, T), in batches first."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x.transpose(1, 2))


def test_macs_of_fused_layers():
    lstm = Sequence(nn.LSTM(6, 32, batch_first=True)).requires_grad_(False)
    assert macs(lstm, (6, 100)) == 100 * 4 * 32 * (6 + 32)
    gru = Sequence(nn.GRU(6, 32, batch_first=True, bidirectional=True))
    assert macs(gru, (6, 100)) == 2 * 100 * 3 * 32 * (6 + 32)
    layer = Sequence(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)).requires_grad_(False).eval()
    attention, projections = 2 * 50 * 50 * 32, 50 * 32 * (3 * 32 + 32 + 64 + 64)
    assert macs(layer, (32, 50)) == attention + projections


def test_costs_leave_the_net_alone():
    one = net(channels=3, classes=2).train()
    one.stages[0].eval()
    before = {k: v.clone() for k, v in one.state_dict().items()}
    modes, threads = [m.training for m in one.modules()], torch.get_num_threads()
    assert parameters(one) == sum(v.numel() for k, v in dict(one.named_parameters()).items())
    assert macs(one, (3, 40)) > 0
    assert latency(one, (3, 40), runs=2) > 0
    assert [m.training for m in one.modules()] == modes
    assert torch.get_num_threads() == threads
    assert all(torch.equal(v, before[k]) for k, v in one.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in one.modules())


def test_time_is_in_milliseconds_on_one_thread(monkeypatch):
    class Slow(nn.Module):
        def forward(self, x):
            assert torch.get_num_threads() == 1
            assert torch.is_inference_mode_enabled()
            assert not self.training
            clock.now += 0.0025
            return x

    clock = type("Clock", (), {"now": 0.0, "perf_counter": lambda self: self.now})()
    monkeypatch.setattr("kdlab.evaluate.cost.time", clock)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert latency(Slow(), (1, 8), runs=5) == pytest.approx(2.5)
        calls = [0.0, 0.0055, 0.0115]  # seconds, a third of them first; a call takes .0025, and there are 5 and then 20
        for seconds, count in zip([*calls, 1.0], (1 + 3, 1 + 3, 2 + 5, 5 + 20), strict=True):
            begin = clock.now
            assert latency(Slow(), (1, 8), 20, seconds) == pytest.approx(2.5)
            assert round((clock.now - begin) / 0.0025) == count
        with pytest.raises(InputError, match="x must be of shape"):
            latency(net(channels=3), (4, 40))
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)


def test_bigger_nets_and_views_take_longer(monkeypatch):
    clock = SimpleNamespace(perf_counter=time.thread_time)  # what other processes take does not count
    monkeypatch.setattr("kdlab.evaluate.cost.time", clock)
    small, big = (WideResNet(10, width, 1, 6, 4) for width in (1, 8))
    assert latency(big, (6, 200), 9) > 2 * latency(small, (6, 200), 9)
    assert view_latency(PersistenceImage(size=64), 6, 200, 9) > view_latency(Raw(), 6, 200, 9)
    assert view_latency(Raw(channels=(0, 1)), 6, (100,), 3) > 0
    with pytest.raises(InputError, match="runs: must be at least 1, but got 0"):
        view_latency(Raw(), 6, 100, 0)


# ------------------------------------------------------------------------------------------------------------- metrics
def random_answers(n=400, k=5, seed=0):
    """Probabilities and targets of k + 1 classes, of which the last is in neither."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k + 1)) * 2
    y = np.where(rng.random(n) < 0.5, z[:, :k].argmax(1), rng.integers(k, size=n))
    z[:, k] = -30
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return p, y


def test_scores_are_those_of_the_definitions():
    p, y = random_answers()
    got, predicted = scores(p, y), p.argmax(1)
    assert got["accuracy"] == pytest.approx(np.mean([a == b for a, b in zip(predicted, y, strict=True)]))
    assert got["nll"] == pytest.approx(log_loss(y, p, labels=range(6)), rel=1e-12)
    assert got["f1"] == pytest.approx(f1_score(y, predicted, average="macro"))  # over the classes that occur
    gaps = 0.0
    for b in range(15):
        inside = [i for i in range(len(p)) if b / 15 < max(p[i]) <= (b + 1) / 15]
        if inside:
            right = sum(int(predicted[i] == y[i]) for i in inside) / len(inside)
            gaps += len(inside) / len(p) * abs(right - math.fsum(max(p[i]) for i in inside) / len(inside))
    assert got["ece"] == pytest.approx(gaps, abs=1e-12)
    peer = multiclass_calibration_error(torch.from_numpy(p), torch.from_numpy(y), 6, n_bins=15)
    assert got["ece"] == pytest.approx(float(peer), abs=1e-6)


def test_class_scores_and_confusion_are_those_of_a_peer():
    p, y = random_answers(seed=1)
    matrix = confusion_matrix(p, y)
    reference = np.zeros((6, 6), dtype=int)
    for wanted, row in zip(y, p, strict=True):
        reference[wanted, row.argmax()] += 1
    np.testing.assert_array_equal(matrix, reference)
    peer = precision_recall_fscore_support(y, p.argmax(1), labels=range(6), zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "support"), peer, strict=True):
        np.testing.assert_allclose(class_scores(matrix)[name], values, rtol=1e-12)


def test_bins_are_closed_above_and_empty_ones_say_so():
    p = np.array([[1.0, 0.0], [0.5, 0.5], [0.75, 0.25], [0.8, 0.2]])
    bins = reliability_bins(p, np.array([0, 1, 0, 0]), bins=4)
    np.testing.assert_array_equal(bins["count"], [0, 1, 1, 2])
    np.testing.assert_allclose(bins["accuracy"], [np.nan, 0, 1, 1])
    np.testing.assert_allclose(bins["confidence"], [np.nan, 0.5, 0.75, 0.9])


@pytest.mark.parametrize(
    ("p", "y", "said"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), "at least one window"),
        (np.full((3, 2), 0.5), np.zeros(2, int), r"\(3, 2\) and \(2,\)"),
        (np.array([[2.0, -1.0]]), np.array([0]), "softmax"),
        (np.array([[np.nan, 1.0]]), np.array([0]), "finite"),
        (np.array([[0.5, 0.5]]), np.array([2]), "from 0 to 1, but got"),
    ],
)
def test_what_is_no_answer_is_refused(p, y, said):
    with pytest.raises(InputError, match=said):
        scores(p, y)


def test_certain_and_wrong_is_finite():
    assert 700 < scores(np.array([[1.0, 0.0]]), np.array([1]))["nll"] < 720


def test_v_measure_is_the_harmonic_mean_of_homogeneity_and_completeness():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = np.eye(3)[y] * 3 + rng.normal(size=(90, 3))
    cluster = KMeans(3, n_init=10, random_state=0).fit_predict(x)
    table = np.array([[np.sum((y == a) & (cluster == b)) for b in range(3)] for a in range(3)]) / 90

    def entropy(q):
        return -sum(v * math.log(v) for v in np.ravel(q) if v > 0)

    rows, columns, both = entropy(table.sum(1)), entropy(table.sum(0)), entropy(table)
    homogeneity, completeness = 1 - (both - columns) / rows, 1 - (both - rows) / columns
    expected = 2 * homogeneity * completeness / (homogeneity + completeness)
    assert 0.5 < expected < 0.95
    assert v_measure(x, y) == pytest.approx(expected)
    assert v_measure(x, rng.permutation(y)) < 0.1
    with pytest.raises(InputError, match="finite"):
        v_measure(x * np.nan, y)


def test_one_class_has_no_v_measure(raw_and_pi):
    x, y = np.random.default_rng(0).normal(size=(30, 8)), np.zeros(30, int)
    assert math.isnan(v_measure(x, y))
    titles = [axis.get_title() for axis in plot_embeddings({"one": (x, y), "two": (x, y + (x[:, 0] > 0))}, "ab").axes]
    assert titles[0] == "one"
    assert titles[1].startswith("two\nV-measure")
    one = raw_and_pi["raw"]
    for none in (math.nan, None):  # None once read from a file
        lacking = dataclasses.replace(one, scalars={**one.scalars, "v_measure": none, "map": none})
        lines = [line.split(" | ") for line in tables.summary({"a": one, "b": lacking}).splitlines()]
        assert lines[3][lines[0].index("V-measure")] == ""
        assert "mean AP %" not in lines[0]


# ------------------------------------------------------------------------------------------------------------ evaluate
@pytest.mark.parametrize("name", ["raw", "pi"])
def test_evaluate_agrees_with_the_trainer(name, teachers, raw_and_pi, tmp_path):
    module, datamodule = restored(teachers[name])
    got = raw_and_pi[name]
    tested = trainer(tmp_path).test(module, datamodule, verbose=False)[0]
    for ours, theirs in (("accuracy", "accuracy"), ("f1", "f1"), ("nll", "loss")):
        assert got.scalars[ours] == pytest.approx(tested[f"test/{theirs}"], abs=1e-5)
    for kind, severity in (("missing", 3), ("noise", 1)):
        datamodule.corruption = Corruption(kind, severity)
        tested = trainer(tmp_path).test(module, datamodule, verbose=False)[0]
        assert got.scalars[f"accuracy_{kind}{severity}"] == pytest.approx(tested["test/accuracy"], abs=1e-6)
        assert got.robustness[kind][severity] == got.scalars[f"accuracy_{kind}{severity}"]
    assert got.target.tolist() == datamodule.data.target[got.index].tolist()
    assert got.confusion.sum() == len(got.index) == 40
    assert got.embedding.shape == (40, 64)
    assert got.scalars["parameters"] == parameters(module.net)
    assert got.scalars["view_ms"] > 0
    assert set(got.robustness) == set(typing.get_args(typing.get_type_hints(Corruption)["kind"]))


@dataclasses.dataclass(frozen=True)
class Forbidden(View):
    """A view that nobody may ask for."""

    def shape(self, channels, length):
        return (1, length)

    def compute(self, x):
        raise AssertionError("computed")


def test_only_the_own_view_is_computed_and_everything_is_left_as_it_was(teachers):
    module, datamodule = restored(teachers["raw"], views={**VIEWS, "other": Forbidden()}, corruption=Corruption())
    module.net.train()
    module.net.stages[1].eval()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    modes = [m.training for m in module.modules()]
    got = evaluate(module, datamodule, robustness=False, embedding=False, cost=False, batch_size=7)
    assert set(got.scalars) == {"accuracy", "f1", "nll", "ece"}
    assert not got.robustness
    assert got.embedding.shape[1] == 0
    clean = evaluate(restored(teachers["raw"])[0], BasicMotions(views=VIEWS), robustness=False, cost=False)
    np.testing.assert_allclose(got.probabilities, clean.probabilities, atol=1e-6)  # without its corruption
    module.net.head.weight.data.fill_(float("nan"))
    with pytest.raises(InputError, match="diverged"):
        evaluate(module, datamodule)
    module.net.load_state_dict({k.removeprefix("net."): v for k, v in before.items() if k.startswith("net.")})
    assert [m.training for m in module.modules()] == modes
    assert datamodule.corruption == Corruption()
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def small(test, val=(6, 7), seed=0) -> ArrayDataModule:
    rng = np.random.default_rng(seed)
    y = np.arange(80) % 2
    x = rng.normal(size=(80, 2, 24)) + y[:, None, None]
    common = {"classes": ["a", "b"], "batch_size": 8, "scale": "none"}
    return ArrayDataModule(x, y, np.repeat(np.arange(8), 10), test_subjects=test, val_subjects=list(val), **common)


def test_a_leak_is_refused(tmp_path):
    module = kdlab.Supervised(net(channels=2, classes=2))
    trainer(tmp_path, max_epochs=1).fit(module, small([0, 1]))
    assert set(evaluate(module, small([0, 1]), cost=False).subjects) == {"0", "1"}
    with pytest.raises(InputError, match=r"subject 2 .*trained"):
        evaluate(module, small([1, 2]))
    with pytest.raises(InputError, match=r"subject 6 .*trained or stopped"):  # selection on test
        evaluate(module, small([0, 6], val=(1, 7)))
    assert set(evaluate(module, small([0, 1]), stage="val", cost=False).subjects) == {"6", "7"}
    assert not evaluate(module, small([0, 1]), stage="val", cost=False).robustness
    with pytest.raises(InputError, match=r"subject 2 .*validate"):
        evaluate(module, small([0, 1], val=(2, 7)), stage="val")
    with pytest.raises(InputError, match='must be "test" or "val"'):
        evaluate(module, small([0, 1]), stage="train")


def test_other_inputs_are_refused(teachers):
    module, _ = restored(teachers["pi"])
    with pytest.raises(InputError, match=r"sigma=0\.5"):
        evaluate(module, BasicMotions(views={"pi": PersistenceImage(size=16, sigma=0.5)}))
    with pytest.raises(InputError, match=r"other inputs.*scaled"):
        evaluate(module, BasicMotions(views=VIEWS, scale="minmax"))
    with pytest.raises(InputError, match="reads view 'pi'"):
        evaluate(module, BasicMotions())


@pytest.mark.gpu
def test_a_net_on_a_gpu_answers_the_same(teachers, raw_and_pi):
    module, datamodule = restored(teachers["raw"])
    got = evaluate(module.cuda(), datamodule)
    np.testing.assert_allclose(got.probabilities, raw_and_pi["raw"].probabilities, atol=1e-2)  # TF32
    assert module.device.type == "cuda"


def test_a_net_of_unknown_origin_is_evaluated_with_a_warning():
    with pytest.warns(UserWarning, match="training data of the net are not known"):
        got = evaluate(kdlab.Supervised(net()), BasicMotions(), robustness=False, cost=False)
    assert got.scalars["accuracy"] == pytest.approx(np.mean(got.probabilities.argmax(1) == got.target))


def test_evaluations_are_saved_whole(raw_and_pi, tmp_path, monkeypatch):
    one = dataclasses.replace(raw_and_pi["pi"], description={**raw_and_pi["pi"].description, "best": float("inf")})
    back = Evaluation.load(one.save(tmp_path / "deep" / "folder"))
    for field in dataclasses.fields(Evaluation):
        if field.name != "description":
            np.testing.assert_equal(getattr(back, field.name), getattr(one, field.name))
    assert back.description["view"] == "pi"
    assert back.description["best"] is None
    assert back.description["tested_on"] == one.description["tested_on"]
    assert sorted(p.name for p in (tmp_path / "deep/folder").iterdir()) == ["evaluation.json", "predictions.npz"]
    json.loads((tmp_path / "deep/folder/evaluation.json").read_text(), parse_constant=pytest.fail)  # no NaN
    monkeypatch.setattr(kdlab.files.json, "dumps", lambda *a, **k: 1 / 0)  # interrupted between the two files
    with pytest.raises(ZeroDivisionError):
        one.save(tmp_path / "deep" / "folder")
    with pytest.raises(MissingFileError, match=r"evaluation\.json"):
        Evaluation.load(tmp_path / "deep" / "folder")


def test_real_recordings(recordings, tmp_path):
    """A watch student of one epoch on people whom it never saw."""
    z = dict(np.load(recordings / "sp_sw_har_windows.npz"))
    names = [str(c) for c in z["channels"]]
    watch = [c for c in names if c.startswith("watch")]
    views = {"raw": Raw(channels=watch), "gaf": GramianAngularField(size=16, channels=watch)}
    data = ArrayDataModule(
        z["x"], z["y"], z["subject"], layout="NTC", channels=names, classes=z["classes"].tolist(), views=views
    )
    torch.manual_seed(0)
    module = kdlab.Supervised(net(channels=len(watch), classes=5))
    trainer(tmp_path, max_epochs=1).fit(module, data)
    got = evaluate(module, data)
    assert set(got.subjects) == set(data.fingerprint["test"])
    assert len(got.index) == data.counts["test"]["windows"]
    assert 0.4 < np.mean(got.target == got.classes.index("WALKING")) < 0.6  # labels stand where they belong
    assert got.scalars["accuracy"] == pytest.approx(np.mean(got.probabilities.argmax(1) == got.target))
    p, y = torch.from_numpy(got.probabilities), torch.from_numpy(got.target)
    assert got.scalars["ece"] == pytest.approx(float(multiclass_calibration_error(p, y, 5, n_bins=15)), abs=1e-4)
    assert got.scalars["macs"] == macs(module.net, (len(watch), 100))


# ------------------------------------------------------------------------------------------------------------- command
@pytest.fixture
def built(teachers, tmp_path):
    """Version folders with a config beside the checkpoints, and what the command line would inject."""
    runs = {}
    for name, path in teachers.items():
        folder = tmp_path / "runs/bm" / f"teacher_{name}" / "version_0"
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints/teacher.ckpt").write_bytes(Path(path).read_bytes())
        views = {"raw": {"class_path": "Raw"}, "pi": {"class_path": "PersistenceImage", "init_args": {"size": 16}}}
        data = {"class_path": "kdlab.data.BasicMotions", "init_args": {"views": views}}
        (folder / "config.yaml").write_text(json.dumps({"of": name, "data": data}))
        runs[name] = str(folder.parent)
    asked = []

    def make(config, overrides):
        name = json.loads(config.read_text())["of"]
        asked.append((name, overrides))
        described = read_checkpoint(teachers[name])[KEY]
        return kdlab.Supervised(build(described["net"]), view=described["view"]), BasicMotions(views=VIEWS)

    return runs, make, asked


def test_the_command_writes_tables_pictures_and_predictions(built, raw_and_pi, tmp_path, capsys):
    runs, make, asked = built
    out = tmp_path / "out"
    words = [runs["raw"], runs["pi"], "--out", str(out), "--set", "data.num_workers=0"]
    got = command.main(words, make)
    assert not asked  # the nets come from the checkpoints, of the configs only data are read
    trusted = command.main([*words, "--trust-config", "--overwrite"], make)
    assert asked == [("raw", ["--data.num_workers=0"]), ("pi", ["--data.num_workers=0"])]
    for name, one in trusted.items():
        assert np.array_equal(one.probabilities, got[name].probabilities)
        differ = {k for k in one.description if one.description[k] != got[name].description[k]}
        assert not differ
    capsys.readouterr()
    got = command.main([*words, "--overwrite"], make)
    asked.clear()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines] == ["run", "---", "teacher_raw", "teacher_pi"]
    for name in ("raw", "pi"):
        row = f"teacher_{name}"
        assert got[row].scalars["accuracy"] == raw_and_pi[name].scalars["accuracy"]  # the weights were read
        assert Evaluation.load(out / row).scalars == got[row].scalars
    pictures = {"robustness", "reliability", "embeddings", "confusion_teacher_raw", "confusion_teacher_pi"}
    assert {p.stem for p in out.glob("*.png")} == pictures
    text = (out / "results.md").read_text()
    assert lines[2] in text
    assert "Cost of one window" in text
    assert "teacher.ckpt" in text
    with pytest.raises(InputError, match="must be an empty folder"):
        command.main(words, make)
    command.main([runs["raw"], "--out", str(out), "--overwrite", "--no-robustness", "--no-embedding"], make)
    assert "teacher_pi" not in (out / "results.md").read_text()
    assert "robustness" not in Evaluation.load(out / "teacher_raw").scalars


def test_the_command_tells_once_that_a_corruption_is_set_aside(built, raw_and_pi, tmp_path, recwarn):
    runs, make, _ = built
    words = [runs["raw"], runs["pi"], "--no-robustness", "--no-embedding"]
    clean = command.main([*words, "--out", str(tmp_path / "clean")], make)
    assert not [w for w in recwarn if "corruption" in str(w.message)]
    corrupted = ["--set", "data.corruption=Corruption", "--out"]
    got = command.main([*words, *corrupted, str(tmp_path / "out")], make)
    (told,) = [str(w.message) for w in recwarn if "corruption" in str(w.message)]
    assert told.startswith("data.corruption of teacher_raw, teacher_pi: it is set aside")
    for name, one in got.items():
        assert np.array_equal(one.probabilities, clean[name].probabilities)
    command.main([*words, "--stage", "val", *corrupted, str(tmp_path / "val")], make)  # it changes no such windows
    assert len([w for w in recwarn if "corruption" in str(w.message)]) == 1


def test_the_command_says_what_is_missing(built, tmp_path):
    runs, make, asked = built
    file = Path(runs["raw"]) / "version_0/checkpoints/teacher.ckpt"
    with pytest.raises(MissingFileError, match="does not exist"):
        command.main([str(tmp_path / "nothing")], make)
    with pytest.raises(InputError, match="must be different checkpoints"):
        command.main([str(file), runs["raw"], "--out", str(tmp_path / "new")], make)
    with pytest.raises(InputError, match=r"--device: .*'abacus'"):
        command.main([runs["raw"], "--device", "abacus", "--out", str(tmp_path / "new")], make)
    (Path(runs["raw"]) / "version_0/config.yaml").unlink()
    with pytest.raises(MissingFileError, match="--config FILE"):
        command.main([str(file)], make)
    assert not asked
    assert not (tmp_path / "new").exists()


def test_rows_of_other_windows_are_pointed_out(raw_and_pi):
    same = {"a": raw_and_pi["raw"], "b": raw_and_pi["pi"]}
    assert command.warnings_of(same) == []
    other = dataclasses.replace(raw_and_pi["raw"], index=raw_and_pi["raw"].index + 1)
    (line,) = command.warnings_of({**same, "c": other})
    assert line.startswith("warning: not the same windows")
    assert line.endswith("a, b / c")


def test_a_net_whose_answer_depends_on_its_batch_is_pointed_out(tmp_path):
    data, method = BasicMotions(), kdlab.Supervised(SensorFusion({"a": 3, "g": 3}, 10, num_classes=4))
    data.setup("test")
    found = evaluate(method, data, cost=False, batch_size=7)
    assert found.description["batch"] == 7
    (line,) = command.warnings_of({"fused": found})
    assert "answers of fused for a window depend on the others in its batch, so these are of batches of 7" in line
    run = trainer(tmp_path, callbacks=[kdlab.callbacks.PredictionWriter(str(tmp_path / "p.csv"))])
    with pytest.warns(UserWarning, match="predictions: the answers of SensorFusion for a window depend on the others"):
        run.predict(method, data)


def test_tables_say_what_was_measured(raw_and_pi):
    lines = tables.cost(raw_and_pi).splitlines()
    head, raw, pi = ([cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:]))
    least = head.index("MACs, x least")
    ratio = raw_and_pi["pi"].scalars["macs"] / raw_and_pi["raw"].scalars["macs"]
    assert raw[least] == "1.0"
    assert float(pi[least]) == pytest.approx(ratio, abs=0.05)
    rows = tables.robustness(raw_and_pi).splitlines()
    assert len(rows) == 4
    assert rows[0].count("|") == 2 + 1 + 12
    assert all(name in tables.per_class(raw_and_pi) for name in raw_and_pi["raw"].classes)


# ------------------------------------------------------------------------------------------------------------ pictures
def test_robustness_picture():
    runs = {f"run {i}": {"noise": [0.9, 0.8, 0.7, i / 20], "shift": [0.9, 0.9, 0.9, 0.9]} for i in range(12)}
    figure = plot_robustness(runs)
    noise, shift = figure.axes
    assert noise.get_ylabel() == "accuracy (%)"
    assert shift.get_title() == "shift in time"
    assert [line.get_ydata()[-1] for line in noise.get_lines()] == pytest.approx([5 * i for i in range(12)])
    styles = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in noise.get_lines()}
    assert len(styles) == 12  # each can be told apart
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(runs)
    with pytest.raises(InputError, match="robustness=True"):
        plot_robustness({"a": {}})


def test_reliability_picture(raw_and_pi):
    figure = plot_reliability({name: one.reliability for name, one in raw_and_pi.items()})
    raw = figure.axes[0]
    bins = raw_and_pi["raw"].reliability
    heights = [patch.get_height() for patch in raw.patches[::2]]  # accuracy, then the gap
    assert heights == pytest.approx(bins["accuracy"][bins["count"] > 0].tolist())
    assert f"ECE {100 * raw_and_pi['raw'].scalars['ece']:.1f} %" in raw.get_title()
    shares = [patch.get_height() for patch in figure.axes[1].patches]
    assert sum(shares) == pytest.approx(100)


def test_embedding_picture(raw_and_pi):
    some = {name: (one.embedding, one.target) for name, one in raw_and_pi.items()}
    figure = plot_embeddings(some, raw_and_pi["raw"].classes, most=30)
    for axis, (name, one) in zip(figure.axes, raw_and_pi.items(), strict=True):
        assert axis.get_title() == f"{name}\nV-measure {one.scalars['v_measure']:.2f}"
        assert sum(len(points.get_offsets()) for points in axis.collections) == 30
    assert [t.get_text() for t in figure.legends[0].get_texts()] == raw_and_pi["raw"].classes
    with pytest.raises(InputError, match="N >= 3"):
        plot_embeddings({"a": (np.zeros((2, 4)), np.arange(2))}, ["a", "b"])


@pytest.mark.parametrize("kind", [torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
@pytest.mark.parametrize("more", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}])
def test_recurrent_layers_count_as_step_by_step(kind, more):
    gates = {torch.nn.RNN: 1, torch.nn.GRU: 3, torch.nn.LSTM: 4}[kind]
    sides, layers = (2, 2) if more else (1, 1)
    step = sum(gates * 7 * ((5 if layer == 0 else 7 * sides) + 7) * sides for layer in range(layers))
    samples = 11  # of time or of the batch: one of the two is 1
    assert macs(kind(5, 7, **more), (11, 5)) == samples * step
    with torch.enable_grad(), FlopCounterMode(display=False) as flops:
        kind(5, 7, device="meta", **more)(torch.empty(1, 11, 5, device="meta"))
    assert flops.get_total_flops() // 2 == samples * step


def test_the_table_of_nets_is_made_without_unrolling_time():
    steps = []

    class Watched(torch.nn.LSTM):
        def forward(self, x, state=None):
            steps.append(x.shape[1])
            return super().forward(x, state)

    macs(Watched(3, 4, batch_first=True), (500, 3))
    assert steps == [1]
