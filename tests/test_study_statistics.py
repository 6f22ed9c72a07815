"""Means, spreads and paired intervals of studies against scipy, hand counts and a simulation of coverage."""

import itertools
import random

import numpy as np
import pytest
from scipy import stats

from kdlab.study.conditions import conditions
from kdlab.study.differences import comparisons, paired_difference, partner
from kdlab.study.statistics import fold_means, independent, summarise
from kdlab.types import InputError

METRIC = "test_accuracy"


def make(values, run="tpkd", stage="student", labels=None, **more):
    """One row a fold (first axis) and seed (second axis); a flat array has no folds, NaN has no row."""
    values = np.asarray(values, dtype=float)
    names = [f"fold{i + 1}" for i in range(len(values))] if values.ndim == 2 else [""]
    return [
        {"run": run, "stage": stage, "labels": labels or {}, "fold": fold, "seed": seed, METRIC: float(value), **more}
        for fold, line in zip(names, np.atleast_2d(values), strict=True)
        for seed, value in enumerate(line)
        if np.isfinite(value)
    ]


# ----------------------------------------------------------------------------------------------------------- summaries
@pytest.mark.parametrize("n", [2, 3, 15, 40])
def test_summary_equals_numpy_and_scipy(n):
    values = np.random.default_rng(n).normal(0.9, 0.02, n)
    summary = summarise(values)
    assert summary.mean == pytest.approx(values.mean(), rel=1e-14)
    assert summary.standard_deviation == pytest.approx(values.std(ddof=1), rel=1e-12)
    assert summary.standard_error == pytest.approx(stats.sem(values), rel=1e-12)
    assert summary.n == n


def test_one_value_has_no_spread_and_none_has_no_mean():
    one, none = summarise([0.5]), summarise([])
    assert (one.mean, one.standard_deviation, one.standard_error, one.n) == (0.5, None, None, 1)
    assert (none.mean, none.standard_deviation, none.standard_error, none.n) == (None, None, None, 0)


def test_window_weighting_is_the_share_of_right_windows():
    """PAMAP2's folds: the smallest has 92 windows, and hardly counts when windows are counted."""
    windows = np.array([3726, 3925, 2592, 3447, 4065, 3728, 3465, 3909, 92])
    right = np.random.default_rng(0).binomial(windows[:, None], 0.85, (9, 3))
    right[-1] = 10
    rows = make(right / windows[:, None])
    for row in rows:
        row["test_windows"] = int(windows[int(row["fold"][4:]) - 1])
    means = fold_means(rows, METRIC)
    assert means.window_weighted == pytest.approx(right.sum() / (3 * windows.sum()), rel=1e-12)
    assert means.fold_weighted == pytest.approx((right / windows[:, None]).mean(), rel=1e-12)
    assert means.window_weighted - means.fold_weighted > 0.05
    assert list(means.folds) == [f"fold{i}" for i in range(1, 10)]


def test_a_fold_of_fewer_seeds_counts_as_a_whole_fold():
    rows = make([[0.8, 0.9, 1.0], [0.5, np.nan, np.nan]], test_windows=100)
    means = fold_means(rows, METRIC)
    assert means.fold_weighted == pytest.approx((0.9 + 0.5) / 2)
    assert means.window_weighted == pytest.approx((0.9 + 0.5) / 2)
    assert fold_means([{**row, "test_windows": None} for row in rows], METRIC).window_weighted is None


def test_seeds_of_a_fold_are_not_independent():
    values = np.random.default_rng(1).normal(0.9, 0.02, (5, 3))
    unit, found = independent(make(values), METRIC)
    assert unit == "folds"
    np.testing.assert_allclose(found, values.mean(1), rtol=1e-14)
    assert independent(make(values[0]), METRIC) == ("seeds", list(values[0]))


# -------------------------------------------------------------------------------------------------- paired differences
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_without_folds_the_interval_is_that_of_scipy_over_seeds(confidence):
    a, b = np.random.default_rng(2).normal(0.9, 0.02, (2, 7))
    found = paired_difference(make(a), make(b), METRIC, confidence)
    interval = stats.ttest_rel(a, b).confidence_interval(confidence)
    assert (found.mean, found.low, found.high) == pytest.approx(((a - b).mean(), *interval), rel=1e-10)
    assert (found.pairs, found.units, found.unit, found.left_out) == (7, 7, "seeds", 0)
    assert (found.wins, found.losses) == ((a > b).sum(), (a < b).sum())
    assert "same test subjects" in found.method


