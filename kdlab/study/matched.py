"""Pairs of runs that a study file names for comparison, each with intervals of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kdlab.study.conditions import Condition
from kdlab.study.differences import Difference, nearest_of, paired_difference, partner
from kdlab.study.equal_updates import longer, updates_cell
from kdlab.study.people_differences import PeopleDifference, people_difference


@dataclass(frozen=True)
class Pair:
    """Two conditions, the first minus the second.

    Attributes:
        first: a condition of the first run.
        second: the condition of the second run with the same labels.
        folds: the difference over folds (seeds, where there are no folds).
        people: the difference over people; None where no person was tested by both.
    """

    first: Condition
    second: Condition
    folds: Difference
    people: PeopleDifference | None

    @property
    def titles(self) -> tuple[str, str]:
        """The titles of both."""
        return self.first.title, self.second.title


def matched_pairs(
    known: Sequence[Condition], compare: Iterable[tuple[str, str]], metric: str, confidence: float = 0.95
) -> list[Pair]:
    """Each pair of runs, once for each combination of labels; those without rows to pair are left out.

    A pair whose first run had more updates than the second is left out, too, since its gain could be that of the
    updates. One whose second run was trained longer, as ``[kd, scratch_long]``, is not.

    Args:
        known: the conditions of a study.
        compare: pairs of runs.
        metric: of the differences over folds.
        confidence: between 0 and 1.
    """
    found = []
    for first, second in compare:
        for condition in known:
            other = partner(condition, known, second) if condition.run == first else None
            if other is None or longer(condition.rows, other.rows):
                continue
            folds = paired_difference(condition.rows, other.rows, metric, confidence)
            if folds.pairs:
                people = people_difference(condition.rows, other.rows, confidence)
                found.append(Pair(condition, other, folds, people))
    return found


def never_paired(known: Sequence[Condition], compare: Iterable[tuple[str, str]]) -> list[str]:
    """The pairs that no further run can bring, each with the reason.

    Args:
        known: the conditions of a study.
        compare: pairs of runs.
    """
    found: dict[str, None] = {}
    for first, second in compare:
        for condition in known:
            if condition.run == first and (reason := _reason(condition, known, second)):
                found[f"{first} minus {second} ({reason})"] = None
    return list(found)


def _reason(condition: Condition, known: Sequence[Condition], run: str) -> str:
    """Why a condition has no pair in a run that has results; empty where it has one, or may get one."""
    nearest = nearest_of(condition, known, run)
    if len(nearest) > 1:
        turned = all(partner(other, known, condition.run) is not None for other in nearest)
        some = f"{run} has several labels; write [{run}, {condition.run}]"
        return some if turned else "both have several labels, of different axes"
    if nearest and longer(condition.rows, nearest[0].rows):
        other = nearest[0]
        return f"{condition.title} had {updates_cell(condition)} updates, {other.title} {updates_cell(other)}"
    return ""
