"""The files and pictures of a study's report: numbers against numpy, bytes against order and time."""

import csv
import random
import re

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from kdlab.evaluate.evaluation import KINDS
from kdlab.study import plots, report
from kdlab.study.conditions import conditions
from kdlab.study.differences import comparisons
from kdlab.study.plot_grids import plot_axis, plot_grid
from kdlab.study.plot_rows import plot_accuracy, plot_differences
from kdlab.study.plots import figures_of
from kdlab.study.report import write_report

RUNS = {"teacher_raw": "teacher", "scratch": "scratch", "scratch_long": "scratch", "kd": "student", "tpkd": "student"}
GAIN = {"teacher_raw": 0.05, "scratch": 0.0, "scratch_long": 0.0, "kd": 0.01, "tpkd": 0.03}
AXES = {"teacher_augment": ["none", "mix1", "noise"], "student_augment": ["none", "mix1", "noise"]}


def rows_of(windows=(900, 950, 920), seeds=3, seed=0):
    """A study of five runs; the teacher is shared by the seeds."""
    rng = np.random.default_rng(seed)
    rows = []
    for run, stage in RUNS.items():
        for fold, count in enumerate(windows, start=1):
            for number in range(1 if stage == "teacher" else seeds):
                accuracy = float(0.85 + 0.02 * fold + GAIN[run] + rng.normal(0, 0.004))
                row = {
                    **{"run": run, "stage": stage, "labels": {}, "seed": number, "shared": stage == "teacher"},
                    **{"fold": f"fold{fold}" if len(windows) > 1 else "", "test_windows": count, "view": "raw"},
                    **{"parameters": 60933, "best_epoch": fold + number, "macs": 1234567},
                    **{"val_accuracy": accuracy + 0.01, "test_accuracy": accuracy, "test_f1": accuracy - 0.01},
                    **{"test_nll": 1 - accuracy, "test_ece": 0.05, "test_v_measure": 0.7},
                    **{"seconds": float(rng.uniform(20, 60)), "latency_ms": float(rng.uniform(1, 2)), "view_ms": 0.5},
                    "reliability": {
                        "confidence": [None, 0.5, 0.9],
                        "accuracy": [None, 0.4, accuracy],
                        "count": [0, 10 * fold, count],
                    },
                }
                for k, kind in enumerate(KINDS):
                    row |= {f"test_accuracy_{kind}{s}": accuracy - 0.01 * s * (k + 1) for s in (1, 2, 3)}
                rows.append(row)
    return rows


def grid_rows():
    rng = np.random.default_rng(1)
    rows = []
    for run in ("kd", "eskd"):
        for a in AXES["teacher_augment"]:
            for b in AXES["student_augment"]:
                for seed in range(2):
                    labels = {"teacher_augment": a, "student_augment": b}
                    about = {"run": run, "stage": "student", "labels": labels, "seed": seed, "fold": "", "view": "raw"}
                    rows.append({**about, "test_accuracy": float(rng.uniform(0.8, 0.9))})
    for seed in range(2):
        about = {"run": "scratch", "stage": "scratch", "labels": {}, "seed": seed, "fold": "", "view": "raw"}
        rows.append({**about, "test_accuracy": 0.85 + 0.01 * seed})
    return rows


def values(rows, run, metric="test_accuracy"):
    """(fold, seed) of one run."""
    mine = [row for row in rows if row["run"] == run]
    return np.array([row[metric] for row in mine]).reshape(len({row["fold"] for row in mine}), -1)


def table(text, title):
    """The first table below a heading: one dict a line."""
    lines = text[text.index(f"## {title}") :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    stop = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[start:stop]]
    assert len({len(line) for line in cells}) == 1, "a line has another number of cells"
    return [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]


def write(rows, folder, **options):
    options = {"name": "study", "draw": False, **options}
    return write_report(rows, options.pop("failures", []), folder, **options).read_text()


