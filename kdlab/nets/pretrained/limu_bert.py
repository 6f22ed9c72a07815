"""LIMU-BERT: a small Transformer that was pre-trained on phones' accelerometer and gyroscope by masked windows."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.nets.pretrained.published import Published
from kdlab.types import InputError


class _Norm(nn.Module):
    """LayerNorm with weights of the published names."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.gamma.shape, self.gamma, self.beta, eps=1e-12)


class _Embedding(nn.Module):
    """Samples and their positions; the same norm before and after these are added."""

    def __init__(self, channels: int, size: int, length: int) -> None:
        super().__init__()
        self.lin, self.pos_embed, self.norm = nn.Linear(channels, size), nn.Embedding(length, size), _Norm(size)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.norm(self.lin(x)) + self.pos_embed.weight[: x.shape[1]])
        return out


class _Attention(nn.Module):
    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.proj_q, self.proj_k, self.proj_v = (nn.Linear(size, size) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.proj_q, self.proj_k, self.proj_v)
        )
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class _Feed(nn.Module):
    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(size, inner), nn.Linear(inner, size)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class _Transformer(nn.Module):
    """One layer, which is applied several times."""

    def __init__(self, channels: int, size: int, inner: int, heads: int, length: int) -> None:
        super().__init__()
        self.embed = _Embedding(channels, size, length)
        self.attn, self.proj, self.norm1 = _Attention(size, heads), nn.Linear(size, size), _Norm(size)
        self.pwff, self.norm2 = _Feed(size, inner), _Norm(size)

    def forward(self, h: Tensor) -> Tensor:
        h = self.attn(h)
        h = self.norm1(h + self.proj(h))
        out: Tensor = self.norm2(h + self.pwff(h))
        return out


class LIMUBERT(Published):
    """LIMU-BERT with a linear head: four passes through one Transformer layer, over every sample of a window.

    It reads 6 s at 20 Hz of an accelerometer in g (the reference divides m/s^2 by 9.8) and a gyroscope as it is
    recorded (rad/s), in this order. As in the reference code, the first residual connection of a layer begins behind
    its attention.

    Taps: the states after each pass, along time, ``"stage1"`` to ``"stage4"``, and the mean of the last ones,
    ``"embedding"``.

    Args:
        length: most samples of a window; 120 in the published weights.
        size: of a state; 72.
        inner: size of the inner linear layer; 144.
        layers: passes; 4.
        heads: attentions side by side; 4.
        in_channels: channels of the view; 6.
        num_classes: number of classes.

    Shapes:
        ``(B, 6, T)`` with ``T <= 120`` to logits ``(B, K)``; stages are ``(B, 72, T)``, the embedding ``(B, 72)``.

    Raises:
        InputError: for a number out of range, or a longer window.

    References:
        Xu et al., LIMU-BERT: unleashing the potential of unlabeled data for IMU sensing applications, SenSys 2021,
        doi:10.1145/3485730.3485937; code dapowan/LIMU-BERT-Public@51e4db3 models.py, config/limu_bert.json.

    Differences from the reference code:
        The mean over time and a linear head in place of a recurrent classifier. The decoder of the pre-training
        (11,094 of the 62,646 published weights) is left out.

    Example:
        >>> net = LIMUBERT(num_classes=4)
        >>> sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in net.head.parameters())
        51552
    """

    paper: ClassVar[tuple[str, ...]] = ("xu2021limu",)
    unseen: ClassVar[tuple[str, ...]] = ("layers", "heads")
    licence: ClassVar[str] = "LIMU-BERT: MIT (dapowan/LIMU-BERT-Public, LICENSE.md). Copyright 2023, dapowan."
    kinds: ClassVar[tuple[str, ...]] = ("acc",) * 3 + ("gyr",) * 3
    rate: ClassVar[float] = 20
    dropped: ClassVar[tuple[str, ...]] = ("fc.", "linear.", "norm.", "decoder.", "classifier.")

    def __init__(
        self,
        length: int = 120,
        size: int = 72,
        inner: int = 144,
        layers: int = 4,
        heads: int = 4,
        in_channels: int = 6,
        num_classes: int = 10,
    ) -> None:
        super().__init__(in_channels, num_classes)
        if min(length, size, inner, layers, heads) < 1 or size % heads:
            raise InputError(
                "LIMUBERT: must have length, inner, layers and heads >= 1 and a size that is a multiple of heads, but "
                f"got length={length}, size={size}, inner={inner}, layers={layers}, heads={heads}. Correct them."
            )
        self.length, self.layers = length, layers
        self.transformer = _Transformer(in_channels, size, inner, heads, length)
        self.head = nn.Linear(size, num_classes)

    def _variant(self) -> str:
        return f"length={self.length}"

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """States after each pass, along time, and the mean of the last ones."""
        self._check_length(x, x.shape[2] <= self.length, f"at most {self.length}")
        h = self.transformer.embed(x.transpose(1, 2))
        features: dict[str, Tensor] = {}
        for i in range(1, self.layers + 1):
            h = self.transformer(h)
            features[f"stage{i}"] = h.transpose(1, 2)
        features["embedding"] = h.mean(1)
        return features
