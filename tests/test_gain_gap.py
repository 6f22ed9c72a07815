"""Gain against gap, from files of rows alone, against a calculation with pandas."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from kdlab.study import rows_figures
from kdlab.study.gain_gap import merged, points_of
from kdlab.study.plot_gain_gap import plot_gain_gap
from kdlab.study.rows_file import Entry, read_rows, write_rows
from kdlab.types import InputError

RUNS = {"teacher_raw": "teacher", "teacher_pi": "teacher", "scratch": "scratch", "kd": "student", "tpkd": "student"}
WINDOWS = 40


def write(path, study="toy/a", labels=("2", "all"), seeds=2, folds=3, people=4, gains=None, updates=None, leave=()):
    """A study whose people's accuracies are made up; teachers are shared by the seeds of a fold."""
    rng = np.random.default_rng(len(study))
    entries = []
    for run, stage in RUNS.items():
        for label in labels:
            for fold in range(folds):
                for seed in range(1 if stage == "teacher" else seeds):
                    shared = stage == "teacher"
                    name = f"{run}[labelled={label}]/fold{fold}/{'shared' if shared else f'seed{seed}'}"
                    if name in leave:
                        continue
                    base = {"teacher": 0.8, "scratch": 0.6, "student": 0.7}[stage]
                    counts = {f"p{fold * people + i}": right(rng, base) for i in range(people)}
                    total = sum(one["correct"] for one in counts.values()) / (WINDOWS * people)
                    row = {
                        "job": name,
                        "run": run,
                        "stage": stage,
                        "labels": {"labelled": label},
                        "fold": f"fold{fold}",
                    }
                    row |= {"seed": seed, "shared": shared, "key": "0", "test_accuracy": total, "people": counts}
                    row |= {"updates": (updates or {}).get(run, 800), "updates_warm_start": 0}
                    data = {"labelled": 2 if label == "2" else 6 + fold, "unlabelled": 0, "channels": 3}
                    entries.append(Entry("row", {"data": "0"}, row, data))
    head = {"study": study, "baselines": ["kd", "scratch"], "titles": {"kd": "Soft targets"}}
    head["teachers"] = {"kd": ["teacher_raw"], "tpkd": ["teacher_raw", "teacher_pi"]}
    write_rows(path, head, entries)
    return path


def right(rng, base):
    correct = int(rng.binomial(WINDOWS, base))
    return {"windows": WINDOWS, "correct": correct, "hits": [correct], "support": [WINDOWS], "predicted": [WINDOWS]}


def frame_of(path):
    rows = [entry.row for entry in read_rows(path).entries.values()]
    return pd.DataFrame(
        [
            {
                **{k: row[k] for k in ("run", "fold", "seed")},
                **row["labels"],
                "person": who,
                "a": c["correct"] / WINDOWS,
            }
            for row in rows
            for who, c in row["people"].items()
        ]
    )


def test_lead_and_gain_equal_a_calculation_with_pandas(tmp_path):
    path = write(tmp_path / "rows.jsonl")
    means = frame_of(path).groupby(["labelled", "run", "person"]).a.mean()
    points = points_of(read_rows(path))
    assert [(p.run, p.labels["labelled"]) for p in points] == [(r, n) for r in ("kd", "tpkd") for n in ("2", "all")]
    for point in points:
        of = means[point.labels["labelled"]]
        teachers = (of["teacher_raw"] + of["teacher_pi"]) / 2 if point.run == "tpkd" else of["teacher_raw"]
        lead, gain = teachers - of["scratch"], of[point.run] - of["scratch"]
        assert point.control == f"scratch (labelled={point.labels['labelled']})"  # not kd, which has a teacher
        assert list(point.each) == [f"p{i}" for i in range(12)]
        found = pd.DataFrame(point.each, index=["lead", "gain"]).T
        np.testing.assert_allclose(found["lead"], lead[found.index], atol=1e-12)
        np.testing.assert_allclose(found["gain"], gain[found.index], atol=1e-12)
        assert point.lead.mean == pytest.approx(lead.mean())
        assert point.gain.mean == pytest.approx(gain.mean())
        assert point.gain.low < point.gain.mean < point.gain.high
        assert len(point.gain.people) == 12
        assert point.data == {
            "labelled": (2, 2) if point.labels["labelled"] == "2" else (6, 8),
            "unlabelled": (0, 0),
            "channels": (3, 3),
        }


def test_over_folds(tmp_path):
    path = write(tmp_path / "rows.jsonl", labels=("all",))
    means = frame_of(path).groupby(["run", "fold"]).a.mean()
    for point in points_of(read_rows(path), unit="folds"):
        teachers = means["teacher_raw"]
        teachers = (teachers + means["teacher_pi"]) / 2 if point.run == "tpkd" else teachers
        for fold, (lead, gain) in point.each.items():
            assert lead == pytest.approx(teachers[fold] - means["scratch"][fold])
            assert gain == pytest.approx(means[point.run][fold] - means["scratch"][fold])
        assert point.gain.units == 3


