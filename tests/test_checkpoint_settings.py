"""Settings of the trainer that change what a fit keeps: each works, or is refused before a folder with a way out."""

import csv
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import LearningRateFinder
from lightning.pytorch.tuner import Tuner

from kdlab import Supervised, cli
from kdlab.data import BasicMotions
from kdlab.methods.checkpoints import KEY, read_checkpoint
from kdlab.methods.validation import why_none
from kdlab.types import InputError, MissingFileError
from tests.conftest import REPOSITORY, net, trainer

SCRATCH = str(REPOSITORY / "experiments/basic_motions/scratch.yaml")
WORDS = [
    "fit",
    "--monitor=val/loss",
    "--config",
    SCRATCH,
    "--model.init_args.net.init_args.depth=10",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--data.init_args.batch_size=8",
    "--trainer.max_epochs=3",
    "--run=a/b",
]  # four batches an epoch
ADD = "--trainer.callbacks+="
PLATEAU = "--model.init_args.scheduler=ReduceLROnPlateau"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def epochs_of(here, version=0):
    """Name of a checkpoint -> the epoch of its weights."""
    folder = here / f"runs/a/b/version_{version}/checkpoints"
    return {path.stem: read_checkpoint(path)[KEY]["provenance"]["epoch"] for path in folder.glob("*.ckpt")}


# ---------------------------------------------------------------- what is kept
@pytest.mark.parametrize(
    ("words", "best", "last"),
    [
        (["--trainer.num_sanity_val_steps=0"], range(3), 2),
        (["--trainer.check_val_every_n_epoch=2"], [1], 2),  # last.ckpt was of epoch 1, the last one validated
        (["--trainer.check_val_every_n_epoch=2", "--monitor=train/loss"], range(3), 2),
        (["--trainer.check_val_every_n_epoch=2", "--selection=last"], [2], 2),
        (["--trainer.check_val_every_n_epoch=9"], None, 2),  # nothing at all was kept
        (["--trainer.val_check_interval=99", "--trainer.check_val_every_n_epoch=null"], None, 2),
        (["--trainer.val_check_interval=6", "--trainer.check_val_every_n_epoch=null"], [1, 2], 2),
        (["--trainer.val_check_interval=2"], range(3), 2),
        (["--trainer.limit_val_batches=0"], None, 2),
        (["--trainer.limit_val_batches=0", "--monitor=train/loss"], range(3), 2),
        (["--trainer.limit_val_batches=0", "--selection=last"], [2], 2),  # which needs no validation
        (["--trainer.max_steps=3", "--monitor=null"], [0], 0),  # nor does a fit that names no rule
        (["--trainer.max_steps=3"], None, 0),  # ends before the first validation
        (["--trainer.max_steps=6"], [0], 1),
        (["--trainer.overfit_batches=1"], range(3), 2),
        ([PLATEAU, "--trainer.check_val_every_n_epoch=2"], [1], 2),
        ([PLATEAU, "--trainer.val_check_interval=0.5"], range(3), 2),
    ],
)
def test_the_best_epoch_of_those_that_were_validated_and_the_last_of_all(words, best, last, here):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cli.run([*WORDS, *words])
    found = epochs_of(here)
    assert found.pop("last") == last
    assert (found["best"] in best) if best is not None else not found
    said = [str(w.message) for w in caught if "no validation" in str(w.message)]
    assert len(said) == (best is None)
    assert not [w for w in caught if "could not find the monitored key" in str(w.message)]


def test_best_by_a_training_metric_is_of_its_own_epoch(here):
    """Where not every epoch is validated the value was that of the epoch before."""
    cli.run([*WORDS, "--trainer.check_val_every_n_epoch=2", "--monitor=train/loss"])
    with (here / "runs/a/b/version_0/metrics.csv").open(newline="", encoding="utf-8") as file:
        losses = {int(row["epoch"]): float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]}
    assert epochs_of(here)["best"] == min(losses, key=losses.__getitem__)


def test_a_run_without_checkpoints(here):
    with pytest.raises(InputError, match=r"^trainer: enable_checkpointing must be true for the callback ModelCheckp"):
        cli.run([*WORDS, "--trainer.enable_checkpointing=false", f"{ADD}ModelCheckpoint"])
    assert not list(here.iterdir())
    line = cli.run([*WORDS, "--trainer.enable_checkpointing=false", PLATEAU, f"{ADD}EarlyStoppedTeacher"])
    assert [p.name for p in (here / "runs").rglob("*.ckpt")] == ["teacher.ckpt"]  # asked for by its callback
    assert line.trainer.current_epoch == 3


