"""Figure of gain against gap: a panel per study, a large point with intervals per student. In points of accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdlab.figures.style import BLACK, in_lines, new_figure, style
from kdlab.study.gain_gap import Found, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_gain_gap(points: Sequence[Point], unit: str = "people", confidence: float = 0.95) -> Figure:
    """The student's gain over its control against its teachers' lead over it.

    Small points are single people (folds), large ones means with both intervals; filled where that of the gain leaves
    out 0. On the diagonal a student has all that its teachers know more; below 0 it loses. A word at a large point is
    its labels (number of labelled people, channels).

    Args:
        points: of one or several studies.
        unit: what a small point is, ``"people"`` or ``"folds"``.
        confidence: of the intervals.
    """
    studies = list(dict.fromkeys(point.study for point in points))
    runs = list(dict.fromkeys(point.title for point in points))
    lines = in_lines(studies)
    columns = len(lines[0])
    figure = new_figure(1.2 + 3.6 * columns, 4.4 * len(lines))
    grid = figure.subplots(len(lines), columns, sharex=True, sharey=True, squeeze=False)
    for line, panels in zip(lines, grid, strict=True):
        for axes in panels[len(line) :]:
            axes.remove()
        for axes, study in zip(panels, line, strict=False):
            for point in points:
                if point.study == study:
                    place = runs.index(point.title)
                    _draw(axes, point, style(place), beside=1 if place % 2 else -1)
            _dress(axes, study)
        panels[0].set_ylabel("student's gain over the control\n(points of accuracy)")
    _legend(figure, runs, unit, confidence)
    return figure


def _dress(axes: Axes, study: str) -> None:
    axes.axhline(0, color=BLACK, linewidth=1)
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.axline((0, 0), slope=1, color="0.6", linewidth=0.8, linestyle="--")
    axes.set_title(study, fontsize=10)
    axes.set_xlabel("teachers' lead over the control\n(points of accuracy)")
    axes.tick_params(axis="x", labelbottom=True)
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw(axes: Axes, point: Point, look: dict[str, Any], beside: int) -> None:
    pairs = [(100 * lead, 100 * gain) for lead, gain in point.each.values()]
    x, y = zip(*pairs, strict=True)
    axes.scatter(x, y, s=12, alpha=0.35, linewidths=0, **look)
    assert point.lead.mean is not None
    assert point.gain.mean is not None
    place = 100 * point.lead.mean, 100 * point.gain.mean
    face = look["color"] if point.gain.excludes_zero else "white"
    bars: dict[str, Any] = {"xerr": _reach(point.lead), "yerr": _reach(point.gain)}
    axes.errorbar(
        *([place[0]], [place[1]]),
        **bars,
        fmt=look["marker"],
        color=look["color"],
        markerfacecolor=face,
        markersize=8,
        capsize=3,
        linewidth=1.2,
    )
    if point.labels:
        text: dict[str, Any] = {"fontsize": 8, "color": look["color"], "ha": "left" if beside > 0 else "right"}
        axes.annotate(
            ", ".join(point.labels.values()), place, xytext=(7 * beside, 6), textcoords="offset points", **text
        )


def _reach(found: Found) -> list[list[float]] | None:
    if found.mean is None or found.low is None or found.high is None:
        return None
    return [[100 * (found.mean - found.low)], [100 * (found.high - found.mean)]]


def _legend(figure: Figure, runs: Sequence[str], unit: str, confidence: float) -> None:
    from matplotlib.lines import Line2D

    one = {"people": "one person", "folds": "one fold"}[unit]
    handles = [Line2D([], [], linestyle="none", markersize=7, label=run, **style(i)) for i, run in enumerate(runs)]
    handles += [
        Line2D([], [], linestyle="none", marker="o", markersize=3.5, color="0.6", label=one),
        Line2D([], [], linestyle="none", marker="o", color="0.3", label=f"{100 * confidence:g} % interval excludes 0"),
        Line2D([], [], linestyle="none", marker="o", color="0.3", markerfacecolor="white", label="includes 0"),
        Line2D([], [], linestyle="--", color="0.6", label="gain = lead"),
    ]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9)
