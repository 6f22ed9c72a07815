"""What a step costs, as multiples of training the student alone: ``python -m benchmarks.step``.

One TPKD step (student WRN16-1, teachers WRN16-3 on the raw signal and WRN16-3 on persistence images 64 x 64, windows
3 x 500, batches of 64), with the teachers asked in every step and with what they say kept by `TeacherCache`; the share
of the time that a step waits for its views with two workers; and a fit of the student against a plain PyTorch loop that
does the same work. All in one process, in turns; a time is the median over steps. The nets have random weights: the
time does not depend on them. That the cached terms are the live ones is asserted in the same run.
"""

from __future__ import annotations

import logging
import os
import platform
import statistics
import time
import warnings
from collections.abc import Iterable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F

import kdlab
from benchmarks.views import processor, version
from kdlab.data import ArrayDataModule
from kdlab.nets import WideResNet
from kdlab.views import PersistenceImage, Raw

BATCH, SIZE, CLASSES, TRAIN = 64, 64, 6, 384
STEPS = {"student": 24, "live": 6, "cached": 24}


def windows(count: int, channels: int = 3, length: int = 500) -> np.ndarray:
    """Gait at 100 Hz: four harmonics of a step rate, and sensor noise."""
    rng = np.random.default_rng(0)
    seconds, rate = np.arange(length) / 100, rng.uniform(0.8, 2.5, (count, 1, 1))
    x = 0.15 * rng.standard_normal((count, channels, length))
    for k in range(1, 5):
        strength, phase = rng.uniform(0.1, 1, (2, count, channels, 1))
        x += strength / k * np.sin(2 * np.pi * (k * rate * seconds + phase))
    return x.astype(np.float32)


def data(x: np.ndarray, views: Iterable[str], workers: int = 0) -> ArrayDataModule:
    known = {"raw": Raw(), "pi": PersistenceImage(size=SIZE)}
    return ArrayDataModule(
        x,
        np.arange(len(x)) % CLASSES,
        np.arange(len(x)) // (TRAIN // 6),
        views={name: known[name] for name in views},
        test_subjects=[6],
        val_subjects=[7, 8],
        batch_size=BATCH,
        num_workers=workers,
        seed=0,
    )


def net(width: int = 1, ndim: int = 1) -> WideResNet:
    torch.manual_seed(0)
    return WideResNet(16, width, ndim, in_channels=3, num_classes=CLASSES)


def tpkd(cache: kdlab.TeacherCache | None) -> kdlab.TPKD:
    teachers = {"raw": kdlab.Teacher(net=net(3)), "pi": kdlab.Teacher(net=net(3, 2), view="pi")}
    for teacher in teachers.values():
        assert teacher.net is not None
        teacher.net.standardize.fill([0.0] * 3, [1.0] * 3)
    return kdlab.TPKD(net(), teachers, similarity_weight=20.0, cache=cache)


class Clock(pl.Callback):
    """When each step began and ended."""

    def __init__(self) -> None:
        self.begins: list[float] = []
        self.ends: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """A step begins."""
        self.begins.append(time.perf_counter())

    def on_train_batch_end(self, *_: Any) -> None:
        """A step ends."""
        self.ends.append(time.perf_counter())

    @property
    def whole(self) -> list[float]:
        """From the end of one step to that of the next, in one epoch."""
        epoch = TRAIN // BATCH
        gaps = [b - a for a, b in zip(self.ends, self.ends[1:], strict=False)]
        return [gap for i, gap in enumerate(gaps, start=1) if i % epoch]

    @property
    def waits(self) -> list[float]:
        """From the end of one step to the beginning of the next, in one epoch."""
        epoch = TRAIN // BATCH
        gaps = [b - a for a, b in zip(self.ends, self.begins[1:], strict=False)]
        return [gap for i, gap in enumerate(gaps, start=1) if i % epoch]


def fit(module: pl.LightningModule, datamodule: ArrayDataModule, steps: int) -> Clock:
    clock = Clock()
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        callbacks=[clock],
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule)
    return clock