# -------------------------------------------------------------------------------------------------------------- tables
def test_main_table_has_the_numbers_of_numpy_and_scipy(tmp_path):
    rows = rows_of()
    lines = {line["run"]: line for line in table(write(rows, tmp_path), "Results")}
    assert list(lines) == list(RUNS)
    for run, line in lines.items():
        v = 100 * values(rows, run)
        assert line["test accuracy"] == f"{v.mean():.1f} ± {v.std(ddof=1):.1f}"
        assert line["standard error over folds"] == f"{stats.sem(v.mean(1)):.1f}"
        assert line["accuracy, noise 3"] == f"{v.mean() - 3:.1f} ± {v.std(ddof=1):.1f}"
        assert line["NLL"].startswith(f"{1 - v.mean() / 100:.3f} ± ")
        assert (line["runs"], line["parameters"]) == (str(v.size), "60,933")
    a, b = (100 * values(rows, run).mean(1) for run in ("tpkd", "kd"))
    low, high = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert lines["tpkd"]["minus kd [95 %]"] == f"**{(a - b).mean():+.1f} [{low:+.1f}, {high:+.1f}]**"
    assert not lines["scratch_long"]["minus scratch [95 %]"].startswith("**")
    assert lines["scratch"]["minus scratch [95 %]"] == lines["kd"]["minus kd [95 %]"] == "–"


def test_differences_say_pairs_wins_and_how(tmp_path):
    rows = [row for row in rows_of() if (row["run"], row["fold"], row["seed"]) != ("tpkd", "fold2", 1)]
    text = write(rows, tmp_path)
    lines = {(line["run"], line["minus"]): line for line in table(text, "Differences of the test accuracy")}
    tpkd = lines["tpkd", "scratch"]
    assert (tpkd["pairs"], tpkd["left out"], tpkd["better / worse / equal"]) == ("8", "1", "8 / 0 / 0")
    assert lines["teacher_raw", "scratch"]["pairs"] == "3"
    assert "one run for all seeds" in lines["teacher_raw", "scratch"]["note"]
    assert ("scratch", "kd") not in lines
    assert ("kd", "scratch") in lines
    assert "With fewer runs than others: tpkd." in text
    assert f"of {len(lines)} intervals about {0.05 * len(lines):.1f} would leave out 0" in text
    assert "Controls: scratch, scratch_long, kd." in text
    assert "over 3 folds" in text


def test_folds_without_a_class_are_named_with_what_this_does_to_f1(tmp_path):
    rows = rows_of()
    counts = {"names": ["walk", "rest"], "hits": [3, 1], "support": [4, 2], "predicted": [4, 2]}
    rows = [row | {"classes": counts} for row in rows]
    assert "Without test windows of a class" not in write(rows, tmp_path)
    one = counts | {"hits": [5, 0], "support": [6, 0], "predicted": [5, 1]}
    rows = [row | {"classes": one} if row["fold"] == "fold2" else row for row in rows]
    assert "Without test windows of a class are fold2 (rest): there, a single window" in write(rows, tmp_path)


def test_teachers_that_seeds_share_are_named_where_others_are_not_shared(tmp_path):
    rows = rows_of()
    text = write_report(rows, [], tmp_path, name="s", draw=False).read_text()
    assert "Teachers are shared by the seeds of a fold: the spread over seeds is that of the students alone." in text
    own = [row | {"run": "teacher_n", "stage": "teacher", "shared": False} for row in rows if row["run"] == "scratch"]
    text = write_report(rows + own, [], tmp_path, name="s", draw=False).read_text()
    assert "Teachers are shared" not in text
    assert "Of the teachers, teacher_raw is shared by the seeds of a fold, and the others are one per seed." in text


