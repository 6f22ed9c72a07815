"""Equal numbers of updates: schedules, last epochs that are cut, warm starts, controls and what a report compares."""

import csv
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.optim import lr_scheduler as plain

from kdlab import cli
from kdlab.configs import read_config
from kdlab.methods.checkpoints import read_checkpoint
from kdlab.methods.stubs import made_methods
from kdlab.study import windows
from kdlab.study.budgets import with_budgets
from kdlab.study.lengths import _LEARNT, _METHODS, set_length, updates_an_epoch
from kdlab.study.plan import Study
from kdlab.study.report import write_report
from kdlab.study.runs import Run
from kdlab.types import InputError
from tests.conftest import REPOSITORY

SCRATCH = REPOSITORY / "experiments/basic_motions/scratch.yaml"
SCHEDULE = "model.init_args.scheduler"


def config_of(scheduler=None, *, epochs=3, callbacks=None, data=None, trainer=None, model=None):
    """A scratch run of BasicMotions that is written for so many epochs."""
    config = read_config(SCRATCH, "run")
    config["trainer"] = {
        "max_epochs": epochs,
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        **({"callbacks": callbacks} if callbacks else {}),
        **(trainer or {}),
    }
    config["model"]["init_args"]["net"]["init_args"]["depth"] = 10
    config["model"]["init_args"].pop("scheduler", None)
    if scheduler is not None:
        config["model"]["init_args"]["scheduler"] = scheduler
    config["model"]["init_args"] |= model or {}
    config["data"]["init_args"] = {"batch_size": 8, **(data or {})}
    return config


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fit(config, updates, monkeypatch, batches=None):
    """Fit a config with so many updates; the finished line, and the learning rate of every update."""
    set_length(config, updates, windows.batches(config) if batches is None else batches, "run")
    rates = []

    def see(self, trainer, module, *args):
        rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    with monkeypatch.context() as patch:
        patch.setattr("kdlab.callbacks.PredictionWriter.on_train_batch_start", see, raising=False)
        Path("run.yaml").write_text(yaml.safe_dump(config))
        line = cli.run(["fit", "--config", "run.yaml"])
    return line, rates


def torch_rates(make, updates, lr=0.05):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    schedule, rates = make(optimizer), []
    for _ in range(updates):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


# ---------------------------------------------------------------------- schedules
@pytest.mark.parametrize(
    ("scheduler", "make"),
    [
        ({"class_path": "CosineAnnealingLR", "init_args": {"T_max": 3}}, lambda o: plain.CosineAnnealingLR(o, 10)),
        (
            {"class_path": "torch.optim.lr_scheduler.OneCycleLR", "init_args": {"max_lr": 0.1, "total_steps": 3}},
            lambda o: plain.OneCycleLR(o, 0.1, 10),
        ),
        (
            {"class_path": "PiecewiseLR", "init_args": {"milestones": [1, 2], "factors": [0.2, 0.02]}},
            lambda o: plain.LambdaLR(o, lambda step: 1.0 if step < 3 else 0.2 if step < 7 else 0.02),
        ),
        (
            {"class_path": "ExponentialLR", "init_args": {"gamma": 0.1}},
            lambda o: plain.ExponentialLR(o, 0.1 ** (3 / 10)),
        ),
    ],
)
def test_a_schedule_of_epochs_is_spread_over_the_updates_of_every_fold(here, monkeypatch, scheduler, make):
    found = []
    for fraction in (0.15, 0.5) if "T_max" in str(scheduler) else (0.5,):  # folds with other numbers of windows
        config = config_of(yaml.safe_load(yaml.safe_dump(scheduler)), data={"val_fraction": fraction})
        line, rates = fit(config, 10, monkeypatch)
        assert line.trainer.global_step == 10
        found.append(line.trainer.num_training_batches)
        assert rates == pytest.approx(torch_rates(make, 10))
    assert len(set(found)) == len(found), "the folds must have other numbers of batches"


def stretched(config, updates=60, batches=4):
    set_length(config, updates, batches, "run")
    return config


@pytest.mark.parametrize(
    ("updates", "batches", "every", "wanted"),
    [(60, 4, 5, 5), (60, 12, 5, 5), (60, 13, 5, 4), (60, 40, 5, 1), (10, 40, 5, 1), (60, 13, None, None)],
)
def test_a_fold_of_few_epochs_is_validated_at_least_once(updates, batches, every, wanted):
    """A last epoch that is cut is not validated, so complete ones count."""
    given = {"max_epochs": 12, **({} if every is None else {"check_val_every_n_epoch": every})}
    trainer = stretched({"trainer": given, "model": {"init_args": {}}}, updates, batches)["trainer"]
    assert trainer.get("check_val_every_n_epoch") == wanted


