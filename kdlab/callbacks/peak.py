"""The epoch at which a smoothed validation metric is best."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class Peak:
    """The best average of a metric over the last ``smoothing`` validations.

    Args:
        maximise: whether a higher metric is better.
        min_delta: the smallest change that is an improvement.
        min_epochs: epochs before this one (counted from 0) do not qualify.
        smoothing: number of validations averaged; epochs with fewer before them do not qualify.

    Attributes:
        history: every validation so far, (epoch, metric).
        epoch: of the peak, -1 before there is one.
        value: the average at the peak.
        waited: validations since the peak.
        qualified: whether the epoch of the peak qualifies.

    Example:
        >>> peak = Peak(maximise=True, smoothing=1)
        >>> [peak.add(epoch, accuracy) for epoch, accuracy in enumerate((0.5, 0.7, 0.6))], peak.epoch, peak.waited
        ([True, True, False], 1, 1)
    """

    maximise: bool
    min_delta: float = 0.0
    min_epochs: int = 0
    smoothing: int = 3
    history: list[tuple[int, float]] = field(default_factory=list)
    epoch: int = -1
    value: float = math.nan
    waited: int = 0
    qualified: bool = False

    def add(self, epoch: int, metric: float) -> bool:
        """Add a validation, and return whether it is the peak so far."""
        self.history.append((epoch, metric))
        qualifies = epoch >= self.min_epochs and len(self.history) >= self.smoothing
        if self.qualified and not qualifies:
            return False
        smoothed = self._smoothed()
        if math.isfinite(smoothed) and self._improves(smoothed, first=qualifies and not self.qualified):
            self.epoch, self.value, self.waited, self.qualified = epoch, smoothed, 0, qualifies
            return True
        self.waited += qualifies
        return False

    def _smoothed(self) -> float:
        recent = [value for _, value in self.history[-self.smoothing :]]
        return math.fsum(recent) / len(recent)

    def _improves(self, value: float, first: bool) -> bool:
        if self.epoch < 0 or first:
            return True
        gain = value - self.value if self.maximise else self.value - value
        return gain > self.min_delta
