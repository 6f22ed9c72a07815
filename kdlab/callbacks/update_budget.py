"""A fit of a given number of updates, which may end within an epoch."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from kdlab.methods.number_checks import check_number
from kdlab.types import InputError


class UpdateBudget(Callback):
    """Hold a fit to a number of optimiser updates, and validate after the last one, also within an epoch.

    The trainer's ``max_steps`` is that number. Lightning would not validate a part of an epoch, nor one between two of
    ``check_val_every_n_epoch``, so that its weights could not be chosen.

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
        self.updates = updates
        self._limits: tuple[Any, Any] | None = None  # of the trainer, until it validates its last batch

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the trainer ends where the budget does."""
        if stage == "fit" and trainer.max_steps != self.updates and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise InputError(
                f"UpdateBudget: updates must be the max_steps of the trainer, {trainer.max_steps}, but got "
                f"{self.updates}. Set max_steps: {self.updates}."
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let the trainer validate and stop after the last update, in any epoch."""
        if trainer.global_step >= self.updates and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.should_stop = True
            if self._limits is None:
                self._limits = trainer.check_val_every_n_epoch, trainer.fit_loop.min_epochs
                trainer.check_val_every_n_epoch, trainer.fit_loop.min_epochs = 1, None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the trainer its own limits back, by which others choose when they save."""
        self._restore(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the trainer its own limits back."""
        self._restore(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the trainer its own limits back."""
        self._restore(trainer)

    def _restore(self, trainer: Trainer) -> None:
        if self._limits is not None:
            trainer.check_val_every_n_epoch, trainer.fit_loop.min_epochs = self._limits
            self._limits = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a fit that is shorter and was not stopped by another callback."""
        if trainer.global_step < self.updates and not trainer.should_stop and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise InputError(
                f"UpdateBudget: the fit must have {self.updates} updates, but max_epochs {trainer.max_epochs} ended it "
                f"after {trainer.global_step}. Raise max_epochs."
            )
