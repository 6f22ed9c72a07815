"""Callbacks, on real windows where they train and on hand-made metrics where they judge."""

import copy
import csv
import importlib
import inspect
import math
import pkgutil
import re
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.utils.data import DataLoader, IterableDataset

import kdlab.methods
from kdlab import AMC, CAMKD, DKD, KD, PSKD, SP, AnnealingKD, ASoftmax, Distillation, Supervised, Teacher, cli
from kdlab.callbacks import (
    EarlyStoppedTeacher,
    EpochAveraging,
    MarginMapPictures,
    PredictionWriter,
    SmoothedMetric,
    TemperatureAnnealing,
    UpdateBudget,
    ViewPictures,
    WeightAnnealing,
    anneal,
)
from kdlab.callbacks.pictures import plot_confusion
from kdlab.data import ArrayDataModule, BasicMotions
from kdlab.methods.a_softmax import ASoftmaxObjective
from kdlab.methods.amc import AMCObjective
from kdlab.methods.base import Method
from kdlab.methods.checkpoints import KEY, read_checkpoint
from kdlab.methods.finite import DivergedError
from kdlab.methods.ps_kd import PSKDObjective
from kdlab.methods.selection import Rule
from kdlab.objective import Objective
from kdlab.types import InputError
from tests.conftest import REPOSITORY, net, trainer


# ---------------------------------------------------------------- annealing
@pytest.mark.parametrize(("schedule", "middle"), [("linear", 4.5), ("cosine", 4.5), ("exponential", math.sqrt(8.0))])
def test_schedules_begin_and_end_where_they_say(schedule, middle):
    values = [anneal(step, 100, 8.0, 1.0, schedule) for step in range(150)]
    assert all(type(v) is float for v in values)
    assert values[0] == 8.0
    assert values[50] == pytest.approx(middle)
    assert values[100:] == pytest.approx([1.0] * 50)
    assert values == sorted(values, reverse=True)


class Watch(TemperatureAnnealing):
    def on_train_batch_end(self, trainer, pl_module, *args):
        self.seen = [*getattr(self, "seen", []), float(pl_module.objective.temperature)]


def test_temperature_reaches_the_loss_step_by_step(teachers, tmp_path):
    watch = Watch(start=8.0, end=2.0)
    weights = WeightAnnealing(schedule="cosine")
    module = KD(net(), {"raw": Teacher(teachers["raw"])})
    run = trainer(tmp_path, max_epochs=2, callbacks=[watch, weights])
    run.fit(module, BasicMotions())
    steps = run.global_step
    assert watch.seen == pytest.approx([anneal(i, steps, 8.0, 2.0) for i in range(steps)])
    assert float(module.objective.kd_weight) == pytest.approx(anneal(steps - 1, steps, 0.9, 0.1, "cosine"))


def test_annealing_refuses_what_cannot_be(teachers, tmp_path):
    run = trainer(tmp_path, callbacks=[WeightAnnealing("margin_weight")])
    with pytest.raises(InputError, match="but got 'margin_weight'"):
        run.fit(KD(net(), {"raw": Teacher(teachers["raw"])}), BasicMotions())
    with pytest.raises(InputError, match=r"but got 'temperature'\. Leave"):
        trainer(tmp_path, callbacks=[TemperatureAnnealing()]).fit(Supervised(net()), BasicMotions())
    with pytest.raises(InputError, match="PSKD changes 'past_weight' by arguments"):
        trainer(tmp_path, callbacks=[WeightAnnealing("past_weight")]).fit(PSKD(net()), BasicMotions())
    twice = [TemperatureAnnealing(), WeightAnnealing(), WeightAnnealing("temperature", 2.0, 1.0)]
    with pytest.raises(
        InputError, match="'temperature' must be annealed by one callback, but got TemperatureAnnealing"
    ):
        trainer(tmp_path, callbacks=twice).fit(KD(net(), {"raw": Teacher(teachers["raw"])}), BasicMotions())
    auto = SP(net(), {"raw": Teacher(teachers["raw"])}, similarity_weight="auto")
    with pytest.raises(InputError, match=r"similarity_weight of SP must be a number, .* Write similarity_weight: 1\.0"):
        trainer(tmp_path, callbacks=[WeightAnnealing("similarity_weight")]).fit(auto, BasicMotions())
    with pytest.raises(InputError, match="above 0"):
        TemperatureAnnealing(start=0.0)
    with pytest.raises(InputError, match="exponential"):
        WeightAnnealing(end=0.0, schedule="exponential")
    with pytest.raises(InputError, match="schedule"):
        WeightAnnealing(schedule="stepwise")
    with pytest.raises(InputError, match="epochs"):
        WeightAnnealing(epochs=0)


