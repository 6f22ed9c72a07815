"""Equal numbers of updates: how many each run of a study has, and the controls of those that have others.

With ``updates: 800`` in a study file every run has 800 optimiser updates in total. A run with a warm start has what its
warm start leaves: ``init`` names a run with fewer updates of its own, or ``split: 0.5`` says that half of the updates
are the warm start's, for which the study adds a shorter copy of that run (``scratch_400``). ``updates: 1600`` of a run
is a budget of its own. The study adds controls of equal length, unless the file says ``controls: none``: for a warm
start, the run that it starts from trained on without teachers (``scratch_400+400``); for another total, the first
control and KD of that total (``scratch_1600``, ``kd_1600``).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kdlab.study.configs import get_value, set_value
from kdlab.study.runs import Run
from kdlab.types import InputError

CHOICES = ("auto", "none")


def read_updates(value: Any, where: str) -> int | None:
    """A number of updates.

    Raises:
        InputError: it is no whole number of at least 1.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InputError(f"{where}: updates must be a whole number of at least 1, but got {value!r}. Write one.")
    return value


def read_split(value: Any, where: str) -> float | None:
    """The share of the updates that is the warm start's.

    Raises:
        InputError: it is no number between 0 and 1.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise InputError(
            f"{where}: split must be the share of the updates that is the warm start's, between 0 and 1, but got "
            f"{value!r}. Write split: 0.5."
        )
    return float(value)


def read_controls(value: Any, where: str) -> bool:
    """Whether controls of equal length are added.

    Raises:
        InputError: it is neither ``auto`` nor ``none``.
    """
    if value not in (None, *CHOICES):
        raise InputError(f"{where}: controls must be auto or none, but got {value!r}. Write one of them.")
    return bool(value != "none")


def with_budgets(
    runs: Mapping[str, Run], updates: int | None, controls: bool, baselines: Sequence[str], where: str
) -> dict[str, Run]:
    """The runs with their numbers of updates, and with the shorter warm starts and the controls that they need.

    Args:
        runs: in an order in which they can be run.
        updates: of every run in total; None: the configs say how long they are, and nothing changes.
        controls: whether controls are added.
        baselines: runs that the others are compared with.
        where: the study file, for messages.

    Raises:
        InputError: a warm start leaves no updates, or an added run would have the name of another.
    """
    if updates is None:
        for run in runs.values():
            if run.updates is not None or run.split is not None:
                raise InputError(
                    f"{where}: {run.name}: updates and split must be left out of a study without updates, but got "
                    f"{run.updates or run.split}. Write updates: 800 at the top of the file."
                )
        return dict(runs)
    found: dict[str, Run] = {}
    for run in runs.values():
        total = run.updates or updates
        if run.init is None:
            _refuse_split(run, where)
            found[run.name] = replace(run, updates=total)
            continue
        start = _start(run, found, total, where)
        _add(found, runs, start, where)
        found[run.name] = replace(run, updates=total, init=start.name, warm=_of(start))
    if controls:
        for run in [*_after_warm_starts(found), *_of_other_lengths(found, baselines)]:
            _add(found, runs, run, where)
    return found


def _of(run: Run) -> int:
    assert run.updates is not None
    return run.updates


def _refuse_split(run: Run, where: str) -> None:
    if run.split is not None:
        raise InputError(f"{where}: {run.name}: split must be left out without init, but got {run.split}. Name one.")


def _start(run: Run, found: Mapping[str, Run], total: int, where: str) -> Run:
    """The run that a warm start is: the one that the file names, or a shorter copy of it."""
    start = found[str(run.init)]
    if run.split is not None:
        own = round(run.split * total)
        if not 0 < own < total:
            raise InputError(
                f"{where}: {run.name}: split must leave updates on both sides, but got {run.split} of {total}. "
                "Change it, or raise updates."
            )
        if start.init is not None:
            raise InputError(
                f"{where}: {run.name}: split must be left out where {start.name} has a warm start itself, but got "
                f"{run.split}. Give {start.name} updates of its own."
            )
        return start if own == start.updates else replace(start, name=f"{start.name}_{own}", updates=own, control=True)
    if _of(start) >= total:
        raise InputError(
            f"{where}: {run.name}: updates must be more than the {start.updates} of its warm start {start.name}, but "
            f"are {total}. Write split: 0.5 (half of them are then the warm start's), or updates: "
            f"{_of(start) + total}."
        )
    return start


def _after_warm_starts(found: Mapping[str, Run]) -> list[Run]:
    """Of each warm start, the run that it is trained on as it was, as long as the distilled ones."""
    added: dict[str, Run] = {}
    for run in found.values():
        if run.init is None or run.stage != "student" or run.control:
            continue
        start, rate = found[run.init], get_value(run.config, "model.init_args.init_lr")
        there = (other for other in found.values() if other.name != run.name and other.stage == start.stage)
        if any((o.init, o.updates, o.teachers) == (run.init, run.updates, start.teachers) for o in there):
            continue
        name = f"{start.name}+{_of(run) - run.warm}"
        name = f"{name}_lr{rate:g}" if rate is not None else name
        config = copy.deepcopy(start.config)
        if rate is not None:
            set_value(config, "model.init_args.init_lr", rate)
        added[name] = replace(
            start, name=name, config=config, init=start.name, updates=run.updates, warm=_of(start), control=True
        )
    return list(added.values())


def _of_other_lengths(found: Mapping[str, Run], baselines: Sequence[str]) -> list[Run]:
    """The controls and KD, as long as the distilled runs that have another number of updates than they."""
    totals = dict.fromkeys(_of(run) for run in found.values() if run.stage == "student" and not run.control)
    added = []
    for name in dict.fromkeys([*baselines, *(["kd"] if "kd" in found else [])]):
        base = found[name]
        if base.init is not None or base.stage == "teacher":
            continue
        same = [run for run in found.values() if run.init is None and _recipe(run) == _recipe(base)]
        there = {run.updates for run in same}
        added += [
            replace(base, name=f"{name}_{total}", updates=total, control=True) for total in totals if total not in there
        ]
    return added


def _recipe(run: Run) -> tuple[Any, ...]:
    return run.config, run.teachers, run.ensembles, run.cross_fit, run.axes, run.one_per


def _add(found: dict[str, Run], runs: Mapping[str, Run], run: Run, where: str) -> None:
    """Add a run that the study makes itself, where it is not there yet."""
    if found.get(run.name) == run:
        return
    if run.name in found or run.name in runs:
        raise InputError(
            f"{where}: {run.name} must be the name of a run that the study adds, but there is another one. Rename it."
        )
    found[run.name] = run
