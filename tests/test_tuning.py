"""Tuning of a study: rounds that no order of ends changes, people who are kept apart, and what is refused."""

import csv
import json
import math
import os
import random
import re
import signal
import time
import uuid
from dataclasses import replace
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import yaml

import kdlab
from benchmarks.long.small_study import marked, start
from benchmarks.long.tuned_kills import FILES, results
from kdlab import cli
from kdlab.configs import read_config
from kdlab.data import ArrayDataModule
from kdlab.files import part_prefix
from kdlab.methods.finite import DivergedError
from kdlab.study import command, report
from kdlab.study.job import run_job
from kdlab.study.plan import Study
from kdlab.study.planned import plan
from kdlab.study.results import Survey, identity, read_row
from kdlab.study.rows_file import read_rows
from kdlab.study.run import Outcome, run_jobs
from kdlab.study.tuning import command as tune_command
from kdlab.study.tuning import run as running
from kdlab.study.tuning.checks import check_space
from kdlab.study.tuning.declared import read_tune
from kdlab.study.tuning.near_ends import near_ends
from kdlab.study.tuning.people import plan_people
from kdlab.study.tuning.pruning import MedianPruning
from kdlab.study.tuning.run import find, look_up, read_settings
from kdlab.study.tuning.space import Choice, Range, full_name, read_space, size_of
from kdlab.study.tuning.steps import Planned
from kdlab.study.tuning.suggest import Finished, best_of, medians, suggest
from kdlab.study.windows import fingerprint, make_data
from kdlab.types import InputError
from tests.conftest import PATIENCE, net, trainer
from tests.test_study import write_row
from tests.tuned import PEOPLE, TUNE, write_tuned

optuna = pytest.importorskip("optuna", reason="the extra tune is not installed")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings_of(folder, **changes):
    study = Study.read(write_tuned(folder, **changes))
    return study, read_settings(study, folder / "runs")


# ---------------------------------------------------------------------- a tuning whose fits are made up
class Interrupted(BaseException):
    pass


def made_up(monkeypatch, stop_after=None, diverges=(), shuffle=None):
    """Fits that train nothing: what they measure is a function of their key. They may end in any order."""
    ran = []

    def fit(job, runner, before=0.0):
        if stop_after is not None and len(ran) == stop_after:
            raise Interrupted
        ran.append(job.name)
        if job.trial and any(part in job.name for part in diverges):
            raise DivergedError(f"{job.name}: loss must be finite, but got nan. Lower lr.")
        if not job.trial:
            return write_row(job)
        rng = random.Random(job.key)
        points = sorted(rng.random() for _ in range(3))
        callbacks = [c for c in job.config["trainer"].get("callbacks", []) if c["class_path"].endswith("MedianPruning")]
        limits = callbacks[0]["init_args"].get("medians") if callbacks else None
        behind = [i for i, limit in enumerate(limits or []) if limit is not None and points[i] < limit]
        points = [p if not behind or i <= behind[0] else None for i, p in enumerate(points)]
        reached = [p for p in points if p is not None]
        measured = {"state": "pruned" if behind else "complete", "val_accuracy": reached[-1], "points": points}
        more = {"updates": 10, "pruned_at": 0.5 if behind else None, "seconds": round(rng.random(), 1)}
        return {**identity(job), "sources": "0", **measured, **more}

    def in_some_order(jobs, runner, *, processes, report, found, more, threads=None):
        """As several processes end their jobs: any that can begin comes next."""
        done, outcome = dict(found.rows), Outcome()
        left = {name: job for name, job in jobs.items() if name not in done}
        while left:
            able = [name for name, job in left.items() if set(job.needs) <= set(done)]
            name = shuffle.choice(able)
            alone = replace(left.pop(name), needs=())  # they are done
            one = run_jobs({name: alone}, runner, report=report, found=Survey())
            done |= {row["job"]: row for row in one.rows}
            outcome = Outcome(list(done.values()), one.failures)
            left |= {name: job for name, job in more(outcome).items() if name not in done}
        return outcome

    monkeypatch.setattr("kdlab.study.job._run_job", fit)
    if shuffle is not None:
        monkeypatch.setattr(running, "run_jobs", in_some_order)
    else:
        monkeypatch.setattr(running, "run_jobs", run_jobs)
    return ran


LARGER = {"trials": 6, "round": 2, "prune_from": 2}


def files_of(folder, tuned=False):
    names = ["trials.csv", "space.yaml", *(["tuned.yaml"] if tuned else [])]
    return [(folder / "runs/toy/tuned/tuning" / name).read_bytes() for name in names]


def found_in(folder, monkeypatch, **how):
    """A complete tuning of made-up fits; the settings that it finds, and its files."""
    ran = made_up(monkeypatch, **how)
    _, settings = settings_of(folder, tune=LARGER)
    find(settings, None, folder / "runs/toy/tuned", command="kdlab tune study.yaml")
    return settings, files_of(folder, tuned=True), ran


