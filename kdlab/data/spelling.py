"""One spelling of ids and class labels: what is equal, what is only alike, and how a name is written in YAML."""

from __future__ import annotations

import datetime
import json
import math
import numbers
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdlab.fingerprint import spelt
from kdlab.types import InputError

INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\x00"  # byte order marks and blanks without width
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan"}


def text(value: Any, argument: str = "value") -> str:
    """One id or label as text.

    Raises:
        InputError: an infinite number, a number in float form whose last digits are lost, bytes that are no UTF-8, or
            an object that is no number, word or date.

    >>> [text(v) for v in (" S1 ", 1, 1.0, "1.0", b"1", "01", 1.5, "-3.00", None)]
    ['S1', '1', '1', '1', '1', '01', '1.5', '-3', '']
    """
    if is_missing(value):
        return ""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise InputError(f"{argument} must be UTF-8 text, but got {value!r}. Decode it first.") from None
    if isinstance(value, str):
        return spelt(stripped(value))
    if isinstance(value, bool | np.bool_ | numbers.Integral):
        return str(value)
    if isinstance(value, numbers.Real):
        return _number(value, argument)
    if isinstance(value, datetime.date | datetime.datetime | datetime.timedelta | np.datetime64 | np.timedelta64):
        return str(value)
    raise InputError(
        f"{argument} must be numbers or words, but got {short(value)} ({type(value).__name__}). Give one id or label "
        "for each."
    )


def likeness(name: str) -> str:
    """What is left of a name without case, blanks, leading zeros and number format; True and False are 1 and 0.

    >>> likeness("S 01") == likeness("s1"), likeness("1e3") == likeness("1000"), likeness("1,50") == likeness("1.5")
    (True, True, True)
    >>> likeness("True") == likeness("1")
    True
    """
    plain = "".join(c for c in unicodedata.normalize("NFKC", name).casefold() if not c.isspace() and c not in INVISIBLE)
    plain = {"true": "1", "false": "0"}.get(plain, plain)  # of logical arrays beside others
    try:
        number = float(plain.replace(",", "."))
    except ValueError:
        return re.sub(r"(?<!\d)0+(?=\d)", "", plain)
    return plain if not math.isfinite(number) else repr(number) if abs(number) < 2**53 else plain.lstrip("+0")


def yaml_word(name: str) -> str:
    """A name as it is written in YAML.

    >>> yaml_word("walk"), yaml_word("01"), yaml_word("no")
    ('walk', '"01"', '"no"')
    """
    return name if _PLAIN.fullmatch(name) and name.lower() not in _YAML_WORDS else json.dumps(name)


def yaml_map(mapping: Mapping[str, str]) -> str:
    """A mapping as it is written in YAML, on one line."""
    return "{" + ", ".join(f"{yaml_word(key)}: {yaml_word(value)}" for key, value in mapping.items()) + "}"


def _number(value: Any, argument: str) -> str:
    if not math.isfinite(value):
        raise InputError(f"{argument} must be finite, but got {value}. Give an id or label, or leave it out.")
    if float(value) != math.floor(value):
        return str(value)
    limit = 2 ** (np.finfo(value.dtype).nmant + 1) if isinstance(value, np.floating) else 2**53
    if abs(value) > limit:
        raise InputError(
            f"{argument} must be whole numbers or words where they have so many digits, but got {value!r} in float "
            "form, whose last digits are lost. Read them as text."
        )
    return str(int(value))


def stripped(word: str) -> str:
    """A word without blanks and characters without width around it."""
    before = None
    while before != word:
        before, word = word, word.strip().strip(INVISIBLE)
    return word


def natural_key(value: object) -> tuple[int, float, str]:
    """Sort key under which numbers come in numeric order and before words.

    >>> sorted(["s10", "2", "10"], key=natural_key)
    ['2', '10', 's10']
    """
    text = str(value)
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or a missing value of pandas."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return isinstance(value, float | np.floating) and bool(value != value)


def short(value: Any) -> str:
    """A value in at most 60 characters, for a message."""
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
