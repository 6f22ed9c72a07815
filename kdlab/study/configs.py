"""Single values of run configs, read and set by their dotted names."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from kdlab.configs import ADDED, added_last, extended
from kdlab.types import InputError


def set_values(config: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Set values by their dotted names, those that extend lists last; the rest as :func:`set_value`.

    >>> config = {}
    >>> set_values(config, {"trainer.callbacks+": "B", "trainer.callbacks": ["A"]})
    >>> config
    {'trainer': {'callbacks': ['A', 'B']}}
    """
    for name, value in added_last(values):
        set_value(config, name, value)


def set_value(config: dict[str, Any], name: str, value: Any) -> None:
    """Set one value by its dotted name; a class that is given by its bare name becomes a mapping on the way.

    A name such as ``trainer.callbacks+`` extends the list ``trainer.callbacks``.

    Raises:
        InputError: where the name leads through something that holds no named values.

    >>> config = {"views": {"pi": "PersistenceImage"}}
    >>> set_value(config, "views.pi.init_args.size", 32)
    >>> config
    {'views': {'pi': {'class_path': 'PersistenceImage', 'init_args': {'size': 32}}}}
    """
    *path, last = name.split(".")
    node = config
    for i, part in enumerate(path):
        below = node.get(part)
        if isinstance(below, str) and [*path, last][i + 1] in ("init_args", "class_path"):
            below = {"class_path": below}
        if below is None:
            below = {}
        if not isinstance(below, dict):
            raise InputError(f"set: {name!r} leads through {part!r}, which is {below!r} and holds no named values.")
        node[part] = below
        node = below
    if last.endswith(ADDED):
        last = last.removesuffix(ADDED)
        node[last] = extended(node.get(last), value)
    else:
        node[last] = copy.deepcopy(value)


def get_value(config: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """One value by its dotted name.

    >>> get_value({"model": {"init_args": {"view": "pi"}}}, "model.init_args.view")
    'pi'
    """
    node: Any = config
    for part in name.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return default
        node = node[part]
    return node
