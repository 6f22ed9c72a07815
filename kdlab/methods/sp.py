r"""SP: similarity-preserving distillation, what is alike for the teacher is alike for the student.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \frac{\gamma}{|L|} \sum_{l \in L} \sum_m w_m \frac{1}{B^2} \lVert N(G_s^l) - N(G_m^l) \rVert_F^2

with the Gram matrices ``G`` of a batch and the row normalisation ``N``; see
:func:`kdlab.functional.similarity_preserving`. Only the batch matters, so a teacher on images can teach a student on
signals. The original has no soft targets (``kd_weight=0``, the default).

References:
    F. Tung, G. Mori, "Similarity-preserving knowledge distillation", ICCV 2019, 10.1109/ICCV.2019.00145.
    Code: HobbitLong/RepDistiller@b84f547.

Differences from the reference code:
    The three stages are averaged; RepDistiller has the last one only (``taps=["stage3"]``). Several teachers are
    compared one by one; :mod:`kdlab.methods.tgd` merges their matrices first. The value depends on the size of the
    batch, so drop the last, smaller one.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from kdlab import functional
from kdlab.methods.distillation import Distillation
from kdlab.methods.teacher import Teacher
from kdlab.nets.base import Backbone
from kdlab.objectives import SimilarityTargets


class SPObjective(SimilarityTargets):
    """Terms ``"ce"``, ``"kd"`` and ``"similarity"``.

    Args:
        similarity_weight: ``gamma``, at least 0.
        temperature: ``T > 0``.
        kd_weight: ``lambda``, 0 to 1.
        weights: teacher name -> ``w_m``; ``None`` weighs all equally.
        taps: names of the features.
        kl_reduction: ``"batchmean"`` or ``"mean"``.

    Raises:
        InputError: for a parameter out of range, or if the weights do not name exactly the teachers.

    Example:
        >>> from kdlab.types import Output
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> student = Output(logits, {"stage1": torch.eye(2)})
        >>> teacher = Output(logits, {"stage1": torch.tensor([[1.0, 0.0], [1.0, 0.0]])})
        >>> objective = SPObjective(similarity_weight=10.0, taps=("stage1",))
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0, 1]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.1269, 'kd': 0.0, 'similarity': 2.9289}
    """

    paper: ClassVar[tuple[str, ...]] = ("tung2019similarity",)

    def __init__(
        self,
        similarity_weight: float = 3000.0,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        weights: dict[str, float] | None = None,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
    ) -> None:
        super().__init__(temperature, kd_weight, similarity_weight, weights, taps, kl_reduction)

    def similarity(self, student: Tensor, teachers: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
        """Weighted sum of the distances to the teachers' Gram matrices."""
        return torch.stack(
            [weights[name] * functional.gram_distance(student, gram) for name, gram in teachers.items()]
        ).sum()


class SP(Distillation):
    """Distil batch similarities from teachers on any views.

    Args:
        student: the net that learns.
        teachers: teacher name -> teacher.
        similarity_weight: ``gamma``, at least 0.
        temperature: ``T > 0``.
        kd_weight: ``lambda``, 0 to 1; 0 is the original, .9 adds soft targets.
        weights: teacher name -> ``w_m``; ``None`` weighs all equally.
        taps: names of the features.
        kl_reduction: ``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller.
        kwargs: as in :class:`~kdlab.methods.distillation.Distillation`.
    """

    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        similarity_weight: float = 3000.0,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        weights: dict[str, float] | None = None,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        **kwargs: Any,
    ) -> None:
        objective = SPObjective(similarity_weight, temperature, kd_weight, weights, taps, kl_reduction)
        super().__init__(student, teachers, objective, **kwargs)
