"""One job of a study: fit, choose on validation, read the test once, keep the row."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import yaml

from kdlab import __file__ as _package
from kdlab.data import WindowDataModule
from kdlab.evaluate import evaluate
from kdlab.files import one_line, write_text
from kdlab.methods.checkpoints import KEPT_FILES, KEY, find_checkpoint, read_checkpoint
from kdlab.study import ends
from kdlab.study.chosen import chosen_by, spent
from kdlab.study.locks import alone
from kdlab.study.loggers import close, held_open, listed, log_scores
from kdlab.study.plan import Job
from kdlab.study.results import check_checkpoint, clean, finished_checkpoint, identity, read_row
from kdlab.study.windows import share
from kdlab.types import InputError


class Line(Protocol):
    """A finished command line."""

    model: Any
    datamodule: Any
    trainer: Any


#: runs command-line words in this process; the data module is handed to ``prepare`` before it is set up
Runner = Callable[[Sequence[str], Callable[[WindowDataModule], None]], Line]


def run_job(job: Job, runner: Runner) -> dict[str, Any]:
    """Fit, choose on validation, read the test once, and keep the row as ``result.json``; a job that is done is read.

    A fit that came to its end earlier is not repeated, unless its checkpoint is damaged; one that was cut off begins
    again.

    Raises:
        InputError: another process runs this job, or what its command line raises.
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
        row |= spent(job.updates, job.warm, path)
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
    """All measurements of a job; validation first, with the weights that it chose."""
    model, data, trainer = line.model, line.datamodule, line.trainer
    validated = trainer.validate(model, datamodule=data, ckpt_path=str(path), weights_only=True, verbose=False)[0]
    found = evaluate(model, data)
    found.save(folder)
    last = path.with_name("last.ckpt")
    final = _scores(model, data, last) if last.is_file() else {}
    described = read_checkpoint(path)[KEY]
    known = (described.get("fingerprint") or {}).get(
        "unlabelled_windows"
    )  # so that rows of other studies are as before
    return {
        "view": model.view,
        **({} if known is None else {"unlabelled": described.get("unlabelled", 0)}),
        **chosen_by(described, path),
        "best_epoch": described["provenance"]["epoch"],
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


#: the parts of an evaluation that do not depend on the test windows
_COSTS = {"parameters": int, "macs": int, "latency_ms": float, "view_ms": float}


def _scores(model: Any, data: WindowDataModule, path: Path) -> dict[str, float]:
    """Test accuracy of the last epoch, for comparison with the chosen one."""
    model.load_state_dict(read_checkpoint(path)["state_dict"], strict=False)
    found = evaluate(model, data, robustness=False, embedding=False, cost=False)
    return {"test_accuracy_last": found.scalars["accuracy"]}


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
    """Leave out what a study prints once itself: devices, splits, advice on workers, the address of each logged run."""
    os.environ.setdefault("WANDB_SILENT", "true")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for text in ("does not have many workers", "log_every_n_steps", "LeafSpec", "Checkpoint directory", "The dirpath"):
        warnings.filterwarnings("ignore", f".*{text}.*")
