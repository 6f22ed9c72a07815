"""The labels of a batch that is not kdlab's, as class indices or class probabilities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdlab.types import InputError

_TO = {"teachers": "score teachers", "val": "validate", "test": "test", "predict": "predict"}


def labels_of(
    y: Any, rows: int, classes: int, stage: str, who: str, *, unlabelled: bool = False, many: bool = False
) -> Tensor:
    """Class indices ``(B,)`` int64, or class probabilities ``(B, K)`` of training windows.

    Args:
        y: class indices ``(B,)`` or ``(B, 1)`` in any type that holds whole numbers, one-hot rows ``(B, K)``, or
            probabilities ``(B, K)``; where ``unlabelled`` also -1, or a row of zeros, for a window without a label.
        rows: ``B``.
        classes: ``K``.
        stage: see `kdlab.methods.batches.Reads`.
        who: the method, in messages.
        unlabelled: whether windows may have no label.
        many: whether ``y`` is rows of 0 and 1 ``(B, K)``, -1 in all of a window without labels.

    Raises:
        InputError: for another shape, labels out of range, and rows that are neither one-hot nor probabilities.

    Example:
        >>> labels_of(torch.tensor([[0, 1], [1, 0]], dtype=torch.int16), 2, 2, "val", "KD")
        tensor([1, 0])
    """
    if not isinstance(y, Tensor) or y.is_complex() or y.layout is not torch.strided:
        kind = type(y).__name__ if not isinstance(y, Tensor) else f"a tensor of {y.dtype}"
        raise InputError(f"{who}: y must be a dense tensor of class labels, but got {kind}. Convert it first.")
    shape = tuple(y.shape)
    if many:
        return _several(y, (rows, classes), unlabelled, who)
    if shape == (rows, 1) and classes > 1:
        y = y[:, 0]
    if tuple(y.shape) == (rows,):
        return _indices(y, classes, unlabelled, who)
    if tuple(y.shape) == (rows, classes):
        return _rows(y, stage, unlabelled, who)
    remedy = f"Give {rows} labels, one per window"
    if len(shape) == 2 and shape[0] == rows:
        remedy = f"Give class indices, or set num_classes={shape[1]} of the net"
    elif len(shape) == 0:
        remedy = "Give batches of windows, not one window (batch_size=None?)"
    raise InputError(
        f"{who}: y must be class indices of shape ({rows},) or probabilities of shape ({rows}, {classes}), but got "
        f"shape {shape}. {remedy}."
    )


def _several(y: Tensor, shape: tuple[int, int], unlabelled: bool, who: str) -> Tensor:
    """Rows of 0 and 1, as floats."""
    if tuple(y.shape) != shape:
        raise InputError(
            f"{who}: y must be rows of 0 and 1 of shape {shape}, since the data module declares many_labels, but got "
            f"shape {tuple(y.shape)}. Give a column for each class."
        )
    given = y.float()
    without = (given == -1).all(1, keepdim=True) & unlabelled
    if not bool(((given == 0) | (given == 1) | without).all()):
        raise InputError(
            f"{who}: y must be 0 or 1 for every window and class, since the data module declares many_labels, but got "
            "other values. Leave windows without labels out."
        )
    return given


def _indices(y: Tensor, classes: int, unlabelled: bool, who: str) -> Tensor:
    if y.is_floating_point() and not bool((y == y.floor()).all()):
        raise InputError(
            f"{who}: y must be class indices (whole numbers from 0 to {classes - 1}), but got fractions or NaN. Number "
            "the classes, or give probabilities (B, K)."
        )
    y = y.long()
    least, most = int(y.min()), int(y.max())
    if least >= -int(unlabelled) and most < classes:
        return y
    if least == 1 and most == classes:
        remedy = "Count classes from 0: y - 1"
    elif least < 0 <= most < classes:
        remedy = "Number the classes from 0, and leave out windows without a label"
    else:
        remedy = f"Number the classes from 0, or set num_classes={most + 1} of the net"
    raise InputError(
        f"{who}: y must be class indices from 0 to {classes - 1}, the classes of the net, but got {least} to {most}. "
        f"{remedy}."
    )


def _rows(y: Tensor, stage: str, unlabelled: bool, who: str) -> Tensor:
    """One-hot rows as class indices, probabilities as they are."""
    real = y.double()
    if not bool((real >= 0).all()):  # neither for NaN
        raise InputError(f"{who}: y of shape (B, K) must be probabilities of at least 0, but got {real.min():g}.")
    total = real.sum(1)
    exact = bool(((real == 0) | (real == 1)).all())
    if y.is_floating_point() and stage == "train":
        if not bool((((total - 1).abs() < 1e-3) | (unlabelled & (total == 0))).all()):
            raise InputError(
                f"{who}: the rows of y (B, K) must be probabilities, which sum to 1, but sum to {total.min():g} to "
                f"{total.max():g}. Take the softmax of logits; several classes per window are no probabilities."
            )
        return y
    if exact and bool(((total == 1) | ((total == 0) & unlabelled)).all()):
        return torch.where(total == 1, real.argmax(1), -1)
    kind = "probabilities" if y.is_floating_point() and not exact else "rows that sum to "
    got = kind if kind == "probabilities" else f"{kind}{total.min():g} to {total.max():g}"
    remedy = "Give class indices (y.argmax(1))" if kind == "probabilities" else "Give one class per window"
    to = f" to {_TO[stage]}" if y.is_floating_point() else ""
    raise InputError(f"{who}: y of shape (B, K) must be one-hot{to}, but got {got}. {remedy}.")
