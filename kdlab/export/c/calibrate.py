"""The layers in float, and the range of every value on calibration windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kdlab.export.c.ir import Addition, Average, Convolution, Dense, Graph, Layer

_BATCH = 64


class Range(NamedTuple):
    """Smallest and largest number per channel, 0 among them, and their mean."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]


#: name of a value -> its range
Ranges = Mapping[str, Range]


def forward(graph: Graph, x: Tensor) -> dict[str, Tensor]:
    """All values of scaled windows ``(B, C, T)``, float64; the logits are those of the last layer's name."""
    column = (1, -1, 1)
    mean, std = (torch.from_numpy(a).view(column) for a in (graph.mean, graph.std))
    values = {graph.window.name: (x.double() - mean) / std}
    for layer in graph.layers:
        y = _layer(layer, [values[value.name] for value in layer.inputs])
        values[layer.output.name] = {"": y, "relu": y.clamp(min=0), "relu6": y.clamp(0, 6)}[layer.activation]
    return values


def _layer(layer: Layer, inputs: list[Tensor]) -> Tensor:
    if isinstance(layer, Convolution):
        weight, bias, geometry = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias), layer.geometry
        groups = len(weight) if geometry.depthwise else 1
        x = F.pad(inputs[0], (0, 1)) if geometry.odd else inputs[0]
        return F.conv1d(x, weight, bias, geometry.stride, geometry.padding, 1, groups)
    if isinstance(layer, Addition):
        return inputs[0] + inputs[1]
    if isinstance(layer, Average):
        return inputs[0].mean(2, keepdim=True)
    assert isinstance(layer, Dense)  # there is no other
    return F.linear(inputs[0].flatten(1), torch.from_numpy(layer.weight), torch.from_numpy(layer.bias))


@torch.no_grad()
def ranges(graph: Graph, scaled: Tensor) -> Ranges:
    """The range of every value, per channel.

    Args:
        graph: the net.
        scaled: windows ``(N, C, T)`` behind the scaling of the data, before the standardisation.
    """
    low, high, mean = (
        {v.name: torch.zeros(v.channels, dtype=torch.float64) for v in graph.values} for _ in ("low", "high", "mean")
    )
    for batch in torch.split(scaled, _BATCH):
        values = forward(graph, batch)
        for name in low:
            low[name] = torch.minimum(low[name], values[name].amin((0, 2)))
            high[name] = torch.maximum(high[name], values[name].amax((0, 2)))
            mean[name] += values[name].mean((0, 2)) * len(batch) / len(scaled)
    return {name: Range(low[name].numpy(), high[name].numpy(), mean[name].numpy()) for name in low}
