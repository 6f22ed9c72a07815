"""What a step costs, as multiples of training the student alone: ``python -m benchmarks.step``.

One TPKD step (student WRN16-1, teachers WRN16-3 on the raw signal and WRN16-3 on persistence images 64 x 64, windows
3 x 500, batches of 64), with the teachers run in every step and with their outputs cached by `TeacherCache`; the share
of the time that a step waits for its views with two workers; and a fit of the student against a plain PyTorch loop that
does the same work. All in one process, in turns; a time is the median over steps. The nets have random weights: the
time does not depend on them. That the cached terms are the live ones is asserted in the same run.
"""

from __future__ import annotations

import logging
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import kdlab
from benchmarks.views import machine
from kdlab.data import ArrayDataModule
from kdlab.nets import WideResNet
from kdlab.views import PersistenceImage, Raw

CLASSES = 6


@dataclass(frozen=True)
class Setting:
    """Where a step is timed, and how large it is."""

    device: str = "cpu"
    batch: int = 64
    size: int = 64
    train: int = 384
    length: int = 500
    width: int = 3
    student_steps: int = 24
    live_steps: int = 6

    @property
    def epoch(self) -> int:
        """Steps of an epoch."""
        return self.train // self.batch

    @property
    def view(self) -> PersistenceImage:
        """The images."""
        return PersistenceImage(size=self.size)


def windows(count: int, channels: int = 3, length: int = 500) -> np.ndarray:
    """Gait at 100 Hz: four harmonics of a step rate, and sensor noise."""
    rng = np.random.default_rng(0)
    seconds, rate = np.arange(length) / 100, rng.uniform(0.8, 2.5, (count, 1, 1))
    x = 0.15 * rng.standard_normal((count, channels, length))
    for k in range(1, 5):
        strength, phase = rng.uniform(0.1, 1, (2, count, channels, 1))
        x += strength / k * np.sin(2 * np.pi * (k * rate * seconds + phase))
    return x.astype(np.float32)


def data(setting: Setting, x: np.ndarray, views: Iterable[str], workers: int = 0) -> ArrayDataModule:
    known = {"raw": Raw(), "pi": setting.view}
    return ArrayDataModule(
        x,
        np.arange(len(x)) % CLASSES,
        np.arange(len(x)) // (setting.train // 6),
        views={name: known[name] for name in views},
        test_subjects=[6],
        val_subjects=[7, 8],
        batch_size=setting.batch,
        num_workers=workers,
        seed=0,
    )


def net(width: int = 1, ndim: int = 1, channels: int = 3) -> WideResNet:
    torch.manual_seed(0)
    return WideResNet(16, width, ndim, in_channels=channels, num_classes=CLASSES)


def teacher(view: str, width: int, channels: int = 3) -> kdlab.Teacher:
    one = net(width, 1 if view == "raw" else 2, channels)
    one.standardize.fill([0.0] * channels, [1.0] * channels)
    return kdlab.Teacher(net=one, view=view)


def tpkd(setting: Setting, cache: kdlab.TeacherCache | None) -> kdlab.TPKD:
    teachers = {view: teacher(view, setting.width) for view in ("raw", "pi")}
    return kdlab.TPKD(net(), teachers, similarity_weight=20.0, cache=cache)


