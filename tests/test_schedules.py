"""Learning rates of every step against PyTorch's own schedule in a plain loop, one config each; what they watch."""

import csv
import math
import warnings

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim import lr_scheduler as plain

from kdlab import Supervised, cli
from kdlab.data import BasicMotions
from kdlab.methods.plans import Plan, batches_of_steps, plan_here, planned, planned_epochs, steps_of
from kdlab.methods.schedules import (
    LinearWarmupCosine,
    OneCycleLR,
    PiecewiseLR,
    ReduceLROnPlateau,
    SequentialLR,
    mode_of,
)
from kdlab.types import InputError
from tests.conftest import REPOSITORY, net, trainer

SCRATCH = str(REPOSITORY / "experiments/basic_motions/scratch.yaml")
FAST = [
    "--model.init_args.net.init_args.depth=10",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.limit_val_batches=1",
    "--data.init_args.batch_size=8",
]
EPOCHS, STEPS = 3, 4  # of 32 windows


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rates_of(monkeypatch, scheduler, *words):
    """The learning rates of all steps of a run of the command line."""
    found = []

    def see(self, trainer, module, *args):
        found.append(trainer.optimizers[0].param_groups[0]["lr"])

    monkeypatch.setattr("kdlab.callbacks.PredictionWriter.on_train_batch_start", see, raising=False)
    fit = [
        "fit",
        "--config",
        SCRATCH,
        *FAST,
        f"--trainer.max_epochs={EPOCHS}",
        *([] if scheduler is None else [f"--model.init_args.scheduler={scheduler}"]),
    ]
    cli.run([*fit, *words])
    return found


def plain_rates(make, steps=EPOCHS * STEPS, every=1, lr=0.05):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    schedule, rates = make(optimizer), []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % every == 0:
            schedule.step()
    return rates


def warm_up_and_cosine(warm, total, start=0.01, lowest=0.0):
    return lambda o: plain.SequentialLR(
        o, [plain.LinearLR(o, start, 1.0, warm), plain.CosineAnnealingLR(o, total - warm, lowest)], [warm]
    )


