"""What the runs of a study say together: means, their spread, and differences between conditions with intervals.

A *row* is one finished run, a dict with ``run``, ``stage``, ``labels`` (axis -> label), ``seed``, ``fold`` (``""``
without folds), ``test_windows``, ``view`` and metrics. A metric may be missing; None and NaN count as missing. Rows
that differ in seed and fold alone are one *condition*.

Everything is computed in float64, and does not depend on the order of the rows.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scipy.special import stdtrit

from kdlab.types import InputError

Row = Mapping[str, Any]
Key = tuple[str, Any]

STAGES = ("teacher", "scratch", "student")


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


@dataclass(frozen=True)
class Difference:
    """A mean paired difference, first minus second.

    Attributes:
        mean: None without pairs.
        low: lower end of the confidence interval; None where there is no interval.
        high: its upper end.
        pairs: runs of one condition that met their partner of the same fold and seed.
        units: independent differences that the interval rests on.
        unit: what they are, ``"folds"`` or ``"seeds"``.
        wins: pairs in which the first value is greater.
        losses: pairs in which it is less; the rest are equal.
        left_out: runs, of either side, that have no partner.
        method: how the interval was made, in words, or why there is none.
    """

    mean: float | None
    low: float | None
    high: float | None
    pairs: int
    units: int
    unit: str
    wins: int
    losses: int
    left_out: int
    method: str

    @property
    def excludes_zero(self) -> bool:
        """Does the interval lie on one side of 0?"""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Condition:
    """The rows of one run with one label on every axis: its seeds and folds.

    Attributes:
        run: name of the run.
        stage: ``"teacher"``, ``"scratch"`` or ``"student"``.
        labels: axis -> label.
        rows: sorted by fold and seed.
    """

    run: str
    stage: str
    labels: dict[str, str]
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """The run's name, and its labels where there are any."""
        labels = ", ".join(f"{axis}={label}" for axis, label in self.labels.items())
        return f"{self.run} ({labels})" if labels else self.run

    @property
    def short(self) -> str:
        """The title without the names of the axes, for pictures."""
        return " · ".join((self.run, *self.labels.values()))

    def values(self, metric: str) -> list[float]:
        """The metric of every row that has it."""
        return [found for row in self.rows if (found := number(row, metric)) is not None]


def number(row: Row, metric: str) -> float | None:
    """A metric of a row; None where it is missing or not finite."""
    found = row.get(metric)
    return float(found) if found is not None and math.isfinite(found) else None


def natural(text: Any) -> list[tuple[int, float, str]]:
    """A key that sorts names with numbers as people do.

    Example:
        >>> sorted(["fold10", "fold9", "2", "10"], key=natural)
        ['2', '10', 'fold9', 'fold10']
    """
    parts = re.split(r"(\d+)", str(text))
    return [(0, float(p), "") if p.isdigit() else (1, 0.0, p) for p in parts if p]


def conditions(
    rows: Iterable[Row], order: Sequence[str] = (), axes: Mapping[str, Sequence[str]] | None = None
) -> list[Condition]:
    """Group rows by run and labels, in the order given; without one teachers first, then scratch, then students.

    Args:
        rows: finished runs.
        order: names of the runs; those that are not in it follow by their stage, as they come.
        axes: axis -> its labels, both in the order of the file; those that are not in it follow as they come.

    Returns:
        One condition a run and combination of labels. With ``order`` and ``axes`` the order of the rows has no effect.
    """
    rows = list(rows)
    known = axis_labels(rows, axes)
    runs = list(dict.fromkeys([*order, *(row["run"] for row in rows)]))
    groups: dict[tuple[int, int, int, tuple[int, ...]], list[Row]] = defaultdict(list)
    for row in rows:
        stage = STAGES.index(row["stage"]) if row["stage"] in STAGES else len(STAGES)
        place = (
            labels.index(str(row["labels"][axis])) if axis in row["labels"] else -1 for axis, labels in known.items()
        )
        first = runs.index(row["run"])
        groups[min(first, len(order)), stage, first, tuple(place)].append(row)
    result = []
    for _, mine in sorted(groups.items(), key=lambda item: item[0]):
        one = mine[0]
        chosen = {axis: str(one["labels"][axis]) for axis in known if axis in one["labels"]}
        mine.sort(key=lambda row: (natural(row["fold"]), natural(row["seed"])))
        result.append(Condition(one["run"], one["stage"], chosen, tuple(mine)))
    return result