def synchronize(device: str) -> None:
    """Wait until the device has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()


@dataclass(frozen=True)
class Stopwatch:
    """Points in time, and the seconds between two of them.

    On a GPU these are events in its own stream, so that nothing waits for it; with ``idle``, times of the host after
    the GPU has finished, so that what lies between two of them is time that the GPU has nothing to do.
    """

    device: str = "cpu"
    idle: bool = False

    def mark(self) -> Any:
        """Now."""
        if self.device == "cuda" and not self.idle:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            return event
        synchronize(self.device)
        return time.perf_counter()

    @staticmethod
    def between(a: Any, b: Any) -> float:
        """Seconds from one to the next."""
        if isinstance(a, float):
            return float(b - a)
        b.synchronize()
        return float(a.elapsed_time(b)) / 1e3


class Operations(pl.Callback):
    """How many operations of PyTorch the third step of a fit runs: forward and backward pass, loss and optimiser."""

    def __init__(self) -> None:
        self.step, self.count = 0, 0

    def on_train_batch_start(self, *_: Any) -> None:
        """Count from here."""
        self.step += 1
        if self.step == 3:
            self._mode = _Counting(self)
            self._mode.__enter__()

    def on_train_batch_end(self, *_: Any) -> None:
        """Count to here."""
        if self.step == 3:
            self._mode.__exit__(None, None, None)


class _Counting(TorchDispatchMode):
    def __init__(self, of: Operations) -> None:
        super().__init__()
        self.of = of

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.of.count += 1
        return func(*args, **(kwargs or {}))


class Clock(pl.Callback):
    """When each step began and ended."""

    def __init__(self, epoch: int, watch: Stopwatch) -> None:
        self.epoch, self.watch = epoch, watch
        self.begins: list[Any] = []
        self.ends: list[Any] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """A step begins."""
        self.begins.append(self.watch.mark())

    def on_train_batch_end(self, *_: Any) -> None:
        """A step ends."""
        self.ends.append(self.watch.mark())

    def _gaps(self, next_ones: list[Any]) -> list[float]:
        gaps = [self.watch.between(a, b) for a, b in zip(self.ends, next_ones[1:], strict=False)]
        return [gap for i, gap in enumerate(gaps, start=1) if i % self.epoch]

    @property
    def complete(self) -> list[float]:
        """From the end of one step to that of the next, in one epoch."""
        return self._gaps(self.ends)

    @property
    def waits(self) -> list[float]:
        """From the end of one step to the beginning of the next, in one epoch."""
        return self._gaps(self.begins)


def fit(
    module: pl.LightningModule,
    datamodule: ArrayDataModule,
    steps: int,
    setting: Setting,
    watch: Stopwatch | None = None,
    *more: pl.Callback,
) -> Clock:
    clock = Clock(setting.epoch, watch or Stopwatch(setting.device))
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator=setting.device,
        devices=1,
        logger=False,
        callbacks=[clock, *more],
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule)
    return clock


def plain(datamodule: ArrayDataModule, setting: Setting) -> list[float]:
    """The student's training as one writes it by hand: the same batches, loss, optimiser and mean loss."""
    datamodule.setup("fit")
    device, watch, steps = setting.device, Stopwatch(setting.device), setting.student_steps
    student = net()
    student.standardize.fill([0.0] * 3, [1.0] * 3)
    student.train().to(device)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    loader, total = datamodule.train_dataloader(), torch.zeros((), device=device)
    times: list[float] = []
    while len(times) < steps - steps // setting.epoch:
        marks = []
        for batch in loader:
            x, target = batch.views["raw"].to(device, non_blocking=True), batch.target.to(device, non_blocking=True)
            loss = F.cross_entropy(student(x).logits, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch.index)
            marks.append(watch.mark())
        times += [watch.between(a, b) for a, b in pairwise(marks)]
    return times


class Exact(kdlab.TPKD):
    """Asserts that the cached outputs give the terms of the live ones: bit for bit on a CPU."""

    image_view: PersistenceImage

    def terms(self, batch: kdlab.Batch, student: kdlab.Output) -> dict[str, torch.Tensor]:
        """The terms, from the cached outputs."""
        found = super().terms(batch, student)
        images = self.image_view(batch.views["raw"].cpu()).to(self.device)
        cached, self._cached = self._cached, None
        live = super().terms(batch._replace(views={**batch.views, "pi": images}), student)
        self._cached = cached
        kd, gram = (abs(float(found[name].detach() / live[name].detach()) - 1) for name in ("kd", "similarity"))
        logits = "bit for bit" if torch.equal(found["kd"], live["kd"]) else f"to {kd:.0e}"
        assert logits == "bit for bit" if self.device.type == "cpu" else kd <= 1e-5
        assert gram <= 1e-5
        print(f"exact in this run: the logits' term {logits}, the Gram matrices' to {gram:.0e}\n")
        return found


class Costs(dict[str, float]):
    """Seconds a step by name, the other figures, bytes of device memory (``memory/...``), and ``operations/...``."""


