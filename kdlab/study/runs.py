"""One entry of a study file, and its teachers that are several runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ensemble:
    """A teacher that is several runs: their names, by member, and the weights of the members.

    ``weights`` is None where they are equal, and ``"validation"`` where they are found on validation windows.
    """

    members: dict[str, str]
    weights: dict[str, float] | str | None = None


@dataclass(frozen=True)
class Run:
    """One entry of a study file: a config and the runs that it needs.

    ``updates`` is the number of its optimiser updates, those of its warm start included, of which ``warm`` are the warm
    start's; None in a study without ``updates``. ``split`` is the warm start's share as the file declares it. A control
    is a run that the study added. ``cross_fit`` is the number of groups and the seed of its out-of-person teachers.
    They, and copies with other seeds, whose number is ``copy``, use the settings of the run ``origin``.

    ``config`` names each teacher once; ``ensembles`` are those that are several runs. What is written for them, and for
    ``cross_fit``, is in `kdlab.study.run_config`.
    """

    name: str
    stage: str
    config: dict[str, Any]
    teachers: dict[str, str] = field(default_factory=dict)
    init: str | None = None
    axes: tuple[str, ...] = ()
    one_per: str = "seed"
    updates: int | None = None
    split: float | None = None
    warm: int = 0
    control: bool = False
    cross_fit: tuple[int, int] | None = None
    origin: str = ""
    copy: int = 0
    ensembles: dict[str, Ensemble] = field(default_factory=dict)

    @property
    def needs(self) -> list[str]:
        """Names of the runs that come before this one."""
        return [*self.teachers.values(), *([self.init] if self.init else [])]


def without_idle(runs: Mapping[str, Run]) -> dict[str, Run]:
    """The runs without those that the study added and none needs: a copy of which only the parts teach.

    Args:
        runs: each after those that it needs.

    >>> plain, copied = Run("t", "teacher", {}), Run("t_copy1", "teacher", {}, control=True, origin="t", copy=1)
    >>> student = Run("kd", "student", {}, {"raw": "t"})
    >>> list(without_idle({run.name: run for run in (plain, copied, student)}))
    ['t', 'kd']
    """
    needed: set[str] = set()
    for run in reversed(list(runs.values())):
        if run.name in needed or not run.control:
            needed |= {run.name, *run.needs}
    return {name: run for name, run in runs.items() if name in needed}
