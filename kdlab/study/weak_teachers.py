"""Teachers whose validation accuracy is below that of the students that they teach, or of scratch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kdlab.study.conditions import Condition, number
from kdlab.study.statistics import EQUAL

METRIC = "val_accuracy"


@dataclass(frozen=True)
class WeakTeacher:
    """A teacher and a run above it: means over the folds that both have, each fold's seeds averaged first.

    Attributes:
        teacher: title of its condition.
        other: title of the student that it teaches, or of a run from scratch.
        low: validation accuracy of the teacher.
        high: validation accuracy of the other.
    """

    teacher: str
    other: str
    low: float
    high: float

    @property
    def pair(self) -> tuple[str, str]:
        """Teacher and other."""
        return self.teacher, self.other

    @property
    def line(self) -> str:
        """In words.

        >>> WeakTeacher("teacher_pi", "scratch", 0.612, 0.701).line
        'teacher_pi is below scratch: validation accuracy 61.2 % against 70.1 %'
        """
        accuracies = f"{100 * self.low:.1f} % against {100 * self.high:.1f} %"
        return f"{self.teacher} is below {self.other}: validation accuracy {accuracies}"


def weak_teachers(known: Sequence[Condition], teachers: Mapping[str, Sequence[str]]) -> list[WeakTeacher]:
    """Pairs of a teacher and a run above it, teachers in their order.

    Args:
        known: the conditions of a study.
        teachers: run -> the runs of its teachers.
    """
    found: dict[tuple[str, str], WeakTeacher] = {}
    for teacher in known:
        taught = [c for c in known if teacher.run in teachers.get(c.run, ()) and _together(teacher, c)]
        scratch = [c for c in known if taught and c.stage == "scratch" and c != teacher and _together(teacher, c)]
        for other in (*scratch, *taught):
            if (means := _means(teacher, other)) is not None and means[1] - means[0] > EQUAL:
                found.setdefault((teacher.title, other.title), WeakTeacher(teacher.title, other.title, *means))
    return list(found.values())


def _together(one: Condition, other: Condition) -> bool:
    """Do they have the same labels on the axes of both?"""
    return all(one.labels[axis] == other.labels[axis] for axis in one.labels.keys() & other.labels.keys())


def _means(one: Condition, other: Condition) -> tuple[float, float] | None:
    first, second = _by_fold(one), _by_fold(other)
    folds = sorted(first.keys() & second.keys())
    if not folds:
        return None
    return math.fsum(first[fold] for fold in folds) / len(folds), math.fsum(second[fold] for fold in folds) / len(folds)


def _by_fold(condition: Condition) -> Mapping[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for row in condition.rows:
        if (value := number(row, METRIC)) is not None:
            values[str(row["fold"])].append(value)
    return {fold: math.fsum(some) / len(some) for fold, some in values.items()}


def teachers_section(weak: Iterator[WeakTeacher] | Sequence[WeakTeacher]) -> list[str]:
    """The teachers below their students, for a report."""
    lines = [f"- {one.line}." for one in weak]
    note = (
        "Means over the folds that both have. What such a teacher gives is not its accuracy; it may cost its students "
        "some."
    )
    return ["## Teachers below their students", note, "\n".join(lines)] if lines else []
