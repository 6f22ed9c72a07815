"""One short seeded fit of every method on the CPU: what it logs, the weights that it ends with, and its checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

import kdlab
import kdlab.methods
from kdlab import Supervised, Teacher, TeacherCache
from kdlab.augment import Mix2
from kdlab.callbacks import EarlyStoppedTeacher
from kdlab.data import BasicMotions
from kdlab.methods import Method
from kdlab.nets import ReusedClassifier, SensorFusion, WideResNet
from kdlab.objective import SoftTargets
from kdlab.views import GramianAngularField, PersistenceImage, Raw

from .measures import of_all

EPOCHS = 3  # of four batches


def net(ndim: int = 1) -> WideResNet:
    """A tiny net for the recordings."""
    return WideResNet(10, 1, ndim, in_channels=6, num_classes=4)


def fusion(ndim: int = 1) -> SensorFusion:
    """A tiny coupled net of two sensors."""
    return SensorFusion(groups={"acc": 3, "gyro": 3}, depth=10, ndim=ndim, num_classes=4)


VIEWS: dict[str, Callable[[], Any]] = {
    "raw": Raw,
    "pi": lambda: PersistenceImage(size=16),
    "gaf": lambda: GramianAngularField(size=16),
}


@dataclass
class Fit:
    """What a method needs: other arguments than its defaults, its teachers (files by name) and its data."""

    arguments: dict[str, Any] = field(default_factory=dict)
    teachers: Sequence[str] | None = None
    files: dict[str, str] = field(default_factory=dict)
    augment: bool = False
    views: dict[str, Any] = field(default_factory=dict)
    student: Callable[[], Any] = net


#: what differs from ``method(student, {"raw": Teacher}, ...)``; ``<method>, <words>`` is another fit of the method
FITS: dict[str, Fit] = {
    "Supervised": Fit(teachers=()),
    "Supervised, mixed": Fit(teachers=(), augment=True),
    "Distillation": Fit({"objective": SoftTargets}, ("raw", "pi")),
    "KD, cached": Fit({"cache": TeacherCache}, ("raw", "pi")),
    "FullKD": Fit(files={"raw": "teacher-full.ckpt"}),
    "TGD": Fit(teachers=("raw", "pi")),
    "TGD, cached": Fit({"cache": TeacherCache}, ("raw", "pi")),
    "TPKD": Fit(teachers=("raw", "pi")),
    "TopologicalKD": Fit(teachers=("raw", "pi")),
    "AVER": Fit(teachers=("raw", "pi")),
    "EBKD": Fit(teachers=("raw", "pi")),
    "AEKD": Fit(teachers=("raw", "pi")),
    "CAMKD": Fit(teachers=("raw", "pi")),
    "CAMKD, maps": Fit({"feature_weight": 50.0}),
    "AMD, cached": Fit({"cache": TeacherCache}),
    "AnnealingKD": Fit({"regression_epochs": 2, "t_max": 2}),
    "DKD": Fit({"warm_up": 2}),
    "AFD": Fit({"width": 16}),
    "CRD": Fit({"width": 16, "negatives": 10}),
    "SimKD": Fit(student=lambda: ReusedClassifier(net(), net())),
    "SAKDNTeacher": Fit({"class_embeddings": "one-hot"}, (), student=fusion),
    "SAKDN, coupled": Fit(files={"raw": "coupled"}),
    "DDGSD": Fit(teachers=(), augment=True, views={"raw/second": None}),
    "CSKD": Fit(teachers=(), augment=True, views={"raw/pair": None}),
    "PSKD": Fit(teachers=(), augment=True),
    "TFKDVirtual": Fit(teachers=()),
    "ASoftmax": Fit({"slope": 3.0}, ()),
    "AMC": Fit({"ramp_up": 2, "ramp_down": 1}, ()),
}


class Curves(pl.Callback):
    """What is logged, epoch by epoch."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep all metrics of the epoch."""
        self.epochs.append({name: float(value) for name, value in sorted(trainer.callback_metrics.items())})


