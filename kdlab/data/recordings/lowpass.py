"""The low-pass before a lower rate, for samples at any times, piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.data.recordings.resample import Piece, between, border, grid_start, joined
from kdlab.types import InputError

HALF = 22.0  # half-length of the low-pass, in periods of the new rate
CUT = 0.45  # where it lets one half of the amplitude through, in parts of the new rate
DECIBEL = 2.285 * 4 * math.pi * 0.1 * HALF + 7.95  # Kaiser's formula for a transition from .4 to .5 of the new rate
BETA = 0.1102 * (DECIBEL - 8.7)
FINE = 2**17  # moments at which the low-pass is tabulated; linear interpolation is within 3e-8 of its peak
BLOCK = 2**14  # samples of the low-passed grid that are made at a time


def low_pass(tau: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """The low-pass of :func:`lowpassed`: a sinc under a Kaiser window.

    ``h(tau) = 2 f sinc(2 f tau) I0(beta sqrt(1 - (tau / H)^2)) / I0(beta)`` for ``|tau| <= H``, with
    ``f = 0.45 rate``, ``H = 22 / rate`` and ``beta = 6.88``.

    Args:
        tau: seconds.
        rate: the new rate, hertz.

    >>> low_pass(np.array([0.0, 0.01]), 50.0).round(4).tolist()
    [45.0, 31.3875]
    """
    from scipy.special import i0

    inside = np.maximum(0.0, 1.0 - (tau * (rate / HALF)) ** 2)
    return np.asarray(2 * CUT * rate * np.sinc(2 * CUT * rate * tau) * i0(BETA * np.sqrt(inside)) / i0(BETA))


def lowpassed(
    pieces: Iterator[Piece], source: float, rate: float, max_gap: float, name: str, origin: float | None = None
) -> Iterator[Piece]:
    """Filter against aliasing and resample to a lower rate, for samples at any times, piece by piece.

    ``y(t) = sum_k w_k h(t - t_k) x_k / sum_k w_k h(t - t_k)``, where ``h`` is :func:`low_pass` and ``w_k`` is half of
    the time between the neighbours of sample ``k``. For samples at a constant rate this is the FIR filter ``h`` on
    their own even grid, evaluated at the moments of the new one, so no second interpolation costs amplitude. Holes
    (steps of more than 1.5 source periods) are first filled with linearly interpolated samples one period apart.
    Before the first and after the last sample of a run, and in missing samples of a channel, the nearest sample is
    held; missing samples stay missing. After a gap a new grid begins, as in
    :func:`~kdlab.data.recordings.resample.linear`.

    At a constant rate, frequencies up to 0.4 of the new rate keep their amplitude within 0.1 %, those from 0.5 of the
    new rate on (the Nyquist frequency) are attenuated by at least 60 dB, and there is no delay. Within 22 periods of
    the new rate of an end, the value held there lets a part of them through, as ``padtype="edge"`` of
    :func:`scipy.signal.resample_poly` does: about half of the amplitude at most, in the first sample.

    Args:
        pieces: rows with times, in seconds, that increase.
        source: their rate, hertz.
        rate: of the grid, hertz.
        max_gap: the longest time between two samples that is interpolated, seconds.
        name: of the recording, for messages.
        origin: a moment of the grid, in place of the first sample of each part.

    Raises:
        InputError: times that go back or are missing.

    References:
        Smith and Gossett, A flexible sampling-rate conversion method, ICASSP 1984; Kaiser's window design formula as
        in :func:`scipy.signal.kaiser_beta`.
    """
    run: _Run | None = None
    row = 0
    for piece in pieces:
        time = np.asarray(piece.time)
        if not len(time):
            continue
        steps = np.diff(time, prepend=time[0] if run is None else run.last)
        wrong = np.flatnonzero(~(steps >= 0))
        if len(wrong):
            raise InputError(
                f"{name}, sample {row + wrong[0]}: the time goes back or is missing; sort the rows by time"
            )
        row += len(time)
        kept = np.flatnonzero((steps > 0) | (np.arange(len(steps)) == 0) & (run is None))
        if not len(kept):
            continue
        piece, steps = piece.rows(kept), steps[kept]
        cuts = np.flatnonzero(steps > max_gap)
        for start, stop in pairwise([0, *cuts[cuts > 0].tolist(), len(kept)]):
            part = piece.rows(slice(start, stop))
            if run is not None and steps[start] > max_gap:
                yield from run.end()
                yield border(piece.signal.shape[1])
                run = None
            if run is None:
                run = _Run(part, source, rate, origin)
            else:
                run.add(part)
            yield from run.ready(run.last - 2 * run.half)
    if run is not None:
        yield from run.end()


class _Run:
    """The rows of a recording without a gap that the low-pass still needs."""

    def __init__(self, first: Piece, source: float, rate: float, origin: float | None) -> None:
        self.rate, self.half, self.period = rate, HALF / rate, 1.0 / source
        self.begin, self.done = float(np.asarray(first.time)[0]), 0
        self.start = grid_start(self.begin, rate, origin)
        self.edge = np.arange(1, math.ceil(2 * self.half * source) + 2) * self.period
        before = Piece(np.asarray(self.begin - self.edge[::-1], np.float64), *self._missing(first))
        self.held, self.last = joined(before, first.rows(slice(1))), self.begin
        self.add(first.rows(slice(1, None)))

    def _missing(self, like: Piece) -> tuple[NDArray[np.float64], NDArray[Any]]:
        return np.full((len(self.edge), like.signal.shape[1]), np.nan), np.repeat(like.label[:1], len(self.edge))

    def add(self, piece: Piece) -> None:
        """Append rows, and samples one period apart where they leave holes."""
        if not len(piece.label):
            return
        piece = piece._replace(group=None)
        both = joined(self.held.rows(slice(-1, None)), piece)
        time = np.asarray(both.time)
        step = np.diff(time)
        more = np.where(step > 1.5 * self.period, np.rint(step / self.period) - 1, 0).astype(np.int64)
        if more.any():
            left = np.repeat(np.arange(len(step)), more + 1)
            part = (np.arange(len(left)) - np.repeat(np.cumsum(more + 1) - more - 1, more + 1)) / (more + 1)[left]
            inner = (1 - part)[:, None] * both.signal[left] + part[:, None] * both.signal[left + 1]
            own = part == 0
            inner[own] = both.signal[left[own]]
            dense = Piece(time[left] + part * step[left], inner, both.label[left])
            piece = joined(dense.rows(slice(1, None)), piece.rows(slice(-1, None)))
        self.held, self.last = joined(self.held, piece), float(time[-1])

    def ready(self, until: float) -> Iterator[Piece]:
        """The samples of the grid up to a moment."""
        end = math.floor((until - self.start) * self.rate + 1e-6) + 1
        while self.done < end:
            stop = min(end, self.done + BLOCK)
            moments = self.start + np.arange(self.done, stop) / self.rate
            yield self._filtered(np.minimum(moments, self.last))
            self.done = stop
            needed = self.start + stop / self.rate - 2 * self.half - self.period
            first = int(np.searchsorted(np.asarray(self.held.time), needed)) - 2
            self.held = self.held.rows(slice(max(0, first), None))

    def end(self) -> Iterator[Piece]:
        """The samples of the grid up to the last row."""
        after = Piece(np.asarray(self.last + self.edge, np.float64), *self._missing(self.held.rows(slice(-1, None))))
        last = self.last
        self.held = joined(self.held, after)
        yield from self.ready(last)

    def _filtered(self, moments: NDArray[np.float64]) -> Piece:
        from kdlab.data.recordings.lowpass_kernel import weighted_means

        time = np.asarray(self.held.time)
        low, high = np.searchsorted(time, (moments[0] - 2 * self.half, moments[-1] + 2 * self.half)).tolist()
        near = self.held.rows(slice(max(0, low - 2), high + 2))
        time, mixed = np.asarray(near.time), np.empty((len(moments), near.signal.shape[1]))
        table, scale = _table(self.rate)
        signal = nearest(time, near.signal)
        weighted_means(moments, self.half * (1 + 1e-9), time, _spacing(time), signal, table, scale, mixed)
        there = between(moments, time, near.signal, near.label)
        mixed[np.isnan(there.signal)] = np.nan
        return Piece(moments, mixed, there.label)


@lru_cache(4)
def _table(rate: float) -> tuple[NDArray[np.float64], float]:
    """:func:`low_pass` at even moments, and how many of them there are in a second."""
    scale = FINE * rate / HALF
    return low_pass(np.arange(FINE + 3) / scale, rate), scale


def _spacing(time: NDArray[np.float64]) -> NDArray[np.float64]:
    step = np.diff(time, prepend=2 * time[0] - time[1], append=2 * time[-1] - time[-2])
    return np.asarray((step[1:] + step[:-1]) / 2)


def nearest(time: NDArray[np.float64], signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The signal with every missing value replaced by the nearest value of its channel, zero where there is none.

    >>> nearest(np.arange(5.0), np.array([[np.nan], [1.0], [np.nan], [np.nan], [2.0]]))[:, 0].tolist()
    [1.0, 1.0, 1.0, 2.0, 2.0]
    """
    missing = np.isnan(signal)
    if not missing.any():
        return signal
    out = signal.copy()
    for c in np.flatnonzero(missing.any(axis=0)):
        holes, known = np.flatnonzero(missing[:, c]), np.flatnonzero(~missing[:, c])
        if not len(known):
            out[:, c] = 0.0
            continue
        right = np.searchsorted(known, holes)
        after, before = known[np.minimum(right, len(known) - 1)], known[np.maximum(right - 1, 0)]
        later = np.abs(time[after] - time[holes]) < np.abs(time[holes] - time[before])
        out[holes, c] = signal[np.where(later, after, before), c]
    return out
