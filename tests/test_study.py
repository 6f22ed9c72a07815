"""Studies: the file, the plan, the running, and what a kill leaves behind."""

import copy
import datetime
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from jsonargparse import Namespace
from lightning.pytorch.utilities.exceptions import SIGTERMException

from kdlab import cli, reuse
from kdlab.configs import stack
from kdlab.study import command as study_command
from kdlab.study import digests, windows
from kdlab.study.configs import set_value
from kdlab.study.folds import make_folds, set_fold
from kdlab.study.job import attempt
from kdlab.study.plan import Study
from kdlab.study.results import identity
from kdlab.study.run import run_jobs
from kdlab.study.tuning.declared import read_tune
from kdlab.types import InputError, MissingFileError
from tests.conftest import REPOSITORY

STUDIES = sorted((REPOSITORY / "experiments").rglob("study*.yaml"))


def write(folder, content, **configs):
    for name, config in configs.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({"study": "toy/study", "seeds": 2, **content}, sort_keys=False))
    return path


def toy(folder, **changes):
    net = {"class_path": "WideResNet", "init_args": {"depth": 10, "width": 1, "in_channels": 6, "num_classes": 4}}
    data = {"class_path": "BasicMotions", "init_args": {"train_per_class": 2}}
    trainer = {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1}
    supervised = {
        "trainer": trainer,
        "data": data,
        "model": {"class_path": "Supervised", "init_args": {"net": net, "view": "raw"}},
    }
    teachers = {"raw": {"checkpoint": "overwritten"}}
    student = {
        "trainer": trainer,
        "data": data,
        "model": {"class_path": "KD", "init_args": {"student": net, "teachers": teachers}},
    }
    content = {
        "teachers": {"teacher": {"config": "supervised.yaml", "one_per": "fold"}},
        "scratch": {"scratch": {"config": "supervised.yaml"}},
        "students": {"kd": {"config": "student.yaml", "teachers": {"raw": "teacher"}}},
        **changes,
    }
    return write(folder, content, supervised=supervised, student=student)


def plan(path, root="runs"):
    study = Study.read(path)
    return study.jobs(Path(root), {"": []}, lambda config: "data", batches=lambda config: 20)


# ---------------------------------------------------------------------- the file
def test_configs_are_stacked_as_the_command_line_stacks_them():
    base = {"trainer": {"max_epochs": 3, "callbacks": [1]}, "model": {"class_path": "A", "init_args": {"x": 1}}}
    assert stack([base, {"trainer": {"max_epochs": 5}}])["trainer"] == {"max_epochs": 5, "callbacks": [1]}
    assert stack([base, {"trainer": {"callbacks+": 2}}])["trainer"]["callbacks"] == [1, 2]
    assert stack([base, {"model": {"class_path": "B"}}])["model"] == {"class_path": "B", "init_args": {"x": 1}}
    other = {"class_path": "B", "init_args": {"y": 2}}
    assert stack([base, {"model": other}])["model"] == other
    assert base["trainer"]["callbacks"] == [1]


