"""Dates of a time column as nanoseconds: with an offset, in a time zone, or as the clock on the wall showed them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kdlab.types import InputError

if TYPE_CHECKING:  # it takes a moment to import
    import pandas as pd

SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
DAY_MONTH = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{2,4})(?!\d)(.*)", re.DOTALL)
OFFSET = r"[T\s]\d.*(?:[Zz]|[+-]\d\d(?::?\d\d)?)$"  # from UTC, after a time of day
JOINS = 60.0  # seconds, or 1.5 usual steps: a step into the hour that occurs twice that is no longer is no gap


class Where:
    """Names a row of a chunk."""

    def __init__(self, name: str, line: int, word: str) -> None:
        self.name, self.line, self.word = name, line, word

    def __call__(self, row: int) -> str:
        """The place of a row of the chunk."""
        return f"{self.name}, {self.word} {self.line + int(row)}"

    def refuse_missing(self, missing: NDArray[np.bool_]) -> None:
        """Refuse a chunk in which a time is missing."""
        if missing.any():
            first = int(np.argmax(missing))
            raise InputError(
                f"{self(first)}: time must be there for every sample, but got {int(missing.sum())} missing from here "
                "on. Leave these rows out, or fill in their times."
            )


def words(column: pd.Series) -> pd.Series:
    """The cells as text without blanks around it."""
    import pandas as pd

    if isinstance(column.dtype, pd.StringDtype):
        return column.str.strip()
    return column.map(lambda cell: (cell.decode(errors="replace") if isinstance(cell, bytes) else str(cell)).strip())


def empty(text: pd.Series) -> pd.Series:
    """Which cells hold nothing, or a word for it."""
    return text.isna() | text.str.lower().isin(["", "nan", "nat", "none", "null", "na", "<na>"])


def looks_like_a_date(cell: str) -> bool:
    """Whether there are digits on both sides of a mark that dates and times of day have.

    >>> [looks_like_a_date(cell) for cell in ("2023-11-14", "14.11.2023", "22:13", "-1.5e-3", "1.5")]
    [True, True, True, False, False]
    """
    return re.search(r"\d[-/:]\d|\d\.\d+\.\d", cell) is not None


def _out_of_range(got: str, place: str) -> InputError:
    return InputError(f"{place}: time must lie between 1677 and 2262, but got {got[:80]}. Correct it.")


class Dates:
    """Reads the dates of one file, chunk by chunk.

    Args:
        unit: ``"iso"`` or a format of :meth:`datetime.datetime.strptime`.
        day_first: of dates that begin with day and month.
        zone: where the clock stood, for dates without an offset.
    """

    def __init__(self, unit: str, day_first: bool | None, zone: str | None) -> None:
        self.unit, self.day_first, self.zone = unit, day_first, zone
        self._aware: bool | None = None  # whether the dates so far had an offset
        self._before: tuple[int, bool] | None = None  # the last date, nanoseconds, and whether its hour occurs twice
        self._second = False  # whether the hour that occurs twice has occurred once
        self._usual = 0.0  # step between dates, nanoseconds

    @property
    def aware(self) -> bool:
        """Whether the dates so far had an offset."""
        return bool(self._aware)

    def nanoseconds(self, column: pd.Series, where: Where) -> NDArray[np.int64]:
        """One chunk of the column, in UTC where dates have an offset or a zone.

        Raises:
            InputError: a cell that is missing, not a date, or that can be read in two ways; with its line.
        """
        import pandas as pd

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
            raise _out_of_range(str(error), where(0)) from None
        return np.asarray(wall.asi8) if self.zone is None else self._local(wall, where)

    def _parsed(self, column: pd.Series, where: Where) -> tuple[pd.DatetimeIndex, bool]:
        import pandas as pd

        unit = self.unit
        if "%" in unit and column.dtype.kind in "iu":
            column = column.astype(str)
        if column.dtype.kind in "iuf" and not column.isna().all():
            raise InputError(
                f"{where(0)}: time must be a date (time_unit: {unit}), but got the number {column.iloc[0]}. "
                f"{unit_of(float(column.iloc[0]))}"
            )
        text = words(column)
        where.refuse_missing(empty(text).to_numpy())
        if unit == "iso" and re.search(r":\d\d,\d|(UTC|GMT)$", str(text.iloc[0])):
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

    def _formats(self, first: str, where: Where) -> list[str]:
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
        day_first = self.day_first
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
        year = re.search(r"(?<!\d)\d{4}(?=[-/.]\d)|(?<=\d[-/.])\d{4}(?!\d)", cell)
        if year is not None and not 1677 < int(year[0]) < 2262:  # pandas below 3 reads no other years
            raise _out_of_range(cell, place)
        if DAY_MONTH.fullmatch(cell) and self.day_first is not None:
            remedy = f"Set day_first: {str(not self.day_first).lower()} if day and month are the other way round"
        elif re.fullmatch(r"\d+(\.\d*)?", cell):
            remedy = unit_of(float(cell)).rstrip(".")
        elif re.fullmatch(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d:\d+", cell):
            remedy = "Set time_unit: '%Y-%m-%d %H:%M:%S:%f'"
        else:
            remedy = "Set time_unit to its format, such as '%d.%m.%Y %H:%M:%S.%f'"
        raise InputError(f"{place}: time must be a date (time_unit: {self.unit}), but got {cell[:40]!r}. {remedy}.")

    def _local(self, wall: pd.DatetimeIndex, where: Where) -> NDArray[np.int64]:
        """Nanoseconds in UTC of local times in ``zone``; their order resolves the hour that occurs twice."""
        zone = str(self.zone)
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


def unit_of(number: float) -> str:
    """The remedy for a number of another unit, or in place of a date: the unit that puts it between 2000 and 2100."""
    import pandas as pd

    for unit, second in SECOND.items():
        if 946684800 <= number / second < 4102444800:
            return f"Set time_unit: {unit}, which makes it {pd.Timestamp(int(number / second), unit='s').date()}."
    return "Set time_unit to s, ms, us or ns."