def test_validation_people_choose_the_epochs_of_cross_fitted_teachers_only_where_a_rule_does(tmp_path):
    left = {"left_out_accuracy": 0.5, "left_out_windows": 9, "left_out_people": 3, "stage": "teacher", "labels": {}}
    left |= {"seed": 0, "fold": "fold1", "view": "raw", "shared": True, "test_accuracy": 0.5, "best_epoch": 1}
    for rule, said in (("last epoch", "people are not among"), ("lowest val/loss", "people, who choose the epochs of")):
        rows = [{**left, "run": f"t_without{j}of2", "selection": rule} for j in (1, 2)]
        assert f"The validation {said}" in write_report(rows, [], tmp_path, name="s", draw=False).read_text()


def test_without_folds_the_text_speaks_of_seeds_and_one_seed_has_no_spread(tmp_path):
    text = write(rows_of(windows=(40,)), tmp_path)
    assert "standard error over seeds" in text
    assert "nothing about other test subjects" in text
    assert "One test window is 2.5 points" in text
    assert "40 test windows." in text
    assert "## Test accuracy by fold" not in text
    one = write(rows_of(windows=(40,), seeds=1), tmp_path)
    line = table(one, "Results")[-1]
    assert "±" not in line["test accuracy"]
    assert "standard error over seeds" not in line  # an empty column is left out
    assert re.fullmatch(r"[+−]\d\.\d", line["minus scratch [95 %]"])
    assert "one seed only, so no interval" in one
    assert "nan" not in one


def test_unequal_folds_are_weighted_both_ways(tmp_path):
    rows = rows_of(windows=(3000, 2000, 92))
    text = write(rows, tmp_path)
    line = table(text, "Test accuracy by fold")[-1]
    v = 100 * values(rows, "tpkd").mean(1)
    assert line["window-weighted"] == f"{np.average(v, weights=(3000, 2000, 92)):.1f}"
    assert line["fold-weighted"] == f"{v.mean():.1f}"
    assert line["fold-weighted without fold3 (92 windows)"] == f"{v[:2].mean():.1f}"
    assert [line[f"fold{i}"] for i in (1, 2, 3)] == [f"{mean:.1f}" for mean in v]
    assert "## Test accuracy by fold" not in write(rows_of(windows=(1000, 1050, 1099)), tmp_path)
    assert "without fold" not in write(rows_of(windows=(1000, 1050, 500)), tmp_path)


def test_test_windows_that_differ_between_labels_are_ranges(tmp_path):
    rows = [
        {**row, "labels": {"win": label}, "test_windows": factor * row["test_windows"]}
        for label, factor in (("long", 1), ("short", 2))
        for row in rows_of(windows=(60, 63, 62))
    ]
    counts = {"names": ["walk", "rest"], "hits": [1, 1], "support": [1, 1], "predicted": [1, 1]}
    gone = counts | {"hits": [1, 0], "support": [2, 0]}
    rows = [
        {**row, "classes": gone if (row["fold"], row["labels"]["win"]) == ("fold1", "long") else counts} for row in rows
    ]
    for listed in (rows, rows[::-1]):
        text = write(listed, tmp_path)
        assert "| fold1 | 60–120 |" in text
        assert (
            "One test window of the smallest fold is 0.83 to 1.7 points, by the number of windows of the row." in text
        )
        assert "Without test windows of a class are fold1 (rest in some rows): " in text
        assert "## Test accuracy by fold" not in text  # the folds of a label are equal
    one = [row for row in rows if row["fold"] == "fold1"]
    assert "fold1, 60–120 test windows." in write(one, tmp_path)
    unequal = [row | {"test_windows": row["test_windows"] * (1 if row["fold"] == "fold1" else 100)} for row in rows]
    text = write(unequal, tmp_path)
    assert "The folds have 60 to 12,600 test windows." in text
    assert "fold-weighted without fold1 (60–120 windows)" in text


def test_robustness_table_has_the_means_of_each_severity(tmp_path):
    rows = [{**row, "test_accuracy_last": row["test_accuracy"] - 0.02} for row in rows_of()]
    line = table(write(rows, tmp_path), "Robustness, embedding and cost")[0]
    mean = 100 * values(rows, "teacher_raw").mean()
    assert line["shift"] == f"{mean - 4:.1f} / {mean - 8:.1f} / {mean - 12:.1f}"
    assert line["test accuracy, last epoch"].startswith(f"{mean - 2:.1f} ± ")
    assert (line["best epoch"], line["multiply-accumulates"]) == ("1–3", "1,234,567")


