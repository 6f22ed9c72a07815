"""Resumed fits: in the version that was interrupted, or in a new one that begins with the earlier rows and best."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from kdlab.files import read_json, replacing
from kdlab.methods.checkpoints import FINISHED, read_checkpoint
from kdlab.run_folder import version_folder
from kdlab.types import InputError

METRICS, LOGGED_RUN = "metrics.csv", "wandb.json"


def interrupted_version(checkpoint: Path, run: Path) -> int | None:
    """The version of a run in which a fit resumes: that of its checkpoint, if it was interrupted there.

    Args:
        checkpoint: that the fit is resumed from.
        run: the folder of the run.

    Returns:
        The number; None where the fit needs a new version, because the checkpoint is of another run, of a finished
        version, or of an epoch before the last one that was trained.
    """
    folder = version_folder(checkpoint)
    named = re.fullmatch(r"version_(\d+)", folder.name) if folder is not None else None
    if folder is None or named is None or folder.parent.resolve() != run.resolve() or (folder / FINISHED).is_file():
        return None
    last = folder / "checkpoints" / "last.ckpt"
    if last.is_file() and last.resolve() != checkpoint.resolve() and _steps(last) > _steps(checkpoint):
        return None
    return int(named[1])


def rows_before(metrics: Path, steps: int) -> list[dict[str, str]]:
    """The rows of a ``metrics.csv`` up to a step, those that a resumed fit will not log again.

    Args:
        metrics: the file; none: no rows.
        steps: of the optimiser, done when the checkpoint was written.
    """
    if not metrics.is_file():
        return []
    with metrics.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if (row.get("step") or "").isdigit() and int(row["step"]) < steps]


@rank_zero_only
def take_best(checkpoint: Path, steps: int, version: Path, known: bool = False) -> None:
    """Copy ``best.ckpt`` of a run into the new version that resumes it, so that the best of both is kept.

    Args:
        checkpoint: that the fit is resumed from.
        steps: of the optimiser, done when it was written.
        version: the new version.
        known: the checkpoint holds the best weights, too, which the fit writes itself.
    """
    best, target = checkpoint.with_name("best.ckpt"), version / "checkpoints" / "best.ckpt"
    if not best.is_file() or best.resolve() == target.resolve():
        return
    if _steps(best) > steps:
        if known:
            return
        rank_zero_warn(
            f"ckpt_path: {str(checkpoint)!r} is older than best.ckpt beside it, so the best weights up to it are gone: "
            f"best.ckpt of {version} will be the best since then."
        )
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        shutil.copyfile(best, part)


def logged_run(checkpoint: Path, run: Path) -> str | None:
    """The Weights & Biases run that a fit resumes; None where there is none, or it is another run's."""
    folder = version_folder(checkpoint)
    if folder is None or folder.parent.resolve() != run.resolve() or not (folder / LOGGED_RUN).is_file():
        return None
    found = read_json(folder / LOGGED_RUN, "ckpt_path").get("id")
    if not isinstance(found, str) or not re.fullmatch(r"[\w-]{1,128}", found):
        raise InputError(
            f"ckpt_path: {str(folder / LOGGED_RUN)!r} must hold the id of a run, but does not. Delete the file to log "
            "into a new one."
        )
    return found


def next_row(checkpoint: Path) -> int:
    """A number above those of all rows of the Weights & Biases run that a fit resumes.

    Without a connection a run does not know its rows, and those of equal number would be left out when it is uploaded.
    The rows since they were counted last, when an epoch began, are fewer than those before.
    """
    folder = version_folder(checkpoint)
    rows = read_json(folder / LOGGED_RUN, "ckpt_path").get("rows") if folder is not None else None
    return 2 * rows + 100 if isinstance(rows, int) and 0 <= rows < 2**40 else 0


def _steps(checkpoint: Path) -> int:
    return int(read_checkpoint(checkpoint, "ckpt_path").get("global_step") or 0)