def test_patience_and_annealing_keep_their_share_of_the_fit():
    callbacks = [
        {"class_path": "EarlyStoppedTeacher", "init_args": {"patience": 4, "min_epochs": 2, "epochs": [1, 3]}},
        {"class_path": "kdlab.callbacks.TemperatureAnnealing", "init_args": {"epochs": 6}},
        "TemperatureAnnealing",
        {"class_path": "EpochAveraging", "init_args": {"start": 0.8}},
    ]
    plateau = {"class_path": "ReduceLROnPlateau", "init_args": {"patience": 3}}
    config = stretched(config_of(plateau, epochs=12, callbacks=callbacks), updates=120, batches=5)  # 24 epochs
    stop, anneal, whole, average, budget = config["trainer"]["callbacks"]
    assert stop["init_args"] == {"patience": 8, "min_epochs": 4, "epochs": [2, 6]}
    assert anneal["init_args"] == {"epochs": 12}
    assert whole in ("TemperatureAnnealing", {"class_path": "TemperatureAnnealing"})
    assert average["init_args"] == {"start": 0.8}
    assert budget == {"class_path": "UpdateBudget", "init_args": {"updates": 120}}
    arguments = config["model"]["init_args"]
    assert arguments["scheduler"]["init_args"] == {"patience": 6}
    assert "scheduler_interval" not in arguments
    assert (config["trainer"]["max_epochs"], config["trainer"]["max_steps"]) == (24, 120)


def test_schedules_within_schedules_and_warm_ups():
    parts = [{"class_path": "LinearLR", "init_args": {"total_iters": 2}}, "CosineAnnealingLR"]
    parts[1] = {"class_path": "CosineAnnealingLR", "init_args": {"T_max": 8}}
    scheduler = {"class_path": "SequentialLR", "init_args": {"milestones": [2], "schedulers": parts}}
    arguments = stretched(config_of(scheduler, epochs=10), updates=60)["model"]["init_args"]
    inner = arguments["scheduler"]["init_args"]
    assert inner["milestones"] == [12]
    assert [part["init_args"] for part in inner["schedulers"]] == [{"total_iters": 12}, {"T_max": 48}]
    assert arguments["scheduler_interval"] == "step"
    warm = {"class_path": "LinearWarmupCosine", "init_args": {"warmup_steps": 4}}  # of 40 steps
    assert stretched(config_of(warm, epochs=10))["model"]["init_args"]["scheduler"]["init_args"] == {
        "total_steps": 60,
        "warmup_steps": 6,
    }


def test_every_argument_of_a_method_that_counts_epochs_is_stretched():
    words = re.compile("epoch|ramp|warm_up")
    found = {
        (name, argument)
        for name, cls in made_methods().items()
        for argument in inspect.signature(cls.__init__).parameters
        if words.search(argument) and not argument.endswith("_updates")
    }
    learnt = {pair for pair in found if pair[1] in _LEARNT}  # of every method with a temperature
    assert found - learnt == {(name, argument) for name, arguments in _METHODS.items() for argument in arguments}
    for model, epochs in (({"learn_temperature": True}, 15), ({}, None)):
        config = config_of(epochs=10, model=model)
        config["model"]["class_path"] = "KD"
        assert stretched(config)["model"]["init_args"].get("temperature_epochs") == epochs
    config = config_of(epochs=10, model={"ramp_up": 5, "ramp_down": 0})
    config["model"]["class_path"] = "AMC"
    arguments = stretched(config)["model"]["init_args"]
    assert (arguments["ramp_up"], arguments["ramp_down"]) == (8, 0)  # of 15 epochs


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            config_of("torch.optim.lr_scheduler.LambdaLR"),
            r"^run: scheduler must be one whose lengths are known.*Lambda",
        ),
        (
            config_of({"class_path": "CosineAnnealingLR", "init_args": {"T_max": 12}}, trainer={"max_epochs": None}),
            "max_epochs must say how many epochs T_max is written for",
        ),
        (
            config_of(
                {"class_path": "CosineAnnealingLR", "init_args": {"T_max": 12}}, model={"scheduler_interval": "step"}
            ),
            "T_max of CosineAnnealingLR must be the 60 updates",
        ),
        (config_of(callbacks=["GradientAccumulationScheduler"]), "must leave accumulate_grad_batches as it is"),
    ],
)
def test_what_cannot_be_stretched_is_refused(config, message):
    with pytest.raises(InputError, match=message):
        stretched(config)


