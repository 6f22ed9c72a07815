"""The data module: views, scaling, determinism, resuming, two processes, checkpoints, errors."""

import json
import os
import pickle
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from torch.utils.data import DataLoader

from kdlab.augment import Corruption, Mix2, Noise
from kdlab.data import SPSWHAR, ArrayDataModule, BasicMotions, Scale, WindowDataModule, check_fingerprint
from kdlab.data.sampler import OrderedSampler, TrainSampler, stream
from kdlab.types import InputError, MissingFileError
from kdlab.views import GramianAngularField, PersistenceImage, Raw

from .conftest import PATIENCE, trainer


def arrays(n=120, subjects=12, **changes):
    rng = np.random.default_rng(0)
    fields = {
        "x": rng.normal(size=(n, 3, 32)) * [[1], [20], [3]] + [[5], [-7], [0]],
        "y": np.arange(n) % 3,
        "subject": np.arange(n) * subjects // n,
        "batch_size": 16,
    }
    return ArrayDataModule(**{**fields, **changes})


def gather(loader):
    batches = list(loader)
    index = torch.cat([b.index for b in batches])
    return {k: torch.cat([b.views[k] for b in batches])[index.argsort()] for k in batches[0].views}, index.sort().values


# ---- scale and views ------------------------------------------------------------------------------------------------
def test_scale_rests_on_training_subjects():
    data = arrays()
    data.setup()
    rows = data._ready.split.rows["train"]
    x = data.data.windows["raw"][rows].astype(float)
    numbers = data.fingerprint["scale"]["raw"]
    np.testing.assert_allclose(numbers["offset"], x.mean(axis=(0, 2)), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(numbers["divisor"], x.std(axis=(0, 2)), rtol=1e-9)
    got = torch.cat([b.views["raw"] for b in data.batches("train")])
    np.testing.assert_allclose(got.mean(dim=(0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(got.std(dim=(0, 2)), 1, atol=1e-3)
    assert data.view_statistics("raw") is None


def test_scale_words_and_constants():
    low_high = arrays(scale="minmax")
    got = torch.cat([b.views["raw"] for b in low_high.batches("train")])
    np.testing.assert_allclose(got.amin(dim=(0, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(got.amax(dim=(0, 2)), 1, atol=1e-6)
    plain = arrays(scale="none")
    batch = next(plain.batches("test"))
    np.testing.assert_array_equal(batch.views["raw"], plain.data.windows["raw"][batch.index])
    mean, std = plain.view_statistics("raw")
    np.testing.assert_allclose(
        mean, plain.data.windows["raw"][plain._ready.split.rows["train"]].mean(axis=(0, 2)), rtol=1e-4
    )
    assert len(std) == 3
    given = arrays(scale=Scale([5, -7, 0], [1, 20, 3]))
    np.testing.assert_allclose(
        next(given.batches("test")).views["raw"],
        (batch.views["raw"] - torch.tensor([[5.0], [-7], [0]])) / torch.tensor([[1.0], [20], [3]]),
        atol=1e-5,
    )
    assert given.view_statistics("raw") is None


def test_constant_channel_is_divided_by_one():
    x = np.random.default_rng(0).normal(size=(60, 2, 16))
    x[:, 1] = 0.1
    data = arrays(x=x, y=np.arange(60) % 2, subject=np.arange(60) // 6)
    assert data.fingerprint["scale"]["raw"]["divisor"][1] == 1.0
    views = next(data.batches("train")).views["raw"]
    np.testing.assert_allclose(views[:, 1], 0, atol=1e-6)


def test_view_statistics_are_those_of_clean_training_views():
    data = BasicMotions(views={"gaf": GramianAngularField(16)}, augment=Noise())
    mean, std = data.view_statistics("gaf")
    seen = torch.cat([b.views["gaf"] for b in data.batches("train", batch_size=5)]).double()
    np.testing.assert_allclose(mean, seen.mean(dim=(0, 2, 3)), atol=1e-9)
    np.testing.assert_allclose(std, seen.std(dim=(0, 2, 3), correction=0), rtol=1e-9)
    assert data.view_shape("gaf") == (6, 16, 16)


def test_clean_and_second_keys():
    views = {"raw": Raw(), "raw/clean": None, "raw/second": None, "gaf": GramianAngularField(8), "gaf/clean": None}
    data = arrays(views=views, augment=Mix2(), seed=4)
    train, index = gather(data.train_dataloader())
    clean = {int(i): w for b in data.batches("train") for i, w in zip(b.index, b.views["raw"], strict=True)}
    np.testing.assert_array_equal(train["raw/clean"], torch.stack([clean[int(i)] for i in index]))
    assert not torch.equal(train["raw"], train["raw/clean"])
    assert not torch.equal(train["raw"], train["raw/second"])
    torch.testing.assert_close(train["gaf"], GramianAngularField(8)(train["raw"]))
    torch.testing.assert_close(train["gaf/clean"], GramianAngularField(8)(train["raw/clean"]))
    for loader in (data.val_dataloader(), data.test_dataloader()):
        batch = next(iter(loader))
        assert batch.views["raw"] is batch.views["raw/clean"] is batch.views["raw/second"]


def test_augmentation_is_keyed_by_seed_epoch_and_index():
    data = arrays(augment=Mix2(), seed=4)
    batch = next(iter(data.train_dataloader()))
    clean = {int(i): w for b in data.batches("train") for i, w in zip(b.index, b.views["raw"], strict=True)}
    for i, window in zip(batch.index.tolist(), batch.views["raw"], strict=True):
        np.testing.assert_array_equal(window, Mix2()(clean[i].numpy(), stream(4, 0, i)))


def test_corruption_is_for_test_and_the_same_for_every_seed():
    kind = Corruption("noise", severity=3)
    data, other, plain = arrays(corruption=kind, seed=1), arrays(corruption=kind, seed=2), arrays()
    noisy, same, clean = (gather(d.test_dataloader())[0]["raw"] for d in (data, other, plain))
    torch.testing.assert_close(noisy, same, rtol=0, atol=0)
    assert 0.11 < float((noisy - clean).std()) < 0.13
    torch.testing.assert_close(gather(data.val_dataloader())[0]["raw"], gather(plain.val_dataloader())[0]["raw"])
    torch.testing.assert_close(
        gather(data.train_dataloader())[0]["raw"], gather(arrays(seed=1).train_dataloader())[0]["raw"]
    )


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ({}, "an empty mapping"),
        (
            {"raw": Raw(), "raw/dirty": None},
            "'raw/dirty' is no key; expected a name, name/clean, name/second or",
        ),
        ({"raw": None}, "'raw' has no view"),
        ({"pi/clean": None}, "'pi/clean' has no view; give one, or add 'pi' to repeat"),
        ({"raw": "Raw"}, "'raw' should be a View"),
    ],
)
def test_bad_views_are_refused(views, message):
    with pytest.raises(InputError, match=message):
        arrays(views=views)


def test_views_that_do_not_fit_are_refused_in_setup():
    with pytest.raises(InputError, match="at most the 32 samples"):
        arrays(views={"gaf": GramianAngularField(64)}).setup()
    with pytest.raises(InputError, match="no channel is named 'wrist'"):
        arrays(views={"raw": Raw(["wrist"])}).setup()
    with pytest.raises(InputError, match="emits raw; add 'pi' to its views"):
        arrays().view_shape("pi")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, but got 0"),
        ({"batch_size": 1.5}, r"batch_size must be a whole number of at least 1, but got 1\.5"),
        ({"num_workers": "2"}, r"num_workers must be a whole number of at least 0, but got '2'"),
        ({"num_workers": -1}, "num_workers must be a whole number of at least 0, but got -1"),
        ({"scale": "std"}, "scale must be one of standard, minmax, none"),
        (
            {"scale": Scale([0.0], [1.0])},
            r"1 constants for the 3 channels of 'raw' \(channel_0, channel_1, channel_2\)",
        ),
        ({"scale": {"skeleton": Scale([0.0], [1.0])}}, "constants for skeleton, but the sources are raw"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        arrays(**changes).setup()


def test_scale_refuses_zero():
    with pytest.raises(InputError, match="other than 0"):
        Scale([0.0], [0.0])
    with pytest.raises(InputError, match="2 offsets but 1 divisors"):
        Scale([0.0, 1.0], [1.0])


# ---- fingerprint and what is known ----------------------------------------------------------------------------------
def test_fingerprint_is_plain_and_stable():
    one, two = arrays().fingerprint, arrays().fingerprint
    assert json.loads(json.dumps(one)) == one == two
    assert arrays(split_seed=1).fingerprint["id"] != one["id"]
    assert {
        "dataset",
        "window",
        "step",
        "grouping",
        "train",
        "val",
        "test",
        "seed",
        "scale",
        "classes",
        "channels",
    } < set(one)
    assert one["grouping"] == "subject"
    assert one["window"] == 32


def test_setup_loads_once(monkeypatch):
    data, calls = BasicMotions(), []
    load = data.load
    monkeypatch.setattr(data, "load", lambda: calls.append(1) or load())
    for stage in (None, "fit", "test"):
        data.setup(stage)
    data.fingerprint, data.counts, data.num_classes  # noqa: B018
    assert calls == [1]


def test_subjects_of_windows():
    data = arrays()
    batch = next(data.batches("test"))
    assert data.subject_of(batch.index.tolist()) == [str(int(i) // 10) for i in batch.index]
    assert data.subject_of([-1 - 25]) == ["2"]
    assert BasicMotions().subject_of([0, 1]) == ["", ""]


def test_checkpoint_of_another_split_is_refused():
    here, there = arrays(split_seed=0).fingerprint, arrays(split_seed=1).fingerprint
    check_fingerprint(here, here, "fit")
    check_fingerprint(here, here, "test")
    with pytest.raises(InputError, match=r"another split \(scale: .*seed: 0 then, 1 now; test: .*train: .*val: "):
        check_fingerprint(here, there, "fit")
    leaked = set(there["test"]) & {*here["train"], *here["val"]}
    with pytest.raises(InputError, match="would be tested, but the checkpoint was trained or stopped on it") as error:
        check_fingerprint(here, there, "test")
    assert all(g in str(error.value) for g in leaked)
    with pytest.raises(InputError, match="would validate"):
        check_fingerprint(here, {**here, "val": here["train"][:1]}, "validate")
    with pytest.raises(InputError, match="by subject, this one is by window"):
        check_fingerprint(here, {**here, "grouping": "window"}, "test")
    check_fingerprint(here, {**there, "dataset": "another"}, "test")


# ---- loaders --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_workers_do_not_change_a_sample(context):
    def module(workers):
        views = {"raw": Raw(), "pi": PersistenceImage(size=8)}
        return BasicMotions(
            views=views, augment=Mix2(), num_workers=workers, multiprocessing_context=context if workers else None
        )

    for a, b in zip(module(0).train_dataloader(), module(1).train_dataloader(), strict=True):
        assert torch.equal(a.index, b.index)
        assert torch.equal(a.target, b.target)
        assert all(torch.equal(a.views[k], b.views[k]) for k in a.views)


def test_dataset_is_picklable():
    dataset = BasicMotions(augment=Mix2()).train_dataloader().dataset
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(
        dataset.__getitems__([(3, 0), (3, 5)]).views["raw"], again.__getitems__([(3, 0), (3, 5)]).views["raw"]
    )


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = TrainSampler(50, batch_size=8, seed=seed, epoch=epoch)
        return [p for _, p in sampler]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    sampler = TrainSampler(50, batch_size=8, epoch=2, skip=3)
    assert [p for _, p in sampler] == order(0, 2)[24:]
    assert len(sampler) == 48
    sampler.set_epoch(2)
    assert len(list(sampler)) == 24
    sampler.set_epoch(3)
    assert [p for _, p in sampler] == order(0, 3)


@pytest.mark.parametrize("drop_last", [True, False])
def test_ranks_together_read_what_one_process_reads(drop_last):
    one = list(TrainSampler(53, batch_size=8, drop_last=drop_last))
    ranks = [list(TrainSampler(53, batch_size=4, drop_last=drop_last, num_replicas=2, rank=r)) for r in range(2)]
    assert len(ranks[0]) == len(ranks[1])
    for block in range(6):
        both = ranks[0][4 * block : 4 * block + 4] + ranks[1][4 * block : 4 * block + 4]
        assert both == one[8 * block : 8 * block + 8]
    if not drop_last:
        assert {p for _, p in ranks[0] + ranks[1]} == set(range(53))


def test_too_large_a_batch_is_refused():
    with pytest.raises(InputError, match="do not fill one batch; lower batch_size or set drop_last: false"):
        BasicMotions(batch_size=64).train_dataloader()
    assert len(BasicMotions(batch_size=64, drop_last=False).train_dataloader()) == 1


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_evaluation_counts_every_window_once(ranks):
    lists = [list(OrderedSampler(10, num_replicas=ranks, rank=r)) for r in range(ranks)]
    assert sorted(p for part in lists for p in part if p >= 0) == list(range(10))
    assert len({len(part) for part in lists}) == 1
    dataset = BasicMotions().test_dataloader().dataset
    batch = dataset.__getitems__([2, -1 - 2])
    assert batch.index.tolist() == [42, -43]
    assert torch.equal(batch.views["raw"][0], batch.views["raw"][1])


# ---- training -------------------------------------------------------------------------------------------------------
class Plain(pl.LightningModule):
    """A linear net that notes what it saw."""

    def __init__(self, folder=None):
        super().__init__()
        self.net, self.folder, self.seen = torch.nn.Linear(600, 4), folder, []

    def _loss(self, batch):
        return torch.nn.functional.cross_entropy(self.net(batch.views["raw"].flatten(1)), batch.target)

    def training_step(self, batch, index):
        self.seen.append((self.trainer.current_epoch, batch.index.tolist()))
        return self._loss(batch)

    def validation_step(self, batch, index):
        self.log("val/loss", self._loss(batch))

    def test_step(self, batch, index):
        self._note("test", batch)

    def predict_step(self, batch, index):
        self._note("predict", batch)
        return batch.index

    def _note(self, stage, batch):
        if self.folder is not None:
            with open(f"{self.folder}/{stage}-{self.global_rank}", "a") as file:
                file.write("".join(f"{i}\n" for i in batch.index.tolist()))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), 1e-2)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


def fit(folder, workers=0, ckpt=None, callbacks=None, **settings):
    torch.manual_seed(0)
    model = Plain()
    run = trainer(folder, **{"max_epochs": 4, "callbacks": callbacks, **settings})
    run.fit(model, datamodule=BasicMotions(augment=Mix2(), num_workers=workers), ckpt_path=ckpt, weights_only=True)
    return run, model


class Save(pl.Callback):
    """Saves wherever ModelCheckpoint can be told to."""

    def __init__(self, folder):
        self.folder = folder

    def _save(self, trainer, name):
        trainer.save_checkpoint(self.folder / f"{name}-step={trainer.global_step}.ckpt")

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step % 3 == 0:
            self._save(trainer, "steps")

    def on_validation_end(self, trainer, module):
        self._save(trainer, "val")

    def on_train_epoch_end(self, trainer, module):
        self._save(trainer, "epoch")


@pytest.fixture(scope="module", params=[0, 2], ids=["no workers", "2 workers"])
def whole(request, tmp_path_factory):
    """A run in one go, which leaves checkpoints at every third step and at every epoch's validation."""
    folder = tmp_path_factory.mktemp("whole")
    _, model = fit(folder, request.param, callbacks=[Save(folder)])
    return request.param, folder, model


@pytest.mark.parametrize("name", ["steps-step=6", "steps-step=9", "steps-step=12", "val-step=4", "epoch-step=8"])
def test_resumed_equals_uninterrupted(whole, name, tmp_path):
    workers, folder, model = whole
    _, resumed = fit(tmp_path, workers, ckpt=folder / f"{name}.ckpt")
    assert resumed.seen == model.seen[-len(resumed.seen) :]
    assert len(resumed.seen) == 16 - int(name.rpartition("=")[2])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("stop", [{"max_epochs": 2}, {"max_steps": 6}, {"max_steps": 8}])
def test_stopped_and_resumed_equals_uninterrupted(whole, stop, tmp_path):
    workers, _, model = whole
    run, _ = fit(tmp_path, workers, **stop)
    run.save_checkpoint(tmp_path / "stopped.ckpt")
    _, resumed = fit(tmp_path, workers, ckpt=tmp_path / "stopped.ckpt")
    assert resumed.seen == model.seen[-len(resumed.seen) :]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("stop", [4, 6, 11])
def test_resumed_by_steps_equals_uninterrupted(stop, tmp_path):
    _, model = fit(tmp_path, max_epochs=-1, max_steps=14)
    run, _ = fit(tmp_path, max_epochs=-1, max_steps=stop)
    run.save_checkpoint(tmp_path / "stopped.ckpt")
    _, resumed = fit(tmp_path, max_epochs=-1, max_steps=14, ckpt=tmp_path / "stopped.ckpt")
    assert resumed.seen == model.seen[-len(resumed.seen) :]
    assert len(resumed.seen) == 14 - stop
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("size", [4, 16])
def test_another_batch_size_resumes_at_the_end_of_an_epoch_only(size, tmp_path):
    """In the middle of an epoch, so many batches of another size would be other windows than those trained on."""

    def resumed(path):
        model, data = Plain(), BasicMotions(batch_size=size)
        trainer(tmp_path, max_epochs=2).fit(model, datamodule=data, ckpt_path=path, weights_only=True)
        return [i for epoch, windows in model.seen if epoch == 1 for i in windows]

    run, model = fit(tmp_path, max_steps=6)
    run.save_checkpoint(tmp_path / "middle.ckpt")
    with pytest.raises(InputError, match=rf"batch_size x devices must be 8 windows per step.* but got {size}\. Resume"):
        resumed(tmp_path / "middle.ckpt")
    checkpoint = torch.load(tmp_path / "middle.ckpt")
    del checkpoint["BasicMotions"]["step_windows"]
    torch.save(checkpoint, tmp_path / "earlier.ckpt")
    assert len(resumed(tmp_path / "earlier.ckpt")) == 32 - 2 * size  # of a version that did not note it
    run, model = fit(tmp_path, max_epochs=1)
    run.save_checkpoint(tmp_path / "end.ckpt")
    assert sorted(resumed(tmp_path / "end.ckpt")) == sorted(i for _, windows in model.seen for i in windows)


def test_batches_of_several_processes_are_one_step(tmp_path):
    """Eight windows of one process are four of each of two, in the same order."""
    data = BasicMotions(batch_size=4)
    data.setup()
    data.trainer = SimpleNamespace(world_size=2, global_rank=0)
    assert data.state_dict()["step_windows"] == BasicMotions(batch_size=8).step_windows == 8


def test_seed_is_restored_and_another_split_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    run, _ = fit(tmp_path, max_epochs=1)
    run.save_checkpoint(tmp_path / "a.ckpt")
    monkeypatch.setenv("PL_GLOBAL_SEED", "8")
    _, resumed = fit(tmp_path, ckpt=tmp_path / "a.ckpt", max_epochs=2)
    expected = [p for _, p in TrainSampler(32, batch_size=8, seed=7, epoch=1)]
    rows = BasicMotions().train_dataloader().dataset.rows
    assert [i for _, ids in resumed.seen for i in ids] == [int(rows[p]) for p in expected]
    with pytest.raises(InputError, match="another split"):
        trainer(tmp_path).fit(
            Plain(), datamodule=BasicMotions(split_seed=3), ckpt_path=tmp_path / "a.ckpt", weights_only=True
        )
    random = BasicMotions(split="random_windows")
    with (
        pytest.warns(UserWarning, match="too high"),
        pytest.raises(InputError, match="by recording, this one is by window"),
    ):
        trainer(tmp_path).test(Plain(), datamodule=random, ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    trainer(tmp_path).test(Plain(), datamodule=BasicMotions(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)


def test_predict_in_data_set_order(tmp_path):
    answers = trainer(tmp_path).predict(Plain(), datamodule=BasicMotions())
    assert torch.cat(answers).tolist() == list(range(40, 80))


TWO = """
    import sys, warnings, logging
    warnings.filterwarnings("ignore")
    from tests.test_data_module import Plain
    from tests.conftest import trainer
    from kdlab.data import BasicMotions
    from kdlab.augment import Noise
    folder = sys.argv[1]
    data = BasicMotions(augment=Noise(), test_subjects=None, batch_size=4, train_per_class=7)
    data.setup()
    data._ready.split.rows["test"] = data._ready.split.rows["test"][:39]  # an odd number, so that one rank repeats
    settings = dict(strategy="ddp_fork", devices=2, max_epochs=1)
    trainer(folder, **settings).fit(Plain(folder), data)
    trainer(folder, **settings).test(Plain(folder), data, verbose=False)
    trainer(folder, **settings).predict(Plain(folder), data, return_predictions=False)
"""


def test_two_processes_cover_the_data_once(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(TWO), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for stage in ("test", "predict"):
        ranks = [[int(i) for i in (tmp_path / f"{stage}-{r}").read_text().split()] for r in range(2)]
        assert len(ranks[0]) == len(ranks[1]) == 20
        assert sorted(i for r in ranks for i in r if i >= 0) == list(range(40, 79))
        assert [i for r in ranks for i in r if i < 0] == [-41]


# ---- your own arrays ------------------------------------------------------------------------------------------------
def test_arrays_in_both_layouts_and_from_a_file(tmp_path):
    rng = np.random.default_rng(0)
    x, y, who = rng.normal(size=(60, 3, 20)).astype(np.float32), np.array(list("abc") * 20), np.arange(60) // 6
    np.savez(tmp_path / "a.npz", x=x.transpose(0, 2, 1), y=y, participant=who)
    direct = ArrayDataModule(x, y, who)
    stored = ArrayDataModule(path=tmp_path / "a.npz", layout="NTC", keys={"subject": "participant"})
    assert direct.classes == stored.classes == ["a", "b", "c"]
    assert direct.fingerprint == stored.fingerprint
    np.testing.assert_array_equal(direct.data.windows["raw"], stored.data.windows["raw"])


def test_arrays_with_a_split_of_their_own(recordings):
    data = ArrayDataModule(path=recordings / "racket_sports.npz", recording="each", sampling_rate=10.0, batch_size=8)
    assert data.counts["test"] == {"windows": 152, "groups": 152}
    assert data.counts["train"]["windows"] + data.counts["val"]["windows"] == 151
    assert data.counts["val"]["windows"] >= 0.15 * 151
    assert data.fingerprint["grouping"] == "recording"
    assert data.num_classes == 4


def test_sp_sw_har_windows_as_arrays(recordings):
    data = ArrayDataModule(path=recordings / "sp_sw_har_windows.npz", layout="NTC", dataset="sp_sw_har")
    assert data.channels["raw"][6] == "watch_acc_x"
    assert data.classes[2] == "WALKING"
    assert data.fingerprint["grouping"] == "subject"
    assert data.fingerprint["train"] == SPSWHAR(recordings / "sp_sw_har_original.tar.xz").fingerprint["train"]


def test_predict_new_windows(tmp_path):
    new = np.random.default_rng(1).normal(size=(11, 6, 100))
    known = BasicMotions().data
    data = ArrayDataModule(known.windows["raw"], known.target, recording="each", x_predict=new, batch_size=4)
    model = Plain()
    run = trainer(tmp_path)
    answers = run.predict(model, datamodule=data)
    assert torch.cat(answers).tolist() == list(range(11))
    batch = next(data.batches("predict"))
    assert batch.target.tolist() == [-1] * 4
    with pytest.raises(InputError, match=r"expected \(windows, 6, 100\) as in training, got \(11, 6, 99\)"):
        ArrayDataModule(known.windows["raw"], known.target, recording="each", x_predict=new[:, :, 1:]).setup()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": None}, "x, y must be windows and their labels, or path"),
        ({"path": "a.npz"}, "x, path: one of them must be given, but got both"),
        ({"layout": "TNC"}, "layout must be .*, but got 'TNC'"),
        (
            {"x": np.zeros((120, 32))},
            r"x must have three axes, \(windows, channels, samples\), but got shape \(120, 32\); .*None",
        ),
        ({"x": np.zeros((120, 64, 3))}, 'looks as if the axes are the other way round: set layout="NTC"'),
        (
            {"x": np.zeros((120, 32, 3)), "channels": ["x", "y", "z"]},
            'the windows have 3 samples: did you mean layout="NTC"',
        ),
        ({"channels": ["x", "y"]}, "2 names for 3 channels"),
        ({"y": np.arange(119)}, r"y must be one value per window, shape \(120,\), but got shape \(119,\)"),
        ({"y": np.arange(120) % 3 + 1}, r"expected labels 0..2 for 3 classes, got 1, 2, 3; number them from 0"),
        ({"y": np.arange(120) % 3 + 0.5}, "got fractions"),
        ({"y": np.array(["a", "b", "d"] * 40), "classes": ["a", "b", "c"]}, "labels d are not among the classes"),
        ({"x": np.full((120, 3, 32), np.nan)}, "channel 'channel_0': 3840 NaN or infinite samples"),
        ({"x": np.array([["a"]])}, "x must be real numbers, but got <U1"),
        ({"recording": "all"}, "recording must be one id per window, .*, but got 'all'"),
        ({"x_test": np.zeros((5, 3, 32))}, "x_test, y_test must be both"),
        ({"x_test": np.zeros((5, 3, 32)), "y_test": np.zeros(5, int)}, "subject, subject_test must be both"),
        ({"subject": np.zeros(3)}, "subject must be one value per window"),
    ],
)
def test_wrong_arrays_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        arrays(**changes).setup()


def test_unreadable_npz(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        ArrayDataModule(path=tmp_path / "none.npz").setup()
    whole = tmp_path / "whole.npz"
    np.savez(whole, x=np.zeros((9, 2, 50)), y=np.arange(9))
    half = tmp_path / "half.npz"
    half.write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(InputError, match="half-written"):
        ArrayDataModule(path=half).setup()
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object), y=np.zeros(1))
    with pytest.raises(InputError, match="Python objects"):
        ArrayDataModule(path=tmp_path / "objects.npz").setup()
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(InputError, match="expected an npz file, got a single array"):
        ArrayDataModule(path=tmp_path / "single.npy").setup()
    np.savez(tmp_path / "other.npz", data=np.zeros(3))
    with pytest.raises(InputError, match="expected x and y"):
        ArrayDataModule(path=tmp_path / "other.npz").setup()
    with pytest.raises(InputError, match=r"no array 'who' in whole.npz; it has x, y"):
        ArrayDataModule(path=whole, keys={"subject": "who"}).setup()


# ---- command line and picture ---------------------------------------------------------------------------------------
CONFIGS = [
    ("BasicMotions", {"views": {"raw": "Raw", "pi": {"class_path": "PersistenceImage", "init_args": {"size": 8}}}}),
    ("BasicMotions", {"views": {"raw": "Raw", "raw/clean": None}, "augment": "Mix1", "corruption": "Corruption"}),
    (
        "SPSWHAR",
        {
            "root": "folder",
            "devices": ["watch"],
            "views": {"raw": {"class_path": "Raw", "init_args": {"channels": ["watch_acc_x"]}}},
        },
    ),
    ("PAMAP2", {"root": "folder", "test_subject": 103, "scale": "released", "num_workers": 2}),
    ("UTDMHAD", {"root": "folder", "views": {"skeleton": {"class_path": "Raw", "init_args": {"source": "skeleton"}}}}),
    ("ArrayDataModule", {"path": "a.npz", "layout": "NTC", "keys": {"subject": "who"}, "test_subjects": [1, "b"]}),
    ("ArrayDataModule", {"path": "a.npz", "scale": {"offset": [0.0], "divisor": [2.0]}}),
]


@pytest.mark.parametrize(("name", "arguments"), CONFIGS)
def test_every_class_is_read_from_yaml(name, arguments):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(WindowDataModule, "data")
    parsed = parser.instantiate(parser.parse_object({"data": {"class_path": name, "init_args": arguments}}))
    assert type(parsed.data).__name__ == name
    assert parsed.data.num_workers == arguments.get("num_workers", 0)
    assert set(parsed.data.views) == set(arguments.get("views", {"raw": None}))
    if isinstance(arguments.get("scale"), dict):
        assert parsed.data.scale == Scale([0.0], [2.0])


def test_picture_of_the_views(tmp_path):
    data = BasicMotions(views={"raw": Raw(), "gaf": GramianAngularField(16), "pi": PersistenceImage(size=16)})
    figure = data.plot_views(tmp_path / "a" / "views.png", per_class=2)
    assert (tmp_path / "a" / "views.png").stat().st_size > 10_000
    assert len(figure.axes) == 8 * 3
    assert [a.get_title() for a in figure.axes[:3]] == ["signal", "gaf", "pi"]


@pytest.mark.gpu
def test_batches_are_pinned_for_a_gpu(tmp_path):
    data = BasicMotions()
    data.trainer = trainer(tmp_path, accelerator="gpu", devices=1)
    loader = data.train_dataloader()
    assert isinstance(loader, DataLoader)
    assert next(iter(loader)).views["raw"].is_pinned()
