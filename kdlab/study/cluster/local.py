"""The stages of a study in processes of this machine, through submitit as on a cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kdlab.files import one_line
from kdlab.study.cluster.element import Element
from kdlab.study.cluster.settings import Slurm
from kdlab.study.cluster.stages import Stage
from kdlab.study.plan import Job, Jobs
from kdlab.study.results import read_row
from kdlab.types import InputError

_OFTEN = 0.2  # seconds
_WARNING = 30  # seconds before its end that a job is told of it


def run_local(
    stages: Sequence[Stage],
    jobs: Jobs,
    element: Callable[[str, str | None], Element],
    settings: Slurm,
    folder: Path,
    processes: int,
    report: Callable[[Job, dict[str, Any] | None, str], None],
) -> None:
    """Run all jobs, each as soon as the stages before its own have ended; a failure stops only what needs it.

    Args:
        stages: in an order in which they can be run.
        jobs: of the study.
        element: of the name of a job, and of the GPU that it gets.
        settings: of the jobs; their time, their shell lines and how often they are begun once more count here, too.
        folder: for the output.
        processes: how many run at a time; each gets a GPU of its own where there are several.
        report: called for every job that ends, with its row or the reason of its failure.
    """
    import submitit

    executor = submitit.LocalExecutor(folder, max_num_timeout=settings.timeouts)
    warning = min(_WARNING, settings.seconds // 2)
    executor.update_parameters(timeout_min=settings.seconds / 60, signal_delay_s=warning, setup=[*settings.setup])
    places = _gpus(processes)
    running: dict[int, tuple[str, Any]] = {}
    left, ended = [(name, stage) for stage in stages for name in stage.jobs], set[str]()
    try:
        while left or running:
            for place, gpu in enumerate(places):
                if place not in running and (name := _next(left, stages, ended)) is not None:
                    running[place] = name, executor.submit(replace(element(name, gpu), owner=os.getpid()))
            time.sleep(_OFTEN)
            for place, (name, handle) in list(running.items()):
                if handle.done():
                    del running[place]
                    ended.add(name)
                    report(*_outcome(jobs[name], handle))
    finally:
        for _, handle in running.values():
            handle.cancel(check=False)


def _next(left: list[tuple[str, Stage]], stages: Sequence[Stage], ended: Collection[str]) -> str | None:
    """Take the first job out of those that are left whose stages before have ended."""
    for place, (name, stage) in enumerate(left):
        if all(other in ended for before in stage.after for other in stages[before].jobs):
            del left[place]
            return name
    return None


def _outcome(job: Job, handle: Any) -> tuple[Job, dict[str, Any] | None, str]:
    try:
        row = read_row(job)
    except InputError as error:
        return job, None, one_line(str(error))
    return job, row, "" if row is not None else f"no result; see {handle.paths.stdout} and {handle.paths.stderr.name}"


def _gpus(processes: int) -> list[str | None]:
    """The GPU of each process that runs at a time; None where there is none."""
    given = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    gpus = given or [str(gpu) for gpu in range(torch.cuda.device_count())]
    return [gpus[place % len(gpus)] if gpus else None for place in range(processes)]
