"""Augmentations of images: crop, flip, resized crop and their compositions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kdlab.augment.base import Augmentation, Window, check_range
from kdlab.types import InputError


def _crop(image: Window, padding: int, fill: float, rng: np.random.Generator) -> Window:
    height, width = image.shape[1:]
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)), constant_values=fill)
    top, left = (int(rng.integers(2 * padding + 1)) for _ in range(2))
    return np.ascontiguousarray(padded[:, top : top + height, left : left + width])


def _flip(image: Window, probability: float, rng: np.random.Generator) -> Window:
    return np.ascontiguousarray(image[:, :, ::-1]) if rng.random() < probability else image


def _resized_crop(
    image: Window, size: int, area: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> Window:
    from PIL import Image  # read only where something is resized

    height, width = image.shape[1:]
    for _ in range(10):
        pixels = height * width * rng.uniform(*area)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            break
    else:  # a very long image: the largest middle part within the ratios
        w, h = min(width, max(1, round(height * ratio[1]))), min(height, max(1, round(width / ratio[0])))
        top, left = (height - h) // 2, (width - w) // 2
    part = np.ascontiguousarray(image[:, top : top + h, left : left + w], dtype=np.float32)
    planes = [Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR) for plane in part]
    return np.stack([np.asarray(plane) for plane in planes]).astype(image.dtype)


def _check_crop(padding: object, fill: object) -> None:
    if isinstance(padding, bool) or not isinstance(padding, int | np.integer) or padding < 0:
        raise InputError(f"padding must be a whole number of pixels of at least 0, but got {padding!r}.")
    if isinstance(fill, bool) or not isinstance(fill, int | float) or not math.isfinite(fill):
        raise InputError(f"fill must be a finite number, but got {fill!r}.")


def _check_resized(size: object, area: tuple[float, float], ratio: tuple[float, float]) -> None:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise InputError(f"size must be a whole number of pixels of at least 1, but got {size!r}.")
    for argument, pair, most in (("area", area, 1.0), ("ratio", ratio, math.inf)):
        if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= most or not math.isfinite(pair[1]):
            raise InputError(f"{argument} must be two numbers above 0, the smaller one first, but got {pair!r}.")


@dataclass(frozen=True)
class Crop(Augmentation):
    r"""Pad an image on all sides and cut a part of its former size out of it, at random.

    .. math:: i, j \sim U\{0..2p\},\quad x'_{c,h,w} = \mathrm{pad}_p(x)_{c,\,h+i,\,w+j}

    Args:
        padding: p, pixels on every side (4 for CIFAR; 2 pads the 64 pixels of Tiny-ImageNet to 68).
        fill: what the padding holds, in scaled units; 0 is black with ``scale="none"``.

    Shapes:
        ``(C, H, W)`` -> ``(C, H, W)``

    Example:
        >>> Crop(1)(np.arange(4.0).reshape(1, 2, 2), np.random.default_rng(0))  # i = 2, j = 1
        array([[[2., 3.],
                [0., 0.]]])
    """

    sample_ndims: ClassVar[tuple[int, ...]] = (3,)

    padding: int = 4
    fill: float = 0.0

    def __post_init__(self) -> None:
        _check_crop(self.padding, self.fill)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Pad and cut."""
        return _crop(window, self.padding, self.fill, rng)


@dataclass(frozen=True)
class Flip(Augmentation):
    """Mirror an image, left to right, or leave it as it is.

    Args:
        probability: of mirroring, 0 to 1.

    Shapes:
        ``(C, H, W)`` -> ``(C, H, W)``

    Example:
        >>> Flip(1.0)(np.arange(4.0).reshape(1, 2, 2), np.random.default_rng(0))
        array([[[1., 0.],
                [3., 2.]]])
    """

    sample_ndims: ClassVar[tuple[int, ...]] = (3,)

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_range("probability", self.probability, 1)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Mirror."""
        return _flip(window, self.probability, rng)


@dataclass(frozen=True)
class CropFlip(Augmentation):
    """:class:`Crop`, then :class:`Flip`.

    Args:
        padding: pixels on every side.
        fill: what the padding holds, in scaled units.
        probability: of mirroring, 0 to 1.
    """

    sample_ndims: ClassVar[tuple[int, ...]] = (3,)

    padding: int = 4
    fill: float = 0.0
    probability: float = 0.5

    def __post_init__(self) -> None:
        _check_crop(self.padding, self.fill)
        check_range("probability", self.probability, 1)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Crop, then mirror."""
        return _flip(_crop(window, self.padding, self.fill, rng), self.probability, rng)


@dataclass(frozen=True)
class RandomResizedCrop(Augmentation):
    r"""Cut a part of random area and aspect ratio out of an image and resize it to a square.

    .. math:: a \sim U(a_0, a_1),\quad \log r \sim U(\log r_0, \log r_1),\quad
        w = \sqrt{a H W r},\quad h = \sqrt{a H W / r}

    at a random place; where ten draws do not fit into the image, the largest part in its middle within the ratios. The
    size is changed by bilinear interpolation with a filter as wide as the reduction, as Pillow does it.

    Args:
        size: side of the output in pixels.
        area: least and greatest part of the image's area, in (0, 1].
        ratio: least and greatest width over height.

    Shapes:
        ``(C, H, W)`` -> ``(C, size, size)``

    References:
        Szegedy et al., Going deeper with convolutions, CVPR 2015, arXiv:1409.4842; the defaults are those of
        torchvision's transform of this name.

    Differences from the reference code:
        torchvision resizes 8-bit pixels and rounds; this one keeps float32.

    Example:
        >>> RandomResizedCrop(2)(np.ones((3, 9, 12)), np.random.default_rng(0)).shape
        (3, 2, 2)
    """

    paper: ClassVar[tuple[str, ...]] = ("szegedy2015going",)
    sample_ndims: ClassVar[tuple[int, ...]] = (3,)
    whole: ClassVar[bool] = True

    size: int = 224
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        _check_resized(self.size, self.area, self.ratio)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Cut and resize."""
        return _resized_crop(window, self.size, self.area, self.ratio, rng)


@dataclass(frozen=True)
class ResizedCropFlip(Augmentation):
    """:class:`RandomResizedCrop`, then :class:`Flip`.

    Args:
        size: side of the output in pixels.
        area: least and greatest part of the image's area, in (0, 1].
        ratio: least and greatest width over height.
        probability: of mirroring, 0 to 1.
    """

    paper: ClassVar[tuple[str, ...]] = ("szegedy2015going",)
    sample_ndims: ClassVar[tuple[int, ...]] = (3,)
    whole: ClassVar[bool] = True

    size: int = 224
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    probability: float = 0.5

    def __post_init__(self) -> None:
        _check_resized(self.size, self.area, self.ratio)
        check_range("probability", self.probability, 1)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Cut and resize, then mirror."""
        return _flip(_resized_crop(window, self.size, self.area, self.ratio, rng), self.probability, rng)
