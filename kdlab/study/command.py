"""``kdlab study FILE``: run what is missing of a study, and write its tables and plots."""

from __future__ import annotations

import argparse
import errno
import itertools
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from kdlab.evaluate import Evaluation
from kdlab.evaluate.evaluation import ARRAYS, JSON
from kdlab.evaluate.plots import plot_embeddings
from kdlab.files import one_line, remove_leftovers, replacing, write_text
from kdlab.study import ends
from kdlab.study.locks import alone
from kdlab.study.loggers import check_loggers
from kdlab.study.plan import Job, Jobs, Study, make_folds
from kdlab.study.report import write_report
from kdlab.study.report_run import log_report, wandb_of
from kdlab.study.results import Survey, load_evaluation, survey
from kdlab.study.run import Outcome, Runner, attempt, quiet, run_jobs, sources
from kdlab.study.windows import fingerprint, subjects
from kdlab.types import InputError

DRAWN = 12  # nets in the picture of embeddings
LOCK = ".study.lock"


def main(words: Sequence[str], runner: Runner, check: Callable[[Sequence[str]], None]) -> None:
    """The command.

    SIGINT, SIGTERM and SIGHUP end it with status 130, 143 and 129, and every process that it started; what is done is
    kept, and the job that was cut begins again the next time.

    Args:
        words: what comes after ``kdlab study``.
        runner: runs a command line.
        check: reads a command line without running it.

    Raises:
        InputError: a wrong study file or argument, a study that another process is at, or a file that cannot be
            written.
    """
    parser = argparse.ArgumentParser(prog="kdlab study", description=__doc__, allow_abbrev=False)
    parser.add_argument("file", help="a study file, such as experiments/basic_motions/study.yaml")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and run nothing")
    parser.add_argument("--list", action="store_true", help="print one command a job that is missing, in order")
    parser.add_argument("--only", metavar="JOB", help="run this one job (see --list); what it needs must be done")
    parser.add_argument("--jobs", type=int, default=1, help="how many run at a time, one GPU each where there are some")
    parser.add_argument("--root", default="runs", help="folder of all runs")
    given = parser.parse_args(list(words))
    if given.jobs < 1:
        raise InputError(f"--jobs: expected at least 1, got {given.jobs}.")
    try:
        with ends.ending_by_signals():
            _main(given, runner, check)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"kdlab study: {one_line(error)}. {_REMEDIES.get(error.errno or 0, _REMEDY)}.") from error
    except (KeyboardInterrupt, SystemExit, ends.Ended) as error:
        if (end := ends.end_of(error)) is None:
            raise
        ends.say(f"error: {signal.Signals(end.signum).name} ended the study; the same command resumes it.")
        sys.exit(end.status)


_REMEDY = "What is done is kept: mend it and run the same command again"
_REMEDIES = {
    errno.ENOSPC: "Free some space and run the same command again; what is done is kept",
    errno.EACCES: "Name another folder with --root, or make this one writable",
    errno.EROFS: "Name another folder with --root, or make this one writable",
    errno.ENOTDIR: "Name a folder with --root",
    errno.EEXIST: "Name a folder with --root",
    errno.ENAMETOOLONG: "Shorten --root and the names in the study file",
}


def _main(given: argparse.Namespace, runner: Runner, check: Callable[[Sequence[str]], None]) -> None:
    quiet()
    ends.print_anything()
    study = Study.read(given.file)
    folds, jobs = plan(study, Path(given.root))
    folder = Path(given.root) / study.name
    if given.only is not None:
        run_one(jobs, given.only, runner)
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
        outcome = execute(jobs, runner, given.jobs, found)
        write(study, jobs, folds, outcome, folder, time.perf_counter() - begin)
        ends.check()
    if outcome.failures:
        sys.exit(f"error: {len(outcome.failures)} of {len(jobs)} jobs have no result; they are listed in {folder}.")


def plan(study: Study, root: Path) -> tuple[dict[str, list[str]], Jobs]:
    """Folds (name -> test subjects) and jobs of a study."""
    first = next(iter(study.runs.values())).config
    folds = make_folds(study.folds, subjects(first) if study.folds is not None else {})
    return folds, study.jobs(root, folds, fingerprint)


def print_plan(study: Study, jobs: Jobs, folds: dict[str, list[str]], found: Survey) -> None:
    """What there is to do, what is done, and what is damaged and so begins again."""
    print(f"{study.name}: {len(jobs)} jobs, seeds {', '.join(map(str, study.seeds))}")
    for fold, tested in folds.items():
        if fold:
            print(f"  {fold} tests subject {', '.join(tested)}")
    for name, run in study.runs.items():
        mine = [job.name for job in jobs.values() if job.run == name]
        done = sum(job in found.rows for job in mine)
        grid = f", grid over {' x '.join(study.axes_of(name))}" if study.axes_of(name) else ""
        needs = f", needs {', '.join(run.needs)}" if run.needs else ""
        print(f"  {run.stage:8} {name:24} {len(mine):4} jobs, {done} done{grid}{needs}")
    for name, reason in found.damaged.items():
        print(f"  note: {name} counts as not done: {reason}")


