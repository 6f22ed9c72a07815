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
    comes first and the teacher is detached by name, so that the arguments cannot be swapped. The distances of equal
    windows are 0 (1e-6 in the codes, whose loss is NaN for a batch of one). For the rest see the functions.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.made import Distilled
from kdlab.objective import PAIRS, checked_taps
from kdlab.objectives import SoftTargets
from kdlab.pairs import Pairs
from kdlab.types import Output


class RKDObjective(SoftTargets):
    """Terms ``"ce"``, ``"kd"``, ``"distance"`` and ``"angle"``.

    Raises:
        InputError: for a parameter out of range, if the weights do not name exactly the teachers, or for batches of
            fewer than three windows, whose relations are constant.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
        >>> student = Output(logits, {"embedding": torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])})
        >>> teacher = Output(logits, {"embedding": torch.tensor([[0.0], [1.0], [2.0]])})
        >>> terms = RKDObjective()(student=student, teachers={"raw": teacher}, target=torch.tensor([0, 1, 0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.1269, 'kd': 0.0, 'distance': 1.7925, 'angle': 6.4815}
    """

    paper: ClassVar[tuple[str, ...]] = ("park2019relational",)
    takes_many_labels = True
    windows = 3

    distance_weight: Setting = setting("``w_D``, at least 0; 0 is the angle term alone (RKD-A).", default=25.0)
    angle_weight: Setting = setting("``w_A``, at least 0; 0 is the distance term alone (RKD-D).", default=50.0)
    kd_weight: Setting = setting("``lambda``, 0 to 1; 0 is the original, .9 adds soft targets.", default=0.0)
    taps: tuple[str, ...] = argument(
        "names of the features. Angles take ``B^3`` numbers of memory, over all ranks.",
        default=("embedding",),
        check=checked_taps,
    )
    pairs: Pairs | None = PAIRS

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


class RKD(Distilled, objective=RKDObjective):
    """Distil the relations between embeddings from teachers on any views."""
