"""The rules by which the weights of a run are chosen, against the metrics that the run logged."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from kdlab import cli
from kdlab.evaluate.command import main as evaluate
from kdlab.evaluate.tables import summary
from kdlab.methods.base import Method
from kdlab.methods.checkpoints import KEY, read_checkpoint
from kdlab.methods.selection import Rule, in_words
from kdlab.study.chosen import chosen_by
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


def test_the_usual_rule_is_the_lowest_loss_and_is_described(here):
    line = fit()
    assert kept(line)["epoch"] == np.argmin(column(line, "val/loss"))
    assert kept(line)[KEY]["selection"] == {"rule": "best", "monitor": "val/loss", "mode": "min"}
    assert not [name for name in line.trainer.callback_metrics if "smoothed" in name]


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


@pytest.mark.parametrize("rule", ["smoothed", "last"])
def test_a_resumed_fit_chooses_as_an_uninterrupted_one(here, rule, monkeypatch):
    words = [f"--selection={rule}", "--monitor=val/accuracy", "--run=toy/run"]
    whole = fit(*words, "--trainer.default_root_dir=whole")

    class Cut(Exception):
        pass

    real = Method.on_train_epoch_start

    def cut(self):
        if self.trainer.current_epoch == 4:
            raise Cut
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Method, "on_train_epoch_start", cut)
        with pytest.raises(Cut):
            fit(*words, "--trainer.default_root_dir=cut")
    resumed = fit(*words, "--trainer.default_root_dir=cut", "--ckpt_path=cut/toy/run")
    assert kept(resumed)["epoch"] == kept(whole)["epoch"]
    a, b = kept(resumed)["state_dict"], kept(whole)["state_dict"]
    assert all(torch.equal(a[name], b[name]) for name in a)
    if rule == "smoothed":
        assert column(resumed, "val/accuracy_smoothed") == pytest.approx(column(whole, "val/accuracy_smoothed"))


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
    assert in_words(Rule().described([])) == "lowest val/loss"
    assert in_words(Rule("last").described([])) == "last epoch"
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
    assert "by: the peak of the teacher (teacher_raw); lowest val/loss (scratch); last epoch (kd)." in text
    assert "- teacher_raw: the peak is the last epoch in 1 of 2 fits (fold1)." in text
    plain = write_report([study_row()], [], tmp_path, name="s", draw=False).read_text()
    assert "chosen on validation windows by: lowest val/loss." in plain
    assert "Peaks of the teachers" not in plain


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
    usual = path.with_name("best.ckpt")
    assert chosen_by(read_checkpoint(usual)[KEY], usual) == {}
