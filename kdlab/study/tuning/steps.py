"""The trials of a tuning as a plan: which jobs are known, and which settings are chosen, given what is done.

A step is one search: a teacher's, that of the common settings, or a row's own, with the people of one part. Its trials
come in rounds. Those of a round are known once all earlier rounds of the step are done, and depend on nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdlab.configs import ADDED, extended
from kdlab.study.plan import CHOSEN, NEEDED, Job, Jobs, Study, title_of
from kdlab.study.tuning.declared import Tune, rows_of
from kdlab.study.tuning.people import Part
from kdlab.study.tuning.pruning import CALLBACK
from kdlab.study.tuning.space import Space
from kdlab.study.tuning.suggest import COMPLETE, FAILED, PRUNED, Finished, best_of, medians, suggest
from kdlab.study.windows import batches, fingerprint, make_data
from kdlab.types import InputError

Row = Mapping[str, Any]
COMMON = "common"
OWN = "own"
_CALLBACKS = f"trainer.callbacks{ADDED}"


@dataclass(frozen=True)
class Step:
    """One search.

    Attributes:
        part: whose windows it reads.
        stage: ``"teacher"``, ``"common"`` or ``"own"``.
        runs: what a trial fits: run and labels.
        space: of the settings.
        after: names of the steps that come before it.
    """

    part: Part
    stage: str
    runs: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    space: Space
    after: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """``common``, or the run with its labels."""
        return COMMON if self.stage == COMMON else title_of(self.runs[0][0], dict(self.runs[0][1]))

    @property
    def name(self) -> str:
        """Unique in the tuning."""
        return f"{self.part.name}/{self.stage}/{self.title}"


@dataclass(frozen=True)
class Trial:
    """Settings that are tried, and the fits that try them."""

    number: int
    values: Mapping[str, Any]
    jobs: tuple[Job, ...]


@dataclass
class Planned:
    """What is known of a tuning.

    Attributes:
        jobs: in an order in which they can be run.
        finished: step -> its trials that are done.
        chosen: step -> the best of them, where all are done.
    """

    jobs: Jobs = field(default_factory=dict)
    finished: dict[str, list[Finished]] = field(default_factory=dict)
    chosen: dict[str, Finished] = field(default_factory=dict)


class Tuning:
    """The plan of a study's tuning.

    Args:
        study: the study.
        tune: its section ``tune``.
        parts: whose windows are read, and where settings are used.
        root: the folder of all runs.
    """

    def __init__(self, study: Study, tune: Tune, parts: Sequence[Part], root: Path) -> None:
        self.study, self.tune, self.parts, self.root = study, tune, tuple(parts), root
        self.steps = {step.name: step for part in parts for step in self._steps(part)}
        self._trials: dict[tuple[str, int], Trial] = {}
        self._kept: dict[tuple[str, str, str], Jobs] = {}  # each with what it needs, which comes before it
        self._early = self._needed_early()

    def _steps(self, part: Part) -> list[Step]:
        steps: list[Step] = []
        own: dict[str, list[str]] = {}  # run -> its own steps

        def before(run: str) -> list[str]:
            needs = [(self.study.runs[other].origin or other, other) for other in self.study.runs[run].needs]
            found = [name for like, other in needs for name in (*own.get(like, []), *before(other))]
            return list(dict.fromkeys(found))

        def add(stage: str, name: str, more: Sequence[str] = ()) -> None:
            own[name] = []
            for labels in self.study.labels_of(name):
                runs = ((name, tuple(labels.items())),)
                steps.append(Step(part, stage, runs, self.tune.own[name], tuple(dict.fromkeys([*more, *before(name)]))))
                own[name].append(steps[-1].name)

        for name in self.study.runs:
            if self.study.runs[name].stage == "teacher" and name in self.tune.own:
                add("teacher", name)
        common = []
        if self.tune.common:
            runs = [(name, tuple(labels.items())) for name in self.tune.on for labels in self.study.labels_of(name)]
            after = [name for run in self.tune.on for name in before(run)]
            steps.append(Step(part, COMMON, tuple(runs), self.tune.common, tuple(dict.fromkeys(after))))
            common = [steps[-1].name]
        for name in rows_of(self.study):
            if name in self.tune.own:
                add(OWN, name, common)
        return steps

    def _needed_early(self) -> set[str]:
        """The runs that trials need before settings of their own are chosen for rows."""
        found: set[str] = set()

        def visit(run: str) -> None:
            for other in self.study.runs[run].needs:
                found.add(other)
                visit(other)

        for run in {run for step in self.steps.values() if step.stage != OWN for run, _ in step.runs}:
            visit(run)
        return found

    def trial_of_needed(self, run: str, late: bool) -> str:
        """`Job.trial` of a run that trials need: it says with which of its settings they need it.

        A row that is needed before its settings are chosen, and again afterwards, is two jobs, so it has two names.

        Args:
            run: that is needed.
            late: by a row's own trials, which come after the choice of all that they need.
        """
        row = self.study.runs[self.study.runs[run].origin or run].stage != "teacher"
        return CHOSEN if late and row and run in self._early else NEEDED

    @functools.cached_property
    def chance(self) -> float:
        """Accuracy of guessing: the value of a trial that diverged."""
        return 1 / make_data(next(iter(self.study.runs.values())).config).num_classes

    # ---- settings ---------------------------------------------------------------------------------------------------
    def settings(
        self, run: str, labels: Mapping[str, str], part: Part, chosen: Mapping[str, Finished]
    ) -> dict[str, Any]:
        """What is chosen for a run, with the people of a part: the common settings, and over them its own."""
        found: dict[str, Any] = {}
        for step in self.steps_of(run, labels, part):
            best = chosen.get(step)
            found |= best.values if best is not None else {}
        return found

    def steps_of(self, run: str, labels: Mapping[str, str], part: Part) -> list[str]:
        """Names of the steps that choose settings of a run, with the people of a part, where there are such steps."""
        run = self.study.runs[run].origin or run
        if self.study.runs[run].stage == "teacher":
            return [f"{part.name}/teacher/{title_of(run, labels)}"]
        return [f"{part.name}/{COMMON}/{COMMON}", f"{part.name}/own/{title_of(run, labels)}"]

    # ---- trials -----------------------------------------------------------------------------------------------------
    @property
    def rounds(self) -> list[range]:
        """The numbers of the trials of every round of a step."""
        trials, size = self.tune.trials, self.tune.round
        return [range(start, min(start + size, trials)) for start in range(0, trials, size)]

    def tag(self, step: Step, number: int) -> str:
        """Stage and number of a trial, as the names of its jobs have them."""
        return f"{step.stage}{number:0{len(str(self.tune.trials - 1))}d}"

    # ---- the plan ---------------------------------------------------------------------------------------------------
    def plan(self, rows: Mapping[str, Row]) -> Planned:
        """Everything that is known, given the rows of the jobs that are done.

        Args:
            rows: name of a job -> its row.

        Raises:
            InputError: none of the trials of a step came to its end.
        """
        planned = Planned()
        for step in self.steps.values():
            if all(name in planned.chosen for name in step.after):
                self._plan_step(step, rows, planned)
        return planned

    def complete(self, planned: Planned) -> bool:
        """Whether every step has chosen."""
        return set(planned.chosen) == set(self.steps)

    def _plan_step(self, step: Step, rows: Mapping[str, Row], planned: Planned) -> None:
        finished = planned.finished.setdefault(step.name, [])
        for numbers in self.rounds:
            earlier, done = tuple(finished), list[Finished]()
            for number in numbers:
                trial = self._trial(step, number, earlier, planned)
                planned.jobs |= {job.name: job for job in trial.jobs}
                if all(job.name in rows for job in trial.jobs):
                    done.append(self._outcome(step, trial, rows))
            finished += done
            if len(done) < len(numbers):
                return
        best = best_of(finished)
        if best is None:
            raise InputError(
                f"tune: {step.title}: at least one of {self.tune.trials} trials must come to its end with the people "
                f"of {step.part.name}, but all diverged ({finished[0].reason}). Narrow its space."
            )
        planned.chosen[step.name] = best

    def _trial(self, step: Step, number: int, earlier: Sequence[Finished], planned: Planned) -> Trial:
        """A trial; its suggestion and its medians come from the trials of earlier rounds alone."""
        if (known := self._trials.get((step.name, number))) is None:
            first = number - number % self.tune.round
            taken = [self._trials[step.name, other].values for other in range(first, number)]
            values = suggest(step.space, earlier, self.tune.seed, number, self.tune.trials, taken)
            tag, jobs = self.tag(step, number), []
            for run, labels in step.runs:
                settings = {**self.settings(run, dict(labels), step.part, planned.chosen), **values}
                limits = medians(earlier, title_of(run, dict(labels)), self.tune.prune_from)
                jobs.append(self._job(run, dict(labels), step.part, planned, settings, tag, limits, step.stage == OWN))
            known = self._trials[step.name, number] = Trial(number, values, tuple(jobs))
        for job in known.jobs:
            self._needed(job.run, job.labels, step.part, planned, step.stage == OWN)
        return known

    def tried(self, run: str, labels: Mapping[str, str], values: Mapping[str, Any], part: Part | None = None) -> Job:
        """A job of a run with some values, to be checked and not to be run; what it needs has no settings yet.

        Args:
            run: its name.
            labels: of its axes.
            values: settings, by their dotted names.
            part: whose windows it reads; None: the first.
        """
        return self._aside._job(run, dict(labels), part or self.parts[0], Planned(), values, f"{COMMON}0", None)

    @functools.cached_property
    def _aside(self) -> Tuning:
        """For jobs that are not to be run: what they need is kept apart from what trials need."""
        return Tuning(self.study, self.tune, self.parts, self.root)

    def _needed(
        self, run: str, labels: Mapping[str, str], part: Part, planned: Planned, late: bool = False
    ) -> dict[str, Job]:
        """The jobs that a run needs, with the people of a part and the settings that are chosen for them."""
        needed = {}
        for other in self.study.runs[run].needs:
            mine = {axis: labels[axis] for axis in self.study.axes_of(other)}
            settings = self.settings(other, mine, part, planned.chosen)
            key = (title_of(other, mine), part.name, repr(settings))
            if key not in self._kept:
                mere = Planned(chosen=planned.chosen)
                job = self._job(other, mine, part, mere, settings, self.trial_of_needed(other, late), None, late)
                self._kept[key] = {**mere.jobs, job.name: job}
            planned.jobs |= self._kept[key]
            needed[other] = list(self._kept[key].values())[-1]
        return needed

    def _job(
        self,
        run: str,
        labels: dict[str, str],
        part: Part,
        planned: Planned,
        settings: Mapping[str, Any],
        trial: str,
        limits: list[float | None] | None,
        late: bool = False,
    ) -> Job:
        entry, needed = self.study.runs[run], self._needed(run, labels, part, planned, late)
        if trial not in (NEEDED, CHOSEN) and self.tune.prune:
            settings = {**settings, _CALLBACKS: extended(settings.get(_CALLBACKS), self._pruning(limits))}
        held = list(part.held)
        return self.study.job(
            *(entry, labels, part.fold, held, self.tune.seed, needed, self.root, fingerprint, settings, trial),
            batches=batches,
        )

    def _pruning(self, limits: list[float | None] | None) -> dict[str, Any]:
        arguments: dict[str, Any] = {"shares": list(self.tune.prune)}
        if limits is not None:
            arguments["medians"] = limits
        return {"class_path": CALLBACK, "init_args": arguments}

    def _outcome(self, step: Step, trial: Trial, rows: Mapping[str, Row]) -> Finished:
        mine = [rows[job.name] for job in trial.jobs]
        states = {row["state"] for row in mine}
        state = FAILED if FAILED in states else PRUNED if PRUNED in states else COMPLETE
        value = self.chance if state == FAILED else sum(row["val_accuracy"] for row in mine) / len(mine)
        return Finished(
            trial.number,
            trial.values,
            state,
            value,
            {title_of(job.run, job.labels): tuple(row["points"]) for job, row in zip(trial.jobs, mine, strict=True)},
            next((str(row["reason"]) for row in mine if row["state"] == FAILED), ""),
            sum(row["updates"] for row in mine),
            sum(row["seconds"] for row in mine),
        )
