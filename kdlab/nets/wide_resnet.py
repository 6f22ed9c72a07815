"""Wide residual networks for signals and for images, from one definition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.nets.base import CONV, NORM, Backbone, renamed
from kdlab.types import InputError

# key names of two widely used public implementations -> ours (jeunsom/TDA_KD@23c6814 and xternalz/WideResNet-pytorch)
_RELEASED = (
    (r"^conv1\.", "stem."),
    (r"^block(\d)\.(?:nblockLayer|layer)\.(\d+)\.", lambda m: f"stages.{int(m[1]) - 1}.{m[2]}."),
    (r"\.(?:batch_norm|bn)([12])\.", r".norm\1."),
    (r"\.(?:conv_inp|convShortcut)\.", ".shortcut."),
    (r"^(?:batch_norm|bn1)\.", "norm."),
    (r"^fc\.", "head."),
)


class _Block(nn.Module):
    """BN-ReLU-conv3 twice, plus a shortcut: the identity of the raw input, or a 1x1 convolution after BN-ReLU."""

    def __init__(self, ndim: int, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        conv, norm = CONV[ndim], NORM[ndim]
        self.norm1 = norm(in_channels)
        self.conv1 = conv(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm2 = norm(out_channels)
        self.conv2 = conv(out_channels, out_channels, 3, padding=1, bias=False)
        change = stride != 1 or in_channels != out_channels
        self.shortcut = conv(in_channels, out_channels, 1, stride=stride, bias=False) if change else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x))
        skip = x if self.shortcut is None else self.shortcut(active)
        out: Tensor = skip + self.conv2(F.relu(self.norm2(self.conv1(active))))
        return out


class WideResNet(Backbone):
    """WRN-depth-width, pre-activation, with ``(depth - 4) / 6`` blocks in each of three stages.

    Stages have ``16 k, 32 k, 64 k`` channels and strides 1, 2, 2; then BN, ReLU, average pool and a linear head. The
    first block of a stage whose shape changes feeds its BN-ReLU output to both the convolutions and a 1x1 shortcut.
    Taps are the raw (pre-activation, both signs) outputs of the stages ``"stage1"``, ``"stage2"``, ``"stage3"`` and
    the pooled ``"embedding"``.

    Args:
        depth: 6 n + 4 (10, 16, 22, 28, 40, ...).
        width: the factor k.
        ndim: 1 for signals, 2 for images.
        in_channels: channels of the view.
        num_classes: number of classes.

    Shapes:
        ``(B, C, T)`` or ``(B, C, H, W)`` to logits ``(B, K)``; for T = 100 the taps have lengths 100, 50 and 25.

    Raises:
        InputError: when the depth is not 6 n + 4, or the width is no integer of at least 1.

    References:
        Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016, doi:10.5244/C.30.87; the 1-D form of Jeon et al.,
        code jeunsom/TDA_KD@23c6814 WideResNet.py (same parameter counts; its key names are read by `kdlab.Teacher`).

    Example:
        >>> net = WideResNet(16, 1, ndim=1, in_channels=3, num_classes=14)
        >>> sum(p.numel() for p in net.parameters())
        61374
    """

    lays_out = True
    paper: ClassVar[tuple[str, ...]] = ("zagoruyko2016wide",)

    def __init__(
        self, depth: int = 16, width: int = 1, ndim: int = 1, in_channels: int = 3, num_classes: int = 10
    ) -> None:
        super().__init__(in_channels, num_classes, ndim, stride=4)
        integers = isinstance(depth, int) and isinstance(width, int)
        if not integers or depth < 10 or (depth - 4) % 6 or width < 1:
            raise InputError(
                "WideResNet: must have integers depth = 6 n + 4 (10, 16, 22, 28, 40, ...) and width >= 1, but got "
                f"depth={depth!r}, width={width!r}. Choose a depth of this series."
            )
        blocks = (depth - 4) // 6
        widths = [16, 16 * width, 32 * width, 64 * width]
        self.stem = CONV[ndim](in_channels, 16, 3, padding=1, bias=False)
        self.stages = nn.ModuleList(
            nn.Sequential(
                _Block(ndim, widths[i], widths[i + 1], stride=1 if i == 0 else 2),
                *(_Block(ndim, widths[i + 1], widths[i + 1], stride=1) for _ in range(blocks - 1)),
            )
            for i in range(3)
        )
        self.norm = NORM[ndim](widths[3])
        self.head = nn.Linear(widths[3], num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d)):
                nn.init.normal_(module.weight, std=math.sqrt(2 / (math.prod(module.kernel_size) * module.out_channels)))
        nn.init.zeros_(self.head.bias)

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs of the three stages and the pooled embedding."""
        out = self.stem(x)
        features: dict[str, Tensor] = {}
        for i, stage in enumerate(self.stages, start=1):
            out = features[f"stage{i}"] = stage(out)
        features["embedding"] = self.embed(out)
        return features

    def embed(self, stage3: Tensor) -> Tensor:
        """Norm, ReLU and average pool."""
        return F.relu(self.norm(stage3)).flatten(2).mean(2)

    @staticmethod
    def rename_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the weights of the public implementations our key names (`kdlab.Teacher` calls this)."""
        return renamed(state, _RELEASED)
