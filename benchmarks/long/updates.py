"""How many updates a student needs, on scratch and validation people: ``python -m benchmarks.long.updates FOLDER``.

The student of a data set (no teacher) is trained with several numbers of updates, each with a cosine over all of them,
and its last epoch is measured on the validation people. The budget of a study is the smallest number that is within one
standard error (of the differences over splits) of the best one. Test people are never read. What is done is kept in the
folder: the same command resumes.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
from numpy.typing import NDArray

import kdlab
from benchmarks.long.selection import TASKS, cosine, fit
from kdlab.files import replacing, write_text
from kdlab.nets import WideResNet

LENGTHS = (100, 200, 400, 800, 1600)


def run(name: str, folder: Path, split: int, lengths: tuple[int, ...], depth: int) -> None:
    """The students of one split, those that are done left out."""
    task = TASKS[name]
    data = task.data(split, split)
    data.setup("fit")
    an_epoch = len(data.train_dataloader())
    for updates in lengths:
        file = folder / f"split{split}-{updates}.npz"
        if file.is_file():
            continue
        begin, epochs = time.perf_counter(), max(1, round(updates / an_epoch))
        pl.seed_everything(split, verbose=False)
        net = WideResNet(depth, 1, in_channels=task.channels[1], num_classes=task.classes)
        kept = fit(kdlab.Supervised(net, view="student", scheduler=cosine(epochs)), data, epochs, split)
        accuracy = (kept["epochs"][-1].argmax(1) == kept["target"]).mean()
        with replacing(file) as part, part.open("wb") as out:
            np.savez_compressed(out, accuracy=accuracy, updates=epochs * an_epoch)
        print(f"{name} split {split} {updates} updates: {time.perf_counter() - begin:.0f} s", flush=True)


def chosen(accuracy: NDArray[np.float64]) -> int:
    """The place of the smallest number of updates that is within one standard error of the best.

    Args:
        accuracy: of splits x numbers of updates, from the smallest number to the largest.

    >>> chosen(np.array([[0.5, 0.7, 0.71], [0.5, 0.72, 0.71]])), chosen(np.array([[0.5, 0.7], [0.6, 0.8]]))
    (1, 1)
    """
    best = int(accuracy.mean(0).argmax())
    lost = accuracy[:, [best]] - accuracy
    error = lost.std(0, ddof=1) / np.sqrt(len(lost)) if len(lost) > 1 else np.zeros(lost.shape[1])
    return int(np.flatnonzero(lost.mean(0) <= error)[0])


def table(folder: Path, lengths: tuple[int, ...]) -> str:
    """Accuracy of every number of updates on the validation people, and the choice."""
    splits = sorted({file.name.partition("-")[0] for file in folder.glob("split*.npz")})
    there = [s for s in splits if all((folder / f"{s}-{updates}.npz").is_file() for updates in lengths)]
    found = np.zeros((len(there), len(lengths)))
    for i, split in enumerate(there):
        for j, updates in enumerate(lengths):
            with np.load(folder / f"{split}-{updates}.npz") as kept:
                found[i, j] = kept["accuracy"]
    if not there:
        return "No split is complete."
    error = found.std(0, ddof=1) / np.sqrt(len(there)) if len(there) > 1 else np.full(len(lengths), np.nan)
    best = chosen(found) if len(there) > 1 else None
    rows = [
        f"| {updates} | {100 * mean:.1f} | {100 * one:.1f} | {'chosen' if j == best else ''} |"
        for j, (updates, mean, one) in enumerate(zip(lengths, found.mean(0), error, strict=True))
    ]
    head = f"| updates | accuracy, {len(there)} splits | standard error | |\n| ---: | ---: | ---: | --- |\n"
    return head + "\n".join(rows)


def main(words: list[str] | None = None) -> None:
    """Run what is missing, and write ``updates.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long.updates", description=__doc__)
    parser.add_argument("folder", type=Path, help="where accuracies and the tables are kept")
    parser.add_argument("--set", nargs="+", choices=TASKS, default=list(TASKS), help="data sets")
    parser.add_argument("--lengths", nargs="+", type=int, default=list(LENGTHS), help="numbers of updates")
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--depth", type=int, default=16, help="of the WideResNets")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no split after so long")
    given = parser.parse_args(words)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    begin, lengths = time.monotonic(), tuple(sorted(given.lengths))
    for split in range(given.splits):
        for name in given.set:
            if time.monotonic() - begin < given.seconds:
                (given.folder / name).mkdir(parents=True, exist_ok=True)
                run(name, given.folder / name, split, lengths, given.depth)
    parts = [f"## {name}\n\n{table(given.folder / name, lengths)}" for name in given.set]
    write_text(given.folder / "updates.md", "\n\n".join(parts) + "\n")
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
