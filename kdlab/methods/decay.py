"""Factors on terms of distillation that fall towards the planned end of a fit, or rise at its beginning."""

from __future__ import annotations

import math
from typing import ClassVar

from kdlab.fields import Setting, argument, setting
from kdlab.objectives import WeightedTeachers


def falling(epoch: int, epochs: int, begin: float) -> float:
    """1 up to a share of the planned epochs, and from there on a cosine to 0 at their end.

    Args:
        epoch: epochs before this one.
        epochs: planned epochs.
        begin: the share, 0 to below 1.

    Example:
        >>> [round(falling(epoch, 240, 0.625), 4) for epoch in (0, 150, 195, 239)]
        [1.0, 1.0, 0.5, 0.0003]
    """
    passed = max(0.0, epoch / epochs - begin) / (1 - begin)
    return (1 + math.cos(math.pi * min(passed, 1.0))) / 2


class Decaying(WeightedTeachers):
    """Base of the objectives with the setting ``"decay"``, which they multiply their terms of distillation with."""

    decay_from: float = argument(
        "share of the planned epochs after which ``rho`` falls, 0 to 1; 1: never.", default=0.625, low=0.0, high=1.0
    )
    decay: Setting = setting("``rho``.", default=1.0, high=1.0, init=False)

    def __post_init__(self) -> None:
        """Let callbacks change the factor where it has no schedule."""
        super().__post_init__()
        self.moves = ("decay",) if self.decay_from < 1 else ()

    def at(self, epoch: int, batch_size: int | None = None, *, step: int = 0, epochs: int | None = None) -> None:
        """``rho = (1 + cos(pi max(0, e / E - s) / (1 - s))) / 2`` in epoch ``e`` of ``E``; 1 without a planned end."""
        if self.decay_from < 1 and epochs:
            self.set("decay", falling(epoch, epochs, self.decay_from))


class Warming(WeightedTeachers):
    """Base of the objectives with the setting ``"ramp"``, which they multiply their terms of distillation with.

    Attributes:
        first: number of the first epoch in the factor.
    """

    first: ClassVar[int] = 1

    warm_up: int = argument("epochs in which ``r`` grows, at least 0; 0: ``r`` is 1.", default=0, low=0)
    ramp: Setting = setting("``r``.", default=1.0, high=1.0, init=False)

    def __post_init__(self) -> None:
        """Let callbacks change the factor where it has no schedule."""
        super().__post_init__()
        self.moves = ("ramp",) if self.warm_up else ()

    def at(self, epoch: int, batch_size: int | None = None, *, step: int = 0, epochs: int | None = None) -> None:
        """``r = min(e / warm_up, 1)``, with ``e`` counted from the number of the first epoch."""
        if self.warm_up:
            self.set("ramp", min((epoch + self.first) / self.warm_up, 1.0))
