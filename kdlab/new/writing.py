"""New files in a folder, none of which replaces another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kdlab.files import one_line, write_text
from kdlab.types import InputError


def refuse_taken(folder: Path, names: Mapping[str, str] | None = None) -> None:
    """Refuse a folder that is a file, or that has YAML files, or one of these names.

    Raises:
        InputError: with what is there.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"FOLDER must be a folder, but {str(folder)!r} is a file. Name another.")
    taken = sorted(path.name for path in folder.glob("*.yaml")) if folder.is_dir() else []
    taken += [name for name in names or {} if name not in taken and (folder / name).exists()]
    if taken:
        raise InputError(
            f"FOLDER must hold no files of a study, because none is replaced, but {str(folder)!r} has "
            f"{', '.join(taken[:6])}{', ...' if len(taken) > 6 else ''}. Name another folder."
        )


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write texts below a folder, which is made.

    Raises:
        InputError: one of the files is there, or cannot be written.
    """
    refuse_taken(folder, texts)
    try:
        for name, text in texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)
    except OSError as error:
        raise InputError(f"FOLDER must be writable, but {one_line(error)}. Name another folder.") from error
