"""Fits of a study that were cut: where one can resume, and the seconds that it took before.

A fit that resumes from ``last.ckpt`` gives the weights of one that was never cut, bit for bit on a CPU. One that was
cut after its last epoch, before it was marked as finished, begins again: there is nothing left to resume.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdlab.files import read_json, write_json
from kdlab.methods.checkpoints import FINISHED, find_checkpoint, read_checkpoint
from kdlab.study.mark_end import ENDS
from kdlab.study.plan import Job
from kdlab.study.results import check_checkpoint
from kdlab.types import InputError

LAST = "last.ckpt"
_KEPT = "cut.json"  # in the folder of a job: the seconds of the parts of its fit that were cut


def cut_checkpoint(job: Job) -> Path | None:
    """The ``last.ckpt`` that the fit of a job resumes from.

    Returns:
        None where there is none: nothing was cut, before an epoch was complete or after the last one, or it is damaged.
    """
    try:
        path = find_checkpoint(job.folder, (LAST,), job.name, finished=False)
        check_checkpoint(path, job.name)
        content = read_checkpoint(path, job.name)
    except InputError:
        return None
    return None if content.get(ENDS) or (path.parent.parent / FINISHED).exists() else path


@contextmanager
def timed(job: Job, resumed: bool) -> Iterator[float]:
    """Within the block a fit runs; where it is cut, its seconds are kept for the fit that resumes it.

    Args:
        job: whose fit runs.
        resumed: whether it was cut before.

    Yields:
        The seconds of the parts before.
    """
    begin, before = time.perf_counter(), _seconds(job) if resumed else 0.0
    try:
        yield before
    except BaseException:
        with contextlib.suppress(OSError):  # what cut the fit is raised
            write_json(job.folder / _KEPT, {"seconds": round(before + time.perf_counter() - begin, 1)})
        raise
    (job.folder / _KEPT).unlink(missing_ok=True)


def _seconds(job: Job) -> float:
    with contextlib.suppress(InputError):
        seconds = read_json(job.folder / _KEPT, job.name).get("seconds")
        if isinstance(seconds, int | float) and 0 < seconds < math.inf:
            return float(seconds)
    return 0.0
