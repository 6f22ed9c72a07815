"""Rows with the times that a device wrote, resampled to a common rate: ordered, spread, filled, resampled, counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdlab.data.recordings.lowpass import lowpassed
from kdlab.data.recordings.report import TimeReport, check_rate
from kdlab.data.recordings.resample import BORDER, Piece, border, joined, linear, polyphase
from kdlab.data.recordings.stamps import Pace, Place, Rows, by_group, ordered, paced, spread, timed
from kdlab.data.recordings.times import Times
from kdlab.types import InputError

FALLS = 1.05  # factor between the rates from which on a low-pass comes first


@dataclass(frozen=True)
class Grid:
    """The common rate, and how recordings are resampled to it.

    Args:
        rate: hertz.
        channels: their names, in the order of the signal.
        recorded_at: the rate of the recordings, hertz, against which the rate that is found is checked; recordings
            without times have it. None: not declared; those without times have the common rate.
        resample: ``"linear"`` or ``"polyphase"``, see :func:`regular`.
        max_gap: the longest time between two samples that is interpolated, seconds; None: the larger of 0.5 s and
            three sample periods of the recording.
        times: how times are written and read.
        untimed: the rate of recordings without times where ``recorded_at`` is None, as other recordings declare it,
            hertz; nothing is checked against it. None: the common rate.
        fill: what is put into empty cells of a channel that has fewer samples than the table has rows: the
            ``"previous"`` value, or ``"linear"`` interpolation.
        fill_max: the longest time, seconds, from the value before (``previous``), or between the values on both sides
            (``linear``), that is filled; a number, or one per channel.

    Raises:
        InputError: a setting out of range, a channel that does not exist.
    """

    rate: float
    channels: tuple[str, ...]
    recorded_at: float | None = None
    resample: Literal["linear", "polyphase"] = "linear"
    max_gap: float | None = None
    times: Times = field(default_factory=Times)
    fill: Mapping[str, Literal["previous", "linear"]] = field(default_factory=dict)
    fill_max: float | Mapping[str, float] = 2.0
    untimed: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.fill, Mapping):
            raise InputError(
                f"fill: must be a mapping of channels, but got {self.fill!r}. Write fill: {{{self.channels[-1]}: "
                "previous}."
            )
        longest = self.fill_max if isinstance(self.fill_max, Mapping) else {"": self.fill_max}
        numbers = {"sampling_rate": self.rate, "recorded_at": self.recorded_at, "max_gap": self.max_gap}
        for name, number in (*numbers.items(), *((f"fill_max {c}".strip(), v) for c, v in longest.items())):
            if number is not None and not (isinstance(number, int | float | np.number) and 0 < number < math.inf):
                raise InputError(
                    f"{name}: must be a finite number above 0, but got {number!r}. Give it in hertz or seconds."
                )
        for name, wanted in (("fill", self.fill), ("fill_max", longest)):
            unknown = sorted(set(wanted) - set(self.channels) - {""})
            if unknown:
                raise InputError(
                    f"{name}: must name channels ({', '.join(self.channels)}), but got {unknown[0]!r}. Correct "
                    "the name."
                )
        for channel, how in self.fill.items():
            if how not in ("previous", "linear"):
                raise InputError(
                    f"fill: must be previous or linear, but got {how!r} for {channel}. Write fill: "
                    f"{{{channel}: previous}}."
                )
            if isinstance(self.fill_max, Mapping) and channel not in self.fill_max:
                raise InputError(
                    f"fill_max: must give every channel of fill a time, but got none for {channel}. Write "
                    f"fill_max: {{{channel}: 2.0}}."
                )

    def longest(self, channel: str) -> float:
        """The longest time that is filled in a channel, seconds."""
        return self.fill_max[channel] if isinstance(self.fill_max, Mapping) else self.fill_max


def regular(
    pieces: Iterator[Piece],
    grid: Grid,
    name: str,
    report: TimeReport | None = None,
    *,
    line: int | None = None,
    pace: Pace | None = None,
) -> Iterator[Piece]:
    """The rows of a recording at the common rate, piece by piece.

    In this order: rows of different groups are kept apart; rows whose time goes back are refused, sorted or begin a
    new session; samples with one time stamp are spread; the rate is found and checked; empty cells are filled; every
    run is resampled on an even grid that begins with its first sample. Where the rate does not fall by more than 5 %,
    values in between are interpolated linearly; where it falls,
    :func:`~kdlab.data.recordings.lowpass.lowpassed` filters first. ``polyphase`` filters as
    :func:`scipy.signal.resample_poly` does, without times only. A label holds until the next sample. The result does
    not depend on how the rows are cut into pieces.

    Args:
        pieces: rows, with times in seconds or without.
        grid: the common rate and the settings.
        name: of the recording, for messages.
        report: is filled while the rows are read; complete when the last has been.
        line: of the first row in its file, for messages; None: they count samples, from 0.
        pace: seconds per sample of rows with times; None: found in the first 16,384 of them.

    Yields:
        Rows without times, with ``group``; one missing sample of group ``BORDER`` between two runs.

    Raises:
        InputError: times that go back, are repeated or do not fit the rate, as far as the settings do not allow it.
    """
    report = TimeReport(grid.channels) if report is None else report
    pieces = _rows_in(pieces, report)
    first = next(pieces, None)
    if first is None:
        return
    pieces = chain([first], pieces)
    if first.time is None:
        source = grid.recorded_at or grid.untimed or grid.rate
        report.inherited = grid.recorded_at is None and grid.untimed is not None
        rows, pace = timed(by_group(pieces, name), source), Pace(1 / source, 1 / source)
        report.rate, report.with_times = source, False
    else:
        if grid.resample == "polyphase":
            raise InputError(
                f"{name}: resample='polyphase' needs a constant rate, but this recording has times; set "
                "resample: linear"
            )
        rows, pace = stamped(pieces, grid, name, report, line, pace)
    report.max_gap = longest_step(grid, pace, name)
    yield from _resampled(filled(rows, grid, report), grid, 1 / pace.mean, name, report)
    report.finish(grid.rate, grid.recorded_at, grid.times.unit, name, tuple(grid.fill))


def stamped(
    pieces: Iterator[Piece], grid: Grid, name: str, report: TimeReport, line: int | None, pace: Pace | None = None
) -> tuple[Rows, Pace]:
    """Rows with times in order, those of one stamp spread, and their pace, which is checked.

    Raises:
        InputError: times that the settings do not allow, see :func:`regular`.
    """
    place = Place(name, line)
    rows = ordered(by_group(pieces, name), grid.times, report, place)
    rows, found = paced(rows, grid.times.repeated, name) if pace is None else (rows, pace)
    pace = found or Pace(1 / grid.rate, 1 / grid.rate)  # none is found where each run has one sample
    if found:
        report.rate_at_first = 1 / found.mean
        check_rate(1 / found.mean, grid.rate, grid.recorded_at, report.unit or grid.times.unit, name, report.header)
    return spread(rows, pace, grid.times.repeated, report, place), pace


def _rows_in(pieces: Iterator[Piece], report: TimeReport) -> Iterator[Piece]:
    for piece in pieces:
        if len(piece.label):
            report.samples += len(piece.label)
            yield piece


def longest_step(grid: Grid, pace: Pace, name: str) -> float:
    """The longest time between two samples that is interpolated, seconds.

    Raises:
        InputError: ``max_gap`` below a sample period.
    """
    if grid.max_gap is None:
        return max(0.5, 3 * pace.mean)
    if grid.max_gap < pace.mean * (1 - 1e-6):
        raise InputError(
            f"{name}: max_gap must be at least one sample period ({pace.mean:.4g} s at {1 / pace.mean:.4g} Hz), but "
            f"got {grid.max_gap:g}. Set max_gap: {3 * pace.mean:.3g} or leave it out."
        )
    return grid.max_gap


# ---- fill -----------------------------------------------------------------------------------------------------------
def filled(rows: Rows, grid: Grid, report: TimeReport) -> Rows:
    """Empty cells of the channels in ``fill`` filled; what is present, what is missing, and gaps counted."""
    rows = _counted(rows, report.present, grid.channels, np.isfinite)
    for column, channel in enumerate(grid.channels):
        if channel in grid.fill:
            stage = _previous if grid.fill[channel] == "previous" else _interpolated
            rows = stage(rows, column, grid.longest(channel))
    current, last = -1, math.nan
    for number, piece in _counted(rows, report.missing, grid.channels, np.isnan):
        time = np.asarray(piece.time)
        report.count_gaps(np.diff(time, prepend=last if number == current else time[0]))
        current, last = number, float(time[-1])
        yield number, piece


def _counted(
    rows: Rows, counts: dict[str, int], channels: tuple[str, ...], what: Callable[[NDArray[Any]], NDArray[Any]]
) -> Rows:
    for number, piece in rows:
        for channel, count in zip(channels, what(piece.signal).sum(axis=0).tolist(), strict=True):
            counts[channel] = counts.get(channel, 0) + count
        yield number, piece


def _previous(rows: Rows, column: int, longest: float) -> Rows:
    """Missing values of a channel replaced by the value before, where that is no longer ago."""
    current = -1
    value, since = math.nan, -math.inf
    for number, piece in rows:
        if number != current:
            current, value, since = number, math.nan, -math.inf
        time, x = np.asarray(piece.time), piece.signal[:, column]
        index = np.maximum.accumulate(np.where(np.isnan(x), -1, np.arange(len(x))))
        held, at = np.where(index < 0, value, x[index]), np.where(index < 0, since, time[index])
        value, since = float(held[-1]), float(at[-1])
        signal = piece.signal.copy()
        signal[:, column] = np.where(time - at <= longest + 1e-9, held, np.nan)
        yield number, piece._replace(signal=signal)


def _interpolated(rows: Rows, column: int, longest: float) -> Rows:
    """Missing values of a channel interpolated, where the values on both sides are no further apart."""
    current = -1
    held: Piece | None = None  # from the last value on, which what follows it may need
    for number, piece in rows:
        if number != current and held is not None:
            yield current, held
            held = None
        current = number
        both = piece if held is None else joined(held, piece)
        time, signal = np.asarray(both.time), both.signal.copy()
        missing = np.isnan(signal[:, column])
        known, holes = np.flatnonzero(~missing), np.flatnonzero(missing)
        keep = len(time)
        if len(known):
            right = np.searchsorted(known, holes)
            inner = (right > 0) & (right < len(known))
            holes, a, b = holes[inner], known[right[inner] - 1], known[right[inner]]
            near = time[b] - time[a] <= longest + 1e-9
            signal[holes[near], column] = np.interp(time[holes[near]], time[known], signal[known, column])
            keep = int(known[-1]) if time[-1] - time[known[-1]] <= longest else keep
        both = both._replace(signal=signal)
        if keep:
            yield current, both.rows(slice(keep))
        held = both.rows(slice(keep, None)) if keep < len(time) else None
    if held is not None:
        yield current, held


# ---- rate -----------------------------------------------------------------------------------------------------------
def _resampled(rows: Rows, grid: Grid, source: float, name: str, report: TimeReport) -> Iterator[Piece]:
    falls, same = source > FALLS * grid.rate, not report.with_times and source == grid.rate
    report.filtered = falls or (grid.resample == "polyphase" and not same)
    count = 0
    for k, (_, run) in enumerate(groupby(rows, key=itemgetter(0))):
        first = next(run)[1]
        group = 0 if first.group is None else int(first.group[0])
        parts: Iterator[Piece] = chain([first], (piece for _, piece in run))
        begin = None if first.time is None else float(first.time[0])
        if k:
            yield border(len(grid.channels))
            count += 1
        if not same and grid.resample == "polyphase":
            parts = polyphase(parts, source, grid.rate)
        elif not same and falls:
            parts = lowpassed(parts, source, grid.rate, report.max_gap, name)
        elif not same:
            parts = linear(parts, grid.rate, report.max_gap, name)
        for piece in parts:
            begin = float(piece.time[0]) if piece.time is not None and len(piece.label) else begin
            if begin is not None and len(piece.label):
                report.grid_begins(count, begin, grid.rate)
            begin, count = None, count + len(piece.label)
            inner = same or piece.group is None
            yield piece._replace(time=None, group=np.full(len(piece.label), group if inner else BORDER, np.int32))