TWELVE = EPOCHS * STEPS
SCHEDULES = {
    "one cycle": (
        "{class_path: OneCycleLR, init_args: {max_lr: 0.1}}",
        [],
        lambda o: plain.OneCycleLR(o, 0.1, TWELVE),
        1,
    ),
    "one cycle of epochs": (
        "{class_path: torch.optim.lr_scheduler.OneCycleLR, init_args: {max_lr: 0.1, total_steps: 3}}",
        [],
        lambda o: plain.OneCycleLR(o, 0.1, 3),
        STEPS,
    ),
    "warm-up": (
        "{class_path: LinearWarmupCosine, init_args: {warmup: 0.25}}",
        [],
        warm_up_and_cosine(3, TWELVE),
        1,
    ),
    "warm-up in steps, to a tenth": (
        "{class_path: LinearWarmupCosine, init_args: {warmup_steps: 5, start_factor: 0.2, end_factor: 0.1}}",
        [],
        warm_up_and_cosine(5, TWELVE, 0.2, 0.005),
        1,
    ),
    "cosine of steps": (
        "{class_path: CosineAnnealingLR, init_args: {T_max: 12}}",
        ["--model.init_args.scheduler_interval=step"],
        lambda o: plain.CosineAnnealingLR(o, 12),
        1,
    ),
    "steps of epochs, as ever": (
        "{class_path: StepLR, init_args: {step_size: 2}}",
        [],
        lambda o: plain.StepLR(o, 2),
        STEPS,
    ),
    "cosine of epochs": (
        "{class_path: CosineAnnealingLR, init_args: {T_max: 3, eta_min: 0.001}}",
        [],
        lambda o: plain.CosineAnnealingLR(o, 3, 0.001),
        STEPS,
    ),
    "milestones": (
        "{class_path: MultiStepLR, init_args: {milestones: [1, 2], gamma: 0.2}}",
        [],
        lambda o: plain.MultiStepLR(o, [1, 2], 0.2),
        STEPS,
    ),
    "a factor for each milestone": (
        "{class_path: PiecewiseLR, init_args: {milestones: [1, 2], factors: [0.2, 0.02]}}",
        [],
        lambda o: plain.LambdaLR(o, lambda epoch: (1, 0.2, 0.02)[min(epoch, 2)]),
        STEPS,
    ),
    "warm-up and cosine of epochs": (
        "{class_path: SequentialLR, init_args: {milestones: [1], schedulers: [{class_path: LinearLR, init_args: "
        "{total_iters: 1, start_factor: 0.1}}, {class_path: CosineAnnealingLR, init_args: {T_max: 2}}]}}",
        [],
        lambda o: plain.SequentialLR(o, [plain.LinearLR(o, 0.1, 1.0, 1), plain.CosineAnnealingLR(o, 2)], [1]),
        STEPS,
    ),
    "one after the other": (
        "{class_path: SequentialLR, init_args: {milestones: [4], schedulers: [{class_path: LinearLR, init_args: "
        "{total_iters: 4}}, {class_path: ExponentialLR, init_args: {gamma: 0.5}}]}}",
        ["--model.init_args.scheduler_interval=step"],
        lambda o: plain.SequentialLR(o, [plain.LinearLR(o, total_iters=4), plain.ExponentialLR(o, 0.5)], [4]),
        1,
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_learning_rate_of_every_step_is_that_of_torch(name, here, monkeypatch):
    scheduler, words, make, every = SCHEDULES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = plain_rates(make, every=every)
    assert rates_of(monkeypatch, scheduler, *words) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("monitor", ["val/loss", "val/f1", "train/loss"])
def test_a_plateau_of_a_config_is_that_of_torch(monitor, here, monkeypatch):
    """Of the values that the run logged itself, epoch by epoch; a large threshold makes nearly all of them plateaus."""
    settings = {"patience": 0, "factor": 0.5, "threshold": 0.3}
    schedule = {"class_path": "ReduceLROnPlateau", "init_args": {"monitor": monitor, **settings}}
    path = here / "plateau.yaml"
    path.write_text(yaml.safe_dump({"model": {"init_args": {"scheduler": schedule}}}), encoding="utf-8")
    words = ["--config", str(path), "--trainer.max_epochs=6", "--trainer.limit_val_batches=1.0", "--run=a/b"]
    found = rates_of(monkeypatch, None, *words)
    with (here / "runs/a/b/version_0/metrics.csv").open(newline="", encoding="utf-8") as file:
        values = [float(row[monitor]) for row in csv.DictReader(file) if row[monitor]]
    assert len(values) == 6
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05)
    expected, mode = [], "max" if monitor == "val/f1" else "min"
    torch_s = plain.ReduceLROnPlateau(optimizer, mode, **settings)
    for value in values:
        expected += STEPS * [optimizer.param_groups[0]["lr"]]
        torch_s.step(value)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found[-1] < found[0]


@pytest.mark.parametrize(
    ("words", "steps", "batches"),
    [
        (["--trainer.accumulate_grad_batches=2"], 6, 2),
        (["--trainer.limit_train_batches=3"], 9, 1),
        (["--trainer.limit_train_batches=0.5"], 6, 1),
        (["--trainer.max_steps=7"], 7, 1),
    ],
)
def test_one_cycle_ends_at_its_lowest_rate_under_every_limit(words, steps, batches, here, monkeypatch):
    """Accumulated gradients, limited batches and max_steps change the number of steps."""
    found = rates_of(monkeypatch, "{class_path: OneCycleLR, init_args: {max_lr: 0.1}}", *words)[::batches]
    assert found == pytest.approx(plain_rates(lambda o: plain.OneCycleLR(o, 0.1, steps), steps), rel=1e-9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [
                "--model.init_args.scheduler={class_path: torch.optim.lr_scheduler.OneCycleLR, "
                "init_args: {max_lr: 0.1, total_steps: 12}}"
            ],
            "OneCycleLR: total_steps must be 3, the epochs of this fit, but got 12: the schedule would not have come",
        ),
        (
            ["--model.init_args.scheduler={class_path: OneCycleLR, init_args: {max_lr: 0.1, total_steps: 3}}"],
            "OneCycleLR: total_steps must be 12, the steps of this fit, but got 3: the schedule would stop within",
        ),
        (
            ["--model.init_args.scheduler=ReduceLROnPlateau", "--model.init_args.scheduler_interval=step"],
            "ReduceLROnPlateau: scheduler_interval must be epoch",
        ),
        (
            ["--model.init_args.scheduler={class_path: ReduceLROnPlateau, init_args: {monitor: val/acc, mode: max}}"],
            "ReduceLROnPlateau: monitor must be a metric that is logged, but got 'val/acc'; there are val/accuracy, "
            "val/f1, val/loss, train/loss, train/accuracy, train/grad_norm, train/ce. Monitor one of them",
        ),
        (
            ["--model.init_args.scheduler={class_path: ReduceLROnPlateau, init_args: {monitor: val/x}}"],
            "ReduceLROnPlateau: mode must be min or max for the monitor 'val/x', but got None",
        ),
        (
            ["--trainer.callbacks+={class_path: EarlyStopping, init_args: {monitor: val_loss}}"],
            "EarlyStopping: monitor must be a metric that is logged, but got 'val_loss'",
        ),
        (
            ["--trainer.callbacks+={class_path: EarlyStopping, init_args: {monitor: train/kd}}"],
            "there are val/accuracy, val/f1, val/loss, train/loss, train/accuracy, train/grad_norm, train/ce",
        ),
        (
            ["--model.init_args.scheduler=ReduceLROnPlateau", "--trainer.limit_val_batches=0"],
            "got 'val/loss'; there are train/loss, train/accuracy, train/grad_norm, train/ce, because this fit has no "
            "validation. Raise limit_val",
        ),
        (
            ["--model.init_args.scheduler={class_path: LinearWarmupCosine, init_args: {warmup: 3}}"],
            "0 <= warmup < 1",
        ),
        (
            [
                "--model.init_args.scheduler={class_path: SequentialLR, init_args: {schedulers: "
                "[{class_path: LinearLR}, {class_path: LinearLR}], milestones: [3, 2]}}"
            ],
            "SequentialLR: milestones must be increasing steps, one fewer than the 2 schedulers",
        ),
    ],
)
def test_what_cannot_work_is_found_before_a_run_folder_is_made(words, message, here):
    with pytest.raises(InputError) as raised:
        cli.run(["fit", "--config", SCRATCH, *FAST, f"--trainer.max_epochs={EPOCHS}", *words])
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list(here.iterdir())