def plain(datamodule: ArrayDataModule, steps: int) -> list[float]:
    """The student's training as one writes it by hand: the same batches, loss, optimiser and mean loss."""
    datamodule.setup("fit")
    student = net()
    student.standardize.fill([0.0] * 3, [1.0] * 3)
    student.train()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    loader, times, total = datamodule.train_dataloader(), [], torch.zeros(())
    while len(times) < steps - steps // (TRAIN // BATCH):
        before = 0.0
        for batch in loader:
            loss = F.cross_entropy(student(batch.views["raw"]).logits, batch.target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch.index)
            now = time.perf_counter()
            if before:
                times.append(now - before)
            before = now
    return times


class Exact(kdlab.TPKD):
    """Asserts that the answers kept give the terms of the live ones."""

    def terms(self, batch: kdlab.Batch, student: kdlab.Output) -> dict[str, torch.Tensor]:
        """The terms, from what was kept."""
        found = super().terms(batch, student)
        pictures = PersistenceImage(size=SIZE)(batch.views["raw"])
        answers, self._answers = self._answers, None
        live = super().terms(batch._replace(views={**batch.views, "pi": pictures}), student)
        self._answers = answers
        assert torch.equal(found["kd"], live["kd"])
        apart = abs(float(found["similarity"].detach() / live["similarity"].detach()) - 1)
        assert apart <= 1e-5
        print(f"exact in this run: the logits' term bit for bit, the Gram matrices' to {apart:.0e}\n")
        return found


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    print(
        f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread, Python {platform.python_version()}"
    )
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "numpy", "numba")))
    print(f"{TRAIN} training windows 3 x 500, batches of {BATCH}, pictures {SIZE} x {SIZE}\n")
    x = windows(TRAIN * 9 // 6)
    only, both = data(x, ["raw"]), data(x, ["raw", "pi"])
    cache = kdlab.TeacherCache()
    exact = tpkd(cache)
    exact.__class__ = Exact
    begin = time.perf_counter()
    fit(exact, both, 1)
    built = time.perf_counter() - begin

    steps: dict[str, list[float]] = {"student": [], "plain": [], "cached": [], "live": []}
    module = tpkd(cache)
    for _ in range(2):
        steps["student"] += fit(kdlab.Supervised(net()), only, STEPS["student"]).whole
        steps["plain"] += plain(only, STEPS["student"])
        steps["cached"] += fit(module, both, STEPS["cached"]).whole
    steps["live"] = fit(tpkd(None), both, STEPS["live"]).whole
    waiting = fit(tpkd(None), data(x, ["raw", "pi"], workers=2), STEPS["live"])
    view = PersistenceImage(size=SIZE)
    pictures = [timed(view, x[i : i + BATCH]) for i in range(0, TRAIN, BATCH)]

    median = {name: statistics.median(times) for name, times in steps.items()}
    one = median["student"]
    drawing = statistics.median(pictures)
    share = sum(waiting.waits) / sum(waiting.whole)
    rows = [
        ("step of the student alone", f"{1e3 * one:.1f} ms", ""),
        ("TPKD, teachers asked in every step", f"{median['live'] / one:.2f}x", ""),
        ("TPKD, teachers asked once", f"{median['cached'] / one:.2f}x", verdict(median["cached"] / one, 1.25)),
        ("asking once, in steps of the student", f"{built / one:.0f}", f"{TRAIN} windows, exactness test included"),
        ("waiting for views, two workers", f"{100 * share:.1f} %", verdict(share, 0.1, "of a TPKD step")),
        (
            "pictures, no workers",
            f"{100 * drawing / (one + drawing):.1f} %",
            "of a student's step with them",
        ),
        (
            "fit against the plain loop",
            f"{median['student'] / median['plain']:.3f}x",
            verdict(one / median["plain"], 1.05),
        ),
    ]
    for name, value, note in rows:
        print(f"{name:40}{value:>12}   {note}")


def timed(view: PersistenceImage, x: np.ndarray) -> float:
    begin = time.perf_counter()
    view(x)
    return time.perf_counter() - begin


def verdict(value: float, most: float, what: str = "") -> str:
    goal = f"{100 * most:.0f} %" if most < 1 else f"{most}x"
    return f"{'met' if value <= most else 'MISSED'}: at most {goal} {what}".strip()


if __name__ == "__main__":
    main()
