"""The rules by which the weights of a run are chosen, against the metrics that the run logged."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from kdlab import cli
from kdlab.callbacks import EarlyStoppedTeacher
from kdlab.default_rule import rule_in, rule_of
from kdlab.evaluate.command import main as evaluate
from kdlab.evaluate.tables import summary
from kdlab.files import read_yaml
from kdlab.methods.base import Method
from kdlab.methods.checkpoints import KEY, read_checkpoint
from kdlab.methods.selection import EARLIER, Rule, in_words
from kdlab.study.chosen import chosen_by, rules_in_words
from kdlab.study.report import write_report
from kdlab.types import InputError
from tests.conftest import REPOSITORY

SCRATCH = str(REPOSITORY / "experiments/basic_motions/scratch.yaml")
FAST = [
    "--model.init_args.net.init_args.depth=10",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--data.init_args.batch_size=8",
    "--data.init_args.val_fraction=0.5",
]
EPOCHS = 7


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fit(*words, epochs=EPOCHS):
    return cli.run(["fit", "--config", SCRATCH, *FAST, f"--trainer.max_epochs={epochs}", *words])


def kept(line, name="best"):
    return read_checkpoint(line.trainer.log_dir + f"/checkpoints/{name}.ckpt")


def column(line, metric):
    """The values of a metric, one per epoch, as they were logged."""
    with open(line.trainer.log_dir + "/metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(metric)]
    return np.array([float(row[metric]) for row in rows])


def test_each_rule_keeps_the_epoch_that_its_metrics_name(here):
    for monitor, best in (("val/accuracy", np.argmax), ("val/loss", np.argmin)):
        line = fit(f"--monitor={monitor}", "--selection=smoothed", "--smoothing=2")
        logged = column(line, monitor)
        smoothed = pd.Series(logged).rolling(2, min_periods=1).mean().to_numpy()
        assert len(logged) == EPOCHS
        assert column(line, f"{monitor}_smoothed") == pytest.approx(smoothed, abs=1e-6)
        found = kept(line)
        assert found["epoch"] == best(column(line, f"{monitor}_smoothed"))
        mode = "max" if best is np.argmax else "min"
        rule = {"rule": "smoothed", "monitor": monitor, "mode": mode, "smoothing": 2}
        assert found[KEY]["selection"] == rule
    line = fit("--selection=last")
    assert kept(line)["epoch"] == EPOCHS - 1
    assert kept(line)[KEY]["selection"] == {"rule": "last"}
    same = (kept(line)["state_dict"], kept(line, "last")["state_dict"])
    assert all(torch.equal(same[0][name], same[1][name]) for name in same[0])


def test_the_usual_rule_is_the_last_epoch_and_is_described(here):
    line = fit("--trainer.max_steps=25", epochs=-1)  # it ends within an epoch
    assert kept(line)["global_step"] == kept(line, "last")["global_step"] == 25
    assert kept(line)[KEY]["selection"] == {"rule": "last"}
    assert not [name for name in line.trainer.callback_metrics if "smoothed" in name]
    said = read_yaml(line.trainer.log_dir + "/config.yaml", "config")
    assert (said["selection"], said["monitor"], said["mode"]) == ("last", None, None)


def test_a_monitor_that_is_named_chooses_as_it_did(here):
    line = fit("--monitor=val/loss")
    assert kept(line)["epoch"] == np.argmin(column(line, "val/loss"))
    assert kept(line)[KEY]["selection"] == EARLIER
    said = read_yaml(line.trainer.log_dir + "/config.yaml", "config")
    assert (said["selection"], said["monitor"], said["mode"]) == ("best", "val/loss", "min")


def test_the_rule_of_a_config_that_names_none():
    stop, teacher = EarlyStopping("val/kappa", mode="max"), EarlyStoppedTeacher("val/f1")
    known = {"rule": "smoothed", "monitor": "val/f1", "mode": "max", "smoothing": 5}
    none = (None, None, None, 3)
    assert rule_of(*none) == rule_of("last", "val/loss", None, 3) == Rule()
    assert rule_of(None, "val/loss", None, 3) == rule_of(None, None, "min", 3) == Rule.read(EARLIER)
    assert rule_of(*none, [EarlyStopping("train/loss")]).selection == "last"
    assert rule_of(*none, [EarlyStopping("train/loss"), stop]).watched == ("val/kappa", "max")
    assert rule_of(*none, [teacher]).watched == ("val/f1", "max")
    assert rule_of(*none, [EarlyStoppedTeacher()]).described([]) == EARLIER
    assert rule_of("last", None, None, 3, [teacher], EARLIER).selection == "last"
    assert rule_of(None, "val/loss", None, 3, [teacher], known).described([]) == EARLIER
    assert rule_of(*none, [teacher], known).described([]) == known
    with pytest.raises(InputError, match="selection: must be one of best"):
        rule_of(*none, [], {"rule": 3})


def test_a_fit_that_stops_early_keeps_the_best_by_what_it_monitors(here):
    stop = "{class_path: EarlyStopping, init_args: {monitor: val/accuracy, mode: max, patience: 2}}"
    line = fit(f"--trainer.callbacks+={stop}", epochs=30)
    accuracy = column(line, "val/accuracy")
    assert kept(line)["epoch"] == np.argmax(accuracy) == len(accuracy) - 3
    assert kept(line)[KEY]["selection"] == {"rule": "best", "monitor": "val/accuracy", "mode": "max"}


def test_averaged_weights_are_the_mean_over_the_last_epochs(here):
    line = fit("--selection=averaged", epochs=5)
    found = kept(line)
    assert found["epoch"] == 4
    assert found[KEY]["selection"] == {"rule": "averaged", "averaged_by": "EpochAveraging"}
    weight = "net.head.weight"
    current = found["current_model_state"][weight]
    assert torch.equal(found["state_dict"][weight], current)  # start .8: the mean of one epoch
    longer = fit("--selection=averaged", epochs=10)
    means = kept(longer)
    assert not torch.equal(means["state_dict"][weight], means["current_model_state"][weight])
    exponential = "--trainer.callbacks+={class_path: lightning.pytorch.callbacks.EMAWeightAveraging}"
    assert kept(fit("--selection=averaged", exponential, epochs=2))[KEY]["selection"]["averaged_by"] == (
        "EMAWeightAveraging"
    )


class Cut(Exception):
    """In place of a kill."""


def cut_off(monkeypatch, *words, epoch=4):
    real = Method.on_train_epoch_start

    def cut(self):
        if self.trainer.current_epoch == epoch:
            raise Cut
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Method, "on_train_epoch_start", cut)
        with pytest.raises(Cut):
            fit(*words, "--trainer.default_root_dir=cut")
    return Path("cut/toy/run/version_0/checkpoints/last.ckpt")


@pytest.mark.parametrize("rule", ["smoothed", "last"])
def test_a_resumed_fit_chooses_as_an_uninterrupted_one(here, rule, monkeypatch):
    words = [f"--selection={rule}", "--monitor=val/accuracy", "--run=toy/run"]
    whole = fit(*words, "--trainer.default_root_dir=whole")
    cut_off(monkeypatch, *words)
    resumed = fit(*words, "--trainer.default_root_dir=cut", "--ckpt_path=cut/toy/run")
    assert kept(resumed)["epoch"] == kept(whole)["epoch"]
    a, b = kept(resumed)["state_dict"], kept(whole)["state_dict"]
    assert all(torch.equal(a[name], b[name]) for name in a)
    if rule == "smoothed":
        assert column(resumed, "val/accuracy_smoothed") == pytest.approx(column(whole, "val/accuracy_smoothed"))


@pytest.mark.parametrize("earlier", [False, True], ids=["described", "of an earlier version"])
def test_a_resumed_fit_keeps_the_rule_that_it_was_begun_with(here, earlier, monkeypatch):
    """Its words name none, and those of the fit that was cut off were another version's default."""
    best = ["--monitor=val/f1", "--run=toy/run"]
    whole = fit(*best, "--trainer.default_root_dir=whole")
    last = cut_off(monkeypatch, *best)
    if earlier:
        content = torch.load(last, weights_only=True)
        del content[KEY]["selection"]
        torch.save(content, last)
    assert rule_in(last) == {"rule": "best", "monitor": "val/f1", "mode": "max"}
    resumed = fit("--run=toy/run", "--trainer.default_root_dir=cut", "--ckpt_path=cut/toy/run")
    assert kept(resumed)["epoch"] == kept(whole)["epoch"] == np.argmax(column(whole, "val/f1"))
    assert kept(resumed)[KEY]["selection"] == {"rule": "best", "monitor": "val/f1", "mode": "max"}