def test_missing_metrics_are_counted_and_columns_without_any_are_left_out(tmp_path):
    rows = [{k: v for k, v in row.items() if k not in ("test_ece", "macs")} for row in rows_of()]
    rows[-1]["test_nll"] = float("inf")
    rows[-2]["test_nll"] = None
    lines = table(write(rows, tmp_path), "Results")
    assert "ECE" not in lines[0]
    assert lines[-1]["NLL"].endswith("(of 7)")
    assert not lines[-2]["NLL"].endswith(")")


def test_a_fold_of_one_class_has_no_v_measure(tmp_path):
    rows = [{**row, "test_v_measure": float("nan") if i == 0 else 0.25} for i, row in enumerate(rows_of())]
    lines = {line["run"]: line["V-measure"] for line in table(write(rows, tmp_path), "Robustness, embedding")}
    count = sum(row["run"] == rows[0]["run"] for row in rows)
    assert lines.pop(rows[0]["run"]) == f"0.250 ± 0.000 (of {count - 1})"
    assert set(lines.values()) == {"0.250 ± 0.000"}
    with (tmp_path / "results.csv").open() as file:
        assert next(csv.DictReader(file))["test_v_measure"] == ""


def test_published_values_carry_source_and_caveats(tmp_path):
    published = {
        "tpkd": {"value": "70.7 ± 0.1", "source": "A | B 2023, table 2.", "note": "Another split."},
        "dist": {"value": 69.7, "source": "C 2022"},
    }
    text = write(rows_of(), tmp_path, published=published)
    assert table(text, "Results")[-1]["published"] == "70.7 ± 0.1[^1]"
    assert "[^1]: A \\| B 2023, table 2. Another split" in text
    assert "without a row here: dist 69.7 (C 2022)" in text
    assert "published" not in table(write(rows_of(), tmp_path), "Results")[0]


def test_a_published_value_of_a_run_is_not_put_into_every_cell_of_its_grid(tmp_path):
    published = {
        "eskd": {"value": 88.2, "source": "A"},
        "kd (teacher_augment=mix1, student_augment=none)": {"value": 7},
    }
    text = write(grid_rows(), tmp_path, published=published, axes=AXES)
    assert [line["published"] for line in table(text, "Results")].count("7[^1]") == 1
    assert text.count("88.2") == 1
    assert "no source given" in text


def test_failures_are_listed_and_an_empty_study_is_said(tmp_path):
    text = write([], tmp_path, failures=[("tpkd/seed1", "RuntimeError: not\n  finite | here")])
    assert "No run finished." in text
    assert "1 run failed" in text
    assert "- **tpkd/seed1**: RuntimeError: not finite \\| here" in text
    assert "Failed" not in write(rows_of(), tmp_path)


def test_folds_are_listed_with_their_subjects(tmp_path):
    text = write(
        rows_of(), tmp_path, subjects={"fold1": ["5", "11"], "fold2": ["1"], "fold3": ["2"]}, description="Why."
    )
    assert text.startswith("# study\n\nWhy.\n\n39 finished runs; 3 seeds (0, 1, 2); 3 folds.")
    assert "| fold1 | 5, 11 | 900 |" in text


