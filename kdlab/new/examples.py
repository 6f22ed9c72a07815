"""Shipped experiments, copied into a folder of the user."""

from __future__ import annotations

import difflib
import importlib.resources
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

from kdlab.types import InputError

#: folders that others include from, and that are no experiments
SHARED = ("methods", "base")


def shipped() -> Traversable:
    """The folder of shipped experiments: in the package of a wheel, beside it in a clone."""
    package = importlib.resources.files("kdlab")
    inside = package / "examples"
    if inside.is_dir():
        return inside
    beside: Traversable = Path(str(package)).parent / "experiments"
    if not beside.is_dir():
        raise InputError("--example: this installation has no examples. Install kdlab from a wheel or a clone.")
    return beside


def names() -> list[str]:
    """The shipped experiments, in alphabetical order."""
    return sorted(
        folder.name
        for folder in shipped().iterdir()
        if folder.is_dir() and folder.name not in SHARED and any(f.name.endswith(".yaml") for f in folder.iterdir())
    )


def example(name: str, folder: str) -> dict[str, str]:
    """File -> its text: an experiment and what it includes from others, with paths for one folder.

    Args:
        name: of the experiment.
        folder: where it is written, for the commands in comments.

    Raises:
        InputError: there is no such experiment.
    """
    if name not in names():
        close = difflib.get_close_matches(name, names(), 1)
        hint = f"Did you mean {close[0]!r}?" if close else "Name one of them."
        raise InputError(f"--example must be one of {', '.join(names())}, but got {name!r}. {hint}")
    files = {path: path.read_text(encoding="utf-8") for path in _yaml(shipped() / name)}
    texts = {path.name: _moved(text, name, folder) for path, text in files.items()}
    for shared in SHARED:
        for path in _yaml(shipped() / shared):
            if any(f"../{shared}/{path.name}" in text for text in files.values()):
                texts[f"{shared}/{path.name}"] = path.read_text(encoding="utf-8")
    return texts


def _yaml(folder: Traversable) -> Iterator[Traversable]:
    return (path for path in sorted(folder.iterdir(), key=lambda p: p.name) if path.name.endswith(".yaml"))


def _moved(text: str, name: str, folder: str) -> str:
    for shared in SHARED:
        text = text.replace(f"../{shared}/", f"{shared}/")
    return text.replace(f"experiments/{name}/", f"{folder}/")