def axis_labels(rows: Iterable[Row], axes: Mapping[str, Sequence[str]] | None = None) -> dict[str, list[str]]:
    """The axes of a grid and the labels on each, in the order given and then as they come; only those with rows."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for axis, label in row["labels"].items():
            found.setdefault(axis, {})[str(label)] = None
    given = {axis: [str(label) for label in labels] for axis, labels in (axes or {}).items()}
    return {
        axis: [label for label in dict.fromkeys([*given.get(axis, ()), *found[axis]]) if label in found[axis]]
        for axis in dict.fromkeys([*given, *found])
        if axis in found
    }


def partner(condition: Condition, known: Iterable[Condition], run: str) -> Condition | None:
    """The condition of ``run`` to compare with: equal labels on the axes that both have, and as many of them as can be.

    None where there is none, where it is the condition itself, and where two would do equally well.
    """
    if condition.run == run:
        return None
    best: dict[int, list[Condition]] = defaultdict(list)
    for other in known:
        common = condition.labels.keys() & other.labels.keys()
        if other.run == run and all(condition.labels[axis] == other.labels[axis] for axis in common):
            best[len(common)].append(other)
    nearest = best[max(best)] if best else []
    return nearest[0] if len(nearest) == 1 else None


def comparisons(
    known: Sequence[Condition], baselines: Sequence[str], metric: str, confidence: float = 0.95
) -> dict[tuple[str, str], Difference]:
    """(title of a condition, baseline) -> its paired difference, wherever there are pairs.

    A baseline is compared with those before it only, so that no comparison is made twice.

    Args:
        known: the conditions of a study.
        baselines: names of runs.
        metric: its name.
        confidence: between 0 and 1.
    """
    found = {}
    for condition in known:
        stop = baselines.index(condition.run) if condition.run in baselines else len(baselines)
        for baseline in baselines[:stop]:
            if (other := partner(condition, known, baseline)) is not None:
                difference = paired_difference(condition.rows, other.rows, metric, confidence)
                if difference.pairs:
                    found[condition.title, baseline] = difference
    return found


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
    folds = _by_fold(_keyed(rows, metric))
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
    values = _keyed(rows, metric)
    folds = _by_fold(values)
    return ("folds", list(folds.values())) if any(folds) else ("seeds", [values[key] for key in _sorted(values)])


def is_shared(rows: Sequence[Row]) -> bool:
    """Do all seeds of a fold share these runs? As rows say under ``shared``; else, teachers of one seed are shared."""
    guesses = (row["stage"] == "teacher" and row["seed"] == rows[0]["seed"] for row in rows)
    return len(rows) > 0 and all(row.get("shared", guess) for row, guess in zip(rows, guesses, strict=True))


def paired_difference(
    rows_a: Iterable[Row], rows_b: Iterable[Row], metric: str, confidence: float = 0.95
) -> Difference:
    """Mean difference of a metric over the same seeds and folds, first minus second, with a t interval.

    `mean(d) ± t_{(1 + confidence) / 2, n - 1} std(d) / sqrt(n)` over n independent differences d. The seeds of a fold
    share its test subjects, and what a fold's subjects favour all its seeds repeat; so d are the folds, each the mean
    over its seeds. Without folds they are the seeds; the interval is then about the test
    subjects and teachers at hand, and not about others. The folds of a cross-validation share training subjects, so
    the interval over them is approximate too (Bengio and Grandvalet 2004).

    Rows without a partner are left out and counted. A run that the seeds share (its rows say ``shared``; a teacher of
    one seed, where they do not say) is compared, fold by fold, with the mean over the other's seeds.

    Args:
        rows_a: the rows of one condition.
        rows_b: the rows of another.
        metric: its name.
        confidence: between 0 and 1.

    Returns:
        The difference. ``low`` and ``high`` are None for one difference, and where all are equal: an interval of no
        width would say that nothing is left to chance.

    Raises:
        InputError: ``confidence`` out of range, or two rows of the same fold and seed on one side.

    References:
        Bengio and Grandvalet, No unbiased estimator of the variance of k-fold cross-validation, JMLR 5, 2004.

    Example:
        >>> rows = lambda *values: [{"fold": "", "seed": s, "stage": "student", "f1": v} for s, v in enumerate(values)]
        >>> difference = paired_difference(rows(0.91, 0.94, 0.92), rows(0.90, 0.92, 0.92), "f1")
        >>> round(difference.mean, 4), round(difference.low, 4), round(difference.high, 4), difference.wins
        (0.01, -0.0148, 0.0348, 2)
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence={confidence}: expected a number between 0 and 1, such as 0.95")
    rows_a, rows_b = list(rows_a), list(rows_b)
    a, b = _keyed(rows_a, metric), _keyed(rows_b, metric)
    shared = is_shared(rows_a) != is_shared(rows_b)
    if shared:
        a, b = ({(fold, None): mean for fold, mean in _by_fold(side).items()} for side in (a, b))
    pairs = {key: a[key] - b[key] for key in _sorted(a.keys() & b.keys())}
    unit = "folds" if any(fold for fold, _ in a.keys() | b.keys()) else "seeds"
    units = list(_by_fold(pairs).values()) if unit == "folds" else list(pairs.values())
    result = Difference(
        mean=summarise(units).mean,
        low=None,
        high=None,
        pairs=len(pairs),
        units=len(units),
        unit=unit,
        wins=sum(difference > 0 for difference in pairs.values()),
        losses=sum(difference < 0 for difference in pairs.values()),
        left_out=len(a.keys() ^ b.keys()),
        method="",
    )
    result = _with_interval(result, summarise(units), confidence)
    return replace(result, method=f"one run for all seeds of a fold, {result.method}") if shared else result