def test_with_folds_the_interval_is_that_of_scipy_over_fold_means():
    a, b = np.random.default_rng(3).normal(0.9, 0.02, (2, 5, 3))
    found = paired_difference(make(a), make(b), METRIC)
    interval = stats.ttest_rel(a.mean(1), b.mean(1)).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx(((a - b).mean(), *interval), rel=1e-10)
    assert (found.pairs, found.units, found.unit) == (15, 5, "folds")
    assert found.wins + found.losses == 15
    assert "5 folds (means over seeds first), 4 degrees" in found.method


def test_rows_without_a_partner_are_left_out_and_counted():
    a, b = np.random.default_rng(4).normal(0.9, 0.02, (2, 4, 3))
    a[0, 1] = b[2, 0] = b[2, 1] = np.nan
    a[3] = np.nan  # a whole fold
    found = paired_difference(make(a), make(b), METRIC)
    units = [(a - b)[0, [0, 2]].mean(), (a - b)[1].mean(), (a - b)[2, 2]]
    interval = stats.ttest_1samp(units, 0).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(units), *interval), rel=1e-10)
    assert (found.pairs, found.units, found.left_out) == (6, 3, 6)


def test_a_missing_metric_is_a_missing_row():
    a, b = make([0.9, 0.8, 0.7]), make([0.8, 0.8, 0.8])
    a[0][METRIC], b[1][METRIC] = None, float("nan")
    found = paired_difference(a, b, METRIC)
    assert (found.pairs, found.left_out, found.mean) == (1, 2, pytest.approx(-0.1))


@pytest.mark.parametrize("known", [True, False], ids=["said by the rows", "guessed"])
def test_a_teacher_that_the_seeds_share_is_compared_by_fold(known):
    a = np.random.default_rng(5).normal(0.9, 0.02, (5, 1))
    b = np.random.default_rng(6).normal(0.9, 0.02, (5, 3))
    teacher = make(a, "teacher", "teacher", **({"shared": True} if known else {}))
    found = paired_difference(teacher, make(b), METRIC)
    interval = stats.ttest_rel(a[:, 0], b.mean(1)).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(interval), rel=1e-10)
    assert (found.pairs, found.units, found.left_out) == (5, 5, 0)
    other = paired_difference(make(b), teacher, METRIC)
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low))
    assert "all seeds" in other.method


def test_a_teacher_of_each_seed_is_compared_by_seed():
    a, b = np.random.default_rng(7).normal(0.9, 0.02, (2, 2, 3))
    found = paired_difference(make(a, "teacher", "teacher"), make(b), METRIC)
    assert (found.pairs, found.units) == (6, 2)


def test_one_unit_has_no_interval():
    for a, b in (([0.9], [0.8]), ([[0.9, 0.8]], [[0.8, 0.8]])):
        found = paired_difference(make(a)[:1], make(b)[:1], METRIC)
        assert (found.low, found.high, found.units) == (None, None, 1)
        assert found.mean == pytest.approx(0.1)
    folds = make([[0.9, 0.8, 0.9], [0.7, 0.7, 0.8]])  # two folds in the study, one with pairs: seeds do not stand in
    found = paired_difference(folds, [row for row in make(np.zeros((2, 3))) if row["fold"] == "fold1"], METRIC)
    assert (found.low, found.units, found.unit, found.pairs, found.left_out) == (None, 1, "folds", 3, 3)
    assert not found.excludes_zero


def test_no_pairs_and_no_spread():
    found = paired_difference(make([0.9]), [], METRIC)
    assert (found.mean, found.low, found.pairs, found.left_out) == (None, None, 0, 1)
    equal = paired_difference(make([0.95, 0.85, 0.75]), make([0.9, 0.8, 0.7]), METRIC)
    assert (equal.mean, equal.low, equal.high, equal.wins) == (pytest.approx(0.05), None, None, 3)


def single(right, windows):
    """Accuracies as rows have them: of float32."""
    return [float(np.float32(k / windows)) for k in right]


@pytest.mark.parametrize("folds", [True, False])
def test_differences_that_are_equal_but_for_the_rounding_of_float32_have_no_interval(folds):
    shape = (-1, 1) if folds else (-1,)
    a, b = (make(np.reshape(single(right, 24), shape)) for right in ((22, 21, 20), (17, 16, 15)))
    found = paired_difference(a, b, METRIC)
    assert (found.low, found.high, found.wins) == (None, None, 3)
    assert found.method == f"all {'folds' if folds else 'seeds'} differ by the same, so no interval"
    one, other = (make(single(right, 24)) for right in ((21, 11, 4), (11, 21, 4)))  # 21 + 11 are 32 either way
    even = paired_difference(one, other, METRIC)
    assert (even.wins, even.losses, even.pairs) == (1, 1, 3)
    a, b = make(single((5, 10), 12)), make([np.mean(single((4, 6), 12)), np.mean(single((9, 11), 12))])
    found = paired_difference(a, b, METRIC)
    assert (found.wins, found.losses) == (0, 0)


