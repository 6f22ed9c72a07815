"""What may be wrong with windows, found in one reading of them: copies, other units, sensors that were off."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.another_size import ANOTHER_SIZE
from kdlab.data.groups import Groups
from kdlab.data.moments import chunk_size
from kdlab.data.windows import WindowSet

_G, _METRES = ("g",), ("m/s^2", "m/s²", "m/s2", "m/s**2")
_STILL = 9.81  # m/s^2, what an accelerometer at rest measures
_FEW = 3  # lines of one kind


@dataclass
class _Read:
    """Sums over windows: ``size`` are sums of mean squares ``(people, C)``, ``equal`` counts pairs of people."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    size: NDArray[np.float64]
    still: int = 0
    equal: Counter[tuple[int, int]] = field(default_factory=Counter)


def doubts_of(windows: WindowSet) -> list[str]:
    """The doubts that the values of windows raise.

    - windows of one person that equal windows of another: one person under two names, or a copied file, is then in
      training and test;
    - a channel whose root mean square over the windows of a person is 4 times the median over people, or a quarter;
    - accelerometers in g with values of m/s^2, or the reverse;
    - channels and windows with one value throughout.

    Args:
        windows: what a data module loads, in physical units.
    """
    known = windows.subject is not None
    people = Groups.of(windows.subject) if windows.subject is not None else _parts(windows)
    x, channels = windows.windows["raw"], windows.channels["raw"]
    read = _read(x, people)
    size = np.sqrt(read.size / np.bincount(people.code, minlength=len(people.names))[:, None])
    mean = np.sqrt(read.size.sum(axis=0) / len(x))
    found = [*_copies(read.equal, people, known)]
    if known and len(people.names) >= 3:
        found += _sizes(size, people.names, channels)
    found += _units(mean, windows.units.get("raw"), channels)
    flat = np.flatnonzero(read.low == read.high)
    if len(flat):
        found.append(f"channel {', '.join(channels[c] for c in flat)} has one value throughout")
    if read.still and len(flat) < len(channels):
        found.append(f"{read.still} windows have one value in every channel, as of a sensor that is off")
    return found


def _parts(windows: WindowSet) -> Groups:
    """Where people are unknown: the training and the test windows of a given split, or all as one."""
    test = np.zeros(len(windows), dtype=np.bool_) if windows.test is None else windows.test
    return Groups.of(np.where(test, "the test part", "the training part"))


def _read(x: Any, people: Groups) -> _Read:
    width = x.shape[1]
    read = _Read(np.full(width, np.inf), np.full(width, -np.inf), np.zeros((len(people.names), width)))
    first: dict[bytes, int] = {}
    step = chunk_size(x)
    for start in range(0, len(x), step):
        part = np.asarray(x[start : start + step], dtype=np.float64)
        low, high, code = part.min(axis=2), part.max(axis=2), people.code[start : start + step]
        read.low, read.high = np.minimum(read.low, low.min(axis=0)), np.maximum(read.high, high.max(axis=0))
        np.add.at(read.size, code, np.square(part).mean(axis=2))
        moving = (low != high).any(axis=1)
        read.still += int((~moving).sum())
        for k in np.flatnonzero(moving):
            key = hashlib.blake2b(part[k].tobytes(), digest_size=16).digest()
            other, who = first.setdefault(key, int(code[k])), int(code[k])
            if other != who:
                read.equal[min(other, who), max(other, who)] += 1
    return read


def _copies(equal: Counter[tuple[int, int]], people: Groups, known: bool) -> list[str]:
    what = (
        "are they one person under two names, or was a file copied?" if known else "a net is tested on what it knows."
    )
    lines = [
        f"{count} windows of {people.names[a]} are equal to windows of {people.names[b]}: {what}"
        for (a, b), count in equal.most_common(_FEW)
    ]
    more = len(equal) - _FEW
    return [*lines, *([f"{more} further pairs of people have equal windows"] if more > 0 else [])]


def _sizes(size: NDArray[np.float64], names: list[str], channels: list[str]) -> list[str]:
    usual = np.median(size, axis=0)
    ratio = np.divide(size, usual, out=np.ones_like(size), where=usual > 0)
    far = (ratio > ANOTHER_SIZE) | (ratio < 1 / ANOTHER_SIZE)
    lines = []
    for k in np.flatnonzero(far.any(axis=1)):
        each = ", ".join(f"{channels[c]} {ratio[k, c]:.2g} times" for c in np.flatnonzero(far[k])[:6])
        lines.append(
            f"values of {names[k]} are of another size than those of the others ({each} the median over people): "
            "another unit, range or sensor?"
        )
    more = len(lines) - _FEW
    return [*lines[:_FEW], *([f"so are the values of {more} further people"] if more > 0 else [])]


def _units(mean: NDArray[np.float64], units: list[str] | None, channels: list[str]) -> list[str]:
    """Accelerometers, three channels each, whose length is not what their unit makes of gravity."""
    lines = []
    for names, other, least, most in ((_G, "m/s^2", _STILL / 2, np.inf), (_METRES, "g", 0.7, 1.4)):
        own = [c for c, unit in enumerate(units or []) if unit.strip() in names]
        length = float(np.sqrt(3 * np.square(mean[own]).mean())) if own and len(own) % 3 == 0 else None
        if length is not None and least < length < most:
            unit = (units or [])[own[0]]
            lines.append(
                f"units of {', '.join(channels[c] for c in own[:6])} are {unit}, but they have a length of "
                f"{length:.3g}: are they in {other}?"
            )
    return lines
