"""Where the points of persistence diagrams lie: ranges found in training windows, and what given ranges hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kdlab.types import InputError

Floats = npt.NDArray[np.float64]
Range = tuple[float, float]

TAIL = 0.01  # the part of the weight that is left out at either end


class Ranges(NamedTuple):
    """Ranges of the two axes of a persistence image."""

    birth: Range
    persistence: Range


def kept_points(pairs: Floats, dropped: float) -> Floats:
    """(birth, lifetime) ``(P, 2)`` of the pairs (birth, death) that live longer than ``dropped``."""
    life = pairs[:, 1] - pairs[:, 0]
    return np.stack([pairs[:, 0], life], axis=1)[life > dropped]


def weighted_quantile(values: Floats, weight: Floats, level: float) -> float:
    """The smallest value up to which at least ``level`` of the weight lies.

    >>> values, weight = np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 8.0])
    >>> weighted_quantile(values, weight, 0.1), weighted_quantile(values, weight, 0.5)
    (1.0, 2.0)
    """
    order = np.argsort(values, kind="stable")
    passed = np.cumsum(weight[order])
    place = int(np.searchsorted(passed, level * passed[-1] * (1 - 1e-12)))
    return float(values[order][min(place, len(values) - 1)])


def find_ranges(diagrams: Sequence[Floats], sigma: float, dropped: float, *, absolute: bool = False) -> Ranges:
    r"""Ranges that hold 98 % of the weight of the births and 99 % of that of the persistences of diagrams.

    .. math::
        \text{birth} = [q_{0.01}(b) - \sigma,\ q_{0.99}(b) + \sigma],\quad
        \text{persistence} = [0,\ q_{0.99}(y) + \sigma]

    with quantiles over all points of all diagrams, each counted by the weight that it is drawn with: y over the largest
    y of its diagram, or y itself. So neither the many short lives of noise nor a single spike decides. Numbers are
    rounded outwards to hundredths of sigma, so that equal data give equal numbers on every machine.

    Args:
        diagrams: pairs (birth, death), ``(P, 2)`` each.
        sigma: standard deviation of the blur.
        dropped: lifetimes up to this are not drawn.
        absolute: points count by their lifetime.

    Raises:
        InputError: where no diagram has a point.

    >>> found = find_ranges([np.array([[-1.0, 0.0], [0.5, 3.0]])], sigma=0.25, dropped=0.01)
    >>> found.birth, found.persistence
    ((-1.25, 0.75), (0.0, 2.75))
    """
    points = [kept_points(pairs, dropped) for pairs in diagrams]
    weights = [p[:, 1] if absolute else p[:, 1] / p[:, 1].max(initial=1e-300) for p in points]
    joined, weight = np.concatenate([np.empty((0, 2)), *points]), np.concatenate([np.empty(0), *weights])
    if not len(joined):
        raise InputError(
            "PersistenceImage: birth and persistence must be numbers where no training window has a valley that lives "
            f"longer than {dropped:g}, but got 'auto'. Give ranges, or lower the threshold or the floor."
        )
    birth, life = joined.T
    low, high = (weighted_quantile(birth, weight, level) for level in (TAIL, 1 - TAIL))
    top = weighted_quantile(life, weight, 1 - TAIL)
    return Ranges(
        (_rounded(low - sigma, sigma, np.floor), _rounded(high + sigma, sigma, np.ceil)),
        (0.0, _rounded(top + sigma, sigma, np.ceil)),
    )


def _rounded(value: float, sigma: float, outwards: np.ufunc) -> float:
    """A multiple of a hundredth of sigma, without digits that mean nothing; slack, so that a multiple stays one."""
    step = sigma / 100
    places = float(outwards(round(value / step, 3)))
    return float(f"{places * step:.9g}")


def inside(diagrams: Sequence[Floats], birth: Range, persistence: Range, dropped: float) -> tuple[int, int]:
    """How many points of diagrams lie within the ranges, and how many there are.

    >>> inside([np.array([[0.0, 1.0], [9.0, 9.5]])], (-4.0, 4.0), (0.0, 8.0), 0.01)
    (1, 2)
    """
    count = total = 0
    for pairs in diagrams:
        points = kept_points(pairs, dropped)
        held = (points >= [birth[0], persistence[0]]) & (points <= [birth[1], persistence[1]])
        count, total = count + int(held.all(axis=1).sum()), total + len(points)
    return count, total
