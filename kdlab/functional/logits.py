"""Functions of logits."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab.functional.precision import check_choice, full_precision, shape_of
from kdlab.types import InputError


@full_precision
def soft_target_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor = 4.0,
    reduction: Literal["batchmean", "mean", "none"] = "batchmean",
) -> Tensor:
    r"""Kullback-Leibler divergence from the teacher's softened class probabilities to the student's, times ``T^2``.

    .. math:: T^2 \frac1B \sum_i \sum_k p^t_{ik} (\log p^t_{ik} - \log p^s_{ik}), \qquad p = \mathrm{softmax}(z / T)

    Args:
        student_logits: ``(B, K)``.
        teacher_logits: ``(B, K)``; detached.
        temperature: ``T > 0``, a number or a 0-dim tensor (which is never read on the host).
        reduction: ``"batchmean"`` divides the sum by ``B`` (the equation), ``"mean"`` by ``B K`` and is ``K`` times
            smaller, ``"none"`` returns one value per sample, ``(B,)``.

    Raises:
        InputError: if the shapes differ, the temperature is not positive or the reduction is unknown.

    References:
        G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", NIPS Deep Learning Workshop
        2014, arXiv:1503.02531. Code: HobbitLong/RepDistiller@b84f547.

    Differences from the reference code:
        RepDistiller divides a sum by ``B`` as we do; jeunsom/TGD@242ad11 and jeunsom/TDA_KD@b9091bb use the default
        ``"mean"`` of ``torch.nn.KLDivLoss``. The teacher enters as log-probabilities, so a probability that underflows
        to zero contributes zero.

    Example:
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[4.0, 0.0]])
        >>> print(f"{soft_target_kl(student, teacher):.4f} {soft_target_kl(student, teacher, reduction='mean'):.4f}")
        1.7751 0.8876
    """
    check_choice("reduction", reduction, ("batchmean", "mean", "none"))
    check_logits(student_logits, teacher_logits, temperature)
    log_student = F.log_softmax(student_logits / temperature, dim=1)
    log_teacher = F.log_softmax(teacher_logits.detach() / temperature, dim=1)
    per_sample = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1)
    if reduction != "none":
        per_sample = per_sample.mean() if reduction == "batchmean" else per_sample.mean() / student_logits.shape[1]
    return per_sample * temperature**2


def check_logits(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> None:
    """Raise :class:`~kdlab.types.InputError` unless logits are of the same windows and classes, and ``T > 0``."""
    if student.ndim != 2 or student.shape != teacher.shape:
        raise InputError(
            "Student and teacher logits must both be (B, K) with the same batch and classes, but the student has "
            f"{shape_of(student)} and the teacher {shape_of(teacher)}."
        )
    if not isinstance(temperature, Tensor) and not temperature > 0:
        raise InputError(f"temperature must be positive, but is {temperature}.")


@full_precision
def standardise_logits(logits: Tensor, eps: float = 1e-7) -> Tensor:
    r"""Logits of every sample with mean 0 and standard deviation 1 over the classes.

    .. math:: \hat z_{ik} = \frac{z_{ik} - \bar z_i}{\sigma_i + \epsilon}, \qquad
        \sigma_i^2 = \frac{1}{K - 1} \sum_k (z_{ik} - \bar z_i)^2

    Args:
        logits: ``(B, K)`` with ``K >= 2``; with two classes only their order is left.
        eps: added to the standard deviation.

    Shapes:
        ``(B, K) -> (B, K)``. Constant logits give zeros, with the gradient of division by one.

    Raises:
        InputError: if the logits are not ``(B, K)`` with at least two classes.

    References:
        S. Sun, W. Ren, J. Li, R. Wang, X. Cao, "Logit standardization in knowledge distillation", CVPR 2024,
        arXiv:2403.01427. Code: sunshangquan/logit-standardization-KD@f6e5aa5.

    Differences from the reference code:
        The gradient at constant logits is bounded (there it is divided by 1e-7).

    Example:
        >>> standardise_logits(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]))
        tensor([[-1.0000,  0.0000,  1.0000],
                [ 0.0000,  0.0000,  0.0000]])
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise InputError(f"Logits must be (B, K) with at least two classes, but are {shape_of(logits)}.")
    difference, norm = _centred(logits, 1)
    return difference / torch.where(norm > 0, norm / (logits.shape[1] - 1) ** 0.5 + eps, 1.0)


