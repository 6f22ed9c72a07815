"""The curve of a trial, and its end where it falls behind earlier ones."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.trainer.states import TrainerFn

from kdlab.methods.plans import plan_of
from kdlab.study.statistics import EQUAL

CALLBACK = "kdlab.study.tuning.pruning.MedianPruning"


class MedianPruning(pl.Callback):
    """Record the best validation accuracy so far at some shares of a fit; stop where it is below a median.

    Shares are of the planned optimiser steps, so that fits with batches of another size are compared at the same
    progress. A share counts at the first validation at or after it.

    Args:
        shares: of the fit, rising.
        medians: of earlier trials at each share; None: nothing is compared, there or at all.
    """

    def __init__(self, shares: list[float] | None = None, medians: list[float | None] | None = None) -> None:
        self.shares = list(shares or [])
        self.medians = list(medians or [None] * len(self.shares))
        self._steps: int | None = None
        self._reset()

    def _reset(self) -> None:
        self.points: list[float | None] = [None] * len(self.shares)
        self.pruned_at: float | None = None
        self._best = 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin a fit without a curve; one that resumes then loads its checkpoint."""
        if stage == "fit":
            self._reset()

    def state_dict(self) -> dict[str, Any]:
        """The curve so far, for a fit that resumes."""
        return {"points": list(self.points), "pruned_at": self.pruned_at, "best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the curve of the fit that was cut."""
        self.points = [None if point is None else float(point) for point in state_dict["points"]]
        self.pruned_at, self._best = state_dict["pruned_at"], float(state_dict["best"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note how long the fit is planned to be."""
        self._steps = plan_of(trainer).steps

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record and compare."""
        accuracy = trainer.callback_metrics.get("val/accuracy")
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING or accuracy is None or not self._steps:
            return
        self._best = max(self._best, float(accuracy))
        for i, (share, median) in enumerate(zip(self.shares, self.medians, strict=True)):
            if self.points[i] is None and trainer.global_step >= share * self._steps:
                self.points[i] = self._best
                if median is not None and median - self._best > EQUAL and self.pruned_at is None:
                    self.pruned_at = share
                    trainer.should_stop = True


def found_in(trainer: Any) -> MedianPruning | None:
    """The callback of a trainer; None where it has none."""
    return next((callback for callback in trainer.callbacks if isinstance(callback, MedianPruning)), None)
