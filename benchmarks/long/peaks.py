"""Where the peak of a teacher falls under each schedule: ``python -m benchmarks.long.peaks FOLDER``.

Teachers of the lengths and with the `EarlyStoppedTeacher` of the shipped configs are trained with a cosine, with the
wearable papers' steps (early ones), with those that are usual on CIFAR (late ones), and with a constant learning rate,
and validated after every epoch. The peak is that of the callback: the lowest mean of three validation losses. Where it
is the last epoch, ESKD and full KD distil from the same weights. Test people are never read. What is done is kept in
the folder: the same command resumes.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

import kdlab
from benchmarks.long.selection import TASKS, fit
from kdlab.callbacks.peak import Peak
from kdlab.files import replacing, write_text
from kdlab.methods.schedules import PiecewiseLR
from kdlab.nets import WideResNet

#: shares of a fit at which the papers' learning rate falls, and to which share of the first one
EARLY = ((11 / 200, 0.2), (66 / 200, 0.02), (133 / 200, 0.002))
#: likewise; code szagoruyko/attention-transfer@893df54 cifar.py
LATE = ((60 / 200, 0.2), (120 / 200, 0.04), (160 / 200, 0.008))


@dataclass(frozen=True)
class Fit:
    """Length of a teacher's fit, and the first epoch that may be its peak."""

    epochs: int
    first: int


FITS = {
    "basic_motions": Fit(60, 10),
    "shoulder_watch": Fit(20, 5),
    "sp_sw_har": Fit(15, 3),
    "utd_mhad": Fit(40, 10),
}


def milestones(steps: tuple[tuple[float, float], ...], epochs: int) -> list[int]:
    """Epochs at which steps come in a fit of another length.

    >>> milestones(EARLY, 200), milestones(LATE, 15)
    ([11, 66, 133], [4, 9, 12])
    """
    return [max(1, round(share * epochs)) for share, _ in steps]


def schedules(epochs: int) -> dict[str, Callable[[Any], Any]]:
    """Name -> what makes the schedule."""

    def falling(steps: tuple[tuple[float, float], ...]) -> Callable[[Any], Any]:
        return lambda optimizer: PiecewiseLR(optimizer, milestones(steps, epochs), [factor for _, factor in steps])

    return {
        "cosine": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
        "early steps": falling(EARLY),
        "late steps": falling(LATE),
        "constant": lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0),
    }


def run(name: str, folder: Path, split: int, epochs: int, depth: int, width: int) -> None:
    """The teachers of one split, those that are done left out."""
    task = TASKS[name]
    data = task.data(split, split)
    data.setup("fit")
    for schedule, make in schedules(epochs).items():
        file = folder / f"split{split}-{schedule.replace(' ', '-')}.npz"
        if file.is_file():
            continue
        begin = time.perf_counter()
        pl.seed_everything(split, verbose=False)
        net = WideResNet(depth, width, in_channels=task.channels[0], num_classes=task.classes)
        kept = fit(kdlab.Supervised(net, view="raw", scheduler=make), data, epochs, split)
        probabilities, target = kept["epochs"].astype(np.float64), kept["target"]
        own = np.take_along_axis(probabilities, target[None, :, None], 2)[..., 0]
        loss = -np.log(np.clip(own, 1e-12, None)).mean(1)
        accuracy = (probabilities.argmax(2) == target).mean(1)
        with replacing(file) as part, part.open("wb") as out:
            np.savez_compressed(out, loss=loss, accuracy=accuracy)
        print(f"{name} split {split} {schedule}: {time.perf_counter() - begin:.0f} s", flush=True)


def peak_of(loss: Any, first: int) -> int:
    """The epoch that the callback keeps.

    >>> peak_of([3.0, 1.0, 1.0, 1.0, 2.0, 2.0], 0)
    3
    """
    peak = Peak(maximise=False, min_delta=0.0, min_epochs=first, smoothing=3)
    for epoch, value in enumerate(loss):
        peak.add(epoch, float(value))
    return peak.epoch


def table(name: str, folder: Path) -> str:
    """Where the peaks fall, and what peak and last epoch reach on the validation people."""
    lines = [
        "| schedule | fits | mean peak, of the epochs | peak is last | peak | last | loss at peak | loss at last |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for schedule in schedules(1):
        rows = []
        for file in sorted(folder.glob(f"split*-{schedule.replace(' ', '-')}.npz")):
            with np.load(file) as kept:
                loss, accuracy = kept["loss"], kept["accuracy"]
            peak = peak_of(loss, min(FITS[name].first, len(loss) - 1))
            ends = (accuracy[peak], accuracy[-1], loss[peak], loss[-1])
            rows.append((peak + 1, peak == len(loss) - 1, len(loss), *ends))
        if rows:
            peak_epoch, same, epochs, best, last, low, end = np.array(rows, dtype=float).T
            lines.append(
                f"| {schedule} | {len(rows)} | {peak_epoch.mean():.1f} of {epochs.mean():.0f} | {same.sum():.0f} | "
                f"{100 * best.mean():.1f} | {100 * last.mean():.1f} | {low.mean():.3f} | {end.mean():.3f} |"
            )
    return "\n".join(lines)


def main(words: list[str] | None = None) -> None:
    """Run what is missing, and write ``peaks.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long.peaks", description=__doc__)
    parser.add_argument("folder", type=Path, help="where curves and the tables are kept")
    parser.add_argument("--set", nargs="+", choices=FITS, default=list(FITS), help="data sets")
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--epochs", type=int, help="of every fit, in place of the set's own")
    parser.add_argument("--depth", type=int, default=16, help="of the WideResNets")
    parser.add_argument("--width", type=int, default=3, help="of the WideResNets")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no split after so long")
    given = parser.parse_args(words)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    begin = time.monotonic()
    for split in range(given.splits):
        for name in given.set:
            if time.monotonic() - begin < given.seconds:
                (given.folder / name).mkdir(parents=True, exist_ok=True)
                epochs = given.epochs or FITS[name].epochs
                run(name, given.folder / name, split, epochs, given.depth, given.width)
    parts = [f"## {name}\n\n{table(name, given.folder / name)}" for name in given.set]
    write_text(given.folder / "peaks.md", "\n\n".join(parts) + "\n")
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
