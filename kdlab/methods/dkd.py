r"""DKD (decoupled KD): separate divergences for the target class and for the distribution over the other classes.

.. math:: \mathrm{CE}(z_s, y) + r\, T^2 \sum_m w_m \big( \alpha\, \mathrm{KL}(b_m \,\|\, b_s)
    + \beta\, \mathrm{KL}(\hat p_m \,\|\, \hat p_s) \big), \qquad b = (p_y, 1 - p_y), \quad p = \mathrm{softmax}(z / T)

with the probabilities of the other classes ``hat p``, which sum to one without the true one; see
:func:`kdlab.functional.target_class_kl` and :func:`kdlab.functional.other_classes_kl`. Plain soft targets have
``alpha = 1`` and ``beta = 1 - p_y^t``, so the other classes have a small weight where the teacher is confident.

The factor ``r`` rises from epoch to epoch, ``min(e / warm_up, 1)`` with ``e`` counted from 1.

References:
    B. Zhao, Q. Cui, R. Song, Y. Qiu, J. Liang, "Decoupled knowledge distillation", CVPR 2022, arXiv:2203.08679.
    Code: megvii-research/mdistiller@a08d46f.

Differences from the reference code:
    Labels may be mixed, and the divergences are then averaged over them. ``standardise`` is the option
    ``--logit-stand`` of sunshangquan/logit-standardization-KD. For the rest see the functions.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.decay import Warming
from kdlab.methods.made import Distilled
from kdlab.objectives import Reduction
from kdlab.types import Output


class DKDObjective(Warming):
    """Terms ``"ce"``, ``"target"`` and ``"others"``, and the setting ``"ramp"``, a factor on the latter two.

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
    reads_labels = True

    target_weight: Setting = setting("``alpha``, at least 0.", default=1.0)
    others_weight: Setting = setting(
        "``beta``, at least 0; the published 6 to 8 on CIFAR-100 (2 for small ResNets), .5 on ImageNet.", default=8.0
    )
    temperature: Setting = setting("``T > 0``.", default=4.0, low=1e-3)
    ce_weight: Setting = setting("weight of the cross-entropy, at least 0.", default=1.0)
    kl_reduction: Reduction = argument(
        '``"batchmean"`` as in the equation, or ``"mean"``: ``TCKD`` 2 times smaller, ``NCKD`` ``K - 1``.',
        default="batchmean",
    )
    warm_up: int = argument(
        "epochs in which ``r`` grows, at least 0; 0: ``r`` is 1. The original has 20 of 240 on CIFAR-100 and 1 on "
        "ImageNet.",
        default=0,
        low=0,
    )

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": CE, "target": r alpha TCKD, "others": r beta NCKD}``."""
        own = self.scaled(student.logits)

        def divergences(teacher: Output) -> Tensor:
            logits = (own, self.scaled(teacher.logits), target, self.temperature, self.kl_reduction)
            return torch.stack([functional.target_class_kl(*logits), functional.other_classes_kl(*logits)])

        true_class, others = self.weighted(teachers, divergences)
        return {
            "ce": self.ce_weight * self.label_loss(student.logits, target),
            "target": self.ramp * self.target_weight * true_class,
            "others": self.ramp * self.others_weight * others,
        }


class DKD(Distilled, objective=DKDObjective, warm_up=20):
    """Distil the logits of any teachers, decoupled into the true class and the others, of at least three classes."""
