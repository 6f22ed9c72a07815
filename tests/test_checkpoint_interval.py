"""When best.ckpt and last.ckpt are written, and that a process that is killed at any moment resumes with both."""

import os
import shutil
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger

from kdlab import cli, run_checkpoints
from kdlab.methods.checkpoints import FINISHED, KEY, read_checkpoint
from kdlab.methods.saving import CompleteCheckpointIO, save, snapshot
from kdlab.run_checkpoints import BEST
from kdlab.types import InputError
from tests.test_resuming import best_epoch, cut_off, rows, words

FILES = ("best.ckpt", "last.ckpt")
EMA = "--trainer.callbacks+={class_path: EMAWeightAveraging, init_args: {decay: 0.6}}"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass in an epoch."""

    class Clock:
        now, epoch = 100.0, 10.0

        def monotonic(self):
            return self.now

    class Pass(Callback):
        def on_train_batch_end(self, *_):
            clock.now += clock.epoch / 4  # of four batches

    clock, real = Clock(), run_checkpoints.checkpoint_callbacks
    monkeypatch.setattr(run_checkpoints, "time", clock)
    monkeypatch.setattr("kdlab.lightning_cli.checkpoint_callbacks", lambda: [*real(), Pass()])
    return clock


@pytest.fixture
def written(monkeypatch):
    """(file, epoch of its weights) of every checkpoint that is written, and what to do after each."""
    found, after = [], []
    real = CompleteCheckpointIO.save_checkpoint

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        real(self, checkpoint, path, storage_options)
        found.append((Path(path).name, checkpoint["epoch"]))
        for action in after:
            action()

    monkeypatch.setattr(CompleteCheckpointIO, "save_checkpoint", save_checkpoint)
    found_and_after = found, after
    return found_and_after


def same(first, second):
    """Two checkpoints: weights, moments of the optimiser and description, bit for bit."""
    keys = ("state_dict", "optimizer_states", KEY, "epoch", "global_step")
    return [key for key in keys if not equal(first[key], second[key])] == []


def equal(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


# ---------------------------------------------------------------- when
@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (None, [("best.ckpt", 1), ("last.ckpt", 2), ("last.ckpt", 4)]),  # 30 s: as epoch 3 begins, and the end
        (1000, [("best.ckpt", 1), ("last.ckpt", 4)]),
        (0, [("best.ckpt", 0), ("last.ckpt", 0), ("best.ckpt", 1), *(("last.ckpt", epoch) for epoch in range(1, 5))]),
    ],
)
def test_the_two_are_written_together_in_time_and_at_the_end(interval, expected, here, clock, written):
    cli.run([*words(), *([] if interval is None else [f"--checkpoint_interval={interval}"])])
    assert written[0] == expected
    folder = here / "runs/a/b/version_0/checkpoints"
    best, last = (read_checkpoint(folder / name) for name in FILES)
    assert (best["epoch"], last["epoch"]) == (1, 4)
    assert same(best, last[BEST])
    assert BEST not in best


def test_a_validation_within_an_epoch_is_written_in_time(here, clock, written):
    """Epochs of 80 s; the best is that of the validation after 40 s of the second one, or after 80."""
    clock.epoch = 80
    cli.run([*words(epochs=3), "--trainer.val_check_interval=2"])
    assert written[0][0] == ("best.ckpt", 0)
    assert written[0].count(("last.ckpt", 0)) == 1  # as epoch 1 begins
    assert written[0][-1] == ("last.ckpt", 2)
    assert written[0].index(("best.ckpt", 1)) < written[0].index(("last.ckpt", 1))


@pytest.mark.parametrize("interval", ["-1", ".inf"])
def test_an_interval_that_is_none_is_refused_before_a_folder_is_made(interval, here):
    with pytest.raises(InputError, match=r"^checkpoint_interval: must be a number of seconds, at least 0, but got"):
        cli.run([*words(), f"--checkpoint_interval={interval}"])
    assert not list(here.iterdir())


class Fail(Callback):
    """An error in an epoch."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.current_epoch == 3:
            raise RuntimeError("failed")


def test_a_fit_that_fails_keeps_its_newest_epoch(here):
    with pytest.raises(RuntimeError, match="failed"):
        cli.run([*words(), "--trainer.callbacks+=tests.test_checkpoint_interval.Fail"])
    folder = here / "runs/a/b/version_0"
    assert [read_checkpoint(folder / "checkpoints" / name)["epoch"] for name in FILES] == [1, 2]
    assert not (folder / FINISHED).exists()
    assert len([row for row in rows(folder) if "val/loss" in row]) == 3


def test_where_the_newest_cannot_be_written_the_error_is_still_the_first(here, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CompleteCheckpointIO, "save_checkpoint", full)
    with (
        pytest.warns(UserWarning, match=r"newest checkpoints cannot be written \(.*No space left"),
        pytest.raises(RuntimeError, match="failed"),
    ):
        cli.run([*words(), "--trainer.callbacks+=tests.test_checkpoint_interval.Fail"])


