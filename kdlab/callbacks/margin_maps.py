"""A callback that draws the maps of angular margin distillation (AMD) of a student and its teacher."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from kdlab import functional
from kdlab.callbacks.pictures import save_figure
from kdlab.figures.margin_maps import KINDS, Maps, plot_margin_maps
from kdlab.methods.amd import AMDObjective
from kdlab.methods.distillation import Distillation
from kdlab.methods.label_kinds import patterns
from kdlab.methods.number_checks import check_number
from kdlab.methods.receiving import only_one
from kdlab.methods.teacher import Teacher
from kdlab.methods.windows import lacks, windows_in
from kdlab.types import Batch, InputError, Output


class MarginMapPictures(Callback):
    """Draw the maps of :class:`kdlab.AMD` for a few validation windows when a fit ends (``margin_maps.png``).

    For each tap and for student and teacher: the positive map ``Q_p`` (attended), the negative map ``1 - Q_p`` and,
    with ``angular``, the angular map ``G``. Student and teacher share the colours of a map. Maps of signals are strips
    along time under the signal, those of images lie over the image. Any method that distils from maps can be drawn.

    Args:
        windows: number of windows, of as many classes as there are.
        angular: draw ``G`` too.
        every_n_epochs: draw also after every so many epochs (``margin_maps-<epoch>.png``); ``None``: only at the end.
        teacher: name of the teacher; ``None``: the one whose maps the objective matches, or else the only one.
        taps: names of the features; ``None``: the objective's, or else the three stages.

    Raises:
        InputError: for ``windows`` or ``every_n_epochs`` below 1, and before the first step when there are no teachers,
            it is not clear which one is meant, or a net has no such map.
    """

    paper: ClassVar[tuple[str, ...]] = ("jeon2023leveraging",)

    def __init__(
        self,
        windows: int = 4,
        angular: bool = False,
        every_n_epochs: int | None = None,
        teacher: str | None = None,
        taps: list[str] | None = None,
    ) -> None:
        super().__init__()
        check_number("MarginMapPictures", "windows", windows, 4, whole=True, low=1)
        if every_n_epochs is not None:
            check_number("MarginMapPictures", "every_n_epochs", every_n_epochs, 10, whole=True, low=1)
        self.windows, self.angular, self.every_n_epochs = windows, angular, every_n_epochs
        self.teacher, self.taps = teacher, taps

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that there are maps to draw."""
        self.check(pl_module)
        self._maps(trainer, pl_module, 1)

    def check(self, pl_module: LightningModule) -> None:
        """Raise unless it is clear which teacher is meant and, after a dry run of the nets, both have such maps.

        The command line calls this before anything is written.
        """
        method, name, _ = self._chosen(pl_module)
        if method.tried is not None:
            student, teachers = method.tried
            self._taps(method, student, name, method.objective.paired(teachers)[name])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw after every ``every_n_epochs`` epochs."""
        if self.every_n_epochs and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._draw(trainer, pl_module, f"margin_maps-{trainer.current_epoch}")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the final weights."""
        self._draw(trainer, pl_module, "margin_maps")

    def _chosen(self, module: LightningModule) -> tuple[Distillation, str, Teacher]:
        """The method, and its teacher that is drawn."""
        if not isinstance(module, Distillation):
            raise InputError(
                f"MarginMapPictures: the method must have a teacher, but {type(module).__name__} has no teachers. "
                "Leave the callback out."
            )
        teachers = dict(module.named_teachers())
        name = self.teacher or (module.objective.map_teacher if isinstance(module.objective, AMDObjective) else None)
        if name is None and len(teachers) == 1:
            (name,) = teachers
        if name is None or name not in teachers:
            raise InputError(
                f"MarginMapPictures: teacher must name the teacher whose maps are drawn, one of {sorted(teachers)}, "
                f"but got {name!r}. Set teacher=."
            )
        return module, name, teachers[name]

    def _taps(self, module: Distillation, student: Output, name: str, teacher: Output) -> list[str]:
        """The taps that are drawn, of which both nets have maps of one kind."""
        held = student.features
        taps = self.taps or [tap for tap in module.objective.taps if tap not in held or held[tap].ndim > 2]
        taps = taps or ["stage1", "stage2", "stage3"]
        for tap in taps:
            for who, output in (("student", student), ("teacher", teacher)):
                if tap not in output.features or output.features[tap].ndim < 3:
                    raise InputError(
                        f"MarginMapPictures: taps must name maps of both nets, but the {who} has no map {tap!r}; it "
                        f"has {', '.join(output.features)}. Choose taps= among those before the pooling."
                    )
            axes = [output.features[tap].ndim - 2 for output in (student, teacher)]
            if axes[0] != axes[1]:
                raise InputError(
                    "MarginMapPictures: the maps of student and teacher must have the same number of axes, but those "
                    f"of the student have {axes[0]} and those of teacher {name!r} {axes[1]}. "
                    "Name a teacher of the student's kind of view, or leave the callback out."
                )
        return taps

    def _maps(self, trainer: Trainer, module: LightningModule, windows: int) -> tuple[Batch | None, list[Maps]]:
        """A few validation windows, None where there are none, and their maps."""
        method, chosen, teacher = self._chosen(module)
        batch = _few(trainer, method, {method.view, teacher.view}, windows)
        if batch is None:
            return None, []
        precision = trainer.precision_plugin
        ready = precision.convert_input(method.transfer_batch_to_device(batch, method.device, 0))
        training = method.net.training
        method.net.eval()
        with torch.no_grad(), precision.val_step_context():
            student, other = method.net(ready.views[method.view]), teacher(ready.views[teacher.view])
            other = method.objective.paired({**dict.fromkeys(method.teachers, other), chosen: other})[chosen]
        method.net.train(training)
        amd = method.objective if isinstance(method.objective, AMDObjective) else AMDObjective()
        rows = []
        for tap in self._taps(method, student, chosen, other):
            both = [functional.margin_maps(o.features[tap], amd.margin, amd.scale) for o in (student, other)]
            for kind in KINDS if self.angular else list(KINDS)[:2]:
                rows.append(Maps(tap, kind, *(maps[kind].cpu().numpy() for maps in both)))
        return batch, rows

    def _draw(self, trainer: Trainer, module: LightningModule, name: str) -> None:
        batch, rows = self._maps(trainer, module, self.windows)
        if batch is None:
            return
        x = batch.views[self._chosen(module)[0].view].cpu().numpy()
        many = batch.target.shape[1] if batch.target.ndim > 1 else int(batch.target.max()) + 1
        classes = [str(c) for c in windows_in(trainer).classes or range(many)]
        titles = [_title(row, classes) for row in batch.target.tolist()]
        save_figure(trainer, name, plot_margin_maps(x, rows, titles))


