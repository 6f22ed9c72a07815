"""What chooses best.ckpt, and a fit that goes on: one best, one file of metrics, one run of Weights & Biases."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
import wandb
import yaml
from lightning.pytorch import Callback

from kdlab import Supervised, cli
from kdlab.data.loaders import in_mid_epoch
from kdlab.methods.checkpoints import KEY, read_checkpoint
from kdlab.resuming import interrupted_version, rows_before
from kdlab.types import InputError
from tests.conftest import REPOSITORY
from tests.wandb_file import read_run

SCRATCH = str(REPOSITORY / "experiments/basic_motions/scratch.yaml")
FAST = [
    "--model.init_args.net.init_args.depth=10",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.num_sanity_val_steps=0",
    "--data.init_args.batch_size=8",
]
OWN = "--trainer.callbacks+={{class_path: ModelCheckpoint, init_args: {{monitor: val/f1, mode: max, {}}}}}"
LOSS = (0.9, 0.2, 0.7, 0.5, 0.6)
F1 = (0.1, 0.3, 0.2, 0.8, 0.4)


class Scripted(Supervised):
    """Validates to given values."""

    def _evaluate(self, batch, stage):
        epoch = self.current_epoch
        self.log_dict({f"{stage}/loss": LOSS[epoch], f"{stage}/f1": F1[epoch], f"{stage}/accuracy": F1[epoch]})


class Interrupt(Callback):
    """Ctrl-C in an epoch."""

    def __init__(self, epoch: int = 3) -> None:
        self.epoch = epoch

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            raise KeyboardInterrupt


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(run="a/b", epochs=5, model="tests.test_resuming.Scripted"):
    fit = ["fit", "--config", SCRATCH, *FAST, f"--run={run}", f"--trainer.max_epochs={epochs}"]
    return [*fit, f"--model.class_path={model}", "--monitor=val/loss"]  # its best is epoch 1 of 5


def cut_off(*more, epoch=3, **kwargs):
    stop = f"{{class_path: tests.test_resuming.Interrupt, init_args: {{epoch: {epoch}}}}}"
    with pytest.raises(KeyboardInterrupt):
        cli.run([*words(**kwargs), *more, f"--trainer.callbacks+={stop}"])


def rows(folder):
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def best_epoch(folder):
    return read_checkpoint(folder / "checkpoints/best.ckpt")[KEY]["provenance"]["epoch"]


# ---------------------------------------------------------------- monitor and mode
@pytest.mark.parametrize(
    ("more", "epoch"),
    [
        ([], 1),
        (["--monitor=null"], 4),  # none is named: the last epoch
        (["--monitor=val/f1"], 3),
        (["--monitor=val/f1", "--mode=min"], 0),
        (["--monitor=val/loss", "--mode=max"], 0),
    ],
)
def test_the_run_chooses_what_is_best(more, epoch, here):
    cli.run([*words(), *more])
    folder = here / "runs/a/b/version_0"
    assert best_epoch(folder) == epoch
    assert read_checkpoint(folder / "checkpoints/last.ckpt")[KEY]["provenance"]["epoch"] == 4


def test_the_states_keep_their_keys(here):
    line = cli.run(words(epochs=1))
    kept = read_checkpoint(Path(line.trainer.log_dir) / "checkpoints/last.ckpt")["callbacks"]
    watching = "'mode': 'min', 'every_n_train_steps': 0, 'every_n_epochs': 1, 'train_time_interval': None}"
    assert {f"ModelCheckpoint{{'monitor': {m}, {watching}" for m in ("'val/loss'", "None")} <= set(kept)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--monitor=val/f2", "--mode=max"], "best.ckpt: monitor must be a metric that is logged, but got 'val/f2'"),
        (["--monitor=val/f2"], "monitor: mode must be min or max for the monitor 'val/f2', but got None"),
        (["--monitor=test/f1"], "best.ckpt: monitor must be measured on validation windows, but got 'test/f1'"),
        (
            [OWN.format("filename: best")],
            "ModelCheckpoint: filename must not be 'best': every run writes best.ckpt itself. To choose best.ckpt by "
            "another metric, set monitor: val/f1. Name another, such as best-2",
        ),
        (
            [OWN.format("save_last: true")],
            "ModelCheckpoint: filename must not be 'last': every run writes last.ckpt itself. Leave save_last out",
        ),
        (
            ["--trainer.callbacks+={class_path: ModelCheckpoint, init_args: {monitor: val/loss, filename: mine}}"],
            "trainer.callbacks: two callbacks of one class must have settings of their own",
        ),
    ],
)
def test_what_cannot_be_chosen_is_refused_before_a_run_folder_is_made(more, message, here):
    with pytest.raises(InputError) as raised:
        cli.run([*words(model="Supervised"), *more])
    assert message in str(raised.value)
    assert not list(here.iterdir())


def test_a_second_checkpoint_of_ones_own_has_a_file_of_its_own(here):
    own = "{class_path: ModelCheckpoint, init_args: {monitor: val/f1, mode: max, filename: mine}}"
    cli.run([*words(), f"--trainer.callbacks+={own}"])
    folder = here / "runs/a/b/version_0"
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "mine.ckpt"}
    assert best_epoch(folder) == 1


# ---------------------------------------------------------------- resumed
def test_a_resumed_fit_goes_on_in_its_version(here):
    """Best of all epochs, every row once, weights bit for bit those of a fit that was not interrupted."""
    whole = cli.run(words("whole/run"))
    cut_off()
    folder = here / "runs/a/b/version_0"
    before = (folder / "config.yaml").read_bytes()
    assert best_epoch(folder) == 1
    assert "finished.json" not in {p.name for p in folder.iterdir()}
    resumed = cli.run([*words(), "--ckpt_path", "runs/a/b"])
    assert Path(resumed.trainer.log_dir) == Path("runs/a/b/version_0")
    assert [p.name for p in folder.parent.iterdir()] == ["version_0"]
    assert best_epoch(folder) == 1  # .2, where the best since the resume is .5
    assert (folder / "config.yaml").read_bytes() == before
    assert (folder / "config_fit.yaml").is_file()
    assert json.loads((folder / "finished.json").read_text(encoding="utf-8")) == {"epochs": 5, "steps": 20}
    assert rows(folder) == rows(here / "runs/whole/run/version_0")
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    cut = read_checkpoint(here / "runs/whole/run/version_0/checkpoints/best.ckpt")["state_dict"]
    assert all(
        torch.equal(v, cut[k]) for k, v in read_checkpoint(folder / "checkpoints/best.ckpt")["state_dict"].items()
    )


def test_another_batch_size_is_refused_in_mid_epoch_before_anything_is_written(here):
    cut_off("--trainer.val_check_interval=2", epochs=2, epoch=1)
    path = here / "runs/a/b/version_0/checkpoints/last.ckpt"
    assert in_mid_epoch(read_checkpoint(path)) is False
    cli.run([*words("c/d", 2), "--trainer.max_steps=5"])
    path = here / "runs/c/d/version_0/checkpoints/last.ckpt"
    assert in_mid_epoch(read_checkpoint(path))
    before = sorted(here.rglob("*"))
    with pytest.raises(InputError, match=r"must be 8 windows per step, .*last\.ckpt' was written, but got 16\."):
        cli.run([*words("c/d", 2), "--data.init_args.batch_size=16", "--ckpt_path", str(path)])
    assert sorted(here.rglob("*")) == before


def test_a_better_epoch_after_the_resume_is_the_best(here):
    cut_off("--monitor=val/f1")
    cli.run([*words(), "--monitor=val/f1", "--ckpt_path", "runs/a/b"])
    assert best_epoch(here / "runs/a/b/version_0") == 3


def test_runs_that_were_moved_keep_their_best(here, monkeypatch):
    cut_off()
    (here / "elsewhere").mkdir()
    shutil.move(here / "runs", here / "elsewhere/runs")
    monkeypatch.chdir(here / "elsewhere")
    root = f"--trainer.default_root_dir={here}/elsewhere/runs"
    cli.run([*words(), root, "--ckpt_path", f"{here}/elsewhere/runs/a/b/version_0/checkpoints/last.ckpt"])
    assert best_epoch(here / "elsewhere/runs/a/b/version_0") == 1
    assert not (here / "runs").exists()


def test_a_finished_version_stays_and_the_next_begins_with_its_metrics_and_best(here):
    cli.run(words(epochs=3))
    old = here / "runs/a/b/version_0"
    held = {p: p.read_bytes() for p in old.rglob("*") if p.is_file()}
    line = cli.run([*words(epochs=5), "--ckpt_path", "runs/a/b"])
    assert Path(line.trainer.log_dir) == Path("runs/a/b/version_1")
    assert {p: p.read_bytes() for p in old.rglob("*") if p.is_file()} == held
    assert best_epoch(here / "runs/a/b/version_1") == 1
    cli.run(words("whole/run"))
    assert rows(here / "runs/a/b/version_1") == rows(here / "runs/whole/run/version_0")


def test_an_epoch_that_training_left_behind_begins_a_new_version(here):
    cut_off("--monitor=val/f1")  # its best is epoch 1, its last epoch 2
    line = cli.run([*words(), "--monitor=val/f1", "--ckpt_path", "runs/a/b/version_0/checkpoints/best.ckpt"])
    assert Path(line.trainer.log_dir) == Path("runs/a/b/version_1")
    assert best_epoch(here / "runs/a/b/version_1") == 3
    assert [row["step"] for row in rows(here / "runs/a/b/version_1") if "val/loss" in row] == [
        "3",
        "7",
        "11",
        "15",
        "19",
    ]


def test_another_run_from_a_checkpoint_has_a_folder_of_its_own_and_the_best_of_both(here):
    cut_off()
    line = cli.run([*words("c/d"), "--ckpt_path", "runs/a/b/version_0/checkpoints/last.ckpt"])
    assert Path(line.trainer.log_dir) == Path("runs/c/d/version_0")
    assert best_epoch(here / "runs/c/d/version_0") == 1


def test_without_a_logger_the_best_stays_the_best(here):
    cut_off("--trainer.logger=false")
    cli.run([*words(), "--trainer.logger=false", "--ckpt_path", "runs/a/b"])
    assert best_epoch(here / "runs/a/b/version_0") == 1


def test_rows_and_versions(here):
    assert rows_before(here / "metrics.csv", 3) == []
    (here / "metrics.csv").write_text("epoch,step,a\n0,3,1\n1,7,\n1,8,2\n,,\n", encoding="utf-8")
    assert [row["step"] for row in rows_before(here / "metrics.csv", 8)] == ["3", "7"]
    assert interrupted_version(here / "x.ckpt", here) is None


def test_weights_and_biases_have_one_run_over_a_resume(here):
    logger = ["--config", str(REPOSITORY / "experiments/base/wandb.yaml"), "--trainer.callbacks=null"]
    cut_off(*logger)
    cli.run([*words(), *logger, "--ckpt_path", "runs/a/b"])
    wandb.teardown()
    found = [read_run(folder) for folder in sorted((here / "runs/wandb").glob("offline-run-*"))]
    assert len(found) == 2
    (run,) = {run.run_id for *_, run in found}

    file = here / "runs/a/b/version_0/wandb.json"
    rows = json.loads(file.read_text())["rows"]
    own = [*logger, f"--trainer.logger.init_args.id={run}", "--trainer.logger.init_args.resume=allow"]
    for _ in range(2):  # a test into this run: its rows come after those of the fit, and those of the next test after
        cli.run(["test", *words()[1:], *own, "--ckpt_path", "runs/a/b"])
        before, rows = rows, json.loads(file.read_text())["rows"]
        assert rows > 2 * before + 100
    before = file.read_text()
    cli.run(["test", *words()[1:], *logger, "--ckpt_path", "runs/a/b"])  # a run of its own
    assert file.read_text() == before


def test_the_runs_of_a_study_choose_by_the_metric_of_the_study(here, monkeypatch):
    everywhere = {"monitor": "val/f1", "trainer.max_epochs": 1, "model.init_args.net.init_args.depth": 10}
    study = {"study": "toy/f1", "seeds": [0], "set": {"all": everywhere}, "scratch": {"scratch": {"config": SCRATCH}}}
    (here / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["kdlab", "study", "study.yaml"])
    cli.main()
    (best,) = (here / "runs").rglob("best.ckpt")
    watched = [key for key in read_checkpoint(best)["callbacks"] if "'val/" in key]
    assert len(watched) == 1
    assert watched[0].startswith("ModelCheckpoint{'monitor': 'val/f1', 'mode': 'max'")
