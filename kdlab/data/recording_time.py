"""When a sample was taken: columns of numbers, words or dates as seconds since the first sample."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from kdlab.types import InputError

SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
Repeated = Literal["spread", "first", "error"]
Backwards = Literal["error", "sort", "split"]
DAY_MONTH = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{2,4})(?!\d)(.*)", re.DOTALL)
OFFSET = r"[T\s]\d.*(?:[Zz]|[+-]\d\d(?::?\d\d)?)$"  # from UTC, after a time of day
JOINS = 60.0  # seconds, or 1.5 usual steps: a step into the hour that occurs twice that is no longer is no gap


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
        for name, word, words in (
            ("repeated", self.repeated, get_args(Repeated)),
            ("backwards", self.backwards, get_args(Backwards)),
        ):
            if word not in words:
                raise InputError(f"{name}: must be one of {', '.join(words)}, but got {word!r}. Choose one of them.")
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
        self._aware: bool | None = None  # whether the dates so far had an offset
        self._before: tuple[int, bool] | None = None  # the last date, nanoseconds, and whether its hour occurs twice
        self._second = False  # whether the hour that occurs twice has occurred once
        self._usual = 0.0  # step between dates, nanoseconds

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
        values = column if isinstance(column, pd.Series | pd.Index) else np.asarray(column)
        if not len(values):
            return np.empty(0)
        where = _Where(self.name, line, word)
        dates = pd.api.types.is_datetime64_any_dtype(values.dtype)
        if dates or self.times.unit not in SECOND:
            stamps: NDArray[Any] = self._dates(pd.Series(values).reset_index(drop=True), where)
            second = SECOND["ns"]
        else:
            stamps, second = self._numbers(pd.Series(values).reset_index(drop=True), where), SECOND[self.times.unit]
        if self.origin is None:
            self.origin = stamps[0].item()
        start = int(self.origin) if stamps.dtype.kind == "i" and float(self.origin).is_integer() else self.origin
        return np.asarray((stamps - start) / second, np.float64)

    # ---- numbers ----------------------------------------------------------------------------------------------------
    def _numbers(self, column: pd.Series, where: _Where) -> NDArray[Any]:
        unit = self.times.unit
        if column.dtype.kind not in "iuf":
            text = _words(column)
            column = pd.to_numeric(text, errors="coerce")
            wrong = np.flatnonzero((column.isna() & ~_empty(text)).to_numpy())
            if len(wrong):
                got = str(text.iloc[wrong[0]])
                remedy = (
                    "Set time_unit: iso" if re.search(r"\d[-/.:]\d", got) else "Correct the cell, or name the column"
                )
                raise InputError(f"{where(wrong[0])}: time must be a number ({unit}), but got {got[:40]!r}. {remedy}.")
        where.refuse_missing(column.isna().to_numpy())
        numbers = column.to_numpy()
        if column.dtype.kind in "iu":
            numbers = numbers.astype(np.int64)
        if numbers.dtype.kind == "f":
            where.refuse_missing(~np.isfinite(numbers))
            grain = float(np.spacing(np.abs(numbers).max()))
            if grain > 1e-3 * SECOND[unit]:
                raise InputError(
                    f"{where(0)}: time must be kept exactly, but got {numbers.dtype}, which has steps of {grain:g} "
                    f"{unit} there. Save it as float64 or as whole numbers."
                )
            numbers = numbers.astype(np.float64)
        return np.asarray(numbers)

    # ---- dates ------------------------------------------------------------------------------------------------------
    def _dates(self, column: pd.Series, where: _Where) -> NDArray[np.int64]:
        if pd.api.types.is_datetime64_any_dtype(column.dtype):
            found, aware = pd.DatetimeIndex(column), column.dt.tz is not None
            where.refuse_missing(found.isna())
        else:
            found, aware = self._parsed(column, where)
        if self._aware not in (None, aware):
            raise InputError(
                f"{where(0)}: dates must all have an offset from UTC or none, but got both in this file. Write them in "
                "one form."
            )
        self._aware = aware
        try:
            if aware:
                return np.asarray(found.tz_convert("UTC").as_unit("ns").asi8)
            wall = found.as_unit("ns")
        except pd.errors.OutOfBoundsDatetime as error:
            raise InputError(f"{where(0)}: time must lie between 1677 and 2262, but got {error}. Correct it.") from None
        return np.asarray(wall.asi8) if self.times.zone is None else self._local(wall, where)

    def _parsed(self, column: pd.Series, where: _Where) -> tuple[pd.DatetimeIndex, bool]:
        unit = self.times.unit
        if "%" in unit and column.dtype.kind in "iu":
            column = column.astype(str)
        if column.dtype.kind in "iuf" and not column.isna().all():
            raise InputError(
                f"{where(0)}: time must be a date (time_unit: {unit}), but got the number {column.iloc[0]}. "
                f"{_unit_of(float(column.iloc[0]))}"
            )
        text = _words(column)
        where.refuse_missing(_empty(text).to_numpy())
        if re.search(r":\d\d,\d|(UTC|GMT)$", str(text.iloc[0])):
            text = text.str.replace(r"(?<=:\d\d),(?=\d)", ".", regex=True)
            text = text.str.replace(r"\s?(?:UTC|GMT)$", "Z", regex=True)
        first = str(text.iloc[0])
        if "%" in unit:
            formats, offsets = [unit], np.full(len(text), "%z" in unit)
        else:
            formats, offsets = self._formats(first, where), text.str.contains(OFFSET).to_numpy(dtype=bool)
        if offsets.any() and not offsets.all():
            raise InputError(
                f"{where(np.flatnonzero(offsets != offsets[0])[0])}: dates must all have an offset from UTC or none, "
                f"but got {first!r} before and {str(text[offsets != offsets[0]].iloc[0])!r}. Write them in one form."
            )
        found = pd.Series(pd.NaT, index=text.index, dtype="datetime64[ns, UTC]")
        for form in formats:
            todo = found.isna()
            if not todo.any():
                break
            read = pd.to_datetime(text[todo], format=form, errors="coerce", utc=True)
            found = read if todo.all() else found.fillna(read)
        wrong = np.flatnonzero(found.isna().to_numpy())
        if len(wrong):
            self._refuse(str(text.iloc[wrong[0]]), where(wrong[0]))
        stamps = pd.DatetimeIndex(found)
        return (stamps, True) if offsets[0] else (stamps.tz_localize(None), False)

    def _formats(self, first: str, where: _Where) -> list[str]:
        """Formats to try, by the first date of a chunk."""
        match = DAY_MONTH.fullmatch(first)
        if match is None:
            return ["ISO8601"]
        a, between, b, year, clock = match.groups()
        if len(year) != 4:
            raise InputError(
                f"{where(0)}: time must be a date with a year of four digits, but got {first[:40]!r}. Set time_unit to "
                f"its format, such as '%d{between}%m{between}%y %H:%M:%S'."
            )
        day_first = self.times.day_first
        if day_first is None:
            ways = {"true": (a, b), "false": (b, a)}
            read = [f"day_first: {k} reads {year}-{m:0>2}-{d:0>2}" for k, (d, m) in ways.items() if int(m) <= 12]
            raise InputError(
                f"{where(0)}: a date with day and month first must be declared, but got {first[:40]!r}. "
                f"{', '.join(read)}; write that line."
            )
        day = f"%d{between}%m" if day_first else f"%m{between}%d"
        noon = bool(re.search(r"[ap]\.?m", clock, re.IGNORECASE))
        hours, tail = ("%I", " %p") if noon else ("%H", "")
        tail += "" if not re.search(OFFSET, first) else " %z" if re.search(r"\s[+-]\S*$", clock) else "%z"
        join = re.match(r"\D*", clock)
        lead = f"{day}{between}%Y{join[0] if join else ' '}"
        return [f"{lead}{hours}:%M{rest}{tail}" for rest in (":%S.%f", ":%S", "")] + [f"{day}{between}%Y"]

    def _refuse(self, cell: str, place: str) -> None:
        if DAY_MONTH.fullmatch(cell) and self.times.day_first is not None:
            remedy = f"Set day_first: {str(not self.times.day_first).lower()} if day and month are the other way round"
        elif re.fullmatch(r"\d+(\.\d*)?", cell):
            remedy = _unit_of(float(cell)).rstrip(".")
        elif re.fullmatch(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d:\d+", cell):
            remedy = "Set time_unit: '%Y-%m-%d %H:%M:%S:%f'"
        else:
            remedy = "Set time_unit to its format, such as '%d.%m.%Y %H:%M:%S.%f'"
        raise InputError(
            f"{place}: time must be a date (time_unit: {self.times.unit}), but got {cell[:40]!r}. {remedy}."
        )

    def _local(self, wall: pd.DatetimeIndex, where: _Where) -> NDArray[np.int64]:
        """Nanoseconds in UTC of what a clock in ``zone`` showed, where order tells the hour that occurs twice."""
        zone = str(self.times.zone)
        early, late = (
            wall.tz_localize(zone, ambiguous=np.full(len(wall), summer), nonexistent="NaT") for summer in (True, False)
        )
        absent = np.flatnonzero(early.isna())
        if len(absent):
            raise InputError(
                f"{where(absent[0])}: time must exist in zone: {zone}, but got {wall[absent[0]]}, which daylight "
                "saving time skips. Leave zone out if the clock was not set forward, or name its zone."
            )
        first, second, shown = np.asarray(early.asi8), np.asarray(late.asi8), np.asarray(wall.asi8)
        twice = first != second
        ahead = np.diff(shown, prepend=shown[0] if self._before is None else self._before[0])
        if not self._usual and (ahead > 0).any():
            self._usual = float(np.median(ahead[ahead > 0]))
        if not twice.any():
            self._before = int(shown[-1]), False
            return first
        before = self._before if self._before is not None else (int(shown[0]) - 10**15, False)
        step = np.diff(shown, prepend=before[0])
        continued = np.concatenate([[before[1]], twice[:-1]])
        shift = second - first
        joins = max(JOINS * 1e9, 1.5 * self._usual)
        small = (step > -shift // 2) & (step <= joins)
        again = continued & (np.abs(step + shift) <= joins)  # the clock was set back here
        later = np.full(len(shown), self._second)
        for k in np.flatnonzero(twice & ~(small & continued) | (twice & again)):
            if again[k]:
                self._second = True
            elif small[k]:
                self._second = bool(step[k] < 0)  # from what comes after the hour, or from what comes before it
            else:
                raise InputError(
                    f"{where(int(k))}: time must be known, but got {wall[k]}, which occurs twice in zone: {zone}, "
                    "right after the start or a gap. Write the dates with their offset from UTC."
                )
            later[k:] = self._second
        self._before = int(shown[-1]), bool(twice[-1])
        return np.asarray(np.where(twice & later, second, first))


class _Where:
    """Names a row of a chunk."""

    def __init__(self, name: str, line: int, word: str) -> None:
        self.name, self.line, self.word = name, line, word

    def __call__(self, row: int) -> str:
        return f"{self.name}, {self.word} {self.line + int(row)}"

    def refuse_missing(self, missing: NDArray[np.bool_]) -> None:
        if missing.any():
            first = int(np.argmax(missing))
            raise InputError(
                f"{self(first)}: time must be there for every sample, but got {int(missing.sum())} missing from here "
                "on. Leave these rows out, or fill in their times."
            )


def _words(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.StringDtype):
        return column.str.strip()
    return column.map(lambda cell: (cell.decode(errors="replace") if isinstance(cell, bytes) else str(cell)).strip())


def _empty(text: pd.Series) -> pd.Series:
    return text.isna() | text.str.lower().isin(["", "nan", "nat", "none", "null", "na", "<na>"])


def _unit_of(number: float) -> str:
    """The remedy for a number where a date was expected: the unit in which it lies between 2000 and 2100."""
    for unit, second in SECOND.items():
        if 946684800 <= number / second < 4102444800:
            return f"Set time_unit: {unit}, which makes it {pd.Timestamp(int(number / second), unit='s').date()}."
    return "Set time_unit to s, ms, us or ns."
