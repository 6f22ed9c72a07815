"""Differences over people, Holm's correction and power against independent calculations and a simulation."""

import csv
import itertools
import json
import math
import random

import numpy as np
import pytest
from scipy import stats

from benchmarks.long.people_coverage import TRUE, simulate
from kdlab.evaluate import Evaluation
from kdlab.study.conditions import conditions
from kdlab.study.holm import holm
from kdlab.study.matched import matched_pairs
from kdlab.study.paper import Paper, read_paper
from kdlab.study.people import check_counts, counted, f1_scores, hidden_folds, macro_f1, pseudonym, with_pseudonyms
from kdlab.study.people_bootstrap import Sample, inference
from kdlab.study.people_differences import people_comparisons, people_difference, people_needed
from kdlab.study.report import write_report
from kdlab.types import InputError
from tests.test_study_report import table

SALT = "a laboratory's own salt"


def rows_of(values, run="kd", stage="student", windows=1000, **more):
    """One row a fold and seed; values are fold -> person -> accuracies, one per seed (None: not tested)."""
    found = []
    for fold, people in values.items():
        for seed in range(max(map(len, people.values()))):
            mine = {p: v[seed] for p, v in people.items() if seed < len(v) and v[seed] is not None}
            counts = {
                p: {"windows": windows, "correct": round(windows * v), "hits": [round(windows * v), 0]}
                | {"support": [windows, 0], "predicted": [round(windows * v), windows - round(windows * v)]}
                for p, v in mine.items()
            }
            total = sum(c["windows"] for c in counts.values())
            right = sum(c["correct"] for c in counts.values())
            row = {
                "run": run,
                "stage": stage,
                "labels": {},
                "fold": fold,
                "seed": seed,
                "view": "raw",
                "people": counts,
            }
            row["classes"] = {"names": ["walk", "a|b"], "hits": [right, 0], "support": [total, 0]}
            row["classes"]["predicted"] = [right, total - right]
            found.append({**row, "test_windows": total, "test_accuracy": right / total, **more})
    return found


def drawn(seed, people=9, folds=3, seeds=3, shift=0.0, net=0.03):
    rng = np.random.default_rng(seed)
    nets = rng.normal(shift, net, (folds, seeds))
    return {
        f"fold{f}": {
            f"s{p}": (0.8 + nets[f] + rng.normal(0, 0.04, seeds)).round(3).tolist() for p in range(f, people, folds)
        }
        for f in range(folds)
    }


# ------------------------------------------------------------------------------------------------------- the estimator
def test_the_estimate_is_the_mean_over_people_of_the_mean_over_seeds():
    a, b = drawn(1), drawn(2)
    a["fold1"]["s1"][1] = None  # one net did not test this person
    b["fold2"] = {person: values[:2] for person, values in b["fold2"].items()}  # a fold of two seeds
    found = people_difference(rows_of(a), rows_of(b))
    expected = {}
    for fold in a:
        for person in a[fold]:
            pairs = [x - y for x, y in zip(a[fold][person], b[fold][person], strict=False) if None not in (x, y)]
            expected[person] = sum(pairs) / len(pairs)
    assert found.people == pytest.approx(expected, abs=1e-12)
    assert list(found.people) == [f"s{i}" for i in range(9)]
    assert found.mean == pytest.approx(np.mean(list(expected.values())), abs=1e-12)
    assert found.deviation == pytest.approx(np.std(list(expected.values()), ddof=1), rel=1e-10)
    assert found.wins == sum(value > 0 for value in expected.values())
    assert found.wins + found.losses == 9


def test_people_with_as_many_right_over_the_seeds_are_equal():
    """Means of several seeds differ in their last digit where their sums of counts are equal."""

    def rows(counts):
        return [
            {
                "fold": "",
                "seed": s,
                "stage": "student",
                "people": {f"p{i}": {"windows": 5, "correct": right[s]} for i, right in enumerate(counts)},
            }
            for s in range(3)
        ]

    mixed = [[2, 4, 3], [4, 1, 4], [2, 4, 3], [4, 1, 4], [3, 4, 2], [4, 3, 2]]
    same = people_difference(rows(mixed), rows([[3, 3, 3]] * 6))
    assert (same.wins, same.losses, same.needed) == (0, 0, None)
    other = people_difference(rows([*mixed[:4], [1, 2, 2], [5, 5, 5]]), rows([[3, 3, 3]] * 6))
    assert (other.wins, other.losses) == (1, 1)


