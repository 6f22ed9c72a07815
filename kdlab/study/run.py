"""How the jobs of a study are scheduled: one after the other or in several processes, each kept once it is done."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

from kdlab.study import ends
from kdlab.study.job import Runner, attempt
from kdlab.study.plan import Job, Jobs, ready
from kdlab.study.results import Survey, survey
from kdlab.study.workers import pool_of


@dataclass
class Outcome:
    """The outcome of the jobs: the rows of those that are done, and the reasons of the others."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)


def run_jobs(
    jobs: Jobs,
    runner: Runner,
    *,
    processes: int = 1,
    threads: int | None = None,
    report: Callable[[Job, dict[str, Any] | None, str], None] = lambda job, row, error: None,
    found: Survey | None = None,
) -> Outcome:
    """Run all jobs, each as soon as what it needs is done; a failure stops only what needs it.

    Args:
        jobs: in an order in which they can be run.
        runner: runs a command line; with several processes it must be importable.
        processes: how many run at a time; each gets a GPU of its own where there are several.
        threads: of each process, where there are several; None: its share of the cores.
        report: called for every job that ends, with its row or the reason of its failure.
        found: what is done of them; it is looked for where it is not given.

    Raises:
        BaseException: a signal ended a job (see :func:`kdlab.study.ends.end_of`), which is not counted as failed; all
            processes have ended.
    """
    found = survey(jobs) if found is None else found
    outcome, done = Outcome(rows=list(found.rows.values())), set(found.rows)
    left = {name: job for name, job in jobs.items() if name not in done}
    one = processes == 1
    results = _in_this_process(left, done, runner) if one else _in_processes(left, done, runner, processes, threads)
    with contextlib.closing(results):
        for job, row, error in results:
            if row is None:
                outcome.failures[job.name] = error
            else:
                outcome.rows.append(row)
                outcome.ran.append(job.name)
            report(job, row, error)
    for name, job in left.items():
        if name not in outcome.failures and name not in outcome.ran:
            lost = [other for other in job.needs if other in outcome.failures]
            outcome.failures[name] = f"not run: it needs {', '.join(lost)}, which failed"
            report(job, None, outcome.failures[name])
    order = {name: i for i, name in enumerate(jobs)}
    outcome.rows.sort(key=lambda row: order[row["job"]])
    return outcome


End = tuple[Job, dict[str, Any] | None, str]


def _in_this_process(jobs: Jobs, done: set[str], runner: Runner) -> Generator[End, None, None]:
    """One after the other; jobs are in an order in which they can be run."""
    failed: set[str] = set()
    for name, job in jobs.items():
        if failed.intersection(job.needs):
            failed.add(name)
            continue
        ends.check()
        row, error = attempt(job, runner)
        (failed if row is None else done).add(name)
        yield job, row, error
    ends.check()


def _in_processes(
    jobs: Jobs, done: set[str], runner: Runner, processes: int, threads: int | None
) -> Generator[End, None, None]:
    """Several at a time. Where a process is killed, what ran meanwhile is tried once more, in new processes."""
    begun: set[str] = set()
    tries: Counter[str] = Counter()
    while len(begun) < len(jobs):
        running: dict[Future[tuple[dict[str, Any] | None, str]], Job] = {}
        with pool_of(processes, threads) as pool:
            try:
                while True:
                    for job in list(ready(jobs, done, begun)):
                        with ends.deferred():
                            running[pool.submit(_attempt_in_worker, job, runner)] = job
                        begun.add(job.name)
                        tries[job.name] += 1
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        row, error = future.result()
                        job = running.pop(future)
                        if row is not None:
                            done.add(job.name)
                        yield job, row, error
            except BrokenProcessPool:
                pass
        for job in running.values():
            if tries[job.name] > 1:
                yield job, None, "its process ended twice (killed, or out of memory)"
            else:
                begun.discard(job.name)


def _attempt_in_worker(job: Job, runner: Runner) -> tuple[dict[str, Any] | None, str]:
    try:
        with ends.working():
            return attempt(job, runner)
    except BaseException as error:
        if (end := ends.end_of(error)) is not None:
            ends.leave(end)
        raise
