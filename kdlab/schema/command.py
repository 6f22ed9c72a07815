"""``kdlab schema``: write the JSON schemas of run files and study files for editors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kdlab import usage
from kdlab.files import one_line, write_text
from kdlab.schema.files import NAMES, written
from kdlab.schema.runs import run_schema
from kdlab.schema.studies import study_schema
from kdlab.types import InputError

_MADE_WITH = ("lightning", "torch", "jsonargparse", "wandb")  # whose classes and texts are in a schema


def main(words: Sequence[str]) -> None:
    """The command.

    Args:
        words: what comes after ``kdlab schema``.

    Raises:
        InputError: the folder cannot be written, or has another file of the same name.
    """
    folder = Path(usage.schema().parse_args(list(words)).out)
    for name in NAMES.values():
        _check(folder / name)
    for kind, text in texts().items():
        path = folder / NAMES[kind]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(path, text)
        except OSError as error:
            raise InputError(f"--out must be a folder to write into, but {one_line(error)}. Name another.") from error
        print(f"written  {path}")
    print(f"The first line of a file in this folder: # yaml-language-server: $schema={NAMES['run']}")


def texts() -> dict[str, str]:
    """Kind of a file -> the text of its schema, made with the installed versions."""
    runs = run_schema()
    schemas = {"run": runs, "study": study_schema(runs)}
    return {kind: written({"$comment": made_with(), **schema}) for kind, schema in schemas.items()}


def made_with() -> str:
    """The versions of the packages whose classes are in a schema."""
    return "Made by kdlab schema with " + ", ".join(f"{name} {version(name)}" for name in _MADE_WITH) + "."


def _check(path: Path) -> None:
    """Refuse to replace a file that is no schema of kdlab."""
    if not path.exists():
        return
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        ours = isinstance(found, dict) and str(found.get("title", "")).startswith("kdlab ")
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise InputError(
            f"--out: {str(path)!r} must be a schema of kdlab, but is another file. Move it, or name another folder."
        )
