"""Hints: the base of the methods that compare features through adapters, tap by tap and teacher by teacher."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kdlab.fields import argument
from kdlab.nets.base import CONV
from kdlab.objective import PAIRS, Classifier, checked_taps
from kdlab.objectives import SoftTargets
from kdlab.pairs import Pairs
from kdlab.types import InputError, Output


def adapter_name(teacher: str, tap: str) -> str:
    """The name of the adapter between the student's tap and a teacher's.

    Example:
        >>> adapter_name("raw", "stage2")
        'raw_stage2'
    """
    return f"{teacher}_{tap}".replace(".", "_")


def to_channels(who: str, student: Tensor, teacher: Tensor) -> nn.Module:
    """A 1x1 convolution from a map of the student ``(B, C, *S)`` to the channels of a teacher's ``(B, C', *S')``.

    Raises:
        InputError: for a feature that is no map.
    """
    if student.ndim - 2 not in CONV:
        raise InputError(
            f"{who}: taps must name maps (B, C, T) or (B, C, H, W), but the student's has {tuple(student.shape)}. "
            "Choose a tap before the pooling."
        )
    return CONV[student.ndim - 2](student.shape[1], teacher.shape[1], 1)


def check_normed(who: str, batch_size: int | None, what: str = "adapters have") -> None:
    """Refuse batches of one window, for which the batch norm of adapters is not defined.

    Args:
        who: name of the class, for the message.
        batch_size: training windows per process and step; ``None`` where it is unknown.
        what: has batch norm.

    Raises:
        InputError: naming the size and the remedy.
    """
    if batch_size is not None and batch_size < 2:
        raise InputError(
            f"{who}: batch_size must be at least 2 per process, because the {what} batch norm, but got {batch_size}. "
            "Use a larger batch_size, or drop_last=True."
        )


class HintTargets(SoftTargets):
    r"""Soft targets and a distance of features, the student's read through an adapter.

    .. math:: (1 - \lambda)\, \mathrm{CE} + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
        + \frac{1}{|L|} \sum_l \sum_m w_m\, D_{ml}(F_s^l, F_m^l)

    A subclass makes an adapter for each pair of features and defines ``D``. A teacher of weight 0 gets none.
    """

    taps: tuple[str, ...] = argument(
        "names of the features.", default=("stage1", "stage2", "stage3"), check=checked_taps
    )
    pairs: Pairs | None = PAIRS

    @abstractmethod
    def make_adapter(self, student: Tensor, teacher: Tensor) -> nn.Module:
        """The adapter between two features of these shapes."""

    @abstractmethod
    def distance(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        """``D`` of two features, through the adapter of this name; 0-dim."""

    def make_adapters(
        self, student: Output, teachers: dict[str, Output], classifiers: Mapping[str, Classifier]
    ) -> Mapping[str, nn.Module]:
        """One for each teacher that has a weight, and tap."""
        made: dict[str, nn.Module] = {}
        for name in self.nonzero_weights(teachers):
            for tap in self.taps:
                own = self.feature(student, tap, "the student")
                if adapter_name(name, tap) in made:
                    raise InputError(
                        f"{type(self).__name__}: teacher {name!r} with tap {tap!r} and another pair would share the "
                        f"adapter {adapter_name(name, tap)!r}. Rename the teacher."
                    )
                other = self.feature(teachers[name], tap, f"teacher {name!r}")
                with self.comparing(f"teacher {name!r}", tap):
                    made[adapter_name(name, tap)] = self.make_adapter(own, other)
        return made

    def hints(self, student: Output, teachers: dict[str, Output]) -> Tensor:
        """``mean_l sum_m w_m D_ml``."""
        self.adapt(student=student, teachers=teachers)
        values = [
            weight
            * self.distance(
                adapter_name(name, tap),
                self.feature(student, tap, "the student"),
                self.feature(teachers[name], tap, f"teacher {name!r}").detach(),
            )
            for name, weight in self.nonzero_weights(teachers).items()
            for tap in self.taps
        ]
        return torch.stack(values).sum() / len(self.taps)
