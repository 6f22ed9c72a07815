"""Losses of labels: cross-entropy with class weights, label smoothing and the focal factor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab.functional.precision import full_precision, shape_of
from kdlab.types import InputError


@full_precision
def cross_entropy(
    logits: Tensor,
    target: Tensor,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    r"""Cross-entropy with class indices or class probabilities, averaged over the batch.

    .. math:: \frac{\sum_i \sum_c w_c\, t_{ic}\, (1 - p_{ic})^\gamma\, (-\log p_{ic})}{\sum_i v_i}, \qquad
        t_i = (1 - \epsilon)\, y_i + \frac{\epsilon}{K}, \quad p = \mathrm{softmax}(z)

    with ``v_i = w_y`` of the window's class for indices, and ``v_i = 1`` for probabilities. Windows without a label, -1
    or a row of zeros, add nothing to either sum; a row of probabilities below 1 is a label in part. With labels for all
    it equals :func:`torch.nn.functional.cross_entropy` for ``gamma = 0``. The focal factor is applied class by class,
    and does not enter the divisor.

    Args:
        logits: ``(B, K)``.
        target: class indices ``(B,)`` of any integer type, -1 for none, or probabilities ``(B, K)`` as mixup and CutMix
            give them.
        class_weights: ``w``, ``(K,)``, at least 0; ``None``: all are 1. If all ``v_i`` are 0, so is the loss.
        label_smoothing: ``epsilon``, 0 to 1.
        focal_gamma: ``gamma``, at least 0.

    Raises:
        InputError: if ``target`` is neither, an index is no class (in the memory of the CPU), or the number of weights
            is not ``K``.

    References:
        C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, "Rethinking the Inception architecture for computer
        vision", CVPR 2016, arXiv:1512.00567. T.-Y. Lin, P. Goyal, R. Girshick, K. He, P. Dollar, "Focal loss for dense
        object detection", ICCV 2017, arXiv:1708.02002.

    Example:
        >>> logits, mixed = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.5, 0.5]])
        >>> print(f"{cross_entropy(logits, torch.tensor([0])):.4f} {cross_entropy(logits, mixed):.4f}")
        0.1269 1.1269
        >>> print(f"{cross_entropy(logits, torch.tensor([1]), focal_gamma=2.0):.4f}")
        1.6501
        >>> print(f"{cross_entropy(torch.cat([logits, logits]), torch.tensor([0, -1])):.4f}")
        0.1269
    """
    check_labels(logits, target)
    if class_weights is None and label_smoothing == 0 and focal_gamma == 0:
        return label_sum(logits, target) / label_divisor(logits, target)
    losses = class_losses(logits)
    weighted = label_losses(losses, target, class_weights, label_smoothing, focal_gamma)
    return weighted.sum() / label_divisor(losses, target, class_weights)


@full_precision
def label_sum(logits: Tensor, target: Tensor) -> Tensor:
    """The sum of the plain cross-entropies of the windows that have a label; the numerator of :func:`cross_entropy`.

    Args:
        logits: ``(B, K)``.
        target: class indices ``(B,)``, -1 for none, or class probabilities ``(B, K)``.
    """
    if target.is_floating_point():
        return F.cross_entropy(logits, target.to(logits.dtype), reduction="sum")
    return F.cross_entropy(logits, target.long(), ignore_index=-1, reduction="sum")


def check_labels(logits: Tensor, target: Tensor) -> None:
    """Raise :class:`~kdlab.types.InputError` with both shapes unless labels fit the logits ``(B, K)``.

    See :func:`check_indices` for their range.
    """
    indices = target.ndim == 1 and not target.is_floating_point() and len(target) == len(logits)
    probabilities = target.is_floating_point() and target.shape == logits.shape
    if logits.ndim != 2 or not (indices or probabilities):
        raise InputError(
            "target must be class indices (B,) or class probabilities (B, K) for logits (B, K), "
            f"but logits are {shape_of(logits)} and target is {shape_of(target)} of {target.dtype}."
        )
    if indices:
        check_indices(target, logits.shape[1], low=-1)


def check_indices(target: Tensor, classes: int, low: int = 0) -> None:
    """Raise unless class indices are of the classes; those of another device are not waited for.

    Args:
        target: class indices ``(B,)``.
        classes: their number.
        low: the least index: -1 where windows may have no label.

    Raises:
        InputError: with the first index that is out of range.
    """
    if target.device.type != "cpu" or torch.compiler.is_compiling():
        return
    wrong = target[(target < low) | (target >= classes)]
    if len(wrong):
        none = " (-1: no label)" if low < 0 else ""
        raise InputError(
            f"target must be class indices from {low}{none} to {classes - 1}, for {classes} classes, but got "
            f"{int(wrong[0])}. Correct the labels."
        )


@full_precision
def class_losses(logits: Tensor) -> Tensor:
    """The cross-entropy that a window would have if a class were its label, ``-log softmax(z)``, ``(B, K)``."""
    return -logits.log_softmax(1)


@full_precision
def label_losses(
    losses: Tensor,
    target: Tensor,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    r"""The numerators of :func:`cross_entropy`, one per window, from the losses of all classes.

    .. math:: \sum_c w_c\, t_{ic}\, (1 - e^{-\ell_{ic}})^\gamma\, \ell_{ic}

    Args:
        losses: ``l``, ``(B, K)``: the loss of a window for each class that its label may name, see
            :func:`class_losses`.
        target: class indices ``(B,)``, -1 for none, or class probabilities ``(B, K)``.
        class_weights: ``w``, ``(K,)``; ``None``: all are 1.
        label_smoothing: ``epsilon``, 0 to 1.
        focal_gamma: ``gamma``, at least 0.

    Shapes:
        ``(B,)``; 0 for windows without a label.

    Raises:
        InputError: if ``target`` does not fit, or the number of weights is not ``K``.
    """
    check_labels(losses, target)
    classes = losses.shape[1]
    if focal_gamma:
        # 1 - p = 0 is replaced by the smallest normal number: a power below 1 has an infinite slope at 0
        wrong = (-torch.expm1(-losses)).clamp_min(torch.finfo(losses.dtype).tiny)
        losses = wrong**focal_gamma * losses
    if class_weights is not None:
        if class_weights.shape != (classes,):
            raise InputError(
                f"class_weights must have one number for each of the {classes} classes, but got "
                f"{shape_of(class_weights)}."
            )
        losses = class_weights.to(losses.dtype) * losses
    if target.is_floating_point():
        share = target.to(losses.dtype).sum(1)  # of the label that is known: 1 but for windows without one
        own = (target.to(losses.dtype) * losses).sum(1)
    else:
        share = (target >= 0).to(losses.dtype)
        own = share * losses.gather(1, target.long().clamp_min(0)[:, None])[:, 0]
    return own if label_smoothing == 0 else (1 - label_smoothing) * own + label_smoothing * share * losses.mean(1)


def label_divisor(losses: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """The sum of the weights of the windows' classes; the number of labelled windows for probabilities or no weights.

    Args:
        losses: ``(B, K)``, for type and device.
        target: class indices ``(B,)``, -1 for none, or class probabilities ``(B, K)``, all 0 for none.
        class_weights: ``(K,)``, or ``None``.

    Shapes:
        0-dim; 1 in the place of 0.
    """
    total = label_total(losses, target, class_weights)
    return torch.where(total > 0, total, 1.0)


def label_total(losses: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """As :func:`label_divisor`, but 0 where no window has a label, so that totals of several batches can be added."""
    labelled = target.sum(1) > 0 if target.is_floating_point() else target >= 0
    if class_weights is None or target.is_floating_point():
        return labelled.sum().to(losses.dtype)
    return (class_weights.to(losses.dtype)[target.long().clamp_min(0)] * labelled).sum()
