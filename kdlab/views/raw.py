"""The window itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy.typing as npt
import torch
from torch import Tensor

from kdlab.views.base import View


@dataclass(frozen=True)
class Raw(View):
    """The window as it is, or some of its channels: a student may see fewer sensors than its teachers.

    Args:
        channels: names or indices of the channels to keep, in this order; None keeps all.
        source: as in :class:`~kdlab.views.View`.

    Shapes:
        ``(C, T)`` -> ``(C', T)``, ``(B, C, T)`` -> ``(B, C', T)``, float32.

    Raises:
        InputError: for an unknown channel or samples that are not finite.

    Example:
        >>> Raw(["wrist"]).bind(["ankle", "wrist"])([[1.0, 2.0], [3.0, 4.0]])
        tensor([[3., 4.]])
    """

    channels: tuple[int | str, ...] | None = field(default=None, kw_only=False)

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        """``(channels kept, length)``."""
        return (self.selected(channels), length)

    def compute(self, x: Tensor) -> Tensor:
        """A float32 copy."""
        return x.to(torch.float32, copy=True)

    def exact(self, x: npt.ArrayLike | Tensor) -> Tensor:
        """The same in the precision of ``x``, float32 or float64."""
        return self._batch(x).clone()


@dataclass(frozen=True)
class RawImage(Raw):
    """The image as it is, or some of its channels; the data modules of images use it in place of ``Raw``.

    Args:
        channels: as in :class:`Raw`.
        source: as in :class:`~kdlab.views.View`.

    Shapes:
        ``(C, H, W)`` -> ``(C', H, W)``, ``(B, C, H, W)`` -> ``(B, C', H, W)``, float32.

    Raises:
        InputError: as :class:`Raw`.

    Example:
        >>> RawImage(["green"]).bind(["red", "green", "blue"]).shape(3, (32, 32))
        (1, 32, 32)
    """

    sample_ndim: ClassVar[int] = 3

    def shape(self, channels: int, length: Any) -> tuple[int, ...]:
        """``(channels kept, height, width)``."""
        return (self.selected(channels), *length)