def test_what_to_read_of_a_run_without_a_best_epoch(here, monkeypatch):
    cli.run([*WORDS, "--trainer.limit_val_batches=0"])
    last = "runs/a/b/version_0/checkpoints/last.ckpt"
    with pytest.raises(MissingFileError, match=f"Its fit was not validated: name its last epoch, {last}"):
        cli.run(["test", *WORDS[1:], "--ckpt_path=runs/a/b"])
    cli.run(["test", *WORDS[1:], f"--ckpt_path={last}"])  # the remedy
    cli.run([*WORDS, "--trainer.enable_checkpointing=false", "--run=c/d"])
    with pytest.raises(MissingFileError, match="Its fit kept no weights: train it with enable_checkpointing: true"):
        cli.run(["test", *WORDS[1:], "--ckpt_path=runs/c/d"])


def test_a_resumed_fit_without_regular_validation_equals_an_uninterrupted_one(here):
    words = [*WORDS, "--trainer.check_val_every_n_epoch=2", "--trainer.max_epochs=4"]
    whole = cli.run([*words, "--run=whole/run"])
    with pytest.raises(KeyboardInterrupt):
        cli.run([*words, f"{ADD}{{class_path: tests.test_checkpoint_settings.Interrupt}}"])
    assert epochs_of(here)["last"] == 2
    resumed = cli.run([*words, "--ckpt_path=runs/a/b"])
    states = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert epochs_of(here).keys() == {"best", "last"}


