"""``kdlab study FILE --submit``: the jobs that are left, given out stage by stage.

The array is the only distributor: each job is named in one element of one array, so that no two processes choose among
the same jobs, and nothing depends on locks, which network file systems may not have. A study whose arrays are still in
the queue is not submitted again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlab.files import read_text
from kdlab.study.cluster.element import Element
from kdlab.study.cluster.local import run_local
from kdlab.study.cluster.queue import refuse_while_queued
from kdlab.study.cluster.slurm import submit_slurm
from kdlab.study.cluster.stages import lines, stages_of
from kdlab.study.plan import Job, Jobs, Study
from kdlab.study.results import Survey
from kdlab.study.weights import to_make_again
from kdlab.types import InputError
from kdlab.usage import MEASURE

FOLDER = "cluster"  # below the folder of a study: what submitit keeps, with the output of every job


@dataclass(frozen=True)
class Commands:
    """The commands of a study that elements run.

    Attributes:
        file: of the study.
        root: the folder of all runs.
        more: further options of all.
        folder: where they are run.
    """

    file: str
    root: str
    more: tuple[str, ...] = ()
    folder: str = ""

    def job(self, name: str, gpu: str | None = None) -> Element:
        """Run one job; where it was cut before, it resumes."""
        return self._element("--only", name, "--resume-fits", gpu=gpu)

    def report(self) -> Element:
        """Write the tables of what is done."""
        return self._element("--report")

    def _element(self, *words: str, gpu: str | None = None) -> Element:
        root = () if self.root == "runs" else ("--root", self.root)
        return Element(("study", self.file, *words, *root, *self.more), self.folder or os.getcwd(), gpu)


def check(given: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Raises:
        InputError: naming the option.
    """
    if given.stage is not None and not given.list:
        raise InputError(f"--stage: must be given with --list, but got {given.stage} alone. Add --list.")
    if given.submit is None:
        return
    for name in ("dry_run", "list", "report", "only", "hours"):
        if getattr(given, name) not in (None, False):
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"--submit: must be given without {option}, but got both. Leave one out.")
    if given.submit == "slurm" and given.jobs != 1:
        raise InputError(
            f"--jobs: must be left out with --submit slurm, but got {given.jobs}. "
            f"Write slurm: {{at_once: {given.jobs}}}."
        )
    if given.threads == MEASURE:
        raise InputError(f"--submit: must be given with a number of threads, but got {MEASURE}. Write --threads 1.")


def left_of(jobs: Jobs, found: Survey) -> list[str]:
    """Names of the jobs to be run: those without a row, and those whose weights others need."""
    again = to_make_again(jobs, [name for name in jobs if name not in found.rows], found.bare)
    return [name for name in jobs if name not in found.rows or name in again]


def listed(jobs: Jobs, found: Survey, stage: int | None) -> list[str]:
    """Names of the jobs that are left, of one stage or of all; the stages are printed on standard error.

    Raises:
        InputError: there is no such stage.
    """
    left = left_of(jobs, found)
    stages = stages_of(jobs, left)
    if stage is None:
        for line in lines(stages):
            print(line, file=sys.stderr)
        return left
    if not 1 <= stage <= len(stages):
        raise InputError(f"--stage: must be 1 to {len(stages)}, the stages with jobs left, but got {stage}. Change it.")
    print(lines(stages)[stage - 1], file=sys.stderr)
    return list(stages[stage - 1].jobs)


def missing(jobs: Jobs, found: Survey) -> dict[str, str]:
    """The jobs without a row, and why, for the report.

    Args:
        jobs: of the study.
        found: what is done of them.
    """
    reasons = {}
    for name, job in jobs.items():
        if name not in found.rows:
            lost = [other for other in job.needs if other not in found.rows]
            reasons[name] = f"not run: it needs {', '.join(lost)}, which failed" if lost else _reason(job)
    return reasons


def _reason(job: Job) -> str:
    """The last line of why a job failed; one that was cut left nothing."""
    try:
        kept = read_text(job.folder / "error.txt", job.name).strip()
    except InputError:
        return "it was cut, or never begun"
    return kept.splitlines()[-1] if kept else ""


def submit(
    given: argparse.Namespace,
    study: Study,
    jobs: Jobs,
    found: Survey,
    report: Callable[[Job, dict[str, Any] | None, str], None],
    *,
    pending: bool = False,
) -> None:
    """Give the jobs that are left to a cluster, or to processes of this machine, which end before this returns.

    Args:
        given: the options of the command.
        study: the study.
        jobs: of it.
        found: what is done.
        report: called for every job that ends here, with its row or the reason of its failure.
        pending: whether its settings are still to be found.

    Raises:
        InputError: submitit or SLURM is not there, or refuses, or the settings are still to be found.
    """
    if pending:
        raise InputError(
            f"--submit: {given.file} must have its settings, but they are still to be found. Run kdlab tune "
            f"{given.file} --jobs 2 first, with the same --root, and then this command again."
        )
    _submitit()
    folder = Path(given.root) / study.name / FOLDER
    refuse_while_queued(folder, "--submit")
    left = left_of(jobs, found)
    stages = stages_of(jobs, left)
    if study.hours is not None:
        print("note: budget: hours has no effect on --submit; slurm: time is the limit of every job")
    print("\n".join(lines(stages)))
    more = (*(["--threads", str(given.threads)] if given.threads else []), *(["--hash-people"] * given.hash_people))
    commands = Commands(given.file, given.root, more, os.getcwd())
    folder.mkdir(parents=True, exist_ok=True)
    if given.submit == "slurm":
        submit_slurm(stages, commands.job, commands.report(), study.slurm, folder, study.name)
    else:
        run_local(stages, jobs, commands.job, study.slurm, folder, given.jobs, report)


def _submitit() -> None:
    """Raise an error that names the extra, where submitit is not installed."""
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise InputError(
            "--submit: the package submitit must be installed, but is not. Run pip install 'kdlab[cluster]'."
        ) from error
