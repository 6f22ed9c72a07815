"""Tables as text: opened in any encoding, packed or not, in blocks of complete rows whose cells are counted."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from kdlab.data.recordings.form import Csv
from kdlab.types import InputError

BLOCK = 2**23  # bytes of a table that are in memory at a time
MOST_LINE = 2**20  # bytes of a line, and of a cell in quotes
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"PK": "zip", b"\x1f\x8b": "gzip"}
LF, CR, SPACE, TAB = 10, 13, 32, 9


@dataclass(frozen=True)
class Rows:
    """A block of complete rows.

    Attributes:
        text: UTF-8, without comments.
        line: number of its first line in the file, from 1.
        starts: first byte of each row that is not blank, ``(n,)``.
    """

    text: bytes
    line: int
    starts: NDArray[np.int64]

    def line_of(self, row: int) -> int:
        """Line of a row in the file."""
        return self.line + self.text.count(b"\n", 0, int(self.starts[row]))

    def lines(self) -> NDArray[np.int64]:
        """Line of each row in the file, ``(n,)``."""
        feeds = np.flatnonzero(np.frombuffer(self.text, np.uint8) == LF)
        return np.asarray(self.line + np.searchsorted(feeds, self.starts))


@contextmanager
def opened(file: Path, encoding: str) -> Iterator[BinaryIO]:
    """A file as UTF-8 bytes, unpacked where it is a ``.gz``.

    Raises:
        InputError: it cannot be unpacked or decoded, or is no text.
    """
    try:
        with file.open("rb") as raw:
            stream: Any = gzip.GzipFile(fileobj=raw) if file.suffix.lower() == ".gz" else raw
            plain = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
            mark = stream.read(2)
            if mark in _MARKS and (plain or len(_MARKS[mark]) < 6):
                remedy = f"csv: {{encoding: {_MARKS[mark]}}}" if _MARKS[mark] == "utf-16" else "unpack it"
                raise InputError(f"{file}: must be text, but is {_MARKS[mark]}; set {remedy}")
            stream.seek(0)
            if plain:
                stream.seek(3 if stream.read(3) == b"\xef\xbb\xbf" else 0)
            else:
                stream = io.BufferedReader(_Recoded(io.TextIOWrapper(stream, encoding, newline="")))
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{file}: cannot be unpacked ({error}); is it half-written? Obtain it again") from error
    except UnicodeDecodeError as error:
        if b"\0" in error.object:
            raise InputError(
                f"{file}: must be a table as text, but is binary. Export it as CSV (the software of the device does so)"
            ) from error
        raise InputError(
            f"{file}: must be text in {error.encoding}, but has the byte 0x{error.object[error.start]:02x} in it; set "
            "csv: {encoding: latin-1}, or what it is written in"
        ) from error


class _Recoded(io.RawIOBase):
    """Text as UTF-8 bytes."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.text, self.rest = text, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        rest = self.rest or self.text.read(max(1, len(buffer) // 4)).encode()
        count = min(len(buffer), len(rest))
        buffer[:count], self.rest = rest[:count], rest[count:]
        return count


def head(stream: BinaryIO, form: Csv, name: str) -> tuple[list[bytes], list[str] | None, int]:
    """The lines before the header, the names of the columns (None: there are none), and the number of the next line.

    Raises:
        InputError: the file ends before, or a line is too long.
    """
    before = [line_from(stream, name) for _ in range(form.skip)]
    if form.skip and not before[-1]:
        raise InputError(f"{name}: must have more than skip={form.skip} lines, but ends before; is it another format?")
    names = list(form.names) if form.names is not None else None
    if not form.header:
        return before, names, form.skip + 1
    header = line_from(stream, name)
    if not header:
        raise InputError(
            f"{name}: must have a header and samples, but it is empty. Remove the file, or write it again."
        )
    found = cells(header, form)
    if names is not None and len(names) != len(found):
        raise InputError(
            f"{name}, line {form.skip + 1}: expected {len(names)} columns as in names, got {len(found)}: "
            f"{_shown(header)}"
        )
    return before, names or found, form.skip + 2


def line_from(stream: BinaryIO, name: str) -> bytes:
    """The next line.

    Raises:
        InputError: it is too long for a table.
    """
    line = stream.readline(MOST_LINE)
    if len(line) == MOST_LINE:
        raise InputError(f"{name}: expected lines, got one of more than {MOST_LINE} bytes; is it a table as text?")
    if b"\r" in line.rstrip(b"\r\n"):
        raise InputError(
            f"{name}: expected lines that end with a line feed, got single carriage returns; convert it (mac2unix)"
        )
    return line


def cells(line: bytes, form: Csv) -> list[str]:
    """The cells of one line, without blanks around them."""
    text = line.decode().rstrip("\r\n")
    if form.comment:
        text = text.partition(form.comment)[0]
    if form.delimiter == "whitespace":
        return text.split()
    if form.quote is None:
        return [cell.strip() for cell in text.split(form.delimiter)]
    rows = list(csv.reader([text], delimiter=form.delimiter, quotechar=form.quote, skipinitialspace=True))
    return [cell.strip() for cell in rows[0]] if rows else []


