r"""TTM (transformed teacher matching): soft targets whose temperature is the teacher's alone.

.. math:: \mathrm{CE}(z_s, y) + \beta \sum_m w_m\, \frac1B \sum_i \mathrm{KL}(q_{mi} \,\|\, p^s_i), \qquad
    q \propto (p^m)^g

with the student's probabilities at temperature 1; see :func:`kdlab.functional.transformed_teacher_kl`.

References:
    K. Zheng, E.-H. Yang, "Knowledge distillation based on transformed teacher matching", ICLR 2024, arXiv:2402.11148.
    Code: zkxufo/TTM@fe457b3.

Differences from the reference code:
    Several teachers. The weight is that of its weighted form (:mod:`kdlab.methods.wttm`) on CIFAR-100; for this form
    it was not found in the paper: choose it on validation.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, setting
from kdlab.methods.made import Distilled
from kdlab.objectives import WeightedTeachers
from kdlab.types import Output


class TTMObjective(WeightedTeachers):
    """Terms ``"ce"`` and ``"matching"``.

    Example:
        >>> import torch
        >>> student, teacher = Output(torch.zeros(1, 2), {}), Output(torch.tensor([[4.0, 0.0]]), {})
        >>> objective = TTMObjective(exponent=0.5, matching_weight=1.0)
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.6931, 'matching': 0.3278}
    """

    paper: ClassVar[tuple[str, ...]] = ("zheng2024knowledge",)
    zero_when_equal = False
    reason = "the teacher has a temperature of its own"
    weighted_windows: ClassVar[bool] = False

    exponent: Setting = setting("``g > 0``; .1 to .2 in the paper.", default=0.1, low=1e-3)
    matching_weight: Setting = setting("``beta``, at least 0.", default=45.0)
    ce_weight: Setting = setting("weight of the cross-entropy, at least 0.", default=1.0)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": CE, "matching": beta sum_m w_m KL(q_m || p_s)}``."""

        def divergence(teacher: Output) -> Tensor:
            logits = student.logits, teacher.logits
            return functional.transformed_teacher_kl(*logits, self.exponent, self.weighted_windows)

        return {
            "ce": self.ce_weight * self.label_loss(student.logits, target),
            "matching": self.matching_weight * self.weighted(teachers, divergence),
        }


class TTM(Distilled, objective=TTMObjective):
    """Distil the logits of any teachers, each with a temperature of its own."""
