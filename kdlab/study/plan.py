"""What a study consists of: its file, its folds, and one job per run, label, fold and seed.

A study file names ordinary run configs and each other::

    study: sp_sw_har/study            # the folder below runs/
    seeds: [0, 1, 2]
    folds: 5                          # groups of subjects; or leave_one_subject_out; or lists of subjects
    set:
      all: {trainer.max_epochs: 12}   # or teachers, scratch, students
    axes:                             # grids: label -> what it sets
      capacity: {16-1: {model.init_args.net.init_args.width: 1}, 16-3: {model.init_args.net.init_args.width: 3}}
    teachers:
      teacher_raw: {config: teacher_raw.yaml, one_per: fold, axes: [capacity]}
    scratch:
      scratch: {config: scratch.yaml}
    students:
      kd: {config: kd.yaml, teachers: {raw: teacher_raw}}
      tgd: {config: tgd.yaml, teachers: {raw: teacher_raw}, init: scratch}
    baselines: [scratch, kd]          # what all are compared with; these by default
    published: {tgd: {value: 85.3, source: a paper, note: another split}}   # shown beside ours
    logger: {class_path: WandbLogger, init_args: {project: kdlab, save_dir: runs, offline: true}}   # of all runs
    budget: {hours: 2}                # no job begins that is not expected to end in time
    measure: [robustness, embeddings, latency]   # what is measured of every run, beside accuracy and size

``include: other.yaml`` names a study file in the same folder, or a list of them, whose runs and settings it extends.
The run configs may include their parts (`kdlab.configs.read_config`). A setting such as ``trainer.callbacks+``, in
``set`` or an axis, extends the list of the config.

All jobs of a fold come before those of the next, so that a study that is stopped has complete folds. ``budget`` and
the option ``--hours`` begin no job that is not expected to end in time, as finished jobs of its run took.

``updates: 800`` gives every run so many optimiser updates, and adds controls of equal length; see
`kdlab.study.budgets` for warm starts, ``updates`` and ``split`` of a run, and ``controls: none``.

A run has the axes that it names and those of the runs that it needs; an axis of the same name is the same axis. A
teacher with ``one_per: fold`` is shared by the seeds of its fold; without it each seed has its own.

``cross_fit: 3`` of a student takes each person's soft targets from teachers that have not seen this person; the study
adds them, see `kdlab.study.cross_fit`. A list of runs as a teacher is their ensemble, see `kdlab.study.ensembles`.

``tune`` declares what is tuned on validation people before the study is run (`kdlab.study.tuning.declared`), and
``tuned`` the settings that ``kdlab tune`` found and wrote (`kdlab.study.tuning.tuned`).

`kdlab.study.cluster.settings` has ``slurm``, which ``--submit`` reads.

`kdlab.study.paper` has the keys that change no job: ``people``, ``compare``, ``title``, ``columns`` and ``figures``.

``logger`` replaces the loggers of the run configs (``false``: none); without it the configs keep theirs. What logs
does not belong to a job's key, so a job that is done stays done. Runs of Weights & Biases have the study as their
group, the job as their name, and ``teacher``, ``scratch``, ``student`` or ``report`` as their type.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdlab import __version__
from kdlab.study.cluster.settings import Slurm
from kdlab.study.configs import get_value, set_value
from kdlab.study.cross_fit import connect_members
from kdlab.study.decided import refuse_corruption
from kdlab.study.digests import digest, digests_of
from kdlab.study.ensembles import connect_teacher
from kdlab.study.folds import set_fold
from kdlab.study.lengths import set_length, unknown_batches
from kdlab.study.loggers import name_runs
from kdlab.study.paper import Paper
from kdlab.study.people import hidden_job, logged_fold
from kdlab.study.rules import in_identity, rule_of_job
from kdlab.study.run_config import config_of
from kdlab.study.runs import Run
from kdlab.study.study_file import read_study_file
from kdlab.types import InputError, MissingFileError

NEEDED = "needed"  # `Job.trial` of a teacher, or of weights to start from, that trials need
CHOSEN = "chosen"  # likewise, with the settings that are chosen for it, where other trials need it without them
COPY = 10_000  # the seed of a copy of a run differs by so much
LONGEST = 255  # bytes in the name of a folder


@dataclass(frozen=True)
class Job:
    """One fit and its evaluation: a run with its labels, fold and seed."""

    run: str
    stage: str
    labels: dict[str, str]
    fold: str
    seed: int
    key: str
    folder: Path
    config: dict[str, Any]
    needs: tuple[str, ...]
    shared: bool
    hashed_for: str = ""  # the study for whose tables people are hashed; empty: they keep their names
    trial: str = ""  # of a tuning: its stage and number, `NEEDED` or `CHOSEN`; its test windows are not read
    measure: tuple[str, ...] = ()  # of `kdlab.study.measured.MEASURES`
    updates: int | None = None  # in total, in a study with updates
    warm: int = 0  # those of its warm start
    threads: int | None = None  # that it computes with; None: those of its process
    digests: Mapping[str, str] = field(default_factory=dict)  # of the parts of its key
    again: bool = False  # its row is known, but not its weights, which another job needs
    resume: bool = False  # a fit that was cut resumes from its last checkpoint, see `kdlab.study.cut`

    @property
    def name(self) -> str:
        """``run[axis=label,...]/fold/seed``, unique in the study; ``tune:.../trial`` in its tuning."""
        return job_name(self.run, self.labels, self.fold, None if self.shared else self.seed, self.trial)

    @property
    def result(self) -> Path:
        """The file that is there when the job is done."""
        return self.folder / ("validation.json" if self.trial else "result.json")


@dataclass(frozen=True)
class Study:
    """A study file, read and checked.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "s.yaml").write_text("model: {}", encoding="utf-8")
        ...     file = Path(folder, "study.yaml")
        ...     text = "{study: demo/s, seeds: 2, scratch: {s: {config: s.yaml}}}"
        ...     _ = file.write_text(text, encoding="utf-8")
        ...     study = Study.read(file)
        >>> study.name, study.seeds, list(study.runs)
        ('demo/s', (0, 1), ['s'])
    """

    name: str
    file: Path
    description: str
    seeds: tuple[int, ...]
    folds: int | str | list[list[Any]] | None
    axes: dict[str, dict[str, dict[str, Any]]]
    runs: dict[str, Run]
    baselines: tuple[str, ...]
    published: dict[str, dict[str, Any]]
    paper: Paper = field(default_factory=Paper)
    tune: Mapping[str, Any] | None = None
    tuned: Mapping[str, Any] | None = None
    hours: float | None = None
    measure: tuple[str, ...] = ()
    slurm: Slurm = field(default_factory=Slurm)
    earlier: bool = False  # begun with a version that chose weights by another rule, see `kdlab.study.rules`
    resume: bool = False  # as in `Job`

    @property
    def order(self) -> list[str]:
        """Names of the runs as tables show them: teachers, then the controls, then the others."""

        def rank(run: Run) -> int:
            labels_only = run.stage == "scratch" and get_value(run.config, "model.class_path") == "Supervised"
            return 0 if run.stage == "teacher" else 1 if labels_only or run.name in self.baselines else 2

        return [run.name for run in sorted(self.runs.values(), key=rank)]

    @classmethod
    def read(cls, path: str | Path) -> Study:
        """Read a study file.

        Raises:
            InputError: naming the entry, what was expected and what came.
        """
        return cls(**read_study_file(Path(path)))

    # ------------------------------------------------------------------ runs and their axes
    def axes_of(self, name: str) -> tuple[str, ...]:
        """The axes of a run, in the order of the file: its own and those of what it needs."""
        run = self.runs[name]
        found = {*run.axes, *(axis for other in run.needs for axis in self.axes_of(other))}
        return tuple(axis for axis in self.axes if axis in found)

    def jobs(
        self,
        root: Path,
        folds: Mapping[str, list[str]],
        fingerprint: Callable[[dict[str, Any]], str],
        tuned: Callable[[str, dict[str, str], str], Mapping[str, Any]] = lambda run, labels, fold: {},
        batches: Callable[[dict[str, Any]], int] = unknown_batches,
    ) -> Jobs:
        """All jobs in the order in which they can be run.

        Args:
            root: the folder of all runs.
            folds: fold -> its test subjects; ``{"": []}`` for the configs' own split.
            fingerprint: a digest of the data of a run config.
            tuned: the settings that were found for a run, its labels and a fold.
            batches: training batches of an epoch of a run config, for a study with ``updates``.
        """
        jobs: Jobs = {}
        for name in self.runs:
            run = self.runs[name]
            axes = self.axes_of(name)
            for fold, labels in itertools.product(folds, itertools.product(*(self.axes[a] for a in axes))):
                chosen = dict(zip(axes, labels, strict=True))
                for seed in self.seeds if run.one_per == "seed" else self.seeds[:1]:
                    needed = {other: jobs[self._needed(other, chosen, fold, seed)] for other in run.needs}
                    settings = tuned(run.origin or name, chosen, fold)
                    job = self.job(
                        *(run, chosen, fold, folds[fold], seed, needed, root, fingerprint, settings), batches=batches
                    )
                    jobs[job.name] = job
        return fold_first(jobs, folds)

    def labels_of(self, name: str) -> list[dict[str, str]]:
        """The combinations of labels of a run, in the order of the file: one, without labels, where it has no axes."""
        axes = self.axes_of(name)
        return [dict(zip(axes, labels, strict=True)) for labels in itertools.product(*(self.axes[a] for a in axes))]

    def job(
        self,
        run: Run,
        labels: dict[str, str],
        fold: str,
        subjects: list[str],
        seed: int,
        needed: Mapping[str, Job],
        root: Path,
        fingerprint: Callable[[dict[str, Any]], str],
        settings: Mapping[str, Any],
        trial: str = "",
        batches: Callable[[dict[str, Any]], int] = unknown_batches,
    ) -> Job:
        """One job.

        Args:
            run: what is run.
            labels: of its axes.
            fold: its name.
            subjects: the test subjects of the fold; none: those of the config.
            seed: of the fit.
            needed: name of a run that it needs -> the job of it.
            root: the folder of all runs.
            fingerprint: a digest of the data of a run config.
            settings: further values, by their dotted names, which come after those of the axes.
            trial: as in `Job`.
        """
        refuse_corruption(settings, f"{self.file}: settings of {run.name}")
        given = [*(self.axes[axis][labels[axis]] for axis in run.axes), settings]
        config = config_of(run, given, f"{self.file}: {title_of(run.name, labels)}")
        config["seed_everything"] = seed + COPY * run.copy
        if subjects:
            set_fold(config, subjects)
        shared = run.one_per == "fold"
        name = job_name(run.name, labels, fold, None if shared else seed, trial)
        with _naming(f"{self.file}: {name}" if fold else ""):
            data = fingerprint(config)
            count = 0 if run.updates is None else batches(config)
        if run.updates is not None:
            set_length(config, run.updates - run.warm, count, f"{self.file}: {run.name}")
        rule = rule_of_job(config, self.earlier)
        identity = {
            "config": _identity({**config, **in_identity(rule)}),
            "teachers": {teacher: needed[other].key for teacher, other in run.teachers.items()},
            "init": needed[run.init].key if run.init else None,
            "data": data,
            "version": __version__,
        }
        # before the folders of this place are put into the config
        key, digests = digest(identity), digests_of(identity)
        parts = [fold] if fold else []
        parts += [trial] if trial not in ("", NEEDED, CHOSEN) else []
        parts += ["shared" if shared else f"seed{seed}", key]
        place = Path(self.name, run.name, ",".join(f"{a}={v}" for a, v in labels.items()), "-".join(parts))
        _check_length(place, f"{self.file}: {name}")
        self._connect(config, run, needed, root)
        if (logger := get_value(config, "trainer.logger")) is not None:
            shown = logged_fold(fold, subjects, self.name, key)
            hidden = hidden_job(name, {fold: shown})
            tags = [f"seed={config['seed_everything']}", f"fold={shown}"] if fold else []
            set_value(config, "trainer.logger", name_runs(logger, self.name, hidden, run.stage, tags))
        config |= {"run": place.as_posix(), **rule}
        set_value(config, "trainer.default_root_dir", str(root))
        names = tuple(job.name for job in needed.values())
        hashed_for = self.name if self.paper.hashed else ""
        return Job(
            *(run.name, run.stage, labels, fold, seed, key, root / place, config, names, shared, hashed_for, trial),
            measure=self.measure,
            updates=run.updates,
            warm=run.warm,
            digests=digests,
            resume=self.resume,
        )

    def _needed(self, name: str, labels: Mapping[str, str], fold: str, seed: int) -> str:
        mine = {axis: labels[axis] for axis in self.axes_of(name)}
        return job_name(name, mine, fold, seed if self.runs[name].one_per == "seed" else None)

    def _connect(self, config: dict[str, Any], run: Run, needed: Mapping[str, Job], root: Path) -> None:
        """Put the folders of what a run needs into its config, and quiet its trainer: the study shows the progress."""
        views = {other: get_value(needed[other].config, "model.init_args.view", "raw") for other in needed}
        if run.cross_fit is not None:
            connect_members(config, run, {other: job.folder for other, job in needed.items()}, views)
        for teacher, other in run.teachers.items() if run.cross_fit is None else ():
            connect_teacher(config, teacher, str(needed[other].folder), views[other])
        if run.init:
            argument = "student_init" if run.teachers else "init"
            set_value(config, f"model.init_args.{argument}", str(needed[run.init].folder))
        cache = get_value(config, "model.init_args.cache")
        if isinstance(cache, dict) and "folder" not in cache:
            cache["folder"] = str(root / self.name / "teacher_cache")
        for setting in ("enable_progress_bar", "enable_model_summary"):
            if get_value(config, f"trainer.{setting}") is None:
                set_value(config, f"trainer.{setting}", False)


Jobs = dict[str, Job]


def fold_first(jobs: Jobs, folds: Iterable[str]) -> Jobs:
    """All jobs of the first fold, then those of the second, so that a study that is stopped has complete folds.

    Args:
        jobs: in an order in which they can be run; what a job needs is of its fold.
        folds: in their order.
    """
    place = {fold: i for i, fold in enumerate(folds)}
    return dict(sorted(jobs.items(), key=lambda item: place[item[1].fold]))


def _check_length(place: Path, where: str) -> None:
    for part in place.parts:
        if (size := len(part.encode())) > LONGEST:
            raise InputError(
                f"{where}: the name of its folder must be at most {LONGEST} bytes long, but got {size}: {part[:40]}... "
                "Shorten the names of its run, axes and labels."
            )


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that the key of a job is made from: where a run is kept and who logs it change nothing."""
    kept = {k: v for k, v in config.items() if k != "run"}
    trainer = kept.get("trainer")
    if isinstance(trainer, Mapping) and "logger" in trainer:
        kept["trainer"] = {k: v for k, v in trainer.items() if k != "logger"}
        if not kept["trainer"]:
            del kept["trainer"]
    return kept


