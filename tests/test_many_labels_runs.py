"""Windows with any number of labels each: fits, checkpoints, the command line, evaluation, export, studies."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn import metrics as sk
from torch.utils.data import DataLoader

import kdlab
from kdlab import KD, Batch, InputError, Supervised, Teacher, cli
from kdlab.cache import TeacherCache
from kdlab.callbacks import ConfusionMatrixPicture, EarlyStoppedTeacher, MarginMapPictures, ViewPictures
from kdlab.data import ArrayDataModule
from kdlab.data.mixing import Mixup
from kdlab.data.unlabelled import Unlabelled
from kdlab.evaluate import Evaluation, evaluate
from kdlab.export import load
from kdlab.methods.checkpoints import KEY
from kdlab.methods.stubs import made_methods
from kdlab.methods.windows import windows_of
from kdlab.nets import WideResNet
from kdlab.nets.reused import ReusedClassifier
from tests.conftest import trainer
from tests.test_many_labels import METHODS

NAMES = ["walk", "sit", "talk"]
RNG = np.random.default_rng(0)
Y = (RNG.random((240, 3)) < [0.5, 0.3, 0.2]).astype(int)
X = RNG.normal(0, 0.5, size=(240, 2, 32)).astype(np.float32)
for k in range(3):
    X[:, k % 2] += (2 * Y[:, k, None] * np.sin(np.arange(32) * (k + 1) / 2)).astype(np.float32)
WHO = np.arange(240) // 24


def many(**changes: Any) -> ArrayDataModule:
    return ArrayDataModule(X, Y, WHO, **{"labels": "many", "classes": NAMES, "batch_size": 16, "seed": 0, **changes})


def one(**changes: Any) -> ArrayDataModule:
    return ArrayDataModule(X, Y[:, 0] + Y[:, 1], WHO, classes=NAMES, batch_size=16, seed=0, **changes)


def net() -> WideResNet:
    torch.manual_seed(0)
    return WideResNet(10, 1, in_channels=2, num_classes=3)


def teacher(view: str = "raw") -> Teacher:
    return Teacher(net=net(), mean=[0.0, 0.0], std=[1.0, 1.0], view=view)


def fitted(folder: Path, module: Any, data: Any, **kwargs: Any) -> pl.Trainer:
    pl.seed_everything(0)
    run = trainer(folder, **{"max_epochs": 1, **kwargs})
    run.fit(module, data)
    return run


# ------------------------------------------------------------------------------------------------------------ methods


@pytest.mark.parametrize("name", sorted(made_methods()))
def test_every_method_trains_or_is_refused(name: str, tmp_path: Path) -> None:
    cls: Any = made_methods()[name]
    student: Any = ReusedClassifier(net(), net()) if name == "SimKD" else net()
    without = not issubclass(cls, kdlab.Distillation)
    raw = {"raw": teacher()}
    arguments = (student,) if without else (student, raw | {"pi": teacher()} if name in ("TGD", "TPKD") else raw)
    if name not in METHODS:
        with pytest.raises(
            InputError, match=rf"^{name}: the method must be defined for any number of labels per window"
        ):
            fitted(tmp_path, cls(*arguments), many())
        return
    module = cls(*arguments)
    run = fitted(tmp_path, module, many(), limit_train_batches=2)
    assert run.global_step == 2
    assert {"val/loss", "val/accuracy", "val/f1", "train/ce"} <= set(run.callback_metrics) | {"train/ce"}
    assert all(value.isfinite() for value in run.callback_metrics.values())
    assert module.describe()["labels"] == "many"


class Losses(pl.Callback):
    """The label term of every step, beside the formula."""

    def __init__(self, weights: list[float]) -> None:
        self.weights, self.found, self.wanted = weights, [], []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        inner = type(pl_module.objective).forward

        def recorded(**given: Any) -> Any:
            terms = inner(pl_module.objective, **given)
            z, y = given["student"].logits.detach().double().numpy(), given["target"].double().numpy()
            z, y = z[y[:, 0] >= 0], y[y[:, 0] >= 0]
            p = 1 / (1 + np.exp(-z))
            self.found.append(float(terms["ce"].detach()))
            self.wanted.append(-float((np.array(self.weights) * y * np.log(p) + (1 - y) * np.log(1 - p)).mean()))
            return terms

        pl_module.objective.forward = recorded


@pytest.mark.parametrize("mix", [None, Mixup()], ids=["labels", "mixup"])
def test_balanced_weights_of_a_fit(mix: Any, tmp_path: Path) -> None:
    data = many(mix=mix)
    data.setup()
    rows = Y[data.train_index]
    weights = ((1 - rows).sum(0) / rows.sum(0)).tolist()
    module = Supervised(net(), class_weights="balanced")
    losses = Losses(weights)
    fitted(tmp_path, module, data, callbacks=[losses])
    assert len(losses.found) > 3
    np.testing.assert_allclose(losses.found, losses.wanted, rtol=1e-4)
    assert module.describe()["class_weights"] == pytest.approx(weights)


def test_windows_without_labels_are_not_counted_as_windows_without_classes(tmp_path: Path) -> None:
    given = many(unlabelled=Unlabelled(people=["1", "2"]))
    given.setup()
    labelled = given.train_index[: given.counts["train"]["windows"]]
    rows = Y[labelled]
    assert set(WHO[labelled]) & {1, 2} == set()
    assert set(WHO[given.train_index]) >= {1, 2}
    module = KD(net(), {"raw": teacher()}, class_weights="balanced")
    losses = Losses(((1 - rows).sum(0) / rows.sum(0)).tolist())
    fitted(tmp_path, module, given, callbacks=[losses])
    assert module.objective.label_weights == pytest.approx(losses.weights)
    np.testing.assert_allclose(losses.found, 0.1 * np.array(losses.wanted), rtol=1e-4)


def test_a_teacher_is_stopped_at_the_peak_of_f1_and_best_is_chosen_by_it(tmp_path: Path) -> None:
    data = many()
    stop = EarlyStoppedTeacher(monitor="val/f1", patience=3, smoothing=1)
    best = ModelCheckpoint(tmp_path / "best", monitor="val/f1", mode="max", filename="best")
    pictures = [ConfusionMatrixPicture(), ViewPictures()]
    module = Supervised(net())
    run = fitted(tmp_path, module, data, max_epochs=4, callbacks=[stop, best, *pictures], enable_checkpointing=True)
    assert stop.checkpoint is not None
    assert best.best_model_score is not None
    assert float(best.best_model_score) == pytest.approx(max(value for _, value in stop.history))
    val = Y[np.concatenate([found.index.numpy() for found in data.batches("val")])]
    sets = [tuple(row) for row in val.tolist()]
    assert stop._majority == pytest.approx(max(map(sets.count, sets)) / len(sets))
    assert not list(tmp_path.rglob("confusion*"))
    assert list(tmp_path.rglob("views*.png"))
    # validation of the weights as they are, from sklearn
    module.eval()
    with torch.no_grad():
        found = [(module.net(b.views["raw"]).logits, b.target) for b in data.batches("val")]
    p, y = (torch.cat(parts).double().numpy() for parts in zip(*found, strict=True))
    values = run.validate(module, data, verbose=False)[0]
    assert values["val/accuracy"] == pytest.approx(sk.accuracy_score(y, p > 0))
    assert values["val/f1"] == pytest.approx(sk.f1_score(y, p > 0, average="macro"))
    student = KD(net(), {"raw": Teacher(stop.checkpoint)})
    fitted(tmp_path, student, many(), callbacks=[MarginMapPictures(windows=2)])
    score = student.teacher_scores["raw"]
    assert score.majority == pytest.approx(stop._majority)
    assert score.accuracy > 0
    assert score.broken == 0
    with pytest.raises(InputError, match=r"teacher 'raw' .*teacher.ckpt\) must be trained on windows with labels: one"):
        fitted(tmp_path, KD(net(), {"raw": Teacher(stop.checkpoint)}), one())
    given = Teacher(net=net(), mean=[0.0, 0.0], std=[1.0, 1.0], class_map=[2, 1, 0])
    with pytest.raises(InputError, match="teacher 'raw': class_map must be left out with any number of labels"):
        fitted(tmp_path, KD(net(), {"raw": given}), many())


def test_a_net_of_one_label_is_refused_where_windows_have_many(tmp_path: Path) -> None:
    first = fitted(tmp_path, Supervised(net()), one(), limit_train_batches=1, limit_val_batches=0)
    path = tmp_path / "one.ckpt"
    first.save_checkpoint(path)
    described = torch.load(path, weights_only=True)[KEY]
    assert "labels" not in described
    with pytest.raises(InputError, match=r"teacher 'raw' .* must be trained on windows with labels: many"):
        fitted(tmp_path, KD(net(), {"raw": Teacher(str(path))}), many())
    with pytest.raises(InputError, match="ckpt_path: this net must be trained on windows with labels: many"):
        trainer(tmp_path).test(Supervised(net()), many(), ckpt_path=path, weights_only=True)
    with pytest.raises(InputError, match=r"init: .*one\.ckpt' must be trained on windows with labels: many"):
        fitted(tmp_path, Supervised(net(), init=str(path)), many())
    with pytest.raises(InputError, match="its labels per window are one, here many"):
        evaluate(first.lightning_module, many(), cost=False)  # type: ignore[arg-type]


def test_a_resumed_fit_equals_one_that_was_not_interrupted(tmp_path: Path) -> None:
    def method() -> KD:
        return KD(net(), {"raw": teacher()}, class_weights="balanced", focal_gamma=2.0, label_smoothing=0.1)

    complete = method()
    fitted(tmp_path, complete, many(mix=Mixup()), max_epochs=3, limit_val_batches=0)
    first = fitted(tmp_path, method(), many(mix=Mixup()), max_epochs=2, limit_val_batches=0)
    first.save_checkpoint(tmp_path / "last.ckpt")
    resumed = method()
    run = trainer(tmp_path, max_epochs=3, limit_val_batches=0)
    run.fit(resumed, many(mix=Mixup()), ckpt_path=tmp_path / "last.ckpt")
    for name, value in complete.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_cached_outputs_are_those_of_the_teacher(tmp_path: Path) -> None:
    live, cached = (KD(net(), {"raw": teacher()}, cache=cache) for cache in (None, TeacherCache()))
    for module in (live, cached):
        fitted(tmp_path, module, many(), max_epochs=2, limit_val_batches=0)
    for name, value in live.state_dict().items():
        torch.testing.assert_close(cached.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_a_module_may_meet_one_kind_after_the_other(tmp_path: Path) -> None:
    module, run = Supervised(net()), trainer(tmp_path)
    module.net.standardize.fill([0.0, 0.0], [1.0, 1.0])
    values = []
    for data in (one(), many(), one()):
        values.append(run.validate(module, data, verbose=False)[0]["val/accuracy"])
        assert module.many_labels == data.many_labels
    assert values[0] == values[2] != values[1]


class Outside(LightningDataModule):
    """Loaders of batches, and the declaration alone."""

    def __init__(self, declared: object) -> None:
        super().__init__()
        self.many_labels = declared

    def _loader(self, stage: str) -> DataLoader[Any]:
        return DataLoader(list(many().batches(stage, 16)), batch_size=None)

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader("test")


def test_a_data_module_of_another_origin_declares_it(tmp_path: Path) -> None:
    assert windows_of(Outside(True)).many_labels is True
    assert windows_of(Outside(Y)).many_labels is False  # an array of that name is no declaration
    assert windows_of(None).many_labels is False
    module = Supervised(net())
    run = fitted(tmp_path, module, Outside(True), limit_train_batches=2)
    assert module.many_labels
    assert float(run.callback_metrics["val/loss"]) < 3
    run.save_checkpoint(tmp_path / "outside.ckpt")
    # plain loaders declare nothing: the checkpoint does
    again = Supervised(net())
    loader = Outside(True).test_dataloader()
    values = trainer(tmp_path).test(again, loader, tmp_path / "outside.ckpt", verbose=False, weights_only=True)[0]
    assert again.many_labels
    assert values == run.test(module, Outside(True), verbose=False)[0]
    # the shape of targets alone declares nothing: they are class probabilities, as of mixed windows
    plain = Supervised(net())
    run = trainer(tmp_path, limit_val_batches=0, max_epochs=1, limit_train_batches=1)
    run.fit(
        plain, DataLoader([Batch(b.views, b.target.softmax(1), b.index) for b in many().batches()], batch_size=None)
    )
    assert not plain.many_labels


# -------------------------------------------------------------------------------------------------- the command line

TRAINER = {
    "max_epochs": 3,
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
}
NET = {"class_path": "WideResNet", "init_args": {"depth": 10, "width": 1, "in_channels": 2, "num_classes": 3}}


def configs(folder: Path) -> dict[str, str]:
    np.savez(folder / "many.npz", x=X, y=Y, subject=WHO, classes=np.array(NAMES), channels=np.array(["a", "b"]))
    init = {"path": "many.npz", "labels": "many", "batch_size": 16, "dataset": "toy", "sampling_rate": 16.0}
    data = {"class_path": "ArrayDataModule", "init_args": init}
    stop = {"class_path": "EarlyStoppedTeacher", "init_args": {"monitor": "val/f1", "patience": 2, "smoothing": 1}}
    balanced = {"net": NET, "class_weights": "balanced"}
    teacher = {
        "run": "toy/teacher",
        "trainer": {**TRAINER, "callbacks": [stop]},
        "data": data,
        "model": {"class_path": "Supervised", "init_args": balanced},
    }
    taught = {"student": NET, "teachers": {"raw": {"checkpoint": "runs/toy/teacher"}}}
    student = {
        "run": "toy/student",
        "monitor": "val/f1",
        "trainer": TRAINER,
        "data": data,
        "model": {"class_path": "KD", "init_args": taught},
    }
    for name, content in {"teacher": teacher, "student": student}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return {name: str(folder / f"{name}.yaml") for name in ("teacher", "student")}


def test_from_an_npz_to_an_exported_student(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    files = configs(tmp_path)
    cli.run(["fit", "--config", files["teacher"]])
    line = cli.run(["fit", "--config", files["student"]])
    run = Path("runs/toy/student")
    described = torch.load(run / "version_0/checkpoints/best.ckpt", weights_only=True)[KEY]
    assert described["labels"] == described["fingerprint"]["labels_per_window"] == "many"
    tested = cli.run(["test", "--config", files["student"], "--ckpt_path", str(run)])
    cli.run(["predict", "--config", files["student"], "--ckpt_path", str(run)])
    with (run / "version_0/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    index = [int(row["index"]) for row in rows]
    p = np.array([[float(row[f"probability_{name}"]) for name in NAMES] for row in rows])
    assert [row["target"] for row in rows] == [
        "|".join(n for n, y in zip(NAMES, Y[i], strict=True) if y) for i in index
    ]
    assert [row["prediction"] for row in rows] == [
        "|".join(n for n, q in zip(NAMES, one_row, strict=True) if q > 0.5) for one_row in p
    ]
    metrics = {name: float(value) for name, value in tested.trainer.callback_metrics.items()}
    assert metrics["test/accuracy"] == pytest.approx(sk.accuracy_score(Y[index], p > 0.5))
    assert metrics["test/f1"] == pytest.approx(sk.f1_score(Y[index], p > 0.5, average="macro"))

    monkeypatch.setattr("sys.argv", ["kdlab", "evaluate", str(run), "runs/toy/teacher", "--out", "found"])
    cli.main()
    found = Evaluation.load("found/student")
    assert found.scalars["accuracy"] == pytest.approx(metrics["test/accuracy"])
    wanted = np.mean([sk.average_precision_score(Y[index][:, k], p[:, k]) for k in range(3)])
    assert found.scalars["map"] == pytest.approx(wanted, abs=1e-4)
    assert found.confusion.tolist() == sk.multilabel_confusion_matrix(Y[index], p > 0.5).tolist()
    assert found.many_labels
    assert "v_measure" not in found.scalars
    text = Path("found/results.md").read_text()
    assert "| mean AP % |" in text
    assert "V-measure, embeddings and the confusion matrix are left out" in text
    assert [path.name for path in Path("found").glob("*.png")] != []
    assert not list(Path("found").glob("confusion*"))

    monkeypatch.setattr("sys.argv", ["kdlab", "export", str(run), "--windows", "test"])
    cli.main()
    (path,) = run.rglob("*.pt2")
    exported = load(path)
    assert exported.card["labels"] == "many"
    assert exported.card["metrics"]["accuracy"] == pytest.approx(metrics["test/accuracy"])
    assert exported.card["metrics"]["f1"] == pytest.approx(metrics["test/f1"])
    assert exported.card["metrics"]["loss"] == pytest.approx(metrics["test/loss"], rel=1e-5)
    assert exported.card["check"]["agreement"] == 1.0
    probabilities = exported.probabilities(X[index])
    np.testing.assert_allclose(probabilities.numpy(), p, atol=1e-4)
    assert exported.probabilities(X[index[0]]).shape == (3,)
    beside = path.with_name(f"{path.name}.json")
    card = json.loads(beside.read_text())
    beside.write_text(json.dumps({**card, "labels": "all"}))
    with pytest.raises(InputError, match="labels must be one or many, but got 'all'"):
        load(path)
    damaged = dict(np.load("found/student/predictions.npz"))
    np.savez("found/student/predictions.npz", **{**damaged, "target": damaged["target"][:, :2]})
    with pytest.raises(InputError, match=r"it is of 3 classes, predictions\.npz is not"):
        Evaluation.load("found/student")
    assert line.trainer.checkpoint_callbacks


def test_what_is_refused_on_the_command_line(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    files = configs(tmp_path)
    with pytest.raises(InputError, match="DIST: the method must be defined for any number of labels per window"):
        cli.run(["fit", "--config", files["student"], "--model=DIST"])
    assert not (tmp_path / "runs").exists()
    with pytest.raises(SystemExit):
        cli.run(["fit", "--config", files["teacher"], "--data.labels=several"])
    assert "several" in capsys.readouterr().err


def test_a_study_has_a_row_for_each(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    configs(tmp_path)
    content = {"study": "toy/several", "seeds": 1, "scratch": {"scratch": {"config": "teacher.yaml"}}}
    Path("study.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setattr("sys.argv", ["kdlab", "study", "study.yaml"])
    cli.main()
    (report,) = Path("runs").rglob("results.md")
    head = next(line for line in report.read_text().splitlines() if line.startswith("| run"))
    assert "test accuracy" in head
    assert "test F1" in head
    assert "mean AP" in head
    (row,) = (json.loads(path.read_text()) for path in Path("runs").rglob("result.json"))
    assert {"test_accuracy", "test_f1", "test_map", "val_f1"} <= set(row)
