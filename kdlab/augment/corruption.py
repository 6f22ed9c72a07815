"""Corruptions of test windows and test images, at three severities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from kdlab.augment.base import Augmentation, Window
from kdlab.augment.windows import add_noise
from kdlab.types import InputError

_NOISE = {1: 0.06, 2: 0.09, 3: 0.12}
_RATIO = {1: 0.15, 2: 0.22, 3: 0.30}


@dataclass(frozen=True)
class Corruption(Augmentation):
    """A corruption of test windows at one of three severities.

    ``"noise"`` adds white noise of 0.06, 0.09 or 0.12 training standard deviations of the channel; ``"missing"``
    replaces a share of 0.15, 0.22 or 0.30 of the instants, drawn at random, by the training mean, in all channels;
    ``"both"`` does the one after the other (missing first); ``"shift"`` rolls the window by that share of its length,
    forwards or backwards. The instants of an image are its pixels, and its length is its width.

    Args:
        kind: ``"noise"``, ``"missing"``, ``"both"`` or ``"shift"``.
        severity: 1, 2 or 3. The noise is read in training standard deviations, the missing share as scattered
            instants, the shift by the missing shares: all three readings are unverified.

    Example:
        >>> lost = Corruption("missing", severity=3)(np.ones((2, 100)), np.random.default_rng(0))
        >>> (lost == 0).sum(axis=1)
        array([30, 30])
    """

    sample_ndims: ClassVar[tuple[int, ...]] = (2, 3)

    kind: Literal["noise", "missing", "both", "shift"] = "noise"
    severity: Literal[1, 2, 3] = 1

    def __post_init__(self) -> None:
        if self.kind not in ("noise", "missing", "both", "shift"):
            raise InputError(f"kind must be 'noise', 'missing', 'both' or 'shift', but got {self.kind!r}.")
        if self.severity not in _NOISE:
            raise InputError(f"severity must be 1, 2 or 3, but got {self.severity!r}.")

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Corrupt."""
        ratio = _RATIO[self.severity]
        if self.kind == "shift":
            share = round(ratio * window.shape[-1])
            return np.roll(window, share if rng.random() < 0.5 else -share, axis=-1)
        if self.kind in ("missing", "both"):
            instants = window.reshape(len(window), -1)  # no copy
            length = instants.shape[1]
            instants[:, rng.permutation(length)[: round(ratio * length)]] = self.training_mean(instants)
        if self.kind in ("noise", "both"):
            window = add_noise(window, _NOISE[self.severity], self.training_std(window), rng)
        return window
