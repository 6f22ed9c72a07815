"""The files of the schemas: their names, the line of a YAML file that names one, and where the shipped ones are."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

#: kind of a file -> the schema's file
NAMES = {"run": "kdlab.run.schema.json", "study": "kdlab.study.schema.json"}


def line(content: Mapping[Any, Any], folder: str = "") -> str:
    """The first line of a YAML file, which editors read.

    Args:
        content: of the file; one with a key of run files is a run file.
        folder: of the schemas, from the file, such as ``../``.

    Example:
        >>> line({"study": "demo", "seeds": 3}, "../")
        '# yaml-language-server: $schema=../kdlab.study.schema.json\\n'
    """
    return f"# yaml-language-server: $schema={folder}{NAMES[kind_of(content)]}\n"


def kind_of(content: Mapping[Any, Any]) -> str:
    """``"run"`` or ``"study"``; a part that may be of either is one of a study where it has none of a run's keys.

    >>> kind_of({"model": {}, "trainer": {}}), kind_of({"tuned": {}})
    ('run', 'study')
    """
    return "run" if {"model", "data", "trainer", "run", "seed_everything"} & set(content) else "study"


def written(schema: Mapping[str, Any]) -> str:
    """A schema as the text of a file: a line for each definition, so that a change shows where it is.

    >>> print(written({"title": "t", "definitions": {"a": {"type": "null"}}}))
    {
    "title": "t",
    "definitions": {
    "a": {"type": "null"}
    }
    }
    <BLANKLINE>
    """
    parts = []
    for key, value in schema.items():
        if key in ("properties", "definitions"):
            lines = ",\n".join(f"{json.dumps(name)}: {_compact(shape)}" for name, shape in value.items())
            parts.append(f"{json.dumps(key)}: {{\n{lines}\n}}")
        else:
            parts.append(f"{json.dumps(key)}: {_compact(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def shipped(kind: str) -> str:
    """The text of a schema as it is shipped beside the experiments.

    Args:
        kind: ``"run"`` or ``"study"``.
    """
    package = importlib.resources.files("kdlab")
    inside = package / "examples" / NAMES[kind]
    beside: Traversable = Path(str(package)).parent / "experiments" / NAMES[kind]
    return (inside if inside.is_file() else beside).read_text(encoding="utf-8")
