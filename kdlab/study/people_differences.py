r"""Paired differences over test people: a bootstrap over people and nets, its p-value, and how many people it needs.

With :math:`d_{ps}` the difference of the accuracies of person p under seed s, row minus reference, the estimate is the
mean over people of the mean over seeds; every person counts the same, whatever the number of windows:

.. math:: \hat d = \frac1n \sum_p \bar d_p, \qquad \bar d_p = \frac{1}{S_p} \sum_s d_{ps}

**Two levels.** A resample draws n people with replacement, and in each fold as many nets (seeds) as there are. One net
tests all people of its fold, so what it adds to them is their common deviation
:math:`m_{fs} = \mathrm{mean}_{p \in f} (d_{ps} - \bar d_p)`, and a person of a resample has

.. math:: d^*_p = \bar d_p + g \sqrt{\tfrac{S}{S - 1}} \, \mathrm{mean}_{s \in s^*} m_{fs}, \qquad
   g^2 = \max(0, 1 - \mathrm{MS}_\mathrm{rest} / \mathrm{MS}_\mathrm{nets})

The root of S is there since S nets drawn from S vary too little; g leaves out the chance of single windows, which is in
the spread over people already. It is of the mean squares of two-way analysis of variance, over all folds; 0 where
each fold has one person or one net.

**Interval.** Studentised: with :math:`s^2 = \sum_p (\bar d_p - \hat d)^2 / (n (n - 1))` and
:math:`t^* = (\hat d^* - \hat d) / s^*` over the resamples, the interval is
:math:`[\hat d - t^*_{1 - \alpha/2} s, \hat d - t^*_{\alpha/2} s]`. In 500 simulated studies of each of 32 kinds
(``benchmarks/long/people_coverage.py``: 8, 10 and 23 people in several folds, two and three seeds, normal and skewed
differences) its 95 % held the true difference in 95.2 % of the studies (92.6 to 97.4); the percentile interval did in
93.9 (90.6 to 96.8; 92.9 with 8 and 10 people), BCa in 93.5 (90.0 to 97.2), a t interval over people in 94.1 (92.4 to
96.4). With one split, two or three nets are all that tells how nets differ: where they differ by 2 points, it held in
88.6 to 94.6 % (percentile: 81.6 to 89.4).

**p-value.** Of the same resamples, twice the share of :math:`t^*` beyond :math:`\hat d / s` on its side, so it is at
most :math:`\alpha` where the interval leaves out 0. Flipping the signs of people's differences at random takes
people of one net for independent: at 5 % it found a difference that is not there in 3.6 to 8 % of the studies with
folds, and in 9 to 21 % of those with one split whose nets differ.

**People needed** for a power of 80 % at 5 %, two-sided, by the normal approximation, with the standard deviation of the
:math:`\bar d_p`: :math:`n = \lceil ((z_{.975} + z_{.8}) \, \mathrm{std}(\bar d_p) / \hat d)^2 \rceil`, at least 2.

References:
    Hall, The Bootstrap and Edgeworth Expansion, Springer 1992, chapter 3 (studentised intervals).
    Rao and Wu, Resampling inference with complex survey data, JASA 83, 1988 (deviations of few draws).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scipy.special import ndtri

from kdlab.study.conditions import Condition, Row, is_shared
from kdlab.study.differences import compared
from kdlab.study.equal_updates import other_updates
from kdlab.study.people_bootstrap import Cell, Sample, inference
from kdlab.study.statistics import EQUAL, summarise
from kdlab.types import InputError

RESAMPLES = 10_000


@dataclass(frozen=True)
class PeopleDifference:
    """A mean paired difference of accuracies over people, first minus second.

    Attributes:
        mean: over people, of the mean over seeds.
        low: lower end of the confidence interval; None where there is none.
        high: its upper end.
        p: two-sided p-value; None without an interval.
        deviation: standard deviation over people; None below two.
        people: person -> mean difference over seeds.
        wins: people for whom the first is better.
        losses: people for whom it is worse; the rest are equal.
        left_out: people of either side without a partner.
        method: how the interval was made, or why there is none.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    deviation: float | None
    people: dict[str, float] = field(repr=False)
    wins: int
    losses: int
    left_out: int
    method: str

    @property
    def excludes_zero(self) -> bool:
        """Does the interval lie on one side of 0?"""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def needed(self) -> int | None:
        """How many people a difference of this size needs; see :func:`people_needed`."""
        return None if self.deviation is None else people_needed(self.mean, self.deviation)


