r"""RKD: relational distillation of the distances and angles between the windows of a batch.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \frac{1}{|L|} \sum_{l \in L} \sum_m w_m \big( w_D\, L_D(f_s^l, f_m^l) + w_A\, L_A(f_s^l, f_m^l) \big)

The functions ``L_D`` and ``L_A`` are :func:`kdlab.functional.relational_distance` and
:func:`kdlab.functional.relational_angle`, on embeddings of any width. The original has no soft targets
(``kd_weight=0``, the default).

References:
    W. Park, D. Kim, Y. Lu, M. Cho, "Relational knowledge distillation", CVPR 2019, 10.1109/CVPR.2019.00409.
    Code: lenscloth/RKD@0a6c3c0, HobbitLong/RepDistiller@b84f547.

Differences from the reference code:
    The weights 25 and 50 are RepDistiller's for classification; lenscloth has 1 and 2 for metric learning. The student
    comes first and the teacher is detached by name, so that the arguments cannot be swapped. For the rest see the
    functions.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from kdlab import functional
from kdlab.methods.distillation import Distillation
from kdlab.methods.teacher import Teacher
from kdlab.nets.base import Backbone
from kdlab.objective import checked_taps
from kdlab.objectives import SoftTargets
from kdlab.types import Output


class RKDObjective(SoftTargets):
    """Terms ``"ce"``, ``"kd"``, ``"distance"`` and ``"angle"``.

    Args:
        distance_weight: ``w_D``, at least 0.
        angle_weight: ``w_A``, at least 0.
        temperature: ``T > 0``.
        kd_weight: ``lambda``, 0 to 1.
        weights: teacher name -> ``w_m``; ``None`` weighs all equally.
        taps: names of the features. Angles take ``B^3`` numbers of memory, over all ranks.
        kl_reduction: ``"batchmean"`` or ``"mean"``.

    Raises:
        InputError: for a parameter out of range, if the weights do not name exactly the teachers, or for batches of
            fewer than three windows, whose relations are always the same.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
        >>> student = Output(logits, {"embedding": torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])})
        >>> teacher = Output(logits, {"embedding": torch.tensor([[0.0], [1.0], [2.0]])})
        >>> terms = RKDObjective()(student=student, teachers={"raw": teacher}, target=torch.tensor([0, 1, 0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.1269, 'kd': 0.0, 'distance': 1.7925, 'angle': 6.4815}
    """

    paper: ClassVar[tuple[str, ...]] = ("park2019relational",)
    windows = 3

    distance_weight: Tensor
    angle_weight: Tensor

    def __init__(
        self,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        weights: dict[str, float] | None = None,
        taps: tuple[str, ...] = ("embedding",),
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
    ) -> None:
        super().__init__(temperature, kd_weight, weights, kl_reduction)
        self.setting("distance_weight", distance_weight)
        self.setting("angle_weight", angle_weight)
        self.taps = checked_taps("RKDObjective", taps)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "distance": w_D L_D, "angle": w_A L_A}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        distance, angle = self.over_taps(student, teachers, _relations, gathered=True)
        return {**terms, "distance": self.distance_weight * distance, "angle": self.angle_weight * angle}


def _relations(student: Tensor, teacher: Tensor) -> Tensor:
    return torch.stack(
        [functional.relational_distance(student, teacher), functional.relational_angle(student, teacher)]
    )


class RKD(Distillation):
    """Distil the relations between embeddings from teachers on any views.

    Args:
        student: the net that learns.
        teachers: teacher name -> teacher.
        distance_weight: ``w_D``, at least 0; 0 leaves angles alone (RKD-A).
        angle_weight: ``w_A``, at least 0; 0 leaves distances alone (RKD-D).
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
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        weights: dict[str, float] | None = None,
        taps: tuple[str, ...] = ("embedding",),
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        **kwargs: Any,
    ) -> None:
        objective = RKDObjective(distance_weight, angle_weight, temperature, kd_weight, weights, taps, kl_reduction)
        super().__init__(student, teachers, objective, **kwargs)
