"""A fit of a given number of updates, which may end within an epoch."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from kdlab.methods.number_checks import check_number
from kdlab.types import InputError


class UpdateBudget(Callback):
    """Hold a fit to a number of optimiser updates, and validate after the last one, also within an epoch.

    The trainer's ``max_steps`` is that number. Lightning would not validate a part of an epoch, so that its weights
    could not be chosen. An epoch that ``check_val_every_n_epoch`` passes over is not validated, the last one neither; a
    fit that is not validated at all warns.

    Args:
        updates: of the optimiser, as the trainer counts them: with ``accumulate_grad_batches`` several batches each.

    Raises:
        InputError: for a number below 1, another ``max_steps``, or a fit that ``max_epochs`` ended before.

    Example:
        >>> UpdateBudget(800).updates
        800
    """

    def __init__(self, updates: int) -> None:
        super().__init__()
        check_number("UpdateBudget", "updates", updates, 800, whole=True, low=1)
        self.updates, self._validated = updates, False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the trainer ends where the budget does."""
        self._validated = bool(trainer.ckpt_path)  # maybe before it was interrupted
        if stage == "fit" and trainer.max_steps != self.updates and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise InputError(
                f"UpdateBudget: updates must be the max_steps of the trainer, {trainer.max_steps}, but got "
                f"{self.updates}. Set max_steps: {self.updates}."
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that weights can be chosen."""
        self._validated = self._validated or not trainer.sanity_checking

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let the trainer validate and stop after the last update."""
        if trainer.global_step >= self.updates:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a fit that is shorter and was not stopped by another callback; warn of one without a validation."""
        if trainer.global_step < self.updates and not trainer.should_stop and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise InputError(
                f"UpdateBudget: the fit must have {self.updates} updates, but max_epochs {trainer.max_epochs} ended it "
                f"after {trainer.global_step}. Raise max_epochs."
            )
        if not self._validated and trainer.enable_validation and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            rank_zero_warn(
                f"UpdateBudget: these {self.updates} updates ended before a validation, so no weights are chosen. "
                "Lower check_val_every_n_epoch."
            )
