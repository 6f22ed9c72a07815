"""The files of a recording's sensors, each at its own rate, on one grid of their common time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdlab.data.recordings.book import Book
from kdlab.data.recordings.grid import FALLS, Grid, filled, longest_step, stamped
from kdlab.data.recordings.lowpass import lowpassed
from kdlab.data.recordings.reading import Reading
from kdlab.data.recordings.report import TimeReport
from kdlab.data.recordings.resample import NO_LABEL, Piece, joined, linear
from kdlab.data.recordings.sensors import Sensors
from kdlab.data.recordings.stamps import Rows
from kdlab.data.recordings.times import SECOND
from kdlab.types import InputError

Reader = Callable[[Path, Reading, Book], Iterator[Piece]]
Aligned = tuple[int, Piece]  # the first place on the grid, and rows without holes


@dataclass
class _Part:
    """One sensor's file while it is read."""

    name: str
    file: Path
    book: Book
    grid: Grid
    channels: tuple[str, ...]
    pieces: Iterator[Piece]
    report: TimeReport
    first: float = 0.0  # seconds of its first and last sample after the origin of the first sensor's clock
    last: float = 0.0
    shift: float = 0.0


def readings(sensors: Sensors, reading: Reading) -> dict[str, Reading]:
    """How the file of each sensor is read; labels are those of the first."""
    found = {}
    for k, (name, one) in enumerate(sensors.each.items()):
        column, grid = one.column_of, reading.grid
        longest = grid.fill_max
        grid = replace(
            grid,
            channels=tuple(column.values()),
            recorded_at=one.recorded_at if one.recorded_at is not None else grid.recorded_at,
            times=grid.times if one.time_unit is None else replace(grid.times, unit=one.time_unit),
            fill={column[c]: how for c, how in grid.fill.items() if c in column},
            fill_max=(
                {column[c]: longest[c] for c in longest if c in column} if isinstance(longest, Mapping) else longest
            ),
        )
        found[name] = replace(
            reading, grid=grid, label=None if k else reading.label, time=reading.time if one.time is None else one.time
        )
    return found


def together(
    files: Mapping[str, Path], sensors: Sensors, reading: Reading, read: Reader, book: Book, report: TimeReport,
    label: Callable[[Iterator[Piece], Book], Iterator[Piece]],
) -> Iterator[Piece]:  # fmt: skip
    """The rows of a recording whose sensors are in files of their own, on one grid, piece by piece.

    The grid begins with the latest of the first samples and ends with the earliest of the last ones. Each sensor comes
    to it from its own times as in :func:`~kdlab.data.recordings.grid.regular`: in order, spread, its rate found and
    checked, low-passed where the common rate is lower, else interpolated linearly over no more than its ``max_gap``.
    A slower sensor's channel in ``fill`` is filled as a column of a table is whose rows are the grid. Where a sensor
    has a gap its channels are missing.

    Args:
        files: sensor -> file.
        sensors: the declaration.
        reading: of the recording.
        read: the rows of a file.
        book: of the recording; its labels and its clock are those of the first sensor.
        report: is filled.
        label: gives the rows of the first sensor their labels.

    Raises:
        InputError: times that no clock has in common, or no overlap.
    """
    parts = _begun(files, sensors, reading, read, book, label)
    origin = max(part.first for part in parts)
    streams = [_aligned(part, reading.grid.rate, origin) for part in parts]
    order = [[c for part in parts for c in part.channels].index(c) for c in reading.channels]
    rows = 0
    for piece in _zipped(streams, [len(part.channels) for part in parts]):
        rows += len(piece.label)
        yield piece._replace(signal=piece.signal[:, order], group=np.zeros(len(piece.label), np.int32))
    if not rows:
        raise InputError(
            f"{book.name}: files of one recording must overlap in time, but "
            + ", ".join(f"{part.file.name} has {part.first:.6g} to {part.last:.6g} s" for part in parts)
            + ". Correct time_unit= of a sensor, or sensors: by."
        )
    report.starts.append([0, origin])
    _summed(parts, report, reading.channels, sensors)
    _tell(parts, book, origin, rows / reading.grid.rate)


