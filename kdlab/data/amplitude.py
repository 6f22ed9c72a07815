"""How large the values of channels are: their root mean square, in which another unit or range shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from kdlab.another_size import other_sizes
from kdlab.data.moments import chunks

LOOKED_AT = 1000  # windows


def root_mean_square(x: NDArray[Any], rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    r"""Root mean square of each channel in float64, over at most 1000 windows that are spread evenly.

    .. math:: r_c = \sqrt{\frac{1}{N T} \sum_{n,t} x_{nct}^2}

    Args:
        x: windows ``(N, C, T)`` in physical units, read a chunk at a time.
        rows: of the windows; None: all.

    Returns:
        ``(C,)``, in the units of the channels.

    >>> root_mean_square(np.full((2, 3, 5), -9.81)).round(2).tolist()
    [9.81, 9.81, 9.81]
    """
    rows = np.arange(len(x)) if rows is None else rows
    looked = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).astype(np.int64))]
    total: NDArray[np.float64] = np.zeros(x.shape[1])
    for part in chunks(x, looked):
        total += np.square(part).mean(axis=2).sum(axis=0)
    return np.sqrt(total / max(1, len(looked)))


def warn_of_another_size(
    size: NDArray[np.float64], usual: NDArray[np.float64], channels: Sequence[str], what: str
) -> None:
    """Warn where values are of another size than those of training (`kdlab.another_size`), as in another unit.

    Args:
        size: root mean square of each channel, ``(C,)``.
        usual: that of the training windows, ``(C,)``.
        channels: their names.
        what: whose values they are, for the message.
    """
    if each := other_sizes(size, usual, channels):
        rank_zero_warn(
            f"{what}: values must be in the units of the training windows, but their root mean square is {each} that "
            "of these. Are they of another unit (g and m/s^2, deg/s and rad/s), range or sensor?"
        )
