"""The jobs of a tuning by their names, which are known before any result: whole rounds can be given out beforehand.

The settings of a trial follow from the results of earlier rounds, and so does its key; its name does not. A process
that runs a trial by its name makes its settings from the results that it finds, as every other process would, and
writes into the folder of this trial alone. So the trials of a tuning need no journal that several processes write: the
files in ``tuning/`` are written by one process, from the results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdlab.study.keys import STAGES
from kdlab.study.plan import Study, job_name
from kdlab.study.tuning.people import Part
from kdlab.study.tuning.steps import OWN, Tuning

_PLURALS = {stage: part for part, stage in STAGES.items()}


@dataclass(frozen=True)
class Ahead:
    """A job whose settings may not be known yet.

    Attributes:
        stage: a word for what runs at the same time.
        needs: jobs whose weights it reads.
        after: jobs whose results decide its settings.
    """

    stage: str
    needs: tuple[str, ...]
    after: tuple[str, ...]


def jobs_ahead(tuning: Tuning) -> tuple[dict[str, Ahead], tuple[str, ...]]:
    """All jobs of a tuning, in an order in which they can be run.

    Returns:
        Name -> job; and the names of those that decide the settings of the study's own jobs.
    """
    found: dict[str, Ahead] = {}
    last: dict[str, tuple[str, ...]] = {}
    for step in tuning.steps.values():
        after = tuple(name for other in step.after for name in last[other])
        decided = {name: last[name] for name in step.after}
        for turn, numbers in enumerate(tuning.rounds, start=1):
            names = []
            for number in numbers:
                for run, labels in step.runs:
                    needs = _needed(tuning, step.part, run, dict(labels), decided, found, step.stage == OWN)
                    name = _name(tuning.study, run, dict(labels), step.part, tuning.tune.seed, tuning.tag(step, number))
                    found[name] = Ahead(f"tune-{step.stage}-{turn}", needs, after)
                    names.append(name)
            after = tuple(names)
        last[step.name] = after
    return found, tuple(name for names in last.values() for name in names)


def _needed(
    tuning: Tuning,
    part: Part,
    run: str,
    labels: Mapping[str, str],
    decided: Mapping[str, Sequence[str]],
    found: dict[str, Ahead],
    late: bool,
) -> tuple[str, ...]:
    """The jobs whose weights a run reads, which are added to those that are found."""
    study, names = tuning.study, []
    for other in study.runs[run].needs:
        mine = {axis: labels[axis] for axis in study.axes_of(other)}
        name = _name(study, other, mine, part, tuning.tune.seed, tuning.trial_of_needed(other, late))
        if name not in found:
            needs = _needed(tuning, part, other, mine, decided, found, late)
            steps = tuning.steps_of(other, mine, part)
            after = tuple(done for step in steps for done in decided.get(step, ()))
            stage = study.runs[other].stage
            found[name] = Ahead(f"tune-{_PLURALS.get(stage, stage)}", needs, after)
        names.append(name)
    return tuple(names)


def _name(study: Study, run: str, labels: Mapping[str, str], part: Part, seed: int, trial: str) -> str:
    return job_name(run, labels, part.fold, None if study.runs[run].one_per == "fold" else seed, trial)
