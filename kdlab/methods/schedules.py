"""Learning-rate schedules that torch has no class for."""

from __future__ import annotations

from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kdlab.types import InputError


class PiecewiseLR(LRScheduler):
    """Learning rate ``base * factors[i]`` from epoch ``milestones[i]`` on, and ``base`` before the first.

    Unlike ``MultiStepLR`` each step has a factor of its own, which the wearable papers need: .05, then .01 from epoch
    11, .001 from 66 and .0001 from 133 of 200 (code jeunsom/TDA_KD@b9091bb train_ad.py).

    Args:
        optimizer: the optimiser.
        milestones: increasing epochs.
        factors: factors of the first learning rate, one per milestone.
        last_epoch: as in torch.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05)
        >>> schedule = PiecewiseLR(optimizer, milestones=[1, 2], factors=[0.2, 0.02])
        >>> for _ in range(2):
        ...     optimizer.step(); schedule.step()
        >>> round(schedule.get_last_lr()[0], 6)
        0.001
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Sequence[int], factors: Sequence[float], last_epoch: int = -1
    ) -> None:
        if len(milestones) != len(factors) or list(milestones) != sorted(set(milestones)):
            raise InputError(
                f"PiecewiseLR: milestones must increase and have one factor each, but got milestones={milestones!r}, "
                f"factors={factors!r}. Correct them."
            )
        self.milestones, self.factors = list(milestones), list(factors)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # type: ignore[override]
        """The learning rate of each parameter group at ``last_epoch``."""
        factor = 1.0
        for milestone, value in zip(self.milestones, self.factors, strict=True):
            if self.last_epoch >= milestone:
                factor = value
        return [float(base) * factor for base in self.base_lrs]
