"""Augmentations of windows of motion: rotation of the sensor, scaling, warped time and permuted segments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from kdlab.augment.base import Augmentation, Constants, Window, check_count, check_range
from kdlab.augment.triples import Triple, check_triples, find_triples, placed_triples

Floats = npt.NDArray[np.float64]


def rotation_matrix(max_angle: float | None, rng: np.random.Generator) -> Floats:
    """A random rotation ``(3, 3)``: uniform, or about a uniform axis by an angle up to ``max_angle`` degrees."""
    if max_angle is None:
        a, b, c, d = (q := rng.standard_normal(4)) / np.linalg.norm(q)
        return np.array(
            [
                [1 - 2 * (c * c + d * d), 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), 1 - 2 * (b * b + d * d), 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), 1 - 2 * (b * b + c * c)],
            ]
        )
    x, y, z = (axis := rng.standard_normal(3)) / np.linalg.norm(axis)
    angle = math.radians(rng.uniform(-max_angle, max_angle))
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turned: Floats = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return turned


@dataclass(frozen=True)
class Rotation(Augmentation):
    r"""Rotate the x, y and z of each sensor, as if the device were worn in another orientation.

    .. math:: (x'_t, y'_t, z'_t)^\top = R\,(x_t, y_t, z_t)^\top,\quad
        R = I + \sin\theta\,K + (1 - \cos\theta)\,K^2,\quad \theta \sim U(-\theta_{\max}, \theta_{\max})

    with the cross product matrix K of an axis drawn uniformly from the sphere. It acts in physical units: in a data
    module the scaling is undone before and done after it, so that gravity turns as the sensor does.

    Args:
        max_angle: largest angle in degrees, 0 to 180; None: R is drawn uniformly from all rotations.
        triples: the channels x, y and z of each sensor, by name or place; others stay as they are. None: the channels
            whose names differ in a first or last x, y, z alone (``acc_x``, ``acc_y``, ``acc_z``); without names, every
            three channels one after the other.
        together: one rotation for all triples, as of one device; else one for each.

    Shapes:
        ``(C, T)`` -> ``(C, T)``

    Raises:
        InputError: for triples that cannot be found.

    References:
        Um et al., "Data augmentation of wearable sensor data for Parkinson's disease monitoring using convolutional
        neural networks", ICMI 2017, arXiv:1706.00527. Reference code:
        terryum/Data-Augmentation-For-Wearable-Sensor-Data.

    Differences from the reference code:
        There the axis is a point drawn from a cube, scaled to length 1, and there is one sensor.

    Example:
        >>> turned = Rotation(90)(np.array([[3.0], [0.0], [4.0]]), np.random.default_rng(0))
        >>> turned.round(3).ravel(), float(np.linalg.norm(turned).round(9))
        (array([ 1.738, -2.957,  3.638]), 5.0)
    """

    paper: ClassVar[tuple[str, ...]] = ("um2017data",)

    max_angle: float | None = 180.0
    triples: tuple[tuple[int | str, int | str, int | str], ...] | None = None
    together: bool = True

    def __post_init__(self) -> None:
        if self.max_angle is not None:
            check_range("max_angle", self.max_angle, 180)
        object.__setattr__(self, "triples", check_triples(self.triples))

    def bind(self, constants: Constants) -> Self:
        """Also find the triples among the names."""
        bound = super().bind(constants)
        bound.__dict__["_places"] = find_triples(self.triples, constants.channels)
        return bound

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Rotate each triple."""
        places: list[Triple] | None = self.__dict__.get("_places")
        places = placed_triples(self.triples, len(window)) if places is None else places
        physical = self.to_physical(window)
        turn = rotation_matrix(self.max_angle, rng)
        for k, place in enumerate(places):
            turn = rotation_matrix(self.max_angle, rng) if k and not self.together else turn
            physical[list(place)] = turn @ physical[list(place)]
        changed = self.to_scaled(physical, window.dtype)
        rows = [c for place in places for c in place]
        window[rows] = changed[rows]
        return window


@dataclass(frozen=True)
class Scaling(Augmentation):
    r"""Multiply each channel by a factor of its own, as a sensor of another gain.

    .. math:: x'_{ct} = s_c\,x_{ct},\quad s_c \sim N(1, \sigma^2)

    It acts in physical units: in a data module the scaling is undone before and done after it.

    Args:
        std: sigma, the standard deviation of the factors.

    Shapes:
        ``(C, T)`` -> ``(C, T)``

    References:
        Um et al., ICMI 2017, arXiv:1706.00527. Reference code: terryum/Data-Augmentation-For-Wearable-Sensor-Data.

    Differences from the reference code:
        None but the order of the draws.

    Example:
        >>> Scaling(0.1)(np.ones((3, 1)), np.random.default_rng(0)).round(3).ravel()
        array([1.013, 0.987, 1.064])
    """

    paper: ClassVar[tuple[str, ...]] = ("um2017data",)

    std: float = 0.1

    def __post_init__(self) -> None:
        check_range("std", self.std, math.inf)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Multiply."""
        factor = 1.0 + self.std * rng.standard_normal((len(window), 1))
        return self.to_scaled(factor * self.to_physical(window), window.dtype)


@dataclass(frozen=True)
class TimeWarp(Augmentation):
    r"""Run through the window at a speed that changes smoothly; both ends stay where they are.

    .. math:: v = \exp(g),\quad S_t = \sum_{u=1}^{t} \tfrac{v_{u-1} + v_u}{2},\quad
        \tau_t = (T - 1)\,S_t / S_{T-1},\quad x'_t = x(\tau_t)

    where g is the natural cubic spline through ``knots + 2`` values of N(0, sigma^2), spread evenly over the window,
    one at each end, and x between samples is linear. The warp is strictly monotone, and the same for all channels.

    Args:
        std: sigma, the standard deviation of the logarithm of the speed at the knots.
        knots: inner knots of the spline.

    Shapes:
        ``(C, T)`` -> ``(C, T)``

    References:
        Um et al., ICMI 2017, arXiv:1706.00527. Reference code: terryum/Data-Augmentation-For-Wearable-Sensor-Data.

    Differences from the reference code:
        There the speed itself is a (not-a-knot) spline through values of N(1, sigma^2), which may become negative; each
        channel is warped on its own; and the first sample is passed over.

    Example:
        >>> TimeWarp(0.5)(np.arange(6.0)[None], np.random.default_rng(0)).round(3)
        array([[0.   , 0.95 , 2.049, 3.204, 4.068, 5.   ]])
    """

    paper: ClassVar[tuple[str, ...]] = ("um2017data",)

    std: float = 0.2
    knots: int = 4

    def __post_init__(self) -> None:
        check_range("std", self.std, math.inf)
        check_count("knots", self.knots, 1)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Warp."""
        from scipy.interpolate import CubicSpline  # takes a while to import, and only this needs it

        last = window.shape[1] - 1
        levels = self.std * rng.standard_normal(self.knots + 2)
        if last < 1:
            return window
        time = np.arange(last + 1)
        curve = CubicSpline(np.linspace(0, last, self.knots + 2), levels, bc_type="natural")(time)
        speed = np.exp(curve - curve.max())  # a common factor cancels
        passed = np.concatenate([[0.0], np.cumsum((speed[:-1] + speed[1:]) / 2)])
        place = last * passed / passed[-1]
        return np.stack([np.interp(place, time, row) for row in window]).astype(window.dtype)


@dataclass(frozen=True)
class Permutation(Augmentation):
    r"""Cut the window into segments and put them in a random order, the same for all channels.

    The lengths :math:`l_1 + ... + l_n = T,\ l_i \ge m` are drawn uniformly from all there are, the order from all n!.

    Args:
        segments: n, how many; fewer where the window is shorter than n m samples.
        min_length: m, the least number of samples in a segment.

    Shapes:
        ``(C, T)`` -> ``(C, T)``

    References:
        Um et al., ICMI 2017, arXiv:1706.00527. Reference code: terryum/Data-Augmentation-For-Wearable-Sensor-Data.

    Differences from the reference code:
        There cuts are drawn again and again until all segments are long enough (and for ever where none fit).

    Example:
        >>> Permutation(3, min_length=2)(np.arange(8.0)[None], np.random.default_rng(3))
        array([[5., 6., 7., 0., 1., 2., 3., 4.]])
    """

    paper: ClassVar[tuple[str, ...]] = ("um2017data",)

    segments: int = 4
    min_length: int = 10

    def __post_init__(self) -> None:
        check_count("segments", self.segments, 2)
        check_count("min_length", self.min_length, 1)

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Cut and reorder."""
        length = window.shape[1]
        count = min(self.segments, length // self.min_length)
        if count < 2:
            return window
        spare = length - count * self.min_length
        bars = np.sort(rng.choice(spare + count - 1, count - 1, replace=False)) - np.arange(count - 1)
        cuts = bars + self.min_length * np.arange(1, count)
        parts = np.split(window, cuts, axis=1)
        return np.concatenate([parts[k] for k in rng.permutation(count)], axis=1)