def table_of(folder):
    with (folder / "runs/toy/tuned/tuning/trials.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def without_folder(files, folder):
    return [content.replace(str(folder).encode(), b"") for content in files]


def test_on_needs_no_quotes(tmp_path):
    """YAML 1.1 reads an unquoted ``on`` as true."""
    file = write_tuned(tmp_path, tune={"on": ["kd"]})
    text = file.read_text()
    assert "'on':" in text
    file.write_text(text.replace("'on':", "on:"))
    assert read_tune(Study.read(file)).on == ("kd",)


def test_neither_kills_nor_the_order_of_ends_change_what_is_found(tmp_path, monkeypatch):
    settings, whole, ran = found_in(tmp_path / "whole", monkeypatch)
    assert len(ran) == len(set(ran)) == 2 + 2 * 6 * (2 + 1 + 1)  # two teachers; two halves of three searches
    # the key of a job holds the path of its data, so each way runs in the same folder
    for seed in range(2):
        (tmp_path / "whole/runs").rename(tmp_path / f"before{seed}")
        rng, stops = random.Random(seed), 0
        while True:
            made_up(monkeypatch, stop_after=rng.randrange(5, 16), shuffle=rng)
            _, again = settings_of(tmp_path / "whole", tune=LARGER)
            try:
                find(again, None, tmp_path / "whole/runs/toy/tuned", command="kdlab tune study.yaml")
                break
            except Interrupted:
                stops += 1
        assert stops >= 3
        assert files_of(tmp_path / "whole", tuned=True) == whole
        assert again.tuned == settings.tuned


def test_every_row_has_the_same_number_of_trials(tmp_path, monkeypatch):
    found_in(tmp_path, monkeypatch)
    table = table_of(tmp_path)
    assert {(line["people"], line["row"]) for line in table} == {
        (half, row) for half in ("half_a", "half_b") for row in ("common", "scratch", "kd")
    }
    for half in ("half_a", "half_b"):
        for row in ("common", "scratch", "kd"):
            mine = [line for line in table if (line["people"], line["row"]) == (half, row)]
            assert [int(line["trial"]) for line in mine] == list(range(6))
            assert [int(line["round"]) for line in mine] == [0, 0, 1, 1, 2, 2]
    assert "seconds" not in table[0]
    times = (tmp_path / "runs/toy/tuned/tuning/times.csv").read_text().splitlines()
    assert len(times) == len(table) + 1


def test_a_trial_is_compared_with_the_medians_of_earlier_rounds(tmp_path, monkeypatch):
    """The medians in the config of every trial against numpy's, from the rows on disk."""
    settings, _, _ = found_in(tmp_path, monkeypatch)
    planned, survey = look_up(settings)
    compared = pruned = 0
    for name in settings.tuning.steps:
        for number in range(6):
            for job in settings.tuning._trials[name, number].jobs:
                given = job.config["trainer"]["callbacks"][-1]["init_args"].get("medians")
                earlier = [trial for trial in planned.finished[name] if trial.number < number - number % 2]
                curves = [trial.points[job.run] for trial in earlier if trial.state == "complete"]
                if len(curves) < 2:
                    assert given is None
                    continue
                np.testing.assert_allclose(given, np.median(np.array(curves), axis=0), rtol=0, atol=1e-12)
                compared += 1
                pruned += survey.rows[job.name]["state"] == "pruned"
    assert compared > 10
    assert 0 < pruned < compared
    for name, best in planned.chosen.items():
        complete = [trial for trial in planned.finished[name] if trial.state == "complete"]
        assert best.value == max(trial.value for trial in complete)


def test_callbacks_that_a_study_or_a_space_adds_stay_beside_pruning(tmp_path, monkeypatch):
    """In trials, in the jobs that use the settings, and in the file of a part that a config includes."""
    made_up(monkeypatch)
    added = {"trainer.callbacks+": [{"class_path": "Timer"}]}
    own = {"scratch": {"model.lr": [0.1]}, "kd": {"trainer.callbacks+": [[{"class_path": "LearningRateMonitor"}]]}}
    study, settings = settings_of(tmp_path, set={"all": added}, tune={"common": {}, "own": own, "trials": 1})

    def callbacks(job):
        return [one["class_path"].rpartition(".")[2] for one in job.config["trainer"]["callbacks"]]

    trials = [job for job in look_up(settings)[0].jobs.values() if job.run == "kd"]
    assert {tuple(callbacks(job)) for job in trials} == {("Timer", "LearningRateMonitor", "MedianPruning")}
    find(settings, None, tmp_path / "runs/toy/tuned", command="kdlab tune study.yaml")
    _, jobs = plan(study, tmp_path / "runs", settings)
    assert callbacks(jobs["kd/fold1/seed0"]) == ["Timer", "LearningRateMonitor"]
    part = yaml.safe_load((tmp_path / "runs/toy/tuned/tuning/half_a/kd.yaml").read_text())
    assert part == {"trainer": {"callbacks+": [{"class_path": "LearningRateMonitor"}]}}


def test_a_round_is_suggested_before_any_of_it_is_done(tmp_path, monkeypatch):
    made_up(monkeypatch)
    _, settings = settings_of(tmp_path, tune=LARGER)
    tuning = settings.tuning
    first = tuning.plan({})
    assert (
        len([job for job in first.jobs.values() if job.trial != "needed"]) == 2 * 2 * 2
    )  # halves, round, scratch and KD
    assert not first.finished["half_a/common/common"]
    trials = [tuning._trials["half_a/common/common", k].values for k in range(2)]
    outcome = run_jobs({n: j for n, j in first.jobs.items() if not n.endswith("common1")}, None)
    rows = {row["job"]: row for row in outcome.rows}
    fresh = read_settings(tuning.study, tmp_path / "runs").tuning
    assert list(fresh.plan(rows).jobs) == list(first.jobs)  # the round is not complete
    assert [fresh._trials["half_a/common/common", k].values for k in range(2)] == trials
    assert len(fresh.plan(rows).finished["half_a/common/common"]) == 1


def test_a_fit_that_diverges_is_a_failed_trial_at_chance_level(tmp_path, monkeypatch):
    settings, _, _ = found_in(tmp_path, monkeypatch, diverges=["scratch/half_a/seed0/own3", "kd/half_b/seed0/common0"])
    table = table_of(tmp_path)
    failed = [line for line in table if line["state"] == "failed"]
    assert [(f["people"], f["row"], f["trial"]) for f in failed] == [
        ("half_a", "scratch", "3"),
        ("half_b", "common", "0"),
    ]
    assert all(float(line["val_accuracy"]) == pytest.approx(1 / 3) for line in failed)
    planned, _ = look_up(settings)
    assert planned.chosen["half_a/own/scratch"].number != 3
    ran = found_in(tmp_path, monkeypatch)[2]
    assert not ran  # what failed is kept, and not tried again
    assert table_of(tmp_path) == table


def test_where_all_trials_diverge_nothing_is_chosen(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"common: at least one of 6 trials must come to its end .* Narrow its space"):
        found_in(tmp_path, monkeypatch, diverges=["/common"])


def test_another_failure_ends_the_tuning_and_counts_as_no_trial(tmp_path, monkeypatch):
    made_up(monkeypatch)

    def breaking(job, runner, before=0.0):
        raise OSError("no space left on device")

    _, settings = settings_of(tmp_path, tune=LARGER)
    monkeypatch.setattr("kdlab.study.job._run_job", breaking)
    with pytest.raises(InputError, match=r"tune: \d+ of 10 fits have no result, .*no space left.*run the same command"):
        find(settings, None, tmp_path / "runs/toy/tuned", command="")
    assert table_of(tmp_path) == []


def test_optuna_reads_the_journal(tmp_path, monkeypatch):
    settings, _, _ = found_in(tmp_path, monkeypatch, diverges=["kd/half_a/seed0/own2"])
    path = tmp_path / "runs/toy/tuned/tuning/journal.log"
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    names = optuna.study.get_all_study_names(storage)
    assert sorted(names) == sorted(f"toy/tuned/{name}" for name in settings.tuning.steps)
    planned, _ = look_up(settings)
    for name in settings.tuning.steps:
        study = optuna.load_study(study_name=f"toy/tuned/{name}", storage=storage)
        trials = planned.finished[name]
        assert [trial.state.name.lower()[:4] for trial in study.trials] == [trial.state[:4] for trial in trials]
        assert [trial.value for trial in study.trials if trial.state.name == "COMPLETE"] == [
            trial.value for trial in trials if trial.state == "complete"
        ]
        assert all(set(trial.params) == set(known.values) for trial, known in zip(study.trials, trials, strict=True))
        assert study.best_value == planned.chosen[name].value
    dead = path.parent / f"{part_prefix().rpartition('-')[0].rpartition('-')[0]}-999999999-x.log"
    for left in (dead, dead.with_name(dead.name + ".lock")):  # what a process leaves that is killed while it writes
        left.write_text("cut")
    find(settings, None, tmp_path / "runs/toy/tuned", command="")
    assert not list(path.parent.glob("*.lock")) and not list(path.parent.glob(".kdlab-part*"))  # noqa: PT018


# ---------------------------------------------------------------------- suggestions
SPACE = {"a": Range(0.001, 0.1, True), "b": Choice((16, "x", None, [1, 2])), "c": Range(1, 8)}


def some(count):
    return [Finished(i, suggest(SPACE, (), 0, i, 30), "complete", i / 30, {"kd": (i / 30, None)}) for i in range(count)]


def test_a_suggestion_is_a_function_of_seed_number_and_finished_trials():
    finished = some(16)
    first = suggest(SPACE, finished, 0, 16, 30)
    assert suggest(SPACE, finished[::-1], 0, 16, 30) == first
    assert suggest(SPACE, finished, 0, 17, 30) != first
    assert suggest(SPACE, finished, 1, 16, 30) != first
    others = [Finished(t.number, t.values, "complete", 1 - t.value) for t in finished]
    assert any(suggest(SPACE, others, 0, k, 30) != suggest(SPACE, finished, 0, k, 30) for k in range(16, 19))


def test_suggestions_stay_in_their_space_and_are_short_numbers():
    finished = some(20)
    for k in range(40):
        values = suggest(SPACE, finished if k % 2 else (), 3, k, 30)
        assert 0.001 <= values["a"] <= 0.1
        assert float(f"{values['a']:.4g}") == values["a"]
        assert values["b"] in (16, "x", None, [1, 2])
        assert type(values["c"]) is int and 1 <= values["c"] <= 8  # noqa: PT018


def test_no_setting_is_tried_twice_while_there_are_others():
    space = {"a": Choice((1, 2, 4, 8))}
    tried = []
    for k in range(6):
        tried.append(suggest(space, (), 0, k, 6, tried))
    assert sorted(v["a"] for v in tried[:4]) == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("values", "together"),
    [
        ([[1e-5, 0.1]], 1),
        ([[1e-5, 0.1, 0.2]], 1),
        ([[0.01, 0.03, 0.1, 0.3]], 2),
        ([[0.01, 0.02, 0.03, 0.1, 0.3, 0.5, 0.7, 1.0]], 4),
        ([[0.01, 0.03, 0.1], [2.0, 4.0]], 4),
        ([[1, True, None, [1, 2]]], 1),
        ([{"low": 1, "high": 4}], 1),
        ([{"low": 1, "high": 3, "log": True}, ["a", "b"]], 3),
    ],
)
@pytest.mark.parametrize("slope", [0, 1])
def test_as_many_trials_as_a_space_has_settings_try_all_of_them(values, together, slope):
    space = read_space({f"model.x{i}": some for i, some in enumerate(values)}, "tune")
    finished, count = [], int(size_of(space))
    while len(finished) < count:
        now = []
        for number in range(len(finished), min(len(finished) + together, count)):
            now.append(suggest(space, finished, 0, number, count, now))
            assert suggest(space, finished, 0, number, count, now[:-1]) == now[-1]
        finished += [Finished(len(finished) + i, v, "complete", 0.5 + slope * i / 9) for i, v in enumerate(now)]
    assert len({repr(trial.values) for trial in finished}) == count


