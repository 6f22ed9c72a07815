"""Studies that go on from committed rows: what is taken, what is made again, what is refused."""

import json
import random
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kdlab import cli
from kdlab.study import command, report
from kdlab.study import job as jobs
from kdlab.study.only import run_only
from kdlab.study.people import macro_f1
from kdlab.study.plan import Study
from kdlab.study.planned import plan
from kdlab.study.results import check_row, identity, survey
from kdlab.study.resume import changes
from kdlab.study.rows_file import read_rows, write_rows
from kdlab.study.tuning import command as tuning
from kdlab.study.tuning.rows import check_trial
from kdlab.types import InputError
from tests.tuned import write_tuned

TABLES = ("results.md", "results.csv", "results.tex", "means.csv", "people.csv", "classes.csv")
DRAW = report._draw
PLAIN = {"tune": {"none": True}, "seeds": 2}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "_draw", lambda *arguments: [])
    return tmp_path


def made_up(monkeypatch, fails=(), salt=""):
    """Fits that train nothing: what a job measures is a function of its key."""
    ran = []

    def fit(job, runner, before=0.0):
        ran.append(job.name)
        if job.name in fails:
            raise ValueError("exploded")
        rng = random.Random(job.key + salt)
        row = {**identity(job), "sources": "0", "view": "raw", "seconds": float(len(ran))}
        if job.trial:
            points = sorted(rng.random() for _ in range(3))
            measured = {"state": "complete", "val_accuracy": points[-1], "points": points, "pruned_at": None}
            return {**row, **measured, "updates": 10}
        tested = job.config["data"]["init_args"].get("test_subjects", ["1", "2"])
        people = {str(person): counts(rng) for person in tested}
        support = [sum(c["support"][k] for c in people.values()) for k in range(3)]
        hits = [sum(c["hits"][k] for c in people.values()) for k in range(3)]
        shares = {name: rng.random() for name in ("val_accuracy", "val_f1", "test_ece")}
        classes = {"names": ["0", "1", "2"], "hits": hits, "support": support, "predicted": support}
        return {
            **row,
            **shares,
            "reliability": {"confidence": [None, rng.random()], "accuracy": [None, 0.5], "count": [0, sum(support)]},
            "test_accuracy": sum(hits) / sum(support),
            "test_f1": macro_f1(classes),
            "test_nll": float("inf") if job.name.startswith("scratch/fold1") else rng.random(),
            "latency_ms": rng.random(),
            **{"test_windows": sum(support), "best_epoch": 1, "parameters": 9, "macs": 9, "updates": 40},
            "test_subjects": sorted(people),
            "classes": classes,
            "people": people,
        }

    monkeypatch.setattr("kdlab.study.job._run_job", fit)
    return ran


def counts(rng):
    hits = [rng.randrange(3, 7) for _ in range(3)]
    return {"windows": 18, "correct": sum(hits), "hits": hits, "support": [6, 6, 6], "predicted": [6, 6, 6]}


def study(*words):
    try:
        command.main(["study.yaml", *words], cli.run, lambda words: None)
    except SystemExit as error:
        return error.code
    return 0


def tables(root="runs"):
    return {name: (root_of(root) / name).read_bytes() for name in TABLES}


def root_of(root="runs"):
    return Path(root, "toy/tuned")


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def job_of(value):
    return value["job"] if "job" in value else value["row"]["job"]


def without(path, out, left):
    """A copy of a file of rows without those that ``left`` accepts."""
    kept = [
        line
        for line in path.read_text().splitlines(keepends=True)
        if json.loads(line)["kind"] == "head" or not left(job_of(json.loads(line)))
    ]
    out.write_text("".join(kept))
    return out


