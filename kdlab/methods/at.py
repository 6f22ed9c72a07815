r"""AT (attention transfer): the attention maps of the student match those of its teacher.

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
    The taps are averaged, so ``beta = 3000`` on three of them equals 1000 on their sum in both codes. RepDistiller
    pools maps of different size silently; here it needs ``resize="pool"``. The paper has the norm of
    the difference, both codes the mean of its squares, for which the weight is published.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import ClassVar, Literal

from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.made import Distilled
from kdlab.objective import PAIRS, Need, checked_taps
from kdlab.objectives import SoftTargets
from kdlab.pairs import Pairs
from kdlab.types import Output


class ATObjective(SoftTargets):
    """Terms ``"ce"``, ``"kd"`` and ``"attention"``.

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
    takes_many_labels = True
    reads: ClassVar[Need] = "attention"

    attention_weight: Setting = setting(
        "``beta``, at least 0. The mean over positions shrinks as maps grow, so tune it on validation where the maps "
        "differ in size from those of 32x32 images.",
        default=3000.0,
    )
    kd_weight: Setting = setting("``lambda``, 0 to 1; 0 is the original, .9 adds soft targets.", default=0.0)
    taps: tuple[str, ...] = argument(
        "names of the features whose maps are matched.", default=("stage1", "stage2", "stage3"), check=checked_taps
    )
    pairs: Pairs | None = PAIRS
    resize: Literal["pool"] | None = argument(
        '``None`` refuses maps of different size; ``"pool"`` pools the larger one.', default=None
    )

    mode: Literal["code", "paper"] = argument(
        '``"code"``: mean of the squared differences, as in the released codes, to which the default of '
        '``attention_weight`` belongs; ``"paper"``: half the norm of the difference.',
        default="code",
    )

    def needs(self, teachers: Iterable[str]) -> dict[str, dict[str, Need]]:
        """Energies of the maps; the features themselves where they are pooled first."""
        need: Need = "feature" if self.resize else self.reads
        return {name: dict.fromkeys(self.taps, need) for name in teachers}

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "attention": beta mean_l sum_m w_m AT}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        transfer = partial(functional.attention_transfer, resize=self.resize, mode=self.mode)
        distance = self.over_taps(student, teachers, transfer)
        return {**terms, "attention": self.attention_weight * distance}


class AT(Distilled, objective=ATObjective):
    """Distil attention maps from a teacher that reads a view of the student's kind."""
