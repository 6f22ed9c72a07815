"""Anyone's net as a `Backbone`: torch.fx finds the places that are named as taps."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, fx, nn

from kdlab.nets.base import Backbone, remake
from kdlab.types import InputError


class _Tracer(fx.Tracer):
    """Traces a net and keeps the output of each module, whether it has modules of its own or not."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[str, list[fx.Node]] = {}

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        path, output = self.path_of_module(m), super().call_module(m, forward, args, kwargs)
        if isinstance(output, fx.Proxy):
            self.outputs.setdefault(path, []).append(output.node)
        return output


class Adapter(Backbone):
    """Any net whose forward torch.fx can follow, with `Standardize` in front and named places as taps.

    The net is taken apart at its last layer: the input of ``head`` is the ``"embedding"``, its output are the
    logits. No code of the net is changed and no hook is set.

    Args:
        net: ``{"class_path": "package.module.Class", "init_args": {...}}``, from which the net can be built again, or a
            ``torch.nn.Module``, which is copied. In the second case a checkpoint cannot rebuild the net: pass it
            again, as ``net=`` of a teacher.
        head: path of the last layer, as in ``net.get_submodule(head)``; the net must return the output of this layer.
        taps: name of the tap -> path of a module (its output), or name of a node of the torch.fx graph, such as
            ``"relu_1"`` for a function. Taps come in this order; ``"embedding"`` is none of them.
        ndim: 1 for signals, 2 for images.
        stride: product of the strides of the net, the shortest side that it can read.
        in_channels: channels of the view.
        num_classes: number of classes, as many as the head has.

    Shapes:
        ``(B, C, T)`` or ``(B, C, H, W)`` to logits ``(B, K)``; taps have the shapes that the net gives them, the
        embedding must be ``(B, D)``.

    Raises:
        InputError: when the net cannot be built or followed, a name is not found (the names that exist are listed), a
            module is called more than once, or the net does not end in its head.

    A ``class_path`` may also name a function that returns a net. From a checkpoint, only classes are built that are
    derived from ``torch.nn.Module`` and imported already, and what :func:`kdlab.nets.register` admits.

    Example:
        >>> net = nn.Sequential(nn.Conv1d(3, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 4))
        >>> adapted = Adapter(net, head="4", taps={"stage1": "1"}, in_channels=3, num_classes=4)
        >>> {name: tuple(tap.shape) for name, tap in adapted(torch.zeros(2, 3, 20)).features.items()}
        {'stage1': (2, 8, 16), 'embedding': (2, 8)}
    """

    holds_any_net = True

    def __init__(
        self,
        net: dict[str, Any] | nn.Module,
        head: str,
        taps: dict[str, str] | None = None,
        ndim: int = 1,
        stride: int = 1,
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__(in_channels, num_classes, ndim, stride)
        if isinstance(net, nn.Module):
            kind = type(net)
            self.spec["init_args"]["net"] = {"module": f"{kind.__module__}.{kind.__qualname__}"}
        else:
            net = _make(net)
        self.spec["init_args"]["taps"] = places = dict(taps or {})
        if "embedding" in places:
            raise InputError(
                f"Adapter: taps names {places['embedding']!r} as 'embedding', but that is what goes into the head "
                f"{head!r}. Leave it out, or give the tap another name."
            )
        graph, outputs = _follow(net)
        last = _last(graph, outputs, head)
        if getattr(net.get_submodule(head), "out_features", num_classes) != num_classes:
            raise InputError(
                f"Adapter: the head {head!r} has {net.get_submodule(head).out_features} classes, but "
                f"num_classes={num_classes}. Give the net as many classes as the data has."
            )
        self.head_path, self.names = head, (*places, "embedding")
        found = [_find(graph, outputs, name, place) for name, place in places.items()]
        self.body = _cut(net, graph, found, last)
        self.head = net.get_submodule(head)

    @classmethod
    def rebuild(cls, init_args: Mapping[str, Any]) -> Backbone:
        """Make the net of a checkpoint from classes that are loaded already."""
        described = init_args.get("net")
        if not isinstance(described, Mapping) or "class_path" not in described:
            raise InputError(
                f"Adapter: the checkpoint's net {described!r} cannot be built again: it is not a class of nets that is "
                "imported already. Import its module first, or pass the net yourself with net=Adapter(...)."
            )
        made = cls(**{**init_args, "net": remake(described)})
        made.spec["init_args"]["net"] = described
        return made

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs at the named places, and the input of the head."""
        features = dict(zip(self.names, self.body(x), strict=True))
        if features["embedding"].ndim != 2:
            raise InputError(
                f"Adapter: the input of head={self.head_path!r} must be an embedding (B, D), but got "
                f"{tuple(features['embedding'].shape)}. The head must be the layer after pooling and flattening."
            )
        return features

    def rename_released(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the net's own weights, as saved without the adapter, our key names (`kdlab.Teacher` calls this)."""
        if any(key.startswith("standardize.") for key in state):
            return dict(state)
        head = f"{self.head_path}."
        return {
            f"head.{key.removeprefix(head)}" if key.startswith(head) else f"body.{key}": v for key, v in state.items()
        }


def _make(net: Mapping[str, Any]) -> nn.Module:
    """Import and call what ``class_path`` names."""
    path = str(net.get("class_path", ""))
    module, _, name = path.rpartition(".")
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"Adapter: net must be {{class_path: package.module.Class, init_args: {{...}}}} or a "
            "torch.nn.Module, but got "
            f"{dict(net)!r} ({error}). Correct class_path."
        ) from error
    try:
        made = factory(**net.get("init_args", {}))
    except TypeError as error:
        raise InputError(
            f"Adapter: init_args must be arguments of {path!r}, but got others: {error}. Correct them."
        ) from error
    if not isinstance(made, nn.Module):
        raise InputError(
            f"Adapter: net must be a torch.nn.Module, but {path!r} made a {type(made).__name__}. Name a net."
        )
    return made


