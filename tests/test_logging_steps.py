"""What is logged of training: values of steps and epochs against a plain loop, and no waiting for the device."""

from __future__ import annotations

import csv
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
import wandb
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn

from kdlab import KD, Supervised, Teacher, cli
from kdlab.data import BasicMotions
from kdlab.methods import finite
from kdlab.methods.checkpoints import read_checkpoint
from kdlab.methods.epoch_means import EpochMeans
from kdlab.methods.resumed import SUMS
from kdlab.methods.step_values import StepValues, gradient_norm, right_of
from kdlab.types import Batch
from tests.conftest import REPOSITORY, net, trainer
from tests.test_resuming import cut_off, words
from tests.wandb_file import read_history, read_run

CLASSES, STEPS, EPOCHS = 4, 7, 3


class Rows(Logger):
    """Keeps what is logged, as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []

    @property
    def name(self) -> str:
        return "rows"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self.rows.append({**metrics, "step": step})

    def of(self, name: str) -> list[tuple[int, float]]:
        """The step and the value of each row that has a name."""
        return [(row["step"], float(row[name])) for row in self.rows if name in row]


def batches(kind: str = "indices", steps: int = STEPS, seed: int = 0) -> list[Batch]:
    """Batches of uneven sizes; ``"mixed"`` has class probabilities, some windows of them without a label."""
    rng, made = np.random.default_rng(seed), []
    for step in range(steps):
        rows = 6 + step % 3
        x = torch.from_numpy(rng.normal(size=(rows, 6, 40)))
        target = torch.from_numpy(rng.integers(0, CLASSES, rows))
        if kind == "mixed":
            other, share = torch.from_numpy(rng.integers(0, CLASSES, rows)), torch.from_numpy(rng.uniform(size=rows))
            target = share[:, None] * F.one_hot(target, CLASSES) + (1 - share)[:, None] * F.one_hot(other, CLASSES)
            target[::4] = 0
        made.append(Batch({"raw": x}, target, torch.arange(rows)))
    return made


def plain_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(6, 8, 5), nn.BatchNorm1d(8), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, CLASSES)
    ).double()


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.2, momentum=0.9)


def linear(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=10)


def mean_loss(logits: Tensor, target: Tensor) -> Tensor:
    """The cross-entropy, averaged over the windows that have a label."""
    labelled = target.sum(1) > 0 if target.ndim > 1 else target >= 0
    return F.cross_entropy(logits[labelled], target[labelled])


def plain_loop(data: list[Batch], accumulate: int = 1, clip: float | None = None) -> list[dict[str, float]]:
    """The same training in plain PyTorch, float64; each row is a step of the optimiser, with the sizes of its parts."""
    model, rows = plain_net(), []
    x = torch.cat([batch.views["raw"].transpose(0, 1).flatten(1) for batch in data], 1)
    mean, std = x.mean(1)[:, None], x.std(1, unbiased=False)[:, None]
    optimizer, step = sgd(model.parameters()), 0
    for _ in range(EPOCHS):
        loss_sum, windows, right, labelled = 0.0, 0, 0, 0
        for i, batch in enumerate(data, 1):
            logits = model((batch.views["raw"] - mean) / std)
            target = batch.target.numpy()
            loss = mean_loss(logits, batch.target)
            (loss / accumulate).backward()
            predicted = logits.detach().numpy().argmax(1)
            has = target.sum(1) > 0 if target.ndim > 1 else target >= 0
            truth = target.argmax(1) if target.ndim > 1 else target
            rows_here = len(batch.index)
            loss_sum, windows = loss_sum + rows_here * loss.item(), windows + rows_here
            right, labelled = right + int((predicted[has] == truth[has]).sum()), labelled + int(has.sum())
            if i % accumulate and i < len(data):
                continue
            grad = np.concatenate([p.grad.numpy().ravel() for p in model.parameters()])
            norm = float(np.sqrt((grad**2).sum()))
            if clip is not None and norm > clip:
                for p in model.parameters():
                    p.grad *= clip / (norm + 1e-6)
            lr = 0.2 * min(0.1 + 0.9 * step / 10, 1.0)
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad()
            row = {"loss": loss_sum, "windows": windows, "right": right, "labelled": labelled, "norm": norm, "lr": lr}
            rows.append(row)
            loss_sum, windows, right, labelled, step = 0.0, 0, 0, 0, step + 1
    return rows


def fit(folder: Path, data: list[Batch], every: int = 1, **settings: Any) -> tuple[Rows, pl.Trainer, Supervised]:
    rows = Rows()
    method = Supervised(plain_net(), optimizer=sgd, scheduler=linear, scheduler_interval="step")
    run = trainer(folder, max_epochs=EPOCHS, logger=rows, log_every_n_steps=every, precision="64-true", **settings)
    run.fit(method, train_dataloaders=torch.utils.data.DataLoader(data, batch_size=None))
    return rows, run, method


# ---------------------------------------------------------------- values
@pytest.mark.parametrize("kind", ["indices", "mixed"])
@pytest.mark.parametrize(("accumulate", "clip", "every"), [(1, None, 1), (1, 0.05, 3), (2, 0.05, 1), (3, None, 2)])
def test_values_of_steps_and_epochs_are_those_of_a_plain_loop(kind, accumulate, clip, every, tmp_path):
    data = batches(kind)
    found, _, _ = fit(tmp_path, data, every, accumulate_grad_batches=accumulate, gradient_clip_val=clip)
    expected = plain_loop(data, accumulate, clip)
    due = [i for i in range(len(expected)) if (i + 1) % every == 0]
    assert len(due) >= EPOCHS
    near = {"rel": 1e-9}
    loss = [(i, pytest.approx(expected[i]["loss"] / expected[i]["windows"], **near)) for i in due]
    assert found.of("train/loss_step") == loss
    assert found.of("train/ce_step") == loss
    right = [(i, pytest.approx(expected[i]["right"] / expected[i]["labelled"], **near)) for i in due]
    assert found.of("train/accuracy_step") == right
    assert found.of("train/grad_norm_step") == [(i, pytest.approx(expected[i]["norm"], **near)) for i in due]
    per_epoch = len(expected) // EPOCHS
    epochs = [expected[i : i + per_epoch] for i in range(0, len(expected), per_epoch)]
    last = [per_epoch * (e + 1) - 1 for e in range(EPOCHS)]
    rates = sorted([(i, expected[i]["lr"]) for i in (*due, *last)])
    assert found.of("train/lr") == [(i, pytest.approx(lr, rel=1e-6)) for i, lr in rates]

    def means(top, bottom):
        return [sum(r[top] for r in epoch) / sum(r.get(bottom, 1) for r in epoch) for epoch in epochs]

    for name, values in {
        "train/loss": means("loss", "windows"),
        "train/accuracy": means("right", "labelled"),
        "train/grad_norm": means("norm", ""),
    }.items():
        assert found.of(name) == [(i, pytest.approx(v, rel=1e-6)) for i, v in zip(last, values, strict=True)]


def test_the_label_of_a_mixed_target_and_windows_without_one():
    logits = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 1.0, 5.0], [9.0, 0.0, 0.0]])
    assert right_of(logits, torch.tensor([0, 2, 2, -1])).tolist() == [2, 3]
    assert right_of(logits, torch.tensor([[0.6, 0.4, 0], [0, 0.4, 0.6], [0, 0, 0], [0, 0.2, 0.8]])).tolist() == [1, 3]
    assert right_of(logits, torch.full((4,), -1)).tolist() == [0, 0]


def test_an_epoch_without_labels_has_no_accuracy(tmp_path):
    data = [batch._replace(target=torch.zeros(len(batch.index), CLASSES)) for batch in batches(steps=2)]
    found, _, _ = fit(tmp_path, data)
    assert len(found.of("train/loss")) == EPOCHS
    assert all(np.isnan(value) for _, value in found.of("train/accuracy"))
    assert not found.of("train/accuracy_step")


def test_zero_means_no_values_of_steps(tmp_path):
    found, _, _ = fit(tmp_path, batches(steps=2), every=0)
    assert not [row for row in found.rows if any(name.endswith("_step") for name in row)]
    assert len(found.of("train/loss")) == EPOCHS


class Curves(pl.Callback):
    """What callbacks find when an epoch ends."""

    def __init__(self) -> None:
        self.found: list[tuple[float, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = trainer.callback_metrics
        self.found.append((float(metrics["train/accuracy"]), float(metrics["train/grad_norm"])))


def test_callbacks_find_the_values_of_their_epoch(tmp_path):
    curves = Curves()
    found, _, _ = fit(tmp_path, batches(), callbacks=[curves])
    logged = [[value for _, value in found.of(f"train/{name}")] for name in ("accuracy", "grad_norm")]
    assert curves.found == list(zip(*logged, strict=True))
    assert len(set(curves.found)) == EPOCHS


def test_an_epoch_that_max_steps_ends_is_logged(tmp_path):
    found, _, _ = fit(tmp_path, batches(), max_steps=STEPS + 2)
    expected = plain_loop(batches())[STEPS : STEPS + 2]
    accuracy = sum(row["right"] for row in expected) / sum(row["labelled"] for row in expected)
    assert found.of("train/accuracy")[1:] == [(STEPS + 1, pytest.approx(accuracy, rel=1e-6))]
    assert len(found.of("train/loss")) == 2


def test_groups_have_rates_of_their_own(tmp_path):
    rows = Rows()

    class Grouped(Supervised):
        def configure_optimizers(self):
            parts = list(self.net.parameters())
            return torch.optim.SGD([{"params": parts[:2], "lr": 0.5}, {"params": parts[2:], "name": "head"}], lr=0.25)

    run = trainer(tmp_path, max_epochs=1, logger=rows, log_every_n_steps=2, precision="64-true")
    run.fit(Grouped(plain_net()), train_dataloaders=torch.utils.data.DataLoader(batches(steps=2), batch_size=None))
    assert rows.of("train/lr/pg1") == [(1, 0.5), (1, 0.5)]
    assert rows.of("train/lr/head") == [(1, 0.25), (1, 0.25)]
    assert not rows.of("train/lr")


@pytest.mark.parametrize("fused", [False, True])
def test_a_loss_scale_is_not_in_the_gradient(fused, tmp_path):
    """With float16 and a scale of 1024 the norm is that of float32."""
    data, norms = [b._replace(views={"raw": b.views["raw"].float()}) for b in batches(steps=3)], {}
    for scaled in (False, True):
        rows = Rows()
        method = Supervised(plain_net().float(), optimizer=lambda p: torch.optim.SGD(p, lr=0.01, fused=fused))
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        plugins = [MixedPrecision("16-mixed", "cpu", scaler)] if scaled else []
        run = trainer(tmp_path, max_epochs=1, logger=rows, log_every_n_steps=1, plugins=plugins)
        run.fit(method, train_dataloaders=torch.utils.data.DataLoader(data, batch_size=None))
        norms[scaled] = [value for _, value in rows.of("train/grad_norm_step")]
    assert norms[True] == pytest.approx(norms[False], rel=0.03)
    assert norms[True] != norms[False]


def test_a_step_that_overflows_is_left_out_of_the_mean_of_the_epoch():
    p = nn.Parameter(torch.zeros(2))
    optimizer, values = torch.optim.SGD([p], lr=0.1), StepValues()
    run = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    for grad in ([3.0, 4.0], [float("inf"), 0.0], [6.0, 8.0]):
        p.grad = torch.tensor(grad)
        values.step(optimizer, run)
    assert float(values.epoch()["grad_norm"]) == pytest.approx(7.5)
    assert values.epoch() == {}


def test_sparse_and_half_gradients_have_a_norm():
    embedding, half = nn.Embedding(5, 2, sparse=True), nn.Parameter(torch.zeros(2, dtype=torch.float16))
    embedding(torch.tensor([1, 1])).sum().backward()  # twice the same row: 2, 2
    half.grad = torch.tensor([3e4, 4e4], dtype=torch.float16)  # 5e4 of which the square is beyond float16
    run = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    for parameters, expected in ((embedding.parameters(), 8**0.5), ([half], 5e4)):
        norm = gradient_norm(torch.optim.SGD(parameters, lr=0.1), run)
        assert float(norm) == pytest.approx(expected, rel=1e-3)
    assert gradient_norm(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1), run) is None


def test_terms_of_that_name_go_first(tmp_path):
    rows = Rows()

    class Own(Supervised):
        def settings(self):
            return {"accuracy": torch.tensor(7.0)}

    run = trainer(tmp_path, max_epochs=1, logger=rows, log_every_n_steps=1, precision="64-true")
    run.fit(Own(plain_net()), train_dataloaders=torch.utils.data.DataLoader(batches(steps=1), batch_size=None))
    assert rows.of("train/accuracy") == rows.of("train/accuracy_step") == [(0, 7.0)]


# ---------------------------------------------------------------- the device is not waited for
READS = ("item", "__bool__", "__float__", "__int__", "__index__", "cpu", "tolist", "numpy", "__array__", "nonzero")


class NoReading(pl.Callback):
    """Reading a tensor raises in the steps that are not logged; those that are logged are counted."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch, self.read, self.quiet = patch, {}, 0

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        step = trainer.global_step

        def refuse(name: str, original: Any) -> Any:
            def read(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
                assert (step + 1) % trainer.log_every_n_steps == 0, f"Tensor.{name} in step {step}"
                self.read[step] = self.read.get(step, 0) + 1
                return original(tensor, *args, **kwargs)

            return read

        self.context = self.patch.context()
        patch = self.context.__enter__()
        for name in READS:
            patch.setattr(Tensor, name, refuse(name, getattr(Tensor, name)))
        self.quiet += (step + 1) % trainer.log_every_n_steps != 0

    def on_train_batch_end(self, *_: Any) -> None:
        self.context.__exit__(None, None, None)


@pytest.mark.parametrize("kind", ["indices", "mixed"])
def test_steps_that_are_not_logged_read_no_tensor(kind, teachers, tmp_path, monkeypatch):
    """As on a GPU, where the check of the terms is not read in every step either."""
    monkeypatch.setattr(finite, "at_once", lambda device: False)
    watched = NoReading(monkeypatch)
    data = [b._replace(views={"raw": b.views["raw"].float()}) for b in batches(kind)]
    method = KD(net(), {"raw": Teacher(teachers["raw"])})
    rows = Rows()
    run = trainer(tmp_path, max_epochs=2, logger=rows, log_every_n_steps=5, callbacks=[watched])
    run.fit(method, train_dataloaders=torch.utils.data.DataLoader(data, batch_size=None))
    assert watched.quiet == 2 * STEPS - 2
    assert set(watched.read) == {4, 9}
    assert all(count == 1 for count in watched.read.values())  # one copy for all values
    assert rows.of("train/temperature_step") == [(4, 4.0), (9, 4.0)]
    assert len(rows.of("train/kd_step")) == len(rows.of("train/kd")) == 2


def test_values_are_collected_on_a_device_without_numbers():
    """The meta device raises where a number is needed, as in a step that is logged."""
    p = nn.Parameter(torch.zeros(3, device="meta"))
    optimizer, values = torch.optim.SGD([p], lr=torch.tensor(0.1)), StepValues()
    p.grad = torch.zeros(3, device="meta")
    logits, target = torch.zeros(5, CLASSES, device="meta"), torch.zeros(5, dtype=torch.int64, device="meta")
    run = pl.Trainer(logger=Rows(), log_every_n_steps=2, enable_checkpointing=False, accelerator="cpu")
    for _ in range(3):
        values.see(5, {"loss": logits.sum()}, logits, target)
        values.step(optimizer, run)
    run.log_every_n_steps = 1
    values.see(5, {"loss": logits.sum()}, logits, target)
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        values.step(optimizer, run)


# ---------------------------------------------------------------- two processes
def part(rank: int) -> list[Batch]:
    """Batches of unequal sizes in the two processes."""
    rows = 6 - 2 * rank
    made = batches("indices", steps=4, seed=rank)
    return [Batch({"raw": b.views["raw"][:rows]}, b.target[:rows], b.index[:rows]) for b in made]


def two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2)
    rows, method = Rows(), Supervised(small_net(), optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
    settings = {"strategy": "ddp", "devices": 2, "use_distributed_sampler": False, "precision": "64-true"}
    run = trainer(Path(folder), max_epochs=1, logger=rows, log_every_n_steps=2, **settings)
    run.fit(method, train_dataloaders=torch.utils.data.DataLoader(part(rank), batch_size=None))
    metrics = {name: float(value) for name, value in run.callback_metrics.items()}
    torch.save((rows.rows, metrics), f"{folder}/{rank}.pt")
    found = [resumed(Path(folder), **more) for more in ({}, {"max_steps": 6}, {"ckpt_path": f"{folder}/middle.ckpt"})]
    torch.save((found[0], found[2]), f"{folder}/resumed{rank}.pt")
    dist.destroy_process_group()


def resumed(folder: Path, ckpt_path: str | None = None, max_steps: int = -1) -> dict[str, float]:
    """The metrics of training of a fit of two epochs of four steps; one that is cut leaves a checkpoint."""
    torch.manual_seed(0)
    run = trainer(folder, max_steps=max_steps, strategy="ddp", devices=2)
    run.fit(Supervised(net()), BasicMotions(batch_size=4), ckpt_path=ckpt_path)
    if max_steps > 0:
        run.save_checkpoint(folder / "middle.ckpt")
    return {name: float(value) for name, value in run.callback_metrics.items() if name.startswith("train/")}


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(6, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, CLASSES)
    ).double()


