"""One job of a study: fit, choose on validation, read the test once, keep the row."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from kdlab import __file__ as _package
from kdlab import reuse
from kdlab.data import WindowDataModule
from kdlab.evaluate import evaluate
from kdlab.files import one_line, read_json, write_text
from kdlab.methods.checkpoints import FINISHED, KEPT_FILES, KEY, find_checkpoint, read_checkpoint
from kdlab.methods.finite import DivergedError
from kdlab.quiet import quieted
from kdlab.remedies import is_out_of_memory
from kdlab.study import ends
from kdlab.study.chosen import chosen_by, spent
from kdlab.study.columns import BESIDE
from kdlab.study.cross_fit import left_out_row
from kdlab.study.cut import cut_checkpoint, timed
from kdlab.study.locks import alone
from kdlab.study.loggers import close, held_open, listed, log_scores
from kdlab.study.memory import NoMemory
from kdlab.study.people import counted, with_pseudonyms
from kdlab.study.plan import Job
from kdlab.study.progress import shown
from kdlab.study.results import check_checkpoint, clean, finished_checkpoint, identity, read_row
from kdlab.study.starved import UPDATES
from kdlab.study.threads import use
from kdlab.study.tuning.rows import diverged, drop_checkpoints, is_trial, validation_row
from kdlab.study.validated import Line, same_weights, validated
from kdlab.study.windows import check_unchanged, share
from kdlab.study.workers import beside
from kdlab.types import InputError

#: runs command-line words in this process; the data module is handed to ``prepare`` before it is set up
Runner = Callable[[Sequence[str], Callable[[WindowDataModule], None]], Line]


def run_job(job: Job, runner: Runner) -> dict[str, Any]:
    """Fit, choose on validation, read the test once, and keep the row as ``result.json``; a job that is done is read.

    A fit that came to its end earlier is not repeated, unless its checkpoint is damaged; one that was cut off begins
    again, or resumes where the job says so.

    Raises:
        InputError: another process runs this job, or what its command line raises.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    with alone(job.folder / "lock", str(job.folder), "job"):
        with contextlib.suppress(InputError):  # damaged: it is measured again
            row = read_row(job)
            if row is not None and not job.again:
                return row
        clean(job.folder)
        before = _seconds_before(job)
        if not job.again:
            job.result.unlink(missing_ok=True)
        row = _run_trial(job, runner) if is_trial(job) else _run_job(job, runner, before)
        write_text(job.result, json.dumps(row, indent=1))
        if is_trial(job):
            drop_checkpoints(job.folder)
        (job.folder / "error.txt").unlink(missing_ok=True)
    return row


def _run_trial(job: Job, runner: Runner) -> dict[str, Any]:
    """A fit that diverges is an outcome of a trial, too, and not tried again."""
    begin = time.perf_counter()
    try:
        return _run_job(job, runner, 0.0)
    except DivergedError as error:
        lost = diverged(one_line(error), round(time.perf_counter() - begin, 1))
        return {**identity(job), "sources": sources(), **lost}


def _seconds_before(job: Job) -> float:
    """Seconds of a job that is done, and that a study now measures more of."""
    with contextlib.suppress(InputError):
        row = read_json(job.result, job.name)
        seconds = row.get("seconds")
        if row.get("key") == job.key and isinstance(seconds, int | float) and 0 < seconds < math.inf:
            return float(seconds)
    return 0.0


def _run_job(job: Job, runner: Runner, before: float) -> dict[str, Any]:
    begin = time.perf_counter()
    config = job.folder / "job.yaml"
    write_text(config, yaml.safe_dump(job.config, sort_keys=False))
    prepare = functools.partial(_prepare, job=job)
    words = _words(job, config)
    with held_open(), shown(job.name), timed(job, "--ckpt_path" in words and words[0] == "fit") as cut:
        line = runner(words, prepare)
    with _loggers(line) as trainer:
        path = find_checkpoint(job.folder, KEPT_FILES)
        if job.trial:
            measured = validation_row(line, path)
        else:
            measured = with_pseudonyms(_measure(line, path, job), job.hashed_for)
            measured |= spent(job.updates, job.warm, path)
        row = {**identity(job), "sources": sources(), **measured}
        log_scores(trainer, row, read_checkpoint(path)[KEY])
    fitted = before if words[0] == "validate" else cut
    return {**row, "seconds": round(fitted + time.perf_counter() - begin, 1)}


def _prepare(datamodule: WindowDataModule, job: Job) -> None:
    """Hand over the windows; those of the test are closed to a job of a tuning.

    Raises:
        InputError: they are not those that the job was planned with.
    """
    share(datamodule, job.config)
    datamodule.setup()
    if (planned := job.digests.get("data")) is not None:
        check_unchanged(datamodule, job.config, planned, job.name)
    if job.trial:
        datamodule.close_test(f"{job.name} is part of a tuning, which reads training and validation windows alone.")


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
    """Fit, or take up the finished fit of a job that was cut off after it; a trial's curve is known only in its fit."""
    try:
        finished = None if is_trial(job) else finished_checkpoint(job)
        if finished is not None and (beside := finished.with_name("last.ckpt")).is_file():
            check_checkpoint(beside, job.name)
    except InputError:
        finished = None  # damaged: it is trained again
    if finished is None:
        last = cut_checkpoint(job) if job.resume else None
        return ["fit", "--config", str(config), *([] if last is None else ["--ckpt_path", str(last)])]
    logs = listed((job.config.get("trainer") or {}).get("logger"))
    quiet = [] if logs else ["--trainer.logger=false"]
    return ["validate", "--config", str(config), "--ckpt_path", str(finished), "--verbose=false", *quiet]


