"""Figures of grids: accuracies along one axis, and heat maps over two. In percent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdlab.figures.style import BLACK, new_figure, style
from kdlab.study.conditions import Condition
from kdlab.study.statistics import Summary, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_axis(
    known: Sequence[Condition],
    axis: str,
    labels: Sequence[str],
    flat: Sequence[Condition] = (),
    metric: str = "test_accuracy",
) -> Figure:
    """Mean and standard deviation along one axis of a grid, one line per run.

    Args:
        known: conditions that have this axis and no other.
        axis: its name.
        labels: its labels, from left to right.
        flat: conditions without labels, drawn as horizontal lines.
        metric: an accuracy, as a fraction.
    """
    figure = new_figure(max(6.5, 3.2 + 0.8 * len(labels)), 3.8)
    axes = figure.subplots()
    runs = list(dict.fromkeys(condition.run for condition in known))
    for position, run in enumerate(runs):
        mine = {
            condition.labels[axis]: summarise(condition.values(metric)) for condition in known if condition.run == run
        }
        shift = 0.08 * (position - (len(runs) - 1) / 2)
        drawn = [(labels.index(label) + shift, s) for label, s in mine.items() if s.mean is not None]
        drawn.sort(key=lambda pair: pair[0])
        means = [100 * (s.mean or 0.0) for _, s in drawn]
        spread = [100 * (s.standard_deviation or 0.0) for _, s in drawn]
        axes.errorbar([x for x, _ in drawn], means, yerr=spread, capsize=3, label=run, **style(position))
    for position, condition in enumerate(flat):
        mean = summarise(condition.values(metric)).mean
        dashes = ("--", ":", "-.")[position % 3]
        axes.axhline(100 * (mean or 0.0), color=BLACK, linestyle=dashes, linewidth=1.2, label=condition.run)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_xlabel(axis.replace("_", " "))
    axes.set_ylabel("test accuracy (%)\nmean ± standard deviation")
    axes.grid(axis="y", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def plot_grid(
    known: Sequence[Condition],
    rows: tuple[str, Sequence[str]],
    columns: tuple[str, Sequence[str]],
    metric: str = "test_accuracy",
) -> Figure:
    """A heat map over two axes of a grid, one panel per run; each cell has its mean and standard deviation.

    Args:
        known: conditions that have both axes; what differs in further axes is pooled.
        rows: name and labels of the axis that goes down.
        columns: name and labels of the axis that goes right.
        metric: an accuracy, as a fraction.
    """
    runs = list(dict.fromkeys(condition.run for condition in known))
    tables = {
        run: [[_cell(known, run, {rows[0]: a, columns[0]: b}, metric) for b in columns[1]] for a in rows[1]]
        for run in runs
    }
    return _heat_maps(tables, rows, columns)


def plot_runs(known: Sequence[Condition], axis: str, labels: Sequence[str], metric: str = "test_accuracy") -> Figure:
    """A heat map of the runs (down) over the labels of one axis (right); each cell has its mean and standard deviation.

    Args:
        known: conditions that have this axis.
        axis: its name.
        labels: its labels, from left to right.
        metric: an accuracy, as a fraction.
    """
    runs = list(dict.fromkeys(condition.run for condition in known))
    table = [[_cell(known, run, {axis: label}, metric) for label in labels] for run in runs]
    return _heat_maps({"": table}, ("run", runs), (axis, labels))


def _heat_maps(
    tables: Mapping[str, Sequence[Sequence[Summary]]],
    rows: tuple[str, Sequence[str]],
    columns: tuple[str, Sequence[str]],
) -> Figure:
    """One panel per table, all on one scale."""
    means = [100 * s.mean for table in tables.values() for line in table for s in line if s.mean is not None]
    low, high = math.floor(min(means)), math.ceil(max(means))
    across = min(2, len(tables))
    down = -(-len(tables) // across)
    size = (1.6 + 0.85 * len(columns[1]), 1.4 + 0.62 * len(rows[1]))
    figure = new_figure(max(size[0] * across + 0.9, 4.5), size[1] * down)
    panels = figure.subplots(down, across, squeeze=False).flat
    image: Any = None
    for axes, (title, table) in zip(panels, tables.items(), strict=False):
        shades = [[math.nan if s.mean is None else 100 * s.mean for s in line] for line in table]
        image = axes.imshow(shades, vmin=low, vmax=max(high, low + 1), cmap="cividis", aspect="auto")
        axes.set_xticks(range(len(columns[1])), columns[1], rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(rows[1])), rows[1])
        axes.set_xlabel(columns[0].replace("_", " "))
        axes.set_ylabel(rows[0].replace("_", " "))
        axes.set_title(title, fontsize=10)
        _annotate(axes, table, (low + max(high, low + 1)) / 2)
    for axes in list(figure.axes)[len(tables) :]:
        axes.set_visible(False)
    figure.colorbar(image, ax=figure.axes, label="test accuracy (%)\nmean ± standard deviation", shrink=0.9)
    return figure


def _cell(known: Sequence[Condition], run: str, labels: Mapping[str, str], metric: str) -> Summary:
    mine = [c for c in known if c.run == run and labels.items() <= c.labels.items()]
    return summarise(value for condition in mine for value in condition.values(metric))


def _annotate(axes: Axes, table: Sequence[Sequence[Summary]], middle: float) -> None:
    for y, line in enumerate(table):
        for x, summary in enumerate(line):
            if summary.mean is None:
                axes.text(x, y, "none", ha="center", va="center", color="0.5", fontsize=8)
                continue
            deviation = summary.standard_deviation
            text = f"{100 * summary.mean:.1f}" + ("" if deviation is None else f"\n±{100 * deviation:.1f}")
            colour = "black" if 100 * summary.mean > middle else "white"
            axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=8)
