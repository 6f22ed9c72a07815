"""Which arrays of a study are in SLURM's queue: it is not given out twice."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kdlab.files import one_line, read_json, write_json
from kdlab.types import InputError, MissingFileError

FOLDER = "cluster"  # below the folder of a study: what submitit keeps, with the output of every job
RECORD = "submitted.json"
USUAL_LIMIT = 1000  # jobs of an array, of a SLURM whose configuration is as it came


def record(folder: Path, ids: Sequence[str]) -> None:
    """Keep the numbers of the SLURM jobs that were submitted."""
    write_json(folder / RECORD, {"jobs": list(ids)})


def refuse_while_queued(folder: Path, what: str, *, known: bool = True) -> None:
    """Refuse to run jobs that SLURM may be running.

    Args:
        folder: with the record of what was submitted.
        what: is refused.
        known: refuse also where there is no SLURM that tells.

    Raises:
        InputError: some are in the queue, or it cannot be known.
    """
    try:
        ids = read_json(folder / RECORD, what).get("jobs")
    except MissingFileError:
        return
    if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
        raise InputError(f"{what}: jobs in {str(folder / RECORD)!r} must be a list, but got {ids!r:.40}. Remove it.")
    if shutil.which("squeue") is None:
        if not known:
            return
        raise InputError(
            f"{what}: squeue must tell whether jobs {', '.join(ids)} are still in the queue, but is not there. Run "
            f"this where they were submitted, or remove {str(folder / RECORD)!r} once they have ended."
        )
    queued = set(_run("squeue", "--noheader", "--me", "--format=%F").split())
    if waiting := [name for name in ids if name in queued]:
        raise InputError(
            f"{what}: no job of the study must be in SLURM's queue, but got {', '.join(waiting)}. Wait for them to "
            f"end, or run scancel {' '.join(waiting)}."
        )


def array_limit() -> int:
    """Jobs of an array at most, as SLURM is configured here."""
    if shutil.which("scontrol") is None:
        return USUAL_LIMIT
    found = re.search(r"^\s*MaxArraySize\s*=\s*(\d+)", _run("scontrol", "show", "config"), re.MULTILINE)
    return max(1, int(found[1]) - 1) if found is not None else USUAL_LIMIT


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise InputError(
            f"{words[0]} must end well, but ended with {done.returncode} "
            f"({one_line(done.stderr or done.stdout)}). Run it by hand to see why."
        )
    return done.stdout
