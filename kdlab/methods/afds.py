r"""AFDS, its distillation half: the teacher's channels are matched, each with a weight from attention.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \frac{\beta}{|L|} \sum_{l \in L} \sum_m w_m\, \frac1B \sum_i \sum_c \rho_{ic}\,
    \overline{(\hat F^s_{ic} - \hat F^m_{ic})^2}, \qquad
    \rho = \frac{\sigma(\mathrm{MLP}(\mathrm{GAP}\, F_m))}{\sum_c \sigma(\mathrm{MLP}(\mathrm{GAP}\, F_m))_c}

with the mean over positions and every channel divided by its L2 norm; see
:func:`kdlab.functional.channel_weighted_distance`. Where the student has another number of channels, a 1x1 convolution
comes first. Both are trained with the student and dropped after the fit.

The method has a second half, which selects features of the transferred net. It is left out, because the available
sources do not define it.

References:
    K. Wang, X. Gao, Y. Zhao, X. Li, D. Dou, C.-Z. Xu, "Pay attention to features, transfer learn faster CNNs",
    ICLR 2020. Code: AberHu/Knowledge-Distillation-Zoo@65470c8 kd_losses/afd.py, a port of this half by others, with the
    weight 500 for ResNet110 to ResNet20 on CIFAR-10; the authors' weights are unverified.

Differences from the reference code:
    The port needs equal channels and fails on batches of one window; it has replaced the original attention as
    unstable. Taps are averaged, as in the port.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.hints import HintTargets
from kdlab.methods.made import Distilled
from kdlab.nets.base import CONV
from kdlab.types import Output


class ChannelAttention(nn.Module):
    """Weights of a teacher's channels, and a map of the student's channels to the same number.

    Args:
        ndim: 1 for signals, 2 for images.
        channels: of the student's map; with the teacher's number of channels there is no convolution.
        target_channels: of the teacher's map.
        ratio: hidden units of the attention per channel of the teacher.

    Shapes:
        ``(B, C, *S)`` and ``(B, C', *S)`` to the distance, 0-dim; :meth:`weights` are ``(B, C')``, with sum 1.

    Example:
        >>> import torch
        >>> attend = ChannelAttention(1, 2, 4)
        >>> attend(torch.randn(3, 2, 5), torch.randn(3, 4, 5)).shape
        torch.Size([])
        >>> attend.weights(torch.randn(3, 4, 5)).shape
        torch.Size([3, 4])
    """

    def __init__(self, ndim: int, channels: int, target_channels: int, ratio: float = 1.0) -> None:
        super().__init__()
        same = channels == target_channels
        self.match = nn.Identity() if same else CONV[ndim](channels, target_channels, 1)
        hidden = max(1, int(ratio * target_channels))
        self.attention = nn.Sequential(
            nn.Linear(target_channels, hidden), nn.ReLU(), nn.Linear(hidden, target_channels), nn.Sigmoid()
        )

    def weights(self, teacher: Tensor) -> Tensor:
        """``rho``."""
        gates: Tensor = self.attention(teacher.flatten(2).mean(2))
        return gates / gates.sum(1, keepdim=True).clamp_min(functional.EPS)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The distance of a tap; 0-dim."""
        return functional.channel_weighted_distance(self.match(student), teacher, self.weights(teacher))


class AFDSObjective(HintTargets):
    """Terms ``"ce"``, ``"kd"`` and ``"channels"``.

    Raises:
        InputError: for a parameter out of range, if the weights do not name exactly the teachers, or with both shapes
            if two features do not fit.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> student = Output(logits, {"stage1": torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])})
        >>> teacher = Output(logits, {"stage1": torch.tensor([[[0.0, 2.0], [0.0, 2.0]]])})
        >>> objective = AFDSObjective(channel_weight=3.0, taps=("stage1",))  # both channels differ by 1 on average
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0]))
        >>> {name: round(term.item(), 4) for name, term in terms.items()}
        {'ce': 0.1269, 'kd': 0.0, 'channels': 3.0}
    """

    paper: ClassVar[tuple[str, ...]] = ("wang2020pay",)
    takes_many_labels = True

    channel_weight: Setting = setting("``beta``, at least 0.", default=500.0)
    kd_weight: Setting = setting(default=0.0)
    ratio: float = argument(
        "hidden units of the attention per channel of the teacher, above 0.", default=1.0, above=0.0
    )
    resize: Literal["pool"] | None = argument(
        '``None`` refuses maps of different size; ``"pool"`` pools the larger one.', default=None
    )

    def make_adapter(self, student: Tensor, teacher: Tensor) -> nn.Module:
        """Attention and, where channels differ, a 1x1 convolution."""
        functional.fit_maps(student, teacher, self.resize)
        return ChannelAttention(student.ndim - 2, student.shape[1], teacher.shape[1], self.ratio)

    def distance(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        """Weighted squared difference of normalised channels."""
        return self.adapted(name, *functional.fit_maps(student, teacher, self.resize))

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "channels": beta mean_l sum_m w_m AFDS}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        return {**terms, "channels": self.channel_weight * self.hints(student, teachers)}


class AFDS(Distilled, objective=AFDSObjective):
    """Distil channels by their weight, from teachers that read a view of the student's kind."""
