"""Arguments that take a whole number or a fraction: ``1`` stays the number one, it does not become all of something."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any, get_args


def int_before_float(hint: Any) -> Any:
    """The union with ``int`` before ``float``, since a parser takes the first type that accepts a value.

    Lightning writes ``Optional[Union[int, float]]`` for ``limit_train_batches``, but `typing` returns the equal union
    of another module in its place, with ``float`` first; then 1 batch is 1.0, all batches.

    Args:
        hint: the type of an argument.

    >>> from typing import Optional, Union
    >>> int_before_float(Optional[Union[float, int]])
    int | float | None
    >>> int_before_float(float | None)
    float | None
    """
    kinds = list(get_args(hint))
    if int not in kinds or float not in kinds or kinds.index(int) < kinds.index(float):
        return hint
    kinds.remove(int)
    kinds.insert(kinds.index(float), int)
    return reduce(or_, kinds)  # `int | float` is not taken from the cache of `typing`


def order_numbers(actions: Iterable[Any]) -> None:
    """Let all arguments of a parser read a whole number as one."""
    for action in actions:
        if (hint := getattr(action, "_typehint", None)) is not None:
            action._typehint = int_before_float(hint)
