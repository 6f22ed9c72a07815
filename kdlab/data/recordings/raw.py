"""Raw files of wrist devices, decoded by actfast: GENEActiv ``.bin``, Axivity ``.cwa``, ActiGraph ``.gt3x``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from kdlab.data.recordings.arrays import ROWS
from kdlab.data.recordings.book import Book
from kdlab.data.recordings.raw_checks import Checked, check_bin, check_cwa, check_gt3x
from kdlab.data.recordings.reading import Reading
from kdlab.data.recordings.resample import NO_LABEL, Piece
from kdlab.data.recordings.times import SECOND
from kdlab.data.recordings.where import suffix_of
from kdlab.types import InputError

INSTALL = 'Install it: pip install "kdlab[devices]" (or pip install actfast)'
MAGIC = {".bin": b"Device Identity", ".cwa": b"MD", ".gt3x": b"PK"}
#: suffix -> channel -> unit; ``raw`` is the number of the converter, of which no unit is documented
UNITS: dict[str, dict[str, str]] = {
    ".bin": {**dict.fromkeys("xyz", "g"), "light": "lux", "button": "0/1", "temperature": "degC", "battery": "V"},
    ".cwa": {
        **dict.fromkeys("xyz", "g"),
        **dict.fromkeys(("gx", "gy", "gz"), "deg/s"),
        "light": "raw",
        "temperature": "degC",
    },
    ".gt3x": {**dict.fromkeys("xyz", "g"), "light": "raw", "battery": "mV", "capsense": "0/1"},
}
TIMES = 3  # memory while a file is decoded, in parts of what is decoded: at most
_PLACES = {
    **{axis: ("acceleration", k) for k, axis in enumerate("xyz")},
    **{"g" + axis: ("gyroscope", k) for k, axis in enumerate("xyz")},
    "light": ("light", None),
    "temperature": ("temperature", None),
    "battery": ("battery_voltage", None),
    "button": ("button_state", None),
    "capsense": ("capsense", None),
}
_SAME = {"dps": "deg/s", "°/s": "deg/s", "c": "degc", "°c": "degc"}


def is_raw(file: Path) -> bool:
    """Whether a file is one of a device by its suffix."""
    return suffix_of(file) in UNITS


def check_raw(files: Sequence[Path], reading: Reading, units: Sequence[str] | None) -> None:
    """Refuse what cannot be in files of devices: columns of labels and people, other channels, other units.

    Raises:
        InputError: with the remedy.
    """
    for column, key in ((reading.label, "label"), (reading.subject, "subject"), (reading.session, "session")):
        if column is not None and files:
            remedy = "Declare intervals=, or label: {folder: 0}" if key == "label" else f"Declare {key}: {{part: 0}}"
            raise InputError(
                f"{files[0]}: {key} must not be a column, because files of devices have none, but got {column!r}. "
                f"{remedy}."
            )
    for file in files:
        known = UNITS[suffix_of(file)]
        for k, channel in enumerate(reading.channels):
            if channel not in known:
                why = " (its voltage in actfast is not that of the documented format)" if channel == "battery" else ""
                raise InputError(
                    f"{file}: channels must be some of {', '.join(known)}, but got {channel!r}{why}. Name others."
                )
            if units is not None and _plain(units[k]) != _plain(known[channel]):
                raise InputError(
                    f"{file}: channel {channel} is in {known[channel]}, but units declares {units[k]!r}. Write "
                    f"{known[channel]}, or convert the file."
                )


def _plain(unit: str) -> str:
    unit = unit.strip().casefold()
    return _SAME.get(unit, unit)


def read_raw(file: Path, reading: Reading, book: Book, scratch: Path) -> Iterator[Piece]:
    """Rows of a file of a device; slower sensors have a value in the first row at or after its time.

    The file is decoded at once. Its times are those of the device's clock.

    Args:
        file: the file.
        reading: what is read.
        book: is told the clock, what was found, and how many blocks are damaged.
        scratch: a folder for copies.

    Raises:
        InputError: actfast is not there; the file is none of its suffix, has damaged blocks, or takes too much memory.
    """
    actfast = _actfast()
    suffix = _checked_suffix(file)
    most = reading.max_memory * 1e9 / TIMES
    if suffix == ".gt3x":
        checked = check_gt3x(file, scratch, reading.lenient, most)
    else:
        checked = {".bin": check_bin, ".cwa": check_cwa}[suffix](file, scratch, reading.lenient)
    _tell(file, reading, checked, book, most)
    found = _decoded(actfast, file, checked, reading, book)
    book.notes.append(_about(found, reading.channels, UNITS[suffix]))
    tables = _tables(found["timeseries"], reading.channels, file)
    del found
    yield from _rows(tables, reading, book, file)
    if checked.path != file:
        checked.path.unlink(missing_ok=True)


def _actfast() -> Any:
    try:
        import actfast
    except ImportError as error:
        raise InputError(
            f"files of devices (.bin, .cwa, .gt3x): need actfast, which is not there. {INSTALL}."
        ) from error
    return actfast


def _checked_suffix(file: Path) -> str:
    if file.suffix.lower() == ".gz":
        raise InputError(f"{file}: a file of a device must not be packed as .gz. Unpack it.")
    suffix = file.suffix.lower()
    with file.open("rb") as stream:
        head = stream.read(16)
    if not head.startswith(MAGIC[suffix]):
        other = [one for one, magic in MAGIC.items() if head.startswith(magic)]
        remedy = f"it is a {other[0]}; rename it" if other else "give a table or another format a suffix of its own"
        raise InputError(
            f"{file}: a {suffix} must begin with {MAGIC[suffix].decode()!r}, but begins with {head!r}. "
            f"{remedy[0].upper()}{remedy[1:]}."
        )
    return suffix


def _tell(file: Path, reading: Reading, checked: Checked, book: Book, most: float) -> None:
    if checked.damaged and not reading.lenient:
        more = f", and {len(checked.damaged) - 1} more" if len(checked.damaged) > 1 else ""
        raise InputError(
            f"{file}: every block must be intact, but {checked.damaged[0]}{more}. Obtain it again, or set lenient: "
            "true to skip and count them."
        )
    book.damaged = len(checked.damaged)
    if checked.damaged:
        book.notes.append(f"{len(checked.damaged)} damaged blocks skipped, the first: {checked.damaged[0]}")
    if checked.arrays > most:
        raise InputError(
            f"{file}: decoding must take at most max_memory={reading.max_memory:g} GB, but can take "
            f"{TIMES * checked.arrays / 1e9:.3g} GB ({checked.samples} samples). Set max_memory: "
            f"{TIMES * checked.arrays / 1e9 + 0.05:.1f}, or cut the recording."
        )
    size = checked.arrays / 1e6
    rank_zero_info(f"{file}: {checked.samples} samples, decoding takes at most {TIMES * size:.0f} MB of memory")


def _decoded(actfast: Any, file: Path, checked: Checked, reading: Reading, book: Book) -> Any:
    try:
        found = actfast.read(str(checked.path), lenient=reading.lenient)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        what = re.sub(r"\s+", " ", str(error))[:200]
        raise InputError(f"{file}: must be readable by actfast, but is not ({what}). Obtain it again.") from error
    skipped, ends = len(found["warnings"]), sum("ends" in one for one in checked.damaged)
    if reading.lenient and checked.path == file and skipped != book.damaged - ends:
        if skipped < book.damaged - ends:
            raise InputError(
                f"{file}: {book.damaged - ends} damaged blocks were found, but actfast skipped {skipped}. "
                "Obtain it again."
            )
        book.damaged = skipped + ends  # blocks with a right checksum that it could not decode
        book.notes.append(f"{book.damaged} damaged blocks skipped; actfast: {'; '.join(found['warnings'])[:200]}")
    return found


def _about(found: Any, channels: Sequence[str], units: dict[str, str]) -> str:
    known = {k: v for group in found["metadata"].values() for k, v in group.items()}
    rate = next((known[k] for k in ("Measurement Frequency", "sample_rate_hz", "Sample Rate") if k in known), "unknown")
    zone = next((known[k] for k in ("Time Zone", "TimeZone") if k in known), "not given")
    listed = ", ".join(f"{channel} in {units[channel]}" for channel in channels)
    return (
        f"{found['format']}, {rate.removesuffix(' Hz')} Hz by its header; times are those of the device's clock (zone "
        f"in the header: {zone}); {listed}"
    )


Table = tuple[NDArray[np.int64], dict[str, NDArray[Any]]]


def _tables(series: Any, channels: Sequence[str], file: Path) -> list[Table]:
    """The tables that hold the channels, the one with most samples first."""
    found: list[Table] = []
    for one in series.values():
        names = [c for c in channels if _PLACES[c][0] in one and len(one["datetime"])]
        values = {c: one[_PLACES[c][0]] for c in names}
        if names:
            columns = {c: v if _PLACES[c][1] is None else v[:, _PLACES[c][1]] for c, v in values.items()}
            found.append((one["datetime"], columns))
    there = {c for _, columns in found for c in columns}
    if absent := [c for c in channels if c not in there]:
        raise InputError(
            f"{file}: channels must be in the file, but {', '.join(absent)} has no sample in it (it has "
            f"{', '.join(sorted(c for c, (key, _) in _PLACES.items() if any(key in t for t in series.values())))}). "
            "Leave it out."
        )
    return sorted(found, key=lambda table: -len(table[0]))


def _rows(tables: Sequence[Table], reading: Reading, book: Book, file: Path) -> Iterator[Piece]:
    stamps = tables[0][0]
    times = reading.grid.times
    book.clock = replace(times, unit="iso" if times.unit in SECOND else times.unit).clock(str(file))
    for start in range(0, len(stamps), ROWS):
        stop = min(start + ROWS, len(stamps))
        signal = np.full((stop - start, len(reading.channels)), np.nan)
        for time, columns in tables:
            own = np.searchsorted(stamps[start:stop], time) if time is not stamps else None
            before = time > (stamps[start - 1] if start else np.iinfo(np.int64).min)
            for channel, values in columns.items():
                k = reading.channels.index(channel)
                if own is None:
                    signal[:, k] = values[start:stop]
                else:
                    here = np.flatnonzero((own < stop - start) & before)
                    signal[own[here], k] = values[here]
        seconds = book.clock.seconds(stamps[start:stop].astype("datetime64[ns]"), start, "sample")
        yield Piece(seconds, signal, np.full(stop - start, NO_LABEL, np.int16))