def two_by_hand() -> list[dict[str, float]]:
    """The mean gradient of both processes in each step, normalised by the statistics of all windows."""
    model, rows = small_net(), []
    data = [part(0), part(1)]
    x = torch.cat([b.views["raw"].transpose(0, 1).flatten(1) for b in data[0] + data[1]], 1)
    mean, std = x.mean(1)[:, None], x.std(1, unbiased=False)[:, None]
    for pair in zip(*data, strict=True):
        row = {"loss": 0.0, "windows": 0, "right": 0}
        for batch in pair:
            logits = model((batch.views["raw"] - mean) / std)
            loss = F.cross_entropy(logits, batch.target)
            (loss / 2).backward()
            row["loss"] += len(batch.target) * float(loss)
            row["windows"] += len(batch.target)
            row["right"] += int((logits.detach().numpy().argmax(1) == batch.target.numpy()).sum())
        row["norm"] = float(np.sqrt(sum((p.grad.numpy() ** 2).sum() for p in model.parameters())))
        rows.append(row)
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad
                p.grad = None
    return rows


def test_two_processes_log_the_values_of_all_windows(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        mp.spawn(two, (str(tmp_path),), nprocs=2)
    (rows, metrics), (other, others) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert metrics == others
    assert rows == other  # of a logger that does not leave them out in the second process
    expected = two_by_hand()
    steps = [row for row in rows if "train/loss_step" in row]
    assert [row["step"] for row in steps] == [1, 3]
    for row in steps:
        known = expected[row["step"]]
        assert row["train/loss_step"] == pytest.approx(known["loss"] / known["windows"], rel=1e-9)
        assert row["train/accuracy_step"] == pytest.approx(known["right"] / known["windows"], rel=1e-9)
        assert row["train/grad_norm_step"] == pytest.approx(known["norm"], rel=1e-9)
    total = {name: sum(row[name] for row in expected) for name in expected[0]}
    assert metrics["train/accuracy"] == pytest.approx(total["right"] / total["windows"], rel=1e-6)
    assert metrics["train/grad_norm"] == pytest.approx(total["norm"] / len(expected), rel=1e-6)
    (whole, rest), others = (torch.load(tmp_path / f"resumed{rank}.pt") for rank in (0, 1))
    assert rest == whole  # in the middle of an epoch
    assert others == (whole, rest)
    held = read_checkpoint(tmp_path / "middle.ckpt")[SUMS]
    assert len(held["means"]["sums"]) == len(held["steps"]["right"]) == 2
    means = EpochMeans()
    means.restore(held["means"], torch.device("cpu"))  # one process takes up the sums of two
    total_loss, windows = held["means"]["sums"][:, 0].sum(), held["means"]["windows"][:, 0].sum()
    assert torch.equal(means.read()["loss"], total_loss / windows)


# ---------------------------------------------------------------- files of a run
@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_curves_within_an_epoch_and_one_run_over_a_resume(here):
    """Read back from the files of Weights & Biases: values of steps between those of epochs, on one axis."""
    logger = ["--config", str(REPOSITORY / "experiments/base/wandb.yaml"), "--trainer.callbacks=null"]
    more = [*logger, "--trainer.log_every_n_steps=1"]
    model = {"model": "Supervised"}
    cut_off(*more, epoch=2, **model)
    cli.run([*words(epochs=4, **model), *more, "--ckpt_path", "runs/a/b"])
    wandb.teardown()
    folders = sorted((here / "runs/wandb").glob("offline-run-*"))
    assert len(folders) == 2
    assert len({read_run(folder)[3].run_id for folder in folders}) == 1
    first, second = (read_history(folder) for folder in folders)
    axis = "trainer/global_step"
    for rows in (first, second):
        assert [row[axis] for row in rows] == sorted(row[axis] for row in rows)
    assert min(row[axis] for row in second) == 8  # two epochs of four steps were kept
    numbers = [row["_step"] for row in (*first, *second)]  # rows of a number that was there would not be uploaded
    assert numbers == sorted(set(numbers))
    joined = [row for row in first if row[axis] < 8] + second
    for name in ("loss", "ce", "accuracy", "grad_norm"):
        steps = [row[axis] for row in joined if f"train/{name}_step" in row]
        epochs = [row[axis] for row in joined if f"train/{name}" in row]
        assert steps == list(range(16))
        assert epochs == [3, 7, 11, 15]
        within = [sum(a < s <= b for s in steps) for a, b in pairwise(epochs)]
        assert within == [4, 4, 4]
    assert [row[axis] for row in joined if "train/lr" in row] == sorted([*range(16), *epochs])
    (written,) = (here / "runs/a/b").rglob("metrics.csv")
    with written.open(newline="", encoding="utf-8") as file:
        kept = list(csv.DictReader(file))
    for name in ("train/loss_step", "train/grad_norm", "train/lr"):
        assert [(int(row["step"]), pytest.approx(float(row[name]))) for row in kept if row.get(name)] == [
            (row[axis], row[name]) for row in joined if name in row
        ]


def test_a_resumed_fit_logs_the_same_rows(here):
    model = {"model": "Supervised"}
    cli.run([*words("whole/run", epochs=3, **model), "--trainer.log_every_n_steps=3"])
    cut_off("--trainer.log_every_n_steps=3", epoch=1, **model)
    cli.run([*words(epochs=3, **model), "--trainer.log_every_n_steps=3", "--ckpt_path", "runs/a/b"])
    one, other = ((here / f"runs/{run}/version_0/metrics.csv").read_text() for run in ("whole/run", "a/b"))
    assert one == other
    assert one.count("\n") > 8


def test_the_metrics_of_training_can_be_watched(here):
    for monitor in ("train/accuracy", "train/grad_norm"):
        stop = f"{{class_path: EarlyStopping, init_args: {{monitor: {monitor}, mode: max, patience: 9}}}}"
        line = cli.run([*words(f"a/{monitor[6:]}", epochs=1, model="Supervised"), f"--trainer.callbacks+={stop}"])
        assert line.trainer.current_epoch == 1
