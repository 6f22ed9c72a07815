"""Recurrence plots: the distance of every moment of a window from every other one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from kdlab.types import InputError
from kdlab.views.base import View, check_number, check_size
from kdlab.views.segments import bounds, means, side


@dataclass(frozen=True, repr=False)
class RecurrencePlot(View):
    r"""Recurrence plot of each channel of a window.

    The window is averaged over segments, and each moment is the point of the next m means, tau apart:

    .. math::
        \vec{x}_i = (x_i, x_{i + \tau}, \dots, x_{i + (m - 1)\tau}), \qquad
        R_{ij} = \lVert \vec{x}_i - \vec{x}_j \rVert_2 \quad\text{or}\quad
        R_{ij} = [\,\lVert \vec{x}_i - \vec{x}_j \rVert_2 < \varepsilon\,]

    There are n + (m - 1) tau segments, so that the image has the side n; segment i is that of
    :class:`~kdlab.views.GramianAngularField`. Distances are in units of the signal (scaled units in a data module):
    unlike fields, a plot keeps the amplitude of a window, and discards its offset. Computed in float64.

    Args:
        size: side n of the image in pixels; None keeps every sample, and gives T - (m - 1) tau.
        dimension: m, from 1 on.
        delay: tau in segments, from 1 on.
        threshold: epsilon, above 0, in units of the signal; None keeps the distances.
        channels: as in :class:`~kdlab.views.View`.
        source: as in :class:`~kdlab.views.View`.

    Shapes:
        ``(C, T)`` -> ``(C, n, n)``, ``(B, C, T)`` -> ``(B, C, n, n)``, float32; with a threshold 0 and 1.

    Raises:
        InputError: for a wrong argument, a window that is too short, samples that are not finite.

    References:
        Eckmann, Oliffson Kamphorst and Ruelle, "Recurrence plots of dynamical systems", Europhysics Letters 4(9), 1987,
        doi:10.1209/0295-5075/4/9/004. Reference code: johannfaouzi/pyts 0.14.1, pyts/image/_recurrence.py.

    Differences from the reference code:
        None in the numbers beyond float32; ``size`` averages the window first; a threshold is a number, none is found
        in the window.

    Example:
        >>> RecurrencePlot(size=None)([[0.0, 1.0, 3.0]])
        tensor([[[0., 1., 3.],
                 [1., 0., 2.],
                 [3., 2., 0.]]])
        >>> RecurrencePlot(size=None, threshold=1.5)([[0.0, 1.0, 3.0]])
        tensor([[[1., 1., 0.],
                 [1., 1., 0.],
                 [0., 0., 1.]]])
    """

    paper: ClassVar[tuple[str, ...]] = ("eckmann1987recurrence",)

    size: int | None = 64
    dimension: int = 1
    delay: int = 1
    threshold: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low in (("size", 2), ("dimension", 1), ("delay", 1)):
            if getattr(self, name) is not None or name != "size":
                check_size(name, getattr(self, name), low)
                object.__setattr__(self, name, int(getattr(self, name)))
        if self.threshold is not None:
            check_number("threshold", self.threshold, 0.0, open_end=True)
            object.__setattr__(self, "threshold", float(self.threshold))

    def _segments(self, length: int) -> int:
        """How many segments a window has."""
        ahead = (self.dimension - 1) * self.delay
        found = side(None if self.size is None else self.size + ahead, length)
        if found - ahead < 2:
            raise InputError(
                f"RecurrencePlot: dimension must be so small that 2 points are left of {length} samples, but got "
                f"{self.dimension} with delay={self.delay}. Lower one of them."
            )
        return found

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        """``(channels, n, n)``."""
        return (self.selected(channels), *2 * (self._segments(length) - (self.dimension - 1) * self.delay,))

    def compute(self, x: Tensor) -> Tensor:
        """Distances, the terms of which are added in a fixed order."""
        level = means(x, bounds(x.shape[-1], self._segments(x.shape[-1])))
        count = level.shape[-1] - (self.dimension - 1) * self.delay
        parts = [level[..., k * self.delay : k * self.delay + count] for k in range(self.dimension)]
        gaps = [part[..., :, None] - part[..., None, :] for part in parts]
        distance = gaps[0].abs() if len(gaps) == 1 else sum((gap * gap for gap in gaps[1:]), gaps[0] * gaps[0]).sqrt()
        if self.threshold is not None:
            return (distance < self.threshold).float()
        return distance.clamp(max=torch.finfo(torch.float32).max).float()
