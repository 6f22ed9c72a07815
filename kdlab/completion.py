"""``kdlab completion``: commands, options, methods and files for the tab key of a shell.

The script that a shell evaluates calls ``kdlab completion`` with the words of its line. Options come from
`kdlab.usage`, and those of fit, validate, test and predict from the shipped schema of run files: nothing else is
imported.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from kdlab import usage
from kdlab.schema.files import shipped

#: holds the words of the line, a line each, when a shell asks, and "end", since shells strip empty lines
WORDS = "_KDLAB_WORDS"
_YAML, _WEIGHTS, _FOLDERS = (".yaml", ".yml"), (".ckpt",), ("/",)
#: argument -> the endings of its files; none: all
PATHS: dict[str, tuple[str, ...]] = {
    **{"file": _YAML, "config": _YAML, "checkpoint": _WEIGHTS, "checkpoints": _WEIGHTS, "ckpt_path": _WEIGHTS},
    **{"folder": _FOLDERS, "root": _FOLDERS, "out": (), "data": (), "output": (), "resume_from": (".jsonl",)},
}
_RUNS = ("fit", "validate", "test", "predict")
_PREFIXES = {"model": "Method", "data": "WindowDataModule"}

_BASH = """\
_kdlab() {
    local line kind="" typed
    COMPREPLY=()
    typed="$(printf '%s\\n' "${COMP_WORDS[@]:1:COMP_CWORD}" end)"
    while IFS= read -r line; do
        if [ -z "$kind" ]; then kind="$line"; else COMPREPLY+=("$line"); fi
    done < <(_KDLAB_WORDS="$typed" "${COMP_WORDS[0]}" completion 2>/dev/null)
    if [ "$kind" = paths ]; then compopt -o filenames 2>/dev/null; fi
    if [ "$kind" = open ]; then compopt -o nospace 2>/dev/null; fi
}
complete -F _kdlab kdlab
"""
_ZSH = """\
#compdef kdlab
_kdlab() {
    local -a found
    found=("${(@f)$(_KDLAB_WORDS="${(F)words[2,CURRENT]}"$'\\nend' ${words[1]} completion 2>/dev/null)}")
    local kind="${found[1]}"
    shift found
    if [[ "$kind" == paths ]]; then compadd -f -S '' -- "${found[@]}"; else compadd -- "${found[@]}"; fi
}
compdef _kdlab kdlab
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH}


def main(words: Sequence[str], commands: Iterable[str]) -> None:
    """The command: a script, or what may stand where the cursor is.

    Args:
        words: what comes after ``kdlab completion``.
        commands: the names of all commands.
    """
    if WORDS in os.environ:
        kind, found = complete(os.environ[WORDS].split("\n")[:-1], commands)
        print("\n".join([kind, *found]))
        return
    print(_SCRIPTS[usage.completion().parse_args(list(words)).shell], end="")


def complete(words: Sequence[str], commands: Iterable[str]) -> tuple[str, list[str]]:
    """What may stand in place of the last word.

    Args:
        words: of the line, without the program, up to the cursor; the last one may be empty. Bash makes three words of
            ``--name=value``.
        commands: the names of all commands.

    Returns:
        ``"words"``, ``"open"`` (an argument continues after a dot) or ``"paths"``, and the candidates.

    >>> complete(["stu"], ["fit", "study", "tune"]), complete(["study", "--dry"], ["study"])
    (('words', ['study']), ('words', ['--dry-run']))
    """
    *before, last = [word for word in words if word != "="] if words[-1:] != ["="] else [*words[:-1], ""]
    before = [word for word in before if word != "="]
    if not before:
        return _begin([*commands, "--help", "--version"], last)
    if before[0] in _RUNS:
        return _of_run(before, last)
    if before[0] not in usage.PARSERS:
        return "words", []
    return _of_command(usage.PARSERS[before[0]](), before[1:], last)


def _begin(words: Iterable[str], last: str) -> tuple[str, list[str]]:
    found = sorted({word for word in words if word.startswith(last)})
    return ("open" if found and all(word.endswith(".") for word in found) else "words"), found


def _of_command(parser: argparse.ArgumentParser, before: Sequence[str], last: str) -> tuple[str, list[str]]:
    """Options of a command of kdlab's own, or the value of one."""
    options = {name: action for action in parser._actions for name in action.option_strings}
    given = options.get(before[-1]) if before else None
    if given is not None and given.nargs != 0:
        return _value(given, last)
    if last.startswith("-"):
        return _begin(options, last)
    positional = [action for action in parser._actions if not action.option_strings]
    return _value(positional[0], last) if positional else _begin(options, last)


