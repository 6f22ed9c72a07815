"""Which rows of a recording belong to one person and session."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.data.recordings.resample import BORDER


class Segments:
    """Rows of one person and session, one after the other; missing samples between two of them belong to none.

    >>> segments = Segments()
    >>> segments.add(np.array([0, 0, BORDER, 0, BORDER, 1]), 6)
    >>> segments.add(None, 0)
    >>> segments.found()
    [[0, 4, 0], [5, 6, 1]]
    """

    def __init__(self) -> None:
        self._ends: list[list[int]] = []
        self._rows = 0

    def add(self, group: NDArray[Any] | None, count: int) -> None:
        """Rows with their groups; None: one group."""
        if not count:
            return
        group = np.zeros(count, np.int64) if group is None else np.asarray(group)
        starts = np.flatnonzero(np.diff(group, prepend=BORDER - 1))
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), count], strict=True):
            code = int(group[start])
            if code == BORDER:
                continue
            if self._ends and self._ends[-1][2] == code:
                self._ends[-1][1] = self._rows + stop
            else:
                self._ends.append([self._rows + start, self._rows + stop, code])
        self._rows += count

    def found(self) -> list[list[int]]:
        """``[start, stop, group]`` of each."""
        return self._ends
