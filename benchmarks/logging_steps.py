"""What logging within the epoch costs: ``python -m benchmarks.logging_steps``.

A fit of WRN16-1 on windows 3 x 500 in batches of 64, with `kdlab.methods.step_values` as it is and with a stand-in that
collects nothing, as a ratio of steps per second; logged every 50 steps and in every step. All in one process, in turns;
a time is the median over steps, of the processor's time on a CPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers.logger import DummyLogger

import kdlab
from benchmarks.step import Setting, data, net, quiet, windows
from kdlab.methods import base
from kdlab.methods.step_values import StepValues


class Nothing(StepValues):
    """Collects and logs nothing."""

    def see(self, *_: Any) -> None:
        """A batch."""

    def step(self, *_: Any) -> None:
        """A step of the optimiser."""


class Times(pl.Callback):
    """The time of each step, from the end of one to the end of the next in one epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock, self.last = clock, 0.0
        self.steps: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A step ends."""
        now = self.clock()
        if batch_idx:
            self.steps.append(now - self.last)
        self.last = now


def steps_of(kind: type[StepValues], every: int, setting: Setting, datamodule: Any) -> list[float]:
    """Seconds of the steps of a fit."""
    on_gpu = setting.device == "cuda"
    times, kept, base.StepValues = Times(time.perf_counter if on_gpu else time.process_time), base.StepValues, kind
    try:
        trainer = pl.Trainer(
            max_steps=setting.student_steps,
            accelerator=setting.device,
            devices=1,
            logger=DummyLogger(),
            log_every_n_steps=every,
            callbacks=[times],
            limit_val_batches=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(kdlab.Supervised(net()), datamodule)
    finally:
        base.StepValues = kept
    return times.steps


def ratios(setting: Setting, rounds: int) -> dict[int, float]:
    """Steps per second with logging over those without, by the number of steps between two that are logged."""
    datamodule = data(setting, windows(setting.train * 9 // 6, length=setting.length), ["raw"])
    found = {}
    for every in (50, 1):
        seconds: dict[type[StepValues], list[float]] = {Nothing: [], StepValues: []}
        for _ in range(rounds):
            for kind, times in seconds.items():
                times += steps_of(kind, every, setting, datamodule)
        found[every] = statistics.median(seconds[Nothing]) / statistics.median(seconds[StepValues])
    return found


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(words)
    quiet()
    for every, ratio in ratios(Setting(given.device, student_steps=given.steps), given.rounds).items():
        print(f"logged every {every:2} steps: {ratio:.3f} of the steps per second without")


if __name__ == "__main__":
    main()
