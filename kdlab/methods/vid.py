r"""VID (variational information distillation): the likelihood of the teacher's feature given the student's.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \frac{\beta}{|L|} \sum_{l \in L} \sum_m w_m\, \overline{\tfrac12 \left[ \frac{(F_m^l - \mu_{ml}(F_s^l))^2}
    {\sigma_{ml}^2} + \log \sigma_{ml}^2 \right]}

with the mean over batch, channels and positions; see :func:`kdlab.functional.variational_information`. The mean ``mu``
is three 1x1 convolutions with ReLU between them, the variance ``sigma^2 = softplus(a) + 1e-5`` is one number per
channel, initially 5. Both are trained with the student and dropped after the fit. The term may become negative. The
original has no soft targets (``kd_weight=0``, the default).

References:
    S. Ahn, S. X. Hu, A. Damianou, N. D. Lawrence, Z. Dai, "Variational information distillation for knowledge
    transfer", CVPR 2019, arXiv:1904.05835. Code: HobbitLong/RepDistiller@b84f547.

Differences from the reference code:
    The taps are averaged, so ``beta = 3`` on three of them equals its 1 on their sum. It pools maps of different size
    silently; here it needs ``resize="pool"``. Its softplus overflows for large ``a``, unlike torch's.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.hints import HintTargets
from kdlab.methods.made import Distilled
from kdlab.nets.base import CONV
from kdlab.types import Output

_FLOOR, _BEGIN = 1e-5, 5.0


class Gaussian(nn.Module):
    """Mean and variance of a teacher's feature, given the student's.

    Args:
        ndim: 1 for signals, 2 for images.
        channels: of the student's feature.
        target_channels: of the teacher's.

    Shapes:
        ``(B, C, *S)`` to ``(B, C', *S)``.

    Example:
        >>> guess = Gaussian(1, 2, 3)
        >>> guess(torch.zeros(4, 2, 5)).shape, [round(v, 4) for v in guess.variance().tolist()]
        (torch.Size([4, 3, 5]), [5.0, 5.0, 5.0])
    """

    def __init__(self, ndim: int, channels: int, target_channels: int) -> None:
        super().__init__()
        conv = CONV[ndim]
        self.mean = nn.Sequential(
            conv(channels, target_channels, 1, bias=False),
            nn.ReLU(),
            conv(target_channels, target_channels, 1, bias=False),
            nn.ReLU(),
            conv(target_channels, target_channels, 1, bias=False),
        )
        self.spread = nn.Parameter(torch.full((target_channels,), math.log(math.expm1(_BEGIN - _FLOOR))))

    def variance(self) -> Tensor:
        """``sigma^2 (C',)``."""
        return F.softplus(self.spread) + _FLOOR

    def forward(self, feature: Tensor) -> Tensor:
        """The mean ``mu``."""
        mean: Tensor = self.mean(feature)
        return mean


class VIDObjective(HintTargets):
    """Terms ``"ce"``, ``"kd"`` and ``"information"``.

    Raises:
        InputError: for a parameter out of range, if the weights do not name exactly the teachers, or with both shapes
            if two features do not fit.

    Example:
        >>> student = Output(torch.tensor([[2.0, 0.0]]), {"stage1": torch.zeros(1, 2, 4)})  # mu(0) is 0
        >>> teacher = Output(torch.tensor([[2.0, 0.0]]), {"stage1": torch.ones(1, 3, 4)})
        >>> terms = VIDObjective(information_weight=1.0, taps=("stage1",))(
        ...     student=student, teachers={"raw": teacher}, target=torch.tensor([0])
        ... )
        >>> {name: round(term.item(), 4) for name, term in terms.items()}
        {'ce': 0.1269, 'kd': 0.0, 'information': 0.9047}
    """

    paper: ClassVar[tuple[str, ...]] = ("ahn2019variational",)
    takes_many_labels = True
    zero_when_equal = False
    reason = "it is the logarithm of a density, whose minimum is not zero"

    information_weight: Setting = setting("``beta``, at least 0.", default=3.0)
    kd_weight: Setting = setting("``lambda``, 0 to 1; 0 is the original.", default=0.0)
    resize: Literal["pool"] | None = argument(
        '``None`` refuses maps of different size; ``"pool"`` pools the larger one.', default=None
    )

    def make_adapter(self, student: Tensor, teacher: Tensor) -> nn.Module:
        """Mean and variance."""
        functional.fit_maps(student, teacher, self.resize)
        return Gaussian(student.ndim - 2, student.shape[1], teacher.shape[1])

    def distance(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        """Negative log-likelihood."""
        student, teacher = functional.fit_maps(student, teacher, self.resize)
        mean, guess = self.adapted(name, student), self.adapters[name]
        assert isinstance(guess, Gaussian)
        return functional.variational_information(mean, teacher, guess.variance())

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "information": beta mean_l sum_m w_m VID}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        return {**terms, "information": self.information_weight * self.hints(student, teachers)}


class VID(Distilled, objective=VIDObjective):
    """Distil features by their likelihood, from teachers that read a view of the student's kind."""
