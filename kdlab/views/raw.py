"""The window itself."""

from __future__ import annotations

from dataclasses import dataclass, field

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
