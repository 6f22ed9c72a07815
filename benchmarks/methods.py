"""What a training step of each method costs, in steps with labels alone: ``python -m benchmarks.methods``.

Student and teachers are WRN16-1 on the same signals (6 x 100 samples, batches of 64), and the teachers run in every
step, so that the numbers compare methods and not nets. Every method is fitted by Lightning; a number is the lower
quartile of the processor time of its steps, over that of `Supervised` before and after it in the same process.
``--out docs/costs.csv`` writes the table that the pages of the methods read.
"""

from __future__ import annotations

import argparse
import csv
import inspect
import logging
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

import kdlab
from kdlab.data import ArrayDataModule
from kdlab.methods import Distillation, Distilled, Method, TeacherFree
from kdlab.nets import ReusedClassifier, WideResNet
from kdlab.views import Raw

CHANNELS, LENGTH, CLASSES, BATCH = 6, 100, 5, 64
#: further views of a method
VIEWS = {"CSKD": "raw/pair", "DDGSD": "raw/second"}


class Steps(pl.Callback):
    """Processor time of every step of a fit."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """Start."""
        self.start = time.process_time()

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop."""
        self.times.append(time.process_time() - self.start)


def net() -> WideResNet:
    """The student, and each teacher."""
    one = WideResNet(16, 1, in_channels=CHANNELS, num_classes=CLASSES)
    one.standardize.fill([0.0] * CHANNELS, [1.0] * CHANNELS)
    return one


def made(cls: type[Method]) -> tuple[Method, int]:
    """A method, and how many teachers it has."""
    torch.manual_seed(0)
    if not issubclass(cls, Distillation):
        return cls(net()), 0
    student = ReusedClassifier(net(), net()) if cls is kdlab.SimKD else net()
    objective = getattr(cls, "made_from", None)  # methods that are written by hand have none
    several = cls in (kdlab.AVER, kdlab.EBKD, kdlab.CAMKD, kdlab.AEKD)
    names = list(getattr(objective, "default_weights", None) or (["a", "b"] if several else ["a"]))  # of some alone
    return cls(student, {name: kdlab.Teacher(net=net(), view="raw") for name in names}, student_view="raw"), len(names)


def step(method: Method, epochs: int = 4) -> float:
    """Seconds of processor time of a step, lower quartile."""
    rng, count = np.random.default_rng(0), 8 * BATCH
    x, y = rng.normal(size=(count, CHANNELS, LENGTH)).astype("float32"), np.arange(count) % CLASSES
    people = np.arange(count) // BATCH
    extra = {VIEWS[name]: None} if (name := type(method).__name__) in VIEWS else {}
    apart: Any = {"val_subjects": [6], "test_subjects": [7]}
    data = ArrayDataModule(x, y, people, views={"raw": Raw(), **extra}, batch_size=BATCH, **apart)
    steps = Steps()
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    pl.Trainer(max_epochs=epochs, callbacks=[steps], limit_val_batches=0, enable_model_summary=False, **quiet).fit(
        method, data
    )
    return statistics.quantiles(steps.times[4:], n=4)[0]


def methods() -> dict[str, type[Method]]:
    """Name -> class of every method that trains a single net, but for the one that all are compared with."""
    found = {name: getattr(kdlab.methods, name) for name in vars(kdlab.methods)["__all__"]}
    apart = (Method, Distillation, Distilled, TeacherFree, kdlab.Supervised, kdlab.SAKDNTeacher)
    return {n: c for n, c in found.items() if inspect.isclass(c) and issubclass(c, Method) and c not in apart}


def main(words: list[str] | None = None) -> list[dict[str, str]]:
    """Measure, print, and write where ``--out`` names a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods", description="What a step of a method costs.")
    parser.add_argument("--out", type=Path, help="a CSV file, such as docs/costs.csv")
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="these methods alone")
    given = parser.parse_args(words)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("kdlab").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows, after = [], step(kdlab.Supervised(net()))
    for name, cls in methods().items():
        if given.only and name not in given.only:
            continue
        try:
            method, teachers = made(cls)
            own = step(method)
        except (kdlab.InputError, TypeError) as error:
            print(f"{name}: left out, {error}", file=sys.stderr)
            continue
        before, after = after, step(kdlab.Supervised(net()))
        objective: Any = method.objective
        adapters = sum(p.numel() for p in objective.adapters.parameters())
        row = {"method": name, "teachers": str(teachers), "step": f"{2 * own / (before + after):.2f}"}
        rows.append(row | {"adapters": str(adapters)})
        print(rows[-1], flush=True)
    if given.out:
        with given.out.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["method", "teachers", "step", "adapters"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return rows


if __name__ == "__main__":
    main()
