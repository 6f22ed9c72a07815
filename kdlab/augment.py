"""Augmentations of windows (removal, noise, shift, mixtures) and images (crop, flip), and corruptions for tests.

They act on scaled windows, where 0 is the training mean and 1 the training standard deviation of a channel. Their names
and compositions are those of the study of augmentation in distillation for wearables (Jeon et al., "Role of Data
Augmentation Strategies in Knowledge Distillation for Wearable Sensor Data", IEEE Internet of Things Journal 9(14),
2022, doi 10.1109/JIOT.2021.3139038). Its code is not public: the ranges here are unverified, and are arguments.

Images are scaled too: with ``scale="none"``, the default of the image data modules, 0 is black and 1 is white.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from kdlab.types import InputError, plain_array

Window = npt.NDArray[Any]
_AXES = {2: "(C, T)", 3: "(C, H, W)"}


def _check_range(argument: str, value: object, high: float) -> None:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= high:  # type: ignore[arg-type, operator]
        top = "" if math.isinf(high) else f" and at most {high:g}"
        raise InputError(f"{argument}: expected a number of at least 0{top}, got {value!r}")


@dataclass(frozen=True)
class Augmentation(ABC):
    """A random change of one window or image, the same draw for all channels.

    Called with a window ``(C, T)`` or an image ``(C, H, W)`` and a generator; answers a new one of the same shape (a
    resized crop: of its own size) and dtype and never changes the one that came in. The same generator state gives the
    same answer. A subclass is a frozen dataclass whose every field has a default, and implements :meth:`apply`.

    Attributes:
        sample_ndims: axes of what it changes: 2 for windows, 3 for images.
        whole: it reads images of any size; a data set that keeps files shows it the whole picture.
        paper: keys in :data:`kdlab.citations.BIBTEX`.

    Raises:
        InputError: for a window that is not a ``(C, T)`` array of floats (an image: ``(C, H, W)``), or an argument out
            of its range.
    """

    sample_ndims: ClassVar[tuple[int, ...]] = (2,)
    whole: ClassVar[bool] = False
    paper: ClassVar[tuple[str, ...]] = ()

    def __call__(self, window: Window, rng: np.random.Generator) -> Window:
        """A changed copy of ``window``."""
        window = plain_array(window, "window")
        if window.ndim not in self.sample_ndims or 0 in window.shape:
            what, axes = ("image" if 2 not in self.sample_ndims else "window"), [_AXES[n] for n in self.sample_ndims]
            raise InputError(
                f"{what}: expected {' or '.join(axes)}, at least one channel and one sample, got shape {window.shape}"
            )
        if window.dtype.kind != "f":
            raise InputError(f"window: expected an array of floats, got {window.dtype}; convert it first")
        return self.apply(window.copy(), rng)

    @abstractmethod
    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Change ``window`` (already a copy) and return it."""


def _remove(window: Window, max_fraction: float, rng: np.random.Generator) -> Window:
    length = window.shape[1]
    most = math.floor(max_fraction * length)
    if most >= 1:
        start, count = int(rng.integers(length)), int(rng.integers(1, most + 1))
        window[:, start : start + count] = 0
    return window


def _add_noise(window: Window, std: float, rng: np.random.Generator) -> Window:
    window += (std * rng.standard_normal(window.shape)).astype(window.dtype)
    return window


def _shift(window: Window, max_fraction: float, rng: np.random.Generator) -> Window:
    most = math.floor(max_fraction * window.shape[1])
    return np.roll(window, int(rng.integers(-most, most + 1)), axis=1)


