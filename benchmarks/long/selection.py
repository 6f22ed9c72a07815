"""Which epoch to keep: every rule on validation people alone, ``python -m benchmarks.long.selection FOLDER``.

One fit per row (a teacher, a student alone, a student distilled from the teacher), split and seed. It keeps the
predictions of every epoch, and those of the weights averaged over the last fifth of the epochs, on all validation
windows. The validation people are then halved: a rule chooses the epoch on one half, and the accuracy of what it chose
is measured on the other, and the reverse. Test people are never read. What is done is kept in the folder: the same
command resumes.

BasicMotions has no people: there the recordings are halved.
"""

from __future__ import annotations

import argparse
import copy
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray

import kdlab
from kdlab.callbacks.epoch_averaging import refresh_statistics
from kdlab.data import SPSWHAR, UTDMHAD, BasicMotions, ShoulderWatch, WindowDataModule
from kdlab.files import replacing, write_text
from kdlab.methods.dry_run import evaluating
from kdlab.nets import Backbone, WideResNet
from kdlab.views import Raw

ROWS = ("teacher", "scratch", "kd")
AVERAGED, SMOOTHED = 0.8, 3
WATCH = tuple(f"watch_{kind}_{axis}" for kind in ("acc", "gyro") for axis in "xyz")
GYROSCOPE = tuple(f"gyroscope_{axis}" for axis in "xyz")


@dataclass(frozen=True)
class Task:
    """A data set: its split, the channels of teacher and student, and the length of a fit."""

    data: Callable[[int, int], WindowDataModule]
    classes: int
    channels: tuple[int, int]
    epochs: int


def _sp_sw_har(split: int, seed: int) -> WindowDataModule:
    root = Path(os.environ["KDLAB_DATA"]) / "sp_sw_har_original.tar.xz"
    views = {"raw": Raw(), "student": Raw(channels=WATCH)}
    return SPSWHAR(root, views=views, val_fraction=0.4, split_seed=split, seed=seed)


def _shoulder_watch(split: int, seed: int) -> WindowDataModule:
    views = {"raw": Raw(), "student": Raw(channels=GYROSCOPE)}
    return ShoulderWatch(views=views, val_fraction=0.5, split_seed=split, seed=seed)


def _basic_motions(split: int, seed: int) -> WindowDataModule:
    views = {"raw": Raw(), "student": Raw(channels=GYROSCOPE)}
    return BasicMotions(views=views, val_fraction=0.6, split_seed=split, seed=seed)


def _utd_mhad(split: int, seed: int) -> WindowDataModule:
    root = Path(os.environ["KDLAB_DATA"]) / "utd_mhad_original.tar.xz"
    views = {"raw": Raw(source="both"), "student": Raw(source="inertial")}
    return UTDMHAD(
        root, skeleton_origin="start", views=views, val_fraction=0.5, split_seed=split, batch_size=16, seed=seed
    )


TASKS = {
    "basic_motions": Task(_basic_motions, 4, (6, 3), 100),
    "shoulder_watch": Task(_shoulder_watch, 7, (6, 3), 40),
    "sp_sw_har": Task(_sp_sw_har, 5, (12, 6), 24),
    "utd_mhad": Task(_utd_mhad, 27, (66, 6), 40),
}


