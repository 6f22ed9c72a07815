"""Labels as intervals in a table of their own: activities with their start and end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.utilities import rank_zero_info

from kdlab.data.recordings.form import Csv
from kdlab.data.recordings.layout import Recording
from kdlab.data.recordings.tables import table
from kdlab.data.recordings.where import stem_of
from kdlab.data.spelling import text
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

    def contents(self) -> list[Any]:
        """What distinguishes these intervals from others."""
        return [self.start, self.end, self.label, self.clock]
