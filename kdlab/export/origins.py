"""Which parameters of a net the values of an ONNX model are computed from, and the layers that hold them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import nn

#: operations that read the shape or the type of an input -> how many inputs they read the numbers of
_READ = {"Shape": 0, "Size": 0, "CastLike": 1}


class Origins(NamedTuple):
    """The parameters of a net in its ONNX model.

    Attributes:
        sizes: parameter -> how many numbers it has; those that the model reads.
        inputs: value of the model, before constants are folded -> the values that it is computed from. A folded
            constant keeps its name, whatever later passes make of the nodes around it, or has it at the end.
        classes: path of a module -> name of its class.
    """

    sizes: Mapping[str, int]
    inputs: Mapping[str, tuple[str, ...]]
    classes: Mapping[str, str]

    def parameters(self, value: str) -> set[str]:
        """The parameters that a value is computed from.

        The runtime names what it fuses ``ConvBnFusion_W_<value>`` or the like.
        """
        value = re.sub(r"_token_\d+$", "", value)
        while value and value not in self.inputs and value not in self.sizes:
            value = value.partition("_")[2]
        seen, left = set[str](), [value]
        while left:
            name = left.pop()
            if name not in seen:
                seen.add(name)
                left.extend(self.inputs.get(name, ()))
        return {name for name in seen if name in self.sizes}

    def layer(self, parameter: str) -> tuple[str, str]:
        """Path and class of the module that holds a parameter."""
        path = parameter.partition(".parametrizations.")[0] if ".parametrizations." in parameter else parameter
        path = path if path != parameter else parameter.rpartition(".")[0]
        return path.removeprefix("net").removeprefix("."), self.classes.get(path, "")


class Quantised(NamedTuple):
    """What of the weights a quantised model holds as int8.

    Attributes:
        share: of the parameters, by number.
        left: ``layer``, ``class`` and number of ``weights`` of what stays float32, the most first.
    """

    share: float
    left: list[dict[str, Any]]

    def in_words(self, most: int = 6) -> str:
        """The layers that stay float32; small ones (biases, norms) only where there are no others."""
        total = sum(one["weights"] for one in self.left)
        large = [one for one in self.left if 50 * one["weights"] >= total]
        return named(large or self.left, most)


def origins(model: Any, module: nn.Module) -> Origins:
    """The origins of all values of a model whose constants are not folded yet.

    Args:
        model: the ONNX model of the net.
        module: the net.
    """
    own = {name: p.numel() for name, p in module.named_parameters(remove_duplicate=False)}
    inputs = {output: read for read, outputs in _nodes(model.graph) for output in outputs}
    read = {name for names in inputs.values() for name in names}
    for output in _computed(inputs, {value.name for value in model.graph.input}):
        inputs[output] = ()  # no constant is computed from a window
    held = {t.name for t in model.graph.initializer}
    modules = module.named_modules(remove_duplicate=False)
    classes = {path: type(part).__name__.removeprefix("Parametrized") for path, part in modules}
    return Origins({name: n for name, n in own.items() if name in read & held}, inputs, classes)


def count_int8(model: Any, known: Origins, int8: int, float32: int) -> Quantised:
    """Count the weights of a quantised model.

    A parameter counts as int8 where all that the model holds of it is int8: what a ``DequantizeLinear`` reads, so
    neither scales nor zero points. Biases are int32 or float32. An int8 tensor whose parameters are not known counts
    with its own numbers.

    Args:
        model: after quantisation.
        known: the origins of its values.
        int8: the number of this type of data in ONNX.
        float32: likewise.
    """
    read = {node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    scales = {node.input[1] for node in model.graph.node if node.op_type in ("DequantizeLinear", "QuantizeLinear")}
    inside, left, others = set[str](), set[str](), 0
    for tensor in model.graph.initializer:
        if tensor.data_type == int8 and tensor.name in read:
            found = known.parameters(tensor.name.removesuffix("_quantized"))
            inside, others = inside | found, others + (0 if found else math.prod(tensor.dims))
        elif tensor.data_type == float32 and tensor.name not in scales and math.prod(tensor.dims):
            left |= known.parameters(tensor.name)
    inside -= left
    layers: dict[tuple[str, str], int] = {}
    for name in sorted(left):
        layers[known.layer(name)] = layers.get(known.layer(name), 0) + known.sizes[name]
    total = sum(known.sizes.values())
    return Quantised(
        min(sum(known.sizes[name] for name in inside) + others, total) / max(total, 1),
        [
            {"layer": path, "class": kind, "weights": count}
            for (path, kind), count in sorted(layers.items(), key=lambda item: -item[1])
        ],
    )


def named(layers: Iterable[Mapping[str, Any]], most: int = 6) -> str:
    """Layers in words, the first ones by name.

    >>> named([{"layer": "layers.0", "class": "GRU", "weights": 13056}])
    'layers.0 (GRU, 13,056)'
    """
    layers = list(layers)
    shown = [f"{one['layer'] or 'the net itself'} ({one['class']}, {one['weights']:,})" for one in layers[:most]]
    return ", ".join(shown) + (f" and {len(layers) - most} more" if len(layers) > most else "")


def _computed(inputs: Mapping[str, tuple[str, ...]], windows: set[str]) -> set[str]:
    """The values that depend on the windows."""
    readers: dict[str, list[str]] = {}
    for output, names in inputs.items():
        for name in names:
            readers.setdefault(name, []).append(output)
    found, left = set[str](), [*windows]
    while left:
        new = [output for output in readers.get(left.pop(), ()) if output not in found]
        found.update(new)
        left.extend(new)
    return found


def _nodes(graph: Any) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Inputs and outputs of all nodes; a node with graphs inside reads what they read."""
    for node in graph.node:
        if node.op_type in _READ:
            yield tuple(node.input)[: _READ[node.op_type]], tuple(node.output)
            continue
        inner = [part for attribute in node.attribute for part in (attribute.g, *attribute.graphs)]
        within = [name for part in inner for read, _ in _nodes(part) for name in read]
        yield (*node.input, *within), tuple(node.output)
        for part in inner:
            yield from _nodes(part)
