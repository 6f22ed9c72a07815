"""Reading an evaluation from its files: one JSON file and one of arrays, either of which may be damaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kdlab.files import one_line, read_json
from kdlab.types import InputError

_ARRAYS = {
    "index": ((1,), "iu"),
    "target": ((1, 2), "iu"),
    "probabilities": ((2,), "f"),
    "embedding": ((2,), "f"),
    "subjects": ((1,), "U"),
}
_LARGEST = 2**31  # bytes of all arrays, unpacked


def read_evaluation(json_file: Path, arrays: Path) -> dict[str, Any]:
    """The fields of an evaluation.

    Args:
        json_file: its JSON file.
        arrays: its file of arrays.

    Raises:
        InputError: when one of them is damaged, or they are not of the same evaluation.
    """
    values, held = read_json(json_file, "evaluation"), read_arrays(arrays)
    for key, (constraint, test) in _FIELDS.items():
        if not test(values.get(key)):
            raise _damaged(json_file, f"{key} must be {constraint}, but is {_short(values.get(key))}")
    classes, windows = len(values["classes"]), len(held["index"])
    confusion = np.array(values["confusion"], dtype=np.int64)
    many = held["target"].ndim == 2
    squares = (classes, 2, 2) if many else (classes, classes)
    columns = held["target"].shape[-1] if many else classes
    if confusion.shape != squares or held["probabilities"].shape != (windows, classes) or columns != classes:
        raise _damaged(json_file, f"it is of {classes} classes, {arrays.name} is not")
    if any(len(array) != windows for array in held.values()):
        raise _damaged(arrays, "its arrays have different numbers of windows")
    most = 1 if many else classes - 1
    if not ((held["target"] >= 0) & (held["target"] <= most)).all():
        raise _damaged(arrays, f"target must be from 0 to {most}")
    if not np.isfinite(held["embedding"]).all():
        raise _damaged(arrays, "embedding must be finite")
    reliability = {name: np.array(values, dtype=float) for name, values in values["reliability"].items()}
    known = {key: values[key] for key in _FIELDS}
    subjects = held["subjects"].tolist()
    return {**known, "confusion": confusion, "reliability": reliability, **held, "subjects": subjects}


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of an evaluation, of their kinds.

    Raises:
        InputError: when they are damaged, missing or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            if sum(entry.file_size for entry in archive.zip.infolist()) > _LARGEST:
                raise ValueError(f"it holds more than {_LARGEST / 2**30:g} GiB")
            held = {name: archive[name] for name in _ARRAYS}
    except Exception as error:  # damaged archives raise nearly anything
        raise _damaged(path, one_line(error)) from error
    for name, (axes, kinds) in _ARRAYS.items():
        if held[name].ndim not in axes or held[name].dtype.kind not in kinds:
            raise _damaged(path, f"{name} is {held[name].dtype} of shape {held[name].shape}")
    return held


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"evaluation: {str(path)!r} is damaged ({why}).")


def _short(value: Any) -> str:
    return "missing" if value is None else repr(value)[:80]


def _number(value: Any) -> bool:
    return value is None or type(value) in (int, float)  # None was not finite


def _of_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_number, value))


def _by_name(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(map(test, value.values()))


def _counts(value: Any) -> bool:
    rows = isinstance(value, list) and all(isinstance(row, list) and len(row) == len(value) for row in value)
    return rows and all(type(count) is int and 0 <= count < 2**62 for row in value for count in row)


def _counts_by_class(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(_counts(one) and len(one) == 2 for one in value)


_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "scalars": ("numbers by name", _by_name(_number)),
    "per_class": ("lists of numbers by name", _by_name(_of_numbers)),
    "confusion": ("as many rows of counts as columns", lambda v: _counts(v) or _counts_by_class(v)),
    "reliability": ("lists of numbers by name", _by_name(_of_numbers)),
    "robustness": ("lists of numbers by name", _by_name(_of_numbers)),
    "classes": ("a list of words", lambda v: isinstance(v, list) and all(isinstance(name, str) for name in v)),
    "description": ("an object", lambda v: isinstance(v, Mapping)),
}
