"""Functions of embeddings and of the relations between them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab.functional.precision import EPS, check_same_batch, full_precision, shape_of, unit
from kdlab.types import InputError


@full_precision
def relational_distance(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Difference of the pairwise distances within a batch, each in units of its mean (RKD-D).

    .. math:: \frac{1}{B^2} \sum_{ij} \mathrm{huber}(d^s_{ij} / \bar d^s - d^t_{ij} / \bar d^t), \qquad
        d_{ij} = \lVert f_i - f_j \rVert_2

    with the mean over the positive distances and the Huber function of threshold 1.

    Args:
        student: ``(B, ...)``.
        teacher: ``(B, ...)`` of any other width; detached. The order matters: swapped arguments would train nothing.

    Raises:
        InputError: if the batches differ.

    References:
        W. Park, D. Kim, Y. Lu, M. Cho, "Relational knowledge distillation", CVPR 2019, 10.1109/CVPR.2019.00409.
        Code: lenscloth/RKD@0a6c3c0, HobbitLong/RepDistiller@b84f547.

    Differences from the reference code:
        Distances come from differences, not from ``|a|^2 + |b|^2 - 2ab``, so close points keep their digits; equal
        points have distance 0 (there 1e-6). Where no distance is positive the mean is replaced by 1e-12 (there NaN).

    Example:
        >>> student, teacher = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [1.0], [1.0]])
        >>> print(f"{relational_distance(student, teacher):.4f}")
        0.0972
    """
    check_same_batch(student, teacher)
    return F.smooth_l1_loss(_distances(student), _distances(teacher.detach()))


def _distances(feature: Tensor) -> Tensor:
    rows = feature.flatten(1)
    distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distance.sum() / (distance > 0).sum().clamp(min=1)
    return distance / mean.clamp(min=EPS)


@full_precision
def relational_angle(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Difference of the cosines of all angles spanned by three samples of a batch (RKD-A).

    .. math:: \frac{1}{B^3} \sum_{ijk} \mathrm{huber}(\cos^s_{ijk} - \cos^t_{ijk}), \qquad
        \cos_{ijk} = \langle e_{ij}, e_{ik} \rangle, \quad e_{ij} = \frac{f_j - f_i}{\lVert f_j - f_i \rVert_2}

    Args:
        student: ``(B, ...)``.
        teacher: ``(B, ...)`` of any other width; detached. The order matters: swapped arguments would train nothing.

    Shapes:
        Needs ``B^2 D + B^3`` numbers of memory.

    Raises:
        InputError: if the batches differ.

    References:
        W. Park, D. Kim, Y. Lu, M. Cho, "Relational knowledge distillation", CVPR 2019, 10.1109/CVPR.2019.00409.
        Code: lenscloth/RKD@0a6c3c0, HobbitLong/RepDistiller@b84f547.

    Differences from the reference code:
        Between equal samples there is no direction: ``e`` is 0 and its gradient bounded (there it is divided by 1e-12).

    Example:
        >>> student = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> teacher = torch.tensor([[0.0], [1.0], [2.0]])
        >>> print(f"{relational_angle(student, teacher):.4f}")
        0.1296
    """
    check_same_batch(student, teacher)
    return F.smooth_l1_loss(_cosines(student), _cosines(teacher.detach()))


def _cosines(feature: Tensor) -> Tensor:
    rows = feature.flatten(1)
    direction = unit(rows[None] - rows[:, None])
    return direction @ direction.mT


@full_precision
def mean_embedding_discrepancy(a: Tensor, b: Tensor) -> Tensor:
    r"""Squared distance of the mean embeddings of two batches (DDGSD's maximum mean discrepancy).

    .. math:: \Big\lVert \frac1B \sum_i a_i - \frac{1}{B'} \sum_i b_i \Big\rVert_2^2

    Both sides are students (one network sees two distortions of a sample), so both receive gradients.

    Args:
        a: ``(B, ...)``.
        b: ``(B', ...)``, the same shape but for the batch.

    Raises:
        InputError: if the embeddings have different shapes.

    References:
        T.-B. Xu, C.-L. Liu, "Data-distortion guided self-distillation for deep neural networks", AAAI 2019,
        10.1609/aaai.v33i01.33015565.

    Differences from the reference code:
        The authors' code is not public, and neither port has this term: youngerous/ddgsd-pytorch@d07d90c takes the
        squared error of the logits, winycg/Self-KD-Lib@ede3062 the squared difference of one mean over batch and
        features.

    Example:
        >>> mean_embedding_discrepancy(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 2.0]]))
        tensor(5.)
    """
    if a.ndim < 2 or a.shape[1:] != b.shape[1:]:
        raise InputError(
            f"Embeddings must be (B, ...) of the same shape but for the batch, but are {shape_of(a)} and {shape_of(b)}."
        )
    return (a.mean(0) - b.mean(0)).square().sum()


@full_precision
def affinity_divergence(student: Tensor, teacher: Tensor, *, self_pairs: bool = True, eps: float = 1e-7) -> Tensor:
    r"""Divergence of how the samples of a batch would pick each other as neighbours (PKT).

    .. math:: \frac{1}{B^2} \sum_{ij} q^t_{ij} \log \frac{q^t_{ij} + \epsilon}{q^s_{ij} + \epsilon}, \qquad
        q_{ij} = \frac{a_{ij}}{\sum_k a_{ik}}, \quad a_{ij} = \tfrac12 (1 + \cos(f_i, f_j))

    Args:
        student: ``(B, ...)``.
        teacher: ``(B, ...)`` of any other width; detached.
        self_pairs: whether a sample is its own neighbour too, as in the reference code; the paper has other samples
            only.
        eps: floor of what the logarithm is taken of.

    Raises:
        InputError: if the batches differ.

    References:
        N. Passalis, A. Tefas, "Learning deep representations with probabilistic knowledge transfer", ECCV 2018,
        arXiv:1803.10837. Code: HobbitLong/RepDistiller@b84f547, after passalis/probabilistic_kt.

    Differences from the reference code:
        None with ``self_pairs=True``. The paper sums over pairs; the mean, which the published weight belongs to, is
        the code's.

    Example:
        >>> student, teacher = torch.eye(2), torch.tensor([[1.0, 0.0], [2.0, 0.0]])
        >>> print(f"{affinity_divergence(student, teacher):.4f}")
        0.0294
    """
    check_same_batch(student, teacher)
    own, other = _affinities(student, self_pairs), _affinities(teacher.detach(), self_pairs)
    return (other * ((other + eps) / (own + eps)).log()).mean()


def _affinities(feature: Tensor, self_pairs: bool) -> Tensor:
    rows = unit(feature.flatten(1))
    affinity = ((1 + rows @ rows.T) / 2).clamp_min(0)
    if not self_pairs:
        affinity = affinity - torch.diag(affinity.diagonal())
    return affinity / affinity.sum(1, keepdim=True).clamp_min(EPS)
