"""What the parts of a schema refer to: the shapes of classes and of their arguments, each once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from kdlab.schema.arguments import arguments_of, summary
from kdlab.schema.classes import bare_names, foreign_pattern, found, is_listed, path_of, pattern_of
from kdlab.shapes import Shape, either

DRAFT = "http://json-schema.org/draft-07/schema#"
SPEC = ("class_path", "init_args", "dict_kwargs")
_SHARED = 2  # shapes that stand so often are written once
_LONG = 100  # characters of a shape that is written once


class Definitions:
    """The shapes of classes and of their arguments, each made when it is first needed."""

    def __init__(self) -> None:
        self.made: dict[str, Shape] = {}

    def classes(self, bases: tuple[type, ...], skip: int) -> Shape:
        """A reference to what may stand where one of these classes is taken; anything where none of them is listed.

        Args:
            bases: the classes.
            skip: how many of their first parameters are given by the program.
        """
        if not all(map(is_listed, bases)):
            return {}
        name = "class." + ".".join(base.__name__ for base in bases)
        if name not in self.made:
            self.made[name] = {}
            self.made[name] = self._spec(bases, skip)
        return _ref(name)

    def _spec(self, bases: tuple[type, ...], skip: int) -> Shape:
        bare = bare_names(bases)
        kinds = list(dict.fromkeys([*bare.values(), *(kind for base in bases for kind in found(base).values())]))
        cases = [self._case(kind, skip, [name for name, other in bare.items() if other is kind]) for kind in kinds]
        part = self._any_of(kinds, skip, "part." + ".".join(base.__name__ for base in bases))
        names: list[Shape] = [
            {"type": "string", "enum": [*bare, *map(path_of, kinds)]},
            {"type": "string", "pattern": "|".join(map(pattern_of, kinds))},
            {"type": "string", "pattern": foreign_pattern(bases)},
        ]
        if skip:
            names.append({"type": "string", "pattern": r"^kdlab\.(\w+\.)*[a-z_]\w*$"})  # a function of kdlab
        spec: Shape = {
            "type": "object",
            "properties": {
                "class_path": either("A class by its name, or a class of your own by module.Class.", *names),
                "init_args": {"type": "object", "description": "Arguments of the class."},
                "dict_kwargs": {"type": "object", "description": "Further arguments, which are not checked."},
            },
            "additionalProperties": False,
            "allOf": [
                *cases,
                {"if": {"not": {"required": ["class_path"]}}, "then": {"properties": {"init_args": part}}},
            ],
        }
        plain = [self._arguments(base, skip) for base in bases if path_of(base) in found(base)]
        return {"description": summary(bases[0]), "anyOf": [*names, spec, *plain]}

    def _case(self, kind: type, skip: int, bare: Iterable[str]) -> Shape:
        """The arguments that belong to a name of a class."""
        words = "|".join([f"^{name}$" for name in bare] + [pattern_of(kind)])
        named = {"properties": {"class_path": {"type": "string", "pattern": words}}, "required": ["class_path"]}
        return {"if": named, "then": {"properties": {"init_args": self._arguments(kind, skip)}}}

    def _arguments(self, kind: type, skip: int) -> Shape:
        name = f"args.{path_of(kind)}"
        if name not in self.made:
            self.made[name] = {}
            given = arguments_of(kind, skip, self.classes)
            self.made[name] = {
                "description": summary(kind),
                "type": "object",
                "properties": given,
                "additionalProperties": False,
            }
        return _ref(name)

    def _any_of(self, kinds: Iterable[type], skip: int, name: str) -> Shape:
        """The arguments of some class, for a file that names none: each has a shape that it has in one of them."""
        given: dict[str, list[Shape]] = {}
        for kind in kinds:
            self._arguments(kind, skip)
            for argument, shape in self.made[f"args.{path_of(kind)}"].get("properties", {}).items():
                bare = {key: value for key, value in shape.items() if key != "default"}
                if bare not in given.setdefault(argument, []):
                    given[argument].append(bare)
        properties = {argument: all_[0] if len(all_) == 1 else {"anyOf": all_} for argument, all_ in given.items()}
        about = "Arguments of the class that another file names."
        self.made[name] = {
            "description": about,
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
        }
        return _ref(name)


def assemble(title: str, properties: dict[str, Shape], definitions: dict[str, Shape]) -> dict[str, Any]:
    """A schema with its keys in alphabetical order, and shapes that stand often once.

    Args:
        title: of the schema.
        properties: of a file.
        definitions: that they refer to.
    """
    shared = _shared([properties, definitions])
    made = {name: _replaced(shape, shared, top=True) for name, shape in definitions.items()}
    made |= dict(shared.values())
    return {
        "$schema": DRAFT,
        "title": title,
        "type": "object",
        "properties": {name: _replaced(shape, shared) for name, shape in sorted(properties.items())},
        "additionalProperties": False,
        "definitions": dict(sorted(made.items())),
    }


def _ref(name: str) -> Shape:
    return {"$ref": f"#/definitions/{name}"}


def _arguments_in(node: Any) -> Iterable[tuple[str, Shape]]:
    if isinstance(node, dict):
        for name, shape in (node.get("properties") or {}).items() if isinstance(node.get("properties"), dict) else ():
            if isinstance(shape, dict):
                yield name, shape
        for value in node.values():
            yield from _arguments_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from _arguments_in(value)


def _shared(nodes: Any) -> dict[str, tuple[str, Shape]]:
    """Text of an argument's shape -> the name and the shape of its definition, of those that stand often."""
    counts: Counter[tuple[str, str]] = Counter()
    for name, shape in _arguments_in(nodes):
        words = json.dumps(shape)
        if len(words) > _LONG and name not in SPEC:
            counts[name, words] += 1
    taken: Counter[str] = Counter()
    found_: dict[str, tuple[str, Shape]] = {}
    for (name, words), count in sorted(counts.items()):
        if count >= _SHARED and words not in found_:
            taken[name] += 1
            found_[words] = f"argument.{name}" + (f".{taken[name]}" if taken[name] > 1 else ""), json.loads(words)
    return found_


def _replaced(node: Any, shared: dict[str, tuple[str, Shape]], top: bool = False) -> Any:
    if isinstance(node, list):
        return [_replaced(value, shared) for value in node]
    if not isinstance(node, dict):
        return node
    if not top and (one := shared.get(json.dumps(node))) is not None:
        return _ref(one[0])
    return {key: _replaced(value, shared) for key, value in node.items()}
