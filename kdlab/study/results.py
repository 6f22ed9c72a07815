"""What is done of a study: the files of each job are read as data that may be cut, damaged or another job's."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdlab.evaluate import Evaluation
from kdlab.evaluate.evaluation import ARRAYS, JSON
from kdlab.files import one_line, read_json, remove_leftovers
from kdlab.methods.checkpoints import KEPT_FILES, KEY, description, find_checkpoint, read_checkpoint
from kdlab.study.measured import lacks
from kdlab.study.people import check_counts, counted, with_pseudonyms
from kdlab.study.plan import Job, Jobs
from kdlab.study.row_checks import check_agreement, check_updates, check_values
from kdlab.study.tuning.rows import check_trial
from kdlab.types import InputError, MissingFileError

#: the numbers that every row has
_NUMBERS = (
    *("val_accuracy", "val_f1", "test_accuracy", "test_f1", "test_nll", "test_ece", "seconds", "test_windows"),
    *("best_epoch", "parameters", "macs"),
)
TAKEN = "taken"  # key of a result that was made elsewhere, see `kdlab.study.resume`; no part of its row


@dataclass
class Survey:
    """The state of a study on disk.

    Attributes:
        rows: name of a job that is done -> its row.
        damaged: name of a job that would be done -> why it is not.
        bare: names of jobs whose rows were made elsewhere, and whose weights are not here.
    """

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    bare: set[str] = field(default_factory=set)


def survey(jobs: Jobs, row_of: Callable[[Job, dict[str, Any] | None], dict[str, Any] | None] | None = None) -> Survey:
    """Read what is done of some jobs.

    Args:
        jobs: of a study.
        row_of: given a job and its row, or None where it has none, the row to go on with.
    """
    found = Survey()
    for name, job in jobs.items():
        try:
            row, taken = _read(job)
            if row_of is not None and row is not (other := row_of(job, row)):
                row, taken = other, True
            if row is not None and taken and finished_checkpoint(job) is None:
                found.bare.add(name)
        except InputError as error:
            found.damaged[name] = one_line(error)
        else:
            if row is not None:
                found.rows[name] = row
    return found


def identity(job: Job) -> dict[str, Any]:
    """The keys of a row that name its job."""
    return {
        "job": job.name,
        "run": job.run,
        "stage": job.stage,
        "labels": job.labels,
        "seed": job.seed,
        "fold": job.fold,
        "shared": job.shared,
        "key": job.key,
    }


def read_row(job: Job) -> dict[str, Any] | None:
    """The row of a job that is done; None where it is not.

    Raises:
        InputError: its row, its evaluation or its checkpoint is damaged.
    """
    return _read(job)[0]


def _read(job: Job) -> tuple[dict[str, Any] | None, bool]:
    """The row of a job, and whether it was made elsewhere."""
    try:
        row = read_json(job.result, job.name)
    except MissingFileError:
        return None, False
    taken = row.pop(TAKEN, False) is True
    check_row(row, job, f"{job.name}: {str(job.result)!r}")
    if job.trial:
        finished_checkpoint(job)
        return {**row, **identity(job)}, taken
    found = _check_evaluation(job, row["test_windows"])
    if finished_checkpoint(job) is not None and lacks(row, job.measure):  # it is measured again, not trained
        return None, False
    if found is not None and "people" not in row:  # of an earlier version
        row = {**row, **counted(found)}
    return {**with_pseudonyms(row, job.hashed_for), **identity(job)}, taken


def check_row(row: Mapping[str, Any], job: Job, where: str) -> None:
    """Refuse a row that is damaged, or another job's.

    Args:
        row: what is kept of a job.
        job: the job.
        where: the row stands, for messages.

    Raises:
        InputError: naming what is wrong.
    """
    if job.trial:
        check_trial(row, job.key, where)
        return
    if row.get("key") != job.key:
        raise InputError(
            f"{where}: key must be {job.key!r}, but got {row.get('key')!r:.40}. It belongs to another job."
        )
    check_values(row, _NUMBERS, where)
    check_counts(row, where)
    check_agreement(row, where)
    check_updates(row, job, where)


def _check_evaluation(job: Job, windows: int) -> Evaluation | None:
    """``evaluation.json`` and ``predictions.npz``, where they are there; the row has what the tables need."""
    if not any((job.folder / name).exists() for name in (JSON, ARRAYS)):
        return None
    found = Evaluation.load(job.folder)
    if len(found.index) != windows:
        raise InputError(
            f"{job.name}: {str(job.folder / ARRAYS)!r} must hold {windows} windows, but got "
            f"{len(found.index)}. It is damaged."
        )
    return found


def finished_checkpoint(job: Job) -> Path | None:
    """The checkpoint that is kept of a job's finished fit; None where there is none.

    Raises:
        InputError: it is cut or damaged.
    """
    try:
        path = find_checkpoint(job.folder, KEPT_FILES)
    except MissingFileError:
        return None
    check_checkpoint(path, job.name)
    return path


def check_checkpoint(path: Path, what: str) -> None:
    """Read every byte of a checkpoint, and check that it holds a description.

    Raises:
        InputError: it is cut or damaged.
    """
    try:
        with zipfile.ZipFile(path) as parts:
            wrong = parts.testzip()
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise InputError(f"{what}: {str(path)!r} is damaged ({one_line(error)}). Train it again.") from error
    if wrong is not None:
        raise InputError(
            f"{what}: {str(path)!r} is damaged (its part {wrong!r} is not what was written). Train it again."
        )
    described = description(read_checkpoint(path, what), what)
    if described is None or "epoch" not in (described.get("provenance") or {}):
        raise InputError(f"{what}: {str(path)!r} does not describe itself under {KEY!r}. Train it again.")


def clean(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder and below it."""
    for below, _, _ in os.walk(folder):
        remove_leftovers(below)
