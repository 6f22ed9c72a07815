"""A temperature that is learnt against the student, whose curriculum grows harder from epoch to epoch (CTKD)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: key in :data:`kdlab.citations.BIBTEX`
PAPER = "li2023curriculum"
#: where an objective keeps it among its adapters
NAME = "learnt_temperature"
#: the temperature that it begins with
START = 1 + 20 / (1 + math.exp(-1))


class LearntTemperature(nn.Module):
    r"""A temperature between 1 and 21, whose gradient is reversed: it moves to where the student is worse.

    .. math:: T = 1 + 20\, \sigma(a), \qquad \frac{\partial L}{\partial a} \leftarrow \lambda_e
        \frac{\partial L}{\partial a}, \quad
        \lambda_e = -\frac{1 - \cos(\pi \min(e / E, 1))}{2}

    with ``a = 1`` at first, so ``T`` is about 15.6, and the epoch ``e`` counted from 1. ``a`` is a parameter like
    those of the student, so that a weight decay acts on it too.

    Args:
        epochs: ``E``, in which the reversal grows from 0 to 1.

    References:
        Z. Li, X. Li, L. Yang, B. Zhao, R. Song, L. Luo, J. Li, J. Yang, "Curriculum temperature for knowledge
        distillation", AAAI 2023, arXiv:2211.16231. Code: zhengli97/CTKD@7d52522.

    Differences from the reference code:
        One temperature for all windows, its global form; the form with a temperature per window is left out.

    Example:
        >>> temperature = LearntTemperature(epochs=10)
        >>> print(f"{temperature():.3f}")
        15.621
        >>> for epoch in (0, 4, 9, 50):
        ...     temperature.at(epoch)
        ...     temperature.zero_grad()
        ...     temperature().backward()
        ...     print(f"{temperature.logit.grad.item():.4f}")
        -0.0962
        -1.9661
        -3.9322
        -3.9322
    """

    def __init__(self, epochs: int = 10) -> None:
        super().__init__()
        self.epochs = epochs
        self.logit = nn.Parameter(torch.ones(1))  # of one element and not of none, which sharded optimisers refuse
        self.factor: Tensor
        self.register_buffer("factor", torch.zeros(1), persistent=False)

    def at(self, epoch: int) -> None:
        """Set the factor of the gradient for an epoch, counted from 0."""
        self.factor.fill_(-(1 - math.cos(math.pi * min((epoch + 1) / self.epochs, 1.0))) / 2)

    def forward(self) -> Tensor:
        """``T``, 0-dim."""
        value = 1 + 20 * self.logit.sigmoid()
        fixed = value.detach()
        return (fixed + self.factor * (value - fixed))[0]
