"""Anyone's net as a `Backbone`: torch.fx finds the places that are named as taps, or the net runs as it is."""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, fx, nn

from kdlab.files import one_line
from kdlab.nets.as_is import check_places, embedding_of, no_logits, open_at, run_with_hooks
from kdlab.nets.base import Backbone, remake
from kdlab.nets.described import path_of, spec_of
from kdlab.nets.following import Followed, extra_arguments, follow
from kdlab.types import InputError


class Adapter(Backbone):
    """Any net, with `Standardize` in front and named places as taps.

    The net is taken apart at its last layer: the input of ``head`` is the ``"embedding"``, its output are the logits.
    Where torch.fx can follow the net, its graph is used. Where it cannot, or would freeze Python state (a forward that
    differs between training and evaluation mode, draws random numbers or changes attributes: functional dropout, drop
    path, batch statistics) or leave out what is no operation (``torch.no_grad`` and ``torch.autocast`` in the forward,
    a ``train()`` that keeps layers in evaluation mode, hooks of the net, backward hooks of its blocks), the net runs as
    it is, and taps are caught by hooks that are set for each forward pass and removed after it. No code of the net is
    changed.

    A net that runs as it is compiles and exports; with taps it is not compiled (``fullgraph=True`` is refused).

    Args:
        net: ``{"class_path": "package.module.Class", "init_args": {...}}``, from which the net can be built again, or a
            ``torch.nn.Module``, which is copied. In the second case a checkpoint can rebuild the net where it was made
            from a class that :func:`kdlab.nets.register` had been called with; else pass it again, as ``net=``.
        head: path of the last layer, as in ``net.get_submodule(head)``; the net must return the output of this layer.
        taps: name of the tap -> path of a module (its output), or, where the graph is used, name of a node of the
            torch.fx graph, such as ``"relu_1"`` for a function. Taps come in this order; ``"embedding"`` is none of
            them.
        ndim: 1 for signals, 2 for images.
        stride: product of the strides of the net, the shortest side that it can read.
        in_channels: channels of the view.
        num_classes: number of classes, as many as the head has.
        arguments: keyword arguments of the net's forward besides its input, such as ``{"return_dict": False}``.
        output: key, field or position of the logits, for a net that does not return a tensor; it runs as it is.

    Shapes:
        ``(B, C, T)`` or ``(B, C, H, W)`` to logits ``(B, K)``; taps have the shapes that the net gives them, the
        embedding must be ``(B, D)``.

    Raises:
        InputError: when the net cannot be built, a name is not found (the names that exist are listed), a module is
            called more than once, the forward needs other arguments, or the net does not end in its head. What a net
            that runs as it is does with its modules is known in the first forward pass.

    A ``class_path`` may also name a function that returns a net. From a checkpoint, only classes are built that are
    derived from ``torch.nn.Module`` and imported already, and what :func:`kdlab.nets.register` admits.

    Example:
        >>> net = nn.Sequential(nn.Conv1d(3, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 4))
        >>> adapted = Adapter(net, head="4", taps={"stage1": "1"}, in_channels=3, num_classes=4)
        >>> {name: tuple(tap.shape) for name, tap in adapted(torch.zeros(2, 3, 20)).features.items()}
        {'stage1': (2, 8, 16), 'embedding': (2, 8)}
    """

    holds_any_net = True
    body: nn.Module

    def __init__(
        self,
        net: dict[str, Any] | nn.Module,
        head: str,
        taps: dict[str, str] | None = None,
        ndim: int = 1,
        stride: int = 1,
        in_channels: int = 3,
        num_classes: int = 10,
        arguments: dict[str, Any] | None = None,
        output: str | int | None = None,
    ) -> None:
        super().__init__(in_channels, num_classes, ndim, stride)
        given: dict[str, Any] = self.spec["init_args"]
        if isinstance(net, nn.Module):
            given["net"] = spec_of(net) or {"module": path_of(type(net))}
        else:
            net = _make(net)
        net = _copied(net)  # following it makes further copies
        given["taps"] = places = dict(taps or {})
        for name in ("arguments", "output"):  # not in the descriptions of earlier versions
            if given[name] is None:
                del given[name]
        if "embedding" in places:
            raise InputError(
                f"Adapter: taps names {places['embedding']!r} as 'embedding', but that is what goes into the head "
                f"{head!r}. Leave it out, or give the tap another name."
            )
        self.head_path, self.names, self.output = head, (*places, "embedding"), output
        self.arguments = _check_arguments(net, arguments or {})
        followed = follow(net, self.arguments, (2, in_channels, *(max(32, stride),) * ndim))
        #: why the net runs as it is; empty where its graph is used
        self.as_is = followed.why or ("" if output is None else f"output={output!r} is set")
        self.places: dict[str, str] = places
        if self.as_is:
            self._run_as_it_is(net, followed)
        else:
            self._run_graph(followed)
        if any(p.dtype == torch.float64 for p in self.body.parameters()):
            self.standardize.double()  # it hands windows over in its own type
        if getattr(self.head, "out_features", num_classes) != num_classes:
            raise InputError(
                f"Adapter: the head {head!r} has {self.head.out_features} classes, but num_classes={num_classes}. Give "
                "the net as many classes as the data has."
            )

    def _run_graph(self, followed: Followed) -> None:
        net, graph, outputs = followed.net, followed.graph, followed.outputs
        assert graph is not None
        last = _last(graph, outputs, self.head_path, type(net).__name__)
        found = [_find(graph, outputs, name, place) for name, place in self.places.items()]
        self.body, self.head = _cut(net, graph, found, last), net.get_submodule(self.head_path)

    def _run_as_it_is(self, net: nn.Module, followed: Followed) -> None:
        self.head = check_places(net, self.head_path, self.places, self.as_is)
        self._open, self.body = open_at(net, self.head), net
        self._unread: set[str] = set()
        if followed.graph is not None:  # what no forward pass reads is in no checkpoint of earlier versions
            read = fx.GraphModule(followed.net, followed.graph)
            read.delete_all_unused_submodules()
            self._unread = {name for name in net.state_dict() if name not in read.state_dict()}
            for name, parameter in net.named_parameters():
                if name in self._unread:
                    parameter.requires_grad_(False)

    @classmethod
    def rebuild(cls, init_args: Mapping[str, Any]) -> Backbone:
        """Make the net of a checkpoint from classes that are loaded already."""
        described = init_args.get("net")
        if not isinstance(described, Mapping) or "class_path" not in described:
            raise InputError(
                f"Adapter: the checkpoint's net {described!r} cannot be built again: it was passed as a module, whose "
                "arguments are not known. Pass the net yourself with net=Adapter(...) or net=<the module> (kdlab "
                "evaluate and export: --trust-config), and call kdlab.nets.register with its class before you make "
                "it, or write it as {class_path, init_args} (YAML), where you train."
            )
        made = cls(**{**init_args, "net": remake(described)})
        made.spec["init_args"]["net"] = described
        return made

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs at the named places, and the input of the head."""
        if not self.as_is:
            features = dict(zip(self.names, self.body(x), strict=True))
        elif self.places and not _exporting():
            features = _hooked(self, x)
        else:
            features = {"embedding": self._embedding(x)}
        embedding = features["embedding"]
        if isinstance(embedding, Tensor) and embedding.ndim != 2:  # a graph that torch.fx records has no shapes
            raise InputError(
                f"Adapter: the input of head={self.head_path!r} must be an embedding (B, D), but got "
                f"{tuple(embedding.shape)}. The head must be the layer after pooling and flattening."
            )
        return features

    def _embedding(self, x: Tensor) -> Tensor:
        net: Any = self.body
        return embedding_of(net, self._open, x, lambda x: net(x, **self.arguments), self.output, self.head_path)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Read weights of earlier versions, which always used the graph: it had constants, and only what it read."""
        if self.as_is:
            own = self.body.state_dict()
            for name in self._unread:
                state_dict.setdefault(f"{prefix}body.{name}", own[name])
            for name in [n for n in state_dict if n.startswith(f"{prefix}body._tensor_constant")]:
                del state_dict[name]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def rename_released(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the net's own weights, as saved without the adapter, our key names (`kdlab.Teacher` calls this)."""
        if any(key.startswith("standardize.") for key in state):
            return dict(state)
        head = f"{self.head_path}."
        return {
            f"head.{key.removeprefix(head)}" if key.startswith(head) else f"body.{key}": v for key, v in state.items()
        }


def _copied(net: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(net)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"Adapter: net {type(net).__name__} must be one that copy.deepcopy can copy, but it cannot: "
            f"{one_line(error):.200}. Where layers have torch.nn.utils.weight_norm, use "
            "torch.nn.utils.parametrizations.weight_norm."
        ) from error


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


def _check_arguments(net: nn.Module, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a forward besides its input, if they are those that it takes and needs."""
    known = extra_arguments(net)
    open_ = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(net.forward).parameters.values())
    needed = [n for n, p in known.items() if p.default is p.empty and n not in arguments]
    unknown = [n for n in arguments if n not in known and not open_]
    if needed or unknown:
        call = f"{type(net).__name__}.forward({', '.join(inspect.signature(net.forward).parameters)})"
        raise InputError(
            f"Adapter: arguments must be those of {call} besides its input, but "
            + (f"{', '.join(needed)} is missing. " if needed else f"got {', '.join(map(repr, unknown))}. ")
            + f"Set arguments={{{', '.join(f'{n!r}: ...' for n in needed or known)}}}."
        )
    return dict(arguments)


def _exporting() -> bool:
    """Is a program made, which returns logits alone?"""
    return bool(torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling())


def _with_hooks(adapter: Adapter, x: Tensor) -> dict[str, Tensor]:
    return run_with_hooks(adapter.body, adapter.places, lambda: adapter._embedding(x))


_WHY_NOT_COMPILED = (
    "Adapter: this net runs as it is, and its taps are caught by hooks that are set for each forward pass, so it is "
    "not compiled. Leave out fullgraph=True, or the taps."
)
_takes_reason = "reason" in inspect.signature(torch.compiler.disable).parameters  # since torch 2.8
_disable: Any = torch.compiler.disable
_hooked: Any = _disable(_with_hooks, **({"reason": _WHY_NOT_COMPILED} if _takes_reason else {}))


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


def _last(graph: fx.Graph, outputs: Mapping[str, list[fx.Node]], head: str, net: str) -> fx.Node:
    """The node of the head; the net must return it and it must read one tensor."""
    returned: object = next(node for node in graph.nodes if node.op == "output").args[0]
    if not isinstance(returned, fx.Node):
        held: Any = returned
        names = list(held) if isinstance(held, Mapping) else range(len(held)) if isinstance(held, Sequence) else ()
        raise no_logits(net, type(returned).__name__, names, None)
    last = _find(graph, outputs, "head", head)
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