def test_the_sampler_finds_what_is_better():
    """Twenty trials of a smooth function: the last ten are nearer to its peak than the first ten, at random."""
    space = {"x": Range(0.0, 1.0)}
    finished = []
    for k in range(0, 40, 4):
        now = [(n, suggest(space, finished, 0, n, 40)) for n in range(k, k + 4)]
        finished += [Finished(n, v, "complete", 1 - (v["x"] - 0.7) ** 2) for n, v in now]
    distance = [abs(trial.values["x"] - 0.7) for trial in finished]
    assert np.median(distance[20:]) < 0.5 * np.median(distance[:10])
    assert abs(best_of(finished).values["x"] - 0.7) < 0.05


def test_a_failed_trial_is_avoided_and_not_chosen():
    assert (
        best_of(
            [Finished(0, {}, "failed", 0.9), Finished(1, {}, "pruned", 0.8), Finished(2, {}, "complete", 0.1)]
        ).number
        == 2
    )
    assert best_of([Finished(0, {}, "failed", 0.9)]) is None
    assert [best_of([Finished(n, {}, "complete", 0.5) for n in order]).number for order in ([3, 1], [1, 3])] == [1, 1]


def test_of_trials_that_rounding_alone_tells_apart_the_first_is_best():
    half, thirds = np.float32(1 / 2), np.float32(1 / 3)
    noisy = [(float(half) + float(thirds)) / 2, 0.4166666716337204, 0.4166666567325592]
    for values in (noisy, noisy[::-1]):
        assert best_of([Finished(i, {}, "complete", v) for i, v in enumerate(values)]).number == 0
    assert best_of([Finished(i, {}, "complete", v) for i, v in enumerate([0.4166, *noisy])]).number == 1


def test_medians_are_those_of_complete_trials():
    curves = [("complete", (0.1, 0.5)), ("complete", (0.4, None)), ("pruned", (0.9, None)), ("complete", (0.3, 0.7))]
    trials = [Finished(i, {}, state, 0.5, {"kd": points}) for i, (state, points) in enumerate(curves)]
    assert medians(trials, "kd", 3) == [0.3, 0.6]
    assert medians(trials, "kd", 4) is None
    assert medians(trials, "other", 1) is None


# ---------------------------------------------------------------------- pruning
def validated(callback, accuracies, steps=8):
    """Validations at even distances over a fit of so many steps; the step at which it is stopped."""
    trainer = SimpleNamespace(sanity_checking=False, state=SimpleNamespace(fn="fit"), should_stop=False)
    callback._steps = steps
    for i, accuracy in enumerate(accuracies, start=1):
        trainer.global_step, trainer.callback_metrics = (
            i * steps // len(accuracies),
            {"val/accuracy": torch.tensor(accuracy)},
        )
        callback.on_validation_end(trainer, None)
        if trainer.should_stop:
            return trainer.global_step
    return None


def test_a_fit_is_stopped_where_its_best_accuracy_is_below_the_median():
    shares = [0.25, 0.5, 0.75]
    callback = MedianPruning(shares, [0.3, 0.5, 0.6])
    assert validated(callback, [0.4, 0.45, 0.42, 0.9]) == 4
    np.testing.assert_allclose(callback.points[:2], [0.4, 0.45], atol=1e-6)
    assert callback.points[2] is None
    assert callback.pruned_at == 0.5
    for limits in ([0.25, 0.5, 0.75], [0.25, 0.4, 0.6], None, [None, None, 0.75]):  # at the median is not below it
        callback = MedianPruning(shares, limits)
        assert validated(callback, [0.25, 0.5, 0.75, 0.9]) is None
    callback = MedianPruning(shares, [0.9, 0.1, 0.1])
    assert validated(callback, [0.5, 0.6]) == 4  # the first validation is at half of the fit
    np.testing.assert_allclose(callback.points[:2], [0.5, 0.5])


def test_an_accuracy_below_the_median_by_rounding_alone_is_at_the_median():
    assert validated(MedianPruning([0.5], [22 / 24]), [float(np.nextafter(np.float32(22 / 24), 0))] * 2) is None


# ---------------------------------------------------------------------- people
def parts_of(folder, **changes):
    study = Study.read(write_tuned(folder, **changes))
    folds, parts = plan_people(study, read_tune(study))
    return folds, {part.name: (set(part.people), set(part.held), part.folds) for part in parts}


