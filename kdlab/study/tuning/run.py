"""The settings of a study's rows: those of its file, those that were found, or those that a tuning finds now."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from kdlab.study import ends
from kdlab.study.job import Runner, sources
from kdlab.study.people import hidden_folds
from kdlab.study.plan import Job, Jobs, Study, title_of
from kdlab.study.results import Survey, clean, survey
from kdlab.study.run import Outcome, run_jobs
from kdlab.study.tuning.checks import check_space
from kdlab.study.tuning.declared import FOLD, HALVES, read_tune
from kdlab.study.tuning.near_ends import near_ends
from kdlab.study.tuning.people import OWN_SPLIT, plan_people
from kdlab.study.tuning.printed import print_tuning
from kdlab.study.tuning.record import FOLDER, TRIALS, tuned_of, write_chosen, write_trials
from kdlab.study.tuning.rows import is_trial
from kdlab.study.tuning.steps import Planned, Tuning
from kdlab.study.tuning.suggest import FAILED
from kdlab.study.tuning.tuned import Tuned, parts_of_folds, read_tuned
from kdlab.types import InputError


@dataclass
class Settings:
    """The folds of a study, and the settings of its rows in them.

    Attributes:
        study: whose they are.
        folds: name -> test subjects.
        tuning: where settings are still to be found by this study.
        tuned: those that are found.
        parts: fold -> the part whose settings are used in it.
        rows: jobs of the tuning that are done.
        bare: of these, those whose weights are not here.
        row_of: as in `survey`.
        at_ends: which of the settings that this study found lie at an end of their range, in words.
    """

    study: Study
    folds: dict[str, list[str]]
    tuning: Tuning | None = None
    tuned: Tuned | None = None
    parts: dict[str, str] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    bare: set[str] = field(default_factory=set)
    row_of: Callable[[Job, dict[str, Any] | None], dict[str, Any] | None] | None = None
    at_ends: str = ""

    @property
    def pending(self) -> bool:
        """Whether trials have to be run first."""
        return self.tuning is not None and self.tuned is None

    def known(self, jobs: Jobs) -> Jobs:
        """Of the jobs of the study, those whose settings are not still to be found, nor those of what they need."""
        if not self.pending:
            return jobs
        tuning, found = _tuning(self), dict[str, Job]()
        for name, job in jobs.items():
            steps = {step for part in tuning.parts for step in tuning.steps_of(job.run, job.labels, part)}
            if steps.isdisjoint(tuning.steps) and all(other in found for other in job.needs):
                found[name] = job
        return found

    @property
    def caption(self) -> str:
        """Which people the settings were chosen with; empty where nothing was tuned."""
        if self.tuned is None:
            return ""
        others = self.tuned.kind == FOLD and any(part != (fold or OWN_SPLIT) for fold, part in self.parts.items())
        told = self.tuned.kind == HALVES or others
        used = "; ".join(f"{self._shown(fold)}: {self._shown(part)}" for fold, part in self.parts.items() if told)
        caption = self.tuned.caption_of(untuned=self.tuned.untuned(self.study), others=others)
        where = f" Trials, space and choice: `{FOLDER}/`." if self.tuning is not None else ""
        ends = f" {self.at_ends}" if self.at_ends else ""
        return caption + (f" Used in {used}." if used else "") + ends + where

    def _shown(self, fold: str) -> str:
        """A fold or part as tables have it: called after a person, it has the person's hash where people are hashed."""
        study = self.study.name if self.study.paper.hashed else ""
        return hidden_folds({fold: [fold.removeprefix("subject")]}, study)[fold] or "the split"

    def of(self, run: str, labels: Mapping[str, str], fold: str) -> Mapping[str, Any]:
        """The settings of a run in a fold."""
        found = {} if self.tuned is None else self.tuned.settings.get(title_of(run, labels), {})
        return found.get(self.parts.get(fold, ""), {})


def read_settings(study: Study, root: Path, *, again: bool = False) -> Settings:
    """What is declared: nothing, settings that were found (``tuned``), or a tuning (``tune``).

    Args:
        study: the study.
        root: the folder of all runs.
        again: find the settings, also where the study has some that were found.
    """
    tune = read_tune(study)
    if not again and (found := read_tuned(study)) is not None:
        aside = [person for people in found.people.values() for person in people] if found.kind == "people" else []
        folds = plan_people(study, None, aside)[0]
        return Settings(study, folds, tuned=found, parts=parts_of_folds(study, found, folds))
    folds, parts = plan_people(study, tune)
    if tune is None:
        return Settings(study, folds)
    used = {fold: part.name for fold in folds for part in parts if fold in part.folds}
    return Settings(study, folds, Tuning(study, tune, parts, root), parts=used)


def look_up(settings: Settings) -> tuple[Planned, Survey]:
    """What is known and done of a tuning, without running anything."""
    tuning, damaged = _tuning(settings), dict[str, str]()
    while True:
        planned = tuning.plan(settings.rows)
        new = {name: job for name, job in planned.jobs.items() if name not in settings.rows and name not in damaged}
        found = survey(new, settings.row_of)
        damaged |= found.damaged
        settings.bare |= found.bare
        settings.rows |= found.rows
        if not found.rows:
            known = {name: settings.rows[name] for name in planned.jobs if name in settings.rows}
            return planned, Survey(known, damaged, settings.bare & set(known))


