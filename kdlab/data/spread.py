"""Some of many windows, evenly spread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spread(rows: NDArray[np.int64], most: int | None, *, middle: bool = False) -> NDArray[np.int64]:
    """At most so many rows, evenly spread and in order.

    Args:
        rows: ``(N,)``.
        most: how many are kept; None: all.
        middle: the rows in the middle of ``most`` equal parts. Without this the first and the last row are among them.

    >>> spread(np.arange(10), 4).tolist(), spread(np.arange(10), 2, middle=True).tolist()
    ([0, 3, 6, 9], [2, 7])
    """
    if most is None or (most >= len(rows) and not middle):
        return rows
    if middle:
        parts = [part for part in np.array_split(rows, min(most, len(rows))) if len(part)] if len(rows) else []
        return np.array([part[len(part) // 2] for part in parts], dtype=np.int64)
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]
