"""How many threads each job of a study computes with: a fixed number, or one that is measured once and recorded.

Sums over several threads differ in their last bits from those of one, so results depend on the number. By default it is
1, which neither depends on the load nor on ``--jobs``: one job, two jobs at a time and a study that was killed and run
again give the same bytes. ``--threads measure`` chooses a number for each net and batch by the time of its steps; it is
recorded in ``threads.json`` before the first job begins, and every later call of the study computes with what is
recorded. Two studies that measured, each in a folder of its own, may have other numbers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kdlab.files import read_json, write_json
from kdlab.study.plan import Job, title_of
from kdlab.types import InputError, MissingFileError
from kdlab.usage import MEASURE

RECORD = "threads.json"


@dataclass(frozen=True)
class Threads:
    """The threads of the jobs of a study.

    Attributes:
        number: of every job without another one; None where there is a GPU, whose jobs share the cores.
        line: to print.
        measure: whether rows have their own numbers, of which those that are not recorded are still to be measured.
        rows: title of a row -> its number.
        recorded: whether an earlier call has chosen.
        usual: whether nobody said a number.
    """

    number: int | None
    line: str
    measure: bool = False
    rows: Mapping[str, int] = field(default_factory=dict)
    recorded: bool = False
    usual: bool = False

    def of(self, job: Job) -> int | None:
        """The threads of a job; None: those of its process."""
        return None if job.trial else self.rows.get(title_of(job.run, job.labels))


def threads_of(given: int | str | None, folder: Path | None = None) -> Threads:
    """The threads of every job, and a line that says so.

    The nets of sensor windows are small, and threads wait for each other by spinning, which takes long on busy cores.
    So a job has one, and ``--jobs`` uses the cores.

    Args:
        given: ``--threads``.
        folder: of the study, which may hold what was chosen before.

    Raises:
        InputError: it is less than 1, or the record is damaged.
    """
    if isinstance(given, int) and given < 1:
        raise InputError(f"--threads: must be at least 1, but got {given}. Raise it.")
    found = None if folder is None else _read(folder / RECORD)
    if isinstance(given, int):
        if found is not None and (found.rows or found.number != given):
            note = f"; {RECORD} has another number, and results of both may differ in their last bits"
            return Threads(given, f"threads: {given} per job (--threads{note})")
        return Threads(given, f"threads: {given} per job (--threads)")
    if found is not None and (given is None or found.measure):
        return found
    if torch.cuda.is_available() and (given == MEASURE or not os.environ.get("OMP_NUM_THREADS")):
        return Threads(None, "threads: the cores are shared by the jobs, each on a GPU; --threads chooses")
    if given == MEASURE:
        return Threads(1, "threads: measured for each net and batch (--threads measure)", measure=True)
    if os.environ.get("OMP_NUM_THREADS"):
        number = torch.get_num_threads()
        return Threads(number, f"threads: {number} per job (OMP_NUM_THREADS)")
    line = "threads: 1 per job; --threads chooses another number, --jobs runs several at a time"
    return Threads(1, line, usual=True)


def _read(path: Path) -> Threads | None:
    """What is recorded; None where nothing is.

    Raises:
        InputError: the record is damaged.
    """
    try:
        content = read_json(path, RECORD)
    except MissingFileError:
        return None
    number, rows = content.get("threads"), content.get("rows", {})
    if not isinstance(rows, dict) or not all(map(_is_number, (number, *rows.values()))):
        raise InputError(
            f"{RECORD}: {str(path)!r} must hold numbers of threads of at least 1, but got {content!r:.80}. Remove it, "
            "and write --threads with the number that the finished jobs had."
        )
    line = f"threads: {number} per job ({RECORD})"
    if rows or content.get(MEASURE):
        line = f"threads: as measured before ({RECORD}); --threads chooses another number"
    return Threads(number, line, measure=bool(content.get(MEASURE)), rows=rows, recorded=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def record(threads: Threads, folder: Path) -> None:
    """Keep what was chosen, for the calls that resume the study; of jobs on GPUs nothing is kept."""
    if threads.number is not None and not threads.recorded:
        rows = {MEASURE: True, "rows": dict(threads.rows)} if threads.measure else {}
        write_json(folder / RECORD, {"threads": threads.number, **rows})


def use(threads: int | None) -> None:
    """Compute with so many threads in this process; None changes nothing."""
    if threads is not None:
        torch.set_num_threads(threads)
