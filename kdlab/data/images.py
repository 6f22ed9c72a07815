"""Images: 8-bit pixels or files that are converted batch by batch, and the data module that their data sets share."""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import struct
import zlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from kdlab.data.base import Scale, WindowDataModule
from kdlab.data.dataset import Wanted
from kdlab.data.files import expanded, official_files
from kdlab.data.splits import Split
from kdlab.data.windows import WindowSet, _rng
from kdlab.files import one_line
from kdlab.types import InputError, MissingFileError
from kdlab.views import Raw, RawImage, ScanPersistenceImage

CHANNELS = ["red", "green", "blue"]
BLOCKS = 100  # groups that training images are dealt into: few enough to be listed in every fingerprint


def scaled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixel / 255."""
    values: NDArray[np.float32] = np.divide(pixels, 255, dtype=np.float32)
    return values


class _Images:
    """What both kinds of store have: they are read by rows, as float32 ``(rows, C, H, W)`` in [0, 1]."""

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
    """Images in memory as 8-bit pixels, a byte a pixel and channel, read as pixel / 255.

    Args:
        pixels: ``(N, C, H, W)`` uint8.

    >>> images = Pixels(np.array([0, 51, 255], dtype=np.uint8).reshape(3, 1, 1, 1))
    >>> images.shape, images[1:].ravel().tolist()
    ((3, 1, 1, 1), [0.20000000298023224, 1.0])
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        if pixels.ndim != 4 or pixels.dtype != np.uint8:
            raise InputError(f"pixels: expected (N, C, H, W) uint8, got {pixels.dtype} of shape {pixels.shape}")
        self.pixels = pixels
        self.shape = cast(tuple[int, int, int, int], pixels.shape)

    def _pixels(self, rows: Any) -> NDArray[np.uint8]:
        chosen: NDArray[np.uint8] = self.pixels[rows]
        return chosen