# --------------------------------------------------------------------------------------------------------------- files
def test_an_interrupted_study_writes_the_bytes_of_an_uninterrupted_one(tmp_path):
    """Rows come in another order, and with other times."""
    rows = [row for row in rows_of(seeds=2) if row["run"] in ("scratch", "tpkd")] + grid_rows()[:-2]
    options = {"order": [*RUNS, "eskd"], "axes": AXES, "draw": True}
    write(rows, tmp_path / "a", **options)
    again = [{**row, "seconds": 2 * row.get("seconds", 1.0), "latency_ms": 9.0} for row in rows]
    random.Random(0).shuffle(again)
    write(again, tmp_path / "b", **options, seconds=7200.0)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    different = [n for n in names if (tmp_path / "a" / n).read_bytes() != (tmp_path / "b" / n).read_bytes()]
    assert different == ["times.csv", "times.md"]
    assert "Wall time of the study: 2 h 0 min." in (tmp_path / "b" / "times.md").read_text()


def test_csv_has_every_row_whole(tmp_path):
    rows = [*rows_of(), *({**row, "extra": 1.5} for row in grid_rows())]
    write(rows, tmp_path, axes=AXES)
    with (tmp_path / "results.csv").open() as file:
        found = list(csv.DictReader(file))
    assert len(found) == len(rows)
    columns = list(found[0])
    assert columns[:6] == ["run", "stage", "teacher_augment", "student_augment", "fold", "seed"]
    assert columns[-1] == "extra"
    assert not {"seconds", "latency_ms", "view_ms", "reliability", "labels"} & set(columns)
    assert sorted(float(row["test_accuracy"]) for row in found) == sorted(row["test_accuracy"] for row in rows)
    grid = next(row for row in found if row["run"] == "eskd")
    assert (grid["teacher_augment"], grid["student_augment"], grid["test_f1"]) == ("none", "none", "")
    with (tmp_path / "times.csv").open() as file:
        times = list(csv.DictReader(file))
    assert sum(float(row["seconds"] or 0) for row in times) == pytest.approx(sum(r.get("seconds", 0) for r in rows))


