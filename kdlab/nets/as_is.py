"""A net that runs as it is: without its head, and with hooks on the modules that taps name, for one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from kdlab.types import InputError


class StandIn(nn.Module):
    """In the place of the head of a net: returns its input, so that the net returns its embedding.

    Attributes of the head (``weight``, ``in_features``) are found on it too.

    Attributes:
        seen: its inputs, where they are collected.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self._stands_for = (head,)  # in a tuple: no module of this one
        self.seen: list[Any] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The input."""
        if self.seen is not None:
            self.seen.append(x)
        return x

    def __getattr__(self, name: str) -> Any:
        """An attribute of the head."""
        held = self.__dict__.get("_stands_for")
        if held is None or name.startswith("__") or name in self.__dict__.get("_modules", {}):
            return super().__getattr__(name)
        return getattr(held[0], name)


def open_at(net: nn.Module, head: nn.Module) -> StandIn:
    """Take the head out of a net, at all places that hold it."""
    stand_in = StandIn(head)
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if child is head:
                setattr(module, name, stand_in)
    return stand_in


def check_places(net: nn.Module, head: str, places: Mapping[str, str], why: str) -> nn.Module:
    """The head of a net that runs as it is.

    Raises:
        InputError: when head or taps are no paths of modules of the net; lists those that there are.
    """
    known = [path for path, _ in net.named_modules() if path]
    for name, place in {"head": head, **places}.items():
        if place not in known:
            near = get_close_matches(place, known, n=3)
            raise InputError(
                f"Adapter: {name} must be the path of a module of {type(net).__name__}, but got {place!r}. "
                + (f"Did you mean {' or '.join(map(repr, near))}? " if near else "")
                + f"There are: {', '.join(known)}. (It runs as it is, since {why}. To use the graph of torch.fx, write "
                "its forward without decisions on the values or shapes of tensors, and without Python state.)"
            )
    return net.get_submodule(head)


def logits_in(output: Any, where: str | int | None, net: nn.Module) -> Tensor:
    """The logits among what a net returns: a tensor, or an entry of a mapping, a sequence or a record.

    Args:
        output: what the net returned.
        where: key, position or field; a tensor is taken as it is.
        net: the net, for the message.

    Raises:
        InputError: when they are not there; names what is.
    """
    if isinstance(output, Tensor):
        return output
    fields = _fields(output)
    key = where if where is None or where in fields else str(where)
    found = fields.get(key) if key is not None else None
    if isinstance(found, Tensor):
        return found
    held = [key for key, value in fields.items() if isinstance(value, Tensor)]
    raise no_logits(type(net).__name__, type(output).__name__, held, where)


def no_logits(net: str, kind: str, held: Iterable[Any], where: str | int | None) -> InputError:
    """The refusal of an output whose logits are not known.

    Args:
        net: class of the net.
        kind: class of what it returns.
        held: the names of the tensors in it.
        where: what was given.
    """
    return InputError(
        f"Adapter: output must name the logits among what {net} returns, a {kind} with "
        f"{', '.join(map(repr, held)) or 'no tensor'}, but got {where!r}. Set output= to one of them (often "
        "'logits'), or arguments= so that its forward returns a tensor (often {return_dict: false})."
    )


def _fields(output: Any) -> dict[Any, Any]:
    if isinstance(output, Mapping):
        return dict(output)
    if isinstance(output, Sequence) and not isinstance(output, str):
        names = getattr(output, "_fields", ())
        return {**dict(enumerate(output)), **dict(zip(names, output, strict=False))}
    return {name: value for name, value in getattr(output, "__dict__", {}).items() if not name.startswith("_")}


def embedding_of(
    net: nn.Module, stand_in: StandIn, x: Tensor, run: Callable[[Tensor], Any], where: str | int | None, head: str
) -> Tensor:
    """Run a net without its head, and check that what it returns is what went into the head.

    Raises:
        InputError: when the head is called more than once or not at all, or its output is changed afterwards.
    """
    if torch.compiler.is_compiling():
        return logits_in(run(x), where, net)
    seen: list[Any] = []
    stand_in.seen = seen
    try:
        embedding = logits_in(run(x), where, net)
    finally:
        stand_in.seen = None
    once = len(seen) == 1 and (embedding is seen[0] or _cast(embedding, seen[0]))
    if not once:
        reason = f"is called {len(seen)} times" if len(seen) != 1 else "is followed by other operations"
        raise InputError(
            f"Adapter: head must be the layer whose output {type(net).__name__} returns, with one tensor as input, but "
            f"got {head!r}, which {reason}. Name the last linear layer, and leave a softmax to the loss."
        )
    return embedding


def _cast(embedding: Tensor, seen: Any) -> bool:
    """Is it the same in another precision?"""
    same = isinstance(seen, Tensor) and embedding.shape == seen.shape and embedding.dtype != seen.dtype
    return same and torch.equal(embedding, seen.to(embedding.dtype))


def run_with_hooks(net: nn.Module, places: Mapping[str, str], run: Callable[[], Tensor]) -> dict[str, Tensor]:
    """The outputs of modules in one forward pass, and last its own result as ``"embedding"``.

    The hooks are set for this pass alone.

    Args:
        net: holds the modules.
        places: tap -> path of a module.
        run: the forward pass.

    Raises:
        InputError: for a module that is not called exactly once, or whose output is no tensor.
    """
    found: dict[str, list[Any]] = {name: [] for name in places}
    with ExitStack() as hooks:
        for name, place in places.items():
            hook = partial(_keep, found[name])
            hooks.callback(net.get_submodule(place).register_forward_hook(hook).remove)
        embedding = run()
    for name, outputs in found.items():
        if len(outputs) != 1 or not isinstance(outputs[0], Tensor):
            got = f"which is called {len(outputs)} times in this pass"
            if len(outputs) == 1:
                got = f"whose output is a {type(outputs[0]).__name__}"
            raise InputError(
                f"Adapter: {name} must be a module with one tensor as output, but got {places[name]!r}, {got}. Name "
                f"another, such as one inside or around it: {', '.join(_near(net, places[name]))}."
            )
    return {**{name: outputs[0] for name, outputs in found.items()}, "embedding": embedding}


def _keep(found: list[Any], module: nn.Module, args: Any, output: Any) -> None:
    found.append(output.clone() if isinstance(output, Tensor) else output)  # later layers may work in place


def _near(net: nn.Module, place: str) -> Iterable[str]:
    parent = place.rpartition(".")[0]
    inside = [path for path, _ in net.named_modules() if path.startswith(f"{place}.")]
    return [*([parent] if parent else []), *inside] or [path for path, _ in net.named_children()]