def test_a_person_of_many_windows_counts_as_one_person():
    few, many = rows_of({"": {"a": [0.9]}}, windows=10), rows_of({"": {"b": [0.8]}}, windows=10_000)
    both = [{**few[0], "people": few[0]["people"] | many[0]["people"]}]
    reference = rows_of({"": {"a": [0.8], "b": [0.8]}})
    assert people_difference(both, reference).mean == pytest.approx(0.05)


def test_people_of_one_side_are_left_out_and_counted():
    a, b = drawn(1), drawn(2)
    b["fold0"]["new"] = [0.5, 0.5, 0.5]
    del b["fold1"]
    found = people_difference(rows_of(a), rows_of(b))
    assert (len(found.people), found.left_out) == (6, 4)
    assert people_difference(rows_of(a), rows_of({"fold9": {"z": [0.5]}})) is None
    assert people_difference([{**row, "people": {}} for row in rows_of(a)], rows_of(b)) is None
    assert (
        people_difference([{k: v for k, v in row.items() if k != "people"} for row in rows_of(a)], rows_of(b)) is None
    )


def test_a_teacher_that_the_seeds_share_is_paired_with_each_seed():
    a, b = drawn(1, seeds=1), drawn(2)
    teacher = rows_of(a, "teacher", "teacher", shared=True)
    found = people_difference(teacher, rows_of(b, shared=False))
    expected = {p: a[f][p][0] - np.mean(b[f][p]) for f in a for p in a[f]}
    assert found.people == pytest.approx(expected, abs=1e-12)
    other = people_difference(rows_of(b, shared=False), teacher)
    assert other.people == pytest.approx({p: -v for p, v in expected.items()}, abs=1e-12)
    assert other.p == pytest.approx(found.p, abs=0.002)


def by_hand(a, b, resamples, seed, confidence=0.95):
    """The studentised bootstrap over people and nets, in plain loops: interval and p-value."""
    rng = random.Random(seed)
    difference = {(f, p): [x - y for x, y in zip(a[f][p], b[f][p], strict=True)] for f in a for p in a[f]}
    cells = list(difference)
    means = {cell: sum(values) / len(values) for cell, values in difference.items()}
    n, centre = len(cells), sum(means.values()) / len(cells)
    error = math.sqrt(sum((m - centre) ** 2 for m in means.values()) / (n * (n - 1)))
    seeds = {f: len(next(iter(a[f].values()))) for f in a}
    nets = {  # the common deviation of each net
        f: [sum(difference[f, p][s] - means[f, p] for p in a[f]) / len(a[f]) for s in range(seeds[f])] for f in a
    }
    between = sum(len(a[f]) * x**2 for f in a for x in nets[f])
    rest = sum((difference[f, p][s] - means[f, p] - nets[f][s]) ** 2 for f, p in cells for s in range(seeds[f]))
    freedom = sum(seeds[f] - 1 for f in a), sum((len(a[f]) - 1) * (seeds[f] - 1) for f in a)
    shrunk = math.sqrt(max(0, 1 - rest / freedom[1] * freedom[0] / between)) if all(freedom) else 0.0
    t = []
    for _ in range(resamples):
        shift = {}
        for fold in a:
            chosen = [nets[fold][rng.randrange(seeds[fold])] for _ in range(seeds[fold])]
            enlarged = math.sqrt(seeds[fold] / (seeds[fold] - 1)) if seeds[fold] > 1 else 0.0
            shift[fold] = shrunk * enlarged * sum(chosen) / seeds[fold]
        values = [means[cell] + shift[cell[0]] for cell in rng.choices(cells, k=n)]
        mean = sum(values) / n
        spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n * (n - 1)))
        t.append((mean - centre) / spread if spread > 1e-12 else math.copysign(math.inf, mean - centre))
    t.sort()
    low, high = t[int(resamples * (1 - confidence) / 2)], t[int(resamples * (1 + confidence) / 2)]
    place = centre / error
    share = sum(x >= place for x in t) if place > 0 else sum(x <= place for x in t)
    return centre - high * error, centre - low * error, 2 * share / resamples


