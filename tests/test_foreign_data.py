"""Data modules of another origin, with some of the members of kdlab's or with none, and the steps before a fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer, seed_everything
from torch.utils.data import DataLoader

from kdlab import KD, Batch, InputError, Output, Supervised, Teacher
from kdlab.callbacks import ConfusionMatrixPicture, EarlyStoppedTeacher, OpenSetScore, PredictionWriter, ViewPictures
from kdlab.callbacks.predictions import write_predictions
from kdlab.data import ArrayDataModule
from kdlab.methods.windows import PartialWindows, lacks, name_of, windows_in, windows_of
from kdlab.nets import WideResNet
from kdlab.types import Windows

CLASSES, CHANNELS, LENGTH = 3, 2, 32


def arrays() -> ArrayDataModule:
    """Ten people with six windows each, in batches of eight."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, CHANNELS, LENGTH)).astype(np.float32)
    target = np.arange(60) % CLASSES
    x[:, 0] += 3 * target[:, None]
    return ArrayDataModule(x, target, np.arange(60) // 6, batch_size=8, seed=0)


def stored(stage: str) -> list[Batch]:
    return list(arrays().batches(stage, 8))


class Bare(LightningDataModule):
    """Loaders, and nothing that kdlab's data modules have."""

    def _loader(self, stage: str) -> Any:
        return DataLoader(stored(stage), batch_size=None, shuffle=False)

    def train_dataloader(self) -> Any:
        return self._loader("train")

    def val_dataloader(self) -> Any:
        return self._loader("val")

    def test_dataloader(self) -> Any:
        return self._loader("test")

    predict_dataloader = test_dataloader


class Partial(Bare):
    """It also names its views and classes, and counts what it skips."""

    view_names = ("raw",)
    num_classes = CLASSES

    def __init__(self) -> None:
        super().__init__()
        self.skipped: list[tuple[set[str], str]] = []

    @property
    def classes(self) -> list[str]:
        return ["lie", "sit", "walk"]

    def view_shape(self, name: str) -> list[int]:
        return [CHANNELS, LENGTH]

    def skip_views(self, names: Any, stage: str = "train") -> None:
        self.skipped.append((set(names), stage))


class Wrapped(Bare):
    """It passes everything else on to a data module of kdlab, as it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = arrays()

    def setup(self, stage: str) -> None:
        self.inner.setup(stage)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)


def net() -> WideResNet:
    torch.manual_seed(0)
    return WideResNet(10, 1, in_channels=CHANNELS, num_classes=CLASSES)


def fitted(folder: Path, data: Any, *callbacks: Any, module: Any = None) -> Any:
    seed_everything(0)
    run = Trainer(
        accelerator="cpu", max_epochs=2, default_root_dir=folder, logger=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[*callbacks],
    )  # fmt: skip
    module = Supervised(net()) if module is None else module
    if isinstance(data, LightningDataModule):
        run.fit(module, data)
    else:
        run.fit(module, *data)
    return run


def weights(run: Any) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in run.lightning_module.net.state_dict().items()}


def test_a_data_module_of_kdlab_is_its_own_door(monkeypatch: pytest.MonkeyPatch) -> None:
    data, loaded = arrays(), []
    monkeypatch.setattr(data, "load", lambda: loaded.append(data))
    assert windows_of(data) is data
    assert not loaded  # it is not set up by that
    assert lacks(windows_of(data), "batches", "train_index") == []
    partial = windows_of(None)
    assert windows_of(partial) is partial


def test_the_door_knows_every_member() -> None:
    members = {name for name in vars(Windows) if not name.startswith("_")}
    assert len(members) > 15
    assert members <= set(vars(PartialWindows))
    assert members <= set(dir(arrays()))


def test_what_is_not_known_has_a_value_of_its_own() -> None:
    run = Trainer(accelerator="cpu", logger=False)
    windows = windows_in(run)
    assert name_of(windows) == "plain loaders"
    assert (list(windows.view_names), windows.view_shape("raw"), windows.view_settings("raw")) == ([], None, None)
    assert (dict(windows.fingerprint), dict(windows.counts), list(windows.classes)) == ({}, {}, [])
    assert (windows.num_classes, windows.batch_size, windows.drop_last, windows.mix) == (None, None, True, None)
    assert windows.augment is not None  # which would say that there is none
    assert windows.unknown_classes is None
    assert len(windows.train_index) == 0
    assert list(windows.subject_of([3, 4])) == ["", ""]
    windows.adopt_view("raw", "Raw()")
    windows.skip_views(["raw"])
    for call in ("view_statistics", "training_view", "batches", "ordered_loader", "plot_views"):
        assert lacks(windows, call) == [call]
        with pytest.raises(InputError, match=rf"^data module: must have {call}, .* but got plain loaders\. Use"):
            getattr(windows, call)("raw")


def test_loaders_and_foreign_modules_train_alike(tmp_path: Path) -> None:
    loaders = (Bare().train_dataloader(), Bare().val_dataloader())
    wanted = weights(fitted(tmp_path / "loaders", loaders))
    assert int(wanted["standardize.mean"].numel()) == CHANNELS
    assert float(wanted["standardize.mean"].abs().sum()) > 0  # from one pass over the training loader
    partial = Partial()
    for name, data in (("bare", Bare()), ("partial", partial)):
        got = weights(fitted(tmp_path / name, data))
        assert all(torch.equal(got[key], value) for key, value in wanted.items()), name
    assert partial.skipped == [(set(), "val"), (set(), "val")]


def test_a_wrapper_has_what_it_passes_on(tmp_path: Path) -> None:
    data = Wrapped()
    run = fitted(tmp_path, data)
    assert lacks(windows_of(data), "view_statistics", "fingerprint") == []
    module = run.lightning_module
    assert module.trained_on == data.inner.fingerprint
    assert module.view_settings == data.inner.view_settings("raw")
    other = Wrapped()
    other.inner.split_seed = 7
    with pytest.raises(InputError, match="was trained on another split before"):
        fitted(tmp_path / "other", other, module=module)


def test_a_partial_module_is_checked_as_far_as_it_is_known(tmp_path: Path) -> None:
    data = Partial()
    data.num_classes = 5
    with pytest.raises(InputError, match=r"num_classes of its net must be 5.*\(lie, sit, walk\), but got 3"):
        fitted(tmp_path, data)
    with pytest.raises(InputError, match="reads view 'gaf', but the data module emits 'raw'"):
        fitted(tmp_path, Partial(), module=Supervised(net(), view="gaf"))
    wide = Supervised(WideResNet(10, 1, in_channels=6, num_classes=CLASSES))
    with pytest.raises(InputError, match=r"shape \(2, 32\)"):
        fitted(tmp_path, Partial(), module=wide)


@pytest.mark.parametrize("kind", [Bare, Partial, Wrapped])
def test_callbacks_and_teachers_meet_any_data_module(kind: type[Bare], tmp_path: Path) -> None:
    data = kind()
    pictures = [ViewPictures(), ConfusionMatrixPicture()]
    fitted(tmp_path / "teacher", data, EarlyStoppedTeacher(smoothing=1), *pictures)
    drawn = {path.name for path in tmp_path.rglob("*.png")}
    assert drawn == {"confusion_val.png"} | ({"views.png"} if kind is Wrapped else set())
    kept = tmp_path / "teacher" / "checkpoints" / "teacher.ckpt"
    teacher = Teacher(str(kept))
    student = KD(net(), {"raw": teacher})
    run = fitted(tmp_path / "student", kind(), PredictionWriter(str(tmp_path / "p.csv")), module=student)
    hits = [teacher(batch.views["raw"]).logits.argmax(1) == batch.target for batch in stored("val")]
    assert student.teacher_scores["raw"].accuracy == pytest.approx(float(torch.cat(hits).float().mean()))
    assert student.tried is not None  # shapes are those of a first batch
    run.predict(student, kind())
    header, row = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()[:2]
    named = {Bare: "probability_0", Partial: "probability_lie", Wrapped: "probability_0"}[kind]
    assert named in header
    assert (row.split(",")[1] != "") == (kind is Wrapped)
    with pytest.raises(InputError, match="holds no class out"):
        OpenSetScore.check(data)


def test_predictions_without_a_data_module(tmp_path: Path) -> None:
    rows = {"index": torch.tensor([1, 0]), "target": torch.tensor([1, 0]), "prediction": torch.tensor([1, 1])}
    write_predictions(tmp_path / "p.csv", {**rows, "probabilities": torch.tensor([[0.25, 0.75], [0.5, 0.5]])})
    lines = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()
    assert lines == [
        "index,subject,target,prediction,probability_0,probability_1",
        "0,,0,1,0.5,0.5",
        "1,,1,1,0.25,0.75",
    ]


def moved(stage: str = "") -> Any:
    """The windows of `arrays` with an offset and a gain, as a data module that scales them, or as plain loaders."""
    data = arrays()
    data.setup()
    x, y, subject = 9.81 * data.data.windows["raw"] + 20, data.data.target, data.data.subject
    if not stage:
        return ArrayDataModule(x, y, subject, batch_size=8, seed=0)
    rows = [i for batch in data.batches(stage) for i in batch.index.tolist()]
    return DataLoader(torch.utils.data.TensorDataset(torch.tensor(x[rows]), torch.tensor(y[rows])), batch_size=8)


SCALED = r"windows must be scaled as those that it was trained on, but .* channel 1 [\de.+-]+ times"


@pytest.mark.parametrize("first", ["module", "loaders"])
def test_windows_that_are_scaled_otherwise_are_told(first: str, tmp_path: Path, recwarn: Any) -> None:
    """A data module scales its windows, loaders do not; a net is trained with one of the two, and used with it."""
    run = Trainer(max_epochs=1, logger=False, enable_checkpointing=False, default_root_dir=tmp_path, accelerator="cpu")
    method = Supervised(net())
    given = {"module": (moved(),), "loaders": (moved("train"), moved("val"))}
    test = {"module": moved(), "loaders": moved("test")}
    other = "loaders" if first == "module" else "module"
    run.fit(method, *given[first])
    run.test(method, test[first], verbose=False)
    run.predict(method, test[first])
    assert not [w for w in recwarn if "must be scaled" in str(w.message)]
    for use in (run.test, run.predict, run.validate):
        with pytest.warns(UserWarning, match="this net: " + SCALED):
            use(method, test[other])
    run.save_checkpoint(tmp_path / "teacher.ckpt")
    again = Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, default_root_dir=tmp_path, accelerator="cpu"
    )
    kept = Teacher(str(tmp_path / "teacher.ckpt")) if first == "module" else Teacher(net=method.net)
    taught = KD(net(), {"raw": kept})
    with pytest.warns(UserWarning, match="teacher 'raw': " + SCALED):
        again.fit(taught, *given[other])
    again = Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, default_root_dir=tmp_path, accelerator="cpu"
    )
    with pytest.warns(UserWarning, match="this net: " + SCALED):  # trained on, with the statistics of its first windows
        again.fit(method, *given[other])


class Recorder(Supervised):
    """It writes down its steps."""

    def __init__(self) -> None:
        super().__init__(net())
        self.steps: list[str] = []


STEPS = ("check_data", "load_teachers", "check_split", "start_weights", "standardise", "build")
for _name in (*STEPS, "check_trained"):

    def _step(self: Recorder, windows: Windows, _name: str = _name) -> None:
        self.steps.append(_name)
        getattr(Supervised, _name)(self, windows)

    setattr(Recorder, _name, _step)


def test_steps_come_in_their_order_and_can_be_repeated() -> None:
    module, data = Recorder(), arrays()
    data.setup()
    for _ in range(2):
        module.prepare(data, "fit")
        assert module.steps == list(STEPS)
        module.steps.clear()
    for stage in ("validate", "test", "predict"):
        module.prepare(data, stage)
    assert module.steps == ["check_trained"] * 3


class Older(Supervised):
    """A user's method from before the steps: it overrides `prepare`, and sees the data module itself."""

    seen: Any = None

    def prepare(self, datamodule: Any, stage: str) -> None:
        self.seen = datamodule
        super().prepare(datamodule, stage)

    def terms(self, batch: Batch, student: Output) -> dict[str, torch.Tensor]:
        return super().terms(batch, student)


@pytest.mark.parametrize("kind", [Bare, Wrapped])
def test_an_older_method_sees_the_data_module_itself(kind: type[Bare], tmp_path: Path) -> None:
    module, data = Older(net()), kind()
    fitted(tmp_path, data, module=module)
    assert module.seen is data
