"""A section of a config that differs from an accepted one in values alone, without parsing it.

The parser takes a number as it is where an argument is a number: then the parsed section with the other number is what
it would read. Of all else it is not known here what the parser makes, and the section is parsed.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

import torch
from jsonargparse import Namespace

from kdlab.config_checks import found
from kdlab.parser import Parser

_NUMBERS = (bool, int, float)


def with_values(parsed: Namespace, before: Any, after: Any) -> Namespace | None:
    """An accepted section with the values of another.

    Args:
        parsed: the accepted section, which is left as it is.
        before: what the parser made it of.
        after: the other section, of the same names and classes.

    Returns:
        What the parser would make of it; None: it may change or refuse one of the values.
    """
    holder = {"section": copy.deepcopy(parsed)}
    return holder["section"] if _exchange(holder, "section", before, after, None) else None


def as_it_is(hint: Any, value: Any) -> bool:
    """Whether the parser takes all values of the type of this one as they are where an argument has this type hint.

    >>> as_it_is(float | None, 0.1), as_it_is(float | Literal["auto"], 0.1), as_it_is(list[int], [1])
    (True, True, True)
    >>> as_it_is(float, 1), as_it_is(Literal[1, 2], 1), as_it_is(float | str, 0.1), as_it_is(str | None, "1")
    (False, False, False, False)
    """
    members = [member for member in _members(hint) if not _takes_no_number(member)]
    if isinstance(value, list):
        items = get_args(members[0])[:1] if len(members) == 1 and get_origin(members[0]) in (list, Sequence) else ()
        return bool(items) and all(as_it_is(items[0], item) for item in value)
    if type(value) is str:
        return hint is str
    return type(value) in _NUMBERS and members in ([type(value)], [int, float][: 2 * (type(value) is int)])


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _takes_no_number(hint: Any) -> bool:
    """Whether a member of a union is none for a number, and for a list of them."""
    words = get_origin(hint) is Literal and all(isinstance(word, str) for word in get_args(hint))
    return words or hint in (type(None), torch.Tensor)


def _exchange(holder: Any, name: str, before: Any, after: Any, hint: Any) -> bool:
    """Set ``holder[name]``, parsed of ``before``, to what ``after`` is parsed to; False: it is not known."""
    if _equal(before, after):
        return True
    if isinstance(after, Mapping):
        return _exchange_all(holder[name], before, after, hint)
    if not (as_it_is(hint, before) and as_it_is(hint, after) and _equal(holder[name], before)):
        return False
    holder[name] = copy.copy(after)
    return True


def _exchange_all(node: Any, before: Mapping[str, Any], after: Mapping[str, Any], hint: Any) -> bool:
    """As :func:`_exchange`, for the items of a mapping, which is a class, the arguments of one, or a dictionary."""
    if isinstance(node, Namespace) and "class_path" in node:
        kind = found(node["class_path"])
        hints = Parser.hints.get(kind, {}) if isinstance(kind, type) else {}
        if "class_path" in after:
            if not set(after) <= {"class_path", "init_args"}:
                return False
            before, after = before.get("init_args") or {}, after.get("init_args") or {}
        node = node.get("init_args")
    elif isinstance(node, dict):
        kinds = [member for member in _members(hint) if get_origin(member) is dict]
        hints = dict.fromkeys(node, get_args(kinds[0])[-1]) if len(kinds) == 1 else {}
    else:
        return False
    return isinstance(node, Namespace | dict) and all(
        name in node and _exchange(node, name, before[name], value, hints.get(name)) for name, value in after.items()
    )


def _equal(one: Any, other: Any) -> bool:
    """Whether values and their types are equal."""
    return repr(one) == repr(other)