def test_halves_by_hand(tmp_path):
    folds, parts = parts_of(tmp_path, folds=[["1", "2"], ["3"], ["4", "5"], ["6"]])
    assert folds == {"fold1": ["1", "2"], "fold2": ["3"], "fold3": ["4", "5"], "fold4": ["6"]}
    # from the largest fold on, to the half that is smaller: 1 2 | 4 5, then 3 | 6; 7 and 8 are never tested
    assert parts == {
        "half_a": ({"1", "2", "3", "7", "8"}, {"4", "5", "6"}, ("fold3", "fold4")),
        "half_b": ({"4", "5", "6", "7", "8"}, {"1", "2", "3"}, ("fold1", "fold2")),
    }


def test_settings_come_from_people_who_are_not_tested(tmp_path):
    for changes in (
        {"folds": 4},
        {"folds": "leave_one_subject_out"},
        {"folds": 3},
        {"folds": 4, "tune": {"people": "fold"}},
    ):
        folds, parts = parts_of(tmp_path, **changes)
        used = [fold for _, _, of in parts.values() for fold in of]
        assert sorted(used) == sorted(folds)
        for people, held, of in parts.values():
            assert not people & held
            assert people | held == set(PEOPLE)
            assert all(set(folds[fold]) <= held for fold in of)


def test_people_who_are_never_tested(tmp_path):
    folds, parts = parts_of(tmp_path, folds=2, tune={"people": [1, "2", 3, 4]})
    assert sorted(name for group in folds.values() for name in group) == ["5", "6", "7", "8"]
    assert parts == {"people": ({"1", "2", "3", "4"}, {"5", "6", "7", "8"}, ("fold1", "fold2"))}


def test_a_study_without_folds_is_tuned_in_its_own_split(tmp_path):
    _, parts = parts_of(tmp_path, folds=None, tune={"people": "fold"})
    assert parts == {"split": (set(), set(), ("",))}


@pytest.mark.parametrize("people", ["halves", "fold", [1, 2, 3, 4]])
def test_no_trial_knows_who_is_tested(tmp_path, monkeypatch, people):
    """The fingerprint of every job of the tuning: who trains and validates is of its part, and is not tested."""
    made_up(monkeypatch)
    study, settings = settings_of(tmp_path, tune={"people": people}, folds=2)
    find(settings, None, tmp_path / "runs/toy/tuned", command="")
    planned, _ = look_up(settings)
    kind = people if isinstance(people, str) else "people"
    assert f"with 2 trials for every row that is tuned (`people: {kind}`; not tuned: teacher)." in settings.caption
    parts = {part.fold: part for part in settings.tuning.parts}
    assert len(planned.jobs) > 8
    for job in planned.jobs.values():
        found = make_data(job.config).fingerprint
        part = parts[job.fold]
        assert {*found["train"], *found["val"]} == set(part.people)
        assert set(found["test"]) == set(part.held)
        for fold in part.folds:
            assert set(settings.folds[fold]) <= set(found["test"])
    final = study.jobs(tmp_path / "runs", settings.folds, fingerprint, settings.of)
    for job in final.values():
        if job.stage == "teacher" and people == "fold":  # the fit of the teacher serves trials and rows
            assert planned.jobs[f"tune:{job.name}"].folder == job.folder
            assert planned.jobs[f"tune:{job.name}"].result != job.result
        if job.stage != "teacher":
            part = next(part for part in settings.tuning.parts if job.fold in part.folds)
            own = "scratch" if job.run == "scratch" else "kd"
            best = planned.chosen[f"{part.name}/own/{own}"].values
            common = planned.chosen[f"{part.name}/common/common"].values
            arguments = job.config["model"]["init_args"]
            sgd = arguments["optimizer"]["init_args"]
            assert sgd["lr"] == common["model.init_args.optimizer.init_args.lr"]
            assert job.config["data"]["init_args"]["batch_size"] == common["data.init_args.batch_size"]
            assert (sgd["weight_decay"] if own == "scratch" else arguments["temperature"]) in best.values()


# ---------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tune": {"trails": 3}}, "tune: unknown name 'trails'.*Did you mean 'trials'"),
        ({"tune": {"trials": 0}}, "trials must be a whole number of at least 1, but got 0"),
        ({"tune": {"trials": 10**9}}, "trials must be at most 1,000, but got 1000000000"),
        ({"tune": {"round": 1.5}}, "round must be a whole number"),
        ({"tune": {"people": "thirds"}}, "people must be halves, fold or a list of people, but got 'thirds'"),
        ({"tune": {"own": {"scratch": TUNE["own"]["scratch"]}}}, "same number of trials, but names none of kd"),
        ({"tune": {"own": {"kdd": {}}}}, "own: unknown name 'kdd'.*Did you mean 'kd'"),
        ({"tune": {"own": {"scratch": {}, "kd": {}}}}, "scratch must name settings, but names none"),
        ({"tune": {"own": None, "common": None}}, "must name settings under common or own, but names none"),
        ({"tune": {"common": {"lr": [1]}}}, "lr must be a setting of model, data or trainer"),
        ({"tune": {"common": {"model.lr": 0.1}}}, r"model.lr must be a list of values or \{low"),
        ({"tune": {"common": {"model.lr": {"low": 0.1, "high": 0.01}}}}, "low below high"),
        ({"tune": {"common": {"model.lr": {"low": 0.0, "high": 0.1, "log": True}}}}, "two numbers above 0"),
        ({"tune": {"common": {"data.batch_size": [8, 8]}}}, "must be different values"),
        (
            {"tune": {"common": {"model.lr": [1], "model.init_args.optimizer.init_args.lr": [2]}}},
            "must stand once, but it stands twice",
        ),
        ({"tune": {"on": ["teacher"]}}, "on: unknown name 'teacher'"),
        ({"tune": {"on": []}}, "on must be a list of different runs"),
        ({"tune": {"prune": [0.5, 0.2]}}, "prune must be rising shares"),
        ({"tune": [1]}, "tune must be a mapping"),
        ({"folds": None}, "people must be fold or a list of people, because the study has fewer than two folds"),
        ({"tune": {"people": ["9"]}}, "people: no subject 9; the subjects are 1, 2"),
        ({"tune": {"people": PEOPLE}}, "must be different people, and not all"),
        ({"tune": {"people": ["1", "2"]}, "folds": [["1"], ["3"]]}, "are never tested, but folds tests 1"),
        (
            {"updates": 20, "tune": {"common": {"trainer.max_epochs": [1, 2]}}},
            "tune: common: trainer.max_epochs must be left out, because the study decides it.*Write it under set: once",
        ),
        (
            {"tune": {"common": {"data.corruption": ["Noise", "Shift"]}}},
            r"tune: common: data.init_args.corruption must be left out, because a study tests every row on clean",
        ),
        (
            {"axes": {"size": {"s": {"data.init_args.batch_size": 4}}}, "scratch": "with axis"},
            "data.init_args.batch_size must be tuned or be on an axis, but axis size of scratch sets it, too",
        ),
    ],
)
def test_a_wrong_declaration_is_refused(tmp_path, changes, message):
    if changes.get("scratch") == "with axis":
        changes = {**changes, "scratch": {"scratch": {"config": "supervised.yaml", "axes": ["size"]}}}
    if isinstance(changes.get("tune"), list):
        path = write_tuned(tmp_path)
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "tune": [1]}))
    else:
        path = write_tuned(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as error:
        read_settings(Study.read(path), tmp_path / "runs")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (
            {"scratch": {"model.temperature": [2.0, 4.0]}},
            "own: scratch: model.init_args.temperature must be accepted, but got 2.0: .*temperature.*not accepted",
        ),
        ({"kd": {"model.temperature": {"low": -1.0, "high": 4.0}}}, "own: kd: model.init_args.temperature .*got -1.0"),
        (
            {"kd": {"model.kd_weight": [0.5, "heavy"]}},
            "own: kd: model.init_args.kd_weight must be accepted, but got 'heavy'",
        ),
        ({"scratch": {"data.batch_sise": [8]}}, "own: scratch: data.init_args.batch_sise must be accepted"),
        (
            {"scratch": {"model.lr": [-0.1, 0.1]}},
            "own: scratch: .*lr must be accepted, but got -0.1: .*[Ii]nvalid learning rate",
        ),
        (
            {"scratch": {"data.batch_size": [8, 4000]}},
            "own: scratch: data.init_args.batch_size must be accepted, but got 4000",
        ),
        (
            {"kd": {"model.cache": [None, {"budget": "1MiB"}], "data.augment": [None, "Noise"]}},
            "own: kd: cache: teacher_input must be 'clean' where windows change at random, but got 'same'",
        ),
        ({"scratch": {"trainer.max_epoch": [2]}}, "own: scratch: trainer.max_epoch must be accepted"),
    ],
)
def test_a_setting_that_no_row_takes_is_refused_before_anything_runs(here, own, message):
    write_tuned(here, tune={"common": None, "own": {**TUNE["own"], **own}})
    main = command.main if "kd" in own else tune_command.main
    with pytest.raises(InputError, match=message) as error:
        main(["study.yaml"], None, cli.check)
    assert "\n" not in str(error.value)
    assert not list(here.glob("runs/**/job.yaml"))


