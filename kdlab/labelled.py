"""The label term of objectives: cross-entropy, with class weights, label smoothing and the focal factor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kdlab import distributed, functional
from kdlab.fields import argument
from kdlab.objective import Objective
from kdlab.types import InputError


def _class_weights(who: str, value: Any) -> Any:
    """A list of finite numbers of at least 0, one of them above 0, or the word ``balanced``."""
    if value == "balanced" and isinstance(value, str):
        return value
    listed = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    known = all(isinstance(w, float | int | np.number) and 0 <= float(w) < math.inf for w in listed)
    if not known or not any(listed):
        raise InputError(
            f"{who}: class_weights must be finite numbers of at least 0 and not all 0, one per class, or 'balanced', "
            f"but got {value!r}. List them in the order of the classes."
        )
    return [float(weight) for weight in listed]


class Labelled(Objective):
    r"""An objective with a label term, computed by :meth:`label_loss`.

    The options change the label term alone, never the terms of distillation. The mean of several processes is that of
    one process on their batches.
    """

    class_weights: list[float] | Literal["balanced"] | None = argument(
        "weight of each class in the label term, in the order of the classes; the sum over the batch is divided by "
        'that of the weights of its labels, for mixed labels by the number of windows, as in torch. ``"balanced"``: '
        "``n / (K n_c)`` with ``n`` training windows, ``n_c`` of them of class ``c``. With any number of labels per "
        "window: weight of each class where it is present (``pos_weight`` of torch); "
        '``"balanced"``: ``(n - n_c) / n_c``.',
        default=None,
        check=_class_weights,
    )
    label_smoothing: float = argument(
        "``epsilon``, 0 to 1: share of the label that is spread evenly over all classes; with any number of labels per "
        "window, over yes and no.",
        default=0.0,
        low=0.0,
        high=1.0,
    )
    focal_gamma: float = argument(
        "exponent of the focal factor ``(1 - p)^g`` on the cross-entropy of each class, at least 0; 0: no factor. With "
        "any number of labels per window, ``p`` is the probability of a class that is present, or else its complement.",
        default=0.0,
        low=0.0,
    )

    def __post_init__(self) -> None:
        """Take the class weights that are given as numbers."""
        super().__post_init__()
        given = self.class_weights
        #: the weights as numbers, as soon as they are known
        self.label_weights: list[float] | None = None if isinstance(given, str) or given is None else list(given)
        #: whether windows have any number of labels each, see :meth:`use_many_labels`
        self.many = False
        self._tensors: dict[Any, Tensor] = {}
        self._used = False
        #: whether windows of a batch may have no label, so that ranks differ in how many have one
        self.partly_labelled = False

    @property
    def plain_labels(self) -> bool:
        """Whether the label term is the plain cross-entropy."""
        return self.class_weights is None and self.label_smoothing == 0 and self.focal_gamma == 0

    def use_weights(self, weights: Sequence[float]) -> None:
        """Set the numbers of ``class_weights="balanced"``."""
        self.label_weights, self._tensors = [float(weight) for weight in weights], {}

    def use_many_labels(self, many: bool = True) -> None:
        """Take targets as rows of 0 and 1 for any number of labels per window, in place of class probabilities."""
        self.many = many

    def label_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean cross-entropy of a batch, see :func:`kdlab.functional.cross_entropy`.

        With :meth:`use_many_labels` it is :func:`kdlab.functional.binary_cross_entropy`.

        Args:
            logits: ``(B, K)``.
            target: class indices ``(B,)``, -1 for none, or class probabilities ``(B, K)``, all 0 for none; rows of 0
                and 1 ``(B, K)``, -1 for none.

        Raises:
            InputError: if target or class weights do not fit the logits, or ``"balanced"`` ones are not known yet.
        """
        self._used = True
        if self.many:
            return self._binary_mean(logits, target)
        functional.check_labels(logits, target)
        if self.plain_labels:
            return functional.label_sum(logits, target) / self._divisor(functional.promote(logits), target)
        return self.label_mean(functional.class_losses(logits), target)

    def label_mean(self, losses: Tensor, target: Tensor) -> Tensor:
        """The mean over windows of the losses ``(B, K)`` that each class would give as the label.

        Args:
            losses: in place of the negative logarithms of softmax probabilities.
            target: class indices ``(B,)`` or class probabilities ``(B, K)``.
        """
        self._used = True
        weights = self._weights(losses)
        each = functional.label_losses(losses, target, weights, self.label_smoothing, self.focal_gamma)
        return each.sum() / self._divisor(losses, target, weights)

    def _divisor(self, losses: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """What the sum is divided by: windows with a label, or the weights of their classes.

        It is the mean over ranks where these may differ in it.
        """
        total = functional.label_total(losses, target, weights)
        if weights is not None or self.partly_labelled:
            total = distributed.total(total) / distributed.world_size()
        return torch.where(total > 0, total, 1.0)

    def _binary_mean(self, logits: Tensor, target: Tensor) -> Tensor:
        """The binary cross-entropy; over several processes, unlabelled windows are left out of the mean of all."""
        weights = self._weights(functional.promote(logits))
        losses = functional.binary_losses(logits, target, weights, self.label_smoothing, self.focal_gamma)
        count = distributed.total(functional.labelled_rows(target).sum().to(losses.dtype)) / distributed.world_size()
        return losses.sum() / (torch.where(count > 0, count, 1.0) * logits.shape[1])

    def _weights(self, like: Tensor) -> Tensor | None:
        """The class weights in type and on the device of a tensor."""
        if self.class_weights is None:
            return None
        if self.label_weights is None:
            raise InputError(
                f"{type(self).__name__}: class_weights='balanced' are not known before a fit, which counts the "
                "training windows. List the weights, or set them with use_weights(...)."
            )
        if (like.device, like.dtype) not in self._tensors:
            with torch.inference_mode(False):
                made = torch.tensor(self.label_weights, device=like.device, dtype=like.dtype)
            self._tensors = {(like.device, like.dtype): made}
        return self._tensors[like.device, like.dtype]

    def check_labels_used(self) -> None:
        """Raise after a step whose label term had none of the options that are set.

        Raises:
            InputError: where ``forward`` of a subclass computes its label term in another way.
        """
        if not (self._used or self.plain_labels):
            raise InputError(
                f"{type(self).__name__}: class_weights, label_smoothing and focal_gamma must be left out, because its "
                "label term does not use them. Compute it with self.label_loss(student.logits, target)."
            )


def balanced_positive_weights(who: str, counts: Sequence[int], windows: int, classes: Sequence[str]) -> list[float]:
    """``(n - n_c) / n_c`` for the windows ``n_c`` of each class, of which a window may have any number.

    Args:
        who: for the message.
        counts: windows per class.
        windows: ``n``.
        classes: their names; may be empty.

    Raises:
        InputError: naming the classes that no window has, or all have.

    Example:
        >>> balanced_positive_weights("KD", [30, 10], 40, ["walk", "talk"])
        [0.3333333333333333, 3.0]
    """
    names = list(classes) if len(classes) == len(counts) else [f"number {k}" for k in range(len(counts))]
    if odd := [name for name, count in zip(names, counts, strict=True) if not 0 < count < windows]:
        raise InputError(
            f"{who}: class_weights='balanced' must have training windows with and without every class, but got none "
            f"of one of the two for {', '.join(odd)}. Hold out other subjects, leave the column out, or list the "
            "weights."
        )
    return [(windows - count) / count for count in counts]


def balanced_weights(who: str, counts: Sequence[int], classes: Sequence[str]) -> list[float]:
    """``n / (K n_c)`` for the windows ``n_c`` of each class.

    Args:
        who: for the message.
        counts: windows per class.
        classes: their names; may be empty.

    Raises:
        InputError: naming the classes without windows.

    Example:
        >>> balanced_weights("KD", [30, 10], ["walk", "run"])
        [0.6666666666666666, 2.0]
    """
    names = list(classes) if len(classes) == len(counts) else [f"number {k}" for k in range(len(counts))]
    if absent := [name for name, count in zip(names, counts, strict=True) if count == 0]:
        raise InputError(
            f"{who}: class_weights='balanced' must have training windows of every class, but got none of "
            f"{', '.join(absent)}. Hold out other subjects, leave the class out (drop_classes), or list the weights."
        )
    return [sum(counts) / (len(counts) * count) for count in counts]
