"""What the methods share that weigh their teachers anew in every batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from kdlab import functional
from kdlab.objective import SoftTargets
from kdlab.types import InputError, Output


class AdaptiveTargets(SoftTargets):
    r"""Labels and soft targets of teachers that a subclass weighs sample by sample; terms ``"ce"`` and ``"kd"``.

    .. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \frac{\lambda}{B} \sum_i \sum_m w_{mi}\, \mathrm{KD}_i(m, s)

    Args:
        temperature: ``T > 0``.
        kd_weight: ``lambda``, 0 to 1.
        kl_reduction: ``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller.
        mkd_scale: ``"normalised"`` weighs with sum 1; ``"released"`` multiplies that by :meth:`released_scale`.

    Attributes:
        weighed: ``"weight_<teacher>"`` -> mean weight in the last batch.
    """

    def __init__(
        self,
        temperature: float,
        kd_weight: float,
        kl_reduction: Literal["batchmean", "mean"],
        mkd_scale: Literal["normalised", "released"] = "normalised",
    ) -> None:
        super().__init__(temperature, kd_weight, None, kl_reduction)
        functional.check_choice(f"{type(self).__name__}: mkd_scale", mkd_scale, ("normalised", "released"))
        self.mkd_scale = mkd_scale
        self.weighed: dict[str, Tensor] = {}

    def observed(self) -> dict[str, Tensor]:
        """The teachers' mean weights in the last batch."""
        return self.weighed

    @abstractmethod
    def weigh(self, *, student: Output, teachers: dict[str, Output], target: Tensor) -> dict[str, Tensor]:
        """Teacher name -> weight of each sample ``(B,)``, or one for all, 0-dim; sum 1, without gradients."""

    def released_scale(self, teachers: int) -> float:
        """What the weights sum to in the released code."""
        return 1.0

    def check(self, *, batch_size: int | None, teachers: Iterable[str]) -> None:
        """Raise also where the released scale means nothing."""
        names = list(teachers)
        super().check(batch_size=batch_size, teachers=names)
        if self.mkd_scale == "released" and len(names) < 2:
            raise InputError(
                f"{type(self).__name__}: mkd_scale='released' needs at least two teachers, but there is {names[0]!r} "
                "alone. Add a teacher, or use KD."
            )

    def forward(self, *, student: Output, teachers: dict[str, Output], target: Tensor) -> dict[str, Tensor]:
        """``{"ce": (1 - lambda) CE, "kd": lambda mean_i sum_m w_mi KD_mi}``."""
        self.check(batch_size=None, teachers=teachers)
        ce = (1 - self.kd_weight) * functional.cross_entropy(student.logits, target)
        scale = self.released_scale(len(teachers)) if self.mkd_scale == "released" else 1.0
        weights = self.weigh(student=student, teachers=teachers, target=target)
        self.weighed = {f"weight_{name}": scale * weight.mean() for name, weight in weights.items()}
        values = [
            weights[name] * functional.soft_target_kl(student.logits, output.logits, self.temperature, "none")
            for name, output in teachers.items()
        ]
        kd = self.kd_weight * scale * torch.stack(values).sum(0).mean()
        return {"ce": ce, "kd": kd if self.kl_reduction == "batchmean" else kd / student.logits.shape[1]}