def trainer(folder: Path, *callbacks: pl.Callback) -> pl.Trainer:
    """Three epochs on the CPU, without files and bars."""
    return pl.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )


def data(names: Sequence[str], more: dict[str, Any] | None = None, augment: bool = False) -> BasicMotions:
    """The recordings in these views."""
    views = {name: VIEWS[name]() for name in dict.fromkeys(("raw", *names))}
    return BasicMotions(batch_size=8, seed=3, views={**views, **(more or {})}, augment=Mix2() if augment else None)


def teach(folder: Path) -> dict[str, Path]:
    """Folders with ``teacher.ckpt`` and ``teacher-full.ckpt`` of teachers on two views, and of a coupled one."""
    folders = {}
    for name, view, make in (
        ("raw", "raw", lambda: Supervised(net())),
        ("pi", "pi", lambda: Supervised(net(2), view="pi")),
        ("coupled", "raw", lambda: kdlab.SAKDNTeacher(fusion(), class_embeddings="learned")),
    ):
        pl.seed_everything(0, verbose=False)
        stop = EarlyStoppedTeacher(smoothing=1, patience=5, stop=False)
        trainer(folder / name, stop).fit(make(), data([view]))
        assert stop.checkpoint is not None
        folders[name] = Path(stop.checkpoint).parent
    return folders


def methods() -> list[str]:
    """Every method that kdlab exports, without the bases from which others are made."""
    exported = [getattr(kdlab.methods, name) for name in kdlab.methods.__all__]
    kinds = [cls for cls in exported if isinstance(cls, type) and issubclass(cls, Method)]
    return sorted({cls.__name__ for cls in kinds} - {"Method", "Distilled", "TeacherFree"})


def build(name: str, folders: dict[str, Path]) -> tuple[Method, BasicMotions]:
    """The method and its data."""
    fit, cls = FITS.get(name, Fit()), getattr(kdlab.methods, name.partition(",")[0])
    arguments = {key: value() if callable(value) else value for key, value in fit.arguments.items()}
    names = ("raw",) if fit.teachers is None else fit.teachers
    windows = data(names, fit.views, fit.augment)
    if not names:
        return cls(fit.student(), **arguments), windows
    places = {name: folders[name] / "teacher.ckpt" for name in names}
    for teacher, file in fit.files.items():
        places[teacher] = folders[teacher] / file if file.endswith(".ckpt") else folders[file] / "teacher.ckpt"
    teachers = {teacher: Teacher(str(place), view=teacher) for teacher, place in places.items()}
    return cls(fit.student(), teachers, **arguments), windows


def fitted(name: str, folders: dict[str, Path], folder: Path) -> dict[str, Any]:
    """Curves, final weights, test metrics and keys of the checkpoint of one fit."""
    pl.seed_everything(1, verbose=False)
    module, windows = build(name, folders)
    curves = Curves()
    run = trainer(folder, curves)
    run.fit(module, windows)
    run.save_checkpoint(folder / "last.ckpt")
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    weights = {key: value for key, value in module.net.state_dict().items() if value.ndim}
    (tested,) = run.test(module, windows, verbose=False)
    return {
        "steps": run.global_step,
        "epochs": curves.epochs,
        "weights": of_all(weights),
        "test": tested,
        "checkpoint": sorted(checkpoint),
        "state_dict": sorted(checkpoint["state_dict"]),
        "kdlab": {key: type(value).__name__ for key, value in sorted(checkpoint["kdlab"].items())},
    }


def record(folder: Path, asked: Sequence[str] | None = None) -> dict[str, Any]:
    """Method -> what its fit gave, or why there was none."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    names = sorted({*methods(), *FITS}) if asked is None else asked
    folders, found = teach(folder), {}
    for i, name in enumerate(names):
        try:
            found[name] = fitted(name, folders, folder / f"fit{i}")
        except Exception as error:
            found[name] = {"failed": f"{type(error).__name__}: {error}"}
    return found