class Interrupt(Callback):
    """Ctrl-C in the fourth epoch."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.current_epoch == 3 and batch_idx == 1:
            raise KeyboardInterrupt


def test_fast_dev_run_writes_nothing(here):
    cli.run([*WORDS, "--trainer.fast_dev_run=true", f"{ADD}EarlyStoppedTeacher", f"{ADD}EMAWeightAveraging"])
    assert not list(here.rglob("*.ckpt"))


# ---------------------------------------------------------------- what is refused
FINDER = ADD + "{{class_path: LearningRateFinder, init_args: {{num_training_steps: {}}}}}"
REFUSED = {
    "limit_train": (
        ["--trainer.limit_train_batches=0"],
        "trainer: limit_train_batches must leave at least one of 4 batches, but got 0",
        ["--trainer.limit_train_batches=1"],
    ),
    "overfit": (
        ["--trainer.overfit_batches=0.5"],
        "trainer: overfit_batches must leave at least one of 1 batches, but got 0.5. Raise it, or give a number",
        ["--trainer.overfit_batches=1"],
    ),
    "interval": (
        ["--trainer.val_check_interval=99"],
        "trainer: val_check_interval must be at most the 4 batches of an epoch, but got 99. Lower it, or set "
        "check_val_every_n_epoch: null",
        ["--trainer.val_check_interval=99", "--trainer.check_val_every_n_epoch=null"],
    ),
    "plateau of batches": (
        [PLATEAU, "--trainer.val_check_interval=6", "--trainer.check_val_every_n_epoch=null"],
        "ReduceLROnPlateau: monitor must be measured once an epoch, but got 'val/loss', measured every 6 batches. Set "
        "check_val_every_n_epoch in place of val_check_interval.",
        [PLATEAU, "--trainer.check_val_every_n_epoch=2"],
    ),
    "plateau of no validation": (
        [PLATEAU, "--trainer.check_val_every_n_epoch=4"],
        "because this fit has no validation. Lower check_val_every_n_epoch, or monitor one of them",
        ["--model.init_args.scheduler={class_path: ReduceLROnPlateau, init_args: {monitor: train/loss}}"],
    ),
    "plateau of few steps": (
        [PLATEAU, "--trainer.max_steps=3"],
        "because this fit has no validation. Raise max_steps, or monitor one of them",
        [PLATEAU, "--trainer.max_steps=5"],
    ),
    "early stopping": (
        [ADD + "{class_path: EarlyStopping, init_args: {monitor: val/loss}}", "--trainer.limit_val_batches=0"],
        "EarlyStopping: monitor must be a metric that is logged, but got 'val/loss'",
        [ADD + "{class_path: EarlyStopping, init_args: {monitor: train/loss}}", "--trainer.limit_val_batches=0"],
    ),
    "teacher": (
        [f"{ADD}EarlyStoppedTeacher", "--trainer.check_val_every_n_epoch=4"],
        "EarlyStoppedTeacher: the fit must be validated, but is not. Lower check_val_every_n_epoch, or leave",
        [f"{ADD}EarlyStoppedTeacher", "--trainer.check_val_every_n_epoch=3"],
    ),
    "teacher of a training metric": (
        [ADD + "{class_path: EarlyStoppedTeacher, init_args: {monitor: train/loss}}"],
        "EarlyStoppedTeacher: monitor must be measured on validation windows, but got 'train/loss'. Choose one of "
        "val/accuracy, val/f1, val/loss.",
        [ADD + "{class_path: EarlyStoppedTeacher, init_args: {monitor: val/f1}}"],
    ),
    "rates": (
        [f"{ADD}LearningRateFinder"],
        "LearningRateFinder: num_training_steps must be 13 or more within the steps of this fit, but got 100 and 12 "
        "steps. Raise max_epochs to 13 steps or more, and set num_training_steps (num_training of a Tuner) from 13 to "
        "these.",
        [FINDER.format(13), "--trainer.max_epochs=4"],
    ),
    "more rates than steps": (
        [FINDER.format(30), "--trainer.max_epochs=4"],
        "num_training_steps must be from 13 to the 16 steps of this fit, but got 30. Lower it, or raise max_epochs.",
        [FINDER.format(16), "--trainer.max_epochs=4"],
    ),
    "few rates": (
        [FINDER.format(5), "--trainer.max_epochs=4"],
        "num_training_steps must be from 13 to the 16 steps of this fit, but got 5. Raise it to 13 or more.",
        [FINDER.format(13), "--trainer.max_epochs=4"],
    ),
    "name of the rate": (
        [ADD + "{class_path: LearningRateFinder, init_args: {attr_name: learning_rate_}}"],
        "LearningRateFinder: attr_name must be the learning rate of the method, lr, but got 'learning_rate_'. Leave",
        [FINDER.format(13), "--trainer.max_epochs=4"],
    ),
    "rates of a schedule": (
        [
            FINDER.format(13),
            "--trainer.max_epochs=4",
            "--model.init_args.scheduler={class_path: OneCycleLR, init_args: {max_lr: 0.1}}",
        ],
        "LearningRateFinder: scheduler must leave the learning rate to the optimiser, but got OneCycleLR",
        [FINDER.format(13), "--trainer.max_epochs=4", "--model.init_args.scheduler=LinearWarmupCosine"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_a_folder_is_made_and_the_remedy_can_be_followed(name, here):
    wrong, message, right = REFUSED[name]
    with pytest.raises(InputError) as raised:
        cli.run([*WORDS, *wrong])
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list(here.iterdir())
    cli.run([*WORDS, *right])
    assert (here / "runs/a/b/version_0/finished.json").is_file()


@pytest.mark.parametrize(
    ("limits", "batches", "remedy"),
    [
        ({}, 4, None),
        ({"limit_val_batches": 0}, 4, "Raise limit_val_batches"),
        ({"check_val_every_n_epoch": 2}, 4, None),
        ({"check_val_every_n_epoch": 3}, 4, "Lower check_val_every_n_epoch"),
        ({"check_val_every_n_epoch": 2, "max_steps": 7}, 4, "Raise max_steps"),
        ({"check_val_every_n_epoch": 2, "max_steps": 8}, 4, None),
        ({"max_steps": 3}, 4, "Raise max_steps"),
        ({"max_steps": 3, "val_check_interval": 0.5}, 4, None),
        ({"max_steps": 2, "accumulate_grad_batches": 2}, 4, None),
        ({"val_check_interval": 8, "check_val_every_n_epoch": None}, 4, None),
        ({"val_check_interval": 9, "check_val_every_n_epoch": None}, 4, "Lower val_check_interval"),
        ({"limit_train_batches": 0.5, "val_check_interval": 5, "check_val_every_n_epoch": None}, 4, "Lower val_"),
        ({"max_epochs": -1}, 4, None),
        ({"max_epochs": 0}, 4, None),
        ({"val_check_interval": "00:00:10:00"}, 4, None),
    ],
)
def test_whether_a_fit_validates(limits, batches, remedy, tmp_path):
    found = why_none(trainer(tmp_path, **limits), batches)  # of two epochs
    assert found is None if remedy is None else (found or "").startswith(remedy)


# ---------------------------------------------------------------- finders
@pytest.mark.parametrize("schedule", [None, "LinearWarmupCosine", "{class_path: StepLR, init_args: {step_size: 2}}"])
def test_a_fit_with_the_rate_that_was_found_is_a_fit_with_that_rate(schedule, here):
    """Bit for bit, metrics included: weights, order of windows and random state come back after the search."""
    words = [*WORDS, "--trainer.max_epochs=5"] + (
        [] if schedule is None else [f"--model.init_args.scheduler={schedule}"]
    )
    searched = cli.run([*words, FINDER.format(20)])
    rate = searched.model.lr
    assert rate != 0.05
    optimizer = f"{{class_path: SGD, init_args: {{lr: {rate!r}, momentum: 0.9, weight_decay: 0.0001}}}}"
    plain = cli.run([*words, "--run=c/d", f"--model.init_args.optimizer={optimizer}"])
    states = searched.model.state_dict(), plain.model.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    rows = [(here / f"runs/{run}/version_0/metrics.csv").read_text(encoding="utf-8") for run in ("a/b", "c/d")]
    assert rows[0] == rows[1]
    assert not list((here / "runs").glob(".lr_find*"))


def test_a_batch_size_that_was_found_changes_the_length_of_the_schedule(here):
    schedule = "--model.init_args.scheduler={class_path: OneCycleLR, init_args: {max_lr: 0.1}}"
    found = cli.run([*WORDS, schedule, ADD + "{class_path: BatchSizeFinder, init_args: {max_val: 16}}"])
    assert (found.datamodule.batch_size, found.trainer.global_step) == (16, 6)
    assert found.trainer.lr_scheduler_configs[0].scheduler.total_steps == 6
    plain = cli.run([*WORDS, schedule, "--run=c/d", "--data.init_args.batch_size=16"])
    states = found.model.state_dict(), plain.model.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_tuner_in_python(tmp_path):
    module, run = Supervised(net()), trainer(tmp_path, max_epochs=5)
    found = Tuner(run).lr_find(module, datamodule=BasicMotions(batch_size=8), num_training=20)
    assert module.lr == found.suggestion()
    rates = []
    module.on_train_epoch_start = lambda: rates.append(module.trainer.optimizers[0].param_groups[0]["lr"])
    trainer(tmp_path, max_epochs=1).fit(module, BasicMotions(batch_size=8))
    assert rates == [module.lr]
    for tried in (10, 100):
        with pytest.raises(
            InputError, match=f"got {tried} and 8 steps. Raise max_epochs to 13 .* set num_training_steps"
        ):
            Tuner(trainer(tmp_path)).lr_find(
                Supervised(net()), datamodule=BasicMotions(batch_size=8), num_training=tried
            )
    with pytest.raises(InputError, match="13 or more within the steps of this fit"):
        trainer(tmp_path, callbacks=[LearningRateFinder()]).fit(Supervised(net()), BasicMotions(batch_size=8))


# ---------------------------------------------------------------- studies
@pytest.mark.parametrize(
    ("setting", "value"),
    [("enable_checkpointing", False), ("limit_val_batches", 0), ("check_val_every_n_epoch", 9), ("fast_dev_run", True)],
)
def test_a_study_needs_a_best_epoch(setting, value, here, monkeypatch, capsys):
    everywhere = {f"trainer.{setting}": value, "trainer.max_epochs": 2}
    study = {"study": "toy/x", "seeds": [0], "set": {"all": everywhere}, "scratch": {"scratch": {"config": SCRATCH}}}
    (here / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    for words in (["study", "study.yaml"], ["study", "study.yaml", "--only", "scratch/seed0"]):
        monkeypatch.setattr("sys.argv", ["kdlab", *words])
        with pytest.raises(SystemExit):
            cli.main()
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"scratch/seed0: trainer.{setting} must let the run choose a best.ckpt" in last
    assert not list((here / "runs").rglob("*.ckpt"))


# ---------------------------------------------------------------- a second ModelCheckpoint
def test_a_second_checkpoint_of_the_same_monitor_in_a_folder_of_its_own(here):
    """The same settings are refused, for their states have one key; another mode or interval has files of its own."""
    own = "{class_path: ModelCheckpoint, init_args: {monitor: val/loss, dirpath: mine, filename: best, save_last: true"
    with pytest.raises(InputError, match="two callbacks of one class must have settings of their own"):
        cli.run([*WORDS, f"{ADD}{own}}}}}"])
    cli.run([*WORDS, f"{ADD}{own}, every_n_epochs: 2}}}}"])
    assert {path.name for path in (here / "mine").iterdir()} == {"best.ckpt", "last.ckpt"}
    folder = here / "runs/a/b/version_0/checkpoints"
    assert {path.name for path in folder.iterdir()} == {"best.ckpt", "last.ckpt"}
    assert epochs_of(here)["last"] == 2
    assert read_checkpoint(here / "mine/best.ckpt")[KEY]["provenance"]["epoch"] == 1
    state = read_checkpoint(folder / "best.ckpt")["callbacks"]
    assert len([key for key in state if key.startswith("ModelCheckpoint")]) == 3


@pytest.mark.parametrize("folder", ["runs/a/b/version_0/checkpoints", "./runs/a/b/../b/version_0/checkpoints/"])
def test_a_folder_of_ones_own_is_not_that_of_the_run(folder, here):
    own = (
        f"{{class_path: ModelCheckpoint, init_args: {{monitor: val/f1, mode: max, filename: best, dirpath: {folder}}}}}"
    )
    with pytest.raises(InputError, match=r"ModelCheckpoint: filename must not be 'best'"):
        cli.run([*WORDS, f"{ADD}{own}"])
    assert not Path(here / "runs").exists()
