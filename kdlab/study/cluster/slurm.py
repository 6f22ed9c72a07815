"""The arrays of a study on SLURM: one per stage, or several where it has more jobs than an array may have."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kdlab.files import one_line
from kdlab.study.cluster.element import Element
from kdlab.study.cluster.queue import array_limit, record
from kdlab.study.cluster.settings import Slurm
from kdlab.study.cluster.stages import Stage, chunks
from kdlab.types import InputError


def submit_slurm(
    stages: Sequence[Stage],
    element: Callable[[str], Element],
    report: Element,
    settings: Slurm,
    folder: Path,
    name: str,
) -> list[str]:
    """Submit the arrays of all stages, and the report after them.

    A stage begins when all jobs of those that it needs have ended, however they ended (``afterany``): what a job needs
    is looked at when it begins, so that a failure stops only what needs it.

    Args:
        stages: in an order in which they can be run.
        element: of the name of a job.
        report: what comes last.
        settings: of the jobs.
        folder: for scripts, output and the record.
        name: of the study, with which the SLURM jobs' names begin.

    Returns:
        The numbers of the SLURM jobs, the report's last.

    Raises:
        InputError: SLURM is not there, or refuses.
    """
    limit = settings.array_limit or array_limit()
    numbers: list[list[str]] = []
    submitted: list[str] = []
    for stage in stages:
        after = [number for place in stage.after for number in numbers[place]]
        numbers.append([])
        for part in chunks(stage.jobs, limit):
            title = f"{name}/{stage.name}"
            number = _submit([element(job) for job in part], settings, folder, title, after, submitted)
            numbers[-1].append(number)
            submitted.append(number)
            record(folder, submitted)
            waits = f", after {', '.join(after)}" if after else ""
            print(f"submitted {number}: {stage.name}, {len(part)} job{'s' * (len(part) != 1)}{waits}")
    last = _submit([report], settings, folder, f"{name}/report", submitted, submitted)
    record(folder, [*submitted, last])
    print(
        f"submitted {last}: the report, after all; output: {folder}; scancel {' '.join([*submitted, last])} ends them"
    )
    return [*submitted, last]


def parameters_of(settings: Slurm, title: str, after: Sequence[str]) -> dict[str, Any]:
    """What submitit writes into the script of an array.

    Args:
        settings: of the jobs.
        title: the name of the SLURM job.
        after: the SLURM jobs that have to end first.
    """
    return {
        **settings.options,
        "job_name": title.replace(" ", "_"),
        "time": settings.minutes,
        "setup": list(settings.setup) or None,
        "dependency": f"afterany:{':'.join(after)}" if after else None,
        "array_parallelism": settings.at_once or 10**6,
        "additional_parameters": {"requeue": True, **settings.more},
    }


def _submit(
    elements: Sequence[Element],
    settings: Slurm,
    folder: Path,
    title: str,
    after: Sequence[str],
    before: Sequence[str],
) -> str:
    """Submit one array, and return its number."""
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedSubmissionError

    try:
        executor = SlurmExecutor(folder, max_num_timeout=settings.timeouts)
        executor.update_parameters(**parameters_of(settings, title, after))
        with executor.batch():
            handles = [executor.submit(element) for element in elements]
    except (RuntimeError, OSError, subprocess.CalledProcessError, FailedSubmissionError) as error:
        there = f" Already submitted: scancel {' '.join(before)} ends them." if before else ""
        raise InputError(
            f"--submit: SLURM must take {title}, but did not ({one_line(str(error))}). Run this where sbatch and srun "
            f"are, and check slurm: in the study file.{there}"
        ) from error
    return str(handles[0].job_id).partition("_")[0]
