"""The columns that a study file may choose, as cells of a table and as numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kdlab.study.columns import DIFFERENCES
from kdlab.study.conditions import Condition
from kdlab.study.people_differences import PeopleDifference
from kdlab.study.report_cells import (
    METRIC,
    NONE,
    Column,
    Findings,
    first_value,
    interval_cell,
    mean_cell,
    standard_error_cell,
    unit_of,
)
from kdlab.study.report_details import latency_cell
from kdlab.study.statistics import independent, summarise

#: column -> its title, and how its mean is shown: scale and digits
_TITLES: dict[str, tuple[str, float, int]] = {
    "val_accuracy": ("validation accuracy (%)", 100, 1),
    "val_f1": ("validation F1 (%)", 100, 1),
    "test_accuracy": ("accuracy (%)", 100, 1),
    "test_f1": ("F1 (%)", 100, 1),
    "test_map": ("mean AP (%)", 100, 1),
    "test_nll": ("NLL", 1, 3),
    "test_ece": ("ECE (%)", 100, 1),
    "test_v_measure": ("V-measure", 1, 3),
    "test_accuracy_last": ("accuracy, last epoch (%)", 100, 1),
    "best_epoch": ("best epoch", 1, 0),
    "view_ms": ("view (ms)", 1, 2),
    "seconds": ("seconds a run", 1, 0),
}


def chosen_columns(study: Findings) -> list[Column]:
    """The chosen columns as titles and cells, in the order of the study file."""
    return [column for name in study.paper.columns for column in _columns(study, name)]


def _columns(study: Findings, name: str) -> Iterator[Column]:
    if name in DIFFERENCES:
        found = study.people if name == "over_people" else study.differences
        over = "people" if name == "over_people" else unit_of(study)
        for baseline in study.baselines:
            title = f"minus {study.paper.shown(baseline)}, over {over} [{100 * study.confidence:g} %]"
            yield title, _difference(found, baseline)
    elif name in ("view", "parameters", "macs"):
        yield {"macs": "multiply-accumulates"}.get(name, name), lambda c: first_value(c, name)
    elif name == "runs":
        yield "runs", lambda c: str(len(c.rows))
    elif name == "standard_error":
        yield f"standard error over {unit_of(study)}", standard_error_cell
    elif name == "published":
        yield "published", lambda c: str((study.published.get(c.title) or {}).get("value", NONE))
    elif name == "latency_ms":
        yield "latency (ms)", latency_cell
    else:
        title, scale, digits = _TITLES.get(name, (f"{name.removeprefix('test_').replace('_', ' ')} (%)", 100, 1))
        yield title, lambda c: mean_cell(c, name, scale, digits)


def _difference(found: Any, baseline: str) -> Callable[[Condition], str]:
    return lambda c: interval_cell(found.get((c.title, baseline)))


def number_columns(study: Findings, condition: Condition) -> dict[str, Any]:
    """The chosen columns of one condition as numbers, in fractions, with spread, ends of intervals and p-values."""
    result: dict[str, Any] = {}
    for name in study.paper.columns:
        if name == "over_folds":
            for baseline in study.baselines:
                folds = study.differences.get((condition.title, baseline))
                values = (None, None, None) if folds is None else (folds.mean, folds.low, folds.high)
                result |= _named(f"minus_{baseline}_over_{unit_of(study)}", ("", "_low", "_high"), values)
        elif name == "over_people":
            for baseline in study.baselines:
                pair = condition.title, baseline
                result |= _people(f"minus_{baseline}_over_people", study.people.get(pair), study.corrected.get(pair))
        elif name in ("view", "parameters", "macs"):
            result[name] = next((row[name] for row in condition.rows if row.get(name) is not None), None)
        elif name == "runs":
            result[name] = len(condition.rows)
        elif name == "standard_error":
            result[name] = summarise(independent(condition.rows, METRIC)[1]).standard_error
        elif name == "published":
            result[name] = (study.published.get(condition.title) or {}).get("value")
        else:
            summary = summarise(condition.values(name))
            result |= _named(name, ("", "_sd"), (summary.mean, summary.standard_deviation))
    return result


def _people(name: str, found: PeopleDifference | None, corrected: float | None) -> dict[str, Any]:
    endings = ("", "_low", "_high", "_p", "_p_holm", "_needed", "_people")
    if found is None:
        return _named(name, endings, (None,) * len(endings))
    values = (found.mean, found.low, found.high, found.p, corrected, found.needed, len(found.people))
    return _named(name, endings, values)


def _named(name: str, endings: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {name + ending: value for ending, value in zip(endings, values, strict=True)}