def test_a_value_cannot_be_set_below_a_number():
    with pytest.raises(InputError, match="leads through 'b', which is 3"):
        set_value({"a": {"b": 3}}, "a.b.c", 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sedes": 3}, "unknown name 'sedes'.*Did you mean 'seeds'"),
        ({"seeds": 0}, "seeds must be"),
        ({"seeds": 1001}, "seeds must be at most 1,000, but got 1001. Did you mean one seed, seeds: .1001."),
        ({"seeds": [2**32]}, "seeds must be from 0 to 4294967295, but got 4294967296"),
        ({"seeds": [1, 1]}, "seeds must be different"),
        ({"folds": "leave_one_out"}, "folds must be"),
        ({"scratch": {"scratch": {"config": "gone.yaml"}}}, "gone.yaml' is not there"),
        ({"scratch": {"scratch": "supervised.yaml"}}, "must be {config"),
        ({"scratch": {"teacher": {"config": "supervised.yaml"}}}, "another run of this name"),
        ({"students": {"kd": {"config": "student.yaml"}}}, "names teacher 'raw', but the study does not name its run"),
        ({"students": {"kd": {"config": "student.yaml", "teachers": {"raw": "techer"}}}}, "Did you mean 'teacher'"),
        ({"scratch": {"scratch": {"config": "supervised.yaml", "axes": ["size"]}}}, "unknown name 'size'"),
        ({"scratch": {"scratch": {"config": "supervised.yaml", "init": "scratch"}}}, "nothing can be run first"),
        ({"teachers": {"teacher": {"config": "supervised.yaml", "one_per": "seeds"}}}, "'seed' or 'fold'"),
        ({"set": {"student": {}}}, "Did you mean 'students'"),
        ({"baselines": ["plain"]}, "unknown name 'plain'"),
        ({"baselines": "scratch"}, "must be a list of names"),
        ({"published": {"kd": 94.0}}, "must be {value, source, note}, but got 94.0"),
        ({"study": "../outside"}, "study must be <data set>/<name>"),
        (
            {"set": {"students": {"data.init_args.corruption": {"class_path": "Corruption"}}}},
            r"study.yaml: set: students: data.init_args.corruption must be left out, .* Write measure: \[robustness\]",
        ),
        (
            {"axes": {"size": {"a": {}, "b": {"data.init_args.corruption.init_args.severity": 2}}}},
            r"study.yaml: axis 'size': b: data.init_args.corruption.init_args.severity must be left out",
        ),
        (
            {"scratch": {"scratch": {"config": "supervised.yaml", "set": {"data.init_args": {"corruption": "Noise"}}}}},
            r"study.yaml: scratch: scratch: set: data.init_args.corruption must be left out, .* but got 'Noise'",
        ),
        ({"seeds": [True]}, "seeds must be"),
        ({"axes": ["size"]}, "axes: must be a mapping"),
        ({"axes": {"size": {"a/b": {}}}}, "may not hold /"),
        ({"students": {"kd": {"config": "student.yaml", "teachers": "teacher"}}}, "teachers: must be a mapping"),
        ({"scratch": {"scratch": {"config": 5}}}, "must be {config"),
        (
            {"students": {"kd": {"config": "student.yaml", "teachers": {"raw": "teacher", "pi": "teacher"}}}},
            "its config has no teacher 'pi'; it names 'raw'",
        ),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        Study.read(toy(tmp_path, **changes))


def test_a_corruption_is_refused_wherever_it_comes_from(tmp_path):
    path = toy(tmp_path)
    config = yaml.safe_load((tmp_path / "student.yaml").read_text())
    corrupted = {"data": {**config["data"], "init_args": {"corruption": {"class_path": "Corruption"}}}}
    (tmp_path / "student.yaml").write_text(yaml.safe_dump({**config, **corrupted}))
    with pytest.raises(InputError, match=r"study.yaml: students: kd: config: student.yaml: data.init_args.corruption"):
        Study.read(path)
    clean = Study.read(toy(tmp_path, set={"all": {"data.init_args.corruption": None}}))
    assert clean.name == "toy/study"
    found = {"data.init_args.corruption": "Corruption"}  # by a tuning of an earlier version
    with pytest.raises(InputError, match=r"study.yaml: settings of kd: data.init_args.corruption must be left out"):
        clean.jobs(tmp_path, {"": []}, lambda config: "data", lambda run, labels, fold: found if run == "kd" else {})


def test_a_file_that_is_not_there_says_where_its_name_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()
    with pytest.raises(MissingFileError, match=rf"^study: 'gone\.yaml' is not there.*working directory \({tmp_path}\)"):
        Study.read("gone.yaml")
    for changes in ({"include": "gone.yaml"}, {"scratch": {"scratch": {"config": "gone.yaml"}}}):
        file = toy(tmp_path / "below", **changes)
        with pytest.raises(MissingFileError, match=rf"'{tmp_path}/below/gone\.yaml' is.*the folder of the study file"):
            Study.read(file)


@pytest.mark.parametrize("content", ["{run: toy/kd, include: data.yaml}", "{model: {class_path: KD}, trainer: {}}"])
def test_the_config_of_a_run_is_no_study(tmp_path, content):
    (tmp_path / "a run.yaml").write_text(content)
    with pytest.raises(InputError, match=r"must name several runs, but is the config of one.*--config '.*a run\.yaml'"):
        Study.read(tmp_path / "a run.yaml")


def test_what_seeds_share_may_not_need_what_each_seed_has(tmp_path):
    scratch = {"scratch": {"config": "supervised.yaml", "init": "base", "one_per": "fold"}}
    with pytest.raises(InputError, match="one per fold, but needs base, which is one per seed"):
        Study.read(toy(tmp_path, scratch={"base": {"config": "supervised.yaml"}, **scratch}))


# ---------------------------------------------------------------------- the plan
def test_one_teacher_serves_the_seeds(tmp_path):
    jobs = plan(toy(tmp_path))
    assert list(jobs) == ["teacher/shared", "scratch/seed0", "scratch/seed1", "kd/seed0", "kd/seed1"]
    teacher = jobs["teacher/shared"]
    assert [jobs[f"kd/seed{s}"].needs for s in (0, 1)] == [("teacher/shared",)] * 2
    entry = jobs["kd/seed1"].config["model"]["init_args"]["teachers"]["raw"]
    assert entry == {"checkpoint": str(teacher.folder), "view": "raw"}
    assert jobs["kd/seed1"].config["seed_everything"] == 1


def test_axes_of_teacher_and_student_make_a_grid(tmp_path):
    augment = {"none": {}, "noise": {"data.init_args.augment": "Noise"}}
    path = toy(
        tmp_path,
        axes={"taught": augment, "distilled": augment},
        teachers={"teacher": {"config": "supervised.yaml", "one_per": "fold", "axes": ["taught"]}},
        students={"kd": {"config": "student.yaml", "teachers": {"raw": "teacher"}, "axes": ["distilled"]}},
    )
    jobs = plan(path)
    students = [job for job in jobs.values() if job.run == "kd"]
    assert len(students) == 2 * 2 * 2
    job = jobs["kd[taught=noise,distilled=none]/seed0"]
    assert job.needs == ("teacher[taught=noise]/shared",)
    assert "augment" not in job.config["data"]["init_args"]
    assert jobs[job.needs[0]].config["data"]["init_args"]["augment"] == "Noise"
    assert len({j.folder for j in jobs.values()}) == len(jobs)


def test_an_axis_of_the_same_name_is_the_same_axis(tmp_path):
    sizes = {"1": {}, "2": {"trainer.max_epochs": 3}}
    path = toy(
        tmp_path,
        axes={"size": sizes},
        teachers={"teacher": {"config": "supervised.yaml", "axes": ["size"]}},
        students={"kd": {"config": "student.yaml", "teachers": {"raw": "teacher"}, "axes": ["size"]}},
    )
    jobs = plan(path)
    assert jobs["kd[size=2]/seed1"].needs == ("teacher[size=2]/seed1",)
    assert sum(job.run == "kd" for job in jobs.values()) == 4


def test_a_key_changes_with_what_it_stands_for_and_with_nothing_else(tmp_path):
    before = plan(toy(tmp_path))
    again = plan(toy(tmp_path), root="elsewhere")
    assert {n: j.key for n, j in before.items()} == {n: j.key for n, j in again.items()}
    longer = plan(toy(tmp_path, set={"scratch": {"trainer.max_epochs": 9}}))
    changed = {name for name in before if before[name].key != longer[name].key}
    assert changed == {"scratch/seed0", "scratch/seed1"}
    taught = plan(toy(tmp_path, set={"teachers": {"trainer.max_epochs": 9}}))
    assert {n for n in before if before[n].key != taught[n].key} == {"teacher/shared", "kd/seed0", "kd/seed1"}
    study = Study.read(toy(tmp_path))
    other = study.jobs(Path("runs"), {"": []}, lambda config: "other data")
    assert all(other[name].key != before[name].key for name in before)


def test_a_key_knows_who_teaches_in_which_role(tmp_path):
    teachers = {name: {"config": "supervised.yaml", "set": {"trainer.max_epochs": n}} for n, name in enumerate("ab", 1)}
    both = {"model.init_args.teachers": {"raw": {"view": "raw"}, "two": {"view": "raw"}}}

    def key(roles, **more):
        students = {"kd": {"config": "student.yaml", "set": both, "teachers": roles, **more}}
        return plan(toy(tmp_path, teachers=teachers, students=students))["kd/seed0"].key

    keys = [key({"raw": "a", "two": "b"}), key({"raw": "b", "two": "a"}), key({"raw": "a", "two": "b"}, init="a")]
    assert len(set(keys)) == 3


def test_reading_data_leaves_the_config_as_it_is(tmp_path, monkeypatch, capsys):
    """Nested lists and mappings of classes, which a parser would replace by what it made of them."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for person in "abcdef":
        for sensor in ("acc", "gyro"):
            table = {"t": np.arange(160) / 20, "x": rng.normal(size=160), "label": np.repeat(["sit", "walk"], 80)}
            (tmp_path / "data" / person).mkdir(parents=True, exist_ok=True)
            pd.DataFrame(table).to_csv(tmp_path / "data" / person / f"{sensor}.csv", index=False)
    files = {"acc": {"file": "acc", "columns": {"ax": "x"}}, "gyro": {"file": "gyro", "columns": {"gx": "x"}}}
    recorded = {"root": "data", "channels": ["ax", "gx"], "sampling_rate": 20, "window": 20, "time": "t"}
    recorded |= {"subject": {"folder": 0}, "label": {"column": "label"}, "batch_size": 2}
    np.savez("own.npz", x=rng.normal(size=(48, 2, 20)), y=np.arange(48) % 2, subject=np.arange(48) // 8)
    scale = {"raw": {"class_path": "kdlab.data.Scale", "init_args": {"offset": [0, 0], "divisor": [1, 1]}}}
    some = {
        "RecordingDataModule": {**recorded, "sensors": {"by": [{"folder": 0}], "files": files}},
        "ArrayDataModule": {"path": "own.npz", "batch_size": 2, "scale": scale},
    }
    checks = {"RecordingDataModule": cli.check, "ArrayDataModule": lambda words: None}
    for name, arguments in some.items():
        data = {"class_path": name, "init_args": arguments}
        before = copy.deepcopy(data)
        windows.make_data({"data": data})
        assert data == before
        net = {"class_path": "WideResNet", "init_args": {"depth": 10, "width": 1, "in_channels": 2, "num_classes": 2}}
        model = {"class_path": "Supervised", "init_args": {"net": net}}
        config = {"trainer": {"max_epochs": 1, "accelerator": "cpu"}, "data": data, "model": model}
        path = write(tmp_path, {"teachers": {}, "scratch": {"s": {"config": "own.yaml"}}, "folds": 2}, own=config)
        study_command.main([str(path), "--dry-run"], None, checks[name])
        assert "0 done" in capsys.readouterr().out
        windows.forget()


def test_what_is_no_json_is_refused_in_a_key():
    assert digests.as_text([datetime.date(2026, 1, 2)]) == '["2026-01-02"]'
    with pytest.raises(InputError, match=r"values must be those of JSON, or dates, but got Namespace\(a=1\)"):
        digests.as_text({"by": Namespace(a=1)})


def test_the_fingerprint_knows_every_window_and_label(tmp_path):
    rng = np.random.default_rng(0)
    x, y, subject = rng.normal(size=(24, 2, 16)), np.arange(24) % 2, np.arange(24) // 3

    def found(x, y):
        np.savez(tmp_path / "own.npz", x=x, y=y, subject=subject)
        windows.forget()
        own = {"path": str(tmp_path / "own.npz"), "batch_size": 2, "test_subjects": [7]}
        return windows.fingerprint({"data": {"class_path": "ArrayDataModule", "init_args": own}})

    louder = np.where((subject == 7)[:, None, None], 3 * x, x)  # the test subject alone, so no training number changes
    swapped = np.where(subject == 7, 1 - y, y)
    assert len({found(x, y), found(louder, y), found(x, swapped)}) == 3
    assert found(x, y) == found(x, y)


def test_folds_test_every_subject_once_and_are_about_equally_large():
    windows = {str(i): 100 + 7 * i for i in range(23)}
    folds = make_folds(5, windows)
    tested = [name for group in folds.values() for name in group]
    assert sorted(tested) == sorted(windows)
    sizes = [sum(windows[name] for name in group) for group in folds.values()]
    assert max(sizes) / min(sizes) < 1.2
    assert make_folds("leave_one_subject_out", windows)["subject7"] == ["7"]
    assert make_folds([[1, 2], [3]], windows) == {"fold1": ["1", "2"], "fold2": ["3"]}


@pytest.mark.parametrize(
    ("folds", "windows", "message"),
    [
        (3, {}, "subjects of this data set are unknown"),
        (9, {"a": 1, "b": 1}, "must be 2 to 2 groups"),
        ([["a"], ["a", "b"]], {"a": 1, "b": 1}, "in two folds"),
        ([["z"]], {"a": 1}, "no subject z"),
    ],
)
def test_wrong_folds_are_refused(folds, windows, message):
    with pytest.raises(InputError, match=message):
        make_folds(folds, windows)


def test_a_fold_sets_who_is_tested(tmp_path):
    path = toy(tmp_path)
    jobs = Study.read(path).jobs(Path("runs"), {"fold1": ["3", "4"], "fold2": ["5"]}, lambda config: "data")
    assert jobs["scratch/fold1/seed0"].config["data"]["init_args"]["test_subjects"] == ["3", "4"]
    assert jobs["kd/fold2/seed1"].needs == ("teacher/fold2/shared",)
    config = {"data": {"class_path": "PAMAP2", "init_args": {}}}
    set_fold(config, ["105"])
    assert config["data"]["init_args"] == {"test_subject": "105"}
    with pytest.raises(InputError, match="one subject at a time"):
        set_fold(config, ["105", "106"])


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_shipped_studies_can_be_planned(path, tmp_path):
    jobs = plan(path)
    assert len(jobs) > 5
    included = yaml.safe_load(path.read_text()).get("include")
    files = [included] if isinstance(included, str) else included or []
    read = {run for file in files if "study" in file for run in Study.read(path.parent / file).runs}  # tested itself
    with reuse.reusing():
        for job in jobs.values():  # every config is accepted as the command line accepts it
            if job.run not in read:
                read.add(job.run)
                (tmp_path / "job.yaml").write_text(yaml.safe_dump(job.config))
                cli.check(["fit", "--config", str(tmp_path / "job.yaml")])


def test_tables_begin_with_teachers_and_controls():
    order = Study.read(REPOSITORY / "experiments/sp_sw_har/study_methods.yaml").order
    assert order[:4] == [f"teacher_{n}" for n in ("raw", "pi", "gaf", "fusion")]
    others = order.index("ddgsd")
    assert {"scratch", "scratch_long", "scratch_patient", "kd"} <= set(order[4:others])
    assert not {"ps_kd", "amd", "tpkd"} & set(order[:others])


@pytest.mark.parametrize(
    ("name", "value", "with_it", "remedy"),
    [
        ("seed_everything", 7, {}, r"Write seeds: \[0, 1, 2\]"),
        ("run", "mine", {}, "rename its entry"),
        ("trainer.default_root_dir", "elsewhere", {}, "Pass --root"),
        ("data.init_args.test_subjects", ["1"], {"folds": [["2"], ["3"]]}, "folds decide who is tested"),
        ("data.init_args.test_subject", "1", {"folds": "leave_one_subject_out"}, "folds decide who is tested"),
        ("trainer.max_steps", 9, {"updates": 20}, "updates are the length"),
    ],
)
def test_a_setting_that_the_study_decides_is_not_taken_in_silence(tmp_path, name, value, with_it, remedy):
    entry = {"config": "supervised.yaml", "set": {name: value}}
    for given in (
        {"set": {"all": {name: value}}},
        {"set": {"scratch": {name: value}}},
        {"scratch": {"scratch": entry}},
        {"axes": {"a": {"one": {name: value}}}},
    ):
        toy(tmp_path, **with_it)  # without it the file is read
        Study.read(tmp_path / "study.yaml")
        with pytest.raises(InputError, match=f"{name} must be left out, because the study decides it.*{remedy}"):
            Study.read(toy(tmp_path, **with_it, **given))
    if with_it:
        Study.read(toy(tmp_path, set={"all": {name: value}}))
    space = {"tune": {"own": {"scratch": {name: [value, 1]}, "kd": {"model.temperature": [1.0, 2.0]}}}}
    if name.startswith(("trainer", "data")):
        with pytest.raises(InputError, match=f"own: scratch: {name} must be left out.*{remedy}"):
            read_tune(Study.read(toy(tmp_path, **with_it, **space)))


@pytest.mark.parametrize("setting", ["overfit_batches", "fast_dev_run"])
def test_what_leaves_no_validation_is_refused_before_a_study_runs(tmp_path, setting):
    path = toy(tmp_path, set={"all": {f"trainer.{setting}": 2}})
    with pytest.raises(InputError, match=f"trainer.{setting} must let the run choose a best.ckpt on validation"):
        study_command.main([str(path), "--dry-run", "--root", str(tmp_path)], None, cli.check)


def test_a_study_goes_on_from_another(tmp_path):
    toy(tmp_path, set={"students": {"trainer.max_epochs": 3}})
    more = {"students": {"also": {"config": "student.yaml", "teachers": {"raw": "teacher"}}}, "seeds": 1}

    def second(included):
        (tmp_path / "second.yaml").write_text(yaml.safe_dump({"study": "toy/second", "include": included, **more}))
        return Study.read(tmp_path / "second.yaml")

    study = second("study.yaml")
    assert (study.name, list(study.runs), study.seeds) == ("toy/second", ["teacher", "scratch", "kd", "also"], (0,))
    assert [study.runs[name].config["trainer"]["max_epochs"] for name in ("scratch", "kd", "also")] == [2, 3, 3]
    for included, message in (
        ("second.yaml", "includes itself"),
        ("../study.yaml", "same folder"),
        ("x", "second.yaml: include: .*not"),
    ):
        with pytest.raises(InputError, match=message):
            second(included)


def test_a_study_leaves_out_rows_of_the_one_that_it_includes(tmp_path):
    toy(tmp_path)

    def above(below, **content):
        content = {"study": f"toy/{below}", "include": below, **content}
        (tmp_path / "above.yaml").write_text(yaml.safe_dump(content))
        return Study.read(tmp_path / "above.yaml")

    assert list(above("study.yaml", students={"kd": None}).runs) == ["teacher", "scratch"]
    (tmp_path / "above.yaml").rename(tmp_path / "middle.yaml")
    again = {"students": {"kd": {"config": "student.yaml", "teachers": {"raw": "teacher"}}}}
    assert list(above("middle.yaml", **again).runs) == ["teacher", "scratch", "kd"]
    for rows, message in (
        ({"students": {"kdd": None}}, "students: kdd: must be {config: <file>, ...}, but got None"),
        ({"scratch": {"kd": None}}, "scratch: kd: must be {config: <file>, ...}, but got None"),
        ({"teachers": {"teacher": None}}, "kd: unknown name 'teacher'; known are scratch, kd."),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            above("study.yaml", **rows)
    with pytest.raises(InputError, match="scratch: scratch: must be"):
        Study.read(toy(tmp_path, scratch={"scratch": None}))


# ---------------------------------------------------------------------- running
class Interrupted(BaseException):
    pass


def write_row(job):
    """What a job leaves that is done, with made-up numbers."""
    numbers = ("val_accuracy", "val_f1", "test_accuracy", "test_f1", "test_nll", "test_ece", "seconds")
    counts = ("test_windows", "best_epoch", "parameters", "macs")
    bins = {"confidence": [None, 0.5], "accuracy": [None, 0.5], "count": [0, 4]}
    row = {**identity(job), "sources": "0", "view": "raw", "reliability": bins}
    row |= dict.fromkeys(numbers, 0.5) | dict.fromkeys(counts, 4)
    job.folder.mkdir(parents=True, exist_ok=True)
    job.result.write_text(json.dumps(row))
    return row


def fake(monkeypatch, fails=(), stop_after=None):
    """A run_job that trains nothing, so that what is tested is the order and what is kept."""
    ran = []

    def run_job(job, runner):
        if stop_after is not None and len(ran) == stop_after:
            raise Interrupted
        ran.append(job.name)
        if job.name in fails:
            raise ValueError(f"{job.name} exploded")
        return write_row(job)

    monkeypatch.setattr("kdlab.study.job.run_job", run_job)
    return ran


def test_a_failure_stops_only_what_needs_it(tmp_path, monkeypatch):
    jobs = plan(toy(tmp_path), tmp_path / "runs")
    fake(monkeypatch, fails=["teacher/shared"])
    outcome = run_jobs(jobs, lambda *a: SimpleNamespace())
    assert [row["job"] for row in outcome.rows] == ["scratch/seed0", "scratch/seed1"]
    assert outcome.failures["teacher/shared"] == "ValueError: teacher/shared exploded"
    assert outcome.failures["kd/seed1"] == "not run: it needs teacher/shared, which failed"
    assert "exploded" in (jobs["teacher/shared"].folder / "error.txt").read_text()


def test_a_request_to_end_ends_the_study_and_fails_no_job(tmp_path, monkeypatch):
    def run_job(job, runner):
        raise SIGTERMException

    jobs = plan(toy(tmp_path), tmp_path / "runs")
    monkeypatch.setattr("kdlab.study.job.run_job", run_job)
    with pytest.raises(SIGTERMException):
        run_jobs(jobs, lambda *a: SimpleNamespace())
    assert not list(tmp_path.rglob("error.txt"))


def test_two_studies_do_not_train_the_same_job(tmp_path):
    job = plan(toy(tmp_path), tmp_path / "runs")["teacher/shared"]
    job.folder.mkdir(parents=True)
    with (job.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        row, error = attempt(job, lambda *a: SimpleNamespace())
    assert row is None
    assert "another process runs this job" in error


def test_finished_work_is_not_repeated(tmp_path, monkeypatch):
    jobs = plan(toy(tmp_path), tmp_path / "runs")
    first = fake(monkeypatch, stop_after=3)
    with pytest.raises(Interrupted):
        run_jobs(jobs, lambda *a: SimpleNamespace())
    second = fake(monkeypatch)
    outcome = run_jobs(jobs, lambda *a: SimpleNamespace())
    assert first + second == list(jobs)
    assert [row["job"] for row in outcome.rows] == list(jobs)
    assert outcome.ran == second


SCRIPT = "import sys; from kdlab import cli; sys.argv = ['kdlab', 'study', *sys.argv[1:]]; cli.main()"


def command(folder, *words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "study.yaml", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_killed_and_run_again_gives_the_same_table(tmp_path, monkeypatch, one_thread):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # sums over several threads may differ in their last bits
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    for folder in (tmp_path / "killed", tmp_path / "whole"):
        toy(folder)
    killed = command(tmp_path / "killed")
    while len(list(tmp_path.glob("killed/runs/**/result.json"))) < 2 and killed.poll() is None:
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("killed/runs/**/result.json")}
    assert 2 <= len(before) < 5
    for name in ("killed", "whole"):
        monkeypatch.chdir(tmp_path / name)
        study_command.main(["study.yaml"], cli.run, cli.check)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    for name in ("results.md", "classes.csv", "means.csv", "results.tex", "results.csv"):
        tables = [(tmp_path / folder / "runs/toy/study" / name).read_bytes() for folder in ("killed", "whole")]
        assert tables[0] == tables[1]
    assert len(tables[0].decode().strip().splitlines()) == 6
