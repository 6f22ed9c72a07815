"""What does not go together with sensors in files of their own, and whether partners are of one person."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from kdlab.data.recordings.raw import check_raw, is_raw
from kdlab.data.recordings.reading import Reading
from kdlab.data.recordings.sensors import Sensors
from kdlab.data.recordings.together import readings
from kdlab.data.recordings.where import Where, stem_of
from kdlab.types import InputError


def check_sensors(sensors: Sensors, reading: Reading) -> None:
    """Refuse settings that sensors in files of their own do not allow.

    Raises:
        InputError: with the setting.
    """
    sensors.check_channels(reading.channels)
    refused = {
        "resample: polyphase": reading.grid.resample == "polyphase",
        "backwards: split": reading.grid.times.backwards == "split",
        "subject: {column: ...}": reading.subject is not None,
        "session: {column: ...}": reading.session is not None,
    }
    if found := [setting for setting, given in refused.items() if given]:
        raise InputError(
            f"sensors: files are joined by their times and names, which must go without {found[0]}, but it is given. "
            "Leave it out, or declare it another way."
        )
    readings(sensors, reading)  # refuses rates and units that there are not


def check_device_files(
    files: Sequence[Path],
    joint: Sequence[Mapping[str, Path]] | None,
    sensors: Sensors | None,
    reading: Reading,
    units: Sequence[str] | None,
) -> None:
    """Refuse channels, units and columns that files of devices do not have.

    Args:
        files: the recordings, where each is one file.
        joint: the files of each recording by sensor, where they are more.
        sensors: the declaration of these.
        reading: what is read.
        units: of each channel, or None.
    """
    if joint is None or sensors is None:
        check_raw([file for file in files if is_raw(file)], reading, units)
        return
    for name, own in readings(sensors, reading).items():
        places = [reading.channels.index(channel) for channel in sensors.each[name].column_of]
        declared = None if units is None else [units[k] for k in places]
        check_raw([one[name] for one in joint if is_raw(one[name])], own, declared)


def check_partners(
    joint: Sequence[Mapping[str, Path]],
    root: Path,
    pattern: re.Pattern[str] | None,
    **declared: Where | None,
) -> None:
    """Refuse files of one recording whose names are of two people, sessions or labels.

    Raises:
        InputError: naming both files.
    """
    for files in joint:
        first, *others = files.values()
        for other in others:
            for key, where in declared.items():
                mine, its = (_word(file, root, pattern, key, where) for file in (first, other))
                if mine != its:
                    raise InputError(
                        f"{first}, {other}: files of one recording must have one {key}, but have {mine!r} and {its!r}. "
                        f"Add the part to sensors: by, or declare {key}= another way."
                    )


def _word(file: Path, root: Path, pattern: re.Pattern[str] | None, key: str, where: Where | None) -> str | None:
    if where is not None:
        return None if where.column is not None else where.find(file.relative_to(root), stem_of(file))
    match = None if pattern is None else pattern.fullmatch(stem_of(file))
    return None if match is None else match.groupdict().get(key)
