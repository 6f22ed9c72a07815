"""Whether a fit validates at all: no ``best.ckpt`` is chosen, and nothing that watches ``val/...`` works, where not."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Trainer

from kdlab.methods.plans import batches_of_steps, steps_of
from kdlab.types import InputError


def batches_of(trainer: Trainer, batches: int) -> int:
    """Training batches of an epoch, within the trainer's limit.

    Args:
        trainer: of the fit.
        batches: that its training loader has.
    """
    limit: Any = trainer.limit_train_batches
    return int(batches * limit) if isinstance(limit, float) else min(batches, limit)


def _by_time(trainer: Any) -> bool:
    by_time: bool = trainer._val_check_time_interval is not None
    return by_time


def why_none(trainer: Trainer, batches: int) -> str | None:
    """What to change so that a fit validates; None where it does.

    Args:
        trainer: of the fit.
        batches: that its training loader has.
    """
    if trainer.limit_val_batches == 0:
        return "Raise limit_val_batches"
    if _by_time(trainer) or trainer.max_epochs == 0 or trainer.max_steps == 0:
        return None
    an_epoch = batches_of(trainer, batches)
    steps, epochs = steps_of(trainer, batches)
    if steps is None or epochs is None:
        return None
    done = epochs * an_epoch
    if trainer.max_steps >= 0:  # the fit may end within an epoch
        done = min(done, batches_of_steps(trainer, an_epoch, trainer.max_steps))
    interval: Any = trainer.val_check_interval
    first = interval if isinstance(interval, int) else max(1, int(an_epoch * interval))
    every = trainer.check_val_every_n_epoch
    if every is None:
        return None if first <= done else "Lower val_check_interval"
    if every > epochs:
        return "Lower check_val_every_n_epoch"
    return None if (every - 1) * an_epoch + first <= done else "Raise max_steps"


def check_interval(trainer: Trainer, batches: int) -> None:
    """Validation within an epoch comes before its end.

    Args:
        trainer: of the fit.
        batches: that its training loader has.

    Raises:
        InputError: it does not.
    """
    if _by_time(trainer) or trainer.limit_val_batches == 0 or trainer.check_val_every_n_epoch is None:
        return
    interval: Any = trainer.val_check_interval
    an_epoch = batches_of(trainer, batches)
    if isinstance(interval, int) and interval > an_epoch:
        raise InputError(
            f"trainer: val_check_interval must be at most the {an_epoch} batches of an epoch, but got {interval}. "
            "Lower it, or set check_val_every_n_epoch: null, which counts batches over the epochs."
        )


def batches_before(trainer: Trainer) -> int | None:
    """Training batches of the loader of a fit that has begun, before the trainer's limit; None: it has no length."""
    limit, batches = trainer.limit_train_batches, trainer.num_training_batches
    if not 0 < batches < math.inf:
        return None
    return math.ceil(batches / limit) if isinstance(limit, float) else int(batches)


def why_none_here(trainer: Trainer) -> str | None:
    """As :func:`why_none`, of a fit that has begun; a loader without a length is validated at its end."""
    batches = batches_before(trainer)
    if batches is None:
        return "Raise limit_val_batches" if trainer.limit_val_batches == 0 else None
    return why_none(trainer, batches)


def check_plateau(trainer: Trainer, who: str, monitor: str, batches: int) -> None:
    """A schedule that is stepped once an epoch watches what each of these epochs measures.

    Args:
        trainer: of the fit.
        who: name of the schedule.
        monitor: what it watches.
        batches: that the training loader has.

    Raises:
        InputError: it has no value at the end of an epoch.
    """
    if monitor.startswith("val") and not in_every_epoch(trainer, batches):
        raise InputError(
            f"{who}: monitor must be measured once an epoch, but got {monitor!r}, measured every "
            f"{trainer.val_check_interval} batches. Set check_val_every_n_epoch in place of val_check_interval."
        )


def check_schedules(trainer: Trainer) -> None:
    """Every schedule that watches a validation metric has one to watch, as a fit begins.

    Raises:
        InputError: there is no validation, or none in every epoch.
    """
    for config in trainer.lr_scheduler_configs:
        who, monitor = type(config.scheduler).__name__, config.monitor
        if not config.reduce_on_plateau or not isinstance(monitor, str) or not monitor.startswith("val"):
            continue
        if (remedy := why_none_here(trainer)) is not None:
            raise InputError(
                f"{who}: monitor must be a metric that is logged, but got {monitor!r}, and this fit has no "
                f"validation. {remedy}, or monitor train/loss."
            )
        if (batches := batches_before(trainer)) is not None:
            check_plateau(trainer, who, monitor, batches)


def in_every_epoch(trainer: Trainer, batches: int) -> bool:
    """Whether epochs are validated regularly, so that what is stepped once an epoch has a value."""
    if _by_time(trainer):
        return False
    interval: Any = trainer.val_check_interval
    counted = trainer.check_val_every_n_epoch is None and isinstance(interval, int)
    return not counted or interval <= batches_of(trainer, batches)
