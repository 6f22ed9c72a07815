"""Shapes of values: what a key of a YAML file may hold, as fragments of a JSON schema (draft 7).

A reader declares its keys with them, ``{"seeds": either("...", whole(1), listed(whole()))}``, and takes their names
from there; an editor's schema is made of the same declaration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Shape = dict[str, Any]
#: what a folder or a run may be called in YAML, where a name can look like a number
NAME: Shape = {"type": ["string", "number"]}
NULL: Shape = {"type": "null"}


def about(text: str, shape: Mapping[str, Any]) -> Shape:
    """A shape with its text."""
    return {"description": text, **shape}


def text(about: str = "", pattern: str = "") -> Shape:
    """A text.

    >>> text("the folder", "/")
    {'description': 'the folder', 'type': 'string', 'pattern': '/'}
    """
    return {**_described(about), "type": "string", **({"pattern": pattern} if pattern else {})}


def whole(least: int | None = None, about: str = "") -> Shape:
    """A whole number of at least ``least``."""
    return {**_described(about), "type": "integer", **({} if least is None else {"minimum": least})}


def number(about: str = "", *, low: float | None = None, high: float | None = None, open_ends: bool = False) -> Shape:
    """A number from ``low`` to ``high``; with ``open_ends`` neither of these.

    >>> number(low=0, high=1, open_ends=True)
    {'type': 'number', 'exclusiveMinimum': 0, 'exclusiveMaximum': 1}
    """
    names = ("exclusiveMinimum", "exclusiveMaximum") if open_ends else ("minimum", "maximum")
    ends = {name: end for name, end in zip(names, (low, high), strict=True) if end is not None}
    return {**_described(about), "type": "number", **ends}


def one_of(words: Iterable[Any], about: str = "") -> Shape:
    """One of several words."""
    return {**_described(about), "enum": list(words)}


def listed(of: Mapping[str, Any], about: str = "", least: int = 0, different: bool = False) -> Shape:
    """A list."""
    more = {**({"minItems": least} if least else {}), **({"uniqueItems": True} if different else {})}
    return {**_described(about), "type": "array", "items": dict(of), **more}


def mapping(of: Mapping[str, Any], about: str = "") -> Shape:
    """A mapping of any names to values of one shape."""
    return {**_described(about), "type": "object", "additionalProperties": dict(of)}


def named(keys: Mapping[str, Shape], about: str = "", required: Iterable[str] = ()) -> Shape:
    """A mapping with these keys and no others."""
    needed = list(required)
    shape = {**_described(about), "type": "object", "properties": dict(keys), "additionalProperties": False}
    return {**shape, **({"required": needed} if needed else {})}


def either(about: str, *shapes: Mapping[str, Any]) -> Shape:
    """One of several shapes.

    >>> either("seconds", whole(), NULL)
    {'description': 'seconds', 'anyOf': [{'type': 'integer'}, {'type': 'null'}]}
    """
    return {**_described(about), "anyOf": [dict(shape) for shape in shapes]}


def _described(text: str) -> Shape:
    return {"description": text} if text else {}
