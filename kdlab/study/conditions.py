"""Rows and conditions of a study: one finished run, and the runs that differ in seed and fold alone.

A *row* is one finished run, a dict with ``run``, ``stage``, ``labels`` (axis -> label), ``seed``, ``fold`` (``""``
without folds), ``test_windows``, ``view`` and metrics. A metric may be missing; None and NaN count as missing. Rows
that differ in seed and fold alone are one *condition*.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
STAGES = ("teacher", "scratch", "student")
LEFT_OUT = "left_out"  # begins the keys of what a teacher measures on people whom it has not seen


@dataclass(frozen=True)
class Condition:
    """The rows of one run with one label on every axis: its seeds and folds.

    Attributes:
        run: name of the run.
        stage: ``"teacher"``, ``"scratch"`` or ``"student"``.
        labels: axis -> label.
        rows: sorted by fold and seed.
    """

    run: str
    stage: str
    labels: dict[str, str]
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """The run's name, and its labels where there are any."""
        labels = ", ".join(f"{axis}={label}" for axis, label in self.labels.items())
        return f"{self.run} ({labels})" if labels else self.run

    @property
    def short(self) -> str:
        """The title without the names of the axes, for figures."""
        return " · ".join((self.run, *self.labels.values()))

    @property
    def partial(self) -> bool:
        """Whether these are teachers of ``cross_fit``, trained without some of the training people."""
        return any(f"{LEFT_OUT}_windows" in row for row in self.rows)

    def values(self, metric: str) -> list[float]:
        """The metric of every row that has it."""
        return [found for row in self.rows if (found := number(row, metric)) is not None]


def number(row: Row, metric: str) -> float | None:
    """A metric of a row; None where it is missing or not finite."""
    found = row.get(metric)
    return float(found) if found is not None and math.isfinite(found) else None


def natural(text: Any) -> list[tuple[int, float, str]]:
    """A key that sorts names with numbers in natural order.

    Example:
        >>> sorted(["fold10", "fold9", "2", "10"], key=natural)
        ['2', '10', 'fold9', 'fold10']
    """
    parts = re.split(r"(\d+)", str(text))
    return [(0, float(p), "") if p.isdigit() else (1, 0.0, p) for p in parts if p]


def conditions(
    rows: Iterable[Row], order: Sequence[str] = (), axes: Mapping[str, Sequence[str]] | None = None
) -> list[Condition]:
    """Group rows by run and labels, in the order given; without one teachers first, then scratch, then students.

    Args:
        rows: finished runs.
        order: names of the runs; those that are not in it follow by their stage, as they come.
        axes: axis -> its labels, both in the order of the file; those that are not in it follow as they come.

    Returns:
        One condition per run and combination of labels. With ``order`` and ``axes`` the order of rows has no effect.
    """
    rows = list(rows)
    known = axis_labels(rows, axes)
    runs = list(dict.fromkeys([*order, *(row["run"] for row in rows)]))
    groups: dict[tuple[int, int, int, tuple[int, ...]], list[Row]] = defaultdict(list)
    for row in rows:
        stage = STAGES.index(row["stage"]) if row["stage"] in STAGES else len(STAGES)
        place = (
            labels.index(str(row["labels"][axis])) if axis in row["labels"] else -1 for axis, labels in known.items()
        )
        first = runs.index(row["run"])
        groups[min(first, len(order)), stage, first, tuple(place)].append(row)
    result = []
    for _, mine in sorted(groups.items(), key=lambda item: item[0]):
        one = mine[0]
        chosen = {axis: str(one["labels"][axis]) for axis in known if axis in one["labels"]}
        mine.sort(key=lambda row: (natural(row["fold"]), natural(row["seed"])))
        result.append(Condition(one["run"], one["stage"], chosen, tuple(mine)))
    return result


def axis_labels(rows: Iterable[Row], axes: Mapping[str, Sequence[str]] | None = None) -> dict[str, list[str]]:
    """The axes of a grid and the labels on each, in the order given and then as they come; only those with rows."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for axis, label in row["labels"].items():
            found.setdefault(axis, {})[str(label)] = None
    given = {axis: [str(label) for label in labels] for axis, labels in (axes or {}).items()}
    return {
        axis: [label for label in dict.fromkeys([*given.get(axis, ()), *found[axis]]) if label in found[axis]]
        for axis in dict.fromkeys([*given, *found])
        if axis in found
    }


def is_shared(rows: Sequence[Row]) -> bool:
    """Do all seeds of a fold share these runs? As ``shared`` in the rows; without it, teachers of one seed are."""
    guesses = (row["stage"] == "teacher" and row["seed"] == rows[0]["seed"] for row in rows)
    return len(rows) > 0 and all(row.get("shared", guess) for row, guess in zip(rows, guesses, strict=True))
