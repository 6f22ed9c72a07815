"""What the key of a job is made from, part by part, so that a key that differs can be explained."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from kdlab.types import InputError

#: part -> how a message names it
PARTS = {
    "settings": "its settings",
    "needs": "its teachers or its warm start",
    "data": "its data (windows, labels, split or scaling)",
    "version": "the version of kdlab",
}


def digest(value: Any) -> str:
    """Ten hexadecimal digits of plain values."""
    return hashlib.sha256(as_text(value).encode()).hexdigest()[:10]


def as_text(value: Any) -> str:
    """Plain values as JSON, in one order; a date, which YAML has and JSON has not, is its text.

    Raises:
        InputError: a value is neither.

    >>> as_text({"b": datetime.date(2026, 1, 2), "a": [1]})
    '{"a": [1], "b": "2026-01-02"}'
    >>> as_text({"walk": "move", 1: "move"})
    '{"1": "move", "walk": "move"}'
    """
    return json.dumps(_ordered(value), default=_text_of)


def _ordered(value: Any) -> Any:
    """Mappings in the order of their keys as text: those of labels and people may be numbers and words."""
    if isinstance(value, Mapping):
        return dict(sorted(((key, _ordered(item)) for key, item in value.items()), key=lambda item: str(item[0])))
    return list(map(_ordered, value)) if isinstance(value, list | tuple) else value


def _text_of(value: Any) -> str:
    if isinstance(value, datetime.date):
        return str(value)
    raise InputError(
        f"a config of a study: its values must be those of JSON, or dates, but got {value!r:.80}. Write it as text, "
        "number, list or mapping."
    )


def digests_of(identity: Mapping[str, Any]) -> dict[str, str]:
    """Part -> its digest.

    Args:
        identity: what a job's key is a digest of: ``config``, ``teachers``, ``init``, ``data`` and ``version``.

    >>> sorted(digests_of({"config": {}, "teachers": {}, "init": None, "data": "d", "version": "1"}))
    ['data', 'needs', 'settings', 'version']
    """
    return {
        "settings": digest(identity["config"]),
        "needs": digest([identity["teachers"], identity["init"]]),
        "data": str(identity["data"]),
        "version": str(identity["version"]),
    }


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    """Which parts differ, in words.

    >>> differing({"settings": "a", "data": "b"}, {"settings": "a", "data": "c"})
    'its data (windows, labels, split or scaling) differ'
    """
    names = [words for part, words in PARTS.items() if one.get(part) != other.get(part)]
    return f"{', '.join(names) or 'its key'} differ{'s' if names == [PARTS['version']] or not names else ''}"