def test_schedules_in_updates_stay():
    cosine = {"class_path": "CosineAnnealingLR", "init_args": {"T_max": 60}}
    config = stretched(config_of(cosine, model={"scheduler_interval": "step"}))
    assert config["model"]["init_args"]["scheduler"] == cosine


# ---------------------------------------------------------------------- a fit
def test_a_fit_ends_within_an_epoch_and_validates_there(here, monkeypatch):
    line, rates = fit(config_of(epochs=3), 6, monkeypatch)
    batches = line.trainer.num_training_batches
    assert batches == 4
    assert len(rates) == line.trainer.global_step == 6
    folder = Path(line.trainer.log_dir)
    with (folder / "metrics.csv").open(newline="") as file:
        validated = [int(row["step"]) for row in csv.DictReader(file) if row["val/loss"]]
    assert validated == [3, 5]
    last = read_checkpoint(folder / "checkpoints/last.ckpt")
    assert (last["global_step"], last["epoch"]) == (6, 1)


@pytest.mark.parametrize(
    "data",
    [{}, {"sampling": "balanced"}, {"batch_size": 5, "drop_last": False}, {"batch_size": 16}],
    ids=["plain", "balanced", "small batches", "large batches"],
)
def test_updates_are_those_of_the_optimiser_whatever_an_epoch_is(here, monkeypatch, data):
    config = config_of(data=data, trainer={"accumulate_grad_batches": 2})
    line, _ = fit(config, 5, monkeypatch)
    assert line.trainer.global_step == 5
    assert line.trainer.max_epochs == line.trainer.current_epoch


@pytest.mark.parametrize("ratio", [None, 0.5])
def test_an_epoch_of_labels_alone_has_the_labelled_windows(here, ratio):
    """A method of labels alone leaves windows without a label out, so its epochs are shorter; the budget holds."""
    rng = np.random.default_rng(0)
    x, target, person = rng.normal(size=(120, 2, 32)), np.arange(120) % 3, np.arange(120) // 12
    np.savez(here / "d.npz", x=x.astype(np.float32), y=target, subject=person)
    unlabelled = {"labelled": 2, "ratio": ratio}
    arguments = {"path": str(here / "d.npz"), "batch_size": 8, "test_subjects": [8, 9], "val_subjects": [6, 7]}
    data = {"class_path": "ArrayDataModule", "init_args": {**arguments, "unlabelled": unlabelled}}
    net = {"class_path": "WideResNet", "init_args": {"depth": 10, "width": 1, "in_channels": 2, "num_classes": 3}}
    alone = {"data": data, "model": {"class_path": "Supervised", "init_args": {"net": net}}}
    taught = {"data": data, "model": {"class_path": "KD", "init_args": {"student": net}}}
    # two of six training people have labels: 24 windows, or 72 with those of the others; of 8 at a ratio 4 have labels
    assert (windows.batches(alone), windows.batches(taught)) == (3, 9 if ratio is None else 6)
    alone["trainer"] = {"max_epochs": 4, "enable_progress_bar": False, "logger": False}
    set_length(alone, 11, windows.batches(alone), "job")
    (here / "alone.yaml").write_text(yaml.safe_dump(alone))
    with pytest.warns(UserWarning, match="48 training windows without one are left out"):
        assert cli.run(["fit", "--config", "alone.yaml"]).trainer.global_step == 11


def test_an_epoch_of_one_process():
    assert updates_an_epoch({}, 37) == 37
    assert updates_an_epoch({"limit_train_batches": 10, "accumulate_grad_batches": 4}, 37) == 3
    assert updates_an_epoch({"devices": 2}, 37) == updates_an_epoch({"devices": [0, 1]}, 37) == 18
    assert updates_an_epoch({"devices": "auto"}, 37) == 37


def test_a_fit_that_is_too_short_is_an_error(here, monkeypatch):
    with pytest.raises(InputError, match="must have 12 updates, but max_epochs 2 ended it after 8"):
        fit(config_of(), 12, monkeypatch, batches=6)  # in fact 4


