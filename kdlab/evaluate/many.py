"""Numbers for windows with any number of labels each: each class is predicted by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import (
    binary_average_precision,
    multilabel_exact_match,
    multilabel_f1_score,
)

from kdlab.evaluate.metrics import Floats, Ints, calibration_error, reliability_bins
from kdlab.types import InputError


def check_rows(probabilities: NDArray[Any], target: NDArray[Any]) -> tuple[Floats, Ints]:
    """The same numbers as float64 and int64.

    Args:
        probabilities: ``(N, K)``, each 0 to 1.
        target: ``(N, K)`` of 0 and 1.

    Raises:
        InputError: shapes that differ, no windows, numbers that are no probabilities or no labels.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(target)
    if p.ndim != 2 or y.shape != p.shape or len(p) == 0:
        raise InputError(
            f"probabilities, target: must both be (N, K) with at least one window, but got {p.shape} and {y.shape}. "
            "Pass one row of each per window."
        )
    if not np.isfinite(p).all() or p.min() < 0 or p.max() > 1:
        raise InputError("probabilities: must be from 0 to 1, but got others. Apply sigmoid to logits.")
    if not np.isin(y, (0, 1)).all():
        raise InputError(
            f"target: must be rows of 0 and 1, but got {np.unique(y)[:12].tolist()}. Leave unlabelled windows out."
        )
    return p, y.astype(np.int64)


def many_scores(probabilities: NDArray[Any], target: NDArray[Any]) -> dict[str, float]:
    r"""Accuracy, macro F1, mean average precision, negative log-likelihood (nats) and expected calibration error.

    ``accuracy`` is the share of windows with exactly the right classes (subset accuracy), ``f1`` the mean of the F1 of
    each class at a probability of one half, ``map`` the mean average precision of the classes that windows have (NaN
    where there are none), and

    .. math:: \mathrm{NLL} = -\frac{1}{N K} \sum_{ik} \big[ y_{ik} \log p_{ik} + (1 - y_{ik}) \log (1 - p_{ik}) \big]

    ``ece`` is that of all decisions for or against a class, see :func:`decisions`.

    Args:
        probabilities: ``(N, K)``.
        target: ``(N, K)`` of 0 and 1.

    Raises:
        InputError: as :func:`check_rows`.

    Example:
        >>> p, y = np.array([[0.9, 0.2], [0.8, 0.6], [0.3, 0.1]]), np.array([[1, 0], [1, 1], [1, 0]])
        >>> {name: round(value, 4) for name, value in many_scores(p, y).items()}
        {'accuracy': 0.6667, 'f1': 0.9, 'map': 1.0, 'nll': 0.3953, 'ece': 0.2833}
    """
    p, y = check_rows(probabilities, target)
    predicted, wanted, count = torch.from_numpy((p > 0.5).astype(np.int64)), torch.from_numpy(y), p.shape[1]
    precision = np.array(average_precision(p, y))
    known = precision[~np.isnan(precision)]
    tiny = np.finfo(np.float64).tiny
    likely = np.where(y == 1, p, 1 - p).clip(tiny)
    return {
        "accuracy": float(multilabel_exact_match(predicted, wanted, count)),
        "f1": float(multilabel_f1_score(predicted, wanted, count, average="macro")),
        "map": float(known.mean()) if len(known) else float("nan"),
        "nll": float(-np.log(likely).mean()),
        "ece": calibration_error(reliability_bins(*decisions(p, y))),
    }


def average_precision(probabilities: NDArray[Any], target: NDArray[Any]) -> list[float]:
    """The average precision of each class; NaN for one that no window has."""
    p, y = check_rows(probabilities, target)
    columns = zip(torch.from_numpy(p).T, torch.from_numpy(y).T, strict=True)
    return [float(binary_average_precision(q, one)) if one.any() else float("nan") for q, one in columns]


def label_counts(probabilities: NDArray[Any], target: NDArray[Any]) -> Ints:
    """Windows of each class, ``(K, 2, 2)``: rows without and with it, columns predicted without and with it.

    Example:
        >>> label_counts(np.array([[0.9, 0.2], [0.8, 0.6]]), np.array([[1, 0], [0, 1]])).tolist()
        [[[0, 1], [0, 1]], [[1, 0], [0, 1]]]
    """
    p, y = check_rows(probabilities, target)
    place = 2 * y + (p > 0.5)
    return np.stack([np.bincount(column, minlength=4).reshape(2, 2) for column in place.T]).astype(np.int64)


def label_scores(probabilities: NDArray[Any], target: NDArray[Any]) -> dict[str, list[float]]:
    """Precision, recall, F1, support (windows), average precision and calibration error of each class.

    Args:
        probabilities: ``(N, K)``.
        target: ``(N, K)`` of 0 and 1.

    Example:
        >>> label_scores(np.array([[0.9, 0.2], [0.8, 0.6]]), np.array([[1, 0], [0, 1]]))["precision"]
        [0.5, 1.0]
    """
    p, y = check_rows(probabilities, target)
    counts = label_counts(p, y).astype(np.float64)
    hits, support, predicted = counts[:, 1, 1], counts[:, 1].sum(1), counts[:, :, 1].sum(1)
    parts = {"precision": (hits, predicted), "recall": (hits, support), "f1": (2 * hits, support + predicted)}
    return {
        **{name: (above / np.maximum(below, 1)).tolist() for name, (above, below) in parts.items()},
        "support": support.tolist(),
        "average_precision": average_precision(p, y),
        "ece": [calibration_error(reliability_bins(*decisions(p[:, [k]], y[:, [k]]))) for k in range(p.shape[1])],
    }


def decisions(probabilities: NDArray[Any], target: NDArray[Any]) -> tuple[Floats, Ints]:
    """Every decision for or against a class as a window of two classes, no and yes: ``(N K, 2)`` and ``(N K,)``.

    Its confidence is the larger one of ``p`` and ``1 - p``.
    """
    p, y = check_rows(probabilities, target)
    return np.stack([1 - p.ravel(), p.ravel()], axis=1), y.ravel()
