"""What is exported: a net that reads physical units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdlab.nets.base import Backbone


class PhysicalNet(nn.Module):
    """A trained net behind the scaling of its data set.

    ``logits = net((x - offset) / divisor)``; with ``clip``, what lies above 1 after scaling becomes 0.99 and what lies
    below 0 becomes 0. The offset is kept as the sum of two float32 numbers, so that a small movement around a large
    offset (air pressure) is as exact as in the data module's float64.

    Args:
        net: the net; its logits are the output.
        offset: one per channel, in the channel's unit.
        divisor: one per channel, in the channel's unit.
        clip: whether scaled windows are clipped.

    Shapes:
        ``(B, C, T)`` in physical units, or images ``(B, C, H, W)``, to logits ``(B, K)``.

    Example:
        >>> from kdlab.nets import WideResNet
        >>> net = WideResNet(10, 1, in_channels=2, num_classes=3).eval()
        >>> x = torch.randn(4, 2, 16)
        >>> torch.allclose(PhysicalNet(net, [9.0, 0.0], [2.0, 1.0])(x * torch.tensor([[2.0], [1.0]]) +
        ...     torch.tensor([[9.0], [0.0]])), net(x).logits, atol=1e-4)
        True
    """

    offset: Tensor
    rest: Tensor
    divisor: Tensor

    def __init__(self, net: Backbone, offset: Sequence[float], divisor: Sequence[float], clip: bool = False) -> None:
        super().__init__()
        self.net, self.clip = net, clip
        exact = torch.tensor(offset, dtype=torch.float64)[:, None]
        self.register_buffer("offset", exact.float())
        self.register_buffer("rest", (exact - exact.float()).float())
        self.register_buffer("divisor", torch.tensor(divisor, dtype=torch.float64)[:, None].float())

    def forward(self, windows: Tensor) -> Tensor:
        """Logits of windows in physical units."""
        axes = (-1, *(1 for _ in windows.shape[2:]))
        offset, rest, divisor = (t.reshape(axes) for t in (self.offset, self.rest, self.divisor))
        x = ((windows - offset) - rest) / divisor
        if self.clip:
            x = torch.where(x > 1.0, 0.99, torch.where(x < 0.0, 0.0, x))
        logits: Tensor = self.net(x).logits
        return logits
