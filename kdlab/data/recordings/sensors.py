"""Recordings whose sensors are in files of their own: which files belong together, by declared parts of their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.utilities import rank_zero_info

from kdlab.data.recordings.layout import few
from kdlab.data.recordings.where import Where, stem_of
from kdlab.types import InputError


@dataclass(frozen=True)
class Sensor:
    """The files of one sensor.

    Args:
        file: regular expression that is searched in the path below ``root`` without the suffix.
        columns: channel -> the column of the file that holds it; a list where both have one name.
        recorded_at: the rate of its files, hertz, see `RecordingDataModule`; None: not declared.
        time: column of its times; None: as of the module.
        time_unit: of its times; None: as of the module.

    Raises:
        InputError: no regular expression, no columns.
    """

    file: str
    columns: dict[str, str] | list[str]
    recorded_at: float | None = None
    time: str | None = None
    time_unit: str | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.file)
        except (re.error, TypeError) as error:
            raise InputError(
                f"sensors: file must be a regular expression, but got {self.file!r} ({error}). Write a word that the "
                "files of the sensor have."
            ) from error
        given = self.columns
        columns = {name: name for name in given} if isinstance(given, list | tuple) else given
        if not isinstance(columns, Mapping) or not columns or len(set(columns.values())) < len(columns):
            raise InputError(
                f"sensors: columns must map channels to different columns, but got {given!r}. Write columns: {{ax: x}}."
            )
        object.__setattr__(self, "columns", {str(k): str(v) for k, v in columns.items()})

    @property
    def column_of(self) -> dict[str, str]:
        """Channel -> column."""
        return dict(self.columns) if isinstance(self.columns, Mapping) else {}


@dataclass(frozen=True)
class Sensors:
    """Which files are one recording, and what each sensor's file holds.

    Args:
        by: the parts of path and name that files of one recording have in common, see `Where`:
            ``[{part: 0}, {part: 1}]``.
        files: name of the sensor -> its files, see `Sensor`. Labels, person, session and intervals are those of the
            file of the first sensor.
        alone: a file without its partners is an ``"error"``, or it is left out and counted (``"drop"``).

    Raises:
        InputError: fewer than two sensors, a channel in two of them, no ``by``.
    """

    by: list[Where | dict[str, Any]]
    files: dict[str, Sensor | dict[str, Any]]
    alone: Literal["error", "drop"] = "error"

    def __post_init__(self) -> None:
        if self.alone not in ("error", "drop"):
            raise InputError(f"sensors: alone must be error or drop, but got {self.alone!r}. Write one of them.")
        if not isinstance(self.files, Mapping) or len(self.files) < 2:
            raise InputError(
                f"sensors: files must name two sensors or more, but got {self.files!r}. Write files: {{acc: {{file: "
                "Accelerometer, columns: [x, y, z]}, gyro: ...}."
            )
        places = [] if isinstance(self.by, str | Mapping) else [Where.of(one, "sensors: by") for one in self.by]
        if not places or any(one is None or one.column is not None for one in places):
            raise InputError(
                f"sensors: by must be a list of parts of path or name, but got {self.by!r}. Write by: [{{part: 0}}]."
            )
        object.__setattr__(self, "by", list(places))
        object.__setattr__(self, "files", {str(name): _sensor(name, one) for name, one in self.files.items()})
        found = Counter(channel for one in self.each.values() for channel in one.column_of)
        if twice := [channel for channel, count in found.items() if count > 1]:
            raise InputError(
                f"sensors: a channel must be of one sensor, but {twice[0]!r} is of two. Give them different names, "
                "columns: {ax: x}."
            )

    @property
    def each(self) -> dict[str, Sensor]:
        """The sensors by name."""
        return {name: one for name, one in self.files.items() if isinstance(one, Sensor)}

    @classmethod
    def of(cls, value: Sensors | Mapping[str, Any] | None) -> Sensors | None:
        """What a user writes, a mapping with ``by`` and ``files``.

        Raises:
            InputError: it is none, or has other keys.
        """
        if value is None or isinstance(value, Sensors):
            return value
        known = [f.name for f in fields(cls)]
        if not isinstance(value, Mapping) or not {"by", "files"} <= set(value) <= set(known):
            raise InputError(
                f"sensors must be a mapping of {', '.join(known)}, with by and files, but got {value!r}. Write, for "
                "example, sensors: {by: [{part: 0}], files: {acc: {file: Accelerometer, columns: [x, y, z]}, ...}}."
            )
        return cls(**value)

    def check_channels(self, channels: Sequence[str]) -> None:
        """Refuse sensors whose channels are not those of the module.

        Raises:
            InputError: with the difference.
        """
        own = [channel for one in self.each.values() for channel in one.column_of]
        if different := sorted(set(own) ^ set(channels)):
            raise InputError(
                f"sensors: channels must be those of all sensors together, but {', '.join(different)} is only in "
                f"{'sensors' if different[0] in own else 'channels'}. Name it in both, or in none."
            )

    def partners(self, files: Sequence[Path], root: Path) -> tuple[list[dict[str, Path]], int]:
        """The files of each recording, by sensor, in the order of the first sensor's; and how many were left out.

        Raises:
            InputError: a file of two sensors, two files of one sensor, a file without partners.
        """
        found: dict[tuple[str, ...], dict[str, Path]] = {}
        other = []
        for file in files:
            path, stem = file.relative_to(root), stem_of(file)
            name = path.with_name(stem).as_posix()
            mine = [sensor for sensor, one in self.each.items() if re.search(one.file, name)]
            if len(mine) > 1:
                raise InputError(
                    f"{file}: a file must be of one sensor, but its path fits {' and '.join(mine)}. Change sensors: "
                    "files: ... file."
                )
            if not mine:
                other.append(file.name)
                continue
            key = tuple(one.find(path, stem) for one in self.by if isinstance(one, Where))
            known = found.setdefault(key, {})
            if mine[0] in known:
                raise InputError(
                    f"{known[mine[0]]}, {file}: one file of a sensor must belong to a recording, but both are of "
                    f"{mine[0]} and of {', '.join(key)}. Name more parts in sensors: by, or keep one of them."
                )
            known[mine[0]] = file
        if other:
            rank_zero_info(f"{root}: {len(other)} files are of no sensor: {few(other, len(other))}")
        return self._complete(found, root)

    def _complete(
        self, found: Mapping[tuple[str, ...], dict[str, Path]], root: Path
    ) -> tuple[list[dict[str, Path]], int]:
        complete, alone = [], []
        for key, files in found.items():
            missing = [name for name in self.each if name not in files]
            if missing and self.alone == "error":
                raise InputError(
                    f"{next(iter(files.values()))}: every sensor must have a file of {', '.join(key)}, but "
                    f"{missing[0]} has none. Add it, change sensors: by, or set alone: drop."
                )
            if missing:
                alone += [file.name for file in files.values()]
            else:
                complete.append({name: files[name] for name in self.each})
        if alone:
            rank_zero_info(f"{root}: {len(alone)} files without their partners are left out: {few(alone, len(alone))}")
        if not complete:
            raise InputError(f"{root}: sensors must have files of one recording, but no file has all of its partners.")
        return complete, len(alone)


def _sensor(name: Any, value: Any) -> Sensor:
    known = [f.name for f in fields(Sensor)]
    if isinstance(value, Sensor):
        return value
    if not isinstance(value, Mapping) or not {"file", "columns"} <= set(value) <= set(known):
        raise InputError(
            f"sensors: {name} must be a mapping of {', '.join(known)}, with file and columns, but got {value!r}. Write "
            f"{name}: {{file: Accelerometer, columns: [x, y, z]}}."
        )
    return Sensor(**value)
