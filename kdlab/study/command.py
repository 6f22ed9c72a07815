"""``kdlab study FILE``: run the missing jobs of a study, and write its tables and figures."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kdlab.files import remove_leftovers
from kdlab.remedies import error_line
from kdlab.streams import last_line, never_refuse
from kdlab.study import ends
from kdlab.study.job import Runner, quiet
from kdlab.study.locks import alone
from kdlab.study.only import run_only
from kdlab.study.plan import Job, Jobs, Study
from kdlab.study.planned import check_configs, plan, print_commands, print_plan
from kdlab.study.results import Survey, survey
from kdlab.study.results_files import write
from kdlab.study.run import Outcome, run_jobs
from kdlab.study.threads import threads_of, use
from kdlab.types import InputError

LOCK = ".study.lock"
_KEPT = "What is done is kept: run the same command again, or name another folder with --root"


def main(words: Sequence[str], runner: Runner, check: Callable[[Sequence[str]], None]) -> None:
    """The command.

    SIGINT, SIGTERM and SIGHUP end it with status 130, 143 and 129, and every process that it started; what is done is
    kept, and the job that was cut begins again the next time.

    Args:
        words: what comes after ``kdlab study``.
        runner: runs a command line.
        check: reads a command line without running it.

    Raises:
        InputError: a wrong study file or argument, a study that another process runs, or a file that cannot be
            written.
    """
    parser = argparse.ArgumentParser(prog="kdlab study", description=__doc__, allow_abbrev=False)
    parser.add_argument("file", help="a study file, such as experiments/basic_motions/study.yaml")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and run nothing")
    parser.add_argument("--list", action="store_true", help="print one command per missing job, in order")
    only = "run this job alone (see --list); may be repeated; what it needs must be done, or be named, too"
    parser.add_argument("--only", metavar="JOB", action="append", help=only)
    parser.add_argument("--jobs", type=int, default=1, help="how many run at a time, one GPU each where there are any")
    parser.add_argument("--threads", type=int, help="threads of every job on a CPU; by default 1, or OMP_NUM_THREADS")
    parser.add_argument("--root", default="runs", help="folder of all runs")
    given = parser.parse_args(list(words))
    if given.jobs < 1:
        raise InputError(f"--jobs: must be at least 1, but got {given.jobs}. Raise it.")
    try:
        with ends.ending_by_signals():
            _main(given, runner, check)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"kdlab study: {error_line(error)} {_KEPT}.") from error
    except (KeyboardInterrupt, SystemExit, ends.Ended) as error:
        if (end := ends.end_of(error)) is None:
            raise
        last_line(f"error: {signal.Signals(end.signum).name} ended the study; the same command resumes it.")
        sys.exit(end.status)


def _main(given: argparse.Namespace, runner: Runner, check: Callable[[Sequence[str]], None]) -> None:
    quiet()
    never_refuse()
    study = Study.read(given.file)
    folds, jobs = plan(study, Path(given.root))
    folder = Path(given.root) / study.name
    threads, line = threads_of(given.threads)
    if given.only is not None:
        use(threads)
        run_only(jobs, given.only, runner, _print_outcome, processes=given.jobs, threads=threads)
        return
    if given.list or given.dry_run:
        found = survey(jobs)
        if given.list:
            print_commands(study, jobs, given.root, found)
            return
        print_plan(study, jobs, folds, found)
        check_configs(jobs, check, found)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / LOCK, str(folder), "study"):
        begin = time.perf_counter()
        remove_leftovers(folder)
        found = survey(jobs)
        print_plan(study, jobs, folds, found)
        check_configs(jobs, check, found)
        print(line)
        use(threads)
        outcome = execute(jobs, runner, given.jobs, found, threads)
        write(study, jobs, folds, outcome, folder, time.perf_counter() - begin)
        ends.check()
    if outcome.failures:
        sys.exit(f"error: {len(outcome.failures)} of {len(jobs)} jobs have no result; they are listed in {folder}.")


def execute(jobs: Jobs, runner: Runner, processes: int, found: Survey, threads: int | None = None) -> Outcome:
    """Run the jobs under one progress display."""
    done = len(found.rows)
    with tqdm(total=len(jobs), initial=done, unit="job", smoothing=0, disable=None) as bar:

        def report(job: Job, row: dict[str, Any] | None, error: str) -> None:
            bar.update()
            bar.write(outcome_line(job, row, error))

        outcome = run_jobs(jobs, runner, processes=processes, threads=threads, report=report, found=found)
    print(f"{len(outcome.ran)} jobs run, {done} were done before, {len(outcome.failures)} failed")
    return outcome


def outcome_line(job: Job, row: dict[str, Any] | None, error: str) -> str:
    """The outcome of a job, in one line."""
    if row is None:
        return f"{job.name}: FAILED: {error.splitlines()[0] if error else ''}"
    return f"{job.name}: validation {100 * row['val_accuracy']:.1f} %, {row['seconds']:.0f} s"


def _print_outcome(job: Job, row: dict[str, Any] | None, error: str) -> None:
    print(outcome_line(job, row, error), flush=True)