@pytest.mark.parametrize(("people", "folds", "seeds"), [(9, 3, 3), (8, 2, 2), (12, 1, 2), (7, 7, 1), (7, 7, 2)])
def test_interval_and_p_are_those_of_plain_loops(people, folds, seeds):
    """Both have other random numbers: ends agree within the error of 10 000 and 20 000 resamples."""
    a, b = drawn(3, people, folds, seeds, shift=0.02), drawn(4, people, folds, seeds)
    found = people_difference(rows_of(a, shared=False), rows_of(b, shared=False))
    low, high, p = by_hand(a, b, 20_000, seed=0)
    width = high - low
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.07 * width)
    assert found.p == pytest.approx(p, abs=0.025)
    nets = folds * seeds
    assert found.method == f"studentised bootstrap over {people} people and {nets} nets"


def test_what_a_net_adds_to_all_people_of_its_fold_widens_the_interval():
    """The means of people are the same; only the spread over nets differs."""
    rng = np.random.default_rng(0)
    means = {f"fold{f}": {f"s{p}": rng.normal(0.8, 0.02) for p in range(f, 12, 3)} for f in range(3)}
    flat = {f: {p: [m, m] for p, m in people.items()} for f, people in means.items()}
    nets = {f: {p: [m - 0.08, m + 0.08] for p, m in people.items()} for f, people in means.items()}
    reference = rows_of({f: {person: [0.8, 0.8] for person in people} for f, people in means.items()})
    narrow, wide = (people_difference(rows_of(values), reference) for values in (flat, nets))
    assert wide.mean == pytest.approx(narrow.mean, abs=1e-3)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_the_interval_leaves_out_zero_where_p_says_so():
    outcomes = set()
    for seed, shift in itertools.product(range(8), (0.0, 0.02, 0.04, -0.04)):
        found = people_difference(rows_of(drawn(seed, shift=shift)), rows_of(drawn(seed + 100)), resamples=1000)
        assert found.excludes_zero == (found.p <= 0.05)
        outcomes.add(found.excludes_zero)
    assert outcomes == {True, False}


def test_the_same_rows_give_the_same_interval_in_any_order():
    a, b = rows_of(drawn(1)), rows_of(drawn(2))
    first = people_difference(a, b)
    random.Random(0).shuffle(a)
    turned = [{**row, "people": dict(reversed(row["people"].items()))} for row in b]
    assert people_difference(a, turned) == first
    mirror = people_difference(b, a)
    assert (mirror.mean, mirror.wins) == (-first.mean, first.losses)


def test_too_few_people_have_no_interval():
    for people, words in ((1, "fewer than 5 people"), (4, "fewer than 5 people")):
        found = people_difference(rows_of(drawn(1, people, 1)), rows_of(drawn(2, people, 1)))
        assert (found.low, found.high, found.p) == (None, None, None)
        assert words in found.method
        assert not found.excludes_zero
    assert people_difference(rows_of(drawn(1, 1, 1)), rows_of(drawn(2, 1, 1))).needed is None
    same = {"": {f"s{i}": [0.5 + i / 100] for i in range(6)}}
    more = {"": {person: [values[0] + 0.1] for person, values in same[""].items()}}
    assert "all people differ by the same" in people_difference(rows_of(more), rows_of(same)).method
    found = people_difference(rows_of(drawn(1, 5, 1)), rows_of(drawn(2, 5, 1)), confidence=0.9999)
    assert "too few people for this confidence" in found.method


def test_wrong_arguments_are_named():
    rows = rows_of(drawn(1))
    with pytest.raises(InputError, match=r"confidence.*95.*0\.95"):
        people_difference(rows, rows, confidence=95)
    with pytest.raises(InputError, match="resamples: must be at least 100, but got 7"):
        people_difference(rows, rows, resamples=7)


