"""Figures with one row per condition: accuracies of all runs, and paired differences. In percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from kdlab.figures.style import BLACK, BLUE, GREY, new_figure, style
from kdlab.study.conditions import Condition, natural, number
from kdlab.study.differences import Difference
from kdlab.study.statistics import Summary, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY = 24  # rows, above which they are drawn closer


def plot_accuracy(known: Sequence[Condition], metric: str = "test_accuracy") -> Figure:
    """One dot per run, coloured by fold, above the mean and standard deviation of its condition.

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
    """Paired differences of accuracies with their intervals, in points, one panel per baseline.

    Args:
        known: conditions, drawn from top to bottom; those without a difference are left out.
        differences: what :func:`kdlab.study.differences.comparisons` returns.
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
