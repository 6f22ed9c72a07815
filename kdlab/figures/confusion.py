"""Figure of a confusion matrix."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure


def plot_confusion(matrix: torch.Tensor, classes: list[str]) -> Figure:
    """A confusion matrix (rows: target, columns: prediction) with counts, shaded by the share of each row.

    Args:
        matrix: ``(K, K)`` counts.
        classes: K names.
    """
    count = len(classes)
    side = max(3.2, 0.55 * count + 1.6)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    share = matrix.float() / matrix.sum(1, keepdim=True).clamp_min(1)
    image = axes.imshow(share.numpy(), vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(count), classes, rotation=45, ha="right")
    axes.set_yticks(range(count), classes)
    axes.set_xlabel("prediction")
    axes.set_ylabel("target")
    for row in range(count):
        for column in range(count):
            if matrix[row, column]:
                colour = "white" if share[row, column] > 0.5 else "black"
                text = str(int(matrix[row, column]))
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(image, ax=axes, label="share of the target's windows", shrink=0.8)
    return figure