def test_files_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    write(rows_of(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert not [name for name in before if "part" in name]

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(report.Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write(rows_of(seed=1), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_every_picture_is_written_and_shown(tmp_path):
    labels = {"capacity": "16-1"}
    rows = [row for row in rows_of(seeds=2) if row["run"] in ("scratch", "kd")]
    rows += [{**row, "run": "amd", "labels": labels} for row in rows if row["run"] == "kd"]
    text = write(rows, tmp_path, draw=True)
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    expected = ["accuracy", "differences", "axis_capacity", "robustness", "reliability"]
    assert shown == [f"{name}.png" for name in expected]
    assert sorted(shown) == sorted(path.name for path in tmp_path.glob("*.png"))
    for name in shown:
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 200
            assert np.asarray(image.convert("L")).std() > 5, "an empty picture"


# ------------------------------------------------------------------------------------------------------------ pictures
def test_the_dots_are_the_runs_and_the_bars_mean_and_standard_deviation():
    rows = rows_of()
    axes = plot_accuracy(conditions(rows)).axes[0]
    dots = np.concatenate([dots.get_offsets()[:, 0] for dots in axes.collections if len(dots.get_offsets()) > 1])
    np.testing.assert_allclose(sorted(dots), sorted(100 * row["test_accuracy"] for row in rows))
    for container, run in zip(axes.containers, RUNS, strict=True):
        v = 100 * values(rows, run)
        (segment,) = container.lines[2][0].get_segments()
        np.testing.assert_allclose(segment[:, 0], [v.mean() - v.std(ddof=1), v.mean() + v.std(ddof=1)])
    assert [label.get_text() for label in axes.get_yticklabels()] == list(RUNS)
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first run is on top"


def test_the_forest_has_the_intervals():
    known = conditions(rows_of())
    found = comparisons(known, ["scratch", "kd"], "test_accuracy")
    figure = plot_differences(known, found)
    assert len(figure.axes) == 2
    drawn = [container.lines[2][0].get_segments()[0][:, 0] for a in figure.axes for container in a.containers]
    expected = [(100 * d.low, 100 * d.high) for b in ("scratch", "kd") for (_, other), d in found.items() if other == b]
    np.testing.assert_allclose(drawn, expected)


def test_a_difference_without_interval_is_drawn_without_one():
    known = conditions(rows_of(windows=(40,), seeds=1))
    figure = plot_differences(known, comparisons(known, ["scratch"], "test_accuracy"))
    assert not any(container.has_xerr for container in figure.axes[0].containers)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["no interval"]


def test_the_heat_map_has_the_means_and_says_them():
    rows = grid_rows()
    known = [condition for condition in conditions(rows, axes=AXES) if condition.labels]
    figure = plot_grid(known, *AXES.items())
    for axes, run in zip(figure.axes, ("kd", "eskd"), strict=False):
        assert axes.get_title() == run
        v = 100 * np.array([r["test_accuracy"] for r in rows if r["run"] == run]).reshape(3, 3, 2)
        np.testing.assert_allclose(axes.images[0].get_array(), v.mean(2))
        said = [text.get_text() for text in axes.texts]
        assert said == [f"{cell.mean():.1f}\n±{cell.std(ddof=1):.1f}" for cell in v.reshape(9, 2)]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == AXES["teacher_augment"]


def test_a_cell_without_runs_is_empty():
    known = [c for c in conditions(grid_rows(), axes=AXES) if c.run == "kd" and set(c.labels.values()) != {"mix1"}]
    axes = plot_grid(known, *AXES.items()).axes[0]
    assert np.argwhere(np.ma.getmaskarray(axes.images[0].get_array())).tolist() == [[1, 1]]
    assert axes.texts[4].get_text() == "none"


def test_the_line_follows_the_labels_in_the_order_given():
    means = {"4": 0.9, "1": 0.8, "16": 0.85}
    about = {"run": "kd", "stage": "student", "fold": "", "view": "raw"}
    rows = [
        {**about, "labels": {"t": t}, "seed": s, "test_accuracy": m + s / 100} for t, m in means.items() for s in (0, 1)
    ]
    flat = conditions([row for row in grid_rows() if row["run"] == "scratch"])
    axes = plot_axis(conditions(rows), "t", ["1", "4", "16"], flat).axes[0]
    assert list(axes.containers[0].lines[0].get_ydata()) == pytest.approx([80.5, 90.5, 85.5])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "4", "16"]
    (level,) = (line for line in axes.get_lines() if line.get_label() == "scratch")
    assert list(level.get_ydata()) == pytest.approx([85.5, 85.5])


def test_robustness_and_calibration_are_pooled_over_runs():
    rows = rows_of()
    known = conditions(rows)
    mean = values(rows, "kd").mean()
    np.testing.assert_allclose(plots.robustness(known)["kd"]["both"], [mean, mean - 0.03, mean - 0.06, mean - 0.09])
    bins = plots.reliability(known)["kd"]
    v, counts = values(rows, "kd"), np.array([900, 950, 920])
    np.testing.assert_allclose(bins["count"], [0, 3 * 60, 3 * counts.sum()])
    np.testing.assert_allclose(bins["accuracy"], [np.nan, 0.4, (v * counts[:, None]).sum() / (3 * counts.sum())])
    for row in rows:  # the same bins, one by one
        keys, lists = row["reliability"].keys(), row["reliability"].values()
        row["reliability"] = [dict(zip(keys, one, strict=True)) for one in zip(*lists, strict=True)]
    again = plots.reliability(conditions(rows))["kd"]
    assert all(np.array_equal(bins[key], again[key], equal_nan=True) for key in bins)


def test_what_is_not_there_is_not_drawn():
    bare = [{k: v for k, v in row.items() if k != "reliability" and "_noise" not in k} for row in rows_of()]
    known = conditions(bare)
    assert set(plots.robustness(known)["kd"]) == {"missing", "both", "shift"}
    assert [name for name, _, _ in figures_of(known, baselines=["nobody"])] == ["accuracy", "robustness"]
    names = [name for name, _, _ in figures_of(conditions(grid_rows()))]
    assert names == ["accuracy", "differences", "grid_teacher_augment_student_augment"]
    assert list(figures_of([])) == []
