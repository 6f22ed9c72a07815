"""Calls of a method's constructor with arguments that are missing or too many, told with all that it has."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import wraps
from typing import Any, TypeVar

Constructor = TypeVar("Constructor")


def check_call(cls: type, args: tuple[Any, ...], arguments: Mapping[str, Any]) -> None:
    """Raise as Python does, with the name of the class, if arguments are missing or too many.

    Raises:
        TypeError: naming the argument, and all that there are.
    """
    signature = inspect.signature(cls)
    try:  # names that it does not have are refused later, with those that it has
        signature.bind(*args, **{name: arguments[name] for name in signature.parameters if name in arguments})
    except TypeError as error:
        raise TypeError(f"{cls.__name__}: {error}. Its arguments are {', '.join(signature.parameters)}.") from None


def checked_call(constructor: Constructor) -> Constructor:
    """A constructor written by hand that begins with :func:`check_call`, where an object of its class is made."""
    written: Any = constructor
    if "save_hyperparameters" in written.__code__.co_names:  # Lightning reads the frames of constructors for it
        return constructor

    @wraps(written)
    def __init__(self: Any, *args: Any, **arguments: Any) -> None:
        if type(self).__init__ is __init__:
            check_call(type(self), args, arguments)
        written(self, *args, **arguments)

    made: Any = __init__
    return made  # type: ignore[no-any-return]
