"""MobileNetV2 for signals and for images, from one definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

from torch import Tensor, nn

from kdlab.nets.base import CONV, NORM, Backbone, kaiming, renamed
from kdlab.types import InputError

#: channels at width 1, blocks and stride of each of the seven groups
_GROUPS = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
#: group -> the name of its output
_TAPS = {1: "stage1", 2: "stage2", 4: "stage3"}


# key names of RepDistiller's MobileNetV2 -> ours
_RELEASED = (
    (r"^conv1\.", "stem."),
    (r"^blocks\.(\d)\.(\d)\.conv\.", r"groups.\1.\2.layers."),
    (r"^conv2\.", "last."),
    (r"^classifier\.0\.", "head."),
)
#: name -> the activation behind a norm
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu6": nn.ReLU6, "relu": nn.ReLU}


def _conv_norm(
    ndim: int, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = CONV[ndim](in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, NORM[ndim](out_channels)]


class _InvertedResidual(nn.Module):
    """Widen by a 1x1 convolution, convolve each channel by itself, narrow again; plus the input where shapes agree."""

    def __init__(
        self,
        ndim: int,
        in_channels: int,
        out_channels: int,
        stride: int,
        expansion: int,
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        inner = expansion * in_channels
        self.layers = nn.Sequential(
            *_conv_norm(ndim, in_channels, inner, 1),
            activation(),
            *_conv_norm(ndim, inner, inner, 3, stride, groups=inner),
            activation(),
            *_conv_norm(ndim, inner, out_channels, 1),
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


class MobileNetV2(Backbone):
    """MobileNetV2: inverted residuals with linear bottlenecks and depthwise convolutions.

    conv3 with stride 2, seven groups of inverted residuals (strides 1, 1, 2, 2, 1, 2, 1), a 1x1 convolution to 1280
    channels, average pool, linear head. Taps are the outputs of the second, third and fifth group as ``"stage1"``,
    ``"stage2"``, ``"stage3"`` and the pooled ``"embedding"``.

    Args:
        width: factor of the numbers of channels; the last 1280 only grow with it.
        expansion: t, how many times wider an inverted residual is inside (1 in the first group).
        ndim: 1 for signals, 2 for images.
        in_channels: channels of the view.
        num_classes: number of classes.
        activation: ``"relu6"`` as in the paper, or ``"relu"`` as in the reference code, whose weights need it.

    Shapes:
        ``(B, C, T)`` or ``(B, C, H, W)`` with sides from 16 on to logits ``(B, K)``; for T = 100 the taps have lengths
        50, 25 and 13.

    Raises:
        InputError: when the width leaves no channel, the expansion is below 1, or there is no such activation.

    References:
        Sandler, Howard, Zhu, Zhmoginov and Chen, MobileNetV2: inverted residuals and linear bottlenecks, CVPR 2018,
        doi:10.1109/CVPR.2018.00474; sizes and strides for 32 pixels of code HobbitLong/RepDistiller@b84f547
        models/mobilenetv2.py (its second group has stride 1; the first keeps its 1x1 convolution).

    Differences from the reference code:
        ReLU6 by default, as in the paper; there ReLU. The 1-D form is ours.

    Example:
        >>> net = MobileNetV2(0.5, ndim=2, in_channels=3, num_classes=10)
        >>> sum(p.numel() for p in net.parameters())
        697546
    """

    lays_out = True
    paper: ClassVar[tuple[str, ...]] = ("sandler2018mobilenetv2",)

    def __init__(
        self,
        width: float = 0.5,
        expansion: int = 6,
        ndim: int = 1,
        in_channels: int = 3,
        num_classes: int = 10,
        activation: Literal["relu6", "relu"] = "relu6",
    ) -> None:
        super().__init__(in_channels, num_classes, ndim, stride=16)
        if not width >= 1 / 16 or expansion < 1:
            raise InputError(
                f"MobileNetV2: must have width >= 1/16 and expansion >= 1, but got width={width}, "
                f"expansion={expansion}. "
                "Raise the smaller one."
            )
        if activation not in _ACTIVATIONS:
            raise InputError(f"MobileNetV2: activation must be 'relu6' or 'relu', but got {activation!r}.")
        self.activation = activation
        make = _ACTIVATIONS[activation]
        channels = int(32 * width)
        self.stem = nn.Sequential(*_conv_norm(ndim, in_channels, channels, 3, stride=2), make())
        self.groups = nn.ModuleList()
        for i, (full, blocks, stride) in enumerate(_GROUPS):
            group = nn.Sequential()
            for j in range(blocks):
                args = (stride if j == 0 else 1, 1 if i == 0 else expansion)
                group.append(_InvertedResidual(ndim, channels, int(full * width), *args, make))
                channels = int(full * width)
            self.groups.append(group)
        last = int(1280 * max(1.0, width))
        self.last = nn.Sequential(*_conv_norm(ndim, channels, last, 1), make())
        self.head = nn.Linear(last, num_classes)
        kaiming(self)

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs of three groups and the pooled embedding."""
        out = self.stem(x)
        features: dict[str, Tensor] = {}
        for i, group in enumerate(self.groups[: max(_TAPS) + 1]):
            out = group(out)
            if i in _TAPS:
                features[_TAPS[i]] = out
        features["embedding"] = self.embed(out)
        return features

    def embed(self, stage3: Tensor) -> Tensor:
        """The other groups, the last convolution and average pool."""
        for group in self.groups[max(_TAPS) + 1 :]:
            stage3 = group(stage3)
        out: Tensor = self.last(stage3).flatten(2).mean(2)
        return out

    def rename_released(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the weights of RepDistiller's net our key names (`kdlab.Teacher` calls this).

        Raises:
            InputError: if this net has another activation than the one that those weights were trained with.
        """
        if "conv2.0.weight" in state and self.activation != "relu":
            raise InputError(
                "MobileNetV2: activation must be 'relu' for weights under RepDistiller's key names, which were trained "
                f"with it, but got {self.activation!r}. Set activation='relu'."
            )
        return renamed(state, _RELEASED)
