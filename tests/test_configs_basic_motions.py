"""The configs of basic_motions: trained and used, or made, in one process; and their training steps without numbers."""

import lightning.pytorch as pl
import pytest
import torch

from kdlab.methods import finite
from kdlab.methods.epoch_means import EpochMeans
from kdlab.methods.step_values import StepValues
from tests.configs import LIMIT, Made, arguments_of, config_of, configs_of, fit_test_predict, needed_by, walk, words_of

FOLDERS = ("basic_motions",)
NAMES = configs_of(*FOLDERS)
CACHED = [name for name in NAMES if arguments_of(name).get("teachers")]


@pytest.mark.parametrize("name", NAMES)
def test_config(name, laboratory, monkeypatch):
    monkeypatch.chdir(laboratory)
    walk(name)


def moved(value):
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    return {key: moved(part) for key, part in value.items()} if isinstance(value, dict) else value


class Done(Exception):
    pass


def live_step(module, batch, batch_idx):
    """A training step whose teachers answer, although their outputs are cached."""
    cached, module._cached = module._cached, None
    loss = module.training_step(batch, batch_idx)
    module._cached = cached
    return loss


class OnMeta(pl.Callback):
    """Takes two steps where reading a number raises, as it waits on a GPU, and no tensor may be left behind.

    Where the teachers' outputs are cached, it takes two more with the teachers themselves, which answered before.
    """

    def on_train_end(self, trainer, module):
        steps = [(type(module).training_step, next(iter(trainer.train_dataloader)))]
        if cached := getattr(module, "_cached", None):
            trainer.datamodule.skip_views(())  # the teachers read them
            steps.append((live_step, next(iter(trainer.datamodule.train_dataloader()))))
            live_step(module, steps[-1][1], 0)  # what they keep of their first step is moved, too
            module._watch.read()  # as at the end of an epoch
        module.cpu = lambda: module  # Lightning brings it back
        module.to("meta")
        if cached:
            cached.to(torch.device("meta"))
        for step, batch in steps:
            self.take(module, step, type(batch)(*map(moved, batch)))
        raise Done

    def take(self, module, step, batch):
        module._means, module._steps = EpochMeans(), StepValues()
        for _ in range(2):
            module.on_train_batch_start(batch, 0)
            loss = step(module, batch, 0)
            loss.backward()
        assert loss.is_meta
        assert all(value.is_meta for value in module.settings().values())
        assert all(p.grad.is_meta for p in module.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_waits_for_no_device(name, laboratory, monkeypatch):
    monkeypatch.chdir(laboratory)
    monkeypatch.setattr(finite, "at_once", lambda device: False)  # as on a GPU
    for needed in needed_by(config_of(name)["model"]):
        fit_test_predict(needed)
    cache = ['--model.init_args.cache={"teacher_input": "clean"}'] * (name in CACHED)
    short = ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=0", f"--run=meta/{name}"]
    made = Made(["fit", *words_of(name), *LIMIT, *short, *cache])
    made.trainer.callbacks.append(OnMeta())
    with pytest.raises(Done):
        made.trainer.fit(made.model, made.datamodule)


def test_a_weight_that_stays_behind_is_found(laboratory, monkeypatch):
    """The test above does see a setting that is not moved."""
    monkeypatch.setattr("kdlab.objectives.WeightedTeachers.observed", lambda self: {"weight": torch.tensor(1.0)})
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError)):
        test_a_training_step_waits_for_no_device("basic_motions/two_teachers", laboratory, monkeypatch)
