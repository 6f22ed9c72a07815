"""Mixup of a part of the windows of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from kdlab.data.mixing import Mixing, Mixture
from kdlab.types import InputError


@dataclass(frozen=True)
class PartialMixup(Mixing):
    r"""Blend some windows of a batch with others, and their labels likewise, each with a share of its own.

    .. math:: \tilde x_i = \lambda_i x_i + (1 - \lambda_i) x_{j(i)}, \qquad \lambda_i \sim \mathrm{Beta}(\alpha, \alpha)
        \text{ for a part of the windows, } 1 \text{ for all others}

    Args:
        alpha: of the distribution of ``lambda``.
        probability: share of the batches that are mixed.
        fraction: share of the windows of a batch that are mixed, 0 to 1.
        draw: ``"exact"``: ``fraction * B`` windows, each with another one (between two whole numbers, one of both at
            random, so that the mean is exact); ``"released"``: the released code draws ``(1 - fraction) * B`` unmixed
            windows with replacement, so that more are mixed: 41 % for a fraction of .1.

    Raises:
        InputError: for an argument out of its range.

    References:
        H. Choi, E. S. Jeon, A. Shukla, P. Turaga, "Understanding the role of mixup in knowledge distillation: An
        empirical study", WACV 2023, arXiv:2211.03946. Code: hchoi71/MIX-KD@6e8c149.

    Differences from the reference code:
        ``draw="exact"``. A window stays at its place in the batch.

    Example:
        >>> mixture = PartialMixup(fraction=0.5)(4, (10,), np.random.default_rng(0))
        >>> mixture.partner.tolist(), mixture.weight.round(3).tolist()
        ([0, 3, 0, 3], [1.0, 0.044, 0.644, 1.0])
    """

    paper: ClassVar[tuple[str, ...]] = ("choi2023understanding",)

    fraction: float = 0.1
    draw: Literal["exact", "released"] = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.fraction <= 1:
            raise InputError(
                f"mix: fraction must be from 0 to 1, but got {self.fraction}. Write a share of the windows."
            )
        if self.draw not in ("exact", "released"):
            raise InputError(f"mix: draw must be 'exact' or 'released', but got {self.draw!r}. Choose one of them.")

    def mixture(
        self, partner: NDArray[np.int64], weight: float, shape: tuple[int, ...], rng: np.random.Generator
    ) -> Mixture:
        """Draw which windows are mixed, and how much of each stays."""
        count = len(partner)
        weights = rng.beta(self.alpha, self.alpha, count)
        if self.draw == "released":
            weights[rng.integers(count, size=int(count * (1 - self.fraction)))] = 1.0
            return Mixture(partner, weights)
        mixed = rng.permutation(count)[: int(self.fraction * count + rng.random())] if count > 1 else partner[:0]
        weights[np.setdiff1d(np.arange(count), mixed)] = 1.0
        others = np.arange(count)
        others[mixed] = (mixed + 1 + rng.integers(max(count - 1, 1), size=len(mixed))) % count
        return Mixture(others, weights)
