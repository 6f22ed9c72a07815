"""``kdlab study FILE --only JOB``: some jobs of a study, for a scheduler; one process imports and reads for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kdlab.files import one_line
from kdlab.study.job import Runner, attempt
from kdlab.study.kept import check_kept
from kdlab.study.loggers import check_loggers
from kdlab.study.plan import Job, Jobs
from kdlab.study.results import survey
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
    done = survey(needed).rows
    for name, job in some.items():
        if missing := [other for other in job.needs if other in needed and other not in done]:
            raise InputError(f"--only: {name} needs {', '.join(missing)} first.")
    if len(some) == 1:
        (job,) = some.values()
        row, error = attempt(job, runner)
        if row is None:
            kept = job.folder / "error.txt"
            raise InputError(f"{job.name}: {one_line(error)}" + (f" (full text in {kept})" if kept.is_file() else ""))
        report(job, row, "")
        return
    together = {name: job for name, job in jobs.items() if name in some or name in needed}
    outcome = run_jobs(together, runner, processes=processes, threads=threads, report=report)
    if outcome.failures:
        raise InputError(
            f"--only: {len(outcome.failures)} of {len(some)} jobs failed ({', '.join(outcome.failures)}). See above."
        )
