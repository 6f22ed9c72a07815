"""Run configs as plain mappings: stacked as the command line stacks them, with single values set by dotted names."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdlab import files
from kdlab.types import InputError, MissingFileError


def read_yaml(path: Path, what: str, start: str = "the folder of the study file") -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Args:
        path: the file.
        what: what asks for it, for the message.
        start: where a relative name of it starts, for the message.

    Raises:
        MissingFileError: where it is not there.
        InputError: where it is no YAML within the limits of `kdlab.files.read_yaml`, or no mapping.
    """
    if not path.is_file():
        raise MissingFileError(f"{what}: {str(path)!r} is not there. Name a file; a relative name starts at {start}.")
    return files.read_yaml(path, what)


def stack(configs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Lay configs over each other: later values win, mappings are merged, ``callbacks+`` extends a list.

    A later class with arguments of its own replaces an earlier class; a later name of a class alone keeps them.

    >>> stack([{"a": {"b": 1, "c": 2}, "l": [1]}, {"a": {"b": 3}, "l+": [2]}])
    {'a': {'b': 3, 'c': 2}, 'l': [1, 2]}
    """
    result: dict[str, Any] = {}
    for config in configs:
        _lay(result, config)
    return result


def _lay(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        old = base.get(key)
        if key.endswith("+"):
            first = base.get(key[:-1]) or []
            more = value if isinstance(value, list) else [value]
            base[key[:-1]] = [*(first if isinstance(first, list) else [first]), *copy.deepcopy(more)]
        elif isinstance(value, dict) and isinstance(old, dict) and not _another_class(old, value):
            _lay(old, value)
        else:
            base[key] = copy.deepcopy(value)


def _another_class(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return "init_args" in new and "class_path" in new and new["class_path"] != old.get("class_path")


def set_value(config: dict[str, Any], name: str, value: Any) -> None:
    """Set one value by its dotted name; a class that is given by its bare name becomes a mapping on the way.

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
