"""Nets as other libraries write them: drop path, functional dropout, batch statistics in Python, flags, dicts."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def drop_path(x: Tensor, p: float, training: bool) -> Tensor:
    """Drop a residual branch for some windows of a batch, as timm writes it."""
    if p == 0.0 or not training:
        return x
    shape = (x.shape[0],) + (1,) * (x.ndim - 1)
    return x * x.new_empty(shape).bernoulli_(1 - p) / (1 - p)


class TimmBlock(nn.Module):
    """A residual block whose branch is dropped at random."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(width, width, 3, padding=1), nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + drop_path(self.norm(self.conv(x)), 0.5, self.training))


class TimmLike(nn.Module):
    """`forward_features`, `forward_head(pre_logits)` and drop path."""

    def __init__(self, in_chans: int = 6, num_classes: int = 4, width: int = 8) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stem = nn.Conv1d(in_chans, width, 4, stride=4)
        self.stages = nn.Sequential(TimmBlock(width), TimmBlock(width))
        self.fc = nn.Linear(width, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.stages(self.stem(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = x.mean(-1)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


class TorchvisionLike(nn.Module):
    """`_forward_impl`, work in place, `torch.flatten`, functional dropout."""

    def __init__(self, channels: int = 6, num_classes: int = 4, width: int = 8) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(channels, width, 7, stride=2, padding=3, bias=False), nn.BatchNorm1d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(nn.Conv1d(width, width, 3, padding=1), nn.BatchNorm1d(width))
        self.layer2 = nn.Sequential(nn.Conv1d(width, width, 3, stride=2, padding=1), nn.BatchNorm1d(width))
        self.avgpool = nn.AdaptiveAvgPool1d(1)
        self.fc = nn.Linear(width, num_classes)

    def _forward_impl(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.layer1(x))
        x = self.relu(self.layer2(x))
        x = torch.flatten(self.avgpool(x), 1)
        return self.fc(F.dropout(x, p=0.4, training=self.training))

    def forward(self, x: Tensor) -> Tensor:
        return self._forward_impl(x)


class ModelOutput(OrderedDict):  # type: ignore[type-arg]
    """A dict whose entries are attributes too, as in transformers."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


class HFLike(nn.Module):
    """Flags that are None by default, a dict of outputs, a tuple on demand."""

    def __init__(self, channels: int = 6, num_labels: int = 4, hidden: int = 8) -> None:
        super().__init__()
        self.embeddings = nn.Conv1d(channels, hidden, 4, stride=4)
        self.encoder = nn.TransformerEncoderLayer(hidden, 2, 16, dropout=0.1, batch_first=True)
        self.classifier = nn.Linear(hidden, num_labels)

    def forward(
        self,
        input_values: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        if input_values is None:
            raise ValueError("You have to specify input_values")
        hidden = self.encoder(self.embeddings(input_values).transpose(1, 2))
        pooled = hidden.mean(1).to(self.classifier.weight.dtype)
        logits = self.classifier(pooled)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        if return_dict is False:
            return (logits,) if loss is None else (loss, logits)
        out = ModelOutput(logits=logits)
        if output_hidden_states:
            out["hidden_states"] = hidden
        return out


class BatchStatistics(nn.Module):
    """Normalises by statistics that its forward itself moves, once by a new buffer and once through functional."""

    def __init__(self, channels: int = 6, num_classes: int = 4, width: int = 8) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv1d(channels, width, 5, stride=2), nn.Linear(width, num_classes)
        self.register_buffer("running", torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.training:
            self.calls += 1
            self.running = 0.9 * self.running + 0.1 * x.detach().mean((0, 2))
        x = x - self.running[None, :, None]
        x = F.batch_norm(x, self.mean, self.var, training=self.training)
        return self.fc(torch.relu(x).mean(2))