def test_people_who_are_too_few_are_refused_as_such(tmp_path):
    """Not as the first setting of the space, without which the row is refused, too."""
    many = {"all": {"data.init_args.unlabelled": {"labelled": 4, "ratio": 0.25}}}
    _, settings = settings_of(tmp_path, set=many, tune={"people": "halves"})
    refused = (
        r"tune: people: half_a .* must do for .* without any value, but got: .*labelled must be at most .*\. Or write "
        r"people: fold, to try them on"
    )
    with pytest.raises(InputError, match=refused):
        check_space(settings.tuning, cli.check)


def test_people_who_are_too_few_in_the_second_part_are_refused_as_well(tmp_path):
    many = {"all": {"data.init_args.unlabelled": {"labelled": 3, "ratio": 0.25}}}
    folds = [["4", "5", "6", "7", "8"], ["1", "2", "3"]]
    _, settings = settings_of(tmp_path, set=many, folds=folds, tune={"people": "halves"})
    with pytest.raises(InputError, match=r"tune: people: half_b \(1, 2, 3, .* must do for .*labelled must be at most"):
        check_space(settings.tuning, cli.check)


def test_own_settings_are_checked_over_the_common_ones(tmp_path):
    """The strength of an augmentation that the common stage chooses: it is one only where each choice has it."""
    own = {**TUNE["own"], "scratch": {"data.augment.init_args.max_std": [0.05, 0.1]}}
    refused = "own: scratch: data.init_args.augment.init_args.max_std must be accepted, but got 0.05"
    for augment, message in (([{"class_path": "Noise"}, {"class_path": "Scaling"}], refused), (["Noise"], None)):
        common = {"data.augment": augment}
        _, settings = settings_of(tmp_path, tune={"common": common, "own": own})
        if message:
            with pytest.raises(InputError, match=message):
                check_space(settings.tuning, cli.check)
        else:
            check_space(settings.tuning, cli.check)


def test_the_common_stage_starts_from_random_weights(tmp_path):
    scratch = {name: {"config": "supervised.yaml", **more} for name, more in (("a", {}), ("b", {"init": "a"}))}
    changes = {"scratch": scratch, "tune": {"on": ["b", "kd"], "own": None}}
    with pytest.raises(InputError, match="on must name runs that start from random weights, but b starts from a"):
        read_tune(Study.read(write_tuned(tmp_path, **changes)))


def test_without_optuna_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    _, settings = settings_of(tmp_path)
    with pytest.raises(InputError, match=r"optuna must be installed.*pip install 'kdlab\[tune\]'"):
        look_up(settings)


# ---------------------------------------------------------------------- names, warm starts and labels
def test_short_names_are_those_of_arguments():
    space = read_space({"model.weight_decay": [0.1], "data.augment": [None, "Jitter"], "trainer.max_epochs": [2]}, "t")
    assert list(space) == [
        "model.init_args.optimizer.init_args.weight_decay",
        "data.init_args.augment",
        "trainer.max_epochs",
    ]
    assert full_name("model.init_args.optimizer.init_args.lr") == full_name("model.lr")


def test_a_warm_start_is_trained_with_its_own_settings_and_labels_are_rows(tmp_path, monkeypatch):
    """``init`` waits for the choice of the run that it starts from, and each label of an axis is searched alone."""
    made_up(monkeypatch)
    kd = {"config": "student.yaml", "teachers": {"raw": "teacher"}, "init": "scratch", "axes": ["size"]}
    axes = {"size": {"1": {}, "2": {"model.init_args.student.init_args.width": 2}}}
    plain = {"config": "student.yaml", "teachers": {"raw": "teacher"}}
    own = {**TUNE["own"], "students": {"model.kd_weight": {"low": 0.1, "high": 1.0}}}
    changes = {"students": {"kd": plain, "warm": kd}, "axes": axes, "tune": {"own": own}}
    _, settings = settings_of(tmp_path, **changes)
    tuning = settings.tuning
    assert [name for name in tuning.steps if name.startswith("half_a/own")] == [
        f"half_a/own/{row}" for row in ("scratch", "kd", "warm[size=1]", "warm[size=2]")
    ]
    assert tuning.steps["half_a/own/warm[size=2]"].after == ("half_a/common/common", "half_a/own/scratch")
    find(settings, None, tmp_path / "runs/toy/tuned", command="")
    planned, _ = look_up(settings)
    start = planned.jobs["tune:scratch/half_a/seed0"]
    best = planned.chosen["half_a/own/scratch"].values
    sgd = start.config["model"]["init_args"]["optimizer"]["init_args"]
    assert sgd["weight_decay"] == best["model.init_args.optimizer.init_args.weight_decay"]
    for size in "12":
        trial = planned.jobs[f"tune:warm[size={size}]/half_a/seed0/own1"]
        assert set(trial.needs) == {"tune:teacher/half_a/shared", start.name}
        assert trial.config["model"]["init_args"]["student_init"] == str(start.folder)


