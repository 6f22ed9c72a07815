"""An npz file of windows, labels and ids, read without unpickling anything."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.types import InputError, MissingFileError


def arrays_in(archive: np.lib.npyio.NpzFile, where: str) -> dict[str, NDArray[Any]]:
    """All arrays of an open npz file.

    Args:
        archive: the file, opened without pickles.
        where: begins the message.

    Raises:
        InputError: some hold Python objects, with the line that writes them as words or as numbers.
    """
    stored, objects = dict[str, NDArray[Any]](), list[str]()
    for name in archive.files:
        try:
            stored[name] = archive[name]
        except ValueError as error:
            if "Object arrays" not in str(error):
                raise
            objects.append(name)
    if objects:
        raise InputError(
            f"{where}: arrays must be numbers or words, but got Python objects in {', '.join(objects)}, which are not "
            "read, because that can run any code. Write words as values.astype(str), and arrays of one length as "
            "np.stack(list(values)); recordings of different lengths are files of a folder."
        )
    return stored


def read_npz(path: str | Path, keys: dict[str, str] | None = None) -> dict[str, NDArray[Any]]:
    """Read the arrays of an npz file once, without unpickling anything.

    Args:
        path: the file.
        keys: our name -> the name in the file.

    Returns:
        Arrays under our names; the ``_train`` of ``x_train``, ``y_train`` and ``subject_train`` is taken off.

    Raises:
        MissingFileError: not there.
        InputError: not an npz, half-written, or holding objects.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingFileError(f"path={str(file)!r}: no such file; expected an npz with x and y (np.savez)")
    try:
        with file.open("rb") as stream:
            begin = stream.read(6)
        if not begin.startswith((b"PK", b"\x93NUMPY")):  # np.load takes it for a pickle
            raise InputError(
                f"path={str(file)!r}: not an npz file (a zip archive of arrays). Write one with np.savez; recordings "
                "in CSV files are read by RecordingDataModule"
            )
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"path={str(file)!r}: expected an npz file, got a single array; use np.savez")
        with archive:
            stored = arrays_in(archive, f"path={str(file)!r}")
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"path={str(file)!r}: not readable as npz ({error}); is it half-written, or does it hold Python objects? "
            "Write it again with np.savez"
        ) from error
    found: dict[str, NDArray[Any]] = {}
    parts = [f"{name}{part}" for part in ("_test", "_unlabelled") for name in ("x", "y", "subject")]
    ours = ("x", "y", "subject", "recording", *(p for p in parts if p != "y_unlabelled"), "classes", "channels")
    if unknown := [name for name in keys or {} if name not in ours]:
        raise InputError(
            f"keys: unknown name {', '.join(map(repr, unknown))}; expected some of {', '.join(ours)} (our name -> the "
            "array's name in the file)"
        )
    for name in ours:
        wanted = (keys or {}).get(name)
        candidates: Sequence[str] = (wanted,) if wanted else (name, f"{name}_train")
        for candidate in candidates:
            if candidate in stored:
                found[name] = stored[candidate]
                break
        else:
            if wanted:
                raise InputError(f"keys: no array {wanted!r} in {file.name}; it has {', '.join(sorted(stored))}")
    return found
