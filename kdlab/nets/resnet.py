"""Residual networks with post-activation blocks for signals and for images: the four-stage and the three-stage kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.nets.base import CONV, MAX_POOL, NORM, Backbone, kaiming, renamed
from kdlab.types import InputError

# key names of torchvision's and RepDistiller's ResNets -> ours
_RELEASED = (
    (r"^conv1\.", "stem.0."),
    (r"^bn1\.", "stem.1."),
    (r"^layer(\d)\.", lambda m: f"stages.{int(m[1]) - 1}."),
    (r"\.bn(\d)\.", r".norm\1."),
    (r"\.downsample\.", ".shortcut."),
    (r"^(?:fc|linear)\.", "head."),  # RepDistiller's four-stage nets call it linear
)


def _shortcut(ndim: int, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    conv = CONV[ndim](in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(conv, NORM[ndim](out_channels))


class _Basic(nn.Module):
    """conv3-BN-ReLU-conv3-BN plus the input, then ReLU."""

    expansion = 1

    def __init__(self, ndim: int, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        conv, norm = CONV[ndim], NORM[ndim]
        self.conv1 = conv(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = norm(width)
        self.conv2 = conv(width, width, 3, padding=1, bias=False)
        self.norm2 = norm(width)
        self.shortcut = _shortcut(ndim, in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(out + (x if self.shortcut is None else self.shortcut(x)))


class _Bottleneck(nn.Module):
    """conv1-BN-ReLU-conv3-BN-ReLU-conv1-BN, four times as wide at its end, plus the input, then ReLU."""

    expansion = 4

    def __init__(self, ndim: int, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        conv, norm = CONV[ndim], NORM[ndim]
        self.conv1 = conv(in_channels, width, 1, bias=False)
        self.norm1 = norm(width)
        self.conv2 = conv(width, width, 3, stride=stride, padding=1, bias=False)
        self.norm2 = norm(width)
        self.conv3 = conv(width, 4 * width, 1, bias=False)
        self.norm3 = norm(4 * width)
        self.shortcut = _shortcut(ndim, in_channels, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))
        return F.relu(self.norm3(self.conv3(out)) + (x if self.shortcut is None else self.shortcut(x)))


#: depth of a four-stage net -> its block and how many each stage has
_DEPTHS: dict[int, tuple[type[_Basic | _Bottleneck], tuple[int, ...]]] = {
    18: (_Basic, (2, 2, 2, 2)),
    34: (_Basic, (3, 4, 6, 3)),
    50: (_Bottleneck, (3, 4, 6, 3)),
    101: (_Bottleneck, (3, 4, 23, 3)),
}


class _ResidualNet(Backbone):
    """Stem, stages whose width doubles and whose length halves, average pool, linear head."""

    lays_out = True
    paper: ClassVar[tuple[str, ...]] = ("he2016deep",)

    def _assemble(
        self,
        block: type[_Basic | _Bottleneck],
        width: int,
        blocks: Sequence[int],
        wide_stem: bool,
        stem: int | None = None,
    ) -> None:
        channels = width if stem is None else stem
        if self.ndim == 2 and (width % 16 or channels % 16):
            # in channels last, the gradient of a 1 x 1 convolution with strides writes outside its memory for such
            # widths (torch 2.13 on processors with AVX-512: 8 channels of 50 x 50 pixels end the process)
            self.memory_format = "contiguous"
        ndim = self.ndim
        kernel, stride = (7, 2) if wide_stem else (3, 1)
        conv = CONV[ndim](self.in_channels, channels, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.stem = nn.Sequential(conv, NORM[ndim](channels), nn.ReLU())
        if wide_stem:
            self.stem.append(MAX_POOL[ndim](3, stride=2, padding=1))
        self.stages = nn.ModuleList()
        for i, count in enumerate(blocks):
            stage = nn.Sequential()
            for j in range(count):
                stage.append(block(ndim, channels, width * 2**i, stride=2 if i > 0 and j == 0 else 1))
                channels = width * 2**i * block.expansion
            self.stages.append(stage)
        self.head = nn.Linear(channels, self.num_classes)
        kaiming(self)

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs of the first three stages and the pooled embedding."""
        out = self.stem(x)
        features: dict[str, Tensor] = {}
        for i, stage in enumerate(self.stages[:3], start=1):
            out = features[f"stage{i}"] = stage(out)
        features["embedding"] = self.embed(out)
        return features

    def embed(self, stage3: Tensor) -> Tensor:
        """The fourth stage, where there is one, and average pool."""
        for stage in self.stages[3:]:
            stage3 = stage(stage3)
        return stage3.flatten(2).mean(2)

    @staticmethod
    def rename_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the weights of torchvision's and RepDistiller's nets our key names (`kdlab.Teacher` calls this)."""
        return renamed(state, _RELEASED)


class ResNet(_ResidualNet):
    """ResNet with four stages: 18 and 34 with basic blocks, 50 and 101 with bottlenecks (stride in their conv3).

    Stages have ``w, 2 w, 4 w, 8 w`` channels (four times that with bottlenecks) and strides 1, 2, 2, 2. Taps are the
    outputs of the first three, after the last ReLU, as ``"stage1"``, ``"stage2"``, ``"stage3"``, and the
    ``"embedding"`` pooled from the fourth.

    Args:
        depth: 18, 34, 50 or 101.
        width: w, channels of the first stage; 64 for images, 8 in the wearable studies.
        ndim: 1 for signals, 2 for images.
        stem: ``"imagenet"``: conv7 with stride 2 and a max-pool with stride 2, so that the net reads sides from 32 on;
            ``"cifar"``: conv3 without stride, sides from 8 on.
        in_channels: channels of the view.
        num_classes: number of classes.

    Shapes:
        ``(B, C, T)`` or ``(B, C, H, W)`` to logits ``(B, K)``; for T = 500 and the ImageNet stem the taps have lengths
        125, 63 and 32.

    Raises:
        InputError: when there is no such depth or stem, or the width is below 1.

    References:
        He, Zhang, Ren and Sun, Deep residual learning for image recognition, CVPR 2016, doi:10.1109/CVPR.2016.90; the
        1-D form of Jeon et al., code jeunsom/TDA_KD@b9091bb resnet2.py (w = 8).

    Example:
        >>> net = ResNet(18, width=8, ndim=1, in_channels=3, num_classes=14)
        >>> sum(p.numel() for p in net.parameters())
        62182
    """

    def __init__(
        self,
        depth: int = 18,
        width: int = 64,
        ndim: int = 1,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__(in_channels, num_classes, ndim, stride=32 if stem == "imagenet" else 8)
        if depth not in _DEPTHS or stem not in ("imagenet", "cifar") or width < 1:
            raise InputError(
                f"ResNet: must have depth {', '.join(map(str, _DEPTHS))}, stem 'imagenet' or 'cifar' and width >= "
                f"1, but got depth={depth}, stem={stem!r}, width={width}. CifarResNet has depths 6 n + 2."
            )
        self.smaller = "stem='cifar'" if stem == "imagenet" else ""
        block, blocks = _DEPTHS[depth]
        self._assemble(block, width, blocks, wide_stem=stem == "imagenet")


class CifarResNet(_ResidualNet):
    """ResNet-(6 n + 2) with three stages of ``n`` basic blocks: the small kind, for CIFAR images and short windows.

    conv3-BN-ReLU, then stages of ``w, 2 w, 4 w`` channels with strides 1, 2, 2. Taps are the outputs of the stages,
    after their last ReLU, as ``"stage1"``, ``"stage2"``, ``"stage3"``, and the pooled ``"embedding"``.

    Args:
        depth: 6 n + 2 (8, 14, 20, 26, 32, 44, 56, 110, ...).
        width: w, channels of the first stage.
        ndim: 1 for signals, 2 for images.
        in_channels: channels of the view.
        num_classes: number of classes.
        stem_width: channels of the stem; ``None`` is ``w``. `ResNet8x4` and `ResNet32x4` have ``w / 2``.

    Shapes:
        ``(B, C, T)`` or ``(B, C, H, W)`` to logits ``(B, K)``; for T = 100 the taps have lengths 100, 50 and 25.

    Raises:
        InputError: when the depth is not 6 n + 2 or a width is below 1.

    References:
        He, Zhang, Ren and Sun, Deep residual learning for image recognition, CVPR 2016, doi:10.1109/CVPR.2016.90,
        section 4.2; with the 1x1 convolution and BN on a change of shape of code HobbitLong/RepDistiller@b84f547
        models/resnet.py.

    Example:
        >>> net = CifarResNet(8, ndim=2, in_channels=3, num_classes=10)
        >>> sum(p.numel() for p in net.parameters())
        78042
    """

    def __init__(
        self,
        depth: int = 20,
        width: int = 16,
        ndim: int = 1,
        in_channels: int = 3,
        num_classes: int = 10,
        stem_width: int | None = None,
    ) -> None:
        super().__init__(in_channels, num_classes, ndim, stride=4)
        if depth < 8 or (depth - 2) % 6 or width < 1 or (stem_width is not None and stem_width < 1):
            raise InputError(
                "CifarResNet: depth must be 6 n + 2 (8, 14, 20, 26, 44, ...), width and stem_width at least 1, but got "
                f"depth={depth}, width={width}, stem_width={stem_width}. ResNet has depths 18, 34, 50 and 101."
            )
        self._assemble(_Basic, width, [(depth - 2) // 6] * 3, wide_stem=False, stem=stem_width)


class ResNet8x4(CifarResNet):
    """ResNet-8, four times as wide: a stem of 32 channels, stages of 64, 128 and 256; the field's usual student.

    Args:
        ndim: 1 for signals, 2 for images.
        in_channels: channels of the view.
        num_classes: number of classes.

    References:
        Code HobbitLong/RepDistiller@b84f547 models/resnet.py; see `CifarResNet`.

    Example:
        >>> net = ResNet8x4(ndim=2, num_classes=100)
        >>> sum(p.numel() for p in net.parameters())
        1233540
    """

    def __init__(self, ndim: int = 1, in_channels: int = 3, num_classes: int = 10) -> None:
        super().__init__(8, 64, ndim, in_channels, num_classes, stem_width=32)


class ResNet32x4(CifarResNet):
    """ResNet-32, four times as wide: a stem of 32 channels, stages of 64, 128 and 256; the field's usual teacher.

    Args:
        ndim: 1 for signals, 2 for images.
        in_channels: channels of the view.
        num_classes: number of classes.

    References:
        Code HobbitLong/RepDistiller@b84f547 models/resnet.py; see `CifarResNet`.

    Example:
        >>> net = ResNet32x4(ndim=2, num_classes=100)
        >>> sum(p.numel() for p in net.parameters())
        7433860
    """

    def __init__(self, ndim: int = 1, in_channels: int = 3, num_classes: int = 10) -> None:
        super().__init__(32, 64, ndim, in_channels, num_classes, stem_width=32)