@pytest.mark.parametrize("size", ["own", "of a teacher"])
def test_a_row_that_teaches_is_trained_with_and_without_its_choice(here, monkeypatch, size):
    """``on`` names the student of a tuned row, or a tuned teacher has learned from one: each is a job of its own."""
    students = {"kd_self": {"config": "student.yaml", "teachers": {"raw": "scratch"}}}
    tune = {"on": ["scratch", "kd_self"], "own": {"scratch": TUNE["own"]["scratch"], "students": TUNE["own"]["kd"]}}
    changes = {"teachers": {}, "students": students, "tune": tune}
    if size == "of a teacher":
        students = {"kd": {"config": "student.yaml", "teachers": {"raw": "teacher"}}}
        own = {**TUNE["own"], "teacher": {"model.lr": [0.01, 0.1]}}
        teacher = {"teacher": {"config": "student.yaml", "teachers": {"raw": "scratch"}}}
        changes = {"teachers": teacher, "students": students, "tune": {"on": ["scratch"], "own": own}}
    ran, place = made_up(monkeypatch), here / "runs/toy/tuned"
    _, settings = settings_of(here, **changes)
    find(settings, None, place, command="")
    planned, found = look_up(settings)
    assert len(ran) == len(set(ran)) == len(planned.jobs) == len(found.rows)
    folders = {str(job.folder) for job in planned.jobs.values()}
    for job in planned.jobs.values():
        for name in job.needs:
            assert str(planned.jobs[name].folder) in json.dumps(job.config["model"])
    assert len(folders) == len(ran)
    plain, chosen = (planned.jobs[f"tune:scratch/half_a/seed0{tag}"] for tag in ("", "/chosen"))
    decay = planned.chosen["half_a/own/scratch"].values["model.init_args.optimizer.init_args.weight_decay"]
    optimizers = [job.config["model"]["init_args"]["optimizer"]["init_args"] for job in (plain, chosen)]
    assert [one["weight_decay"] for one in optimizers] == [0.0001, decay]
    files = files_of(here)
    again = settings_of(here, **changes)[1]
    check_space(again.tuning, lambda words: None)  # its jobs are none of the plan
    find(again, None, place, command="")
    assert (len(ran), files_of(here)) == (len(set(ran)), files)


def test_a_teacher_that_is_named_is_tuned_first(tmp_path, monkeypatch):
    made_up(monkeypatch)
    own = {**TUNE["own"], "teacher": {"model.lr": {"low": 0.01, "high": 0.2, "log": True}}}
    study, settings = settings_of(tmp_path, tune={"own": own})
    first = settings.tuning.plan({})
    assert all(name.startswith("tune:teacher/") for name in first.jobs)
    find(settings, None, tmp_path / "runs/toy/tuned", command="")
    planned, _ = look_up(settings)
    best = planned.chosen["half_a/teacher/teacher"].values["model.init_args.optimizer.init_args.lr"]
    jobs = [planned.jobs["tune:teacher/half_a/shared"]]
    jobs.append(study.jobs(tmp_path, settings.folds, lambda config: "", settings.of)["teacher/fold2/shared"])
    for job in jobs:
        assert job.config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == best


def test_choices_at_an_end_of_their_range_are_named_without_people(tmp_path):
    tuning = settings_of(tmp_path)[1].tuning
    rate, decay = (f"model.init_args.optimizer.init_args.{name}" for name in ("lr", "weight_decay"))
    temperature, size = "model.init_args.temperature", "data.init_args.batch_size"

    def sentence(*values):
        chosen = [Finished(0, one, "complete", 0.5) for one in values]
        return near_ends(tuning, Planned(chosen=dict(zip(tuning.steps, chosen, strict=True))))

    inside = [{rate: 0.03, size: 4}, {decay: 2e-5}, {temperature: 2.0}]
    assert sentence(*inside, *inside) == ""  # lists have no ends; 2e-5 is far from 1e-5 on a scale of logarithms
    outside = [{rate: 0.0105, size: 4}, {decay: 1e-3}, {temperature: 2.0}]
    assert sentence(*inside, *outside) == (
        "Chosen within 5 % of an end of the range, so that a wider range may be better: "
        f"common: `{rate}` (lowest in 1 of 2 choices); scratch: `{decay}` (highest in 1 of 2 choices)."
    )


# ---------------------------------------------------------------------- the files that are written
def test_what_was_found_is_included_by_studies_and_runs(here, monkeypatch):
    made_up(monkeypatch)
    write_tuned(here)
    tune_command.main(["study.yaml", "--out", "tuned.yaml"], None, cli.check)
    text = (here / "tuned.yaml").read_text()
    assert text.startswith("# Written by kdlab tune study.yaml --out tuned.yaml (kdlab ")
    assert "2 trials for every row (`people: halves`)" in text
    found = yaml.safe_load(text)["tuned"]["settings"]
    content = yaml.safe_load((here / "study.yaml").read_text())
    del content["tune"]
    (here / "plain.yaml").write_text(yaml.safe_dump(content))
    (here / "again.yaml").write_text("{study: toy/again, include: [plain.yaml, tuned.yaml]}")
    study = Study.read("again.yaml")
    assert study.name == "toy/again"
    settings = read_settings(study, here / "runs")
    assert not settings.pending
    jobs = study.jobs(here / "runs", settings.folds, lambda config: "data", settings.of)
    for fold, part in (("fold1", "half_b"), ("fold2", "half_a")):
        arguments = jobs[f"kd/{fold}/seed0"].config["model"]["init_args"]
        assert arguments["temperature"] == found["kd"][part]["model.init_args.temperature"]
    (here / "run.yaml").write_text("include: [student.yaml, runs/toy/tuned/tuning/half_a/kd.yaml]\n")
    run = read_config(here / "run.yaml", "--config")
    assert run["model"]["init_args"]["temperature"] == found["kd"]["half_a"]["model.init_args.temperature"]
    assert run["model"]["class_path"] == "KD"


def test_a_report_before_all_settings_are_found_keeps_tables_and_rows(here, monkeypatch, capsys):
    """Untuned rows are no results of a study that is tuned; those of a tuning that was complete stay."""
    made_up(monkeypatch)
    monkeypatch.setattr(report, "_draw", lambda *arguments: [])
    folder = here / "runs/toy/tuned"

    def study(*words, **tune):
        write_tuned(here, tune={"common": None, **tune})
        command.main(["study.yaml", *words], None, lambda words: None)
        return {
            name: (folder / name).read_bytes() for name in ("results.md", "results.csv") if (folder / name).is_file()
        }

    study(none=True)
    for name in ("results.md", "results.csv", "rows.jsonl"):
        (folder / name).unlink()
    capsys.readouterr()
    assert not study("--report")
    said = capsys.readouterr().out
    assert "the settings of toy/tuned are still to be found (0 of 8 trials are done), so no tables" in said
    assert "scratch                     2 jobs, 0 done" in said
    assert "teacher                     2 jobs, 2 done" in said  # no trial decides its settings
    assert set(read_rows(folder / "rows.jsonl").entries) == {"teacher/fold1/shared", "teacher/fold2/shared"}
    tables = study()
    rows, lines = read_rows(folder / "rows.jsonl").entries, (folder / "rows.jsonl").read_text().splitlines()
    assert study("--report") == tables
    assert (folder / "rows.jsonl").read_text().splitlines() == lines
    cited = {path.name: path.read_bytes() for path in (folder / "tuning").iterdir() if path.is_file()}
    assert study("--report", trials=3) == tables
    assert {path.name: path.read_bytes() for path in (folder / "tuning").iterdir() if path.is_file()} == cited
    kept = read_rows(folder / "rows.jsonl").entries
    assert {name: entry.row for name, entry in kept.items()} == {name: entry.row for name, entry in rows.items()}
    assert sorted((folder / "rows.jsonl").read_text().splitlines()) == sorted(lines)
    (folder / "rows.jsonl").write_text("\n".join([lines[0], lines[1][:40], *lines[2:]]))
    capsys.readouterr()
    assert study("--report", trials=3) == tables
    assert re.search("note: toy/tuned: .*rows.jsonl', line 2: .* It is damaged", capsys.readouterr().out)
    assert {"teacher/fold1/shared", "teacher/fold2/shared"} <= set(read_rows(folder / "rows.jsonl").entries) < set(rows)
    assert study() == tables
    assert (folder / "rows.jsonl").read_text().splitlines() == lines


