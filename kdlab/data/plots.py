"""One window per class, as signal and as each view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kdlab.data.dataset import WindowDataset
from kdlab.data.label_rows import has_class, joined
from kdlab.data.spread import spread
from kdlab.data.windows import WindowSet
from kdlab.types import InputError
from kdlab.views import RawImage

MOST = 12  # channels drawn


@dataclass(frozen=True)
class Column:
    """One column of the figure: a signal or a view of the same windows."""

    title: str
    values: NDArray[Any]
    source: str
    chosen: list[int]  # channels of the source
    photograph: bool = False  # three channels that are colours


def mosaic(image: NDArray[Any], columns: int | None = None) -> NDArray[np.float64]:
    """Lay the channels of a view side by side, with a gap of empty (NaN) pixels.

    Shapes:
        ``(C, H, W)`` -> ``(rows * H + gaps, columns * W + gaps)``

    >>> mosaic(np.ones((3, 4, 4)), columns=2).shape
    (9, 9)
    """
    count, height, width = image.shape
    if columns is None:
        least = count if count <= 3 else int(np.ceil(np.sqrt(count)))
        columns = next((c for c in range(least, 2 * least) if count % c == 0), least)
    rows = -(-count // columns)
    gap = max(1, width // 24)
    sheet = np.full((rows * height + (rows - 1) * gap, columns * width + (columns - 1) * gap), np.nan)
    for c in range(count):
        top, left = (c // columns) * (height + gap), (c % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image[c]
    return sheet


def draw_views(
    dataset: WindowDataset, data: WindowSet, classes: Sequence[str], path: str | Path | None = None, per_class: int = 1
) -> Figure:
    """Draw windows of every class: the raw signal of each source that is used, then each view.

    Args:
        dataset: the windows that are drawn from, and the views.
        data: the windows with their channels and sampling rate.
        classes: names of the classes, in the order of the labels.
        path: where the figure is written; None: it is only returned.
        per_class: windows per class, from the middle of equal parts, so that one is not the first of a recording.
    """
    if per_class < 1:
        raise InputError(f"per_class must be at least one window per class, but got {per_class}.")
    labels = dataset.target[dataset.rows]
    of_class = [np.flatnonzero(has_class(labels, k)) for k in range(len(classes))]
    picked = [int(p) for members in of_class for p in spread(members, per_class, middle=True)]
    rows = [joined(labels[p], list(classes)) if labels.ndim > 1 else classes[int(labels[p])] for p in picked]
    return _draw(data, _columns(dataset, data, picked), rows, path)


def _columns(dataset: WindowDataset, data: WindowSet, picked: list[int]) -> list[Column]:
    batch = dataset.__getitems__(picked)
    columns: list[Column] = []
    for want in dataset.wanted:
        if want.source not in [c.source for c in columns]:
            x = dataset.scalers[want.source](np.asarray(dataset.windows[want.source][dataset.rows[picked]]))
            kind = "signal" if x.ndim == 3 else "image"
            title = f"{kind}: {want.source}" if len(data.sources) > 1 else kind
            columns.append(Column(title, x, want.source, list(range(x.shape[1])), x.ndim == 4 and x.shape[1] == 3))
    for want in dataset.wanted:
        values = batch.views[want.key].numpy()
        chosen = [int(c) for c in want.view.channels or range(values.shape[1])]
        every = chosen == list(range(len(data.channels[want.source])))
        same = every and (values.ndim == 3 or isinstance(want.view, RawImage))
        if "/" not in want.key and not same:  # a raw view of all channels is the signal itself
            columns.append(Column(want.key, values, want.source, chosen))
    return columns


def _draw(data: WindowSet, columns: list[Column], rows: list[str], path: str | Path | None) -> Figure:
    ratio = [2.4 if c.values.ndim == 3 else 1.0 if c.photograph else _aspect(c.values) for c in columns]
    row = 1.35
    figure = Figure(figsize=(row * sum(ratio) + 1.1, row * len(rows) + 0.75), layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(columns), squeeze=False, width_ratios=ratio)
    for j, column in enumerate(columns):
        values = column.values
        bound = float(np.abs(values).max()) or 1.0
        for i, name in enumerate(rows):
            axis = axes[i, j]
            if values.ndim == 3:
                _signal(axis, values[i], data, column, last=i == len(rows) - 1)
            elif column.photograph:
                _photograph(axis, values[i])
            else:
                _image(axis, values[i, :MOST], signed=float(values.min()) < -0.01 * bound, bound=bound)
            if i == 0:
                more = f" (first {MOST} of {values.shape[1]})" if values.shape[1] > MOST else ""
                axis.set_title(column.title + more, fontsize=9)
            if j == 0:
                axis.set_ylabel(name.replace("_", " "), fontsize=9)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", fontsize=6, ncols=6, frameon=False, handlelength=1.2)
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    return figure


def _aspect(values: NDArray[Any]) -> float:
    sheet = mosaic(values[0, :MOST])
    return float(max(1.0, sheet.shape[1] / sheet.shape[0]))


def _photograph(axis: Any, image: NDArray[Any]) -> None:
    low, high = min(0.0, float(image.min())), max(1.0, float(image.max()))  # standardised ones leave [0, 1]
    axis.imshow((image.transpose(1, 2, 0) - low) / (high - low), interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])


def _image(axis: Any, image: NDArray[Any], *, signed: bool, bound: float) -> None:
    low = -bound if signed else 0.0
    axis.imshow(mosaic(image), cmap="RdBu_r" if signed else "magma", vmin=low, vmax=bound, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def _signal(axis: Any, x: NDArray[Any], data: WindowSet, column: Column, *, last: bool) -> None:
    rate = data.sampling_rate
    hertz = rate.get(column.source) if isinstance(rate, dict) else rate
    time = np.arange(x.shape[1]) / (hertz or 1.0)
    names = data.channels[column.source]
    colours = colormaps["tab10" if len(names) <= 10 else "tab20"]
    for row, c in zip(x[:MOST], column.chosen, strict=False):
        axis.plot(time, row, linewidth=0.8, label=names[c].replace("_", " "), color=colours(c % colours.N))
    axis.set_xlim(time[0], time[-1] if len(time) > 1 else 1)
    axis.margins(y=0.08)
    axis.grid(alpha=0.25, linewidth=0.5)
    axis.tick_params(labelsize=6, length=2)
    if last:
        axis.set_xlabel("seconds" if hertz else "samples", fontsize=7)
    else:
        axis.set_xticklabels([])
