"""Markov transition fields: how often a window goes from the level of one moment to that of another."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from kdlab.views.base import View, check, check_number, check_size, still
from kdlab.views.segments import bounds, side

_EQUAL = 1e-8  # quantiles that are no further apart are one edge


@dataclass(frozen=True, repr=False)
class MarkovTransitionField(View):
    r"""Markov transition field of each channel of a window.

    Every sample is put into one of Q bins of its own window, and the field has, for two moments i and j, the
    probability that a sample in the bin of i is followed by one in the bin of j:

    .. math::
        W_{ab} = \frac{\#\{t : q_t = a,\ q_{t+1} = b\}}{\#\{t < T : q_t = a\}}, \qquad
        M_{ij} = \frac{1}{|S_i|\,|S_j|} \sum_{s \in S_i} \sum_{t \in S_j} W_{q_s q_t}

    with the bin q_t of sample t and the segments S_i of the window, from e_i to e_{i+1}, where
    e = linspace(0, T, n + 1) truncated to whole numbers. Bins are those of the window itself, so the field discards
    offset and amplitude, as a Gramian angular field does. A constant window has one bin, and is 1 everywhere; one that
    is nearly constant has the bins of its noise, unless ``floor`` is above its span. Computed in float64.

    Args:
        size: side n of the image in pixels, at most T; None keeps T.
        bins: number Q of bins, from 2 on. Quantiles that differ by at most 1e-8 are one edge, so there are fewer bins
            where many samples are equal.
        strategy: ``"quantile"``: the same number of samples in every bin; ``"uniform"``: bins of equal width from the
            smallest to the largest sample.
        floor: a channel whose samples span less than this, in units of the signal, counts as constant; 0 takes every
            channel as it is.
        channels: as in :class:`~kdlab.views.View`.
        source: as in :class:`~kdlab.views.View`.

    Shapes:
        ``(C, T)`` -> ``(C, n, n)``, ``(B, C, T)`` -> ``(B, C, n, n)``, float32 in [0, 1].

    Raises:
        InputError: for a wrong argument, a window shorter than ``size``, samples that are not finite.

    References:
        Wang and Oates, "Encoding Time Series as Images for Visual Inspection and Classification Using Tiled
        Convolutional Neural Networks", AAAI Workshops 2015. Reference code: johannfaouzi/pyts 0.14.1,
        pyts/image/_mtf.py.

    Differences from the reference code:
        None in the numbers beyond float32; no bins of a normal distribution; NaN is refused by channel.

    Example:
        >>> MarkovTransitionField(size=None, bins=2)([[0.0, 1.0, 0.0, 0.0]])
        tensor([[[0.5000, 0.5000, 0.5000, 0.5000],
                 [1.0000, 0.0000, 1.0000, 1.0000],
                 [0.5000, 0.5000, 0.5000, 0.5000],
                 [0.5000, 0.5000, 0.5000, 0.5000]]])
    """

    paper: ClassVar[tuple[str, ...]] = ("wang2015imaging",)

    size: int | None = 64
    bins: int = 8
    strategy: Literal["quantile", "uniform"] = "quantile"
    floor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("size", "bins"):
            if getattr(self, name) is not None or name == "bins":
                check_size(name, getattr(self, name))
                object.__setattr__(self, name, int(getattr(self, name)))
        check(self.strategy in ("quantile", "uniform"), "strategy", "'quantile' or 'uniform'", self.strategy)
        check_number("floor", self.floor, 0.0)
        object.__setattr__(self, "floor", float(self.floor))

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        """``(channels, n, n)``."""
        return (self.selected(channels), *2 * (side(self.size, length),))

    def compute(self, x: Tensor) -> Tensor:
        """The share of each bin in each segment, before and behind the transition matrix."""
        binned = self._binned(still(x, self.floor).double())
        steps = binned[..., :-1] * self.bins + binned[..., 1:]
        counts = _counts(steps, self.bins**2).view(*x.shape[:2], self.bins, self.bins)
        moves = counts / counts.sum(-1, keepdim=True).clamp(min=1)
        ends = bounds(x.shape[-1], side(self.size, x.shape[-1]))
        shares = torch.stack([_counts(binned[..., a:b], self.bins) for a, b in itertools.pairwise(ends)], -2)
        shares = shares / torch.as_tensor(np.diff(ends), device=x.device)[:, None]
        return _product(_product(shares, moves), shares.mT).float()

    def _binned(self, x: Tensor) -> Tensor:
        """The bin of each sample: how many edges are below it."""
        if self.strategy == "uniform":
            low, high = x.aminmax(dim=-1, keepdim=True)
            edges = low + torch.arange(1, self.bins, device=x.device) * ((high - low) / self.bins)
        else:
            edges = _quantiles(x.sort(-1).values, self.bins)
            one = (edges.diff(dim=-1) <= _EQUAL) & (self.bins > 2)
            edges[..., :-1] = torch.where(one, torch.inf, edges[..., :-1])
        binned = torch.zeros_like(x, dtype=torch.int64)
        for k in range(self.bins - 1):
            binned += x > edges[..., k, None]
        return binned


def _quantiles(ordered: Tensor, bins: int) -> Tensor:
    """The ``bins - 1`` inner quantiles of sorted samples ``(..., T)``, linear between two of them, as numpy has it."""
    place = np.linspace(0, 100, bins + 1)[1:-1] / 100 * (ordered.shape[-1] - 1)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, ordered.shape[-1] - 1)
    part = torch.as_tensor(place - below, device=ordered.device)
    low, high = (ordered[..., torch.as_tensor(at, device=ordered.device)] for at in (below, above))
    step = high - low
    return torch.where(part >= 0.5, high - step * (1 - part), low + step * part)


def _counts(values: Tensor, count: int) -> Tensor:
    """How often each of 0 .. count - 1 is in the last axis: ``(..., T)`` -> ``(..., count)``, float64."""
    found = torch.zeros(*values.shape[:-1], count, dtype=torch.float64, device=values.device)
    return found.scatter_add_(-1, values, torch.ones_like(values, dtype=torch.float64))


def _product(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b``, added in a fixed order, so that a window has the same field in every batch."""
    total = torch.zeros((), dtype=a.dtype, device=a.device)
    for k in range(a.shape[-1]):
        total = total + a[..., :, k, None] * b[..., k, None, :]
    return total
