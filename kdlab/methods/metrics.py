"""The metrics of validation and test: cross-entropy, accuracy and macro F1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score


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


def metrics_of(stage: str, num_classes: int) -> MetricCollection:
    """``<stage>/loss`` (cross-entropy), ``<stage>/accuracy`` and ``<stage>/f1`` (macro)."""
    metrics: dict[str, Metric | MetricCollection] = {
        "loss": MeanLoss(),
        # without the check of their arguments, which waits for the device; the loss refuses wrong classes
        "accuracy": MulticlassAccuracy(num_classes, average="micro", validate_args=False),
        "f1": MulticlassF1Score(num_classes, average="macro", validate_args=False),
    }
    return MetricCollection(metrics, prefix=f"{stage}/")
