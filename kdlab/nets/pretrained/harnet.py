"""harnet5, harnet10 and harnet30: residual nets that were pre-trained on 700,000 person-days of wrist accelerometer."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.nets.pretrained.published import Published
from kdlab.types import InputError

#: seconds -> (channels, residual blocks, factor of the downsampling, its order) of each of the five layers
_LAYERS = {
    5: ((64, 2, 2, 2), (128, 2, 2, 2), (256, 2, 3, 1), (256, 2, 3, 1), (512, 0, 3, 1)),
    10: ((64, 2, 2, 2), (128, 2, 2, 2), (256, 2, 5, 1), (512, 2, 5, 1), (1024, 0, 3, 1)),
    30: ((64, 2, 3, 1), (128, 2, 3, 1), (256, 2, 5, 1), (512, 2, 5, 1), (1024, 0, 4, 0)),
}
#: samples per second
_RATE = 30
_KERNEL = 5


def _conv(inputs: int, outputs: int) -> nn.Conv1d:
    """A convolution that keeps the length, on a window that is a ring."""
    return nn.Conv1d(inputs, outputs, _KERNEL, 1, _KERNEL // 2, bias=False, padding_mode="circular")


class _Down(nn.Module):
    """A fixed low-pass, a box folded with itself ``order`` times, read at every ``factor``-th sample."""

    kernel: Tensor

    def __init__(self, channels: int, factor: int, order: int) -> None:
        super().__init__()
        box = torch.ones(1, 1, factor, dtype=torch.float64)
        low_pass = box
        for _ in range(order):
            low_pass = F.conv1d(low_pass, box, padding=factor - 1)
        self.factor, self.padding = factor, order * (factor - 1) // 2
        self.register_buffer("kernel", (low_pass / low_pass.sum()).float().repeat(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.kernel.to(x.dtype), None, self.factor, self.padding, 1, x.shape[1])


class _Block(nn.Module):
    """Batch norm, ReLU and convolution, twice; plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm1d(channels), nn.BatchNorm1d(channels)
        self.conv1, self.conv2 = _conv(channels, channels), _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return out


class HARNet(Published):
    """harnet5, harnet10 or harnet30 of OxWearables, with a linear head.

    Five layers, each of a convolution, residual blocks, batch norm, ReLU and a downsampling; the last one leaves one
    sample of 512 (harnet5) or 1,024 channels. It reads 5, 10 or 30 seconds of a wrist's three axes at 30 Hz, in g.

    Taps: the outputs of the first four layers, ``"stage1"`` to ``"stage4"``, and of the last one, ``"embedding"``.

    Args:
        seconds: 5, 10 or 30.
        in_channels: channels of the view; 3 in the published weights.
        num_classes: number of classes.

    Shapes:
        ``(B, 3, 30 seconds)`` to logits ``(B, K)``.

    Raises:
        InputError: for other seconds, or a window of another length.

    References:
        Yuan et al., Self-supervised learning for human activity recognition using 700,000 person-days of wearable data,
        npj Digital Medicine 7, 2024, doi:10.1038/s41746-024-01062-3; code OxWearables/ssl-wearables@2417610 hubconf.py,
        sslearning/models/accNet.py. Files: ``mtl_5_best.mdl``, ``mtl_best.mdl`` (10 s), ``mtl_30_best.mdl``.

    Differences from the reference code:
        A linear head in place of two linear layers. With ``seconds=5`` the layers are those of accNet.py for 5 s, but
        that ``mtl_5_best.mdl`` holds them is ``unverified``: harnet5 of hubconf.py passes no length, and so builds the
        net of 10 s, which cannot read 150 samples. A file of other layers is refused.

    Example:
        >>> net = HARNet(5, num_classes=4)
        >>> sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in net.head.parameters())
        4227904
        >>> [tuple(tap.shape) for tap in net(torch.zeros(2, 3, 150)).features.values()]
        [(2, 64, 75), (2, 128, 37), (2, 256, 12), (2, 256, 4), (2, 512)]
    """

    paper: ClassVar[tuple[str, ...]] = ("yuan2024self",)
    licence: ClassVar[str] = (
        "harnet: Academic Use Licence of the University of Oxford (OxWearables/ssl-wearables, LICENSE.md): own "
        "internal academic non-commercial research; passed on only for such research, under the same licence. "
        "Copyright 2022, University of Oxford."
    )
    kinds: ClassVar[tuple[str, ...]] = ("acc",) * 3
    rate: ClassVar[float] = _RATE
    dropped: ClassVar[tuple[str, ...]] = ("aot_h.", "scale_h.", "permute_h.", "time_w_h.", "classifier.")

    def __init__(self, seconds: Literal[5, 10, 30] = 10, in_channels: int = 3, num_classes: int = 10) -> None:
        if seconds not in _LAYERS:
            raise InputError(f"HARNet: seconds must be 5, 10 or 30, but got {seconds}. Choose one of them.")
        super().__init__(in_channels, num_classes, stride=_RATE * seconds)
        self.seconds = seconds
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels = in_channels
        for i, (width, blocks, factor, order) in enumerate(_LAYERS[seconds], start=1):
            parts = [_conv(channels, width), *(_Block(width) for _ in range(blocks))]
            layers[f"layer{i}"] = nn.Sequential(*parts, nn.BatchNorm1d(width), nn.ReLU(), _Down(width, factor, order))
            channels = width
        self.feature_extractor = nn.Sequential(layers)
        self.head = nn.Linear(channels, num_classes)
        for module in self.feature_extractor.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _variant(self) -> str:
        return f"seconds={self.seconds}"

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs of the layers."""
        self._check_length(x, x.shape[2] == self.stride, f"{self.stride} ({self.seconds} s at {_RATE} Hz)")
        features: dict[str, Tensor] = {}
        for i, layer in enumerate(self.feature_extractor, start=1):
            x = layer(x)
            features[f"stage{i}"] = x
        features["embedding"] = features.pop(f"stage{len(self.feature_extractor)}").flatten(1)
        return features
