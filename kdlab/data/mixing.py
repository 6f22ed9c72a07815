"""Training batches of mixed windows: mixup and CutMix, with class probabilities for labels."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kdlab.types import InputError


@dataclass(frozen=True)
class Mixture:
    """How the windows of one batch are mixed: the same for every source and every version of a window.

    Args:
        partner: the place in the batch of each window's partner, ``(B,)``.
        weight: ``lambda``, the share of a window that stays its own, 0 to 1: one of all windows, or ``(B,)`` one each.
        box: on each axis the first position that comes from the partner, and the one behind the last; None: all
            positions are blended.
        shape: the axes that ``box`` is counted on; a source of another length is cut at the same fractions of it.
    """

    partner: NDArray[np.int64]
    weight: float | NDArray[np.float64]
    box: tuple[tuple[int, int], ...] | None = None
    shape: tuple[int, ...] = ()

    def windows(self, x: NDArray[Any]) -> NDArray[Any]:
        """Mix windows ``(B, C, T)`` or images ``(B, C, H, W)``; what came in stays as it was.

        Raises:
            InputError: if a box is to be cut from axes of another number.
        """
        if self.box is None:
            own = self._own(x.dtype, x.ndim)
            blended: NDArray[Any] = own * x + (x.dtype.type(1) - own) * x[self.partner]
            return blended
        if x.ndim != len(self.shape) + 2:
            raise InputError(
                f"mix: CutMix cuts the same box from every source, but the first source has samples of "
                f"{len(self.shape)} axes and another one of {x.ndim - 2}. Use Mixup."
            )
        cuts = zip(self.box, self.shape, x.shape[2:], strict=True)
        inside = [slice(round(a / whole * side), round(b / whole * side)) for (a, b), whole, side in cuts]
        pasted = x.copy()
        pasted[:, :, *inside] = x[self.partner][:, :, *inside]
        return pasted

    def target(self, target: NDArray[Any], classes: int) -> NDArray[np.float32]:
        """Class probabilities ``(B, K)`` of labels ``(B,)``; a window without a label (-1) adds none.

        Of rows of 0 and 1 ``(B, K)`` it is a probability per class; a window that is mixed with one without labels
        (-1) has none.

        >>> Mixture(np.array([1, 0]), 0.75).target(np.array([0, 2]), 3).tolist()
        [[0.75, 0.0, 0.25], [0.25, 0.0, 0.75]]
        """
        own = np.eye(classes + 1, classes, dtype=np.float32)[target] if target.ndim == 1 else target.astype(np.float32)
        weight = self._own(np.dtype(np.float32), 2)
        probabilities: NDArray[np.float32] = weight * own + (np.float32(1) - weight) * own[self.partner]
        if target.ndim > 1:
            without: NDArray[np.bool_] = np.asarray((target < 0).any(axis=1))
            probabilities[(without | without[self.partner]) & (np.asarray(self.weight) < 1)] = -1
        return probabilities

    def _own(self, dtype: np.dtype[Any], ndim: int) -> NDArray[Any]:
        """The weight in a type, in the shape that multiplies windows of so many axes."""
        weight = np.asarray(self.weight, dtype)
        return weight.reshape(-1, *(1,) * (ndim - 1)) if weight.ndim else weight


@dataclass(frozen=True)
class Mixing(ABC):
    """What mixes the windows of a training batch with each other; a frozen dataclass with defaults, see `Mixup`.

    Partners are a random order of the batch, and there is one ``lambda`` a batch, as in the released codes. Both are a
    function of the seed, the epoch and the batch alone, so they depend neither on workers nor on an interruption. Over
    several processes each mixes within its own part of the batch.

    Args:
        alpha: of ``lambda ~ Beta(alpha, alpha)``, above 0.
        probability: share of the batches that are mixed, 0 to 1; the labels of the others are probabilities as well.

    Raises:
        InputError: for an argument out of its range.
    """

    alpha: float = 1.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise InputError(f"mix: alpha must be above 0 and finite, but is {self.alpha}; leave mix out for no mixing")
        if not 0 <= self.probability <= 1:
            raise InputError(f"mix: probability must be from 0 to 1, but is {self.probability}")

    def __call__(self, count: int, shape: Sequence[int], rng: np.random.Generator) -> Mixture:
        """Draw how a batch is mixed.

        Args:
            count: windows of the batch.
            shape: of a sample of the first source, without its channels.
            rng: where the randomness comes from.
        """
        mixed, weight = rng.random() < self.probability, float(rng.beta(self.alpha, self.alpha))
        if not mixed:
            return Mixture(np.arange(count), 1.0)
        return self.mixture(rng.permutation(count), weight, tuple(shape), rng)

    @abstractmethod
    def mixture(
        self, partner: NDArray[np.int64], weight: float, shape: tuple[int, ...], rng: np.random.Generator
    ) -> Mixture:
        """The mixture of partners and a ``lambda`` that were drawn."""


@dataclass(frozen=True)
class Mixup(Mixing):
    r"""Blend each window with another one of its batch, and their labels likewise.

    .. math:: \tilde x_i = \lambda x_i + (1 - \lambda) x_j, \qquad \tilde y_i = \lambda y_i + (1 - \lambda) y_j,
        \qquad \lambda \sim \mathrm{Beta}(\alpha, \alpha)

    Args:
        alpha: of the distribution of ``lambda``; .1 to .4 are the paper's for ImageNet, 1 for CIFAR.
        probability: share of the batches that are mixed.

    References:
        H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, "mixup: Beyond empirical risk minimization", ICLR 2018,
        arXiv:1710.09412.

    Example:
        >>> mixture = Mixup(0.2)(4, (10,), np.random.default_rng(6))
        >>> mixture.partner.tolist(), round(mixture.weight, 4)
        ([2, 3, 0, 1], 0.4104)
    """

    paper: ClassVar[tuple[str, ...]] = ("zhang2018mixup",)

    def mixture(
        self, partner: NDArray[np.int64], weight: float, shape: tuple[int, ...], rng: np.random.Generator
    ) -> Mixture:
        """Blend all positions."""
        return Mixture(partner, weight)


@dataclass(frozen=True)
class CutMix(Mixing):
    r"""Replace a stretch of time, or a box of an image, by that of another window of the batch.

    .. math:: \tilde x_i = M \odot x_i + (1 - M) \odot x_j, \qquad \tilde y_i = \lambda y_i + (1 - \lambda) y_j

    ``M`` is 0 in a box with a centre drawn uniformly and sides of ``(1 - lambda)^(1/n)`` of the sample's ``n`` axes,
    ``lambda ~ Beta(alpha, alpha)``; where the box reaches beyond the sample it is clipped, and ``lambda`` becomes the
    share of positions outside of it. Time has one axis, an image two.

    Args:
        alpha: of the distribution of ``lambda``.
        probability: share of the batches that are mixed; the paper has 1 for ImageNet, the code .5 for CIFAR.

    References:
        S. Yun, D. Han, S. J. Oh, S. Chun, J. Choe, Y. Yoo, "CutMix: Regularization strategy to train strong classifiers
        with localizable features", ICCV 2019, arXiv:1905.04899.

    Differences from the reference code:
        A side of an odd length keeps it (there one position is lost). A stretch of time is ours.

    Example:
        >>> mixture = CutMix()(4, (10,), np.random.default_rng(2))
        >>> mixture.box, round(mixture.weight, 4), mixture.partner.tolist()
        (((4, 10),), 0.4, [2, 0, 3, 1])
    """

    paper: ClassVar[tuple[str, ...]] = ("yun2019cutmix",)

    def mixture(
        self, partner: NDArray[np.int64], weight: float, shape: tuple[int, ...], rng: np.random.Generator
    ) -> Mixture:
        """Cut a box."""
        ratio = (1 - weight) ** (1 / len(shape))
        box = []
        for side in shape:
            length, centre = int(side * ratio), int(rng.integers(side))
            start = centre - length // 2
            box.append((max(start, 0), min(start + length, side)))
        inside = math.prod(stop - start for start, stop in box) / math.prod(shape)
        return Mixture(partner, 1 - inside, tuple(box), shape)