class Scripted(Supervised):
    """Validates to given values."""

    script = (0.5, 0.6, 0.6, 0.55, 0.7, 0.7, 0.7, 0.7)

    def on_validation_epoch_end(self):
        self.log("val/f1", self.script[self.current_epoch])

    def _evaluate(self, batch, stage):
        self.log("val/loss", 1.0 / (1 + self.current_epoch), on_epoch=True)  # always better


@pytest.mark.parametrize("every", [1, 2])
def test_a_plateau_has_its_own_monitor_and_mode(every, tmp_path):
    rates = []
    module = Scripted(net(), scheduler=lambda o: ReduceLROnPlateau(o, monitor="val/f1", patience=0, factor=0.5))
    module.on_train_epoch_start = lambda: rates.append(module.trainer.optimizers[0].param_groups[0]["lr"])
    trainer(tmp_path, max_epochs=8, check_val_every_n_epoch=every).fit(module, BasicMotions(batch_size=8))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05)
    schedule, expected = plain.ReduceLROnPlateau(optimizer, "max", 0.5, 0), []
    for epoch in range(8):
        expected.append(optimizer.param_groups[0]["lr"])
        if (epoch + 1) % every == 0:
            schedule.step(Scripted.script[epoch])
    assert rates == expected
    assert rates[-1] < rates[0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"check_val_every_n_epoch": None, "val_check_interval": 7}, "measured every 7 batches. Set check_val_every_n"),
        ({"limit_val_batches": 0}, "and this fit has no validation. Raise limit_val_batches, or monitor train/loss"),
        ({"max_steps": 3}, "and this fit has no validation. Raise max_steps, or monitor train/loss"),
    ],
)
@pytest.mark.parametrize("make", [ReduceLROnPlateau, plain.ReduceLROnPlateau])
def test_a_plateau_without_a_value_each_epoch_is_refused_before_training(make, settings, said, tmp_path):
    run = trainer(tmp_path, **{"max_epochs": 2, **settings})
    with pytest.raises(InputError, match=said):
        run.fit(Supervised(net(), scheduler=make), BasicMotions(batch_size=8))
    assert run.global_step == 0


