r"""ReviewKD (knowledge review): each stage of a teacher teaches the same and all later stages of the student.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \frac{r\, \beta}{|L|} \sum_{l \in L} \sum_m w_m\, \mathrm{HCL}(V_{ml}\, u_{ml},\, F_m^l)

.. math:: u_{ml} = \alpha_1 \odot U_{ml} F_s^l + \alpha_2 \odot u_{m,l+1}, \qquad
    (\alpha_1, \alpha_2) = \sigma\big(A_{ml} [U_{ml} F_s^l, u_{m,l+1}]\big)

with 1x1 convolutions ``U`` (batch norm behind) and ``A``, a convolution ``V`` of kernel 3 (batch norm behind) to the
teacher's channels, and the hierarchical context loss, the distance at several resolutions; see
:func:`kdlab.functional.hierarchical_context`. From the last stage to the first, what was fused is repeated to the
positions of the earlier one. The nets are in :mod:`kdlab.methods.review`; they are trained with the student and dropped
after the fit. With ``pooled`` the means over the positions are compared, so that a teacher of images and a student of
signals need no common shape. The factor ``r`` rises from epoch to epoch, ``min(e / warm_up, 1)`` with ``e`` from 0.

References:
    P. Chen, S. Liu, H. Zhao, J. Jia, "Distilling knowledge via knowledge review", CVPR 2021, arXiv:2104.09044. Code:
    dvlab-research/ReviewKD@6607308 CIFAR-100/model/reviewkd.py, train.py.

Differences from the reference code:
    Signals, the pooled form, and several teachers. The taps are averaged, so ``beta = 20`` on four of them equals the
    code's 5 on their sum (wide residual nets; others .6 to 8). It fits the positions of the student's maps to those of
    the teacher without an option, by repeating the nearest ones; here that takes ``resize="nearest"``. Its teacher's
    maps are those before the ReLU; here they are the taps. The warm-up is the code's, with 20 epochs of 240.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from kdlab.fields import Setting, argument, setting
from kdlab.methods.decay import Warming
from kdlab.methods.hints import check_normed
from kdlab.methods.made import Distilled
from kdlab.methods.review import Review, axes_of, check_positions
from kdlab.objective import PAIRS, Classifier, checked_taps
from kdlab.objectives import SoftTargets
from kdlab.pairs import Pairs
from kdlab.types import Output


class ReviewKDObjective(SoftTargets, Warming):
    """Terms ``"ce"``, ``"kd"`` and ``"review"``, and the setting ``"ramp"``, a factor on the last.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> student = Output(torch.eye(2), {"stage3": torch.rand(2, 3, 8), "embedding": torch.rand(2, 3)})
        >>> teacher = Output(torch.eye(2), {"stage3": torch.rand(2, 4, 6, 6), "embedding": torch.rand(2, 5)})
        >>> objective = ReviewKDObjective(taps=("stage3", "embedding"), pooled=True)
        >>> terms = objective(student=student, teachers={"pi": teacher}, target=torch.tensor([0, 1]))
        >>> list(terms), sorted(objective.adapters)
        (['ce', 'kd', 'review'], ['pi'])
    """

    paper: ClassVar[tuple[str, ...]] = ("chen2021distilling",)
    takes_many_labels = True
    zero_when_equal = False
    reason = "the fusion is not initialised as the identity"
    first = 0

    review_weight: Setting = setting("``beta``, at least 0.", default=20.0)
    kd_weight: Setting = setting("``lambda``, 0 to 1; 0 is the original.", default=0.0, high=1.0)
    taps: tuple[str, ...] = argument(
        "names of the features, from the first stage to the last; an embedding is a map of one position.",
        default=("stage1", "stage2", "stage3", "embedding"),
        check=checked_taps,
    )
    pairs: Pairs | None = PAIRS
    width: int = argument("channels of what is fused; 0: those of the last tap, at most 512.", default=0, low=0)
    resize: Literal["nearest"] | None = argument(
        '``None`` refuses maps of different size; ``"nearest"`` repeats or leaves out positions.', default=None
    )
    pooled: bool = argument("compare means over positions, for teachers whose maps have another shape.", default=False)

    def check(self, *, batch_size: int | None, teachers: Iterable[str]) -> None:
        """Raise also for batches of one window, for which batch norm is not defined."""
        super().check(batch_size=batch_size, teachers=teachers)
        check_normed(type(self).__name__, batch_size)

    def _maps(self, student: Output, name: str, teacher: Output) -> tuple[list[Tensor], list[Tensor]]:
        own = [self.feature(student, tap, "the student") for tap in self.taps]
        others = [self.feature(teacher, tap, f"teacher {name!r}").detach() for tap in self.taps]
        for tap, a, b in zip(self.taps, own, others, strict=True):
            with self.comparing(f"teacher {name!r}", tap):
                check_positions(a, b, self.resize is not None, self.pooled)
        return own, others

    def make_adapters(
        self, student: Output, teachers: dict[str, Output], classifiers: Mapping[str, Classifier]
    ) -> Mapping[str, nn.Module]:
        """The fusions of each teacher that has a weight."""
        made = {}
        for name in self.nonzero_weights(teachers):
            own, others = self._maps(student, name, teachers[name])
            a, b = ([x.shape[1] for x in maps] for maps in (own, others))
            made[name] = Review(a, b, axes_of(type(self).__name__, own), self.width, self.pooled)
        return made

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "review": r beta mean_l sum_m w_m HCL_ml}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        self.adapt(student=student, teachers=teachers)
        values = []
        for name, weight in self.nonzero_weights(teachers).items():
            own, others = self._maps(student, name, teachers[name])
            values.append(weight * self.adapted(name, *own, *others).mean())
        return {**terms, "review": self.ramp * self.review_weight * torch.stack(values).sum()}


class ReviewKD(Distilled, objective=ReviewKDObjective, warm_up=20):
    """Distil each stage of a teacher into the same and all later stages of the student."""
