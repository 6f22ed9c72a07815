"""Fits of a study that were cut: they resume, and give the row of a fit that was not cut."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping

from kdlab import cli
from kdlab.study.cut import LAST, cut_checkpoint
from kdlab.study.job import attempt
from kdlab.study.plan import Study
from kdlab.study.planned import plan
from tests.test_study import toy
from tests.tuned import TUNE, write_tuned

EPOCHS = 4


class Cut(BaseException):
    """Like a signal."""


class CutAt(Callback):
    """Ends a fit at the start of an epoch."""

    def __init__(self, epoch: int = 2):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise Cut


class Stops(EarlyStopping):
    """Stops in the first epoch, whatever it brought."""

    def __init__(self):
        super().__init__("val/loss", patience=1, mode="min", min_delta=1e9)


def cut_at(epoch, ran):
    """A runner whose fits are cut once each at an epoch."""

    def runner(words, prepare):
        ran.append(list(words))
        again = [w for w in ran if w[2] == words[2]]
        more = {"class_path": f"{__name__}.CutAt", "init_args": {"epoch": epoch}}
        extra = [f"--trainer.callbacks+={json.dumps(more)}"] if len(again) == 1 else []
        return cli.run([*words, *extra], prepare)

    return runner


@pytest.fixture
def here(tmp_path, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def jobs_of(root="runs", resume=True):
    return plan(replace(Study.read("study.yaml"), resume=resume), Path(root))[1]


def both(name, epoch=2):
    """The row of a job that was cut and resumed, that of one that was not cut, and the words that ran."""
    ran = []
    runner = cut_at(epoch, ran)
    job = jobs_of("cut")[name]
    with pytest.raises(Cut):
        attempt(job, runner)
    row, error = attempt(job, runner)
    assert row is not None, error
    other, error = attempt(jobs_of("not_cut")[name], cli.run)
    assert other is not None, error
    return job, row, other, ran


def validated(folder):
    """Every validation of the only version: epoch, step and its metrics."""
    (path,) = folder.glob("version_*/metrics.csv")
    with path.open(encoding="utf-8", newline="") as file:
        names = ("epoch", "step", "val/loss", "val/accuracy")
        return [[row[name] for name in names] for row in csv.DictReader(file) if row["val/loss"]]


def test_a_fit_that_was_cut_resumes_and_gives_the_same_row(here):
    teachers = {"teacher": {"config": "supervised.yaml", "one_per": "fold"}}
    stopped = {"class_path": "EarlyStoppedTeacher", "init_args": {"patience": 3, "smoothing": 2, "monitor": "val/loss"}}
    toy(
        here,
        seeds=1,
        teachers=teachers,
        set={"all": {"trainer.max_epochs": EPOCHS}, "teachers": {"trainer.callbacks": [stopped]}},
    )
    for name in ("teacher/shared", "kd/seed0"):
        job, row, other, ran = both(name)
        assert [words[0] for words in ran] == ["fit", "fit"]
        assert ran[1][-2:] == ["--ckpt_path", str(job.folder / "version_0/checkpoints" / LAST)]
        same = [{k: v for k, v in found.items() if k != "seconds"} for found in (row, other)]
        assert same[0] == same[1]
        folders = job.folder, Path("not_cut") / job.folder.relative_to("cut")
        assert validated(folders[0]) == validated(folders[1])
        assert len(validated(folders[0])) == EPOCHS
        assert not (job.folder / "cut.json").exists()


def test_the_seconds_before_the_cut_count(here):
    toy(here, seeds=1, teachers={}, students={})
    job, ran = jobs_of()["scratch/seed0"], []
    runner = cut_at(1, ran)
    with pytest.raises(Cut):
        attempt(job, runner)
    (job.folder / "cut.json").write_text('{"seconds": 5000.0}')
    assert 5000 < attempt(job, runner)[0]["seconds"] < 6000


def test_a_trial_resumes_with_its_curve(here):
    pytest.importorskip("optuna", reason="the extra tune is not installed")
    write_tuned(here, tune={**TUNE, "common": None, "prune": [0.2, 0.4, 0.9]})
    from kdlab.study.tuning.run import look_up, read_settings

    def trial(root):
        study = replace(Study.read("study.yaml"), resume=True)
        tuned = look_up(read_settings(study, Path(root)))[0].jobs
        return next(job for name, job in tuned.items() if name.startswith("tune:scratch") and "own0" in name)

    ran = []
    runner = cut_at(1, ran)
    with pytest.raises(Cut):
        attempt(trial("cut"), runner)
    row = attempt(trial("cut"), runner)[0]
    other = attempt(trial("not_cut"), cli.run)[0]
    assert "--ckpt_path" in ran[1]
    assert row["points"] == other["points"]
    assert None not in row["points"]
    assert {**row, "seconds": 0} == {**other, "seconds": 0}


def test_nothing_is_resumed_after_the_last_epoch_or_from_what_is_damaged(here):
    toy(here, seeds=1, teachers={}, students={}, set={"all": {"trainer.max_epochs": 3}})
    job, ran = jobs_of()["scratch/seed0"], []
    assert cut_checkpoint(job) is None
    with pytest.raises(Cut):
        attempt(job, cut_at(2, ran))
    last = cut_checkpoint(job)
    assert last is not None
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 2])
    assert cut_checkpoint(job) is None
    last.write_bytes(content)
    begun = jobs_of(resume=False)["scratch/seed0"]
    assert attempt(begun, lambda words, prepare: ran.append(list(words)) or cli.run(words, prepare))[0]
    assert ran[-1] == ["fit", "--config", str(job.folder / "job.yaml")]  # without the option it begins again
    (finished,) = job.folder.glob("version_*/finished.json")
    assert cut_checkpoint(job) is None
    finished.unlink()  # as one that was killed before it was marked
    assert cut_checkpoint(job) is None


def test_a_fit_that_was_to_stop_does_not_resume(here):
    toy(here, seeds=1, teachers={}, students={}, set={"all": {"trainer.max_epochs": 9}})
    config = yaml.safe_load(Path("supervised.yaml").read_text())
    config["trainer"]["callbacks"] = [{"class_path": f"{__name__}.Stops"}]
    Path("supervised.yaml").write_text(yaml.safe_dump(config))
    job = jobs_of()["scratch/seed0"]
    assert attempt(job, cli.run)[0]["best_epoch"] < 8
    (finished,) = job.folder.glob("version_*/finished.json")
    finished.unlink()
    assert list(job.folder.rglob(LAST))
    assert cut_checkpoint(job) is None