# ---------------------------------------------------------------------- fits
class Record(pl.Callback):
    """Keeps the class probabilities of the validation windows after every epoch, and those of averaged weights."""

    def __init__(self, data: WindowDataModule) -> None:
        self.data = data
        self.probabilities: list[NDArray[np.float32]] = []
        self._mean: dict[str, torch.Tensor] = {}
        self._count = 0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After an epoch."""
        net, view = _net(pl_module)
        self.probabilities.append(predict(net, view, self.data))
        if trainer.current_epoch >= int(AVERAGED * (trainer.max_epochs or 1)):
            self._count += 1
            for name, value in net.named_parameters():
                mean = self._mean.setdefault(name, torch.zeros_like(value))
                mean += (value.detach() - mean) / self._count

    def averaged(self, pl_module: pl.LightningModule) -> NDArray[np.float32]:
        """Probabilities of the mean of the weights, with batch statistics of its own."""
        net, view = _net(pl_module)
        average = copy.deepcopy(net)
        average.load_state_dict(self._mean, strict=False)
        refresh_statistics(average, self.data.batches("train", views=[view]), view)
        return predict(average, view, self.data)


def _net(module: Any) -> tuple[Backbone, str]:
    return module.net, module.view


@torch.no_grad()
def predict(net: Backbone, view: str, data: WindowDataModule) -> NDArray[np.float32]:
    """Class probabilities of the validation windows, (N, K)."""
    with evaluating(net):
        parts = [net(batch.views[view]).logits.float().softmax(1) for batch in data.batches("val", views=[view])]
    found: NDArray[np.float32] = torch.cat(parts).numpy()
    return found


def fit(method: Any, data: WindowDataModule, epochs: int, seed: int) -> dict[str, NDArray[Any]]:
    """Train, and return what is kept of the fit."""
    record = Record(data)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[record],
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(method, data)
    index = np.concatenate([batch.index.numpy() for batch in data.batches("val", views=["raw"])])
    target = np.concatenate([batch.target.numpy() for batch in data.batches("val", views=["raw"])])
    groups = np.array([str(one) for one in data.subject_of(index.tolist())])
    if set(groups) <= {"", "None"}:
        groups = index.astype(str)
    return {
        "epochs": np.stack(record.probabilities),
        "averaged": record.averaged(method),
        "target": target,
        "people": groups,
    }


def cosine(epochs: int) -> Callable[[Any], Any]:
    """Makes a cosine over all epochs."""
    return lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)


def run(task: Task, folder: Path, split: int, seed: int, epochs: int, depth: int = 16) -> None:
    """All rows of a split and a seed, those that are done left out."""
    data = task.data(split, seed)
    data.setup("fit")
    teacher_file = folder / f"split{split}-seed{seed}-teacher.pt"
    for row in ROWS:
        file = folder / f"split{split}-seed{seed}-{row}.npz"
        if file.is_file():
            continue
        begin = time.perf_counter()
        pl.seed_everything(seed, verbose=False)
        channels = task.channels[row != "teacher"]
        net = WideResNet(depth, 1, in_channels=channels, num_classes=task.classes)
        if row == "kd":
            teacher = WideResNet(depth, 1, in_channels=task.channels[0], num_classes=task.classes)
            teacher.load_state_dict(torch.load(teacher_file, weights_only=True))
            teachers = {"raw": kdlab.Teacher(net=teacher, view="raw")}
            method: Any = kdlab.KD(net, teachers, student_view="student", scheduler=cosine(epochs))
        else:
            view = "raw" if row == "teacher" else "student"
            method = kdlab.Supervised(net, view=view, scheduler=cosine(epochs))
        kept = fit(method, data, epochs, seed)
        if row == "teacher":
            with replacing(teacher_file) as part, part.open("wb") as out:
                torch.save(method.net.state_dict(), out)
        with replacing(file) as part, part.open("wb") as out:
            np.savez_compressed(out, **kept)
        print(f"{folder.name} split {split} seed {seed} {row}: {time.perf_counter() - begin:.0f} s", flush=True)


# ---------------------------------------------------------------------- rules
def trailing_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """The mean of each value and the ``window - 1`` before it, of fewer at the beginning.

    >>> trailing_mean(np.array([1.0, 3.0, 5.0, 7.0]), 3).tolist()
    [1.0, 2.0, 3.0, 5.0]
    """
    return np.array([values[max(0, i + 1 - window) : i + 1].mean() for i in range(len(values))])


#: rule -> the epoch that it keeps, from losses and accuracies of the epochs; the first of equal ones
RULES: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], int]] = {
    "loss": lambda loss, accuracy: int(loss.argmin()),
    "accuracy": lambda loss, accuracy: int(accuracy.argmax()),
    "smoothed loss": lambda loss, accuracy: int(trailing_mean(loss, SMOOTHED).argmin()),
    "smoothed accuracy": lambda loss, accuracy: int(trailing_mean(accuracy, SMOOTHED).argmax()),
    "last": lambda loss, accuracy: len(loss) - 1,
}


def halves(people: NDArray[Any], target: NDArray[Any]) -> NDArray[np.bool_]:
    """Which windows belong to the first half: people in the order of their names, alternately, each class on its own
    where every group has one class."""
    classes = {who: sorted(set(target[people == who].tolist())) for who in sorted(set(people.tolist()))}
    order = sorted(classes, key=lambda who: (classes[who] if len(classes[who]) == 1 else [], who))
    first = set(order[::2])
    return np.array([who in first for who in people.tolist()])


def measure(kept: Any) -> dict[str, tuple[float, float]]:
    """Rule -> accuracy on the people that it did not see, and the epoch that it kept, both means of the two halves."""
    probabilities, target = kept["epochs"].astype(np.float64), kept["target"]
    right = probabilities.argmax(2) == target
    loss = -np.log(np.clip(np.take_along_axis(probabilities, target[None, :, None], 2)[..., 0], 1e-12, None))
    averaged = kept["averaged"].argmax(1) == target
    first = halves(kept["people"], target)
    found: dict[str, list[tuple[float, float]]] = {}
    for chosen, measured in ((first, ~first), (~first, first)):
        for rule, choose in RULES.items():
            epoch = choose(loss[:, chosen].mean(1), right[:, chosen].mean(1))
            found.setdefault(rule, []).append((float(right[epoch][measured].mean()), float(epoch)))
        found.setdefault("averaged", []).append((float(averaged[measured].mean()), float(len(right) - 1)))
    return {rule: (float(np.mean([a for a, _ in v])), float(np.mean([e for _, e in v]))) for rule, v in found.items()}


def table(folder: Path) -> str:
    """The figures of a data set: mean accuracy of each rule, and its difference to the lowest loss."""
    lines = [
        "| row | fits | rule | accuracy | minus loss | standard error over splits | better / worse | mean epoch |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    by_row = {row: dict(_measured(folder, row)) for row in ROWS}
    by_row["all rows"] = {f"{row}/{name}": one for row, found in by_row.items() for name, one in found.items()}
    for row, found in by_row.items():
        for rule in (*RULES, "averaged") if found else ():
            accuracy = np.array([one[rule][0] for one in found.values()])
            gain = np.array([one[rule][0] - one["loss"][0] for one in found.values()])
            splits: dict[str, list[float]] = {}
            for name, value in zip(found, gain.tolist(), strict=True):
                splits.setdefault(name.rpartition("/")[2].partition("-")[0], []).append(value)
            means = np.array([np.mean(values) for values in splits.values()])
            error = f"{100 * means.std(ddof=1) / np.sqrt(len(means)):.2f}" if len(means) > 1 else "-"
            epoch = np.mean([one[rule][1] for one in found.values()])
            lines.append(
                f"| {row} | {len(found)} | {rule} | {100 * accuracy.mean():.2f} | {100 * gain.mean():+.2f} | {error} | "
                f"{(gain > 0).sum()} / {(gain < 0).sum()} | {epoch:.1f} |"
            )
    return "\n".join(lines)


def _measured(folder: Path, row: str) -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
    for file in sorted(folder.glob(f"split*-{row}.npz")):
        with np.load(file) as kept:
            yield file.stem, measure(kept)


def main(words: list[str] | None = None) -> None:
    """Run what is missing, and write ``selection.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long.selection", description=__doc__)
    parser.add_argument("folder", type=Path, help="where predictions and the tables are kept")
    parser.add_argument("--set", nargs="+", choices=TASKS, default=list(TASKS), help="data sets")
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, help="of every fit, in place of the set's own")
    parser.add_argument("--depth", type=int, default=16, help="of the WideResNets")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no split and seed after so long")
    given = parser.parse_args(words)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    begin, parts = time.monotonic(), []
    for split in range(given.splits):
        for seed in range(given.seeds):
            for name in given.set:
                if time.monotonic() - begin < given.seconds:
                    (given.folder / name).mkdir(parents=True, exist_ok=True)
                    run(TASKS[name], given.folder / name, split, seed, given.epochs or TASKS[name].epochs, given.depth)
    for name in given.set:
        parts.append(f"## {name}\n\n{table(given.folder / name)}")
    write_text(given.folder / "selection.md", "\n\n".join(parts) + "\n")
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
