"""The report of a study as its command writes and prints it."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path

from kdlab.evaluate import Evaluation
from kdlab.evaluate.evaluation import ARRAYS, JSON
from kdlab.evaluate.plots import plot_embeddings
from kdlab.fingerprint import is_hashed
from kdlab.study.counted import planned
from kdlab.study.evidence import commit_of_sources
from kdlab.study.figure_files import save_figure
from kdlab.study.job import sources
from kdlab.study.paper import Paper
from kdlab.study.people import hidden_folds, hidden_job, pseudonym
from kdlab.study.plan import Jobs, Study
from kdlab.study.report import write_report
from kdlab.study.report_run import log_report, wandb_of
from kdlab.study.run import Outcome

RESULTS = "results.md"
DRAWN = 12  # nets in the figure of embeddings


def write(
    study: Study, jobs: Jobs, folds: dict[str, list[str]], outcome: Outcome, folder: Path, seconds: float | None
) -> None:
    """Tables and figures of the jobs that are done; without ``seconds``, of a study that may be running, so far."""
    others = sum(row["sources"] != sources() for row in outcome.rows)
    if others:
        print(f"note: {others} of {len(outcome.rows)} rows were made by other sources of kdlab than these")
    hashes = sum(any(map(is_hashed, row.get("people", ()))) for row in outcome.rows)
    if 0 < hashes < sum(bool(row.get("people")) for row in outcome.rows):
        print(f"note: {hashes} of {len(outcome.rows)} rows have hashes for people; people: hashed makes all rows alike")
    if not outcome.rows:
        print(no_tables(study, folder))
        return
    embeddings = write_embeddings(jobs, outcome, folder, study.paper) if "embeddings" in study.measure else []
    if "embeddings" in study.measure and not embeddings:
        print("note: no figure of embeddings: rows that were made elsewhere come without them")
    hashed_for = study.name if study.paper.hashed else ""
    names = hidden_folds(folds, hashed_for)
    done = {row["job"] for row in outcome.rows}
    rows = [
        {**row, "fold": names.get(row["fold"], row["fold"]), "job": hidden_job(row["job"], names)}
        for row in outcome.rows
    ]
    kept = "its text, which may name people, is in error.txt in its folder"
    failures = {hidden_job(job, names): kept if hashed_for else error for job, error in outcome.failures.items()}
    report = write_report(
        rows,
        list(failures.items()),
        folder,
        name=study.name,
        description=study.description,
        baselines=study.baselines,
        published=study.published,
        order=study.order,
        axes={axis: list(labels) for axis, labels in study.axes.items()},
        subjects={
            names[fold]: sorted(pseudonym(name, hashed_for) for name in tested) if hashed_for else tested
            for fold, tested in folds.items()
            if fold
        },
        seconds=seconds,
        more=embeddings,
        paper=study.paper,
        plan=planned(jobs.values(), done, name=lambda fold: names.get(fold, fold)),
        teachers={name: list(run.teachers.values()) for name, run in study.runs.items()},
        commit=None if others else commit_of_sources(),
    )
    final = seconds is not None and not outcome.left
    if final and (logger := wandb_of(jobs)) is not None and log_report(logger, study, folder, rows, failures):
        place = logger["init_args"].get("save_dir") or "."
        print(f"logged to Weights & Biases: group {study.name}, the report last ({Path(place) / 'wandb'})")
    results = first_table(report.read_text("utf-8").partition("## Results")[2])
    print(f"\n{results}\n\nPercent. How to read it, and plots: {report}")


def no_tables(study: Study, folder: Path) -> str:
    """Why nothing is written of a study no job of which is done, in one line."""
    if not (folder / RESULTS).is_file():
        return f"no job of {study.name} is done yet, so there are no tables"
    return (
        f"no job of {study.name} is done with the settings and data that it has now, so no tables are written, and "
        f"those that are there, which are of others, stay. Run kdlab study {shlex.quote(str(study.file))}."
    )


def first_table(text: str) -> str:
    """The first table of a markdown text.

    >>> first_table("# a\\n\\n| x |\\n| - |\\n\\nb")
    '| x |\\n| - |'
    """
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), text.splitlines())
    return "\n".join(itertools.takewhile(lambda line: line.startswith("|"), lines))


def write_embeddings(jobs: Jobs, outcome: Outcome, folder: Path, paper: Paper) -> list[tuple[str, str]]:
    """t-SNE figures of the embeddings of the test windows of the first fold and seed, teachers first.

    Returns:
        File and caption; nothing, where no job that is done still has its evaluation, or windows have any number of
        labels, which have no colour.
    """
    first: dict[str, Evaluation] = {}
    done = {row["job"] for row in outcome.rows}
    for job in jobs.values():
        kept = job.name in done and all((job.folder / name).is_file() for name in (JSON, ARRAYS))
        if len(first) < DRAWN and job.run not in first and kept:
            found = Evaluation.load(job.folder)
            first |= {} if found.many_labels or not found.embedding.size else {job.run: found}
    if not first:
        return []
    classes = next(iter(first.values())).classes
    shown = {paper.shown(name): (e.embedding, e.target) for name, e in first.items()}
    file = save_figure(lambda: plot_embeddings(shown, classes), folder, "embeddings", paper.figures)
    return [(file, "Embeddings of the test windows of the first fold and seed")]
