"""Averaged weights: validation measures them, best.ckpt and teacher.ckpt hold them, a resumed fit has the others."""

import copy
import csv
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from torch import nn
from torch.optim.swa_utils import SWALR

import kdlab.methods
from kdlab import AnnealingKD, FitNet, SimKD, Supervised, Teacher, cli
from kdlab.callbacks import EarlyStoppedTeacher, EpochAveraging
from kdlab.data import BasicMotions
from kdlab.export import export
from kdlab.methods.averages import CURRENT, Averages
from kdlab.methods.checkpoints import KEY, read_checkpoint
from kdlab.nets import ReusedClassifier, Seq2Seq, WideResNet
from kdlab.types import InputError
from tests.conftest import REPOSITORY, net, trainer

SCRATCH = str(REPOSITORY / "experiments/basic_motions/scratch.yaml")
WORDS = [
    "fit",
    "--config",
    SCRATCH,
    "--model.init_args.net.init_args.depth=10",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.num_sanity_val_steps=0",
    "--data.init_args.batch_size=8",
    "--trainer.max_epochs=4",
    "--run=a/b",
]
EMA = "--trainer.callbacks+={class_path: EMAWeightAveraging, init_args: {decay: 0.7}}"
SWA = "--trainer.callbacks+={class_path: kdlab.callbacks.EpochAveraging, init_args: {start: 1}}"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def data():
    return BasicMotions(batch_size=8)


def method(seed=0, **kwargs):
    torch.manual_seed(seed)
    return Supervised(net(), **kwargs)


class Watcher(Callback):
    """Keeps the weights after every step and every epoch, and what was validated."""

    def __init__(self):
        self.steps, self.epochs, self.validated = [], [], []

    def on_train_batch_end(self, trainer, module, *args):
        self.steps.append(copy.deepcopy(module.net.state_dict()))

    def on_train_epoch_end(self, trainer, module):
        self.epochs.append(copy.deepcopy(module.net.state_dict()))

    def on_validation_batch_start(self, trainer, module, *args):
        self.validated.append(copy.deepcopy(module.net.state_dict()))

    def on_validation_end(self, trainer, module):
        self.last = float(trainer.callback_metrics["val/accuracy"])


def ema(states, decay):
    """Reference in float64: the average of each tensor over the steps, integers as they are at the end."""
    found = {}
    for name in states[0]:
        values = [s[name].numpy() for s in states]
        if not np.issubdtype(values[0].dtype, np.floating):
            found[name] = values[-1]
            continue
        average = values[0].astype(np.float64)
        for value in values[1:]:
            average = decay * average + (1 - decay) * value
        found[name] = average
    return found


def net_state(path):
    held = read_checkpoint(path)["state_dict"]
    return {name.removeprefix("net."): value for name, value in held.items() if name.startswith("net.")}


def accuracy(backbone):
    """Share of the validation windows that a net classifies correctly, counted here."""
    module = data()
    module.setup()
    backbone.eval()
    with torch.no_grad():
        right = [(backbone(b.views["raw"]).logits.argmax(1) == b.target) for b in module.batches("val")]
    return float(torch.cat(right).double().mean())


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# ---------------------------------------------------------------- what is averaged
class NormEval(WideResNet):
    """A net whose user keeps a layer in evaluation mode."""

    def train(self, mode=True):
        super().train(mode)
        self.stages[1][0].norm1.eval()
        return self


def test_statistics_that_the_fit_keeps_are_not_computed(tmp_path):
    """Those of frozen parts, of a reused classifier, and of layers that the user keeps in evaluation mode."""
    teacher = net().eval()
    teacher.norm.running_mean.fill_(0.25)
    own = net()
    own.__class__ = NormEval
    reused = ReusedClassifier(net(), teacher)
    simkd = SimKD(reused, {"raw": Teacher(net=teacher, mean=[0.0] * 6, std=[1.0] * 6)})
    for module, kept, moved in (
        (Supervised(net(), freeze=["stages.0"]), "stages.0.0.norm1", "norm"),
        (Supervised(own), "stages.1.0.norm1", "norm"),
        (simkd, "rest.norm", None),
    ):
        before = copy.deepcopy(module.net.state_dict())
        fit = trainer(tmp_path, max_epochs=2, callbacks=[EpochAveraging(start=0)])
        fit.fit(module, data())
        after = module.net.state_dict()
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            assert torch.equal(after[f"{kept}.{name}"], before[f"{kept}.{name}"])
            assert moved is None or not torch.equal(after[f"{moved}.{name}"], before[f"{moved}.{name}"])


