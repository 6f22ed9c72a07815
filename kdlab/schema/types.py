"""Type hints as shapes: what YAML may hold where an argument has this type."""

from __future__ import annotations

import datetime
import enum
import inspect
import os
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import torch

from kdlab.shapes import Shape

_PLAIN: dict[Any, Shape] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    NoneType: {"type": "null"},
    datetime.timedelta: {"type": "string"},
    torch.device: {"type": "string"},
}
#: takes the classes of one argument, and how many of their first parameters are given by the program
Classes = Callable[[tuple[type, ...], int], Shape]


def shape_of(hint: Any, classes: Classes) -> Shape:
    """The shape of a type hint; empty where anything may stand.

    Args:
        hint: the type.
        classes: makes the shape of classes that are named by ``class_path``.

    Example:
        >>> shape_of(dict[str, float] | None, lambda kinds, skip: {})
        {'anyOf': [{'type': 'null'}, {'type': 'object', 'additionalProperties': {'type': 'number'}}]}
        >>> shape_of(Literal["min", "max"], lambda kinds, skip: {})
        {'enum': ['min', 'max']}
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _union(inner, classes)
    if origin is Literal:
        return {"enum": list(inner)}
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    kind = origin if inspect.isclass(origin) else hint
    if hint is typing.Callable or Callable in (hint, origin):
        return _callable(inner, classes)
    if kind in (tuple, list, set) or (inspect.isclass(kind) and issubclass(kind, Collection | Iterable)):
        return _collection(kind, inner, classes)
    if not inspect.isclass(kind):
        return {}
    if issubclass(kind, enum.Enum):
        return {"enum": [member.name for member in kind]}
    return {"type": "string"} if issubclass(kind, os.PathLike) or kind is type else classes((kind,), 0)


def _collection(kind: Any, inner: tuple[Any, ...], classes: Classes) -> Shape:
    if issubclass(kind, Mapping):
        values = shape_of(inner[1], classes) if len(inner) == 2 else {}
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if issubclass(kind, torch.nn.Module | str | bytes) or kind.__module__.startswith("kdlab."):
        return classes((kind,), 0)
    if issubclass(kind, tuple) and inner and inner[-1] is not ...:
        items = [shape_of(one, classes) for one in inner]
        return {"type": "array", "items": items, "minItems": len(items), "maxItems": len(items)}
    items_of = shape_of(inner[0], classes) if inner else {}
    return {"type": "array", **({"items": items_of} if items_of else {})}


def _callable(inner: tuple[Any, ...], classes: Classes) -> Shape:
    """A function by its dotted name, or the class that it returns."""
    given, returned = inner if len(inner) == 2 else ([], None)
    named: Shape = {"type": "string"}
    if not inspect.isclass(returned) or returned in _PLAIN:
        return {"type": ["string", "object"]}
    return classes((returned,), len(given) if isinstance(given, list) else 0) or named


def _union(inner: tuple[Any, ...], classes: Classes) -> Shape:
    """All members; the types of plain ones are listed first, and classes that are made alike are one shape."""
    made = [one for one in inner if get_origin(one) is Callable and inspect.isclass((*get_args(one), None)[-1])]
    shapes = [shape_of(one, classes) for one in inner if one not in made or len(made) < 2]
    if len(made) > 1:
        shapes.append(classes(tuple(get_args(one)[-1] for one in made), len(get_args(made[0])[0])))
    if {} in shapes:
        return {}
    shapes = [other for shape in shapes for other in (shape["anyOf"] if set(shape) == {"anyOf"} else [shape])]
    plain = [shape["type"] for shape in shapes if set(shape) == {"type"} and isinstance(shape["type"], str)]
    others: list[Shape] = []
    for shape in shapes:
        if not (set(shape) == {"type"} and isinstance(shape["type"], str)) and shape not in others:
            others.append(shape)
    names = list(dict.fromkeys(plain))
    first: list[Shape] = [{"type": names[0] if len(names) == 1 else names}] if names else []
    return (
        first[0] if first and not others else others[0] if len(others) == 1 and not first else {"anyOf": first + others}
    )
