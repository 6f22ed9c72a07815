"""Open-set scores: how known a window looks, and how well that separates unknown classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab.functional.precision import check_choice, full_precision, shape_of
from kdlab.types import InputError

#: the scores of :func:`known_score`
SCORES = ("probability", "logit", "energy", "cosine")


@full_precision
def known_score(
    logits: Tensor, score: str = "probability", embedding: Tensor | None = None, weight: Tensor | None = None
) -> Tensor:
    r"""How much a sample looks like one of the known classes; higher is more known.

    ``"probability"`` is the largest class probability ``max_k p_k``, ``"logit"`` the largest logit, ``"energy"`` the
    negative free energy ``log sum_k exp(z_k)``, and ``"cosine"`` the largest cosine between the embedding and the
    weights of a class.

    Args:
        logits: ``(B, K)``.
        score: one of the four.
        embedding: ``(B, D)``, for ``"cosine"``.
        weight: of the classes, ``(K, D)``, for ``"cosine"``.

    Shapes:
        ``(B, K) -> (B,)``.

    Raises:
        InputError: for another word, or if ``"cosine"`` lacks what it needs.

    References:
        D. Hendrycks, K. Gimpel, "A baseline for detecting misclassified and out-of-distribution examples in neural
        networks", ICLR 2017, arXiv:1610.02136 (probability). S. Vaze, K. Han, A. Vedaldi, A. Zisserman, "Open-set
        recognition: a good closed-set classifier is all you need?", ICLR 2022, arXiv:2110.06207 (logit). W. Liu,
        X. Wang, J. Owens, Y. Li, "Energy-based out-of-distribution detection", NeurIPS 2020, arXiv:2010.03759 (energy).

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        >>> known_score(logits), known_score(logits, "energy")
        (tensor([0.8808, 0.5000]), tensor([2.1269, 0.6931]))
    """
    check_choice("score", score, SCORES)
    if score == "probability":
        return logits.softmax(1).amax(1)
    if score == "logit":
        return logits.amax(1)
    if score == "energy":
        return logits.logsumexp(1)
    if embedding is None or weight is None or embedding.ndim != 2 or embedding.shape[1:] != weight.shape[1:]:
        shapes = [None if x is None else shape_of(x) for x in (embedding, weight)]
        raise InputError(
            f"score='cosine' needs an embedding (B, D) and class weights (K, D), but they are {shapes[0]} and "
            f"{shapes[1]}. Use a net with a linear head, or another score: {', '.join(SCORES[:3])}."
        )
    return (F.normalize(embedding, dim=1) @ F.normalize(weight, dim=1).T).amax(1)


def auroc(known: Tensor, unknown: Tensor) -> Tensor:
    r"""Area under the ROC curve: how probably a known sample has a higher score than an unknown one.

    .. math:: \frac{1}{N M} \sum_{i \le N} \sum_{j \le M} \big( [a_i > b_j] + \tfrac12 [a_i = b_j] \big)

    Args:
        known: scores ``a``, ``(N,)``.
        unknown: scores ``b``, ``(M,)``.

    Raises:
        InputError: if one is empty, or holds what is not a number.

    Example:
        >>> auroc(torch.tensor([0.9, 0.8, 0.4]), torch.tensor([0.4, 0.1])).item()
        0.9166666666666666
    """
    if known.ndim != 1 or unknown.ndim != 1 or min(len(known), len(unknown)) < 1:
        raise InputError(
            f"auroc: expected scores (N,) and (M,) with at least one each, got {shape_of(known)} and "
            f"{shape_of(unknown)}."
        )
    if known.isnan().any() or unknown.isnan().any():
        raise InputError("auroc: a score is not a number; check that the net's outputs are finite.")
    a, b = known.detach().double().cpu(), unknown.detach().double().cpu().sort().values
    below = torch.searchsorted(b, a) + torch.searchsorted(b, a, right=True)
    return below.double().mean() / (2 * len(b))