def test_a_plateau_counts_epochs_also_where_these_are_validated_more_often(tmp_path):
    steps = []

    class Counted(ReduceLROnPlateau):
        def step(self, *given):
            steps.append(given)
            super().step(*given)

    trainer(tmp_path, max_epochs=2, val_check_interval=0.5).fit(
        Supervised(net(), scheduler=Counted), BasicMotions(batch_size=8)
    )
    assert len(steps) == 2


def test_lightning_s_plateau_keeps_its_monitor_and_torch_s_watches_the_loss(tmp_path):
    from lightning.pytorch.cli import ReduceLROnPlateau as Twin

    with planned(Plan(4, 1)):
        for make, monitor in ((lambda o: Twin(o, "val/f1"), "val/f1"), (plain.ReduceLROnPlateau, "val/loss")):
            assert Supervised(net(), scheduler=make).configure_optimizers()["lr_scheduler"]["monitor"] == monitor


def test_schedules_that_are_spread_need_an_end(tmp_path):
    for make in (lambda o: OneCycleLR(o, 0.1), LinearWarmupCosine):
        with pytest.raises(InputError, match="total_steps must be given where the fit has no planned end"):
            Supervised(net(), scheduler=make).configure_optimizers()
        with pytest.raises(InputError, match="total_steps must be given"):
            trainer(tmp_path, max_epochs=-1, max_time="00:00:00:01").fit(
                Supervised(net(), scheduler=make), BasicMotions(batch_size=8)
            )
    with pytest.raises(InputError, match="scheduler_interval must be 'epoch', 'step' or None, but got 'batch'"):
        Supervised(net(), scheduler_interval="batch")


def test_a_part_is_spread_over_its_part_of_the_fit():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with planned(Plan(steps=10, epochs=5, interval="step")):
        schedule = SequentialLR(optimizer, [lambda o: plain.ConstantLR(o, 1.0), LinearWarmupCosine], [4])
    assert schedule._schedulers[1].total_steps == 6


def test_the_schedule_of_plain_loaders(tmp_path):
    data = BasicMotions(batch_size=8)
    data.setup("fit")
    module = Supervised(net(), scheduler=lambda o: OneCycleLR(o, 0.1))
    run = trainer(tmp_path, max_epochs=2)
    run.fit(module, data.train_dataloader(), data.val_dataloader())
    assert run.lr_scheduler_configs[0].scheduler.total_steps == 8


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, (12, 3)),
        ({"accumulate_grad_batches": 3}, (6, 3)),
        ({"limit_train_batches": 0.5}, (6, 3)),
        ({"max_steps": 5}, (5, 2)),
        ({"max_epochs": -1, "max_steps": 9}, (9, 3)),
        ({"max_epochs": -1}, (None, None)),
    ],
)
def test_the_planned_length(limits, expected, tmp_path):
    run = trainer(tmp_path, **{"max_epochs": 3, **limits})
    assert steps_of(run, 4) == expected


ACCUMULATED = {1: 2, 2: 3}  # of four batches an epoch: 4, 2 and 2 steps