def measure(setting: Setting) -> Costs:
    """All figures of the table, in turns in this process."""
    x = windows(setting.train * 9 // 6, length=setting.length)
    only, both = data(setting, x, ["raw"]), data(setting, x, ["raw", "pi"])
    cache = kdlab.TeacherCache()
    exact = tpkd(setting, cache)
    exact.__class__ = Exact
    exact.image_view = setting.view
    costs = Costs()
    begin = time.perf_counter()
    fit(exact, both, 1, setting)
    costs["built"] = time.perf_counter() - begin

    steps: dict[str, list[float]] = {"student": [], "plain": [], "cached": [], "live": []}
    module = tpkd(setting, cache)
    many = setting.student_steps
    for _ in range(2):
        runs: dict[str, Callable[[], list[float]]] = {
            "student": lambda: fit(kdlab.Supervised(net()), only, many, setting).complete,
            "plain": lambda: plain(only, setting),
            "cached": lambda: fit(module, both, many, setting).complete,
        }
        for name, run in runs.items():
            steps[name] += with_memory(name, run, costs, setting)
    steps["live"] = with_memory(
        "live", lambda: fit(tpkd(setting, None), both, setting.live_steps, setting).complete, costs, setting
    )
    for name, method, fed in (("student", kdlab.Supervised(net()), only), ("cached", module, both)):
        counter = Operations()
        fit(method, fed, 3, setting, None, counter)
        costs[f"operations/{name}"] = counter.count
    fed = data(setting, x, ["raw", "pi"], workers=2)
    waiting = fit(tpkd(setting, None), fed, setting.live_steps, setting, Stopwatch(setting.device, idle=True))
    images = [timed(setting.view, x[i : i + setting.batch]) for i in range(0, setting.train, setting.batch)]
    for name, times in steps.items():
        costs[name] = statistics.median(times)
    costs["drawing"] = statistics.median(images)
    costs["waiting"] = sum(waiting.waits) / sum(waiting.complete)
    return costs


def with_memory(name: str, run: Callable[[], list[float]], costs: Costs, setting: Setting) -> list[float]:
    """Run it, and note the most memory that it took on the device."""
    if setting.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    times = run()
    if setting.device == "cuda":
        costs[f"memory/{name}"] = float(torch.cuda.max_memory_allocated())
    return times


def rows(costs: Costs, setting: Setting) -> list[tuple[str, str, str]]:
    """The table: what, how much, and whether that is what was aimed at."""
    one = costs["student"]
    drawing = costs["drawing"]
    return [
        ("step of the student alone", f"{1e3 * one:.1f} ms", ""),
        ("TPKD, teachers run in every step", f"{costs['live'] / one:.2f}x", ""),
        ("TPKD, teachers cached", f"{costs['cached'] / one:.2f}x", verdict(costs["cached"] / one, 1.25)),
        (
            "filling the cache, in student steps",
            f"{costs['built'] / one:.0f}",
            f"{setting.train} windows, exactness test included",
        ),
        (
            "operations of a step",
            f"{costs['operations/student']:.0f}",
            f"the student alone; TPKD, teachers cached: {costs['operations/cached']:.0f}",
        ),
        (
            "waiting for views, two workers",
            f"{100 * costs['waiting']:.1f} %",
            verdict(costs["waiting"], 0.1, "of a TPKD step"),
        ),
        (
            "images, no workers",
            f"{100 * drawing / (one + drawing):.1f} %",
            "of a student's step with them",
        ),
        (
            "fit against the plain loop",
            f"{one / costs['plain']:.3f}x",
            verdict(one / costs["plain"], 1.05),
        ),
    ]


def show(table: list[tuple[str, str, str]]) -> None:
    for name, value, note in table:
        print(f"{name:40}{value:>12}   {note}")


def quiet() -> None:
    """One thread unless OMP_NUM_THREADS says otherwise, and no messages but the table."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def main() -> None:
    quiet()
    setting = Setting()
    print(machine(("torch", "lightning", "numpy", "numba"), f"{torch.get_num_threads()} thread"))
    print(
        f"{setting.train} training windows 3 x {setting.length}, batches of {setting.batch}, "
        f"images {setting.size} x {setting.size}\n"
    )
    show(rows(measure(setting), setting))


def timed(view: PersistenceImage, x: np.ndarray) -> float:
    begin = time.perf_counter()
    view(x)
    return time.perf_counter() - begin


def verdict(value: float, most: float, what: str = "") -> str:
    goal = f"{100 * most:.0f} %" if most < 1 else f"{most}x"
    return f"{'met' if value <= most else 'MISSED'}: at most {goal} {what}".strip()


if __name__ == "__main__":
    main()
