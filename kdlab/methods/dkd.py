r"""DKD: decoupled distillation, of the true class and of the others among themselves.

.. math:: \mathrm{CE}(z_s, y) + r\, T^2 \sum_m w_m \big( \alpha\, \mathrm{KL}(b_m \,\|\, b_s)
    + \beta\, \mathrm{KL}(\hat p_m \,\|\, \hat p_s) \big), \qquad b = (p_y, 1 - p_y), \quad p = \mathrm{softmax}(z / T)

with the probabilities of the other classes ``hat p``, which sum to one without the true one; see
:func:`kdlab.functional.target_class_kl` and :func:`kdlab.functional.other_classes_kl`. Plain soft targets have
``alpha = 1`` and ``beta = 1 - p_y^t``, so they say little where the teacher is sure.

The factor ``r`` rises from epoch to epoch, ``min(e / warm_up, 1)`` with ``e`` counted from 1.

References:
    B. Zhao, Q. Cui, R. Song, Y. Qiu, J. Liang, "Decoupled knowledge distillation", CVPR 2022, arXiv:2203.08679.
    Code: megvii-research/mdistiller@a08d46f.

Differences from the reference code:
    Labels may be mixed, and the divergences are then averaged over them. For the rest see the functions.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from kdlab import functional
from kdlab.methods.distillation import Distillation
from kdlab.methods.teacher import Teacher
from kdlab.nets.base import Backbone
from kdlab.objective import WeighedTeachers
from kdlab.types import Batch, InputError, Output


class DKDObjective(WeighedTeachers):
    """Terms ``"ce"``, ``"target"`` and ``"others"``, and the setting ``"ramp"``, a factor on the latter two.

    The factor is 1; :class:`DKD` makes it grow.

    Args:
        target_weight: ``alpha``, at least 0.
        others_weight: ``beta``, at least 0; the published 6 to 8 on CIFAR-100 (2 for small ResNets), .5 on ImageNet.
        temperature: ``T > 0``.
        ce_weight: weight of the cross-entropy, at least 0.
        weights: teacher name -> ``w_m``; ``None`` weighs all equally.
        kl_reduction: ``"batchmean"`` as in the equation, or ``"mean"``: ``TCKD`` 2 times smaller, ``NCKD`` ``K - 1``.

    Raises:
        InputError: for a parameter out of range, if the weights do not name exactly the teachers, or for two classes.

    Example:
        >>> student = Output(torch.tensor([[0.0, 0.0, 0.0]]), {})
        >>> teacher = Output(torch.tensor([[9.0, 2.0, 0.0]]), {})
        >>> objective = DKDObjective(temperature=1.0)
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 1.0986, 'target': 1.0898, 'others': 2.6225}
    """

    paper: ClassVar[tuple[str, ...]] = ("zhao2022decoupled",)

    target_weight: Tensor
    others_weight: Tensor
    temperature: Tensor
    ce_weight: Tensor
    ramp: Tensor

    def __init__(
        self,
        target_weight: float = 1.0,
        others_weight: float = 8.0,
        temperature: float = 4.0,
        ce_weight: float = 1.0,
        weights: dict[str, float] | None = None,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
    ) -> None:
        super().__init__(weights)
        self._setting("target_weight", target_weight)
        self._setting("others_weight", others_weight)
        self._setting("temperature", temperature, low=1e-3)
        self._setting("ce_weight", ce_weight)
        self._setting("ramp", 1.0, high=1.0)
        functional.check_choice("DKDObjective: kl_reduction", kl_reduction, ("batchmean", "mean"))
        self.kl_reduction = kl_reduction

    def forward(self, *, student: Output, teachers: dict[str, Output], target: Tensor) -> dict[str, Tensor]:
        """``{"ce": CE, "target": r alpha TCKD, "others": r beta NCKD}``."""

        def divergences(teacher: Output) -> Tensor:
            logits = (student.logits, teacher.logits, target, self.temperature, self.kl_reduction)
            return torch.stack([functional.target_class_kl(*logits), functional.other_classes_kl(*logits)])

        true_class, others = self._weigh(teachers, divergences)
        return {
            "ce": self.ce_weight * functional.cross_entropy(student.logits, target),
            "target": self.ramp * self.target_weight * true_class,
            "others": self.ramp * self.others_weight * others,
        }


class DKD(Distillation):
    """Distil the logits of any teachers, decoupled into the true class and the others.

    Args:
        student: the net that learns, of at least three classes.
        teachers: teacher name -> teacher.
        target_weight: ``alpha``, at least 0.
        others_weight: ``beta``, at least 0.
        temperature: ``T > 0``.
        ce_weight: weight of the cross-entropy, at least 0.
        weights: teacher name -> ``w_m``; ``None`` weighs all equally.
        kl_reduction: ``"batchmean"`` as in the equation, or ``"mean"``: ``TCKD`` 2 times smaller, ``NCKD`` ``K - 1``.
        warm_up: epochs in which ``r`` grows; the original has 20 of 240 on CIFAR-100 and 1 on ImageNet.
        kwargs: as in :class:`~kdlab.methods.distillation.Distillation`.
    """

    moves: ClassVar[tuple[str, ...]] = ("ramp",)

    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        target_weight: float = 1.0,
        others_weight: float = 8.0,
        temperature: float = 4.0,
        ce_weight: float = 1.0,
        weights: dict[str, float] | None = None,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        warm_up: int = 20,
        **kwargs: Any,
    ) -> None:
        objective = DKDObjective(target_weight, others_weight, temperature, ce_weight, weights, kl_reduction)
        super().__init__(student, teachers, objective, **kwargs)
        if warm_up < 0:
            raise InputError(f"DKD: warm_up must be at least 0 epochs, but is {warm_up}.")
        self.warm_up = warm_up

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the factor of this epoch, a function of the epoch alone."""
        self.objective.set("ramp", min((self.trainer.current_epoch + 1) / self.warm_up, 1.0) if self.warm_up else 1.0)
