r"""AFD (attention-based feature distillation): attention weights all pairs of a student's and a teacher's layer.

.. math:: \alpha\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \beta \sum_m w_m \sum_t \frac1B \sum_i \sum_s a_{its}\, \overline{(\hat q_{is \to t} - \hat q_{it})^2}

over all pairs of a teacher's tap ``t`` and a student's tap ``s``, with the mean over positions. ``q`` with a hat is the
energy of a map with unit norm, the student's pooled to the size of the teacher's
(:func:`kdlab.functional.pooled_attention_map`), and

.. math:: a_{its} = \mathrm{softmax}_s \frac{q_{it} \cdot k_{its} + p_t \cdot p_s}{\sqrt d}, \quad
    q_t = \mathrm{BN}(\mathrm{Linear}(\mathrm{GAP}\, F_t)), \quad
    k_{ts} = \mathrm{BN}(\mathrm{Linear}(\mathrm{ReLU}(\mathrm{BN}(\mathrm{Linear}(\mathrm{GAP}\, F_s)))))

with learned position embeddings ``p``. All of it is trained with the student and dropped after the fit.

References:
    M. Ji, B. Heo, S. Park, "Show, attend and distill: knowledge distillation via attention-based feature matching",
    AAAI 2021, arXiv:2102.02973. Code: clovaai/attention-feature-distillation@dd990d0.

Differences from the reference code:
    None in the equation. As in the code, teacher layers are summed, and the energy of the student's map is pooled (or
    repeated, where the teacher's map is larger). Every residual block is a layer there: WRN-40-2 to WRN-16-2 sums over
    18 teacher layers. The default taps are three, so 200 times a sum of three terms corresponds to a weight of about 33
    there, and ``attention_weight=1200`` to the released 200, where the terms are equally large.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.hints import check_normed
from kdlab.methods.made import Distilled
from kdlab.objective import PAIRS, Classifier, checked_taps
from kdlab.objectives import SoftTargets
from kdlab.pairs import Pairs
from kdlab.types import Output


class LayerAttention(nn.Module):
    """The weight of each student layer for each teacher layer.

    Args:
        student: channels of the student's maps.
        teacher: channels of the teacher's maps.
        width: ``d``, of queries, keys and position embeddings.

    Shapes:
        the student's maps averaged over positions ``(B, C_s)``, then the teacher's, to ``(B, T, S)``; rows sum to 1.

    Example:
        >>> attend = LayerAttention([3, 6], [5, 10, 20], width=8)
        >>> attend(*(torch.randn(4, c) for c in (3, 6, 5, 10, 20))).sum(2).shape
        torch.Size([4, 3])
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int], width: int) -> None:
        super().__init__()
        self.width = width
        self.query = nn.ModuleList(nn.Sequential(nn.Linear(c, width), nn.BatchNorm1d(width)) for c in teacher)
        self.key = nn.ModuleList(nn.Sequential(nn.Linear(c, width), nn.BatchNorm1d(width), nn.ReLU()) for c in student)
        wide = width * len(teacher)
        self.bilinear = nn.Sequential(nn.Linear(width, wide), nn.BatchNorm1d(wide))
        self.student_place = nn.Parameter(nn.init.xavier_normal_(torch.empty(len(student), width)))
        self.teacher_place = nn.Parameter(nn.init.xavier_normal_(torch.empty(len(teacher), width)))

    def forward(self, *pooled: Tensor) -> Tensor:
        """The weights ``a``."""
        count = len(self.key)
        keys = torch.stack([layer(x) for layer, x in zip(self.key, pooled[:count], strict=True)], 1)
        queries = torch.stack([layer(x) for layer, x in zip(self.query, pooled[count:], strict=True)], 1)
        keys = self.bilinear(keys.flatten(0, 1)).view(len(keys), count, len(self.query), self.width)
        match = torch.einsum("bstd,btd->bts", keys, queries) + self.teacher_place @ self.student_place.T
        return (match / math.sqrt(self.width)).softmax(2)


