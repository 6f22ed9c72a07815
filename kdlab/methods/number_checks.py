"""Numbers among the arguments of callbacks, schedules and methods: those that no fit could work with are refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kdlab.fields import Field
from kdlab.types import InputError


def check_number(
    who: str,
    name: str,
    value: Any,
    example: Any,
    *,
    whole: bool = False,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
) -> None:
    """Refuse what is no finite number of a range.

    Args:
        who: the class, for messages.
        name: of the argument.
        value: that was given.
        example: a value to write.
        whole: whether it must be a whole number.
        low: the least value, included.
        high: the greatest value, included.
        above: the values are greater than this.

    Raises:
        InputError: NaN, a word, true or false, a number out of range, or a fraction of a whole number.

    >>> check_number("EarlyStoppedTeacher", "patience", 1.5, 10, whole=True, low=1)
    Traceback (most recent call last):
    kdlab.types.InputError: EarlyStoppedTeacher: patience must be a whole number at least 1, but got 1.5. Write 10.
    """
    kind = int if whole else float
    try:
        Field("", example, low, high, above, None, init=True, annealed=False, type=kind).checked(who, name, value)
    except InputError as error:
        raise InputError(f"{error} Write {example}.") from None


def check_numbers(
    who: str, name: str, values: Any, example: Sequence[float], *, whole: bool = False, low: float = 0
) -> None:
    """Refuse what is no list of finite numbers from ``low`` on; the arguments are those of :func:`check_number`.

    Raises:
        InputError: a single number, a word, or a list of something else.

    >>> check_numbers("EarlyStoppedTeacher", "epochs", 3, [10, 20], whole=True)
    Traceback (most recent call last):
    kdlab.types.InputError: EarlyStoppedTeacher: epochs must be a list of numbers, but got 3. Write [10, 20].
    """
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
        raise InputError(f"{who}: {name} must be a list of numbers, but got {values!r}. Write {list(example)}.")
    for value in values:
        check_number(who, f"each of {name}", value, list(example), whole=whole, low=low)
