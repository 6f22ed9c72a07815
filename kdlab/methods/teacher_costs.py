"""The costs between classes of WKD-L: given, or found in the features of a teacher."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from kdlab import functional
from kdlab.methods.teacher import Teacher
from kdlab.methods.windows import lacks, name_of
from kdlab.types import InputError, Windows

#: the highest cost that features give; the most that a cost may be over the regularisation
HIGHEST, _RANGE = 1 - math.exp(-1), 20.0


def checked_costs(who: str, value: Any) -> list[list[float]] | None:
    """Rows ``(K, K)`` of finite numbers of at least 0, or None.

    Raises:
        InputError: for anything else.
    """
    if value is None:
        return None
    rows = [list(row) for row in value] if isinstance(value, list | tuple) else []
    numbers = [x for row in rows for x in row]
    known = all(isinstance(x, int | float) and 0 <= x < math.inf for x in numbers)
    if not rows or not known or any(len(row) != len(rows) for row in rows):
        raise InputError(
            f"{who}: costs must be K rows of K finite numbers of at least 0, or None, but got {value!r:.70}. Set them."
        )
    return [[float(x) for x in row] for row in rows]


def check_regularisation(who: str, costs: list[list[float]] | None, regularisation: float) -> None:
    """Refuse a transport whose cost would be lost in the ``epsilon`` of Sinkhorn's steps.

    Args:
        who: for the message.
        costs: between classes; ``None``: those of features.
        regularisation: of the transport.

    Raises:
        InputError: where it is less than a twentieth of the highest cost.
    """
    highest = HIGHEST if costs is None else max(map(max, costs))
    if highest > _RANGE * regularisation * (1 + 1e-9):
        raise InputError(
            f"{who}: regularisation must be at least {highest / _RANGE:.3g} for costs up to {highest:.3g}, because the "
            f"transport over larger ones is lost, but got {regularisation:g}. Raise it, or divide the costs."
        )


@torch.no_grad()
def costs_of(name: str, teacher: Teacher, windows: Windows, tap: str, number: int, classes: int) -> Tensor:
    """Costs ``(K, K)`` from the features of the first training windows of each class, see `functional.class_costs`.

    Args:
        name: of the teacher.
        teacher: loaded.
        windows: the data.
        tap: name of the feature.
        number: of windows of each class.
        classes: ``K``.

    Raises:
        InputError: where the training windows cannot be read in order, or the teacher has no such tap.
    """
    if lacks(windows, "batches"):
        raise InputError(
            f"WKDL: costs must be given for {name_of(windows)}, whose training windows cannot be read in order, but "
            "got None. Set costs= (K rows of K numbers)."
        )
    features, labels, left = list[Tensor](), list[Tensor](), torch.full((classes,), number)
    for batch in windows.batches("train", views=list(teacher.views)):
        output = teacher.of_training(batch)
        if tap not in output.features:
            raise InputError(
                f"WKDL: teacher {name!r} must have the tap {tap!r}, but has {sorted(output.features)}. Name one."
            )
        rows = [i for i, y in enumerate(batch.target.tolist()) if y >= 0 and _taken(left, y)]
        features.append(output.features[tap].flatten(1)[rows].double())
        labels.append(batch.target[rows])
        if not left.any():
            break
    return functional.class_costs(torch.cat(features), torch.cat(labels), classes)


def _taken(left: Tensor, label: int) -> bool:
    """Whether another window of a class counts."""
    if left[label] == 0:
        return False
    left[label] -= 1
    return True
