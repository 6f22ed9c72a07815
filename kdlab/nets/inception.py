"""InceptionTime: convolutions of several lengths side by side, and residual connections over three of them."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.nets.base import Backbone, BatchNorm1d, Conv1d, MaxPool1d
from kdlab.nets.fcn import glorot
from kdlab.types import InputError

#: modules of a residual block
_MODULES = 3


class _Module(nn.Module):
    """A bottleneck, three convolutions of its output and one of the pooled input, side by side; batch norm, ReLU."""

    def __init__(self, channels: int, filters: int, bottleneck: int, kernel: int) -> None:
        super().__init__()
        narrow = channels > 1 and bottleneck > 0
        self.bottleneck = Conv1d(channels, bottleneck, 1, bias=False) if narrow else nn.Identity()
        self.convs = nn.ModuleList(
            Conv1d(bottleneck if narrow else channels, filters, kernel // 2**i, padding="same", bias=False)
            for i in range(3)
        )
        self.pool = MaxPool1d(3, stride=1, padding=1)
        self.pooled = Conv1d(channels, filters, 1, bias=False)
        self.norm = BatchNorm1d(4 * filters)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.bottleneck(x)
        parts = [conv(narrow) for conv in self.convs] + [self.pooled(self.pool(x))]
        return F.relu(self.norm(torch.cat(parts, 1)))


class InceptionTime(Backbone):
    r"""One network of InceptionTime: six inception modules with a residual connection over each three of them.

    .. math::
        u = V * x, \quad m(x) = \mathrm{ReLU}\big(\mathrm{BN}\,[W_{40} * u,\ W_{20} * u,\ W_{10} * u,\
        W_1 * \mathrm{max}_3(x)]\big)

    .. math:: h = \mathrm{ReLU}\big(m_3(m_2(m_1(x))) + \mathrm{BN}(S * x)\big)

    ``V``, ``W_1`` and ``S`` have kernels of one sample; ``V`` is left out on one channel. The length of the window is
    kept. The paper's classifier is the mean of the probabilities of five such nets: in kdlab an `EnsembleTeacher`
    of five seeds.

    Taps are the outputs of the first module, ``"stage1"``, of each residual block, ``"stage2"``, ``"stage3"``, ..., and
    their mean over time, ``"embedding"``.

    Args:
        depth: number of modules, a multiple of 3; 6 in the paper, which has the taps that other nets have.
        filters: F, channels of each of the four convolutions of a module.
        bottleneck: channels of ``u``; 0 leaves it out.
        kernel: samples of the longest kernel, at least 4; the others have a half and a quarter of it.
        in_channels: channels of the view, C.
        num_classes: number of classes, K.

    Shapes:
        ``(B, C, T)`` to logits ``(B, K)``; the taps are ``(B, 4 F, T)``, the embedding is ``(B, 4 F)``.

    Raises:
        InputError: for a number out of range.

    References:
        Ismail Fawaz et al., InceptionTime: finding AlexNet for time series classification, Data Mining and Knowledge
        Discovery 34, 2020, doi:10.1007/s10618-020-00710-y; code hfawaz/InceptionTime@458e5ca classifiers/inception.py.
        Without the linear layer it has 420,192 parameters on one channel (Ismail-Fawaz et al., LITE, DSAA 2023,
        doi:10.1109/DSAA60987.2023.10302569).

    Differences from the reference code:
        Batch norm has torch's eps (1e-5; Keras: 1e-3) and momentum (.1; Keras: .01 in torch's convention).

    Example:
        >>> net = InceptionTime(in_channels=1, num_classes=5)
        >>> sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in net.head.parameters())
        420192
    """

    lays_out = True
    paper: ClassVar[tuple[str, ...]] = ("ismailfawaz2020inceptiontime",)

    def __init__(
        self,
        depth: int = 6,
        filters: int = 32,
        bottleneck: int = 32,
        kernel: int = 40,
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__(in_channels, num_classes)
        if depth < _MODULES or depth % _MODULES or filters < 1 or bottleneck < 0 or kernel < 4:
            raise InputError(
                "InceptionTime: must have a depth that is a multiple of 3, filters >= 1, bottleneck >= 0 and kernel >= "
                f"4, but got depth={depth}, filters={filters}, bottleneck={bottleneck}, kernel={kernel}. Correct them."
            )
        out = 4 * filters
        self.blocks = nn.ModuleList()
        self.shortcuts = nn.ModuleList()
        for i in range(depth // _MODULES):
            channels = out if i else in_channels
            widths = (channels, *[out] * (_MODULES - 1))
            self.blocks.append(nn.ModuleList(_Module(width, filters, bottleneck, kernel) for width in widths))
            self.shortcuts.append(nn.Sequential(Conv1d(channels, out, 1, bias=False), BatchNorm1d(out)))
        self.head = nn.Linear(out, num_classes)
        glorot(self)

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs of the first module and of the residual blocks, and their mean over time."""
        features: dict[str, Tensor] = {}
        for i in range(len(self.blocks)):
            x, first = self._block(i, x)
            features.setdefault("stage1", first)
            features[f"stage{i + 2}"] = x
        features["embedding"] = x.flatten(2).mean(2)
        return features

    def embed(self, stage3: Tensor) -> Tensor:
        """The blocks behind the second one, of which there are none at a depth of 6, and the mean over time.

        Raises:
            InputError: at a depth of 3, which has no tap ``"stage3"``.
        """
        if len(self.blocks) < 2:
            return super().embed(stage3)
        for i in range(2, len(self.blocks)):
            stage3, _ = self._block(i, stage3)
        return stage3.flatten(2).mean(2)

    def _block(self, i: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output of residual block ``i``, and that of its first module."""
        block = self.blocks[i]
        assert isinstance(block, nn.ModuleList)
        first: Tensor = block[0](x)
        out = first
        for module in block[1:]:
            out = module(out)
        return F.relu(out + self.shortcuts[i](x)), first