def test_evaluate_shows_the_rule(here, capsys):
    line = fit("--monitor=val/f1", epochs=2)
    results = evaluate([line.trainer.log_dir, "--out", "out", "--trust-config"], cli.build)
    assert "highest val/f1" in summary(results)
    assert "highest val/f1" in (here / "out/results.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--selection=smoothed", "--monitor=train/loss"], "smoothed must have a monitor that is measured on valid"),
        (["--selection=smoothed", "--smoothing=1"], "smoothing: must be at least 2"),
        (["--selection=smoothed", "--monitor=val/acuracy", "--mode=max"], "must be a metric that is logged.*acuracy"),
        (["--monitor=epoch", "--mode=max"], "write selection: last"),
    ],
)
def test_a_rule_that_cannot_choose_is_refused_before_the_fit(here, words, message):
    with pytest.raises(InputError, match=message):
        fit(*words, epochs=1)
    assert not list(here.rglob("best.ckpt"))


def test_rules_in_words():
    assert in_words(EARLIER) == in_words(Rule("best").described([])) == "lowest val/loss"
    assert in_words(Rule().described([])) == in_words(Rule("last").described([])) == "last epoch"
    assert in_words(Rule("best", "val/kappa", "max").described([])) == "highest val/kappa"
    with pytest.raises(InputError, match=r"^selection: must be one of best, smoothed, last, averaged, but got 'first'"):
        Rule("first")
    with pytest.raises(InputError, match="mode must be min or max"):
        Rule("best", "val/kappa")