def _begun(
    files: Mapping[str, Path], sensors: Sensors, reading: Reading, read: Reader, book: Book,
    label: Callable[[Iterator[Piece], Book], Iterator[Piece]],
) -> list[_Part]:  # fmt: skip
    parts: list[_Part] = []
    for name, own in readings(sensors, reading).items():
        mine = book if not parts else Book(str(files[name]))
        rows = read(files[name], own, mine)
        pieces = rows if parts else label(rows, mine)
        first = next(pieces, None)
        while first is not None and not len(first.label):
            first = next(pieces, None)
        if first is None:
            raise InputError(f"{files[name]}: no samples in it; is the file half-written?")
        if first.time is None or mine.clock is None:
            raise InputError(
                f"{files[name]}: sensors are joined by their times, but this file has none. Name time= in "
                f"sensors: {name}."
            )
        channels = tuple(sensors.each[name].column_of)
        part = _Part(name, files[name], mine, own.grid, channels, iter(()), TimeReport(own.grid.channels))
        part.shift = _shift(parts[0].book if parts else mine, mine)
        part.first = float(first.time[0]) + part.shift
        part.pieces = _watched(chain([first], pieces), part)
        parts.append(part)
    return parts


def _shift(first: Book, other: Book) -> float:
    """Seconds from the origin of one clock to that of another."""
    moments = []
    for book in (first, other):
        clock = book.clock
        if clock is None or clock.origin is None:
            raise InputError(f"{book.name}: sensors are joined by their times, but this file has none.")
        unit = clock.times.unit
        moments.append((unit in SECOND, Fraction(clock.origin) / (SECOND[unit] if unit in SECOND else SECOND["ns"])))
    if moments[0][0] != moments[1][0]:
        raise InputError(
            f"{first.name}, {other.name}: sensors must have times of one clock, but one has dates and the other "
            "numbers. Write both in one form."
        )
    return float(moments[1][1] - moments[0][1])


def _watched(pieces: Iterator[Piece], part: _Part) -> Iterator[Piece]:
    for piece in pieces:
        if len(piece.label):
            part.report.samples += len(piece.label)
            time = np.asarray(piece.time) + part.shift
            part.last = max(part.last, float(time[-1]))
            yield piece._replace(time=time, group=None)


def _aligned(part: _Part, rate: float, origin: float) -> Iterator[Aligned]:
    """The rows of a sensor on the grid, from its first moment on, without holes."""
    grid, report = replace(part.grid, rate=rate), part.report
    report.unit, report.header = part.book.unit, part.book.header
    rows, pace = stamped(part.pieces, grid, str(part.file), report, part.book.line)
    report.max_gap = longest_step(grid, pace, str(part.file))
    source, counts = 1 / pace.mean, dict[str, int]()
    falls = source > FALLS * rate
    report.filtered = falls
    if grid.fill and not falls:
        pieces = _dense(rows, grid, report, origin, counts)
    else:
        plain = (piece for _, piece in filled(rows, grid, report))
        name, gap = str(part.file), report.max_gap
        pieces = lowpassed(plain, source, rate, gap, name, origin) if falls else linear(plain, rate, gap, name, origin)
    following = 0
    for piece in pieces:
        if piece.time is None or not len(piece.label):
            continue
        at = round((float(piece.time[0]) - origin) * rate)
        if at < following:
            cut = min(following - at, len(piece.label))
            piece, at = piece.rows(slice(cut, None)), at + cut
        if not len(piece.label):
            continue
        if at > following:
            hole = np.full((at - following, piece.signal.shape[1]), np.nan)
            yield following, Piece(None, hole, np.full(len(hole), NO_LABEL, np.int16))
        yield at, piece._replace(time=None)
        following = at + len(piece.label)
    report.finish(rate, grid.recorded_at, grid.times.unit, str(part.file), tuple(grid.fill))
    report.filled.update(counts)


def _dense(rows: Rows, grid: Grid, report: TimeReport, origin: float, counts: dict[str, int]) -> Iterator[Piece]:
    """Rows and moments of the grid in one table, its cells filled, then the moments alone."""
    longest = max((grid.longest(c) for c, how in grid.fill.items() if how == "previous"), default=0.0)
    every: dict[str, tuple[str, float]] = dict.fromkeys(grid.channels, ("linear", report.max_gap))
    every.update({c: (how, grid.longest(c)) for c, how in grid.fill.items()})
    table = Grid(
        grid.rate,
        (*grid.channels, "\0on the grid"),
        fill={c: how for c, (how, _) in every.items()},  # type: ignore[misc]
        fill_max={c: most for c, (_, most) in every.items()},
    )
    present = filled(rows, replace(grid, fill={}, fill_max=2.0), report)
    every_row = filled(_with_moments(present, grid.rate, origin, longest), table, TimeReport(table.channels))
    for _, piece in every_row:
        on = piece.signal[:, -1] == 1
        if on.any():
            kept = piece.rows(on)._replace(signal=piece.signal[on, :-1])
            there = np.isfinite(kept.signal).sum(axis=0)
            for channel in grid.fill:
                counts[channel] = counts.get(channel, 0) + int(there[grid.channels.index(channel)])
            yield kept


