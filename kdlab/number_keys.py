"""Keys of a config: words, or numbers where an argument of the data takes them, such as those of labels and people."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any

from kdlab.types import InputError


def check_keys(content: Any, where: str) -> None:
    """Refuse a key that is no word, but in arguments of data modules that take keys of any kind.

    Args:
        content: a config, or a part of it.
        where: the file, for messages.

    Raises:
        InputError: naming the place of the key.

    >>> check_keys({"data": {"init_args": {"labels": {0: "still"}}}}, "a.yaml")
    >>> check_keys({"data": {"init_args": {"views": {0: "Raw"}}}}, "a.yaml")
    Traceback (most recent call last):
    kdlab.types.InputError: a.yaml: data.init_args.views: a key must be a word, but got 0. Write "0": in quotes, or ...
    """
    for place, key in _numbers(content, ()):
        if not (place[:1] == ("data",) and len(place) == 2 + ("init_args" in place) and place[-1] in _arguments()):
            inside = f"{'.'.join(place)}: " if place else ""
            word = "null" if key is None else str(key).lower() if isinstance(key, bool) else str(key)
            raise InputError(
                f'{where}: {inside}a key must be a word, but got {key!r:.80}. Write "{word}": in quotes, or the name '
                "that is meant."
            )


def _numbers(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The keys that are no words, each with the names that lead to its mapping."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield place, key
            yield from _numbers(item, (*place, str(key)))
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, place)


def _arguments() -> set[str]:
    """The arguments of data modules, a user's own too, that are mappings with keys of any kind or numbers."""
    from kdlab.data import WindowDataModule
    from kdlab.evaluate.own_classes import arguments, derived

    found = set()
    for module in derived(WindowDataModule):
        try:
            hints = arguments(module)
        except (NameError, TypeError, AttributeError):  # hints of a user's own that name what is not there
            continue
        found |= {name for name, hint in hints.items() if any(map(_takes_numbers, _kinds(hint)))}
    return found


def _kinds(hint: Any) -> Iterator[Any]:
    """A type hint and all that it is made of."""
    yield hint
    for inner in typing.get_args(hint):
        yield from _kinds(inner)


def _takes_numbers(hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping) and inner[0] in (Any, int, float)
