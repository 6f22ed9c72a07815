"""How many jobs each condition of a study has, and which of them are missing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from kdlab.study.conditions import Condition
from kdlab.study.plan import Job


@dataclass(frozen=True)
class Planned:
    """The jobs of one condition.

    Attributes:
        jobs: how many there are.
        missing: fold -> the seeds that are not done, ``None`` where a fold's seeds share the job.
        folds: all folds.
        seeds: all seeds of a fold.
    """

    jobs: int
    missing: Mapping[str, list[int | None]]
    folds: tuple[str, ...]
    seeds: tuple[int | None, ...]

    @property
    def left(self) -> int:
        """How many are missing."""
        return sum(map(len, self.missing.values()))

    @property
    def words(self) -> str:
        """What is missing, in words."""
        if self.left == self.jobs:
            return "all"
        parts = [self._fold(fold, seeds) for fold, seeds in self.missing.items()]
        return "; ".join(parts)

    def _fold(self, fold: str, seeds: list[int | None]) -> str:
        named = [seed for seed in seeds if seed is not None]
        some = f"{'seed' if len(named) == 1 else 'seeds'} {', '.join(map(str, named))}" if named else ""
        if not fold:
            return some
        return fold if len(seeds) == len(self.seeds) else f"{fold} {some}"


def planned(
    jobs: Iterable[Job], done: Collection[str], name: Callable[[str], str] = lambda fold: fold
) -> dict[str, Planned]:
    """Title of a condition -> its jobs, in the order of the study.

    Args:
        jobs: of the study.
        done: names of those that are done.
        name: of a fold in the report.
    """
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(Condition(job.run, job.stage, job.labels, ()).title, []).append(job)
    found = {}
    for title, mine in groups.items():
        missing: dict[str, list[int | None]] = {}
        for job in mine:
            if job.name not in done:
                missing.setdefault(name(job.fold), []).append(None if job.shared else job.seed)
        seeds = tuple(dict.fromkeys(None if job.shared else job.seed for job in mine))
        found[title] = Planned(len(mine), missing, tuple(dict.fromkeys(name(job.fold) for job in mine)), seeds)
    return found


def runs_cell(condition: Condition, plan: Mapping[str, Planned]) -> str:
    """How many runs a mean is over, and of how many where some are missing."""
    found, count = plan.get(condition.title), len(condition.rows)
    return f"{count} of {found.jobs}" if found is not None and found.left else str(count)
