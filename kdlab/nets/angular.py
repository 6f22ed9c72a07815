"""A net whose logits are angles: class weights of length 1, and no bias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.nets.base import Backbone, build
from kdlab.types import InputError


class AngularHead(nn.Module):
    r"""Logits ``z_k = |x| cos(theta_k)``: the embedding times class weights of length 1, without bias.

    Args:
        features: ``D``.
        classes: ``K``.

    Shapes:
        ``(B, D) -> (B, K)``.

    References:
        W. Liu, Y. Wen, Z. Yu, M. Li, B. Raj, L. Song, "SphereFace: Deep hypersphere embedding for face recognition",
        CVPR 2017, arXiv:1704.08063. Code: clcarwin/sphereface_pytorch@e2f11f0 (``AngleLinear``).

    Example:
        >>> head = AngularHead(2, 2)
        >>> head.weight.data = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
        >>> head(torch.tensor([[2.0, 1.0]])).tolist()
        [[2.0, 1.0]]
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, features))
        nn.init.uniform_(self.weight, -1, 1)
        with torch.no_grad():
            self.weight.copy_(F.normalize(self.weight, dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        return F.linear(x, F.normalize(self.weight, dim=1))


class AngularNet(Backbone):
    """Any net with an :class:`AngularHead` in place of its own linear head, as A-Softmax needs it.

    Its taps are those of the net, whose ``spec`` is part of this one's: checkpoints, teachers and export treat it like
    any other net.

    Args:
        net: a net with a linear head, which is dropped; it becomes a part of this one.

    Shapes:
        as the net.

    Raises:
        InputError: for a net whose head is not one linear layer.

    Example:
        >>> from kdlab.nets import WideResNet
        >>> net = AngularNet(WideResNet(10, 1, in_channels=3, num_classes=5))
        >>> output = net(torch.randn(2, 3, 16))
        >>> bool((output.logits.abs() <= output.features["embedding"].norm(dim=1, keepdim=True) + 1e-6).all())
        True
    """

    lays_out = True  # the net inside decides
    paper: ClassVar[tuple[str, ...]] = ("liu2017sphereface",)

    def __init__(self, net: Backbone) -> None:
        head = getattr(net, "head", None)
        if not isinstance(net, Backbone) or not isinstance(head, nn.Linear):
            raise InputError(
                f"AngularNet: net must be a net of kdlab with a linear head, but got {type(net).__name__}"
                f"{'' if head is None else f' with a {type(head).__name__}'}. Its embedding is read, its head dropped."
            )
        super().__init__(net.in_channels, net.num_classes, net.ndim, net.stride)
        self.spec["init_args"]["net"] = net.spec
        self.memory_format = net.memory_format
        self.standardize = net.standardize
        self.body = net
        del self.body.standardize, self.body.head
        self.head = AngularHead(head.in_features, net.num_classes)

    @classmethod
    def rebuild(cls, init_args: Mapping[str, Any]) -> Backbone:
        """Make the net of a checkpoint, from nets that are imported already."""
        inner = init_args.get("net")
        if not isinstance(inner, Mapping):
            raise InputError(f"AngularNet: the checkpoint's net {inner!r} cannot be rebuilt; train it again.")
        return cls(build(inner))

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """The taps of the net inside."""
        return self.body.taps(x)

    def _taps_channels_last(self, x: Tensor) -> dict[str, Tensor]:
        return self.body._taps_channels_last(x) if self.body.lays_out else self.body.taps(x)

    def embed(self, stage3: Tensor) -> Tensor:
        """The embedding that the rest of the net inside computes from a map."""
        return self.body.embed(stage3)


def angular(net: Backbone) -> AngularNet:
    """The net with an angular head; as it is, where it has one already."""
    return net if isinstance(net, AngularNet) else AngularNet(net)