# ---------------------------------------------------------------------- warm starts and controls
def runs_of(**more):
    plain_config = {"model": {"class_path": "Supervised", "init_args": {}}}
    kd = {"model": {"class_path": "KD", "init_args": {"init_lr": 0.005}}}
    runs = {
        "teacher": Run("teacher", "teacher", {"model": {"class_path": "Supervised", "init_args": {"width": 3}}}),
        "scratch": Run("scratch", "scratch", plain_config),
        "kd": Run("kd", "student", {"model": {"class_path": "KD"}}, {"raw": "teacher"}),
    }
    for name, arguments in more.items():
        stage = arguments.pop("stage", "student")
        config = kd if stage == "student" else plain_config
        runs[name] = Run(name, stage, config, {"raw": "teacher"} if stage == "student" else {}, **arguments)
    return runs


def budgets(runs, updates=800, controls=True):
    found = with_budgets(runs, updates, controls, ["scratch", "kd"], "study.yaml")
    return {name: (run.updates, run.warm, run.init) for name, run in found.items()}, found


def test_without_updates_nothing_changes():
    runs = runs_of(tpkd={"init": "scratch"})
    assert with_budgets(runs, None, True, ["scratch"], "study.yaml") == runs


def test_a_split_makes_the_shorter_warm_start_and_its_control():
    totals, found = budgets(runs_of(tpkd={"init": "scratch", "split": 0.25}))
    assert totals == {
        "teacher": (800, 0, None),
        "scratch": (800, 0, None),
        "kd": (800, 0, None),
        "scratch_200": (200, 0, None),
        "tpkd": (800, 200, "scratch_200"),
        "scratch_200+600_lr0.005": (800, 200, "scratch_200"),
    }
    control = found["scratch_200+600_lr0.005"]  # the warm start's learning rate, too
    assert control.config["model"]["init_args"] == {"init_lr": 0.005}
    assert found["scratch"].config["model"]["init_args"] == {}
    assert control.stage == "scratch"
    assert not control.teachers


def test_a_longer_run_has_controls_of_its_length():
    totals, found = budgets(runs_of(tpkd={"init": "scratch", "updates": 1600}))
    assert totals["tpkd"] == (1600, 800, "scratch")
    assert totals["scratch_1600"] == totals["kd_1600"] == (1600, 0, None)
    assert found["kd_1600"].teachers == {"raw": "teacher"}
    added = {name for name, run in found.items() if run.control}
    assert len(added) == 3
    assert {totals[name] for name in added} == {(1600, 0, None), (1600, 800, "scratch")}


def test_controls_of_the_file_count_and_none_adds_none():
    warm = {"warm": {"stage": "scratch", "updates": 300}, "tpkd": {"init": "warm"}}
    totals, _ = budgets(runs_of(**warm, scratch_long={"stage": "scratch", "init": "warm"}))
    assert set(totals) == {"teacher", "scratch", "kd", "warm", "tpkd", "scratch_long"}
    assert totals["tpkd"] == totals["scratch_long"] == (800, 300, "warm")
    totals, _ = budgets(runs_of(tpkd={"init": "scratch", "split": 0.5}), controls=False)
    assert set(totals) == {"teacher", "scratch", "kd", "scratch_400", "tpkd"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"tpkd": {"init": "scratch"}}, "tpkd: updates must be more than the 800 of its warm start.*split: 0.5.*1600"),
        ({"tpkd": {"split": 0.5}}, "split must be left out without init"),
        ({"tpkd": {"init": "scratch", "split": 0.0001}}, "split must leave updates on both sides"),
        (
            {"tpkd": {"init": "scratch", "split": 0.5}, "scratch_400": {"stage": "scratch"}},
            "scratch_400 must be the name of a run that the study adds",
        ),
    ],
)
def test_a_budget_that_cannot_be_is_refused(more, message):
    with pytest.raises(InputError, match=message):
        budgets(runs_of(**more))


# ---------------------------------------------------------------------- a study
def study_file(folder, **changes):
    supervised = config_of({"class_path": "CosineAnnealingLR", "init_args": {"T_max": 3}}, data={"train_per_class": 4})
    supervised.pop("run", None)
    net = supervised["model"]["init_args"]["net"]
    student = {**supervised, "model": {"class_path": "KD", "init_args": {"student": net, "teachers": {"raw": {}}}}}
    student["model"]["init_args"]["teachers"]["raw"]["checkpoint"] = "of the study"
    for name, config in {"supervised": supervised, "student": student}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    kd = {"config": "student.yaml", "teachers": {"raw": "teacher"}}
    longer = {**kd, "updates": 9, "set": {"model.init_args.temperature": 2.0}}
    content = {
        "study": "toy/study",
        "seeds": 1,
        "updates": 6,
        "teachers": {"teacher": {"config": "supervised.yaml", "one_per": "fold"}},
        "scratch": {"scratch": {"config": "supervised.yaml"}},
        "students": {"kd": kd, "warm": {**kd, "init": "scratch", "split": 0.5}, "long": longer},
        **changes,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"updates": 0}, "updates must be a whole number of at least 1, but got 0"),
        ({"updates": True}, "updates must be a whole number"),
        ({"controls": "some"}, "controls must be auto or none"),
        (
            {"axes": {"n": {"a": {"trainer.max_epochs": 1}}}},
            "axis 'n': a: trainer.max_epochs must be left out, .* no fit would have these epochs. Write it under set",
        ),
        ({"updates": None}, "updates and split must be left out of a study without updates"),
    ],
)
def test_a_wrong_study_file_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        Study.read(study_file(tmp_path, **changes))


