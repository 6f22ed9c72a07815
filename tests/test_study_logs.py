"""Studies that log: each job is a run of its own, and a logger neither retrains what is done nor fails late."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
import yaml

from benchmarks.long.small_study import write_study
from benchmarks.long.wandb_study import read_back
from kdlab import cli
from kdlab.fingerprint import config_without_people
from kdlab.study import plan as planning
from kdlab.study.command import main
from kdlab.study.loggers import check_loggers, log_scores, name_runs
from kdlab.study.plan import Study
from kdlab.study.planned import plan as planned
from kdlab.study.tuning.run import look_up, read_settings
from kdlab.types import InputError
from tests.conftest import REPOSITORY
from tests.test_cli import FAST, SCRATCH
from tests.test_study import plan, toy
from tests.tuned import write_tuned
from tests.wandb_file import read_run, read_summary

OFFLINE = {"class_path": "WandbLogger", "init_args": {"project": "kdlab", "save_dir": "runs", "offline": True}}


def study(*words):
    main(["study.yaml", *words], cli.run, cli.check)


@pytest.fixture
def here(tmp_path, monkeypatch):
    wandb.teardown()  # its service would go on in the folder of the last test
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    wandb.teardown()


def offline_runs(folder):
    wandb.teardown()  # its service has written everything when it has ended
    return sorted(folder.glob("runs/wandb/offline-run-*"))


def keys(jobs):
    return {name: job.key for name, job in jobs.items()}


# ---------------------------------------------------------------------- logging
def test_each_job_is_a_run_of_its_own_and_the_report_the_last(here, capsys):
    """The loggers stand in the run configs, stacked with the shipped one."""
    (here / "wandb.yaml").write_text((REPOSITORY / "experiments/base/wandb.yaml").read_text())
    stacked = {"config": ["supervised.yaml", "wandb.yaml"]}
    student = {"config": ["student.yaml", "wandb.yaml"], "teachers": {"raw": "teacher"}}
    runs = {"teachers": {"teacher": stacked}, "scratch": {"scratch": stacked}, "students": {"kd": student}}
    toy(here, seeds=1, measure=["robustness", "embeddings"], **runs)
    study()
    runs = [(*read_run(folder), *read_summary(folder)) for folder in offline_runs(here)]
    assert [(r[3].run_group, r[3].display_name, r[3].job_type, r[5]) for r in runs] == [
        ("toy/study", "teacher/seed0", "teacher", 0),
        ("toy/study", "scratch/seed0", "scratch", 0),
        ("toy/study", "kd/seed0", "student", 0),
        ("toy/study", "report", "report", 0),
    ]
    rows = {p.parts[-3]: json.loads(p.read_text()) for p in here.glob("runs/toy/study/*/*/result.json")}
    for config, history, pictures, run, summary, _ in runs[:3]:
        row = rows[run.display_name.partition("/")[0]]
        assert summary["test/accuracy"] == row["test_accuracy"]
        assert summary["val/accuracy"] == row["val_accuracy"]
        assert summary["test/accuracy_noise3"] == row["test_accuracy_noise3"]
        assert config["data"]["class_path"].endswith("BasicMotions")
        assert config["fingerprint"]["dataset"] == "basic_motions"
        assert {"train/loss", "val/loss", "test/accuracy"} <= history
        assert {"views", "confusion_val"} <= {name.split("/")[0] for name in pictures}
        assert list(run.tags) == ["seed=0"]
    config, _, pictures, _, summary, _ = runs[3]
    assert {"results", "accuracy", "differences", "embeddings"} <= pictures
    assert (summary["jobs"], summary["failed"]) == (3, 0)
    assert summary["kd/test_accuracy"] == rows["kd"]["test_accuracy"]
    table = json.loads(next(offline_runs(here)[3].rglob("results_*.table.json")).read_text())
    accuracy = [line[table["columns"].index("test_accuracy")] for line in table["data"]]
    assert accuracy == [rows[name]["test_accuracy"] for name in ("teacher", "scratch", "kd")]

    study()  # nothing is new: nothing is logged again
    assert len(offline_runs(here)) == 4

    half = next(here.glob("runs/toy/study/kd/*"))  # cut after its fit, before it was measured
    (half / "result.json").unlink()
    study()
    runs = [(*read_run(folder), *read_summary(folder)) for folder in offline_runs(here)]
    assert len(runs) == 5  # the report is as it was
    config, history, _, run, summary, code = runs[4]
    assert (run.run_group, run.display_name, run.job_type, code) == ("toy/study", "kd/seed0", "student", 0)
    assert summary["test/accuracy"] == rows["kd"]["test_accuracy"]
    assert summary["val/accuracy"] == rows["kd"]["val_accuracy"]
    assert config["fingerprint"]["dataset"] == "basic_motions"
    assert config["teachers"]["raw"]["hash"]
    assert not (half / "version_1/checkpoints").exists()
    assert "FAILED" not in capsys.readouterr().out


def test_several_processes_log_runs_of_their_own(here):
    """The small twin of ``benchmarks/long/wandb_study.py``: a logger of the study file, two jobs at a time."""
    write_study(here, seeds=1, epochs=2, logger=OFFLINE)
    study("--jobs", "2")
    assert len(offline_runs(here)) == 4
    found, wrong = read_back(here)
    assert not wrong
    assert found == {"teacher": 1, "scratch": 1, "student": 1, "report": 1}


def test_a_run_that_fails_is_marked_as_failed(here, monkeypatch):
    toy(here, seeds=1, logger=OFFLINE)
    monkeypatch.setattr("kdlab.study.job.evaluate", lambda *_, **__: 1 / 0)
    with pytest.raises(SystemExit, match="3 of 3 jobs have no result"):
        study()
    (folder, other) = offline_runs(here)
    assert [read_summary(folder)[1], read_summary(other)[1]] == [1, 1]  # and no report without a row
    assert wandb.run is None


# ---------------------------------------------------------------------- people
def test_a_service_is_given_no_name_of_a_person(here, monkeypatch):
    """Neither the split, nor the config of a fold, nor the name of its folder."""
    told = []
    service = SimpleNamespace(log_hyperparams=told.append, log_metrics=lambda *_, **__: None)
    split = {"grouping": "subject", "train": ["Anna", "Ben"], "val": ["Cy"], "test": ["Dora"], "id": "0f"}
    log_scores(SimpleNamespace(loggers=[service], global_step=3), {"test_accuracy": 0.5}, {"fingerprint": split})
    assert told == [
        {"fingerprint": {"grouping": "subject", "train": 2, "val": 1, "test": 1, "id": told[0]["fingerprint"]["id"]}}
    ]
    assert told[0]["fingerprint"]["id"] != "0f"  # it is of the names

    changes = {"folds": "leave_one_subject_out", "tune": {"none": True}, "logger": OFFLINE}
    monkeypatch.delenv("KDLAB_SALT", raising=False)
    bare = planned(Study.read(write_tuned(here, **changes)), here / "runs")[1]
    monkeypatch.setenv("KDLAB_SALT", "a salt of a laboratory")
    named = planned(Study.read(write_tuned(here, **changes)), here / "runs")[1]
    hidden = planned(Study.read(write_tuned(here, people="hashed", **changes)), here / "runs")[1]
    assert list(named) == list(hidden)
    for name, job in hidden.items():
        fold = job.config["data"]["init_args"]["test_subjects"][0]
        assert name.split("/")[1] == f"subject{fold}"
        logger = job.config["trainer"]["logger"]
        assert re.fullmatch(rf"{job.run}/subject-h[0-9a-f]{{12}}/\w+", logger["init_args"]["name"])
        assert logger["dict_kwargs"]["tags"][1] == f"fold={logger['init_args']['name'].split('/')[1]}"
        for logged in map(config_without_people, (job.config, named[name].config, bare[name].config)):
            assert logged["data"]["init_args"]["test_subjects"] == 1
            assert f"subject{fold}" not in str(logged)
        assert named[name].config["trainer"]["logger"] == logger
        key = bare[name].key
        assert bare[name].config["trainer"]["logger"]["dict_kwargs"]["tags"] == ["seed=0", f"fold=subject-{key}"]
    assert "/subject-" in str(config_without_people(hidden["kd/subject3/seed0"].config)["model"])  # of its teacher


def test_trials_are_logged_without_names(here, monkeypatch):
    """Each trial of a fold that is called after a person, and of halves, whose people are tested by none."""
    monkeypatch.setenv("KDLAB_SALT", "a salt of a laboratory")
    tags = set()
    for people in ("fold", "halves"):
        path = write_tuned(here, folds="leave_one_subject_out", tune={"people": people}, logger=OFFLINE)
        settings = read_settings(Study.read(path), here / "runs")
        for job in look_up(settings)[0].jobs.values():
            logger = config_without_people(job.config)["trainer"]["logger"]
            assert not re.search("subject[0-9]", str(logger))
            tags.add(logger["dict_kwargs"]["tags"][1])
    assert len(tags) == 8 + 2
    assert {"fold=half_a", "fold=half_b"} < tags


def test_a_single_fit_says_how_many_people_it_tests(here):
    (here / "logger.yaml").write_text(yaml.safe_dump({"trainer": {"logger": OFFLINE}}))
    write_tuned(here)
    words = ["--config", "supervised.yaml", "--config", "logger.yaml", "--data.init_args.test_subjects", "[2,3]"]
    cli.run(["fit", *words, "--trainer.max_epochs", "1"])
    (folder,) = offline_runs(here)
    config, *_, run = read_run(folder)[:4]
    assert list(run.tags) == ["seed=0", "fold=2 people"]
    assert config["trainer"]["logger"]["dict_kwargs"]["tags"] == ["seed=0", "fold=2 people"]


# ---------------------------------------------------------------------- keys and settings
def test_a_logger_does_not_change_a_key(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "__version__", "0.1.0")
    before = keys(plan(toy(tmp_path)))
    study = replace(Study.read(toy(tmp_path)), earlier=True)
    began = keys(study.jobs(Path("runs"), {"": []}, lambda config: "data", batches=lambda config: 20))
    assert began == {  # of a study that an earlier version began: as they have always been
        "teacher/shared": "325b977a72",
        "scratch/seed0": "325b977a72",
        "scratch/seed1": "b43c204449",
        "kd/seed0": "08f72da4bc",
        "kd/seed1": "1152aa428e",
    }
    for changes in (
        {"logger": OFFLINE},
        {"logger": "WandbLogger"},
        {"logger": [OFFLINE, {"class_path": "CSVLogger", "init_args": {"save_dir": "more"}}]},
        {"logger": False},
        {"set": {"all": {"trainer.logger": OFFLINE}}},
        {"set": {"students": {"trainer.logger": OFFLINE, "trainer.logger.init_args.project": "other"}}},
    ):
        assert keys(plan(toy(tmp_path, **changes))) == before
    bare = tmp_path / "bare.yaml"
    bare.write_text("model: {class_path: Supervised}")
    alone = {"teachers": {}, "students": {}, "scratch": {"scratch": {"config": "bare.yaml"}}}
    assert keys(plan(toy(tmp_path, **alone))) == keys(plan(toy(tmp_path, **alone, logger=OFFLINE)))


def test_the_study_file_sets_the_logger_of_all_runs_and_a_run_may_have_its_own(tmp_path):
    own = {"trainer.logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "own"}}}
    path = toy(tmp_path, logger=OFFLINE, set={"scratch": own})
    jobs = plan(path)
    logger = jobs["kd/seed1"].config["trainer"]["logger"]
    assert logger["init_args"] == {**OFFLINE["init_args"], "name": "kd/seed1"}
    assert logger["dict_kwargs"] == {"group": "toy/study", "job_type": "student"}
    assert jobs["scratch/seed0"].config["trainer"]["logger"] == own["trainer.logger"]
    assert jobs["teacher/shared"].config["trainer"]["logger"]["dict_kwargs"]["job_type"] == "teacher"
    named = name_runs({"class_path": "WandbLogger", "init_args": {"group": "mine"}}, "toy/study", "kd/seed0", "student")
    assert named["init_args"]["group"] == "mine"
    assert named["dict_kwargs"] == {"job_type": "student"}


@pytest.mark.parametrize("value", [True, 3, {}, {"init_args": {}}, [], ["WandbLogger", 3]])
def test_a_wrong_logger_is_refused(value, tmp_path):
    with pytest.raises(InputError, match=r"study\.yaml: logger must be .*, but got"):
        Study.read(toy(tmp_path, logger=value))


def test_an_id_that_all_jobs_would_share_is_refused(tmp_path):
    for name in ("id", "version"):
        logger = {**OFFLINE, "init_args": {**OFFLINE["init_args"], name: "abc"}}
        with pytest.raises(InputError, match="id and version must be left out in a study, but got 'abc'"):
            plan(toy(tmp_path, logger=logger))


def test_a_single_fit_keeps_the_group_that_it_is_given(here):
    logger = {**OFFLINE, "init_args": {**OFFLINE["init_args"], "group": "mine", "tags": ["a"], "name": "one"}}
    (here / "logger.yaml").write_text(yaml.safe_dump({"trainer": {"logger": logger}}))
    cli.run(["fit", "--config", SCRATCH, "--config", "logger.yaml", *FAST])
    (folder,) = offline_runs(here)
    run = read_run(folder)[3]
    assert (run.run_group, run.display_name, run.job_type, list(run.tags)) == ("mine", "one", "student", ["a"])


# ---------------------------------------------------------------------- what cannot log
MISSING = {
    "WandbLogger": ["wandb"],
    "MLFlowLogger": ["mlflow"],
    "TensorBoardLogger": ["tensorboard", "tensorboardX"],
    "CometLogger": ["comet_ml"],
    "LitLogger": ["litlogger"],
}
REQUIRED = {"TensorBoardLogger": {"save_dir": "runs"}}


@pytest.mark.parametrize("name", MISSING)
@pytest.mark.parametrize("path", ["", "lightning.pytorch.loggers."])
def test_a_logger_that_is_not_installed_is_refused_in_one_line(name, path, here, monkeypatch):
    for package in MISSING[name]:
        monkeypatch.setitem(sys.modules, package, None)
    logger = {"class_path": f"{path}{name}", "init_args": REQUIRED.get(name, {})}
    toy(here, logger=logger)
    before = sorted(os.listdir())
    said = rf"^{name}: package {MISSING[name][0]}.* must be installed, but got: .*Run pip install"
    with pytest.raises(InputError, match=said) as refused:
        check_loggers(logger)
    assert "\n" not in str(refused.value)
    if not path:  # the same at the command line, where nothing is written
        (here / "logger.yaml").write_text(yaml.safe_dump({"trainer": {"logger": [logger]}}))
        with pytest.raises((InputError, SystemExit)) as refused:  # the parser itself knows LitLogger as missing
            cli.run(["fit", "--config", SCRATCH, "--config", "logger.yaml", *FAST])
        assert isinstance(refused.value, InputError) or name == "LitLogger"
        for words in ([], ["--dry-run"], ["--only", "teacher/shared"]):
            with pytest.raises(InputError, match=said):
                study(*words)
        assert sorted({*os.listdir()} - {"logger.yaml", "runs"}) == before
        assert not list(here.rglob("job.yaml"))


@pytest.mark.parametrize("value", [True, "all"])
def test_weights_cannot_be_uploaded_offline(value, here):
    logger = {**OFFLINE, "init_args": {**OFFLINE["init_args"], "log_model": value}}
    (here / "logger.yaml").write_text(yaml.safe_dump({"trainer": {"logger": logger}}))
    said = r"^WandbLogger: log_model must be false where offline is true, but got .*\. Remove log_model[^\n]*$"
    with pytest.raises(InputError, match=said):
        cli.run(["fit", "--config", SCRATCH, "--config", "logger.yaml", *FAST])
    toy(here, logger=logger)
    with pytest.raises(InputError, match=said):
        study("--dry-run")
    assert not (here / "runs").exists()