def print_commands(study: Study, jobs: Jobs, root: str, found: Survey) -> None:
    """One shell command a missing job, for a cluster's scheduler or an agent."""
    for name in jobs:
        if name not in found.rows:
            more = [] if root == "runs" else ["--root", root]
            print(shlex.join(["kdlab", "study", str(study.file), "--only", name, *more]))


def check_configs(jobs: Jobs, check: Callable[[Sequence[str]], None], found: Survey) -> None:
    """Read every config of the study once, so that a typo is found before hours of training."""
    seen: set[tuple[str, ...]] = set()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "job.yaml")
        for name, job in jobs.items():
            kind = (job.run, *job.labels.values())
            if kind in seen:
                continue
            seen.add(kind)
            check_loggers((job.config.get("trainer") or {}).get("logger"))
            if name in found.rows:
                continue
            write_text(path, yaml.safe_dump(job.config, sort_keys=False))
            try:
                check(["fit", "--config", str(path)])
            except SystemExit as error:
                if ends.end_of(error) is not None:
                    raise
                raise InputError(f"the config of {job.name} is not accepted (see above); nothing was run.") from None


def run_one(jobs: Jobs, name: str, runner: Runner) -> None:
    """One job, as a scheduler asks for it."""
    if name not in jobs:
        raise InputError(f"--only: no job {name!r}; --list names them.")
    job = jobs[name]
    check_loggers((job.config.get("trainer") or {}).get("logger"))
    missing = [other for other in job.needs if other not in survey({other: jobs[other]}).rows]
    if missing:
        raise InputError(f"--only: {name} needs {', '.join(missing)} first.")
    row, error = attempt(job, runner)
    if row is None:
        kept = job.folder / "error.txt"
        raise InputError(f"{name}: {one_line(error)}" + (f" (whole text in {kept})" if kept.is_file() else ""))
    print(told(job, row, ""))


def execute(jobs: Jobs, runner: Runner, processes: int, found: Survey) -> Outcome:
    """Run the jobs under one progress display."""
    done = len(found.rows)
    with tqdm(total=len(jobs), initial=done, unit="job", smoothing=0, disable=None) as bar:

        def report(job: Job, row: dict[str, Any] | None, error: str) -> None:
            bar.update()
            bar.write(told(job, row, error))

        outcome = run_jobs(jobs, runner, processes=processes, report=report, found=found)
    print(f"{len(outcome.ran)} jobs run, {done} were done before, {len(outcome.failures)} failed")
    return outcome


def told(job: Job, row: dict[str, Any] | None, error: str) -> str:
    """What became of a job, in a line."""
    if row is None:
        return f"{job.name}: FAILED: {error.splitlines()[0] if error else ''}"
    return f"{job.name}: validation {100 * row['val_accuracy']:.1f} %, {row['seconds']:.0f} s"


def write(
    study: Study, jobs: Jobs, folds: dict[str, list[str]], outcome: Outcome, folder: Path, seconds: float
) -> None:
    """Tables and plots of what is done."""
    others = sum(row["sources"] != sources() for row in outcome.rows)
    if others:
        print(f"note: {others} of {len(outcome.rows)} rows were made by other sources of kdlab than these")
    if not outcome.rows:
        return
    report = write_report(
        outcome.rows,
        list(outcome.failures.items()),
        folder,
        name=study.name,
        description=study.description,
        baselines=study.baselines,
        published=study.published,
        order=study.order,
        axes={axis: list(labels) for axis, labels in study.axes.items()},
        subjects={fold: tested for fold, tested in folds.items() if fold},
        seconds=seconds,
        more=write_embeddings(jobs, outcome, folder),
    )
    if (logger := wandb_of(jobs)) is not None and log_report(logger, study, folder, outcome.rows, outcome.failures):
        place = logger["init_args"].get("save_dir") or "."
        print(f"logged to Weights & Biases: group {study.name}, the report last ({Path(place) / 'wandb'})")
    results = first_table(report.read_text("utf-8").partition("## Results")[2])
    print(f"\n{results}\n\nPercent. How to read it, and plots: {report}")


def first_table(text: str) -> str:
    """The first table of a markdown text.

    >>> first_table("# a\\n\\n| x |\\n| - |\\n\\nb")
    '| x |\\n| - |'
    """
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), text.splitlines())
    return "\n".join(itertools.takewhile(lambda line: line.startswith("|"), lines))


def write_embeddings(jobs: Jobs, outcome: Outcome, folder: Path) -> list[tuple[str, str]]:
    """t-SNE pictures of what the nets of the first fold and seed make of its test windows, teachers first.

    Returns:
        File and caption; nothing, where no job that is done still has its evaluation.
    """
    first: dict[str, Evaluation] = {}
    done = {row["job"] for row in outcome.rows}
    for job in jobs.values():
        whole = job.name in done and all((job.folder / name).is_file() for name in (JSON, ARRAYS))
        if len(first) < DRAWN and job.run not in first and whole:
            first[job.run] = load_evaluation(job.folder)
    if not first:
        return []
    classes = next(iter(first.values())).classes
    figure = plot_embeddings({name: (e.embedding, e.target) for name, e in first.items()}, classes)
    with replacing(folder / "embeddings.png") as part:
        figure.savefig(part, dpi=120, format="png")
    return [("embeddings.png", "Embeddings of the test windows of the first fold and seed")]
