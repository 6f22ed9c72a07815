"""Adaptive weights of the teachers, per batch: the base of the methods that have them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from kdlab import functional
from kdlab.fields import argument
from kdlab.objectives import SoftTargets
from kdlab.types import InputError, Output


class AdaptiveTargets(SoftTargets):
    r"""Labels and soft targets with a weight of each teacher per sample; terms ``"ce"`` and ``"kd"``.

    .. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \frac{\lambda}{B} \sum_i \sum_m w_{mi}\, \mathrm{KD}_i(m, s)

    A subclass defines :meth:`adaptive_weights`.

    Attributes:
        found: ``"weight_<teacher>"`` -> mean weight in the last batch.
    """

    weights: dict[str, float] | None = argument(default=None, init=False)

    @property
    def needs_logits(self) -> bool:
        """Always."""
        return True

    def __post_init__(self) -> None:
        """Initialise without weights."""
        super().__post_init__()
        self.found: dict[str, Tensor] = {}

    def observed(self) -> dict[str, Tensor]:
        """The teachers' mean weights in the last batch."""
        return self.found

    @abstractmethod
    def adaptive_weights(self, *, student: Output, teachers: dict[str, Output], target: Tensor) -> dict[str, Tensor]:
        """Teacher name -> weight of each sample ``(B,)``, or one for all, 0-dim; sum 1, without gradients."""

    def scale(self, teachers: int) -> float:
        """The sum of the weights of a sample."""
        return 1.0

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": (1 - lambda) CE, "kd": lambda mean_i sum_m w_mi KD_mi}``."""
        self.check(batch_size=None, teachers=teachers)
        ce = (1 - self.kd_weight) * self.label_loss(student.logits, target)
        scale = self.scale(len(teachers))
        weights = self.adaptive_weights(student=student, teachers=teachers, target=target)
        self.found = {f"weight_{name}": scale * weight.mean() for name, weight in weights.items()}
        own = self.scaled(student.logits)
        values = [
            weights[name] * functional.soft_target_kl(own, self.scaled(output.logits), self.temperature, "none")
            for name, output in teachers.items()
        ]
        kd = self.kd_weight * scale * torch.stack(values).sum(0).mean()
        return {"ce": ce, "kd": kd if self.kl_reduction == "batchmean" else kd / student.logits.shape[1]}


class ScaledTargets(AdaptiveTargets):
    """Adaptive weights whose sum may be that of the released code."""

    mkd_scale: Literal["normalised", "released"] = argument(
        '``"normalised"`` weights have the sum 1; ``"released"`` multiplies them as the released code does.',
        default="normalised",
    )

    @abstractmethod
    def released_scale(self, teachers: int) -> float:
        """The sum of the weights in the released code."""

    def scale(self, teachers: int) -> float:
        """1, or the sum in the released code."""
        return self.released_scale(teachers) if self.mkd_scale == "released" else 1.0

    def check(self, *, batch_size: int | None, teachers: Iterable[str]) -> None:
        """Raise also where the released scale is not defined."""
        names = list(teachers)
        super().check(batch_size=batch_size, teachers=names)
        if self.mkd_scale == "released" and len(names) < 2:
            raise InputError(
                f"{type(self).__name__}: teachers must be at least two with mkd_scale='released', but got {names[0]!r} "
                "alone. Add a teacher, or use KD."
            )