def _value(action: argparse.Action, last: str) -> tuple[str, list[str]]:
    if action.choices is not None:
        return _begin(map(str, action.choices), last)
    if action.dest == "example":
        from kdlab.new.examples import names

        return _begin(names(), last)
    return _paths(last, PATHS[action.dest]) if action.dest in PATHS else ("words", [])


# ---------------------------------------------------------------------- fit, validate, test, predict
def _of_run(before: Sequence[str], last: str) -> tuple[str, list[str]]:
    """Settings of a run by their dotted names, or the value of one."""
    option = before[-1].removeprefix("--") if before[-1].startswith("--") else ""
    if option in ("config", "ckpt_path"):
        return _paths(last, PATHS[option])
    if option and (words := sorted(_words(_shape_of(option, before)))):
        return _begin(words, last)
    if option:
        return "words", []
    names = ["config", "help", "print_config", *_names_below(last.removeprefix("--"), before)]
    return _begin((f"--{name}" for name in names), last)


def _names_below(start: str, before: Sequence[str]) -> list[str]:
    """Names at the level of what is typed; those of a section end with a dot until it is typed."""
    section, dot, _ = start.partition(".")
    if dot and section == "trainer":
        return [f"trainer.{name}" for name in _schema()["properties"]["trainer"]["properties"] if name[-1] != "+"]
    if dot and section in _PREFIXES:
        return [f"{section}.{name}" for name in _arguments(section, before) if name[-1] != "+"]
    sections = [f"{name}." for name in ("trainer", *_PREFIXES)]
    return [*(name for name in _schema()["properties"] if name not in ("include", "trainer")), *sections]


def _arguments(section: str, before: Sequence[str]) -> dict[str, Any]:
    """The arguments of the class that the line names, or of any."""
    named = [value for name, value in pairwise(before) if name in _class_options(section)]
    definitions = _schema()["definitions"]
    for name, shape in definitions.items():
        if named and name.startswith("args.kdlab.") and name.rpartition(".")[2] == named[-1].rpartition(".")[2]:
            return dict(shape["properties"])
    return dict(definitions[f"part.{_PREFIXES[section]}"]["properties"])


def _class_options(section: str) -> tuple[str, str]:
    return f"--{section}", f"--{section}.class_path"


def _shape_of(option: str, before: Sequence[str]) -> dict[str, Any]:
    section, _, name = option.partition(".")
    properties: dict[str, Any] = _schema()["properties"]
    if section == "trainer":
        return dict(properties["trainer"]["properties"].get(name, {}))
    if section in _PREFIXES and name not in ("", "class_path"):
        return dict(_arguments(section, before).get(name.removeprefix("init_args."), {}))
    return dict(properties.get(section, {}))


def _words(shape: dict[str, Any]) -> set[str]:
    """The words that a shape takes: those of a list, names of classes without their modules, true and false."""
    if "$ref" in shape:
        return _words(_schema()["definitions"][shape["$ref"].rpartition("/")[2]])
    kinds = shape.get("type", ())
    found = {"true", "false"} if "boolean" in (kinds if isinstance(kinds, list) else [kinds]) else set()
    found |= {str(word) for word in shape.get("enum", ()) if "." not in str(word)}
    return found.union(*map(_words, shape.get("anyOf", ())))


@cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shipped("run"))
    return found


# ---------------------------------------------------------------------- files
def _paths(last: str, endings: Sequence[str]) -> tuple[str, list[str]]:
    """Files with one of these endings, and folders; hidden ones only where a dot is typed."""
    folder, _, start = last.rpartition("/")
    typed = last[: len(last) - len(start)]
    place = Path(os.path.expanduser(folder or ("/" if last.startswith("/") else ".")))
    try:
        entries = sorted(place.iterdir())
    except OSError:
        return "paths", []
    found = []
    for path in entries:
        if path.name.startswith(start) and (start or path.name[:1] != "."):
            if path.is_dir():
                found.append(f"{typed}{path.name}/")
            elif not endings or path.name.endswith(tuple(endings)):
                found.append(f"{typed}{path.name}")
    return "paths", found
