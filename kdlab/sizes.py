"""Sizes in bytes, as text."""

from __future__ import annotations

import re

from kdlab.types import InputError

_UNITS = {"": 1, **{f"{p}B": 1000**i for i, p in enumerate(("", "k", "M", "G", "T"))}} | {
    f"{p}iB": 1024**i for i, p in enumerate(("K", "M", "G", "T"), start=1)
}


def bytes_of(value: str | int, what: str) -> int:
    """The number of bytes of a size.

    Args:
        value: such as ``"2GiB"`` or ``"500MB"``, or a number of bytes.
        what: what it is, for the message.

    Raises:
        InputError: for a size that cannot be read, or is not positive.

    >>> bytes_of("1.5GiB", "budget"), bytes_of(2000, "budget")
    (1610612736, 2000)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([A-Za-z]*)\s*", str(value))
    if match is None or match[2] not in _UNITS:
        raise InputError(
            f"{what} must be a size such as '2GiB', '500MB' or a number of bytes, but got {value!r}. Set one of these."
        )
    found = int(float(match[1]) * _UNITS[match[2]])
    if found <= 0:
        raise InputError(f"{what} must be positive, but got {value!r}. Set a size such as '2GiB'.")
    return found


def size(count: float) -> str:
    """A number of bytes as text.

    >>> size(1536), size(3 * 2**30)
    ('1.5 KiB', '3.0 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
