"""Rows of a recording at another rate, piece by piece: interpolated linearly, or filtered by a polyphase filter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdlab.types import InputError

NO_LABEL = -1  # code of a sample without a label
BORDER = -1  # group code of the missing sample that is kept between two runs of samples


class Piece(NamedTuple):
    """Rows of a recording.

    Attributes:
        time: seconds, or None where samples come at a constant rate, ``(n,)``.
        signal: ``(n, C)``.
        label: labels or their codes, ``(n,)``.
        group: codes of (person, session), or None where there is one, ``(n,)``; ``BORDER`` in what is resampled marks
            the missing sample between two runs.
    """

    time: NDArray[np.float64] | None
    signal: NDArray[np.float64]
    label: NDArray[Any]
    group: NDArray[Any] | None = None

    def rows(self, at: Any) -> Piece:
        """Some of the rows: a slice, a mask or indices."""
        time, group = (None if field is None else field[at] for field in (self.time, self.group))
        return Piece(time, self.signal[at], self.label[at], group)


def joined(a: Piece, b: Piece) -> Piece:
    """The rows of two pieces."""
    time, group = (
        None if x is None or y is None else np.concatenate([x, y]) for x, y in ((a.time, b.time), (a.group, b.group))
    )
    return Piece(time, np.concatenate([a.signal, b.signal]), np.concatenate([a.label, b.label]), group)


def border(channels: int) -> Piece:
    """One missing sample, which no window may contain."""
    return Piece(None, np.full((1, channels), np.nan), np.full(1, NO_LABEL, np.int16), np.full(1, BORDER, np.int32))


def grid_start(first: float, rate: float, origin: float | None) -> float:
    """Where the grid of a run begins: with its first sample, or at the first moment of a grid through ``origin``.

    >>> grid_start(0.3, 10.0, None), round(grid_start(0.33, 10.0, 0.0), 9)
    (0.3, 0.4)
    """
    return first if origin is None else origin + math.ceil((first - origin) * rate - 1e-6) / rate


def linear(
    pieces: Iterator[Piece], rate: float, max_gap: float, name: str, origin: float | None = None
) -> Iterator[Piece]:
    """Interpolate on an even grid; of samples at the same time the first counts.

    After a gap a new grid begins with the next sample; the gap itself is kept as one missing sample, without a time.

    Args:
        pieces: rows with times, in seconds.
        rate: of the grid, hertz.
        max_gap: the longest time between two samples that is interpolated, seconds.
        name: of the recording, for messages.
        origin: a moment of the grid, in place of the first sample of each part.

    Raises:
        InputError: times that go back or are missing.

    >>> piece = Piece(np.array([0.0, 1.0, 5.0, 6.0]), np.array([[0.0], [2.0], [4.0], [8.0]]), np.zeros(4, np.int16))
    >>> [v for p in linear(iter([piece]), 2.0, 1.5, "") for v in p.signal[:, 0].tolist()]
    [0.0, 1.0, 2.0, nan, 4.0, 6.0, 8.0]
    """
    last: Piece | None = None
    begin, done, row = 0.0, 0, 0
    for piece in pieces:
        if last is None and piece.time is not None:
            begin = grid_start(float(piece.time[0]), rate, origin)
        both = piece if last is None else joined(last, piece)
        time = np.asarray(both.time)
        steps = np.diff(time, prepend=time[0])
        wrong = np.flatnonzero(~(steps >= 0))
        if len(wrong):
            at = row + int(wrong[0]) - (last is not None)
            raise InputError(f"{name}, sample {at}: the time goes back or is missing; sort the rows by time")
        row += len(piece.label)
        kept = np.flatnonzero(np.concatenate([[True], steps[1:] > 0]))
        time, signal, label = time[kept], both.signal[kept], both.label[kept]
        cuts = np.flatnonzero(np.diff(time) > max_gap) + 1
        for start, stop in pairwise([0, *cuts.tolist(), len(time)]):
            if start:
                yield border(signal.shape[1])
                begin, done = grid_start(float(time[start]), rate, origin), 0
            end = math.floor((time[stop - 1] - begin) * rate + 1e-6) + 1
            moments = begin + np.arange(done, end) / rate
            if len(moments):
                yield between(moments, time[start:stop], signal[start:stop], label[start:stop])
            done = max(done, end)
        last = Piece(time[-1:], signal[-1:], label[-1:])


def between(
    moments: NDArray[np.float64], time: NDArray[np.float64], signal: NDArray[np.float64], label: NDArray[Any]
) -> Piece:
    """Rows interpolated linearly at some moments; a label holds until the next row."""
    left = np.maximum(np.searchsorted(time, moments, side="right") - 1, 0)
    right = np.minimum(left + 1, len(time) - 1)
    span = time[right] - time[left]
    part = (moments - time[left]) / np.where(span > 0, span, 1.0)
    at_left, at_right = part < 1e-6, part > 1 - 1e-6  # a missing neighbour does not matter there
    part[at_left], part[at_right] = 0.0, 1.0
    mixed = signal[left] * (1 - part)[:, None] + signal[right] * part[:, None]
    mixed[at_left], mixed[at_right] = signal[left[at_left]], signal[right[at_right]]
    return Piece(moments, mixed, label[np.where(at_right, right, left)])


def polyphase(pieces: Iterator[Piece], source: float, rate: float) -> Iterator[Piece]:
    """Filter and resample from one constant rate to another, piece by piece.

    The result is that of :func:`scipy.signal.resample_poly` (its default filter, ``padtype="edge"``) on the complete
    recording. A missing sample is missing for the length of the filter.

    Args:
        pieces: rows without times.
        source: their rate, hertz.
        rate: of the result, hertz.

    Raises:
        InputError: rates without a simple ratio.
    """
    from scipy.signal import resample_poly

    ratio = Fraction(rate / source).limit_denominator(1000)
    up, down = ratio.numerator, ratio.denominator
    if up == 0 or abs(up / down * source / rate - 1) > 1e-9:
        raise InputError(
            f"recorded_at={source:g}, sampling_rate={rate:g}: no ratio of whole numbers up to 1000, as "
            "resample='polyphase' needs; set resample: linear"
        )
    margin = math.ceil(10 * max(up, down) / up / down) * down  # half the filter, in whole cycles
    skip = margin // down * up
    signal, label = np.empty((0, 0)), np.empty(0, np.int16)

    def cycle(held: NDArray[np.float64], codes: NDArray[Any]) -> Piece:
        count = -(-len(codes) * up // down)
        values = np.asarray(resample_poly(held, up, down, axis=0))[skip : skip + count]
        return Piece(None, values, codes[np.arange(count) * down // up])

    for piece in pieces:
        before = signal if signal.size else np.repeat(piece.signal[:1], margin, axis=0)
        signal, label = np.concatenate([before, piece.signal]), np.concatenate([label, piece.label])
        ready = max(0, (len(signal) - 2 * margin) // down * down)
        if ready:
            yield cycle(signal[: ready + 2 * margin], label[:ready])
            signal, label = signal[ready:], label[ready:]
    if len(label):
        yield cycle(np.concatenate([signal, np.repeat(signal[-1:], margin, axis=0)]), label)
