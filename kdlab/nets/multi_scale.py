"""Convolutions of three lengths that attend to each other, for one source of signals or for two."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.nets.base import Backbone
from kdlab.nets.fusion import check_groups
from kdlab.types import InputError

#: samples of the kernels, one branch each; of a token; of the kernel of the time gate
_KERNELS, _TOKEN, _GATE = (3, 5, 7), 4, 7


class _Branch(nn.Module):
    """Convolution, batch norm, ReLU; then a gate per channel, and one per sample."""

    def __init__(self, inputs: int, channels: int, kernel: int, reduction: int) -> None:
        super().__init__()
        narrow = max(1, channels // reduction)
        self.conv = nn.Conv1d(inputs, channels, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm1d(channels)
        self.squeeze, self.excite = nn.Conv1d(channels, narrow, 1), nn.Conv1d(narrow, channels, 1)
        self.gate = nn.Conv1d(2, 1, _GATE, padding=_GATE // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean(2, keepdim=True)))))
        out: Tensor = x * torch.sigmoid(self.gate(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))
        return out


class _CrossAttention(nn.Module):
    """Tokens that query others; what they read is added, and normalised."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.read, self.join = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:
        query = self.query(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.read(others).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.norm(tokens + self.join(seen.transpose(1, 2).flatten(2)))
        return out


class MultiScaleAttention(Backbone):
    r"""Multi-scale cross-attention net, our reading of MSCAF-Gait, whose code is not published.

    Three branches ``k`` in {3, 5, 7} read the window. Each is a convolution over ``k`` samples with batch norm and
    ReLU, a gate per channel (squeeze and excitation) and a gate per sample:

    .. math::
        h_k = \mathrm{ReLU}(\mathrm{BN}(W_k * x)), \quad
        u_k = h_k\, \sigma\big(V_2\, \mathrm{ReLU}(V_1 \bar h_k)\big), \quad
        g_k = u_k\, \sigma\big(G_7 * [\mathrm{mean}_c u_k; \max_c u_k]\big)

    The mean of each four samples is a token ``t_k`` of ``D`` numbers. Each branch queries the tokens of the others, and
    the sum over branches goes through a convolution of stride 2, the mean over time and a linear layer:

    .. math::
        y_k = \mathrm{LN}\Big(t_k + O \,\mathrm{softmax}\Big(\frac{Q t_k\, (K t_{\ne k})^\top}{\sqrt{D / H}}\Big)
        V t_{\ne k}\Big), \qquad e = \mathrm{mean}_t\, \mathrm{ReLU}(\mathrm{BN}(S *_2 \textstyle\sum_k y_k))

    With two sources (left and right foot, phone and watch), each has branches of its own, and the keys and values of a
    branch are the tokens of all branches of the other source; the sum is over the branches of both.

    Taps: ``"stage1"``, the branches behind their gates, side by side; ``"stage2"``, the sum of what they read;
    ``"stage3"``, the convolution of stride 2; ``"embedding"``, its mean.

    Args:
        groups: source -> number of its channels, in the order of the view's channels, for two sources; ``None``: one.
        channels: of a branch, M.
        dim: D, size of a token, divisible by ``heads``.
        heads: H, how many attentions a branch has side by side.
        reduction: channels of a branch over those of the inner layer of its gate.
        in_channels: channels of the view; ``None``: the sum of the groups, or 3 for one source.
        num_classes: number of classes.

    Shapes:
        ``(B, C, T)`` with ``T >= 4`` to logits ``(B, K)``; ``"stage1"`` is ``(B, 3 M, T)``, of two sources
        ``(B, 6 M, T)``, ``"stage2"`` ``(B, D, T // 4)``, ``"stage3"`` half as long. Up to three samples at the end of a
        window are in no token.

    Raises:
        InputError: for a number out of range, more than two groups, or ``in_channels`` that is not their sum.

    References:
        Yuan et al., Foot pressure-based abnormal gait recognition with multi-scale cross-attention fusion, IEEE
        Transactions on Neural Systems and Rehabilitation Engineering, 2025, doi:10.1109/TNSRE.2025.3597639.

    Differences from the paper:
        Sizes, the order of the gates, tokens as means, and both directions between two sources are our choice.

    Example:
        >>> net = MultiScaleAttention(in_channels=3, num_classes=5)
        >>> sum(p.numel() for p in net.parameters())
        19150
        >>> feet = MultiScaleAttention({"left": 3, "right": 3}, num_classes=5)
        >>> {name: tuple(tap.shape) for name, tap in feet(torch.zeros(2, 6, 128)).features.items()}
        {'stage1': (2, 96, 128), 'stage2': (2, 32, 32), 'stage3': (2, 32, 16), 'embedding': (2, 32)}
    """

    paper: ClassVar[tuple[str, ...]] = ("yuan2025foot",)

    def __init__(
        self,
        groups: dict[str, int] | None = None,
        channels: int = 16,
        dim: int = 32,
        heads: int = 2,
        reduction: int = 4,
        in_channels: int | None = None,
        num_classes: int = 10,
    ) -> None:
        single = 3 if in_channels is None else in_channels
        given = {"source": single} if groups is None else check_groups("MultiScaleAttention", groups, in_channels)
        super().__init__(max(sum(given.values()), 1), num_classes, stride=_TOKEN)
        if len(given) > 2 or min(channels, dim, heads, reduction) < 1 or dim % heads:
            raise InputError(
                "MultiScaleAttention: must have one or two groups, channels, heads, reduction >= 1 and dim a multiple "
                f"of heads, but got {len(given)} groups, channels={channels}, dim={dim}, heads={heads}, "
                f"reduction={reduction}. Correct them."
            )
        self.groups = given
        self.branches = nn.ModuleDict(
            {
                name: nn.ModuleList(_Branch(count, channels, kernel, reduction) for kernel in _KERNELS)
                for name, count in given.items()
            }
        )
        branches = len(given) * len(_KERNELS)
        self.tokens = nn.ModuleList(nn.Linear(channels, dim) for _ in range(branches))
        self.attention = nn.ModuleList(_CrossAttention(dim, heads) for _ in range(branches))
        self.down = nn.Sequential(nn.Conv1d(dim, dim, 3, 2, 1, bias=False), nn.BatchNorm1d(dim), nn.ReLU())
        self.head = nn.Linear(dim, num_classes)

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """The gated branches, the sum of what they read of each other, and the convolution of stride 2."""
        parts = torch.split(x, list(self.groups.values()), 1)
        gated = [
            branch(part)
            for part, source in zip(parts, self.branches.values(), strict=True)
            for branch in source  # type: ignore[attr-defined]
        ]
        tokens = [
            layer(F.avg_pool1d(one, _TOKEN).transpose(1, 2)) for layer, one in zip(self.tokens, gated, strict=True)
        ]
        read = [layer(tokens[i], self._others(tokens, i)) for i, layer in enumerate(self.attention)]
        stage2 = sum(read[1:], read[0]).transpose(1, 2)
        stage3: Tensor = self.down(stage2)
        return {"stage1": torch.cat(gated, 1), "stage2": stage2, "stage3": stage3, "embedding": self.embed(stage3)}

    def _others(self, tokens: list[Tensor], i: int) -> Tensor:
        """What branch ``i`` queries, along the tokens: the other branches, or those of the other source."""
        size = len(_KERNELS)
        if len(self.groups) == 1:
            return torch.cat(tokens[:i] + tokens[i + 1 :], 1)
        return torch.cat(tokens[size:] if i < size else tokens[:size], 1)

    def embed(self, stage3: Tensor) -> Tensor:
        """The mean over time."""
        return stage3.mean(2)
