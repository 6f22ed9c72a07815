"""Storage of cached outputs: arrays in memory, or memory-mapped files that are complete or absent."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
import uuid
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.cache.plan import Part, Request
from kdlab.files import part_prefix, remove_leftovers
from kdlab.sizes import size
from kdlab.types import InputError

_HEADER = 16384
BLOCK = 2**28  # bytes of one block of features while a Gram matrix is made


class Room:
    """Space for the outputs of one teacher: in memory or in new files, which get their names when they are complete.

    Space is allocated before the teacher runs: on a full disk, a write into mapped memory would kill the process.
    """

    def __init__(self, teacher: str, folder: Path | None, kept: int, scratch: int) -> None:
        self.teacher, self.folder, self.kept_bytes, self.scratch_bytes = teacher, folder, kept, scratch
        self._new: dict[Part, tuple[Path, Any]] = {}
        self._unfinished: list[Path] = []

    def __enter__(self) -> Room:
        if self.folder is not None:
            self._try(lambda: self.folder.mkdir(parents=True, exist_ok=True) if self.folder else None, self.folder)
        remove_leftovers(self._scratch_folder)
        on_disk = self.scratch_bytes if self.scratch_bytes > BLOCK else 0
        needed = {self._scratch_folder: on_disk}
        if self.folder is not None:
            needed[self.folder] = needed.get(self.folder, 0) + self.kept_bytes
        for folder, count in needed.items():
            if count and shutil.disk_usage(folder).free < count:
                raise self._full(folder, None)
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._unfinished:
            path.unlink(missing_ok=True)

    @property
    def _scratch_folder(self) -> Path:
        return self.folder if self.folder is not None else Path(tempfile.gettempdir())

    def array(self, part: Part) -> NDArray[Any]:
        """Space for a part."""
        if self.folder is None:
            return np.empty(part.array_shape, part.dtype)
        path = self.folder / f"{part_prefix()}{uuid.uuid4().hex}"
        self._unfinished.append(path)
        array = self._allocate(path, part.array_shape, part.dtype)
        self._new[part] = path, array
        return array

    def scratch(self, part: Part) -> NDArray[Any]:
        """Space for the features that a Gram matrix is made of."""
        shape = (part.windows, part.width)
        if self.scratch_bytes <= BLOCK:
            return np.empty(shape, part.dtype)
        path = self._scratch_folder / f"{part_prefix()}{uuid.uuid4().hex}"
        self._unfinished.append(path)
        return self._allocate(path, shape, part.dtype)

    def commit(self, part: Part, path: Path, key: Mapping[str, Any]) -> NDArray[Any]:
        """Write the header and give the file its name."""
        unfinished, array = self._new[part]
        array.flush()
        header = {**_header(part), "key": dict(key), "crc32": _checksum(unfinished)}
        text = json.dumps(header).encode()
        if len(text) > _HEADER:
            raise InputError(f"cache: the description of teacher {self.teacher!r} is longer than {_HEADER} bytes.")

        def write() -> None:
            with unfinished.open("r+b") as file:
                file.write(text.ljust(_HEADER))
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)

        self._try(write, path.parent)
        return _map(path, part)

    def _allocate(self, path: Path, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        count = _HEADER + math.prod(shape) * np.dtype(dtype).itemsize

        def write() -> None:
            with path.open("wb") as file:
                if hasattr(os, "posix_fallocate"):  # Windows and macOS have none
                    os.posix_fallocate(file.fileno(), 0, count)
                else:
                    for start in range(0, count, 2**20):
                        file.write(bytes(min(2**20, count - start)))

        self._try(write, path.parent)
        return np.memmap(path, dtype=dtype, mode="r+", offset=_HEADER, shape=shape)

    def _try(self, work: Callable[[], Any], folder: Path | None) -> None:
        try:
            work()
        except OSError as error:
            raise self._full(folder or self._scratch_folder, error) from error

    def _full(self, folder: Path, error: OSError | None) -> InputError:
        try:
            free = size(shutil.disk_usage(folder).free)
        except OSError:
            free = "an unknown amount"
        why = f" ({error})" if error is not None else ""
        return InputError(
            f"cache: no space for the outputs of teacher {self.teacher!r}: {size(self.kept_bytes)} to keep and "
            f"{size(self.scratch_bytes)} while it runs, but {str(folder)!r} has {free} free{why}. Nothing was trained. "
            "Free some space, name another folder=, or train without the cache."
        )


def path_of(folder: Path, request: Request, part: Part) -> Path:
    """The file of a part, named by everything that the part depends on."""
    text = json.dumps([dict(request.key), _header(part)], sort_keys=True)
    return folder / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.answers"


def _header(part: Part) -> dict[str, Any]:
    return {"format": 1, "tap": part.tap, "form": part.form, "shape": list(part.array_shape), "dtype": part.dtype}


def _map(path: Path, part: Part) -> NDArray[Any]:
    # copy on write: torch needs writable arrays, and the file is not changed
    return np.memmap(path, dtype=part.dtype, mode="c", offset=_HEADER, shape=part.array_shape)


def open_array(path: Path, part: Part) -> NDArray[Any] | None:
    """The array in a file, or ``None`` where there is no file or it is damaged."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(_HEADER))
        complete = path.stat().st_size == _HEADER + part.bytes and header["crc32"] == _checksum(path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return _map(path, part) if complete else None


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        file.seek(_HEADER)
        while block := file.read(2**22):
            value = zlib.crc32(block, value)
    return value