@pytest.mark.parametrize("limits", [{"max_epochs": 4}, {"max_epochs": 100, "max_steps": 14}, {"max_epochs": -1}])
def test_a_share_is_that_of_the_planned_epochs(limits, tmp_path):
    for source in (data(), None):
        average = EpochAveraging(start=0.5, refresh=source is not None)
        fit = trainer(tmp_path, **{"max_steps": 14, **limits}, limit_val_batches=0, callbacks=[average])
        if source is None:
            plain = data()
            plain.setup("fit")
            fit.fit(method(), plain.train_dataloader())
        else:
            fit.fit(method(), source)
        assert average.should_update(epoch_idx=2)
        assert not average.should_update(epoch_idx=1)
        assert average._latest_update_epoch >= 2


def test_the_average_is_that_of_the_formula_and_is_validated_and_kept(tmp_path):
    watcher = Watcher()
    best = ModelCheckpoint(tmp_path, "best", monitor="val/loss")
    run = trainer(
        tmp_path, max_epochs=3, callbacks=[EMAWeightAveraging(decay=0.7), watcher, best], enable_checkpointing=True
    )
    run.fit(method(), data())
    for epoch in range(3):
        expected = ema(watcher.steps[: 4 * (epoch + 1)], 0.7)
        for name, value in watcher.validated[epoch].items():
            np.testing.assert_allclose(value.numpy(), expected[name], rtol=2e-5, atol=1e-6, err_msg=name)
    kept = read_checkpoint(best.best_model_path)
    epoch = kept[KEY]["provenance"]["epoch"]
    assert same(net_state(best.best_model_path), watcher.validated[epoch])
    assert kept[KEY]["provenance"]["averaged"] == f"EMAWeightAveraging, {4 * (epoch + 1)} updates"
    current = {n.removeprefix("net."): v for n, v in kept[CURRENT].items() if n.startswith("net.")}
    assert same(current, watcher.steps[4 * epoch + 3])
    assert not same(current, watcher.validated[epoch])


@pytest.mark.parametrize("average", [EMAWeightAveraging(decay=0.6), WeightAveraging(), EpochAveraging(start=1)])
def test_the_accuracy_that_is_logged_is_that_of_the_weights_that_are_kept(average, tmp_path):
    """Of every epoch; also for an average that is updated once an epoch."""
    logged, watcher = {}, Watcher()

    class Log(Callback):
        def on_validation_end(self, trainer, module):
            logged[trainer.current_epoch] = float(trainer.callback_metrics["val/accuracy"])

    every = ModelCheckpoint(tmp_path, "{epoch}", monitor="val/loss", save_top_k=-1)
    run = trainer(tmp_path, max_epochs=4, callbacks=[average, Log(), watcher, every], enable_checkpointing=True)
    run.fit(method(), data())
    for epoch in range(4):
        state = net_state(tmp_path / f"epoch={epoch}.ckpt")
        assert same(state, watcher.validated[epoch])
        read = net()
        read.load_state_dict(state)
        assert accuracy(read) == pytest.approx(logged[epoch], abs=1e-6)
    assert len(set(logged.values())) > 1


def test_before_the_first_update_the_average_is_the_current_weights(tmp_path):
    """Lightning alone validates the weights of the beginning, and ends with them."""
    plain, late = Watcher(), Watcher()
    alone = method()
    trainer(tmp_path, callbacks=[plain]).fit(alone, data())
    for average in (EMAWeightAveraging(update_starting_at_step=1000), EpochAveraging(start=50)):
        late = Watcher()
        module, run = method(), trainer(tmp_path, callbacks=[average, late])
        run.fit(module, data())
        assert all(same(a, b) for a, b in zip(plain.validated, late.validated, strict=True))
        assert same(module.state_dict(), alone.state_dict())
        run.save_checkpoint(tmp_path / "end.ckpt")
        assert same(net_state(tmp_path / "end.ckpt"), alone.net.state_dict())
        assert "averaged" not in read_checkpoint(tmp_path / "end.ckpt")[KEY]["provenance"]


