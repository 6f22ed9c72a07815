"""Cells and tables of the report of a study, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kdlab.study.conditions import Condition, Row, natural
from kdlab.study.counted import Planned
from kdlab.study.differences import Difference, comparisons
from kdlab.study.equal_updates import OTHER
from kdlab.study.holm import holm
from kdlab.study.matched import Pair, matched_pairs
from kdlab.study.paper import Paper
from kdlab.study.people_differences import PeopleDifference, people_comparisons
from kdlab.study.statistics import independent, summarise

METRIC = "test_accuracy"
NONE = "–"
Column = tuple[str, Callable[[Condition], str]]


@dataclass(frozen=True)
class Findings:
    """What the parts of the report share."""

    known: list[Condition]
    axes: dict[str, list[str]]
    baselines: list[str]
    published: Mapping[str, Mapping[str, Any]]
    confidence: float
    paper: Paper = field(default_factory=Paper)
    plan: Mapping[str, Planned] = field(default_factory=dict)  # title of a condition -> its jobs

    @property
    def rows(self) -> list[Row]:
        """The rows of all conditions."""
        return [row for condition in self.known for row in condition.rows]

    @cached_property
    def differences(self) -> dict[tuple[str, str], Difference]:
        """(title of a condition, baseline) -> difference of the test accuracy."""
        return comparisons(self.known, self.baselines, METRIC, self.confidence)

    @cached_property
    def people(self) -> dict[tuple[str, str], PeopleDifference]:
        """(title of a condition, baseline) -> difference of the test accuracy over people."""
        return people_comparisons(self.known, self.baselines, self.confidence)

    @cached_property
    def corrected(self) -> dict[tuple[str, str], float]:
        """(title of a condition, baseline) -> p-value over people, corrected over the table."""
        return holm({pair: found.p for pair, found in self.people.items() if found.p is not None})

    @cached_property
    def pairs(self) -> list[Pair]:
        """The pairs that the study file names."""
        return matched_pairs(self.known, self.paper.compare, METRIC, self.confidence)


def table(columns: Sequence[Column], known: Iterable[Condition]) -> str:
    """A table with one line per condition, without the columns that are empty throughout."""
    lines = [[escape(cell(condition)) for _, cell in columns] for condition in known]
    kept = [i for i in range(len(columns)) if any(line[i] not in ("", NONE) for line in lines)]
    head = [columns[i][0] for i in kept]
    rule = ["---" if title in ("run", "title", "view") else "---:" for title in head]
    return "\n".join(table_line(cells) for cells in (head, rule, *([line[i] for i in kept] for line in lines)))


def table_line(cells: Iterable[str]) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def escape(text: Any) -> str:
    """A text for one cell of a Markdown table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def name_columns(study: Findings) -> list[Column]:
    """The columns that name the condition of a line."""

    def label(axis: str) -> Column:
        return axis, lambda c: c.labels.get(axis, NONE)

    title = [("title", lambda c: study.paper.titles.get(c.run, NONE))]
    return [("run", lambda c: c.run), *title, *map(label, study.axes), ("view", lambda c: first_value(c, "view"))]


def first_value(condition: Condition, key: str) -> str:
    """The value of the first run that has one; such values are equal in all runs of a condition."""
    found = next((row[key] for row in condition.rows if row.get(key) is not None), NONE)
    return f"{found:,}" if isinstance(found, int) else str(found)


def mean_cell(condition: Condition, metric: str, scale: float = 100, digits: int = 1) -> str:
    """``mean ± standard deviation``, with the number of runs where some lack the metric."""
    summary = summarise(condition.values(metric))
    if summary.mean is None:
        return NONE
    deviation = summary.standard_deviation
    spread = "" if deviation is None else f" ± {scale * deviation:.{digits}f}"
    missing = f" (of {summary.n})" if summary.n < len(condition.rows) else ""
    return f"{scale * summary.mean:.{digits}f}{spread}{missing}"


def standard_error_cell(condition: Condition) -> str:
    """The standard error of the test accuracy over the independent units, in percent."""
    error = summarise(independent(condition.rows, METRIC)[1]).standard_error
    return NONE if error is None else f"{100 * error:.1f}"


def signed_points(value: float) -> str:
    """A difference in points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def interval_cell(difference: Difference | PeopleDifference | None) -> str:
    """A paired difference with its interval, in bold where the interval excludes 0."""
    if difference is None or difference.mean is None:
        return OTHER if difference is not None and difference.pairs else NONE
    if difference.low is None or difference.high is None:
        return signed_points(difference.mean)
    text = f"{signed_points(difference.mean)} [{signed_points(difference.low)}, {signed_points(difference.high)}]"
    return f"**{text}**" if difference.excludes_zero else text


def unit_of(study: Findings) -> str:
    """The independent units of a study, ``"folds"`` or ``"seeds"``."""
    return "folds" if len(windows_of(study)) > 1 else "seeds"


@dataclass(frozen=True)
class Windows:
    """The test windows of a fold: one number, unless labels of an axis change their length or rate.

    Attributes:
        least: of the rows that tell them; 0 where none does.
        most: likewise.
    """

    least: int
    most: int

    @property
    def text(self) -> str:
        """One number, or a range.

        >>> Windows(900, 900).text, Windows(900, 1800).text
        ('900', '900–1,800')
        """
        return f"{self.least:,}" if self.least == self.most else f"{self.least:,}–{self.most:,}"


def windows_of(study: Findings) -> dict[str, Windows]:
    """Fold -> its test windows, in natural order."""
    found: dict[str, list[int]] = {}
    for row in study.rows:
        found.setdefault(str(row["fold"]), []).extend([row["test_windows"]] if row.get("test_windows") else [])
    return {
        fold: Windows(min(found[fold], default=0), max(found[fold], default=0)) for fold in sorted(found, key=natural)
    }


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 run``, ``2 runs``."""
    return f"{number:,} {noun}" + ("s" if number != 1 else "")
