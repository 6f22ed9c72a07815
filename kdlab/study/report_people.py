"""Sections of the report of a study over people and classes: differences, matched pairs, F1."""

from __future__ import annotations

from collections import Counter

from kdlab.study.conditions import Condition
from kdlab.study.differences import compared
from kdlab.study.equal_updates import other_updates, updates_cell
from kdlab.study.holm import holm
from kdlab.study.matched import never_paired
from kdlab.study.people import f1_by_class
from kdlab.study.people_differences import PeopleDifference
from kdlab.study.report_cells import (
    NONE,
    Column,
    Findings,
    escape,
    interval_cell,
    name_columns,
    table,
    table_line,
    unit_of,
)
from kdlab.study.statistics import summarise

MOST_CLASSES = 24  # in a table
_HEAD = ("over people", "people", "better / worse / equal", "p")


def people_section(study: Findings) -> list[str]:
    """The paired differences over people, beside those over folds."""
    if not study.people:
        return []
    head = ["run", "minus", "over folds", *_HEAD, "p (Holm)", "people needed", "note"]
    usual = _usual(list(study.people.values()))
    lines = [
        [
            *map(escape, names),
            interval_cell(study.differences.get(names)),
            *_cells(found),
            p_cell(study.corrected.get(names)),
            needed_cell(found),
            "" if found.method == usual else found.method,
        ]
        for names, found in study.people.items()
    ]
    count = len(study.corrected)
    corrected = (
        f"*p (Holm)* is corrected over the {count} comparisons of this table: if those below .05 are taken for real, "
        "the probability that one or more of them is not is at most 5 %"
        if count
        else "no comparison has a *p (Holm)*, since none has enough people"
    )
    note = (
        f"The mean over people of the mean over seeds of the difference, with {100 * study.confidence:g} % intervals; "
        "every person counts the same. *p* is of the same resamples, two-sided; "
        f"{corrected}. *People needed*: to find a difference of this size with a power of 80 % at "
        "5 %, in a paired test with the standard deviation over people seen here (normal approximation). It repeats "
        f"the uncertainty of the difference and is no reason to stop or to continue. Where there is no note: {usual}."
    )
    if unit_of(study) == "seeds":
        note += (
            " There is one split, so few nets tell how much training varies, and the intervals are rather too narrow "
            "where that is much."
        )
    return ["## Differences over people", note, _table(head, lines)]


def pair_section(study: Findings) -> list[str]:
    """The pairs that the study file names."""
    if not study.paper.compare:
        return []
    known = {pair.titles: pair.people.p for pair in study.pairs if pair.people is not None}
    p_values = {("pair", *titles): p for titles, p in known.items() if p is not None}
    pairs, both = holm(p_values), holm({**p_values, **{("table", *names): p for names, p in _table_p(study).items()}})
    unequal = any(other_updates(pair.first.rows, pair.second.rows) for pair in study.pairs)
    names = ["run", "minus", *(["updates of both"] if unequal else [])]
    head = [*names, "over folds", *_HEAD, "p (Holm, pairs)", "p (Holm, pairs and table)", "people needed"]
    lines = [
        [
            *map(escape, pair.titles),
            *([f"{updates_cell(pair.first)} / {updates_cell(pair.second)}"] if unequal else []),
            interval_cell(pair.folds),
            *_cells(pair.people),
            p_cell(pairs.get(("pair", *pair.titles))),
            p_cell(both.get(("pair", *pair.titles))),
            needed_cell(pair.people),
        ]
        for pair in study.pairs
    ]
    done = {(pair.first.run, pair.second.run) for pair in study.pairs}
    never = {pair: never_paired(study.known, [pair]) for pair in study.paper.compare}
    missing = [
        f"{first} minus {second}" for (first, second), why in never.items() if not why and (first, second) not in done
    ]
    unlike = [line for why in never.values() for line in why]
    note = (
        "The pairs of runs that the study file names. Corrected over these pairs alone, where they were chosen before "
        "the results were seen, and over these and the table above, where they were not."
    )
    if unequal:
        note += " Where the second run was trained longer, a gain is not that of updates, while a loss may be."
    late = f"Without runs to pair so far: {'; '.join(map(escape, missing))}." if missing else ""
    left = f"Not paired: {'; '.join(map(escape, unlike))}." if unlike else ""
    return ["## Matched pairs", note, *([_table(head, lines)] if lines else []), *filter(None, (late, left))]


def _table_p(study: Findings) -> dict[tuple[str, str], float]:
    """The p-values of the table, without comparisons that are a pair as well."""
    pairs = {frozenset(pair.titles) for pair in study.pairs}
    twice = {
        (condition.title, baseline)
        for condition, baseline, other in compared(study.known, study.baselines)
        if {condition.title, other.title} in pairs
    }
    return {names: found.p for names, found in study.people.items() if found.p is not None and names not in twice}


def _cells(found: PeopleDifference | None) -> list[str]:
    if found is None:
        return [NONE] * len(_HEAD)
    count = len(found.people)
    equal = count - found.wins - found.losses
    people = f"{count}" + (f" ({found.left_out} left out)" if found.left_out else "")
    return [interval_cell(found), people, f"{found.wins} / {found.losses} / {equal}", p_cell(found.p)]


def p_cell(p: float | None) -> str:
    """A p-value with as many digits as its resamples give.

    >>> p_cell(0.0312), p_cell(0.00019), p_cell(None)
    ('.031', '< .001', '–')
    """
    if p is None:
        return NONE
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def needed_cell(found: PeopleDifference | None) -> str:
    """How many people the difference needs."""
    return NONE if found is None or found.needed is None else f"{found.needed:,}"


def _usual(found: list[PeopleDifference]) -> str:
    return Counter(difference.method for difference in found).most_common(1)[0][0]


def _table(head: list[str], lines: list[list[str]]) -> str:
    kept = [i for i in range(len(head)) if any(line[i] not in ("", NONE) for line in lines)]
    rule = ["---" if head[i] in ("run", "minus", "note") else "---:" for i in kept]
    body = ([line[i] for i in kept] for line in lines)
    return "\n".join(map(table_line, ([head[i] for i in kept], rule, *body)))


def class_section(study: Findings) -> list[str]:
    """F1 of each class, mean over the seeds and folds that have windows of it."""
    names = class_names(study)
    if not names or len(names) > MOST_CLASSES:
        return []

    def column(i: int) -> Column:
        return escape(names[i]), lambda c: _class_cell(c, i)

    note = (
        "Mean F1 (%) of each class over the seeds and folds whose test windows have the class, the same for every run; "
        "classes.csv has those of every run."
    )
    columns = [*name_columns(study), *map(column, range(len(names)))]
    return ["## F1 by class", note, table(columns, [c for c in study.known if any(map(_has_classes, c.rows))])]


def class_names(study: Findings) -> list[str]:
    """The classes of a study's rows; empty where rows differ in them or have none."""
    found = {tuple(row["classes"]["names"]) for row in study.rows if _has_classes(row)}
    return list(found.pop()) if len(found) == 1 else []


def _has_classes(row: object) -> bool:
    return isinstance(row, dict) and bool(row.get("classes"))


def _class_cell(condition: Condition, i: int) -> str:
    values = [f1_by_class(row["classes"])[i] for row in condition.rows if _has_classes(row)]
    mean = summarise(value for value in values if value is not None).mean
    return NONE if mean is None else f"{100 * mean:.1f}"
