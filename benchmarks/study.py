"""What a study costs beside the steps of its fits: ``python -m benchmarks.study [--seeds 1 --epochs 3]``.

SP-SW-HAR, the first of five subject groups as test: two teachers (WRN16-3 on the raw signal of phone and watch, and
WRN16-1 on their persistence images), and nine ways to train a WRN16-1 on the watch, with three seeds of twelve epochs
each, in one process with one thread. The recordings are those of ``KDLAB_DATA``.

Inside is what training needs: forward and backward pass, optimiser, the views and augmentation of the training
windows, and the forward passes of one validation an epoch. Outside is all else: imports, configs, reading, views that
are computed once, filling of the teachers' cache, logging, checkpoints, evaluation. The time is the processor time of
the process and its children. Logging in a step is outside, too: what is collected of a step, and what is written. The
table also shows where the time outside goes. The line at the end is inside over all.

``--source FOLDER`` measures another version of kdlab, whose package lies in that folder, with the same script.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

WATCH = [f"watch_{sensor}_{axis}" for sensor in ("acc", "gyro") for axis in "xyz"]
TEST = ["11", "13", "2", "3", "6"]
SPENT: dict[str, float] = {}


def seconds() -> float:
    """Processor time of this process and of its children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def wide(depth: int, width: int, channels: int, ndim: int = 1) -> dict[str, Any]:
    """A wide residual net of five classes."""
    arguments = {"depth": depth, "width": width, "in_channels": channels, "num_classes": 5, "ndim": ndim}
    return {"class_path": "WideResNet", "init_args": arguments}


VIEWS: dict[str, Any] = {
    "raw": "Raw",
    "watch": {"class_path": "Raw", "init_args": {"channels": WATCH}},
    "pi": {"class_path": "PersistenceImage", "init_args": {"size": 32}},
}


def config(kind: str, epochs: int, views: list[str], **arguments: Any) -> dict[str, Any]:
    """The config of a run."""
    sgd = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}}
    cosine = {"class_path": "torch.optim.lr_scheduler.CosineAnnealingLR", "init_args": {"T_max": epochs}}
    recordings = Path(os.environ.get("KDLAB_DATA", "."), "sp_sw_har_original.tar.xz")
    data = {"root": str(recordings), "val_fraction": 0.25, "views": {name: VIEWS[name] for name in views}}
    trainer: dict[str, Any] = {"max_epochs": epochs, "accelerator": "cpu", "log_every_n_steps": 10}
    return {
        "trainer": {**trainer, "enable_progress_bar": False, "enable_model_summary": False},
        "data": {"class_path": "SPSWHAR", "init_args": data},
        "model": {"class_path": kind, "init_args": {"optimizer": sgd, "scheduler": cosine, **arguments}},
    }


def student(kind: str, epochs: int, teachers: tuple[str, ...] = ("raw",), **arguments: Any) -> dict[str, Any]:
    """The config of a student on the watch; the study names its teachers."""
    named = {name: {"checkpoint": "of the study"} for name in teachers}
    return config(
        kind,
        epochs,
        ["watch", *teachers],
        student=wide(16, 1, 6),
        student_view="watch",
        teachers=named,
        cache={"budget": "2GiB"},
        **arguments,
    )


