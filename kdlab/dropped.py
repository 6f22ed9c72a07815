"""Names that jsonargparse drops silently.

It removes empty mappings, and mappings of these, from ``init_args`` and settings before it looks at their names, so a
typo there would change nothing and not be refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

from jsonargparse import Namespace

from kdlab.files import parse_yaml
from kdlab.types import InputError


def word_sections(words: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The mappings among command-line words, ``--model.init_args.net={...}``, as sections of a config file."""
    for word, after in pairwise([*words, ""]):
        option, sign, value = word.partition("=")
        value = value if sign else after
        if option.startswith("--") and value.lstrip().startswith("{"):
            with suppress(InputError):  # the parser refuses what is no YAML
                content: Any = parse_yaml(value, option)
                for name in reversed(option[2:].split(".")):
                    content = {name: content}
                yield option, content


def refuse_dropped(content: Mapping[str, Any], parsed: Namespace, where: str) -> None:
    """Refuse a name whose value is an empty mapping where it is no argument.

    Args:
        content: sections as the user wrote them.
        parsed: the result of the parser, with all arguments.
        where: the file or the option.

    Raises:
        InputError: naming the key.
    """
    for name, section in content.items():
        if name in parsed:  # the parser itself refuses others
            _refuse_below(section, parsed[name], where, f"{name}.")


def _refuse_below(given: Any, parsed: Any, where: str, key: str) -> None:
    if isinstance(given, list) and isinstance(parsed, list):
        for item in given:
            _refuse_in_list(item, parsed, where, key)
    if not isinstance(given, Mapping) or not isinstance(parsed, Namespace | dict):
        return
    known = vars(parsed) if isinstance(parsed, Namespace) else parsed
    if "class_path" in known:
        if _class_name(given) not in (None, _class_name(known)):
            return  # another file or option has replaced the class
        if not {"class_path", "init_args"} & set(given):  # of a class that may be written without its name
            _refuse_below(given, known.get("init_args"), where, key)
            return
    for name, value in given.items():
        argument = str(name).removesuffix("+")
        if argument in known:
            _refuse_below(value, known[argument], where, f"{key}{argument}.")
        elif _is_hollow(value) and name not in ("init_args", "dict_kwargs"):
            raise InputError(f"{where}: {key}{name} is not accepted. Correct the name, or remove it.")


def _refuse_in_list(item: Any, parsed: list[Any], where: str, key: str) -> None:
    """An item of a list against those of its class; lists are extended, so positions differ."""
    refused: InputError | None = None
    for other in parsed:
        if isinstance(item, Mapping) and isinstance(other, Namespace) and _class_name(item) == _class_name(vars(other)):
            try:
                _refuse_below(item, other, where, key)
            except InputError as error:
                refused = error
            else:
                return
    if refused is not None:
        raise refused


def _class_name(section: Mapping[str, Any]) -> str | None:
    path = section.get("class_path")
    return path.rpartition(".")[2] if isinstance(path, str) else None


def _is_hollow(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_hollow, value.values()))
