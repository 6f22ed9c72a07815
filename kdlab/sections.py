"""Configs that differ from accepted ones in a section: this section alone is parsed.

A study checks the configs of all of its jobs. They have few different sections, and the parser reads a section as it
does whatever the others hold. Most sections differ in values alone, such as the people of a fold: after the first of
them these are exchanged where the parser takes them as they are (:mod:`kdlab.other_values`), and else it reads what is
given, without the defaults of all other arguments, which it has accepted.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile, Namespace  # type: ignore[attr-defined]
from lightning.pytorch import Trainer

from kdlab import reuse
from kdlab.config_checks import check_section, data_class, is_name_of_run, is_seed
from kdlab.configs import read_config
from kdlab.files import write_yaml
from kdlab.methods.base import Method
from kdlab.other_values import with_values
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
_OURS = ("kdlab", "torch", "lightning")
_FULL = "a config was accepted"  # it has imported all classes that a bare name may mean

_Part = tuple[Any, dict[str, Any]]  # content of a section without what is a job's own, and this by its dotted names


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
    parts = _parts(content, own)
    keys = {name: _key(name, part, base) for name, part in parts.items()}
    new = [name for name, key in keys.items() if reuse.find(key) is None]
    parsed: Mapping[str, Namespace] | Namespace | None = None
    if reuse.find(_FULL) is not None and _REST not in new and _in_range(own):
        parsed = _each(content, parts, new, base)
    if parsed is None:
        new, parsed = list(keys), read()
        reuse.keep(_FULL, True)
    for name in new:
        if _holds(parsed, parts[name][1]):
            section, size = copy.deepcopy(parsed[name]) if name in SECTIONS else True, 8 * len(keys[name][-1])
            reuse.keep(keys[name], section, size)
            reuse.keep(_shape_key(name, parts[name], base), (parts[name][0], section), size)


def accepted(content: Mapping[str, Any], base: type) -> Namespace | None:
    """Method and data module of an accepted config as they were parsed, with the values that are a job's own.

    Args:
        content: of the config.
        base: of the data modules that the parser takes.

    Returns:
        ``model`` and ``data``, not made; None where they are not kept (see :mod:`kdlab.reuse`).
    """
    own = own_of(content) or {}
    parts = _parts(content, own)
    found = {name: reuse.find(_key(name, parts[name], base)) for name in MADE if name in parts}
    if set(found) != set(MADE) or None in found.values():
        return None
    sections = Namespace({name: copy.deepcopy(section) for name, section in found.items()})  # type: ignore[no-untyped-call]
    fill(sections, {dotted: value for dotted, value in own.items() if _section(dotted) in MADE})
    return sections


def _section(dotted: str) -> str:
    first = dotted.partition(".")[0]
    return first if first in SECTIONS else _REST


def _parts(content: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, _Part]:
    """Section -> its content without what is the job's own, and this."""
    shared = without(content, own)
    parts = {name: shared[name] for name in SECTIONS if name in shared}
    parts[_REST] = {name: value for name, value in shared.items() if name not in SECTIONS} | {"": sorted(parts)}
    return {
        name: (part, {dotted: value for dotted, value in own.items() if _section(dotted) == name})
        for name, part in parts.items()
    }


def _key(name: str, part: _Part, base: type) -> tuple[Any, ...]:
    """What a section is found by, the content last."""
    return "accepted", base, name, repr([part[0], _kinds(part[1])])


def _shape_key(name: str, part: _Part, base: type) -> tuple[Any, ...]:
    """What a section and those that differ from it in values are found by."""
    return "shape", base, name, repr([_shape(part[0]), _kinds(part[1])])


def _kinds(own: Mapping[str, Any]) -> dict[str, str]:
    return {name: type(value).__name__ for name, value in own.items()}


def _holds(parsed: Any, own: Mapping[str, Any]) -> bool:
    """Whether the parser took what is a job's own as it is."""
    return all(at(parsed, dotted) == value for dotted, value in own.items())


def _in_range(own: Mapping[str, Any]) -> bool:
    """Whether name and seed, of which the parser checks the type alone, are those of a run."""
    return is_name_of_run(own.get("run")) and is_seed(own.get("seed_everything"))


def _each(
    content: Mapping[str, Any], parts: Mapping[str, _Part], names: Sequence[str], base: type
) -> dict[str, Namespace] | None:
    """Parse sections, each by a parser that has no other; None where one of them is refused."""
    found: dict[str, Namespace] = {}
    with contextlib.redirect_stderr(io.StringIO()):
        for name in names:
            part, own = parts[name]
            parser = reuse.kept(("parser", name, base), functools.partial(_parser, name, base), _size)
            known = reuse.find(_shape_key(name, parts[name], base))
            try:
                section = None if known is None else with_values(known[1], known[0], part)
                if section is None:
                    section = _parse(parser, name, content[name], full=known is None)
                else:
                    fill({name: section}, own)
                check_section(name, section, parser)
            except SystemExit as error:
                if ends.end_of(error) is not None:
                    raise
                return None
            except InputError:
                return None
            found[name] = section
    return found


def _parse(parser: Parser, name: str, section: Any, *, full: bool) -> Namespace:
    """Parse a section.

    Args:
        parser: of this section.
        name: of the section.
        section: its content.
        full: no section of its shape was accepted, so defaults are read as well, but those of classes of kdlab and of
            its libraries, which fit their types.
    """
    if not full or not _has_empty(section):
        parsed: Namespace = parser.parse_given({name: section}, "config")[name]
        if not full or all(path.partition(".")[0] in _OURS for path in _classes(parsed)):
            return parsed
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "section.yaml")
        write_yaml(path, {name: section})
        parsed = parser.parse_args(["--config", str(path)])[name]
    return parsed


def _classes(node: Any) -> Iterator[str]:
    """The names of all classes of what was parsed."""
    items = vars(node) if isinstance(node, Namespace) else node
    if isinstance(items, Mapping):
        if isinstance(items.get("class_path"), str):
            yield items["class_path"]
        items = items.values()
    for item in items if isinstance(items, Iterable) and not isinstance(items, str) else ():
        yield from _classes(item)


def _has_empty(content: Any) -> bool:
    """Whether a mapping in it is empty: the parser drops it, and a name may be refused by all others alone."""
    if isinstance(content, Mapping):
        return not content or any(map(_has_empty, content.values()))
    return isinstance(content, list) and any(map(_has_empty, content))


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
