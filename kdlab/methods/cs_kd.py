r"""CS-KD: what the net says of a window follows what it says of another window of the same class.

.. math:: \mathrm{CE}(z(x), y) + \lambda\, T^2\, \mathrm{KL}(p(x') \,\|\, p(x)), \qquad
    p = \mathrm{softmax}(z / T), \quad y(x') = y(x)

No gradient flows to ``x'``. The function is :func:`kdlab.functional.soft_target_kl`; the partner ``x'`` is the view
``<name>/pair`` of the data module.

References:
    S. Yun, J. Park, K. Lee, J. Shin, "Regularizing class-wise predictions via self-knowledge distillation", CVPR 2020,
    arXiv:2003.13964. Code: alinlab/cs-kd@b447f25.

Differences from the reference code:
    There a window may be its own partner; here it is only where it is the only one of its class. As there, the partners
    go through the net in training mode and by themselves, so that batch norm takes their statistics apart from the
    others' and counts both. With the data module's ``mix`` the partners are mixed as the windows are, so that both are
    mixtures of the same classes; that is ours.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from kdlab import functional
from kdlab.methods.supervised import Supervised
from kdlab.methods.view_checks import check_version
from kdlab.nets.base import Backbone
from kdlab.objectives import WeightedTeachers
from kdlab.types import Batch, Output, Windows


class CSKDObjective(WeightedTeachers):
    """Terms ``"ce"`` and ``"kd"``; the teacher is the net's own output for other windows of the same classes.

    With several teachers, say several partners of each window, the divergence is their mean.

    Args:
        kd_weight: ``lambda``, at least 0.
        temperature: ``T > 0``.
        kl_reduction: ``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller.

    Raises:
        InputError: for a parameter out of range, or without a teacher.

    Example:
        >>> own, partner = Output(torch.tensor([[0.0, 0.0]]), {}), Output(torch.tensor([[4.0, 0.0]]), {})
        >>> terms = CSKDObjective()(student=own, teachers={"pair": partner}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.6931, 'kd': 1.7751}
    """

    paper: ClassVar[tuple[str, ...]] = ("yun2020regularizing",)

    kd_weight: Tensor
    temperature: Tensor

    def __init__(
        self,
        kd_weight: float = 1.0,
        temperature: float = 4.0,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
    ) -> None:
        super().__init__()
        self.setting("kd_weight", kd_weight)
        self.setting("temperature", temperature, low=1e-3)
        functional.check_choice("CSKDObjective: kl_reduction", kl_reduction, ("batchmean", "mean"))
        self.kl_reduction = kl_reduction

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": CE, "kd": lambda KD}``."""
        kd = self.weighted(
            teachers,
            lambda partner: functional.soft_target_kl(
                student.logits, partner.logits, self.temperature, self.kl_reduction
            ),
        )
        return {"ce": functional.cross_entropy(student.logits, target), "kd": self.kd_weight * kd}


class CSKD(Supervised):
    """Train a net to say alike of windows of the same class.

    The data module needs, beside the view that the net reads, the same view of another window of the same class: for
    ``"raw"`` the key ``"raw/pair"``.

    Args:
        net: the net.
        kd_weight: ``lambda``, at least 0.
        temperature: ``T > 0``.
        kl_reduction: ``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller.
        kwargs: as in :class:`~kdlab.methods.supervised.Supervised`.

    Raises:
        InputError: as the fit begins, when the data module emits no pairs.
    """

    def __init__(
        self,
        net: Backbone,
        *,
        kd_weight: float = 1.0,
        temperature: float = 4.0,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        **kwargs: Any,
    ) -> None:
        super().__init__(net, objective=CSKDObjective(kd_weight, temperature, kl_reduction), **kwargs)

    def check_data(self, windows: Windows) -> None:
        """Check that there are pairs."""
        check_version("CSKD", self.view, "pair", windows)

    def terms(self, batch: Batch, student: Output) -> dict[str, Tensor]:
        """Ask the net about the partners, and weigh that against the student's answer."""
        with torch.no_grad():
            partner: Output = self.net(batch.views[f"{self.view}/pair"])
        terms: dict[str, Tensor] = self.objective(student=student, teachers={"pair": partner}, target=batch.target)
        return terms
