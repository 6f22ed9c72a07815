"""Windows in memory-mapped files: read when they are indexed, so that memory does not grow with their number."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdlab.data.stored import fits_float32


class Place(NamedTuple):
    """Where in a file the samples of an array are."""

    file: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, x: NDArray[Any]) -> Place | None:
        """The place of a memory-mapped array or of a view into one; None for any other array."""
        root: Any = x
        while isinstance(root.base, np.ndarray):
            root = root.base
        if not (isinstance(root, np.memmap) and isinstance(root.base, mmap.mmap) and root.filename):
            return None
        if root.mode == "c":  # what was changed is in no file
            return None
        offset = root.offset + x.ctypes.data - root.ctypes.data
        return cls(str(root.filename), offset, x.shape, x.strides, x.dtype.str)

    def open(self) -> NDArray[Any]:
        """The array, mapped again."""
        whole = np.memmap(self.file, np.uint8, "r")
        return np.ndarray(self.shape, self.dtype, buffer=whole.data, offset=self.offset, strides=self.strides)


class MappedWindows:
    """Arrays of windows, one after the other, that are read and cast a few windows at a time.

    They become float32, or float64 where float32 would lose them (:func:`~kdlab.data.stored.fits_float32`).

    Another process gets the names of the files, and opens them itself.

    Args:
        parts: arrays ``(N, C, T)`` of numbers, memory-mapped (in any layout: views of swapped axes are fine) or not.
        dtype: float32 or float64; None: found by reading the parts once, where they are not float32 already.

    Shapes:
        ``x[rows]`` is ``(len(rows), C, T)`` for a slice or for indices.

    >>> x = MappedWindows([np.arange(6.0).reshape(3, 1, 2), np.arange(2).reshape(1, 1, 2)])
    >>> x.shape, x[2:4].tolist(), x[[3, 0]].tolist()
    ((4, 1, 2), [[[4.0, 5.0]], [[0.0, 1.0]]], [[[0.0, 1.0]], [[0.0, 1.0]]])
    """

    ndim = 3

    def __init__(self, parts: Sequence[NDArray[Any]], dtype: Any = None) -> None:
        fits = all(map(fits_float32, parts)) if dtype is None else dtype == np.float32
        self.dtype = np.dtype(np.float32 if fits else np.float64)
        self._open([(part, Place.of(part)) for part in parts])

    @classmethod
    def joined(cls, *arrays: Any) -> MappedWindows:
        """Several of these, or arrays, as one."""
        parts = [part for x in arrays for part in ([p for p, _ in x._parts] if isinstance(x, cls) else [x])]
        return cls(parts, np.result_type(*(x.dtype for x in arrays)))

    def _open(self, parts: list[tuple[NDArray[Any], Place | None]]) -> None:
        self._parts = parts
        self._stops = np.cumsum([len(part) for part, _ in parts])
        self.shape: tuple[int, ...] = (int(self._stops[-1]), *parts[0][0].shape[1:])

    @property
    def size(self) -> int:
        """Number of samples."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        index = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else np.asarray(rows)
        if index.dtype == np.bool_:
            index = np.flatnonzero(index)
        if len(self._parts) == 1:
            return self._read(self._parts[0][0], index)
        if index.ndim == 0:
            window: NDArray[np.float32] = self[index[None]][0]
            return window
        index = np.where(index < 0, index + len(self), index)
        out = np.empty((len(index), *self.shape[1:]), self.dtype)
        which = np.searchsorted(self._stops, index, side="right")
        for k in np.unique(which):
            part = self._parts[k][0]
            out[which == k] = self._read(part, index[which == k] - (self._stops[k] - len(part)))
        return out

    def _read(self, part: NDArray[Any], index: NDArray[np.int64]) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused as such
            read: NDArray[Any] = np.ascontiguousarray(part[index], dtype=self.dtype)
        return read

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def __getstate__(self) -> tuple[np.dtype[Any], list[tuple[NDArray[Any] | None, Place | None]]]:
        return self.dtype, [(None if place else part, place) for part, place in self._parts]

    def __setstate__(self, state: tuple[np.dtype[Any], list[tuple[NDArray[Any] | None, Place | None]]]) -> None:
        self.dtype, parts = state
        self._open([(place.open() if place else np.asarray(part), place) for part, place in parts])
