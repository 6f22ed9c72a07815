"""A net of kdlab to typed layers: its graph (torch.fx), with batch norms and activations folded where they can be."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from kdlab.export.c.ir import Activation, Addition, Array, Average, Convolution, Dense, Geometry, Graph, Layer, Value
from kdlab.files import one_line
from kdlab.nets.adapter import Adapter
from kdlab.nets.base import Backbone, Standardize
from kdlab.types import InputError

_ACTIVATIONS: dict[Any, Activation] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    F.relu: "relu",
    F.relu6: "relu6",
    torch.relu: "relu",
}
_LAYERS = (nn.Conv1d, nn.BatchNorm1d, nn.Linear, Standardize, *(key for key in _ACTIVATIONS if isinstance(key, type)))
_SUMS = (operator.add, operator.iadd, torch.add)
_REMEDY = "Use format='onnx' (--format onnx), or distil into a WideResNet or MobileNetV2 on signals"


def lower(net: Backbone, length: int) -> Graph:
    """The layers of a net in evaluation mode, in float64.

    A batch norm is folded into the convolution before it where nothing else reads that; any other one becomes a
    depthwise convolution with one tap. Both are exact.

    Args:
        net: `WideResNet`, `MobileNetV2`, `FCN`, or another whose layers are of the same kinds.
        length: samples of a window.

    Raises:
        InputError: naming the layer that has no C form.
    """
    if net.ndim != 1:
        raise _refused(f"{type(net).__name__} for images", "")
    if type(net).forward is not Backbone.forward:
        raise _refused(type(net).__name__, ", whose forward pass is its own")
    if isinstance(net, Adapter) and net.as_is:
        raise _refused("Adapter", f" of a net whose graph cannot be used, since {net.as_is}")
    return _Lowering(net, length).graph


def _refused(what: str, why: str) -> InputError:
    return InputError(
        "format='c': layers must be 1-D convolutions (plain or depthwise), batch norms, ReLU, ReLU6, sums, the mean "
        f"over the window and a last linear layer, but got {what}{why}. {_REMEDY}."
    )


class _Logits(nn.Module):
    """From a view to logits, without the checks of `Backbone.forward`, which a graph cannot hold."""

    def __init__(self, net: Backbone) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.net.head(self.net.taps(self.net.standardize(x))["embedding"])
        return logits


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _LAYERS) or super().is_leaf_module(m, module_qualified_name)


def _trace(net: Backbone) -> fx.Graph:
    try:
        graph = _Tracer().trace(_Logits(net))
    except Exception as error:  # torch.fx raises whatever the net's Python makes it raise
        if layer := _other_layer(net):
            raise _refused(layer, "") from error
        raise _refused(type(net).__name__, f", whose graph cannot be read ({one_line(error)})") from error
    for node in reversed(graph.nodes):  # features that the logits do not need
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)
    return graph


def _other_layer(net: Backbone) -> str:
    """Path and class of the first layer that has no C form; empty where all have one."""
    for path, module in net.named_modules():
        if next(module.children(), None) is None and not isinstance(module, (*_LAYERS, nn.Identity)):
            return f"{path} ({type(module).__name__})"
    return ""


class _Lowering:
    """One walk along the graph."""

    def __init__(self, net: Backbone, length: int) -> None:
        self.net, self.layers = net, list[Layer]()
        self.values: dict[fx.Node, Value] = {}
        self.made: dict[Value, Layer] = {}
        self.window = Value("window", net.in_channels, length)
        for node in _trace(net).nodes:
            self._walk(node)
        if not isinstance(self.layers[-1], Dense):
            raise _refused("a net without a last linear layer", "")
        mean, std = (_array(t) for t in (net.standardize.mean, net.standardize.std))
        self.graph = Graph(self.window, mean, std, self.layers)

    def _walk(self, node: fx.Node) -> None:
        if node.op == "output":
            return
        if node.op == "placeholder":
            self.values[node] = self.window
        elif node.op == "call_module":
            self._module(node)
        elif node.op == "call_function" and node.target in _ACTIVATIONS and len(node.args) == 1:
            self._activation(node, _ACTIVATIONS[node.target])
        elif node.op == "call_function" and node.target in _SUMS and len(node.args) == 2 and not node.kwargs:
            self._sum(node)
        elif node.op == "call_method" and node.target in ("flatten", "mean") and node.args[1:] in ((2,), (-1,)):
            self._pool(node)
        else:
            raise _refused(_other_layer(self.net) or self._name(node), "")

    def _name(self, node: fx.Node) -> str:
        """Path and class of the layer, or what is called; for messages."""
        if node.op == "call_module":
            return f"{self._path(node)} ({type(self._of(node)).__name__})"
        target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        scopes = node.meta.get("nn_module_stack") or {}
        path = str(list(scopes)[-1]).removeprefix("net").removeprefix(".") if scopes else ""
        return f"{target}(...) in {path or type(self.net).__name__}"

    def _path(self, node: fx.Node) -> str:
        return str(node.target).removeprefix("net.")

    def _of(self, node: fx.Node) -> nn.Module:
        return self.net.get_submodule(self._path(node))

    def _input(self, node: fx.Node, place: int = 0) -> Value:
        given = node.args[place]
        if not isinstance(given, fx.Node) or given not in self.values:
            raise _refused(self._name(node), ", which reads a constant")
        return self.values[given]

    def _add(self, node: fx.Node, layer: Layer) -> None:
        if any(isinstance(one, Dense) for one in self.layers):
            raise _refused(self._name(node), ", which comes after the linear layer")
        self.layers.append(layer)
        self.made[layer.output] = layer
        self.values[node] = layer.output

    def _module(self, node: fx.Node) -> None:
        module, kinds = self._of(node), (nn.Conv1d, nn.BatchNorm1d, nn.Linear, Standardize)
        makers: tuple[Callable[[fx.Node, Any], None], ...] = (self._conv, self._norm, self._linear, self._standardize)
        if type(module) in _ACTIVATIONS:
            self._activation(node, _ACTIVATIONS[type(module)])
            return
        for kind, maker in zip(kinds, makers, strict=True):
            if isinstance(module, kind):
                maker(node, module)
                return
        if isinstance(module, nn.Identity):
            self.values[node] = self._input(node)
            return
        raise _refused(self._name(node), "")

    def _standardize(self, node: fx.Node, module: Standardize) -> None:
        if module is not self.net.standardize or self._input(node) is not self.window:
            raise _refused(self._name(node), ", which is not the first layer")
        self.values[node] = self.window

    def _conv(self, node: fx.Node, conv: nn.Conv1d) -> None:
        source, kernel, groups = self._input(node), conv.kernel_size[0], conv.groups
        padding = conv.padding if isinstance(conv.padding, str) else conv.padding[0]
        if isinstance(padding, str):
            padding = (kernel - 1) // 2 if padding == "same" else 0
        odd = conv.padding == "same" and kernel % 2 == 0
        depthwise = groups > 1 and groups == conv.in_channels == conv.out_channels
        if conv.dilation[0] != 1 or conv.padding_mode != "zeros" or (groups > 1 and not depthwise):
            raise _refused(self._name(node), f" with groups={groups}, dilation={conv.dilation[0]}, {conv.padding_mode}")
        if padding >= kernel:
            raise _refused(self._name(node), f" with padding={padding!r} at a kernel of {kernel}")
        geometry = Geometry(kernel, conv.stride[0], padding, depthwise, odd)
        output = self._output(self._path(node), conv.out_channels, geometry.length(source.length))
        if output.length < 1:
            raise _refused(self._name(node), f", which finds a window of {source.length} samples too short")
        bias = np.zeros(conv.out_channels) if conv.bias is None else _array(conv.bias)
        self._add(node, Convolution(output.name, (source,), output, _array(conv.weight), bias, geometry))

    def _norm(self, node: fx.Node, norm: nn.BatchNorm1d) -> None:
        if norm.running_mean is None or norm.running_var is None:
            raise _refused(self._name(node), " without running statistics")
        source, channels = self._input(node), norm.num_features
        gamma, beta = (
            (np.ones(channels), np.zeros(channels)) if not norm.affine else (_array(norm.weight), _array(norm.bias))
        )
        factor = gamma / np.sqrt(_array(norm.running_var) + norm.eps)
        shift = beta - factor * _array(norm.running_mean)
        before = self._alone(node)
        if isinstance(before, Convolution):
            before.weight = before.weight * factor[:, None, None]
            before.bias = before.bias * factor + shift
            self.values[node] = source
        else:
            self._pointwise(node, self._path(node), factor, shift)

    def _alone(self, node: fx.Node) -> Layer | None:
        """The layer before, if this is all that reads its output and nothing is behind it yet."""
        source, given = self._input(node), node.args[0]
        before = self.made.get(source)
        while isinstance(given, fx.Node) and self.values[given] is source:  # what passes its input on has users too
            if len(given.users) != 1:
                return None
            given = given.args[0]
        return before if before is not None and not before.activation else None

    def _output(self, name: str, channels: int, length: int) -> Value:
        """A value of a name of its own; a module may be called more than once."""
        taken = {layer.name for layer in self.layers} | {self.window.name}
        names = (name, *(f"{name}_{i}" for i in range(2, len(taken) + 3)))
        return Value(next(one for one in names if one not in taken), channels, length)

    def _pointwise(self, node: fx.Node, name: str, factor: Array, shift: Array, activation: Activation = "") -> None:
        source = self._input(node)
        output = self._output(name, source.channels, source.length)
        geometry, weight = Geometry(1, depthwise=True), factor[:, None, None]
        self._add(node, Convolution(output.name, (source,), output, weight, shift, geometry, activation=activation))

    def _activation(self, node: fx.Node, kind: Activation) -> None:
        before = self._alone(node)
        if before is not None:
            before.activation = kind
            self.values[node] = before.output
            return
        channels = self._input(node).channels
        self._pointwise(node, node.name, np.ones(channels), np.zeros(channels), kind)

    def _sum(self, node: fx.Node) -> None:
        one, other = self._input(node, 0), self._input(node, 1)
        if (one.channels, one.length) != (other.channels, other.length):
            raise _refused(self._name(node), f" of {one} and {other}")
        output = self._output(node.name, one.channels, one.length)
        self._add(node, Addition(output.name, (one, other), output))

    def _pool(self, node: fx.Node) -> None:
        source = self._input(node)
        if node.target == "flatten":
            self.values[node] = source
        elif node.kwargs:
            raise _refused(self._name(node), " with keepdim")
        else:
            output = self._output(node.name, source.channels, 1)
            self._add(node, Average(output.name, (source,), output))

    def _linear(self, node: fx.Node, linear: nn.Linear) -> None:
        source, output = self._input(node), self._output(self._path(node), linear.out_features, 1)
        if not isinstance(self.made.get(source), Average):
            raise _refused(self._name(node), ", which does not come after the mean over the window")
        bias = np.zeros(linear.out_features) if linear.bias is None else _array(linear.bias)
        self._add(node, Dense(output.name, (source,), output, _array(linear.weight), bias))


def _array(tensor: Tensor) -> Array:
    return tensor.detach().cpu().double().numpy()