@pytest.mark.parametrize(
    ("limits", "expected", "batches"),
    [
        ({}, (8, 3), 12),
        ({"max_steps": 5}, (5, 2), 6),
        ({"max_epochs": -1, "max_steps": 11}, (11, 5), 19),
    ],
)
def test_a_schedule_knows_that_accumulation_changes(limits, expected, batches, tmp_path):
    data = BasicMotions(batch_size=8)
    data.setup("fit")
    for given in ({"datamodule": data}, {"train_dataloaders": data.train_dataloader()}):
        change = GradientAccumulationScheduler(dict(ACCUMULATED))
        run = trainer(tmp_path, **{"max_epochs": 3, "callbacks": [change], "limit_val_batches": 0, **limits})
        assert steps_of(run, 4) == expected
        assert batches_of_steps(run, 4, expected[0]) == batches
        run.fit(Supervised(net(), scheduler=lambda o: OneCycleLR(o, 0.1)), **given)
        assert run.lr_scheduler_configs[0].scheduler.total_steps == run.global_step == expected[0]
        assert planned_epochs(run) == expected[1]


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_a_second_fit_with_the_same_trainer_has_a_schedule_over_what_is_left(interval, tmp_path):
    seen: list[Plan] = []

    def make(optimizer):
        seen.append(plan_here())
        return OneCycleLR(optimizer, 0.1)

    run, data = trainer(tmp_path, max_epochs=1, limit_val_batches=0), BasicMotions(batch_size=8)
    module = Supervised(net(), scheduler=make, scheduler_interval=interval)
    each = 4 if interval == "step" else 1
    for epochs, length in ((1, 1), (3, 2)):
        run.fit_loop.max_epochs = epochs
        run.fit(module, data)
        schedule = run.lr_scheduler_configs[0].scheduler
        assert (schedule.total_steps, schedule.last_epoch) == (length * each, length * each)
    run.save_checkpoint(tmp_path / "second.ckpt")
    run.fit(module, data, ckpt_path=tmp_path / "second.ckpt", weights_only=False)
    assert [(plan.steps, plan.epochs) for plan in seen] == [(4, 1), (8, 2), (12, 3)]


@pytest.mark.parametrize("scheduler", ["{class_path: OneCycleLR, init_args: {max_lr: 0.1}}", "LinearWarmupCosine"])
def test_a_resumed_schedule_equals_an_uninterrupted_one_and_keeps_its_length(scheduler, here):
    words = ["fit", "--config", SCRATCH, *FAST, f"--model.init_args.scheduler={scheduler}", "--trainer.max_epochs=3"]
    whole = cli.run([*words, "--run=whole/run"])
    early = "{class_path: tests.test_schedules.Interrupt}"
    with pytest.raises(KeyboardInterrupt):
        cli.run([*words, "--run=half/run", f"--trainer.callbacks+={early}"])
    last = str(here / "runs/half/run/version_0/checkpoints/last.ckpt")
    resumed = cli.run([*words, "--run=half/run", "--ckpt_path", last])
    assert resumed.trainer.global_step == whole.trainer.global_step == TWELVE
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(InputError, match="of a schedule over 12 steps, but this fit has 20"):
        cli.run([*words, "--trainer.max_epochs=5", "--ckpt_path", last])


class Interrupt(Callback):
    """Ctrl-C in the second epoch."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.current_epoch == 1 and batch_idx == 1:
            raise KeyboardInterrupt


def test_modes():
    assert mode_of("val/accuracy", None, "x") == "max"
    with pytest.raises(InputError, match="x: mode must be min or max for the monitor 'val/loss', but got 'up'"):
        mode_of("val/loss", "up", "x")


@pytest.mark.parametrize(
    ("cls", "given", "wrong"),
    [
        (OneCycleLR, {"max_lr": 0.1, "total_steps": 9}, {"max_lr": ["1", math.nan], "total_steps": [1.5, "9"]}),
        (OneCycleLR, {"max_lr": 0.1, "total_steps": 9}, {"pct_start": [2, "1"], "div_factor": [0, math.nan]}),
        (LinearWarmupCosine, {"total_steps": 9}, {"warmup": ["1", math.nan], "warmup_steps": [1.5, "1"]}),
        (ReduceLROnPlateau, {}, {"patience": [math.nan, 1.5, "3"], "factor": [math.nan, 0, "0.1"], "eps": [math.nan]}),
        (
            PiecewiseLR,
            {"milestones": [1], "factors": [0.1]},
            {"milestones": [1, ["1"], [1.5]], "factors": [0.1, ["1"]]},
        ),
        (
            SequentialLR,
            {"schedulers": [plain.ConstantLR] * 2, "milestones": [1]},
            {"milestones": [1, [1.5], ["1"], [math.nan]]},
        ),
    ],
)
def test_numbers_that_no_schedule_could_work_with(cls, given, wrong):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(InputError, match=rf"^{cls.__name__}: .*{name} must be .* Write"):
                cls(optimizer, **{**given, name: value})
