"""``kdlab study FILE``: run the missing jobs of a study, and write its tables and figures."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from kdlab import reuse, usage
from kdlab.files import remove_leftovers
from kdlab.fingerprint import salt
from kdlab.streams import last_line, never_refuse
from kdlab.study import ends, windows
from kdlab.study.cluster import submit as submitting
from kdlab.study.cluster.left import check_key, check_known, keys_of, left_of
from kdlab.study.cluster.queue import FOLDER, refuse_while_queued
from kdlab.study.course import LEFT, Course
from kdlab.study.job import Runner, quiet
from kdlab.study.limits import check_hours
from kdlab.study.locks import LOCK, alone
from kdlab.study.only import run_only
from kdlab.study.plan import Job, Jobs, Study
from kdlab.study.planned import check_configs, plan, print_again, print_commands, print_plan, under_its_rule
from kdlab.study.progress import say
from kdlab.study.results import Survey, survey
from kdlab.study.results_files import RESULTS, write
from kdlab.study.resume import Earlier, export
from kdlab.study.run import Outcome, run_jobs
from kdlab.study.threads import record, threads_of, use
from kdlab.study.threads_measured import Build, measured, with_threads
from kdlab.study.tuning.run import (
    Settings,
    find,
    fix_threads,
    line_of,
    look_up,
    read_settings,
    resolve,
    show,
    still_to_find,
    write_found,
)
from kdlab.types import InputError


def main(
    words: Sequence[str], runner: Runner, check: Callable[[Sequence[str]], None], build: Build | None = None
) -> None:
    """The command.

    SIGINT, SIGTERM and SIGHUP end it with status 130, 143 and 129, and every process that it started; what is done is
    kept, and the job that was cut begins again the next time.

    Args:
        words: what comes after ``kdlab study``.
        runner: runs a command line.
        check: reads a command line without running it.
        build: makes method and data module of a config file; None: no threads are measured.

    Raises:
        InputError: a wrong study file or argument, a study that another process runs, or a file that cannot be
            written.
    """
    given = usage.study().parse_args(list(words))
    if given.jobs < 1:
        raise InputError(f"--jobs: must be at least 1, but got {given.jobs}. Raise it.")
    check_hours(given.hours, "--hours:")
    if given.hours is not None and (given.dry_run or given.list or given.report or given.only is not None):
        raise InputError(
            f"--hours: must be given without --dry-run, --list, --only and --report, but got {given.hours:g} and one "
            "of them. Leave it out."
        )
    submitting.check(given)
    with ends.ending("study"), quiet():
        try:
            _main(given, runner, check, build)
        finally:
            reuse.forget()
            windows.forget()  # a later study of this process reads its files as they are then


def _main(
    given: argparse.Namespace, runner: Runner, check: Callable[[Sequence[str]], None], build: Build | None
) -> None:
    never_refuse()
    study = replace(Study.read(given.file), resume=given.resume_fits)
    if given.hash_people:
        study = replace(study, paper=replace(study.paper, hashed=True))
    if study.paper.hashed:
        salt("people")
    study = under_its_rule(study, Path(given.root), run=not (given.list or given.dry_run or given.report))
    settings = read_settings(study, Path(given.root))
    if settings.tuning is not None or settings.tuned is not None:
        fix_threads()
    earlier = None
    if given.resume_from is not None:
        earlier = Earlier(given.resume_from, study, settings.folds, keep=not given.dry_run)
        settings.row_of = earlier.row_of
    tuning, trials = resolve(settings, check)
    folds, jobs = plan(study, Path(given.root), settings)

    def look(file: TextIO = sys.stdout) -> Survey:
        """What is done, and which rows of another place were taken; jobs without their settings are not done."""
        found = survey(settings.known(jobs), None if settings.pending else settings.row_of)
        if earlier is not None:
            print("\n".join(earlier.lines(settings.pending)), file=file)
        return found

    folder = Path(given.root) / study.name
    reported = None if settings.pending else folder  # where the settings of all jobs are known
    threads = threads_of(given.threads, folder)
    if given.only is not None:
        use(threads.number)
        known = with_threads({**tuning.jobs, **({} if settings.pending else jobs)}, threads)
        if given.key is not None:
            check_key(given.only[0], given.key, keys_of(study, settings, jobs, Path(given.root)))
        check_known(given.only, known, jobs, settings)
        if earlier is not None:
            look()
        run_only(known, given.only, runner, _print_outcome, processes=given.jobs, threads=threads.number)
        return
    options = [*(["--resume-fits"] * given.resume_fits), *(["--hash-people"] * given.hash_people)]
    if given.list or given.dry_run:
        found = look(sys.stderr if given.list else sys.stdout)
        if given.list:
            names = submitting.listed(left_of(jobs, found, settings, trials), given.stage)
            print_commands(study, names, given.root, options)
            return
        print_plan(study, jobs, folds, found, reported)
        print_again(jobs, found)
        check_configs(jobs, check, found)
        show(settings, tuning, trials, check)
        return
    seconds = None
    if given.submit is not None:
        begin = time.perf_counter()
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / LOCK, str(folder), "study"):
            found = look()
            print_plan(study, jobs, folds, found, reported)
            check_configs(jobs, check, found)
            show(settings, tuning, trials, check)
            left = left_of(jobs, found, settings, trials)
            submitting.submit(given, study, jobs, left, settings, check, _print_outcome)
            jobs = plan(study, Path(given.root), settings)[1]
        seconds = time.perf_counter() - begin
    if given.submit == "slurm":
        return
    if given.report or given.submit is not None:
        found = look()
        print_plan(study, jobs, folds, found, reported)
        captioned = replace(study, description="\n\n".join(filter(None, (study.description, settings.caption))))
        failures = submitting.missing(jobs, found) if given.submit is not None else {}
        outcome = Outcome(list(found.rows.values()), failures)
        if settings.pending:
            print(still_to_find(settings, tuning))
        else:
            write(captioned, jobs, folds, outcome, folder, seconds)
        kept = settings.pending and given.report and (folder / RESULTS).is_file()  # with what its tables cite
        if settings.tuning is not None and not kept:
            write_found(settings, folder, f"kdlab study {given.file}")
        _export(study, settings, tuning.jobs, jobs, outcome, folder)
        if failures:
            sys.exit(f"error: {len(failures)} of {len(jobs)} jobs have no result; they are listed in {folder}.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / LOCK, str(folder), "study"):
        begin = time.perf_counter()
        refuse_while_queued(folder / FOLDER, "study", known=False)
        remove_leftovers(folder)
        found = look()
        print_plan(study, jobs, folds, found, reported)
        check_configs(jobs, check, found)
        show(settings, tuning, trials, check)
        print(threads.line)
        use(threads.number)
        if settings.tuning is not None:
            find(settings, runner, folder, processes=given.jobs, command=f"kdlab study {given.file}")
            jobs = plan(study, Path(given.root), settings)[1]
            found = look()
        threads = measured(threads, jobs, found.rows, build, given.jobs)
        record(threads, folder)
        jobs = with_threads(jobs, threads)
        again = print_again(jobs, found)
        course = Course(
            *(jobs, {name: row for name, row in found.rows.items() if name not in again}),
            processes=given.jobs,
            hours=study.hours if given.hours is None else given.hours,
            teachers={name: list(run.teachers.values()) for name, run in study.runs.items()},
            say=say,
            started=begin,
        )
        outcome = execute(jobs, runner, given.jobs, found, course, threads.number)
        captioned = replace(study, description="\n\n".join(filter(None, (study.description, settings.caption))))
        write(captioned, jobs, folds, outcome, folder, time.perf_counter() - begin)
        _export(
            study, settings, look_up(settings)[0].jobs if settings.tuning is not None else {}, jobs, outcome, folder
        )
        ends.check()
    if outcome.left:
        last_line(f"{len(outcome.left)} of {len(jobs)} jobs are left ({course.rest()}); the same command runs them.")
    if outcome.failures:
        sys.exit(f"error: {len(outcome.failures)} of {len(jobs)} jobs have no result; they are listed in {folder}.")
    if outcome.left:
        sys.exit(LEFT)


def _export(study: Study, settings: Settings, trials: Jobs, jobs: Jobs, outcome: Outcome, folder: Path) -> None:
    """Write ``rows.jsonl``; where nothing is done, nothing is written."""
    rows = [*settings.rows.values(), *outcome.rows]
    if rows:
        folder.mkdir(parents=True, exist_ok=True)
        known = {**trials, **settings.known(jobs)}
        path = export(study, known, rows, settings.folds, folder, keep=settings.pending)
        print(f"Rows, to go on from elsewhere (--resume-from): {path}")


def execute(
    jobs: Jobs, runner: Runner, processes: int, found: Survey, course: Course, threads: int | None = None
) -> Outcome:
    """Run the jobs under one progress display."""
    done = len(found.rows)
    with tqdm(total=len(jobs), initial=done, unit="job", smoothing=0, disable=None) as bar:

        def report(job: Job, row: dict[str, Any] | None, error: str) -> None:
            bar.update(job.name not in found.rows)
            say(outcome_line(job, row, error))
            course.end(job, row)

        outcome = run_jobs(
            jobs, runner, processes=processes, threads=threads, report=report, found=found, begin=course.begin
        )
    left = f", {len(outcome.left)} left" if outcome.left else ""
    print(f"{len(outcome.ran)} jobs run, {done} were done before, {len(outcome.failures)} failed{left}")
    return outcome


def outcome_line(job: Job, row: dict[str, Any] | None, error: str) -> str:
    """The outcome of a job, in one line."""
    if job.trial:
        return line_of(job, row, error)
    if row is None:
        return f"{job.name}: FAILED: {error.splitlines()[0] if error else ''}"
    return f"{job.name}: validation {100 * row['val_accuracy']:.1f} %, {row['seconds']:.0f} s"


def _print_outcome(job: Job, row: dict[str, Any] | None, error: str) -> None:
    print(outcome_line(job, row, error), flush=True)
