"""Mantis: a Transformer that was pre-trained on time series of many kinds, one channel at a time."""

from __future__ import annotations

import math
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.nets.pretrained.published import Published
from kdlab.types import InputError

#: tokens of a window; samples of the kernel; numbers of a code of a scalar; its scales
_TOKENS, _KERNEL, _CODE = 32, 17, 32
_SCALES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4)


class _Scalar(nn.Module):
    """``LayerNorm(w x + k b)`` of numbers ``(..., 1)``, for a scale ``k``."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.w, self.b = (nn.Parameter(torch.rand(1, _CODE)) for _ in range(2))
        self.layer_norm = nn.LayerNorm(_CODE, eps=1e-15)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer_norm(x * self.w + self.scale * self.b)
        return out


class _Scalars(nn.Module):
    r"""The mean of the codes over scales with weights ``|1 / log(|x| / k + 1.1)|``, which sum to 1."""

    scales: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scales", torch.tensor(_SCALES))
        self.encoders = nn.ModuleList(_Scalar(scale) for scale in _SCALES)

    def forward(self, x: Tensor) -> Tensor:
        weight = (1 / torch.log(x.abs() / self.scales.to(x.dtype) + 1.1)).abs()
        weight = weight / weight.sum(-1, keepdim=True)
        codes = torch.stack([encoder(x) for encoder in self.encoders], -2)
        return (codes * weight.unsqueeze(-1)).sum(-2)


class _Convolution(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, size, _KERNEL, padding=_KERNEL // 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x).transpose(1, 2)
        return out


class _Join(nn.Module):
    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.linear, self.layer_norm = nn.Linear(inputs, size), nn.LayerNorm(size, eps=1e-15)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer_norm(self.linear(x))
        return out


class _Tokens(nn.Module):
    """A token per patch: the window and its change, each convolved, and mean and standard deviation of the patch."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_Convolution(size) for _ in range(2))
        self.layer_norms = nn.ModuleList(nn.LayerNorm(size, eps=1e-5) for _ in range(2))
        self.scalar_encoders = nn.ModuleList(_Scalars() for _ in range(2))
        self.linear_encoder = _Join(2 * size + 2 * _CODE, size)

    def forward(self, x: Tensor) -> Tensor:
        patches = x.reshape(x.shape[0], _TOKENS, -1)
        statistics = (patches.mean(2, keepdim=True), patches.std(2, keepdim=True))
        parts = [
            norm(conv(_scaled(series))).unflatten(1, (_TOKENS, -1)).mean(2)
            for series, conv, norm in zip((F.pad(x.diff(), (0, 1)), x), self.convs, self.layer_norms, strict=True)
        ]
        parts += [encoder(number) for encoder, number in zip(self.scalar_encoders, statistics, strict=True)]
        out: Tensor = self.linear_encoder(torch.cat(parts, 2))
        return out


def _scaled(x: Tensor) -> Tensor:
    return (x - x.mean(2, keepdim=True)) / (x.std(2, keepdim=True) + 1e-5)


class _Attention(nn.Module):
    def __init__(self, size: int, heads: int, head: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.drop = heads, dropout
        self.to_qkv = nn.Linear(size, 3 * heads * head, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * head, size), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, dropout_p=self.drop if self.training else 0.0)
        out: Tensor = self.to_out(seen.transpose(1, 2).flatten(2))
        return out


