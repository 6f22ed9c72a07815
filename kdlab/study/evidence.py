"""``evidence.json``: what a study shows of each of its rows, for the cards of students that are shared.

It holds counts of people, never their names or hashes, and no names of folds, which may be people's. A card takes the
row of its student, see :mod:`kdlab.export.evidence`.

- ``accuracy``: mean over people of the mean over their nets, where rows count their windows by person; else the mean
  over folds (over seeds without folds). ``over`` and ``units`` say which, and how many.
- ``interval``: over people the studentised bootstrap of :mod:`kdlab.study.people_differences`, else a t interval over
  the units; null where there are too few.
- ``controls``: the paired differences to the study's baselines, with their intervals: over people, or over folds as
  in the table of the report where there are too few people for an interval. ``shown`` is null without an interval, and
  else whether it leaves out 0.
- ``selection``: the rules by which weights were chosen.
- ``misses``: what the study does not show, in words: controls that it is not shown to be better than, jobs that are
  missing, teachers below their students, rows of several versions of the sources.
- ``nets``: key of a job -> accuracy of that net on its test windows, their number, and how many people they are of.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from kdlab import __file__ as _package
from kdlab import __version__
from kdlab.study.chosen import rule_of
from kdlab.study.conditions import Condition, number
from kdlab.study.differences import Difference
from kdlab.study.people_bootstrap import Sample, inference
from kdlab.study.people_differences import RESAMPLES, PeopleDifference, accuracies
from kdlab.study.report_cells import METRIC, Findings, interval_cell
from kdlab.study.statistics import EQUAL, independent, summarise
from kdlab.study.weak_teachers import weak_teachers

NAME, FORMAT = "evidence.json", 1
#: mean, ends of the interval, unit, number of units, method
_Mean = tuple[float | None, float | None, float | None, str, int, str]


def evidence_text(study: Findings, name: str, teachers: Mapping[str, Sequence[str]], commit: str | None = None) -> str:
    """The file, for the conditions of a report.

    Args:
        study: the findings of the report.
        name: of the study.
        teachers: run -> the runs of its teachers.
        commit: of the sources that made all rows; None where it is not known.
    """
    weak = weak_teachers(study.known, teachers)
    rows = {}
    for condition in (one for one in study.known if not one.partial):
        above = [w.line for w in weak if w.other == condition.title and w.teacher in teachers.get(condition.run, ())]
        rows[place_of(condition)] = _row(study, condition, above)
    content = {"format": FORMAT, "study": name, "kdlab": __version__, "commit": commit, "rows": rows}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def place_of(condition: Condition) -> str:
    """The folder of a condition's jobs below that of its study.

    >>> place_of(Condition("kd", "student", {"size": "2"}, ()))
    'kd/size=2'
    """
    labels = ",".join(f"{axis}={label}" for axis, label in condition.labels.items())
    return f"{condition.run}/{labels}" if labels else condition.run


def _row(study: Findings, condition: Condition, weak: Sequence[str]) -> dict[str, Any]:
    pairs = [(baseline, _found(study, condition, baseline)) for baseline in study.baselines]
    known = [(_control(baseline, found), found) for baseline, found in pairs if found is not None]
    plan = study.plan.get(condition.title)
    made = sorted({str(row["sources"]) for row in condition.rows if row.get("sources")})
    missing = [] if plan is None or not plan.left else [f"{plan.left} of {plan.jobs} jobs are not done"]
    mixed = [f"rows of {len(made)} versions of the sources"] if len(made) > 1 else []
    return {
        "row": condition.title,
        **_accuracy(condition, study.confidence),
        "confidence": study.confidence,
        "runs": len(condition.rows),
        "folds": len({row["fold"] for row in condition.rows if row["fold"]}),
        "seeds": len({row["seed"] for row in condition.rows if row["seed"] is not None}),
        "controls": [control for control, _ in known],
        "selection": sorted({rule_of(row) for row in condition.rows}),
        "misses": [*(line for control, found in known for line in _miss(control, found)), *missing, *weak, *mixed],
        "nets": {str(row["key"]): _net(row) for row in condition.rows if row.get("key")},
    }


def _accuracy(condition: Condition, confidence: float) -> dict[str, Any]:
    mean, low, high, unit, units, method = _over_people(condition, confidence) or _with_t(condition, confidence)
    within = None if low is None or high is None else [max(0.0, low), min(1.0, high)]
    return {"accuracy": mean, "interval": within, "over": unit, "units": units, "method": method}


def _over_people(condition: Condition, confidence: float) -> _Mean | None:
    if not (cells := accuracies(condition.rows)):
        return None
    sample = Sample.of(cells)
    low, high, _, method = inference(sample, confidence, RESAMPLES)
    return float(sample.means.mean()), low, high, "people", len(sample.people), method


def _with_t(condition: Condition, confidence: float) -> _Mean:
    unit, values = independent(condition.rows, METRIC)
    summary = summarise(values)
    if summary.mean is None or summary.standard_deviation is None or summary.standard_error is None:
        return summary.mean, None, None, unit, summary.n, f"fewer than 2 {unit}, so no interval"
    if summary.standard_deviation <= EQUAL:
        return summary.mean, None, None, unit, summary.n, f"all {unit} are equal, so no interval"
    half = float(stdtrit(summary.n - 1, (1 + confidence) / 2)) * summary.standard_error
    return summary.mean, summary.mean - half, summary.mean + half, unit, summary.n, f"t interval over {unit}"


def _found(study: Findings, condition: Condition, baseline: str) -> PeopleDifference | Difference | None:
    """The difference over people, or that of the table over folds where only this one has an interval."""
    people, folds = (found.get((condition.title, baseline)) for found in (study.people, study.differences))
    if people is None or (people.low is None and folds is not None and folds.low is not None):
        return folds
    return people


def _control(baseline: str, found: PeopleDifference | Difference) -> dict[str, Any]:
    ends = None if found.low is None or found.high is None else [found.low, found.high]
    return {
        "row": baseline,
        "difference": found.mean,
        "interval": ends,
        "over": found.unit if isinstance(found, Difference) else "people",
        "units": found.units if isinstance(found, Difference) else len(found.people),
        "method": found.method,
        "shown": None if ends is None else found.excludes_zero,
    }


def _miss(control: Mapping[str, Any], found: PeopleDifference | Difference) -> list[str]:
    """Why a control is not beaten; nothing where it is."""
    if found.mean is None:
        return [f"not compared with {control['row']}: {found.method.removeprefix('not compared: ')}"]
    if found.excludes_zero and found.mean > 0:
        return []
    what = "worse than" if found.excludes_zero else "not shown to be better than"
    return [f"{what} {control['row']}: {interval_cell(found).replace('*', '')} points"]


def _net(row: Mapping[str, Any]) -> dict[str, Any]:
    people = row.get("people") or ()
    return {"accuracy": number(row, METRIC), "windows": row.get("test_windows"), "people": len(people) or None}


def commit_of_sources() -> str | None:
    """The commit of the clone that kdlab runs from, with a note where its files differ; None of an installed wheel."""
    package = Path(_package).resolve().parent

    def git(*words: str) -> str:
        line = ["git", "-C", str(package), *words]
        return subprocess.run(line, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != package.parent:
            return None  # an environment within a clone of something else
        commit, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", str(package))
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit} with changes" if changed else commit
