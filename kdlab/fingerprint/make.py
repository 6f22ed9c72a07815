"""The fingerprint of a data module: its contents, with people as names or hashes, and an id over all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdlab.fingerprint.people import id_of, with_hashes


def make_fingerprint(contents: Mapping[str, Any], salt: str | None = None) -> dict[str, Any]:
    """The contents and, under ``"id"``, a digest of them.

    Args:
        contents: plain values: data set, windows, split, scaling, classes, channels.
        salt: replaces people by their salted hashes; None keeps the names.

    Example:
        >>> make_fingerprint({"dataset": "d", "train": ["1"]})["id"]
        'fa68fd205b53af76'
    """
    result = dict(contents) if salt is None else with_hashes(contents, salt)
    result["id"] = id_of(result)
    return result
