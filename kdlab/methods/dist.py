r"""DIST: distillation of relations between class probabilities, within a window and across the batch.

.. math:: \mathrm{CE}(z_s, y) + T^2 \sum_m w_m \Big( \frac\beta B \sum_i (1 - \rho(p^s_{i\cdot}, p^m_{i\cdot}))
    + \frac\gamma K \sum_k (1 - \rho(p^s_{\cdot k}, p^m_{\cdot k})) \Big), \qquad p = \mathrm{softmax}(z / T)

with Pearson's correlation ``rho``, over the classes of a window and over the windows of a batch; see
:func:`kdlab.functional.inter_class_distance` and :func:`kdlab.functional.intra_class_distance`. A correlation of one
requires less of a student than equal probabilities do, which suits a teacher that is much stronger.

References:
    T. Huang, S. You, F. Wang, C. Qian, C. Xu, "Knowledge distillation from a stronger teacher", NeurIPS 2022,
    arXiv:2205.10536. Code: hunto/DIST_KD@2418f18, hunto/image_classification_sota@6f7a70a.

Differences from the reference code:
    On several processes the batch is that of all of them. For the rest see the functions.

The denominator of ``rho``:
    The codes add 1e-8 to the product of the norms (``eps``); the paper's equation has no such term. It leaves out the
    classes that no window of the batch is likely to be: their probabilities vary so little that ``rho`` is about 0
    whatever they are. With ``eps=0`` these classes have the same weight as the others, on noise: with 14 classes, 9 of
    them absent, and ``T = 1``, the gradient on the absent ones was 3.5 times as long.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.made import Distilled
from kdlab.objective import gather
from kdlab.objectives import WeightedTeachers
from kdlab.types import Output


class DISTObjective(WeightedTeachers):
    """Terms ``"ce"``, ``"inter"`` and ``"intra"``.

    Raises:
        InputError: for a parameter out of range, if the weights do not name exactly the teachers, or for batches of
            one window.

    Example:
        >>> student = Output(torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), {})
        >>> teacher = Output(torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 2.0]]), {})
        >>> objective = DISTObjective(temperature=1.0)
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0, 1, 1]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.3157, 'inter': 1.3333, 'intra': 1.0}
    """

    paper: ClassVar[tuple[str, ...]] = ("huang2022knowledge",)
    windows = 2
    zero_when_equal = False
    reason = "eps in the denominator leaves 1 - rho = eps / (variance + eps) where both are equal"

    inter_weight: Setting = setting("``beta``, at least 0.", default=2.0)
    intra_weight: Setting = setting("``gamma``, at least 0.", default=2.0)
    temperature: Setting = setting("``T > 0``; 4 on CIFAR-100, 1 on ImageNet.", default=4.0, low=1e-3)
    ce_weight: Setting = setting("weight of the cross-entropy, at least 0.", default=1.0)
    eps: float = argument(
        "added to the product of the norms in the denominator of ``rho``, as in the codes; 0 is the paper's equation.",
        default=1e-8,
        low=0.0,
    )

    def __post_init__(self) -> None:
        """Without ``eps``, equal outputs have a distance of 0."""
        super().__post_init__()
        if self.eps == 0:
            self.zero_when_equal, self.reason = True, ""

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": CE, "inter": beta T^2 (1 - rho), "intra": gamma T^2 (1 - rho)}``."""
        gathered = gather(student)
        own = gathered(self.scaled(student.logits))

        def distances(teacher: Output) -> Tensor:
            logits = (own, gathered(self.scaled(teacher.logits.detach())), self.temperature, self.eps)
            return torch.stack([functional.inter_class_distance(*logits), functional.intra_class_distance(*logits)])

        inter, intra = self.weighted(teachers, distances)
        return {
            "ce": self.ce_weight * self.label_loss(student.logits, target),
            "inter": self.inter_weight * inter,
            "intra": self.intra_weight * intra,
        }


class DIST(Distilled, objective=DISTObjective):
    """Distil the relations between class probabilities from any teachers."""
