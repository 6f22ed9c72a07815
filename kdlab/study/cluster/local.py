"""The stages of a study in processes of this machine, through submitit as on a cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdlab.study.cluster.element import Element
from kdlab.study.cluster.left import Left
from kdlab.study.cluster.settings import Slurm
from kdlab.study.cluster.stages import Stage
from kdlab.study.memory import again_line
from kdlab.study.workers import gpus_here

_OFTEN = 0.2  # seconds
_WARNING = 30  # seconds before its end that a job is told of it


def run_local(
    stages: Sequence[Stage],
    left: Left,
    element: Callable[[str, str | None], Element],
    settings: Slurm,
    folder: Path,
    processes: int,
    ended: Callable[[str, str], bool],
    lacked_memory: Callable[[str], bool],
) -> None:
    """Run all jobs, each as soon as the stages before its own have ended; a failure stops only what needs it.

    A job that finds no memory waits until those beside it have ended, and is run again alone, once.

    Args:
        stages: in an order in which they can be run.
        left: what they are made of.
        element: of the name of a job, and of the GPU that it gets.
        settings: of the jobs; their time, their shell lines and how often they are begun once more count here, too.
        folder: for the output.
        processes: how many run at a time; each gets a GPU of its own where there are several.
        ended: called for every job that ends, with its name and where its output is; tells whether it has a result.
        lacked_memory: whether a job that has none found no memory.
    """
    import submitit

    executor = submitit.LocalExecutor(folder, max_num_timeout=settings.timeouts)
    warning = min(_WARNING, settings.seconds // 2)
    executor.update_parameters(timeout_min=settings.seconds / 60, signal_delay_s=warning, setup=[*settings.setup])
    queue, places = _Queue(stages, left), _gpus(processes)
    running: dict[int, tuple[str, Any]] = {}
    try:
        while queue or running:
            for place, gpu in enumerate(places):
                if place not in running and (name := queue.take(beside=len(running))) is not None:
                    running[place] = name, executor.submit(replace(element(name, gpu), owner=os.getpid()))
            time.sleep(_OFTEN)
            for place, (name, handle) in list(running.items()):
                if not handle.done():
                    continue
                del running[place]
                output = f"{handle.paths.stdout} and {handle.paths.stderr.name}"
                if processes > 1 and lacked_memory(name) and queue.once_more(name):
                    print(again_line(name), flush=True)
                else:
                    queue.end(name, ended(name, output))
    finally:
        for _, handle in running.values():
            handle.cancel(check=False)


class _Queue:
    """The jobs that wait, stage by stage; it is true while some do."""

    def __init__(self, stages: Sequence[Stage], left: Left) -> None:
        self._stages, self._left = stages, left
        self._ended, self._failed = set[str](), set[str]()
        self._waits = [(name, stage) for stage in stages for name in stage.jobs]
        self._alone, self._tried = list[str](), set[str]()  # run again alone: those that wait, and all
        self._one = ""  # that runs alone

    def __bool__(self) -> bool:
        return bool(self._waits or self._alone)

    def end(self, name: str, done: bool) -> None:
        """Note that a job has ended, with or without a result."""
        self._ended.add(name)
        self._one = "" if name == self._one else self._one
        if not done:
            self._failed.add(name)

    def once_more(self, name: str) -> bool:
        """Have a job run again alone; false where it was."""
        if name in self._tried:
            return False
        self._alone.append(name)
        self._tried.add(name)
        return True

    def take(self, beside: int) -> str | None:
        """Take out the first job that can begin; those that need one that failed are left out.

        Args:
            beside: how many run.
        """
        if self._one or (self._alone and beside):
            return None
        if self._alone:
            self._one = self._alone.pop(0)
            return self._one
        for name, stage in list(self._waits):
            if all(other in self._ended for before in stage.after for other in self._stages[before].jobs):
                self._waits.remove((name, stage))
                if self._failed.isdisjoint(self._left.before(name)):
                    return name
                self.end(name, False)
        return None


def _gpus(processes: int) -> list[str | None]:
    """The GPU of each process that runs at a time; None where there is none."""
    gpus = gpus_here()
    return [gpus[place % len(gpus)] if gpus else None for place in range(processes)]
