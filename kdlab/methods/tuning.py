"""Lightning's finders of a learning rate and of a batch size: what they need, and what a fit does with a finding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from kdlab.types import InputError

#: Lightning leaves out the first ten points and the last, and needs a slope of two
FEWEST = 13


def finders(callbacks: Iterable[Any]) -> list[LearningRateFinder | BatchSizeFinder]:
    """The finders among the callbacks of a trainer, those of Lightning's ``Tuner`` included."""
    return [callback for callback in callbacks if isinstance(callback, LearningRateFinder | BatchSizeFinder)]


def check_finders(callbacks: Iterable[Any], module: LightningModule, steps: int | None) -> None:
    """A finder of the learning rate tries enough of them, within the fit, and for a rate that is there.

    Args:
        callbacks: of the trainer.
        module: the method.
        steps: of the fit; None where it has no planned end.

    Raises:
        InputError: naming what to change.
    """
    for finder in finders(callbacks):
        if not isinstance(finder, LearningRateFinder):
            continue
        tried, name = finder._num_training_steps, finder._attr_name
        if finder._update_attr and name and name not in dir(module):
            raise InputError(
                f"LearningRateFinder: attr_name must be the learning rate of the method, lr, but got {name!r}. Leave "
                "it out."
            )
        made: Any = module.configure_optimizers() if finder._update_attr else None
        if isinstance(made, dict) and isinstance(made["lr_scheduler"]["scheduler"], OneCycleLR | CyclicLR):
            raise InputError(
                "LearningRateFinder: scheduler must leave the learning rate to the optimiser, but got "
                f"{type(made['lr_scheduler']['scheduler']).__name__}, which has its own (max_lr). Choose another, such "
                "as LinearWarmupCosine, or leave the callback out."
            )
        if tried < FEWEST or (steps is not None and tried > steps):
            remedy = f"Raise it to {FEWEST} or more" if tried < FEWEST else "Lower it, or raise max_epochs"
            if steps is not None and steps < FEWEST:
                raise InputError(
                    f"LearningRateFinder: num_training_steps must be {FEWEST} or more within the steps of this fit, "
                    f"but got {tried} and {steps} steps. Raise max_epochs to {FEWEST} steps or more, and set "
                    f"num_training_steps (num_training of a Tuner) from {FEWEST} to these."
                )
            limit = f"from {FEWEST} to the {steps} steps of this fit" if steps is not None else f"at least {FEWEST}"
            raise InputError(f"LearningRateFinder: num_training_steps must be {limit}, but got {tried}. {remedy}.")


def use_findings(module: LightningModule) -> None:
    """Make optimiser and schedule for the learning rate, or the number of steps, that was found before the fit."""
    trainer = module.trainer
    if finders(trainer.callbacks):  # type: ignore[attr-defined]
        trainer.strategy.setup_optimizers(trainer)