class Positions(nn.Module):
    """Has whole numbers and a flag as buffers, as transformers do."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)
        self.register_buffer("positions", torch.arange(1000))
        self.register_buffer("known", torch.tensor(True))


class Holder(nn.Module):
    """Has the parts of a method."""

    def __init__(self, inner, teacher=None):
        super().__init__()
        self.net, self.teacher = inner, teacher


def test_whole_numbers_settings_and_teachers_are_not_averaged(tmp_path):
    """An average in float32 makes 3 of 4: 0.999 * 4 + 0.001 * 4 is below 4 for some numbers."""
    taught = Teacher(net=net()).load()
    holder = Holder(Positions(), taught)
    average = Averages(holder, avg_fn=lambda a, b, n: 0.9 * a + 0.1 * b)
    assert average.module.teacher is taught
    before = copy.deepcopy(taught.net.state_dict())
    for step in range(5):
        with torch.no_grad():
            holder.net.layer.weight.fill_(step)
        average.update_parameters(holder)
    assert torch.equal(average.module.net.positions, torch.arange(1000))
    assert average.module.net.known.dtype == torch.bool
    assert same(taught.net.state_dict(), before)
    expected = 0.0
    for step in range(1, 5):
        expected = 0.9 * expected + 0.1 * step
    torch.testing.assert_close(average.module.net.layer.weight, torch.full((4, 3), expected))
    holder.net.register_buffer("late", torch.zeros(1))
    with pytest.raises(InputError, match=r"averaged weights need a module that keeps .* but net\.late came or went"):
        average.update_parameters(holder)


def test_averaging_functions_of_lists_agree_with_those_of_one(tmp_path):
    from torch.optim.swa_utils import get_ema_multi_avg_fn

    found = []
    for how in ({"multi_avg_fn": get_ema_multi_avg_fn(0.8)}, {"avg_fn": lambda a, b, n: 0.8 * a + 0.2 * b}):
        torch.manual_seed(0)
        holder = Holder(net())
        average = Averages(holder, **how)
        for _ in range(3):
            with torch.no_grad():
                for parameter in holder.parameters():
                    parameter.add_(torch.randn_like(parameter))
            average.update_parameters(holder)
        found.append(average.module.state_dict())
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name])


@pytest.mark.parametrize("buffers", [True, False])
def test_batch_statistics_are_averaged_or_the_current_ones(buffers, tmp_path):
    watcher = Watcher()
    average = EMAWeightAveraging(decay=0.7, use_buffers=buffers)
    trainer(tmp_path, max_epochs=1, callbacks=[average, watcher]).fit(method(), data())
    name = next(name for name in watcher.steps[0] if name.endswith("running_var"))
    expected = ema(watcher.steps, 0.7)[name] if buffers else watcher.steps[-1][name].numpy()
    np.testing.assert_allclose(watcher.validated[-1][name].numpy(), expected, rtol=1e-5)


def test_nets_with_adapters_and_teachers_in_python(teachers, tmp_path):
    """Adapters and teachers come after the callback's setup, when the method is prepared."""
    torch.manual_seed(0)

    student = FitNet(net(), {"raw": Teacher(teachers["raw"])})
    watcher = Watcher()
    run = trainer(tmp_path, callbacks=[EMAWeightAveraging(decay=0.7), watcher])
    run.fit(student, data())
    expected = ema(watcher.steps, 0.7)
    for name, value in student.net.state_dict().items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=2e-5, atol=1e-6, err_msg=name)
    taught = dict(student.named_teachers())["raw"].net
    assert same(taught.state_dict(), Teacher(teachers["raw"]).load().net.state_dict())


@pytest.mark.parametrize(
    "kind", ["Supervised", "PSKD", "Reconstruction", "KD", "FitNet", "CRD", "AnnealingKD", "MTKDRL"]
)
def test_a_fitted_method_is_copied_pickled_and_averaged_in_a_further_fit(kind, teachers, tmp_path):
    made = getattr(kdlab.methods, kind)
    if kind == "Reconstruction":
        module = made(Seq2Seq(layers=1, hidden=4, in_channels=6, num_classes=4))
    elif issubclass(made, kdlab.Distillation):
        names = ("a", "b") if kind == "MTKDRL" else ("a",)
        module = made(net(), {name: Teacher(teachers["raw"]) for name in names})
    else:
        module = made(net())
    few = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1}
    trainer(tmp_path, **few).fit(module, data())
    copied = pickle.loads(pickle.dumps(copy.deepcopy(module)))
    assert same(copied.state_dict(), module.state_dict())
    trainer(tmp_path, **few, callbacks=[EMAWeightAveraging(decay=0.7)]).fit(copied, data())
    assert not same(copied.net.state_dict(), module.net.state_dict())


