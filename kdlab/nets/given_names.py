"""The names of weights in files that kdlab did not write: wrapped in another dict, or behind the name of a part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

#: keys of a file under which the weights may be
WRAPPERS = ("state_dict", "model_state_dict", "model")


def unwrapped(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights of a file, which may be one entry of several.

    Example:
        >>> unwrapped({"epoch": 3, "state_dict": {"weight": 1.0}})
        {'weight': 1.0}
    """
    return next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)


def without_prefix(
    given: Mapping[str, Any], expected: Collection[str], own_name: Callable[[str], str] = str
) -> dict[str, Any]:
    """The weights without what stands before all names that are expected, such as ``module.`` or ``encoder.``.

    Args:
        given: name -> weight.
        expected: the names of the net.
        own_name: from a name in the file to that in the net.

    Returns:
        All weights, with their names in the net; those that have the prefix without it, if all that are expected have
        one.

    Example:
        >>> without_prefix({"encoder.a.b": 1, "encoder.c": 2, "head.a.b": 3}, ["a.b", "c"])
        {'head.a.b': 3, 'a.b': 1, 'c': 2}
    """
    names = [str(name) for name in given]
    prefixes = {""} | {name[: i + 1] for name in names for i, letter in enumerate(name) if letter == "."}
    for prefix in sorted(prefixes, key=lambda text: (len(text), text)):
        within = {own_name(str(n).removeprefix(prefix)): v for n, v in given.items() if str(n).startswith(prefix)}
        others = {own_name(str(n)): v for n, v in given.items() if not str(n).startswith(prefix)}
        if expected and set(expected) <= within.keys() and not others.keys() & within.keys():
            return others | within
    return {own_name(str(name)): value for name, value in given.items()}
