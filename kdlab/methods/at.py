r"""AT: attention transfer, the student looks where its teacher looks.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \frac{\beta}{|L|} \sum_{l \in L} \sum_m w_m\, \overline{(\hat q_s^l - \hat q_m^l)^2}, \qquad
    \hat q = q / \lVert q \rVert_2, \quad q = \sum_c F_c^2

with the mean over batch and positions; see :func:`kdlab.functional.attention_transfer`. The original has no soft
targets (``kd_weight=0``, the default).

References:
    S. Zagoruyko, N. Komodakis, "Paying more attention to attention: improving the performance of convolutional neural
    networks via attention transfer", ICLR 2017, arXiv:1612.03928. Code: szagoruyko/attention-transfer@893df54,
    HobbitLong/RepDistiller@b84f547.

Differences from the reference code:
    The taps are averaged, so ``beta = 3000`` on three of them is the 1000 on their sum of both codes. RepDistiller
    pools maps of different size silently; here that has to be asked for (``resize="pool"``). The paper has the norm of
    the difference, both codes the mean of its squares, which the published weight belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar, Literal

from torch import Tensor

from kdlab import functional
from kdlab.methods.distillation import Distillation
from kdlab.methods.teacher import Teacher
from kdlab.nets.base import Backbone
from kdlab.objective import Need, checked_taps
from kdlab.objectives import SoftTargets
from kdlab.types import Output


class ATObjective(SoftTargets):
    """Terms ``"ce"``, ``"kd"`` and ``"attention"``.

    Args:
        attention_weight: ``beta``, at least 0. The mean over positions shrinks as maps grow, so tune it on validation
            where the maps are others than those of 32x32 images.
        temperature: ``T > 0``.
        kd_weight: ``lambda``, 0 to 1.
        weights: teacher name -> ``w_m``; ``None`` weighs all equally.
        taps: names of the features.
        resize: ``None`` refuses maps of different size; ``"pool"`` pools the larger one.
        kl_reduction: ``"batchmean"`` or ``"mean"``.

    Raises:
        InputError: for a parameter out of range, or if the weights do not name exactly the teachers.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> student = Output(logits, {"stage1": torch.tensor([[[1.0, 1.0]]])})
        >>> teacher = Output(logits, {"stage1": torch.tensor([[[1.0, 0.0]]])})
        >>> objective = ATObjective(attention_weight=2.0, taps=("stage1",))
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.1269, 'kd': 0.0, 'attention': 0.5858}
    """

    paper: ClassVar[tuple[str, ...]] = ("zagoruyko2017paying",)
    reads: ClassVar[Need] = "attention"

    attention_weight: Tensor

    def __init__(
        self,
        attention_weight: float = 3000.0,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        weights: dict[str, float] | None = None,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        resize: Literal["pool"] | None = None,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
    ) -> None:
        super().__init__(temperature, kd_weight, weights, kl_reduction)
        self.setting("attention_weight", attention_weight)
        self.taps, self.resize = checked_taps("ATObjective", taps), resize

    def needs(self, teachers: Iterable[str]) -> dict[str, dict[str, Need]]:
        """Energies of the maps; the features themselves where they are pooled first."""
        need: Need = "feature" if self.resize else self.reads
        return {name: dict.fromkeys(self.taps, need) for name in teachers}

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "attention": beta mean_l sum_m w_m AT}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        distance = self.over_taps(student, teachers, partial(functional.attention_transfer, resize=self.resize))
        return {**terms, "attention": self.attention_weight * distance}


class AT(Distillation):
    """Distil attention maps from a teacher that reads a view of the student's kind.

    Args:
        student: the net that learns.
        teachers: teacher name -> teacher.
        attention_weight: ``beta``, at least 0.
        temperature: ``T > 0``.
        kd_weight: ``lambda``, 0 to 1; 0 is the original, .9 adds soft targets.
        weights: teacher name -> ``w_m``; ``None`` weighs all equally.
        taps: names of the features whose maps are matched.
        resize: ``None`` refuses maps of different size; ``"pool"`` pools the larger one.
        kl_reduction: ``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller.
        kwargs: as in :class:`~kdlab.methods.distillation.Distillation`.
    """

    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        attention_weight: float = 3000.0,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        weights: dict[str, float] | None = None,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        resize: Literal["pool"] | None = None,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        **kwargs: Any,
    ) -> None:
        objective = ATObjective(attention_weight, temperature, kd_weight, weights, taps, resize, kl_reduction)
        super().__init__(student, teachers, objective, **kwargs)
