"""Run configs as plain mappings: read with the files that they include, and laid over each other."""

from __future__ import annotations

import copy
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from kdlab.files import read_yaml
from kdlab.number_keys import check_keys
from kdlab.types import InputError, MissingFileError

INCLUDE = "include"
ADDED = "+"  # ends the name of a list whose values extend those of the list before
_OF_STUDY = {"students", "scratch", "teachers", "baselines"}
_OF_CLASS = ("init_args", "dict_kwargs")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+\+")  # a setting of a study that extends a list

#: what the names of a mapping are: sections and settings of a run, arguments, or those that the user gave to something
Names = Literal["sections", "arguments", "given"]


def read_config(path: Path, what: str, start: str = "the working directory") -> dict[str, Any]:
    """A config file, laid over the files that it includes.

    ``include: data.yaml`` or ``include: [../methods/tgd.yaml, data.yaml]`` names configs by their paths from the file
    that includes them. They are laid over each other in this order, and the file itself over them, by the rule of
    :func:`stack`. An included file includes no others.

    Args:
        path: the file.
        what: the argument or key that names it, for messages.
        start: where a relative name of it starts, for messages.

    Returns:
        The config without ``include``. A ``callbacks+`` that finds no ``callbacks`` keeps its name, so that the config
        extends the list of those that it is laid over.

    Raises:
        MissingFileError: it or a file that it includes is not there.
        InputError: one of them is no YAML mapping within the limits of `kdlab.files.read_yaml`, or ``include`` names
            no files, the file itself, or a file that includes others; a number is a key where none is taken.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "data.yaml").write_text("{seed_everything: 0, trainer: {max_epochs: 40}}", "utf-8")
        ...     run = Path(folder, "run.yaml")
        ...     _ = run.write_text("{include: data.yaml, trainer: {devices: 1}}", "utf-8")
        ...     read_config(run, "--config")
        {'seed_everything': 0, 'trainer': {'max_epochs': 40, 'devices': 1}}
    """
    return expand(read_file(path, what, start), path, what)


def expand(content: Mapping[str, Any], path: Path, what: str) -> dict[str, Any]:
    """What a config file holds, laid over the files that it includes; the rest as :func:`read_config`."""
    if "study" in content and _OF_STUDY & set(content):
        raise InputError(
            f"{what}: {str(path)!r} must be the config of one run, but is a study of several. Run all of it by kdlab "
            f"study {shlex.quote(str(path))}, or name one of its configs."
        )
    own = {key: value for key, value in content.items() if key != INCLUDE}
    check_keys(own, f"{what}: {str(path)!r}")
    if INCLUDE not in content:
        return own
    where = f"{what}: {str(path)!r}: {INCLUDE}"
    names = _names(content[INCLUDE], where)
    return _stack([*(_read_included(path, name, where) for name in names), own], "sections", extend=True)


def read_file(path: Path, what: str, start: str) -> dict[str, Any]:
    """A config file as it stands, without those that it includes.

    Args:
        path: the file.
        what: the argument or key that names it, for messages.
        start: where a relative name of it starts, for messages.

    Raises:
        MissingFileError: it is not there.
        InputError: it is no YAML mapping within the limits of `kdlab.files.read_yaml`.
    """
    if not os.path.exists(path):  # also where the name is too long for a file
        raise MissingFileError(f"{what}: {str(path)!r} is not there. Name a file; a relative name starts at {start}.")
    return read_yaml(path, what)


def _names(value: Any, where: str) -> list[str]:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name.strip() and "\0" not in name for name in names):
        raise InputError(
            f"{where} must be the name of a file or a list of them, but got {value!r:.80}. Write "
            f"{INCLUDE}: [data.yaml]."
        )
    return names


def _read_included(path: Path, name: str, where: str) -> dict[str, Any]:
    file = path.parent / name
    if os.path.exists(file) and file.samefile(path):
        raise InputError(f"{where} must name other files, but got {name!r}, the file itself. Remove it.")
    content = read_file(file, where, f"the folder of {path.name!r}")
    if INCLUDE in content:
        raise InputError(
            f"{where} must name files that include no others, but got {name!r}, which includes "
            f"{content[INCLUDE]!r:.80}. Name all files in {path.name!r}."
        )
    check_keys(content, f"{where}: {name!r}")
    return content


