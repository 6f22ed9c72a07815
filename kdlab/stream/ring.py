"""The last samples at the student's rate, as many as a window has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Window(NamedTuple):
    """Rows of one window.

    Attributes:
        signal: ``(T, C)``; NaN where a sample is missing.
        time: seconds, ``(T,)``.
        border: which rows are the missing sample between two runs, ``(T,)``.
    """

    signal: NDArray[Any]
    time: NDArray[np.float64]
    border: NDArray[np.bool_]


class Ring:
    """The rows of the last window, in memory that does not grow.

    Args:
        window: rows of a window.
        hop: rows from one window to the next.
        channels: C.
        dtype: of the rows.

    >>> ring = Ring(window=3, hop=2, channels=1, dtype=np.float32)
    >>> row = np.arange(6.0)
    >>> [w.signal[:, 0].tolist() for w in ring.add(row[:, None], row, row < 0)]
    [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]
    """

    def __init__(self, window: int, hop: int, channels: int, dtype: Any) -> None:
        self.window, self.hop, self._count, self._next = window, hop, 0, window
        self._signal = np.full((window, channels), np.nan, dtype)
        self._time, self._border = np.zeros(window), np.zeros(window, np.bool_)

    def add(self, signal: NDArray[Any], time: NDArray[np.float64], border: NDArray[np.bool_]) -> Iterator[Window]:
        """Append rows; yields each window that they complete."""
        at = 0
        while at < len(signal):
            stop = at + min(len(signal) - at, self._next - self._count)
            first = max(at, stop - self.window)
            place = (self._count + np.arange(first - at, stop - at)) % self.window
            self._signal[place] = signal[first:stop]
            self._time[place], self._border[place] = time[first:stop], border[first:stop]
            self._count, at = self._count + stop - at, stop
            if self._count == self._next:
                order = (self._count + np.arange(self.window)) % self.window
                yield Window(self._signal[order], self._time[order], self._border[order])
                self._next += self.hop