def test_loggers_hear_of_a_checkpoint_when_it_is_there(here, monkeypatch):
    seen = []
    monkeypatch.setattr(CSVLogger, "after_save_checkpoint", lambda self, kept: seen.append(Path(kept.best_model_path)))
    cli.run(words(epochs=2))
    assert [path.name for path in seen] == list(FILES)
    assert all(path.is_file() for path in seen)


# ---------------------------------------------------------------- killed
@pytest.mark.parametrize("more", [[], [EMA], ["--monitor=val/f1"]], ids=["weights", "average", "f1"])
def test_a_process_that_is_killed_after_any_write_resumes_to_the_same_files(more, here, clock, written):
    """Weights, best weights, optimiser and metrics, whatever was on disk when it was killed."""
    copies = []
    written[1].append(lambda: copies.append(shutil.copytree("runs", f"killed{len(copies)}/runs")))
    all_words = [*words(), "--checkpoint_interval=20", *more]
    cli.run(all_words)
    written[1].clear()
    expected = [read_checkpoint(here / "runs/a/b/version_0/checkpoints" / name) for name in FILES]
    metrics = rows(here / "runs/a/b/version_0")
    resumed = 0
    for copy in copies:
        folder = copy.replace("/runs", "")
        os.chdir(here / folder)
        last = Path("runs/a/b/version_0/checkpoints/last.ckpt")
        if not last.is_file():
            continue
        resumed += 1
        cli.run([*all_words, f"--ckpt_path={last}"])
        found = [read_checkpoint(last.with_name(name)) for name in FILES]
        assert all(map(same, found, expected)), folder
        assert same(found[1][BEST], expected[0])
        assert rows(last.parent.parent) == metrics
    assert resumed >= 2


def test_last_alone_knows_its_best(here):
    cut_off()
    shutil.copy("runs/a/b/version_0/checkpoints/last.ckpt", "taken.ckpt")
    shutil.rmtree("runs")
    cli.run([*words("c/d"), "--ckpt_path=taken.ckpt"])
    assert best_epoch(here / "runs/c/d/version_0") == 1


def test_by_another_metric_the_best_is_chosen_from_then_on(here):
    cut_off()
    cli.run([*words(), "--monitor=val/f1", "--ckpt_path=runs/a/b"])
    assert best_epoch(here / "runs/a/b/version_0") == 3


def test_a_checkpoint_of_an_earlier_version_resumes_with_the_file_beside_it(here):
    cut_off()
    last = here / "runs/a/b/version_0/checkpoints/last.ckpt"
    content = read_checkpoint(last)
    del content[BEST]
    save(content, last)
    before = (last.parent / "best.ckpt").read_bytes()
    cli.run([*words(), "--ckpt_path=runs/a/b"])
    assert (last.parent / "best.ckpt").read_bytes() == before


@pytest.mark.parametrize("damage", [{}, "no dict", {"kdlab": 3}])
def test_damaged_best_weights_are_refused_before_anything_is_written(damage, here):
    cut_off()
    last = here / "runs/a/b/version_0/checkpoints/last.ckpt"
    save({**read_checkpoint(last), BEST: damage}, last)
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"^ckpt_path: .*best.* damaged"):
        cli.run([*words(), "--ckpt_path=runs/a/b"])
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


# ---------------------------------------------------------------- copies
def test_a_snapshot_keeps_what_training_changes(tmp_path):
    weights = torch.arange(6.0).reshape(2, 3)
    content = {
        "state_dict": OrderedDict(a=weights, b=weights.T, c=torch.nn.Parameter(torch.ones(2))),
        "list": [weights, (weights, {"n": 1})],
        "plain": {"lr": [0.1], "milestones": {3: 1}},
    }
    kept = snapshot(content)
    weights.fill_(9)
    content["plain"]["lr"][0] = 7
    assert type(kept["state_dict"]) is OrderedDict
    assert kept["state_dict"]["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert kept["state_dict"]["b"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert kept["list"][1][0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert kept["plain"] == {"lr": [0.1], "milestones": {3: 1}}
    assert not kept["state_dict"]["c"].requires_grad
    save(kept, tmp_path / "kept.ckpt")
    assert read_checkpoint(tmp_path / "kept.ckpt")["plain"] == kept["plain"]


def test_equal_tensors_are_in_a_file_once(tmp_path):
    first = snapshot({"w": torch.rand(1000), "other": torch.zeros(1000)})
    second = snapshot({"w": first["w"].clone(), "other": -torch.zeros(1000)}, first)
    assert second["w"] is first["w"]
    assert second["other"] is not first["other"]  # the sign of zero
    assert bool(torch.signbit(second["other"]).all())
    nan = snapshot({"w": torch.full((1000,), torch.nan)})
    assert snapshot({"w": torch.full((1000,), torch.nan)}, nan)["w"] is nan["w"]
    assert snapshot({"w": torch.zeros(1000, dtype=torch.int32)}, first)["w"].dtype == torch.int32
    save(first, tmp_path / "one.ckpt")
    save({**second, "best": first}, tmp_path / "both.ckpt")
    assert (tmp_path / "both.ckpt").stat().st_size < 1.7 * (tmp_path / "one.ckpt").stat().st_size