@full_precision
def target_class_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    temperature: float | Tensor = 4.0,
    kl_reduction: Literal["batchmean", "mean"] = "batchmean",
) -> Tensor:
    r"""Divergence of how probable student and teacher find the true class at all, times ``T^2`` (TCKD).

    .. math:: T^2 \frac1B \sum_i \mathrm{KL}(b^t_i \,\|\, b^s_i), \qquad b_i = (p_{iy}, 1 - p_{iy}), \quad
        p = \mathrm{softmax}(z / T)

    Args:
        student_logits: ``(B, K)`` with ``K >= 3``.
        teacher_logits: ``(B, K)``; detached.
        target: the true classes ``(B,)``, -1 for none, or class probabilities ``(B, K)``, over which the divergence is
            averaged (as the labels of a mixed window are); they need ``B K^2`` numbers of memory.
        temperature: ``T > 0``, a number or a 0-dim tensor (which is never read on the host).
        kl_reduction: ``"batchmean"`` as in the equation; ``"mean"`` averages over the two events (here) or the
            ``K - 1`` other classes too.

    Raises:
        InputError: if the shapes differ, there are fewer than three classes, or ``target`` does not fit.

    References:
        B. Zhao, Q. Cui, R. Song, Y. Qiu, J. Liang, "Decoupled knowledge distillation", CVPR 2022, arXiv:2203.08679.
        Code: megvii-research/mdistiller@a08d46f.

    Differences from the reference code:
        The probability of the other classes is a log-sum-exp of their logits (there the logarithm of a sum, which is
        infinite where the true class has all the probability).

    Example:
        >>> student, teacher = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[2.0, 0.0, 0.0]])
        >>> print(f"{target_class_kl(student, teacher, torch.tensor([0]), temperature=1.0):.4f}")
        0.4330
    """
    _check_decoupled(student_logits, teacher_logits, target, temperature)
    student, teacher = student_logits / temperature, teacher_logits.detach() / temperature
    if target.is_floating_point():
        student, teacher, index = _every_class(student, teacher)
    else:
        index = target.long().clamp_min(0)
    per_sample = F.kl_div(_is_target(student, index), _is_target(teacher, index), reduction="none", log_target=True)
    return _mean_over_targets(_over_events(per_sample, kl_reduction), target) * temperature**2


@full_precision
def other_classes_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    temperature: float | Tensor = 4.0,
    kl_reduction: Literal["batchmean", "mean"] = "batchmean",
) -> Tensor:
    r"""Divergence of the probabilities of the other classes among themselves, times ``T^2`` (NCKD).

    .. math:: T^2 \frac1B \sum_i \mathrm{KL}(\hat p^t_i \,\|\, \hat p^s_i), \qquad
        \hat p_{ik} = \frac{\exp(z_{ik} / T)}{\sum_{j \ne y} \exp(z_{ij} / T)}, \quad k \ne y

    Arguments, errors and references as in :func:`target_class_kl`.

    Differences from the reference code:
        The logit of the true class is left out (there it is lowered by 1000).

    Example:
        >>> student, teacher = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[9.0, 2.0, 0.0]])
        >>> print(f"{other_classes_kl(student, teacher, torch.tensor([0]), temperature=1.0):.4f}")
        0.3278
    """
    _check_decoupled(student_logits, teacher_logits, target, temperature)
    student, teacher = student_logits / temperature, teacher_logits.detach() / temperature
    if target.is_floating_point():
        student, teacher, index = _every_class(student, teacher)
    else:
        index = target.long().clamp_min(0)
    log_student, log_teacher = (F.log_softmax(_others(logits, index), dim=1) for logits in (student, teacher))
    per_sample = F.kl_div(log_student, log_teacher, reduction="none", log_target=True)
    return _mean_over_targets(_over_events(per_sample, kl_reduction), target) * temperature**2


def _over_events(summands: Tensor, kl_reduction: str) -> Tensor:
    check_choice("kl_reduction", kl_reduction, ("batchmean", "mean"))
    return summands.sum(1) if kl_reduction == "batchmean" else summands.mean(1)


def _check_decoupled(student: Tensor, teacher: Tensor, target: Tensor, temperature: float | Tensor) -> None:
    check_logits(student, teacher, temperature)
    if student.shape[1] < 3:
        raise InputError(
            f"The other classes are compared among themselves, which takes at least three classes, but the logits are "
            f"{shape_of(student)}. Use plain soft targets for two classes."
        )
    if target.shape != (student.shape if target.is_floating_point() else student.shape[:1]):
        raise InputError(
            "target must be class indices (B,) or class probabilities (B, K) for logits (B, K), "
            f"but logits are {shape_of(student)} and target is {shape_of(target)} of {target.dtype}."
        )


