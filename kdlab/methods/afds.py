r"""AFDS, its distillation half: the teacher's channels are matched, each with the weight that attention gives it.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \frac{\beta}{|L|} \sum_{l \in L} \sum_m w_m\, \frac1B \sum_i \sum_c \rho_{ic}\,
    \overline{(\hat F^s_{ic} - \hat F^m_{ic})^2}, \qquad
    \rho = \frac{\sigma(\mathrm{MLP}(\mathrm{GAP}\, F_m))}{\sum_c \sigma(\mathrm{MLP}(\mathrm{GAP}\, F_m))_c}

with the mean over positions and every channel divided by its L2 norm; see
:func:`kdlab.functional.channel_weighted_distance`. Where the student has another number of channels, a 1x1 convolution
comes first. Both learn with the student and are left behind with the fit.

The method has a second half, which selects features of the transferred net; what is known of it here does not suffice
to write it, so it is left out.

References:
    K. Wang, X. Gao, Y. Zhao, X. Li, D. Dou, C.-Z. Xu, "Pay attention to features, transfer learn faster CNNs",
    ICLR 2020. Code: AberHu/Knowledge-Distillation-Zoo@65470c8 kd_losses/afd.py, a port of this half by others, with the
    weight 500 for ResNet110 to ResNet20 on CIFAR-10; the authors' weights are unverified.

Differences from the reference code:
    The port needs equal channels and fails on batches of one window; it has replaced the original attention as
    unstable. That taps are averaged is ours.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from kdlab import functional
from kdlab.methods.distillation import Distillation
from kdlab.methods.hints import HintTargets
from kdlab.methods.teacher import Teacher
from kdlab.nets.base import CONV, Backbone
from kdlab.types import InputError, Output


class ChannelAttention(nn.Module):
    """Weights of a teacher's channels, and the student's channels made as many.

    Args:
        ndim: 1 for signals, 2 for images.
        channels: of the student's map; one that has as many as the teacher's is left as it is.
        target_channels: of the teacher's map.
        ratio: hidden units of the attention by channel of the teacher.

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

    Args:
        channel_weight: ``beta``, at least 0.
        temperature: ``T > 0``.
        kd_weight: ``lambda``, 0 to 1.
        weights: teacher name -> ``w_m``; ``None`` weighs all equally.
        taps: names of the features.
        ratio: hidden units of the attention by channel of the teacher, above 0.
        resize: ``None`` refuses maps of different size; ``"pool"`` pools the larger one.
        kl_reduction: ``"batchmean"`` or ``"mean"``.

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

    channel_weight: Tensor

    def __init__(
        self,
        channel_weight: float = 500.0,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        weights: dict[str, float] | None = None,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        ratio: float = 1.0,
        resize: Literal["pool"] | None = None,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
    ) -> None:
        super().__init__(temperature, kd_weight, weights, taps, kl_reduction)
        self.setting("channel_weight", channel_weight)
        functional.check_choice("AFDSObjective: resize", resize or "pool", ("pool",))
        if not ratio > 0:
            raise InputError(f"AFDSObjective: ratio must be above 0, but is {ratio}.")
        self.ratio, self.resize = ratio, resize

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


class AFDS(Distillation):
    """Distil channels by their weight, from teachers that read a view of the student's kind.

    Args:
        student: the net that learns.
        teachers: teacher name -> teacher.
        channel_weight: ``beta``, at least 0.
        temperature: ``T > 0``.
        kd_weight: ``lambda``, 0 to 1.
        weights: teacher name -> ``w_m``; ``None`` weighs all equally.
        taps: names of the features.
        ratio: hidden units of the attention by channel of the teacher, above 0.
        resize: ``None`` refuses maps of different size; ``"pool"`` pools the larger one.
        kl_reduction: ``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller.
        kwargs: as in :class:`~kdlab.methods.distillation.Distillation`.
    """

    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        channel_weight: float = 500.0,
        temperature: float = 4.0,
        kd_weight: float = 0.0,
        weights: dict[str, float] | None = None,
        taps: tuple[str, ...] = ("stage1", "stage2", "stage3"),
        ratio: float = 1.0,
        resize: Literal["pool"] | None = None,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        **kwargs: Any,
    ) -> None:
        objective = AFDSObjective(channel_weight, temperature, kd_weight, weights, taps, ratio, resize, kl_reduction)
        super().__init__(student, teachers, objective, **kwargs)
