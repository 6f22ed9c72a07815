"""The arguments of classes as shapes: names, types, ranges, defaults and texts, as the parser has them."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterable
from typing import Any

from kdlab.fields import Field
from kdlab.methods.made import Made
from kdlab.objective import Objective
from kdlab.parser import Parser
from kdlab.schema.types import Classes, shape_of
from kdlab.shapes import Shape

_MOST = 200  # characters of a default
_ROLE = re.compile(r":\w+(?::\w+)*:`~?([^`]*)`")


def arguments_of(kind: type, skip: int, classes: Classes) -> dict[str, Shape]:
    """Argument -> its shape.

    Args:
        kind: the class.
        skip: how many of its first parameters are given by the program, such as those of an optimiser.
        classes: makes the shape of classes that are arguments.
    """
    parser = Parser(allow_abbrev=False, exit_on_error=False)
    left_out: set[str | int] = {skip} if skip else set()
    try:
        parser.add_class_arguments(kind, fail_untyped=False, skip=left_out)
    except ValueError:  # it is made by a program alone
        return {}
    fields = _fields(kind)
    found = shapes(parser._actions, classes, is_ours(kind))
    return {name: _ranged(shape, fields.get(name)) for name, shape in found.items()}


def shapes(actions: Iterable[argparse.Action], classes: Classes, described: bool = False) -> dict[str, Shape]:
    """The shapes of a parser's settings by the names that they have in a file; a dotted name is a mapping.

    Args:
        actions: of the parser.
        classes: makes the shape of classes that are settings.
        described: whether they have the parser's descriptions; those of other packages stay with their packages.
    """
    found: dict[str, Shape] = {}
    for action in actions:
        hint = getattr(action, "_typehint", None)  # of jsonargparse's actions: options such as --help have none
        if hint is None:
            continue
        *sections, name = action.dest.split(".")
        place = found
        for section in sections:
            place = place.setdefault(section, _section())["properties"]
        about = {"description": text} if described and (text := plain_text(action.help)) else {}
        default = {"default": action.default} if _is_shown(action.default) else {}
        shape = shape_of(hint, classes)
        place[name] = {**about, **shape, **default}
        if _may_be_list(shape):  # the list of an included file is extended
            place[f"{name}+"] = {"description": f"Added to {name} of the files before.", **shape}
    return found


def _section() -> Shape:
    return {"type": ["object", "string"], "properties": {}, "additionalProperties": False}


def _fields(kind: type) -> dict[str, Field]:
    if issubclass(kind, Made):
        return kind.made_from.accepted()
    return kind.accepted() if issubclass(kind, Objective) else {}


def _ranged(shape: Shape, field: Field | None) -> Shape:
    """A number with the least and the greatest value that its declaration allows."""
    if field is None:
        return shape
    ends = {"minimum": field.low, "maximum": field.high, "exclusiveMinimum": field.above}
    ends = {name: end for name, end in ends.items() if end is not None and abs(end) != float("inf")}
    if not ends:
        return shape
    if shape.get("type") in ("number", "integer"):
        return {**shape, **ends}
    if "anyOf" in shape:
        return {**shape, "anyOf": [_ranged(one, field) for one in shape["anyOf"]]}
    kinds = shape.get("type")
    if isinstance(kinds, list) and {"number", "integer"} & set(kinds):  # the ends are those of numbers alone
        return {**shape, **ends}
    return shape


def _may_be_list(shape: Shape) -> bool:
    return shape.get("type") == "array" or any(map(_may_be_list, shape.get("anyOf", ())))


def _is_shown(value: Any) -> bool:
    """Whether a default is told: a plain value that JSON has."""
    if isinstance(value, list):
        return all(map(_is_shown, value)) and len(repr(value)) <= _MOST
    finite = not isinstance(value, float) or abs(value) < float("inf")
    return type(value) in (bool, int, float, str) and finite and value != argparse.SUPPRESS and len(str(value)) <= _MOST


def plain_text(text: str | None) -> str:
    """A docstring's text without the marks of reStructuredText.

    >>> plain_text("``T > 0``, see :class:`kdlab.KD`.")
    '`T > 0`, see `kdlab.KD`.'
    """
    if not text or text == argparse.SUPPRESS:
        return ""
    return " ".join(_ROLE.sub(r"`\1`", text).replace("``", "`").replace("%%", "%").split())


def is_ours(kind: type) -> bool:
    """Whether a class is kdlab's own."""
    return kind.__module__.partition(".")[0] == "kdlab"


def summary(kind: type) -> str:
    """The first paragraph of the docstring of a class of kdlab; the name of another one."""
    return plain_text((inspect.getdoc(kind) or "").partition("\n\n")[0]) if is_ours(kind) else kind.__qualname__
