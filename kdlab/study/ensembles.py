"""Teachers of a study that are several runs: their mean logits as one teacher.

A teacher of a student is a run, a list of runs, or a mapping::

    students:
      kd: {config: kd.yaml, teachers: {raw: teacher_raw}}
      kd_views: {config: kd.yaml, teachers: {raw: [teacher_raw, teacher_pi]}}
      kd_seeds: {config: kd.yaml, teachers: {raw: {runs: [teacher_raw], seeds: 3}}}
      kd_folds: {config: kd.yaml, teachers: {raw: {runs: [teacher_raw], folds: 3}}}
      kd_weighted: {config: kd.yaml, teachers: {raw: {runs: [raw, pi], weights: {raw: 3, pi: 1}}}}

A list is an `EnsembleTeacher` of the runs, each on its own view, with equal weights. ``seeds: 3`` takes each run three
times: itself and ``teacher_raw_copy1``, ``teacher_raw_copy2``, which differ in their seed alone. ``folds: 3`` takes in
place of each run three that were trained without one of three groups of the training people each
(`kdlab.study.cross_fit` adds them, under the same names, so they are shared with ``cross_fit: 3``); here all of them
teach every window. ``weights`` are those of the runs, shared by the members of a run; ``weights: validation`` finds
those of the members on the validation windows of each job. With ``cross_fit`` the members are cross-fitted teachers.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kdlab.study.configs import get_value, set_value
from kdlab.study.cross_fit import added_teachers, arguments_of, place_of
from kdlab.study.keys import ENSEMBLE
from kdlab.study.limits import check_count
from kdlab.study.runs import Ensemble, Run
from kdlab.types import InputError

CLASS = "EnsembleTeacher"
_COPY = re.compile(r"(.+)_copy([1-9]\d*)")
_PART = re.compile(r"(.+)_without(\d+)of(\d+)")


def read_ensembles(given: Mapping[str, Any], where: str) -> dict[str, Ensemble]:
    """The teachers that are lists of runs, or mappings.

    Args:
        given: teacher -> run, list of runs, or mapping.
        where: the entry, for messages.

    Raises:
        InputError: naming the teacher and what it must be.
    """
    found = {}
    for name, value in given.items():
        if isinstance(value, list | Mapping):
            runs, weights = _members(value, f"{where}: teachers: {name}")
            members = {str(i): run for i, run in enumerate(runs, start=1)}
            shares = dict(zip(members, weights, strict=True)) if isinstance(weights, list) else weights
            found[str(name)] = Ensemble(members, shares)
    return found


def flat_teachers(given: Mapping[str, Any], ensembles: Mapping[str, Ensemble]) -> dict[str, str]:
    """Key of a teacher or of a member (``all/1``) -> its run."""
    found: dict[str, str] = {}
    for name, value in given.items():
        if name in ensembles:
            found |= {f"{name}/{key}": run for key, run in ensembles[name].members.items()}
        else:
            found[name] = str(value)
    return found


def write_ensembles(config: dict[str, Any], ensembles: Mapping[str, Ensemble], where: str) -> None:
    """Replace teachers of a config by ensembles, whose members have the same arguments.

    Args:
        config: of the student; it is changed.
        ensembles: by teacher.
        where: the run, for messages.

    Raises:
        InputError: a teacher is of another class.
    """
    for name, ensemble in ensembles.items():
        own = arguments_of(config, name, f"{where}: teachers: {name}: must be a Teacher in the config")
        own = {key: v for key, v in own.items() if key not in ("checkpoint", "view")}
        made: dict[str, Any] = {"members": {key: copy.deepcopy(own) for key in ensemble.members}}
        init_args = made if ensemble.weights is None else {**made, "weights": copy.copy(ensemble.weights)}
        set_value(config, place_of(name), {"class_path": CLASS, "init_args": init_args})


def _members(value: Any, where: str) -> tuple[list[str], list[float] | str | None]:
    """The runs of an ensemble, and their weights where they are not equal; ``"validation"``: found there."""
    entry: dict[str, Any] = {"runs": value} if isinstance(value, list) else dict(value)
    runs: Any = entry.get("runs")
    seeds: Any = entry.get("seeds", 1)
    folds: Any = entry.get("folds", 1)
    listed = isinstance(runs, list) and len(runs) > 0 and len(set(map(str, runs))) == len(runs)
    numbers = all(isinstance(v, int) and not isinstance(v, bool) and v >= 1 for v in (seeds, folds))
    if not listed or not numbers or set(entry) - set(ENSEMBLE):
        raise InputError(
            f"{where}: must be a run, a list of different runs, or {{runs: [...], seeds: 1, folds: 1, weights: "
            f"{{...}}}}, but got {value!r}. Correct it."
        )
    check_count(max(seeds, folds), f"{where}: seeds and folds")
    names = [
        f"{copied}_without{j}of{folds}" if folds > 1 else copied
        for run in runs
        for copied in [str(run), *(f"{run}_copy{i}" for i in range(1, seeds))]
        for j in range(1, folds + 1)
    ]
    if len(names) < 2:
        raise InputError(f"{where}: must have at least two members, but got {value!r}. Write teachers: {{raw: <run>}}.")
    return names, _shares(entry.get("weights"), [str(run) for run in runs], seeds * folds, where)


def _shares(weights: Any, runs: list[str], each: int, where: str) -> list[float] | str | None:
    """The weight of every member: that of its run, divided among the members of the run."""
    if weights is None or weights == "validation":
        return weights  # type: ignore[no-any-return]
    good = isinstance(weights, Mapping) and set(map(str, weights)) == set(runs)
    if not good or not all(isinstance(w, int | float) and 0 <= w < math.inf for w in weights.values()):
        raise InputError(
            f"{where}: weights must name exactly the runs {', '.join(runs)}, with numbers of at least 0, but got "
            f"{weights!r}. Correct them."
        )
    return [weights[run] / each for run in runs for _ in range(each)]


def with_members(runs: Mapping[str, Run], where: str) -> dict[str, Run]:
    """The runs with the copies and the parts that ensembles need.

    Args:
        runs: as the file has them.
        where: the study file, for messages.
    """
    found = dict(runs)
    for name in dict.fromkeys(name for run in runs.values() for name in run.teachers.values()):
        base = part[1] if (part := _PART.fullmatch(name)) and name not in runs else name
        if (match := _COPY.fullmatch(base)) and base not in found and match[1] in runs:
            found[base] = replace(runs[match[1]], name=base, control=True, origin=match[1], copy=int(match[2]))
        if part is not None and name not in found and base in found:
            found |= {run.name: run for run in added_teachers(found[base], int(part[3]), 0, where)}
    return found


def connect_teacher(config: dict[str, Any], key: str, folder: str, view: str) -> None:
    """Put the folder of a teacher, or of a member of one, into a config.

    Args:
        config: of a job.
        key: of `flat_teachers`.
        folder: of the job that it needs.
        view: that this job reads.
    """
    place = place_of(key)
    set_value(config, f"{place}.checkpoint", folder)
    if get_value(config, f"{place}.view") is None:
        set_value(config, f"{place}.view", view)
