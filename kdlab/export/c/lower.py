"""A net of kdlab to typed layers: its graph (torch.fx), with batch norms and activations folded where they can be."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from kdlab.export.c.fold import folded, needed
from kdlab.export.c.ir import Activation, Addition, Array, Average, Convolution, Dense, Geometry, Graph, Layer, Value
from kdlab.export.c.trace import (
    DROPOUTS,
    OF_A_HOOK,
    OF_PLACE,
    OWN,
    described,
    hooked,
    kind_of,
    refused,
    trace,
    works_in_place,
)
from kdlab.nets.adapter import Adapter
from kdlab.nets.base import Backbone, Standardize
from kdlab.types import InputError

_ACTIVATIONS: dict[Any, Activation] = {
    F.relu: "relu",
    F.relu6: "relu6",
    torch.relu: "relu",
    torch.relu_: "relu",
    "relu": "relu",
    "relu_": "relu",
}
_SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")
_WORK_IN_PLACE = (torch.relu_, "relu_", operator.iadd, "add_")
_MEANS, _FLATTENED, _SQUEEZED, _CLONES = (
    (getattr(torch, name), name) for name in ("mean", "flatten", "squeeze", "clone")
)
_DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.alpha_dropout, F.feature_alpha_dropout)


def lower(net: Backbone, length: int) -> Graph:
    """The layers of a net in evaluation mode, in float64.

    A batch norm is folded into the convolution before it where nothing else reads that; any other one becomes a
    depthwise convolution with one tap. Both are exact. What works in place changes what later layers read, as in
    PyTorch.

    Args:
        net: `WideResNet`, `MobileNetV2`, `FCN`, or another whose layers are of the same kinds.
        length: samples of a window.

    Raises:
        InputError: naming the layer that has no C form.
    """
    if net.ndim != 1:
        raise refused(f"{type(net).__name__} for images", "")
    if type(net).forward is not Backbone.forward or "forward" in vars(net):
        raise refused(type(net).__name__, OWN)
    if isinstance(net, Adapter) and net.as_is:
        raise refused("Adapter", f" of a net whose graph cannot be used, since {net.as_is}")
    if hooked(net):
        raise refused(type(net).__name__, *OF_A_HOOK)
    return _Lowering(net, length).graph


@dataclass
class _Storage:
    """The memory of a tensor and of its views: what it holds at this place of the walk."""

    value: Value


class _Features(NamedTuple):
    """A tensor; ``flat``: ``(B, C)``, not ``(B, C, T)``."""

    storage: _Storage
    flat: bool = False

    @property
    def value(self) -> Value:
        return self.storage.value


class _Lowering:
    """One walk along the graph."""

    def __init__(self, net: Backbone, length: int) -> None:
        self.net, self.layers = net, list[Layer]()
        self.features: dict[fx.Node, _Features] = {}
        self.made: dict[Value, Layer] = {}
        self.pointwise: set[str] = set()
        self.window = Value("window", net.in_channels, length)
        for node in trace(net).nodes:
            self._walk(node)
        mean, std = (_array(t) for t in (net.standardize.mean, net.standardize.std))
        self.graph = Graph(self.window, mean, std, folded(needed(self.layers), self.pointwise))

    # ---- nodes ----
    def _walk(self, node: fx.Node) -> None:
        if node.op == "output":
            given = node.args[0]
            last = self.made.get(self.features[given].value) if given in self.features else None  # type: ignore[index]
            if not isinstance(last, Dense):
                raise refused("a net without a last linear layer", "")
        elif node.op == "placeholder":
            self.features[node] = _Features(_Storage(self.window))
        elif node.op == "call_module":
            self._module(node)
        elif node.op != "get_attr":  # whatever reads that is refused
            self._call(node)

    def _call(self, node: fx.Node) -> None:
        target: Any = node.target
        if target in _ACTIVATIONS:
            given = self._bound(node, input=None, inplace=target in _WORK_IN_PLACE)
            self._activation(node, given["input"], _ACTIVATIONS[target], given["inplace"])
        elif target in _SUMS:
            self._sum(node)
        elif target in _MEANS:
            given = self._bound(node, input=None, dim=None, keepdim=False)
            self._mean(node, given["input"], given["dim"], given["keepdim"])
        elif target is F.adaptive_avg_pool1d:
            given = self._bound(node, input=None, output_size=None)
            self._pool(node, given["input"], given["output_size"])
        elif target in _FLATTENED:
            given = self._bound(node, input=None, start_dim=0, end_dim=-1)
            self._flatten(node, given["input"], given["start_dim"], given["end_dim"])
        elif target in _SQUEEZED:
            given = self._bound(node, input=None, dim=None)
            self._squeeze(node, given["input"], given["dim"])
        elif target in _CLONES:
            given = self._bound(node, input=None, memory_format=None)
            source = self._of(node, given["input"])
            self.features[node] = _Features(_Storage(source.value), source.flat)
        elif target in _DROPOUTS:
            given = self._bound(node, input=None, p=0.5, training=True, inplace=False)
            if given["training"]:
                raise refused(self._name(node), ", which draws random numbers in evaluation mode")
            self.features[node] = self._of(node, given["input"])
        else:
            raise self._unknown(node)

    def _module(self, node: fx.Node) -> None:
        module, given = self.net.get_submodule(self._path(node)), (*node.args, *node.kwargs.values())
        kind: Any = kind_of(module)
        if kind is None:
            raise self._unknown(node)
        if hooked(module):
            raise refused(self._name(node), *OF_A_HOOK)
        if len(given) != 1:
            raise refused(self._name(node), f" with {len(given)} inputs")
        made: Any = module
        x = given[0]
        if kind is nn.Conv1d:
            self._conv(node, x, made)
        elif kind is nn.BatchNorm1d:
            self._norm(node, x, made)
        elif kind is nn.Linear:
            self._linear(node, x, made)
        elif kind is Standardize:
            self._standardize(node, x, made)
        elif kind in (nn.ReLU, nn.ReLU6):
            self._activation(node, x, "relu" if kind is nn.ReLU else "relu6", made.inplace)
        elif kind is nn.AdaptiveAvgPool1d:
            self._pool(node, x, made.output_size)
        elif kind is nn.Flatten:
            self._flatten(node, x, made.start_dim, made.end_dim)
        elif kind in DROPOUTS and made.training:
            raise refused(self._name(node), ", which draws random numbers in evaluation mode")
        else:
            self.features[node] = self._of(node, x)

    # ---- what a node reads, and its name ----
    def _bound(self, node: fx.Node, **known: Any) -> dict[str, Any]:
        """Arguments by name; ``known`` are the names in their order, with the defaults."""
        named = {"dim" if key == "axis" else key: value for key, value in node.kwargs.items()}
        other = [f"{key}={value}" for key, value in named.items() if key not in known]
        if other and works_in_place(node, nn.Module()):
            raise refused(self._name(node), *OF_PLACE)
        if other or len(node.args) > len(known):
            raise refused(self._name(node), f" with {', '.join(other) or f'{len(node.args)} arguments'}")
        return known | dict(zip(known, node.args, strict=False)) | named

    def _of(self, node: fx.Node, given: Any) -> _Features:
        if not isinstance(given, fx.Node) or given not in self.features:
            raise refused(self._name(node), ", which reads a constant")
        return self.features[given]

    def _name(self, node: fx.Node) -> str:
        """Path and class of the layer, or what is called; for messages."""
        target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        return self._layer(node) or f"{target}(...) in {self._scope(node) or type(self.net).__name__}"

    def _layer(self, node: fx.Node) -> str:
        """Path and class of the layer that a node is of; empty in the forward pass of a module of modules."""
        path = self._path(node) if node.op == "call_module" else self._scope(node)
        module = self.net.get_submodule(path)
        inside = next(module.children(), None) is None and module is not self.net
        return described(path, module) if inside or node.op == "call_module" else ""

    def _path(self, node: fx.Node) -> str:
        return str(node.target).removeprefix("net.")

    def _scope(self, node: fx.Node) -> str:
        """Path of the module in whose forward pass a node is; empty in that of the net."""
        scopes = node.meta.get("nn_module_stack") or {}
        return str(list(scopes)[-1]).removeprefix("net").removeprefix(".") if scopes else ""

    def _unknown(self, node: fx.Node) -> InputError:
        """The refusal of a node without a C form, or of a layer of the graph that has none."""
        layers = (one for one in node.graph.nodes if one.op == "call_module")
        other = next((one for one in layers if kind_of(self.net.get_submodule(self._path(one))) is None), node)
        if not self._layer(other) and works_in_place(other, nn.Module()):
            return refused(self._name(other), *OF_PLACE)
        return refused(self._name(other), "")

    # ---- layers ----
    def _add(self, node: fx.Node, layer: Layer, flat: bool, into: _Storage | None = None) -> None:
        """Add a layer; its output is a new tensor, or changes that of ``into``."""
        if any(isinstance(one, Dense) for one in self.layers):
            raise refused(self._name(node), ", which comes after the linear layer")
        self.layers.append(layer)
        self.made[layer.output] = layer
        storage = into or _Storage(layer.output)
        storage.value = layer.output
        self.features[node] = _Features(storage, flat)

    def _output(self, name: str, channels: int, length: int) -> Value:
        """A value of a name of its own; a module may be called more than once."""
        taken = {layer.name for layer in self.layers} | {self.window.name}
        names = (name, *(f"{name}_{i}" for i in range(2, len(taken) + 3)))
        return Value(next(one for one in names if one not in taken), channels, length)

    def _standardize(self, node: fx.Node, given: Any, module: Standardize) -> None:
        first = isinstance(given, fx.Node) and given.op == "placeholder"
        if module is not self.net.standardize or not first:
            raise refused(self._name(node), ", which is not the first layer")
        self.features[node] = _Features(_Storage(self.window))

    def _conv(self, node: fx.Node, given: Any, conv: nn.Conv1d) -> None:
        features, kernel, groups = self._of(node, given), conv.kernel_size[0], conv.groups
        source = features.value
        padding = conv.padding if isinstance(conv.padding, str) else conv.padding[0]
        if isinstance(padding, str):
            padding = (kernel - 1) // 2 if padding == "same" else 0
        odd = conv.padding == "same" and kernel % 2 == 0
        depthwise = groups > 1 and groups == conv.in_channels == conv.out_channels
        if features.flat:
            raise refused(self._name(node), ", which comes after the mean over the window")
        if conv.dilation[0] != 1 or conv.padding_mode != "zeros" or (groups > 1 and not depthwise):
            raise refused(self._name(node), f" with groups={groups}, dilation={conv.dilation[0]}, {conv.padding_mode}")
        if padding >= kernel:
            raise refused(self._name(node), f" with padding={padding!r} at a kernel of {kernel}")
        geometry = Geometry(kernel, conv.stride[0], padding, depthwise, odd)
        output = self._output(self._path(node), conv.out_channels, geometry.length(source.length))
        if output.length < 1:
            raise refused(self._name(node), f", which finds a window of {source.length} samples too short")
        weight, bias = _weights(conv)
        self._add(node, Convolution(output.name, (source,), output, weight, bias, geometry), flat=False)

    def _norm(self, node: fx.Node, given: Any, norm: nn.BatchNorm1d) -> None:
        if norm.running_mean is None or norm.running_var is None:
            raise refused(self._name(node), " without running statistics")
        features, channels = self._of(node, given), norm.num_features
        gamma, beta = (np.ones(channels), np.zeros(channels)) if not norm.affine else _weights(norm)
        factor = gamma / np.sqrt(_array(norm.running_var) + norm.eps)
        shift = beta - factor * _array(norm.running_mean)
        self._pointwise(node, features, self._path(node), factor, shift)

    def _pointwise(
        self,
        node: fx.Node,
        features: _Features,
        name: str,
        factor: Array,
        shift: Array,
        activation: Activation = "",
        into: _Storage | None = None,
    ) -> None:
        source = features.value
        output = self._output(name, source.channels, source.length)
        geometry, weight = Geometry(1, depthwise=True), factor[:, None, None]
        layer = Convolution(output.name, (source,), output, weight, shift, geometry, activation=activation)
        self._add(node, layer, features.flat, into)
        self.pointwise.add(layer.name)

    def _activation(self, node: fx.Node, given: Any, kind: Activation, in_place: bool) -> None:
        features = self._of(node, given)
        into, channels = features.storage if in_place else None, features.value.channels
        self._pointwise(node, features, node.name, np.ones(channels), np.zeros(channels), kind, into)

    def _sum(self, node: fx.Node) -> None:
        given = self._bound(node, input=None, other=None, alpha=1)
        if given["alpha"] != 1:
            raise refused(self._name(node), f" with alpha={given['alpha']}")
        one, other = (self._of(node, given[key]) for key in ("input", "other"))
        a, b = one.value, other.value
        if (a.channels, a.length, one.flat) != (b.channels, b.length, other.flat):
            raise refused(self._name(node), f" of {a} and {b}")
        output = self._output(node.name, a.channels, a.length)
        into = one.storage if node.target in _WORK_IN_PLACE else None
        self._add(node, Addition(output.name, (a, b), output), one.flat, into)

    def _mean(self, node: fx.Node, given: Any, dim: Any, keepdim: bool) -> None:
        features, source = self._of(node, given), self._of(node, given).value
        if features.flat or dim not in (2, -1, (2,), (-1,), [2], [-1]):
            raise refused(self._name(node), f" over dim={dim}")
        output = self._output(node.name, source.channels, 1)
        self._add(node, Average(output.name, (source,), output), flat=not keepdim)

    def _pool(self, node: fx.Node, given: Any, size: Any) -> None:
        if size not in (1, (1,), [1]):
            raise refused(self._name(node), f" with output_size={size}")
        self._mean(node, given, -1, keepdim=True)

    def _flatten(self, node: fx.Node, given: Any, start: int, end: int) -> None:
        features = self._of(node, given)
        rank = 2 if features.flat else 3
        first, last = start % rank, end % rank
        if first == last:
            self.features[node] = features
        elif (first, last) == (1, 2) and features.value.length == 1:
            self.features[node] = features._replace(flat=True)
        else:
            raise refused(self._name(node), ", which does not come after the mean over the window")

    def _squeeze(self, node: fx.Node, given: Any, dim: Any) -> None:
        features = self._of(node, given)
        if dim not in (None, -1, 2) or features.flat or features.value.length != 1 or features.value.channels == 1:
            raise refused(self._name(node), ", which does not come after the mean over the window")
        self.features[node] = features._replace(flat=True)

    def _linear(self, node: fx.Node, given: Any, linear: nn.Linear) -> None:
        features, output = self._of(node, given), self._output(self._path(node), linear.out_features, 1)
        if not features.flat:
            raise refused(self._name(node), ", which does not come after the mean over the window")
        weight, bias = _weights(linear)
        self._add(node, Dense(output.name, (features.value,), output, weight, bias), flat=True)


@torch.no_grad()
def _weights(layer: Any) -> tuple[Array, Array]:
    """Weight and bias of a layer; a bias of zeros where it has none."""
    for hook in layer._forward_pre_hooks.values():
        hook(layer, ())  # it computes them
    weight = _array(layer.weight)
    return weight, np.zeros(len(weight)) if layer.bias is None else _array(layer.bias)


def _array(tensor: Tensor) -> Array:
    return tensor.detach().cpu().double().numpy()