# ----------------------------------------------------------------------------------------------------------- coverage
@pytest.mark.parametrize(
    ("people", "folds", "seeds", "kind"), [(8, 4, 2, "normal"), (10, 5, 3, "skewed"), (23, 5, 2, "normal")]
)
def test_intervals_hold_a_known_difference(people, folds, seeds, kind):
    """300 studies of a fixed seed; `benchmarks.long.people_coverage` has the full size."""
    rng = np.random.default_rng([5, people, seeds])
    held = []
    for _ in range(300):
        a, b, _ = simulate(rng, people, folds, seeds, kind, net=0.02)
        found = people_difference(a, b, resamples=500)
        held.append(found.low <= TRUE <= found.high)
    assert 0.90 < np.mean(held) < 0.995  # .95 has a standard error of .013


def test_a_percentile_interval_of_eight_people_would_not():
    """Why the interval is studentised: the deviations of a resample of 8 people are too small."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (4000, 8))
    means = np.stack([values[:, rng.integers(0, 8, 8)].mean(1) for _ in range(800)])
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    assert np.mean((low <= 0) & (high >= 0)) < 0.925


# -------------------------------------------------------------------------------------------------------------- Holm
def holm_by_hand(p):
    """Written from the step-down rule: each is the largest level at which the steps before it all rejected."""
    p = np.asarray(p, dtype=np.float64)
    corrected = np.empty_like(p)
    for i, own in enumerate(p):
        before = [j for j in range(len(p)) if p[j] < own or (p[j] == own and j <= i)]
        steps = sorted(p[before])
        corrected[i] = min(1.0, max((len(p) - k) * value for k, value in enumerate(steps)))
    return corrected


@pytest.mark.parametrize("seed", range(20))
def test_holm_equals_the_step_down_rule(seed):
    rng = np.random.default_rng(seed)
    p = rng.uniform(0, 0.2, rng.integers(1, 30)).round(2)  # with ties
    found = holm({f"c{i}": float(v) for i, v in enumerate(p)})
    np.testing.assert_allclose(list(found.values()), holm_by_hand(p), rtol=1e-12)
    assert list(found) == [f"c{i}" for i in range(len(p))]
    assert all(found[f"c{i}"] >= p[i] for i in range(len(p)))


def test_holm_of_the_literature_and_wrong_values():
    """The four p-values of Holm's own kind of example: .01, .04, .03, .005."""
    assert list(holm(dict(enumerate([0.01, 0.04, 0.03, 0.005]))).values()) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm({}) == {}
    for wrong in (-0.1, 1.5, math.nan):
        with pytest.raises(InputError, match="p_values: must be from 0 to 1"):
            holm({"a": wrong})


def test_holm_keeps_the_rate_of_families_with_a_false_finding():
    p = np.random.default_rng(0).uniform(size=(4000, 8))
    found = [min(holm(dict(enumerate(line))).values()) <= 0.05 for line in p.tolist()]
    assert np.mean(found) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)


# -------------------------------------------------------------------------------------------------------------- power
@pytest.mark.parametrize(("mean", "deviation"), [(0.02, 0.04), (0.01, 0.05), (-0.02, 0.05), (0.002, 0.05)])
def test_power_is_that_of_the_normal_distribution_and_near_that_of_t(mean, deviation):
    n = people_needed(mean, deviation)

    def power(count):
        shift = abs(mean) / deviation * math.sqrt(count)
        return stats.norm.sf(stats.norm.ppf(0.975) - shift)

    assert power(n) >= 0.8 > power(n - 1)
    shift, limit = abs(mean) / deviation * math.sqrt(n), stats.t.ppf(0.975, n - 1)
    exact = stats.nct.sf(limit, n - 1, shift) + stats.nct.cdf(-limit, n - 1, shift)
    assert 0.77 < exact < 0.81  # n is too small by two people or so, where it is small