class _Feed(nn.Module):
    def __init__(self, size: int, inner: int, dropout: float) -> None:
        super().__init__()
        drop = nn.Dropout(dropout)
        self.net = nn.Sequential(nn.Linear(size, inner), nn.GELU(), drop, nn.Linear(inner, size), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class _PreNorm(nn.Module):
    def __init__(self, size: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(size), fn

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.fn(self.norm(x))
        return out


class _Layers(nn.Module):
    def __init__(self, size: int, depth: int, heads: int, head: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [_PreNorm(size, _Attention(size, heads, head, dropout)), _PreNorm(size, _Feed(size, inner, dropout))]
            )
            for _ in range(depth)
        )


class _Positions(nn.Module):
    pe: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        angles = torch.arange(_TOKENS + 1)[:, None] * torch.exp(torch.arange(0, size, 2) * (-math.log(1e4) / size))
        self.register_buffer("pe", torch.stack([angles.sin(), angles.cos()], 2).flatten(1).unsqueeze(1))


class _Transformer(nn.Module):
    """A class token in front, sines and cosines of the positions, and the layers."""

    def __init__(self, size: int, depth: int, heads: int, head: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.pos_encoder = _Positions(size)
        self.cls_token = nn.Parameter(torch.randn(size))
        self.transformer = _Layers(size, depth, heads, head, inner, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        x = torch.cat([self.cls_token.expand(tokens.shape[0], 1, -1), tokens], 1)
        x = self.dropout(x + self.pos_encoder.pe.transpose(0, 1))
        states = []
        for layer in self.transformer.layers:
            for part in cast(nn.ModuleList, layer):
                x = part(x)
            states.append(x)
        return states


class Mantis(Published):
    """Mantis with 8 million parameters, on each channel by itself, and a linear head on all of them.

    A window is cut into 32 patches. The token of a patch is made of the window and of its change from sample to sample,
    each with mean 0 and standard deviation 1 over the window, convolved, and of mean and standard deviation of the
    patch. Any rate and unit is read; a multiple of 32 samples, 512 in the pre-training.

    Taps: the tokens after the layers, along the window, ``"stage1"``, ``"stage2"``, ..., channel after channel, and the
    class tokens of all channels, ``"embedding"``.

    Args:
        depth: number of layers; 6 in the published weights.
        size: of a token, even; 256.
        heads: attentions side by side; 8.
        head: size of one of them; 128.
        inner: size of the inner linear layer; 512.
        dropout: share that is dropped in training; .1.
        in_channels: channels of the view; any number with the published weights.
        num_classes: number of classes.

    Shapes:
        ``(B, C, 32 n)`` with ``n >= 2`` to logits ``(B, K)``; stages are ``(B, 256 C, 32)``, the embedding
        ``(B, 256 C)``.

    Raises:
        InputError: for a number out of range, or a window of another length.

    References:
        Feofanov et al., Mantis: lightweight calibrated foundation model for user-friendly time series classification,
        2025, arXiv:2502.15637; code vfeofanov/mantis@48d60bd src/mantis/architecture/version1.py. File:
        ``model.safetensors`` of paris-noah/Mantis-8M.

    Differences from the reference code:
        A linear head alone. The projection of the pre-training (66,304 of 8,103,936 published weights) is left out.

    Example:
        >>> net = Mantis(in_channels=3, num_classes=4)
        >>> sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in net.head.parameters())
        8037632
    """

    paper: ClassVar[tuple[str, ...]] = ("feofanov2025mantis",)
    unseen: ClassVar[tuple[str, ...]] = ("heads",)
    licence: ClassVar[str] = (
        "Mantis: MIT (vfeofanov/mantis, LICENSE and pyproject.toml); its README names both MIT (badge) and the Apache "
        "License 2.0 (at commit 9ecf1f1); the card of the file, paris-noah/Mantis-8M, was not read. Copyright 2024, "
        "Vasilii Feofanov."
    )
    dropped: ClassVar[tuple[str, ...]] = ("prj.",)

    def __init__(
        self,
        depth: int = 6,
        size: int = 256,
        heads: int = 8,
        head: int = 128,
        inner: int = 512,
        dropout: float = 0.1,
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__(in_channels, num_classes, stride=2 * _TOKENS)
        if min(depth, size, heads, head, inner) < 1 or size % 2 or not 0 <= dropout < 1:
            raise InputError(
                "Mantis: must have depth, heads, head and inner >= 1, an even size and dropout from 0 to below 1, but "
                f"got depth={depth}, size={size}, heads={heads}, head={head}, inner={inner}, dropout={dropout}. "
                "Correct them."
            )
        self.tokgen_unit = _Tokens(size)
        self.vit_unit = _Transformer(size, depth, heads, head, inner, dropout)
        self.head = nn.Linear(in_channels * size, num_classes)

    @classmethod
    def own_name(cls, name: str) -> str:
        """Also the names of the later releases."""
        name = super().own_name(name)
        return f"vit_unit.{name.removeprefix('transf_unit.')}" if name.startswith("transf_unit.") else name

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Tokens after every layer, and the class tokens."""
        self._check_length(x, x.shape[2] % _TOKENS == 0, f"a multiple of {_TOKENS}")
        channels = x.shape[1]
        states = self.vit_unit(self.tokgen_unit(x.flatten(0, 1).unsqueeze(1)))
        features = {
            f"stage{i}": state[:, 1:].transpose(1, 2).unflatten(0, (-1, channels)).flatten(1, 2)
            for i, state in enumerate(states, start=1)
        }
        features["embedding"] = states[-1][:, 0].unflatten(0, (-1, channels)).flatten(1)
        return features
