"""A window at another sampling rate, of another length and in other units: what a teacher from elsewhere reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal, Self

import numpy.typing as npt
import torch
from torch import Tensor

from kdlab.types import InputError
from kdlab.views.base import View, check, check_number, check_size
from kdlab.views.parts import checked, fitted

MOST = 10_000  # the larger of the two factors: the filter has 20 times as many taps
_BORDERS = ("line", "edge", "mean")


@dataclass(frozen=True, repr=False)
class Resampled(View):
    r"""The window at another sampling rate, of another length and in another unit, for a teacher from elsewhere.

    Rates are brought to a ratio of whole numbers p / q = rate / source_rate. The window is filled up with zeros by p,
    filtered below the lower of the two Nyquist frequencies (a finite filter h with zero phase, of 20 max(p, q) + 1
    taps with a Kaiser window, beta 5), and every q-th sample is kept:

    .. math:: y_k = s\,\Bigl(\bar x + p \sum_t (x_t - \bar x)\, h_{k q - t p}\Bigr)

    so that sample k is at k / rate seconds after the first one. The mean of the window is taken away before and added
    behind, since the gain of the filter for a constant differs from sample to sample (by 2e-5 from 100 to 30 Hz), which
    a large offset (air pressure) would show. What is beyond the ends of the window is named by ``border``. Afterwards
    the window is cut to ``length`` samples; where it has fewer, its first and last sample are repeated. Everything is
    computed in float64; under a key with ``/physical`` the result is float64, as that of :class:`~kdlab.views.Raw`.

    Args:
        rate: hertz of the result; None: that of the windows.
        length: samples of the result; None: all of them, ceil(T p / q).
        scale: s, by which samples are multiplied: 1 / 9.80665 from metres per second squared to g.
        part: which samples are kept where there are more than ``length``: those at the ``"end"`` of the window, in its
            ``"centre"`` or at its ``"start"``; where there are fewer, they are put there.
        border: what the filter reads beyond the window: ``"line"``: the straight line through its first and its last
            sample; ``"edge"``: its first and its last sample, repeated; ``"mean"``: the mean of the window.
        source_rate: hertz of the windows; None: that of the data set, which a data module fills in.
        channels: as in :class:`~kdlab.views.View`.
        source: as in :class:`~kdlab.views.View`.

    Shapes:
        ``(C, T)`` -> ``(C, length)``, ``(B, C, T)`` -> ``(B, C, length)``, float32.

    Raises:
        InputError: for a wrong argument, rates whose ratio has a factor above 10,000, a data set without a rate, and
            samples that are not finite.

    References:
        scipy.signal.resample_poly, which it calls, with the padtypes ``"line"``, ``"edge"`` and ``"constant"``.

    Example:
        >>> view = Resampled(rate=30, length=300, scale=1 / 9.80665, source_rate=100)
        >>> view.shape(3, 1000), view(torch.full((1, 1000), 9.80665)).unique().tolist()
        ((3, 300), [1.0])
    """

    rate: float | None = None
    length: int | None = None
    scale: float = 1.0
    part: Literal["end", "centre", "start"] = "end"
    border: Literal["line", "edge", "mean"] = "line"
    source_rate: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rate", "source_rate"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), 0.0, open_end=True)
                object.__setattr__(self, name, float(getattr(self, name)))
        checked("length", self.length, self.part)
        if self.length is not None:
            check_size("length", self.length, 1)
            object.__setattr__(self, "length", int(self.length))
        check_number("scale", self.scale, -1e30)
        check(self.scale != 0, "scale", "a number other than 0", self.scale)
        object.__setattr__(self, "scale", float(self.scale))
        check(self.border in _BORDERS, "border", f"one of {', '.join(_BORDERS)}", self.border)
        self.factors  # noqa: B018  refuses rates without a ratio

    @property
    def unresolved(self) -> tuple[str, ...]:
        """The rate of the windows, where it is needed and not known."""
        return ("source_rate",) if self.rate is not None and self.source_rate is None else ()

    @property
    def factors(self) -> tuple[int, int]:
        """p and q: the rate of the result over that of the windows, as decimal numbers have it.

        >>> Resampled(rate=30, source_rate=31.25).factors, Resampled().factors
        ((24, 25), (1, 1))
        """
        if self.rate is None or self.source_rate is None:
            return 1, 1
        ratio = Fraction(repr(self.rate)) / Fraction(repr(self.source_rate))
        if max(ratio.numerator, ratio.denominator) > MOST:
            raise InputError(
                f"Resampled: rate must be to source_rate as whole numbers up to {MOST:,}, but got {self.rate:g} and "
                f"{self.source_rate:g} ({ratio.numerator} to {ratio.denominator}). Round one of them."
            )
        return ratio.numerator, ratio.denominator

    def at_rate(self, rate: float | None) -> Self:
        """The same view of windows at this rate.

        Raises:
            InputError: the rate is not known, or not that of ``source_rate``.
        """
        if self.rate is None:
            return self
        if rate is None and self.source_rate is None:
            raise InputError(
                f"Resampled: rate={self.rate:g} must find the sampling rate of the windows, but the data set declares "
                "none. Set sampling_rate of the data module, or source_rate of the view."
            )
        if rate is not None and self.source_rate not in (None, float(rate)):
            raise InputError(
                f"Resampled: source_rate must be the sampling rate of the data set, {rate:g}, but got "
                f"{self.source_rate:g}. Leave it out."
            )
        return self if rate is None else replace(self, source_rate=float(rate))

    def _unknown(self, name: str) -> str:
        return (
            f"Resampled: {name} must be known before the view is computed, but got None. Give the sampling rate of the "
            "windows, or use the view in a data module, which fills it in."
        )

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        """``(channels kept, length)``."""
        if self.length is None and self.unresolved:
            raise InputError(self._unknown("source_rate"))
        p, q = self.factors
        return (self.selected(channels), -(-length * p // q) if self.length is None else self.length)

    def compute(self, x: Tensor) -> Tensor:
        """The samples in float32."""
        return self._samples(x).float()

    def exact(self, x: npt.ArrayLike | Tensor) -> Tensor:
        """The same of a batch in float64."""
        return self._samples(self._batch(x))

    def _samples(self, x: Tensor) -> Tensor:
        p, q = self.factors
        y = x.double()
        if (p, q) != (1, 1):
            from scipy.signal import resample_poly  # takes a second, and only this view needs it

            samples = y.cpu().numpy()
            mean = samples.mean(axis=-1, keepdims=True)
            how = "constant" if self.border == "mean" or samples.shape[-1] == 1 else self.border  # no line through one
            found: Any = resample_poly(samples - mean, p, q, axis=-1, padtype=how) + mean
            y = torch.from_numpy(found).to(x.device)
        y = y if self.length is None else fitted(y, self.length, self.part)
        return (y * self.scale).contiguous()
