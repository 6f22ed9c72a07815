"""What the fits of one process compute in common: kept by everything that it depends on, within a bound of memory.

Nothing is kept but within :func:`reusing`, which the jobs of a study run in. What is kept is a function of its key and
of nothing else, and no one changes it, so results do not depend on what was kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

#: bytes that may be kept in a process; what was not read for the longest time goes first, 0 keeps nothing
LIMIT = 512 * 2**20

T = TypeVar("T")
_kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
_depth = 0


@contextmanager
def reusing() -> Iterator[None]:
    """Within the block values are kept, and those of earlier blocks are found.

    Example:
        >>> with reusing():
        ...     kept("sum", lambda: 1 + 1), kept("sum", lambda: 0)
        (2, 2)
        >>> kept("sum", lambda: 3)
        3
        >>> forget()
    """
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def active() -> bool:
    """Whether values are kept."""
    return _depth > 0 and LIMIT > 0


def kept(key: Hashable, make: Callable[[], T], size: Callable[[T], int] = lambda value: 1024) -> T:
    """The value of a key, made the first time.

    Args:
        key: everything that the value depends on.
        make: computes it.
        size: its bytes.
    """
    if not active():
        return make()
    if key in _kept:
        _kept.move_to_end(key)
        value: T = _kept[key][0]
        return value
    value = make()
    keep(key, value, size(value))
    return value


def find(key: Hashable) -> Any:
    """The value of a key; None where none is kept."""
    if not active() or key not in _kept:
        return None
    _kept.move_to_end(key)
    return _kept[key][0]


def keep(key: Hashable, value: Any, size: int = 1024) -> None:
    """Keep a value, and free those that were not read for the longest time until all fit within `LIMIT`.

    Args:
        key: everything that the value depends on.
        value: no one changes it.
        size: its bytes; a value that is larger than the limit is not kept.
    """
    if not active() or size > LIMIT:
        return
    _kept[key] = value, size
    _kept.move_to_end(key)
    total = sum(count for _, count in _kept.values())
    while total > LIMIT:
        total -= _kept.popitem(last=False)[1][1]


def forget() -> None:
    """Free everything that is kept."""
    _kept.clear()
