"""One entry of a study file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Run:
    """One entry of a study file: a config and the runs that it needs.

    ``updates`` is the number of its optimiser updates, those of its warm start included, of which ``warm`` are the warm
    start's; None in a study without ``updates``. ``split`` is the warm start's share as the file declares it. A control
    is a run that the study added. ``cross_fit`` is the number of groups and the seed of its out-of-person teachers.
    They, and copies with other seeds, whose number is ``copy``, use the settings of the run ``origin``.
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

    @property
    def needs(self) -> list[str]:
        """Names of the runs that come before this one."""
        return [*self.teachers.values(), *([self.init] if self.init else [])]
