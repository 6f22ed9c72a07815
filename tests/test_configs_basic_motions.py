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


class OnMeta(pl.Callback):
    """Takes two steps where reading a number raises, as it waits on a GPU, and no tensor may be left behind."""

    def on_train_end(self, trainer, module):
        batch = next(iter(trainer.train_dataloader))
        batch = type(batch)(*map(moved, batch))
        module.cpu = lambda: module  # Lightning brings it back
        module.to("meta")
        if getattr(module, "_cached", None) is not None:
            module._cached.to(torch.device("meta"))
        module._means, module._steps = EpochMeans(), StepValues()
        for _ in range(2):
            module.on_train_batch_start(batch, 0)
            loss = module.training_step(batch, 0)
            loss.backward()
        assert loss.is_meta
        assert all(value.is_meta for value in module.settings().values())
        assert all(p.grad.is_meta for p in module.parameters() if p.grad is not None)
        raise Done


@pytest.mark.parametrize(("name", "cached"), [*((name, False) for name in NAMES), *((name, True) for name in CACHED)])
def test_a_training_step_waits_for_no_device(name, cached, laboratory, monkeypatch):
    monkeypatch.chdir(laboratory)
    monkeypatch.setattr(finite, "at_once", lambda device: False)  # as on a GPU
    for needed in needed_by(config_of(name)["model"]):
        fit_test_predict(needed)
    cache = ['--model.init_args.cache={"teacher_input": "clean"}'] * cached
    short = ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=0", f"--run=meta/{name}"]
    made = Made(["fit", *words_of(name), *LIMIT, *short, *cache])
    made.trainer.callbacks.append(OnMeta())
    with pytest.raises(Done):
        made.trainer.fit(made.model, made.datamodule)


def test_a_weight_that_stays_behind_is_found(laboratory, monkeypatch):
    """The test above does see a setting that is not moved."""
    monkeypatch.setattr("kdlab.objectives.WeightedTeachers.observed", lambda self: {"weight": torch.tensor(1.0)})
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError)):
        test_a_training_step_waits_for_no_device("basic_motions/two_teachers", False, laboratory, monkeypatch)
