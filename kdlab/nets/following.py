"""Does the graph of torch.fx do all that a net does? Tracing freezes what a forward decides or remembers in Python."""

from __future__ import annotations

import copy
import inspect
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, fx, nn

from kdlab.files import one_line

_Contexts = tuple[bool | torch.dtype, ...]

_DEVICES = ("cpu", "cuda")  # whose automatic casts are known
_ROOT_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_BACKWARD_HOOKS = ("_backward_pre_hooks", "_backward_hooks")
_CONSTANT = "_tensor_constant"  # torch.fx names tensors so that a forward makes while it is traced
_PLAIN = (int, float, complex, str, bytes, bool, type(None))
_LEVELS = 4


class Followed(NamedTuple):
    """What torch.fx makes of a net.

    Attributes:
        net: the copy of the net that was traced; it is changed where ``why`` is not empty.
        graph: its graph in training mode; None where it cannot be followed.
        outputs: path of a module -> the nodes of its outputs.
        why: why the graph is not used: it cannot be followed, or Python state would be frozen; empty where it is used.
    """

    net: nn.Module
    graph: fx.Graph | None
    outputs: dict[str, list[fx.Node]]
    why: str


class _Proxy(fx.Proxy):
    """A traced value; what is assigned to its attributes (``self.weight.data = ...``) is in no graph."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("tracer", "node"):
            self.tracer.assigned.append(name)  # type: ignore[attr-defined]
        super().__setattr__(name, value)


class _Tracer(fx.Tracer):
    """Traces a net and keeps the output of each module, whether it has modules of its own or not.

    A graph has operations, not the contexts that they run in (``torch.no_grad``, ``torch.autocast``): the first
    operation in another context than that of the trace is kept.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[str, list[fx.Node]] = {}
        self.assigned: list[str] = []
        self.contexts, self.elsewhere = _contexts(), ""

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """As torch.fx, and an operation in another context is noted."""
        node = super().create_node(*args, **kwargs)
        if not self.elsewhere and _contexts() != self.contexts:
            self.elsewhere = node.name
        return node

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """The value of a node."""
        return _Proxy(node, self)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As torch.fx, and the output is kept."""
        path, output = self.path_of_module(m), super().call_module(m, forward, args, kwargs)
        if isinstance(output, fx.Proxy):
            self.outputs.setdefault(path, []).append(output.node)
        return output


def follow(net: nn.Module, arguments: Mapping[str, Any], shape: tuple[int, ...]) -> Followed:
    """Trace a copy of a net in training and in evaluation mode, and compare the graphs.

    The net itself is left as it is, and so are the random states.

    Args:
        net: any net.
        arguments: keyword arguments of its forward besides the input.
        shape: of a batch on which the outputs of net and graph are compared, where the net can read it.
    """
    probe = copy.deepcopy(net)
    modes = [(part, part.training) for part in probe.modules()]
    with _random_states() as drawn, _one_input(probe, arguments):
        with _casting():
            tracer, graph, why = _trace(probe.train())
        if graph is not None and not why:
            made = _constants(probe, remove=True)
            _, again, why = _trace(probe.eval())
            others = _constants(probe, remove=True)
            for name, value in made.items():
                setattr(probe, name, value)
            if again is not None and not why:
                why = _difference(graph, again, made, others)
        changed = drawn()
    if not why and graph is not None:
        why = changed or _hooked(net, tracer) or _changed_tensors(net, probe)
        why = why or _baked(probe, arguments, _constants(probe))
    for part, mode in modes:
        part.training = mode
    if not why and graph is not None:
        why = _other_modes(net, probe, graph) or _other_outputs(net, probe, graph, arguments, shape)
    return Followed(probe, graph, tracer.outputs, why)


def extra_arguments(net: nn.Module) -> dict[str, inspect.Parameter]:
    """The parameters of a net's forward besides its input."""
    given = list(inspect.signature(net.forward).parameters.values())[1:]
    return {p.name: p for p in given if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


@contextmanager
def _one_input(net: nn.Module, arguments: Mapping[str, Any]) -> Iterator[None]:
    """Trace ``forward(x)`` with these arguments and the others' defaults: a traced flag is neither true nor None."""
    kind = type(net)
    if not extra_arguments(net):
        yield
        return

    def forward(self: Any, x: Any) -> Any:
        return kind.forward(self, x, **arguments)

    net.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    try:
        yield
    finally:
        net.__class__ = kind


def _trace(net: nn.Module, buffers: bool = False) -> tuple[_Tracer, fx.Graph | None, str]:
    """The graph of a net in its mode, and why it cannot be used."""
    name, mode = type(net).__name__, "training" if net.training else "evaluation"
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "For backward hooks to be called")  # a graph with them is not used
            tracer, before = _Tracer(), _python_state(net)
            tracer.proxy_buffer_attributes = buffers
            graph = tracer.trace(net)
    except Exception as error:  # whatever the net does with a tensor that has no values
        return tracer, None, f"torch.fx cannot follow the forward of {name} in {mode} mode: {one_line(error)}"
    if tracer.assigned:
        return tracer, graph, f"the forward of {name} assigns to {tracer.assigned[0]!r} of a tensor"
    if tracer.elsewhere:
        return tracer, graph, f"the forward of {name} has gradients or casts of its own at {tracer.elsewhere}"
    if where := _different(before, _python_state(net)):
        return tracer, graph, f"the forward of {name} changes {where} in {mode} mode"
    return tracer, graph, ""


