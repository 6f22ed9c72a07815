"""The table and the figures of a study as a Weights & Biases run of their own, the last one of its group."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import Logger, WandbLogger

from kdlab.files import read_json, write_json
from kdlab.study.conditions import conditions
from kdlab.study.loggers import is_wandb, listed, name_runs
from kdlab.study.plan import Jobs, Study
from kdlab.study.statistics import summarise
from kdlab.types import InputError

LOGGED = "logged.json"


def wandb_of(jobs: Jobs) -> dict[str, Any] | None:
    """The first logger of Weights & Biases in the configs of a study's jobs."""
    for job in jobs.values():
        for logger in listed((job.config.get("trainer") or {}).get("logger")):
            if is_wandb(logger):
                return {**logger, "dict_kwargs": dict(logger.get("dict_kwargs") or {})}
    return None


def log_report(
    logger: Mapping[str, Any], study: Study, folder: Path, rows: list[dict[str, Any]], failures: Mapping[str, str]
) -> bool:
    """Log ``results.csv`` as a table, and the figures; not again while they are as they were logged.

    Args:
        logger: its config.
        study: the study.
        folder: where its report is.
        rows: of the jobs that are done.
        failures: job -> why it is not.

    Returns:
        Whether it was logged.
    """
    digest = hashlib.sha256((folder / "results.md").read_bytes() + (folder / "results.csv").read_bytes()).hexdigest()
    if _logged(folder) == digest:
        return False
    run = _open(logger, study.name)
    try:
        _log(run, study, folder, rows, failures)
    except BaseException:
        run.experiment.finish(exit_code=1)
        raise
    run.experiment.finish()
    write_json(folder / LOGGED, {"results": digest})
    return True


def _logged(folder: Path) -> Any:
    try:
        return read_json(folder / LOGGED, LOGGED).get("results")
    except InputError:
        return None


def _open(logger: Mapping[str, Any], group: str) -> WandbLogger:
    kept = {
        part: {key: value for key, value in (logger.get(part) or {}).items() if key != "job_type"}
        for part in ("init_args", "dict_kwargs")
    }
    named = name_runs({**logger, **kept}, group, "report", "report")
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Logger, "logger")
    try:
        run = parser.instantiate_classes(parser.parse_object({"logger": named})).logger
    except (ArgumentError, ValueError, TypeError) as error:
        raise InputError(f"logger: the report cannot be logged: {error}") from error
    assert isinstance(run, WandbLogger)
    if run.save_dir:
        Path(run.save_dir).mkdir(parents=True, exist_ok=True)
    return run


def _log(run: WandbLogger, study: Study, folder: Path, rows: list[dict[str, Any]], failures: Mapping[str, str]) -> None:
    run.log_hyperparams(
        {
            "study": study.name,
            "description": study.description,
            "seeds": list(study.seeds),
            "runs": list(study.runs),
            "baselines": list(study.baselines),
        }
    )
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        head, *body = csv.reader(file)
    columns = [_values(column) for column in zip(*body, strict=True)]
    run.log_table("results", columns=head, data=[list(line) for line in zip(*columns, strict=True)])
    for caption, file_name in re.findall(r"^!\[(.*)\]\((.*\.png)\)$", (folder / "results.md").read_text("utf-8"), re.M):
        run.log_image(Path(file_name).stem, [str(folder / file_name)], caption=[caption])
    known = conditions(rows, study.order, {axis: list(labels) for axis, labels in study.axes.items()})
    means = {condition.title: summarise(condition.values("test_accuracy")).mean for condition in known}
    run.experiment.summary.update(
        {"jobs": len(rows), "failed": len(failures), **{f"{k}/test_accuracy": v for k, v in means.items()}}
    )


def _values(cells: Sequence[str]) -> list[Any]:
    """A column of a CSV file: numbers where all are numbers, and None where a cell is empty.

    >>> _values(["0.5", ""]), _values(["1", "16-1"])
    ([0.5, None], ['1', '16-1'])
    """
    try:
        return [float(cell) if cell else None for cell in cells]
    except ValueError:
        return [cell or None for cell in cells]