def test_controls_have_as_many_updates_and_are_chosen(tmp_path):
    path = write(tmp_path / "rows.jsonl", updates={"tpkd": 1600})
    assert {point.run for point in points_of(read_rows(path))} == {"kd"}  # no control is as long as tpkd
    assert points_of(read_rows(path), control="kd", students=["tpkd"]) == []
    found = points_of(read_rows(write(path)), control="kd", students=["tpkd"])
    assert [point.control for point in found] == ["kd (labelled=2)", "kd (labelled=all)"]
    for options in ({"control": "scratchy"}, {"students": ["at"]}):
        with pytest.raises(InputError, match=r"toy/a: no run '.*' in its rows; there are kd, scratch"):
            points_of(read_rows(path), **options)


def test_missing_rows_leave_out_their_people_alone(tmp_path):
    path = write(tmp_path / "rows.jsonl", labels=("all",), leave=("teacher_pi[labelled=all]/fold1/shared",))
    by_run = {point.run: point for point in points_of(read_rows(path))}
    assert len(by_run["kd"].each) == 12
    assert sorted(by_run["tpkd"].each) == sorted(f"p{i}" for i in (0, 1, 2, 3, 8, 9, 10, 11))


def test_teachers_of_which_some_are_shared(tmp_path):
    one = [{"fold": "a", "seed": 0, "shared": True, "stage": "teacher", "test_accuracy": 0.5}]
    two = [
        {"fold": "a", "seed": s, "shared": False, "stage": "teacher", "test_accuracy": v}
        for s, v in ((0, 0.9), (1, 0.7))
    ]
    for several in ([one, two], [two, one]):
        (row,) = merged(several)
        assert row["test_accuracy"] == pytest.approx((0.5 + 0.8) / 2)
        assert row["shared"]
    assert [row["test_accuracy"] for row in merged([two, two])] == pytest.approx([0.9, 0.7])


def test_files_of_several_studies_give_figures_and_tables(tmp_path, monkeypatch, capsys):
    paths = [write(tmp_path / "a.jsonl"), write(tmp_path / "b.jsonl", study="toy/other", labels=("all",))]
    words = [*map(str, paths), "--out", str(tmp_path / "out"), "--formats", "png", "svg", "pdf"]
    rows_figures.main(words)
    assert "6 students" in capsys.readouterr().out
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    stems = [f"{stem}.{end}" for stem in ("gain_gap", "differences") for end in ("csv", "png", "svg", "pdf")]
    assert sorted(files) == sorted(stems)
    table = pd.read_csv(
        tmp_path / "out/gain_gap.csv", keep_default_na=False, na_values={"lead": [""]}, float_precision="round_trip"
    )
    means = table[table.person == ""]
    assert len(means) == 6
    assert len(table) == 6 + 6 * 12
    assert list(means.study.unique()) == ["toy/a", "toy/other"]
    assert list(means.labelled) == ["2", "6 to 8"] * 2 + ["6 to 8"] * 2
    for point, (_, line) in zip(points_of(read_rows(paths[0])), means.iterrows(), strict=False):
        assert float(line.gain) == point.gain.mean
        assert float(line.lead_high) == point.lead.high
    differences = pd.read_csv(tmp_path / "out/differences.csv", float_precision="round_trip")
    assert list(differences.people) == [12] * 6
    assert differences.p.between(0, 1).all()
    rows_figures.main([*words[:-2], "--over", "folds"])
    assert (tmp_path / "out/gain_gap.csv").read_text().splitlines()[0].split(",")[8] == "fold"


def test_the_figure_shows_every_student_and_person(tmp_path):
    points = points_of(read_rows(write(tmp_path / "rows.jsonl")))
    figure = plot_gain_gap(points)
    (axes,) = figure.axes
    small = [part for part in axes.collections if isinstance(part, PathCollection)]
    shown = np.concatenate([np.asarray(part.get_offsets()) for part in small])
    expected = [(100 * lead, 100 * gain) for point in points for lead, gain in point.each.values()]
    assert len(shown) == len(expected) == 48
    distances = np.abs(shown[:, None] - np.array(expected)[None]).sum(2)
    assert max(distances.min(0).max(), distances.min(1).max()) < 1e-9
    assert [text.get_text() for text in axes.texts] == ["2", "all"] * 2
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["Soft targets", "tpkd"]


def test_rows_without_people_and_files_without_students_are_refused(tmp_path):
    path = write(tmp_path / "rows.jsonl")
    rows = read_rows(path)
    for entry in rows.entries.values():
        entry.row["people"] = {}
    write_rows(tmp_path / "none.jsonl", rows.head, rows.entries.values())
    with pytest.raises(InputError, match=r"must count windows by person, but do not\. Write --over folds\."):
        points_of(read_rows(tmp_path / "none.jsonl"))
    assert points_of(read_rows(tmp_path / "none.jsonl"), unit="folds")
    write_rows(path, rows.head, [entry for entry in rows.entries.values() if entry.row["stage"] == "scratch"])
    with pytest.raises(InputError, match="rows: must hold a student, its teachers and a control"):
        rows_figures.main([str(path), "--out", str(tmp_path), "--over", "folds"])


def test_a_refusal_is_one_line_and_a_status(tmp_path):
    words = [sys.executable, "-m", "kdlab.study.rows_figures", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "rows.jsonl" in ended.stderr.splitlines()[-1]
