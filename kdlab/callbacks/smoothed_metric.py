"""A validation metric averaged over the last validations, logged as a metric of its own."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from kdlab.methods.number_checks import check_number
from kdlab.types import InputError


class SmoothedMetric(Callback):
    r"""Log ``<monitor>_smoothed``, the mean of a validation metric over the last validations of a fit.

    .. math:: \bar m_t = \frac{1}{n} \sum_{i = 0}^{n - 1} m_{t - i}, \qquad n = \min(\text{window}, t + 1)

    A checkpoint, or whatever else watches a metric, may watch it: one lucky validation of few people then chooses
    nothing. What is averaged is part of the checkpoints, so that a resumed fit logs what an uninterrupted one does.

    Args:
        monitor: a logged validation metric.
        window: number of validations.

    Raises:
        InputError: for a window below 1, or a metric that is not logged.

    Example:
        >>> metric = SmoothedMetric("val/accuracy", window=2)
        >>> [metric.add(value) for value in (0.5, 0.75, 0.25)], metric.name
        ([0.5, 0.625, 0.5], 'val/accuracy_smoothed')
    """

    def __init__(self, monitor: str = "val/accuracy", window: int = 3) -> None:
        super().__init__()
        check_number("SmoothedMetric", "window", window, 3, whole=True, low=1)
        self.monitor, self.window = monitor, window
        self.recent: list[float] = []

    @property
    def name(self) -> str:
        """Under which the mean is logged."""
        return f"{self.monitor}_smoothed"

    @property
    def state_key(self) -> str:
        """Two metrics keep their states apart."""
        return self._generate_state_key(monitor=self.monitor, window=self.window)

    def add(self, value: float) -> float:
        """The mean with one more validation."""
        self.recent = [*self.recent, value][-self.window :]
        return math.fsum(self.recent) / len(self.recent)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin a fit without validations; one that resumes then loads those of its checkpoint."""
        if stage == "fit":
            self.recent = []

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the mean with this validation."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        value = trainer.callback_metrics.get(self.monitor)
        if value is None:
            raise InputError(
                f"SmoothedMetric: monitor must be a metric that is logged, but got {self.monitor!r}; there are "
                f"{', '.join(trainer.callback_metrics)}. Monitor one of them."
            )
        pl_module.log(self.name, self.add(float(value)), sync_dist=trainer.world_size > 1)

    def state_dict(self) -> dict[str, Any]:
        """The validations that the next mean needs."""
        return {"recent": list(self.recent)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint."""
        self.recent = [float(value) for value in state_dict["recent"]]
