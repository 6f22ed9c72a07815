"""Losses of windows with any number of labels each: binary cross-entropy, and soft targets of each class by itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab.functional.logits import check_logits
from kdlab.functional.precision import full_precision, shape_of
from kdlab.types import InputError


def labelled_rows(target: Tensor) -> Tensor:
    """Which rows ``(B, K)`` of 0 and 1 are labels: a row that holds a negative number is of an unlabelled window.

    Example:
        >>> labelled_rows(torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, -1.0]]))
        tensor([ True,  True, False])
    """
    return (target >= 0).all(1)


@full_precision
def binary_losses(
    logits: Tensor,
    target: Tensor,
    positive_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    r"""The losses of each window and class whose mean is :func:`binary_cross_entropy`; 0 for unlabelled windows.

    Args:
        logits: ``(B, K)``.
        target: ``(B, K)``, 0 to 1, or -1 in all classes of an unlabelled window.
        positive_weights: ``w``, ``(K,)``; ``None``: all are 1.
        label_smoothing: ``epsilon``, 0 to 1.
        focal_gamma: ``gamma``, at least 0.

    Shapes:
        ``(B, K)``.

    Raises:
        InputError: if ``target`` has another shape, or the number of weights is not ``K``.
    """
    if logits.ndim != 2 or target.shape != logits.shape:
        raise InputError(
            "target must be rows of 0 and 1, (B, K), for logits (B, K) where windows have any number of labels, but "
            f"logits are {shape_of(logits)} and target is {shape_of(target)} of {target.dtype}."
        )
    known = labelled_rows(target).unsqueeze(1)
    label = torch.where(known, target, 0).to(logits.dtype)
    label = (1 - label_smoothing) * label + label_smoothing / 2
    present, absent = F.softplus(-logits), F.softplus(logits)  # -log p, -log(1 - p)
    if focal_gamma:
        # 0 is replaced by the smallest normal number: a power below 1 has an infinite slope at 0
        tiny = torch.finfo(logits.dtype).tiny
        present, absent = (
            (-logits).sigmoid().clamp_min(tiny) ** focal_gamma * present,
            logits.sigmoid().clamp_min(tiny) ** focal_gamma * absent,
        )
    if positive_weights is not None:
        if positive_weights.shape != logits.shape[1:]:
            raise InputError(
                f"class_weights must have one number for each of the {logits.shape[1]} classes, but got "
                f"{shape_of(positive_weights)}."
            )
        present = positive_weights.to(logits.dtype) * present
    return torch.where(known, label * present + (1 - label) * absent, 0)


@full_precision
def binary_cross_entropy(
    logits: Tensor,
    target: Tensor,
    positive_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    r"""Binary cross-entropy of each class by itself, averaged over the labelled windows and the classes.

    .. math:: \frac{1}{|L| K} \sum_{i \in L} \sum_k \big[ w_k\, t_{ik}\, (1 - p_{ik})^\gamma\, (-\log p_{ik})
        + (1 - t_{ik})\, p_{ik}^\gamma\, (-\log (1 - p_{ik})) \big], \qquad
        t_{ik} = (1 - \epsilon)\, y_{ik} + \frac{\epsilon}{2}, \quad p = \mathrm{sigmoid}(z)

    ``w`` is the ``pos_weight`` of :func:`torch.nn.functional.binary_cross_entropy_with_logits`, which this equals for
    ``gamma = 0`` and ``epsilon = 0``. The focal factor is that of the paper for a class that is present or not.

    Args:
        logits: ``(B, K)``.
        target: ``(B, K)``: 1 for a class that is present, 0 for one that is not, between them for mixed windows; -1 in
            all classes of an unlabelled window, which has no part in the mean.
        positive_weights: ``w``, ``(K,)``, at least 0: weight of a class where it is present; ``None``: all are 1.
        label_smoothing: ``epsilon``, 0 to 1: from yes and no towards one half.
        focal_gamma: ``gamma``, at least 0.

    Raises:
        InputError: if ``target`` has another shape, or the number of weights is not ``K``.

    References:
        T.-Y. Lin, P. Goyal, R. Girshick, K. He, P. Dollar, "Focal loss for dense object detection", ICCV 2017,
        arXiv:1708.02002.

    Example:
        >>> logits, target = torch.tensor([[2.0, 0.0], [5.0, 5.0]]), torch.tensor([[1.0, 0.0], [-1.0, -1.0]])
        >>> print(f"{binary_cross_entropy(logits, target):.4f}")
        0.4100
    """
    losses = binary_losses(logits, target, positive_weights, label_smoothing, focal_gamma)
    return losses.sum() / (labelled_rows(target).sum().clamp_min(1) * logits.shape[1])


@full_precision
def binary_soft_target_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor = 4.0) -> Tensor:
    r"""Divergence of student and teacher class by class, present or not, times the squared temperature.

    .. math:: \frac{T^2}{B K} \sum_i \sum_k \Big[ p^t_{ik} \log \frac{p^t_{ik}}{p^s_{ik}}
        + (1 - p^t_{ik}) \log \frac{1 - p^t_{ik}}{1 - p^s_{ik}} \Big], \qquad p = \mathrm{sigmoid}(z / T)

    The multi-label form of :func:`kdlab.functional.soft_target_kl`: each class is a problem of two classes. The mean
    over classes is that of :func:`binary_cross_entropy`, so that a weight between the two does not depend on ``K``.

    Args:
        student_logits: ``(B, K)``.
        teacher_logits: ``(B, K)``; receives no gradient.
        temperature: ``T``, above 0.

    Raises:
        InputError: if the shapes differ.

    References:
        P. Yang, M.-K. Xie, C.-C. Zong, L. Feng, G. Niu, M. Sugiyama, S.-J. Huang, "Multi-label knowledge distillation",
        ICCV 2023, arXiv:2308.06453 (multi-label logits distillation). Code: penghui-yang/L2D@e3c438a.

    Differences from the reference code:
        There it has no temperature, is the sum over the classes, and probabilities are clamped to 1e-8.

    Example:
        >>> print(f"{binary_soft_target_kl(torch.zeros(1, 2), torch.tensor([[4.0, 0.0]])):.4f}")
        0.8876
    """
    check_logits(student_logits, teacher_logits, temperature)
    own, other = student_logits / temperature, teacher_logits.detach() / temperature
    present = other.sigmoid() * (F.logsigmoid(other) - F.logsigmoid(own))
    absent = (-other).sigmoid() * (F.logsigmoid(-other) - F.logsigmoid(-own))
    return temperature**2 * (present + absent).mean()
