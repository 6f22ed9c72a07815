"""A Transformer encoder for signals: a window is cut into patches, which attend to each other."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.nets.base import Backbone
from kdlab.types import InputError


def _sinusoids(count: int, dim: int) -> Tensor:
    """Sines, then cosines, of positions at wavelengths from 2 pi to 20000 pi: ``(count, dim)``."""
    rates = torch.exp(torch.arange(dim // 2) * (-math.log(10_000.0) / (dim // 2)))
    angles = torch.arange(count)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


class _Layer(nn.Module):
    """Attention of all tokens to all tokens, then two linear layers; each after a LayerNorm, each plus its input."""

    def __init__(self, dim: int, heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.drop = heads, dropout
        self.norm1 = nn.LayerNorm(dim)
        self.mix = nn.Linear(dim, 3 * dim)
        self.join = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, expansion * dim)
        self.narrow = nn.Linear(expansion * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.mix(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, dropout_p=self.drop if self.training else 0.0)
        x = x + self.dropout(self.join(seen.transpose(1, 2).flatten(2)))
        out: Tensor = x + self.dropout(self.narrow(F.gelu(self.widen(self.norm2(x)))))
        return out


class TransformerEncoder(Backbone):
    """Transformer encoder over patches of a window, with LayerNorm before attention and before the linear layers.

    A convolution makes one token of every ``patch`` samples (zeros fill up the last patch); positions are added; each
    layer lets every token attend to all others. Taps are the tokens after each layer, along time, as ``"stage1"``,
    ``"stage2"``, ..., and the ``"embedding"``: the mean of the normalised tokens, or the class token.

    Args:
        layers: how many layers; three have the taps that other nets have.
        dim: D, size of a token; even, and divisible by ``heads``.
        heads: how many attentions a layer has side by side.
        patch: samples P of a token.
        expansion: how many times wider the linear layers are inside.
        positions: ``"sinusoidal"`` (fixed) or ``"learned"``.
        pool: ``"mean"`` of the tokens, or a learned class ``"token"`` that is put in front (no tap contains it).
        max_tokens: the most patches that a window may have.
        dropout: share that is dropped in training.
        in_channels: channels of the view.
        num_classes: number of classes.

    Shapes:
        ``(B, C, T)`` to logits ``(B, K)``; taps are ``(B, D, ceil(T / P))``, the embedding is ``(B, D)``.

    Raises:
        InputError: for a choice or a number out of range, or a window of more than ``max_tokens`` patches.

    References:
        Vaswani et al., Attention is all you need, NeurIPS 2017, arXiv:1706.03762; patches, class token and the place of
        LayerNorm as Dosovitskiy et al., An image is worth 16x16 words, ICLR 2021, arXiv:2010.11929.

    Example:
        >>> net = TransformerEncoder(layers=2, dim=16, heads=2, patch=5, in_channels=3, num_classes=4)
        >>> {name: tuple(tap.shape) for name, tap in net(torch.zeros(2, 3, 52)).features.items()}
        {'stage1': (2, 16, 11), 'stage2': (2, 16, 11), 'embedding': (2, 16)}
    """

    paper: ClassVar[tuple[str, ...]] = ("vaswani2017attention", "dosovitskiy2021image")
    positions: Tensor

    def __init__(
        self,
        layers: int = 3,
        dim: int = 64,
        heads: int = 4,
        patch: int = 8,
        expansion: int = 2,
        positions: Literal["sinusoidal", "learned"] = "sinusoidal",
        pool: Literal["mean", "token"] = "mean",
        max_tokens: int = 512,
        dropout: float = 0.0,
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__(in_channels, num_classes, stride=patch)
        if min(layers, heads, patch, expansion, max_tokens) < 1 or dim < 2 or dim % 2 or dim % heads:
            raise InputError(
                "TransformerEncoder: must have layers, heads, patch, expansion and max_tokens >= 1 and an even "
                "dim that "
                f"is divisible by heads, but got layers={layers}, heads={heads}, patch={patch}, expansion={expansion}, "
                f"max_tokens={max_tokens}, dim={dim}. Correct them."
            )
        if positions not in ("sinusoidal", "learned") or pool not in ("mean", "token") or not 0 <= dropout < 1:
            raise InputError(
                "TransformerEncoder: must have positions 'sinusoidal' or 'learned', pool 'mean' or 'token' and "
                f"dropout from 0 to below 1, but got positions={positions!r}, pool={pool!r}, dropout={dropout}. "
                "Correct them."
            )
        self.patch = nn.Conv1d(in_channels, dim, patch, stride=patch)
        if positions == "learned":
            self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(max_tokens, dim), std=0.02))
        else:
            self.register_buffer("positions", _sinusoids(max_tokens, dim), persistent=False)
        self.token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, dim), std=0.02)) if pool == "token" else None
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(_Layer(dim, heads, expansion, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Tokens after every layer, along time, and what is read from the last."""
        tokens = self.patch(F.pad(x, (0, -x.shape[2] % self.stride))).transpose(1, 2)
        count, limit = tokens.shape[1], self.positions.shape[0]
        if count > limit:
            raise InputError(
                f"TransformerEncoder: x must have at most max_tokens={limit} patches of {self.stride} samples, but got "
                f"{tuple(x.shape)}, which makes {count}. Raise patch or max_tokens."
            )
        tokens = tokens + self.positions[:count]
        if self.token is not None:
            tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], 1)
        tokens = self.dropout(tokens)
        features: dict[str, Tensor] = {}
        for i, layer in enumerate(self.layers, start=1):
            tokens = layer(tokens)
            features[f"stage{i}"] = tokens[:, -count:].transpose(1, 2)
        normal = self.norm(tokens)
        features["embedding"] = normal.mean(1) if self.token is None else normal[:, 0]
        return features
