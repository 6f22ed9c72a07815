"""Scaling of each channel: given constants, or numbers of the training windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from kdlab.data.moments import chunks, moments
from kdlab.data.windows import WindowSet
from kdlab.types import InputError


@dataclass(frozen=True)
class Scaler:
    """``(x - offset) / divisor`` per channel in float64; with ``clip``, above 1 becomes 0.99 and below 0 becomes 0."""

    offset: NDArray[np.float64]
    divisor: NDArray[np.float64]
    clip: bool = False

    def __call__(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Windows ``(B, C, T)`` or images ``(B, C, H, W)`` in scaled units."""
        if not self.clip and not self.offset.any() and (self.divisor == 1.0).all():
            same: NDArray[np.float32] = x.astype(np.float32, copy=False)
            return same
        shape = (-1,) + (1,) * (x.ndim - 2)
        y = (x - self.offset.reshape(shape)) / self.divisor.reshape(shape)
        if self.clip:
            y = np.where(y > 1.0, 0.99, np.where(y < 0.0, 0.0, y))
        scaled: NDArray[np.float32] = y.astype(np.float32)
        return scaled

    def physical(self, y: NDArray[Any]) -> NDArray[np.float64]:
        """Windows or images in scaled units, in physical ones: ``y * divisor + offset``, in float64.

        >>> Scaler(np.array([1e8]), np.array([2.0])).physical(np.array([[[0.5]]], dtype=np.float32)).tolist()
        [[[100000001.0]]]
        """
        shape = (-1,) + (1,) * (y.ndim - 2)
        return y.astype(np.float64) * self.divisor.reshape(shape) + self.offset.reshape(shape)

    def clipped(self, x: NDArray[Any]) -> NDArray[np.bool_]:
        """Which windows lose range in which channel, ``(B, C)``, where it clips."""
        shape = (-1,) + (1,) * (x.ndim - 2)
        y = (x - self.offset.reshape(shape)) / self.divisor.reshape(shape)
        outside: NDArray[np.bool_] = (y > 1.0) | (y < 0.0)
        lost: NDArray[np.bool_] = np.any(outside.reshape(*x.shape[:2], -1), axis=2)
        return lost

    def one(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """One window or image in scaled units."""
        scaled: NDArray[np.float32] = self(x[None])[0]
        return scaled


@dataclass(frozen=True)
class Scale:
    """Constants that standardise each channel: ``(x - offset) / divisor``.

    Args:
        offset: one per channel, in the channel's unit.
        divisor: one per channel, in the channel's unit, not zero.
        clip: what lies above 1 afterwards becomes 0.99, what lies below 0 becomes 0.

    Raises:
        InputError: lengths that differ, a zero or a number that is not finite.
    """

    offset: list[float]
    divisor: list[float]
    clip: bool = False

    def __post_init__(self) -> None:
        if len(self.offset) != len(self.divisor):
            raise InputError(
                f"scale: {len(self.offset)} offsets but {len(self.divisor)} divisors; give one per channel"
            )
        if not np.isfinite([*self.offset, *self.divisor]).all() or 0.0 in self.divisor:
            raise InputError(f"scale must be finite offsets and divisors other than 0, but got {self}.")


def make_scalers(
    data: WindowSet, rows: NDArray[np.int64], rule: str | Scale | Mapping[str, Scale], *, clip: bool = False
) -> dict[str, Scaler]:
    """The scaling of every source.

    Args:
        data: all windows.
        rows: the training windows whose numbers scale.
        rule: ``"standard"``, ``"minmax"``, ``"none"``, or constants; a single ``Scale`` is that of the first source.
        clip: under ``"minmax"``, values outside the training range are clipped.

    Raises:
        InputError: constants that do not fit the sources or their channels.
    """
    if isinstance(rule, Scale):
        rule = {data.sources[0]: rule}
    if not isinstance(rule, str):
        return _given(data, rule)
    scalers = {source: _fitted(x, rows, rule, clip=clip) for source, x in data.windows.items()}
    for source, x in data.windows.items() if rule == "none" else ():
        if x.dtype == np.float64:
            rank_zero_warn(
                f'scale="none": source {source!r} has a signal on so large an offset that float32, in which nets '
                'read it, loses more than 1e-4 of it; use scale="standard", which takes the offset away in float64'
            )
    return scalers


def _fitted(x: Any, rows: NDArray[np.int64], rule: str, *, clip: bool) -> Scaler:
    """The scaling of one source by its training windows; the divisor of a constant channel is 1."""
    width = x.shape[1]
    offset, divisor = np.zeros(width), np.ones(width)
    if rule == "standard":
        offset, divisor = moments(chunks(x, rows))
    elif rule == "minmax":
        low, high, axes = np.full(width, np.inf), np.full(width, -np.inf), (0, *range(2, x.ndim))
        for part in chunks(x, rows):
            low, high = np.minimum(low, part.min(axis=axes)), np.maximum(high, part.max(axis=axes))
        offset, divisor = low, high - low
    eps = 64 * np.finfo(np.float64).eps if x.dtype == np.float64 else np.finfo(np.float32).eps
    tiny = eps * np.maximum(np.abs(offset), np.finfo(np.float32).tiny)
    return Scaler(offset, np.where(divisor <= tiny, 1.0, divisor), clip and rule == "minmax")


def _given(data: WindowSet, constants: Mapping[str, Scale]) -> dict[str, Scaler]:
    if set(constants) != set(data.sources):
        raise InputError(
            f"scale: constants for {', '.join(constants)}, but the sources are {', '.join(data.sources)}; "
            "give one Scale per source"
        )
    for source, scale in constants.items():
        if len(scale.offset) != len(data.channels[source]):
            raise InputError(
                f"scale: {len(scale.offset)} constants for the {len(data.channels[source])} channels of {source!r} "
                f"({', '.join(data.channels[source])}); give one per channel"
            )
    return {s: Scaler(np.array(c.offset, float), np.array(c.divisor, float), c.clip) for s, c in constants.items()}