# ---------------------------------------------------------------------- the file
def test_equal_results_have_equal_lines_but_for_times(here, monkeypatch):
    write_tuned(here, **PLAIN)
    made_up(monkeypatch)
    assert study() == 0
    first = (root_of() / "rows.jsonl").read_text()
    shutil.rmtree("runs")
    made_up(monkeypatch, fails=["kd/fold1/seed0"])
    study()
    made_up(monkeypatch)
    assert study() == 0
    second = (root_of() / "rows.jsonl").read_text()
    same = [[line for line in text.splitlines() if '"kind":"times"' not in line] for text in (first, second)]
    assert same[0] == same[1]
    assert first != second
    kinds = [line["kind"] for line in lines_of(root_of() / "rows.jsonl")]
    assert kinds == ["head"] + ["row"] * 10 + ["times"] * 10
    assert str(here) not in first
    assert len(first.encode()) < 20_000
    rows = lines_of(root_of() / "rows.jsonl")[1:11]
    assert {tuple(line["data"].items()) for line in rows} == {(("channels", 2), ("labelled", 2), ("unlabelled", 0))}
    assert [line["row"]["job"] for line in rows[:2]] == [
        "teacher/fold1/shared",
        "scratch/fold1/seed0",
    ]


def test_a_file_is_read_as_it_was_written(here, monkeypatch):
    write_tuned(here, **PLAIN)
    made_up(monkeypatch)
    study()
    path = root_of() / "rows.jsonl"
    rows = read_rows(path)
    assert any(entry.row["test_nll"] == float("inf") for entry in rows.entries.values())
    assert all(entry.row["seconds"] > 0 for entry in rows.entries.values())
    write_rows(here / "again.jsonl", rows.head, rows.entries.values())
    assert (here / "again.jsonl").read_bytes() == path.read_bytes()


# ---------------------------------------------------------------------- going on
def test_tables_and_figures_are_made_again_from_rows_alone(here, monkeypatch, capsys):
    monkeypatch.setattr(report, "_draw", DRAW)
    write_tuned(here, compare=[["kd", "scratch"]], columns=["test_accuracy", "latency_ms", "over_people"], **PLAIN)
    made_up(monkeypatch)
    assert study() == 0
    rows, before = here / "rows.jsonl", tables()
    rows.write_bytes((root_of() / "rows.jsonl").read_bytes())
    figures = {path.name: path.read_bytes() for path in root_of().glob("*.png")}
    assert {"people.png", "differences.png", "reliability.png", "pairs.png"} <= set(figures)
    shutil.rmtree("runs")
    monkeypatch.setattr("kdlab.study.job._run_job", None)
    assert study("--report", "--resume-from", "rows.jsonl") == 0
    assert tables() == before
    assert {path.name: path.read_bytes() for path in root_of().glob("*.png")} == figures
    assert (root_of() / "rows.jsonl").read_bytes() == rows.read_bytes()
    assert "rows.jsonl: 10 of 10 rows taken\n" in capsys.readouterr().out
    assert study("--report") == 0  # they are kept: the file is needed once
    assert tables() == before
    assert "10 were here already" not in capsys.readouterr().out
    study("--report", "--resume-from", "rows.jsonl")
    assert "0 of 10 rows taken, 10 were here already" in capsys.readouterr().out
    assert study("--report", "--resume-from", "rows.jsonl", "--root", "elsewhere/runs") == 0  # keys know no folder
    assert "rows.jsonl: 10 of 10 rows taken\n" in capsys.readouterr().out
    assert (root_of("elsewhere/runs") / "rows.jsonl").read_bytes() == rows.read_bytes()


def test_a_teacher_is_made_again_only_where_a_job_that_is_left_needs_it(here, monkeypatch, capsys):
    write_tuned(here, **PLAIN)
    made_up(monkeypatch)
    study()
    before = tables()
    some = without(root_of() / "rows.jsonl", here / "some.jsonl", lambda job: job == "kd/fold2/seed1")
    rows = without(some, here / "rows.jsonl", lambda job: job.startswith("scratch/fold1"))
    shutil.rmtree("runs")
    ran = made_up(monkeypatch)
    assert study("--dry-run", "--resume-from", str(rows)) == 0
    assert "note: teacher/fold2/shared is made again" in capsys.readouterr().out
    assert not ran
    assert not list(here.rglob("result.json"))
    assert study("--resume-from", str(rows)) == 0
    assert ran == ["scratch/fold1/seed0", "scratch/fold1/seed1", "teacher/fold2/shared", "kd/fold2/seed1"]
    out = capsys.readouterr().out
    assert "teacher/fold2/shared: made again for its weights, equal to the row it had" in out
    assert "7 of 7 rows taken" in out
    assert tables() == before
    study()
    assert len(ran) == 4