def _every_class(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each sample once for each class that may be the true one: ``(B K, K)`` twice, and that class ``(B K,)``."""
    batch, classes = student.shape
    index = torch.arange(classes, device=student.device).repeat(batch)
    return student.repeat_interleave(classes, 0), teacher.repeat_interleave(classes, 0), index


def _mean_over_targets(per_sample: Tensor, target: Tensor) -> Tensor:
    """The mean over all windows, of which one without a label adds nothing."""
    mixed = target.is_floating_point()
    return (per_sample.view_as(target) * target).sum(1).mean() if mixed else (per_sample * (target >= 0)).mean()


def _others(logits: Tensor, index: Tensor) -> Tensor:
    """The logits of all classes but one of each sample, in order: ``(B, K) -> (B, K - 1)``."""
    classes = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    return logits.gather(1, classes + (classes >= index[:, None]))


def _is_target(logits: Tensor, index: Tensor) -> Tensor:
    """Log-probability of one class, and of all the others together: ``(B, K) -> (B, 2)``."""
    sums = (logits.gather(1, index[:, None]), _others(logits, index).logsumexp(1, keepdim=True))
    return F.log_softmax(torch.cat(sums, 1), dim=1)


@full_precision
def inter_class_distance(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor = 4.0, eps: float = 0.0
) -> Tensor:
    r"""One minus the correlation of student and teacher over the classes of a sample, times ``T^2`` (DIST).

    .. math:: T^2 \frac1B \sum_i (1 - \rho(p^s_{i\cdot}, p^t_{i\cdot})), \qquad p = \mathrm{softmax}(z / T)

    with Pearson's correlation ``rho``.

    Args:
        student_logits: ``(B, K)``.
        teacher_logits: ``(B, K)``; detached.
        temperature: ``T > 0``, a number or a 0-dim tensor (which is never read on the host).
        eps: added to the product of the norms in the denominator of ``rho``, as the codes do with 1e-8; 0 is the
            equation.

    Raises:
        InputError: if the shapes differ or the temperature is not positive.

    References:
        T. Huang, S. You, F. Wang, C. Qian, C. Xu, "Knowledge distillation from a stronger teacher", NeurIPS 2022,
        arXiv:2205.10536. Code: hunto/DIST_KD@2418f18.

    Differences from the reference code:
        With ``eps=0`` it is computed as half the squared distance of the centred unit vectors, which is the same and
        exactly 0 for equal ones. Where only one of two vectors is constant it is 1/2, where both are 0 (there 1).

    Example:
        >>> student, teacher = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]])
        >>> print(f"{inter_class_distance(student, teacher, temperature=1.0):.4f}")
        1.5000
    """
    check_logits(student_logits, teacher_logits, temperature)
    student, teacher = (F.softmax(logits / temperature, 1) for logits in (student_logits, teacher_logits.detach()))
    return _correlation_distance(student, teacher, 1, eps) * temperature**2


@full_precision
def intra_class_distance(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor = 4.0, eps: float = 0.0
) -> Tensor:
    r"""One minus the correlation of student and teacher over the samples of a batch, by class, times ``T^2`` (DIST).

    .. math:: T^2 \frac1K \sum_k (1 - \rho(p^s_{\cdot k}, p^t_{\cdot k})), \qquad p = \mathrm{softmax}(z / T)

    A batch of one has no variation, and gives 0. Arguments, errors, references and differences from the reference code
    as in :func:`inter_class_distance`.

    Example:
        >>> student = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
        >>> teacher = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
        >>> print(f"{intra_class_distance(student, teacher, temperature=1.0):.4f}")
        0.5000
    """
    check_logits(student_logits, teacher_logits, temperature)
    student, teacher = (F.softmax(logits / temperature, 1) for logits in (student_logits, teacher_logits.detach()))
    return _correlation_distance(student, teacher, 0, eps) * temperature**2


def _correlation_distance(student: Tensor, teacher: Tensor, dim: int, eps: float) -> Tensor:
    """``1 - rho`` along a dimension, averaged over the other one."""
    if eps:
        (own, own_norm), (other, other_norm) = _centred(student, dim), _centred(teacher, dim)
        product = (own * other).sum(dim, keepdim=True)
        return 1 - (product / (own_norm * other_norm + eps)).mean()
    return (_variation(student, dim) - _variation(teacher, dim)).square().sum(dim).mean() / 2


def _variation(x: Tensor, dim: int) -> Tensor:
    difference, norm = _centred(x, dim)
    return difference / torch.where(norm > 0, norm, 1.0)


def _centred(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Differences from the mean, and their L2 norm; both are 0 where nothing but rounding varies, NaN stays NaN."""
    difference = x - x.mean(dim, keepdim=True)
    rounding = 8 * torch.finfo(x.dtype).eps * x.abs().amax(dim, keepdim=True)
    difference = torch.where(difference.abs().amax(dim, keepdim=True) <= rounding, 0.0, difference)
    return difference, torch.linalg.vector_norm(difference, dim=dim, keepdim=True)
