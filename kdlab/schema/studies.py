"""The JSON schema of study files, made from the keys that their readers declare (`kdlab.study.keys`)."""

from __future__ import annotations

import re
from typing import Any

from lightning.pytorch.loggers import Logger

from kdlab.schema.definitions import SPEC, Definitions, assemble
from kdlab.shapes import Shape, either, listed, one_of
from kdlab.study.keys import SETTINGS, SPACE, STUDY, VALUES


def study_schema(runs: dict[str, Any]) -> dict[str, Any]:
    """The schema of study files, and of the files that they include.

    Args:
        runs: that of run files, whose settings a study sets by their dotted names.
    """
    definitions = Definitions()
    logger = definitions.classes((Logger,), 0)
    loggers = either(str(STUDY["logger"]["description"]), logger, listed(logger, least=1), one_of([False]))
    named = {"settings": _settings(runs), "space": _space(runs)}
    replaced = {"settings": SETTINGS, "space": SPACE}
    properties = {key: _named(shape, replaced) for key, shape in STUDY.items()} | {"logger": loggers}
    return assemble("kdlab study file", properties, {**named, **definitions.made})


def _named(node: Any, replaced: dict[str, Shape]) -> Any:
    """A shape whose settings refer to the names that there are."""
    for name, shape in replaced.items():
        if node == shape:
            return {"$ref": f"#/definitions/{name}"}
    if isinstance(node, dict):
        return {key: _named(value, replaced) for key, value in node.items()}
    return [_named(value, replaced) for value in node] if isinstance(node, list) else node


def _settings(runs: dict[str, Any]) -> Shape:
    """Dotted names of the settings of a run file; arguments of classes of a user's own are names, too."""
    names = {f"trainer.{name}": shape for name, shape in _of_trainer(runs).items()}
    names |= {name: shape for name, shape in runs["properties"].items() if name not in ("trainer", "include")}
    names |= {f"model.init_args.{name}": shape for name, shape in _arguments(runs, "Method").items()}
    names |= {f"data.init_args.{name}": shape for name, shape in _arguments(runs, "WindowDataModule").items()}
    own = "|".join(sorted(set(runs["properties"]) - {"model", "data", "trainer", "include"}))
    spec = "|".join(SPEC)
    patterns = [rf"(model|data)(\.({spec})(\..+)?)?", rf"trainer(\.({_trainer_words(runs)})(\..+)?)?", f"({own})"]
    return {
        "description": str(SETTINGS["description"]),
        "type": "object",
        "properties": {name: _text_of(shape, runs) for name, shape in sorted(names.items())},
        "propertyNames": {"pattern": f"^({'|'.join(patterns)})$"},
    }


def _space(runs: dict[str, Any]) -> Shape:
    """Settings that are tuned, by their short or their dotted names."""
    names = {f"model.{name}": shape for name, shape in _arguments(runs, "Method").items()}
    names |= {f"data.{name}": shape for name, shape in _arguments(runs, "WindowDataModule").items()}
    patterns = rf"(model|data)\..+|trainer\.({_trainer_words(runs)})(\..+)?"
    properties = {name: {**VALUES, **_text_of(shape, runs)} for name, shape in sorted(names.items()) if name[-1] != "+"}
    return {
        "description": str(SPACE["description"]),
        "type": "object",
        "properties": properties,
        "additionalProperties": VALUES,
        "propertyNames": {"pattern": f"^({patterns})$"},
    }


def _of_trainer(runs: dict[str, Any]) -> dict[str, Shape]:
    found: dict[str, Shape] = runs["properties"]["trainer"]["properties"]
    return found


def _trainer_words(runs: dict[str, Any]) -> str:
    return "|".join(map(re.escape, sorted(_of_trainer(runs))))


def _arguments(runs: dict[str, Any], base: str) -> dict[str, Shape]:
    found: dict[str, Shape] = runs["definitions"][f"part.{base}"]["properties"]
    return found


def _text_of(shape: Shape, runs: dict[str, Any]) -> Shape:
    """Its text alone: another class may take another type by the same name."""
    while "$ref" in shape and "description" not in shape:
        shape = runs["definitions"][shape["$ref"].rpartition("/")[2]]
    described = (one.get("description") for one in (shape, *shape.get("anyOf", ())))
    first = next((text for text in described if text), None)
    return {"description": first} if first else {}
