"""How long a fit is planned to be, in optimiser steps and in epochs: what a learning-rate schedule is spread over."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Literal

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from kdlab.methods.windows import PartialWindows, datamodule_in, windows_of

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


#: epoch and optimiser step, both counted from 0, of the trainer where a fit begins
Start = tuple[int, int]


def start_of(trainer: Trainer) -> Start:
    """Where a fit begins, once it is set up: a second fit with the same trainer counts further.

    A fit that resumes from a checkpoint is the rest of one that began at 0.
    """
    return (0, 0) if trainer.ckpt_path is not None else (trainer.current_epoch, trainer.global_step)


def steps_of(trainer: Trainer, batches: int, start: Start = (0, 0)) -> tuple[int | None, int | None]:
    """Optimiser steps and epochs of a fit, as Lightning will count them.

    Args:
        trainer: of the fit.
        batches: that its training loader has.
        start: where the fit begins.

    Returns:
        Steps and epochs; None where there is no planned end.
    """
    limit: Any = trainer.limit_train_batches
    return length_of(trainer, int(batches * limit) if isinstance(limit, float) else min(batches, limit), start)


def length_of(trainer: Trainer, batches: int, start: Start = (0, 0)) -> tuple[int | None, int | None]:
    """As :func:`steps_of`, of so many batches an epoch within the trainer's limit."""
    last, most = trainer.max_epochs, trainer.max_steps
    (epoch, step), count = start, _Steps(trainer, batches)
    if last is None or last < 0:
        if most <= 0:
            return None, None
        steps = most - step
    else:
        steps = count.before(max(1, last)) - count.before(epoch)
        steps = min(steps, most - step) if most >= 0 else steps
    if steps <= 0 and start != (0, 0):  # nothing is left to train
        return length_of(trainer, batches)
    ends = [] if last is None or last < 0 else [last]
    ends += [count.epochs(count.before(epoch) + most - step)] if most >= 0 else []
    return steps, min(ends) - epoch


class _Steps:
    """Counts the optimiser steps of epochs, of which a `GradientAccumulationScheduler` may change the batches per step.

    Args:
        trainer: of the fit.
        batches: of a training epoch.
    """

    def __init__(self, trainer: Trainer, batches: int) -> None:
        factors = [(0, trainer.accumulate_grad_batches)]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, GradientAccumulationScheduler):
                factors = [(epoch, callback.get_accumulate_grad_batches(epoch)) for epoch in callback.epochs]
        ends = [*(float(start) for start, _ in factors[1:]), math.inf]
        #: first epoch, the one after the last, and steps of an epoch between them
        self._parts = [(s, end, max(1, math.ceil(batches / f))) for (s, f), end in zip(factors, ends, strict=True)]
        self._batches, self._factors = batches, [factor for _, factor in factors]

    def before(self, epoch: int) -> int:
        """The steps before an epoch."""
        return sum(int(max(0, min(end, epoch) - start)) * steps for start, end, steps in self._parts)

    def epochs(self, steps: int) -> int:
        """The epochs that so many steps take; the last may be a part of one."""
        for start, end, an_epoch in self._parts:
            if steps <= (end - start) * an_epoch:
                return start + math.ceil(steps / an_epoch)
            steps -= int(end - start) * an_epoch
        raise AssertionError("the last part has no end")

    def batches(self, steps: int) -> int:
        """The batches that so many steps take."""
        whole = max(0, self.epochs(steps) - 1)
        factor = next(f for (start, end, _), f in zip(self._parts, self._factors, strict=True) if start <= whole < end)
        return whole * self._batches + min(self._batches, (steps - self.before(whole)) * factor)


def batches_of_steps(trainer: Trainer, batches: int, steps: int) -> int:
    """The batches that the first optimiser steps of a fit take.

    Args:
        trainer: of the fit.
        batches: of a training epoch.
        steps: of the optimiser.
    """
    return _Steps(trainer, batches).batches(steps)


def steps_of_epochs(trainer: Trainer, batches: int, epochs: int, first: int = 0) -> int:
    """The optimiser steps of some epochs.

    Args:
        trainer: of the fit.
        batches: of a training epoch.
        epochs: their number.
        first: the first of them, counted from 0.
    """
    count = _Steps(trainer, batches)
    return count.before(first + epochs) - count.before(first)


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
    return length_of(trainer, int(batches))[1]


def _before(trainer: Trainer, data: Any) -> tuple[int | None, int | None]:
    """Steps and epochs of a fit on a data module of another origin; no steps where its loader has no length."""
    try:
        return steps_of(trainer, len(data.train_dataloader()))
    except TypeError:
        return None, trainer.max_epochs


def plan_of(
    trainer: Trainer | None, datamodule: object = None, interval: Interval | None = None, start: Start = (0, 0)
) -> Plan:
    """The plan of a trainer's fit.

    Args:
        trainer: None outside of a fit, where nothing is planned.
        datamodule: where the trainer has none yet, before its fit.
        interval: how often the schedule is stepped; None: as the schedule itself says.
        start: where the fit begins.
    """
    if trainer is None:
        return Plan(interval=interval)
    before = datamodule is not None
    data: Any = datamodule if before else datamodule_in(trainer)
    every = trainer.check_val_every_n_epoch or 1
    if isinstance(windows_of(data), PartialWindows):  # the loaders are Lightning's to change
        if before:
            steps, epochs = _before(trainer, data)
        else:
            total = trainer.estimated_stepping_batches  # makes the loader where that is needed
            batches = trainer.num_training_batches
            if 0 < batches < math.inf:
                steps, epochs = length_of(trainer, int(batches), start)
            else:  # -1, or those of max_steps
                steps = max(1, int(total) - start[1]) if 0 <= total < math.inf else None
                epochs = trainer.max_epochs
        return Plan(steps, epochs if epochs and epochs > 0 else None, every, interval)
    batches = len(data.train_dataloader())  # of this rank; making a loader draws nothing at random
    if before and trainer.world_size > 1:
        batches = max(1, batches // trainer.world_size)
    return Plan(*steps_of(trainer, batches, start), every, interval)