def test_power_of_no_difference_is_none_and_other_levels_are_taken():
    assert people_needed(0.0, 0.04) is None
    assert people_needed(1e-9, 0.04) is None
    assert people_needed(1.0, 1e-9) == 2
    z = stats.norm.ppf(0.995) + stats.norm.ppf(0.9)
    assert people_needed(0.02, 0.05, power=0.9, level=0.01) == math.ceil((z * 2.5) ** 2)


# ------------------------------------------------------------------------------------------------------------- counts
def evaluation(subjects, target, predicted, classes=("walk", "sit", "run")):
    probabilities = np.eye(len(classes))[predicted] * 0.7 + 0.1
    return Evaluation(
        scalars={},
        per_class={},
        confusion=np.zeros((3, 3), dtype=np.int64),
        reliability={},
        robustness={},
        index=np.arange(len(target)),
        target=np.array(target),
        probabilities=probabilities,
        embedding=np.zeros((len(target), 0), dtype=np.float32),
        classes=list(classes),
        subjects=list(subjects),
    )


def test_windows_are_counted_by_person_and_class():
    rng = np.random.default_rng(0)
    subjects = [f"p{i}" for i in rng.integers(1, 12, 300)]
    target, predicted = rng.integers(0, 2, 300), rng.integers(0, 2, 300)  # the third class never occurs
    row = counted(evaluation(subjects, target, predicted))
    assert list(row["people"]) == [f"p{i}" for i in range(1, 12)]
    for person, counts in row["people"].items():
        mine = np.array(subjects) == person
        assert (counts["windows"], counts["correct"]) == (mine.sum(), (target == predicted)[mine].sum())
        expected = [sum(target[i] == predicted[i] == k for i in np.flatnonzero(mine)) for k in range(3)]
        assert counts["hits"] == expected
    from sklearn.metrics import f1_score

    expected = f1_score(target, predicted, average=None)
    assert f1_scores(row["classes"])[:2] == pytest.approx(expected.tolist())
    assert f1_scores(row["classes"])[2] is None
    assert macro_f1(row["classes"]) == pytest.approx(expected.mean())
    check_counts(row, "here")
    json.dumps(row)
    assert counted(evaluation(["a"], [[0, 1, 1]], [0])) == {}  # any number of labels
    assert counted(evaluation([""] * 4, [0, 1, 2, 0], [0, 0, 0, 0]))["people"] == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda row: row.update(people=[1]),
        lambda row: row.update(classes={"names": ["a"]}),
        lambda row: row.pop("classes"),
        lambda row: row["people"]["s0"].update(windows=3),
        lambda row: row["people"]["s0"].update(correct="all"),
        lambda row: row["people"]["s0"].update(hits=[10**400, 0]),
        lambda row: row["people"]["s0"].update(hits=[2000, 0], correct=2000),
        lambda row: row["people"]["s0"].update(support=[1000]),
        lambda row: row["people"].update(s0={"windows": 0, "correct": 0, "hits": [0, 0], "support": [0, 0]}),
        lambda row: row["people"].update(s0=None),
        lambda row: row.update(test_subjects=[1]),
    ],
)
def test_damaged_counts_are_refused(damage):
    (row,) = rows_of({"": {"s0": [0.5]}})
    check_counts(row, "job")
    damage(row)
    with pytest.raises(InputError, match=r"^job: .* It is damaged"):
        check_counts(row, "job")


def test_a_row_of_an_earlier_version_has_no_counts():
    check_counts({"run": "kd"}, "job")


# ------------------------------------------------------------------------------------------------------------- hashes
def test_hashes_match_between_rows_and_differ_between_studies_and_salts(monkeypatch):
    monkeypatch.setenv("KDLAB_SALT", SALT)
    (row,) = rows_of({"": {"Anna": [0.5], "Ben": [0.6]}}, test_subjects=["Anna", "Ben"])
    hidden = with_pseudonyms(row, "toy/study")
    text = json.dumps(hidden)
    assert "Anna" not in text
    assert "Ben" not in text
    assert hidden["test_subjects"] == list(hidden["people"]) == sorted(hidden["people"])
    assert hidden["people"][pseudonym("Anna", "toy/study")] == row["people"]["Anna"]
    assert with_pseudonyms(hidden, "toy/study") == hidden
    assert pseudonym("Anna", "toy/other") != pseudonym("Anna", "toy/study")
    before = pseudonym("Anna", "toy/study")
    monkeypatch.setenv("KDLAB_SALT", SALT + "2")
    assert pseudonym("Anna", "toy/study") != before
    assert with_pseudonyms(row, "") == row
    folds = {"subjectAnna": ["Anna"], "fold2": ["Ben"]}
    assert hidden_folds(folds, "toy/study") == {
        "subjectAnna": f"subject-{pseudonym('Anna', 'toy/study')}",
        "fold2": "fold2",
    }
    assert hidden_folds(folds, "") == {fold: fold for fold in folds}


