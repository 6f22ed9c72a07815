"""The metrics of validation and test: cross-entropy, accuracy and macro F1, for one label per window or many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MultilabelExactMatch,
    MultilabelF1Score,
)

from kdlab.functional import binary_losses, labelled_rows
from kdlab.methods.label_kinds import predicted, probabilities_of


class MeanLoss(Metric):
    """Cross-entropy averaged over windows, exactly so when ranks hold different numbers of them.

    (``self.log`` would average the ranks' numbers of windows as integers.)

    Example:
        >>> loss = MeanLoss()
        >>> loss.update(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
        >>> round(float(loss.compute()), 4)
        0.6931
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add windows: logits (B, K), target (B,) or (B, K)."""
        self.total = self.total + F.cross_entropy(logits, target, reduction="sum")
        self.count = self.count + len(logits)

    def compute(self) -> Tensor:
        """The mean over all windows."""
        return self.total / self.count


class MeanBinaryLoss(MeanLoss):
    """Binary cross-entropy averaged over labelled windows and classes.

    Example:
        >>> loss = MeanBinaryLoss()
        >>> loss.update(torch.zeros(2, 2), torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
        >>> round(float(loss.compute()), 4)
        0.6931
    """

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add windows: logits (B, K), target (B, K)."""
        self.total = self.total + binary_losses(logits, target).mean(1).sum()
        self.count = self.count + labelled_rows(target).sum()


class ExactMatch(MultilabelExactMatch):
    """Share of the labelled windows whose classes are all predicted, and no others, from logits."""

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add windows: logits (B, K), target (B, K)."""
        _update(super().update, logits, target)


class MacroF1(MultilabelF1Score):
    """Mean over the classes of the F1 of each, from logits; 0 for one that no window has or is predicted for."""

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add windows: logits (B, K), target (B, K)."""
        _update(super().update, logits, target)


def _update(update: Callable[[Tensor, Tensor], None], logits: Tensor, target: Tensor) -> None:
    """Add predictions of 0 and 1 of the labelled windows; torchmetrics would guess whether logits are logits."""
    known = labelled_rows(target)
    labels = target[known].long()
    if len(labels):
        update(predicted(probabilities_of(logits[known], many=True), many=True), labels)


def metrics_of(stage: str, num_classes: int, many: bool = False) -> MetricCollection:
    """``<stage>/loss`` (cross-entropy), ``<stage>/accuracy`` and ``<stage>/f1`` (macro).

    With any number of labels per window (``many``) the loss is the binary cross-entropy, mean over windows and classes,
    ``accuracy`` the share of windows with exactly the right classes (subset accuracy), and F1 that of each class at a
    probability of one half.
    """
    made: dict[str, Any] = {"num_labels": num_classes, "validate_args": False}
    if many:
        binary: dict[str, Metric | MetricCollection] = {
            "loss": MeanBinaryLoss(),
            "accuracy": ExactMatch(**made),
            "f1": MacroF1(average="macro", **made),
        }
        return MetricCollection(binary, prefix=f"{stage}/")
    metrics: dict[str, Metric | MetricCollection] = {
        "loss": MeanLoss(),
        # without the check of their arguments, which waits for the device; the loss refuses wrong classes
        "accuracy": MulticlassAccuracy(num_classes, average="micro", validate_args=False),
        "f1": MulticlassF1Score(num_classes, average="macro", validate_args=False),
    }
    return MetricCollection(metrics, prefix=f"{stage}/")
