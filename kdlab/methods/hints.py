"""What the methods share whose features are compared through adapters, tap by tap and teacher by teacher."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from kdlab.objective import Classifier, SoftTargets, checked_taps
from kdlab.types import InputError, Output


def adapter_name(teacher: str, tap: str) -> str:
    """The name of the adapter between the student's tap and a teacher's.

    Example:
        >>> adapter_name("raw", "stage2")
        'raw_stage2'
    """
    return f"{teacher}_{tap}".replace(".", "_")


class HintTargets(SoftTargets):
    r"""Soft targets and a distance of features between which an adapter learns to translate.

    .. math:: (1 - \lambda)\, \mathrm{CE} + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
        + \frac{1}{|L|} \sum_l \sum_m w_m\, D_{ml}(F_s^l, F_m^l)

    A subclass makes an adapter for each pair of features and says what ``D`` is. A teacher of weight 0 gets none.

    Args:
        temperature: ``T > 0``.
        kd_weight: ``lambda``, 0 to 1.
        weights: teacher name -> ``w_m``; ``None`` weighs all equally.
        taps: names of the features.
        kl_reduction: as in :class:`~kdlab.objective.SoftTargets`.
    """

    def __init__(
        self,
        temperature: float,
        kd_weight: float,
        weights: dict[str, float] | None,
        taps: tuple[str, ...],
        kl_reduction: Literal["batchmean", "mean"],
    ) -> None:
        super().__init__(temperature, kd_weight, weights, kl_reduction)
        self.taps = checked_taps(taps, type(self).__name__)

    @abstractmethod
    def make_adapter(self, student: Tensor, teacher: Tensor) -> nn.Module:
        """What learns between two features of these shapes."""

    @abstractmethod
    def distance(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        """``D`` of two features, through the adapter of this name; 0-dim."""

    def make_adapters(
        self, student: Output, teachers: dict[str, Output], classifiers: Mapping[str, Classifier]
    ) -> Mapping[str, nn.Module]:
        """One for each teacher that has a weight, and tap."""
        made: dict[str, nn.Module] = {}
        for name in self._weighty(teachers):
            for tap in self.taps:
                own = self._feature(student, tap, "the student")
                if adapter_name(name, tap) in made:
                    raise InputError(
                        f"{type(self).__name__}: teacher {name!r} with tap {tap!r} and another pair would share the "
                        f"adapter {adapter_name(name, tap)!r}. Rename the teacher."
                    )
                other = self._feature(teachers[name], tap, f"teacher {name!r}")
                with self._comparing(f"teacher {name!r}", tap):
                    made[adapter_name(name, tap)] = self.make_adapter(own, other)
        return made

    def hints(self, student: Output, teachers: dict[str, Output]) -> Tensor:
        """``mean_l sum_m w_m D_ml``."""
        self.adapt(student=student, teachers=teachers)
        values = [
            weight
            * self.distance(
                adapter_name(name, tap),
                self._feature(student, tap, "the student"),
                self._feature(teachers[name], tap, f"teacher {name!r}").detach(),
            )
            for name, weight in self._weighty(teachers).items()
            for tap in self.taps
        ]
        return torch.stack(values).sum() / len(self.taps)
