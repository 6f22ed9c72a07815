"""How the jobs of a study are scheduled: one after the other or in several processes, each kept once it is done."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from typing import Any

from kdlab.study import ends
from kdlab.study.job import Runner, attempt
from kdlab.study.memory import NoMemory, again_line, release
from kdlab.study.plan import Job, Jobs, ready
from kdlab.study.progress import say
from kdlab.study.results import Survey, survey
from kdlab.study.resume import made_again
from kdlab.study.weights import to_make_again
from kdlab.study.workers import pool_of


@dataclass
class Outcome:
    """The outcome of the jobs: the rows of those that are done, and the reasons of the others."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # for the next time


def run_jobs(
    jobs: Jobs,
    runner: Runner,
    *,
    processes: int = 1,
    threads: int | None = None,
    report: Callable[[Job, dict[str, Any] | None, str], None] = lambda job, row, error: None,
    found: Survey | None = None,
    more: Callable[[Outcome], Jobs] = lambda outcome: {},
    begin: Callable[[Job], bool] = lambda job: True,
) -> Outcome:
    """Run all jobs, each as soon as what it needs is done; a failure stops only what needs it.

    A job whose row was made elsewhere, and whose weights are not here, is run again where another job needs it.

    Args:
        jobs: in an order in which they can be run.
        runner: runs a command line; with several processes it must be importable.
        processes: how many run at a time; each gets a GPU of its own where there are several.
        threads: of each process, where there are several; None: its share of the cores.
        report: called for every job that ends, with its row or the reason of its failure.
        found: what is done of them; it is looked for where it is not given.
        more: further jobs that follow from what is done so far; called where a process has nothing to do.
        begin: called for a job that could begin now; false leaves it, and what needs it, for the next time.

    Raises:
        BaseException: a signal ended a job (see :func:`kdlab.study.ends.end_of`), which is not counted as failed; all
            processes have ended.
    """
    found = survey(jobs) if found is None else found
    outcome, done = Outcome(rows=list(found.rows.values())), set(found.rows)
    left: Jobs = {}
    bare = set(found.bare)

    def add(new: Jobs) -> None:
        """Add jobs that are not done, and what they need whose weights are not here, in the order of all."""
        jobs.update(new)
        some = {*left, *(name for name in new if name not in done)}
        again = to_make_again(jobs, [name for name in some if name not in done], bare)
        bare.difference_update(again)
        done.difference_update(again)
        known = {**left, **{name: replace(jobs[name], again=True) for name in again}}
        left.clear()
        left.update({name: known.get(name, job) for name, job in jobs.items() if name in some or name in again})

    def grow() -> bool:
        new = {name: job for name, job in more(outcome).items() if name not in jobs}
        there = survey(new)
        bare.update(there.bare)
        done.update(there.rows)
        outcome.rows += there.rows.values()
        add(new)
        return bool(new)

    given, jobs = jobs, {}
    add(given)
    one = processes == 1
    results = (
        _in_this_process(left, done, runner, begin, grow)
        if one
        else _in_processes(left, done, runner, processes, threads, begin, grow)
    )
    with contextlib.closing(results):
        for job, row, error in results:
            if row is None:
                outcome.failures[job.name] = error
            else:
                told = _keep(outcome, row)
                outcome.ran.append(job.name)
            report(job, row, error)
            if row is not None and told:
                say(told)
    for name, job in left.items():
        if name not in outcome.failures and name not in outcome.ran:
            lost = [other for other in job.needs if other in outcome.failures]
            if not lost:
                outcome.left.append(name)
                continue
            outcome.failures[name] = f"not run: it needs {', '.join(lost)}, which failed"
            report(job, None, outcome.failures[name])
    order = {name: i for i, name in enumerate(jobs)}
    outcome.rows.sort(key=lambda row: order[row["job"]])
    return outcome


def _keep(outcome: Outcome, row: dict[str, Any]) -> str:
    """Add a row, or replace the one of a job that was run again; then whether both are equal, in one line."""
    for place, other in enumerate(outcome.rows):
        if other["job"] == row["job"]:
            outcome.rows[place] = row
            return made_again(other, row)
    outcome.rows.append(row)
    return ""


End = tuple[Job, dict[str, Any] | None, str]


def _in_this_process(
    jobs: Jobs, done: set[str], runner: Runner, begin: Callable[[Job], bool], grow: Callable[[], bool]
) -> Generator[End, None, None]:
    """One after the other; jobs are in an order in which they can be run."""
    closed: set[str] = set()
    while left := [job for name, job in jobs.items() if name not in done | closed]:
        for job in left:
            ends.check()
            if not done.issuperset(job.needs) or not begin(job):
                closed.add(job.name)
                continue
            row, error = attempt(job, runner)
            (closed if row is None else done).add(job.name)
            yield job, row, error
        grow()
    ends.check()


def _in_processes(
    jobs: Jobs,
    done: set[str],
    runner: Runner,
    processes: int,
    threads: int | None,
    begin: Callable[[Job], bool],
    grow: Callable[[], bool],
) -> Generator[End, None, None]:
    """Several at a time, each given out where a process is free.

    A job that finds no memory waits until those beside it have ended, and is run again alone, once. Where a process is
    killed, what ran meanwhile is tried once more, in new processes.
    """
    begun: set[str] = set()
    tries: Counter[str] = Counter()
    waits: list[Job] = []
    while True:
        while waits:
            job = waits.pop(0)
            row, error = _attempt_alone(job, runner, threads)
            if row is not None:
                done.add(job.name)
            yield job, row, error
        running: dict[Future[tuple[dict[str, Any] | None, str]], Job] = {}
        with pool_of(processes, threads) as pool:
            try:
                while True:
                    for job in [] if waits else list(ready(jobs, done, begun)):
                        if len(running) == processes:
                            break
                        begun.add(job.name)
                        if not begin(job):
                            continue
                        with ends.deferred():
                            running[pool.submit(_attempt_in_worker, job, runner)] = job
                        tries[job.name] += 1
                    if not waits and len(running) < processes and grow():
                        continue
                    if not running:
                        break
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        row, error = future.result()
                        job = running.pop(future)
                        if isinstance(error, NoMemory):
                            say(again_line(job.name))
                            waits.append(job)
                            continue
                        if row is not None:
                            done.add(job.name)
                        yield job, row, error
                if not waits:
                    return
            except BrokenProcessPool:
                pass
        for job in running.values():
            if tries[job.name] > 1:
                yield job, None, "its process ended twice (killed, or out of memory)"
            else:
                begun.discard(job.name)


def _attempt_alone(job: Job, runner: Runner, threads: int | None) -> tuple[dict[str, Any] | None, str]:
    """Run a job in a new process while no other one runs, so that none holds memory."""
    with pool_of(1, threads) as pool:
        with ends.deferred():
            future = pool.submit(_attempt_in_worker, job, runner)
        try:
            return future.result()
        except BrokenProcessPool:
            return None, "its process ended (killed, or out of memory), also alone"


def _attempt_in_worker(job: Job, runner: Runner) -> tuple[dict[str, Any] | None, str]:
    try:
        with ends.working():
            found = attempt(job, runner)
            release()
            return found
    except BaseException as error:
        if (end := ends.end_of(error)) is not None:
            ends.leave(end)
        raise
