"""Which subjects or recordings are held out: the first random choice that is balanced."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import SupportsFloat

import numpy as np

from kdlab.data.spelling import natural_key
from kdlab.types import InputError


def generator(seed: int, purpose: int) -> np.random.Generator:
    """The random numbers of one seed and one purpose: choices for different purposes are independent."""
    return np.random.default_rng([purpose, seed])


def split_groups(
    groups: Sequence[str],
    val_fraction: float = 0.15,
    minimum: int = 2,
    seed: int = 0,
    *,
    classes: Mapping[str, set[int]] | None = None,
    windows: Mapping[str, Mapping[int, int]] | None = None,
    count: int | None = None,
) -> tuple[list[str], list[str]]:
    r"""Choose the groups (subjects, recordings) that are held out.

    Where the classes that each group holds are given, the choice is the first of up to 200 random ones that leaves
    every class among the rest, and among the held-out groups where that is possible too.

    Where windows are given too, it is the first of these that is also balanced, or else, of those that leave the
    most classes, the one nearest to it:

    .. math:: \tfrac12 \le \frac{n_v / n}{g_v / g} \le
              \min\left(\tfrac32, \max\left(\tfrac65, \tfrac35 \frac{g}{g_v}\right)\right), \qquad
              \tfrac12 \sum_k \left|\frac{n_{vk}}{n_v} - \frac{n_k}{n}\right| \le \tfrac14

    with :math:`n_v` of n windows and :math:`g_v` of g groups held out, and :math:`n_{vk}` of the :math:`n_k` windows of
    class k. So in a small cohort one person with many windows does not make validation larger than training. A choice
    that is balanced is the one that was made before windows were looked at.

    Args:
        groups: names of the groups.
        val_fraction: the least part of the groups that is held out, in (0, 1).
        minimum: the least number of groups that is held out.
        seed: of the choice.
        classes: group -> classes that it has windows of.
        windows: group -> class -> how many windows it has; needs ``classes``.
        count: how many groups are held out, in place of ``val_fraction`` and ``minimum``.

    Returns:
        The groups that stay, and those held out, each in natural order.

    Raises:
        InputError: a fraction outside (0, 1), or nothing would stay.

    References:
        Dehghani et al., A quantitative comparison of overlapping and non-overlapping sliding windows for human activity
        recognition using inertial sensors, Sensors 2019, doi:10.3390/s19225026 (why splits are by subject).

    >>> split_groups(["1", "2", "3", "4", "5", "6"], seed=0)
    (['2', '3', '4', '6'], ['1', '5'])
    """
    check_fraction(val_fraction)
    names = sorted(set(groups), key=natural_key)
    held = max(minimum, math.ceil(val_fraction * len(names) - 1e-9)) if count is None else count
    if held >= len(names):
        raise InputError(
            f"{len(names)} groups ({', '.join(names)}) cannot give {held} for validation and leave any for training; "
            "add recordings of more subjects, or name the held-out ones yourself (val_subjects=)"
        )
    every = set().union(*classes.values()) if classes else set()
    best: tuple[int, int, float] | None = None
    chosen: set[str] = set()
    rng = generator(seed, 1)
    for _ in range(200 if classes else 1):
        candidate = {names[i] for i in rng.permutation(len(names))[:held]}
        if not classes:
            chosen = candidate
            break
        seen = {True: set[int](), False: set[int]()}
        for name in names:
            seen[name in candidate] |= classes.get(name, set())
        missing = (
            len(every - seen[False]),
            len(every - seen[True]),
            0.0 if windows is None else _unbalanced(windows, candidate, held / len(names)),
        )
        if best is None or missing < best:
            best, chosen = missing, candidate
        if best == (0, 0, 0.0):
            break
    return [n for n in names if n not in chosen], [n for n in names if n in chosen]


def _unbalanced(windows: Mapping[str, Mapping[int, int]], held: Collection[str], fair: float) -> float:
    """By how much the held-out windows are too many or too few, and of other classes; 0 where they are balanced."""
    every: Counter[int] = Counter()
    inside: Counter[int] = Counter()
    for name, counts in windows.items():
        every.update(counts)
        if name in held:
            inside.update(counts)
    n, n_held = every.total(), inside.total()
    if not n_held:
        return math.inf
    size, most = n_held / n / fair, min(1.5, max(1.2, 0.6 / fair))
    mix = sum(abs(inside[k] / n_held - every[k] / n) for k in every) / 2
    return round(max(0.0, 0.5 - size, size - most) + max(0.0, mix - 0.25), 9)


def check_fraction(val_fraction: object) -> None:
    """Refuse a ``val_fraction`` that is no number in (0, 1), such as ``null`` in a config.

    Raises:
        InputError: with the value.
    """
    if isinstance(val_fraction, bool) or not isinstance(val_fraction, SupportsFloat) or not 0 < float(val_fraction) < 1:
        remedy = "Leave it out where val_count is given." if val_fraction is None else "Write a share such as 0.15."
        raise InputError(f"val_fraction must be a number in (0, 1), but got {val_fraction}. {remedy}")


def split_recordings(label: Mapping[str, int], val_fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Hold out complete recordings, the same part of every class: at least one per class, at least two altogether.

    Args:
        label: recording -> its (most frequent) class.
        val_fraction: the least part of each class's recordings that is held out, in (0, 1).
        seed: of the choice.

    Returns:
        The recordings that stay, and those held out, each in natural order. A class of one recording is not held out.

    Raises:
        InputError: a fraction outside (0, 1), or no class has two recordings.

    >>> split_recordings({"a": 0, "b": 0, "c": 1, "d": 1, "e": 2}, 0.15, seed=0)[1]
    ['a', 'd']
    """
    check_fraction(val_fraction)
    rng, held = generator(seed, 2), set[str]()
    spare: list[str] = []
    for k in sorted(set(label.values())):
        names = sorted((name for name, c in label.items() if c == k), key=natural_key)
        order = [names[i] for i in rng.permutation(len(names))]
        count = min(math.ceil(val_fraction * len(names) - 1e-9), len(names) - 1)
        held.update(order[:count])
        spare += order[count : len(names) - 1]
    if len(held) == 1 and spare:
        held.add(spare[0])
    if not held:
        raise InputError(
            f"{len(label)} recordings of {len(set(label.values()))} classes: no class has two, so none can be held "
            "out; give more recordings, or their subjects"
        )
    names = sorted(label, key=natural_key)
    return [n for n in names if n not in held], [n for n in names if n in held]