def test_hashes_need_a_salt(monkeypatch):
    monkeypatch.delenv("KDLAB_SALT", raising=False)
    with pytest.raises(InputError, match=r"^people: hashes must be salted by the environment variable KDLAB_SALT"):
        pseudonym("Anna", "toy/study")


# ------------------------------------------------------------------------------------------------------------- report
RUNS = {
    "scratch": (0, 0.0, "scratch"),
    "kd": (1, 0.02, "student"),
    "tpkd": (2, 0.05, "student"),
    "amd": (3, 0.01, "student"),
}


def study_rows(people=9, folds=3):
    return [
        row
        for run, (seed, shift, stage) in RUNS.items()
        for row in rows_of(drawn(seed, people, folds, shift=shift), run, stage, shared=False)
    ]


def written(folder, rows=None, **options):
    rows = study_rows() if rows is None else rows
    return write_report(rows, [], folder, name="study", draw=False, **options).read_text("utf-8")


def read_csv(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_report_prints_people_beside_folds(tmp_path):
    text = written(tmp_path)
    lines = {(line["run"], line["minus"]): line for line in table(text, "Differences over people")}
    found = people_comparisons(conditions(study_rows()), ["scratch", "kd"])
    assert list(lines) == list(found)
    corrected = holm_by_hand([d.p for d in found.values()])
    for (pair, line), p in zip(lines.items(), corrected, strict=True):
        difference = found[pair]
        shown = f"{100 * difference.mean:+.1f}".replace("-", "−")
        assert line["over people"].strip("*").startswith(shown)
        assert line["over people"].startswith("**") == difference.excludes_zero
        assert line["p (Holm)"] == ("< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0"))
        assert line["people needed"] == f"{difference.needed:,}"
        assert line["people"] == "9"
    folds = {(line["run"], line["minus"]): line for line in table(text, "Differences of the test accuracy")}
    assert all(lines[pair]["over folds"] == folds[pair]["difference"] for pair in lines)
    assert "There is one split" not in text
    assert "There is one split" in written(tmp_path, study_rows(folds=1))


def test_rows_without_people_have_no_section_and_no_file(tmp_path):
    written(tmp_path)
    assert (tmp_path / "people.csv").is_file()
    old = [{k: v for k, v in row.items() if k not in ("people", "classes")} for row in study_rows()]
    text = written(tmp_path, old)
    assert "over people" not in text
    assert "F1 by class" not in text
    assert not (tmp_path / "people.csv").exists()
    assert not (tmp_path / "classes.csv").exists()
    assert (tmp_path / "means.csv").is_file()


def test_old_and_new_rows_are_read_together(tmp_path):
    rows = study_rows()
    for row in rows:
        if row["run"] == "amd":
            del row["people"], row["classes"]
    text = written(tmp_path, rows)
    assert {line["run"] for line in table(text, "Differences over people")} == {"kd", "tpkd"}
    assert {line["run"] for line in table(text, "F1 by class")} == {"scratch", "kd", "tpkd"}
    assert {line["run"] for line in read_csv(tmp_path / "people.csv")} == {"scratch", "kd", "tpkd"}


