"""Functions of angles: between embeddings and classes, between embeddings, and of the maps of angular margins."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab.functional.labels import check_labels
from kdlab.functional.maps import _angular_maps, _energy
from kdlab.functional.precision import full_precision, shape_of, unit
from kdlab.types import InputError

#: the cosine of equal directions, whose arccos still has a finite slope
EPS_COSINE = 1e-7


@full_precision
def angular_softmax(
    logits: Tensor, embedding: Tensor, target: Tensor, margin: int = 4, cosine_weight: float | Tensor = 5.0
) -> Tensor:
    r"""Cross-entropy in which the angle to the true class is stretched ``m`` times (A-Softmax, SphereFace).

    With logits ``z_j = |x| cos(theta_j)``, as class weights of length 1 without bias give them, the true class has

    .. math:: z'_y = |x| \frac{\lambda \cos\theta_y + \psi(\theta_y)}{1 + \lambda}, \qquad
        \psi(\theta) = (-1)^k \cos(m \theta) - 2k, \quad \theta \in [k \pi / m, (k + 1) \pi / m]

    in place of ``z_y``, and the loss is the mean cross-entropy.

    Args:
        logits: ``(B, K)``; where ``|z| > |x|`` the cosine is taken as 1 or -1.
        embedding: ``x``, ``(B, D)``.
        target: class indices ``(B,)``, or class probabilities ``(B, K)``, over which the loss is averaged (as the
            labels of a mixed window are); they need ``B K^2`` numbers of memory.
        margin: ``m``, an integer of at least 1; 1 is the softmax itself.
        cosine_weight: ``lambda >= 0``, a number or a 0-dim tensor.

    Raises:
        InputError: if the shapes differ, ``target`` does not fit, or the margin is no integer.

    References:
        W. Liu, Y. Wen, Z. Yu, M. Li, B. Raj, L. Song, "SphereFace: Deep hypersphere embedding for face recognition",
        CVPR 2017, arXiv:1704.08063. Code: clcarwin/sphereface_pytorch@e2f11f0.

    Differences from the reference code:
        It has 3.14159265 for pi and no guard against embeddings of length 0.

    Example:
        >>> logits, x = torch.tensor([[1.2, 1.6]]), torch.tensor([[1.2, 1.6]])
        >>> print(f"{angular_softmax(logits, x, torch.tensor([1]), margin=2, cosine_weight=0.0):.4f}")
        1.0635
    """
    stretched = _stretched(logits, embedding, margin, cosine_weight)
    check_labels(logits, target)
    if target.is_floating_point():
        return (target.to(logits.dtype) * _angular_losses(logits, stretched)).sum(1).mean()
    at = F.one_hot(target.long(), logits.shape[1]).bool()
    return F.cross_entropy(torch.where(at, stretched, logits), target.long())


@full_precision
def angular_losses(logits: Tensor, embedding: Tensor, margin: int = 4, cosine_weight: float | Tensor = 5.0) -> Tensor:
    r"""The loss that each class would give as the true one in :func:`angular_softmax`, ``(B, K)``.

    Args:
        logits: ``(B, K)``.
        embedding: ``x``, ``(B, D)``.
        margin: ``m``, an integer of at least 1.
        cosine_weight: ``lambda >= 0``, a number or a 0-dim tensor.

    Shapes:
        ``(B, K)``, from ``B K^2`` numbers.

    Raises:
        InputError: if the shapes differ, or the margin is no integer.

    Example:
        >>> x = torch.tensor([[1.2, 1.6]])
        >>> angular_losses(x, x, margin=2, cosine_weight=0.0)
        tensor([[2.2691, 1.0635]])
    """
    return _angular_losses(logits, _stretched(logits, embedding, margin, cosine_weight))


def _stretched(logits: Tensor, embedding: Tensor, margin: int, cosine_weight: float | Tensor) -> Tensor:
    """The logit that each class has where it is the true one, ``(B, K)``."""
    if isinstance(margin, bool) or not isinstance(margin, int) or margin < 1:
        raise InputError(f"margin must be a whole number of at least 1, but is {margin!r}.")
    if logits.ndim != 2 or embedding.ndim != 2 or len(logits) != len(embedding):
        raise InputError(
            f"logits must be (B, K) and the embedding (B, D), but are {shape_of(logits)} and {shape_of(embedding)}."
        )
    length = torch.linalg.vector_norm(embedding, dim=1, keepdim=True)
    cosine = (logits / torch.where(length > 0, length, 1.0)).clamp(-1, 1)
    stretched: Tensor = length * (cosine_weight * cosine + _psi(cosine, margin)) / (1 + cosine_weight)
    return stretched


def _angular_losses(logits: Tensor, stretched: Tensor) -> Tensor:
    at = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    each = torch.where(at, stretched[:, None], logits[:, None])  # (B, true class, K)
    return each.logsumexp(2) - stretched


def _psi(cosine: Tensor, margin: int) -> Tensor:
    """``(-1)^k cos(m theta) - 2k`` of ``cos(theta)``, without the arccos, whose slope is infinite at 1 and -1."""
    before, multiple = torch.ones_like(cosine), cosine  # cos(0 theta), cos(1 theta)
    for _ in range(margin - 1):
        before, multiple = multiple, 2 * cosine * multiple - before
    k = torch.zeros_like(cosine)
    for j in range(1, margin):
        k = k + (cosine < math.cos(j * math.pi / margin))
    return (1 - 2 * (k % 2)) * multiple - 2 * k


def angular_softmax_weight(step: int, start: float = 1500.0, slope: float = 0.1, least: float = 5.0) -> float:
    r"""``lambda`` of :func:`angular_softmax` in a step of training, counted from 1: ``max(5, 1500 / (1 + .1 step))``.

    Args:
        step: from 1.
        start: its value before the first step.
        slope: how fast it falls.
        least: where it ends.

    References:
        Code: clcarwin/sphereface_pytorch@e2f11f0.

    Example:
        >>> [round(angular_softmax_weight(step), 2) for step in (1, 90, 10_000)]
        [1363.64, 150.0, 5.0]
    """
    return max(least, start / (1 + slope * step))


@full_precision
def geodesic_contrastive(a: Tensor, b: Tensor, same: Tensor, margin: float = 0.5) -> Tensor:
    r"""Embeddings of one class lie at one place of the sphere, those of two at least a margin apart (AMC-Loss).

    .. math:: \frac1N \sum_i \big[ s_i d_i^2 + (1 - s_i) \max(0, m_g - d_i)^2 \big], \qquad
        d_i = \arccos(\hat a_i \cdot \hat b_i)

    with embeddings of unit length (a hat).

    Args:
        a: ``(N, D)``.
        b: ``(N, D)``; pair ``i`` is ``a_i`` and ``b_i``.
        same: ``s``, ``(N,)``: whether the two are of one class, or how probable that is.
        margin: ``m_g``, radians.

    Raises:
        InputError: if the shapes differ or the margin is negative.

    References:
        H. Choi, A. Som, P. Turaga, "AMC-Loss: Angular margin contrastive loss for improved explainability in image
        classification", CVPR Workshops 2020, arXiv:2004.09805. Code: hchoi71/AMC-Loss@23cb689.

    Differences from the reference code:
        Without pairs the value is 0 (there it is not a number). As there, cosines are clamped to ``1 - 1e-7``, which is
        why this runs in at least float32.

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 2.0], [1.0, 0.0]])
        >>> print(f"{geodesic_contrastive(a, b, torch.tensor([True, False])):.4f}")
        1.3585
    """
    if a.ndim != 2 or a.shape != b.shape or same.shape != a.shape[:1] or not margin >= 0:
        raise InputError(
            "Pairs must be two tensors (N, D) with same (N,), and the margin at least 0, but they are "
            f"{shape_of(a)}, {shape_of(b)} and {shape_of(same)}, and the margin is {margin}."
        )
    cosine = (unit(a) * unit(b)).sum(1).clamp(-1 + EPS_COSINE, 1 - EPS_COSINE)
    distance, alike = cosine.acos(), same.to(cosine.dtype)
    losses = alike * distance.square() + (1 - alike) * F.relu(margin - distance).square()
    return losses.sum() / max(len(losses), 1)


@full_precision
def margin_maps(feature: Tensor, margin: float = 1.35, scale: float = 64.0) -> dict[str, Tensor]:
    """The maps that :func:`~kdlab.functional.angular_margin` compares, for figures.

    Args:
        feature: ``(B, C, *S)``.
        margin: factor on the angle.
        scale: factor on the maps.

    Shapes:
        Three times ``(B, *S)``: ``"positive"`` is ``Q_p``, ``"negative"`` is ``1 - Q_p`` and ``"angular"`` is ``G``,
        the logarithm of how much the positive map with its margin outweighs the negative one.

    Example:
        >>> maps = margin_maps(torch.tensor([[[3.0, 0.0, 2.0]]]))
        >>> maps["positive"], maps["negative"]
        (tensor([[0.9138, 0.0000, 0.4061]]), tensor([[0.0862, 1.0000, 0.5939]]))
    """
    angular, _, rest = _angular_maps(_energy(feature), margin, scale).unbind()
    return {"positive": 1 - rest / scale, "negative": rest / scale, "angular": angular}