def test_a_teacher_that_differs_is_told_and_one_that_fails_loses_no_row(here, monkeypatch, capsys):
    write_tuned(here, **PLAIN)
    made_up(monkeypatch)
    study()
    rows = without(root_of() / "rows.jsonl", here / "rows.jsonl", lambda job: job == "kd/fold2/seed1")
    shutil.rmtree("runs")
    teacher = "teacher/fold2/shared"
    made_up(monkeypatch, fails=[teacher])
    study("--resume-from", str(rows))
    assert len(lines_of(root_of() / "rows.jsonl")) == 1 + 2 * 9
    made_up(monkeypatch, salt="another machine")
    assert study() == 0
    told = f"warning: {teacher}: made again for its weights, and differs from the row it had: classes, reliability, "
    assert told in capsys.readouterr().out
    study("--report", "--resume-from", str(rows))
    out = capsys.readouterr().out
    assert "not taken, the row that is here counts, and has another classes, reliability" in out
    assert teacher in next(line for line in out.splitlines() if "has another" in line)


def test_only_and_list_know_what_is_here_without_weights(here, monkeypatch, capsys):
    write_tuned(here, **PLAIN)
    made_up(monkeypatch)
    study()
    rows = without(root_of() / "rows.jsonl", here / "rows.jsonl", lambda job: job == "kd/fold2/seed1")
    shutil.rmtree("runs")
    ran = made_up(monkeypatch)
    capsys.readouterr()
    study("--list", "--resume-from", str(rows))
    listed = [line.split(" --only ")[1] for line in capsys.readouterr().out.splitlines()]
    assert listed == ["teacher/fold2/shared", "kd/fold2/seed1"]
    with pytest.raises(InputError, match=r"^--only: kd/fold2/seed1 needs teacher/fold2/shared first\.$"):
        study("--only", "kd/fold2/seed1")
    study("--only", "teacher/fold2/shared")
    assert "made again for its weights, equal" in capsys.readouterr().out
    study("--only", "teacher/fold2/shared", "--only", "kd/fold2/seed1")
    assert ran == ["teacher/fold2/shared", "kd/fold2/seed1"]
    jobs = plan(Study.read("study.yaml"), here / "runs")[1]
    assert not {"teacher/fold2/shared", "kd/fold2/seed1"} & survey(jobs).bare
    run_only(jobs, ["scratch/fold1/seed0", "scratch/fold1/seed1"], cli.run, lambda *a: None)
    assert ran[2:] == ["scratch/fold1/seed0", "scratch/fold1/seed1"]  # they were here without weights


def test_trials_are_taken_round_by_round(here, monkeypatch, capsys):
    pytest.importorskip("optuna", reason="the extra tune is not installed")
    write_tuned(here)
    ran = made_up(monkeypatch)
    assert study() == 0
    names, before = list(ran), tables()
    files = ("trials.csv", "tuned.yaml", "space.yaml", "times.csv")
    found = {name: (root_of() / "tuning" / name).read_bytes() for name in files}
    rows = here / "rows.jsonl"
    rows.write_bytes((root_of() / "rows.jsonl").read_bytes())
    shutil.rmtree("runs")
    ran = made_up(monkeypatch)
    assert study("--resume-from", str(rows)) == 0
    assert not ran
    assert tables() == before
    assert {name: (root_of() / "tuning" / name).read_bytes() for name in files} == found
    assert (root_of() / "rows.jsonl").read_bytes() == rows.read_bytes()
    assert "not taken" not in capsys.readouterr().out

    shutil.rmtree("runs")
    last = [name for name in names if name.startswith("tune:kd") and "own1" in name]
    without(rows, here / "fewer.jsonl", lambda job: job in last or not job.startswith("tune:"))
    assert study("--report", "--resume-from", "fewer.jsonl") == 0
    kept = [line["row"]["job"] for line in lines_of(root_of() / "rows.jsonl") if line["kind"] == "trial"]
    assert kept
    assert not set(kept) & set(last)
    assert study("--resume-from", "fewer.jsonl") == 0
    again = [name for name in ran if name.startswith("tune:")]
    needed = [name for name in again if name.startswith("tune:teacher")]
    assert sorted(again) == sorted([*last, *needed])
    assert len(needed) == len(last) == 2  # of each half: the trial that is left, and its teacher
    assert tables() == before

    shutil.rmtree("runs")
    ran = made_up(monkeypatch)
    tuning.main(["study.yaml", "--resume-from", str(rows)], cli.run, lambda words: None)
    assert not ran
    kinds = [line["kind"] for line in lines_of(root_of() / "rows.jsonl")]
    assert kinds.count("trial") == sum(name.startswith("tune:") for name in names)


