"""The classes of kdlab that a config may name, and the arguments that they take."""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator
from typing import Any


def own_class(path: Any, base: type[Any]) -> type[Any] | None:
    """The class of kdlab, derived from ``base``, that a path (``Raw``, ``kdlab.views.Raw``) names, if there is one."""
    if type(path) is not str:
        return None
    own = own_classes(base)
    module, _, name = path.rpartition(".")
    if module == "kdlab":
        named = getattr(sys.modules[module], name, None)  # which imports its names when they are used
    else:
        named = vars(sys.modules[module]).get(name) if module in sys.modules else None  # vars: no foreign __getattr__
    return next((cls for cls in own if cls is named or path in (cls.__name__, full_name(cls))), None)


def own_classes(base: type[Any]) -> list[type[Any]]:
    """The classes of kdlab that are derived from ``base``, and ``base``, as far as they can be made."""
    own = [cls for cls in derived(base) if cls.__module__.partition(".")[0] == "kdlab" and cls.__name__[0] != "_"]
    return [cls for cls in own if not any(getattr(v, "__isabstractmethod__", False) for v in _members(cls))]


def _members(cls: type[Any]) -> list[Any]:
    return [getattr(cls, name, None) for name in dir(cls)]


def derived(cls: type[Any]) -> Iterator[type[Any]]:
    """A class and all that are derived from it."""
    yield cls
    for child in cls.__subclasses__():
        yield from derived(child)


def full_name(cls: type[Any]) -> str:
    """``module.Class``."""
    return f"{cls.__module__}.{cls.__qualname__}"


def arguments(cls: type[Any]) -> dict[str, Any]:
    """Argument -> kind, of a class and, where it passes keywords on, of those it is derived from."""
    found: dict[str, Any] = {}
    for one in cls.__mro__:
        init = one.__dict__.get("__init__")
        if init is None or one is object:
            continue
        code = init.__code__
        names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
        hints = typing.get_type_hints(init)
        found = {name: hints.get(name, Any) for name in names if name != "self"} | found
        if not code.co_flags & 0x08:  # takes no **keywords
            break
    return found


def leaves(hint: Any) -> Iterator[Any]:
    """The types that a type hint is made of.

    >>> list(leaves(dict[str, int | None]))
    [<class 'str'>, <class 'int'>, <class 'NoneType'>]
    """
    inner = typing.get_args(hint)
    if not inner:
        yield hint
    for part in inner:
        yield from leaves(part)
