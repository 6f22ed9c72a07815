r"""What students gain over their control against what their teachers know more than it, over studies.

For a person (a fold) with accuracies :math:`a`, each the mean over seeds,

.. math:: \mathrm{lead} = \frac1M \sum_m a_{\mathrm{teacher}\,m} - a_\mathrm{control}, \qquad
    \mathrm{gain} = a_\mathrm{student} - a_\mathrm{control}

over the :math:`M` teachers of the student. A teacher that knows no more than the control (lead at or below 0) has
nothing to give. Means and intervals are those of :mod:`kdlab.study.people_differences` over people, or of
:mod:`kdlab.study.differences` over folds. No teacher is chosen by its test accuracy, which would favour it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdlab.study.conditions import Condition, Row, conditions, is_shared, natural
from kdlab.study.differences import Difference, paired_difference, partner
from kdlab.study.equal_updates import other_updates
from kdlab.study.people_differences import PeopleDifference, people_difference
from kdlab.study.rows_file import Rows
from kdlab.study.statistics import by_fold, keyed
from kdlab.types import InputError

METRIC = "test_accuracy"
Found = PeopleDifference | Difference


@dataclass(frozen=True)
class Point:
    """One student with its labels, in one study.

    Attributes:
        study: its name.
        run: name of the student.
        title: its display name.
        labels: axis -> label.
        control: title of the control.
        teachers: titles of its teachers.
        data: ``labelled`` and ``unlabelled`` people who train it and ``channels``: least and most over its folds.
        gain: of the student over the control.
        lead: of its teachers over the control.
        each: person or fold -> (lead, gain).
    """

    study: str
    run: str
    title: str
    labels: Mapping[str, str]
    control: str
    teachers: tuple[str, ...]
    data: Mapping[str, tuple[int, int]]
    gain: Found
    lead: Found
    each: Mapping[str, tuple[float, float]]


def points_of(
    rows: Rows,
    *,
    control: str | None = None,
    students: Sequence[str] | None = None,
    unit: str = "people",
    confidence: float = 0.95,
) -> list[Point]:
    """Gain and lead of the students of a study.

    Args:
        rows: a file of rows.
        control: a run without teachers; None: the first baseline without teachers that has as many updates.
        students: runs; None: all that have teachers.
        unit: ``"people"`` or ``"folds"``.
        confidence: of the intervals.

    Raises:
        InputError: a run is not in the file, or the rows do not count windows by person.
    """
    entries = [entry for entry in rows.entries.values() if entry.kind == "row"]
    known = conditions([entry.row for entry in entries])
    data = {entry.row["job"]: entry.data for entry in entries}
    teachers, name = rows.head["teachers"], rows.head["study"]
    runs = {condition.run for condition in known}
    for wanted in (*([control] if control else []), *(students or ())):
        if wanted not in runs:
            raise InputError(f"{name}: no run {wanted!r} in its rows; there are {', '.join(sorted(runs))}. Name one.")
    plain = [run for run in rows.head["baselines"] if run not in teachers]
    found = []
    for condition in known:
        taught_by = teachers.get(condition.run, [])
        if not taught_by or (students is not None and condition.run not in students):
            continue
        base = _control(condition, known, [control] if control else plain)
        experts = [partner(condition, known, run) for run in dict.fromkeys(taught_by)]
        if base is None or any(expert is None for expert in experts):
            continue
        known_experts = [expert for expert in experts if expert is not None]
        taught = merged([expert.rows for expert in known_experts])
        pair = _differences(condition.rows, taught, base.rows, unit, confidence)
        if pair is None:
            continue
        gain, lead, each = pair
        titles = rows.head["titles"]
        seen = [data[row["job"]] for row in condition.rows]
        spans = {key: _span(one[key] for one in seen if key in one) for key in ("labelled", "unlabelled", "channels")}
        found.append(
            Point(
                study=name,
                run=condition.run,
                title=titles.get(condition.run, condition.run),
                labels=condition.labels,
                control=base.title,
                teachers=tuple(expert.title for expert in known_experts),
                data={key: span for key, span in spans.items() if span is not None},
                gain=gain,
                lead=lead,
                each=each,
            )
        )
    if unit == "people" and not found and not any(row.get("people") for c in known for row in c.rows):
        raise InputError(f"{name}: its rows must count windows by person, but do not. Write --over folds.")
    return found


def _control(condition: Condition, known: Sequence[Condition], names: Iterable[str]) -> Condition | None:
    """The first of these runs that has as many updates, with the labels of the condition."""
    for name in names:
        other = partner(condition, known, name)
        if other is not None and other_updates(condition.rows, other.rows) is None:
            return other
    return None


def merged(several: Sequence[Sequence[Row]]) -> list[Row]:
    """The rows of some runs as those of one, whose accuracies are their mean, with equal weight.

    Where some are shared by the seeds of a fold and others are not, the latter are averaged over their seeds first.

    >>> row = {"fold": "", "seed": 0, "stage": "teacher"}
    >>> merged([[{**row, "test_accuracy": accuracy}] for accuracy in (0.5, 1.0)])[0]["test_accuracy"]
    0.75
    """
    if len(several) == 1:
        return list(several[0])
    shared = any(is_shared(rows) for rows in several)
    parts = [_over_seeds(rows) if shared and not is_shared(rows) else list(rows) for rows in several]
    groups: dict[tuple[str, Any], list[Row]] = defaultdict(list)
    for part in parts:
        for row in part:
            groups[str(row["fold"]), None if shared else row["seed"]].append(row)
    return [
        {**_mean(mine), "seed": mine[0]["seed"], "shared": shared}
        for mine in groups.values()
        if len(mine) == len(several)
    ]


def _over_seeds(rows: Sequence[Row]) -> list[Row]:
    folds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        folds[str(row["fold"])].append(row)
    return [_mean(mine) for mine in folds.values()]


def _mean(rows: Sequence[Row]) -> dict[str, Any]:
    """One row with the mean accuracies of several, of all and of each person whom all of them tested."""
    people = [row.get("people") or {} for row in rows]
    both = {
        person: {
            "correct": sum(one[person]["correct"] / one[person]["windows"] for one in people) / len(people),
            "windows": 1,
        }
        for person in people[0]
        if all(person in one for one in people)
    }
    mean = sum(row[METRIC] for row in rows) / len(rows)
    return {"fold": rows[0]["fold"], "seed": rows[0]["seed"], "stage": "teacher", METRIC: mean, "people": both}


def _differences(
    student: Sequence[Row], teacher: Sequence[Row], control: Sequence[Row], unit: str, confidence: float
) -> tuple[Found, Found, dict[str, tuple[float, float]]] | None:
    """Gain, lead, and both of each person (fold) whom all three tested."""
    if unit == "people":
        gain, lead = people_difference(student, control, confidence), people_difference(teacher, control, confidence)
        if gain is None or lead is None:
            return None
        both = sorted(gain.people.keys() & lead.people.keys(), key=natural)
        return gain, lead, {person: (lead.people[person], gain.people[person]) for person in both}
    gains, leads = (paired_difference(rows, control, METRIC, confidence) for rows in (student, teacher))
    if gains.mean is None or leads.mean is None:
        return None
    means = [by_fold(keyed(rows, METRIC)) for rows in (student, teacher, control)]
    folds = sorted(set.intersection(*map(set, means)), key=natural)
    return gains, leads, {f: (means[1][f] - means[2][f], means[0][f] - means[2][f]) for f in folds}


def _span(values: Iterable[int]) -> tuple[int, int] | None:
    found = sorted(values)
    return (found[0], found[-1]) if found else None
