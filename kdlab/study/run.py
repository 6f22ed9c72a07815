"""How the jobs of a study are run: one after the other or in several processes, each kept as soon as it is done."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import multiprocessing
import os
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from lightning.pytorch.utilities.exceptions import SIGTERMException

from kdlab import __file__ as _package
from kdlab.data import WindowDataModule
from kdlab.evaluate import evaluate
from kdlab.methods.checkpoints import KEPT_FILES, KEY, find_checkpoint, read_checkpoint
from kdlab.study.plan import Job, Jobs, ready
from kdlab.study.windows import share
from kdlab.types import InputError, MissingFileError

try:
    import fcntl
except ModuleNotFoundError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]


class Line(Protocol):
    """A finished command line."""

    model: Any
    datamodule: Any
    trainer: Any


#: runs command-line words in this process; the data module is handed to ``prepare`` before it is set up
Runner = Callable[[Sequence[str], Callable[[WindowDataModule], None]], Line]


@dataclass
class Outcome:
    """What became of the jobs: the rows of those that are done, and why the others are not."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)


def run_job(job: Job, runner: Runner) -> dict[str, Any]:
    """Fit, choose on validation, read the test once, and keep the row as ``result.json``; a job that is done is read.

    A fit that came to its end earlier is not repeated; one that was cut off begins anew.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    with _alone(job):
        return _run_job(job, runner)


def _run_job(job: Job, runner: Runner) -> dict[str, Any]:
    if job.result.is_file():
        return dict(json.loads(job.result.read_text()))
    begin = time.perf_counter()
    config = job.folder / "job.yaml"
    config.write_text(yaml.safe_dump(job.config, sort_keys=False))
    prepare = functools.partial(share, config=job.config)
    line = runner([*_words(job), "--config", str(config)], prepare)
    path = find_checkpoint(job.folder, KEPT_FILES)
    row = {**_identity(job), **_measure(line, path, job.folder), "seconds": round(time.perf_counter() - begin, 1)}
    partial = job.result.with_suffix(f".part{os.getpid()}")
    partial.write_text(json.dumps(row, indent=1))
    partial.replace(job.result)
    (job.folder / "error.txt").unlink(missing_ok=True)
    return row


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    """Hold the job's lock, which ends with the process; two studies on one machine do not train the same job."""
    with (job.folder / "lock").open("w") as lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{job.folder}: another process is at this job. Wait for it, or end it.") from None
        yield


def _words(job: Job) -> list[str]:
    """Fit, or take up the finished fit of a job that was cut off after it."""
    try:
        finished = find_checkpoint(job.folder, KEPT_FILES)
    except MissingFileError:
        return ["fit"]
    return ["validate", "--ckpt_path", str(finished), "--trainer.logger=false"]


def _identity(job: Job) -> dict[str, Any]:
    return {
        "job": job.name,
        "run": job.run,
        "stage": job.stage,
        "labels": job.labels,
        "seed": job.seed,
        "fold": job.fold,
        "shared": job.shared,
        "key": job.key,
        "sources": sources(),
    }


def _measure(line: Line, path: Path, folder: Path) -> dict[str, Any]:
    """Everything that is read of a job, first of all with the weights that validation chose."""
    model, data, trainer = line.model, line.datamodule, line.trainer
    validated = trainer.validate(model, datamodule=data, ckpt_path=str(path), weights_only=True, verbose=False)[0]
    found = evaluate(model, data)
    found.save(folder)
    last = path.with_name("last.ckpt")
    final = _scores(model, data, last) if last.is_file() else {}
    return {
        "view": model.view,
        "best_epoch": read_checkpoint(path)[KEY]["provenance"]["epoch"],
        "test_windows": len(found.target),
        "test_subjects": sorted(set(found.subjects)),
        "val_accuracy": validated["val/accuracy"],
        "val_f1": validated["val/f1"],
        **{f"test_{name}": value for name, value in found.scalars.items() if name not in _COSTS},
        **{name: kind(found.scalars[name]) for name, kind in _COSTS.items()},
        **final,
        "reliability": _bins(found.reliability),
    }


def _bins(reliability: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """The bins as JSON keeps them: an empty one has no confidence and no accuracy."""
    return {name: [None if v != v else v for v in column.tolist()] for name, column in reliability.items()}


#: what an evaluation knows of a net, whatever it is tested on
_COSTS = {"parameters": int, "macs": int, "latency_ms": float, "view_ms": float}


def _scores(model: Any, data: WindowDataModule, path: Path) -> dict[str, float]:
    """Test accuracy of the last epoch, which nobody chose."""
    model.load_state_dict(read_checkpoint(path)["state_dict"], strict=False)
    found = evaluate(model, data, robustness=False, embedding=False, cost=False)
    return {"test_accuracy_last": found.scalars["accuracy"]}


@functools.cache
def sources() -> str:
    """A hash of the installed sources of kdlab; a study that mixes several says so."""
    root = Path(_package).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:10]


