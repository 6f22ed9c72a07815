r"""DCD (discriminative and consistent distillation): contrast of the windows of a batch, in both directions alike.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \beta \sum_m w_m \big[ \mathrm{CE}(S_m, \mathrm{diagonal}) + \tfrac12 \mathrm{KL}(Q_m \,\|\, P_m) \big], \qquad
    S = t\, u v^\top + b

with unit embeddings ``u`` and ``v``, linear in the features of student and teacher, a learnt scale
``t = min(exp(a), 10)`` and a learnt offset ``b``; ``P`` and ``Q`` are the probabilities of rows and columns, see
:func:`kdlab.functional.contrastive_consistency`. The other windows of the batch are the negatives; there is no memory.
Embeddings of images and of signals are compared as they are. What is learnt here is dropped after the fit.

References:
    N. Giakoumoglou, T. Stathaki, "Discriminative and consistent representation distillation", 2024, arXiv:2407.11802.
    Code: giakoumoglou/distillers@a2ee80b.

Differences from the reference code:
    There soft targets are added with weight 1 where they are used; ``lambda = .5`` with ``contrast_weight = .5`` has
    the same ratio of the three terms. On several processes the batch is that of all of them.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.hints import HintTargets
from kdlab.methods.made import Distilled
from kdlab.objective import checked_taps, gather
from kdlab.types import Output

MOST = 10.0  # of the scale


class Embeddings(nn.Module):
    """Two linear layers onto the unit sphere, ``(B, D)`` and ``(B, D')`` to ``(2, B, width)``, and the learnt scalars.

    Attributes:
        log_scale: ``a``, from 1.
        offset: ``b``, from 0.
    """

    def __init__(self, student: int, teacher: int, width: int) -> None:
        super().__init__()
        self.student, self.teacher = nn.Linear(student, width), nn.Linear(teacher, width)
        self.log_scale, self.offset = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The embeddings of both."""
        return functional.unit(torch.stack([self.student(student.flatten(1)), self.teacher(teacher.flatten(1))]))

    def similarity(self, u: Tensor, v: Tensor) -> Tensor:
        """``t u v^T + b``."""
        return _similarity(u, v, self.log_scale, self.offset)


@functional.full_precision
def _similarity(u: Tensor, v: Tensor, log_scale: Tensor, offset: Tensor) -> Tensor:
    return log_scale.clamp(max=math.log(MOST)).exp() * (u @ v.T) + offset


class DCDObjective(HintTargets):
    """Terms ``"ce"``, ``"kd"`` and ``"contrast"``.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> student = Output(logits, {"embedding": torch.tensor([[1.0], [-1.0]])})
        >>> objective = DCDObjective(width=1)
        >>> objective.adapt(student=student, teachers={"raw": student})
        >>> for embed in (objective.adapters["raw_embedding"].student, objective.adapters["raw_embedding"].teacher):
        ...     _ = torch.nn.init.ones_(embed.weight), torch.nn.init.zeros_(embed.bias)
        >>> terms = objective(student=student, teachers={"raw": student}, target=torch.tensor([0, 1]))
        >>> {name: round(term.item(), 4) for name, term in terms.items()}  # log(1 + exp(-2 e))
        {'ce': 0.1269, 'kd': 0.0, 'contrast': 0.0043}
    """

    paper: ClassVar[tuple[str, ...]] = ("giakoumoglou2024discriminative",)
    zero_when_equal = False
    reason = "the contrast is a cross-entropy, whose minimum is not zero"
    windows = 2

    kd_weight: Setting = setting("``lambda``, 0 to 1; 0 is the original.", default=0.0, high=1.0)
    contrast_weight: Setting = setting("``beta``, at least 0.", default=1.0)
    consistency_weight: Setting = setting("weight of the divergence within the contrast, at least 0.", default=0.5)
    taps: tuple[str, ...] = argument("names of the features; flattened.", default=("embedding",), check=checked_taps)
    width: int = argument("of the embeddings, at least 1.", default=128, low=1)

    def make_adapter(self, student: Tensor, teacher: Tensor) -> nn.Module:
        """The embeddings of a pair of features."""
        return Embeddings(student[0].numel(), teacher[0].numel(), self.width)

    def distance(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        """Contrast and consistency over the windows of all processes."""
        gathered = gather(Output(student, {}))
        u, v = (gathered(x) for x in self.adapted(name, student, teacher))
        adapter = self.adapters[name]
        assert isinstance(adapter, Embeddings)  # of make_adapter
        return functional.contrastive_consistency(adapter.similarity(u, v), self.consistency_weight)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "contrast": beta mean_l sum_m w_m [...]}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        return {**terms, "contrast": self.contrast_weight * self.hints(student, teachers)}


class DCD(Distilled, objective=DCDObjective):
    """Distil the embeddings of any teachers by contrast within the batch."""
