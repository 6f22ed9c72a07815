"""Words and numbers as C text."""

from __future__ import annotations

import re
import textwrap

import numpy as np
from numpy.typing import NDArray

from kdlab.types import InputError

_WIDTH = 100
_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t", "float32": "float"}


def identifier(words: str) -> str:
    """Words as the beginning of C names: letters, digits and underscores, no digit or underscore first.

    Raises:
        InputError: nothing is left.

    >>> identifier("wrist-2.last"), identifier("2nd run")
    ('wrist_2_last', 'net_2nd_run')
    """
    made = re.sub(r"[^0-9A-Za-z]+", "_", words).strip("_")
    if not made or len(made) > 100:
        raise InputError(
            f"name: must hold letters or digits of ASCII, at most 100, but got {words[:200]!r}. Pass name= (--name)."
        )
    return f"net_{made}" if made[0].isdigit() else made


def comment(words: object) -> str:
    """Words of anyone inside a C comment: one line of ASCII that neither ends it nor begins another.

    >>> comment("m/s^2 */ int x; \\n")
    'm/s^2 * / int x;'
    """
    line = " ".join(str(words).split()).replace("\\", "/").encode("ascii", "backslashreplace").decode("ascii")
    line = "".join(c if c.isprintable() else "?" for c in line)
    return re.sub(r"(?<=\*)/|(?<=/)\*", lambda found: f" {found[0]}", line).replace("??", "? ?")[:200]


def array(name: str, numbers: NDArray[np.generic], note: str = "", row: int = 0) -> str:
    """A constant array.

    Args:
        name: of the array.
        numbers: int8, uint8, int32 or float32, in the order of memory.
        note: a comment on it.
        row: numbers after which a line ends; 0: where it is full.
    """
    words = [_word(number) for number in numbers.ravel().tolist()]
    rows = [words[i : i + row] for i in range(0, len(words), row)] if row else [words]
    lines = "\n".join(
        textwrap.fill(", ".join(one) + ",", _WIDTH, initial_indent="    ", subsequent_indent="    ") for one in rows
    )
    head = f"/* {note} */\n" if note else ""
    return f"{head}static const {_TYPES[str(numbers.dtype)]} {name}[{len(words)}] = {{\n{lines}\n}};\n"


def _word(number: float) -> str:
    if isinstance(number, int):
        return str(number) if number != -(2**31) else "(-2147483647 - 1)"
    return real(number)


def real(number: float) -> str:
    """A float32 number that reads back as itself.

    >>> real(0.1), real(3.0), real(float(np.float32(1e-9)))
    ('0.1f', '3.0f', '1e-09f')
    """
    word = str(np.float32(number))
    return f"{word}f" if "." in word or "e" in word else f"{word}.0f"
