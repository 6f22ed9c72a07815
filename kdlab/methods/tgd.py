r"""TGD (topological guidance distillation): a teacher on the raw input and one on persistence images.

.. math:: (1 - \lambda)\, \mathrm{CE} + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \frac{\gamma}{|L|} \sum_{l \in L} \frac{1}{B^2} \Big\lVert N(G_s^l) - N\big(\textstyle\sum_m w_m G_m^l\big)
    \Big\rVert_F^2

with the Gram matrices ``G`` of a batch and the row normalisation ``N``; see :func:`kdlab.functional.merged_similarity`.
The paper starts the student from one that was trained from scratch (``student_init=``).

References:
    E. S. Jeon, R. Khurana, A. Pathak, P. Turaga, "Leveraging topological guidance for improved knowledge distillation",
    ICML 2024 Workshop on Geometry-grounded Representation Learning and Generative Modeling, arXiv:2407.05316.
    Code: jeunsom/TGD@242ad11.

Differences from the reference code:
    The divergence is that of the equation; the released one is ``K`` times smaller (``kl_reduction="mean"``). The
    weight of the raw teacher is .99 as in the released command; its README text has .95. Images and persistence images
    are standardised with their own training statistics (there with fixed constants), and persistence images are not
    rounded (there they are stored as 8-bit integers, times 255).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from kdlab import functional
from kdlab.fields import argument
from kdlab.methods.made import Distilled
from kdlab.objectives import SimilarityTargets


class TGDObjective(SimilarityTargets):
    """Terms ``"ce"``, ``"kd"`` and ``"similarity"``.

    Raises:
        InputError: for a parameter out of range, or if the weights do not name exactly the teachers.

    Example:
        >>> import torch
        >>> from kdlab.types import Output
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> raw = Output(logits, {"stage1": torch.tensor([[3.0, 0.0], [0.0, 3.0]])})
        >>> pi = Output(logits, {"stage1": torch.ones(2, 4)})
        >>> student = Output(logits, {"stage1": torch.eye(2)})
        >>> objective = TGDObjective(weights={"raw": 0.9, "pi": 0.1}, taps=("stage1",))
        >>> terms = objective(student=student, teachers={"raw": raw, "pi": pi}, target=torch.tensor([0, 1]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.0127, 'kd': 0.0, 'similarity': 3.3163}
    """

    paper: ClassVar[tuple[str, ...]] = ("jeon2024leveraging",)
    takes_many_labels = True
    default_weights: ClassVar[Mapping[str, float] | None] = {"raw": 0.99, "pi": 0.01}

    weights: dict[str, float] | None = argument(
        'teacher name -> weight of its logits and Gram matrices; ``None`` is ``{"raw": 0.99, "pi": 0.01}``.',
        default=None,
    )
    merge: Literal["raw", "normalised"] = argument(
        '``"raw"`` merges Gram matrices as they are, ``"normalised"`` normalises the rows of each first.', default="raw"
    )

    def similarity(self, student: Tensor, teachers: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
        """Distance of the student's Gram matrix and the merged one of the teachers."""
        return functional.gram_distance(student, functional.merge_grams(teachers, weights, self.merge))


class TGD(Distilled, objective=TGDObjective):
    """Distil logits and merged batch similarities of teachers on different views; ``"raw"`` and ``"pi"`` by default."""
