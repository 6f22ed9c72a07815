"""Arguments that are objects: what Python code gives in their place, such as their form in YAML, is refused."""

from __future__ import annotations

import os
from typing import Any

from kdlab.types import InputError


def check_instance(where: str, value: Any, kind: type, line: str) -> None:
    """Refuse what is no instance of a class; None is one left out.

    Args:
        where: the argument, for messages.
        value: that was given.
        kind: its class.
        line: what to write for example.

    Raises:
        InputError: a name, a mapping, a class in place of an object of it, or anything else.

    >>> check_instance("mix", {"class_path": "Mixup"}, int, "mix=Mixup()")
    Traceback (most recent call last):
    kdlab.types.InputError: mix must be an instance of int, but got {'class_path': 'Mixup'}. Write mix=Mixup().
    """
    if value is not None and not isinstance(value, kind):
        raise InputError(f"{where} must be an instance of {kind.__name__}, but got {_shown(value)}. Write {line}.")


def check_path(where: str, value: Any, line: str) -> None:
    """Refuse what is no path, such as a net in place of its checkpoint, and an empty one, which is the folder ``.``.

    Args:
        where: the argument, for messages.
        value: that was given.
        line: what to write for example.

    Raises:
        InputError: neither a text nor a path, or one without a letter.
    """
    if not isinstance(value, str | os.PathLike) or not str(value).strip():
        raise InputError(f"{where} must name a file or folder, but got {_shown(value)}. Write {line}.")


def check_name(where: str, value: Any, line: str) -> None:
    """Refuse what is no name, such as a list of one, and an empty one.

    Args:
        where: the argument, for messages.
        value: that was given.
        line: what to write for example.

    Raises:
        InputError: no text, or one without a letter.
    """
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where} must be a name, but got {_shown(value)}. Write {line}.")


def check_callable(where: str, value: Any, line: str) -> None:
    """Refuse what cannot be called, such as an optimiser in place of its class; None is one left out.

    Args:
        where: the argument, for messages.
        value: that was given.
        line: what to write for example.

    Raises:
        InputError: no class, no function.
    """
    if value is not None and not callable(value):
        raise InputError(f"{where} must be a class or a function, but got {_shown(value)}. Write {line}.")


def _shown(value: Any) -> str:
    """A value in one short line.

    >>> _shown(int), _shown({"budget": "1GiB"})
    ('the class int', "{'budget': '1GiB'}")
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value)
    return f"an object of {type(value).__name__}" if "\n" in text or len(text) > 80 else text
