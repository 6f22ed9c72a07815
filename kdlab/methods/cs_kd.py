r"""CS-KD (class-wise self-KD): the outputs of a net for two windows of the same class are matched.

.. math:: \mathrm{CE}(z(x), y) + \lambda\, T^2\, \mathrm{KL}(p(x') \,\|\, p(x)), \qquad
    p = \mathrm{softmax}(z / T), \quad y(x') = y(x)

No gradient flows to ``x'``. The function is :func:`kdlab.functional.soft_target_kl`; the partner ``x'`` is the view
``<name>/pair`` of the data module.

References:
    S. Yun, J. Park, K. Lee, J. Shin, "Regularizing class-wise predictions via self-knowledge distillation", CVPR 2020,
    arXiv:2003.13964. Code: alinlab/cs-kd@b447f25.

Differences from the reference code:
    There a window may be its own partner; here it is only where it is the only one of its class. As there, the partners
    have a forward pass of their own in training mode, so that batch norm uses separate statistics for them and updates
    its running statistics with both. With the data module's ``mix`` the partners are mixed as the windows are, so that
    both are mixtures of the same classes; that is ours.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.made import TeacherFree
from kdlab.methods.view_checks import check_version
from kdlab.nets.base import Backbone
from kdlab.objectives import Reduction, WeightedTeachers
from kdlab.types import Batch, Output, Windows


class CSKDObjective(WeightedTeachers):
    """Terms ``"ce"`` and ``"kd"``; the teacher is the net's own output for other windows of the same classes.

    With several teachers, such as several partners of each window, the divergence is their mean.

    Raises:
        InputError: for a parameter out of range, or without a teacher.

    Example:
        >>> own, partner = Output(torch.tensor([[0.0, 0.0]]), {}), Output(torch.tensor([[4.0, 0.0]]), {})
        >>> terms = CSKDObjective()(student=own, teachers={"pair": partner}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.6931, 'kd': 1.7751}
    """

    paper: ClassVar[tuple[str, ...]] = ("yun2020regularizing",)
    reads_labels = True

    weights: dict[str, float] | None = argument(default=None, init=False)
    kd_weight: Setting = setting("``lambda``, at least 0.", default=1.0)
    temperature: Setting = setting("``T > 0``.", default=4.0, low=1e-3)
    kl_reduction: Reduction = argument(
        '``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller.', default="batchmean"
    )

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": CE, "kd": lambda KD}``."""
        kd = self.weighted(
            teachers,
            lambda partner: functional.soft_target_kl(
                self.scaled(student.logits), self.scaled(partner.logits), self.temperature, self.kl_reduction
            ),
        )
        return {"ce": self.label_loss(student.logits, target), "kd": self.kd_weight * kd}


class CSKD(TeacherFree, objective=CSKDObjective):
    """Train a net to have similar outputs for windows of the same class.

    The data module needs, beside the view that the net reads, the same view of another window of the same class: for
    ``"raw"`` the key ``"raw/pair"``.

    Raises:
        InputError: as the fit begins, when the data module emits no pairs.
    """

    def check_data(self, windows: Windows) -> None:
        """Check that there are pairs."""
        check_version("CSKD", self.view, "pair", windows)

    def read_views(self, stage: str) -> dict[str, tuple[str, Backbone | None]]:
        """Also the pairs, in training."""
        return super().read_views(stage) | ({f"{self.view}/pair": ("CSKD", self.net)} if stage == "train" else {})

    def terms(self, batch: Batch, student: Output) -> dict[str, Tensor]:
        """The terms, with the net's output for the partners as the teacher's."""
        with torch.no_grad():
            partner: Output = self.net(batch.views[f"{self.view}/pair"])
        terms: dict[str, Tensor] = self.objective(student=student, teachers={"pair": partner}, target=batch.target)
        return terms
