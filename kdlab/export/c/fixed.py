"""Positive real factors as integer multipliers and right shifts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdlab.export.c.ir import Requantised
from kdlab.types import InputError

_BITS, _LARGEST_SHIFT = 31, 62  # |int32| * 2^31 + 2^61 fits in int64
_SUM_BITS, _SUM_SHIFT = 24, 40  # 2 * 2^16 * 2^24 + 2^39 fits in int64


def requantised(factor: NDArray[np.float64], zero: int, wide: bool = False) -> Requantised:
    """Multipliers below 2^31 and shifts from 1 to 62, so that ``m / 2^n`` is the factor within 2^-31 of it.

    A factor below 2^-32 has fewer bits; the error of a sum of 32 bits stays below half a step.

    Args:
        factor: ``(C,)``, positive.
        zero: zero point of the result.
        wide: whether the result is int16.

    Raises:
        InputError: a factor that is no positive number below 2^30.

    >>> requantised(np.array([0.75]), 0)
    Requantised(multiplier=array([1610612736], dtype=int32), shift=array([31], dtype=uint8), zero=0, wide=False)
    """
    _check(factor)
    shift = np.minimum(_BITS - np.frexp(factor)[1], _LARGEST_SHIFT)
    multiplier = np.floor(np.ldexp(factor, shift) + 0.5)
    multiplier = np.minimum(multiplier, 2.0**_BITS - 1)  # what was rounded up to 2^31
    return Requantised(multiplier.astype(np.int32), shift.astype(np.uint8), zero, wide)


def pair(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8]]:
    """Multipliers of at most 2^24 for two factors, with one shift from 1 to 40.

    Raises:
        InputError: as `requantised`.
    """
    larger = np.maximum(first, second)
    _check(larger)
    shift = np.minimum(_SUM_BITS - np.frexp(larger)[1], _SUM_SHIFT)
    if shift.min() < 1:
        raise _wide(larger)
    one, other = (np.floor(np.ldexp(factor, shift) + 0.5).astype(np.int32) for factor in (first, second))
    return one, other, shift.astype(np.uint8)


def _check(factor: NDArray[np.float64]) -> None:
    if not (np.isfinite(factor).all() and (factor > 0).all() and (factor < 2.0**30).all()):
        raise _wide(factor)


def _wide(factor: NDArray[np.float64]) -> InputError:
    return InputError(
        f"format='c': ratios of ranges must lie between 0 and 2^30, but got {np.max(factor):.3g}: the features of this "
        "net differ too much in size for int8. Train it with weight decay or a smaller rate, or use format='onnx'."
    )
