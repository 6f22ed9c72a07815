"""What a study would run: its jobs printed as a plan or as commands, and their configs checked."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from kdlab import reuse
from kdlab.files import write_yaml
from kdlab.methods.selection import EARLIER, USUAL, in_words
from kdlab.parsed import own_of, without
from kdlab.study import ends
from kdlab.study.kept import check_kept
from kdlab.study.loggers import check_loggers
from kdlab.study.outdated import outdated
from kdlab.study.people import hidden_folds
from kdlab.study.plan import Jobs, Study
from kdlab.study.results import Survey
from kdlab.study.rows_file import NAME
from kdlab.study.rules import begun_earlier, note_earlier, rule_of_job
from kdlab.study.tuning.run import Settings, read_settings
from kdlab.study.weights import to_make_again
from kdlab.study.windows import batches, fingerprint
from kdlab.types import InputError


def under_its_rule(study: Study, root: Path, *, run: bool) -> Study:
    """The study; one that was begun with an earlier version keeps that version's rule for weights, and a line says so.

    Args:
        study: as it was read.
        root: the folder of all runs.
        run: jobs are to be run, so that the rule is noted.
    """
    folder = root / study.name
    unnamed = any(rule_of_job(run.config, earlier=True) for run in study.runs.values())
    if not unnamed or not begun_earlier(folder, study.runs):
        return study
    if run:
        note_earlier(folder)
    print(
        f"note: {study.name} was begun with a version of kdlab that kept the epoch with the {in_words(EARLIER)}, and "
        f"goes on under that rule. For the {in_words({'rule': USUAL})} write set: {{all: {{selection: {USUAL}}}}}, or "
        "give the study another name.",
        file=sys.stderr,
    )
    return replace(study, earlier=True)


def plan(study: Study, root: Path, settings: Settings | None = None) -> tuple[dict[str, list[str]], Jobs]:
    """Folds (name -> test subjects) and jobs of a study, with the settings that were found for them so far."""
    settings = read_settings(study, root) if settings is None else settings
    return settings.folds, study.jobs(root, settings.folds, fingerprint, settings.of, batches)


def print_plan(
    study: Study, jobs: Jobs, folds: dict[str, list[str]], found: Survey, folder: Path | None = None
) -> None:
    """The jobs of every run, how many are done, those that are damaged and so are repeated, and those that are not
    done any more, since settings or data changed since the report in ``folder``.
    """
    print(f"{study.name}: {len(jobs)} jobs, seeds {', '.join(map(str, study.seeds))}")
    for fold, tested in folds.items():
        if fold:
            print(f"  {fold} tests subject {', '.join(tested)}")
    for name, run in study.runs.items():
        mine = [job.name for job in jobs.values() if job.run == name]
        done = sum(job in found.rows for job in mine)
        grid = f", grid over {' x '.join(study.axes_of(name))}" if study.axes_of(name) else ""
        needs = f", needs {', '.join(run.needs)}" if run.needs else ""
        warm = f" ({run.warm} of them its warm start's)" if run.warm else ""
        length = f", {run.updates} updates{warm}" if run.updates else ""
        added = ", added by the study" if run.control else ""
        print(f"  {run.stage:8} {name:24} {len(mine):4} jobs, {done} done{grid}{needs}{length}{added}")
    for name, reason in found.damaged.items():
        print(f"  note: {name} counts as not done: {reason}")
    if folder is not None:
        names = hidden_folds(folds, study.name if study.paper.hashed else "")
        for line in outdated(jobs, found, folder / NAME, names):
            print(f"  note: {line}")


def print_again(jobs: Jobs, found: Survey) -> list[str]:
    """The jobs whose rows are known, and that run for their weights alone; printed."""
    again = to_make_again(jobs, [name for name in jobs if name not in found.rows], found.bare)
    names = [name for name in jobs if name in again]
    for name in names:
        print(f"  note: {name} is made again: its row is known, but a job that is left needs its weights")
    return names


def print_commands(study: Study, names: Iterable[str], root: str, options: Sequence[str] = ()) -> None:
    """One shell command per job, for a cluster's scheduler or an agent."""
    more = [] if root == "runs" else ["--root", root]
    for name in names:
        print(shlex.join(["kdlab", "study", str(study.file), "--only", name, *more, *options]))


def check_configs(jobs: Jobs, check: Callable[[Sequence[str]], None], found: Survey) -> None:
    """Read every config of the study that differs in more than seed and folders, so that a typo is found before hours
    of training.
    """
    seen: set[str] = set()
    with tempfile.TemporaryDirectory() as folder, reuse.reusing():
        path = Path(folder, "job.yaml")
        for name, job in jobs.items():
            kind = repr(without(job.config, own_of(job.config) or {}))
            if kind in seen:
                continue
            seen.add(kind)
            check_loggers((job.config.get("trainer") or {}).get("logger"))
            check_kept(job.config.get("trainer"), job.name)
            if name in found.rows:
                continue
            write_yaml(path, job.config)
            try:
                check(["fit", "--config", str(path)])
            except SystemExit as error:
                if ends.end_of(error) is not None:
                    raise
                raise InputError(f"the config of {job.name} is not accepted (see above); nothing was run.") from None