def write_study(folder: Path, seeds: int, epochs: int) -> Path:
    """Write the study and its configs."""
    alone = config("Supervised", epochs, ["watch"], net=wide(16, 1, 6), view="watch")
    configs = {
        "teacher_raw": config("Supervised", epochs, ["raw"], net=wide(16, 3, 12), view="raw"),
        "teacher_pi": config("Supervised", epochs, ["pi"], net=wide(16, 1, 12, ndim=2), view="pi"),
        "scratch": alone,
        "scratch_long": alone,
        "tf_kd": {**alone, "model": {**alone["model"], "class_path": "TFKDVirtual"}},
        "kd": student("KD", epochs),
        "at": student("AT", epochs),
        "dist": student("DIST", epochs),
        "amd": student("AMD", epochs),
        "aver": student("AVER", epochs, ("raw", "pi")),
        "tpkd": student("TPKD", epochs, ("raw", "pi"), similarity_weight=20.0),
    }
    for name, content in configs.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    one, both = {"raw": "teacher_raw"}, {"raw": "teacher_raw", "pi": "teacher_pi"}
    study = {
        "study": "sp_sw_har/cost",
        "seeds": seeds,
        "folds": [TEST],
        "teachers": {name: {"config": f"{name}.yaml", "one_per": "fold"} for name in ("teacher_raw", "teacher_pi")},
        "scratch": {
            "scratch": {"config": "scratch.yaml"},
            "scratch_long": {"config": "scratch_long.yaml", "init": "scratch"},
            "tf_kd": {"config": "tf_kd.yaml"},
        },
        "students": {
            **{name: {"config": f"{name}.yaml", "teachers": one} for name in ("kd", "at", "dist", "amd")},
            "aver": {"config": "aver.yaml", "teachers": both},
            "tpkd": {"config": "tpkd.yaml", "teachers": both, "init": "scratch"},
        },
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    return path


# ---------------------------------------------------------------------- what is measured
def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose processor time is added up under a name; what it calls of the others is not counted twice."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        begin, before = time.process_time(), sum(SPENT.values())
        try:
            return function(*args, **kwargs)
        finally:
            nested = sum(SPENT.values()) - before
            SPENT[name] = SPENT.get(name, 0.0) + time.process_time() - begin - nested

    return wrapper


#: the loops that run: "fit", and within it "evaluation"
LOOPS: list[str] = []


def within(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The method of a loop, which is known to run."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        LOOPS.append(name)
        try:
            return function(*args, **kwargs)
        finally:
            LOOPS.pop()

    return wrapper


def where(loops: list[str], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """As `timed`, while these loops run; not the sanity check of a fit, nor the evaluation after it."""
    measured = timed(name, function)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return (measured if loops == LOOPS else function)(*args, **kwargs)

    return wrapper


#: what is inside
INSIDE = ("steps", "views", "validation")
#: name of what is outside -> the functions whose time it is, without that of others in this list
OUTSIDE: dict[str, list[str]] = {
    "parsing": [
        "lightning.pytorch.cli:LightningCLI.setup_parser",
        "kdlab.lightning_cli:KdlabCLI.parse_arguments",
        "lightning.pytorch.cli:LightningCLI._dump_config",
        "lightning.pytorch.cli:SaveConfigCallback.setup",
    ],
    "making objects": ["kdlab.lightning_cli:KdlabCLI.instantiate_classes"],
    "reading": ["kdlab.data.spswhar:SPSWHAR.load"],
    "data": ["kdlab.data.base:WindowDataModule._prepare", "kdlab.study.windows:fingerprint"],
    "before the fit": ["kdlab.lightning_cli:KdlabCLI._check", "kdlab.methods.preparation:Preparation.setup"],
    "sanity check": ["lightning.pytorch:Trainer._run_sanity_check"],
    "teacher cache": ["kdlab.methods.distillation:cached_outputs"],
    "teacher scores": ["kdlab.methods.distillation:validation_scores"],
    "loops": ["lightning.pytorch:Trainer.fit"],
    "logging": [
        "lightning.pytorch:LightningModule.log_dict",
        "kdlab.methods.step_values:StepValues.see",
        "kdlab.methods.step_values:StepValues.step",
        "kdlab.methods.step_values:StepValues.epoch",
        "kdlab.methods.epoch_means:EpochMeans.add",
        "kdlab.methods.epoch_means:EpochMeans.read",
        "lightning.pytorch.loggers:CSVLogger.log_metrics",
        "lightning.pytorch.loggers:CSVLogger.save",
    ],
    "checkpoints": [
        "kdlab.run_checkpoints:RunCheckpoint._save_checkpoint",
        "kdlab.run_checkpoints:write_all",
        "kdlab.methods.checkpoints:read_checkpoint",
        "kdlab.study.job:read_checkpoint",
        "kdlab.lightning_cli:read_checkpoint",
        "kdlab.methods.preparation:read_checkpoint",
        "kdlab.methods.teacher:read_checkpoint",
    ],
    "validation after": ["lightning.pytorch:Trainer.validate"],
    "evaluation": ["kdlab.study.job:evaluate"],
    "results": ["kdlab.study.job:run_job"],
    "tables": ["kdlab.study.command:write"],
}

Wrapped = tuple[Any, str, Callable[[Callable[..., Any]], Callable[..., Any]]]


def outside() -> Iterator[Wrapped]:
    """The functions of `OUTSIDE`, as far as this version of kdlab has them."""
    for name, places in OUTSIDE.items():
        for place in places:
            module, _, attribute = place.partition(":")
            owner: Any = importlib.import_module(module)
            *path, last = attribute.split(".")
            for part in path:
                owner = getattr(owner, part)
            if hasattr(owner, last):
                yield owner, last, functools.partial(timed, name)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Within the block the times of steps, views and validation of every fit, and of all outside, are added up."""
    from lightning.pytorch.loops import _EvaluationLoop, _FitLoop
    from lightning.pytorch.loops.fetchers import _PrefetchDataFetcher
    from lightning.pytorch.loops.optimization.automatic import _AutomaticOptimization
    from lightning.pytorch.strategies import Strategy

    fit, evaluation = ["fit"], ["fit", "evaluation"]
    wrapped: list[Wrapped] = [
        (_FitLoop, "run", functools.partial(within, "fit")),
        (_EvaluationLoop, "run", functools.partial(within, "evaluation")),
        (_AutomaticOptimization, "run", functools.partial(where, fit, "steps")),
        (_PrefetchDataFetcher, "__next__", functools.partial(where, fit, "views")),
        (Strategy, "validation_step", functools.partial(where, evaluation, "validation")),
        *outside(),
    ]
    before = [(owner, name, vars(owner).get(name)) for owner, name, _ in wrapped]
    for owner, name, wrap in wrapped:
        setattr(owner, name, wrap(getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, real in before:
            if real is None:  # inherited
                delattr(owner, name)
            else:
                setattr(owner, name, real)


def main(words: list[str] | None = None) -> float:
    """The command; the share that is inside."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--source", help="folder of another version of kdlab")
    given = parser.parse_args(words)
    if given.source:
        sys.path.insert(0, given.source)
    SPENT.clear()
    begin = seconds()
    imported = time.process_time() if words is None else 0.0  # of the interpreter and what it loaded before
    with tempfile.TemporaryDirectory() as folder:
        share = measure(Path(folder), given.seeds, given.epochs, begin - imported)
    return share


def measure(folder: Path, seeds: int, epochs: int, begin: float) -> float:
    """Run the study in this process, and print where the time went."""
    study = write_study(folder, seeds, epochs)
    import torch

    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from kdlab import __file__ as package
    from kdlab import cli
    from kdlab.study.command import main as run_study

    SPENT["imports"] = seconds() - begin
    try:
        with watched():
            run_study([str(study), "--root", str(folder / "runs")], cli.run, cli.check)
    finally:  # also of a study that is ended
        share = print_shares(f"{Path(package).parent}: {seeds} seeds, {epochs} epochs", seconds() - begin)
    return share


def print_shares(title: str, whole: float) -> float:
    """Print where the time went; the share that is inside."""
    spent = {name: SPENT.get(name, 0.0) for name in (*INSIDE, "imports", *OUTSIDE)}
    spent["other"] = whole - sum(spent.values())
    inside = sum(spent[name] for name in INSIDE)
    print(f"\n{title}; seconds of processor time")
    for name, part in spent.items():
        print(f"  {'inside' if name in INSIDE else 'outside':8} {name:16} {part:9.1f}  {part / whole:5.1%}")
    print(f"  {'':8} {'all':16} {whole:9.1f}")
    print(f"inside over all: {inside / whole:.3f}")
    return inside / whole


if __name__ == "__main__":
    main()
