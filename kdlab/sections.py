"""Configs that differ from accepted ones in a section: this section alone is parsed.

A study checks the configs of all of its jobs. They have few different sections, and the parser reads a section as it
does whatever stands in the others. Most sections differ in values alone, such as the people of a fold: after the first
of them the parser reads what is given, without the defaults of all other arguments, which it has accepted.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, Namespace  # type: ignore[attr-defined]
from lightning.pytorch import Trainer

from kdlab import reuse
from kdlab.config_checks import check_section, data_class, is_name_of_run, is_seed
from kdlab.configs import read_config
from kdlab.methods.base import Method
from kdlab.parsed import at, config_file, fill, own_of, without
from kdlab.parser import Parser
from kdlab.study import ends
from kdlab.types import InputError

#: sections with a parser of their own; all other settings of a config are few
SECTIONS = ("model", "data", "trainer")
#: those that name a class
MADE = ("model", "data")
_REST = "others"
_PLAIN = re.compile(r"\d[\w.]*|[\w$.-]*/[\w$./-]*")  # neither a class nor a mapping, a list or a reference of YAML
_FULL = "a config was accepted"  # it has imported all classes that a bare name may mean


def accept(words: Sequence[str], read: Callable[[], Namespace]) -> None:
    """Check ``fit --config FILE``; within :func:`kdlab.reuse.reusing` accepted sections are not parsed again.

    A section is found by its content, without seed, name and folders where these are values that the parser takes as
    they are. What is refused is read as a config of its own, so its message is the same.

    Args:
        words: of the command line.
        read: parses them, ends the process where they are not accepted, and returns what was parsed.
    """
    file = config_file(words)
    if file is None or words[0] != "fit" or not reuse.active():
        read()
        return
    content, base = read_config(Path(file), "--config"), data_class(words)
    own = own_of(content) or {}
    keys = _keys(content, own, base)
    new = [name for name, key in keys.items() if reuse.find(key) is None]
    parsed: Mapping[str, Any] | Namespace | None = None
    if reuse.find(_FULL) is not None and _REST not in new and _in_range(own):
        parsed = _each(content, new, base)
    if parsed is None:
        new, parsed = list(keys), read()
        reuse.keep(_FULL, True)
    for name in new:
        if all(at(parsed, dotted) == value for dotted, value in own.items() if _section(dotted) == name):
            section = copy.deepcopy(parsed[name]) if name in MADE else True
            reuse.keep(keys[name], section, 8 * len(keys[name][-1]))


def accepted(content: Mapping[str, Any], base: type) -> Namespace | None:
    """Method and data module of an accepted config as they were parsed, with the values that are a job's own.

    Args:
        content: of the config.
        base: of the data modules that the parser takes.

    Returns:
        ``model`` and ``data``, not made; None where they are not kept (see :mod:`kdlab.reuse`).
    """
    own = own_of(content) or {}
    keys = _keys(content, own, base)
    found = {name: reuse.find(keys[name]) for name in MADE if name in keys}
    if set(found) != set(MADE) or None in found.values():
        return None
    sections = Namespace({name: copy.deepcopy(section) for name, section in found.items()})  # type: ignore[no-untyped-call]
    fill(sections, {dotted: value for dotted, value in own.items() if _section(dotted) in MADE})
    return sections


def _section(dotted: str) -> str:
    first = dotted.partition(".")[0]
    return first if first in SECTIONS else _REST


def _keys(content: Mapping[str, Any], own: Mapping[str, Any], base: type) -> dict[str, tuple[Any, ...]]:
    """Section -> what it is found by, the content last."""
    shared, shape = without(content, own), {name: type(value).__name__ for name, value in own.items()}
    parts = {name: shared[name] for name in SECTIONS if name in shared}
    parts[_REST] = {name: value for name, value in shared.items() if name not in SECTIONS} | {"": sorted(parts)}
    shapes = {name: {key: kind for key, kind in shape.items() if _section(key) == name} for name in parts}
    return {name: ("accepted", base, name, repr([part, shapes[name]])) for name, part in parts.items()}


def _in_range(own: Mapping[str, Any]) -> bool:
    """Whether name and seed, of which the parser checks the type alone, are those of a run."""
    return is_name_of_run(own.get("run")) and is_seed(own.get("seed_everything"))


def _each(content: Mapping[str, Any], names: Sequence[str], base: type) -> dict[str, Any] | None:
    """Parse sections, each by a parser that has no other; None where one of them is refused."""
    found: dict[str, Any] = {}
    with contextlib.redirect_stderr(io.StringIO()):
        for name in names:
            parser = reuse.kept(("parser", name, base), functools.partial(_parser, name, base), _size)
            shape = ("shape", base, name, repr(_shape(content[name])))
            try:
                if reuse.find(shape) is None:
                    found[name] = _from_file(parser, {name: content[name]})[name]
                else:
                    found[name] = parser.parse_object({name: copy.deepcopy(content[name])}, defaults=False)[name]
                check_section(name, found[name], parser)
            except SystemExit as error:
                if ends.end_of(error) is not None:
                    raise
                return None
            except InputError:
                return None
            reuse.keep(shape, True, 2 * len(shape[-1]))
    return found


def _from_file(parser: Parser, content: Mapping[str, Any]) -> Namespace:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "section.yaml")
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return parser.parse_args(["--config", str(path)])


def _shape(content: Any) -> Any:
    """A section with types in place of its numbers and of texts that name no class; everything else is kept.

    Sections of one shape have the same arguments, so the defaults of all others are the same, too.
    """
    if isinstance(content, Mapping):
        return {name: _shape(value) for name, value in content.items()}
    if isinstance(content, list):
        shapes = [_shape(item) for item in content]
        alike = all(isinstance(shape, type) for shape in shapes)
        return ("list of", sorted({shape.__name__ for shape in shapes})) if alike else shapes
    plain = isinstance(content, int | float) or (isinstance(content, str) and _PLAIN.fullmatch(content))
    return type(content) if plain else content


def _size(parser: Parser) -> int:
    return 2**20


def _parser(name: str, base: type) -> Parser:
    """A parser of one section, made as that of a subcommand."""
    parser = Parser(allow_abbrev=False)
    parser.add_argument("--config", action=ActionConfigFile)
    if name == "trainer":
        parser.add_lightning_class_args(Trainer, name)
    else:
        parser.add_lightning_class_args(Method if name == "model" else base, name, subclass_mode=True)
    return parser
