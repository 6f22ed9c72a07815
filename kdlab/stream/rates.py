"""The rate of a stream's samples: declared, and checked against the first time stamps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from kdlab.data.recordings.grid import FALLS, Grid
from kdlab.data.recordings.lowpass import HALF
from kdlab.data.recordings.report import fitting_units
from kdlab.data.recordings.resample import Piece
from kdlab.data.recordings.stamps import FEW, MOST, SORTED, pace
from kdlab.stream.student import Student
from kdlab.types import InputError

CHECKED = 256  # time stamps that are held against the declared rate
WITHIN = 1.05  # factor up to which they may differ


def checked(pieces: Iterator[Piece], declared: float, grid: Grid) -> Iterator[Piece]:
    """The pieces, while the first time stamps are held against the declared rate.

    These are the first 256, and twice as many until 16 of them differ, as they do not on a coarse clock. Of a shorter
    stream all are, at its end.

    Args:
        pieces: samples, with times or without.
        declared: hertz.
        grid: how repeated time stamps are read.

    Raises:
        InputError: when they have another rate.
    """
    first: NDArray[np.float64] = np.empty(0)
    wanted = CHECKED
    for piece in pieces:
        left = piece.time
        while left is not None and len(left) and wanted <= MOST:
            taken = wanted - len(first)
            first, left = np.concatenate([first, left[:taken]]), left[taken:]
            if len(first) == wanted:
                few = len(np.unique(first)) < FEW
                wanted = 2 * wanted if few else MOST + 1
                if not few:
                    _check(first, declared, grid)
        yield piece
    if wanted <= MOST and len(np.unique(first)) >= FEW:  # it ended before
        _check(first, declared, grid)


def _check(first: NDArray[np.float64], declared: float, grid: Grid) -> None:
    found = pace(first, np.cumsum(np.diff(first, prepend=first[0]) < 0), grid.times.repeated)
    rate = 1 / found.mean if found is not None and found.mean > 0 else declared
    if not 1 / WITHIN < rate / declared < WITHIN:
        for unit in fitting_units(rate, declared, grid.times.unit, WITHIN):
            raise InputError(
                f"Stream: time_unit must be that of the time stamps, but got {grid.times.unit}, in which the first "
                f"{len(first)} samples have {rate:.4g} Hz in place of {declared:g}. Pass time_unit={unit!r}."
            )
        raise InputError(
            f"Stream: recorded_at must be within 5 % of the rate of the time stamps, but got {declared:g} where the "
            f"first {len(first)} samples have {rate:.4g} Hz. Pass recorded_at={rate:.4g}, or recorded_at='found'."
        )


def latency(grid: Grid, source: float, timed: bool) -> float:
    """Seconds from a sample to the samples of the grid that need no later one, at most, where samples come evenly.

    One source period where there are time stamps or values are interpolated; 44 periods of the grid for the low-pass;
    half the filter of ``polyphase``; the time that is filled linearly; a minute with ``backwards="sort"``.

    Args:
        grid: the rules.
        source: rate of the samples, hertz.
        timed: whether they have time stamps.
    """
    period = 1 / source
    same = not timed and source == grid.rate
    total = 0.0 if same else (2.0 if timed else 1.0) * period
    if not same and grid.resample == "polyphase":
        ratio = Fraction(grid.rate / source).limit_denominator(1000)
        up, down = ratio.numerator, max(1, ratio.denominator)
        total += (math.ceil(10 * max(up, down) / max(1, up) / down) + 1) * down * period
    elif not same and source > FALLS * grid.rate:
        total += 2 * HALF / grid.rate
    linear = [grid.longest(channel) for channel, how in grid.fill.items() if how == "linear"]
    return total + max(linear, default=0.0) + SORTED * (timed and grid.times.backwards == "sort")


def rate_of(student: Student, given: float | None) -> float:
    """The rate of a student's windows, hertz.

    Args:
        student: whose description may name it.
        given: what a user names.

    Raises:
        InputError: neither does, or they differ.
    """
    known = student.sampling_rate
    if known is None:
        if given is None:
            raise InputError(
                "Stream: sampling_rate must be given where the student's description has none, but got None. Pass the "
                "rate of its training windows in hertz."
            )
        return float(given)
    if given is not None and given != known:
        raise InputError(
            f"Stream: sampling_rate must be that of the student's windows, {known:g}, but got {given:g}. Leave it out; "
            "recorded_at= is the rate of the samples."
        )
    return known
