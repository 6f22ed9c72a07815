"""Robustness and calibration of the runs, pooled over seeds, folds and labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdlab.evaluate.evaluation import KINDS, SEVERITIES
from kdlab.study.conditions import Condition, Row, number

if TYPE_CHECKING:
    from numpy.typing import NDArray


def severities(row: Row, kind: str, metric: str = "test_accuracy") -> list[float] | None:
    """The accuracies of one run from severity 0 (clean) to 3; None where one is missing."""
    values = [number(row, metric), *(number(row, f"{metric}_{kind}{severity}") for severity in SEVERITIES)]
    return None if None in values else [value for value in values if value is not None]


def robustness(known: Sequence[Condition], metric: str = "test_accuracy") -> dict[str, dict[str, list[float]]]:
    """Run -> kind of corruption -> mean accuracy at severity 0 (clean) to 3, over all its seeds, folds and labels."""
    result: dict[str, dict[str, list[float]]] = {}
    for run in dict.fromkeys(condition.run for condition in known):
        for kind in KINDS:
            found = [severities(row, kind, metric) for c in known if c.run == run for row in c.rows]
            if curves := [curve for curve in found if curve is not None]:
                means = [math.fsum(values) / len(values) for values in zip(*curves, strict=True)]
                result.setdefault(run, {})[kind] = means
    return result


def reliability(known: Sequence[Condition]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Run -> its reliability bins, pooled over all its seeds, folds and labels.

    A row has its own under ``reliability``: ``confidence``, ``accuracy`` and ``count``, each a list over the bins, or a
    list of bins with these keys. All rows have the same bins, empty ones included.
    """
    result: dict[str, dict[str, NDArray[np.float64]]] = {}
    for run in dict.fromkeys(condition.run for condition in known):
        rows = [row["reliability"] for c in known if c.run == run for row in c.rows if row.get("reliability")]
        if rows:
            result[run] = _pool(rows)
    return result


def _pool(rows: Sequence[Any]) -> dict[str, NDArray[np.float64]]:
    confidence, accuracy, count = (
        np.array([row[key] if isinstance(row, Mapping) else [one[key] for one in row] for row in rows], dtype=float)
        for key in ("confidence", "accuracy", "count")
    )
    total = count.sum(0)
    some = np.where(total > 0, total, np.nan)  # an empty bin has no mean
    means = {"confidence": np.nansum(confidence * count, 0) / some, "accuracy": np.nansum(accuracy * count, 0) / some}
    return {**means, "count": total}
