"""The moments of samples on the even grid of a recording, written as the times of the recording are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdlab.data.recordings.times import SECOND, Clock

_DECIMALS = {"s": 6, "ms": 3}


def clock_contents(clock: Clock | None) -> dict[str, Any] | None:
    """What is kept of a clock beside a recording; None where it has no times."""
    if clock is None or clock.origin is None:
        return None
    times = clock.times
    unit = times.unit if times.unit in SECOND else "date"
    return {"origin": clock.origin, "unit": unit, "zone": times.zone, "aware": clock.aware}


def seconds_of(rows: NDArray[np.int64], starts: Sequence[Sequence[float]], rate: float) -> NDArray[np.float64]:
    """Seconds of rows after the first sample.

    Args:
        rows: places on the grid, ``(n,)``.
        starts: ``[row, seconds]`` where an even part of the grid begins.
        rate: hertz.

    >>> seconds_of(np.array([0, 2, 5]), [[0, 0.0], [4, 10.0]], 2.0).tolist()
    [0.0, 1.0, 10.5]
    """
    first, moment = np.array(starts, np.float64).T
    part = np.maximum(np.searchsorted(first, rows, side="right") - 1, 0)
    return np.asarray(moment[part] + (rows - first[part]) / rate)


def written(seconds: ArrayLike, clock: Mapping[str, Any] | None) -> list[str]:
    """Moments as the recording writes its times: numbers in its unit, or dates to the millisecond.

    Args:
        seconds: after the first sample, ``(n,)``.
        clock: of the recording, see :func:`clock_contents`; None: seconds are written.

    >>> written([0.5], None), written([0.25], {"origin": 1700000000000, "unit": "ms"})
    (['0.5'], ['1700000000250'])
    >>> written([0.25], {"origin": 10**18, "unit": "date", "zone": None, "aware": False})
    ['2001-09-09T01:46:40.250']
    """
    values = np.asarray(seconds, np.float64)
    if clock is None:
        return [_short(value, 6) for value in values.tolist()]
    origin, unit = clock["origin"], clock["unit"]
    if unit == "date":
        import pandas as pd  # takes a moment to import

        stamps = pd.DatetimeIndex(_whole(origin, values, SECOND["ns"] // 10**6, 10**6))
        if clock["zone"] is not None or clock["aware"]:
            stamps = stamps.tz_localize("UTC").tz_convert(clock["zone"] or "UTC")
        return [stamp.isoformat(timespec="milliseconds") for stamp in stamps]
    if unit in _DECIMALS:
        return [_short(origin + value * SECOND[unit], _DECIMALS[unit]) for value in values.tolist()]
    return [str(value) for value in _whole(origin, values, SECOND[unit], 1).tolist()]


def _whole(origin: float, seconds: NDArray[np.float64], second: int, unit: int) -> NDArray[np.int64]:
    """Whole units of a moment, without the digits that a float of it would lose."""
    return np.asarray((int(origin) + np.rint(seconds * second * unit).astype(np.int64) + unit // 2) // unit * unit)


def _short(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
