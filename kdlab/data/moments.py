"""Windows read some at a time, and their mean and standard deviation per channel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 1024  # windows read at a time, so that a memory-mapped data set is never completely in memory; fewer, where
SAMPLES = 2**22  # they would have more samples than this


def chunk_size(x: NDArray[Any]) -> int:
    """How many windows of ``x`` are read at a time."""
    return max(1, min(CHUNK, SAMPLES // max(1, math.prod(x.shape[1:]))))


def chunks(
    x: NDArray[Any], rows: NDArray[np.int64] | None = None, size: int | None = None
) -> Iterator[NDArray[np.float64]]:
    """The windows of ``x`` (those in ``rows``), some at a time, in float64."""
    size = chunk_size(x) if size is None else size
    total = len(x) if rows is None else len(rows)
    for start in range(0, total, size):
        part = x[start : start + size] if rows is None else x[rows[start : start + size]]
        yield np.asarray(part, dtype=np.float64)


def moments(parts: Iterator[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation per channel (axis 1) over all else, merged chunk by chunk.

    References:
        Chan, Golub, LeVeque, Algorithms for computing the sample variance, The American Statistician 1983,
        doi:10.1080/00031305.1983.10483115 (the merging rule).

    >>> mean, std = moments(iter([np.array([[[0.0, 2.0]]]), np.array([[[4.0, 6.0]]])]))
    >>> mean.tolist(), (std**2).round(6).tolist()
    ([3.0], [5.0])
    """
    count, mean, square = 0, np.zeros(1), np.zeros(1)
    for part in parts:
        axes = (0, *range(2, part.ndim))
        n = part.size // part.shape[1]
        centre = part.mean(axis=axes)
        spread = part.var(axis=axes) * n
        delta = centre - mean
        total = count + n
        square = square + spread + delta**2 * (count * n / total)
        mean = mean + delta * (n / total)
        count = total
    return mean, np.sqrt(square / max(count, 1))
