"""Tuned studies on a cluster: whole rounds are given out beforehand, and find what one process finds."""

import os
import random
import re
from pathlib import Path

import pytest

from kdlab import cli
from kdlab.study import job as jobs
from kdlab.study import report
from kdlab.study.command import main
from kdlab.study.plan import Study
from kdlab.study.tuning import command as tuning
from kdlab.study.tuning.ahead import jobs_ahead
from kdlab.study.tuning.run import look_up, read_settings
from kdlab.types import InputError
from tests.test_cluster import Cut, Inline, here, scripts_of, stands, words_of  # noqa: F401
from tests.test_tuning import made_up
from tests.tuned import TUNE, write_tuned

pytest.importorskip("optuna", reason="the extra tune is not installed")


@pytest.fixture(autouse=True)
def quick(here, monkeypatch):  # noqa: F811
    """Tables without figures, which other tests draw."""
    monkeypatch.setattr(report, "_draw", lambda *arguments: [])


SMALL = {"people": ["5", "6", "7", "8"]}  # who are tuned on and never tested
FILES = ("results.csv", "tuning/trials.csv", "tuning/space.yaml", "tuning/tuned.yaml")


def no_check(words):
    """Configs are read in other tests."""


def study(*words):
    main(["study.yaml", *words], None, no_check)


def written(root):
    return {name: Path(root, "toy/tuned", name).read_bytes() for name in FILES}


@pytest.mark.parametrize(
    "changes",
    [
        {"tune": {"trials": 3, "round": 2, "own": {**TUNE["own"], "teacher": {"model.lr": [0.1, 0.2, 0.3]}}}},
        {
            "students": {"kd": {"config": "student.yaml", "teachers": {"raw": "teacher"}, "init": "scratch"}},
            "tune": {"trials": 3, "round": 2, "on": ["scratch"], "people": "fold"},
        },
        {
            "students": {"kd": {"config": "student.yaml", "teachers": {"raw": "scratch"}}},
            "tune": {"trials": 3, "round": 2, "on": ["scratch", "kd"]},
        },
    ],
)
def test_the_names_of_all_jobs_are_known_beforehand(here, changes):  # noqa: F811
    """They, and what comes before each, are those of the plan that grows with the results."""
    settings = read_settings(Study.read(write_tuned(here, **changes)), Path("runs"))
    ahead, last = jobs_ahead(settings.tuning)
    rows, place = {}, {name: number for number, name in enumerate(ahead)}
    while new := {n: job for n, job in settings.tuning.plan(rows).jobs.items() if n not in rows}:
        for name, job in new.items():
            assert set(ahead[name].needs) == set(job.needs)
            assert set(ahead[name].after) <= set(rows)
            assert all(place[other] < place[name] for other in (*ahead[name].needs, *ahead[name].after))
            measured = {"state": "complete", "val_accuracy": random.Random(job.key).random(), "points": []}
            rows[name] = {**measured, "updates": 1, "seconds": 1.0}
    assert set(rows) == set(ahead)
    assert set(last) <= set(ahead)
    assert settings.tuning.complete(settings.tuning.plan(rows))


def test_rounds_are_arrays_and_find_what_one_process_finds(here, stands, monkeypatch, capsys):  # noqa: F811
    """The elements of an array run in any order, each by its command alone, and arrays as early as they may."""
    write_tuned(here, tune=SMALL)
    ran = made_up(monkeypatch)
    study("--root", "other", "--jobs", "1")
    count = len(ran)
    study("--submit", "slurm")
    assert len(ran) == count
    scripts, folder = scripts_of(stands), here / "runs/toy/tuned/cluster"
    names = {number: re.search(r"--job-name=(.*)", (stands / f"{number}.sh").read_text())[1] for number in scripts}
    stages = {name.removeprefix("toy/tuned/") for name in names.values()}
    rounds = {f"tune-{stage}-{turn}" for stage in ("common", "own") for turn in (1, 2)}
    assert stages >= {"tune-teachers", "teachers", "scratch", "students", "report", *rounds}
    after = {n: set((scripts[n].get("dependency") or "afterany").split(":")) - {"afterany"} for n in scripts}
    assert after[max(scripts)] == set(scripts) - {max(scripts)}
    ran.clear()
    order, done = random.Random(0), set()
    while able := [number for number in scripts if number not in done and after[number] <= done]:
        number = max(able)  # what was submitted last comes first, as far as it may
        elements = words_of(folder, number)
        order.shuffle(elements)
        for words in elements:
            main(words[1:], None, no_check)
        done.add(number)
    assert done == set(scripts)
    assert len(ran) == len(set(ran)) == count
    assert written("runs") == written("other")
    capsys.readouterr()
    study("--list")
    assert capsys.readouterr().out == ""


def test_local_trials_that_are_cut_or_fail(here, monkeypatch, capsys):  # noqa: F811
    write_tuned(here, tune=SMALL)
    made_up(monkeypatch)
    study("--root", "other")
    cut, fit = [], jobs._run_job

    def once(job, runner, before=0.0):
        if "common1" in job.name and job.name not in cut:
            cut.append(job.name)
            raise Cut
        if "own0" in job.name and not Path("mended").exists():
            raise ValueError("exploded")
        return fit(job, runner, before)

    monkeypatch.setattr(jobs, "_run_job", once)
    Inline.begin(monkeypatch, None, no_check)
    with pytest.raises(InputError, match=r"^tune: every trial must have a result, but \d have none.*own0: no result"):
        study("--submit", "local")
    assert cut
    assert not [name for name in Inline.ran if "own1" in name or not name.startswith("tune:")]
    Path("mended").touch()
    Inline.begin(monkeypatch, None, no_check)
    capsys.readouterr()
    study("--submit", "local")
    assert "own0" in Inline.ran[0]
    assert written("runs") == written("other")


def test_what_follows_from_trials_is_told(here, monkeypatch):  # noqa: F811
    write_tuned(here, tune=SMALL)
    made_up(monkeypatch)
    for name in ("tune:kd/people/seed0/own1", "kd/fold1/seed0"):
        with pytest.raises(InputError, match=rf"^--only: the settings of {name} follow from trials, of which tune:"):
            study("--only", name)
    with pytest.raises(InputError, match="no job 'tune:kd/people/seed0/own9'"):
        study("--only", "tune:kd/people/seed0/own9")
    settings = read_settings(Study.read("study.yaml"), Path("runs"))
    first = next(iter(look_up(settings)[0].jobs))
    with pytest.raises(InputError, match=rf"^--key: {first} must be what it was when it was given out, k1, but is \w+"):
        study("--only", first, "--key", "k1")


def test_a_study_in_the_queue_is_not_tuned_beside_it(here, stands, monkeypatch):  # noqa: F811
    write_tuned(here, tune=SMALL)
    made_up(monkeypatch)
    study("--submit", "slurm")
    (stands / "queue.txt").write_text("101\n")
    with pytest.raises(InputError, match=r"^tune: no job of the study must be in SLURM's queue, but got 101\."):
        tuning.main(["study.yaml"], cli.run, no_check)
    assert os.environ["SLURM_STANDS"] == str(stands)
