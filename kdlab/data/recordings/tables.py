"""Recordings as tables of text, read by pandas block by block."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from kdlab.data.recordings.book import Book
from kdlab.data.recordings.dates import looks_like_a_date
from kdlab.data.recordings.devices import Prepared, prepared, started
from kdlab.data.recordings.form import Csv
from kdlab.data.recordings.reading import Reading
from kdlab.data.recordings.report import EPOCHS
from kdlab.data.recordings.resample import NO_LABEL, Piece
from kdlab.data.recordings.rows import Rows, blocks, opened, variants
from kdlab.data.recordings.times import SECOND
from kdlab.data.recordings.who import named_like_a_person
from kdlab.data.spelling import text
from kdlab.types import InputError

LOOKED_AT = 20  # files that are searched for columns of persons
_VALUE = re.compile(r"[-+]?\d[-+\d.eE:/ TZ]*")  # a number or a date
_BLANKS = " \t\r\n"


def read_csv(file: Path, reading: Reading, book: Book) -> Iterator[Piece]:
    """Rows of a table, some at a time; empty cells and the words of ``missing`` are missing values.

    Args:
        file: the table, perhaps packed (``.gz``).
        reading: what is read, and how it is written.
        book: codes of its labels and persons; new ones are added.

    Raises:
        InputError: a column that is not there; a row that is not complete or not numeric, with its line.
    """
    name = str(file)
    with opened(file, reading.csv.encoding) as stream:
        if reading.device is None:
            start = started(stream, reading.csv, name)
        else:
            start = prepared(stream, reading.device, reading.csv, name)
        columns, clock, done = _Columns(start, reading, name), _Clock(start, reading, name), 0
        book.clock, book.line = (clock.clock if clock.known else None), start.line
        timed = columns.time is not None and EPOCHS not in (start.header or "")
        book.header = None if timed else start.header
        for rows in blocks(stream, start.form, start.line, len(start.names), name, start.rest):
            frame = _frame(rows, start.form, columns, len(start.names), name, clock.numeric)
            yield columns.piece(frame, rows, clock, book, done)
            done += len(rows.starts)
    book.refuse_lost()


class ColumnError(InputError):
    """A table has no column of a name, or several."""

    #: the name
    column: str


class _Clock:
    """The times of the rows: a column, or what the file has before its rows."""

    def __init__(self, start: Prepared, reading: Reading, name: str) -> None:
        times = reading.grid.times
        if start.unit is not None:  # the device's own; a zone and an order of days belong to dates only
            plain = start.unit in SECOND
            times = replace(
                times,
                unit=start.unit,
                zone=None if plain else times.zone,
                day_first=times.day_first if start.unit == "iso" else None,
            )
        self.rate, self.numeric = start.rate, times.unit in SECOND
        self.known = reading.time is not None or start.time is not None or start.begin is not None
        self.clock = times.clock(name)
        if start.begin is not None:
            self.clock.seconds([float(start.begin)] if self.numeric else [start.begin])

    def times(self, column: Any, rows: Rows, done: int) -> NDArray[np.float64] | None:
        """Seconds since the first row; None where they are not known."""
        if column is not None:
            return self.clock.seconds(column, rows.line_of(0))
        count = len(rows.starts)
        return None if self.rate is None else np.arange(done, done + count) / self.rate


class _Columns:
    """The place in a row of each thing that is read."""

    def __init__(self, start: Prepared, reading: Reading, name: str) -> None:
        self.names, self.reading = start.names, reading
        self._where = f"{name}, line {start.line - 1 if start.line > 1 else 1}"
        self.channels = [self._one(reading.columns.get(c, c)) for c in reading.channels]
        stamp = reading.time or start.time
        self.time = None if stamp is None else self._one(stamp)
        self.label = None if reading.label is None else self._one(reading.label)
        ids = {"subject": reading.subject, "session": reading.session}
        self.ids = {key: self._one(column) for key, column in ids.items() if column is not None}

    def _one(self, column: str) -> int:
        if self.names.count(column) == 1:
            return self.names.index(column)
        shown = ",".join(self.names)[:200]
        remedy = "name the columns with channels=, label=, time=, subject= and session="
        marks = [mark for mark in ";\t| ," if mark in shown and mark != self.reading.csv.delimiter]
        if len(self.names) == 1 and marks:
            mark = marks[0].replace("\t", "tab")
            remedy = f'is {mark!r} between the columns? Set csv: {{delimiter: "{mark}"}}'
        elif self.reading.csv.header and 2 * sum(bool(_VALUE.fullmatch(c)) for c in self.names) > len(self.names):
            remedy = "has it no header? Set csv: {header: false, names: [...]}"
        error = ColumnError(f"{self._where}: expected one column {column!r}, got the header {shown!r}; {remedy}")
        error.column = column
        raise error

    def numbers(self, clock_is_numeric: bool) -> list[int]:
        """Columns of numbers."""
        stamp = [self.time] if self.time is not None and clock_is_numeric else []
        return sorted({*self.channels, *stamp})

    def words(self) -> list[int]:
        """Columns of words."""
        return sorted({*([self.label] if self.label is not None else []), *self.ids.values()})

    def piece(self, frame: Any, rows: Rows, clock: _Clock, book: Book, done: int) -> Piece:
        """The rows of a block."""
        signal = np.column_stack([frame[c].to_numpy(np.float64) for c in self.channels])
        time = clock.times(None if self.time is None else frame[self.time], rows, done)
        label = np.full(len(frame), NO_LABEL, np.int16)
        if self.label is not None:
            codes, words = _coded(frame[self.label])
            label = np.append(book.label_codes(words), np.int16(NO_LABEL))[codes]
        found: dict[str, tuple[NDArray[Any], Sequence[str]]] = {}
        for key, column in self.ids.items():
            codes, words = _coded(frame[column])
            spelt = book.ids(words, codes, self.names[column], lambda row: f"line {rows.line_of(row)}")
            found[key] = np.where(codes < 0, len(words), codes), spelt
        return Piece(time, signal, label, book.group_codes(found.get("subject"), found.get("session")))


def columns_of(file: Path, reading: Reading) -> list[str]:
    """The names of the columns of a table.

    Raises:
        InputError: it cannot be read.
    """
    name = str(file)
    with opened(file, reading.csv.encoding) as stream:
        if reading.device is None:
            return started(stream, reading.csv, name).names
        return prepared(stream, reading.device, reading.csv, name).names


def _coded(column: Any) -> tuple[NDArray[np.int64], list[str]]:
    return column.cat.codes.to_numpy(np.int64), column.cat.categories.tolist()


def _frame(rows: Rows, form: Csv, columns: _Columns, width: int, name: str, numeric_time: bool) -> Any:
    """The columns that are read of a block, by their place."""
    numbers, words = columns.numbers(numeric_time), columns.words()
    kinds: dict[int, Any] = {**dict.fromkeys(numbers, np.float64), **dict.fromkeys(words, "category")}
    if columns.time is not None and not numeric_time:
        kinds[columns.time] = str
    both = set(numbers) & set(words)
    if both:
        raise InputError(f"{name}: column {columns.names[min(both)]!r} is read as numbers and as words; name another")
    try:
        frame = _read(rows, form, width, kinds, {k: variants(form.missing) for k in numbers})
    except (ValueError, OverflowError):
        frame = None
    if frame is None:
        _blame(rows, form, width, numbers, columns, name)
    if len(frame) != len(rows.starts):
        raise InputError(
            f"{name}, from line {rows.line} on: expected {len(rows.starts)} rows, got {len(frame)}; are there single "
            "carriage returns or blanks in place of rows?"
        )
    return frame


def _read(rows: Rows, form: Csv, width: int, kinds: dict[int, Any], missing: dict[int, list[str]]) -> Any:
    import pandas as pd  # takes a moment to import

    more: dict[str, Any] = {} if form.quote else {"quoting": 3}
    return pd.read_csv(
        io.BytesIO(rows.text),
        header=None,
        names=list(range(width)),
        index_col=False,
        usecols=sorted(kinds),
        dtype=kinds,
        sep=r"\s+" if form.delimiter == "whitespace" else form.delimiter,
        decimal=form.decimal,
        quotechar=form.quote or '"',
        skipinitialspace=form.delimiter != " ",
        keep_default_na=False,
        na_values=missing,
        encoding="utf-8",
        engine="c",
        low_memory=False,
        **more,
    )


def _blame(rows: Rows, form: Csv, width: int, numbers: Sequence[int], columns: _Columns, name: str) -> NoReturn:
    """Name the first cell that is no number."""
    import pandas as pd

    rows.text.decode()  # refuses what is in another encoding
    frame = _read(rows, form, width, dict.fromkeys(numbers, str), {})
    nothing = {word.casefold() for word in form.missing}
    first: tuple[int, int, str] | None = None
    for column in numbers:
        cells = frame[column].str.strip(_BLANKS)
        plain = cells.str.replace(form.decimal, ".", regex=False) if form.decimal != "." else cells
        other = pd.to_numeric(plain, errors="coerce").isna() & ~cells.str.casefold().isin(nothing | {"nan"})
        if form.decimal != ".":
            other |= cells.str.contains(".", regex=False)
        row = int(other.to_numpy().argmax())
        if other.any() and (first is None or row < first[0]):
            first = row, column, cells[row]
    if first is None:
        raise InputError(f"{name}, from line {rows.line} on: not readable as a table; is it UTF-8 text?")
    row, column, cell = first
    remedy = 'set csv: {decimal: ","}' if re.fullmatch(r"[-+]?\d+,\d+", cell) else ""
    if column == columns.time and looks_like_a_date(cell):
        remedy = "set time_unit: iso, or the format of the dates"
    elif "." in cell and "," in cell:
        remedy = "write numbers without a separator of thousands"
    elif form.decimal == "," and re.fullmatch(r"[-+]?\d*\.\d+(e[-+]?\d+)?", cell, re.IGNORECASE):
        remedy = 'csv: {decimal: ","} is for all columns, but this number has a point; leave it out, or write all alike'
    remedy = remedy or "a word for missing values is declared with csv: {missing: [...]}"
    raise InputError(
        f"{name}, line {rows.line_of(row)}: expected a number in column {column + 1} ({columns.names[column]}), got "
        f"{cell[:40]!r}; {remedy}"
    )


def persons_in(files: Sequence[Path], form: Csv, device: str | None, used: set[str]) -> dict[str, Counter[str]]:
    """Columns of tables that are named like a person, with how many of the files have each id in their first rows.

    Args:
        files: the tables; their headers are read, and the rows of the first few that have such a column.
        form: how they are written.
        device: whose software wrote them.
        used: columns that are something else.
    """
    found: dict[str, Counter[str]] = {}
    if device is not None or not (form.header or form.names):
        return found
    looked = 0
    for file in files:
        with opened(file, form.encoding) as stream:
            start = started(stream, form, str(file))
            like = [c for c in named_like_a_person(start.names) if c not in used and start.names.count(c) == 1]
            if not like or (looked >= LOOKED_AT and set(like) <= set(found)):
                continue
            looked += 1
            rows = next(blocks(stream, start.form, start.line, len(start.names), str(file), start.rest), None)
            places = {start.names.index(column): column for column in like}
            frame = None if rows is None else _read(rows, form, len(start.names), dict.fromkeys(places, "category"), {})
            for place, column in places.items():
                words = [] if frame is None else frame[place].cat.categories.tolist()
                found.setdefault(column, Counter()).update({text(word) for word in words})
    return found


def table(file: Path, form: Csv, columns: Sequence[str]) -> tuple[list[list[str]], list[int]]:
    """The cells of some columns of a small table, each column a list, and the line of each row.

    Raises:
        InputError: a column that is not there, a row of another width.
    """
    name = str(file)
    found: list[list[str]] = [[] for _ in columns]
    lines: list[int] = []
    with opened(file, form.encoding) as stream:
        start = started(stream, form, name)
        absent = [column for column in columns if start.names.count(column) != 1]
        if absent:
            raise InputError(
                f"{name}, line {max(1, start.line - 1)}: expected one column {absent[0]!r}, got the header "
                f"{','.join(start.names)[:200]!r}; name the columns of the intervals"
            )
        places = [start.names.index(column) for column in columns]
        for rows in blocks(stream, start.form, start.line, len(start.names), name, start.rest):
            frame = _read(rows, form, len(start.names), dict.fromkeys(places, str), {})
            for cells, place in zip(found, places, strict=True):
                cells += frame[place].str.strip(_BLANKS).tolist()
            lines += rows.lines().tolist()
    return found, lines