def test_the_files_of_a_tuning_stay_until_the_first_trial_of_the_next_is_done(here, monkeypatch):
    made_up(monkeypatch)
    _, settings = settings_of(here)
    find(settings, None, here / "runs/toy/tuned", command="")
    before = files_of(here)
    made_up(monkeypatch, stop_after=1)  # the teacher
    _, settings = settings_of(here, set={"all": {"model.init_args.label_smoothing": 0.1}})
    with pytest.raises(Interrupted):
        find(settings, None, here / "runs/toy/tuned", command="")
    assert files_of(here) == before


def test_the_caption_says_which_fold_uses_what_another_one_found(here, monkeypatch):
    made_up(monkeypatch)
    monkeypatch.setenv("KDLAB_SALT", "a salt of a laboratory")
    folds = [["1", "2"], ["3", "4"]]
    path = write_tuned(here, folds=folds, tune={"people": "fold", "common": None})
    tune_command.main(["study.yaml", "--out", "tuned.yaml"], None, cli.check)
    content = yaml.safe_load(path.read_text())
    del content["tune"]

    def caption(**changes):
        path.write_text(yaml.safe_dump({**content, "include": "tuned.yaml", **changes}))
        return read_settings(Study.read(path), here / "runs").caption

    assert "in each fold with its own training people." in caption()
    swapped = caption(folds=folds[::-1])
    assert swapped.endswith("used where none of these is tested. Used in fold1: fold2; fold2: fold1.")
    write_tuned(here, folds="leave_one_subject_out", people="hashed", tune={"common": None})
    tune_command.main(["study.yaml"], None, cli.check)
    _, settings = settings_of(here, folds="leave_one_subject_out", people="hashed", tune={"common": None})
    running.resolve(settings, cli.check)
    assert re.search("Used in subject-h[0-9a-f]{12}: half_b; ", settings.caption)
    assert not re.search("subject[0-9]", settings.caption)


def test_a_study_is_refused_that_tests_who_was_tuned_on(here, monkeypatch):
    made_up(monkeypatch)
    write_tuned(here)
    tune_command.main(["study.yaml", "--out", "tuned.yaml"], None, cli.check)
    content = yaml.safe_load((here / "study.yaml").read_text())

    def refused(message, **changes):
        (here / "again.yaml").write_text(yaml.safe_dump({**content, "include": "tuned.yaml", **changes}))
        with pytest.raises(InputError, match=message):
            read_settings(Study.read("again.yaml"), here / "runs")

    refused(
        r"found with people who are not tested, but fold1 tests 1.*Run kdlab tune again\.yaml --out tuned\.yaml\.",
        folds=[["1", "2"]],
    )
    more = {**content["students"], "also": content["students"]["kd"]}
    own = {**content["tune"]["own"], "students": {"model.temperature": [1.0, 2.0]}}
    refused("settings must name every row, but names none of also", students=more, tune={**content["tune"], "own": own})
    refused("tuned must be what kdlab tune writes", tuned={"people": "x"})
    by = r"write tuned\.yaml again. It was written by: kdlab tune study\.yaml --out tuned\.yaml$"
    refused(by, folds=[["1", "2"]], tune=None)
    refused(f"names none of also.*{by}", students=more, tune=None)
    lines = (here / "tuned.yaml").read_text().splitlines()
    (here / "tuned.yaml").write_text("\n".join(line for line in lines if not line.startswith("#")))
    refused(r"Run kdlab tune --out tuned\.yaml with the study file that has the section tune", students=more, tune=None)


def test_people_who_were_set_aside_stay_so(here, monkeypatch):
    made_up(monkeypatch)
    write_tuned(here, tune={"people": [1, 2, 3, 4], "common": None})
    tune_command.main(["study.yaml", "--out", "tuned.yaml"], None, cli.check)
    content = yaml.safe_load((here / "study.yaml").read_text())
    del content["tune"]
    (here / "again.yaml").write_text(yaml.safe_dump({**content, "include": "tuned.yaml"}))
    settings = read_settings(Study.read("again.yaml"), here / "runs")
    assert settings.folds == {"fold1": ["5", "7"], "fold2": ["6", "8"]}
    assert settings.parts == {"fold1": "people", "fold2": "people"}
    assert "Settings are found with people who are never tested (people: 4 people)." in settings.caption


@pytest.mark.parametrize(
    ("people", "labelled", "noted"),
    [
        ("halves", 3, [f"{half} has no one without labels for kd, trained with 2 in" for half in ("half_a", "half_b")]),
        ("halves", 2, []),  # one of four validates, one has none
        ("fold", 3, []),
        ("fold", 5, []),  # the jobs have no one either
        ([1, 2, 3, 4], 3, ["people has no one without labels for kd, trained with 3 in fold1"]),
    ],
)
def test_settings_are_not_tried_without_the_windows_that_they_are_about(here, capsys, people, labelled, noted):
    """Half of few people are soon all needed for labels and validation; the plan says so."""
    set_of_all = {"all": {"data.init_args.unlabelled": {"labelled": labelled}, "data.init_args.val_count": 1}}
    write_tuned(here, tune={"people": people, "common": None}, set=set_of_all, folds=4)
    command.main(["study.yaml", "--dry-run"], None, cli.check)
    notes = [line for line in capsys.readouterr().out.splitlines() if "no one without labels" in line]
    assert len(notes) == len(noted), notes
    assert all(part in line for part, line in zip(noted, notes, strict=True)), notes
    assert all("people: fold, which tries them as they are trained" in line for line in notes)


def test_a_file_of_another_is_not_overwritten(here):
    write_tuned(here)
    (here / "mine.yaml").write_text("a: 1\n")
    with pytest.raises(InputError, match="--out: must be a new file or one of kdlab tune"):
        tune_command.main(["study.yaml", "--out", "mine.yaml"], None, cli.check)
    with pytest.raises(InputError, match="--out: the folder must be there"):
        tune_command.main(["study.yaml", "--out", "gone/mine.yaml"], None, cli.check)
    write_tuned(here, tune={"none": True})
    with pytest.raises(InputError, match=r"study\.yaml: must have a section tune, but has none"):
        tune_command.main(["study.yaml"], None, cli.check)