def _few(trainer: Trainer, method: Distillation, views: set[str], count: int) -> Batch | None:
    """The first validation windows of each class in turn, as a batch."""
    windows = windows_in(trainer)
    batches: Iterable[Batch]
    if not lacks(windows, "batches"):
        chosen = _of_each_class(torch.cat([b.target for b in windows.batches("val", views=[])]), count)
        batches = windows.batches("val", views=sorted(views))
    elif trainer.val_dataloaders:
        batches = [method.received(next(iter(only_one(trainer.val_dataloaders))), "teachers")]
        chosen = _of_each_class(batches[0].target, count)
    else:
        return None
    found: dict[int, Batch] = {}
    at = 0
    for batch in batches:
        for i in chosen:
            if at <= i < at + len(batch.target):
                row = slice(i - at, i - at + 1)
                views_of = {name: batch.views[name][row] for name in views}
                found[i] = Batch(views_of, batch.target[row], batch.index[row])
        at += len(batch.target)
        if len(found) == len(chosen):
            break
    rows = [found[i] for i in chosen]
    joined = {name: torch.cat([row.views[name] for row in rows]) for name in views}
    return Batch(joined, torch.cat([row.target for row in rows]), torch.cat([row.index for row in rows]))


def _of_each_class(target: Tensor, count: int) -> list[int]:
    """Positions of the first of each class, then of the second ones, and so on."""
    seen: dict[int, int] = {}
    turns = []
    labels = patterns(target, target.shape[-1], many=True)[0] if target.ndim > 1 else target
    for i, label in enumerate(labels.tolist()):
        turns.append((seen.get(label, 0), label, i))
        seen[label] = seen.get(label, 0) + 1
    return [i for _, _, i in sorted(turns)[:count]]


def _title(label: Any, classes: list[str]) -> str:
    """The class of a window, or all of them."""
    own = [name for name, k in zip(classes, label, strict=True) if k > 0.5] if isinstance(label, list) else None
    return (classes[int(label)] if own is None else " + ".join(own)).replace("_", " ")
