"""Where the id of a person or of a session is declared: in the path, in the file name or in a column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from kdlab.types import InputError

_CUT = re.compile(r"[_\-.\s]+")


@dataclass(frozen=True)
class Where:
    """Where the id of a person or of a session is found: in a folder, in the file name or in a column.

    Exactly one of ``folder``, ``part``, ``name`` and ``column`` is given; ``name`` may be given beside ``folder`` or
    ``part``, and is then searched there.

    Args:
        folder: a folder of the path below ``root``, counted from 0; -1 is the folder that holds the file.
        part: a part of the file name (without its suffix, cut at ``_``, ``-``, ``.`` and blanks), counted from 0; -1 is
            the last one.
        name: regular expression that is searched in the file name (without its suffix); the id is its group, where it
            has one, else all that matches.
        column: a column of the file (an array of an ``.npz``).

    Raises:
        InputError: none or several given, or no regular expression.

    >>> Where(part=1).find(Path("day1/P07_walk.csv"), "P07_walk")
    'walk'
    >>> Where(folder=0).find(Path("day1/P07_walk.csv"), "P07_walk"), Where(name="P[0-9]+").find(Path(), "P07_walk")
    ('day1', 'P07')
    """

    folder: int | None = None
    part: int | None = None
    name: str | None = None
    column: str | None = None

    def __post_init__(self) -> None:
        given = self._given()
        if len(given) != 1 and not (len(given) == 2 and "name" in given and "column" not in given):
            raise InputError(
                f"Where: exactly one of folder, part, name and column must be given, but got {given or 'none'}. Write "
                "one, such as {folder: 0}."
            )
        for key in ("folder", "part"):
            if key in given and (not isinstance(given[key], int) or isinstance(given[key], bool)):
                raise InputError(f"Where: {key} must be a whole number, but got {given[key]!r}. Count from 0.")
        if self.column is not None and (not isinstance(self.column, str) or not self.column):
            raise InputError(f"Where: column must be the name of a column, but got {self.column!r}. Write its name.")
        if self.name is not None:
            self._check_name(self.name)

    def _given(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}

    @staticmethod
    def _check_name(name: str) -> None:
        try:
            groups = re.compile(name).groups
        except (re.error, TypeError) as error:
            raise InputError(f"Where: name must be a regular expression, but got {name!r} ({error}).") from error
        if groups > 1:
            raise InputError(
                f"Where: name must have one group at most, but got {name!r} with {groups}. Write (?:...) for the "
                "groups that are not the id."
            )

    @classmethod
    def of(cls, value: Where | Mapping[str, Any] | str | None, argument: str) -> Where | None:
        """A declaration from what a user writes: a mapping, such as ``{"folder": 0}``, or a ``Where``.

        Raises:
            InputError: it is neither.
        """
        if value is None or isinstance(value, Where):
            return value
        known = [f.name for f in fields(cls)]
        if not isinstance(value, Mapping) or set(value) - set(known):
            lines = f"{argument}: {{folder: 0}}, or another of them"
            if isinstance(value, str) and value not in known:
                lines = (
                    f"{argument}: {{column: {_quoted(value)}}} for a column of the file, {argument}: {{folder: 0}} for "
                    "a folder"
                )
            raise InputError(
                f"RecordingDataModule: {argument} must be a mapping with one of {', '.join(known)}, but got {value!r}. "
                f"Write {lines}."
            )
        try:
            return cls(**value)
        except InputError as error:
            raise InputError(str(error).replace("Where:", f"RecordingDataModule: {argument}:", 1)) from error

    def find(self, path: Path, stem: str) -> str:
        """The id in a path below ``root`` and in the file name without its suffix.

        Raises:
            InputError: it is not there, or ``name`` cuts a number in two.
        """
        if self.folder is None and self.part is None:
            return self._matched(path, stem)
        what, parts = ("folder", path.parts[:-1]) if self.folder is not None else ("part", cut_name(stem))
        place = self.folder if self.folder is not None else self.part
        if place is None or not -len(parts) <= place < len(parts):
            raise InputError(
                f"RecordingDataModule: {what} {place} must be there for every file, but {path.as_posix()!r} has "
                f"{len(parts)} of them ({', '.join(parts) or 'none'}). Name another, or leave the file out with "
                "pattern=."
            )
        return parts[place] if self.name is None else self._matched(path, parts[place])

    def _matched(self, path: Path, text: str) -> str:
        match = re.search(str(self.name), text)
        group = 1 if match is not None and match.re.groups else 0
        if match is None or not match[group]:
            raise InputError(
                f"RecordingDataModule: name {self.name!r} must be found for every file, but is not in {text!r} of "
                f"{path.as_posix()!r}. Change it, or leave the file out with pattern=."
            )
        begin, end = match.span(group)
        around = text[max(0, begin - 1) : begin + 1], text[end - 1 : end + 1]
        if any(len(two) == 2 and two.isdigit() for two in around):
            raise InputError(
                f"RecordingDataModule: name {self.name!r} must take numbers with all their digits, but takes "
                f"{match[group]!r} out of {text!r}. Write [0-9]+ where it has a digit."
            )
        return match[group]

    def __str__(self) -> str:
        given = {key: value if isinstance(value, int) else _quoted(value) for key, value in self._given().items()}
        return "{" + ", ".join(f"{key}: {value}" for key, value in given.items()) + "}"


def _quoted(value: str) -> str:
    return value if re.fullmatch(r"[A-Za-z]\w*", value) else "'" + value.replace("'", "''") + "'"


def stem_of(file: Path) -> str:
    """The file name without its suffix; ``.gz`` is a suffix of a suffix.

    >>> stem_of(Path("P001.csv.gz")), stem_of(Path("a.b.csv"))
    ('P001', 'a.b')
    """
    return Path(file.stem).stem if file.suffix.lower() == ".gz" else file.stem


def suffix_of(file: Path) -> str:
    """The suffix in lower case, without ``.gz``.

    >>> suffix_of(Path("P001.CSV.gz"))
    '.csv'
    """
    return (Path(file.stem) if file.suffix.lower() == ".gz" else file).suffix.lower()


def cut_name(stem: str) -> tuple[str, ...]:
    """The parts of a file name.

    >>> cut_name("S1-ADL1"), cut_name("data_1600_accel watch")
    (('S1', 'ADL1'), ('data', '1600', 'accel', 'watch'))
    """
    return tuple(part for part in _CUT.split(stem) if part)