# ---------------------------------------------------------------------- what is refused
def test_rows_of_other_settings_or_data_are_refused_by_name(here, monkeypatch, capsys):
    write_tuned(here, **PLAIN)
    made_up(monkeypatch)
    study()
    rows = here / "rows.jsonl"
    rows.write_bytes((root_of() / "rows.jsonl").read_bytes())
    shutil.rmtree("runs")
    write_tuned(here, set={"scratch": {"trainer.max_epochs": 3}, "teachers": {"data.init_args.batch_size": 4}}, **PLAIN)
    capsys.readouterr()
    study("--dry-run", "--resume-from", str(rows))
    out = capsys.readouterr().out
    assert "0 of 10 rows taken" in out
    refused = [line for line in out.splitlines() if line.startswith("not taken")]
    assert (
        refused
        == [
            "not taken, its settings, its data (windows, labels, split or scaling) differ: "
            "teacher/fold1/shared, teacher/fold2/shared",
            "not taken, its settings differ: " + ", ".join(f"scratch/fold{f}/seed{s}" for f in (1, 2) for s in (0, 1)),
            "not taken, its teachers or its warm start differ: "
            + ", ".join(f"kd/fold{f}/seed{s}" for f in (1, 2) for s in (0, 1)),
        ]
        or "its data" not in out
    )
    write_tuned(here, seeds=1, measure=["robustness"], tune={"none": True})
    study("--dry-run", "--resume-from", str(rows))
    out = capsys.readouterr().out
    assert "not taken, the study measures robustness, which it has not: teacher/fold1/shared" in out
    assert "not taken, not a job of this study as it is: scratch/fold1/seed1" in out
    monkeypatch.setattr("kdlab.study.plan.__version__", "9.9")
    write_tuned(here, **PLAIN)
    study("--dry-run", "--resume-from", str(rows))
    assert "not taken, the version of kdlab differs: teacher/fold1/shared" in capsys.readouterr().out


def test_a_cut_last_line_is_left_out_and_told(here, monkeypatch, capsys):
    write_tuned(here, **PLAIN)
    made_up(monkeypatch)
    study()
    text = (root_of() / "rows.jsonl").read_text()
    shutil.rmtree("runs")
    lines = text.splitlines(keepends=True)
    rows = here / "rows.jsonl"
    rows.write_text("".join(lines[:5]) + lines[5][:100])
    capsys.readouterr()
    study("--report", "--resume-from", "rows.jsonl")
    out = capsys.readouterr().out
    assert "4 of 4 rows taken\nits last line, 6, is cut and left out\n4 rows have no times in it" in out
    rows.write_text(text.rstrip("\n"))  # complete, as some editors leave it
    assert not read_rows(rows).cut


def spoil(lines, number, change):
    value = json.loads(lines[number])
    change(value)
    lines[number] = json.dumps(value) + "\n"


