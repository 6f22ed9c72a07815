"""The window itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy.typing as npt
import torch
from torch import Tensor

from kdlab.types import InputError
from kdlab.views.base import View, added
from kdlab.views.parts import checked, place


@dataclass(frozen=True, repr=False)
class Raw(View):
    """The window as it is, or some of its channels and samples: a student may see less than its teachers.

    Args:
        channels: names or indices of the channels to keep, in this order; None keeps all.
        samples: how many samples are kept, at most T; None keeps all. A student that reads the last second of windows
            of ten seconds is exported, loaded and run on windows of one second.
        part: which samples these are: those at the ``"end"`` of the window, in its ``"centre"`` or at its ``"start"``.
        source: as in :class:`~kdlab.views.View`.

    Shapes:
        ``(C, T)`` -> ``(C', T')``, ``(B, C, T)`` -> ``(B, C', T')``, float32.

    Raises:
        InputError: for an unknown channel, a window that is shorter than ``samples``, or samples that are not finite.

    Example:
        >>> Raw(["wrist"]).bind(["ankle", "wrist"])([[1.0, 2.0], [3.0, 4.0]])
        tensor([[3., 4.]])
        >>> Raw(samples=1)([[1.0, 2.0], [3.0, 4.0]])
        tensor([[2.],
                [4.]])
    """

    channels: tuple[int | str, ...] | None = field(default=None, kw_only=False)
    samples: int | None = added(None)
    part: Literal["end", "centre", "start"] = added("end")

    def __post_init__(self) -> None:
        super().__post_init__()
        checked("samples", self.samples, self.part)
        if self.samples is not None:
            object.__setattr__(self, "samples", int(self.samples))

    def kept(self, length: int) -> slice:
        """Which samples of a window are kept.

        Raises:
            InputError: it has fewer.
        """
        if self.samples is None:
            return slice(None)
        if self.samples > length:
            raise InputError(
                f"{type(self).__name__}: samples must be at most the {length} of a window, but got {self.samples}. "
                "Keep fewer, or cut longer windows."
            )
        start = place(length, self.samples, self.part)
        return slice(start, start + self.samples)

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        """``(channels kept, samples kept)``."""
        return (self.selected(channels), len(range(length)[self.kept(length)]))

    def compute(self, x: Tensor) -> Tensor:
        """A float32 copy."""
        return x[..., self.kept(x.shape[-1])].contiguous().to(torch.float32, copy=True)

    def exact(self, x: npt.ArrayLike | Tensor) -> Tensor:
        """The same in the precision of ``x``, float32 or float64."""
        batch = self._batch(x)
        return batch[..., self.kept(batch.shape[-1])].clone(memory_format=torch.contiguous_format)


@dataclass(frozen=True, repr=False)
class RawImage(Raw):
    """The image as it is, or some of its channels; the data modules of images use it in place of ``Raw``.

    Args:
        channels: as in :class:`Raw`.
        source: as in :class:`~kdlab.views.View`.

    Shapes:
        ``(C, H, W)`` -> ``(C', H, W)``, ``(B, C, H, W)`` -> ``(B, C', H, W)``, float32.

    Raises:
        InputError: as :class:`Raw`, and for ``samples``, which images do not have.

    Example:
        >>> RawImage(["green"]).bind(["red", "green", "blue"]).shape(3, (32, 32))
        (1, 32, 32)
    """

    sample_ndim: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples is not None:
            raise InputError(f"RawImage: samples must be None for images, but got {self.samples}. Leave it out.")

    def shape(self, channels: int, length: Any) -> tuple[int, ...]:
        """``(channels kept, height, width)``."""
        return (self.selected(channels), *length)