# ---- what is done besides the operations ----------------------------------------------------------------------------
def _contexts() -> _Contexts:
    """Are gradients computed, and which types are cast to?"""
    casts = ((torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)) for device in _DEVICES)
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), *(item for pair in casts for item in pair)


@contextmanager
def _casting() -> Iterator[None]:
    """Automatic casts are on for all devices, to float32, so that no tensor changes."""
    before = [(device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)) for device in _DEVICES]
    for device in _DEVICES:
        torch.set_autocast_enabled(device, True)
        torch.set_autocast_dtype(device, torch.float32)
    try:
        yield
    finally:
        for device, enabled, dtype in before:
            torch.set_autocast_enabled(device, enabled)
            torch.set_autocast_dtype(device, dtype)


def _hooked(net: nn.Module, tracer: fx.Tracer) -> str:
    """What runs when a module is called besides the forward of its class, where a graph leaves it out."""
    if "forward" in vars(net) or type(net).__call__ is not nn.Module.__call__:
        return f"{type(net).__name__} has a forward or __call__ of its own"
    for path, module in net.named_modules():
        if path and tracer.is_leaf_module(module, path):
            continue
        if any(getattr(module, name) for name in (*_BACKWARD_HOOKS, *(() if path else _ROOT_HOOKS))):
            return f"{path or type(net).__name__} has hooks"
    return ""