def _follow(net: nn.Module) -> tuple[fx.Graph, dict[str, list[fx.Node]]]:
    """The graph of the net and the outputs of each module in it."""
    tracer = _Tracer()
    try:
        return tracer.trace(net), tracer.outputs
    except Exception as error:  # whatever the net does with a tensor that has no values
        raise InputError(
            f"Adapter: torch.fx cannot follow the forward of {type(net).__name__}: {error} Write its forward without "
            "decisions on the values or shapes of tensors, or derive the net from kdlab.nets.Backbone."
        ) from error


def _find(graph: fx.Graph, outputs: Mapping[str, list[fx.Node]], name: str, place: str) -> fx.Node:
    """The node of a path of a module or of a name of a node."""
    nodes = [node for node in graph.nodes if node.op != "output"]
    found: list[fx.Node] = outputs.get(place) or [node for node in nodes if node.name == place]
    if not found:
        known = [*outputs, *(node.name for node in nodes if node.name not in outputs)]
        near = get_close_matches(place, known, n=3)
        raise InputError(
            f"Adapter: {name} must be a module with a tensor as output, or a node, but got {place!r}. "
            + (f"Did you mean {' or '.join(map(repr, near))}? " if near else "")
            + f"There are: {', '.join(known)}."
        )
    if len(found) > 1:
        raise InputError(
            f"Adapter: {name} must be one output, but got {place!r}, which is called {len(found)} times. Name "
            "the node: "
            f"{', '.join(node.name for node in found)}."
        )
    return found[0]


def _last(graph: fx.Graph, outputs: Mapping[str, list[fx.Node]], head: str) -> fx.Node:
    """The node of the head; the net must return it and it must read one tensor."""
    last = _find(graph, outputs, "head", head)
    returned: object = next(node for node in graph.nodes if node.op == "output").args[0]
    if last.op != "call_module" or last.target != head or len(last.all_input_nodes) != 1 or returned is not last:
        raise InputError(
            "Adapter: head must be the layer whose output the net returns, with one tensor as input, but got "
            f"{head!r}; "
            f"the net returns {returned}. Name the last linear layer, and leave a softmax to the loss."
        )
    return last


def _cut(net: nn.Module, graph: fx.Graph, taps: Iterable[fx.Node], head: fx.Node) -> fx.GraphModule:
    """The net without its head: returns the taps and the embedding."""
    copies = []
    for node in taps:
        with graph.inserting_after(node):
            copies.append(graph.call_function(torch.clone, (node,)))  # later layers may work in place
    output = next(node for node in graph.nodes if node.op == "output")
    output.args = ((*copies, head.all_input_nodes[0]),)
    graph.erase_node(head)
    graph.lint()
    body = fx.GraphModule(net, graph)
    body.delete_all_unused_submodules()
    return body
