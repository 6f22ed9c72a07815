"""``kdlab study FILE --submit``: the jobs that are left, given out stage by stage.

The array is the only distributor: each job is named in one element of one array, so that no two processes choose among
the same jobs, and nothing depends on locks, which network file systems may not have. A study whose arrays are still in
the queue is not submitted again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlab.files import one_line, read_text
from kdlab.study.cluster.element import Element
from kdlab.study.cluster.left import Left, keys_of
from kdlab.study.cluster.local import run_local
from kdlab.study.cluster.queue import FOLDER, refuse_while_queued
from kdlab.study.cluster.slurm import submit_slurm
from kdlab.study.cluster.stages import lines, stages_of
from kdlab.study.memory import lacked
from kdlab.study.plan import Job, Jobs, Study
from kdlab.study.planned import plan
from kdlab.study.results import Survey, read_row
from kdlab.study.tuning.run import Settings, resolve
from kdlab.types import InputError
from kdlab.usage import MEASURE


@dataclass(frozen=True)
class Commands:
    """The commands of a study that elements run.

    Attributes:
        file: of the study.
        root: the folder of all runs.
        keys: name of a job -> its key; under ``""`` that of trials.
        more: further options of all.
        folder: where they are run.
    """

    file: str
    root: str
    keys: Mapping[str, str]
    more: tuple[str, ...] = ()
    folder: str = ""

    def job(self, name: str, gpu: str | None = None) -> Element:
        """Run one job, if it still is what it is now; where it was cut before, it resumes."""
        key = self.keys[name if name in self.keys else ""]
        return self._element("--only", name, "--key", key, "--resume-fits", gpu=gpu)

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
    if given.key is not None and len(given.only or ()) != 1:
        raise InputError(f"--key: must be given with one --only, but got {given.key} with {len(given.only or ())}.")
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


def listed(left: Left, stage: int | None) -> list[str]:
    """Names of the jobs that are left, of one stage or of all; the stages are printed on standard error.

    Raises:
        InputError: there is no such stage.
    """
    stages = stages_of(left)
    if stage is None:
        for line in lines(stages):
            print(line, file=sys.stderr)
        return left.names
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
    left: Left,
    settings: Settings,
    reading: Callable[[Sequence[str]], None],
    report: Callable[[Job, dict[str, Any] | None, str], None],
) -> None:
    """Give the jobs that are left to a cluster, or to processes of this machine, which end before this returns.

    Args:
        given: the options of the command.
        study: the study.
        jobs: of it.
        left: what is left of them, and of the trials before them.
        settings: that are found, or still to be found.
        reading: reads a command line without running it.
        report: called for every job that ends here, with its row or the reason of its failure.

    Raises:
        InputError: submitit or SLURM is not there, or refuses; or trials that ran here have no result.
    """
    _submitit()
    root = Path(given.root)
    folder = root / study.name / FOLDER
    refuse_while_queued(folder, "--submit")
    stages = stages_of(left)
    if study.hours is not None:
        print("note: budget: hours has no effect on --submit; slurm: time is the limit of every job")
    print("\n".join(lines(stages)))
    more = (*(["--threads", str(given.threads)] if given.threads else []), *(["--hash-people"] * given.hash_people))
    commands = Commands(given.file, given.root, keys_of(study, settings, jobs, root), more, os.getcwd())
    folder.mkdir(parents=True, exist_ok=True)
    if given.submit == "slurm":
        submit_slurm(stages, commands.job, commands.report(), study.slurm, folder, study.name)
        return
    ends = Ends(study, root, settings, {} if settings.pending else jobs, reading, report)
    run_local(stages, left, commands.job, study.slurm, folder, given.jobs, ends.end, ends.lacked_memory)
    ends.check()


class Ends:
    """What comes of the jobs that run in processes of this machine.

    Args:
        study: the study.
        root: the folder of all runs.
        settings: that are found, or still to be found.
        jobs: of the study, where its settings are found.
        reading: reads a command line without running it.
        report: called for every job that ends, with its row or the reason of its failure.
    """

    def __init__(
        self,
        study: Study,
        root: Path,
        settings: Settings,
        jobs: Jobs,
        reading: Callable[[Sequence[str]], None],
        report: Callable[[Job, dict[str, Any] | None, str], None],
    ) -> None:
        self._study, self._root, self._settings, self._reading, self._report = study, root, settings, reading, report
        self._known, self._failed = dict(jobs), dict[str, str]()

    def end(self, name: str, output: str) -> bool:
        """Report a job that ended, and tell whether it has a result.

        Args:
            name: of the job.
            output: where it is.
        """
        job = self._job(name)
        try:
            row, reason = read_row(job), f"no result; see {output}"
        except InputError as error:
            row, reason = None, one_line(str(error))
        if row is None:
            self._failed[name] = reason
        self._report(job, row, "" if row is not None else reason)
        return row is not None

    def lacked_memory(self, name: str) -> bool:
        """Whether a job that ended found no memory."""
        return lacked(self._job(name).folder)

    def _job(self, name: str) -> Job:
        """A job by its name, whose settings follow from the trials that are done by now."""
        if name not in self._known:
            self._known |= resolve(self._settings, self._reading)[0].jobs
            if not self._settings.pending:
                self._known |= plan(self._study, self._root, self._settings)[1]
        return self._known[name]

    def check(self) -> None:
        """Look at the trials that ran last; settings that were to be found must be found now.

        Raises:
            InputError: trials have no result.
        """
        resolve(self._settings, self._reading)
        if self._settings.pending:
            name, reason = next(iter(self._failed.items()))
            raise InputError(
                f"tune: every trial must have a result, but {len(self._failed)} have none, so nothing can be chosen: "
                f"{name}: {reason}. Correct it, and run the same command again."
            )


def _submitit() -> None:
    """Raise an error that names the extra, where submitit is not installed."""
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise InputError(
            "--submit: the package submitit must be installed, but is not. Run pip install 'kdlab[cluster]'."
        ) from error