def study_row(run="kd", **more):
    row = {"run": run, "stage": "student", "labels": {}, "seed": 0, "fold": "fold1", "view": "raw", "shared": False}
    return {**row, "test_accuracy": 0.9, "best_epoch": 3, **more}


def test_a_study_says_how_weights_were_chosen_and_where_a_peak_is_the_end(tmp_path):
    teacher = {"stage": "teacher", "shared": True, "last_epoch": 14}
    rows = [
        study_row("teacher_raw", **teacher, best_epoch=14),
        study_row("teacher_raw", **teacher, best_epoch=9) | {"fold": "fold2"},
        study_row("scratch"),
        study_row("kd", selection="last epoch"),
    ]
    text = write_report(rows, [], tmp_path, name="s", draw=False).read_text()
    assert "by: the peak of the teacher (teacher_raw); lowest val/loss (scratch)." in text
    assert "Weights that validation did not choose: last epoch (kd)." in text
    assert "- teacher_raw: the peak is the last epoch in 1 of 2 fits (fold1)." in text
    plain = write_report([study_row()], [], tmp_path, name="s", draw=False).read_text()
    assert "chosen on validation windows by: lowest val/loss." in plain
    assert "Peaks of the teachers" not in plain
    assert "The epochs that validation chose, and the accuracy of the last epoch beside it" in plain
    one_rule = [study_row("ema", selection="averaged weights (EpochAveraging)")]
    assert rules_in_words(one_rule) == "Weights: averaged weights (EpochAveraging)."
    rows = [study_row("kd", selection="last epoch"), study_row("scratch", selection="last epoch")]
    text = write_report(rows, [], tmp_path, name="s", draw=False).read_text()
    assert "All weights are those of the last epoch; no epoch was chosen." in text
    assert "The epochs whose weights are tested, which are the last" in text
    assert "validation chose" not in text


def test_the_row_of_a_job_has_its_rule_and_the_last_epoch_of_a_teacher(here):
    line = fit("--monitor=val/accuracy", epochs=2)
    path = Path(line.trainer.log_dir, "checkpoints/best.ckpt")
    assert chosen_by(read_checkpoint(path)[KEY], path) == {"selection": "highest val/accuracy"}
    stop = "--trainer.callbacks+={class_path: EarlyStoppedTeacher, init_args: {smoothing: 1, stop: false}}"
    line = fit(stop, epochs=2)
    path = Path(line.trainer.log_dir, "checkpoints/teacher.ckpt")
    described = read_checkpoint(path)[KEY]
    assert chosen_by(described, path) == {"last_epoch": 1}
    assert "selection" not in described  # its provenance names its own metric
    loss = path.with_name("best.ckpt")
    assert chosen_by(read_checkpoint(loss)[KEY], loss) == {}  # as rows of earlier versions, which had one rule
    path = Path(fit(epochs=1).trainer.log_dir, "checkpoints/best.ckpt")
    assert chosen_by(read_checkpoint(path)[KEY], path) == {"selection": "last epoch"}