def _with_moments(rows: Rows, rate: float, origin: float, after: float) -> Rows:
    """Rows, and between them those of the grid, which are marked and empty."""
    last: Piece | None = None
    done = 0
    number = 0
    for number, piece in rows:
        both = piece if last is None else joined(last, piece)
        time = np.asarray(both.time)
        done = max(done, math.ceil((time[0] - origin) * rate - 1e-6))
        stop = math.floor((time[-1] - origin) * rate + 1e-6) + 1
        merged = _merged(both, origin + np.arange(done, max(done, stop)) / rate, rate)
        done = max(done, stop)
        yield number, merged if last is None else merged.rows(slice(1, None))
        last = Piece(time[-1:], both.signal[-1:], both.label[-1:])
    if last is not None and after:
        stop = math.floor((float(np.asarray(last.time)[0]) + after - origin) * rate + 1e-6) + 1
        moments = origin + np.arange(done, stop) / rate
        if len(moments):
            yield number, _merged(last, moments, rate).rows(slice(1, None))


def _merged(rows: Piece, moments: NDArray[np.float64], rate: float) -> Piece:
    time, width = np.asarray(rows.time), rows.signal.shape[1]
    left = np.maximum(np.searchsorted(time, moments + 1e-6 / rate, side="right") - 1, 0)
    signal = np.full((len(moments), width + 1), np.nan)
    same = np.abs(time[left] - moments) <= 1e-6 / rate
    signal[same, :width] = rows.signal[left[same]]
    signal[:, width] = 1
    times = np.concatenate([time, np.where(same, time[left], moments)])
    marked = np.concatenate([np.column_stack([rows.signal, np.zeros(len(time))]), signal])
    labels = np.concatenate([rows.label, rows.label[left]])
    order = np.argsort(times, kind="stable")
    return Piece(times, marked, labels).rows(order)


def _zipped(streams: Sequence[Iterator[Aligned]], widths: Sequence[int]) -> Iterator[Piece]:
    """The rows of all streams side by side, as far as all have them."""
    held: list[Piece] = [Piece(None, np.empty((0, width)), np.empty(0, np.int16)) for width in widths]
    while True:
        for k, stream in enumerate(streams):
            if not len(held[k].label):
                following = next(stream, None)
                if following is None:
                    for other in streams:
                        for _ in other:  # to its end, so that all of it is checked and counted
                            pass
                    return
                held[k] = following[1]
        count = min(len(one.label) for one in held)
        signal = np.concatenate([one.signal[:count] for one in held], axis=1)
        yield Piece(None, signal, held[0].label[:count])
        held = [one.rows(slice(count, None)) for one in held]


def _summed(parts: Sequence[_Part], report: TimeReport, channels: Sequence[str], sensors: Sensors) -> None:
    first = parts[0].report
    report.rate, report.max_gap, report.filtered = first.rate, first.max_gap, any(p.report.filtered for p in parts)
    report.samples, report.seconds = first.samples, first.seconds
    for part in parts:
        one, name = part.report, {column: c for c, column in sensors.each[part.name].column_of.items()}
        for key in ("spread", "dropped", "equal", "back", "sorted", "sessions", "gaps"):
            setattr(report, key, getattr(report, key) + getattr(one, key))
        report.furthest = max(report.furthest, one.furthest)
        report.longest_gap = max(report.longest_gap, one.longest_gap)
        report.warnings += one.warnings
        for key in ("filled", "missing", "present"):
            getattr(report, key).update({name[c]: n for c, n in getattr(one, key).items() if c in name})
    report.channels = tuple(channels)


def _tell(parts: Sequence[_Part], book: Book, origin: float, seconds: float) -> None:
    each = ", ".join(f"{part.name} {part.file.name} at {part.report.rate or 0:.5g} Hz" for part in parts)
    before = origin - min(part.first for part in parts)
    after = max(part.last for part in parts) - min(part.last for part in parts)
    book.notes.append(
        f"joined {each}: {seconds:.6g} s in common; {before:.3g} s before and {after:.3g} s after are not in all "
        "of them"
    )
    for part in parts[1:]:
        book.notes += part.book.notes
        book.damaged += part.book.damaged
