"""Figures over several studies, from their committed rows: paired differences over people, and gain against gap.

    python -m kdlab.study.rows_figures experiments/*/results/rows.jsonl --out experiments/results

writes ``gain_gap`` and ``differences`` as figures, each with the same numbers as CSV. No data, no weights and no study
file are read. A student is compared with the first baseline of its study that has no teachers and as many updates
(``--control NAME``: with this run).
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kdlab.ends import ending
from kdlab.files import cell, write_text
from kdlab.study.figure_files import save_figure
from kdlab.study.gain_gap import Found, Point, points_of
from kdlab.study.paper import FORMATS, Figures
from kdlab.study.people_differences import PeopleDifference
from kdlab.study.plot_gain_gap import plot_gain_gap
from kdlab.study.plot_people import plot_people
from kdlab.study.rows_file import read_rows
from kdlab.types import InputError

UNITS = {"people": "person", "folds": "fold"}
COUNTS = ("labelled", "unlabelled", "channels")


def main(words: Sequence[str] | None = None) -> None:
    """The command.

    Args:
        words: its arguments; None: those of the process.

    Raises:
        InputError: a file or run that cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m kdlab.study.rows_figures", description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="+", type=Path, help="rows.jsonl of one study or several")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the figures and tables")
    parser.add_argument("--control", help="the run that students are compared with")
    parser.add_argument("--students", nargs="+", help="these runs alone")
    parser.add_argument("--over", choices=list(UNITS), default="people", help="what intervals are over")
    parser.add_argument("--confidence", type=float, default=0.95, help="of the intervals")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=["png"], help="of the figures")
    given = parser.parse_args(words)
    points: list[Point] = []
    for path in given.rows:
        options = {"control": given.control, "students": given.students, "unit": given.over}
        points += points_of(read_rows(path), **options, confidence=given.confidence)
    if not points:
        raise InputError("rows: must hold a student, its teachers and a control of as many updates, but hold none.")
    write_figures(points, given.out, given.over, given.confidence, Figures(tuple(given.formats)))
    print(f"{len(points)} students: {given.out / 'gain_gap.csv'}, and figures")


def write_figures(
    points: Sequence[Point], out: Path, unit: str = "people", confidence: float = 0.95, figures: Figures | None = None
) -> None:
    """Write the figures, and a table beside each.

    Args:
        points: of one or several studies.
        out: their folder.
        unit: ``"people"`` or ``"folds"``.
        confidence: of the intervals.
        figures: how figures are saved.
    """
    out.mkdir(parents=True, exist_ok=True)
    figures = figures or Figures()
    write_text(out / "gain_gap.csv", _table(points, unit))
    save_figure(lambda: plot_gain_gap(points, unit, confidence), out, "gain_gap", figures)
    panels: dict[str, dict[str, PeopleDifference]] = {}
    for point in points:
        if isinstance(point.gain, PeopleDifference):
            row = " · ".join((point.title, *point.labels.values()))
            panels.setdefault(f"{point.study}\ndifference to the control", {})[row] = point.gain
    if panels:
        write_text(out / "differences.csv", _differences(points))
        save_figure(lambda: plot_people(panels, confidence), out, "differences", figures)


def _table(points: Iterable[Point], unit: str) -> str:
    """Means with their intervals, and below each its people (folds); shares from 0 to 1."""
    ends = [f"{name}{end}" for name in ("lead", "gain") for end in ("", "_low", "_high")]
    lines: list[list[Any]] = [[*_HEAD, UNITS[unit], *ends]]
    for point in points:
        lines.append([*_first(point), "", *_interval(point.lead), *_interval(point.gain)])
        lines += [[*_first(point), who, lead, "", "", gain, "", ""] for who, (lead, gain) in point.each.items()]
    return _csv(lines)


def _differences(points: Iterable[Point]) -> str:
    lines: list[list[Any]] = [[*_HEAD, "difference", "low", "high", "p", "people", "better", "worse", "needed"]]
    for point in points:
        if isinstance(found := point.gain, PeopleDifference):
            counts = len(found.people), found.wins, found.losses, found.needed
            lines.append([*_first(point), *_interval(found), found.p, *counts])
    return _csv(lines)


_HEAD = ("study", "run", "labels", "control", "teachers", *COUNTS)


def _first(point: Point) -> list[Any]:
    labels = ", ".join(f"{axis}={label}" for axis, label in point.labels.items())
    counts = [_count(point.data.get(name)) for name in COUNTS]
    return [point.study, point.run, labels, point.control, "; ".join(point.teachers), *counts]


def _count(span: tuple[int, int] | None) -> Any:
    if span is None:
        return ""
    return span[0] if span[0] == span[1] else f"{span[0]} to {span[1]}"


def _interval(found: Found) -> tuple[float | None, float | None, float | None]:
    return found.mean, found.low, found.high


def _csv(lines: Iterable[Iterable[Any]]) -> str:
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([[cell(value) for value in line] for line in lines])
    return content.getvalue()


if __name__ == "__main__":
    with ending():
        main()
