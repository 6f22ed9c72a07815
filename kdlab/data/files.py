"""Reading data sets in their official layout, from a folder or from an archive of it."""

from __future__ import annotations

import io
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from kdlab.files import one_line
from kdlab.types import InputError, MissingFileError

ARCHIVE = re.compile(r"\.(zip|tar|tgz|txz|tbz2?|tar\.(gz|xz|bz2))$", re.IGNORECASE)


def official_files(
    root: str | Path, pattern: str, data_set: str, *, within: str = ""
) -> Iterator[tuple[re.Match[str], str, bytes]]:
    """The files whose name matches, anywhere under a folder or in an archive, in the order of their names.

    Args:
        root: folder, or ``.tar``, ``.tar.gz``, ``.tar.xz``, ``.zip``; ``~`` and ``$VARIABLES`` are expanded.
        pattern: regular expression for the complete file name, without its folders.
        data_set: what is expected and where it is obtained, for the message.
        within: regular expression to be found in the complete path, with ``/`` between folders.

    Yields:
        The match, the name for messages, the contents.

    Raises:
        MissingFileError: ``root`` is not there, or holds no such file; archives in it are named.
        InputError: an archive that cannot be read.
    """
    place, name = expanded(root, data_set), re.compile(pattern)
    inner: list[str] = []

    def wanted(path: str) -> bool:
        if ARCHIVE.search(path):
            inner.append(path)
        return name.fullmatch(path.rpartition("/")[2]) is not None and re.search(within, path) is not None

    found = 0
    if place.is_dir():
        files = [f for f in place.rglob("*") if wanted(f.absolute().as_posix()) and f.is_file()]
        files.sort(key=lambda f: (f.name, f))
        for file in tqdm(files, desc=f"reading {place.name}", leave=False, disable=None):  # None: only on a terminal
            match = name.fullmatch(file.name)
            if match:
                found += 1
                yield match, str(file), file.read_bytes()
    else:
        zipped = place.suffix.lower() == ".zip" or zipfile.is_zipfile(place)
        for path, contents in _from_zip(place, wanted) if zipped else _from_tar(place, wanted):
            match = name.fullmatch(path.rpartition("/")[2])
            if match:
                found += 1
                yield match, f"{place}:{path}", contents
    if not found:
        hint = ""
        if inner and place.is_dir():
            hint = f"; name the archive in it, such as root: {min(inner)}"
        elif inner:
            hint = f"; it holds the archive {min(inner)!r}: unpack that, and name it or its folder"
        raise MissingFileError(f"root={str(root)!r}: no files named like {pattern!r} in it{hint}; expected {data_set}")


def expanded(root: str | Path, data_set: str) -> Path:
    """``root`` with ``~`` and ``$VARIABLES`` expanded.

    Raises:
        MissingFileError: not there.
    """
    place = Path(os.path.expandvars(root)).expanduser()
    if not place.exists():
        unset = "; set that environment variable, or name a folder" if "$" in str(place) else ""
        raise MissingFileError(f"root={str(root)!r}: no such folder or archive{unset}; expected {data_set}")
    if not place.is_dir() and not place.is_file():
        raise InputError(f"root={str(root)!r}: must be a folder or an archive, but it is neither; expected {data_set}")
    return place


def _from_zip(place: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(place) as archive:
            for path in sorted(filter(wanted, archive.namelist()), key=lambda path: path.rpartition("/")[2]):
                yield path, archive.read(path)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise InputError(
            f"root={str(place)!r}: not readable as a zip archive ({one_line(error)}); give the unpacked "
            "folder, or obtain it again"
        ) from error


def _from_tar(place: Path, wanted: Callable[[str], bool]) -> list[tuple[str, bytes]]:
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(place, mode="r:*") as archive:
            for member in archive:  # in the order of the archive: going back would decompress it again
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is not None and wanted(member.name):
                    contents[member.name] = stream.read()
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise InputError(
            f"root={str(place)!r}: not readable as a tar archive ({one_line(error)}); give the unpacked "
            "folder, or obtain it again"
        ) from error
    return sorted(contents.items(), key=lambda item: item[0].rpartition("/")[2])


def labelled_rows(
    contents: bytes, name: str, columns: int, labels: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Parse a CSV with a header: numbers, and a label word as the last column.

    Raises:
        InputError: naming file and line of a row that is not complete, not numeric or not labelled.
    """
    header, _, body = contents.partition(b"\n")
    if _numeric(header.decode(errors="replace").split(",")[:1]):
        raise InputError(
            f"{name}, line 1: expected a header, got {header[:60]!r}; is the first line lost? Obtain it again"
        )
    if not body.strip():
        _blame(body, name, columns, labels)
    layout = np.dtype([("values", np.float64, (columns,)), ("label", "U32")])
    try:
        rows = np.loadtxt(io.BytesIO(body), delimiter=",", dtype=layout, ndmin=1, comments=None)
        values, words = rows["values"], rows["label"]
        codes = {word: k for k, word in enumerate(labels)}
        target = np.array([codes.get(word, -1) for word in words.tolist()], dtype=np.int64)
        fine = len(rows) > 0 and bool(np.isfinite(values).all()) and bool((target >= 0).all())
    except (ValueError, UnicodeDecodeError):
        fine = False
    if not fine:
        _blame(body, name, columns, labels)
    return values, target


def _blame(body: bytes, name: str, columns: int, labels: list[str]) -> NoReturn:
    for number, line in enumerate(body.decode(errors="replace").splitlines(), start=2):
        if not line.strip():
            continue
        cells = line.split(",")
        what = None
        if len(cells) != columns + 1:
            what = f"expected {columns + 1} columns, got {len(cells)}: {line[:60]!r}"
        elif not _numeric(cells[:-1]):
            what = f"expected {columns} finite numbers and a label, got {line[:60]!r}"
        elif cells[-1].strip() not in labels:
            what = f"expected a label among {', '.join(labels)}, got {cells[-1]!r}"
        if what:
            raise InputError(f"{name}, line {number}: {what}; is the file half-written? Obtain it again")
    raise InputError(f"{name}: no rows after the header; is the file half-written? Obtain it again")


def _numeric(cells: list[str]) -> bool:
    try:
        return all(np.isfinite(float(c)) for c in cells)
    except ValueError:
        return False


def stretch(values: NDArray[Any], length: int, dtype: Any = np.float32) -> NDArray[Any]:
    """Resample a series to a number of samples by linear interpolation from its first to its last.

    Args:
        values: the series.
        length: samples afterwards.
        dtype: of the result.

    Shapes:
        ``(C, T)`` -> ``(C, length)``

    >>> stretch(np.array([[0.0, 1.0, 2.0]]), 5).tolist()
    [[0.0, 0.5, 1.0, 1.5, 2.0]]
    """
    last = values.shape[-1] - 1
    at = np.linspace(0.0, last, length)
    left = np.minimum(at.astype(np.int64), max(last - 1, 0))
    right = np.minimum(left + 1, last)
    part = at - left
    result: NDArray[Any] = (values[..., left] * (1 - part) + values[..., right] * part).astype(dtype)
    return result
