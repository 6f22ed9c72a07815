"""The mark in a checkpoint after which the fit of a job ends, so that none resumes from it."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

#: the key of a ``last.ckpt`` that no epoch would follow
ENDS = "ends"


class MarkEnd(Callback):
    """Marks the checkpoint after which a fit ends: stopped early, or at its last epoch or update."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the mark where it belongs, and nothing elsewhere."""
        epochs, last_batch = trainer.max_epochs or 0, trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        done = 0 < epochs <= trainer.current_epoch + 1 and last_batch
        if trainer.should_stop or done or 0 < trainer.max_steps <= trainer.global_step:
            checkpoint[ENDS] = True