# ---------------------------------------------------------------------- many jobs
def run_jobs(
    jobs: Jobs,
    runner: Runner,
    *,
    processes: int = 1,
    report: Callable[[Job, dict[str, Any] | None, str], None] = lambda job, row, error: None,
) -> Outcome:
    """Run all jobs, each as soon as what it needs is done; a failure stops only what needs it.

    Args:
        jobs: in an order in which they can be run.
        runner: runs a command line; with several processes it must be importable.
        processes: how many run at a time; each gets a GPU of its own where there are several.
        report: told of every job that ends, with its row or the reason of its failure.
    """
    outcome, done = Outcome(), set[str]()
    left = dict(jobs)
    for name, job in jobs.items():
        if job.result.is_file():
            outcome.rows.append(run_job(job, runner))
            done.add(name)
            del left[name]
    ends = _in_this_process(left, done, runner) if processes == 1 else _in_processes(left, done, runner, processes)
    for job, row, error in ends:
        if row is None:
            outcome.failures[job.name] = error
        else:
            outcome.rows.append(row)
            outcome.ran.append(job.name)
        report(job, row, error)
    for name, job in left.items():
        if name not in outcome.failures and name not in outcome.ran:
            lost = [other for other in job.needs if other in outcome.failures]
            outcome.failures[name] = f"not run: it needs {', '.join(lost)}, which failed"
            report(job, None, outcome.failures[name])
    order = {name: i for i, name in enumerate(jobs)}
    outcome.rows.sort(key=lambda row: order[row["job"]])
    return outcome


End = tuple[Job, dict[str, Any] | None, str]


def _in_this_process(jobs: Jobs, done: set[str], runner: Runner) -> Iterator[End]:
    """One after the other; jobs stand in an order in which they can be run."""
    failed: set[str] = set()
    for name, job in jobs.items():
        if failed.intersection(job.needs):
            failed.add(name)
            continue
        row, error = attempt(job, runner)
        (failed if row is None else done).add(name)
        yield job, row, error


def _in_processes(jobs: Jobs, done: set[str], runner: Runner, processes: int) -> Iterator[End]:
    """Several at a time. Where a process is killed, what ran meanwhile is tried once more, in new processes."""
    begun: set[str] = set()
    tries: Counter[str] = Counter()
    while len(begun) < len(jobs):
        running: dict[Future[tuple[dict[str, Any] | None, str]], Job] = {}
        with _pool(processes) as pool:
            try:
                while True:
                    for job in list(ready(jobs, done, begun)):
                        running[pool.submit(attempt, job, runner)] = job
                        begun.add(job.name)
                        tries[job.name] += 1
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        row, error = future.result()
                        job = running.pop(future)
                        if row is not None:
                            done.add(job.name)
                        yield job, row, error
            except BrokenProcessPool:
                pass
        for job in running.values():
            if tries[job.name] > 1:
                yield job, None, "its process ended twice (killed, or out of memory)"
            else:
                begun.discard(job.name)


def _pool(processes: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    counter = context.Value("i", 0)
    return ProcessPoolExecutor(processes, context, _begin_worker, (counter, processes))


def _begin_worker(counter: Any, processes: int) -> None:
    """A worker's share of the machine; it ends with the study, also where that was killed."""
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    with counter.get_lock():
        number = counter.value
        counter.value += 1
    given = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    gpus = given or [str(gpu) for gpu in range(torch.cuda.device_count())]
    if len(gpus) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) // processes)))


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def attempt(job: Job, runner: Runner) -> tuple[dict[str, Any] | None, str]:
    """Run a job; its row, or the reason of its failure, which is kept whole as ``error.txt``."""
    quiet()
    try:
        return run_job(job, runner), ""
    except SIGTERMException:  # the study is asked to end, and the job is left for the next time
        raise
    except (SystemExit, Exception) as error:
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / "error.txt").write_text(traceback.format_exc())
        if isinstance(error, SystemExit):
            return None, f"the command line ended with {error.code}"
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        return None, f"{kind}{error}"


def quiet() -> None:
    """Leave out what a study says once itself: devices, splits, advice on workers."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for text in (".*does not have many workers.*", ".*log_every_n_steps.*", ".*LeafSpec.*", ".*Checkpoint directory.*"):
        warnings.filterwarnings("ignore", text)
