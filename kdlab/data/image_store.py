"""Images as 8-bit pixels in memory or as names of files, read by rows as float32 in [0, 1]."""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from kdlab.data.image_files import Found, contents_of, decode, fitted, planes
from kdlab.types import InputError, MissingFileError


def scaled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixel / 255."""
    values: NDArray[np.float32] = np.divide(pixels, 255, dtype=np.float32)
    return values


class _Images:
    """What both kinds of store share: they are read by rows, as float32 ``(rows, C, H, W)`` in [0, 1]."""

    dtype = np.dtype(np.float32)
    ndim = 4
    finite = True  # 8-bit pixels always are
    shape: tuple[int, int, int, int]

    @property
    def size(self) -> int:
        """Number of samples."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(np.float32 if dtype is None else dtype, copy=False)

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        return scaled(self._pixels(rows))

    @abstractmethod
    def _pixels(self, rows: Any) -> NDArray[np.uint8]:
        """The 8-bit pixels of these rows."""


class Pixels(_Images):
    """Images in memory as 8-bit pixels, one byte per pixel and channel, read as pixel / 255.

    Args:
        pixels: ``(N, C, H, W)`` uint8.

    >>> images = Pixels(np.array([0, 51, 255], dtype=np.uint8).reshape(3, 1, 1, 1))
    >>> images.shape, images[1:].ravel().tolist()
    ((3, 1, 1, 1), [0.20000000298023224, 1.0])
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        if pixels.ndim != 4 or pixels.dtype != np.uint8:
            raise InputError(f"pixels must be (N, C, H, W) uint8, but got {pixels.dtype} of shape {pixels.shape}.")
        self.pixels = pixels
        self.shape = cast(tuple[int, int, int, int], pixels.shape)

    def _pixels(self, rows: Any) -> NDArray[np.uint8]:
        chosen: NDArray[np.uint8] = self.pixels[rows]
        return chosen


class ImageFiles(_Images):
    """Image files that are decoded whenever they are read; only their names are in memory.

    Args:
        root: the folder that the names are relative to.
        names: of the files.
        size: side of the images.
        resize: the shorter side is resized to this many pixels (bilinear, with a filter as wide as the reduction), and
            the middle ``size`` x ``size`` is read; None: the files must be of that size.

    Raises:
        InputError: while reading, naming a file that cannot be decoded, or is of another size.
    """

    def __init__(self, root: str | Path, names: Sequence[str], size: int, resize: int | None = None) -> None:
        if size < 1 or (resize is not None and resize < size):
            raise InputError(
                f"size must be at least 1 pixel, and resize at least size, but got size={size}, resize={resize}."
            )
        self.root, self.side, self.resize = str(root), size, resize
        self.names = np.array([os.fsencode(name) for name in names])  # one array: workers share it
        self.shape = (len(self.names), 3, size, size)

    def path(self, row: int) -> str:
        """The file of a row."""
        return os.path.join(self.root, os.fsdecode(self.names[row]))

    def listing(self) -> bytes:
        """What distinguishes these files, without decoding them: their names and sizes, and how they are resized.

        Raises:
            MissingFileError: a file that is gone.
        """
        lines = [repr((self.shape, self.resize)).encode()]
        for row, name in enumerate(self.names.tolist()):
            try:
                size = os.stat(self.path(row)).st_size
            except OSError as error:
                raise _gone(self.path(row), error) from error
            lines.append(b"%s\t%d" % (name, size))
        return b"\n".join(lines)

    def whole(self, rows: Any) -> list[NDArray[np.float32]]:
        """The images in their own sizes, ``(3, H, W)`` in [0, 1], for augmentations that cut from them."""
        return [scaled(planes(self._open(int(row)))) for row in rows]

    def _open(self, row: int) -> Image.Image:
        file = self.path(row)
        try:
            contents = contents_of(Path(file))
        except OSError as error:
            raise _gone(file, error) from error
        return decode(contents, file)

    def _pixels(self, rows: Any) -> NDArray[np.uint8]:
        chosen = np.arange(len(self))[rows]
        out = np.empty((chosen.size, *self.shape[1:]), np.uint8)
        for place, row in enumerate(chosen.ravel().tolist()):
            out[place] = fitted(self._open(row), self.side, self.resize, self.path(row))
        return out.reshape(*chosen.shape, *self.shape[1:])


def _gone(file: str, error: OSError) -> MissingFileError:
    return MissingFileError(f"{file}: not readable any more ({error.strerror}); obtain it again")


def store(place: Path, files: Sequence[Found], size: int, in_memory: bool) -> Pixels | ImageFiles:
    """Images of one size, decoded now or whenever they are read.

    Raises:
        InputError: a file that cannot be decoded or is of another size; an archive that should stay on disk.
    """
    if not in_memory:
        if not place.is_dir():
            raise InputError(f"in_memory=False: {str(place)!r} is an archive; unpack it and name the folder")
        return ImageFiles(place, [file.place for file in files], size)
    pixels = np.empty((len(files), 3, size, size), np.uint8)
    for i, file in enumerate(tqdm(files, desc=f"reading {place.name}", leave=False, disable=None)):
        name = str(place / file.place) if file.contents is None else f"{place}:{file.place}"
        contents = contents_of(place / file.place) if file.contents is None else file.contents
        pixels[i] = fitted(decode(contents, name), size, None, name)
    return Pixels(pixels)
