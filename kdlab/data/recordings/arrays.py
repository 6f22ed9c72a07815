"""Recordings as numpy arrays, mapped and read some rows at a time."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.data.recordings.book import Book
from kdlab.data.recordings.layout import SIDE
from kdlab.data.recordings.reading import Reading
from kdlab.data.recordings.resample import NO_LABEL, Piece
from kdlab.data.recordings.times import SECOND
from kdlab.data.recordings.who import named_like_a_person
from kdlab.data.spelling import text
from kdlab.types import InputError

ROWS = 2**16  # rows that are in memory at a time
BLOCK = 2**23  # bytes that are unpacked at a time


def side(file: Path, key: str) -> Path:
    """What goes with an ``.npy``: labels or times."""
    return file.with_name(file.stem + SIDE[key])


def read_npz(file: Path, reading: Reading, book: Book, scratch: Path) -> Iterator[Piece]:
    """Rows of an ``.npz``, whose arrays are unpacked into a folder first, so that they can be mapped."""
    wanted = {"x", "t"} | ({"y"} if reading.label is not None else set())
    wanted |= {key for key in (reading.subject, reading.session) if key is not None}
    try:
        with zipfile.ZipFile(file) as archive:
            found = wanted & {name.removesuffix(".npy") for name in archive.namelist()}
            paths = {key: scratch / f"array{k}.npy" for k, key in enumerate(sorted(found))}
            for key, path in paths.items():
                with archive.open(f"{key}.npy") as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target, BLOCK)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise InputError(
            f"{file}: not readable as npz ({error}); is it half-written? Write it again with np.savez"
        ) from error
    yield from read_arrays(paths, file, reading, book)
    for path in paths.values():
        path.unlink(missing_ok=True)


def arrays_of(file: Path) -> list[str]:
    """The names of the arrays of an ``.npz``; none where it cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError):
        return []


def read_npy(file: Path, reading: Reading, book: Book) -> Iterator[Piece]:
    """Rows of an ``.npy`` and of what lies beside it."""
    paths = {key: side(file, key) for key in SIDE if side(file, key).exists() and (key != "y" or reading.label)}
    return read_arrays({"x": file, **paths}, file, reading, book)


def read_arrays(paths: Mapping[str, Path], file: Path, reading: Reading, book: Book) -> Iterator[Piece]:
    """Rows of ``x (T, C)``, ``y (T,)`` and perhaps ``t (T,)`` and ids ``(T,)``, some at a time.

    Raises:
        InputError: an array that is not there, cannot be read or does not fit the others.
    """
    rows = _checked(paths, file, reading)
    book.clock = reading.grid.times.clock(str(file)) if "t" in paths else None
    for start in range(0, rows, ROWS):
        part = {k: np.array(np.load(path, mmap_mode="r")[start : start + ROWS]) for k, path in paths.items()}
        time = None if book.clock is None else book.clock.seconds(part["t"], start, "sample")
        count = len(part["x"])
        label = book.encode(part["y"]) if reading.label is not None else np.full(count, NO_LABEL, np.int16)
        found: dict[str, tuple[NDArray[Any], Sequence[str]]] = {}
        for key, column in (("subject", reading.subject), ("session", reading.session)):
            if column is not None:
                words, codes = np.unique(part[column], return_inverse=True)
                spelt = book.ids(words.tolist(), codes, column, partial(_sample, start))
                found[key] = codes, spelt
        groups = book.group_codes(found.get("subject"), found.get("session"))
        yield Piece(time, part["x"].astype(np.float64), label, groups)
    book.refuse_lost()


def _sample(start: int, row: int) -> str:
    return f"sample {start + row}"


def _checked(paths: Mapping[str, Path], file: Path, reading: Reading) -> int:
    """How many rows the arrays have, which fit each other."""
    try:
        heads = {key: np.load(path, mmap_mode="r", allow_pickle=False) for key, path in paths.items()}
    except (OSError, EOFError, ValueError) as error:
        raise InputError(
            f"{file}: not readable ({error}); is it half-written, or does it hold Python objects? Write words again "
            "as values.astype(str), numbers as values.astype(float)"
        ) from error
    packed = file.suffix.lower() == ".npz"
    where = "arrays x (samples, channels) and y (samples,)" if packed else f"{file.stem}{SIDE['y']}"
    needed = ["x", *(["y"] if reading.label is not None else [])]
    absent = [key for key in (*needed, reading.subject, reading.session) if key is not None and key not in heads]
    if absent:
        raise InputError(f"{file}: no {absent[0]!r}; expected {where}")
    x, width = heads["x"], len(reading.channels)
    if x.ndim != 2 or x.shape[1] != width or x.dtype.kind not in "fiu":
        turned = "; is it (channels, samples)? Save x.T" if x.ndim == 2 and len(x) == width else ""
        raise InputError(
            f"{file}: expected x of numbers, (samples, {width}) for channels {', '.join(reading.channels)}, got "
            f"{x.dtype} of shape {x.shape}{turned}"
        )
    for key in set(heads) - {"x"}:
        kinds = "biufUS" if key != "t" else "iuf" if reading.grid.times.unit in SECOND else "iufUSM"
        if heads[key].shape != x.shape[:1] or heads[key].dtype.kind not in kinds:
            dates = "; set time_unit: iso" if key == "t" and heads[key].dtype.kind == "M" else ""
            raise InputError(
                f"{file}: expected {key} of shape {x.shape[:1]}, got {heads[key].dtype} of shape {heads[key].shape}"
                f"{dates}"
            )
    return len(x)


def persons_in_arrays(files: Sequence[Path], most: int) -> dict[str, Counter[str]]:
    """Arrays of ``.npz`` files that are named like a person, and how many of the first files have each id."""
    found: dict[str, Counter[str]] = {}
    for file in files:
        try:
            with zipfile.ZipFile(file) as archive:
                like = named_like_a_person(name.removesuffix(".npy") for name in archive.namelist())
            if not like or (most <= 0 and set(like) <= set(found)):
                continue
            most -= 1
            with np.load(file, allow_pickle=False) as arrays:
                for name in like:
                    found.setdefault(name, Counter()).update(map(text, np.unique(arrays[name]).tolist()))
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError):
            continue  # it is refused, with its reason, where it is read
    return found