HOSTILE = {
    "not JSON": (lambda x: x.__setitem__(3, "{\n"), "line 4: must be one JSON object, but is not"),
    "blank": (lambda x: x.insert(2, "\n"), "line 3: must be one JSON object"),
    "cut in the middle": (lambda x: x.__setitem__(3, x[3][:50] + "\n"), "line 4: must be one JSON object"),
    "cut at the end": (lambda x: x.__setitem__(-1, x[-1][:20] + "\n"), r"line 21: must be one JSON object"),
    "deep": (lambda x: x.__setitem__(2, "[" * 100_000 + "\n"), "line 3: must be one JSON object"),
    "nested": (lambda x: x.__setitem__(2, "[" * 90 + "]" * 90 + "\n"), "line 3: must be nested at most 64"),
    "NaN": (lambda x: x.__setitem__(2, '{"kind":NaN}\n'), "line 3: must be one JSON object.*NaN is no number"),
    "huge number": (lambda x: x.__setitem__(2, "9" * 10_000 + "\n"), "line 3: must be one JSON object"),
    "twice in a line": (lambda x: x.__setitem__(2, '{"kind":1,"kind":2}\n'), "line 3: .*a key stands twice"),
    "no object": (lambda x: x.__setitem__(2, "[1]\n"), "line 3: kind must be row, trial or times, but got None"),
    "unknown kind": (lambda x: spoil(x, 2, lambda v: v.update(kind="code")), "line 3: kind must be .*got 'code'"),
    "unknown key": (
        lambda x: spoil(x, 2, lambda v: v.update(odd=1)),
        "line 3: a row must have data, digests, kind, row, but",
    ),
    "no head": (lambda x: x.pop(0), "line 1: kind must be head, but got 'row'"),
    "two heads": (lambda x: x.append(x[0]), "line 22: kind must be row, trial or times, but got 'head'"),
    "later format": (lambda x: spoil(x, 0, lambda v: v.update(format=2)), "line 1: format must be 1, but got 2"),
    "odd head": (lambda x: spoil(x, 0, lambda v: v.update(teachers=[1])), "line 1: study must be a name"),
    "a row twice": (lambda x: x.insert(3, x[2]), "line 4: .* must stand once, but line 3 has it"),
    "no seed": (lambda x: spoil(x, 2, lambda v: v["row"].pop("seed")), "line 3: row must name its job"),
    "odd labels": (lambda x: spoil(x, 2, lambda v: v["row"].update(labels={"a": 1})), "line 3: labels must be words"),
    "odd digests": (lambda x: spoil(x, 2, lambda v: v.update(digests=[])), "line 3: digests must be words"),
    "odd data": (lambda x: spoil(x, 2, lambda v: v.update(data={"labelled": -1})), "line 3: data must be numbers of"),
    "odd number": (
        lambda x: spoil(x, 2, lambda v: v["row"].update({"not finite": {"x": "1"}})),
        "line 3: x must be inf",
    ),
    "times of no row": (lambda x: x.pop(2), "times must be of a row above"),
    "odd times": (lambda x: spoil(x, 12, lambda v: v.update(times={"seconds": "1"})), "line 13: times must be numbers"),
    "empty": (lambda x: x.clear(), "must begin with a line of kind head, but it is empty"),
}


@pytest.fixture(scope="module")
def good_lines(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_tuned(folder, **PLAIN)
        made_up(patch)
        study()
        return (root_of() / "rows.jsonl").read_text().splitlines(keepends=True)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_with_their_line(tmp_path, good_lines, name):
    change, message = HOSTILE[name]
    lines = list(good_lines)
    change(lines)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(lines))
    with pytest.raises(InputError, match=message):
        read_rows(path)


def test_damaged_rows_are_not_taken(here, monkeypatch, capsys):
    write_tuned(here, **PLAIN)
    made_up(monkeypatch)
    study()
    lines = (root_of() / "rows.jsonl").read_text().splitlines(keepends=True)
    shutil.rmtree("runs")
    spoil(lines, 1, lambda v: v.update(kind="trial"))
    spoil(lines, 2, lambda v: v["row"].update(test_accuracy=1.5))
    spoil(lines, 3, lambda v: v["row"]["people"].update(a=1))
    spoil(lines, 4, lambda v: v["digests"].update(data="0"))
    (here / "rows.jsonl").write_text("".join(lines))
    capsys.readouterr()
    study("--dry-run", "--resume-from", "rows.jsonl")
    out = capsys.readouterr().out
    assert "6 of 10 rows taken" in out
    assert "line 3: test_accuracy must be a number from 0 to 1, but got 1.5. It is damaged.: scratch/fold1/seed0" in out
    assert "people: a must be counts of windows by class" in out
    assert "not taken, its key and its digests contradict each other" in out
    assert "not taken, it is a trial: teacher/fold1/shared" in out


