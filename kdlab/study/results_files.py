"""The report of a study as its command writes and prints it."""

from __future__ import annotations

import itertools
from pathlib import Path

from kdlab.evaluate import Evaluation
from kdlab.evaluate.evaluation import ARRAYS, JSON
from kdlab.evaluate.plots import plot_embeddings
from kdlab.files import replacing
from kdlab.study.counted import planned
from kdlab.study.job import sources
from kdlab.study.plan import Jobs, Study
from kdlab.study.report import write_report
from kdlab.study.report_run import log_report, wandb_of
from kdlab.study.run import Outcome

DRAWN = 12  # nets in the figure of embeddings


def write(
    study: Study, jobs: Jobs, folds: dict[str, list[str]], outcome: Outcome, folder: Path, seconds: float | None
) -> None:
    """Tables and figures of the jobs that are done; without ``seconds``, of a study that may be running, so far."""
    others = sum(row["sources"] != sources() for row in outcome.rows)
    if others:
        print(f"note: {others} of {len(outcome.rows)} rows were made by other sources of kdlab than these")
    if not outcome.rows:
        print(f"no job of {study.name} is done yet, so there are no tables")
        return
    done = {row["job"] for row in outcome.rows}
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
        more=write_embeddings(jobs, outcome, folder) if "embeddings" in study.measure else (),
        plan=planned(jobs.values(), done),
        teachers={name: list(run.teachers.values()) for name, run in study.runs.items()},
    )
    final = seconds is not None
    if (
        final
        and (logger := wandb_of(jobs)) is not None
        and log_report(logger, study, folder, outcome.rows, outcome.failures)
    ):
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
    figure = plot_embeddings({name: (e.embedding, e.target) for name, e in first.items()}, classes)
    with replacing(folder / "embeddings.png") as part:
        figure.savefig(part, dpi=120, format="png")
    return [("embeddings.png", "Embeddings of the test windows of the first fold and seed")]