def resolve(settings: Settings, reading: Callable[[Sequence[str]], None]) -> tuple[Planned, Survey]:
    """What is known and done of a tuning; where it is complete, its choice becomes the settings.

    Args:
        settings: of a study.
        reading: reads a command line without running it.

    Raises:
        InputError: a setting that is not accepted.
    """
    if not settings.pending:
        return Planned(), Survey()
    try:
        planned, found = look_up(settings)
    except InputError:
        check_space(_tuning(settings), reading)  # which names the setting, where one is behind it
        raise
    if _tuning(settings).complete(planned):
        settings.tuned = tuned_of(_tuning(settings), planned)
        settings.at_ends = near_ends(_tuning(settings), planned)
    return planned, found


def show(settings: Settings, planned: Planned, found: Survey, reading: Callable[[Sequence[str]], None]) -> None:
    """Print the plan of a tuning that is not complete, and check every setting of its space."""
    if settings.caption:
        print(f"  {settings.caption}")
    if settings.pending:
        print_tuning(_tuning(settings), settings.folds, planned, found)
        check_space(_tuning(settings), reading)


def still_to_find(settings: Settings, planned: Planned) -> str:
    """Why there are no tables of a study whose tuning is not complete, in one line."""
    tuning = _tuning(settings)
    done, total = sum(map(len, planned.finished.values())), tuning.tune.trials * len(tuning.steps)
    file, study = shlex.quote(str(tuning.study.file)), tuning.study.name
    return (
        f"the settings of {study} are still to be found ({done} of {total} trials are done), so no tables are written, "
        f"and those that are there stay. Run kdlab study {file}."
    )


def write_found(settings: Settings, folder: Path, command: str) -> None:
    """Write what is found so far, from the results alone.

    Args:
        settings: of a study that is tuned.
        folder: of the study.
        command: for the head of the files.
    """
    tuning, place = _tuning(settings), folder / FOLDER
    planned = look_up(settings)[0]
    write_trials(tuning, planned, place)
    if tuning.complete(planned):
        write_chosen(tuning, planned, place, command, sources())


def find(settings: Settings, runner: Runner, folder: Path, *, processes: int = 1, command: str) -> Tuned:
    """Run the trials that are missing, round by round, and keep what they find.

    Args:
        settings: of a study that is to be tuned; they hold what was found afterwards.
        runner: runs a command line.
        folder: of the study.
        processes: how many fits run at a time.
        command: for the head of the files.

    Raises:
        InputError: a fit failed for another reason than that it diverged.
    """
    tuning, place = _tuning(settings), folder / FOLDER
    total = sum(tuning.tune.trials * len(step.runs) for step in tuning.steps.values())
    with tqdm(total=total, unit="fit", desc="tune", smoothing=0, disable=None) as bar:

        def report(job: Job, row: dict[str, Any] | None, error: str) -> None:
            bar.update(is_trial(job))
            bar.write(line_of(job, row, error))

        def more(outcome: Outcome) -> Jobs:
            """The jobs that are known now: the next round of every step whose last one is done."""
            new = {row["job"]: row for row in outcome.rows if row["job"] not in settings.rows}
            if outcome.failures or not new:
                return {}
            settings.rows |= new
            planned = look_up(settings)[0]
            write_trials(tuning, planned, place)
            return planned.jobs

        clean(place)
        planned, found = look_up(settings)
        write_trials(tuning, planned, place)
        bar.update(sum(is_trial(planned.jobs[name]) for name in found.rows))
        threads = torch.get_num_threads()  # of every fit, whatever the number of processes
        outcome = run_jobs(
            planned.jobs, runner, processes=processes, threads=threads, report=report, found=found, more=more
        )
        settings.rows |= {row["job"]: row for row in outcome.rows}
        planned, found = look_up(settings)
        write_trials(tuning, planned, place)
        if outcome.failures:
            name, reason = next(iter(outcome.failures.items()))
            raise InputError(
                f"tune: {len(outcome.failures)} of {len(planned.jobs)} fits have no result, so nothing can be chosen: "
                f"{name}: {reason.splitlines()[0] if reason else ''}. Correct it, and run the same command again."
            )
    settings.tuned = write_chosen(tuning, planned, place, command, sources())
    settings.at_ends = near_ends(tuning, planned)
    print(f"tune: {len(outcome.ran)} fits run; trials and choice: {place / TRIALS}")
    if settings.at_ends:
        print(f"tune: {settings.at_ends}")
    ends.check()
    return settings.tuned


def line_of(job: Job, row: Mapping[str, Any] | None, error: str) -> str:
    """The outcome of a fit of a tuning, in one line."""
    if row is None:
        return f"{job.name}: FAILED: {error.splitlines()[0] if error else ''}"
    if row["state"] == FAILED:
        return f"{job.name}: diverged, {row['seconds']:.0f} s"
    pruned = "" if row["pruned_at"] is None else f", pruned at {100 * row['pruned_at']:.0f} %"
    return f"{job.name}: validation {100 * row['val_accuracy']:.1f} %{pruned}, {row['seconds']:.0f} s"


def fix_threads() -> None:
    """One thread for every fit of a tuned study, unless ``OMP_NUM_THREADS`` says another number.

    Sums over several threads differ in their last bits, and a last bit may turn a choice round: the number of threads
    must not depend on ``--jobs``.
    """
    threads = os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that are started from here, too
    if threads.isdigit() and int(threads):
        torch.set_num_threads(int(threads))


def command_line(words: Sequence[str]) -> str:
    """A command as it stands in the head of a file."""
    return shlex.join(["kdlab", *words])


def _tuning(settings: Settings) -> Tuning:
    assert settings.tuning is not None
    return settings.tuning
