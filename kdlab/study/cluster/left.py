"""What is left of a study and of its tuning, for arrays that are given out beforehand, and for ``--list``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kdlab.study.digests import digest
from kdlab.study.plan import Jobs, Study
from kdlab.study.planned import plan
from kdlab.study.results import Survey
from kdlab.study.tuning.ahead import jobs_ahead
from kdlab.study.tuning.run import Settings
from kdlab.study.weights import Needing, to_make_again
from kdlab.types import InputError


class Named(Needing, Protocol):
    """A job, or one whose settings are not known yet."""

    @property
    def stage(self) -> str:
        """What it is."""


@dataclass(frozen=True)
class Left:
    """What is left.

    Attributes:
        jobs: all, by their names, in an order in which they can be run.
        names: of those to be run.
        after: name -> jobs whose results decide its settings, where they are not known yet.
    """

    jobs: Mapping[str, Named]
    names: list[str]
    after: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def before(self, name: str) -> tuple[str, ...]:
        """The jobs without which one cannot be run."""
        return (*self.jobs[name].needs, *self.after.get(name, ()))


def left_of(jobs: Jobs, found: Survey, settings: Settings | None = None, trials: Survey | None = None) -> Left:
    """The jobs without a row, and those whose weights others need.

    Args:
        jobs: of the study.
        found: what is done of them.
        settings: where they are still to be found, the trials come first, and all jobs follow from them.
        trials: what is done of these.
    """
    if settings is None or settings.tuning is None or not settings.pending:
        return Left(jobs, _missing(jobs, found))
    ahead, last = jobs_ahead(settings.tuning)
    names = _missing(ahead, Survey() if trials is None else trials)
    after = {name: one.after for name, one in ahead.items()} | dict.fromkeys(jobs, last)
    return Left({**ahead, **jobs}, [*names, *jobs], after)


def _missing(jobs: Mapping[str, Named], found: Survey) -> list[str]:
    again = to_make_again(jobs, [name for name in jobs if name not in found.rows], found.bare)
    return [name for name in jobs if name not in found.rows or name in again]


def keys_of(study: Study, settings: Settings, jobs: Jobs, root: Path) -> dict[str, str]:
    """What a job is known by between the time when it is given out and the time when it runs.

    It is the key of the job. In a study with a tuning, whose jobs get their keys one round after the other, it is the
    same for all: a digest of ``tune`` and of the keys that the jobs of the study have without settings found.

    Returns:
        Name -> its key; under ``""`` that of trials.
    """
    if settings.tuning is None:
        return {name: job.key for name, job in jobs.items()}
    bare = plan(study, root, Settings(study, settings.folds))[1]
    key = digest([settings.tuning.tune.content, {name: job.key for name, job in bare.items()}])
    return {"": key, **dict.fromkeys(jobs, key)}


def check_key(name: str, key: str, keys: Mapping[str, str]) -> None:
    """Refuse a job that is no longer what was given out.

    Args:
        name: of the job.
        key: that it had.
        keys: as :func:`keys_of` finds them now.

    Raises:
        InputError: it has another key, or there is no such job any more.
    """
    now = keys.get(name, keys.get("") if name.startswith("tune:") else None)
    if now != key:
        raise InputError(
            f"--key: {name} must be what it was when it was given out, {key}, but is {now or 'no job of the study'}: "
            "its settings, its data or the version of kdlab are others. End what waits, and run --submit again."
        )


def check_known(names: list[str], known: Jobs, jobs: Jobs, settings: Settings) -> None:
    """Refuse jobs whose settings follow from trials that are not done.

    Args:
        names: of jobs to be run.
        known: those with their settings.
        jobs: of the study, by their names.
        settings: that are found, or still to be found.

    Raises:
        InputError: naming the first of these trials.
    """
    if settings.tuning is None or not settings.pending:
        return
    ahead, last = jobs_ahead(settings.tuning)
    for name in names:
        if name in known or name not in {**ahead, **jobs}:
            continue
        lacking = [other for other in (ahead[name].after if name in ahead else last) if other not in settings.rows]
        raise InputError(
            f"--only: the settings of {name} follow from trials, of which {', '.join(lacking[:3])} must be done first, "
            "but have no result. Run them (--list names them)."
        )
