"""How windows are spread over a set of reference embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from kdlab.functional.precision import full_precision, shape_of
from kdlab.types import InputError


@full_precision
def reference_cross_entropy(
    student: Tensor,
    teacher: Tensor,
    references: Tensor,
    present: Tensor | None = None,
    teacher_temperature: float = 0.1,
    student_temperature: float = 0.05,
) -> Tensor:
    r"""Cross-entropy of the similarities of two embeddings of a window to the same references.

    .. math:: -\frac1B \sum_i \sum_j \mathrm{softmax}_j(v_i \cdot q_j / \tau_t)\,
        \log \mathrm{softmax}_j(u_i \cdot q_j / \tau_s)

    Args:
        student: ``u (B, D)``, of unit norm.
        teacher: ``v (B, D)``, of unit norm; detached.
        references: ``q (Q, D)``, of unit norm; detached.
        present: ``(Q,)``, whether a reference counts; ``None``: all do.
        teacher_temperature: ``tau_t``, above 0.
        student_temperature: ``tau_s``, above 0.

    Returns:
        0-dim tensor; at least the entropy of the teacher's distribution.

    Raises:
        InputError: with the shapes, unless they fit.

    References:
        B. Chen et al., "COMODO: Cross-modal video-to-IMU distillation for efficient egocentric human activity
        recognition", 2025, arXiv:2503.07259. Code: cruiseresearchgroup/COMODO@2666a02 comodo/loss.py.

    Example:
        >>> u, v = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> print(f"{reference_cross_entropy(u, v, torch.eye(2), None, 1.0, 1.0):.4f}")
        1.0443
    """
    if student.ndim != 2 or student.shape != teacher.shape or references.shape[1:] != student.shape[1:]:
        raise InputError(
            "Embeddings must be (B, D) of the same batch and (Q, D), but the student has "
            f"{shape_of(student)}, the teacher {shape_of(teacher)} and the references {shape_of(references)}."
        )
    keys = references.detach().T
    own, other = student @ keys / student_temperature, teacher.detach() @ keys / teacher_temperature
    if present is None:
        return -(other.softmax(1) * own.log_softmax(1)).sum(1).mean()
    own, other = (x.masked_fill(~present, -torch.inf) for x in (own, other))
    return -(other.softmax(1) * torch.where(present, own.log_softmax(1), 0.0)).sum(1).mean()
