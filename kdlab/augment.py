"""Augmentations of windows: removal, noise, shift and their mixtures; and corruptions for testing robustness.

They act on scaled windows, where 0 is the training mean and 1 the training standard deviation of a channel. Their names
and compositions are those of the study of augmentation in distillation for wearables (Jeon et al., "Role of Data
Augmentation Strategies in Knowledge Distillation for Wearable Sensor Data", IEEE Internet of Things Journal 9(14),
2022, doi 10.1109/JIOT.2021.3139038). Its code is not public: the ranges here are unverified, and are arguments.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kdlab.types import InputError

Window = npt.NDArray[Any]


def _check_range(argument: str, value: object, high: float) -> None:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= high:  # type: ignore[arg-type, operator]
        top = "" if math.isinf(high) else f" and at most {high:g}"
        raise InputError(f"{argument}: expected a number of at least 0{top}, got {value!r}")


@dataclass(frozen=True)
class Augmentation(ABC):
    """A random change of one window, the same draw for all channels.

    Called with a window ``(C, T)`` and a generator; answers a new window of the same shape and dtype and never changes
    the one that came in. The same generator state gives the same answer. A subclass is a frozen dataclass whose every
    field has a default, and implements :meth:`apply`.

    Raises:
        InputError: for a window that is not a ``(C, T)`` array of floats, or an argument out of its range.
    """

    def __call__(self, window: Window, rng: np.random.Generator) -> Window:
        """A changed copy of ``window``."""
        window = np.asarray(window)
        if window.ndim != 2 or 0 in window.shape:
            raise InputError(f"window: expected (C, T), at least one channel and one sample, got shape {window.shape}")
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


_NOISE = {1: 0.06, 2: 0.09, 3: 0.12}
_RATIO = {1: 0.15, 2: 0.22, 3: 0.30}


@dataclass(frozen=True)
class Corruption(Augmentation):
    """A corruption of test windows at one of three severities.

    ``"noise"`` adds white noise of standard deviation 0.06, 0.09 or 0.12; ``"missing"`` zeroes a share of 0.15, 0.22 or
    0.30 of the instants, drawn at random, in all channels; ``"both"`` does the one after the other (missing first);
    ``"shift"`` rolls the window by that share of its length, forwards or backwards.

    Args:
        kind: ``"noise"``, ``"missing"``, ``"both"`` or ``"shift"``.
        severity: 1, 2 or 3. The noise is read in units of a channel's training standard deviation, the missing share
            as scattered instants, the shift by the missing shares: all three readings are unverified.

    Example:
        >>> lost = Corruption("missing", severity=3)(np.ones((2, 100)), np.random.default_rng(0))
        >>> (lost == 0).sum(axis=1)
        array([30, 30])
    """

    kind: Literal["noise", "missing", "both", "shift"] = "noise"
    severity: Literal[1, 2, 3] = 1

    def __post_init__(self) -> None:
        if self.kind not in ("noise", "missing", "both", "shift"):
            raise InputError(f"kind: expected 'noise', 'missing', 'both' or 'shift', got {self.kind!r}")
        if self.severity not in _NOISE:
            raise InputError(f"severity: expected 1, 2 or 3, got {self.severity!r}")

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Corrupt."""
        length = window.shape[1]
        share = round(_RATIO[self.severity] * length)
        if self.kind == "shift":
            return np.roll(window, share if rng.random() < 0.5 else -share, axis=1)
        if self.kind in ("missing", "both"):
            window[:, rng.permutation(length)[:share]] = 0
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
