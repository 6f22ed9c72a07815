"""Distances whose teacher is transformed: powers of its probabilities, moments of its maps, batch statistics."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab.functional.precision import check_same_batch, full_precision, shape_of
from kdlab.types import InputError


@full_precision
def transformed_teacher_kl(
    student_logits: Tensor, teacher_logits: Tensor, exponent: float | Tensor = 0.1, weighted: bool = False
) -> Tensor:
    r"""Divergence from a power of the teacher's probabilities to the student's, whose temperature is 1.

    .. math:: \frac1B \sum_i Z_i\, \mathrm{KL}(q_i \,\|\, p^s_i), \qquad
        q_{ik} = \frac{(p^t_{ik})^g}{Z_i}, \quad Z_i = \sum_k (p^t_{ik})^g

    with ``Z`` replaced by 1 unless ``weighted``. ``Z`` lies between 1, for a teacher that is certain, and ``K^{1-g}``.

    Args:
        student_logits: ``(B, K)``.
        teacher_logits: ``(B, K)``; detached.
        exponent: ``g > 0``, the inverse of a temperature of the teacher alone.
        weighted: multiply each window by its ``Z``.

    Returns:
        0-dim tensor.

    Raises:
        InputError: with both shapes, unless they are equal.

    References:
        K. Zheng, E.-H. Yang, "Knowledge distillation based on transformed teacher matching", ICLR 2024,
        arXiv:2402.11148. Code: zkxufo/TTM@fe457b3.

    Example:
        >>> print(f"{transformed_teacher_kl(torch.zeros(1, 2), torch.tensor([[4.0, 0.0]]), exponent=0.5):.4f}")
        0.3278
    """
    if student_logits.shape != teacher_logits.shape or student_logits.ndim != 2:
        raise InputError(
            "Logits must be (B, K) of the same batch and classes, but the student has "
            f"{shape_of(student_logits)} and the teacher {shape_of(teacher_logits)}."
        )
    powers = exponent * teacher_logits.detach().log_softmax(1)
    log_z = powers.logsumexp(1, keepdim=True)
    log_q = powers - log_z
    divergence = (log_q.exp() * (log_q - student_logits.log_softmax(1))).sum(1)
    return (log_z.exp()[:, 0] * divergence if weighted else divergence).mean()


@full_precision
def moment_distance(student: Tensor, teacher: Tensor, mean_weight: float | Tensor = 4.0, eps: float = 1e-5) -> Tensor:
    r"""Wasserstein distance of Gaussian models of two maps, with one mean and deviation per channel.

    .. math:: \frac1B \sum_i \sum_c \big[ r (\mu^s_{ic} - \mu^t_{ic})^2 + (\sigma^s_{ic} - \sigma^t_{ic})^2 \big],
        \qquad \sigma = \sqrt{\mathrm{var} + \epsilon}

    over the positions of a map, with the unbiased variance. Only moments are compared, so that a teacher of images and
    a student of signals need no common size.

    Args:
        student: ``(B, C, *S)`` with at least two positions.
        teacher: ``(B, C, *S')``; detached.
        mean_weight: ``r``.
        eps: ``epsilon`` of the variance.

    Returns:
        0-dim tensor.

    Raises:
        InputError: with both shapes, for maps of other windows or channels, or of a single position.

    References:
        J. Lv, H. Yang, P. Li, "Wasserstein distance rivals Kullback-Leibler divergence for knowledge distillation",
        NeurIPS 2024, arXiv:2412.08139. Code: JiamingLv/WKD@214cf88.

    Differences from the reference code:
        Its option of moments per cell of a grid is left out.

    Example:
        >>> a, b = torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[0.0, 2.0, 4.0]]])
        >>> print(f"{moment_distance(a, b):.4f}")  # equal means, deviations 1.4142 and 2
        0.3431
    """
    check_same_batch(student, teacher)
    own, other = (x.flatten(2) if x.ndim > 2 else x[..., None] for x in (student, teacher.detach()))
    if own.shape[1] != other.shape[1] or min(own.shape[2], other.shape[2]) < 2:
        raise InputError(
            "Maps must have the same channels and at least two positions, but the student has "
            f"{shape_of(student)} and the teacher {shape_of(teacher)}. Choose a tap before the pooling."
        )
    means = (own.mean(2) - other.mean(2)).square().sum()
    deviations = ((own.var(2) + eps).sqrt() - (other.var(2) + eps).sqrt()).square().sum()
    return (mean_weight * means + deviations) / len(own)


@full_precision
def log_power_distance(
    student: Tensor, teacher: Tensor, exponent: float = 4.0, eps: float = 1e-8, norm_eps: float = 1e-5
) -> Tensor:
    r"""Logarithm of the summed powers of differences of features that are standardised over the batch.

    .. math:: \log \Big( \sum_{i,d} |\hat f^s_{id} - \hat f^t_{id}|^\alpha + \epsilon \Big), \qquad
        \hat f_{id} = \frac{f_{id} - \bar f_d}{\sqrt{\mathrm{var}_d + \epsilon_n}}

    Args:
        student: ``(B, D)``.
        teacher: ``(B, D)``; detached.
        exponent: ``alpha > 0``.
        eps: ``epsilon``; equal features have the finite distance ``log(eps)``.
        norm_eps: ``epsilon_n``, of batch norm.

    Returns:
        0-dim tensor; negative where the sum is below 1.

    Raises:
        InputError: with both shapes, unless they are equal and ``(B, D)`` with at least two windows.

    References:
        R. Miles, K. Mikolajczyk, "Understanding the role of the projector in knowledge distillation", AAAI 2024,
        arXiv:2303.11098. Code: yoshitomo-matsubara/torchdistill@3e4373c.

    Differences from the reference code:
        It has no ``eps``: equal features have the distance minus infinity there.

    Example:
        >>> student, teacher = torch.tensor([[-1.0], [1.0]]), torch.tensor([[3.0], [1.0]])
        >>> print(f"{log_power_distance(student, teacher, norm_eps=0.0):.4f}")  # log(2^4 + 2^4)
        3.4657
    """
    if student.shape != teacher.shape or student.ndim != 2 or len(student) < 2:
        raise InputError(
            "Features must be (B, D) with at least two windows and the same D, but the student has "
            f"{shape_of(student)} and the teacher {shape_of(teacher)}."
        )

    def standardised(x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, 0, correction=0)
        return (x - mean) / (variance + norm_eps).sqrt()

    difference = standardised(student) - standardised(teacher.detach())
    size = difference.abs().clamp_min(torch.finfo(difference.dtype).tiny)  # a power below 1 has an infinite slope at 0
    return (size.pow(exponent).sum() + eps).log()


@full_precision
def contrastive_consistency(similarity: Tensor, consistency_weight: float | Tensor = 0.5) -> Tensor:
    r"""Contrast of the pairs of a batch, and agreement of the two directions of the contrast.

    .. math:: -\frac1B \sum_i \log P_{ii} + \frac{w}{B} \sum_{ij} Q_{ij} \log \frac{Q_{ij}}{P_{ij}}, \qquad
        P = \mathrm{softmax}_{\text{rows}}(S), \quad Q = \mathrm{softmax}_{\text{rows}}(S^\top)

    Args:
        similarity: ``S (B, B)``; row: window of the student, column: window of the teacher.
        consistency_weight: ``w``.

    Returns:
        0-dim tensor.

    Raises:
        InputError: unless ``S`` is square.

    References:
        N. Giakoumoglou, T. Stathaki, "Discriminative and consistent representation distillation", 2024,
        arXiv:2407.11802. Code: giakoumoglou/distillers@a2ee80b.

    Example:
        >>> print(f"{contrastive_consistency(torch.tensor([[2.0, 0.0], [1.0, 1.0]])):.4f}")
        0.4584
    """
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1]:
        raise InputError(f"similarity must be (B, B), but is {shape_of(similarity)}.")
    rows, columns = similarity.log_softmax(1), similarity.T.log_softmax(1)
    return -rows.diagonal().mean() + consistency_weight * F.kl_div(
        rows, columns, reduction="batchmean", log_target=True
    )
