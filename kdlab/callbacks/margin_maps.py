"""Pictures of the maps that angular margin distillation compares: where student and teacher look, and where not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from torch import Tensor

from kdlab import functional
from kdlab.callbacks.pictures import save_picture
from kdlab.types import InputError, Output

#: what is drawn of each tap, in order, and its name
KINDS = {"positive": r"$Q_p$", "negative": r"$1 - Q_p$", "angular": "$G$"}
COLOURS = {"positive": "magma", "negative": "viridis", "angular": "cividis"}


class MarginMapPictures(Callback):
    """Draw the maps of :class:`kdlab.AMD` for a few validation windows when a fit ends (``margin_maps.png``).

    For each tap and for student and teacher: the positive map ``Q_p`` (attended), the negative map ``1 - Q_p`` and, if
    asked for, the angular map ``G``. Student and teacher share the colours of a map. Maps of signals are strips along
    time under the signal, those of images lie over the image. Any method that distils from maps can be drawn.

    Args:
        windows: how many, of as many classes as there are.
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
        if windows < 1 or (every_n_epochs is not None and every_n_epochs < 1):
            raise InputError(
                "MarginMapPictures: windows and every_n_epochs must be at least 1, but are "
                f"{windows} and {every_n_epochs}."
            )
        self.windows, self.angular, self.every_n_epochs = windows, angular, every_n_epochs
        self.teacher, self.taps = teacher, taps

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See that there is something to draw."""
        self.check(pl_module)
        self._maps(trainer, pl_module, 1)

    def check(self, pl_module: LightningModule) -> None:
        """Raise unless it is clear which teacher is meant and, where the nets were tried, both have such maps.

        The command line asks before anything is written.
        """
        name, _ = self._teacher(pl_module)
        tried: tuple[Output, dict[str, Output]] | None = getattr(pl_module, "tried", None)
        if tried is not None:
            self._taps(pl_module, tried[0], name, tried[1][name])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, where that is asked for."""
        if self.every_n_epochs and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._draw(trainer, pl_module, f"margin_maps-{trainer.current_epoch}")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the final weights."""
        self._draw(trainer, pl_module, "margin_maps")

    def _teacher(self, module: Any) -> tuple[str, Any]:
        teachers = dict(module.named_teachers()) if hasattr(module, "named_teachers") else {}
        wanted = self.teacher or getattr(getattr(module, "objective", None), "map_teacher", None)
        if wanted is None and len(teachers) == 1:
            (wanted,) = teachers
        if wanted not in teachers:
            raise InputError(
                f"MarginMapPictures: teacher must name the teacher whose maps are drawn, one of {sorted(teachers)}, "
                f"but is {wanted!r}."
                if teachers
                else f"MarginMapPictures: draws the maps of a student and its teacher, but {type(module).__name__} has "
                "no teachers. Leave the callback out."
            )
        return str(wanted), teachers[wanted]

    def _taps(self, module: Any, student: Output, name: str, teacher: Output) -> list[str]:
        """The taps that are drawn, of which both nets have maps of one kind."""
        matched, held = getattr(getattr(module, "objective", None), "taps", ()), student.features
        taps = self.taps or [tap for tap in matched if tap not in held or held[tap].ndim > 2]
        taps = taps or ["stage1", "stage2", "stage3"]
        for tap in taps:
            for who, output in (("student", student), ("teacher", teacher)):
                if tap not in output.features or output.features[tap].ndim < 3:
                    raise InputError(
                        f"MarginMapPictures: the {who} has no map {tap!r}; it has {', '.join(output.features)}. "
                        "Choose taps= among those before the pooling."
                    )
            axes = [output.features[tap].ndim - 2 for output in (student, teacher)]
            if axes[0] != axes[1]:
                raise InputError(
                    "MarginMapPictures: draws maps of one kind side by side, but those of the student have "
                    f"{axes[0]} axes and those of teacher {name!r} {axes[1]}. "
                    "Name a teacher of the student's kind of view, or leave the callback out."
                )
        return taps

    def _maps(self, trainer: Trainer, module: Any, windows: int) -> tuple[Any, list[Maps]]:
        """A few validation windows, None where there are none, and their maps."""
        chosen, teacher = self._teacher(module)
        batch = _few(trainer, {module.view, teacher.view}, windows)
        if batch is None:
            return None, []
        precision = trainer.precision_plugin
        ready = precision.convert_input(module.transfer_batch_to_device(batch, module.device, 0))
        training = module.net.training
        module.net.eval()
        with torch.no_grad(), precision.val_step_context():
            student, other = module.net(ready.views[module.view]), teacher(ready.views[teacher.view])
        module.net.train(training)
        objective, margin = getattr(module, "objective", None), {}
        for key in ("margin", "scale"):
            if isinstance(value := getattr(objective, key, None), float | int):
                margin[key] = value
        rows = []
        for tap in self._taps(module, student, chosen, other):
            both = [functional.margin_maps(output.features[tap], **margin) for output in (student, other)]
            for kind in KINDS if self.angular else list(KINDS)[:2]:
                rows.append(Maps(tap, kind, *(maps[kind].cpu().numpy() for maps in both)))
        return batch, rows

    def _draw(self, trainer: Trainer, module: Any, name: str) -> None:
        batch, rows = self._maps(trainer, module, self.windows)
        if batch is None:
            return
        x = batch.views[module.view].numpy()
        datamodule: Any = getattr(trainer, "datamodule", None)
        classes = [str(c) for c in getattr(datamodule, "classes", range(int(batch.target.max()) + 1))]
        titles = [classes[int(t)].replace("_", " ") for t in batch.target]
        save_picture(trainer, name, plot_margin_maps(x, rows, titles))


def _few(trainer: Trainer, views: set[str], count: int) -> Any:
    """The first validation windows of each class in turn, as a batch."""
    datamodule: Any = getattr(trainer, "datamodule", None)
    if hasattr(datamodule, "batches"):
        chosen = _of_each_class(torch.cat([b.target for b in datamodule.batches("val", views=[])]), count)
        batches = datamodule.batches("val", views=sorted(views))
    elif trainer.val_dataloaders:
        batches = [next(iter(trainer.val_dataloaders))]
        chosen = _of_each_class(batches[0].target, count)
    else:
        return None
    found: dict[int, Any] = {}
    at = 0
    for batch in batches:
        for i in chosen:
            if at <= i < at + len(batch.target):
                row = slice(i - at, i - at + 1)
                views_of = {name: batch.views[name][row] for name in views}
                found[i] = batch._replace(views=views_of, target=batch.target[row], index=batch.index[row])
        at += len(batch.target)
        if len(found) == len(chosen):
            break
    rows = [found[i] for i in chosen]
    joined = {name: torch.cat([row.views[name] for row in rows]) for name in views}
    target, index = (torch.cat([getattr(row, name) for row in rows]) for name in ("target", "index"))
    return rows[0]._replace(views=joined, target=target, index=index)


def _of_each_class(target: Tensor, count: int) -> list[int]:
    """Positions of the first of each class, then of the second ones, and so on."""
    seen: dict[int, int] = {}
    turns = []
    for i, label in enumerate(target.tolist()):
        turns.append((seen.get(label, 0), label, i))
        seen[label] = seen.get(label, 0) + 1
    return [i for _, _, i in sorted(turns)[:count]]


@dataclass(frozen=True)
class Maps:
    """One kind of map of one tap: ``(B, *S)`` of the student and of the teacher, which may differ in size."""

    tap: str
    kind: str
    student: NDArray[Any]
    teacher: NDArray[Any]

    def limits(self, i: int) -> tuple[float, float]:
        """The least and the largest value of window ``i``, of both."""
        both = np.concatenate([self.student[i].ravel(), self.teacher[i].ravel()])
        low, high = float(both.min()), float(both.max())
        if self.kind == "positive":
            low = 0.0
        if self.kind == "negative":
            high = 1.0
        return low, high if high > low else low + 1e-6


def plot_margin_maps(x: NDArray[Any], maps: list[Maps], titles: list[str]) -> Figure:
    """Maps of student and teacher with the windows or images that they are of.

    Args:
        x: what the student read, ``(B, C, T)`` or ``(B, C, H, W)``.
        maps: one for each tap and kind.
        titles: one for each window.
    """
    return _signals(x, maps, titles) if x.ndim == 3 else _images(x, maps, titles)


def _signals(x: NDArray[Any], maps: list[Maps], titles: list[str]) -> Figure:
    """A column for each window: the signal, and under it two strips for each map, student above teacher."""
    rows = 1 + len(maps)
    engine = ConstrainedLayoutEngine(hspace=0.0, h_pad=0.02)
    figure = Figure(figsize=(3.1 * len(x) + 1.4, 1.5 + 0.44 * len(maps)), layout=engine)
    axes = figure.subplots(rows, len(x), squeeze=False, height_ratios=[2.5] + [1.0] * len(maps))
    colours, length = colormaps["tab10"], x.shape[2]
    for i, title in enumerate(titles):
        for c, channel in enumerate(x[i][:10]):
            axes[0, i].plot(np.arange(length) + 0.5, channel, linewidth=0.7, color=colours(c))
        axes[0, i].set_title(title, fontsize=9)
        axes[0, i].set_xlim(0, length)
        for one, axis in zip(maps, axes[1:, i], strict=True):
            low, high = one.limits(i)
            for values, bottom in ((one.student[i], 1), (one.teacher[i], 0)):
                axis.imshow(
                    values[None],
                    aspect="auto",
                    extent=(0, length, bottom, bottom + 1),
                    vmin=low,
                    vmax=high,
                    cmap=COLOURS[one.kind],
                    interpolation="nearest",
                )
            axis.set_ylim(0, 2)
            axis.axhline(1, color="white", linewidth=0.8)
            axis.set_yticks([1.5, 0.5] if i == 0 else [], ["student", "teacher"] if i == 0 else [])
            if i == 0:
                label = f"{one.tap} {KINDS[one.kind]}"
                axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7)
        for row, axis in enumerate(axes[:, i]):
            axis.tick_params(labelsize=6, length=2)
            if row < rows - 1:
                axis.set_xticks([])
        axes[-1, i].set_xlabel("samples", fontsize=7)
    return figure


def _images(x: NDArray[Any], maps: list[Maps], titles: list[str]) -> Figure:
    """Two rows for each image, student and teacher: the image, and a heat map over it for each map."""
    columns = 1 + len(maps)
    figure = Figure(figsize=(1.25 * columns + 0.8, 1.25 * 2 * len(x) + 0.5), layout="constrained")
    axes = figure.subplots(2 * len(x), columns, squeeze=False)
    for i, title in enumerate(titles):
        picture = _picture(x[i])
        height, width = picture.shape[:2]
        grey = picture if picture.ndim == 2 else picture.mean(2)
        for k, who in enumerate(("student", "teacher")):
            row = axes[2 * i + k]
            row[0].imshow(picture, cmap="gray")
            row[0].set_ylabel(who, fontsize=8)
            if k == 0:
                row[0].set_title(title, fontsize=9)
            for j, one in enumerate(maps, start=1):
                low, high = one.limits(i)
                row[j].imshow(grey, cmap="gray", extent=(0, width, height, 0))
                row[j].imshow(
                    one.student[i] if k == 0 else one.teacher[i],
                    extent=(0, width, height, 0),
                    vmin=low,
                    vmax=high,
                    alpha=0.65,
                    cmap=COLOURS[one.kind],
                    interpolation="nearest",
                )
                if i == 0 and k == 0:
                    row[j].set_title(f"{one.tap} {KINDS[one.kind]}", fontsize=8)
    for axis in axes.ravel():
        axis.set_xticks([])
        axis.set_yticks([])
    return figure


def _picture(image: NDArray[Any]) -> NDArray[Any]:
    """Three channels as colours, others as the mean of their sizes; each image uses its whole range."""
    values = image.transpose(1, 2, 0) if len(image) == 3 else np.abs(image).mean(0)
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / (high - low if math.isfinite(high - low) and high > low else 1.0))
