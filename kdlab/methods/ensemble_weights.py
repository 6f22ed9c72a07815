"""Weights of the members of an ensemble that are found on validation windows."""

from __future__ import annotations

import torch
from torch import Tensor

STEPS, PLACES = 2000, 3  # of the search; decimals of the weights
_MOST, _LEAST = 20.0, 1e-12  # of an exponent; of a weight in the search: from 0 none would come back


def validation_weights(logits: Tensor, target: Tensor) -> list[float]:
    r"""The weights whose mean logits have the lowest cross-entropy.

    .. math:: \min_w -\frac{1}{N} \sum_n \log \mathrm{softmax}\Bigl(\sum_m w_m z_{nm}\Bigr)_{y_n},
        \qquad w_m \ge 0,\ \sum_m w_m = 1

    The function is convex, so there is one lowest value. It is found by exponentiated gradients in float64 with a step
    that is halved where the loss would rise; weights are rounded to thousandths, so that rounding errors of the logits
    do not reach them.

    Args:
        logits: of each window and member, ``(N, M, K)``.
        target: class indices ``(N,)``.

    Example:
        >>> z = torch.tensor([[[4.0, 0.0], [0.0, 4.0]], [[0.0, 4.0], [4.0, 0.0]]])
        >>> validation_weights(z, torch.tensor([0, 1]))
        [1.0, 0.0]
    """
    z, rows = logits.double(), torch.arange(len(target))
    z = z - z.amax(-1, keepdim=True)
    of_target = z[rows, :, target]  # (N, M)

    def loss_at(w: Tensor) -> Tensor:
        return (torch.einsum("nmk,m->nk", z, w).logsumexp(-1) - of_target @ w).mean()

    weights = torch.full((z.shape[1],), 1.0 / z.shape[1], dtype=torch.float64)
    step, loss = 1.0, float(loss_at(weights))
    for _ in range(STEPS):
        chance = torch.einsum("nmk,m->nk", z, weights).softmax(-1)
        gradient = (torch.einsum("nmk,nk->nm", z, chance) - of_target).mean(0)
        moved = weights * torch.exp(-(step * (gradient - gradient.min())).clamp(max=_MOST))
        moved = (moved / moved.sum()).clamp(min=_LEAST)
        now = float(loss_at(moved))
        if not now <= loss:
            step /= 2
            if step < 1e-9:
                break
            continue
        weights, loss, step = moved, now, 1.1 * step
    found = [round(float(w), PLACES) for w in weights]
    return [w / sum(found) for w in found]
