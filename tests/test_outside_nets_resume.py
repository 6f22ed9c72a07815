"""Interrupted fits of nets of many kinds: resumed from last.ckpt they equal uninterrupted ones bit for bit."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from kdlab import KD, Supervised, Teacher
from kdlab.cache import TeacherCache
from kdlab.data import BasicMotions
from kdlab.methods.checkpoints import read_checkpoint
from kdlab.methods.random_state import RANDOM
from kdlab.nets import Adapter, RecurrentNet, TransformerEncoder
from kdlab.run_checkpoints import RunCheckpoint
from kdlab.types import InputError
from tests.conftest import trainer
from tests.outside_nets import BatchStatistics, HFLike, TimmLike, TorchvisionLike


class Plain(nn.Module):
    """Convolution, batch norm and dropout as modules, which torch.fx follows."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(6, 8, 5, stride=2), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x).mean(2))


def adapted(cls: type[nn.Module], head: str, **more: str) -> Adapter:
    return Adapter(cls(), head, in_channels=6, num_classes=4, **more)  # type: ignore[arg-type]


NETS = {
    "followed": lambda: adapted(Plain, "fc"),
    "drop path": lambda: adapted(TimmLike, "fc"),
    "functional dropout": lambda: adapted(TorchvisionLike, "fc"),
    "attention": lambda: adapted(HFLike, "classifier", output="logits"),
    "batch statistics": lambda: adapted(BatchStatistics, "fc"),
    "gru": lambda: RecurrentNet("gru", hidden=8, dropout=0.2, in_channels=6, num_classes=4),
    "transformer": lambda: TransformerEncoder(
        layers=1, dim=8, heads=2, patch=10, dropout=0.2, in_channels=6, num_classes=4
    ),
}


class Interrupt(Callback):
    """Ctrl-C in the second epoch."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.current_epoch == 1 and batch_idx == 1:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    run = trainer(folder, max_epochs=1)
    run.fit(Supervised(adapted(Plain, "fc")), BasicMotions())
    run.save_checkpoint(folder / "teacher.ckpt")
    return str(folder / "teacher.ckpt")


def fit(kind: str, teacher: str, cached: bool, folder: Path, seed: int = 1, *callbacks: Callback, resume: str = ""):
    """A fit of three epochs; the random state at its beginning is that of the seed."""
    torch.manual_seed(seed)
    taught = {"raw": Teacher(teacher, net=adapted(Plain, "fc"))}
    method = KD(NETS[kind](), taught, kd_weight=0.5, cache=TeacherCache() if cached else None)
    last = RunCheckpoint("last")
    last.dirpath = str(folder)
    run = trainer(folder, max_epochs=3, callbacks=[last, *callbacks], enable_checkpointing=True)
    run.fit(method, BasicMotions(batch_size=8), ckpt_path=resume or None, weights_only=True)
    return method


@pytest.mark.parametrize("cached", [False, True], ids=["live", "cached"])
@pytest.mark.parametrize("kind", NETS)
def test_interrupted_fits_equal_uninterrupted_ones(kind: str, cached: bool, teacher: str, tmp_path: Path) -> None:
    """Weights, running statistics and moments of the optimiser, also of nets that draw at random in training."""
    whole = fit(kind, teacher, cached, tmp_path / "whole")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(kind, teacher, cached, tmp_path / "half", 1, Interrupt())
    last = str(tmp_path / "half/last.ckpt")
    assert read_checkpoint(last)["epoch"] == 0
    resumed = fit(kind, teacher, cached, tmp_path / "half", 77, resume=last)
    expected, found = whole.state_dict(), resumed.state_dict()
    assert expected.keys() == found.keys()
    for name in expected:
        assert torch.equal(expected[name], found[name]), name
    first, second = (read_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "half"))
    for one, two in zip(
        first["optimizer_states"][0]["state"].values(), second["optimizer_states"][0]["state"].values(), strict=True
    ):
        assert torch.equal(one["momentum_buffer"], two["momentum_buffer"])


def test_the_random_states_of_a_checkpoint(teacher: str, tmp_path: Path) -> None:
    """Only a resumed fit takes them; damaged ones are refused, and checkpoints of earlier versions have none."""
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit("functional dropout", teacher, False, tmp_path, 1, Interrupt())
    held = torch.load(tmp_path / "last.ckpt", weights_only=True)
    module = fit("functional dropout", teacher, False, tmp_path / "more", resume=str(tmp_path / "last.ckpt"))
    torch.manual_seed(5)
    expected = torch.get_rng_state()
    module.setup = lambda stage: seen.append((type(module).setup(module, stage), module._random))  # type: ignore
    seen: list[object] = []
    trainer(tmp_path, max_epochs=0).fit(module, BasicMotions(batch_size=8))
    assert seen == [(None, None)]
    assert torch.get_rng_state().equal(expected)
    states = held.pop(RANDOM)
    torch.save(held, tmp_path / "old.ckpt")
    fit("functional dropout", teacher, False, tmp_path / "old", resume=str(tmp_path / "old.ckpt"))
    torch.save({**held, RANDOM: {**states, "torch": states["torch"][:10]}}, tmp_path / "bad.ckpt")
    with pytest.raises(InputError, match="its random states must be those of torch, numpy and Python, but are damaged"):
        fit("functional dropout", teacher, False, tmp_path / "bad", resume=str(tmp_path / "bad.ckpt"))
    run = trainer(tmp_path, max_epochs=1)
    run.fit(Supervised(adapted(Plain, "fc")), BasicMotions(batch_size=8))
    run.save_checkpoint(tmp_path / "light.ckpt", weights_only=True)
    assert RANDOM not in read_checkpoint(tmp_path / "light.ckpt")