def moving(cls):
    """All methods that move settings of their objective, by code of their own or by its schedule."""
    for sub in cls.__subclasses__():
        if sub.__module__.startswith("kdlab.") and (
            sub.moves or getattr(sub, "made_from", Objective).at != Objective.at
        ):
            yield sub
        yield from moving(sub)


MOVING = sorted(set(moving(Method)), key=lambda cls: cls.__name__)
each_moving = pytest.mark.parametrize("method", MOVING)


def moved_by(module):
    return {*module.moves, *module.objective.moves}


#: what switches a schedule on that is off by default
SWITCHED_ON = {CAMKD: {"distill_decay": True}}


def build(method):
    taught = {"teachers": {"raw": Teacher(net=net())}} if issubclass(method, Distillation) else {}
    return method(net(), **taught, **SWITCHED_ON.get(method, {}))


@each_moving
def test_annealing_leaves_to_a_method_what_it_moves_itself(method, tmp_path):
    assert {AMC, AnnealingKD, ASoftmax, DKD, PSKD} <= set(MOVING)
    for setting in moved_by(build(method)):
        module = build(method)
        before = float(module.objective.settings()[setting])
        with pytest.raises(
            InputError, match=rf"WeightAnnealing: {method.__name__} changes '{setting}' by arguments.*another"
        ):
            trainer(tmp_path, callbacks=[WeightAnnealing(setting)]).fit(module, BasicMotions())
        assert float(module.objective.settings()[setting]) == before


def test_annealing_may_move_what_has_no_schedule():
    taught = {"teachers": {"past": Teacher(net=net())}}
    for module, setting in (
        (AMC(net(), ramp_up=0), "geodesic_weight"),
        (Supervised(net(), objective=AMCObjective()), "geodesic_weight"),
        (Supervised(net(), objective=ASoftmaxObjective()), "cosine_weight"),
        (DKD(net(), {"raw": Teacher(net=net())}, warm_up=0), "ramp"),
        (Distillation(net(), objective=PSKDObjective(), **taught), "past_weight"),
    ):
        WeightAnnealing(setting).check(module)
        before = {name: float(value) for name, value in module.objective.settings().items()}
        module.objective.at(3, 8, step=20, epochs=10)
        assert {name: float(value) for name, value in module.objective.settings().items()} == before


@each_moving
def test_methods_say_what_they_move(method):
    kinds = [kind for kind in type(build(method).objective).__mro__ if kind.__module__.startswith("kdlab.methods")]
    shared = "kdlab.methods.decay"  # it has bases of which a method has one
    modules = sorted({kind.__module__ for kind in kinds} - {shared})
    read = [*map(importlib.import_module, modules), *(kind for kind in kinds if kind.__module__ == shared)]
    source = "".join(map(inspect.getsource, read))
    assert set(re.findall(r'\.set\("(\w+)"', source)) == moved_by(build(method))


def test_no_other_module_moves_settings():
    for module in pkgutil.iter_modules(kdlab.methods.__path__):
        source = inspect.getsource(importlib.import_module(f"kdlab.methods.{module.name}"))
        if re.search(r'\.set\("', source):
            bases = {base.__module__ for cls in MOVING for base in type(build(cls).objective).__mro__}
            assert f"kdlab.methods.{module.name}" in bases, module.name