class ImageFiles(_Images):
    """Image files that are decoded whenever they are asked for; in memory are only their names.

    Args:
        root: the folder that the names are relative to.
        names: of the files.
        size: side of the images.
        resize: the shorter side is brought to this many pixels (bilinear, with a filter as wide as the reduction), and
            the middle ``size`` x ``size`` is read; None: the files must be of that size.

    Raises:
        InputError: while reading, naming a file that cannot be decoded, or is of another size.
    """

    def __init__(self, root: str | Path, names: Sequence[str], size: int, resize: int | None = None) -> None:
        if size < 1 or (resize is not None and resize < size):
            raise InputError(f"size={size}, resize={resize}: expected at least 1 pixel, and resize of at least size")
        self.root, self.side, self.resize = str(root), size, resize
        self.names = np.array([os.fsencode(name) for name in names])  # one array: workers share it
        self.shape = (len(self.names), 3, size, size)

    def path(self, row: int) -> str:
        """The file of a row."""
        return os.path.join(self.root, os.fsdecode(self.names[row]))

    def listing(self) -> bytes:
        """What tells these files apart without decoding them: their names and sizes, and how they are resized.

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
        """The pictures in their own sizes, ``(3, H, W)`` in [0, 1], for augmentations that cut from them."""
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


def decode(contents: bytes, name: str) -> Image.Image:
    """A picture as RGB; grey-scale, palette, CMYK and alpha are converted, transparency is dropped.

    Raises:
        InputError: not a picture, half-written, or with more than 8 bits a channel.
    """
    try:
        with Image.open(io.BytesIO(contents)) as picture:
            picture.load()
            if picture.mode == "F" or picture.mode.startswith("I"):
                raise InputError(f"{name}: expected 8 bits a channel, got a picture of mode {picture.mode!r}")
            return (picture.convert("RGBA") if "transparency" in picture.info else picture).convert("RGB")
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise InputError(
            f"{name}: not readable as a picture ({one_line(error)}); is it half-written? Obtain it again"
        ) from error


def planes(picture: Image.Image) -> NDArray[np.uint8]:
    """``(3, H, W)`` of an RGB picture."""
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def fitted(picture: Image.Image, size: int, resize: int | None, name: str) -> NDArray[np.uint8]:
    """``(3, size, size)`` of an RGB picture, as :class:`ImageFiles` says.

    >>> fitted(Image.new("RGB", (40, 20), (255, 0, 9)), 8, 10, "demo")[:, 0, 0].tolist()
    [255, 0, 9]
    """
    width, height = picture.size
    if resize is None:
        if (width, height) != (size, size):
            raise InputError(
                f"{name}: expected {size} x {size} pixels, got {width} x {height}; this data set has images of one "
                "size, obtain it again (ImageFolder resizes)"
            )
        return planes(picture)
    if min(width, height) != resize:
        short = min(width, height)
        width, height = int(resize * width / short), int(resize * height / short)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return planes(picture.crop((left, top, left + size, top + size)))


class Found(NamedTuple):
    """A file of a data set.

    Attributes:
        groups: those of its pattern, empty where they took no part.
        place: below ``root``.
        contents: of a file in an archive; None: it is read from its place.
    """

    groups: tuple[str, ...]
    place: str
    contents: bytes | None


def find_images(root: str | Path, pattern: str, expected: str) -> tuple[Path, list[Found]]:
    """The files whose path ends like a pattern, in the order of their paths.

    Args:
        root: folder or archive, which may be above the official one.
        pattern: regular expression of the end of the path, from the folder that the data set names on.
        expected: what is expected and where it is obtained, for the message.

    Returns:
        ``root``, expanded, and the files.

    Raises:
        MissingFileError: ``root`` is not there, or holds no such file.
        InputError: an archive that cannot be read, or two copies of the data set.
    """
    place, compiled = expanded(root, expected), re.compile(rf"(?:^|/)({pattern})$")
    listed: list[tuple[str, bytes | None]] = []
    if place.is_dir():
        for folder, below, names in os.walk(place, followlinks=True):  # parts often lie elsewhere
            below.sort()
            relative = Path(folder).relative_to(place).as_posix()
            listed += [(name if relative == "." else f"{relative}/{name}", None) for name in names]
    else:
        prefix = len(f"{place}:")
        listed += [(name[prefix:], contents) for _, name, contents in official_files(place, ".*", expected)]
    found: dict[str, Found] = {}
    copies: set[str] = set()
    for path, contents in listed:
        match = compiled.search(path)
        if match and not match[0].rpartition("/")[2].startswith("."):  # ._name: what macOS leaves behind
            copies.add(path[: match.start()])
            found[match[1]] = Found(match.groups("")[1:], path, contents)
    if not found:
        raise MissingFileError(f"root={str(root)!r}: it holds no file of the data set; expected {expected}")
    if len(copies) > 1:
        raise InputError(f"root={str(root)!r}: it is there twice ({', '.join(sorted(copies)[:2])}); name one folder")
    return place, [found[path] for path in sorted(found)]


def contents_of(file: Path) -> bytes:
    """The bytes of a file; a pipe, which would wait for ever, is none.

    Raises:
        InputError: when it is no regular file.
    """
    if file.exists() and not file.is_file():
        raise InputError(f"{file}: must be a file, but it is none. Obtain it again.")
    return file.read_bytes()


def store(place: Path, files: Sequence[Found], size: int, in_memory: bool) -> Pixels | ImageFiles:
    """Images of one size, decoded now or whenever they are asked for.

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


def blocks(target: NDArray[np.int64], most: int = BLOCKS) -> NDArray[np.int64]:
    """Deal images into blocks that hold the same part of every class; the same whatever the seed of a split.

    Args:
        target: class of each image, ``(N,)``.
        most: the most blocks; there are fewer where a class has fewer images.

    Returns:
        The block of each image, ``(N,)``, from 0.

    Raises:
        InputError: a class of one image.

    >>> blocks(np.array([0, 0, 0, 1, 1, 1, 1])).tolist()
    [2, 0, 1, 1, 0, 0, 2]
    """
    sizes = np.bincount(target)
    count = int(min(most, sizes[sizes > 0].min()))
    if count < 2:
        raise InputError("class: expected at least two training images of every class, one of them for validation")
    rng, block = _rng(0, 5), np.empty(len(target), dtype=np.int64)
    for k in np.flatnonzero(sizes):
        rows = np.flatnonzero(target == k)
        block[rows[rng.permutation(len(rows))]] = np.arange(len(rows)) % count
    return block


