"""The graph of a net (torch.fx): which modules are its layers, and what is refused."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules import module as torch_module
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from kdlab.files import one_line
from kdlab.nets.base import Backbone, Conv1d, Standardize
from kdlab.types import InputError

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_LAYERS = (nn.Conv1d, nn.BatchNorm1d, nn.Linear, Standardize, nn.ReLU, nn.ReLU6, nn.AdaptiveAvgPool1d, nn.Flatten)
_KINDS: tuple[type[nn.Module], ...] = (*_LAYERS, nn.Identity, *DROPOUTS)
_OPERATORS = ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
_IN_PLACE_OPERATORS = (operator.setitem, operator.delitem, *(getattr(operator, f"i{name}") for name in _OPERATORS))
_OF_WEIGHTS = (WeightNorm, SpectralNorm, BasePruningMethod)  # hooks that only compute the weights of their layer
OWN = ", whose forward pass is its own"
_REMEDY = "Use format='onnx' (--format onnx), or distil into a WideResNet or MobileNetV2 on signals"


def refused(what: str, why: str, remedy: str = "") -> InputError:
    """The refusal of a net.

    Args:
        what: the layer without a C form.
        why: what follows its name.
        remedy: sentences before those that hold for every net, each with a space behind it.
    """
    return InputError(
        "format='c': layers must be 1-D convolutions (plain or depthwise), batch norms, ReLU, ReLU6, sums, the mean "
        f"over the window and a last linear layer, but got {what}{why}. {remedy}{_REMEDY}."
    )


OF_A_HOOK = (" with a forward hook, which a file cannot hold", "Remove it (handle.remove()). ")
OF_PLACE = (", which changes a tensor in place", "Write it without that (inplace=False, x = x + y). ")


class _Logits(nn.Module):
    """From a view to logits, without the checks of `Backbone.forward`, which a graph cannot hold."""

    def __init__(self, net: Backbone) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.net.head(self.net.taps(self.net.standardize(x))["embedding"])
        return logits


class _Proxy(fx.Proxy):
    """A traced value for which ``x += y`` is no ``x = x + y``."""


def _in_place_operator(name: str) -> Callable[[fx.Proxy, Any], fx.Proxy]:
    def recorded(self: fx.Proxy, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", getattr(operator, name), (self, other), {})

    return recorded


for _name in _OPERATORS:
    setattr(_Proxy, f"__i{_name}__", _in_place_operator(f"i{_name}"))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return kind_of(m) is not None or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """The value of a node."""
        return _Proxy(node, self)


def kind_of(module: nn.Module) -> type[nn.Module] | None:
    """The class whose forward pass a module has, where that has a C form."""
    own = "forward" in vars(module)
    if isinstance(module, nn.Conv1d):  # its forward pass is in two parts
        own |= type(module)._conv_forward not in (nn.Conv1d._conv_forward, Conv1d._conv_forward)
    found = (kind for kind in _KINDS if isinstance(module, kind) and type(module).forward is kind.forward)
    return None if own else next(found, None)


def described(path: str, module: nn.Module) -> str:
    """Path and class of a layer without a C form, and whether its forward is another than that of its base class."""
    own = isinstance(module, _KINDS) and kind_of(module) is None
    return f"{path} ({type(module).__name__}){OWN if own else ''}"


def hooked(module: nn.Module) -> bool:
    """Whether calling a module does more than its forward pass; hooks that compute its weights are looked through."""
    after = (*module._forward_hooks.values(), *torch_module._global_forward_hooks.values())
    before = (*module._forward_pre_hooks.values(), *torch_module._global_forward_pre_hooks.values())
    return bool(after) or not all(isinstance(hook, _OF_WEIGHTS) for hook in before)


def trace(net: Backbone) -> fx.Graph:
    """The graph from a view to logits, whose modules are under ``net.``; what the logits do not need is left out.

    Raises:
        InputError: torch.fx cannot follow the net.
    """
    root = _Logits(net)
    try:
        graph = _Tracer().trace(root)
    except Exception as error:  # torch.fx raises whatever the net's Python makes it raise
        if layer := _other_layer(net):
            raise refused(layer, "") from error
        raise refused(type(net).__name__, f", whose graph cannot be read ({one_line(error)})") from error
    for node in reversed(graph.nodes):  # features that the logits do not need
        if not node.users and node.op not in ("placeholder", "output") and not works_in_place(node, root):
            graph.erase_node(node)
    return graph


def works_in_place(node: fx.Node, root: nn.Module) -> bool:
    """Whether a node changes a tensor that others may read."""
    if node.op == "call_module":
        return any(getattr(part, "inplace", False) for part in root.get_submodule(str(node.target)).modules())
    name = str(getattr(node.target, "__name__", node.target)).partition(".")[0]
    named = node.op != "get_attr" and name.endswith("_") and not name.endswith("__")
    flagged = bool(node.kwargs.get("inplace")) or node.kwargs.get("out") is not None
    return named or flagged or node.target in _IN_PLACE_OPERATORS


def _other_layer(net: Backbone) -> str:
    """Path and class of the first layer that has no C form; empty where all have one."""
    for path, module in net.named_modules():
        if next(module.children(), None) is None and kind_of(module) is None:
            return described(path, module)
    return ""
