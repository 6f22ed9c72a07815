"""The first sections of the report of a study: what was run, and the table of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdlab.evaluate.evaluation import SEVERITIES
from kdlab.study.conditions import Condition
from kdlab.study.counted import runs_cell
from kdlab.study.equal_updates import updates_cell
from kdlab.study.report_cells import (
    METRIC,
    NONE,
    Column,
    Findings,
    counted,
    escape,
    first_value,
    interval_cell,
    mean_cell,
    name_columns,
    standard_error_cell,
    table,
    table_line,
    unit_of,
    windows_of,
)
from kdlab.study.unlabelled import unlabelled_column

NOISY = f"{METRIC}_noise{SEVERITIES[-1]}"


def what_was_done(study: Findings, subjects: Mapping[str, Sequence[str]]) -> str:
    """Runs, seeds, folds and their test windows."""
    rows = study.rows
    if not rows:
        return "No run finished."
    seeds = sorted({row["seed"] for row in rows if row["seed"] is not None})
    windows = windows_of(study)
    text = f"{counted(len(rows), 'finished run')}; {counted(len(seeds), 'seed')} ({', '.join(map(str, seeds))})"
    if len(windows) == 1:
        ((fold, count),) = windows.items()
        tested = f"{count.text} test windows" if count.most else ""
        return f"{text}; {', '.join(part for part in (fold, tested) if part) or 'one split'}."
    lines = [
        table_line(
            (
                escape(fold),
                *([escape(", ".join(map(str, subjects.get(fold, ()))))] if subjects else []),
                tested.text,
            )
        )
        for fold, tested in windows.items()
    ]
    head = ["fold", *(["test subjects"] if subjects else []), "test windows"]
    rule = ["---", *(["---"] if subjects else []), "---:"]
    return "\n".join([f"{text}; {len(windows)} folds.", "", table_line(head), table_line(rule), *lines])


def main_table(study: Findings) -> str:
    """The table of results with its footnotes."""
    if not study.known:
        return ""
    notes = {name: f"[^{i}]" for i, name in enumerate(_matched(study), start=1)}

    def difference(baseline: str) -> Column:
        title = f"minus {baseline} [{100 * study.confidence:g} %]"
        return title, lambda c: interval_cell(study.differences.get((c.title, baseline)))

    def published(condition: Condition) -> str:
        found = study.published.get(condition.title)
        return NONE if found is None else f"{found['value']}{notes[condition.title]}"

    columns: list[Column] = [
        *name_columns(study),
        ("parameters", lambda c: first_value(c, "parameters")),
        ("runs", lambda c: runs_cell(c, study.plan)),
        ("updates", updates_cell),
        *unlabelled_column(study.rows),
        ("val accuracy", lambda c: mean_cell(c, "val_accuracy")),
        ("test accuracy", lambda c: mean_cell(c, METRIC)),
        (f"standard error over {unit_of(study)}", standard_error_cell),
        ("test F1", lambda c: mean_cell(c, "test_f1")),
        ("mean AP", lambda c: mean_cell(c, "test_map")),
        ("NLL", lambda c: mean_cell(c, "test_nll", 1, 3)),
        ("ECE", lambda c: mean_cell(c, "test_ece")),
        (f"accuracy, noise {SEVERITIES[-1]}", lambda c: mean_cell(c, NOISY)),
        *map(difference, study.baselines),
        ("published", published),
    ]
    return "\n\n".join(part for part in ("## Results", table(columns, study.known), _footnotes(study)) if part)


def _matched(study: Findings) -> list[str]:
    return [condition.title for condition in study.known if condition.title in study.published]


def _footnotes(study: Findings) -> str:
    matched = _matched(study)
    lines = [f"[^{i}]: {_source(study.published[name])}" for i, name in enumerate(matched, start=1)]
    rest = [
        f"{name} {study.published[name]['value']} ({_source(study.published[name])})"
        for name in study.published
        if name not in matched
    ]
    others = [f"Published, without a row here: {'; '.join(map(escape, rest))}."] if rest else []
    return "\n\n".join([*(["\n".join(lines)] if lines else []), *others])


def _source(found: Mapping[str, Any]) -> str:
    note = f" {found['note']}" if found.get("note") else ""
    return escape(f"{str(found.get('source', 'no source given')).rstrip('.')}.{note}").rstrip(".")