WRONG = {
    "word for updates": (lambda row: row.update(updates="many"), "updates must be a number of at least 0"),
    "word for a warm start": (lambda row: row.update(updates_warm_start="x"), "updates_warm_start must be a number"),
    "word for people": (lambda row: row.update(unlabelled="x"), "unlabelled must be a number"),
    "word for a corruption": (lambda row: row.update(test_accuracy_noise3="bad"), "test_accuracy_noise3 must be a num"),
    "number for a word": (lambda row: row.update(selection=1), "selection must be a word"),
    "truth value": (lambda row: row.update(updates=True), "updates must be a number"),
    "half a parameter": (lambda row: row.update(parameters=8.5), "parameters must be an integer, but got 8.5"),
    "negative bin": (lambda row: row["reliability"].update(count=[-2, 38]), "reliability: count must be numbers of wi"),
    "bins of others": (lambda row: row["reliability"].update(count=[0, 90]), "reliability: count must be"),
    "accuracy": (lambda row: row.update(test_accuracy=0.999), "hits / support of classes, but got 0.999"),
    "f1": (lambda row: row.update(test_f1=0.999), "of the counts of classes, but got 0.999"),
    "windows": (lambda row: row.update(test_windows=7), "the support of classes, but got 7"),
    "a person more": (lambda row: row["test_subjects"].append("x"), "people must be those of test_subjects, but x is"),
    "classes": (
        lambda row: row["people"]["1"].update(support=[5, 7, 6], predicted=[7, 6, 5], hits=[1, 1, 1], correct=3),
        "classes: hits of 0 must be",
    ),
    "updates": (lambda row: row.update(updates=41), "updates must be 40, of its job, but got 41"),
    "fewer updates": (lambda row: row.update(updates=39), "updates must be 40, of its job, but got 39"),
    "warm start": (lambda row: row.update(updates_warm_start=9), "updates_warm_start must be 0, of its job, but got 9"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_row_whose_values_contradict_each_other_is_refused(here, measured, name):
    job, row = measured
    change, message = WRONG[name]
    check_row(row, job, "line 2")
    wrong = json.loads(json.dumps(row))
    change(wrong)
    with pytest.raises(InputError, match=f"line 2: {re.escape(message)}|line 2: .*{re.escape(message)}"):
        check_row(wrong, job, "line 2")


@pytest.fixture
def measured(here, monkeypatch):
    """A job of 40 updates and its row."""
    write_tuned(here, **PLAIN, folds=[["1", "2"]])
    made_up(monkeypatch)
    job = list(plan(Study.read("study.yaml"), here / "runs")[1].values())[-1]
    job = replace(job, updates=40, config={**job.config, "trainer": {"callbacks": ["UpdateBudget"]}})
    return job, jobs._run_job(job, None)


def test_rows_without_counts_names_or_budgets_agree(measured):
    """Those of earlier versions, of many labels per window, of people who are unknown, of fits that a callback ends."""
    job, row = measured
    check_row({k: v for k, v in row.items() if k not in ("classes", "people")} | {"test_map": float("nan")}, job, "row")
    check_row(row | {"test_v_measure": float("nan")}, job, "row")
    check_row({k: v for k, v in row.items() if k not in ("test_subjects", "updates")}, job, "row")
    check_row({**row, "people": {}, "test_subjects": [""]}, job, "row")
    check_row({**row, "test_accuracy": float(np.float32(row["test_accuracy"]))}, job, "row")
    check_row({**row, "updates": 3}, replace(job, config={"trainer": {"callbacks": ["EarlyStopping"]}}), "row")
    check_row({**row, "updates": 3}, replace(job, updates=None), "row")


def test_committed_rows_agree():
    """Each with the updates that its own row tells, since the data of its job may not be here."""
    for path in sorted(Path(__file__).parents[1].glob("experiments/*/results/*.jsonl")):
        for entry in read_rows(path).entries.values():
            row = {"seconds": 0.0, **entry.row}
            trial = "trial" if entry.kind == "trial" else ""
            check_row(row, SimpleNamespace(trial=trial, key=row["key"], updates=None), f"{path}: {entry.line}")


def test_a_trial_with_a_word_for_a_number_is_refused():
    row = {"state": "complete", "val_accuracy": 0.5, "points": [], "seconds": 1.0, "updates": 10, "sources": "0"}
    row |= {"key": "k", "shared": False, "labels": {}, "val_loss": float("inf"), "pruned_at": None, "data": "d"}
    check_trial(row, "k", "line 2")
    for name in ("val_f1", "val_loss", "best_epoch"):
        with pytest.raises(InputError, match=f"line 2: {name} must be what a trial writes, but got 'x'"):
            check_trial({**row, name: "x"}, "k", "line 2")


def test_a_file_of_another_study_is_refused(here, monkeypatch):
    write_tuned(here, **PLAIN)
    made_up(monkeypatch)
    study()
    (root_of() / "rows.jsonl").replace(here / "rows.jsonl")
    write_tuned(here, study="toy/other", **PLAIN)
    with pytest.raises(InputError, match="must be of toy/other, but is of 'toy/tuned'"):
        study("--resume-from", "rows.jsonl")


# ---------------------------------------------------------------------- people
def test_hashed_people_are_named_nowhere_in_the_file(here, monkeypatch):
    monkeypatch.setenv("KDLAB_SALT", "a salt of a laboratory")
    write_tuned(here, people="hashed", folds="leave_one_subject_out", seeds=1, tune={"none": True})
    ran = made_up(monkeypatch)
    monkeypatch.setattr("kdlab.study.job._run_job", hashing(ran))
    study()
    before, path = tables(), root_of() / "rows.jsonl"
    for line in lines_of(path)[1:]:
        if line["kind"] == "row":
            assert all(len(name) > 10 for name in (*line["row"]["people"], *line["row"]["test_subjects"]))
            assert line["row"]["fold"].startswith("subject-h")
            assert line["row"]["fold"] in line["row"]["job"]
    path.replace(here / "rows.jsonl")
    shutil.rmtree("runs")
    monkeypatch.setattr("kdlab.study.job._run_job", None)
    study("--report", "--resume-from", "rows.jsonl")
    assert tables() == before


def hashing(ran):
    """Fits as those of the study, which hash the people of a row themselves."""
    from kdlab.study.people import with_pseudonyms

    fit = jobs._run_job
    return lambda job, runner, before=0.0: with_pseudonyms(fit(job, runner), job.hashed_for)


def test_changes_are_named():
    row = {"test_accuracy": 0.5, "reliability": {"count": [1]}, "seconds": 1.0, "sources": "a"}
    assert changes(row, {**row, "seconds": 2.0, "sources": "b"}) == ""
    assert changes(row, {**row, "reliability": {"count": [2]}, "view": "pi"}) == "reliability, view (pi, not None)"
    assert changes(row, {str(i): i for i in range(9)}).endswith("and 7 more")


def test_again_is_no_part_of_a_name(here):
    write_tuned(here, **PLAIN)
    job = next(iter(plan(Study.read("study.yaml"), here / "runs")[1].values()))
    again = replace(job, again=True)
    assert (again.name, again.key, again.result) == (job.name, job.key, job.result)


# ---------------------------------------------------------------------- with nets that are trained
def test_weights_that_are_made_again_are_the_same(here, capsys):
    write_tuned(here, seeds=1, folds=[[1, 2]], tune={"none": True})
    command.main(["study.yaml"], cli.run, cli.check)
    before = tables()
    rows = without(root_of() / "rows.jsonl", here / "rows.jsonl", lambda job: job == "kd/fold1/seed0")
    shutil.rmtree("runs")
    capsys.readouterr()
    command.main(["study.yaml", "--resume-from", str(rows)], cli.run, cli.check)
    out = capsys.readouterr().out
    assert "teacher/fold1/shared: made again for its weights, equal to the row it had" in out
    assert "2 jobs run, 2 were done before, 0 failed" in out
    assert tables() == before