def test_people_and_classes_are_files(tmp_path):
    rows = study_rows()
    written(tmp_path, rows)
    people, classes = read_csv(tmp_path / "people.csv"), read_csv(tmp_path / "classes.csv")
    assert len(people) == sum(len(row["people"]) for row in rows)
    by_key = {(r["run"], r["fold"], r["seed"]): r for r in rows}
    for line in people:
        counts = by_key[line["run"], line["fold"], int(line["seed"])]["people"][line["person"]]
        assert float(line["accuracy"]) == counts["correct"] / counts["windows"]
        assert int(line["windows"]) == counts["windows"]
        assert float(line["f1"]) == pytest.approx(macro_f1(counts))
    assert [line["class"] for line in classes[:2]] == ["walk", "a|b"]
    assert len(classes) == 2 * len(rows)
    shown = {line["run"]: line for line in table(written(tmp_path, rows), "F1 by class")}
    mean = np.mean([float(line["f1"]) for line in classes if (line["run"], line["class"]) == ("kd", "walk")])
    assert shown["kd"]["walk"] == f"{100 * mean:.1f}"
    assert "a\\|b" not in shown["kd"]  # no one has windows of it


def test_f1_of_a_class_is_over_the_folds_that_have_it_for_every_run(tmp_path):
    """A fold without windows of a class counts in no row, whether or not a run predicts the class there."""
    rows = [row for row in study_rows() if row["run"] in ("scratch", "kd")]
    for row in rows:
        first = row["fold"] == rows[0]["fold"]
        false = int(first and row["run"] == "kd")
        row["classes"] |= {"hits": [4, 0 if first else 3], "support": [4, 0 if first else 3]}
        row["classes"]["predicted"] = [4 - false, false if first else 3]
        row["classes"]["hits"][0] -= false
    text = written(tmp_path, rows)
    shown = {line["run"]: line["a\\|b"] for line in table(text, "F1 by class")}
    assert shown == {"scratch": "100.0", "kd": "100.0"}
    assert "whose test windows have the class" in text
    none = [line for line in read_csv(tmp_path / "classes.csv") if line["support"] == "0"]
    assert none
    assert not any(line["f1"] for line in none)


def test_pairs_have_intervals_of_their_own_and_two_corrections(tmp_path):
    paper = Paper(compare=(("tpkd", "amd"), ("kd", "scratch"), ("amd", "late")))
    text = written(tmp_path, paper=paper)
    lines = {(line["run"], line["minus"]): line for line in table(text, "Matched pairs")}
    assert list(lines) == [("tpkd", "amd"), ("kd", "scratch")]
    pairs = matched_pairs(conditions(study_rows()), paper.compare, "test_accuracy")
    alone = holm_by_hand([pair.people.p for pair in pairs])
    in_table = people_comparisons(conditions(study_rows()), ["scratch", "kd"])
    others = [d.p for names, d in in_table.items() if names != ("kd", "scratch")]
    both = holm_by_hand([*(pair.people.p for pair in pairs), *others])
    for i, line in enumerate(lines.values()):
        assert line["p (Holm, pairs)"] == ("< .001" if alone[i] < 0.001 else f"{alone[i]:.3f}".removeprefix("0"))
        assert line["p (Holm, pairs and table)"] == (
            "< .001" if both[i] < 0.001 else f"{both[i]:.3f}".removeprefix("0")
        )
    assert "Without runs to pair so far: amd minus late." in text
    assert "Matched pairs" not in written(tmp_path)


def test_a_pair_is_shown_where_the_second_was_trained_longer_and_left_out_where_the_first_was(tmp_path):
    updates = {"scratch": 400, "amd": 800, "kd": 400, "tpkd": 400}
    rows = [{**row, "updates": updates[row["run"]], "updates_warm_start": 0} for row in study_rows()]
    paper = Paper(compare=(("tpkd", "amd"), ("kd", "tpkd"), ("amd", "kd")))
    text = written(tmp_path, rows, paper=paper)
    lines = {(line["run"], line["minus"]): line for line in table(text, "Matched pairs")}
    assert {names: line["updates of both"] for names, line in lines.items()} == {
        ("tpkd", "amd"): "400 / 800",
        ("kd", "tpkd"): "400 / 400",
    }
    assert "Not paired: amd minus kd (amd had 800 updates, kd 400)." in text
    assert "so far" not in text
    assert "a gain is not that of updates" in text
    equal = written(tmp_path / "b", study_rows(), paper=paper)
    assert "updates of both" not in equal
    known = conditions(rows)
    pair = matched_pairs(known, [("tpkd", "amd")], "test_accuracy")[0]
    assert pair.people == matched_pairs(conditions(study_rows()), [("tpkd", "amd")], "test_accuracy")[0].people


