"""Labels as intervals in a table of their own: activities with their start and end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from kdlab.data.recordings.book import Book
from kdlab.data.recordings.intervals import Spans
from kdlab.data.recordings.resample import NO_LABEL, Piece
from kdlab.data.recordings.times import Times
from kdlab.types import InputError


class Labelled:
    """Gives rows the label of the interval that they are in.

    Args:
        spans: the intervals.
        book: codes of the recording's labels.
        rate: of recordings without times, hertz.

    Raises:
        InputError: an interval that ends before it begins, or two with different labels that overlap, with their lines.
    """

    def __init__(self, spans: Spans, book: Book, rate: float) -> None:
        self.spans, self.book, self.rate = spans, book, rate
        self.hit: Counter[int] = Counter()
        self._known: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int16], list[int]] | None = None

    def label(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """The rows, with their labels."""
        done = 0
        for piece in pieces:
            count = len(piece.label)
            time = np.arange(done, done + count) / self.rate if piece.time is None else piece.time
            done += count
            start, end, code, _ = self._intervals()
            place = np.searchsorted(start, time, side="right") - 1
            inside = (place >= 0) & (time < end[np.maximum(place, 0)]) if len(start) else np.zeros(count, np.bool_)
            self.hit.update(dict(zip(*(v.tolist() for v in np.unique(place[inside], return_counts=True)), strict=True)))
            label = np.full(count, NO_LABEL, np.int16)
            label[inside] = code[place[inside]]
            yield piece._replace(label=label)
        self._tell()

    def _tell(self) -> None:
        if self._known is None or not len(self._known[0]):
            return
        start, _, _, order = self._known
        empty = [k for k in range(len(start)) if k not in self.hit]
        if len(empty) == len(start):
            raise InputError(
                f"{self.spans.file}, line {self.spans.line[order[0]]}: intervals must lie within the recording "
                f"{self.book.name}, but none of {len(start)} has a sample of it (the first begins {start[0]:g} s after "
                "its first sample). Are both in one time zone and unit? For seconds since the first sample, set "
                "intervals: {clock: start}."
            )
        if empty:
            rank_zero_info(
                f"{self.spans.file}: {len(empty)} of {len(start)} intervals have no sample of {self.book.name}, the "
                f"first in line {self.spans.line[order[empty[0]]]}"
            )

    def _intervals(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int16], list[int]]:
        if self._known is None:
            start, end = self._seconds(self.spans.start), self._seconds(self.spans.end)
            if len(wrong := np.flatnonzero(~(end > start))):
                k = int(wrong[0])
                raise InputError(
                    f"{self.spans.file}, line {self.spans.line[k]}: an interval must end after it begins, but got "
                    f"{self.spans.start[k]} to {self.spans.end[k]}. Correct it."
                )
            order = np.argsort(start, kind="stable").tolist()
            code = self.book.label_codes(self.spans.label)
            self._known = self._joined(start, end, code, order)
        return self._known

    def _joined(
        self, start: NDArray[np.float64], end: NDArray[np.float64], code: NDArray[np.int16], order: list[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int16], list[int]]:
        """Intervals in the order of time; those of one label that overlap are one."""
        kept: list[int] = []
        until: list[float] = []
        for k in order:
            if kept and start[k] < until[-1] - 1e-6:
                if code[k] != code[kept[-1]]:
                    raise InputError(
                        f"{self.spans.file}, line {self.spans.line[k]}: intervals of different labels must not "
                        f"overlap, but {self.spans.label[k]!r} begins before {self.spans.label[kept[-1]]!r} (line "
                        f"{self.spans.line[kept[-1]]}) ends. Correct one of them."
                    )
                until[-1] = max(until[-1], float(end[k]))
                continue
            kept.append(k)
            until.append(float(end[k]))
        return start[kept], np.array(until), code[kept], kept

    def _seconds(self, cells: tuple[str, ...]) -> NDArray[np.float64]:
        """Seconds since the first sample of the recording."""
        if not cells:
            return np.empty(0)
        clock = self.book.clock
        if self.spans.clock == "start":
            clock = Times(unit="s").clock(self.spans.file, 0.0)
        elif clock is None:
            raise InputError(
                f"intervals: clock must be start where recordings have no times, but {self.book.name} has none. Set "
                "intervals: {clock: start}, or time= to the column of the times."
            )
        else:
            clock = clock.times.clock(self.spans.file, clock.origin)
        return clock.seconds(np.array(cells, dtype=object), self.spans.line[0])