# ---------------------------------------------------------------- what reads it
def test_a_teacher_that_is_stopped_early_is_the_average(tmp_path):
    """Its file is of weights alone, which Lightning's callbacks do not see."""
    watcher = Watcher()
    stop = EarlyStoppedTeacher("val/accuracy", smoothing=1, stop=False, epochs=[0])
    run = trainer(tmp_path, max_epochs=3, callbacks=[EMAWeightAveraging(decay=0.7), stop, watcher])
    run.fit(method(), data())
    assert same(net_state(stop.checkpoint), watcher.validated[stop.peak_epoch])
    assert same(net_state(Path(stop.checkpoint).with_name("teacher-epoch=0.ckpt")), watcher.validated[0])
    assert same(net_state(Path(stop.checkpoint).with_name("teacher-full.ckpt")), watcher.validated[-1])
    assert accuracy(Teacher(stop.checkpoint).load().net) == pytest.approx(stop.peak_value, abs=1e-6)
    assert "averaged" in read_checkpoint(stop.checkpoint)[KEY]["provenance"]


def test_weights_alone_are_the_average_too(tmp_path):
    watcher, light = Watcher(), ModelCheckpoint(tmp_path, "light", monitor="val/loss", save_weights_only=True)
    fit = trainer(tmp_path, callbacks=[EMAWeightAveraging(decay=0.7), watcher, light], enable_checkpointing=True)
    fit.fit(method(), data())
    assert same(net_state(light.best_model_path), watcher.validated[read_checkpoint(light.best_model_path)["epoch"]])


def test_a_checkpoint_that_is_validated_after_the_fit_is_not_exchanged(tmp_path):
    """Lightning alone puts the average at the end in place of the checkpoint's weights."""
    first = ModelCheckpoint(tmp_path, "first", monitor="epoch", mode="min")
    logged, average = [], EMAWeightAveraging(decay=0.5)

    class Log(Callback):
        def on_validation_end(self, trainer, module):
            logged.append(float(trainer.callback_metrics["val/loss"]))

    module = method()
    run = trainer(tmp_path, max_epochs=3, callbacks=[average, first, Log()], enable_checkpointing=True)
    run.fit(module, data())
    found = run.validate(module, data(), ckpt_path=first.best_model_path, weights_only=True, verbose=False)[0]
    assert found["val/loss"] == pytest.approx(logged[0], rel=1e-5)
    assert logged[0] != pytest.approx(logged[2], rel=1e-2)


def test_the_best_weights_of_annealing_kd_are_the_measured_ones(teachers, tmp_path):
    watcher, kept = Watcher(), []

    class Look(Callback):
        def on_validation_end(self, trainer, module):
            kept.append(copy.deepcopy(module._best))

    torch.manual_seed(0)
    student = AnnealingKD(net(), {"raw": Teacher(teachers["raw"])}, regression_epochs=2)
    run = trainer(tmp_path, max_epochs=2, callbacks=[EMAWeightAveraging(decay=0.7), watcher, Look()])
    run.fit(student, data())
    assert same(kept[-1]["weights"], watcher.validated[kept[-1]["epoch"]])


# ---------------------------------------------------------------- SWA
def test_the_mean_of_epochs_and_its_batch_statistics(tmp_path):
    """Against the mean in float64, and statistics of the first batch norm that are computed here."""
    watcher, module = Watcher(), method()
    trainer(tmp_path, max_epochs=5, callbacks=[EpochAveraging(start=0.5), watcher]).fit(module, data())
    some = watcher.epochs[2:]  # int(.5 * 5) and on
    for name, parameter in module.net.named_parameters():
        expected = np.mean([state[name].double().numpy() for state in some], axis=0)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-4, atol=1e-6)
    norm = next(part for part in module.net.modules() if isinstance(part, nn.BatchNorm1d))
    inputs = []
    norm.register_forward_hook(lambda layer, given, out: inputs.append(given[0].double()))
    source = data()
    source.setup()
    with torch.no_grad():
        for batch in source.batches("train"):
            module.net.eval()(batch.views["raw"])
    means = torch.stack([x.transpose(0, 1).flatten(1).mean(1) for x in inputs]).mean(0)
    variances = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in inputs]).mean(0)
    np.testing.assert_allclose(norm.running_mean.numpy(), means.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.running_var.numpy(), variances.numpy(), rtol=1e-4)
    assert norm.momentum is not None
    assert any(not same(a, b) for a, b in zip(watcher.validated[2:], watcher.epochs[2:], strict=True))


