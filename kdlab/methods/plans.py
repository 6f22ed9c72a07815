"""How long a fit is planned to be, in optimiser steps and in epochs: what a learning-rate schedule is spread over."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Literal

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer

from kdlab.methods.windows import PartialWindows, datamodule_in, windows_of
from kdlab.types import InputError

Interval = Literal["epoch", "step"]


@dataclass(frozen=True)
class Plan:
    """The planned length of a fit.

    Args:
        steps: of the optimiser; None where the fit has no planned end.
        epochs: that it takes; None where it has no planned end.
        every: epochs from one validation to the next.
        interval: how often the schedule is stepped; None: as the schedule itself says.
    """

    steps: int | None = None
    epochs: int | None = None
    every: int = 1
    interval: Interval | None = None

    def length(self, interval: Interval) -> int | None:
        """How often a schedule is stepped, by default ``interval``."""
        return self.steps if (self.interval or interval) == "step" else self.epochs

    def part(self, interval: Interval, start: int, end: int | None) -> Plan:
        """The plan of a schedule that is stepped from ``start`` to ``end`` (None: to the end of the fit)."""
        whole = self.length(interval)
        length = None if (end or whole) is None else max(1, (end or whole or 0) - start)
        return replace(self, steps=length, epochs=length, interval=self.interval or interval)


_current: ContextVar[Plan | None] = ContextVar("plan", default=None)


@contextmanager
def planned(plan: Plan | None) -> Iterator[None]:
    """Schedules that are made within the block are spread over this plan."""
    token = _current.set(plan)
    try:
        yield
    finally:
        _current.reset(token)


def plan_here() -> Plan | None:
    """The plan of the block that is running (see :func:`planned`), None outside of one."""
    return _current.get()


def steps_of(trainer: Trainer, batches: int) -> tuple[int | None, int | None]:
    """Optimiser steps and epochs of a fit, as Lightning will count them.

    Args:
        trainer: of the fit.
        batches: that its training loader has.

    Returns:
        Steps and epochs; None where there is no planned end.
    """
    limit: Any = trainer.limit_train_batches
    batches = int(batches * limit) if isinstance(limit, float) else min(batches, limit)
    an_epoch = max(1, math.ceil(batches / trainer.accumulate_grad_batches))
    epochs, most = trainer.max_epochs, trainer.max_steps
    if epochs is None or epochs < 0:
        return (most, _epochs_of(trainer, an_epoch)) if most > 0 else (None, None)
    steps = an_epoch * max(1, epochs)
    return (min(steps, most) if most >= 0 else steps), _epochs_of(trainer, an_epoch)


def _epochs_of(trainer: Trainer, an_epoch: int) -> int | None:
    """Epochs of a fit with so many optimiser steps an epoch: the fewer of its two limits."""
    ends = [] if trainer.max_epochs is None or trainer.max_epochs < 0 else [trainer.max_epochs]
    ends += [math.ceil(trainer.max_steps / an_epoch)] if trainer.max_steps >= 0 else []
    return min(ends, default=None)


def has_end(trainer: Trainer) -> bool:
    """Whether a fit has a planned end, in epochs or in optimiser steps; time limits plan none."""
    return any(end is not None and end >= 0 for end in (trainer.max_epochs, trainer.max_steps))


def planned_epochs(trainer: Trainer) -> int | None:
    """Epochs that a fit takes, the last of which ``max_steps`` may cut; None where it has no planned end.

    It may be read in every step: the batches of an epoch are counted once the trainer has its loader.
    """
    if trainer.max_steps < 0:
        return None if trainer.max_epochs is None or trainer.max_epochs < 0 else trainer.max_epochs
    batches = trainer.num_training_batches
    if not 0 < batches < math.inf:  # not known yet, or the loader has no length
        return plan_of(trainer).epochs
    an_epoch = max(1, math.ceil(batches / trainer.accumulate_grad_batches))
    return _epochs_of(trainer, an_epoch)


def _before(trainer: Trainer, data: Any) -> tuple[int | None, int | None]:
    """Steps and epochs of a fit on a data module of another origin; no steps where its loader has no length."""
    try:
        return steps_of(trainer, len(data.train_dataloader()))
    except TypeError:
        return None, trainer.max_epochs


def plan_of(trainer: Trainer | None, datamodule: object = None, interval: Interval | None = None) -> Plan:
    """The plan of a trainer's fit.

    Args:
        trainer: None outside of a fit, where nothing is planned.
        datamodule: where the trainer has none yet, before its fit.
        interval: how often the schedule is stepped; None: as the schedule itself says.
    """
    if trainer is None:
        return Plan(interval=interval)
    before = datamodule is not None
    data: Any = datamodule if before else datamodule_in(trainer)
    every = trainer.check_val_every_n_epoch or 1
    if isinstance(windows_of(data), PartialWindows):  # the loaders are Lightning's to change
        try:
            total: float | None
            total, epochs = _before(trainer, data) if before else (trainer.estimated_stepping_batches, None)
        except MisconfigurationException as error:
            raise InputError(
                "scheduler: the number of steps must be known, but accumulate_grad_batches changes during the fit. "
                "Give the schedule its length, or remove the callback GradientAccumulationScheduler."
            ) from error
        steps = int(total) if total is not None and 0 <= total < math.inf else None
        if not before:
            known = 0 < trainer.num_training_batches < math.inf
            epochs = planned_epochs(trainer) if known else trainer.max_epochs
        return Plan(steps, epochs if epochs and epochs > 0 else None, every, interval)
    batches = len(data.train_dataloader())  # of this rank; making a loader draws nothing at random
    if before and trainer.world_size > 1:
        batches = max(1, batches // trainer.world_size)
    return Plan(*steps_of(trainer, batches), every, interval)