def _with_interval(difference: Difference, summary: Summary, confidence: float) -> Difference:
    """Add the interval, or the reason why there is none."""
    if summary.mean is None:
        return replace(difference, method="no pairs")
    if summary.standard_deviation is None or summary.standard_error is None:
        return replace(difference, method=f"one {difference.unit[:-1]} only, so no interval")
    if summary.standard_deviation <= 1e-12 * max(1.0, abs(summary.mean)):
        return replace(difference, method=f"all {difference.unit} differ by the same, so no interval")
    half = float(stdtrit(summary.n - 1, (1 + confidence) / 2)) * summary.standard_error
    words = {"folds": "means over seeds first", "seeds": "on the same test subjects"}[difference.unit]
    degrees = f"{summary.n - 1} degree{'s' if summary.n > 2 else ''} of freedom"
    method = f"t interval over {summary.n} {difference.unit} ({words}), {degrees}"
    return replace(difference, low=summary.mean - half, high=summary.mean + half, method=method)


def _keyed(rows: Iterable[Row], metric: str) -> dict[Key, float]:
    """(fold, seed) -> the metric, of the rows that have it."""
    result: dict[Key, float] = {}
    for row in rows:
        key = (str(row["fold"]), row["seed"])
        if (found := number(row, metric)) is None:
            continue
        if key in result:
            raise InputError(
                f"rows: expected one row a fold and seed, got two of fold {key[0]!r} and seed {key[1]!r}. Pass the "
                "rows of one run and one combination of labels."
            )
        result[key] = found
    return result


def _by_fold(values: Mapping[Key, float]) -> dict[str, float]:
    """Fold -> mean over its seeds, folds in natural order."""
    folds: dict[str, list[float]] = defaultdict(list)
    for key in _sorted(values):
        folds[key[0]].append(values[key])
    return {fold: math.fsum(mine) / len(mine) for fold, mine in folds.items()}


def _sorted(keys: Iterable[Key]) -> list[Key]:
    return sorted(keys, key=lambda key: (natural(key[0]), natural(key[1])))
