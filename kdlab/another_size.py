"""When values are of another size than in training, as in another unit: one rule for all who compare them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: from which factor on values are of another size; people of SP-SW-HAR, UTD-MHAD and ShoulderWatch differ by up to 2.5
ANOTHER_SIZE = 4.0


def other_sizes(size: NDArray[np.float64], usual: NDArray[np.float64], names: Sequence[str]) -> str:
    """The channels that are 4 times as large as usual; smaller ones only where all are.

    A gyroscope at rest has small values in any unit.

    Args:
        size: root mean square of each channel, ``(C,)``.
        usual: that of the training windows, ``(C,)``; channels that are 0 are not compared.
        names: of the channels.

    Returns:
        Name and ratio of at most six of them; empty where there are none.

    >>> other_sizes(np.array([9.8, 1.0]), np.array([1.0, 1.0]), ["x", "y"])
    'x 9.8 times'
    >>> other_sizes(np.array([0.1, 1.0]), np.array([1.0, 1.0]), ["x", "y"])
    ''
    """
    known = usual > 0
    ratio = np.divide(size, usual, out=np.ones_like(size), where=known)
    wrong = ratio > ANOTHER_SIZE
    if known.any() and (ratio[known] < 1 / ANOTHER_SIZE).all():
        wrong = known
    return ", ".join(f"{names[c]} {ratio[c]:.2g} times" for c in np.flatnonzero(wrong)[:6])
