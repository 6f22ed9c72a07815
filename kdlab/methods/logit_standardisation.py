r"""Logit standardisation: soft targets of logits with mean 0 and standard deviation 1, whatever their scale.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda\, c \sum_m w_m\, T^2\, \mathrm{KL}(p_m \,\|\, p_s), \qquad
    p = \mathrm{softmax}(\hat z / T), \quad \hat z = \frac{z - \bar z}{\sigma + \epsilon}

with mean and standard deviation over the classes of a window; see :func:`kdlab.functional.standardise_logits`. A small
student need not match the scale of its teacher's logits.

References:
    S. Sun, W. Ren, J. Li, R. Wang, X. Cao, "Logit standardization in knowledge distillation", CVPR 2024,
    arXiv:2403.01427. Code: sunshangquan/logit-standardization-KD@f6e5aa5.

Differences from the reference code:
    It has the weights .1 for the labels and 9 for the teacher, which are ``lambda = .9`` and ``c = 10`` here. Several
    teachers are an addition of ours. For the rest see the function.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.made import Distilled
from kdlab.objectives import SoftTargets
from kdlab.types import Output


class LogitStandardisationObjective(SoftTargets):
    """Terms ``"ce"`` and ``"kd"``.

    Raises:
        InputError: for a parameter out of range, or if the weights do not name exactly the teachers.

    Example:
        >>> import torch
        >>> student = Output(torch.tensor([[1.0, 0.0, 0.0]]), {})
        >>> larger, other = Output(torch.tensor([[9.0, 2.0, 2.0]]), {}), Output(torch.tensor([[0.0, 1.0, 2.0]]), {})
        >>> objective = LogitStandardisationObjective()
        >>> terms = objective(student=student, teachers={"raw": larger}, target=torch.tensor([0]))
        >>> bool(terms["kd"] < 1e-6)
        True
        >>> terms = objective(student=student, teachers={"raw": other}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.0551, 'kd': 10.6168}
    """

    paper: ClassVar[tuple[str, ...]] = ("sun2024logit",)

    temperature: Setting = setting("``T > 0``, of standardised logits.", default=2.0)
    factor: Setting = setting(
        "``c``, at least 0: standardised logits differ little, and so do their probabilities.", default=10.0
    )

    standardise: bool = argument(init=False)  # always

    @property
    def needs_logits(self) -> bool:
        """Always."""
        return True

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": (1 - lambda) CE, "kd": lambda c sum_m w_m KD_m}``."""
        own = functional.standardise_logits(student.logits)

        def divergence(teacher: Output) -> Tensor:
            other = functional.standardise_logits(teacher.logits.detach())
            return functional.soft_target_kl(own, other, self.temperature, self.kl_reduction)

        return {
            "ce": (1 - self.kd_weight) * self.label_loss(student.logits, target),
            "kd": self.kd_weight * self.factor * self.weighted(teachers, divergence),
        }


class LogitStandardisation(Distilled, objective=LogitStandardisationObjective):
    """Distil the standardised logits of any teachers."""