@each_moving
def test_schedules_are_functions_of_epoch_and_step(method):
    """In any order, and with a new objective in each place, as after a fit was interrupted."""
    places = [(0, 0), (1, 7), (30, 400), (3, 20), (0, 0), (29, 380)]

    def values(objective, epoch, step):
        objective.at(epoch, 8, step=step, epochs=30)
        return {name: float(value) for name, value in objective.settings().items()}

    objective = build(method).objective
    seen = [values(objective, *place) for place in places]
    assert seen == [values(build(method).objective, *place) for place in places]
    assert {name for name in seen[0] if len({found[name] for found in seen}) > 1} == set(objective.moves)


def test_the_fit_after_an_annealed_one_begins_with_what_was_given(teachers, tmp_path, capsys):
    def fit(module, *callbacks, **kwargs):
        run = trainer(tmp_path, max_epochs=1, limit_train_batches=2, callbacks=list(callbacks), **kwargs)
        run.fit(module, BasicMotions(batch_size=8))
        return run, [float(run.callback_metrics[f"train/{name}"]) for name in ("kd_weight", "temperature")]

    module = KD(net(), {"raw": Teacher(teachers["raw"])}, temperature=3.0, kd_weight=0.5)
    run, seen = fit(module, WeightAnnealing(), TemperatureAnnealing())
    last = {name: float(value) for name, value in module.objective.settings().items()}
    assert seen == pytest.approx([0.7, 6.25])
    assert last == pytest.approx({"kd_weight": 0.5, "temperature": 4.5})
    run.save_checkpoint(tmp_path / "last.ckpt")
    written = read_checkpoint(str(tmp_path / "last.ckpt"))[KEY]["objective"]["arguments"]
    assert written["temperature"] == 4.5
    assert fit(module)[1] == [0.5, 3.0]
    assert fit(module, TemperatureAnnealing(2.0, 1.0))[1] == [0.5, 1.75]
    with pytest.raises(RuntimeError, match="end"):
        fit(module, TemperatureAnnealing(), Ending())
    assert fit(copy.deepcopy(module), TemperatureAnnealing(2.0, 1.0))[1] == [0.5, 1.75]
    assert fit(module)[1] == [0.5, 3.0]
    fit(module, TemperatureAnnealing())
    module.objective.set("temperature", 2.0)  # by hand, after the fit
    assert fit(module)[1] == [0.5, 2.0]


class Stream(IterableDataset):
    """Three batches of windows of another origin, without a length."""

    def __iter__(self):
        return ((torch.full((6, 100), float(i)), i % 4) for i in range(24))


@pytest.mark.parametrize(
    ("epochs", "limits", "found"),
    [
        (None, {}, "loader must have a length .* Set max_steps, or limit_train_batches"),
        (3, {}, "epochs must be None where the training loader has no length, but got 3. Leave epochs out and set max"),
        (None, {"max_epochs": -1, "max_time": "00:00:00:09"}, "epochs must be set where the fit has no planned end"),
        (None, {"max_steps": 4}, 4),
        (None, {"limit_train_batches": 2}, 4),
        (3, {"limit_train_batches": 2}, 6),
    ],
)
def test_annealing_over_a_loader_without_a_length(epochs, limits, found, tmp_path):
    module = KD(net(), {"raw": Teacher(net=net(), mean=[0.0] * 6, std=[1.0] * 6)})
    watch = Watch(start=8.0, end=2.0, epochs=epochs)
    run = trainer(tmp_path, **{"max_epochs": 2, "callbacks": [watch], **limits})
    loader = DataLoader(Stream(), batch_size=8)
    if isinstance(found, str):
        with pytest.raises(InputError, match=f"^Watch: .*{found}"):
            run.fit(module, loader)
        return
    run.fit(module, loader)
    assert watch.seen == pytest.approx([anneal(i, found, 8.0, 2.0) for i in range(run.global_step)])
    assert run.global_step == 4


