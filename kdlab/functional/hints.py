"""Functions of features that trained adapters have made comparable: regressors, channel weights, embeddings."""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from kdlab.functional.maps import _energy, _fit_maps, _pool
from kdlab.functional.precision import full_precision, shape_of, unit
from kdlab.types import InputError


def fit_maps(student: Tensor, teacher: Tensor, resize: Literal["pool"] | None = None) -> tuple[Tensor, Tensor]:
    """Two features with the same positions; channels may differ.

    Args:
        student: ``(B, C, *S)``.
        teacher: ``(B, C', *S')``; detached.
        resize: ``None`` refuses maps of different size; ``"pool"`` average-pools the larger one, axis by axis.

    Raises:
        InputError: with both shapes, if the positions do not fit, if one feature is 1-D and the other 2-D, or for an
            embedding, which has no positions.

    Example:
        >>> import torch
        >>> student, teacher = fit_maps(torch.zeros(1, 2, 4), torch.zeros(1, 3, 8), resize="pool")
        >>> student.shape, teacher.shape
        (torch.Size([1, 2, 4]), torch.Size([1, 3, 4]))
    """
    if min(student.ndim, teacher.ndim) < 3:
        raise InputError(
            f"Maps need positions: expected features (B, C, *S), but the student has {shape_of(student)} and the "
            f"teacher {shape_of(teacher)}. An embedding has none; choose a tap before the pooling."
        )
    return _fit_maps(student, teacher.detach(), resize)


@full_precision
def mean_square(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Mean squared difference of two features, ``mean (F_s - F_t)^2`` over batch, channels and positions.

    Args:
        student: ``(B, C, *S)``, of the teacher's shape.
        teacher: ``(B, C, *S)``; detached.

    Raises:
        InputError: with both shapes, if they differ.

    Example:
        >>> import torch
        >>> mean_square(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 0.0]]))
        tensor(5.)
    """
    _check_same_shape(student, teacher)
    return (student - teacher.detach()).square().mean()


@full_precision
def variational_information(mean: Tensor, teacher: Tensor, variance: Tensor) -> Tensor:
    r"""Negative log-likelihood of a teacher's feature under a Gaussian around a prediction, without its constant.

    .. math:: \frac{1}{B C P} \sum_{i, c, p} \tfrac12 \left[ \frac{(F^t_{icp} - \mu_{icp})^2}{\sigma_c^2}
        + \log \sigma_c^2 \right]

    Args:
        mean: ``mu (B, C, *S)``, predicted from the student's feature.
        teacher: ``(B, C, *S)``; detached.
        variance: ``sigma^2 (C,)``, positive.

    Raises:
        InputError: with both shapes, if they differ.

    References:
        S. Ahn et al., "Variational information distillation for knowledge transfer", CVPR 2019, arXiv:1904.05835.
        Code: HobbitLong/RepDistiller@b84f547.

    Example:
        >>> import torch
        >>> mean, teacher = torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[0.0, 0.0]]])
        >>> print(f"{variational_information(mean, teacher, torch.tensor([2.0])):.4f}")
        1.5966
    """
    _check_same_shape(mean, teacher)
    variance = variance.view(1, -1, *(1,) * (mean.ndim - 2))
    return 0.5 * ((teacher.detach() - mean).square() / variance + variance.log()).mean()


@full_precision
def pooled_attention_map(feature: Tensor, size: tuple[int, ...]) -> Tensor:
    r"""Energy at every position, average-pooled to a size, flattened, with unit L2 norm per sample.

    .. math:: \hat q = q / \lVert q \rVert_2, \qquad q = \mathrm{pool} \sum_c F_c^2

    Args:
        feature: ``(B, C, *S)``.
        size: sides of the map that it is compared with; a side that is longer than the feature's repeats positions.

    Shapes:
        ``(B, C, *S) -> (B, prod(size))``.

    Raises:
        InputError: with both, if feature and size have another number of axes.

    References:
        M. Ji, B. Heo, S. Park, "Show, attend and distill: knowledge distillation via attention-based feature matching",
        AAAI 2021, arXiv:2102.02973. Code: clovaai/attention-feature-distillation@dd990d0.

    Example:
        >>> import torch
        >>> pooled_attention_map(torch.tensor([[[1.0, 1.0, 0.0, 0.0]]]), (2,))
        tensor([[1., 0.]])
    """
    if feature.ndim != len(size) + 2:
        raise InputError(
            f"A map of {len(size)} axes cannot be made of a feature of another dimensionality: the student has "
            f"{shape_of(feature)}, the teacher's map has the sides {size}. Use a teacher of the student's kind of view."
        )
    return unit(_pool(_energy(feature).unsqueeze(1), size).flatten(1))


@full_precision
def channel_weighted_distance(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    r"""Squared difference of normalised channels, each with a weight of its own.

    .. math:: \frac1B \sum_i \sum_c \rho_{ic}\, \frac1P \sum_p (\hat F^s_{icp} - \hat F^t_{icp})^2

    where a hat is the L2 normalisation of a channel over its positions.

    Args:
        student: ``(B, C, *S)``, of the teacher's shape.
        teacher: ``(B, C, *S)``; detached.
        weights: ``rho (B, C)``.

    Raises:
        InputError: with both shapes, if they differ.

    References:
        K. Wang, X. Gao, Y. Zhao, X. Li, D. Dou, C.-Z. Xu, "Pay attention to features, transfer learn faster CNNs",
        ICLR 2020. Code: AberHu/Knowledge-Distillation-Zoo@65470c8 kd_losses/afd.py, a port.

    Differences from the reference code:
        It divides by the norm plus 1e-6, here by a norm of at least 1e-12.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 2.0]]])
        >>> channel_weighted_distance(student, teacher, torch.ones(1, 1))
        tensor(1.)
    """
    _check_same_shape(student, teacher)
    difference = unit(student.flatten(2)) - unit(teacher.detach().flatten(2))
    return (weights * difference.square().mean(2)).sum(1).mean()


@full_precision
def noise_contrast(positive: Tensor, negative: Tensor, windows: int) -> Tensor:
    r"""Noise-contrastive estimation: classify a true pair among pairs with windows drawn at random.

    .. math:: \frac1B \sum_i \left[ -\log \frac{p_i}{p_i + c} - \sum_k \log \frac{c}{p_{ik} + c} \right],
        \qquad c = \frac{K}{N}

    Args:
        positive: ``log p (B,)`` of the true pairs.
        negative: ``log p (B, K)`` of the pairs with others.
        windows: ``N``, number of windows that the others are drawn from.

    References:
        Y. Tian, D. Krishnan, P. Isola, "Contrastive representation distillation", ICLR 2020, arXiv:1910.10699.
        Code: HobbitLong/RepDistiller@b84f547.

    Differences from the reference code:
        It adds 1e-7 to the denominators; here the logarithms are computed without quotients.

    Example:
        >>> import torch
        >>> print(f"{noise_contrast(torch.zeros(1), torch.zeros(1, 2), windows=2):.4f}")
        2.0794
    """
    share = math.log(negative.shape[1] / windows)
    return F.softplus(share - positive).mean() + F.softplus(negative - share).sum(1).mean()


def _check_same_shape(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise InputError(
            f"Features must have the same shape once they are adapted, but the student's has {shape_of(student)} and "
            f"the teacher's {shape_of(teacher)}. Make the adapters again if the windows have another length now."
        )
