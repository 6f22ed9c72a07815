"""The course of a study: a line for each job that begins, an estimate of the rest, and the hours that it may take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdlab.study.conditions import Row, conditions, number
from kdlab.study.durations import duration
from kdlab.study.plan import Job, Jobs
from kdlab.study.weak_teachers import weak_teachers

#: exit status of a study that left jobs for the next time, as a scheduler reads "temporary failure, try again"
LEFT = 75


class Course:
    """What is done of a study, how long the rest may take, and which jobs fit into its hours.

    Args:
        jobs: of the study.
        rows: name of a job that is done -> its row.
        processes: how many jobs run at a time.
        hours: that the study may take; None: no limit.
        teachers: run -> the runs of its teachers.
        say: prints a line.
        started: when the study began, as ``clock`` counts.
        clock: seconds.
    """

    def __init__(
        self,
        jobs: Jobs,
        rows: Mapping[str, Row],
        *,
        processes: int = 1,
        hours: float | None = None,
        teachers: Mapping[str, Sequence[str]] | None = None,
        say: Callable[[str], None] = print,
        started: float | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._jobs, self._rows, self._processes = jobs, dict(rows), processes
        self._say, self._clock = say, clock or time.perf_counter
        self._teachers = teachers or {}
        begin = self._clock() if started is None else started
        self._until = math.inf if hours is None else begin + 3600 * hours
        self._begun, self._running = len(rows), dict[str, float]()
        self._failed: set[str] = set()
        self._told: set[tuple[str, str]] = set()

    def begin(self, job: Job) -> bool:
        """Whether a job is expected to end in time; if so it begins now, with a line."""
        now = self._clock()
        if now >= self._until or now + (self.expected(job) or 0.0) > self._until:
            return False
        self._begun += 1
        self._running[job.name] = now
        self._say(f"{job.name}: begins, {self._begun} of {len(self._jobs)}; {self.rest()}")
        return True

    def end(self, job: Job, row: Mapping[str, Any] | None) -> None:
        """A job has ended, with its row or without."""
        self._running.pop(job.name, None)
        if row is None:
            self._failed.add(job.name)
            return
        self._rows[job.name] = row
        for weak in weak_teachers(conditions(self._rows.values()), self._teachers):
            if weak.pair not in self._told:
                self._told.add(weak.pair)
                self._say(f"warning: so far, {weak.line}")

    def expected(self, job: Job) -> float | None:
        """Seconds of a job: the mean of finished ones of its run and labels, else of its run, its stage, or of all."""
        done = [(self._jobs[name], row) for name, row in self._rows.items() if name in self._jobs]
        for alike in (_of_kind, _of_run, _of_stage, lambda one, other: True):
            seconds = [number(row, "seconds") for other, row in done if alike(job, other)]
            if known := [value for value in seconds if value is not None]:
                return math.fsum(known) / len(known)
        return None

    def seconds_left(self) -> float | None:
        """Seconds that the rest of the study may take; None where no job has finished yet."""
        now, total = self._clock(), 0.0
        left = [job for name, job in self._jobs.items() if name not in self._rows and name not in self._failed]
        for job in left:
            if (seconds := self.expected(job)) is None:
                return None
            total += max(0.0, seconds - (now - self._running[job.name] if job.name in self._running else 0.0))
        return total / max(1, min(self._processes, len(left)))

    def rest(self) -> str:
        """The estimate in words."""
        seconds = self.seconds_left()
        if seconds is None:
            return "no estimate before the first job has ended"
        timed = {self._jobs[name].run for name in self._rows if name in self._jobs}
        others = sum(job.run not in timed for name, job in self._jobs.items() if name not in self._rows)
        guessed = f", {others} {'job' if others == 1 else 'jobs'} of it guessed from other runs" if others else ""
        return f"about {duration(seconds)} left{guessed}"


def _of_kind(one: Job, other: Job) -> bool:
    return (one.run, one.labels) == (other.run, other.labels)


def _of_run(one: Job, other: Job) -> bool:
    return one.run == other.run


def _of_stage(one: Job, other: Job) -> bool:
    return one.stage == other.stage
