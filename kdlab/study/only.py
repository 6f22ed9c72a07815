"""``kdlab study FILE --only JOB``: some jobs of a study, for a scheduler; one process imports and reads for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kdlab.files import one_line
from kdlab.study.job import Runner, attempt
from kdlab.study.kept import check_kept
from kdlab.study.loggers import check_loggers
from kdlab.study.plan import Job, Jobs
from kdlab.study.progress import say
from kdlab.study.results import Survey, survey
from kdlab.study.resume import made_again
from kdlab.study.run import run_jobs
from kdlab.types import InputError


def run_only(
    jobs: Jobs,
    names: Sequence[str],
    runner: Runner,
    report: Callable[[Job, dict[str, Any] | None, str], None],
    *,
    processes: int = 1,
    threads: int | None = None,
) -> None:
    """Run these jobs in the order of the study; what they need is done already, or is one of them.

    Args:
        jobs: of the study.
        names: of some of them.
        runner: runs a command line.
        report: called for every job that ends, with its row or the reason of its failure.
        processes: how many run at a time.
        threads: of each process.

    Raises:
        InputError: a name is unknown, something they need is missing, or jobs failed.
    """
    for name in names:
        if name not in jobs:
            raise InputError(f"--only: no job {name!r}; --list names them.")
    some = {name: job for name, job in jobs.items() if name in names}
    for job in some.values():
        check_loggers((job.config.get("trainer") or {}).get("logger"))
        check_kept(job.config.get("trainer"), job.name)
    needed = {other: jobs[other] for job in some.values() for other in job.needs if other not in some}
    there = survey({**needed, **some})
    for name, job in some.items():
        lacking = [other for other in job.needs if other in needed and (other not in there.rows or other in there.bare)]
        if lacking:
            raise InputError(f"--only: {name} needs {', '.join(lacking)} first.")
    before = {name: there.rows[name] for name in some if name in there.bare}  # run for their weights
    jobs = {name: replace(job, again=True) if name in before else job for name, job in jobs.items()}
    some = {name: jobs[name] for name in some}
    if len(some) == 1:
        (job,) = some.values()
        row, error = attempt(job, runner)
        if row is None:
            kept = job.folder / "error.txt"
            raise InputError(f"{job.name}: {one_line(error)}" + (f" (full text in {kept})" if kept.is_file() else ""))
        _tell(report, before)(job, row, "")
        return
    together = {name: job for name, job in jobs.items() if name in some or name in needed}
    found = Survey({name: row for name, row in there.rows.items() if name not in before})
    outcome = run_jobs(
        together, runner, processes=processes, threads=threads, report=_tell(report, before), found=found
    )
    if outcome.failures:
        raise InputError(
            f"--only: {len(outcome.failures)} of {len(some)} jobs failed ({', '.join(outcome.failures)}). See above."
        )


def _tell(
    report: Callable[[Job, dict[str, Any] | None, str], None], before: Mapping[str, dict[str, Any]]
) -> Callable[[Job, dict[str, Any] | None, str], None]:
    """Reports an end, and whether a job that was run for its weights gave the row that it had."""

    def tell(job: Job, row: dict[str, Any] | None, error: str) -> None:
        report(job, row, error)
        if row is not None and job.name in before:
            say(made_again(before[job.name], row))

    return tell
