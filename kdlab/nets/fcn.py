"""A fully convolutional net for signals: three convolutions with batch norm and ReLU, and the mean over time."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from kdlab.nets.base import Backbone, BatchNorm1d, Conv1d
from kdlab.types import InputError

#: length of the three kernels
_KERNELS = (8, 5, 3)


class FCN(Backbone):
    r"""Fully convolutional net: three blocks that keep the length of the window, the mean over time, a linear layer.

    .. math:: h_i = \mathrm{ReLU}(\mathrm{BN}(W_i * h_{i-1} + b_i)), \qquad e = \frac1T \sum_t h_{3,t}

    The kernels have 8, 5 and 3 samples, the blocks ``width``, ``2 width`` and ``width`` channels. Taps are the outputs
    of the blocks, ``"stage1"`` to ``"stage3"``, and the mean, ``"embedding"``.

    Args:
        width: channels of the first and the last block, W; 128 in the paper.
        in_channels: channels of the view, C.
        num_classes: number of classes, K.

    Shapes:
        ``(B, C, T)`` to logits ``(B, K)``; the taps are ``(B, W, T)``, ``(B, 2 W, T)`` and ``(B, W, T)``.

    Raises:
        InputError: for a width below 1.

    References:
        Wang, Yan and Oates, Time series classification from scratch with deep neural networks: a strong baseline, IJCNN
        2017, doi:10.1109/IJCNN.2017.7966039; code hfawaz/dl-4-tsc classifiers/fcn.py. Without the linear layer it has
        264,704 parameters on one channel (Ismail-Fawaz et al., LITE, DSAA 2023, doi:10.1109/DSAA60987.2023.10302569).

    Differences from the reference code:
        Batch norm has torch's eps (1e-5; Keras: 1e-3) and momentum (.1; Keras: .01 in torch's convention).

    Example:
        >>> net = FCN(in_channels=1, num_classes=5)
        >>> sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in net.head.parameters())
        264704
    """

    lays_out = True
    paper: ClassVar[tuple[str, ...]] = ("wang2017time",)

    def __init__(self, width: int = 128, in_channels: int = 3, num_classes: int = 10) -> None:
        super().__init__(in_channels, num_classes)
        if width < 1:
            raise InputError(f"FCN: width must be at least 1, but got {width}. Raise it.")
        widths = (in_channels, width, 2 * width, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(Conv1d(before, after, kernel, padding="same"), BatchNorm1d(after), nn.ReLU())
            for before, after, kernel in zip(widths, widths[1:], _KERNELS, strict=False)
        )
        self.head = nn.Linear(width, num_classes)
        glorot(self)

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs of the blocks and their mean over time."""
        features: dict[str, Tensor] = {}
        for i, block in enumerate(self.blocks, start=1):
            x = block(x)
            features[f"stage{i}"] = x
        features["embedding"] = self.embed(x)
        return features

    def embed(self, stage3: Tensor) -> Tensor:
        """The mean over time."""
        return stage3.flatten(2).mean(2)


def glorot(net: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers as Keras does: uniform, variance 2 / (fan-in + fan-out).

    Args:
        net: its biases become 0.
    """
    for module in net.modules():
        if isinstance(module, (nn.Conv1d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
