"""Balanced sampling: every class as often, from seed and epoch, resumed, over ranks; repeats differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from kdlab import CSKD, InputError
from kdlab.augment import Noise
from kdlab.data.mixing import Mixup
from kdlab.data.sampler import ClassPairs, TrainSampler, balanced_order, repeats, stream
from kdlab.views import Raw
from tests.conftest import trainer
from tests.test_labels import net, windows

TARGET = np.array([0] * 41 + [1] * 17 + [2] * 3)


def sampler(**kwargs: Any) -> TrainSampler:
    return TrainSampler(len(TARGET), **{"batch_size": 5, "drop_last": False, "target": TARGET, **kwargs})


def test_every_epoch_has_each_class_as_often() -> None:
    seen, most = [], np.zeros(3, dtype=int)
    for epoch in range(60):
        order = balanced_order(TARGET, stream(0, epoch, 0, draw=3))
        counts, times = np.bincount(TARGET[order]), np.bincount(order, minlength=len(TARGET))
        assert sorted(counts.tolist()) == [20, 20, 21]
        most += counts
        for k in range(3):  # of one class, each as often as the others up to one
            assert np.ptp(times[k == TARGET]) <= 1
        seen.append(order)
    assert set(np.concatenate(seen).tolist()) == set(range(len(TARGET)))
    assert len({tuple(order) for order in seen}) == 60
    assert (np.abs(most - 60 * 61 / 3) < 20).all()  # which class has one more changes
    assert abs(np.corrcoef(np.arange(61), TARGET[seen[0]])[0, 1]) < 0.5  # classes are mixed


def test_repeats_are_counted() -> None:
    order = balanced_order(TARGET, stream(3, 0, 0, draw=3))
    wanted = [int((order[:i] == order[i]).sum()) for i in range(len(order))]
    assert repeats(order).tolist() == wanted
    assert max(wanted) == 6


def test_the_order_is_of_seed_and_epoch_and_resumes() -> None:
    one, same = sampler(seed=4), sampler(seed=4)
    one.set_epoch(2)
    assert list(one) == list(one)
    same.set_epoch(1)
    assert list(same) != list(one)
    assert list(sampler(seed=5, epoch=2)) != list(one)
    assert list(sampler(seed=4, epoch=2, skip=3)) == list(one)[15:]
    assert len(list(one)) == len(one) == 61


@pytest.mark.parametrize("drop_last", [True, False])
def test_two_ranks_read_the_batch_of_one_process(drop_last: bool) -> None:
    one = list(sampler(batch_size=10, drop_last=drop_last))
    two = [list(sampler(batch_size=5, drop_last=drop_last, num_replicas=2, rank=rank)) for rank in range(2)]
    assert len(two[0]) == len(two[1])
    for start in range(0, 30, 5):
        assert two[0][start : start + 5] + two[1][start : start + 5] == one[2 * start : 2 * start + 10]
    assert set(two[0]) | set(two[1]) == set(one)


def test_shuffled_is_as_it_was() -> None:
    order = stream(7, 2, 0, draw=3).permutation(61)[:60]
    assert list(TrainSampler(61, batch_size=5, seed=7, epoch=2)) == [(2, int(p)) for p in order]


def test_repeats_draw_again() -> None:
    """Augmentation, pair and mixture of a repeat differ; the first time is as without repeats."""
    data = windows(augment=Noise(0.5), views={"raw": Raw(), "raw/clean": Raw()}, sampling="balanced")
    loader = data.train_dataloader()
    dataset: Any = loader.dataset
    first, again = dataset[0, 3, 0], dataset[0, 3, 1]
    assert torch.equal(first.views["raw"], dataset[0, 3].views["raw"])
    assert torch.equal(first.views["raw/clean"], again.views["raw/clean"])
    assert not torch.equal(first.views["raw"], again.views["raw"])
    assert first.index == again.index
    pairs = ClassPairs(np.arange(61), TARGET, seed=0)
    assert len({pairs(0, 5, repeat) for repeat in range(9)}) > 4
    mixed: Any = windows(mix=Mixup()).train_dataloader().dataset
    targets = [mixed.__getitems__([(0, 1, repeat), (0, 11, 0)]).target for repeat in range(4)]
    assert not all(torch.equal(target, targets[0]) for target in targets)


def test_batches_of_a_data_module() -> None:
    data = windows(sampling="balanced", drop_last=False)
    data.setup()
    target = torch.cat([batch.target for batch in data.train_dataloader()])
    assert torch.bincount(target).tolist() == [24, 24, 24]
    plain = windows(drop_last=False)
    plain.setup()
    assert data.fingerprint == plain.fingerprint
    assert data.class_counts == plain.class_counts == [48, 18, 6]
    assert sorted(torch.cat([b.index for b in plain.train_dataloader()]).tolist()) == sorted(plain.train_index.tolist())
    with pytest.raises(InputError, match=r'^sampling must be "shuffled" or "balanced", but got \'even\'\. Choose'):
        windows(sampling="even")


class Seen(pl.Callback):
    def __init__(self) -> None:
        self.index: list[list[int]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.index.append(batch.index.tolist())


@pytest.mark.parametrize("steps", [4, 6], ids=["between epochs", "within an epoch"])
def test_a_resumed_fit_equals_one_that_was_not_interrupted(steps: int, tmp_path: Path) -> None:
    def fit(most: int, path: Path | None = None) -> tuple[Any, list[list[int]], pl.Trainer]:
        pl.seed_everything(0)
        seen, module = Seen(), CSKD(net())
        data = windows(sampling="balanced", augment=Noise(0.1), views={"raw": Raw(), "raw/pair": None}, seed=3)
        run = trainer(tmp_path, max_epochs=-1, max_steps=most, limit_val_batches=0, callbacks=[seen])
        run.fit(module, data, ckpt_path=path)
        return module, seen.index, run

    complete, wanted, _ = fit(12)
    _, first, run = fit(steps)
    run.save_checkpoint(tmp_path / "last.ckpt")
    resumed, second, _ = fit(12, tmp_path / "last.ckpt")
    assert len(wanted) == 12
    assert first + second == wanted
    for name, value in complete.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
