"""Image files: found, decoded as RGB, and resized."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdlab.data.files import expanded, official_files
from kdlab.files import one_line
from kdlab.types import InputError, MissingFileError

_DEEP = re.compile(r";(?:16|32)[BLN]")  # in Pillow's name of how pixels are packed; BGR;16 has 5 bits per channel
_BITS = 258  # the tag of a TIFF with the bits of each channel, which tiles of one channel do not say


def decode(contents: bytes, name: str) -> Image.Image:
    """An image as RGB; grey-scale, palette, CMYK and alpha are converted, transparency is dropped.

    Raises:
        InputError: not an image, half-written, or with more than 8 bits per channel.
    """
    try:
        with Image.open(io.BytesIO(contents)) as image:
            deep = any(_DEEP.search(str(tile[3])) for tile in getattr(image, "tile", ()))  # empty once it is loaded
            deep |= image.format == "TIFF" and max(image.tag_v2.get(_BITS, (1,))) > 8  # type: ignore[attr-defined]
            image.load()
            if deep or image.mode == "F" or image.mode.startswith("I"):
                more = " with more bits" if deep else ""
                raise InputError(f"{name}: expected 8 bits per channel, got an image of mode {image.mode!r}{more}")
            return (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise InputError(
            f"{name}: not readable as an image ({one_line(error)}); is it half-written? Obtain it again"
        ) from error


def planes(image: Image.Image) -> NDArray[np.uint8]:
    """``(3, H, W)`` of an RGB image."""
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def fitted(image: Image.Image, size: int, resize: int | None, name: str) -> NDArray[np.uint8]:
    """``(3, size, size)`` of an RGB image, see :class:`~kdlab.data.image_store.ImageFiles`.

    >>> fitted(Image.new("RGB", (40, 20), (255, 0, 9)), 8, 10, "demo")[:, 0, 0].tolist()
    [255, 0, 9]
    """
    width, height = image.size
    if resize is None:
        if (width, height) != (size, size):
            raise InputError(
                f"{name}: expected {size} x {size} pixels, got {width} x {height}; this data set has images of one "
                "size, obtain it again (ImageFolder resizes)"
            )
        return planes(image)
    if min(width, height) != resize:
        short = min(width, height)
        width, height = int(resize * width / short), int(resize * height / short)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return planes(image.crop((left, top, left + size, top + size)))


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


class Images(NamedTuple):
    """The files of a data set.

    Attributes:
        place: folder or archive.
        files: in the order of their paths.
        others: paths of all other files, from the folder that holds the data set on.
    """

    place: Path
    files: list[Found]
    others: list[str]


def find_images(root: str | Path, pattern: str, expected: str) -> Images:
    """The files whose path ends like a pattern, in the order of their paths.

    Args:
        root: folder or archive, which may be above the official one.
        pattern: regular expression of the end of the path, from the folder that the data set names on.
        expected: what is expected and where it is obtained, for the message.

    Returns:
        ``root``, expanded, the files, and what else is beside them.

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
    above, known = copies.pop(), {file.place for file in found.values()}
    others = [path[len(above) :].lstrip("/") for path, _ in listed if path.startswith(above) and path not in known]
    return Images(place, [found[path] for path in sorted(found)], others)


def contents_of(file: Path) -> bytes:
    """The bytes of a file; a pipe, which would wait for ever, is none.

    Raises:
        InputError: when it is no regular file.
    """
    if file.exists() and not file.is_file():
        raise InputError(f"{file}: must be a file, but it is none. Obtain it again.")
    return file.read_bytes()
