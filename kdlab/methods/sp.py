r"""SP (similarity-preserving KD): the similarities of the windows of a batch are those of the teacher's features.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \frac{\gamma}{|L|} \sum_{l \in L} \sum_m w_m \frac{1}{B^2} \lVert N(G_s^l) - N(G_m^l) \rVert_F^2

with the Gram matrices ``G`` of a batch and the row normalisation ``N``; see
:func:`kdlab.functional.similarity_preserving`. The matrices do not depend on the shape of the features, so the
teacher may read images and the student signals. The original has no soft targets (``kd_weight=0``, the default).

References:
    F. Tung, G. Mori, "Similarity-preserving knowledge distillation", ICCV 2019, 10.1109/ICCV.2019.00145.
    Code: HobbitLong/RepDistiller@b84f547.

Differences from the reference code:
    The three stages are averaged; RepDistiller has the last one only (``taps=["stage3"]``). Several teachers are
    compared one by one; :mod:`kdlab.methods.tgd` merges their matrices first. The value depends on the size of the
    batch, so drop the last, smaller one.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, setting
from kdlab.methods.made import Distilled
from kdlab.objectives import SimilarityTargets


class SPObjective(SimilarityTargets):
    """Terms ``"ce"``, ``"kd"`` and ``"similarity"``.

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
    takes_many_labels = True

    kd_weight: Setting = setting("``lambda``, 0 to 1; 0 is the original, .9 adds soft targets.", default=0.0)

    def similarity(self, student: Tensor, teachers: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
        """Weighted sum of the distances to the teachers' Gram matrices."""
        return torch.stack(
            [weights[name] * functional.gram_distance(student, gram) for name, gram in teachers.items()]
        ).sum()


class SP(Distilled, objective=SPObjective):
    """Distil batch similarities from teachers on any views."""