def test_the_length_that_configs_are_written_for_may_be_set(tmp_path):
    assert Study.read(study_file(tmp_path, set={"all": {"trainer.max_epochs": 5}}))


def test_a_plan_needs_the_batches(tmp_path):
    with pytest.raises(InputError, match="batches of an epoch must be known"):
        Study.read(study_file(tmp_path)).jobs(tmp_path, {"": []}, lambda config: "data")


def test_the_list_of_a_study_has_its_controls(here, monkeypatch, capsys):
    path = study_file(here)
    monkeypatch.setattr("sys.argv", ["kdlab", "study", str(path), "--list"])
    cli.main()
    listed = capsys.readouterr().out
    for control in ("scratch_3+3", "scratch_9", "kd_9", "scratch_3"):
        assert re.search(rf"--only '?{re.escape(control)}/seed0", listed)
    assert Study.read(path).baselines == ("scratch", "kd", "scratch_3+3", "scratch_9", "kd_9")


def test_a_study_of_equal_updates_from_file_to_report(here, monkeypatch, capsys):
    teacher = {"config": "supervised.yaml", "one_per": "fold", "updates": 9}
    warm = {"config": "student.yaml", "teachers": {"raw": "teacher"}, "init": "scratch", "split": 0.5}
    path = study_file(here, teachers={"teacher": teacher}, students={"warm": warm})
    monkeypatch.setattr("sys.argv", ["kdlab", "study", str(path)])
    cli.main()
    shown = capsys.readouterr().out
    assert re.search("scratch_3[+]3 .* 6 updates [(]3 of them its warm start's[)], added by the study", shown)
    with (here / "runs/toy/study/results.csv").open(newline="") as file:
        rows = {row["run"]: (int(row["updates"]), int(row["updates_warm_start"])) for row in csv.DictReader(file)}
    assert rows == {
        "teacher": (9, 0),
        "scratch": (6, 0),
        "scratch_3": (3, 0),
        **dict.fromkeys(("warm", "scratch_3+3"), (6, 3)),
    }
    text = (here / "runs/toy/study/results.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("| teacher"))
    assert "other updates" in line
    assert "not compared: 9 and 6 updates" in text
    few = text.partition("## Few updates")[2].partition("##")[0]
    assert "raised by `updates` of the study alone" in few
    assert "max_epochs" not in few
    assert "6 (3 warm start)" in text


def row(run, updates, accuracy, fold):
    about = {"run": run, "stage": "student", "labels": {}, "seed": 0, "fold": fold, "view": "raw"}
    return {**about, "test_accuracy": accuracy, "updates": updates, "updates_warm_start": 0, "shared": False}


def test_rows_of_unequal_updates_are_not_compared(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        row(run, updates, float(rng.uniform(0.8, 0.9)), f"fold{fold}")
        for run, updates in (("scratch", 800), ("kd", 800), ("long", 1600))
        for fold in range(3)
    ]
    options = {"name": "s", "baselines": ["scratch"], "order": ["scratch", "kd", "long"]}
    text = write_report(rows, [], tmp_path, **options).read_text()
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "not compared: 1,600 and 800 updates" in lines["long"]
    table = text[text.index("## Results") :]
    found = [line for line in table.splitlines() if line.startswith(("| long", "| kd"))][:2]
    assert "[" in found[0]
    assert "other updates" in found[1]
    assert "[" not in found[1]
    assert "*Other updates*: the two rows had unequal numbers of updates" in text
    without = [{k: v for k, v in one.items() if not k.startswith("updates")} for one in rows]
    plain_text = write_report(without, [], tmp_path / "b", **options, draw=False).read_text()
    assert "updates" not in plain_text
