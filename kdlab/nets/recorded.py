"""The arguments of nets of registered classes, recorded when they are made, so that checkpoints can describe them."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

_ATTRIBUTE = "_kdlab_made_with"
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

    A description without arguments, ``{"module": <class>}``, is the same as one with them.

    >>> same_net({"module": "a.B"}, {"class_path": "a.B", "init_args": {"width": 3}}), same_net({"module": "a.B"}, 3)
    (True, False)
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if set(one) == {"module"} or set(other) == {"module"}:
            names = [described.get("module", described.get("class_path")) for described in (one, other)]
            return bool(names[0] == names[1])
        return one.keys() == other.keys() and all(same_net(one[key], other[key]) for key in one)
    return bool(one == other)


def is_complete(described: Any) -> bool:
    """Does a description hold the arguments of all its nets?

    >>> is_complete({"class_path": "Adapter", "init_args": {"net": {"module": "a.B"}}})
    False
    """
    if isinstance(described, Mapping):
        return set(described) != {"module"} and all(map(is_complete, described.values()))
    return not isinstance(described, list | tuple) or all(map(is_complete, described))