def _measure(line: Line, path: Path, job: Job) -> dict[str, Any]:
    """All measurements of a job; validation first, with the weights that it chose."""
    model, data = line.model, line.datamodule
    validation = validated(line, path)
    more = job.measure
    found = evaluate(
        *(model, data),
        robustness="robustness" in more,
        embedding="embeddings" in more,
        times="latency" in more,
    )
    found.save(job.folder)
    unseen = left_out_row(model, data)
    chosen, last = read_checkpoint(path), path.with_name("last.ckpt")
    final = _last_scores(model, data, last, chosen, found.scalars["accuracy"]) if last.is_file() else {}
    described = chosen[KEY]
    known = (described.get("fingerprint") or {}).get("unlabelled_windows")  # of data without such windows, no key
    return {
        "view": model.view,
        **({} if known is None else {"unlabelled": described.get("unlabelled", 0)}),
        **chosen_by(described, path),
        "best_epoch": described["provenance"]["epoch"],
        **_updates(path),
        "test_windows": len(found.target),
        "test_subjects": sorted(set(found.subjects)),
        "val_accuracy": validation["val/accuracy"],
        "val_f1": validation["val/f1"],
        **{f"test_{name}": value for name, value in found.scalars.items() if name not in _COSTS},
        **{name: kind(found.scalars[name]) for name, kind in _COSTS.items() if name in found.scalars},
        **({BESIDE: beside()} if "latency" in more else {}),
        **unseen,
        **final,
        "reliability": _bins(found.reliability),
        **counted(found),
    }


def _updates(path: Path) -> dict[str, int]:
    """The updates of a fit, of which this is a checkpoint: as its folder or its last checkpoint has them."""
    finished, last = path.parent.parent / FINISHED, path.with_name("last.ckpt")
    if finished.is_file():
        steps = read_json(finished, FINISHED).get("steps")
    else:
        steps = read_checkpoint(last).get("global_step") if last.is_file() else None
    return {UPDATES: steps} if isinstance(steps, int) else {}


def _bins(reliability: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """The bins as JSON keeps them: an empty one has no confidence and no accuracy."""
    return {name: [None if v != v else v for v in column.tolist()] for name, column in reliability.items()}


#: the parts of an evaluation that do not depend on the test windows
_COSTS = {"parameters": int, "macs": int, "latency_ms": float, "view_ms": float}


def _last_scores(
    model: Any, data: WindowDataModule, path: Path, chosen: Mapping[str, Any], accuracy: float
) -> dict[str, float]:
    """Test accuracy of the last epoch, for comparison with the chosen one, whose accuracy it has where it is the same.

    Args:
        model: of the job.
        data: of the job.
        path: the checkpoint of the last epoch.
        chosen: content of the checkpoint that was chosen.
        accuracy: on the test windows, of that one.
    """
    state = read_checkpoint(path)["state_dict"]
    if not (reuse.active() and same_weights(state, chosen["state_dict"])):
        model.load_state_dict(state, strict=False)
        found = evaluate(model, data, robustness=False, embedding=False, cost=False)
        accuracy = found.scalars["accuracy"]
    return {"test_accuracy_last": accuracy}


@functools.cache
def sources() -> str:
    """A hash of the installed sources of kdlab; a study that mixes several prints a note."""
    root = Path(_package).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:10]


def attempt(job: Job, runner: Runner) -> tuple[dict[str, Any] | None, str]:
    """Run a job; its row, or the reason of its failure, whose full text is kept as ``error.txt``.

    Raises:
        BaseException: a signal ended it (see :func:`kdlab.study.ends.end_of`); the job is left for the next time.
    """
    threads = torch.get_num_threads()
    use(job.threads)
    try:
        with quiet(job.name), reuse.reusing():
            return run_job(job, runner), ""
    except (SystemExit, KeyboardInterrupt, Exception) as error:
        if ends.end_of(error) is not None:
            raise
        ends.check()
        kept = _keep(job, traceback.format_exc())
        if isinstance(error, SystemExit):
            return None, f"the command line ended with {error.code}{kept}"
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        reason = f"{kind}{error}{kept}"
        return None, NoMemory(reason) if is_out_of_memory(error) else reason
    finally:
        use(threads)


def _keep(job: Job, text: str) -> str:
    """Write down why a job failed; where that fails too, what to add to the reason."""
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        write_text(job.folder / "error.txt", text)
    except OSError as error:
        return f" (error.txt cannot be written: {one_line(error)})"
    return ""


@contextmanager
def quiet(name: str | None = None) -> Iterator[None]:
    """Leave out what a study prints once itself: devices, splits, the address of each logged run.

    Args:
        name: of a job, which its warnings name.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    with quieted(name, reports=False):
        yield
