"""Figure of the maps that angular margin distillation (AMD) compares: attended and unattended parts of a window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

#: the maps that are drawn of each tap, in order, and their symbols
KINDS = {"positive": r"$Q_p$", "negative": r"$1 - Q_p$", "angular": "$G$"}
COLOURS = {"positive": "magma", "negative": "viridis", "angular": "cividis"}


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
        image = _shades(x[i])
        height, width = image.shape[:2]
        grey = image if image.ndim == 2 else image.mean(2)
        for k, who in enumerate(("student", "teacher")):
            row = axes[2 * i + k]
            row[0].imshow(image, cmap="gray")
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


def _shades(image: NDArray[Any]) -> NDArray[Any]:
    """Three channels as colours, others as the mean of their sizes; each image uses its full range."""
    values = image.transpose(1, 2, 0) if len(image) == 3 else np.abs(image).mean(0)
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / (high - low if math.isfinite(high - low) and high > low else 1.0))
