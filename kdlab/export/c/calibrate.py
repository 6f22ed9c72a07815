"""The layers in float, and the range of every value on calibration windows."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kdlab.export.c.ir import Addition, Average, Convolution, Dense, Graph, Layer
from kdlab.nets.base import Backbone
from kdlab.types import InputError

_BATCH = 64
_SAME = 1e-4  # of the largest logit: far above rounding in float64, far below what int8 loses


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
def check_same(graph: Graph, net: Backbone, scaled: Tensor) -> None:
    """Refuse layers that are not the net: something in its forward pass that its graph does not show.

    Args:
        graph: the layers.
        net: what they were made from, in evaluation mode.
        scaled: windows ``(N, C, T)`` behind the scaling of the data; some of them are read.

    Raises:
        InputError: other logits.
    """
    windows = scaled[:_BATCH].double()
    found = forward(graph, windows)[graph.layers[-1].name]
    try:
        expected = copy.deepcopy(net).double()(windows).logits
    except Exception:  # whatever a net raises that computes in float32 only, or cannot be copied
        expected = net(windows.float()).logits.double()
    largest = float(expected.nan_to_num(0, 0, 0).abs().max())
    same = found.shape == expected.shape and torch.allclose(
        found, expected, rtol=0, atol=_SAME * largest, equal_nan=True
    )
    if not same:
        raise InputError(
            f"format='c': the layers that were read from {type(net).__name__} must have its logits, but have others on "
            "training windows: its forward pass does something that is none of them. Use format='onnx' or "
            "'torch.export', which hold it, or distil into a WideResNet or MobileNetV2 on signals."
        )


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
