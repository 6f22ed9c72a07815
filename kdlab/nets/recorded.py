"""The arguments of nets of registered classes, recorded when they are made, so that checkpoints can describe them."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from kdlab.types import InputError

_ATTRIBUTE = "_kdlab_made_with"
_IN_ORDER = ("groups",)  # arguments that are read in their order
#: what differs between descriptions of nets that compute the same: masks are drawn in training, taps are read beside
_ASIDE = ("class_path", "module", "dropout", "taps")
_OTHERS = ("Backbone", "LightningModule")  # the first describe themselves, the others are no nets of an adapter


def record_arguments(cls: type[nn.Module]) -> None:
    """Make each new object of a class record the arguments that it is made with; those of subclasses do not.

    Args:
        cls: a class of nets.
    """
    made = cls.__init__
    if any(base.__name__ in _OTHERS for base in cls.__mro__) or hasattr(made, _ATTRIBUTE):
        return
    signature = inspect.signature(made)

    @functools.wraps(made)
    def __init__(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        given = _named(signature, self, args, kwargs) if type(self) is cls else None
        made(self, *args, **kwargs)
        if given is not None:
            object.__setattr__(self, _ATTRIBUTE, (given, repr(self)))

    setattr(__init__, _ATTRIBUTE, True)
    cls.__init__ = __init__  # type: ignore[method-assign]


def _named(signature: inspect.Signature, self: Any, args: Any, kwargs: Any) -> dict[str, Any] | None:
    """Arguments by name; None where they cannot all be named."""
    try:
        bound = signature.bind(self, *args, **kwargs)
    except TypeError:
        return None  # the constructor says why
    named: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:  # without self
        kind = signature.parameters[name].kind
        if kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
            return None
        named |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    try:
        return copy.deepcopy(named)
    except Exception:  # whatever a value raises that cannot be copied: it is none of a description
        return None


def recorded_arguments(net: nn.Module) -> dict[str, Any] | None:
    """The arguments that a net was made with; None where they are not known, or its layers were changed afterwards.

    Args:
        net: of a class that `record_arguments` was called with, or of any other.
    """
    given, layers = vars(net).get(_ATTRIBUTE, (None, ""))
    return copy.deepcopy(given) if given is not None and repr(net) == layers else None


def same_net(one: Any, other: Any) -> bool:
    """Are two descriptions of nets the same, as far as both are known?

    A description without arguments, ``{"module": <class>}``, is the same as one with them. The order of arguments does
    not count, that of the groups of channels does, which are places in a window.

    >>> same_net({"module": "a.B"}, {"class_path": "a.B", "init_args": {"width": 3}}), same_net({"module": "a.B"}, 3)
    (True, False)
    >>> same_net({"groups": {"left": 3, "right": 3}}, {"groups": {"right": 3, "left": 3}})
    False
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if set(one) == {"module"} or set(other) == {"module"}:
            names = [described.get("module", described.get("class_path")) for described in (one, other)]
            return bool(names[0] == names[1])
        return one.keys() == other.keys() and all(_same(key, one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_net, one, other))
    return bool(one == other)


def _same(name: str, one: Any, other: Any) -> bool:
    if name in _IN_ORDER and isinstance(one, Mapping) and isinstance(other, Mapping) and list(one) != list(other):
        return False
    return same_net(one, other)


def check_made_alike(described: Any, given: Any, who: str) -> None:
    """Refuse weights that fit a net by their shapes, and are of a net that computes something else with them.

    Compared are the arguments that both descriptions have, at all levels, but for those that change nothing in what a
    net computes from a window. Names of classes may differ: a script's class is another one elsewhere.

    Args:
        described: the net of the checkpoint.
        given: the net that has its weights now.
        who: the checkpoint, for the message.

    Raises:
        InputError: naming the arguments.
    """
    if found := list(_differences(described, given)):
        each = ", ".join(f"{name}={there!r:.80}, not {here!r:.80}" for name, there, here in found[:4])
        raise InputError(
            f"{who} must hold the weights of a net that is made as this one, but its net has {each}. Make the net with "
            "these arguments, or take a checkpoint of this one."
        )


def _differences(one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name and both values of the arguments that differ."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return
    for name in one:
        if name in _ASIDE or name not in other:
            continue
        pair = one[name], other[name]
        if all(isinstance(value, Mapping) for value in pair) and name not in _IN_ORDER:
            yield from _differences(*pair)
        elif not _same(name, *pair):
            yield name, *pair


def is_complete(described: Any) -> bool:
    """Does a description hold the arguments of all its nets?

    >>> is_complete({"class_path": "Adapter", "init_args": {"net": {"module": "a.B"}}})
    False
    """
    if isinstance(described, Mapping):
        return set(described) != {"module"} and all(map(is_complete, described.values()))
    return not isinstance(described, list | tuple) or all(map(is_complete, described))