def blocks(stream: BinaryIO, form: Csv, line: int, width: int, name: str, before: bytes = b"") -> Iterator[Rows]:
    """The rows that follow, in blocks, each row with ``width`` cells.

    Args:
        stream: the table, behind its header.
        form: how it is written.
        line: number of the next line, from 1.
        width: cells of a row.
        name: of the file, for messages.
        before: lines that were read already.

    Raises:
        InputError: a row of another width or a quote that is out of place, with its line; no text.
    """
    quote = form.quote.encode() if form.quote else None
    while text := before + stream.read(BLOCK):
        before = b""
        text += line_from(stream, name)
        lines = text.count(b"\n")
        if b"\0" in text:
            raise InputError(f"{name}, from line {line} on: expected text, got zero bytes; is it half-written?")
        if form.comment and form.comment.encode() in text:
            text = _without_comments(text, form, name, line)
        if quote and quote in text:
            while text.count(quote) % 2:
                _check_quotes(text, form, line, name, ends=False)
                more = line_from(stream, name)
                if not more or len(text) > BLOCK + 2 * MOST_LINE:
                    _check_quotes(text, form, line, name, ends=True)
                text += more
                lines += more.count(b"\n")
        starts = _starts(text, form, line, width, name)
        if len(starts):
            yield Rows(text, line, starts)
        line += lines


def _without_comments(text: bytes, form: Csv, name: str, line: int) -> bytes:
    if form.quote and form.quote.encode() in text:
        raise InputError(
            f"{name}, from line {line} on: expected comments or quotes, got both; set csv: {{quote: null}} or "
            "{comment: null}"
        )
    return re.sub(re.escape(str(form.comment).encode()) + rb"[^\r\n]*", b"", text)


def _check_quotes(text: bytes, form: Csv, line: int, name: str, *, ends: bool) -> NDArray[np.int64]:
    """Where quotes are; each opens or closes a cell, or comes twice within one."""
    data = np.frombuffer(b"\n" + text + b"\n", np.uint8)
    place = np.flatnonzero(data == ord(str(form.quote)))
    opens, closes = place[::2], place[1::2]
    before, after = opens - 1, closes + 1
    while len(blank := np.flatnonzero(data[before] == SPACE)):
        before[blank] -= 1
    while len(blank := np.flatnonzero(data[after] == SPACE)):
        after[blank] += 1
    edges = np.array([ord(form.delimiter), LF, CR, ord(str(form.quote))], np.uint8)
    wrong = [opens[~np.isin(data[before], edges)], opens[: len(closes)][~np.isin(data[after], edges)]]
    if ends and len(opens) > len(closes):
        wrong.append(opens[-1:])
    first = np.concatenate(wrong)
    if len(first):
        at = int(first.min()) - 1
        number = line + text.count(b"\n", 0, at)
        start = text.rfind(b"\n", 0, at) + 1
        raise InputError(
            f"{name}, line {number}: expected {form.quote} around complete cells, got {_shown(text[start:])}; write "
            "it twice within a cell, or set csv: {quote: null}"
        )
    return place - 1


def _starts(text: bytes, form: Csv, line: int, width: int, name: str) -> NDArray[np.int64]:
    """First byte of each row that is not blank; every one has ``width`` cells."""
    data = np.frombuffer(text, np.uint8)
    outside: NDArray[np.bool_] | None = None
    if form.quote and form.quote.encode() in text and form.delimiter != "whitespace":
        inside = np.zeros(len(data), np.bool_)
        inside[_check_quotes(text, form, line, name, ends=True)] = True
        outside = ~np.logical_xor.accumulate(inside)
    feeds = data == LF
    ends = np.flatnonzero(feeds if outside is None else feeds & outside)
    if not len(ends) or ends[-1] != len(data) - 1:
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    if form.delimiter == "whitespace":
        blank = (data == SPACE) | (data == TAB) | feeds | (data == CR)
        first = ~blank
        first[1:] &= blank[:-1]
        count = np.diff(np.searchsorted(np.flatnonzero(first), ends), prepend=0)
    else:
        cut = data == ord(form.delimiter)
        count = np.diff(np.searchsorted(np.flatnonzero(cut if outside is None else cut & outside), ends), prepend=0) + 1
    bare = np.flatnonzero((ends - starts <= 1) | (count != width))  # a line feed, perhaps after a carriage return
    empty = np.array(
        [not text[starts[k] : ends[k]].strip(b" \r\t" if form.delimiter != "\t" else b" \r") for k in bare]
    )
    drop = np.zeros(len(starts), np.bool_)
    drop[bare[empty.astype(bool)]] = True
    wrong = np.flatnonzero((count != width) & ~drop)
    if len(wrong):
        k = int(wrong[0])
        _wrong_width(text, form, line, name, width, int(count[k]), (int(starts[k]), int(ends[k])))
    if width == 1 and len(drop) and drop[: np.flatnonzero(~drop)[-1] if (~drop).any() else 0].any():
        number = line + text.count(b"\n", 0, int(starts[np.flatnonzero(drop)[0]]))
        raise InputError(f"{name}, line {number}: expected a value, got an empty line; write nan for a missing one")
    return starts[~drop]


def _wrong_width(
    text: bytes, form: Csv, line: int, name: str, width: int, count: int, where: tuple[int, int]
) -> NoReturn:
    number, row = line + text.count(b"\n", 0, where[0]), text[where[0] : where[1]]
    remedy = "is the file half-written?"
    if count == width + 1 and row.rstrip().endswith(form.delimiter.encode()):
        remedy = "does each row end with a delimiter? Name one more column (csv: {names: [...]})"
    elif count == 1:
        remedy = "set csv: {delimiter: ...}, or skip the lines before the table (csv: {skip: ...})"
    raise InputError(f"{name}, line {number}: expected {width} cells, got {count}: {_shown(row)}; {remedy}")


def _shown(row: bytes) -> str:
    return repr(row[:400].decode(errors="replace").splitlines()[0][:60]) if row.strip() else "''"


def variants(words: Sequence[str]) -> list[str]:
    """Words in the cases of letters in which they are written.

    >>> variants(["na"])
    ['NA', 'Na', 'na']
    """
    return sorted({form for word in words for form in (word, word.lower(), word.upper(), word.capitalize())})
