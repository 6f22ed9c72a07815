"""What a card must have for its ``README.md``, checked before the folder of a student is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_WORDS, _MAYBE_WORDS = (str,), (str, None)
_NUMBER, _MAYBE_NUMBER = (int, float), (int, float, None)
_PAIR = "two numbers"
_CONTROL = {
    "row": _WORDS,
    "difference": _MAYBE_NUMBER,
    "interval": (_PAIR, None),
    "over": _WORDS,
    "units": (int,),
}
_EVIDENCE = {
    **dict.fromkeys(("row", "study", "over", "kdlab"), _WORDS),
    "commit": _MAYBE_WORDS,
    "accuracy": _MAYBE_NUMBER,
    "interval": (_PAIR, None),
    "confidence": _NUMBER,
    **dict.fromkeys(("units", "runs"), (int,)),
    "controls": ([(_CONTROL,)],),
    **dict.fromkeys(("selection", "misses"), ([_WORDS],)),
    "this_net": ({"accuracy": _MAYBE_NUMBER, "windows": (int, None), "people": (int, None)},),
}
_CARD = {
    **dict.fromkeys(("name", "kdlab"), _WORDS),
    "sharing": (
        {
            "licence": _MAYBE_WORDS,
            "data": ({"dataset": _MAYBE_WORDS, "licence": _MAYBE_WORDS, "citation": _MAYBE_WORDS},),
            "people": ({"unit": _WORDS}, None),
            "evidence": (_EVIDENCE, None),
            "intended_use": _WORDS,
            "limits": ([_WORDS],),
        },
    ),
    "provenance": ({"method": _MAYBE_WORDS, "net": ({},), "teachers": ({},), "training": ({},)},),
}
_METRICS = {"count": (int,), "windows": _WORDS, "accuracy": _NUMBER, "f1": _NUMBER}
_KINDS = {str: "words", int: "a whole number", float: "a number", None: "null"}


def lacking(card: Mapping[str, Any]) -> str | None:
    """What of a card is missing or of another kind, in words; None where nothing is.

    >>> lacking({"name": "s", "kdlab": "1", "sharing": {"licence": 3}})
    'sharing.licence must be words or null, but got 3'
    """
    wanted = {**_CARD, "metrics": (_METRICS,)} if card.get("metrics") is not None else _CARD
    return _lacking(card, wanted, "")


def _lacking(value: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> str | None:
    for key, kinds in wanted.items():
        if (found := _wrong(value.get(key), kinds, f"{where}{key}")) is not None:
            return found
    return None


def _wrong(value: Any, kinds: tuple[Any, ...], name: str) -> str | None:
    for kind in kinds:
        if isinstance(kind, dict) and isinstance(value, Mapping):
            return _lacking(value, kind, f"{name}.")
        if isinstance(kind, list) and isinstance(value, list):
            parts = (_wrong(item, kind[0], f"{name}[{i}]") for i, item in enumerate(value))
            return next((part for part in parts if part is not None), None)
    if value is None and None in kinds:
        return None
    if _PAIR in kinds and isinstance(value, list) and len(value) == 2:
        return next((part for end in value if (part := _wrong(end, _NUMBER, name)) is not None), None)
    if type(value) in kinds and (not isinstance(value, float) or math.isfinite(value)):
        return None
    said = [_in_words(kind) for kind in kinds if kind is not int or float not in kinds]
    shown = "nothing" if value is None else repr(value)[:80]
    return f"{name} must be {' or '.join(dict.fromkeys(said))}, but got {shown}"


def _in_words(kind: Any) -> str:
    if isinstance(kind, dict):
        return "an object"
    return "a list" if isinstance(kind, list) else str(_KINDS.get(kind, kind))
