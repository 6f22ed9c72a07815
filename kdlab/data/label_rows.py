"""Windows with any number of labels each (``labels: many``): a row of 0 and 1 for each, a column for each class."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.types import InputError, plain_array


def many_declared(who: str, labels: Any, able: bool, views: Collection[str], **refused: bool) -> bool:
    """Whether a data module is to have windows with any number of labels each.

    Args:
        who: class of the data module.
        labels: its argument.
        able: whether the data module can have such windows.
        views: keys of its views.
        refused: settings that need one class per window -> whether they are set.

    Raises:
        InputError: another word, a data module that has one class per window, or a setting that needs one.

    >>> many_declared("ArrayDataModule", "many", True, ["raw"], drop_classes=False)
    True
    """
    if isinstance(labels, str) and labels not in ("one", "many"):
        raise InputError(
            f"{who}: labels must be a mapping such as {{Walk: walk}}, 'one' or 'many', but got {labels!r}. Choose one "
            "of them."
        )
    if not isinstance(labels, str) or labels == "one":
        return False
    if not able:
        raise InputError(
            f"{who}: labels must be 'one' or a mapping of spellings, since its windows have one class each, but got "
            "'many'. Give windows and rows of 0 and 1 to ArrayDataModule(x, y, labels='many')."
        )
    pairs = [key for key in views if key.endswith("/pair")]
    if wrong := [*(name for name, is_set in refused.items() if is_set), *(f"views[{key!r}]" for key in pairs)]:
        raise InputError(
            f"{who}: {', '.join(wrong)} must be left out where labels is 'many', because it needs one class for each "
            "window. Leave it out, and leave columns or windows out of y yourself."
        )
    return True


def label_rows(values: Any, argument: str, count: int, missing: bool = False) -> NDArray[np.int64]:
    """Labels ``(N, K)`` of 0 and 1.

    Args:
        values: an array, a nested list or a tensor.
        argument: its name, for the message.
        count: ``N``.
        missing: whether rows of -1 or NaN, of windows without labels, are meant; they become -1.

    Raises:
        InputError: another shape, masked values, words, or values other than 0 and 1.

    >>> label_rows([[1.0, 0.0], [1.0, 1.0]], "y", 2).tolist()
    [[1, 0], [1, 1]]
    """
    rows = plain_array(values, argument)
    if rows.ndim != 2 or len(rows) != count:
        raise InputError(
            f"{argument} must be rows of 0 and 1, shape ({count}, classes), where labels is 'many', but got shape "
            f"{rows.shape}. Give a column for each class, or leave labels out for one class per window."
        )
    without = (rows == -1).all(axis=1) | (rows != rows).all(axis=1) if missing else np.zeros(len(rows), dtype=np.bool_)
    rows = np.where(without[:, None], -1, rows)
    wrong = np.argwhere((rows != 0) & (rows != 1) & ~without[:, None])
    if len(wrong):
        row, column = (int(i) for i in wrong[0])
        raise InputError(
            f"{argument} must be 0 or 1 for every window and class where labels is 'many', but got {len(wrong)} of "
            f"{rows.size} other values, the first {rows[row, column]} in row {row}, column {column}. Leave windows "
            "without labels out, or write rows of -1 with unlabelled: {missing: true}; probabilities become labels by "
            "a threshold (y > 0.5)."
        )
    return rows.astype(np.int64)


def column_names(columns: int, names: list[str] | None) -> list[str]:
    """The class of each column; without names its number.

    Raises:
        InputError: another number of names, or fewer than two columns.

    >>> column_names(3, None)
    ['0', '1', '2']
    """
    if columns < 2:
        raise InputError(
            f"y must have a column for each of at least two classes where labels is 'many', but got {columns}. A "
            "single yes or no is two classes: give y as (N,) without labels."
        )
    if names is not None and len(names) != columns:
        raise InputError(
            f"classes must be a name for each of the {columns} columns of y, but got {len(names)}. Name each column."
        )
    return [str(k) for k in range(columns)] if names is None else names


def without_label(target: NDArray[Any]) -> NDArray[np.bool_]:
    """Which windows have no label, for labels ``(N,)`` or rows ``(N, K)``.

    >>> without_label(np.array([0, -1])).tolist(), without_label(np.array([[0, 0], [-1, -1]])).tolist()
    ([False, True], [False, True])
    """
    return np.asarray(target < 0 if target.ndim == 1 else (target < 0).any(axis=1))


def has_class(target: NDArray[Any], k: int) -> NDArray[np.bool_]:
    """Which windows are of a class, for labels ``(N,)`` or rows ``(N, K)``."""
    return np.asarray(target == k if target.ndim == 1 else target[:, k] == 1)


def count_classes(target: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Number of windows of each of ``count`` classes, for labels ``(N,)`` or rows ``(N, K)``.

    >>> count_classes(np.array([0, 1, 0]), 2).tolist(), count_classes(np.array([[1, 1], [0, 1]]), 2).tolist()
    ([2, 1], [1, 2])
    """
    found = np.bincount(target[target >= 0], minlength=count) if target.ndim == 1 else (target == 1).sum(0)
    return np.asarray(found, dtype=np.int64)


def class_pairs(target: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Each window with each of its classes, and how many classes there are; ``K`` is the class of windows without any.

    >>> [part if isinstance(part, int) else part.tolist() for part in class_pairs(np.array([[1, 1], [0, 0]]))]
    [[0, 0, 1], [0, 1, 2], 3]
    """
    if target.ndim == 1:
        return np.arange(len(target)), target, int(target.max()) + 1
    own = target == 1
    row, label = np.nonzero(np.concatenate([own, ~own.any(axis=1, keepdims=True)], axis=1))
    return row, label, own.shape[1] + 1


def joined(row: NDArray[Any], names: list[str], by: str = " + ") -> str:
    """The names of a window's classes in one text.

    >>> joined(np.array([1, 0, 1]), ["walk", "sit", "talk"])
    'walk + talk'
    """
    return by.join(name for name, own in zip(names, row.tolist(), strict=True) if own == 1)


def check_loaded(who: str, many: bool, loaded: str) -> None:
    """Raise unless the windows that were loaded have the labels that are declared."""
    if many != (loaded == "many"):
        raise InputError(
            f"{who}: load() must give windows with labels={'many' if many else 'one'!r}, as is declared, but gave "
            f"labels={loaded!r}. Declare labels: {loaded}, or give the other ones."
        )


def spellings(labels: Any) -> Mapping[Any, Any] | None:
    """The mapping of spellings in the argument ``labels``; None for a word."""
    return None if isinstance(labels, str) else labels