@dataclass(frozen=True)
class Removal(Augmentation):
    r"""Zero a stretch of the window, in all channels.

    .. math:: a \sim U\{0..T-1\},\quad n \sim U\{1..\lfloor f T \rfloor\},\quad x_{a:\min(a+n,\,T)} = 0

    Args:
        max_fraction: f, the longest stretch as a fraction of the window, 0 to 1 (unverified).

    Example:
        >>> Removal(0.5)(np.ones((1, 8)), np.random.default_rng(0))
        array([[1., 1., 1., 1., 1., 1., 0., 0.]])
    """

    paper: ClassVar[tuple[str, ...]] = ("jeon2022role",)

    max_fraction: float = 0.5

    def __post_init__(self) -> None:
        _check_range("max_fraction", self.max_fraction, 1)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Zero the stretch."""
        return _remove(window, self.max_fraction, rng)


@dataclass(frozen=True)
class Noise(Augmentation):
    r"""Add white noise of a random strength, one strength for all channels.

    .. math:: s \sim U(0, s_{\max}),\quad x + s\,\varepsilon,\quad \varepsilon_{ct} \sim N(0, 1)

    Args:
        max_std: the largest standard deviation, in scaled units (unverified).

    Example:
        >>> Noise(0.2)(np.zeros((1, 3)), np.random.default_rng(0)).round(3)
        array([[-0.017,  0.082,  0.013]])
    """

    paper: ClassVar[tuple[str, ...]] = ("jeon2022role",)

    max_std: float = 0.2

    def __post_init__(self) -> None:
        _check_range("max_std", self.max_std, math.inf)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Add the noise."""
        return _add_noise(window, float(rng.uniform(0, self.max_std)), rng)


@dataclass(frozen=True)
class Shift(Augmentation):
    r"""Roll the window in time; what leaves at one end enters at the other.

    .. math:: k \sim U\{-\lfloor f T \rfloor..\lfloor f T \rfloor\},\quad x'_{t} = x_{(t - k) \bmod T}

    Args:
        max_fraction: f, the largest shift as a fraction of the window, 0 to 1 (unverified, as is the wrap-around).

    Example:
        >>> Shift(0.5)(np.arange(6.0)[None], np.random.default_rng(0))
        array([[4., 5., 0., 1., 2., 3.]])
    """

    paper: ClassVar[tuple[str, ...]] = ("jeon2022role",)

    max_fraction: float = 0.5

    def __post_init__(self) -> None:
        _check_range("max_fraction", self.max_fraction, 1)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Roll."""
        return _shift(window, self.max_fraction, rng)


@dataclass(frozen=True)
class Mix1(Augmentation):
    """:class:`Removal`, then :class:`Shift` (the order is unverified).

    Args:
        max_removal: longest removed stretch as a fraction of the window (unverified).
        max_shift: largest shift as a fraction of the window (unverified).
    """

    paper: ClassVar[tuple[str, ...]] = ("jeon2022role",)

    max_removal: float = 0.5
    max_shift: float = 0.5

    def __post_init__(self) -> None:
        _check_range("max_removal", self.max_removal, 1)
        _check_range("max_shift", self.max_shift, 1)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Remove, then roll."""
        return _shift(_remove(window, self.max_removal, rng), self.max_shift, rng)


