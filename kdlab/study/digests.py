"""What the key of a job is made from, part by part, so that a key that differs can be explained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

#: part -> how a message names it
PARTS = {
    "settings": "its settings",
    "needs": "its teachers or its warm start",
    "data": "its data (windows, labels, split or scaling)",
    "version": "the version of kdlab",
}


def digest(value: Any) -> str:
    """Ten hexadecimal digits of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:10]


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