def test_wrong_inputs_are_named():
    rows = make([0.9, 0.8])
    with pytest.raises(InputError, match=r"confidence.*95.*0\.95"):
        paired_difference(rows, rows, METRIC, confidence=95)
    with pytest.raises(InputError, match="two of fold '' and seed 0"):
        paired_difference(rows + rows, rows, METRIC)


def coverage(units, studies=1500, folds=5, seeds=3):
    """How often the interval over folds, and the one over all pairs, holds the true difference of 0.01."""
    rng = np.random.default_rng(8)
    fold_effect = rng.normal(0, units, (studies, folds, 1))  # what a fold's subjects make of the method, in all seeds
    noise = rng.normal(0, 0.01, (2, studies, folds, seeds))
    b = 0.8 + rng.normal(0, 0.05, (studies, folds, 1)) + noise[0]
    a = b - noise[0] + 0.01 + fold_effect + noise[1]
    found = [paired_difference(make(x), make(y), METRIC) for x, y in zip(a, b, strict=True)]
    ours = np.mean([d.low <= 0.01 <= d.high for d in found])
    pairs = stats.ttest_1samp((a - b).reshape(studies, -1), 0, axis=1).confidence_interval(0.95)
    return ours, np.mean((pairs.low <= 0.01) & (pairs.high >= 0.01))


def test_the_interval_over_folds_covers_and_one_over_all_pairs_does_not():
    ours, naive = coverage(units=0.015)
    assert 0.935 < ours < 0.965  # 1500 studies: standard error 0.0056
    assert naive < 0.85
    without, all_pairs = coverage(units=0.0)  # the price where folds have no effect: none in coverage
    assert 0.935 < without < 0.965
    assert 0.935 < all_pairs < 0.965


# ---------------------------------------------------------------------------------------------------------- conditions
def grid():
    rows = make([0.95], "teacher", "teacher", {"a": "x"}) + make([0.96], "teacher", "teacher", {"a": "y"})
    rows += make([0.8, 0.81], "scratch", "scratch", {"b": "x"}) + make([0.82, 0.83], "scratch", "scratch", {"b": "y"})
    for a, b in itertools.product("xy", repeat=2):
        rows += make([0.9, 0.91], "kd", labels={"a": a, "b": b}) + make([0.92, 0.91], "amd", labels={"a": a, "b": b})
    return rows + make([0.7, 0.72], "plain", "scratch")


def test_conditions_have_the_order_given_whatever_order_the_rows_come_in():
    options = {"order": ["plain", "amd", "scratch", "kd"], "axes": {"a": ["y", "x"], "b": ["x", "y"]}}
    expected = conditions(grid(), **options)
    titles = [condition.title for condition in expected]
    assert titles[:3] == ["plain", "amd (a=y, b=x)", "amd (a=y, b=y)"]
    assert titles[5:7] == ["scratch (b=x)", "scratch (b=y)"]
    assert titles[-2:] == ["teacher (a=y)", "teacher (a=x)"]  # not named
    assert len(titles) == 13
    runs = [condition.run for condition in conditions(grid())]
    assert list(dict.fromkeys(runs)) == ["teacher", "scratch", "plain", "kd", "amd"]  # by stage
    for seed in range(5):
        rows = grid()
        random.Random(seed).shuffle(rows)
        assert conditions(rows, **options) == expected


def test_folds_and_seeds_sort_as_numbers():
    rows = [{**make([0.9])[0], "fold": fold, "seed": seed} for fold in ("fold10", "fold9") for seed in (10, 9)]
    (found,) = conditions(rows)
    assert [(row["fold"], row["seed"]) for row in found.rows] == list(itertools.product(("fold9", "fold10"), (9, 10)))


def test_partners_agree_on_the_axes_that_both_have():
    known = conditions(grid())
    by_title = {condition.title: condition for condition in known}
    student = by_title["amd (a=x, b=y)"]
    assert partner(student, known, "scratch") is by_title["scratch (b=y)"]
    assert partner(student, known, "kd") is by_title["kd (a=x, b=y)"]
    assert partner(student, known, "plain") is by_title["plain"]
    assert partner(by_title["teacher (a=x)"], known, "scratch") is None  # two would do
    assert partner(by_title["plain"], known, "kd") is None
    assert partner(student, known, "amd") is None
    assert partner(student, known, "nobody") is None


def test_no_comparison_is_made_twice():
    found = comparisons(conditions(grid()), ["scratch", "kd"], METRIC)
    assert {("amd (a=x, b=x)", "kd"), ("kd (a=x, b=x)", "scratch")} <= found.keys()
    assert len(found) == 4 + 8
    assert not any(title.startswith("scratch") for title, _ in found)
