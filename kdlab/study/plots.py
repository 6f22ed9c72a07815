"""Pictures of a study: accuracies, paired differences, grids, robustness and calibration. Accuracies are in percent.

Colours are those of Okabe and Ito, which colour-blind readers tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from kdlab.evaluate.evaluation import KINDS, SEVERITIES
from kdlab.evaluate.plots import COLOURS, MARKERS, plot_reliability, plot_robustness
from kdlab.study.statistics import (
    Condition,
    Difference,
    Row,
    Summary,
    axis_labels,
    comparisons,
    natural,
    number,
    summarise,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MANY = 24  # rows, above which they are drawn closer
BLUE, GREY, BLACK = COLOURS[0], "#737373", "#000000"
_COLOURS = [colour for colour in COLOURS if colour != BLACK]  # black are means


def style(position: int) -> dict[str, Any]:
    """Colour and marker of the n-th of many."""
    return {"color": _COLOURS[position % len(_COLOURS)], "marker": MARKERS[position // len(_COLOURS) % len(MARKERS)]}


def pictures(
    known: Sequence[Condition],
    *,
    baselines: Sequence[str] = ("scratch", "kd"),
    axes: Mapping[str, Sequence[str]] | None = None,
    confidence: float = 0.95,
    metric: str = "test_accuracy",
) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    """What there is to draw: (file name without ending, caption, what draws it).

    Args:
        known: the conditions of the study.
        baselines: runs that the others are compared with.
        axes: axis -> its labels in the order of the file.
        confidence: of the intervals.
        metric: an accuracy, as a fraction.
    """
    known = [condition for condition in known if condition.values(metric)]
    rows = [row for condition in known for row in condition.rows]
    if not known:
        return
    yield "accuracy", "Test accuracy of every run", lambda: plot_accuracy(known, metric)
    differences = comparisons([c for c in known if c.stage != "teacher"], baselines, metric, confidence)
    if differences:
        caption = f"Paired differences to {' and '.join(dict.fromkeys(baseline for _, baseline in differences))}"
        yield "differences", caption, _bind(plot_differences, known, differences, confidence)
    labels = axis_labels(rows, axes)
    for axis in labels:
        if lines := [condition for condition in known if list(condition.labels) == [axis]]:
            flat = [condition for condition in known if not condition.labels and condition.run in baselines]
            yield (
                f"axis_{axis}",
                f"Test accuracy along {axis}",
                _bind(plot_axis, lines, axis, labels[axis], flat, metric),
            )
            if len({condition.run for condition in lines}) > 1:
                caption = f"Test accuracy of the runs over {axis}"
                yield f"runs_{axis}", caption, _bind(plot_runs, lines, axis, labels[axis], metric)
    for first, second in combinations(labels, 2):
        if cells := [condition for condition in known if {first, second} <= condition.labels.keys()]:
            caption = f"Test accuracy over {first} and {second}"
            arguments = (cells, (first, labels[first]), (second, labels[second]), metric)
            yield f"grid_{first}_{second}", caption, _bind(plot_grid, *arguments)
    if curves := robustness(known, metric):
        yield "robustness", "Test accuracy under corruption", _bind(plot_robustness, curves)
    if bins := reliability(known):
        yield "reliability", "Calibration, pooled over seeds and folds", _bind(plot_reliability, bins)


def _bind(draw: Callable[..., Figure], *arguments: Any) -> Callable[[], Figure]:
    return lambda: draw(*arguments)


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches, without pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


# ---------------------------------------------------------------------------------------------------- runs as rows
def plot_accuracy(known: Sequence[Condition], metric: str = "test_accuracy") -> Figure:
    """One dot a run, coloured by fold, above the mean and standard deviation of its condition.

    Args:
        known: conditions, drawn from top to bottom.
        metric: an accuracy, as a fraction.
    """
    folds = sorted({str(row["fold"]) for condition in known for row in condition.rows}, key=natural)
    figure = new_figure(8.6, 1.2 + (0.42 if len(known) <= MANY else 0.26) * len(known))
    axes = figure.subplots()
    for position, fold in enumerate(folds):
        points = [
            (100 * value, y - 0.35 + 0.5 * (position + 0.5) / len(folds))
            for y, condition in enumerate(known)
            for row in condition.rows
            if str(row["fold"]) == fold and (value := number(row, metric)) is not None
        ]
        look = {"label": fold, **style(position)} if fold else {"label": "one seed", **style(0)}
        x, heights = zip(*points, strict=True) if points else ((), ())
        axes.scatter(x, heights, s=22, alpha=0.75, linewidths=0, **look)
    for y, condition in enumerate(known):
        summary = summarise(condition.values(metric))
        _bar(axes, summary, y + 0.3, "mean ± standard deviation" if y == 0 else None)
    _rows(axes, known)
    axes.set_xlabel("test accuracy (%)")
    figure.legend(loc="outside right upper", title="fold" if any(folds) else None, frameon=False, fontsize=9)
    return figure


def _bar(axes: Axes, summary: Summary, y: float, label: str | None) -> None:
    assert summary.mean is not None
    spread = None if summary.standard_deviation is None else [100 * summary.standard_deviation]
    look: dict[str, Any] = {"color": BLACK, "markersize": 5, "capsize": 3, "linewidth": 1.3, "label": label}
    axes.errorbar([100 * summary.mean], [y], xerr=spread, fmt="D", **look)


def _rows(axes: Axes, known: Sequence[Condition]) -> None:
    """Name the rows, from top to bottom, and part the stages."""
    labels = max((condition.labels for condition in known), key=len)
    names = [c.short if c.labels.keys() == labels.keys() else c.title for c in known]
    axes.set_yticks(range(len(known)), names, fontsize=10 if len(known) <= MANY else 8)
    if labels:
        axes.set_ylabel(" · ".join(("run", *labels)).replace("_", " "))
    axes.set_ylim(len(known) - 0.4, -0.6)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    for y, (above, below) in enumerate(pairwise(known)):
        if above.stage != below.stage or (labels and above.run != below.run):
            axes.axhline(y + 0.5, color="0.6", linewidth=0.8)


def plot_differences(
    known: Sequence[Condition], differences: Mapping[tuple[str, str], Difference], confidence: float = 0.95
) -> Figure:
    """Paired differences of accuracies with their intervals, in points, one panel a baseline.

    Args:
        known: conditions, drawn from top to bottom; those without a difference are left out.
        differences: what :func:`kdlab.study.statistics.comparisons` returns.
        confidence: of the intervals.
    """
    compared = [c for c in known if c.title in {title for title, _ in differences}]
    baselines = list(dict.fromkeys(baseline for _, baseline in differences))
    figure = new_figure(2.6 + 3.2 * len(baselines), 1.3 + (0.32 if len(compared) <= MANY else 0.2) * len(compared))
    panels = figure.subplots(1, len(baselines), sharey=True, sharex=True, squeeze=False)[0]
    handles: dict[str, Any] = {}
    for axes, baseline in zip(panels, baselines, strict=True):
        _rows(axes, compared)
        axes.axvline(0, color=BLACK, linewidth=1)
        axes.set_xlabel(f"difference to {baseline}\n(points of accuracy)")
        for y, condition in enumerate(compared):
            difference = differences.get((condition.title, baseline))
            if difference is not None and difference.mean is not None:
                name, look = _interval(difference)
                handles[name] = axes.errorbar([100 * difference.mean], [y], fmt="o", capsize=3, **look)
    for axes in panels[1:]:
        axes.set_ylabel("")
    low, high = panels[0].get_xlim()
    panels[0].set_xlim(min(low, -1), max(high, 1))  # a tenth of a point should not look large
    title = f"{100 * confidence:g} % interval"
    figure.legend(handles.values(), handles, loc="outside right upper", title=title, frameon=False, fontsize=9)
    return figure


def _interval(difference: Difference) -> tuple[str, dict[str, Any]]:
    """What the legend calls it, and how it is drawn."""
    if difference.mean is None or difference.low is None or difference.high is None:
        return "no interval", {"color": GREY, "markerfacecolor": "white"}
    reach = [[100 * (difference.mean - difference.low)], [100 * (difference.high - difference.mean)]]
    name, colour = ("excludes 0", BLUE) if difference.excludes_zero else ("includes 0", GREY)
    return name, {"color": colour, "xerr": reach}


# ------------------------------------------------------------------------------------------------------------ grids
def plot_axis(
    known: Sequence[Condition],
    axis: str,
    labels: Sequence[str],
    flat: Sequence[Condition] = (),
    metric: str = "test_accuracy",
) -> Figure:
    """Mean and standard deviation along one axis of a grid, one line a run.

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
    """A heat map over two axes of a grid, one panel a run; each cell has its mean and standard deviation.

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
    """One panel a table, all on one scale."""
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


# ------------------------------------------------------------------------------------------ robustness, calibration
def severities(row: Row, kind: str, metric: str = "test_accuracy") -> list[float] | None:
    """The accuracies of one run from severity 0 (clean) to 3; None where one is missing."""
    values = [number(row, metric), *(number(row, f"{metric}_{kind}{severity}") for severity in SEVERITIES)]
    return None if None in values else [value for value in values if value is not None]


def robustness(known: Sequence[Condition], metric: str = "test_accuracy") -> dict[str, dict[str, list[float]]]:
    """Run -> kind of corruption -> mean accuracy at severity 0 (clean) to 3, over all its seeds, folds and labels."""
    result: dict[str, dict[str, list[float]]] = {}
    for run in dict.fromkeys(condition.run for condition in known):
        for kind in KINDS:
            found = [severities(row, kind, metric) for c in known if c.run == run for row in c.rows]
            if curves := [curve for curve in found if curve is not None]:
                means = [math.fsum(values) / len(values) for values in zip(*curves, strict=True)]
                result.setdefault(run, {})[kind] = means
    return result


def reliability(known: Sequence[Condition]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Run -> its reliability bins, pooled over all its seeds, folds and labels.

    A row has its own under ``reliability``: ``confidence``, ``accuracy`` and ``count``, each a list over the bins, or a
    list of bins with these keys. All rows have the same bins, empty ones included.
    """
    result: dict[str, dict[str, NDArray[np.float64]]] = {}
    for run in dict.fromkeys(condition.run for condition in known):
        rows = [row["reliability"] for c in known if c.run == run for row in c.rows if row.get("reliability")]
        if rows:
            result[run] = _pool(rows)
    return result


def _pool(rows: Sequence[Any]) -> dict[str, NDArray[np.float64]]:
    confidence, accuracy, count = (
        np.array([row[key] if isinstance(row, Mapping) else [one[key] for one in row] for row in rows], dtype=float)
        for key in ("confidence", "accuracy", "count")
    )
    total = count.sum(0)
    some = np.where(total > 0, total, np.nan)  # an empty bin has no mean
    means = {"confidence": np.nansum(confidence * count, 0) / some, "accuracy": np.nansum(accuracy * count, 0) / some}
    return {**means, "count": total}
