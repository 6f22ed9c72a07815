"""Labels as intervals in a table of their own: from when to when a person did what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from kdlab.data.identity import text
from kdlab.data.recording_book import Book
from kdlab.data.recording_csv import table
from kdlab.data.recording_layout import Recording, stem_of
from kdlab.data.recording_time import Times
from kdlab.data.resample import NO_LABEL, Piece
from kdlab.data.text_rows import Csv
from kdlab.types import InputError, MissingFileError


@dataclass(frozen=True)
class Intervals:
    """Where the labels are, if they are intervals in a table of their own.

    Args:
        file: one table per recording, such as ``"{name}_labels.csv"`` beside it, where ``{name}`` is the file name of
            the recording without its suffix; or one for all, below ``root``.
        recording: of one table for all, the column that names the recording: its path below ``root`` or its file name,
            with or without the suffix.
        start: column of the first moment of an interval.
        end: column of the moment at which it ends; a sample at that moment no longer belongs to it.
        label: column of the label.
        clock: ``"recording"``: moments are written like the times of the recording; ``"start"``: they are seconds since
            its first sample.
        csv: how the table is written.

    Raises:
        InputError: one table for all without ``recording``, or a column of it beside one per recording.
    """

    file: str
    recording: str | None = None
    start: str = "start"
    end: str = "end"
    label: str = "label"
    clock: Literal["recording", "start"] = "recording"
    csv: Csv | dict[str, Any] = field(default_factory=Csv)

    def __post_init__(self) -> None:
        object.__setattr__(self, "csv", Csv.of(self.csv))
        if self.clock not in ("recording", "start"):
            raise InputError(f"intervals: clock must be recording or start, but got {self.clock!r}. Write one of them.")
        if not isinstance(self.file, str) or ("{name}" in self.file) == (self.recording is not None):
            raise InputError(
                f"intervals: file must hold {{name}} where each recording has a table, or else recording= must name "
                f"the column that tells them apart, but got file={self.file!r}, recording={self.recording!r}. Write, "
                'for example, file: "{name}_labels.csv".'
            )

    @classmethod
    def of(cls, value: Intervals | Mapping[str, Any] | None) -> Intervals | None:
        """What a user writes, a mapping with at least ``file``.

        Raises:
            InputError: it is none, or has other keys.
        """
        if value is None or isinstance(value, Intervals):
            return value
        known = [f.name for f in fields(cls)]
        if not isinstance(value, Mapping) or set(value) - set(known) or "file" not in value:
            raise InputError(
                f"intervals must be a mapping of {', '.join(known)}, with file, but got {value!r}. Write, for example, "
                'intervals: {file: "{name}_labels.csv"}.'
            )
        return cls(**value)

    def beside(self, file: Path) -> Path:
        """The table of one recording."""
        return file.parent / self.file.replace("{name}", stem_of(file))

    def tables(self, files: Sequence[Path], root: Path) -> list[Path]:
        """The tables of labels, which are no recordings."""
        return [self.beside(file) for file in files] if self.recording is None else [root / self.file]

    def of_each(self, recordings: Sequence[Recording], root: Path) -> list[Spans]:
        """The intervals of each recording.

        Raises:
            MissingFileError: a table is not there.
            InputError: it cannot be read, or names a recording that there is not.
        """
        if self.recording is None:
            return [self._read(self.beside(recording.file), str(recording.file))[""] for recording in recordings]
        file = root / self.file
        found = self._read(file, f"the recordings of {root}")
        names = _names(recordings)
        unknown = [name for name in found if name not in names]
        if unknown:
            raise InputError(
                f"{file}, line {found[unknown[0]].line[0]}: column {self.recording!r} must name a recording, but got "
                f"{unknown[0]!r}. Write its path below root or its file name, such as {recordings[0].name!r}."
            )
        if doubled := [name for name in found if len(names[name]) > 1]:
            raise InputError(
                f"{file}: column {self.recording!r} must name one recording, but {doubled[0]!r} is the file name of "
                f"{len(names[doubled[0]])}. Write paths below root, such as {names[doubled[0]][0]!r}."
            )
        own = {names[name][0]: spans for name, spans in found.items()}
        without = [recording.name for recording in recordings if recording.name not in own]
        if without:
            rank_zero_info(f"{file}: no intervals of {len(without)} recordings: {', '.join(without[:6])}")
        return [own.get(recording.name, Spans(str(file), (), (), (), (), self.clock)) for recording in recordings]

    def _read(self, file: Path, of: str) -> dict[str, Spans]:
        if not file.is_file():
            raise MissingFileError(
                f"intervals: the labels of {of} must be in {str(file)!r}, which is not there. Write it, change "
                "intervals: {file: ...}, or leave the recording out with pattern=."
            )
        columns = [self.start, self.end, self.label, *([self.recording] if self.recording else [])]
        rows, lines = table(file, Csv.of(self.csv), columns)
        who = [text(cell) for cell in rows[3]] if self.recording else [""] * len(lines)
        places: dict[str, list[int]] = {} if self.recording else {"": []}
        for k, name in enumerate(who):
            places.setdefault(name, []).append(k)
        found: dict[str, Spans] = {}
        for name, at in places.items():
            start, end, label = (tuple(rows[c][k] for k in at) for c in range(3))
            found[name] = Spans(str(file), start, end, label, tuple(lines[k] for k in at), self.clock)
        return found


def _names(recordings: Sequence[Recording]) -> dict[str, list[str]]:
    """What a table may call a recording -> names of recordings; its own path comes before a file name of another."""
    names: dict[str, list[str]] = {}
    for recording in recordings:
        for short in {stem_of(recording.file), recording.file.name}:
            names.setdefault(short, []).append(recording.name)
    for recording in recordings:
        names[recording.name] = [recording.name]
        names[Path(recording.name).with_name(recording.file.name).as_posix()] = [recording.name]
    return names


@dataclass(frozen=True)
class Spans:
    """The intervals of one recording, as they are written, with their lines in the table."""

    file: str
    start: tuple[str, ...]
    end: tuple[str, ...]
    label: tuple[str, ...]
    line: tuple[int, ...]
    clock: str

    def told(self) -> list[Any]:
        """What tells these intervals from others."""
        return [self.start, self.end, self.label, self.clock]


class Labelled:
    """Gives rows the label of the interval that they are in.

    Args:
        spans: the intervals.
        book: codes of the recording's labels.
        rate: of recordings without times, hertz.

    Raises:
        InputError: an interval that ends before it begins, or two with different labels that overlap, with their lines.
    """

    def __init__(self, spans: Spans, book: Book, rate: float) -> None:
        self.spans, self.book, self.rate = spans, book, rate
        self.hit: Counter[int] = Counter()
        self._known: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int16], list[int]] | None = None

    def label(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """The rows, with their labels."""
        done = 0
        for piece in pieces:
            count = len(piece.label)
            time = np.arange(done, done + count) / self.rate if piece.time is None else piece.time
            done += count
            start, end, code, _ = self._intervals()
            place = np.searchsorted(start, time, side="right") - 1
            inside = (place >= 0) & (time < end[np.maximum(place, 0)]) if len(start) else np.zeros(count, np.bool_)
            self.hit.update(dict(zip(*(v.tolist() for v in np.unique(place[inside], return_counts=True)), strict=True)))
            label = np.full(count, NO_LABEL, np.int16)
            label[inside] = code[place[inside]]
            yield piece._replace(label=label)
        self._tell()

    def _tell(self) -> None:
        if self._known is None or not len(self._known[0]):
            return
        start, _, _, order = self._known
        empty = [k for k in range(len(start)) if k not in self.hit]
        if len(empty) == len(start):
            raise InputError(
                f"{self.spans.file}, line {self.spans.line[order[0]]}: intervals must lie within the recording "
                f"{self.book.name}, but none of {len(start)} has a sample of it (the first begins {start[0]:g} s after "
                "its first sample). Are both in one time zone and unit? For seconds since the first sample, set "
                "intervals: {clock: start}."
            )
        if empty:
            rank_zero_info(
                f"{self.spans.file}: {len(empty)} of {len(start)} intervals have no sample of {self.book.name}, the "
                f"first in line {self.spans.line[order[empty[0]]]}"
            )

    def _intervals(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int16], list[int]]:
        if self._known is None:
            start, end = self._seconds(self.spans.start), self._seconds(self.spans.end)
            if len(wrong := np.flatnonzero(~(end > start))):
                k = int(wrong[0])
                raise InputError(
                    f"{self.spans.file}, line {self.spans.line[k]}: an interval must end after it begins, but got "
                    f"{self.spans.start[k]} to {self.spans.end[k]}. Correct it."
                )
            order = np.argsort(start, kind="stable").tolist()
            code = self.book.label_codes(self.spans.label)
            self._known = self._joined(start, end, code, order)
        return self._known

    def _joined(
        self, start: NDArray[np.float64], end: NDArray[np.float64], code: NDArray[np.int16], order: list[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int16], list[int]]:
        """Intervals in the order of time; those of one label that overlap are one."""
        kept: list[int] = []
        until: list[float] = []
        for k in order:
            if kept and start[k] < until[-1] - 1e-6:
                if code[k] != code[kept[-1]]:
                    raise InputError(
                        f"{self.spans.file}, line {self.spans.line[k]}: intervals of different labels must not "
                        f"overlap, but {self.spans.label[k]!r} begins before {self.spans.label[kept[-1]]!r} (line "
                        f"{self.spans.line[kept[-1]]}) ends. Correct one of them."
                    )
                until[-1] = max(until[-1], float(end[k]))
                continue
            kept.append(k)
            until.append(float(end[k]))
        return start[kept], np.array(until), code[kept], kept

    def _seconds(self, cells: tuple[str, ...]) -> NDArray[np.float64]:
        """Seconds since the first sample of the recording."""
        if not cells:
            return np.empty(0)
        clock = self.book.clock
        if self.spans.clock == "start":
            clock = Times(unit="s").clock(self.spans.file, 0.0)
        elif clock is None:
            raise InputError(
                f"intervals: clock must be start where recordings have no times, but {self.book.name} has none. Set "
                "intervals: {clock: start}, or time= to the column of the times."
            )
        else:
            clock = clock.times.clock(self.spans.file, clock.origin)
        return clock.seconds(np.array(cells, dtype=object), self.spans.line[0])
