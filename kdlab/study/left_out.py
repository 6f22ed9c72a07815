"""Rows of an included study file that the file above it leaves out, and their names elsewhere in the included file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdlab.configs import stack_studies
from kdlab.study.keys import STAGES


def laid_over(content: Mapping[str, Any], included: Mapping[str, Any]) -> dict[str, Any]:
    """A study laid over those that it includes, without the rows that it sets to null (``students: {amd: null}``).

    ``students: null`` is null for all of them. Where the included files name such a row (``compare``, ``baselines``,
    ``published``, ``tune``, ``tuned``), they do so no more. A row that no included file has keeps its null, which is
    refused as a row without a config.

    Args:
        content: the file alone.
        included: those that it includes, laid over each other.

    Example:
        >>> included = {"students": {"kd": {"config": "kd.yaml"}, "amd": {"config": "amd.yaml"}}}
        >>> laid_over({"students": {"amd": None}}, {**included, "compare": [["amd", "kd"]]})
        {'students': {'kd': {'config': 'kd.yaml'}}, 'compare': []}
    """
    null: dict[str, set[str]] = {part: set() for part in STAGES}
    for part in STAGES:
        rows, below = content.get(part), included.get(part)
        if part in content and rows is None and isinstance(below, Mapping):
            null[part] = set(below)
        elif isinstance(rows, Mapping) and isinstance(below, Mapping):
            null[part] = {name for name, row in rows.items() if row is None and name in below}
    laid = stack_studies([included, content])
    kept: dict[str, Any] = {}
    for part, names in null.items():
        rows = laid.get(part)
        if names or isinstance(rows, Mapping):
            kept[part] = {name: row for name, row in (rows or {}).items() if name not in names}
    there = {str(name) for rows in kept.values() for name in rows}
    gone = {str(name) for names in null.values() for name in names} - there
    gone |= {part for part, names in null.items() if names and not kept[part]}  # tune: own: students
    return {**(stack_studies([_unnamed(included, gone), content]) if gone else laid), **kept}


def _unnamed(content: Mapping[str, Any], gone: set[str]) -> dict[str, Any]:
    """A study that names some rows nowhere but among its rows."""
    result = dict(content)
    if isinstance(pairs := content.get("compare"), list):
        result["compare"] = [pair for pair in pairs if not (isinstance(pair, list) and gone & set(map(str, pair)))]
    if isinstance(names := content.get("baselines"), list):
        result["baselines"] = [name for name in names if str(name) not in gone]
    if isinstance(entries := content.get("published"), Mapping):
        result["published"] = {t: entry for t, entry in entries.items() if str(t).partition(" (")[0] not in gone}
    if isinstance(tune := content.get("tune"), Mapping):
        result["tune"] = _untuned(tune, gone)
    if isinstance(tuned := content.get("tuned"), Mapping) and isinstance(found := tuned.get("settings"), Mapping):
        rows = {title: values for title, values in found.items() if str(title).partition("[")[0] not in gone}
        result["tuned"] = {**tuned, "settings": rows}
    return result


def _untuned(tune: Mapping[str, Any], gone: set[str]) -> dict[str, Any]:
    result = dict(tune)
    if isinstance(own := tune.get("own"), Mapping):
        result["own"] = {name: space for name, space in own.items() if str(name) not in gone}
    if isinstance(on := tune.get("on"), list):
        result["on"] = [name for name in on if str(name) not in gone] or None
    return result