@contextlib.contextmanager
def _naming(job: str) -> Iterator[None]:
    """A refusal of the data of a fold names the job: those of all others may be accepted."""
    try:
        yield
    except MissingFileError:
        raise  # it is missing for all jobs
    except InputError as error:
        if not job:
            raise
        raise InputError(f"{job}: {error}") from error


def title_of(run: str, labels: Mapping[str, str]) -> str:
    """A run with its labels.

    >>> title_of("kd", {"size": "2"}), title_of("kd", {})
    ('kd[size=2]', 'kd')
    """
    return run + (f"[{','.join(f'{a}={v}' for a, v in labels.items())}]" if labels else "")


def job_name(run: str, labels: Mapping[str, str], fold: str, seed: int | None, trial: str = "") -> str:
    """The name of a job; one without a seed is shared by the seeds of its fold.

    >>> job_name("kd", {"size": "2"}, "fold1", 0), job_name("teacher", {}, "", None, NEEDED)
    ('kd[size=2]/fold1/seed0', 'tune:teacher/shared')
    """
    parts = [title_of(run, labels), *([fold] if fold else []), "shared" if seed is None else f"seed{seed}"]
    parts += [trial] if trial not in ("", NEEDED) else []
    return ("tune:" if trial else "") + "/".join(parts)


def ready(jobs: Jobs, done: set[str], begun: set[str]) -> Iterator[Job]:
    """The jobs that can begin now."""
    return (job for name, job in jobs.items() if name not in begun | done and done.issuperset(job.needs))
