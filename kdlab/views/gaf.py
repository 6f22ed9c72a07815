"""Gramian angular fields: a window as the sums or differences of its angles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdlab.views.base import View, added, check, check_number, check_size, still
from kdlab.views.segments import bounds, means, side

_TINY = 10 * np.finfo(np.float64).eps  # a smaller spread counts as constant


@dataclass(frozen=True, repr=False)
class GramianAngularField(View):
    r"""Gramian angular field of each channel of a window.

    The window is averaged over n segments, scaled to [-1, 1] by its own minimum and maximum, and read as cosines:

    .. math::
        x_i = \cos\varphi_i, \qquad
        \mathrm{GASF}_{ij} = \cos(\varphi_i + \varphi_j) = x_i x_j - \sqrt{1 - x_i^2}\sqrt{1 - x_j^2}, \qquad
        \mathrm{GADF}_{ij} = \sin(\varphi_i - \varphi_j) = \sqrt{1 - x_i^2}\,x_j - x_i\sqrt{1 - x_j^2}

    Segment i averages the samples from e_i to e_{i+1}, where e = linspace(0, T, n + 1) truncated to whole numbers.
    The scaling discards offset and amplitude: ``GAF(x) == GAF(5 x + 3)``. A constant window sits at -1, so its GASF is
    +1 and its GADF is 0 everywhere; one that is nearly constant fills the complete range with its noise, unless
    ``floor`` is above its span. Means and scaling are computed in float64, the products in float32.

    Args:
        size: side n of the image in pixels, at most T; None keeps T.
        method: ``"summation"`` or ``"difference"``.
        backend: ``"fast"``, or ``"pyts"`` for the reference implementation (its first import takes half a minute).
        floor: a channel whose samples span less than this (largest minus smallest), in units of the signal, is noise
            of a sensor at rest and counts as constant; 0 takes every channel as it is.
        channels: as in :class:`~kdlab.views.View`.
        source: as in :class:`~kdlab.views.View`.

    Shapes:
        ``(C, T)`` -> ``(C, n, n)``, ``(B, C, T)`` -> ``(B, C, n, n)``, float32.

    Raises:
        InputError: for an unknown method or backend, a window shorter than ``size``, samples that are not finite.

    References:
        Wang and Oates, "Encoding Time Series as Images for Visual Inspection and Classification Using Tiled
        Convolutional Neural Networks", AAAI Workshops 2015. Reference code: johannfaouzi/pyts@4f3d97b,
        pyts/image/gaf.py.

    Differences from the reference code:
        None in the numbers beyond float32 (pyts computes the products in float64); no arccos is taken; NaN is refused
        by channel; the output has one image per channel.

    Example:
        >>> GramianAngularField(size=3)([[0.0, 1.0, 2.0]])
        tensor([[[ 1., -0., -1.],
                 [-0., -1.,  0.],
                 [-1.,  0.,  1.]]])
    """

    paper: ClassVar[tuple[str, ...]] = ("wang2015imaging",)

    size: int | None = 64
    method: Literal["summation", "difference"] = "summation"
    backend: Literal["fast", "pyts"] = "fast"
    floor: float = added(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None:
            check_size("size", self.size)
            object.__setattr__(self, "size", int(self.size))
        check(self.method in ("summation", "difference"), "method", "'summation' or 'difference'", self.method)
        check(self.backend in ("fast", "pyts"), "backend", "'fast' or 'pyts'", self.backend)
        check_number("floor", self.floor, 0.0)
        object.__setattr__(self, "floor", float(self.floor))

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        """``(channels, n, n)``."""
        size = side(self.size, length)
        return (self.selected(channels), size, size)

    def compute(self, x: Tensor) -> Tensor:
        """Compiled on the CPU, in torch on a CUDA device."""
        ends = bounds(x.shape[-1], side(self.size, x.shape[-1]))
        x = still(x, self.floor)
        if self.backend == "pyts":
            return self._pyts(x)
        if x.is_cuda:
            return self._torch(x, ends)
        from kdlab.views.kernels import blank, gramian, run_rows

        size = ends.size - 1
        out = blank(*x.shape[:2], size, size)
        rows = x.cpu().numpy().reshape(-1, x.shape[-1])
        run_rows(gramian, len(rows), rows, ends, self.method == "difference", out.view(-1, size, size).numpy())
        return out.to(x.device)

    def _torch(self, x: Tensor, ends: npt.NDArray[np.int64]) -> Tensor:
        """The same in torch, on whatever device ``x`` is."""
        mean = means(x, ends)
        low, high = mean.aminmax(dim=-1, keepdim=True)
        spread = high - low
        scale = 2.0 / torch.where(spread < _TINY, torch.ones_like(spread), spread)
        value = mean * scale + (-1.0 - low * scale)
        cosine, sine = value.float(), (1 - value * value).clamp(0, 1).sqrt().float()
        if self.method == "difference":
            return sine[..., :, None] * cosine[..., None, :] - cosine[..., :, None] * sine[..., None, :]
        return cosine[..., :, None] * cosine[..., None, :] - sine[..., :, None] * sine[..., None, :]

    def _pyts(self, x: Tensor) -> Tensor:
        from pyts.image import GramianAngularField as Reference

        reference: Any = Reference(image_size=side(self.size, x.shape[-1]), method=self.method)
        images = reference.transform(x.double().cpu().numpy().reshape(-1, x.shape[-1]))
        return torch.as_tensor(images, dtype=torch.float32, device=x.device).view(*x.shape[:2], *images.shape[1:])
