"""Figure of paired differences over people: a point per person, mean and interval per row. In points of accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kdlab.figures.style import BLACK, in_lines, new_figure, style
from kdlab.study.people_differences import PeopleDifference
from kdlab.study.report_cells import Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Panel = Mapping[str, PeopleDifference]  # name of a row -> its difference


def people_figures(study: Findings) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    """What there is to draw over people: (file name without ending, caption, what draws it)."""
    shown = study.paper.shown
    titles = {c.title: replace(c, run=shown(c.run)).short for c in study.known}
    panels: dict[str, dict[str, PeopleDifference]] = {}
    for (title, baseline), found in study.people.items():
        panels.setdefault(f"difference to {shown(baseline)}", {})[titles[title]] = found
    if panels:
        baselines = dict.fromkeys(shown(baseline) for _, baseline in study.people)
        caption = f"Paired differences to {' and '.join(baselines)} over people"
        yield "people", caption, lambda: plot_people(panels, study.confidence)
    pairs = {
        f"{titles[pair.titles[0]]} minus {titles[pair.titles[1]]}": pair.people
        for pair in study.pairs
        if pair.people is not None
    }
    if pairs:
        yield "pairs", "Matched pairs over people", lambda: plot_people({"difference": pairs}, study.confidence)


def plot_people(panels: Mapping[str, Panel], confidence: float = 0.95) -> Figure:
    """A point per person, coloured by row, and below them the mean with its interval.

    Args:
        panels: what the differences are -> name of a row -> its difference. Rows of the same name share a line.
        confidence: of the intervals.
    """
    names = list(dict.fromkeys(row for panel in panels.values() for row in panel))
    lines = in_lines(list(panels.items()))
    rows = [[name for name in names if any(name in panel for _, panel in line)] for line in lines]
    heights = [1.0 + 0.5 * len(shown) for shown in rows]
    columns = len(lines[0])
    figure = new_figure(2.8 + 3.2 * columns, 0.4 + sum(heights))
    grid = figure.subplots(len(lines), columns, sharex=True, sharey="row", squeeze=False, height_ratios=heights)
    for line, shown, places in zip(lines, rows, grid, strict=True):
        for place in places[len(line) :]:
            place.remove()
        for place, (title, panel) in zip(places, line, strict=False):
            for y, name in enumerate(shown):
                if name in panel:
                    _row(place, panel[name], y, style(names.index(name)))
            _dress(place, title)
        places[0].set_yticks(range(len(shown)), shown)
        places[0].set_ylim(len(shown) - 0.4, -0.6)
    _legend(figure, len(panels), confidence)
    return figure


def _dress(axes: Axes, title: str) -> None:
    axes.axvline(0, color=BLACK, linewidth=1)
    axes.set_xlabel(f"{title}\n(points of accuracy)")
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _row(axes: Axes, found: PeopleDifference, y: int, look: Mapping[str, Any]) -> None:
    values = 100 * np.array(sorted(found.people.values()))
    heights = y - 0.14 + 0.07 * (np.arange(len(values)) % 3 - 1)  # neighbours do not cover each other
    axes.scatter(values, heights, s=20, alpha=0.7, linewidths=0, color=look["color"], marker=look["marker"])
    reach = None
    if found.low is not None and found.high is not None:
        reach = [[100 * (found.mean - found.low)], [100 * (found.high - found.mean)]]
    bar: dict[str, Any] = {
        "color": BLACK,
        "markersize": 5,
        "capsize": 3,
        "markerfacecolor": BLACK if found.excludes_zero else "white",
    }
    axes.errorbar([100 * found.mean], [y + 0.22], xerr=reach, fmt="D", **bar)


def _legend(figure: Figure, columns: int, confidence: float) -> None:
    from matplotlib.lines import Line2D

    def line(label: str, **look: object) -> Line2D:
        return Line2D([], [], linestyle="none", label=label, **look)  # type: ignore[arg-type]

    handles: Sequence[Line2D] = (
        line("one person", marker="o", color="0.5"),
        line(f"mean, {100 * confidence:g} % interval excludes 0", marker="D", color=BLACK),
        line("mean, interval includes 0", marker="D", color=BLACK, markerfacecolor="white"),
    )
    figure.legend(handles=handles, loc="outside upper center", ncols=min(columns, 3), frameon=False, fontsize=9)