def test_the_statistics_are_refreshed_without_drawing_at_random(tmp_path):
    """The current weights of a fit are those of a fit without averaging, dropout and shuffling included."""
    plain, averaged = Watcher(), Watcher()
    trainer(tmp_path, callbacks=[plain]).fit(method(), data())
    trainer(tmp_path, callbacks=[EpochAveraging(start=0), averaged]).fit(method(), data())
    assert all(same(a, b) for a, b in zip(plain.steps, averaged.steps, strict=True))


@pytest.mark.parametrize(
    ("callbacks", "epochs", "message"),
    [
        ([StochasticWeightAveraging(0.01)], 2, r"Use kdlab\.callbacks\.EpochAveraging\(start=0\.8\)"),
        ([EMAWeightAveraging(), WeightAveraging()], 2, "one callback may average the weights, but got EMAWeightAv"),
        ([EpochAveraging()], -1, "start must be an epoch where the fit has no planned end, but got 0.8"),
    ],
)
def test_what_cannot_be_averaged_is_refused_in_python(callbacks, epochs, message, tmp_path):
    with pytest.raises(InputError, match=message):
        trainer(tmp_path, max_epochs=epochs, max_time="00:00:00:05", callbacks=callbacks).fit(method(), data())
    with pytest.raises(
        InputError, match=r"EpochAveraging: start must be an epoch or a share below 1, but got 1\.5\. Write 1"
    ):
        EpochAveraging(start=1.5)


def test_plain_loaders_have_no_order(tmp_path):
    source = data()
    source.setup()
    loaders = source.train_dataloader(), source.val_dataloader()
    with pytest.raises(InputError, match="refresh must be false for plain loaders"):
        trainer(tmp_path, callbacks=[EpochAveraging(0)]).fit(method(), *loaders)
    module, watcher = method(), Watcher()
    trainer(tmp_path, callbacks=[EpochAveraging(0, refresh=False), watcher]).fit(module, *loaders)  # the remedy
    expected = np.mean([s["standardize.mean"].double().numpy() for s in watcher.epochs], axis=0)
    np.testing.assert_allclose(module.net.standardize.mean.numpy(), expected, rtol=1e-5)


