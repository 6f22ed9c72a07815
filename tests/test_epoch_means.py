"""Means of the terms over an epoch, against sums by hand; and that finite weights are told from others."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from kdlab import Supervised
from kdlab.data import BasicMotions
from kdlab.methods.checkpoints import read_checkpoint
from kdlab.methods.epoch_means import EpochMeans
from kdlab.methods.finite import not_finite
from kdlab.methods.resumed import SUMS
from kdlab.methods.step_values import StepValues
from kdlab.types import InputError
from tests.conftest import net, trainer


def test_means_over_windows_of_batches_of_several_sizes():
    rng = np.random.default_rng(0)
    sizes, values = rng.integers(1, 9, 20), rng.normal(size=(20, 2)).astype(np.float32)
    means = EpochMeans()
    for size, (a, b) in zip(sizes, values, strict=True):
        means.add({"a": torch.tensor(a), "b": torch.tensor(b, dtype=torch.float16)}, int(size))
    found = means.read()
    halves = values[:, 1].astype(np.float16).astype(np.float64)
    assert float(found["a"]) == pytest.approx(np.average(values[:, 0].astype(np.float64), weights=sizes), rel=1e-5)
    assert float(found["b"]) == pytest.approx(np.average(halves, weights=sizes), rel=1e-5)
    assert found["b"].dtype == torch.float32
    assert means.read() == {}


def test_a_term_that_comes_and_goes_has_the_mean_of_its_own_steps():
    means, weight = EpochMeans(), torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    means.add({"loss": torch.tensor(1.0)}, 2)
    means.add({"loss": torch.tensor(4.0), "kd": weight * 3}, 2)
    means.add({"kd": weight * 5, "loss": torch.tensor(0.0)}, 4)
    means.add({"loss": torch.tensor(1.0)}, 2)
    found = means.read()
    assert {name: float(value) for name, value in found.items()} == {"loss": 12 / 10, "kd": (6 * 2 + 10 * 4) / 6}
    assert not found["kd"].requires_grad


class See(Callback):
    """The values that callbacks read when an epoch ends, and the loss of every step."""

    def __init__(self):
        self.seen, self.steps = [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.steps.append((trainer.current_epoch, float(outputs["loss"]), len(batch.index)))

    def on_train_epoch_end(self, trainer, module):
        self.seen.append(float(trainer.callback_metrics["train/loss"]))


@pytest.mark.parametrize("limits", [{}, {"limit_train_batches": 3}, {"max_steps": 6}])
def test_the_loss_of_an_epoch_is_that_of_its_steps(limits, tmp_path):
    """Also where callbacks of the user's own read it, which come before the method, and where max_steps ends it."""
    see = See()
    run = trainer(tmp_path, max_epochs=2, callbacks=[see], logger=True, **limits)
    run.fit(Supervised(net()), BasicMotions(batch_size=9))
    expected = []
    for epoch in range(2):
        values, sizes = zip(*[(value, size) for k, value, size in see.steps if k == epoch], strict=True)
        expected.append(np.average(values, weights=sizes))
    (file,) = Path(tmp_path).rglob("metrics.csv")
    with file.open(newline="", encoding="utf-8") as lines:
        logged = [float(row["train/loss"]) for row in csv.DictReader(lines) if row.get("train/loss")]
    assert logged == pytest.approx(expected, rel=1e-5)
    assert see.seen == pytest.approx(expected, rel=1e-5)


def test_a_method_that_overrides_the_end_of_a_batch_logs_too(tmp_path):
    class Own(Supervised):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            pass

    run = trainer(tmp_path, max_epochs=1)
    run.fit(Own(net()), BasicMotions(batch_size=9))
    assert run.callback_metrics["train/loss"] > 0


class Epochs(Callback):
    """The metrics of training at the end of each epoch; at a step a checkpoint is written."""

    def __init__(self, file=None, step=-1):
        self.seen, self.file, self.step = [], file, step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.file)

    def on_train_epoch_end(self, trainer, module):
        found = trainer.callback_metrics.items()
        self.seen.append({name: float(value) for name, value in found if name.startswith("train/")})


def fit(folder, see, resume=None, method=Supervised, **settings):
    torch.manual_seed(0)
    run = trainer(folder, callbacks=[see], **{"max_epochs": 2, **settings})
    run.fit(method(net()), BasicMotions(batch_size=6), ckpt_path=resume)
    return run


@pytest.mark.parametrize("way", ["saved", "max_steps"])
def test_an_epoch_that_is_resumed_has_the_means_of_all_its_steps(way, tmp_path):
    whole, file, rest = Epochs(), tmp_path / "middle.ckpt", Epochs()
    steps = fit(tmp_path, whole).global_step // 2
    at = steps + 3  # in the second epoch
    if way == "saved":
        fit(tmp_path, Epochs(file, at))
    else:
        fit(tmp_path, Epochs(), max_steps=at).save_checkpoint(file)
    fit(tmp_path, rest, str(file))
    assert rest.seen == whole.seen[1:]
    assert whole.seen[1].keys() >= {"train/loss", "train/ce", "train/accuracy", "train/grad_norm"}
    held = read_checkpoint(file)
    assert SUMS in held
    for name, sums in (("old", {}), ("bad", {SUMS: {"means": {"names": ["loss"]}, "steps": {}}})):
        torch.save({**{k: v for k, v in held.items() if k != SUMS}, **sums}, tmp_path / name)
    fit(tmp_path, rest, str(tmp_path / "old"))  # of a version that did not keep them
    assert rest.seen[-1]["train/loss"] != whole.seen[1]["train/loss"]
    with pytest.raises(InputError, match="its sums over the epoch must be tensors by name, but are damaged"):
        fit(tmp_path, rest, str(tmp_path / "bad"))


def test_a_checkpoint_of_the_end_of_an_epoch_has_no_sums(tmp_path):
    fit(tmp_path, Epochs(), max_epochs=1).save_checkpoint(tmp_path / "end.ckpt")
    assert SUMS not in read_checkpoint(tmp_path / "end.ckpt")


def test_the_norms_of_steps_are_added_in_the_same_order(monkeypatch):
    """More than are added at once: the part that is not added yet is kept as it is."""
    norms = torch.rand(150, generator=torch.Generator().manual_seed(0))
    one, two = StepValues(), StepValues()
    for k, norm in enumerate(norms):
        if k == 100:
            two.restore(one.state(), torch.device("cpu"))
        for values in (one, two)[: 1 + (k >= 100)]:
            values._norms.add(torch.stack([norm]))
    assert torch.equal(one.epoch()["grad_norm"], two.epoch()["grad_norm"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_finite_tensors_whose_sum_overflows_are_finite(dtype):
    big = torch.full((8,), 6e4 if dtype == torch.float16 else 3e38).to(dtype)
    tensors = {"big": big, "minus": -big, "small": torch.ones(3, dtype=dtype), "none": torch.zeros(0, dtype=dtype)}
    assert not_finite(tensors) == []
    for bad in (float("nan"), float("inf"), -float("inf")):
        wrong = torch.ones(3, dtype=dtype)
        wrong[1] = bad
        assert not_finite({**tensors, "wrong": wrong}) == ["wrong"]
    both = torch.tensor([float("inf"), -float("inf")]).to(dtype)
    assert not_finite({"a": torch.ones(2), "both": both, "n": torch.tensor(3)}) == ["both"]
