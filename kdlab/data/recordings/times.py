"""When a sample was taken: columns of numbers, words or dates as seconds since the first sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdlab.data.recordings.dates import SECOND as SECOND
from kdlab.data.recordings.dates import Dates, Where, empty, looks_like_a_date, unit_of, words
from kdlab.types import InputError

if TYPE_CHECKING:
    import pandas as pd

Repeated = Literal["spread", "first", "error"]
Backwards = Literal["error", "sort", "split"]


@dataclass(frozen=True)
class Times:
    """How the times of a recording are written, and what their irregularities mean. Nothing of it is guessed.

    Args:
        unit: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"`` for numbers; ``"iso"`` for dates, year first
            (``2015-06-05 10:36:38.610``, with or without an offset such as ``+02:00``) or, with ``day_first``, day and
            month first; or a format of :meth:`datetime.datetime.strptime` such as ``"%Y-%m-%d %H:%M:%S:%f"``.
        day_first: whether ``03/04/2020`` is the third of April; such dates are refused until it is declared.
        zone: where the clock stood, such as ``"Europe/Berlin"``, for dates without an offset; its daylight saving time
            is accounted for. None: the clock was never set forward or back.
        repeated: samples with one time stamp are ``"spread"`` evenly up to the next one, all but the ``"first"`` are
            dropped, or it is an ``"error"``.
        backwards: a time that goes back is an ``"error"``; ``"sort"`` sorts rows that are out of order by at most a
            minute; ``"split"`` begins a new session there.

    Raises:
        InputError: a setting that does not exist or does not belong to the unit.

    >>> Times(unit="ms").clock("a.csv").seconds(np.array([1657533977810, 1657533977819, 1657533977828])).tolist()
    [0.0, 0.009, 0.018]
    >>> Times(unit="iso", day_first=False).clock("a.csv").seconds(["9/17/2018 08:00:00.000", "9/17/2018 08:00:00.033"])
    array([0.   , 0.033])
    """

    unit: str = "s"
    day_first: bool | None = None
    zone: str | None = None
    repeated: Repeated = "spread"
    backwards: Backwards = "error"

    def __post_init__(self) -> None:
        if self.unit not in (*SECOND, "iso") and "%" not in self.unit:
            raise InputError(
                f"time_unit: must be one of {', '.join(SECOND)}, iso, or a format such as '%d.%m.%Y %H:%M:%S', but got "
                f"{self.unit!r}. Name the unit of the time column."
            )
        for name, word, known in (
            ("repeated", self.repeated, get_args(Repeated)),
            ("backwards", self.backwards, get_args(Backwards)),
        ):
            if word not in known:
                raise InputError(f"{name}: must be one of {', '.join(known)}, but got {word!r}. Choose one of them.")
        for name, value, dates in (
            ("day_first", self.day_first, self.unit == "iso"),
            ("zone", self.zone, self.unit not in SECOND),
        ):
            if value is not None and not dates:
                raise InputError(
                    f"{name}: must be left out with time_unit: {self.unit}, but got {value!r}. It belongs to dates "
                    "(time_unit: iso)."
                )
        if self.zone is not None:
            try:
                ZoneInfo(self.zone)
            except (KeyError, ValueError, OSError):
                raise InputError(
                    f"zone: must be the name of a time zone, but got {self.zone!r}. Write it as in Europe/Berlin or "
                    "America/New_York; a system without time zones needs the package tzdata."
                ) from None

    def clock(self, name: str, origin: int | float | None = None) -> Clock:
        """What reads the time columns of one file, chunk by chunk.

        Args:
            name: of the file, for messages.
            origin: what counts as second 0, as :attr:`Clock.origin` of another file; None: the first sample.
        """
        return Clock(self, name, origin)


class Clock:
    """Reads the time column of one file, chunk by chunk, as seconds since its first sample.

    Attributes:
        origin: the first sample: in the unit of the numbers, or nanoseconds since 1970 (UTC where dates have an offset
            or a zone).
    """

    def __init__(self, times: Times, name: str, origin: int | float | None = None) -> None:
        self.times, self.name, self.origin = times, name, origin
        self._dates = Dates(times.unit, times.day_first, times.zone)

    @property
    def aware(self) -> bool:
        """Whether the dates so far had an offset from UTC."""
        return self._dates.aware

    def seconds(self, column: ArrayLike, line: int = 1, word: str = "line") -> NDArray[np.float64]:
        """One chunk of the column.

        Args:
            column: numbers, words or dates, ``(n,)``.
            line: of the first of them, for messages.
            word: what is counted, for messages: ``"line"`` or ``"sample"``.

        Returns:
            Seconds since the first sample, ``(n,)``; whole numbers and dates are subtracted before they become floats.

        Raises:
            InputError: a time that is missing or not of the unit, a date that can be read in two ways; with its line.
        """
        import pandas as pd  # takes a moment to import

        values = column if isinstance(column, pd.Series | pd.Index) else np.asarray(column)
        if not len(values):
            return np.empty(0)
        where = Where(self.name, line, word)
        dates = pd.api.types.is_datetime64_any_dtype(values.dtype)
        if dates or self.times.unit not in SECOND:
            stamps: NDArray[Any] = self._dates.nanoseconds(pd.Series(values).reset_index(drop=True), where)
            second = SECOND["ns"]
        else:
            stamps, second = self._numbers(pd.Series(values).reset_index(drop=True), where), SECOND[self.times.unit]
        if self.origin is None:
            self.origin = stamps[0].item()
        start = int(self.origin) if stamps.dtype.kind == "i" and float(self.origin).is_integer() else self.origin
        return np.asarray((stamps - start) / second, np.float64)

    # ---- numbers ----------------------------------------------------------------------------------------------------
    def _numbers(self, column: pd.Series, where: Where) -> NDArray[Any]:
        import pandas as pd

        unit = self.times.unit
        if column.dtype.kind not in "iuf":
            text = words(column)
            column = pd.to_numeric(text, errors="coerce")
            wrong = np.flatnonzero((column.isna() & ~empty(text)).to_numpy())
            if len(wrong):
                got = str(text.iloc[wrong[0]])
                remedy = "Set time_unit: iso" if looks_like_a_date(got) else "Correct the cell, or name the column"
                raise InputError(f"{where(wrong[0])}: time must be a number ({unit}), but got {got[:40]!r}. {remedy}.")
        where.refuse_missing(column.isna().to_numpy())
        numbers = column.to_numpy()
        if column.dtype.kind in "iu":
            numbers = numbers.astype(np.int64)
        if numbers.dtype.kind == "f":
            where.refuse_missing(~np.isfinite(numbers))
            grain = float(np.spacing(np.abs(numbers).max()))
            if grain > 1e-3 * SECOND[unit]:
                short = numbers.dtype.itemsize < 8
                remedy = "Save it as float64 or as whole numbers." if short else unit_of(float(numbers[0]))
                raise InputError(
                    f"{where(0)}: time (time_unit: {unit}) must be kept exactly, but got {numbers.dtype}, which has "
                    f"steps of {grain:g} {unit} at {numbers[0]:.16g}. {remedy}"
                )
            numbers = numbers.astype(np.float64)
        return np.asarray(numbers)