def _other_modes(net: nn.Module, probe: nn.Module, graph: fx.Graph) -> str:
    """Does ``train`` or ``eval`` of the net leave layers in another mode, or freeze weights, unlike its graph's?"""
    own, twin = copy.deepcopy(net), fx.GraphModule(copy.deepcopy(probe), copy.deepcopy(graph))
    kept = {node.target: twin.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module"}
    for mode in ("train", "eval"):
        getattr(own, mode)()
        getattr(twin, mode)()
        given = dict(own.named_parameters(remove_duplicate=False))
        frozen = any(p.requires_grad != given[name].requires_grad for name, p in twin.named_parameters())
        if frozen or any(
            part.training != own.get_submodule(f"{path}.{inner}".rstrip(".")).training
            for path, layer in kept.items()
            for inner, part in layer.named_modules()
        ):
            return f"{mode}() of {type(net).__name__} does more than to set the mode of all layers"
    return ""


# ---- what a forward changes -----------------------------------------------------------------------------------------
def _python_state(net: nn.Module) -> dict[str, Any]:
    """Attributes of all modules; containers by what is in them, tensors with their version, all else by identity."""
    return {
        f"{path}.{name}".lstrip("."): _content(value, _LEVELS)
        for path, module in net.named_modules()
        for name, value in vars(module).items()
        if not name.startswith(_CONSTANT)
    }


def _content(value: Any, levels: int) -> Any:
    if levels and isinstance(value, Mapping):
        return "mapping", [(key, _content(item, levels - 1)) for key, item in value.items()]
    if levels and isinstance(value, (list, tuple)):
        return type(value).__name__, [_content(item, levels - 1) for item in value]
    return ("tensor", value, value._version, value.requires_grad) if isinstance(value, Tensor) else value


def _different(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return next((name for name in (*after, *before) if not _same(before.get(name), after.get(name))), "")


def _same(one: Any, two: Any) -> bool:
    if one is two:
        return True
    if isinstance(one, (tuple, list)) and isinstance(two, (tuple, list)):
        return len(one) == len(two) and all(map(_same, one, two))
    return type(one) is type(two) and isinstance(one, _PLAIN) and (one == two or (one != one and two != two))


def _changed_tensors(net: nn.Module, probe: nn.Module) -> str:
    held = probe.state_dict()
    for name, value in net.state_dict().items():
        if isinstance(value, Tensor) and not _equal(value, held.get(name)):
            return f"the forward of {type(net).__name__} changes {name}"
    return ""


def _equal(one: Any, two: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(two, Tensor):
        return one is two
    return (
        one.shape == two.shape and one.dtype == two.dtype and bool(((one == two) | ((one != one) & (two != two))).all())
    )


@contextmanager
def _random_states() -> Iterator[Any]:
    """Restore the random states; what is yielded tells whether one was drawn from."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002  (what other people's nets draw from)

    def drawn() -> str:
        here: Any = np.random.get_state()  # noqa: NPY002
        there: Any = before[1]
        same = random.getstate() == before[0] and here[2] == there[2] and np.array_equal(here[1], there[1])
        return "" if same and torch.equal(torch.get_rng_state(), before[2]) else "the forward draws random numbers"

    try:
        yield drawn
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


# ---- what a graph holds ---------------------------------------------------------------------------------------------
def _constants(net: nn.Module, remove: bool = False) -> dict[str, Any]:
    """Tensors that tracing has put into a net."""
    found = {name: value for name, value in vars(net).items() if name.startswith(_CONSTANT)}
    for name in found if remove else ():
        delattr(net, name)
    return found


def _difference(graph: fx.Graph, other: fx.Graph, made: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """How the graphs of both modes differ."""
    why = "its forward in training mode is another than in evaluation mode"
    if len(graph.nodes) != len(other.nodes):
        return why
    same: dict[fx.Node, fx.Node] = {}
    for one, two in zip(graph.nodes, other.nodes, strict=True):
        same[two] = one
        mapped = fx.node.map_arg((two.args, two.kwargs), lambda node: same[node])
        if one.op != two.op or one.target != two.target or not _same_arguments((one.args, one.kwargs), mapped):
            return f"{why} ({one.name})"
        if one.op == "get_attr" and not _equal(made.get(one.target), others.get(two.target)):
            return f"{why} ({one.name})"
    return ""


def _same_arguments(one: Any, two: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        return one.keys() == two.keys() and all(_same_arguments(one[key], two[key]) for key in one)
    if isinstance(one, (tuple, list)) and isinstance(two, (tuple, list)):
        return len(one) == len(two) and all(map(_same_arguments, one, two))
    return one is two or (type(one) is type(two) and bool(one == two or one != one))


def _baked(probe: nn.Module, arguments: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    """Were constants computed from buffers, which training and checkpoints change?"""
    if not made:
        return ""
    twin = copy.deepcopy(probe)
    _constants(twin, remove=True)
    with _random_states(), _one_input(twin, arguments):
        _, graph, why = _trace(twin, buffers=True)
    if graph is None or why or len(_constants(twin)) < len(made):
        return f"the forward of {type(probe).__name__} computes with the values of its buffers"
    return ""


def _other_outputs(
    net: nn.Module, probe: nn.Module, graph: fx.Graph, arguments: Mapping[str, Any], shape: tuple[int, ...]
) -> str:
    """Do net and graph differ in evaluation mode? Not known where the net does not read windows of this shape."""
    own, twin = copy.deepcopy(net).eval(), fx.GraphModule(copy.deepcopy(probe), copy.deepcopy(graph)).eval()
    like = next((p for p in own.parameters() if p.is_floating_point()), torch.zeros(()))
    x = torch.linspace(-1, 1, int(np.prod(shape)), dtype=like.dtype).reshape(shape).to(like.device)
    with torch.no_grad(), _random_states():
        try:
            expected, found = own(x, **arguments), twin(x)
        except Exception:
            return ""
    if isinstance(expected, Tensor) and isinstance(found, Tensor) and expected.shape == found.shape:
        if torch.allclose(expected, found, rtol=1e-4, atol=1e-5, equal_nan=True):
            return ""
        return "its graph has other outputs than itself"
    return ""