class ImageDataModule(WindowDataModule):
    """Images and their classes, seen in views. Data sets derive from this and write ``load`` with :meth:`image_set`.

    Images have no subjects. Training images are dealt into up to 100 blocks, each with the same part of every class, in
    a way that does not depend on any seed; validation holds out whole blocks, chosen by ``split_seed``, unless the data
    set names its own validation images. The fingerprint lists the blocks, not the images, so that a teacher of another
    split is refused as with subjects. The test images are the official ones.

    Scaled units are pixel / 255: thresholds, ranges and blurs of :class:`~kdlab.views.ScanPersistenceImage` hold for
    values from 0 (black) to 1 (white); the noise of a corruption is in training standard deviations. Each net
    standardises its own view in its first layer, with mean and standard deviation per channel over the training images,
    so nothing is lost by ``scale="none"``. With ``scale="standard"`` the images themselves are standardised per
    channel, views included.

    Args:
        scale: ``"none"`` (pixel / 255), ``"standard"``, ``"minmax"``, or ``Scale`` constants for values of [0, 1].
        val_fraction: the least part of the training images that validates, where the data set does not say.
        batch_size: images per batch and process.
        common: as in :class:`~kdlab.data.WindowDataModule`; ``test_subjects``, ``val_subjects`` and ``split`` have no
            meaning for images.

    Shapes:
        images ``(N, 3, H, W)``, float32; kept as uint8 (a byte a sample) or as names of files

    Raises:
        InputError: also for an augmentation that does not change images, or changes their size.
    """

    def __init__(
        self,
        *,
        scale: Literal["standard", "minmax", "none"] | Scale | dict[str, Scale] = "none",
        val_fraction: float = 0.1,
        batch_size: int = 128,
        **common: Any,
    ) -> None:
        super().__init__(scale=scale, val_fraction=val_fraction, batch_size=batch_size, **common)
        self.views = {
            key: RawImage(view.channels, source=view.source) if type(view) is Raw else view
            for key, view in self.views.items()
        }

    def image_set(
        self,
        images: Pixels | ImageFiles,
        target: NDArray[np.int64],
        classes: list[str],
        test: NDArray[np.bool_],
        val: NDArray[np.bool_] | None = None,
    ) -> WindowSet:
        """Images as all data sets hand them over.

        Args:
            images: all of them.
            target: their classes, ``(N,)``.
            classes: names of the classes.
            test: which are the official test images, ``(N,)``.
            val: which are the official validation images, ``(N,)``; None: validation is held out of the others.
        """
        block = np.full(len(target), "test", dtype="<U5")
        rest = ~test
        if val is not None:
            rest &= ~val
            block[val] = "valid"
        if not rest.any() or not test.any():
            raise InputError(f"{self.name}: expected training and test images, got {rest.sum()} and {test.sum()}")
        numbers = blocks(target[rest])
        block[rest] = np.array([f"{k:02d}" for k in range(int(numbers.max()) + 1)])[numbers]
        return WindowSet(
            windows={"raw": cast("NDArray[np.float32]", images)},
            target=target,
            classes=classes,
            channels={"raw": list(CHANNELS)},
            test=test,
            val=val,
            block=block,
            units={"raw": ["pixel / 255"] * 3},
        )

    def _bind(self, data: WindowSet) -> list[Wanted]:
        wanted = super()._bind(data)
        shape = next(iter(data.windows.values())).shape[1:]
        for argument in ("augment", "corruption"):
            change = getattr(self, argument)
            if change is not None:
                changed = change(np.zeros(shape, np.float32), np.random.default_rng(0)).shape
                if changed != shape:
                    raise InputError(
                        f"{argument}: {change} makes images of shape {changed}, but those of {self.name} are read as "
                        f"{shape}; set its size to {shape[-1]}"
                    )
        scanned = [want.key for want in wanted if isinstance(want.view, ScanPersistenceImage)]
        if scanned and self.scale != "none":
            rank_zero_warn(
                f"scale={self.scale!r}: the ranges, sigma and threshold of view {scanned[0]!r} are then in other units "
                'than pixel / 255, which its defaults are for; scale="none" loses nothing, as nets standardise'
            )
        return wanted

    def _contents(self, data: WindowSet, split: Split) -> dict[str, Any]:
        labels = hashlib.blake2b(np.ascontiguousarray(data.target).tobytes(), digest_size=8).hexdigest()
        return {"images": {stage: len(rows) for stage, rows in split.rows.items()}, "labels": labels}
