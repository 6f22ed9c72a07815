"""What a view is: a pure function from windows to tensors, with a shape and a key known beforehand."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdlab.types import InputError, dense, plain_array


def check(condition: bool, argument: str, expected: str, got: object) -> None:
    """Raise the error of a bad argument unless ``condition`` holds."""
    if not condition:
        raise InputError(f"{argument} must be {expected}, but got {got!r}.")


def check_number(argument: str, value: object, low: float, *, open_end: bool = False) -> None:
    """Raise unless ``value`` is a finite number from ``low`` on (above it, where ``open_end``)."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    fits = number and math.isfinite(value) and (value > low if open_end else value >= low)  # type: ignore[arg-type, operator]
    check(fits, argument, f"a finite number {'above' if open_end else 'of at least'} {low:g}", value)


def check_size(argument: str, value: object, low: int = 2) -> None:
    """Raise unless ``value`` is a whole number of pixels from ``low`` on."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    check(whole and value >= low, argument, f"a whole number of at least {low}", value)  # type: ignore[operator]


def still(x: Tensor, floor: float) -> Tensor:
    """Windows ``(B, C, T)`` whose channels that span less than ``floor`` are zero throughout."""
    if floor == 0:
        return x
    low, high = x.aminmax(dim=-1, keepdim=True)
    return torch.where(high - low < floor, 0.0, x)


_ADDED = "added"


def added(default: Any) -> Any:
    """A keyword field that views of earlier versions did not have; at its default, the two are equal."""
    return field(default=default, kw_only=True, metadata={_ADDED: True})


@dataclass(frozen=True)
class View(ABC):
    """A tensor computed from a window: pure, deterministic, hashable and picklable.

    A subclass is a frozen dataclass whose every field has a default. It implements :meth:`compute` and :meth:`shape`;
    the base picks the channels, distinguishes one window from a batch and refuses bad samples.

    Args:
        channels: names or indices of the channels that the view reads, in this order; None reads all. Names are
            resolved by :meth:`bind`.
        source: the raw recording of the data set that the view reads; None is the data set's first. Only a data
            module looks at it.

    Shapes:
        windows (``sample_ndim`` 2): ``(C, T)`` or ``(B, C, T)``; images (``sample_ndim`` 3): ``(C, H, W)`` or
        ``(B, C, H, W)``, as arrays or tensors. The output is a contiguous tensor on the input's device, with a batch
        axis where the input has one.

    Raises:
        InputError: for a wrong number of axes, an unknown channel, and NaN or infinite samples.

    Example:
        A new view is one class, and nothing else:

        >>> @dataclass(frozen=True)
        ... class Magnitude(View):
        ...     power: float = 2.0
        ...     def shape(self, channels, length):
        ...         return (1, length)
        ...     def compute(self, x):
        ...         return x.pow(self.power).sum(1, keepdim=True).pow(1 / self.power).float()
        >>> Magnitude()(np.array([[3.0, 0.0], [4.0, 1.0]]))
        tensor([[5., 1.]])
    """

    sample_ndim: ClassVar[int] = 2
    """Axes of one sample: 2 for windows ``(C, T)``, 3 for images ``(C, H, W)``."""
    paper: ClassVar[tuple[str, ...]] = ()
    """Keys in :data:`kdlab.citations.BIBTEX`."""
    version: ClassVar[int] = 1
    """Raised when the same fields begin to mean another tensor; part of the digest."""

    _: KW_ONLY
    channels: tuple[int | str, ...] | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        if self.channels is None:
            return
        single = isinstance(self.channels, str | int)
        check(not single and len(self.channels) > 0, "channels", "a list of names or indices, or None", self.channels)
        for one in self.channels:
            named = isinstance(one, str | int | np.integer) and not isinstance(one, bool)
            check(named and (isinstance(one, str) or one >= 0), "channels", "names or indices from 0 on", one)
        clean = tuple(one if isinstance(one, str) else int(one) for one in self.channels)
        object.__setattr__(self, "channels", clean)

    @abstractmethod
    def shape(self, channels: int, length: Any) -> tuple[int, ...]:
        """Shape of the view of one sample with ``channels`` channels, nothing computed.

        Args:
            channels: channels of the sample (before this view picks its own).
            length: samples T of a window; ``(H, W)`` of an image.
        """

    @abstractmethod
    def compute(self, x: Tensor) -> Tensor:
        """The view of a checked batch: finite, contiguous, floating, only the channels that the view reads."""

    @property
    def unresolved(self) -> tuple[str, ...]:
        """Fields whose numbers a data module finds at setup (``"auto"``, a rate); before, nothing is computed."""
        return ()

    def resolve(self, x: Tensor) -> Self:
        """The same view with numbers in place of ``"auto"``, found in a batch of training windows."""
        return self

    def __call__(self, x: npt.ArrayLike | Tensor) -> Tensor:
        """The view of one sample or of a batch."""
        for name in self.unresolved:
            raise InputError(self._unknown(name))
        batch = self._batch(x)
        single = batch.ndim == self.sample_ndim
        out = self.compute(batch[None] if single else batch)
        return out[0] if single else out

    def _unknown(self, name: str) -> str:
        """The message where a field must be known and is not."""
        return (
            f"{type(self).__name__}: {name} must be numbers before the view is computed, but got 'auto'. Give a range "
            "(low, high), or use the view in a data module, which finds it in its training windows."
        )

    @property
    def digest(self) -> str:
        """A key that is the same in every process: class name, version and all fields, as in ``repr``."""
        text = f"{type(self).__name__}.{self.version}({self._values()})"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def __repr__(self) -> str:
        return f"{type(self).__qualname__}({self._values()})"

    def _values(self) -> str:
        """The fields with their values; an :func:`added` one only where it is not at its default."""
        given = [(f, getattr(self, f.name)) for f in fields(self)]
        return ", ".join(
            f"{f.name}={value!r}" for f, value in given if not f.metadata.get(_ADDED) or value != f.default
        )

    def bind(self, channel_names: Sequence[str]) -> Self:
        """The same view with channel names replaced by their places in ``channel_names``."""
        if self.channels is None:
            return self
        names = [str(name) for name in channel_names]
        for one in self.channels:
            if isinstance(one, str) and one not in names:
                raise InputError(f"channels: no channel is named {one!r}; the recording has {', '.join(names)}")
            if isinstance(one, int) and one >= len(names):
                raise InputError(f"channels: no channel {one}; the recording has {len(names)}: {', '.join(names)}")
        return replace(self, channels=tuple(names.index(c) if isinstance(c, str) else c for c in self.channels))

    def at_rate(self, rate: float | None) -> Self:
        """The same view of windows at this sampling rate in hertz, None where it is not known; most do not read it."""
        return self

    def selected(self, channels: int) -> int:
        """How many of ``channels`` channels the view reads."""
        return channels if self.channels is None else len(self._indices(channels))

    def _indices(self, channels: int) -> list[int]:
        chosen: list[int] = []
        for one in self.channels or ():
            if isinstance(one, str):
                raise InputError(
                    f"channels: {one!r} is a name and this view has no names of the recording's channels; "
                    f"call view.bind(channel_names) first, or use indices"
                )
            if one >= channels:
                raise InputError(f"channels must be indices below {channels}, the channels of x, but got {one}.")
            chosen.append(one)
        return chosen

    def _batch(self, x: npt.ArrayLike | Tensor) -> Tensor:
        """``x`` as a checked tensor of the channels that the view reads."""
        if not isinstance(x, Tensor):
            array = plain_array(x, "x")
            x = torch.as_tensor(array if array.flags.writeable else array.copy())
        axes = "(C, T) or (B, C, T)" if self.sample_ndim == 2 else "(C, H, W) or (B, C, H, W)"
        if x.ndim not in (self.sample_ndim, self.sample_ndim + 1):
            raise InputError(f"{type(self).__name__}: x must be {axes}, but got shape {tuple(x.shape)}.")
        place = x.ndim - self.sample_ndim
        if 0 in x.shape[place:]:
            raise InputError(
                f"x must have at least one channel and one sample, {axes}, but got shape {tuple(x.shape)}."
            )
        x = dense(x, "x")
        check(not x.is_complex(), "x", "real numbers", x.dtype)
        if x.dtype not in (torch.float32, torch.float64):
            x = x.to(torch.float32 if x.is_floating_point() else torch.float64)
        if self.channels is not None:
            x = x.index_select(place, torch.tensor(self._indices(x.shape[place]), device=x.device))
        x = x.contiguous()
        if not math.isfinite(float(x.sum())):
            self._refuse(x if place else x[None])
        return x

    def _refuse(self, x: Tensor) -> None:
        """Name the channel, the count and the first window of what is not finite (an overflowing sum is fine)."""
        bad = ~torch.isfinite(x.flatten(2))
        if not bool(bad.any()):
            return
        per_channel = bad.sum((0, 2))
        channel = int(per_channel.nonzero()[0, 0])
        window = int(bad[:, channel].any(1).nonzero()[0, 0])
        origin = channel if self.channels is None else self.channels[channel]
        others = int((per_channel > 0).sum()) - 1
        rest = int(per_channel.sum() - per_channel[channel])
        more = f" (and {rest} more in {others} other channels)" if others else ""
        raise InputError(
            f"x: expected finite samples, got {int(per_channel[channel])} NaN or infinite ones in channel {origin}, "
            f"the first in window {window}{more}; fill or drop them first"
        )
