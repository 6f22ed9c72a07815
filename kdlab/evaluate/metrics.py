"""Numbers from probabilities, targets and embeddings: quality, calibration, and how well classes separate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
)

from kdlab.types import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def check_probabilities(probabilities: NDArray[Any], target: NDArray[Any]) -> tuple[Floats, Ints]:
    """The same numbers as float64 and int64.

    Args:
        probabilities: ``(N, K)``, rows that sum to 1.
        target: ``(N,)`` class indices.

    Raises:
        InputError: shapes that differ, no windows, numbers that are no probabilities, or classes that are not there.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(target)
    if p.ndim != 2 or y.shape != p.shape[:1] or len(p) == 0:
        raise InputError(
            f"probabilities, target: must be (N, K) and (N,) with at least one window, but got {p.shape} and "
            f"{y.shape}. "
            "Pass one row and one label per window."
        )
    if not np.isfinite(p).all() or p.min() < 0 or np.abs(p.sum(1) - 1).max() > 1e-4:
        raise InputError(
            "probabilities: must be finite rows of at least 0 that sum to 1, but got others. Apply softmax to logits."
        )
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= p.shape[1]:
        raise InputError(
            f"target: must be class indices from 0 to {p.shape[1] - 1}, but got {np.unique(y)[:12].tolist()}. "
            "Map labels to "
            "indices."
        )
    return p, y.astype(np.int64)


def scores(probabilities: NDArray[Any], target: NDArray[Any]) -> dict[str, float]:
    r"""Accuracy, macro F1, negative log-likelihood (nats) and expected calibration error.

    .. math:: \mathrm{NLL} = -\frac1N \sum_i \log p_{i, y_i}

    F1 is averaged over the classes that occur as target or prediction, as ``test/f1`` is.

    Args:
        probabilities: ``(N, K)``.
        target: ``(N,)`` class indices.

    Raises:
        InputError: as :func:`check_probabilities`.

    Example:
        >>> p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
        >>> {name: round(value, 4) for name, value in scores(p, np.array([0, 1, 1, 1])).items()}
        {'accuracy': 0.75, 'f1': 0.7333, 'nll': 0.4004, 'ece': 0.3}
    """
    p, y = check_probabilities(probabilities, target)
    count = p.shape[1]
    predicted, wanted = torch.from_numpy(p.argmax(1)), torch.from_numpy(y)
    return {
        "accuracy": float(multiclass_accuracy(predicted, wanted, count, average="micro")),
        "f1": float(multiclass_f1_score(predicted, wanted, count, average="macro")),
        "nll": float(-np.log(p[np.arange(len(p)), y].clip(np.finfo(np.float64).tiny)).mean()),
        "ece": calibration_error(reliability_bins(p, y)),
    }


def confusion_matrix(probabilities: NDArray[Any], target: NDArray[Any]) -> Ints:
    """Number of windows of each class (rows) that were predicted as each class (columns), ``(K, K)``."""
    p, y = check_probabilities(probabilities, target)
    matrix = multiclass_confusion_matrix(torch.from_numpy(p.argmax(1)), torch.from_numpy(y), p.shape[1])
    return np.asarray(matrix, dtype=np.int64)


def class_scores(confusion: NDArray[Any]) -> dict[str, list[float]]:
    """Precision, recall, F1 and support (windows) of each class; 0 where a class never occurs.

    Args:
        confusion: ``(K, K)`` counts, rows are targets.

    Example:
        >>> class_scores(np.array([[3, 1], [0, 2]]))["recall"]
        [0.75, 1.0]
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    hits, support, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    parts = {
        "precision": (hits, predicted),
        "recall": (hits, support),
        "f1": (2 * hits, support + predicted),
        "support": (support, np.ones_like(support)),
    }
    return {name: (above / np.maximum(below, 1)).tolist() for name, (above, below) in parts.items()}


def reliability_bins(probabilities: NDArray[Any], target: NDArray[Any], bins: int = 15) -> dict[str, Floats]:
    r"""Mean confidence, accuracy and number of windows in bins of equal width.

    Bin b holds the windows whose largest probability lies in :math:`((b - 1) / B, b / B]`.

    Args:
        probabilities: ``(N, K)``.
        target: ``(N,)`` class indices.
        bins: B.

    Returns:
        ``confidence``, ``accuracy`` (NaN in an empty bin) and ``count``, each ``(B,)``.

    Raises:
        InputError: as :func:`check_probabilities`, or for ``bins`` below 1.
    """
    p, y = check_probabilities(probabilities, target)
    if bins < 1:
        raise InputError(f"bins: must be at least 1, but got {bins}. Raise it.")
    confidence, hit = p.max(1), p.argmax(1) == y
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence, side="left")
    count = np.bincount(place, minlength=bins).astype(np.float64)
    some = np.where(count > 0, count, np.nan)
    return {
        "confidence": np.bincount(place, confidence, bins) / some,
        "accuracy": np.bincount(place, hit, bins) / some,
        "count": count,
    }


def calibration_error(bins: Mapping[str, NDArray[Any]]) -> float:
    r"""Expected calibration error: how far confidence and accuracy are apart, bin by bin.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{N} \left| \mathrm{acc}_b - \mathrm{conf}_b \right|

    Args:
        bins: what :func:`reliability_bins` returns.

    References:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv:1706.04599 (15 bins).
    """
    share = bins["count"] / bins["count"].sum()
    return float(np.nansum(share * np.abs(bins["accuracy"] - bins["confidence"])))


def v_measure(embedding: NDArray[Any], target: NDArray[Any], seed: int = 0) -> float:
    """V-measure of a k-means clustering of the embedding against the labels: 1 where clusters are classes.

    There are as many clusters as classes among the windows; the best of 10 starts is taken. Windows of one class are
    one cluster, whatever the net, so there is no value (NaN).

    Args:
        embedding: ``(N, D)``.
        target: ``(N,)`` class indices.
        seed: of the starts.

    Raises:
        InputError: when the numbers are not finite or the shapes do not fit.

    References:
        Rosenberg and Hirschberg, V-Measure: A Conditional Entropy-Based External Cluster Evaluation Measure,
        EMNLP-CoNLL 2007.

    Example:
        >>> v_measure(np.array([[0.0], [0.1], [5.0], [5.1]]), np.array([0, 0, 1, 1]))
        1.0
    """
    from sklearn.cluster import KMeans  # slow to import, and only wanted here
    from sklearn.metrics import v_measure_score

    x, y = np.asarray(embedding, dtype=np.float64), np.asarray(target)
    if x.ndim != 2 or y.shape != x.shape[:1] or not np.isfinite(x).all():
        raise InputError(
            f"embedding, target: must be finite (N, D) and (N,), but got {x.shape} and {y.shape}, or NaN. Check "
            "the net."
        )
    if (classes := len(np.unique(y))) < 2:
        return float("nan")
    clusters = KMeans(n_clusters=classes, n_init=10, random_state=seed).fit_predict(x)
    return float(v_measure_score(y, clusters))
