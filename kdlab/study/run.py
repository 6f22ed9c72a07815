"""How the jobs of a study are run: one after the other or in several processes, each kept as soon as it is done."""

from __future__ import annotations

import contextlib
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
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml

from kdlab import __file__ as _package
from kdlab.data import WindowDataModule
from kdlab.evaluate import evaluate
from kdlab.files import one_line, write_text
from kdlab.methods.checkpoints import KEPT_FILES, KEY, find_checkpoint, read_checkpoint
from kdlab.study import ends
from kdlab.study.locks import alone
from kdlab.study.loggers import close, held_open, listed, log_scores
from kdlab.study.plan import Job, Jobs, ready
from kdlab.study.results import Survey, check_checkpoint, clean, finished_checkpoint, identity, read_row, survey
from kdlab.study.windows import share
from kdlab.types import InputError

GRACE = 10.0  # seconds that a worker has to end its job in, before it is killed


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

    A fit that came to its end earlier is not repeated, unless its checkpoint is damaged; one that was cut off begins
    again.

    Raises:
        InputError: another process is at this job, or what its command line raises.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    with alone(job.folder / "lock", str(job.folder), "job"):
        with contextlib.suppress(InputError):  # damaged: it is measured again
            row = read_row(job)
            if row is not None:
                return row
        clean(job.folder)
        job.result.unlink(missing_ok=True)
        row = _run_job(job, runner)
        write_text(job.result, json.dumps(row, indent=1))
        (job.folder / "error.txt").unlink(missing_ok=True)
    return row


def _run_job(job: Job, runner: Runner) -> dict[str, Any]:
    begin = time.perf_counter()
    config = job.folder / "job.yaml"
    write_text(config, yaml.safe_dump(job.config, sort_keys=False))
    prepare = functools.partial(share, config=job.config)
    with held_open():
        line = runner(_words(job, config), prepare)
    with _loggers(line) as trainer:
        path = find_checkpoint(job.folder, KEPT_FILES)
        row = {**identity(job), "sources": sources(), **_measure(line, path, job.folder)}
        log_scores(trainer, row, read_checkpoint(path)[KEY])
    return {**row, "seconds": round(time.perf_counter() - begin, 1)}


@contextmanager
def _loggers(line: Line) -> Iterator[Any]:
    """The trainer of a finished command line; its loggers' runs end with the block."""
    try:
        yield line.trainer
    except BaseException:
        close(line.trainer, failed=True)
        raise
    close(line.trainer)


def _words(job: Job, config: Path) -> list[str]:
    """Fit, or take up the finished fit of a job that was cut off after it."""
    try:
        finished = finished_checkpoint(job)
        if finished is not None and (last := finished.with_name("last.ckpt")).is_file():
            check_checkpoint(last, job.name)
    except InputError:
        finished = None  # damaged: it is trained again
    if finished is None:
        return ["fit", "--config", str(config)]
    logs = listed((job.config.get("trainer") or {}).get("logger"))
    quiet = [] if logs else ["--trainer.logger=false"]
    return ["validate", "--config", str(config), "--ckpt_path", str(finished), "--verbose=false", *quiet]


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
    found: Survey | None = None,
) -> Outcome:
    """Run all jobs, each as soon as what it needs is done; a failure stops only what needs it.

    Args:
        jobs: in an order in which they can be run.
        runner: runs a command line; with several processes it must be importable.
        processes: how many run at a time; each gets a GPU of its own where there are several.
        report: told of every job that ends, with its row or the reason of its failure.
        found: what is done of them; it is looked for where it is not given.

    Raises:
        BaseException: a signal ended a job (see :func:`kdlab.study.ends.end_of`), which is not counted as failed; all
            processes have ended.
    """
    found = survey(jobs) if found is None else found
    outcome, done = Outcome(rows=list(found.rows.values())), set(found.rows)
    left = {name: job for name, job in jobs.items() if name not in done}
    one = processes == 1
    results = _in_this_process(left, done, runner) if one else _in_processes(left, done, runner, processes)
    with contextlib.closing(results):
        for job, row, error in results:
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


def _in_this_process(jobs: Jobs, done: set[str], runner: Runner) -> Generator[End, None, None]:
    """One after the other; jobs stand in an order in which they can be run."""
    failed: set[str] = set()
    for name, job in jobs.items():
        if failed.intersection(job.needs):
            failed.add(name)
            continue
        ends.check()
        row, error = attempt(job, runner)
        (failed if row is None else done).add(name)
        yield job, row, error
    ends.check()


def _in_processes(jobs: Jobs, done: set[str], runner: Runner, processes: int) -> Generator[End, None, None]:
    """Several at a time. Where a process is killed, what ran meanwhile is tried once more, in new processes."""
    begun: set[str] = set()
    tries: Counter[str] = Counter()
    while len(begun) < len(jobs):
        running: dict[Future[tuple[dict[str, Any] | None, str]], Job] = {}
        with _pool(processes) as pool:
            try:
                while True:
                    for job in list(ready(jobs, done, begun)):
                        with ends.deferred():
                            running[pool.submit(_attempt_in_worker, job, runner)] = job
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


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end with the block; at once, where it ends with an error or a signal."""
    context = multiprocessing.get_context("spawn")
    counter = context.Value("i", 0)
    pool = ProcessPoolExecutor(processes, context, _begin_worker, (counter, processes))
    try:
        yield pool
    except BaseException:
        _end_workers(list((getattr(pool, "_processes", None) or {}).values()))
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_workers(workers: Sequence[Any]) -> None:
    """Have workers end their jobs, and kill those that do not; a second signal kills them right away."""
    try:
        for worker in workers:
            worker.terminate()
        deadline = time.monotonic() + GRACE
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.kill()


def _begin_worker(counter: Any, processes: int) -> None:
    """A worker's share of the machine; it ends with the study, also where that was killed."""
    ends.end_worker_by_signals()
    parent = multiprocessing.parent_process()
    if parent is None or not parent.is_alive():  # the study was killed while this process started
        os._exit(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
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


def _attempt_in_worker(job: Job, runner: Runner) -> tuple[dict[str, Any] | None, str]:
    try:
        with ends.working():
            return attempt(job, runner)
    except BaseException as error:
        if (end := ends.end_of(error)) is not None:
            ends.leave(end)
        raise


def attempt(job: Job, runner: Runner) -> tuple[dict[str, Any] | None, str]:
    """Run a job; its row, or the reason of its failure, which is kept whole as ``error.txt``.

    Raises:
        BaseException: a signal ended it (see :func:`kdlab.study.ends.end_of`); the job is left for the next time.
    """
    quiet()
    try:
        return run_job(job, runner), ""
    except (SystemExit, KeyboardInterrupt, Exception) as error:
        if ends.end_of(error) is not None:
            raise
        ends.check()
        kept = _keep(job, traceback.format_exc())
        if isinstance(error, SystemExit):
            return None, f"the command line ended with {error.code}{kept}"
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        return None, f"{kind}{error}{kept}"


def _keep(job: Job, text: str) -> str:
    """Write down why a job failed; where that fails too, what to add to the reason."""
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        write_text(job.folder / "error.txt", text)
    except OSError as error:
        return f" (error.txt cannot be written: {one_line(error)})"
    return ""


def quiet() -> None:
    """Leave out what a study says once itself: devices, splits, advice on workers, the address of each logged run."""
    os.environ.setdefault("WANDB_SILENT", "true")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for text in ("does not have many workers", "log_every_n_steps", "LeafSpec", "Checkpoint directory", "The dirpath"):
        warnings.filterwarnings("ignore", f".*{text}.*")
