"""What the runs of a study give together: means and their spread, over seeds and over folds.

Everything is computed in float64, and does not depend on the order of the rows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kdlab.study.conditions import Row, natural, number
from kdlab.types import InputError

Key = tuple[str, Any]

#: Differences of accuracies up to this are rounding: rows hold values of float32, whose sums and means are off by about
#: 1e-7, while one window of 100,000 under one of three seeds is 3e-6.
EQUAL = 1e-6


@dataclass(frozen=True)
class Summary:
    """Mean and spread of some values; what cannot be computed from so few is None.

    Attributes:
        mean: None without values.
        standard_deviation: with ``n - 1`` in the denominator; None below two values.
        standard_error: the standard deviation of the mean, ``standard_deviation / sqrt(n)``, where the values are
            independent; None below two values.
        n: number of values.
    """

    mean: float | None
    standard_deviation: float | None
    standard_error: float | None
    n: int


@dataclass(frozen=True)
class FoldMeans:
    """One metric over folds; each fold counts with the mean of its seeds.

    Attributes:
        window_weighted: every test window counts the same, so a fold of few windows hardly counts; None where a fold's
            ``test_windows`` are not known.
        fold_weighted: every fold counts the same.
        folds: fold -> mean over its seeds.
    """

    window_weighted: float | None
    fold_weighted: float | None
    folds: dict[str, float]


def summarise(values: Iterable[float]) -> Summary:
    """Mean, standard deviation and standard error.

    Args:
        values: at least two for a spread.

    Example:
        >>> summarise([0.9, 0.8, 0.7, 0.8])
        Summary(mean=0.8, standard_deviation=0.081649..., standard_error=0.040824..., n=4)
        >>> summarise([0.9])
        Summary(mean=0.9, standard_deviation=None, standard_error=None, n=1)
    """
    values = list(values)
    n = len(values)
    if n == 0:
        return Summary(None, None, None, 0)
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(mean, None, None, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return Summary(mean, deviation, deviation / math.sqrt(n), n)


def fold_means(rows: Iterable[Row], metric: str) -> FoldMeans:
    """Window-weighted and fold-weighted means of one condition, side by side.

    With `n_f` test windows and `m_f` the mean over the seeds of fold f, they are `sum_f n_f m_f / sum_f n_f` and
    `mean_f m_f`. For an accuracy, the first is the share of all test windows that are right.

    Args:
        rows: the rows of one condition.
        metric: its name.

    Example:
        >>> rows = [{"fold": "1", "seed": 0, "test_windows": 900, "test_accuracy": 0.9},
        ...         {"fold": "2", "seed": 0, "test_windows": 100, "test_accuracy": 0.5}]
        >>> means = fold_means(rows, "test_accuracy")
        >>> round(means.window_weighted, 3), means.fold_weighted
        (0.86, 0.7)
    """
    rows = [row for row in rows if number(row, metric) is not None]
    folds = by_fold(keyed(rows, metric))
    if not folds:
        return FoldMeans(None, None, {})
    windows = {str(row["fold"]): float(row.get("test_windows") or 0) for row in rows}
    plain = math.fsum(folds.values()) / len(folds)
    if not all(windows.values()):
        return FoldMeans(None, plain, folds)
    weighted = math.fsum(windows[fold] * mean for fold, mean in folds.items()) / math.fsum(windows.values())
    return FoldMeans(weighted, plain, folds)


def independent(rows: Iterable[Row], metric: str) -> tuple[str, list[float]]:
    """The values of one condition that may count as independent, and what they are.

    The seeds of a fold are tested on the same subjects, so where there are folds these are the ``"folds"`` (each the
    mean of its seeds), and otherwise the ``"seeds"``.

    Example:
        >>> rows = [{"fold": fold, "seed": seed, "test_accuracy": 0.8 + 0.1 * (fold == "b")}
        ...         for fold in "ab" for seed in range(3)]
        >>> unit, values = independent(rows, "test_accuracy")
        >>> unit, [round(value, 3) for value in values]
        ('folds', [0.8, 0.9])
    """
    values = keyed(rows, metric)
    folds = by_fold(values)
    return ("folds", list(folds.values())) if any(folds) else ("seeds", [values[key] for key in sorted_keys(values)])


def keyed(rows: Iterable[Row], metric: str) -> dict[Key, float]:
    """(fold, seed) -> the metric, of the rows that have it."""
    result: dict[Key, float] = {}
    for row in rows:
        key = (str(row["fold"]), row["seed"])
        if (found := number(row, metric)) is None:
            continue
        if key in result:
            raise InputError(
                f"rows: must be one per fold and seed, but got two of fold {key[0]!r} and seed {key[1]!r}. Pass the "
                "rows of one run and one combination of labels."
            )
        result[key] = found
    return result


def by_fold(values: Mapping[Key, float]) -> dict[str, float]:
    """Fold -> mean over its seeds, folds in natural order."""
    folds: dict[str, list[float]] = defaultdict(list)
    for key in sorted_keys(values):
        folds[key[0]].append(values[key])
    return {fold: math.fsum(mine) / len(mine) for fold, mine in folds.items()}


def sorted_keys(keys: Iterable[Key]) -> list[Key]:
    """Keys by fold and seed, in natural order."""
    return sorted(keys, key=lambda key: (natural(key[0]), natural(key[1])))
