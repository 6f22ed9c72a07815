"""Configs of a study's jobs that differ in seed, test people and folders alone: parsed once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from kdlab import reuse
from kdlab.configs import read_config

#: settings that differ between the jobs of a run
_OWN = ("seed_everything", "run", "model.init_args.init", "model.init_args.student_init")
_FOLD = "data.init_args.test_subjects"
_TEACHERS = "model.init_args.teachers"


def parse_once(words: Sequence[str] | None, base: type, parse: Callable[[], Namespace]) -> Namespace:
    """Parse ``<subcommand> --config FILE``; within :func:`kdlab.reuse.reusing` a config that was parsed is copied.

    It is found by the content of the file without seed, name, test people and folders, which are filled in. These are
    whole numbers, and texts that the parser takes as they are; where it changed one of them, it is parsed again.

    Args:
        words: of the command line; None: those of the process.
        base: of the data modules that the parser takes.
        parse: parses them.
    """
    file = config_file(words)
    if file is None or words is None or not reuse.active():
        return parse()
    content = read_config(Path(file), "--config")
    own = own_of(content)
    if own is None:
        return parse()
    shape = {name: type(value).__name__ for name, value in own.items()}
    key = ("parsed", words[0], base, repr([without(content, own), shape]))
    found: tuple[Namespace, dict[str, Any]] | None = reuse.find(key)
    if found is None:
        parsed = parse()
        if all(at(parsed[words[0]], name) == value for name, value in own.items()):
            reuse.keep(key, (copy.deepcopy(parsed), own), 2**16)
        return parsed
    parsed = copy.deepcopy(found[0])
    section = parsed[words[0]]
    fill(section, own)
    section.config = [type(path)(file) for path in section.config]
    return parsed


def config_file(words: Sequence[str] | None) -> str | None:
    """The config file of a command line that has nothing else."""
    if words is None or len(words) != 3 or words[1] != "--config" or not Path(words[2]).is_file():
        return None
    return words[2]


def own_of(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """Name -> value of what is a job's own in its config; None where the parser may change one of them."""
    own = dict(_own(content))
    return own if all(_is_plain(value) for name, value in own.items() if name != _FOLD) else None


def _own(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in _OWN:
        if (value := at(content, name)) is not None:
            yield name, value
    people = at(content, _FOLD)
    if isinstance(people, list) and people and all(type(name) is str for name in people):  # taken as they are
        yield _FOLD, people
    yield from _checkpoints(at(content, _TEACHERS), _TEACHERS)


def _checkpoints(node: Any, above: str) -> Iterator[tuple[str, Any]]:
    """The runs that teachers come from, those of the members of an ensemble included."""
    for name, value in node.items() if isinstance(node, Mapping) else ():
        if name == "checkpoint" and value is not None:
            yield f"{above}.{name}", value
        yield from _checkpoints(value, f"{above}.{name}")


def _is_plain(value: Any) -> bool:
    """Whether the parser takes a value as it is: a whole number, or a path that YAML reads as a text."""
    if isinstance(value, str):
        try:
            return "/" in value and yaml.safe_load(value) == value
        except yaml.YAMLError:
            return False
    return type(value) is int


def without(content: Any, own: Mapping[str, Any], above: str = "") -> Any:
    """A config without the values of these dotted names."""
    if isinstance(content, Mapping):
        below = {key: (f"{above}.{key}" if above else str(key), value) for key, value in content.items()}
        return {key: without(value, own, name) for key, (name, value) in below.items() if name not in own}
    return content


def _step(node: Any, part: str) -> Any:
    """What a mapping or the arguments of a class hold under a name."""
    if isinstance(node, Namespace) and "class_path" in node and part not in ("class_path", "init_args"):
        node = node.get("init_args")
    return node.get(part) if isinstance(node, Mapping | Namespace) else None


def at(node: Any, name: str) -> Any:
    """What a config holds at a dotted name, in which the arguments of a class follow its own name or ``init_args``."""
    for part in name.split("."):
        node = _step(node, part)
    return node


def fill(node: Any, own: Mapping[str, Any]) -> None:
    """Set what a parsed config holds at dotted names that are in it."""
    for name, value in own.items():
        _set(node, name, value)


def _set(node: Any, name: str, value: Any) -> None:
    *path, last = name.split(".")
    for part in path:
        node = _step(node, part)
    if isinstance(node, Namespace) and "class_path" in node:
        node = node.init_args
    node[last] = value
