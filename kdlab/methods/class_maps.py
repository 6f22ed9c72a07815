r"""Teachers with other classes: their logits for the classes of the student.

.. math:: z'_k = \log \sum_{j \in M_k} e^{z_j}

A class ``k`` of the student has the probability of the teacher's classes ``M_k`` together, among all that are mapped.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdlab.functional.precision import promote
from kdlab.types import InputError

#: for each class of the student, the teacher's class or classes
ClassMap = Sequence[int | Sequence[int]]


def groups_of(class_map: ClassMap) -> list[list[int]]:
    """The teacher's classes of each class of the student.

    Raises:
        InputError: when a class of the teacher is mapped twice, a class of the student has none, or one is no index.

    Example:
        >>> groups_of([2, [0, 1]])
        [[2], [0, 1]]
    """
    groups = [list(entry) if isinstance(entry, Sequence) else [entry] for entry in class_map]
    flat = [index for group in groups for index in group]
    whole = all(type(index) is int and index >= 0 for index in flat)
    if len(groups) < 2 or not all(groups) or not whole or len(set(flat)) < len(flat):
        raise InputError(
            "Teacher: class_map must give each class of the student the index of a class of the teacher, or several, "
            f"and none twice, but got {class_map!r:.200}. Write class_map=[3, [0, 1]] for two classes."
        )
    return groups


def mapped(logits: Tensor, class_map: ClassMap | None) -> Tensor:
    """The logits of the student's classes from a teacher's, in at least float32.

    Args:
        logits: ``(B, J)``.
        class_map: for each of ``K`` classes, the teacher's class or classes; None: the same classes.

    Returns:
        ``(B, K)``.

    Example:
        >>> mapped(torch.tensor([[0.0, 0.0, 1.0]]), [2, [0, 1]])
        tensor([[1.0000, 0.6931]])
    """
    if class_map is None:
        return logits
    full = promote(logits)
    return torch.stack([full[:, group].logsumexp(1) for group in groups_of(class_map)], 1)
