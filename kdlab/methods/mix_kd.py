r"""MixKD: distillation on windows of which a part is mixed, with logits of standard deviation 1 in both terms.

.. math:: (1 - \lambda)\, \mathrm{CE}(\hat z_s, \tilde y) + \lambda \sum_m w_m\,
    \mathrm{KL}\big(\mathrm{softmax}(\hat z_m) \,\|\, \mathrm{softmax}(\hat z_s)\big), \qquad \hat z = z / \sigma(z)

with the standard deviation over the classes of a window in place of a temperature; see
:func:`kdlab.functional.standardise_logits` (it also subtracts the mean, which does not change a softmax). The data
module mixes windows and labels before student and teachers read them: ``mix: PartialMixup``
(:class:`kdlab.data.PartialMixup`), of all windows ``mix: Mixup``.

References:
    H. Choi, E. S. Jeon, A. Shukla, P. Turaga, "Understanding the role of mixup in knowledge distillation: An empirical
    study", WACV 2023, arXiv:2211.03946. Code: hchoi71/MIX-KD@6e8c149.

Differences from the reference code:
    Several teachers. Constant logits, NaN there, become zeros. Its validation loss is that of the standardised logits;
    here it is that of the logits, whose order is the same.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.made import Distilled
from kdlab.objectives import WeightedTeachers
from kdlab.types import Output


class MixKDObjective(WeightedTeachers):
    """Terms ``"ce"`` and ``"kd"``.

    Example:
        >>> import torch
        >>> student, teacher = Output(torch.tensor([[1.0, 0.0, 0.0]]), {}), Output(torch.tensor([[9.0, 2.0, 2.0]]), {})
        >>> mixed = torch.tensor([[0.75, 0.25, 0.0]])
        >>> terms = MixKDObjective()(student=student, teachers={"raw": teacher}, target=mixed)
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.0736, 'kd': 0.0}
    """

    paper: ClassVar[tuple[str, ...]] = ("choi2023understanding",)

    kd_weight: Setting = setting("``lambda``, 0 to 1.", default=0.9, high=1.0)
    eps: float = argument("added to the standard deviation, at least 0.", default=0.0, low=0.0)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": (1 - lambda) CE, "kd": lambda sum_m w_m KL_m}``."""
        own = functional.standardise_logits(student.logits, self.eps)

        def divergence(teacher: Output) -> Tensor:
            other = functional.standardise_logits(teacher.logits.detach(), self.eps)
            return functional.soft_target_kl(own, other, 1.0)

        return {
            "ce": (1 - self.kd_weight) * self.label_loss(own, target),
            "kd": self.kd_weight * self.weighted(teachers, divergence),
        }


class MixKD(Distilled, objective=MixKDObjective):
    """Distil the standardised logits of any teachers, on windows that the data module mixes in part."""