@pytest.mark.parametrize("epochs", [None, 2])
def test_annealing_ends_with_the_fit_where_accumulation_changes(epochs, teachers, tmp_path):
    watch = Watch(start=8.0, end=2.0, epochs=epochs)
    run = trainer(tmp_path, max_epochs=2, callbacks=[GradientAccumulationScheduler({1: 3}), watch])
    run.fit(KD(net(), {"raw": Teacher(teachers["raw"])}), BasicMotions(batch_size=8))
    assert run.global_step == 4 + 2
    assert (watch.steps, watch.seen[-1]) == (6, pytest.approx(anneal(5, 6, 8.0, 2.0)))


def test_annealing_of_a_second_fit_with_the_same_trainer_begins_again(teachers, tmp_path):
    module, data = KD(net(), {"raw": Teacher(teachers["raw"])}), BasicMotions(batch_size=8)
    watch = Watch(start=8.0, end=2.0)
    run = trainer(tmp_path, max_epochs=1, callbacks=[watch])
    run.fit(module, data)
    run.fit_loop.max_epochs, watch.seen = 3, []
    run.fit(module, data)
    assert watch.seen == pytest.approx([anneal(i, 8, 8.0, 2.0) for i in range(8)])
    run.save_checkpoint(tmp_path / "last.ckpt")
    resumed = Watch(start=8.0, end=2.0)
    more = trainer(tmp_path, max_epochs=4, callbacks=[resumed])
    more.fit(KD(net(), {"raw": Teacher(teachers["raw"])}), data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert resumed.seen == pytest.approx([anneal(i, 12, 8.0, 2.0) for i in range(8, 12)])


class Ending(Callback):
    """Ends a fit by an error after its first step."""

    def on_train_batch_end(self, *_):
        raise RuntimeError("end")


# ---------------------------------------------------------------- early stopping
class Scripted(Supervised):
    """A student whose validation loss follows a script; its weights remember the epoch."""

    script: tuple[float, ...] = ()
    metric = "val/loss"

    def validation_step(self, batch, batch_idx):
        with torch.no_grad():
            self.net.head.bias.fill_(float(self.current_epoch))
        self.log(self.metric, torch.tensor(self.script[self.current_epoch]), on_epoch=True)


def judged(tmp_path, script, **kwargs):
    module = Scripted(net())
    module.script, module.metric = script, kwargs.get("monitor", "val/loss")
    stop = EarlyStoppedTeacher(**kwargs)
    run = trainer(tmp_path, max_epochs=len(script), callbacks=[stop])
    run.fit(module, BasicMotions())
    return stop, run


def kept(stop):
    checkpoint = read_checkpoint(stop.checkpoint)
    epoch = checkpoint[KEY]["provenance"]["epoch"]
    assert float(checkpoint["state_dict"]["net.head.bias"][0]) == epoch  # the weights are those of the epoch
    return epoch, checkpoint[KEY]["provenance"]


def test_the_peak_is_kept_and_training_stops(tmp_path):
    stop, run = judged(tmp_path, (5.0, 4.0, 3.0, 3.5, 3.6, 3.7, 3.0, 1.0), smoothing=1, patience=3)
    epoch, provenance = kept(stop)
    assert epoch == 2
    assert run.current_epoch == 6  # three validations without improvement: 3, 4 and 5
    assert provenance["stopped_early"] is True
    assert "no better for 3" in provenance["reason"]
    assert not (Path(stop.checkpoint).parent / "peak.ckpt").exists()


def test_one_lucky_validation_is_no_peak(tmp_path):
    """Judged epoch by epoch, epoch 0 would win; averaged over three it does not."""
    script = (0.1, 4.0, 3.0, 2.0, 1.0, 0.9, 0.8, 2.0, 3.0, 3.0, 3.0)
    stop, _ = judged(tmp_path, script, smoothing=3, patience=3)
    assert kept(stop)[0] == 6
    stop, _ = judged(tmp_path, script, smoothing=1, patience=10, min_epochs=3)
    assert kept(stop)[0] == 6


def test_min_delta(tmp_path):
    stop, _ = judged(tmp_path, (3.0, 2.95, 2.9, 2.5, 2.6, 2.6), smoothing=1, patience=5, min_delta=0.2)
    assert kept(stop)[0] == 3


def test_going_on_keeps_the_end_and_the_epochs_asked_for(tmp_path):
    stop, run = judged(tmp_path, (3.0, 1.0, 2.0, 2.0, 2.0), smoothing=1, patience=1, stop=False, epochs=(0, 3))
    folder = Path(stop.checkpoint).parent
    assert run.current_epoch == 5
    assert kept(stop)[0] == 1
    full = read_checkpoint(folder / "teacher-full.ckpt")[KEY]["provenance"]
    assert full["epoch"] == 4
    assert full["stopped_early"] is False
    for epoch in (0, 3):
        assert read_checkpoint(folder / f"teacher-epoch={epoch}.ckpt")[KEY]["provenance"]["epoch"] == epoch


def test_epochs_that_are_not_validated_are_kept_without_a_metric(tmp_path):
    stop, module = EarlyStoppedTeacher(smoothing=1, stop=False, epochs=[0, 1, 2]), Supervised(net())
    trainer(tmp_path, max_epochs=3, check_val_every_n_epoch=2, callbacks=[stop]).fit(module, BasicMotions())
    folder = Path(stop.checkpoint).parent
    found = {
        name: read_checkpoint(folder / f"teacher-{name}.ckpt") for name in ("epoch=0", "epoch=1", "epoch=2", "full")
    }
    told = {name: checkpoint[KEY]["provenance"] for name, checkpoint in found.items()}
    assert {name: one["epoch"] for name, one in told.items()} == {"epoch=0": 0, "epoch=1": 1, "epoch=2": 2, "full": 2}
    assert [name for name, one in told.items() if one["value"] is not None] == ["epoch=1"]
    assert all(torch.equal(found["full"]["state_dict"][k], v) for k, v in found["epoch=2"]["state_dict"].items())


def test_a_fit_without_validation_has_no_teacher(tmp_path):
    run = trainer(tmp_path, max_epochs=1, max_steps=1, callbacks=[EarlyStoppedTeacher()])
    with pytest.raises(InputError, match=r"the fit must be validated, but is not\. Raise max_steps"):
        run.fit(Supervised(net()), BasicMotions(batch_size=8))
    run = trainer(tmp_path, max_epochs=1, limit_val_batches=0, callbacks=[EarlyStoppedTeacher()])
    with pytest.warns(UserWarning, match=r"ended before its first validation, so that there is no teacher\.ckpt"):
        run.fit(Supervised(net()), BasicMotions(batch_size=8))
    run = trainer(tmp_path, max_epochs=1, callbacks=[EarlyStoppedTeacher(), Ended()])
    with pytest.warns(UserWarning, match=r"ended before its first validation, so that there is no teacher\.ckpt"):
        run.fit(Supervised(net()), BasicMotions(batch_size=8))


class Ended(Callback):
    """Ends the fit within its first epoch, without validation."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        trainer.fit_loop.epoch_loop.max_steps = trainer.global_step


class Validations(Callback):
    """The updates after which a fit was validated."""

    def __init__(self):
        self.found = []

    def on_validation_end(self, trainer, module):
        if not trainer.sanity_checking:
            self.found.append(trainer.global_step)


@pytest.mark.parametrize(
    ("updates", "every", "wanted"),
    [(3, 1, [3]), (6, 1, [4, 6]), (12, 2, [8]), (3, 2, [])],
)
def test_a_budget_is_validated_after_its_last_update_unless_its_epoch_is_passed_over(updates, every, wanted, tmp_path):
    seen = Validations()
    run = trainer(
        tmp_path,
        max_epochs=9,
        max_steps=updates,
        check_val_every_n_epoch=every,
        callbacks=[UpdateBudget(updates), seen],
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.fit(Supervised(net()), BasicMotions(batch_size=8))
    assert seen.found == wanted
    said = [str(w.message) for w in caught if "UpdateBudget" in str(w.message)]
    assert len(said) == (not wanted)
    assert all(line.endswith("so no weights are chosen. Lower check_val_every_n_epoch.") for line in said)


def test_too_few_to_choose_is_said(tmp_path):
    with pytest.warns(UserWarning, match=r"val/loss is computed on \d+ windows of \d+ recordings: too few"):
        judged(tmp_path, (3.0, 1.0), smoothing=1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"limit_val_batches": 1},
            r"val/loss is computed on \d+ windows of \d+ recordings, or on fewer: limit_val_batches=1",
        ),
        ({"limit_val_batches": 0.5}, r"or on fewer: limit_val_batches=0\.5"),
        ({"overfit_batches": 2}, r"on the windows that are trained on \(overfit_batches=2\), which choose no epoch"),
    ],
)
def test_what_the_trainer_leaves_of_the_choice_is_said(tmp_path, settings, said):
    module = Scripted(net())
    module.script, module.metric = (3.0,), "val/loss"
    run = trainer(tmp_path, max_epochs=1, callbacks=[EarlyStoppedTeacher(smoothing=1)], **settings)
    with pytest.warns(UserWarning, match=said):
        run.fit(module, BasicMotions(batch_size=2))


def test_no_epoch_qualifies(tmp_path):
    with pytest.warns(UserWarning, match="no epoch qualified"):
        stop, _ = judged(tmp_path, (3.0, 1.0, 9.0), smoothing=5)
    assert kept(stop)[0] == 1
    assert "none of which qualified" in kept(stop)[1]["reason"]
    with pytest.warns(UserWarning, match="cannot be a peak"):
        stop, _ = judged(tmp_path, (float("nan"), 1.0, 2.0), smoothing=1, monitor="val/score", mode="min")
    assert kept(stop)[0] == 1
    with pytest.warns(UserWarning, match="never finite"):
        stop, _ = judged(tmp_path, (float("nan"), float("inf")), smoothing=1, monitor="val/score", mode="min")
    assert kept(stop)[1]["stopped_early"] is False


def test_an_earlier_teacher_is_not_overwritten(tmp_path):
    first, _ = judged(tmp_path, (3.0, 1.0, 2.0), smoothing=1)
    before = Path(first.checkpoint).read_bytes()
    second, _ = judged(tmp_path, (1.0, 2.0, 3.0), smoothing=1)
    assert first.checkpoint != second.checkpoint
    assert Path(first.checkpoint).read_bytes() == before
    assert (kept(first)[0], kept(second)[0]) == (1, 0)


def test_a_finished_teacher_can_be_trained_on(tmp_path):
    stop, run = judged(tmp_path / "one", (3.0, 1.0, 2.0), smoothing=1)
    run.save_checkpoint(tmp_path / "last.ckpt")
    module = Scripted(net())
    module.script = (3.0, 1.0, 2.0, 0.5)
    again = EarlyStoppedTeacher(smoothing=1)
    on = trainer(tmp_path / "two", max_epochs=4, callbacks=[again])
    on.fit(module, BasicMotions(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert len(again.history) == 4
    assert kept(again)[0] == 3
    stop_again = again  # and the callback forgets, when it is used for another net
    fresh = Scripted(net())
    fresh.script = (2.0, 3.0)
    trainer(tmp_path / "three", max_epochs=2, callbacks=[stop_again]).fit(fresh, BasicMotions())
    assert len(stop_again.history) == 2
    assert Path(stop.checkpoint).is_file()


def test_a_callback_forgets_the_fit_before(tmp_path):
    """Also after a test that read a checkpoint, which is none that a fit resumes from."""
    smoothed, peak = SmoothedMetric("val/loss", window=3), EarlyStoppedTeacher(smoothing=1)
    module = Scripted(net())
    module.script = (5.0, 3.0)
    run = trainer(tmp_path / "one", callbacks=[smoothed, peak])
    run.fit(module, BasicMotions())
    run.save_checkpoint(tmp_path / "last.ckpt")
    run.test(module, BasicMotions(), ckpt_path=tmp_path / "last.ckpt", weights_only=True, verbose=False)
    module.script = (1.0,)
    run = trainer(tmp_path / "two", max_epochs=1, callbacks=[smoothed, peak])
    run.fit(module, BasicMotions())
    assert (smoothed.recent, peak.history) == ([1.0], [(0, 1.0)])
    assert float(run.callback_metrics["val/loss_smoothed"]) == 1.0


def test_a_metric_that_explodes_ends_the_training(tmp_path):
    script = (3.0, *[float("nan")] * 9)
    stop, run = judged(tmp_path, script, smoothing=1, patience=2, monitor="val/score", mode="min")
    assert run.current_epoch == 3
    assert kept(stop)[0] == 0


def test_a_loss_that_explodes_is_an_error_and_the_peak_stays(tmp_path):
    with pytest.raises(DivergedError, match=r"epoch 1, .*val/loss must be finite, but is nan"):
        judged(tmp_path, (3.0, *[float("nan")] * 9), smoothing=1, patience=2)
    (peak,) = tmp_path.rglob("*.ckpt")
    assert (peak.name, read_checkpoint(peak)["epoch"]) == ("peak.ckpt", 0)


def test_resumed_judging_equals_uninterrupted(tmp_path):
    script = (5.0, 4.0, 2.0, 3.0, 3.0, 3.0, 3.0)

    def go(folder, epochs, path=None):
        module = Scripted(net())
        module.script = script
        stop = EarlyStoppedTeacher(smoothing=1, patience=3)
        run = trainer(folder, max_epochs=epochs, callbacks=[stop])
        run.fit(module, BasicMotions(), ckpt_path=path, weights_only=True)
        return stop, run

    class Break(Exception):
        pass

    whole, _ = go(tmp_path / "whole", 7)
    module = Scripted(net())
    module.script = script
    stop = EarlyStoppedTeacher(smoothing=1, patience=3)
    run = trainer(tmp_path / "first", max_epochs=7, callbacks=[stop])

    def interrupt():
        if run.current_epoch == 4:
            run.save_checkpoint(tmp_path / "half.ckpt")
            raise Break

    module.on_train_epoch_end = interrupt
    with pytest.raises(Break):
        run.fit(module, BasicMotions())
    assert stop.checkpoint is None  # nothing unfinished is called a teacher
    second, _ = go(tmp_path / "second", 7, tmp_path / "half.ckpt")
    assert second.history == whole.history
    assert kept(second)[0] == kept(whole)[0] == 2
    assert second.checkpoint.startswith(str(tmp_path / "second"))


@pytest.mark.parametrize(
    ("cls", "wrong"),
    [
        (EarlyStoppedTeacher, {"patience": [0, 1.5, math.nan, True, "3", None], "smoothing": [0, 1.5]}),
        (EarlyStoppedTeacher, {"min_delta": [-1.0, math.nan, math.inf, "0"], "min_epochs": [-1, 0.5]}),
        (EarlyStoppedTeacher, {"epochs": [[-1], [1.5], 3, "3", None], "monitor": [None, ["val/loss"]]}),
        (WeightAnnealing, {"start": ["8", math.nan, -1], "end": [math.inf, True], "epochs": [0, 1.5, math.nan]}),
        (TemperatureAnnealing, {"start": ["8", math.nan, 0], "end": [math.inf, None], "epochs": [0, 1.5, "3"]}),
        (EpochAveraging, {"start": ["1", math.nan, -1], "every": [0, 1.5, math.nan]}),
        (MarginMapPictures, {"windows": [0, 1.5, "4"], "every_n_epochs": [0, 1.5, math.nan]}),
        (ViewPictures, {"per_class": [0, 1.5, "1"]}),
        (SmoothedMetric, {"window": [0, 1.5, math.nan, "3"]}),
        (UpdateBudget, {"updates": [0, 1.5, math.nan, "800"]}),
        (partial(Rule, "smoothed"), {"smoothing": [1, 1.5, math.nan, "3"]}),
    ],
)
def test_numbers_that_no_fit_could_work_with(cls, wrong):
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(InputError, match=rf"{name}\b.* must be .*, but got .*[\w\])]\."):
                cls(**{name: value})


def test_the_direction_of_a_metric_is_said_where_its_name_does_not():
    modes = {"val/loss": "min", "val/accuracy": "max", "val/macro_f1": "max", "val/accuracy_smoothed": "max"}
    assert {monitor: EarlyStoppedTeacher(monitor).mode for monitor in modes} == modes
    assert EarlyStoppedTeacher("val/error_of_f1", mode="min").mode == "min"
    for monitor in ("val/error_of_f1", "val/auc", "val/accuracy_of_rare", "val/inaccuracy"):
        with pytest.raises(InputError, match=f"mode must be min or max for the monitor '{monitor}'.* Set mode: max"):
            EarlyStoppedTeacher(monitor)


def test_a_metric_that_nobody_logs(tmp_path):
    with pytest.raises(InputError, match=r"must be a logged validation metric, but got 'val/auc'.*val/accuracy"):
        trainer(tmp_path, callbacks=[EarlyStoppedTeacher("val/auc", mode="max")]).fit(Supervised(net()), BasicMotions())


# ---------------------------------------------------------------- predictions and pictures
def test_predictions_are_a_table(tmp_path):
    torch.manual_seed(0)
    x, y = torch.randn(40, 3, 32).numpy(), torch.arange(40).numpy() % 4
    data = ArrayDataModule(x, y, subject=torch.arange(40).numpy() // 4, batch_size=8, test_subjects=[7, 8, 9])
    module = Supervised(net(channels=3))
    run = trainer(tmp_path, callbacks=[PredictionWriter()], max_epochs=1)
    run.fit(module, data)
    run.predict(module, data)
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(28, 40))
    assert [row["subject"] for row in rows] == [str(i // 4) for i in range(28, 40)]
    assert [int(row["target"]) for row in rows] == [i % 4 for i in range(28, 40)]
    for row in rows:
        p = [float(value) for key, value in row.items() if key.startswith("probability_")]
        assert sum(p) == pytest.approx(1.0, abs=1e-4)
        assert p.index(max(p)) == int(row["prediction"])


def test_confusion_is_drawn(tmp_path):
    figure = plot_confusion(torch.tensor([[5, 1], [0, 4]]), ["sit", "walk"])
    figure.savefig(tmp_path / "confusion.png")
    texts = {t.get_text() for t in figure.axes[0].texts}
    assert texts == {"5", "1", "4"}


@pytest.mark.parametrize("tap", ["embedding", "stage9"])
def test_a_map_that_is_not_there_is_found_before_anything_is_written(tap, teachers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--config", str(REPOSITORY / "experiments/basic_motions/amd.yaml"), "--trainer.accelerator=cpu"]
    words += [f"--model.init_args.teachers.raw.checkpoint={teachers['raw']}", "--trainer.max_steps=1"]
    words += ["--trainer.callbacks+=MarginMapPictures", f"--trainer.callbacks.taps=[{tap}]"]
    with pytest.raises(InputError, match=rf"MarginMapPictures: .*the student has no map '{tap}'; it has stage1"):
        cli.run(words)
    assert not list(tmp_path.rglob("*"))
