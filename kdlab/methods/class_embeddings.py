"""Class embeddings that a user gives: words, files or rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdlab import functional
from kdlab.files import one_line
from kdlab.types import InputError, MissingFileError


def read_embeddings(given: str | list[list[float]]) -> Tensor | None:
    """Class embeddings from a word, a file or rows; ``None`` for one-hot ones.

    Args:
        given: ``"one-hot"``, a file (``.npy``, ``.npz`` with one array, ``.csv`` with a row per class), or the rows.

    Raises:
        MissingFileError: if there is no such file.
        InputError: if it holds no table of finite numbers.

    Example:
        >>> read_embeddings([[0.5, 1.0], [1.0, -1.0]])
        tensor([[ 0.5000,  1.0000],
                [ 1.0000, -1.0000]])
    """
    if isinstance(given, str):
        if given == "one-hot":
            return None
        values = _read_table(Path(os.path.expandvars(given)).expanduser())
    else:
        values = given
    try:
        table = torch.tensor(np.asarray(values, dtype=np.float32))
    except (ValueError, TypeError) as error:
        raise InputError(f"class_embeddings: must be a table of numbers (K, E), but got {one_line(error)}.") from error
    functional.check_embeddings(table, "cosine")
    return table


def _read_table(path: Path) -> Any:
    if not path.exists():
        raise MissingFileError(
            f"class_embeddings: must be 'one-hot', rows of numbers or a file, but {str(path)!r} does not exist."
        )
    if not path.is_file():
        raise InputError(f"class_embeddings: {str(path)!r} must be a file, but it is none. Name the table in it.")
    try:
        if path.suffix == ".csv":
            return np.loadtxt(path, delimiter=",", ndmin=2)
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            (name,) = loaded.files
            return loaded[name]
    except Exception as error:  # damaged archives raise nearly anything
        raise InputError(
            f"class_embeddings: {str(path)!r} cannot be read ({one_line(error)}). Expected .npy, .npz with one array, "
            "or .csv with a row of numbers per class."
        ) from error


def check_classes(table: Tensor, logits: Tensor) -> None:
    """Refuse class embeddings ``(K, E)`` beside logits ``(B, K)`` of another number of classes.

    Raises:
        InputError: with the number of classes and the shape of the table.
    """
    if len(table) != logits.shape[1]:
        raise InputError(
            f"class_embeddings: must have a row for each of the {logits.shape[1]} classes, but got the shape "
            f"{tuple(table.shape)}."
        )


def embeddings_of(net: nn.Module | None) -> Tensor | None:
    """The class embeddings of a net, ``(K, E)``."""
    if net is None:
        return None
    return (dict(net.named_parameters(recurse=False)) | dict(net.named_buffers(recurse=False))).get("class_embeddings")