@dataclass(frozen=True)
class Mix2(Augmentation):
    """:class:`Removal`, then :class:`Noise`, then :class:`Shift` (the order is unverified).

    Args:
        max_removal: longest removed stretch as a fraction of the window (unverified).
        max_std: largest standard deviation of the noise, in scaled units (unverified).
        max_shift: largest shift as a fraction of the window (unverified).
    """

    paper: ClassVar[tuple[str, ...]] = ("jeon2022role",)

    max_removal: float = 0.5
    max_std: float = 0.2
    max_shift: float = 0.5

    def __post_init__(self) -> None:
        _check_range("max_removal", self.max_removal, 1)
        _check_range("max_std", self.max_std, math.inf)
        _check_range("max_shift", self.max_shift, 1)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Remove, add noise, roll."""
        window = _add_noise(_remove(window, self.max_removal, rng), float(rng.uniform(0, self.max_std)), rng)
        return _shift(window, self.max_shift, rng)


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
    else:  # a very long picture: the largest middle part within the ratios
        w, h = min(width, max(1, round(height * ratio[1]))), min(height, max(1, round(width / ratio[0])))
        top, left = (height - h) // 2, (width - w) // 2
    part = np.ascontiguousarray(image[:, top : top + h, left : left + w], dtype=np.float32)
    planes = [Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR) for plane in part]
    return np.stack([np.asarray(plane) for plane in planes]).astype(image.dtype)


def _check_crop(padding: object, fill: object) -> None:
    if isinstance(padding, bool) or not isinstance(padding, int | np.integer) or padding < 0:
        raise InputError(f"padding: expected a whole number of pixels of at least 0, got {padding!r}")
    if isinstance(fill, bool) or not isinstance(fill, int | float) or not math.isfinite(fill):
        raise InputError(f"fill: expected a finite number, got {fill!r}")


def _check_resized(size: object, area: tuple[float, float], ratio: tuple[float, float]) -> None:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise InputError(f"size: expected a whole number of pixels of at least 1, got {size!r}")
    for argument, pair, most in (("area", area, 1.0), ("ratio", ratio, math.inf)):
        if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= most or not math.isfinite(pair[1]):
            raise InputError(f"{argument}: expected two numbers above 0, the smaller one first, got {pair!r}")


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
        _check_range("probability", self.probability, 1)

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
        _check_range("probability", self.probability, 1)

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
        size: side of the answer in pixels.
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
        size: side of the answer in pixels.
        area: least and greatest part of the image's area, in (0, 1].
        ratio: least and greatest width over height.
        probability: of mirroring, 0 to 1.
    """

    sample_ndims: ClassVar[tuple[int, ...]] = (3,)
    whole: ClassVar[bool] = True

    size: int = 224
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    probability: float = 0.5

    def __post_init__(self) -> None:
        _check_resized(self.size, self.area, self.ratio)
        _check_range("probability", self.probability, 1)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Cut and resize, then mirror."""
        return _flip(_resized_crop(window, self.size, self.area, self.ratio, rng), self.probability, rng)


_NOISE = {1: 0.06, 2: 0.09, 3: 0.12}
_RATIO = {1: 0.15, 2: 0.22, 3: 0.30}


@dataclass(frozen=True)
class Corruption(Augmentation):
    """A corruption of test windows at one of three severities.

    ``"noise"`` adds white noise of standard deviation 0.06, 0.09 or 0.12; ``"missing"`` zeroes a share of 0.15, 0.22 or
    0.30 of the instants, drawn at random, in all channels; ``"both"`` does the one after the other (missing first);
    ``"shift"`` rolls the window by that share of its length, forwards or backwards. The instants of an image are its
    pixels, and its length is its width.

    Args:
        kind: ``"noise"``, ``"missing"``, ``"both"`` or ``"shift"``.
        severity: 1, 2 or 3. The noise is read in scaled units (a channel's training standard deviation; pixel / 255 for
            images, so that their figures compare with no signal's), the missing share as scattered instants, the shift
            by the missing shares: all three readings are unverified.

    Example:
        >>> lost = Corruption("missing", severity=3)(np.ones((2, 100)), np.random.default_rng(0))
        >>> (lost == 0).sum(axis=1)
        array([30, 30])
    """

    sample_ndims: ClassVar[tuple[int, ...]] = (2, 3)

    kind: Literal["noise", "missing", "both", "shift"] = "noise"
    severity: Literal[1, 2, 3] = 1

    def __post_init__(self) -> None:
        if self.kind not in ("noise", "missing", "both", "shift"):
            raise InputError(f"kind: expected 'noise', 'missing', 'both' or 'shift', got {self.kind!r}")
        if self.severity not in _NOISE:
            raise InputError(f"severity: expected 1, 2 or 3, got {self.severity!r}")

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Corrupt."""
        ratio = _RATIO[self.severity]
        if self.kind == "shift":
            share = round(ratio * window.shape[-1])
            return np.roll(window, share if rng.random() < 0.5 else -share, axis=-1)
        if self.kind in ("missing", "both"):
            instants = window.reshape(len(window), -1)  # no copy
            length = instants.shape[1]
            instants[:, rng.permutation(length)[: round(ratio * length)]] = 0
        if self.kind in ("noise", "both"):
            window = _add_noise(window, _NOISE[self.severity], rng)
        return window


_NAMED: dict[str, type[Augmentation]] = {
    "removal": Removal,
    "noise": Noise,
    "shift": Shift,
    "mix1": Mix1,
    "mix2": Mix2,
}


def augment(name: str, x: Window, rng: np.random.Generator) -> Window:
    """The augmentation called ``name``, with its default ranges.

    Args:
        name: ``"removal"``, ``"noise"``, ``"shift"``, ``"mix1"`` or ``"mix2"``.
        x: window ``(C, T)``, scaled.
        rng: where the randomness comes from.

    Raises:
        InputError: for another name, or a bad window.

    Example:
        >>> augment("shift", np.arange(6.0)[None], np.random.default_rng(0))
        array([[4., 5., 0., 1., 2., 3.]])
    """
    if name not in _NAMED:
        raise InputError(f"name: expected one of {', '.join(_NAMED)}, got {name!r}")
    return _NAMED[name]()(x, rng)
