r"""Topological KD: a teacher on persistence images and one on the raw signal, whose logits are brought to one scale.

.. math:: (1 - \lambda)\, \mathrm{CE}(z'_s, y) + \lambda\, c \sum_m w_m\,
    \mathrm{KL}\big(\mathrm{softmax}(a z'_m) \,\|\, \mathrm{softmax}(a z'_s)\big),
    \qquad z' = z / (\sigma(z) + \epsilon)

with the standard deviation over the classes of a window in place of a temperature; see
:func:`kdlab.functional.standardise_logits` (softmax does not see that it subtracts the mean as well). The paper starts
the student from one that was trained from scratch (``student_init=``).

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

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from kdlab import functional
from kdlab.methods.distillation import Distillation
from kdlab.methods.teacher import Teacher
from kdlab.nets.base import Backbone
from kdlab.objectives import WeightedTeachers
from kdlab.types import InputError, Output


class TopologicalKDObjective(WeightedTeachers):
    """Terms ``"ce"`` and ``"kd"``.

    Args:
        kd_weight: ``lambda``, 0 to 1.
        scale: ``a``, at least 0: the standard deviation that logits have in the divergence.
        factor: ``c``, at least 0.
        weights: teacher name -> ``w_m``; ``None`` stands for ``{"raw": 0.3, "pi": 0.7}``.
        kl_reduction: ``"batchmean"`` or ``"mean"``.
        eps: ``epsilon``, at least 0.

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

    kd_weight: Tensor
    scale: Tensor
    factor: Tensor

    def __init__(
        self,
        kd_weight: float = 0.99,
        scale: float = 2.0,
        factor: float = 16.0,
        weights: dict[str, float] | None = None,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        eps: float = 1e-7,
    ) -> None:
        super().__init__(weights)
        self.setting("kd_weight", kd_weight, high=1.0)
        self.setting("scale", scale)
        self.setting("factor", factor)
        functional.check_choice("TopologicalKDObjective: kl_reduction", kl_reduction, ("batchmean", "mean"))
        if not 0 <= eps < math.inf:
            raise InputError(f"TopologicalKDObjective: eps must be at least 0 and finite, but is {eps}.")
        self.kl_reduction: Literal["batchmean", "mean"] = kl_reduction
        self.eps = eps

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": (1 - lambda) CE, "kd": lambda c sum_m w_m KL_m}``."""
        own = functional.standardise_logits(student.logits, self.eps)

        def divergence(teacher: Output) -> Tensor:
            other = functional.standardise_logits(teacher.logits.detach(), self.eps)
            return functional.soft_target_kl(self.scale * own, self.scale * other, 1.0, self.kl_reduction)

        return {
            "ce": (1 - self.kd_weight) * functional.cross_entropy(own, target),
            "kd": self.kd_weight * self.factor * self.weighted(teachers, divergence),
        }


class TopologicalKD(Distillation):
    """Distil the standardised logits of a raw and a persistence-image teacher.

    Args:
        student: the net that learns.
        teachers: teacher name -> teacher; ``"raw"`` and ``"pi"`` with the default weights.
        kd_weight: ``lambda``, 0 to 1.
        scale: ``a``, at least 0: the standard deviation that logits have in the divergence.
        factor: ``c``, at least 0.
        weights: teacher name -> ``w_m``; ``None`` stands for ``{"raw": 0.3, "pi": 0.7}``.
        kl_reduction: ``"batchmean"`` as in the equation, or ``"mean"`` as in the released code.
        eps: ``epsilon``, at least 0; 0 as in the released code.
        kwargs: as in :class:`~kdlab.methods.distillation.Distillation`.
    """

    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        kd_weight: float = 0.99,
        scale: float = 2.0,
        factor: float = 16.0,
        weights: dict[str, float] | None = None,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        eps: float = 1e-7,
        **kwargs: Any,
    ) -> None:
        objective = TopologicalKDObjective(kd_weight, scale, factor, weights, kl_reduction, eps)
        super().__init__(student, teachers, objective, **kwargs)
