"""Batch norms and activations folded into the layers before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from kdlab.export.c.ir import Convolution, Layer, Value


def needed(layers: list[Layer]) -> list[Layer]:
    """The layers that the last one needs.

    Args:
        layers: in their order.
    """
    values, kept = {layers[-1].output}, list[Layer]()
    for layer in reversed(layers):
        if layer.output in values:
            values.update(layer.inputs)
            kept.append(layer)
    return kept[::-1]


def folded(layers: list[Layer], pointwise: Collection[str]) -> list[Layer]:
    """The layers, batch norms and activations folded into what is before them where nothing else reads that.

    Args:
        layers: in their order; they are changed.
        pointwise: names of the depthwise convolutions with one tap that are a batch norm or an activation.
    """
    readers = Counter(value for layer in layers for value in layer.inputs)
    instead: dict[Value, Value] = {}
    kept: dict[Value, Layer] = {}
    for layer in layers:
        alone = readers[layer.inputs[0]] == 1
        layer.inputs = tuple(instead.get(value, value) for value in layer.inputs)
        before = kept.get(layer.inputs[0])
        if alone and layer.name in pointwise and before is not None and _fold(before, layer):
            instead[layer.output] = before.output
        else:
            kept[layer.output] = layer
    return list(kept.values())


def _fold(before: Layer, layer: Layer) -> bool:
    """Fold a batch norm or an activation into the layer before, which nothing else reads; whether that can be done."""
    assert isinstance(layer, Convolution)  # with one tap
    if before.activation or not (layer.activation or isinstance(before, Convolution)):
        return False
    if layer.activation:
        before.activation = layer.activation
    elif isinstance(before, Convolution):
        before.weight = before.weight * layer.weight
        before.bias = before.bias * layer.weight[:, 0, 0] + layer.bias
    return True
