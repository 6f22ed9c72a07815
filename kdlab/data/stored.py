"""In which precision windows are kept: float32, but where that would lose a signal that rides on a large offset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.data.moments import chunks, moments

LOST = 1e-4  # parts of a channel's standard deviation that rounding may change
ROUNDING = 2.0**-24  # of float32, relative


def fits_float32(x: Any) -> bool:
    r"""Whether float32 keeps windows: rounding changes no channel by more than 1e-4 of its standard deviation.

    .. math:: 2^{-24} |m_c| \le 10^{-4} s_c

    with the mean m and the standard deviation s of each channel c in float64. Channels without variation are kept by
    both; windows with numbers that are not finite in float32 are refused or dropped later and do not count here.

    Args:
        x: windows ``(N, C, T)`` or images ``(N, C, H, W)``, read a chunk at a time.

    >>> noise = np.random.default_rng(0).normal(size=(4, 1, 50))
    >>> fits_float32(noise + 9.81), fits_float32(noise + 1e6)
    (True, False)
    """
    if np.can_cast(x.dtype, np.float32) or x.ndim < 3 or 0 in x.shape:
        return True
    return rounds_little(*moments(_finite(x)))


def rounds_little(mean: NDArray[np.float64], std: NDArray[np.float64]) -> bool:
    """The rule of :func:`fits_float32` for mean and standard deviation per channel, ``(C,)``."""
    moving = std > 64 * np.finfo(np.float64).eps * np.abs(mean)
    return bool((ROUNDING * np.abs(mean) <= LOST * std)[moving].all())


def _finite(x: Any) -> Iterator[NDArray[np.float64]]:
    for part in chunks(x):
        fine = (np.abs(part) <= np.finfo(np.float32).max).reshape(len(part), -1).all(axis=1)  # False for NaN, too
        if fine.any():
            yield part if fine.all() else part[fine]


def stored(x: NDArray[Any]) -> NDArray[np.float32]:
    """Windows in float32 where that keeps them, in float64 where it does not; float32 is never copied.

    Whatever is read from float64 is shifted in float64 by the scaling and becomes float32 after it.
    """
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused as such
        kept: NDArray[Any] = np.ascontiguousarray(x, dtype=np.float32 if fits_float32(x) else np.float64)
    return kept