# ---------------------------------------------------------------- resumed
class Interrupt(Callback):
    """Ctrl-C in the third epoch."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.current_epoch == 2 and batch_idx == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("average", [EMA, SWA])
def test_a_resumed_run_equals_an_uninterrupted_one_and_its_readers_read_the_average(average, here):
    whole = cli.run([*WORDS, "--run=whole/run", average])
    with pytest.raises(KeyboardInterrupt):
        cli.run([*WORDS, average, "--trainer.callbacks+={class_path: tests.test_averaged_weights.Interrupt}"])
    cli.run([*WORDS, average, "--ckpt_path", "runs/a/b"])
    one, two = (here / f"runs/{name}/version_0/checkpoints" for name in ("whole/run", "a/b"))
    for name in ("best.ckpt", "last.ckpt"):
        first, second = read_checkpoint(one / name), read_checkpoint(two / name)
        assert same(first["state_dict"], second["state_dict"])
        assert same(first[CURRENT], second[CURRENT])
        assert first["optimizer_states"][0]["param_groups"] == second["optimizer_states"][0]["param_groups"]
    assert not same(first["state_dict"], first[CURRENT])
    metrics = [(folder.parent / "metrics.csv").read_text(encoding="utf-8") for folder in (one, two)]
    assert metrics[0] == metrics[1]
    read = Teacher(str(one / "best.ckpt")).load().net
    best = read_checkpoint(one / "best.ckpt")
    row = [line for line in rows_of(one.parent / "metrics.csv") if line["epoch"] == str(best["epoch"])]
    logged = next(float(line["val/accuracy"]) for line in row if line.get("val/accuracy"))
    assert accuracy(read) == pytest.approx(logged, abs=1e-6)
    exported = export(one / "best.ckpt", data())
    batch = first_batch()
    scale = exported.card["scale"]
    windows = batch.views["raw"].double() * torch.tensor(scale["divisor"])[:, None]
    with torch.no_grad():
        own = read.eval()(batch.views["raw"]).logits
    torch.testing.assert_close(exported(windows + torch.tensor(scale["offset"])[:, None]), own, rtol=1e-3, atol=1e-3)
    with pytest.raises(InputError, match="must be resumed with its callback, but none averages here"):
        cli.run([*WORDS, "--run=c/d", "--trainer.max_epochs=6", "--ckpt_path", str(two / "last.ckpt")])
    assert not (here / "runs/c").exists()
    started = cli.run([*WORDS, "--run=c/d", "--trainer.max_epochs=1", f"--model.init_args.init={two / 'best.ckpt'}"])
    assert started.trainer.global_step == 4  # the remedy
    assert whole.trainer.current_epoch == 4


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def first_batch():
    source = data()
    source.setup()
    return next(iter(source.batches("val")))


def test_a_fit_that_did_not_average_can_begin_to(tmp_path):
    run = trainer(tmp_path, max_epochs=1)
    run.fit(method(), data())
    run.save_checkpoint(tmp_path / "half.ckpt")
    watcher, module = Watcher(), method(1)
    more = trainer(tmp_path, max_epochs=2, callbacks=[EMAWeightAveraging(decay=0.5), watcher])
    more.fit(module, data(), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    expected = ema(watcher.steps, 0.5)
    for name, value in module.net.named_parameters():
        np.testing.assert_allclose(value.detach().numpy(), expected[name], rtol=1e-4, atol=1e-6)


def test_a_callback_averages_a_second_fit_as_the_first(tmp_path):
    def fit(average):
        module = method(1)
        trainer(tmp_path, max_epochs=2, limit_val_batches=0, callbacks=[average]).fit(module, data())
        return dict(module.net.named_parameters())

    average = EpochAveraging(start=0, refresh=False)
    first, second = fit(average), fit(average)
    for name, value in first.items():
        assert torch.equal(value, second[name])


def test_damaged_current_weights_are_refused(tmp_path):
    run = trainer(tmp_path, max_epochs=1, callbacks=[EMAWeightAveraging()])
    run.fit(method(), data())
    run.save_checkpoint(tmp_path / "half.ckpt")
    held = torch.load(tmp_path / "half.ckpt", weights_only=True)
    held[CURRENT].popitem()
    torch.save(held, tmp_path / "half.ckpt")
    with pytest.raises(InputError, match="current_model_state must have the names of state_dict"):
        trainer(tmp_path, callbacks=[EMAWeightAveraging()]).fit(
            method(), data(), ckpt_path=tmp_path / "half.ckpt", weights_only=True
        )


def test_swa_as_the_refusal_of_lightning_s_own_says(here):
    """The remedy, from YAML: the learning rate comes from torch's SWALR."""
    own = "--trainer.callbacks+={class_path: StochasticWeightAveraging, init_args: {swa_lrs: 0.01}}"
    with pytest.raises(InputError, match=r"Use kdlab\.callbacks\.EpochAveraging"):
        cli.run([*WORDS, own])
    assert not list(here.iterdir())
    swalr = "--model.init_args.scheduler={class_path: torch.optim.swa_utils.SWALR, init_args: {swa_lr: 0.01}}"
    line = cli.run([*WORDS, SWA, swalr])
    assert isinstance(line.trainer.lr_scheduler_configs[0].scheduler, SWALR)
    assert "EpochAveraging, 3 updates" in str(read_checkpoint(here / "runs/a/b/version_0/checkpoints/last.ckpt")[KEY])


def test_a_study_measures_the_average_that_it_chose(here, monkeypatch):
    everywhere = {
        "trainer.max_epochs": 3,
        "model.init_args.net.init_args.depth": 10,
        "data.init_args.batch_size": 8,
        "trainer.callbacks": [{"class_path": "EMAWeightAveraging", "init_args": {"decay": 0.5}}],
    }
    study = {"study": "toy/ema", "seeds": [0], "set": {"all": everywhere}, "scratch": {"scratch": {"config": SCRATCH}}}
    (here / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["kdlab", "study", "study.yaml"])
    cli.main()
    (best,) = (here / "runs").rglob("best.ckpt")
    (result,) = (here / "runs").rglob("result.json")
    row = yaml.safe_load(result.read_text(encoding="utf-8"))
    assert accuracy(Teacher(str(best)).load().net) == pytest.approx(row["val_accuracy"], abs=1e-6)
