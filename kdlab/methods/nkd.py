r"""NKD: the label with the teacher's certainty of it, and the other classes among themselves.

.. math:: \mathrm{CE}(z_s, y) - \sum_m w_m \frac1B \sum_i \Big( p_{m,iy} \log p_{s,iy}
    + \gamma\, T^2 \sum_{k \ne y} q_{m,ik} \log q_{s,ik} \Big), \qquad
    q_k = \frac{\exp(z_k / T)}{\sum_{j \ne y} \exp(z_j / T)}

with ``p`` at temperature 1. With two classes the last sum is 0.

References:
    Z. Yang, A. Zeng, Z. Li, T. Zhang, C. Yuan, Y. Li, "From knowledge distillation to self-knowledge distillation: a
    unified approach with normalized loss and customized soft labels", ICCV 2023, arXiv:2303.13005.
    Code: yzd-v/cls_KD@1e5d48f.

Differences from the reference code:
    Several teachers; mixed labels, over which both sums are averaged.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, setting
from kdlab.methods.made import Distilled
from kdlab.objectives import WeightedTeachers
from kdlab.types import Output


class NKDObjective(WeightedTeachers):
    """Terms ``"ce"``, ``"target"`` and ``"others"``.

    Example:
        >>> student = Output(torch.tensor([[0.0, 0.0, 0.0]]), {})
        >>> teacher = Output(torch.tensor([[9.0, 2.0, 0.0]]), {})
        >>> terms = NKDObjective()(student=student, teachers={"raw": teacher}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 1.0986, 'target': 1.0975, 'others': 1.0397}
    """

    paper: ClassVar[tuple[str, ...]] = ("yang2023knowledge",)
    reads_labels = True
    zero_when_equal = False
    reason = "cross-entropy with a distribution is at least its entropy"

    others_weight: Setting = setting("``gamma``, at least 0.", default=1.5)
    temperature: Setting = setting("``T > 0`` of the other classes.", default=1.0, low=1e-3)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": CE, "target": -sum_m w_m p_m[y] log p_s[y], "others": -gamma T^2 sum_m w_m q_m log q_s}``."""
        classes = torch.arange(student.logits.shape[1], device=target.device)
        mixed = target.is_floating_point()
        own = classes == (classes[None, :, None] if mixed else target[:, None, None])
        share = target if mixed else (target[:, None] >= 0).to(student.logits.dtype)  # of each class in the label
        p_own, q_own = _log_softmaxes(self.scaled(student.logits), own, self.temperature)

        def both(teacher: Output) -> Tensor:
            p, q = _log_softmaxes(self.scaled(teacher.logits.detach()), own, self.temperature)
            entropies = torch.stack([-p.exp() * p_own, -(q.exp() * q_own).sum(2)])
            return (share * entropies).sum(2).mean(1)

        certainty, others = self.weighted(teachers, both)
        return {
            "ce": self.label_loss(student.logits, target),
            "target": certainty,
            "others": self.others_weight * self.temperature**2 * others,
        }


@functional.full_precision
def _log_softmaxes(logits: Tensor, own: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
    """Of each class that ``own`` marks, ``(1 or B, C, K)``: its ``log p`` ``(B, C)``, and ``log q`` of the others."""
    others = (logits / temperature)[:, None].masked_fill(own, -math.inf).log_softmax(2)
    return (logits.log_softmax(1)[:, None] * own).sum(2), others.masked_fill(own, 0.0)


class NKD(Distilled, objective=NKDObjective):
    """Distil the logits of any teachers, with the target class and the others apart."""
