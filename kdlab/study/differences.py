"""Paired differences between the conditions of a study, with t intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from scipy.special import stdtrit

from kdlab.study.conditions import Condition, Row, is_shared
from kdlab.study.equal_updates import other_updates
from kdlab.study.statistics import EQUAL, Summary, by_fold, keyed, sorted_keys, summarise
from kdlab.types import InputError


@dataclass(frozen=True)
class Difference:
    """A mean paired difference, first minus second.

    Attributes:
        mean: None without pairs.
        low: lower end of the confidence interval; None where there is no interval.
        high: its upper end.
        pairs: runs of one condition with a partner of the same fold and seed.
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


def partner(condition: Condition, known: Iterable[Condition], run: str) -> Condition | None:
    """The condition of ``run`` to compare with: equal labels on the axes that both have, and as many of them as can be.

    None where there is none, where it is the condition itself, and where two would do equally well.
    """
    nearest = nearest_of(condition, known, run)
    return nearest[0] if len(nearest) == 1 else None


def nearest_of(condition: Condition, known: Iterable[Condition], run: str) -> list[Condition]:
    """The conditions of another run that would do equally well as the one to compare with."""
    if condition.run == run:
        return []
    best: dict[int, list[Condition]] = defaultdict(list)
    for other in known:
        common = condition.labels.keys() & other.labels.keys()
        if other.run == run and all(condition.labels[axis] == other.labels[axis] for axis in common):
            best[len(common)].append(other)
    return best[max(best)] if best else []


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
    for condition, baseline, other in compared(known, baselines):
        difference = paired_difference(condition.rows, other.rows, metric, confidence)
        if (reason := other_updates(condition.rows, other.rows)) is not None:
            difference = without_value(difference, reason)
        if difference.pairs:
            found[condition.title, baseline] = difference
    return found


def compared(known: Sequence[Condition], baselines: Sequence[str]) -> Iterator[tuple[Condition, str, Condition]]:
    """The comparisons of a table: (condition, baseline, the baseline's condition), none of them twice.

    Teachers of ``cross_fit`` are in none.
    """
    for condition in (one for one in known if not one.partial):
        stop = baselines.index(condition.run) if condition.run in baselines else len(baselines)
        for baseline in baselines[:stop]:
            if (other := partner(condition, known, baseline)) is not None:
                yield condition, baseline, other


def without_value(difference: Difference, reason: str) -> Difference:
    """A difference that is not shown, with the reason."""
    return replace(difference, mean=None, low=None, high=None, wins=0, losses=0, method=reason)


def paired_difference(
    rows_a: Iterable[Row], rows_b: Iterable[Row], metric: str, confidence: float = 0.95
) -> Difference:
    """Mean difference of a metric over the same seeds and folds, first minus second, with a t interval.

    `mean(d) ± t_{(1 + confidence) / 2, n - 1} std(d) / sqrt(n)` over n independent differences d. The seeds of a fold
    share its test subjects, and what a fold's subjects favour all its seeds repeat; so d are the folds, each the mean
    over its seeds. Without folds they are the seeds; the interval is then about the test
    subjects and teachers at hand, and not about others. The folds of a cross-validation share training subjects, so
    the interval over them is approximate too (Bengio and Grandvalet 2004).

    Rows without a partner are left out and counted. A run that the seeds share (``shared`` in its rows; a teacher of
    one seed, where rows have no ``shared``) is compared, fold by fold, with the mean over the other's seeds.

    Args:
        rows_a: the rows of one condition.
        rows_b: the rows of another.
        metric: its name.
        confidence: between 0 and 1.

    Returns:
        The difference. ``low`` and ``high`` are None for one difference, and where all are equal: an interval of no
        width would claim certainty.

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
        raise InputError(f"confidence: must be between 0 and 1, but got {confidence}. Pass 0.95.")
    rows_a, rows_b = list(rows_a), list(rows_b)
    a, b = keyed(rows_a, metric), keyed(rows_b, metric)
    shared = is_shared(rows_a) != is_shared(rows_b)
    if shared:
        a, b = ({(fold, None): mean for fold, mean in by_fold(side).items()} for side in (a, b))
    pairs = {key: a[key] - b[key] for key in sorted_keys(a.keys() & b.keys())}
    unit = "folds" if any(fold for fold, _ in a.keys() | b.keys()) else "seeds"
    units = list(by_fold(pairs).values()) if unit == "folds" else list(pairs.values())
    result = Difference(
        mean=summarise(units).mean,
        low=None,
        high=None,
        pairs=len(pairs),
        units=len(units),
        unit=unit,
        wins=sum(difference > EQUAL for difference in pairs.values()),
        losses=sum(difference < -EQUAL for difference in pairs.values()),
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
    if summary.standard_deviation <= EQUAL * max(1.0, abs(summary.mean)):
        return replace(difference, method=f"all {difference.unit} differ by the same, so no interval")
    half = float(stdtrit(summary.n - 1, (1 + confidence) / 2)) * summary.standard_error
    words = {"folds": "means over seeds first", "seeds": "on the same test subjects"}[difference.unit]
    degrees = f"{summary.n - 1} degree{'s' if summary.n > 2 else ''} of freedom"
    method = f"t interval over {summary.n} {difference.unit} ({words}), {degrees}"
    return replace(difference, low=summary.mean - half, high=summary.mean + half, method=method)