def test_pairs_agree_in_their_labels():
    rows = [
        {**row, "labels": {"size": size}}
        for run in ("kd", "amd")
        for size, seed in (("1", 0), ("3", 5))
        for row in rows_of(drawn(seed + RUNS[run][0]), run)
    ]
    found = matched_pairs(conditions(rows), [("kd", "amd")], "test_accuracy")
    assert [pair.titles for pair in found] == [("kd (size=1)", "amd (size=1)"), ("kd (size=3)", "amd (size=3)")]


def labelled(**axes):
    """Rows of some runs, each with two labels of its axis; an empty axis: without labels."""
    return [
        {**row, "labels": {axis: label} if axis else {}}
        for run, axis in axes.items()
        for label, seed in (("1", 0), ("3", 5))[: 2 if axis else 1]
        for row in rows_of(drawn(seed + RUNS[run][0]), run)
    ]


def test_a_pair_that_no_run_can_bring_has_its_reason(tmp_path):
    rows = labelled(kd="size", amd="", scratch="depth")
    text = written(tmp_path, rows, paper=Paper(compare=(("amd", "kd"), ("scratch", "kd"), ("tpkd", "kd"))))
    assert (
        "Not paired: amd minus kd (kd has several labels; write [kd, amd]); scratch minus kd (both have several "
        "labels, of different axes)." in text
    )
    assert "Without runs to pair so far: tpkd minus kd." in text
    turned = written(tmp_path, rows, paper=Paper(compare=(("kd", "amd"),)))
    assert len(table(turned, "Matched pairs")) == 2
    assert "Not paired" not in turned


@pytest.mark.parametrize("pair", [("kd", "scratch"), ("scratch", "kd")])
def test_a_pair_with_labels_is_counted_once_with_the_table(tmp_path, pair):
    text = written(tmp_path, labelled(kd="size", scratch="size"), paper=Paper(compare=(pair,)))
    lines = table(text, "Matched pairs")
    assert len(lines) == len(table(text, "Differences over people")) == 2
    assert all(line["p (Holm, pairs and table)"] == line["p (Holm, pairs)"] for line in lines)
    assert any(line["p (Holm, pairs)"] not in ("< .001", "1.000") for line in lines)


def test_the_files_do_not_depend_on_the_order_of_rows(tmp_path):
    names = ("people.csv", "classes.csv", "means.csv", "results.tex", "results.md", "results.csv")
    order = {"order": list(RUNS)}
    rows = study_rows()
    written(tmp_path / "a", rows, **order)
    random.Random(1).shuffle(rows)
    for row in rows:
        row["people"] = dict(reversed(row["people"].items()))
    written(tmp_path / "b", rows, **order)
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("compare", "message"),
    [
        ([["kd", "scrach"]], "compare: unknown run 'scrach'.*Did you mean 'scratch'"),
        ([["kd"]], "must be a list of pairs of two different runs, but got \\['kd'\\]"),
        ([["kd", "kd"]], "two different runs"),
        ("kd", "must be a list of pairs"),
        ([["kd", "scratch"], ["scratch", "kd"]], "must be different pairs"),
    ],
)
def test_wrong_pairs_are_refused(compare, message):
    with pytest.raises(InputError, match=message):
        read_paper(
            {"compare": compare, "students": {"kd": {}, "scratch": {}}}, ["students"], ["kd", "scratch"], "s.yaml"
        )


def test_people_who_are_alike_are_named_as_the_reason():
    pairs = {(str(p), f"fold{p // 2}", 0): 0.1 * (p == 3) for p in range(8)}
    low, high, p, method = inference(Sample.of(pairs), 0.95, 1000)
    assert (low, high, p) == (None, None, None)
    assert method == "too few people for this confidence (7 of 8 are alike), so no interval"
