"""Augmentations of windows in time and level: removal, noise, shift and their mixtures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kdlab.augment.base import Augmentation, Window, check_range


def _remove(window: Window, max_fraction: float, fill: Any, rng: np.random.Generator) -> Window:
    length = window.shape[1]
    most = math.floor(max_fraction * length)
    if most >= 1:
        start, count = int(rng.integers(length)), int(rng.integers(1, most + 1))
        window[:, start : start + count] = fill
    return window


def add_noise(window: Window, std: float, unit: Any, rng: np.random.Generator) -> Window:
    """Add white noise of ``std`` times ``unit`` in place."""
    window += (std * rng.standard_normal(window.shape) * unit).astype(window.dtype)
    return window


def _shift(window: Window, max_fraction: float, rng: np.random.Generator) -> Window:
    most = math.floor(max_fraction * window.shape[1])
    return np.roll(window, int(rng.integers(-most, most + 1)), axis=1)


@dataclass(frozen=True)
class Removal(Augmentation):
    r"""Replace a stretch of the window by the training mean, in all channels.

    .. math:: a \sim U\{0..T-1\},\quad n \sim U\{1..\lfloor f T \rfloor\},\quad x_{c,\,a:\min(a+n,\,T)} = \mu_c

    with the training mean of the channel, which is 0 in standardised windows.

    Args:
        max_fraction: f, the longest stretch as a fraction of the window, 0 to 1 (unverified).

    Example:
        >>> Removal(0.5)(np.ones((1, 8)), np.random.default_rng(0))
        array([[1., 1., 1., 1., 1., 1., 0., 0.]])
    """

    paper: ClassVar[tuple[str, ...]] = ("jeon2022role",)

    max_fraction: float = 0.5

    def __post_init__(self) -> None:
        check_range("max_fraction", self.max_fraction, 1)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Replace the stretch."""
        return _remove(window, self.max_fraction, self.training_mean(window), rng)


@dataclass(frozen=True)
class Noise(Augmentation):
    r"""Add white noise of a random strength, one strength for all channels.

    .. math:: s \sim U(0, s_{\max}),\quad x_{ct} + s\,\sigma_c\,\varepsilon_{ct},\quad \varepsilon_{ct} \sim N(0, 1)

    with the training standard deviation of the channel, which is 1 in standardised windows.

    Args:
        max_std: the largest standard deviation, in training standard deviations of the channel (unverified).

    Example:
        >>> Noise(0.2)(np.zeros((1, 3)), np.random.default_rng(0)).round(3)
        array([[-0.017,  0.082,  0.013]])
    """

    paper: ClassVar[tuple[str, ...]] = ("jeon2022role",)

    max_std: float = 0.2

    def __post_init__(self) -> None:
        check_range("max_std", self.max_std, math.inf)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Add the noise."""
        return add_noise(window, float(rng.uniform(0, self.max_std)), self.training_std(window), rng)


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
        check_range("max_fraction", self.max_fraction, 1)

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
        check_range("max_removal", self.max_removal, 1)
        check_range("max_shift", self.max_shift, 1)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Remove, then roll."""
        return _shift(_remove(window, self.max_removal, self.training_mean(window), rng), self.max_shift, rng)


@dataclass(frozen=True)
class Mix2(Augmentation):
    """:class:`Removal`, then :class:`Noise`, then :class:`Shift` (the order is unverified).

    Args:
        max_removal: longest removed stretch as a fraction of the window (unverified).
        max_std: largest standard deviation of the noise, in training standard deviations of the channel
            (unverified).
        max_shift: largest shift as a fraction of the window (unverified).
    """

    paper: ClassVar[tuple[str, ...]] = ("jeon2022role",)

    max_removal: float = 0.5
    max_std: float = 0.2
    max_shift: float = 0.5

    def __post_init__(self) -> None:
        check_range("max_removal", self.max_removal, 1)
        check_range("max_std", self.max_std, math.inf)
        check_range("max_shift", self.max_shift, 1)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Remove, add noise, roll."""
        window = _remove(window, self.max_removal, self.training_mean(window), rng)
        window = add_noise(window, float(rng.uniform(0, self.max_std)), self.training_std(window), rng)
        return _shift(window, self.max_shift, rng)
