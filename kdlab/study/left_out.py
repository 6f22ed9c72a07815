"""Rows of an included study file that the file above it leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdlab.study.keys import STAGES


def without_left_out(content: Mapping[str, Any], included: Mapping[str, Any]) -> dict[str, Any]:
    """A study laid over those that it includes, without the rows that it sets to null (``students: {amd: null}``).

    A row that no included file has keeps its null, which is refused as a row without a config.

    Args:
        content: the file, laid over those that it includes.
        included: these alone.

    Example:
        >>> included = {"students": {"kd": {"config": "kd.yaml"}, "amd": {"config": "amd.yaml"}}}
        >>> without_left_out({"students": {**included["students"], "amd": None}}, included)
        {'students': {'kd': {'config': 'kd.yaml'}}}
    """
    kept = dict(content)
    for part in STAGES:
        rows, below = content.get(part), included.get(part)
        if isinstance(rows, Mapping) and isinstance(below, Mapping):
            kept[part] = {name: row for name, row in rows.items() if row is not None or name not in below}
    return kept
