"""Spectrograms: the power of a window at each frequency, in one segment after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from kdlab.types import InputError
from kdlab.views.base import View, check, check_number, check_size


@dataclass(frozen=True, repr=False)
class Spectrogram(View):
    r"""Spectrogram of each channel of a window: its power density in overlapping segments, in decibels.

    .. math::
        P_{fk} = \frac{g_f}{\sum_s w_s^2}
            \Bigl|\sum_{s=0}^{L-1} w_s\,(x_{kh+s} - \bar x_k)\, e^{-2\pi i f s / N}\Bigr|^2, \qquad
        S_{fk} = \max(10 \log_{10} P_{fk},\ \text{floor})

    with the periodic Hann window w of L samples, the step h, the mean of each segment taken away, and g = 2 for all
    frequencies but 0 and (N even) the highest. Frequencies are in parts of the sampling rate, so nothing depends on
    the rate; divide by it for a density per hertz. Computed in float64.

    Args:
        segment: samples L of a segment, at most T.
        step: samples h from one segment to the next, at most L.
        transform: samples N of the transform, from L on (a segment is padded with zeros); None: L.
        floor: decibels below which every power is this, such as that of a constant segment; None gives the power P
            itself.
        channels: as in :class:`~kdlab.views.View`.
        source: as in :class:`~kdlab.views.View`.

    Shapes:
        ``(C, T)`` -> ``(C, N // 2 + 1, (T - L) // h + 1)``, with a batch axis likewise, float32; frequency 0 first.

    Raises:
        InputError: for a wrong argument, a window shorter than ``segment``, samples that are not finite.

    References:
        Allen, "Short term spectral analysis, synthesis, and modification by discrete Fourier transform", IEEE
        Transactions on Acoustics, Speech, and Signal Processing 25(3), 1977, doi:10.1109/TASSP.1977.1162950. Reference
        code: scipy.signal.spectrogram(x, 1.0, "hann", L, L - h, N).

    Differences from the reference code:
        The logarithm; none in the numbers beyond float32.

    Example:
        >>> Spectrogram(segment=4, step=1, floor=None)([[1.0, 0.0, 0.0, 0.0]])
        tensor([[[0.1667],
                 [0.0833],
                 [0.0000]]])
    """

    paper: ClassVar[tuple[str, ...]] = ("allen1977short",)

    segment: int = 32
    step: int = 4
    transform: int | None = None
    floor: float | None = -80.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low in (("segment", 2), ("step", 1), ("transform", 2)):
            if getattr(self, name) is not None or name != "transform":
                check_size(name, getattr(self, name), low)
                object.__setattr__(self, name, int(getattr(self, name)))
        check(self.step <= self.segment, "step", f"at most the {self.segment} samples of a segment", self.step)
        check(self._transform >= self.segment, "transform", f"at least the segment, {self.segment}", self.transform)
        if self.floor is not None:
            check_number("floor", self.floor, -1e6)
            object.__setattr__(self, "floor", float(self.floor))

    @property
    def _transform(self) -> int:
        return self.segment if self.transform is None else self.transform

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        """``(channels, frequencies, segments)``."""
        return (self.selected(channels), self._transform // 2 + 1, self._segments(length))

    def _segments(self, length: int) -> int:
        if length < self.segment:
            raise InputError(
                f"Spectrogram: segment must be at most the {length} samples of a window, but got {self.segment}. "
                "Use a shorter one."
            )
        return (length - self.segment) // self.step + 1

    def compute(self, x: Tensor) -> Tensor:
        """Segments, their transforms, and the power of these."""
        self._segments(x.shape[-1])  # refuses a window that is too short
        parts = x.double().unfold(-1, self.segment, self.step)
        total = parts[..., 0].clone()
        for s in range(1, self.segment):  # one after the other: a window has the same mean in every batch
            total += parts[..., s]
        phase = torch.arange(self.segment, dtype=torch.float64, device=x.device) * (2 * math.pi / self.segment)
        hann = 0.5 - 0.5 * torch.cos(phase)
        found = _transformed((parts - (total / self.segment)[..., None]) * hann, self._transform)
        power = (found.real * found.real + found.imag * found.imag) / float((hann * hann).sum())
        power[..., 1 : (self._transform + 1) // 2] *= 2
        if self.floor is not None:
            power = (10 * torch.log10(power)).clamp(min=self.floor)
        return power.mT.clamp(max=torch.finfo(torch.float32).max).float().contiguous()


def _transformed(x: Tensor, count: int) -> Tensor:
    """The discrete Fourier transform of real rows; scipy's on the CPU, which does not depend on the batch."""
    if x.is_cuda:
        found: Tensor = torch.fft.rfft(x, count)
        return found
    import scipy.fft

    return torch.from_numpy(scipy.fft.rfft(x.numpy(), count))
