r"""Topological KD: a teacher on persistence images and one on the raw signal, with standardised logits.

.. math:: (1 - \lambda)\, \mathrm{CE}(z'_s, y) + \lambda\, c \sum_m w_m\,
    \mathrm{KL}\big(\mathrm{softmax}(a z'_m) \,\|\, \mathrm{softmax}(a z'_s)\big),
    \qquad z' = z / (\sigma(z) + \epsilon)

with the standard deviation over the classes of a window in place of a temperature; see
:func:`kdlab.functional.standardise_logits` (it also subtracts the mean, which does not change a softmax). The paper
starts the student from one that was trained from scratch (``student_init=``).

References:
    E. S. Jeon, H. Choi, A. Shukla, Y. Wang, M. P. Buman, P. Turaga, "Topological knowledge distillation for wearable
    sensor data", Asilomar Conference on Signals, Systems, and Computers, 2022. Code: jeunsom/TDA_KD@b9091bb.

Differences from the reference code:
    The equation is the code's, with ``a = 2`` and ``c = 16`` (which is not the square of a temperature: twice the
    standardised logits are those at temperature 1/2). The released divergence is ``K`` times smaller
    (``kl_reduction="mean"``), and nothing is added to the standard deviation (``eps=0``).
    Constant logits, NaN there, become zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.made import Distilled
from kdlab.objectives import Reduction, WeightedTeachers
from kdlab.types import Output


class TopologicalKDObjective(WeightedTeachers):
    """Terms ``"ce"`` and ``"kd"``.

    Raises:
        InputError: for a parameter out of range, or if the weights do not name exactly the teachers.

    Example:
        >>> import torch
        >>> student = Output(torch.tensor([[1.0, 0.0, 0.0]]), {})
        >>> raw, pi = Output(torch.tensor([[0.0, 1.0, 2.0]]), {}), Output(torch.tensor([[9.0, 2.0, 2.0]]), {})
        >>> terms = TopologicalKDObjective()(student=student, teachers={"raw": raw, "pi": pi}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.003, 'kd': 14.3927}
    """

    paper: ClassVar[tuple[str, ...]] = ("jeon2022topological", "hinton2015distilling")
    default_weights: ClassVar[Mapping[str, float] | None] = {"raw": 0.3, "pi": 0.7}

    kd_weight: Setting = setting("``lambda``, 0 to 1.", default=0.99, high=1.0)
    scale: Setting = setting(
        "``a``, at least 0: the standard deviation that logits have in the divergence.", default=2.0
    )
    factor: Setting = setting("``c``, at least 0.", default=16.0)
    weights: dict[str, float] | None = argument(
        'teacher name -> ``w_m``; ``None`` is ``{"raw": 0.3, "pi": 0.7}``.', default=None
    )
    kl_reduction: Reduction = argument(
        '``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller, as in the released code.',
        default="batchmean",
    )
    eps: float = argument("``epsilon``, at least 0; 0 as in the released code.", default=1e-7, low=0.0)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": (1 - lambda) CE, "kd": lambda c sum_m w_m KL_m}``."""
        own = functional.standardise_logits(student.logits, self.eps)

        def divergence(teacher: Output) -> Tensor:
            other = functional.standardise_logits(teacher.logits.detach(), self.eps)
            return functional.soft_target_kl(self.scale * own, self.scale * other, 1.0, self.kl_reduction)

        return {
            "ce": (1 - self.kd_weight) * self.label_loss(own, target),
            "kd": self.kd_weight * self.factor * self.weighted(teachers, divergence),
        }


class TopologicalKD(Distilled, objective=TopologicalKDObjective):
    """Distil the standardised logits of a raw and a persistence-image teacher; ``"raw"`` and ``"pi"`` by default."""
