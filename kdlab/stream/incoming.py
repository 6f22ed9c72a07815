"""Samples as they are pushed: checked, with the channels that the student reads, and seconds since the first one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from kdlab.data.recordings.grid import Grid
from kdlab.data.recordings.resample import NO_LABEL, Piece
from kdlab.data.recordings.times import SECOND
from kdlab.files import one_line
from kdlab.stream.student import check_labels, places
from kdlab.types import InputError, plain_array


class Incoming:
    """Reads what is pushed into a stream.

    Args:
        given: names of the columns.
        grid: channels to pick, rate and unit of the times.
        named: whether the caller gave these names.

    Attributes:
        samples: that were read.
        timed: whether they have times.
    """

    def __init__(self, given: Sequence[str], grid: Grid, named: bool = False) -> None:
        self._named = named
        self.given, self.grid, self.samples, self.timed = list(given), grid, 0, True
        self._picked = places(self.given, grid.channels, len(self.given), "Stream", "a sample")
        self._clock, self._per_second = grid.times.clock("Stream"), 1.0

    @property
    def zero(self) -> float:
        """The time of the first sample, seconds."""
        return float(self._clock.origin or 0) / self._per_second

    def read(self, times: npt.ArrayLike | None, samples: npt.ArrayLike) -> Piece | None:
        """Samples with their times; None where there are no samples.

        Raises:
            InputError: shapes that do not belong together, times that are missing or come for some samples only.
        """
        rows = plain_array(samples, "Stream: samples")
        labels = getattr(samples, "columns", None)
        check_labels(labels, self.given if self._named else None, self.given, "Stream: columns of the frame")
        stamps = None if times is None else _stamps(times)
        if rows.size == 0 and (stamps is None or not len(stamps)):
            return None
        if rows.ndim == 1 and (stamps is None or len(stamps) == 1):
            rows = rows[None]
        self._check(rows, stamps)
        signal = rows[:, self._picked].astype(np.float64)
        with np.errstate(over="ignore"):  # what float32 cannot hold is missing, as in recordings
            signal[~np.isfinite(signal.astype(np.float32))] = np.nan
        seconds = self._seconds(stamps, len(signal))
        self.timed, self.samples = stamps is not None, self.samples + len(signal)
        return Piece(seconds if self.timed else None, signal, np.full(len(signal), NO_LABEL, np.int16))

    def _check(self, rows: NDArray[np.generic], stamps: Any) -> None:
        count = len(rows) if stamps is None else len(stamps)
        if rows.shape != (count, len(self.given)) or (stamps is not None and stamps.ndim != 1):
            raise InputError(
                f"Stream: samples must be (n, {len(self.given)}), channels {', '.join(self.given)}, with n times, but "
                f"got shape {rows.shape} and {'no' if stamps is None else stamps.shape} times. Order them so, or pass "
                "channels= with the names of the columns."
            )
        if self.samples and self.timed != (stamps is not None):
            raise InputError(
                f"Stream: times must be given for all samples or for none, but got "
                f"{'none' if stamps is None else 'some'} after {self.samples} samples. Reset the stream first."
            )
        if stamps is None and self.grid.recorded_at is None:
            raise InputError(
                "Stream: recorded_at must be a rate where there are no times, but got 'found'. Pass it in hertz."
            )

    def _seconds(self, stamps: Any, count: int) -> NDArray[np.float64]:
        if stamps is None:
            return np.asarray((self.samples + np.arange(count)) / float(self.grid.recorded_at or 1))
        dates = stamps.dtype.kind == "M" or self.grid.times.unit not in SECOND
        self._per_second = float(SECOND["ns" if dates else self.grid.times.unit])
        return self._clock.seconds(stamps, self.samples + 1, "sample")


def _stamps(times: Any) -> Any:
    """Numbers, words or dates ``(n,)``; dates of pandas and of Python keep their zone."""
    if str(getattr(times, "dtype", "")).startswith("datetime64") and not isinstance(times, np.ndarray):
        return times
    array = np.atleast_1d(np.asarray(times))
    if array.dtype != object or array.ndim != 1 or not all(isinstance(one, datetime) for one in array):
        return array
    import pandas as pd  # takes a moment to import

    try:
        return pd.DatetimeIndex(pd.to_datetime(array.tolist()))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"Stream: times must be dates of one zone, or all without one, but got {one_line(error)}. Give all the "
            "same zone, or pass seconds."
        ) from error
