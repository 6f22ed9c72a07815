"""Time stamps of rows, piece by piece: put in order, spread where they repeat, and the rate that they have."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from kdlab.data.recordings.report import TimeReport
from kdlab.data.recordings.resample import Piece, joined
from kdlab.data.recordings.times import Repeated, Times
from kdlab.types import InputError

HEAD, MOST, FEW = 2**14, 2**20, 16  # samples from which the pace is found, at most, and with how many time stamps
SORTED = 60.0  # seconds by which rows may be out of order
LOOSE = 1.75  # sample periods between the samples of a stamp, from which on some are missing
TICK = 1.5  # factor up to which a step between stamps is the time of their samples
Rows = Iterator[tuple[int, Piece]]  # pieces of numbered runs; a run has one group, and its time does not go back


class Place:
    """Names a row of a file: its line where the first one is known, else its number."""

    def __init__(self, name: str, line: int | None) -> None:
        self.name, self.line = name, line

    def __call__(self, row: int) -> str:
        """The place of a row, counted from 0."""
        return f"{self.name}, " + (f"sample {row}" if self.line is None else f"line {self.line + row}")


class Pace(NamedTuple):
    """Seconds per sample: the median, and the mean without holes."""

    median: float
    mean: float


# ---- runs -----------------------------------------------------------------------------------------------------------
def by_group(pieces: Iterator[Piece], name: str) -> Rows:
    """A run begins where the group changes.

    Raises:
        InputError: groups that alternate, 10 rows each or fewer.
    """
    number, last, rows = 0, None, 0
    for piece in pieces:
        if piece.group is None:
            yield number, piece
            continue
        for start, stop in _between_cuts(piece.group[1:] != piece.group[:-1]):
            group = piece.group[start].item()
            number += last is not None and group != last
            last = group
            yield number, piece.rows(slice(start, stop))
        rows += len(piece.label)
        if number > max(100, rows / 10):
            raise InputError(
                f"{name}: rows of one person and session must stand together, but got {number} changes in {rows} rows. "
                "Sort the file by person, session and time."
            )


def _between_cuts(cut: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    return pairwise([0, *(np.flatnonzero(cut) + 1).tolist(), len(cut) + 1])


def timed(rows: Rows, rate: float) -> Rows:
    """Times of samples at a constant rate, from 0 in every run."""
    current, done = -1, 0
    for number, piece in rows:
        done = done if number == current else 0
        current = number
        yield number, piece._replace(time=np.arange(done, done + len(piece.label)) / rate)
        done += len(piece.label)


def ordered(rows: Rows, times: Times, report: TimeReport, place: Place) -> Rows:
    """Runs in which the time does not go back, by the rule ``times.backwards``.

    Raises:
        InputError: a time that goes back, with ``backwards: error``; by more than a minute, with ``sort``.
    """
    out, current, row = 0, -1, 0
    last = top = math.nan  # the time of the last row, and the latest time
    held: Piece | None = None  # rows that may still have to go behind later ones
    for number, piece in rows:
        if number != current:
            if held is not None:
                yield out, held
            out, current, last, top, held = out + (current >= 0), number, math.nan, math.nan, None
        time = np.asarray(piece.time)
        step = np.diff(time, prepend=time[0] if math.isnan(last) else last)
        if np.isnan(step).any():
            raise InputError(
                f"{place(row + int(np.isnan(step).argmax()))}: time must be a number, but got NaN. Correct it."
            )
        back = np.flatnonzero(step < 0)
        report.went_back(step[back], times.backwards)
        if len(back) and times.backwards == "error":
            _refuse_back(float(time[back[0]]), float(step[back[0]]), len(back), times, place(row + int(back[0])))
        if times.backwards == "sort":
            latest = np.maximum.accumulate(time if math.isnan(top) else np.maximum(time, top))
            late = np.flatnonzero(time < latest - SORTED)
            if len(late):
                raise InputError(
                    f"{place(row + int(late[0]))}: with backwards: sort, rows must be out of order by at most "
                    f"{SORTED:g} s, but got {latest[late[0]] - time[late[0]]:.6g} s. Write backwards: split, or sort "
                    "the file."
                )
            both = piece if held is None else joined(held, piece)
            both = both.rows(np.argsort(np.asarray(both.time), kind="stable"))
            top = float(latest[-1])
            ready = int(np.searchsorted(np.asarray(both.time), top - SORTED))
            held = both.rows(slice(ready, None))
            if ready:
                yield out, both.rows(slice(ready))
        else:
            out += bool(step[0] < 0)
            for start, stop in _between_cuts(step[1:] < 0):
                out += start > 0
                yield out, piece.rows(slice(start, stop))
        last = float(time[-1])
        row += len(time)
    if held is not None:
        yield out, held


def _refuse_back(time: float, step: float, count: int, times: Times, place: str) -> NoReturn:
    likely = "a new session begins here" if -step > SORTED else "rows are out of order"
    if times.unit not in ("s", "ms", "us", "ns") and times.zone is None and 0 <= 3600 + step <= SORTED:
        likely = "the clock was set back at the end of daylight saving time (declare zone:, such as Europe/Berlin)"
    elif abs(86400 + step) <= SORTED:
        likely = "the clock passed midnight and the column holds no date"
    raise InputError(
        f"{place}: times must not go back, but got {time:.6g} s after {time - step:.6g} s, {-step:.6g} s back "
        f"({count} times in this part of the file). It looks as if {likely}; write backwards: sort (rows are out of "
        f"order by up to {SORTED:g} s) or backwards: split (a new session begins where the time goes back)."
    )


# ---- rate -----------------------------------------------------------------------------------------------------------
def pace(time: NDArray[np.float64], run: NDArray[np.int64], repeated: Repeated = "spread") -> Pace | None:
    """Seconds per sample of rows in order.

    A time stamp of ``n`` samples gives ``n`` steps of the time to the next one divided by ``n``. The mean is that of
    the steps within a quarter of the median, where these are most (lost samples do not count then); else, as on a
    coarse clock or where samples come in bursts, of all up to 3 medians or half a second.

    Args:
        time: seconds, ``(n,)``.
        run: number of each row's run, ``(n,)``.
        repeated: as in :class:`~kdlab.data.recordings.times.Times`.

    Returns:
        None where no run has two time stamps.

    >>> pace(np.floor(np.arange(500) / 50 / 0.1 + 1e-9) * 0.1, np.zeros(500, int))
    Pace(median=0.02, mean=0.02)
    """
    first = np.flatnonzero(np.concatenate([[True], (time[1:] != time[:-1]) | (run[1:] != run[:-1])]))
    count = np.diff(first, append=len(time))[:-1] if repeated == "spread" else np.ones(len(first) - 1, int)
    step, inside = np.diff(time[first]), run[first][1:] == run[first][:-1]
    step, count = step[inside], count[inside]
    if not len(step):
        return None
    each = step / count
    order = np.argsort(each)
    total = np.cumsum(count[order])
    median = float(each[order[np.searchsorted(total, total[-1] / 2)]])
    tally = _Tally(median)
    tally.add(step, count)
    return Pace(round(median, 12), round(tally.mean(), 12))


class _Tally:
    """Time and samples of steps that are no holes."""

    def __init__(self, median: float) -> None:
        self.median = median
        self.sums = np.zeros((2, 2))  # (near the median, all but gaps), (seconds, samples)

    def add(self, step: NDArray[np.float64], count: NDArray[np.int64]) -> None:
        each, middle = step / count, self.median
        for k, (least, most) in enumerate(((0.75 * middle, 1.25 * middle), (0, max(3 * middle, 0.5)))):
            near = (each >= least) & (each <= most)
            self.sums[k] += step[near].sum(), count[near].sum()

    def mean(self) -> float:
        near, inner = self.sums
        seconds, samples = near if near[1] >= 0.8 * inner[1] and near[0] >= inner[0] / 2 else inner
        return float(seconds / samples)


def paced(rows: Rows, repeated: Repeated, name: str) -> tuple[Rows, Pace | None]:
    """The rows, and the pace of the first of them: 16,384, or more where these have fewer than 16 time stamps.

    Raises:
        InputError: one time stamp for all samples.
    """
    head: list[tuple[int, Piece]] = []
    limit, count = HEAD, 0
    while True:
        for item in rows:
            head.append(item)
            count += len(item[1].label)
            if count >= limit:
                break
        time = np.concatenate([np.asarray(piece.time) for _, piece in head])[:limit]
        run = np.concatenate([np.full(len(piece.label), number) for number, piece in head])[:limit]
        if count < limit or limit >= MOST or len(np.unique(time)) >= FEW:
            break
        limit *= 2
    found = pace(time, run, repeated)
    if found is None and (time[1:][run[1:] == run[:-1]] == time[:-1][run[1:] == run[:-1]]).any():
        raise InputError(
            f"{name}: times must tell samples apart, but got one time stamp for all of {len(time)} samples. Leave time "
            "out and declare recorded_at."
        )
    return chain(head, rows), found


# ---- repeated stamps ------------------------------------------------------------------------------------------------
def spread(rows: Rows, pace: Pace, repeated: Repeated, report: TimeReport, place: Place) -> Rows:
    """Rows whose time rises; samples with one time stamp by the rule ``repeated``.

    The ``n`` samples of a stamp at ``t`` go to ``t + k (u - t) / n`` for the next stamp ``u``. Where that is more than
    1.75 sample periods apart, some are missing, as one of two ticks of a coarse clock: they are one period apart, from
    ``t`` on. Where the run has just begun, or continues after a gap, the first stamp may have begun before its first
    sample: its samples go up to ``u``, if no more than a tick of the clock lies between ``t`` and ``u``, which is the
    time of as many samples as ``u`` has. Those of the last stamp are as far apart as the ones before.

    Raises:
        InputError: a stamp that repeats, with ``repeated: error``.
    """
    tally = _Tally(pace.median)
    current, row = -1, 0
    stamps = _Stamps(pace.mean)
    held: Piece | None = None  # the samples of the last stamps
    for number, piece in rows:
        if number != current:
            if held is not None:
                yield current, stamps.placed(held, tally, ended=True)
            current, held, stamps = number, None, _Stamps(pace.mean)
        both = piece if held is None else joined(held, piece)
        time = np.asarray(both.time)
        same = np.concatenate([[False], time[1:] == time[:-1]])
        new = np.arange(len(time)) >= len(time) - len(piece.label)
        if repeated == "error" and same.any():
            raise InputError(
                f"{place(row + int(np.argmax(same)) - (len(both.label) - len(piece.label)))}: time stamps must differ, "
                "but got one twice. Write repeated: spread (samples came in between) or repeated: first."
            )
        row += len(piece.label)
        _count_equal(both, same & new, report)
        if repeated == "first":
            report.dropped += int(same.sum())
            both = both.rows(~same)
        else:
            report.spread += int((same & new).sum())
        if repeated != "first" and len(time) - int(np.flatnonzero(~same)[-1]) > MOST:
            raise InputError(
                f"{place.name}: times must tell samples apart, but got one time stamp for more than {MOST} samples. "
                "Leave time out and declare recorded_at."
            )
        made = stamps.placed(both, tally)
        report.rate = 1 / tally.mean() if tally.sums[1, 1] else report.rate
        if len(made.label):
            yield current, made
        held = both.rows(slice(len(made.label), None))
    if held is not None:
        made = stamps.placed(held, tally, ended=True)
        report.rate = 1 / tally.mean() if tally.sums[1, 1] else report.rate
        yield current, made


class _Stamps:
    """Where the samples of a run's time stamps go, see :func:`spread`.

    Args:
        period: seconds per sample.
    """

    def __init__(self, period: float) -> None:
        self.period, self.apart = period, period
        self.fresh = True  # whether a gap, or nothing, comes before the next stamp

    def placed(self, piece: Piece, tally: _Tally, ended: bool = False) -> Piece:
        """The first rows of a piece at their times: those of the stamps of which all that decides is known.

        Args:
            piece: all rows that are not placed yet.
            tally: of the steps between stamps, which those of the rows are added to.
            ended: whether the run has no more rows.
        """
        time = np.asarray(piece.time)
        starts = np.flatnonzero(np.concatenate([[True], time[1:] != time[:-1]]))
        counts, step = np.diff(starts, append=len(time)), np.diff(time[starts])
        count, following = counts[:-1], counts[1:]
        each = step / count
        loose = each > LOOSE * self.period
        partial = (count > 1) & (each > TICK * self.period)
        near = step <= TICK * self.period * following
        fresh, begun = self._fresh(loose, partial & near)
        known = len(step)
        if known and not ended and fresh[-1] and partial[-1] and not near[-1]:
            known -= 1  # more samples of the stamp after it may come
        between = np.where(loose | begun, self.period, each)[:known]
        begin = np.where(begun, time[starts[1:]] - self.period * count, time[starts[:-1]])[:known]
        tally.add(step[:known], count[:known])
        if known:
            self.fresh, self.apart = bool((loose & ~begun)[known - 1]), float(between[-1])
        if ended:
            known += 1
            between, begin = np.append(between, self.apart), np.append(begin, time[starts[-1]])
        return _placed(piece.rows(slice(int(counts[:known].sum()))), counts[:known], between, begin)

    def _fresh(
        self, loose: NDArray[np.bool_], complete: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which stamps a gap comes before, and which of these go up to the next stamp."""
        fresh = np.concatenate([[self.fresh], loose[:-1]])[: len(loose)]
        begun = np.zeros(len(loose), np.bool_)
        for k in np.flatnonzero(fresh & complete).tolist():
            begun[k] = k == 0 or not begun[k - 1]
        fresh[1:] &= ~begun[:-1]
        return fresh, begun


def _placed(piece: Piece, count: NDArray[np.int64], apart: NDArray[np.float64], begin: NDArray[np.float64]) -> Piece:
    nth = np.arange(len(piece.label)) - np.repeat(np.cumsum(count) - count, count)
    return piece._replace(time=np.repeat(begin, count) + nth * np.repeat(apart, count))


def _count_equal(piece: Piece, same: NDArray[np.bool_], report: TimeReport) -> None:
    at = np.flatnonzero(same)
    if len(at):
        here, before = piece.signal[at], piece.signal[at - 1]
        report.equal += int(((here == before) | (np.isnan(here) & np.isnan(before))).all(axis=1).sum())