def test_the_plan_is_printed_and_runs_job_by_job(here, monkeypatch, capsys):
    """``--list`` and ``--only`` until nothing is missing give what one command gives."""
    ran = made_up(monkeypatch)
    write_tuned(here, tune={"common": None})
    command.main(["study.yaml", "--dry-run"], None, cli.check)
    out = capsys.readouterr().out
    assert "people halves, 2 trials in rounds of 1 for every row, seed 0" in out
    assert "half_a: people 1, 3, 5, 7; its settings are used in fold2" in out
    assert "own      kd                          4 trials of 8 updates, 0 done" in out  # 36 windows train, batches of 8
    assert "together 8 fits of at most 64 updates" in out
    assert not ran
    for _ in range(20):
        command.main(["study.yaml", "--list"], None, cli.check)
        if not (lines := capsys.readouterr().out.splitlines()):
            break
        for line in lines:
            command.main(["study.yaml", *line.split("study.yaml ")[1].split()], None, cli.check)
        capsys.readouterr()
    assert len(ran) == len(set(ran)) == 8 + 2 + 6
    with pytest.raises(InputError, match="no job 'kd/fold9/seed0'"):
        command.main(["study.yaml", "--only", "kd/fold9/seed0"], None, cli.check)


def test_a_damaged_trial_counts_as_not_done(tmp_path, monkeypatch):
    ran = made_up(monkeypatch)
    _, settings = settings_of(tmp_path, tune=LARGER)
    find(settings, None, tmp_path / "runs/toy/tuned", command="")
    before, first = files_of(tmp_path), look_up(settings)[0].jobs["tune:kd/half_a/seed0/own1"]
    row = json.loads(first.result.read_text())
    for change in ({"val_accuracy": 2}, {"state": "good"}, {"points": "x"}, {"key": "another"}, {"updates": None}):
        first.result.write_text(json.dumps({**row, **change}))
        with pytest.raises(InputError, match=rf"{next(iter(change))} must be"):
            read_row(first)
    count = len(ran)
    _, again = settings_of(tmp_path, tune=LARGER)
    find(again, None, tmp_path / "runs/toy/tuned", command="")
    assert ran[count:] == [first.name]
    assert files_of(tmp_path) == before


# ---------------------------------------------------------------------- with real fits
def test_no_path_leads_from_a_trial_to_a_test_window(tmp_path):
    """A data module that raises wherever a test window would be read: all of the tuning runs with it."""
    data = {"all": {"data.class_path": "tests.tuned.Untestable"}}
    one = {"trials": 1, "common": None, "own": {"scratch": {"model.lr": [0.02]}, "kd": {"model.temperature": [2.0]}}}
    study, settings = settings_of(tmp_path, set=data, tune=one)
    find(settings, cli.run, tmp_path / "runs/toy/tuned", command="")
    planned, survey = look_up(settings)
    assert len(survey.rows) == 6
    assert all(math.isfinite(row["val_accuracy"]) and row["updates"] == 8 for row in survey.rows.values())
    for job in planned.jobs.values():
        part = next(part for part in settings.tuning.parts if part.fold == job.fold)
        found = make_data(job.config).fingerprint
        assert survey.rows[job.name]["data"] == found["id"]  # the data that were fitted on
        assert {*found["train"], *found["val"]} == set(part.people)
        assert not [key for key in survey.rows[job.name] if "test" in key]
        kept = list(job.folder.glob("version_*/checkpoints/*.ckpt"))
        assert bool(kept) == (job.trial == "needed")  # the weights of a trial are no one's
    final = study.jobs(tmp_path / "runs", settings.folds, fingerprint, settings.of)
    with pytest.raises(RuntimeError, match="a test window is read"):
        run_job(final["scratch/fold1/seed0"], cli.run)


def test_closed_windows_are_not_given_out(tmp_path):
    write_tuned(tmp_path)
    data = ArrayDataModule(path=str(tmp_path / "windows.npz"), batch_size=8)
    data.close_test("it is tuned.")
    data.setup()
    for read in (
        data.test_dataloader,
        data.predict_dataloader,
        lambda: next(data.batches("test")),
        lambda: next(data.batches("predict")),
        lambda: data.ordered_loader("unknown"),
    ):
        with pytest.raises(InputError, match="windows are closed: it is tuned"):
            read()
    assert len(next(iter(data.val_dataloader())).index)
    assert len(next(data.batches("train")).index) == 8


def test_a_real_fit_is_pruned(tmp_path):
    write_tuned(tmp_path)
    for limits, epochs in (([0.0, 1.1], 2), ([0.0, 0.0], 4)):
        callback = MedianPruning([0.25, 0.5], limits)
        fit = trainer(tmp_path, max_epochs=4, callbacks=[callback], limit_train_batches=2)
        pl.seed_everything(0)
        fit.fit(kdlab.Supervised(net(2, 3)), ArrayDataModule(path=str(tmp_path / "windows.npz"), batch_size=8))
        assert fit.current_epoch == epochs
        assert callback.pruned_at == (0.5 if epochs == 2 else None)
        assert None not in callback.points


@pytest.mark.slow
def test_two_jobs_that_are_killed_and_one_job_give_the_same_table(tmp_path, monkeypatch, one_thread):
    """A SIGKILL at a random moment; the same folder name, since the path of the data is part of every key."""
    folder, place = tmp_path / "study", tmp_path / "study/runs/toy/tuned"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_tuned(folder)
    monkeypatch.chdir(folder)
    mark, rng = uuid.uuid4().hex, random.Random(0)  # more of them: benchmarks.long.tuned_kills
    process, wanted = start(folder, "--jobs", "2", mark=mark), rng.randrange(1, 3)
    while results(folder) < wanted and process.poll() is None:
        time.sleep(0.05)
    time.sleep(rng.uniform(0, 0.5))
    assert process.poll() is None, (folder / "log.txt").read_text()[-2000:]
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(PATIENCE) == -signal.SIGKILL
    while marked(mark):  # its workers end with it
        time.sleep(0.1)
    command.main(["study.yaml"], cli.run, cli.check)
    killed = {name: (place / name).read_bytes() for name in FILES}
    (folder / "runs").rename(tmp_path / "killed")
    command.main(["study.yaml"], cli.run, cli.check)
    assert {name: (place / name).read_bytes() for name in FILES} == killed
    assert b"Tuned on validation windows alone" in killed["results.md"]
    assert b"(half_a: 4 people; half_b: 4 people). Used in fold1: half_b; fold2: half_a." in killed["results.md"]
    assert len(killed["results.csv"].splitlines()) == 1 + 6
    assert (place / "times.csv").is_file()


def planned_jobs(study, root, halves):
    settings = read_settings(study, root)
    return look_up(settings) if halves else plan(study, root, settings)


@pytest.mark.parametrize(
    ("halves", "job"), [(False, "teacher_without1of9/fold1/"), (True, "tune:teacher_without1of4/half_")]
)
def test_a_refusal_of_the_windows_of_a_part_names_the_job(tmp_path, halves, job):
    """More groups than people; or enough people in the folds, and not in a half."""
    crossed = {"config": "student.yaml", "teachers": {"raw": "teacher"}, "cross_fit": 4 if halves else 9}
    tune = {"people": "halves"} if halves else {"none": True}
    study = Study.read(write_tuned(tmp_path, students={"kd": crossed}, folds=4, tune=tune))
    with pytest.raises(InputError, match=rf"study\.yaml: {job}.*: cross_fit: groups must be at most [23456],"):
        planned_jobs(study, tmp_path / "runs", halves)