def stack(configs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Lay configs over each other: later values win, mappings are merged, ``callbacks+`` extends a list.

    A later class with arguments of its own replaces an earlier class; a later name of a class alone keeps the
    arguments, and those that come before any class are kept for it. This is the rule of ``include`` and of studies.
    A ``callbacks+`` that finds no ``callbacks`` becomes it, so that a config has one list of them.
    Several ``--config`` on a command line give the same, with these differences of their parser: a later file replaces
    all teachers, views or weights, where here those of other names stay; a later class keeps those arguments of an
    earlier one that it takes, too; and arguments come after their class.

    >>> stack([{"a": {"b": 1, "c": 2}, "l": [1]}, {"a": {"b": 3}, "l+": [2]}])
    {'a': {'b': 3, 'c': 2}, 'l': [1, 2]}
    """
    return _stack(configs, "sections", extend=False)


def stack_studies(files: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Lay study files over each other, as :func:`stack` does with configs.

    A ``trainer.callbacks+`` that finds no ``trainer.callbacks`` keeps its name, so that it extends the list of a run's
    config.

    >>> stack_studies([{"set": {"all": {"trainer.callbacks+": ["A"]}}}, {"set": {"all": {"trainer.callbacks+": "B"}}}])
    {'set': {'all': {'trainer.callbacks+': ['A', 'B']}}}
    """
    return _stack(files, "given", extend=True)


def _stack(configs: Iterable[Mapping[str, Any]], names: Names, *, extend: bool) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for config in configs:
        _lay(result, config, names, extend)
    return result


def _lay(base: dict[str, Any], over: Mapping[str, Any], names: Names, extend: bool) -> None:
    """Lay one config over another; with ``extend`` a list that extends nothing in it is left to extend a third."""
    for key, value in added_last(over):
        old = base.get(key)
        if (name := _list_of(key, base, names)) is not None:
            if extend and name not in base:
                base[key] = extended(old, value) if key in base else copy.deepcopy(value)
            else:
                base[name] = extended(base.get(name), value)
            continue
        merged = isinstance(value, dict) and isinstance(old, dict) and not _another_class(old, value)
        if not merged and (longer := f"{key}{ADDED}") in base and _list_of(longer, base, names) is not None:
            del base[longer]  # it would extend what is replaced here
        if isinstance(value, dict):
            below: Names = "arguments" if names == "sections" or key in _OF_CLASS else "given"
            base[key] = old if merged else {}
            _lay(base[key], value, below, extend)
        else:
            base[key] = copy.deepcopy(value)


def _list_of(key: Any, base: Mapping[str, Any], names: Names) -> str | None:
    """The list that a name with `ADDED` extends; None for other names: a class, a run or a label may be called 60+."""
    if not isinstance(key, str) or not key.endswith(ADDED):
        return None
    name = key.removesuffix(ADDED)
    return name if names != "given" or _DOTTED.fullmatch(key) or isinstance(base.get(name), list) else None


def added_last(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The values of a mapping, those that extend lists after all others, whose order stays."""
    return sorted(values.items(), key=lambda item: str(item[0]).endswith(ADDED))


def extended(old: Any, value: Any) -> list[Any]:
    """A list with further values; what is no list counts as :func:`as_list` says.

    >>> extended(["a"], "b"), extended(None, ["b"])
    (['a', 'b'], ['b'])
    """
    return [*as_list(old), *copy.deepcopy(as_list(value))]


def as_list(value: Any) -> list[Any]:
    """A list as it is, nothing as an empty one, and anything else as a list of one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _another_class(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Has the later one arguments and a class of its own? Arguments that come before any class are kept for it."""
    return {"class_path", "init_args"} <= set(new) and new["class_path"] != old.get("class_path", new["class_path"])