class AFDObjective(SoftTargets):
    """Terms ``"ce"``, ``"kd"`` and ``"attention"``.

    Raises:
        InputError: for a parameter out of range, batches of one window, if the weights do not name exactly the
            teachers, or with both shapes if one map is 1-D and the other 2-D.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> student = Output(logits, {"stage1": torch.tensor([[[1.0, 1.0]], [[1.0, 1.0]]])})
        >>> teacher = Output(logits, {"stage1": torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])})
        >>> objective = AFDObjective(attention_weight=2.0, taps=("stage1",))  # a single pair has weight 1
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0, 1]))
        >>> {name: round(term.item(), 4) for name, term in terms.items()}
        {'ce': 0.1269, 'kd': 0.0, 'attention': 0.5858}
    """

    paper: ClassVar[tuple[str, ...]] = ("ji2021show",)
    takes_many_labels = True
    zero_when_equal = False
    reason = "a layer is compared with all layers, of which only one is equal"

    attention_weight: Setting = setting("``beta``, at least 0.", default=200.0)
    ce_weight: Setting = setting("``alpha``, at least 0; 1 as in the released training.", default=1.0)
    taps: tuple[str, ...] = argument(
        "names of the features, of which all pairs are compared.",
        default=("stage1", "stage2", "stage3"),
        check=checked_taps,
    )
    pairs: Pairs | None = PAIRS
    width: int = argument("``d`` of queries, keys and position embeddings, at least 1.", default=128, low=1)

    def check(self, *, batch_size: int | None, teachers: Iterable[str]) -> None:
        """Raise also for batches of one window, for which batch norm is not defined."""
        super().check(batch_size=batch_size, teachers=teachers)
        check_normed(type(self).__name__, batch_size, "attention has")

    def make_adapters(
        self, student: Output, teachers: dict[str, Output], classifiers: Mapping[str, Classifier]
    ) -> Mapping[str, nn.Module]:
        """One attention for each teacher that has a weight."""
        made = {}
        for name in self.nonzero_weights(teachers):
            own, others = self._maps(student, "the student"), self._maps(teachers[name], f"teacher {name!r}")
            for tap, mine, other in zip(self.taps, own, others, strict=True):
                with self.comparing(f"teacher {name!r}", tap):
                    functional.fit_maps(mine, other, resize="pool")  # raises with both shapes
            made[name] = LayerAttention([f.shape[1] for f in own], [f.shape[1] for f in others], self.width)
        return made

    def _maps(self, output: Output, who: str) -> list[Tensor]:
        return [functional.promote(self.feature(output, tap, who)) for tap in self.taps]

    def _distance(self, name: str, student: Output, teacher: Output) -> Tensor:
        own = self._maps(student, "the student")
        others = [feature.detach() for feature in self._maps(teacher, f"teacher {name!r}")]
        weights = self.adapted(name, *(feature.flatten(2).mean(2) for feature in (*own, *others)))
        values = []
        for t, other in enumerate(others):
            size = tuple(other.shape[2:])
            maps = torch.stack([functional.pooled_attention_map(mine, size) for mine in own], 1)
            squares = (maps - functional.pooled_attention_map(other, size).unsqueeze(1)).square().mean(2)
            values.append((weights[:, t] * squares).sum(1).mean())
        return torch.stack(values).sum()

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "attention": beta sum_m w_m AFD_m}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        self.adapt(student=student, teachers=teachers)
        weights = self.nonzero_weights(teachers)
        values = [weight * self._distance(name, student, teachers[name]) for name, weight in weights.items()]
        ce = self.ce_weight * self.label_loss(student.logits, target)
        return {**terms, "ce": ce, "attention": self.attention_weight * torch.stack(values).sum()}


class AFD(Distilled, objective=AFDObjective):
    """Distil attention maps of all layers into all layers, from teachers that read a view of the student's kind."""
