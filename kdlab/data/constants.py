"""Mean and standard deviation of the training windows per channel, to which strengths of augmentations refer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.augment import Constants
from kdlab.data.moments import chunks, moments
from kdlab.data.scaling import Scaler


def channel_constants(
    x: Any, rows: NDArray[np.int64], scaler: Scaler, channels: Sequence[str], *, standard: bool
) -> Constants:
    """Constants of a source, in its scaled units.

    A channel that is constant in training counts as having a standard deviation of 1 scaled unit.

    Args:
        x: windows ``(N, C, T)`` or images ``(N, C, H, W)``, in physical units.
        rows: the training windows.
        scaler: their scaling.
        channels: their names.
        standard: the scaling is that to mean 0 and standard deviation 1, so nothing is computed.

    >>> x = np.array([[[1.0, 3.0]], [[5.0, 7.0]]])
    >>> found = channel_constants(x, np.arange(2), Scaler(np.zeros(1), np.array([2.0])), ["a"], standard=False)
    >>> found.mean, [round(s, 4) for s in found.std], found.divisor
    ((2.0,), [1.118], (2.0,))
    """
    width = len(channels)
    mean, std = np.zeros(width), np.ones(width)
    if not standard:
        mean, std = moments(scaler(part).astype(np.float64) for part in chunks(x, rows))
        tiny = np.finfo(np.float32).eps * np.maximum(np.abs(mean), np.finfo(np.float32).tiny)
        std = np.where(std <= tiny, 1.0, std)
    return Constants(
        channels=tuple(str(c) for c in channels),
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        offset=tuple(scaler.offset.tolist()),
        divisor=tuple(scaler.divisor.tolist()),
    )


def named_constants(channels: Sequence[str]) -> Constants:
    """Constants that hold only the names, to check at setup whether an augmentation finds its channels."""
    zeros, ones = (0.0,) * len(channels), (1.0,) * len(channels)
    return Constants(tuple(str(c) for c in channels), zeros, ones, zeros, ones)
