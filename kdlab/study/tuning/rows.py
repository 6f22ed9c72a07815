"""What is kept of a fit of a tuning: its validation, and nothing of the test."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdlab.methods.checkpoints import KEY, read_checkpoint
from kdlab.study.plan import CHOSEN, NEEDED, Job
from kdlab.study.row_checks import WORDS
from kdlab.study.tuning.pruning import found_in
from kdlab.study.tuning.suggest import COMPLETE, FAILED, PRUNED
from kdlab.study.validated import validated
from kdlab.types import InputError

_WORDS = {*WORDS, "state", "reason", "data"}
_OTHERS = {"labels", "shared"}


def is_trial(job: Job) -> bool:
    """Whether a job tries settings; not a row of the study, nor what trials need."""
    return job.trial not in ("", NEEDED, CHOSEN)


def validation_row(line: Any, path: Path) -> dict[str, Any]:
    """Validation of the weights that a fit keeps.

    Args:
        line: the finished command line, with ``model``, ``datamodule`` and ``trainer``.
        path: the checkpoint that is kept.
    """
    trainer, data = line.trainer, line.datamodule
    updates, pruning = trainer.global_step, found_in(trainer)
    found = validated(line, path)
    described = read_checkpoint(path)[KEY]
    return {
        "state": COMPLETE if pruning is None or pruning.pruned_at is None else PRUNED,
        "view": line.model.view,
        "best_epoch": described["provenance"]["epoch"],
        "val_accuracy": found["val/accuracy"],
        "val_f1": found["val/f1"],
        "val_loss": found["val/loss"],
        "updates": updates,
        "points": [] if pruning is None else pruning.points,
        "pruned_at": None if pruning is None else pruning.pruned_at,
        "data": data.fingerprint["id"],
    }


def diverged(reason: str, seconds: float) -> dict[str, Any]:
    """The row of a trial whose fit diverged."""
    return {"state": FAILED, "reason": reason, "points": [], "updates": 0, "seconds": seconds}


def drop_checkpoints(folder: Path) -> None:
    """Remove the weights of a trial, which no one reads; its metrics and config stay."""
    for checkpoints in folder.glob("version_*/checkpoints"):
        shutil.rmtree(checkpoints, ignore_errors=True)


def check_trial(row: Mapping[str, Any], key: str, where: str) -> None:
    """Refuse a row that is damaged, or another job's.

    Raises:
        InputError: naming what is wrong.
    """
    if row.get("key") != key:
        raise InputError(f"{where}: key must be {key!r}, but got {row.get('key')!r:.40}. It belongs to another job.")
    state, points = row.get("state"), row.get("points")
    value = row.get("val_accuracy") if state != FAILED else 0.0
    checks = {
        "state": state in (COMPLETE, PRUNED, FAILED),
        "sources": isinstance(row.get("sources"), str),
        "val_accuracy": _is_share(value),
        "points": isinstance(points, list) and all(point is None or _is_share(point) for point in points),
        "seconds": _is_number(row.get("seconds")),
        "updates": type(row.get("updates")) is int and row["updates"] >= 0,
    }
    for name, found in row.items():
        good = isinstance(found, str) if name in _WORDS else found is None or _is_any_number(found)
        checks.setdefault(name, good or name in _OTHERS)
    if wrong := [name for name, good in checks.items() if not good]:
        raise InputError(
            f"{where}: {wrong[0]} must be what a trial writes, but got {row.get(wrong[0])!r:.40}. It is damaged."
        )


def _is_any_number(value: Any) -> bool:
    """A loss may be not finite."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_any_number(value) and math.isfinite(value)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1
