"""Several teachers: weights by entropy, confidence or gradients; regression on their logits."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab.functional.precision import full_precision, shape_of
from kdlab.types import InputError


def _stacked(teachers: Mapping[str, Tensor]) -> Tensor:
    """The teachers' logits as ``(M, B, K)``, detached."""
    first = next(iter(teachers.values()), None)
    if first is None or first.ndim != 2 or any(logits.shape != first.shape for logits in teachers.values()):
        shapes = {name: shape_of(logits) for name, logits in teachers.items()}
        raise InputError(f"teachers must have logits (B, K) of the same batch and classes, but they have {shapes}.")
    return torch.stack([logits.detach() for logits in teachers.values()])


def _less_for_more(share: Tensor) -> Tensor:
    """``(1 - share) / (M - 1)`` for shares ``(M, B)`` with sum 1; a teacher that is alone has weight 1."""
    return (1 - share) / (len(share) - 1) if len(share) > 1 else torch.ones_like(share)


@full_precision
def entropy_weights(teachers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    r"""Weights by the entropy of the teachers' outputs: the surer one is, the larger its weight (EBKD).

    .. math:: w_m = \frac{1}{M - 1} \Big( 1 - \frac{H_m}{\sum_j H_j} \Big), \qquad
        H_m = -\sum_k p_{mk} \log p_{mk}, \quad p_m = \mathrm{softmax}(z_m)

    for every sample, at temperature 1; they sum to 1. Where the entropies sum to less than 1e-8, all teachers count
    the same. A teacher that is alone has weight 1.

    Args:
        teachers: teacher name -> logits ``(B, K)``; detached.

    Shapes:
        teacher name -> ``(B,)``.

    Raises:
        InputError: if there is no teacher or the shapes differ.

    References:
        K. Kwon, H. Na, H. Lee, N. S. Kim, "Adaptive knowledge distillation based on entropy", ICASSP 2020,
        10.1109/ICASSP40776.2020.9054698. Code: Rorozhl/CA-MKD@c2f39a9.

    Differences from the reference code:
        Its weights lack the factor ``1 / (M - 1)`` and sum to ``M - 1``; teachers that are all certain give NaN there.

    Example:
        >>> weights = entropy_weights({"raw": torch.tensor([[4.0, 0.0]]), "pi": torch.tensor([[1.0, 0.0]])})
        >>> {name: round(float(weight), 4) for name, weight in weights.items()}
        {'raw': 0.866, 'pi': 0.134}
    """
    log_probabilities = F.log_softmax(_stacked(teachers), dim=2)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(2)
    total = entropy.sum(0)
    weights = torch.where(total < 1e-8, 1 / len(entropy), _less_for_more(entropy / total.clamp_min(1e-8)))
    return dict(zip(teachers, weights, strict=True))


@full_precision
def confidence_weights(teachers: Mapping[str, Tensor], target: Tensor) -> dict[str, Tensor]:
    r"""Weights by the cross-entropy of teachers with the labels: the nearer to the truth, the more one counts (CA-MKD).

    .. math:: w_m = \frac{1}{M - 1} \Big( 1 - \frac{e^{C_m}}{\sum_j e^{C_j}} \Big), \qquad
        C_m = \mathrm{CE}(z_m, y)

    for every sample; they sum to 1. A teacher that is alone has weight 1.

    Args:
        teachers: teacher name -> logits ``(B, K)``; detached.
        target: class indices ``(B,)`` or class probabilities ``(B, K)``.

    Shapes:
        teacher name -> ``(B,)``.

    Raises:
        InputError: if there is no teacher or the shapes differ.

    References:
        H. Zhang, D. Chen, C. Wang, "Confidence-aware multi-teacher knowledge distillation", ICASSP 2022,
        10.1109/ICASSP43922.2022.9747534. Code: Rorozhl/CA-MKD@c2f39a9.

    Differences from the reference code:
        Class probabilities are accepted as targets.

    Example:
        >>> teachers = {"raw": torch.tensor([[4.0, 0.0]]), "pi": torch.tensor([[1.0, 0.0]])}
        >>> {name: round(float(weight), 4) for name, weight in confidence_weights(teachers, torch.tensor([0])).items()}
        {'raw': 0.5732, 'pi': 0.4268}
    """
    logits = _stacked(teachers)
    if target.shape != (logits.shape[1:] if target.is_floating_point() else logits.shape[1:2]):
        raise InputError(
            "target must be class indices (B,) or class probabilities (B, K) for teachers with logits (B, K), "
            f"but logits are {shape_of(logits[0])} and target is {shape_of(target)} of {target.dtype}."
        )
    truth = target.to(logits.dtype) if target.is_floating_point() else target.long()
    losses = torch.stack([F.cross_entropy(one, truth, reduction="none") for one in logits])
    return dict(zip(teachers, _less_for_more(losses.softmax(0)), strict=True))


@full_precision
def logit_gradients(
    student_logits: Tensor, teachers: Mapping[str, Tensor], temperature: float | Tensor = 4.0
) -> Tensor:
    r"""Where each teacher pulls the student's logits, averaged over the batch.

    .. math:: g_m = \frac1B \sum_i \frac{\partial\, \mathrm{KD}_i(m, s)}{\partial z_{s,i}}
        = \frac TB \sum_i (p_{s,i} - p_{m,i}), \qquad p = \mathrm{softmax}(z / T)

    Args:
        student_logits: ``(B, K)``; detached.
        teachers: teacher name -> logits ``(B, K)``; detached.
        temperature: ``T > 0``, a number or a 0-dim tensor.

    Shapes:
        ``(M, K)``, in the order of ``teachers``.

    Raises:
        InputError: if the shapes differ.

    Example:
        >>> logit_gradients(torch.zeros(1, 2), {"raw": torch.tensor([[4.0, 0.0]])}, temperature=1.0)
        tensor([[-0.4820,  0.4820]])
    """
    logits = _stacked(teachers)
    if student_logits.shape != logits.shape[1:]:
        raise InputError(
            "Student and teacher logits must both be (B, K) with the same batch and classes, but the student has "
            f"{shape_of(student_logits)} and the teachers {shape_of(logits[0])}."
        )
    student = F.softmax(student_logits.detach() / temperature, dim=1)
    return temperature * (student - F.softmax(logits / temperature, dim=2)).mean(1)


@full_precision
def least_norm_weights(gradients: Tensor, max_weight: float = 1.0) -> Tensor:
    r"""The mixture of gradients that is shortest: a step along it makes no teacher's loss grow (AEKD).

    .. math:: \arg\min_w \Big\lVert \sum_m w_m g_m \Big\rVert_2^2 \quad \text{with} \quad \sum_m w_m = 1,
        \quad 0 \le w_m \le C

    Every weight is at 0, at ``C`` or between; for each of these ``3^M`` cases the weights between solve a linear
    system, and the best case in which all of them are in range is the solution. For two teachers that is
    ``w_1 = (g_2 - g_1)^T g_2 / ||g_1 - g_2||^2`` clipped to its range. Where several mixtures are the shortest (equal
    or dependent gradients), a ridge of ten units of rounding decides for about the evenest.

    Args:
        gradients: ``g``, ``(M, D)`` with at most 8 rows; detached.
        max_weight: ``C``; 1 bounds nothing, and anything below ``1 / M`` gives equal weights.

    Shapes:
        ``(M, D) -> (M,)``. Nothing is read on the host.

    Raises:
        InputError: for another shape or a bound that is not positive.

    References:
        S. Du, S. You, X. Li, J. Wu, F. Wang, C. Qian, C. Zhang, "Agree to disagree: adaptive ensemble knowledge
        distillation in gradient space", NeurIPS 2020. Code: AnTuo1998/AE-KD, Rorozhl/CA-MKD@c2f39a9.

    Differences from the reference code:
        It solves the same problem on the host, as the dual of a one-class support vector machine, to a tolerance.

    Example:
        >>> least_norm_weights(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        tensor([0.8000, 0.2000])
        >>> least_norm_weights(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), max_weight=0.6)
        tensor([0.6000, 0.4000])
    """
    if gradients.ndim != 2 or not 1 <= len(gradients) <= 8 or not max_weight > 0:
        raise InputError(
            "gradients must be (M, D) of 1 to 8 teachers and max_weight positive, but gradients are "
            f"{shape_of(gradients)} and max_weight is {max_weight}."
        )
    count, bound = len(gradients), max(max_weight, 1 / len(gradients))
    limits = torch.finfo(gradients.dtype)
    rows = gradients.detach() / gradients.detach().abs().amax().clamp_min(limits.tiny)
    eye = torch.eye(count, dtype=rows.dtype, device=rows.device)
    gram = rows @ rows.T
    gram = gram + 10 * limits.eps * gram.trace().clamp_min(1) * eye
    cases = torch.arange(3**count, device=rows.device)[:, None] // 3 ** torch.arange(count, device=rows.device) % 3
    between, at_bound = cases == 1, cases == 2
    # G w + mu = 0 for weights between, w = 0 or C for the others, and sum w = 1
    left = torch.where(between[:, :, None], F.pad(gram, (0, 1), value=1.0), F.pad(eye, (0, 1)))
    sums = F.pad(torch.ones_like(eye[:1]), (0, 1)).expand(len(cases), 1, -1)
    right = F.pad(at_bound.to(rows.dtype) * bound, (0, 1), value=1.0)
    weights = torch.linalg.solve_ex(torch.cat([left, sums], 1), right)[0][:, :count]
    slack = 100 * limits.eps
    allowed = ((weights >= -slack) & (weights <= bound + slack)).all(1) & between.any(1)
    length = torch.where(allowed, ((weights @ gram) * weights).sum(1), math.inf)
    best: Tensor = weights.index_select(0, length.argmin().view(1)).squeeze(0)
    return best.clamp(0, bound)


@full_precision
def logit_regression(student_logits: Tensor, teacher_logits: Tensor, factor: float | Tensor = 1.0) -> Tensor:
    r"""Mean squared difference of the student's logits and the teacher's, scaled (Annealing-KD).

    .. math:: \frac{1}{BK} \sum_i \sum_k (z^s_{ik} - \Phi z^t_{ik})^2

    Args:
        student_logits: ``(B, K)``.
        teacher_logits: ``(B, K)``; detached.
        factor: ``Phi``, a number or a 0-dim tensor.

    Raises:
        InputError: if the shapes differ.

    References:
        A. Jafari, M. Rezagholizadeh, P. Sharma, A. Ghodsi, "Annealing knowledge distillation", EACL 2021,
        10.18653/v1/2021.eacl-main.212.

    Differences from the reference code:
        None known.

    Example:
        >>> print(f"{logit_regression(torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 0.0]]), 0.5):.4f}")
        0.5000
    """
    if student_logits.ndim != 2 or student_logits.shape != teacher_logits.shape:
        raise InputError(
            "Student and teacher logits must both be (B, K) with the same batch and classes, but the student has "
            f"{shape_of(student_logits)} and the teacher {shape_of(teacher_logits)}."
        )
    return (student_logits - factor * teacher_logits.detach()).square().mean()
