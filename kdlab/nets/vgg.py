"""VGG networks with batch normalisation for signals and for images, from one definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from kdlab.nets.base import CONV, MAX_POOL, NORM, Backbone, kaiming, renamed
from kdlab.types import InputError

#: depth -> how many convolutions each of the five blocks has
_DEPTHS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
# key names of RepDistiller's VGG nets with batch normalisation -> ours
_RELEASED = ((r"^block(\d)\.", r"blocks.\1."), (r"^classifier\.", "head."))
_WIDTHS = (64, 128, 256, 512, 512)


class VGG(Backbone):
    """VGG-depth with batch normalisation: five blocks of conv3-BN-ReLU, average pool and one linear layer.

    Blocks have 64, 128, 256, 512 and 512 channels; a max-pool of 2 follows each of the first ``pools``. Taps are the
    outputs of the second, third and fourth block before their pool as ``"stage1"``, ``"stage2"``, ``"stage3"``, and
    the pooled ``"embedding"``. For 32-pixel images their sides are 16, 8 and 4, where a WideResNet has 32,
    16 and 8: losses on maps refuse such a pair of taps without pooling (``resize="pool"``); losses on
    Gram matrices and logits take it.

    Args:
        depth: 8, 11, 13, 16 or 19.
        ndim: 1 for signals, 2 for images.
        pools: how many blocks are followed by a max-pool, 0 to 4; 3 for 32 pixels and short windows, 4 for 64 pixels.
        in_channels: channels of the view.
        num_classes: number of classes.

    Shapes:
        ``(B, C, T)`` or ``(B, C, H, W)`` to logits ``(B, K)``; for T = 100 the taps have lengths 50, 25 and 12.

    Raises:
        InputError: when there is no such depth or number of pools.

    References:
        Simonyan and Zisserman, Very deep convolutional networks for large-scale image recognition, ICLR 2015,
        arXiv:1409.1556; in the form of code HobbitLong/RepDistiller@b84f547 models/vgg.py.

    Differences from the reference code:
        It decides on the fourth pool by the size of the image; here ``pools`` decides.

    Example:
        >>> net = VGG(8, ndim=2, in_channels=3, num_classes=10)
        >>> sum(p.numel() for p in net.parameters())
        3918858
    """

    lays_out = True
    paper: ClassVar[tuple[str, ...]] = ("simonyan2015very",)

    def __init__(
        self, depth: int = 8, ndim: int = 1, pools: int = 3, in_channels: int = 3, num_classes: int = 10
    ) -> None:
        if depth not in _DEPTHS or not 0 <= pools <= 4:
            raise InputError(
                f"VGG: must have depth {', '.join(map(str, _DEPTHS))} and 0 to 4 pools, but got depth={depth}, "
                f"pools={pools}. Correct them."
            )
        super().__init__(in_channels, num_classes, ndim, stride=2**pools)
        self.pools = pools
        self.pool = MAX_POOL[ndim](2)
        self.blocks = nn.ModuleList()
        channels = in_channels
        for width, convolutions in zip(_WIDTHS, _DEPTHS[depth], strict=True):
            block = nn.Sequential()
            for _ in range(convolutions):
                block.extend([CONV[ndim](channels, width, 3, padding=1), NORM[ndim](width), nn.ReLU()])
                channels = width
            self.blocks.append(block)
        self.head = nn.Linear(channels, num_classes)
        kaiming(self)

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs of the second to fourth block and the pooled embedding."""
        features: dict[str, Tensor] = {}
        for i in range(4):
            x = self._block(i, x)
            if i > 0:
                features[f"stage{i}"] = x
        features["embedding"] = self.embed(x)
        return features

    def embed(self, stage3: Tensor) -> Tensor:
        """The last block and average pool."""
        return self._block(4, stage3).flatten(2).mean(2)

    def _block(self, i: int, x: Tensor) -> Tensor:
        out: Tensor = self.blocks[i](self.pool(x) if 0 < i <= self.pools else x)
        return out

    @staticmethod
    def rename_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the weights of RepDistiller's nets our key names (`kdlab.Teacher` calls this)."""
        return renamed(state, _RELEASED)
