"""A study while it runs: lines, progress, budgets, tables so far, notes; and lists that are read in part."""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks.long.small_study import write_study
from kdlab import cli
from kdlab.study import progress
from kdlab.study.command import LOCK, main
from kdlab.study.conditions import conditions
from kdlab.study.course import LEFT, Course
from kdlab.study.locks import alone
from kdlab.study.plan import Study
from kdlab.study.planned import plan
from kdlab.study.report import write_report
from kdlab.study.results import identity
from kdlab.study.run import run_jobs
from kdlab.study.starved import remedy
from kdlab.study.weak_teachers import weak_teachers
from kdlab.types import InputError
from tests.conftest import PATIENCE, REPOSITORY
from tests.test_study import toy, write_row

CLOSED = """
import os, sys
import kdlab.lightning_cli, kdlab.study.command  # once, in place of in each child
reader, writer = os.pipe()
os.close(reader)
for words in eval(sys.argv[1]):
    if (child := os.fork()) == 0:
        os.dup2(writer, 1)
        from kdlab import cli
        sys.argv = ["kdlab", *words]
        cli.main()
        sys.exit(0)
    print(words[0], os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=sys.stderr, flush=True)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------------- lists
def test_lists_that_are_read_in_part_end_quietly(here):
    """The reader is gone before the first line, as in ``kdlab study FILE --list | head -0``."""
    write_study(here)
    config = str(REPOSITORY / "experiments/sp_sw_har/tpkd.yaml")
    commands = [["study", "study.yaml", "--list"], ["study", "study.yaml", "--dry-run"], ["--help"]]
    commands += [["cite", "--config", config], ["nets", "--only", "wrn16-1", "--runs", "1", "--ndim", "1"]]
    done = subprocess.run(
        [sys.executable, "-c", CLOSED, repr(commands)],
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("measuring ", "stage "))]
    assert lines == [f"{words[0]} 141" for words in commands]


# ---------------------------------------------------------------------- metrics.csv
def test_metrics_have_rows_of_complete_epochs_alone(here):
    write_study(here, seeds=1, epochs=3)
    words = [
        *("fit", "--config", "supervised.yaml", "--data.init_args.train_per_class=5", "--data.init_args.batch_size=4"),
        *("--trainer.max_epochs=9", "--trainer.num_sanity_val_steps=-1", "--trainer.enable_progress_bar=false"),
    ]
    line = cli.run([*words, "--run", "a/b", "--trainer.max_steps=12"])
    assert len(line.datamodule.train_dataloader()) == 5  # the third epoch has two steps
    rows = rows_of(Path("runs/a/b/version_0/metrics.csv"))
    assert {row["epoch"] for row in rows if row["train/loss"]} == {"0", "1"}
    assert {row["epoch"] for row in rows if not row["train/loss_step"]} == {"0", "1"}  # single steps have rows, too
    cli.run([*words, "--run", "a/short", "--trainer.max_steps=2"])
    rows = rows_of(Path("runs/a/short/version_0/metrics.csv"))
    assert [row["step"] for row in rows if not row["train/loss_step"]] == ["1"]


# ---------------------------------------------------------------------- the order, and what fits into the hours
def planned_jobs(folder, folds=("fold1", "fold2"), **more):
    study = Study.read(toy(folder, **more))
    return study, study.jobs(folder / "runs", {fold: [fold] for fold in folds}, lambda config: "data")


def made_up(job):
    """A finished job, whose numbers follow from its name."""
    row = write_row(job)
    share = int(hashlib.sha256(job.name.encode()).hexdigest()[:6], 16) / 16**6
    row |= {"val_accuracy": share, "test_accuracy": 0.9 * share, "updates": 400, "seconds": 100.0}
    job.result.write_text(json.dumps(row))
    return row


def test_all_jobs_of_a_fold_come_before_those_of_the_next(tmp_path):
    _, jobs = planned_jobs(tmp_path)
    names = list(jobs)
    assert names[:5] == [f"{run}/fold1/{seed}" for run, seed in RUNS]
    assert names[5:] == [f"{run}/fold2/{seed}" for run, seed in RUNS]
    for i, name in enumerate(names):
        assert set(jobs[name].needs) <= set(names[:i])


RUNS = [("teacher", "shared"), ("scratch", "seed0"), ("scratch", "seed1"), ("kd", "seed0"), ("kd", "seed1")]


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_the_rest_is_estimated_from_finished_jobs_of_the_kind(tmp_path):
    _, jobs = planned_jobs(tmp_path)
    clock, lines = Clock(), []
    course = Course(jobs, {}, processes=2, clock=clock, say=lines.append)
    assert course.seconds_left() is None
    assert course.begin(jobs["teacher/fold1/shared"])
    assert lines == ["teacher/fold1/shared: begins, 1 of 10; no estimate before the first job has ended"]
    course.end(jobs["teacher/fold1/shared"], {**identity(jobs["teacher/fold1/shared"]), "seconds": 600.0})
    assert course.seconds_left() == 9 * 600 / 2  # nothing else is known
    for seed, seconds in ((0, 60.0), (1, 120.0)):
        name = f"scratch/fold1/seed{seed}"
        assert course.begin(jobs[name])
        course.end(jobs[name], {**identity(jobs[name]), "seconds": seconds})
    guessed = (600 + 60 + 120) / 3  # of kd: the mean of all
    assert course.seconds_left() == (600 + 2 * 90 + 4 * guessed) / 2
    assert course.begin(jobs["kd/fold1/seed0"])
    clock.now += 100  # of the job that runs
    assert course.seconds_left() == (600 + 2 * 90 + 4 * guessed - 100) / 2
    assert lines[-1] == "kd/fold1/seed0: begins, 4 of 10; about 15 min left, 4 jobs of it guessed from other runs"
    course.end(jobs["kd/fold1/seed0"], None)  # it failed, and is not tried again
    assert course.seconds_left() == (600 + 2 * 90 + 3 * guessed) / 2


def test_no_job_begins_that_would_not_end_in_time(tmp_path):
    _, jobs = planned_jobs(tmp_path)
    clock = Clock()
    course = Course(jobs, {}, hours=1, clock=clock, say=lambda line: None, started=-600.0)  # ends at 3000
    teacher, scratch, kd = (jobs[f"{run}/fold1/{seed}"] for run, seed in RUNS if seed != "seed1")
    assert course.begin(teacher)  # nothing is known of it
    clock.now = 2000.0
    course.end(teacher, {**identity(teacher), "seconds": 2000.0})
    assert not course.begin(jobs["teacher/fold2/shared"])
    assert not course.begin(scratch)  # guessed from the teacher
    later = Course(
        jobs, {scratch.name: {**identity(scratch), "seconds": 900.0}}, hours=1, clock=clock, say=print, started=-600.0
    )
    assert later.begin(jobs["scratch/fold1/seed1"])
    clock.now = 2100.1
    assert not later.begin(jobs["scratch/fold2/seed0"])
    clock.now = 3000.0
    assert not Course(jobs, {}, hours=1, clock=clock, say=print, started=-600.0).begin(kd)  # nothing known, no time


def test_hours_are_for_a_study_that_runs(here):
    toy(here)
    for word in (["--list"], ["--dry-run"], ["--report"], ["--only", "teacher/shared"]):
        with pytest.raises(InputError, match="--hours: must be given without"):
            main(["study.yaml", "--hours", "2", *word], None, cli.check)
    with pytest.raises(InputError, match=r"^--hours: must be a positive number of hours, but got -1"):
        main(["study.yaml", "--hours", "-1"], None, cli.check)


@pytest.mark.parametrize("value", [0, -1, True, "2 h", float("inf"), float("nan")])
def test_wrong_hours_are_refused(value, tmp_path):
    with pytest.raises(InputError, match=r"budget: hours must be a positive number of hours"):
        Study.read(toy(tmp_path, budget={"hours": value}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 2}, "budget must be {hours"),
        ({"budget": {"days": 1}}, "budget must be {hours"),
        ({"measure": "latency"}, "measure must be a list of robustness, embeddings, latency"),
        ({"measure": ["speed"]}, "measure must be a list"),
    ],
)
def test_wrong_keys_are_refused(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        Study.read(toy(tmp_path, **changes))


def test_a_study_that_is_out_of_time_says_what_is_left_and_is_completed_later(here, monkeypatch, capsys):
    toy(here, seeds=3)
    clock = Clock()

    def run_job(job, runner):
        clock.now += 100
        return made_up(job)

    monkeypatch.setattr("kdlab.study.job.run_job", run_job)
    monkeypatch.setattr("kdlab.study.command.time.perf_counter", clock)
    results = here / "runs/toy/study"
    with pytest.raises(SystemExit) as end:
        main(["study.yaml", "--hours", str(450 / 3600)], None, cli.check)
    assert end.value.code == LEFT
    printed = capsys.readouterr()
    assert "teacher/shared: begins, 1 of 7; no estimate" in printed.out
    assert "scratch/seed2: begins, 4 of 7; about 7 min left" in printed.out
    assert "4 jobs run, 0 were done before, 0 failed, 3 left" in printed.out
    assert printed.err.strip().splitlines()[-1].startswith("3 of 7 jobs are left (about 5 min left")
    text = (results / "results.md").read_text()
    assert "**Not complete: 3 of 7 jobs have no result.**" in text
    assert "| kd | 0 of 3 | all |" in text
    before = {name: (results / name).read_bytes() for name in ("results.csv", "results.md")}
    main(["study.yaml", "--report"], None, cli.check)  # reads the same
    assert {name: (results / name).read_bytes() for name in before} == before

    main(["study.yaml"], None, cli.check)
    text = (results / "results.md").read_text()
    assert "Not complete" not in text
    assert " of 3 |" not in text
    completed = {name: (results / name).read_bytes() for name in before}
    main(["study.yaml", "--root", "other"], None, cli.check)
    assert {name: (here / "other/toy/study" / name).read_bytes() for name in before} == completed


def test_tables_do_not_depend_on_the_order_of_the_jobs(here, monkeypatch):
    np.savez("own.npz", x=np.zeros((48, 2, 16), np.float32), y=np.arange(48) % 4, subject=np.arange(48) // 6)
    data = {"class_path": "ArrayDataModule", "init_args": {"path": "own.npz", "batch_size": 4}}
    toy(here, folds=3, set={"all": {"data": data}})
    monkeypatch.setattr("kdlab.study.job.run_job", lambda job, runner: made_up(job))
    main(["study.yaml"], None, lambda words: None)
    monkeypatch.setattr("kdlab.study.plan.fold_first", lambda jobs, folds: jobs)
    main(["study.yaml", "--root", "other"], None, lambda words: None)
    for name in ("results.csv", "results.md"):
        assert (here / "runs/toy/study" / name).read_bytes() == (here / "other/toy/study" / name).read_bytes()


def test_results_that_no_longer_count_are_told_with_the_reason(here, monkeypatch, capsys):
    """Data or settings that changed since the last report; not where all is done, or nothing ever was."""
    np.savez("own.npz", x=np.zeros((48, 2, 16), np.float32), y=np.arange(48) % 4, subject=np.arange(48) // 6)
    data = {"class_path": "ArrayDataModule", "init_args": {"path": "own.npz", "batch_size": 4}}
    toy(here, folds=2, set={"all": {"data": data}})
    monkeypatch.setattr("kdlab.study.job.run_job", lambda job, runner: made_up(job))
    main(["study.yaml"], None, lambda words: None)
    assert "no longer counts" not in capsys.readouterr().out
    toy(here, folds=2, set={"all": {"data": data}, "students": {"trainer.max_epochs": 3}})
    main(["study.yaml", "--report"], None, lambda words: None)
    assert "note: 4 jobs had a result that no longer counts: its settings differ" in capsys.readouterr().out
    np.savez("own.npz", x=np.random.default_rng(0).random((48, 2, 16)), y=np.arange(48) % 4, subject=np.arange(48) // 6)
    main(["study.yaml", "--dry-run"], None, lambda words: None)
    told = capsys.readouterr().out
    assert told.count("no longer counts") == 1
    assert "its data (windows, labels, split or scaling) differ" in told


def test_the_report_is_logged_when_no_job_is_left_for_the_next_time(here, monkeypatch):
    np.savez("own.npz", x=np.zeros((48, 2, 16), np.float32), y=np.arange(48) % 4, subject=np.arange(48) // 6)
    data = {"class_path": "ArrayDataModule", "init_args": {"path": "own.npz", "batch_size": 4}}
    toy(here, folds=2, set={"all": {"data": data}})
    monkeypatch.setattr("kdlab.study.job.run_job", lambda job, runner: made_up(job))
    monkeypatch.setattr("kdlab.study.results_files.wandb_of", lambda jobs: {"init_args": {}})
    logged = []
    monkeypatch.setattr("kdlab.study.results_files.log_report", lambda *a: logged.append(len(a[3])) or True)
    _, jobs = plan(Study.read("study.yaml"), Path("runs"))
    made_up(next(iter(jobs.values())))  # a row to report
    with pytest.raises(SystemExit):
        main(["study.yaml", "--hours", "1e-9"], None, lambda words: None)
    assert (here / "runs/toy/study/results.csv").is_file()
    assert not logged
    main(["study.yaml"], None, lambda words: None)
    assert logged == [10]


def test_tables_of_a_study_that_runs_mark_what_is_missing(here, monkeypatch, capsys):
    np.savez("own.npz", x=np.zeros((48, 2, 16), np.float32), y=np.arange(48) % 4, subject=np.arange(48) // 6)
    data = {"class_path": "ArrayDataModule", "init_args": {"path": "own.npz", "batch_size": 4}}
    toy(here, folds=3, set={"all": {"data": data}})
    main(["study.yaml", "--report"], None, cli.check)
    assert "no job of toy/study is done yet" in capsys.readouterr().out
    assert not (here / "runs").exists()
    _, jobs = plan(Study.read("study.yaml"), Path("runs"))
    for name in list(jobs)[:8]:
        made_up(jobs[name])
    with alone_in(here / "runs/toy/study"):  # another process runs it
        main(["study.yaml", "--report"], None, cli.check)
    text = (here / "runs/toy/study/results.md").read_text()
    assert "**Not complete: 7 of 15 jobs have no result.**" in text
    lines = text[text.index("## Not complete") :].splitlines()
    assert lines[4:7] == [
        "| teacher | 2 of 3 | fold3 |",
        "| scratch | 4 of 6 | fold3 |",
        "| kd | 2 of 6 | fold2; fold3 |",
    ]
    row = next(line for line in text.splitlines() if line.startswith("| scratch | raw"))
    assert "| 4 of 6 | 400 |" in row
    made_up(jobs["kd/fold2/seed1"])
    main(["study.yaml", "--report"], None, cli.check)
    assert "| kd | 3 of 6 | fold2 seed 0; fold3 |" in (here / "runs/toy/study/results.md").read_text()
    toy(here, folds=3, set={"all": {"data": data, "trainer.max_epochs": 3}})
    text = (here / "runs/toy/study/results.md").read_text()
    capsys.readouterr()
    main(["study.yaml", "--report"], None, cli.check)
    said = "so no tables are written, and those that are there, which are of others, stay. Run kdlab study study.yaml."
    assert said in capsys.readouterr().out
    assert (here / "runs/toy/study/results.md").read_text() == text


def alone_in(folder):
    return alone(folder / LOCK, str(folder), "study")


# ---------------------------------------------------------------------- jobs that are left
def test_a_job_that_is_left_is_no_failure(tmp_path, monkeypatch):
    _, jobs = planned_jobs(tmp_path, folds=("",))
    fails = {"scratch/seed0"}

    def run_job(job, runner):
        if job.name in fails:
            raise ValueError("exploded")
        return made_up(job)

    monkeypatch.setattr("kdlab.study.job.run_job", run_job)
    outcome = run_jobs(jobs, None, begin=lambda job: job.run != "teacher")
    assert outcome.left == ["teacher/shared", "kd/seed0", "kd/seed1"]
    assert list(outcome.failures) == ["scratch/seed0"]
    assert outcome.ran == ["scratch/seed1"]


# ---------------------------------------------------------------------- notes
def test_teachers_below_their_students_are_named(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    level = {"good": 0.9, "bad": 0.5, "scratch": 0.7, "kd": 0.8, "other": 0.6}
    stages = {"good": "teacher", "bad": "teacher", "scratch": "scratch", "kd": "student", "other": "student"}
    for run, stage in stages.items():
        for fold in ("fold1", "fold2", "fold3")[: 2 if run == "bad" else 3]:
            for seed in range(1 if stage == "teacher" else 2 + (fold == "fold2")):
                about = {"run": run, "stage": stage, "labels": {}, "fold": fold, "seed": seed, "view": "raw"}
                value = level[run] + float(rng.uniform(-0.05, 0.05))
                rows.append({**about, "val_accuracy": value, "test_accuracy": value})
    teachers = {"kd": ["good", "bad"], "other": ["good"]}
    frame = pd.DataFrame(rows).groupby(["run", "fold"])["val_accuracy"].mean().unstack(0)
    expected = {}
    for other in ("scratch", "kd"):  # `other` does not learn from the bad one
        both = frame[["bad", other]].dropna()
        expected["bad", other] = tuple(both.mean())
    found = {weak.pair: (weak.low, weak.high) for weak in weak_teachers(conditions(rows), teachers)}
    assert found.keys() == expected.keys()
    for pair, means in expected.items():
        assert found[pair] == pytest.approx(means, abs=1e-12)
    text = write_report(rows, [], tmp_path, name="notes", draw=False, teachers=teachers).read_text()
    low, high = expected["bad", "scratch"]
    assert f"- bad is below scratch: validation accuracy {100 * low:.1f} % against {100 * high:.1f} %." in text
    assert "good is below" not in text
    assert "below" not in write_report(rows, [], tmp_path, name="notes", draw=False).read_text()


def test_a_teacher_is_compared_along_its_own_labels():
    def row(run, stage, value, **labels):
        return {"run": run, "stage": stage, "labels": labels, "fold": "", "seed": 0, "val_accuracy": value}

    rows = [
        row("teacher", "teacher", 0.5, size="1"),
        row("teacher", "teacher", 0.9, size="2"),
        row("kd", "student", 0.4, size="1", noise="a"),
        row("kd", "student", 0.6, size="1", noise="b"),
        row("kd", "student", 0.8, size="2", noise="a"),
    ]
    found = [weak.pair for weak in weak_teachers(conditions(rows), {"kd": ["teacher"]})]
    assert found == [("teacher (size=1)", "kd (size=1, noise=b)")]


def test_the_log_names_a_weak_teacher_once(tmp_path):
    _, jobs = planned_jobs(tmp_path, folds=("",))
    lines = []
    course = Course(jobs, {}, teachers={"kd": ["teacher"]}, say=lines.append)

    def end(name, value):
        course.end(jobs[name], {**identity(jobs[name]), "val_accuracy": value})

    for name, value in (("teacher/shared", 0.5), ("scratch/seed0", 0.6), ("scratch/seed1", 0.7)):
        end(name, value)
    assert lines == []  # nothing is taught before a student is there
    end("kd/seed0", 0.4)
    end("kd/seed1", 0.65)
    assert lines == [
        "warning: so far, teacher is below scratch: validation accuracy 50.0 % against 65.0 %",
        "warning: so far, teacher is below kd: validation accuracy 50.0 % against 52.5 %",
    ]


def test_updates_and_unlabelled_windows_are_in_the_tables(tmp_path):
    def row(run, stage, seed, **more):
        about = {"run": run, "stage": stage, "labels": {}, "fold": "", "seed": seed, "view": "raw"}
        return {**about, "test_accuracy": 0.5, **more}

    rows = [row("scratch", "scratch", seed, updates=120 + seed) for seed in range(2)]
    rows += [row("kd", "student", 0, updates=4000, unlabelled=1500), row("old", "student", 0)]
    text = write_report(rows, [], tmp_path, name="updates", draw=False).read_text()
    table = text[text.index("## Results") : text.index("How to read")].splitlines()
    lines = {line.split(" | ")[0][2:]: line.split(" | ") for line in table if line.startswith("| ")}
    place = {title: lines["run"].index(title) for title in ("updates", "unlabelled windows")}
    found = {run: tuple(lines[run][i].strip(" |") for i in place.values()) for run in ("scratch", "kd", "old")}
    assert found == {"scratch": ("120 to 121", "0"), "kd": ("4,000", "1,500"), "old": ("–", "0")}
    few = text[text.index("## Few updates") :]
    assert "- scratch: 120 to 121 updates." in few
    assert "- kd" not in few
    table = {row["run"]: row for row in rows_of(tmp_path / "results.csv")}
    assert {run: (row["updates"], row["unlabelled"]) for run, row in table.items()} == {
        "scratch": ("121", "0"),
        "kd": ("4000", "1500"),
        "old": ("", "0"),
    }
    text = write_report(rows[:2], [], tmp_path, name="updates", draw=False).read_text()
    assert "unlabelled" not in text + (tmp_path / "results.csv").read_text()


# ---------------------------------------------------------------------- a small study
def test_a_job_tells_how_far_it_is_and_is_measured_as_the_study_says(here, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    progress._warned.clear()
    write_study(here, seeds=1, epochs=2)
    main(["study.yaml"], cli.run, cli.check)
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert "\r" not in printed.out + printed.err
    assert "kd/seed0: begins, 3 of 3; about" in printed.out
    first, *_, last = [line for line in lines if line.startswith("kd/seed0: epoch")]
    assert first == "kd/seed0: epoch 1 of 2, update 1"
    assert re.fullmatch(r"kd/seed0: epoch 2 of 2, update 2, validation \d+\.\d %", last)
    warnings = [line for line in lines if line.startswith("warning: scratch: ")]
    assert warnings == ["warning: scratch: " + remedy(2, 2, -1, 8)]
    results = here / "runs/toy/study"
    (row,) = (row for row in rows_of(results / "results.csv") if row["run"] == "kd")
    assert row["updates"] == "2"
    assert not [name for name in row if "noise" in name or "v_measure" in name]
    assert not (results / "embeddings.png").exists()
    assert "latency_ms" not in (results / "times.csv").read_text()
    for path in results.rglob("metrics.csv"):
        assert {row["epoch"] for row in rows_of(path)} <= {"", "0", "1"}, path
    trained = {path: path.stat().st_mtime_ns for path in results.rglob("*.ckpt")}

    content = yaml.safe_load((here / "study.yaml").read_text())
    (here / "study.yaml").write_text(yaml.safe_dump({**content, "measure": ["embeddings", "robustness", "latency"]}))
    main(["study.yaml"], cli.run, cli.check)
    (more,) = (row for row in rows_of(results / "results.csv") if row["run"] == "kd")
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*.ckpt")} == trained  # nothing is trained again
    assert {key: more[key] for key in row} == row
    assert more["test_accuracy_noise3"]
    assert more["test_v_measure"]
    assert (results / "embeddings.png").is_file()
    assert "latency_ms" in (results / "times.csv").read_text()