def people_needed(mean: float, deviation: float, power: float = 0.8, level: float = 0.05) -> int | None:
    r"""People that a paired test needs, ``ceil(((z_{1 - level/2} + z_power) deviation / mean)^2)``.

    Args:
        mean: the difference.
        deviation: the standard deviation of the differences of single people.
        power: how probably it is found.
        level: how probably one is found that is not there, two-sided.

    Returns:
        At least 2; None for a difference of 0, and where no laboratory has so many (over a billion).

    Example:
        >>> people_needed(0.02, 0.04), people_needed(0.002, 0.04), people_needed(0.0, 0.04)
        (32, 3140, None)
    """
    if abs(mean) <= EQUAL:
        return None
    needed = (float(ndtri(1 - level / 2) + ndtri(power)) * deviation / mean) ** 2
    return max(2, math.ceil(needed)) if needed < 1e9 else None


def accuracies(rows: Sequence[Row]) -> dict[Cell, float]:
    """(person, fold, seed) -> accuracy, of the rows that keep their people."""
    found: dict[Cell, float] = {}
    for row in rows:
        for person, counts in (row.get("people") or {}).items():
            found[person, str(row["fold"]), row["seed"]] = counts["correct"] / counts["windows"]
    return found


def people_difference(
    rows_a: Sequence[Row], rows_b: Sequence[Row], confidence: float = 0.95, resamples: int = RESAMPLES
) -> PeopleDifference | None:
    """The mean paired difference over people; see the head of this file.

    Pairs are of the same person, fold and seed. A run that the seeds share is paired with each seed of the other.

    Args:
        rows_a: the rows of one condition.
        rows_b: the rows of another.
        confidence: of the interval, between 0 and 1.
        resamples: of the bootstrap, at least 100.

    Returns:
        None, where no person was tested by both.

    Raises:
        InputError: an argument out of range.

    Example:
        >>> def rows(*right):
        ...     counts = {f"p{i}": {"windows": 100, "correct": k} for i, k in enumerate(right)}
        ...     return [{"fold": "", "seed": 0, "stage": "student", "people": counts}]
        >>> found = people_difference(rows(83, 85, 84, 88, 81, 86), rows(80, 80, 80, 80, 80, 80))
        >>> round(found.mean, 3), found.wins, found.excludes_zero, found.needed
        (0.045, 6, True, 3)
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence: must be between 0 and 1, but got {confidence}. Pass 0.95.")
    if resamples < 100:
        raise InputError(f"resamples: must be at least 100, but got {resamples}. Pass {RESAMPLES}.")
    a, b = accuracies(rows_a), accuracies(rows_b)
    if is_shared(rows_a) != is_shared(rows_b):
        a, b = (_spread(a, b), b) if is_shared(rows_a) else (a, _spread(b, a))
    pairs = {cell: a[cell] - b[cell] for cell in a.keys() & b.keys()}
    if not pairs:
        return None
    tested = {person for person, _, _ in pairs}
    sample = Sample.of(pairs)
    means = dict(zip(sample.people, sample.means.tolist(), strict=True))
    summary = summarise(means.values())
    assert summary.mean is not None
    low, high, p, method = inference(sample, confidence, resamples)
    return PeopleDifference(
        mean=summary.mean,
        low=low,
        high=high,
        p=p,
        deviation=summary.standard_deviation,
        people=means,
        wins=sum(value > EQUAL for value in means.values()),
        losses=sum(value < -EQUAL for value in means.values()),
        left_out=len({person for person, _, _ in a.keys() | b.keys()} - tested),
        method=method,
    )


def _spread(shared: Mapping[Cell, float], other: Mapping[Cell, float]) -> dict[Cell, float]:
    """The accuracies of a run that the seeds share, at each of the other's seeds."""
    once: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (person, fold, _), value in shared.items():
        once[person, fold].append(value)
    return {cell: math.fsum(once[cell[:2]]) / len(once[cell[:2]]) for cell in other if cell[:2] in once}


def people_comparisons(
    known: Sequence[Condition], baselines: Sequence[str], confidence: float = 0.95
) -> dict[tuple[str, str], PeopleDifference]:
    """(title of a condition, baseline) -> its difference over people, wherever people were tested by both.

    Args:
        known: the conditions of a study.
        baselines: names of runs.
        confidence: between 0 and 1.
    """
    found = {}
    for condition, baseline, other in compared(known, baselines):
        if other_updates(condition.rows, other.rows) is not None:
            continue
        if (difference := people_difference(condition.rows, other.rows, confidence)) is not None:
            found[condition.title, baseline] = difference
    return found
