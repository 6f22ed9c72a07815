"""Loggers of runs: what cannot work is refused before anything runs, and each run of a study has its name and group."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from kdlab.files import one_line
from kdlab.fingerprint import without_people
from kdlab.types import InputError

#: Lightning's loggers -> packages of which one must be there, and what to install
_PACKAGES = {
    "WandbLogger": (("wandb",), "wandb"),
    "MLFlowLogger": (("mlflow",), "mlflow"),
    "TensorBoardLogger": (("tensorboard", "tensorboardX"), "tensorboard"),
    "CometLogger": (("comet_ml",), "comet-ml"),
    "LitLogger": (("litlogger",), "litlogger"),
}
_held: ContextVar[bool] = ContextVar("held", default=False)


def listed(loggers: Any) -> list[dict[str, Any]]:
    """What a config has under ``trainer.logger``, as a list of ``{class_path, init_args, dict_kwargs}``.

    >>> listed("WandbLogger"), listed(False)
    ([{'class_path': 'WandbLogger', 'init_args': {}}], [])
    """
    found = []
    for logger in loggers if isinstance(loggers, list | tuple) else [loggers]:
        if isinstance(logger, str):
            logger = {"class_path": logger}
        if isinstance(logger, Namespace):
            logger = logger.as_dict()
        if isinstance(logger, Mapping) and "class_path" in logger:
            own = copy.deepcopy(dict(logger))
            found.append({**own, "init_args": dict(own.get("init_args") or {})})
    return found


def is_wandb(logger: Mapping[str, Any]) -> bool:
    """Does this config of a logger name one of Weights & Biases?"""
    return str(logger["class_path"]).endswith("WandbLogger")


def check_loggers(loggers: Any) -> None:
    """Refuse a logger whose package is not installed, and one that should upload weights without a connection.

    Args:
        loggers: what a config has under ``trainer.logger``.

    Raises:
        InputError: naming the logger and the remedy.
    """
    for logger in listed(loggers):
        path, _, name = str(logger["class_path"]).rpartition(".")
        if name in _PACKAGES and (not path or path.startswith(("lightning.", "pytorch_lightning."))):
            _check_package(name)
        given = logger["init_args"]
        if is_wandb(logger) and given.get("offline") and given.get("log_model"):
            raise InputError(
                f"{name}: log_model must be false where offline is true, but got {given['log_model']!r}: offline, no "
                "weights can be uploaded. Remove log_model, or set offline: false."
            )


def _check_package(name: str) -> None:
    packages, remedy = _PACKAGES[name]
    for package in packages:
        try:
            importlib.import_module(package)
            return
        except ImportError as error:
            reason = one_line(error)
    raise InputError(
        f"{name}: package {' or '.join(packages)} must be installed, but got: {reason}. Run pip install {remedy}, or "
        "choose another logger."
    )


def check_setting(value: Any, where: str) -> Any:
    """What a study file has under ``logger``: a logger, a list of them, or false.

    Raises:
        InputError: it is anything else.
    """
    some = value if isinstance(value, list) else [value]
    if value is not False and len(listed(some)) < max(1, len(some)):
        raise InputError(
            f"{where}: logger must be {{class_path: <class>, init_args: ...}}, a list of these, or false, but got "
            f"{value!r:.80}. Write for example logger: {{class_path: WandbLogger, init_args: {{offline: true}}}}."
        )
    return value


def name_runs(loggers: Any, group: str, name: str, job_type: str, tags: Sequence[str] = ()) -> Any:
    """The same loggers; those of Weights & Biases with group, name and type of a job.

    Args:
        loggers: of a config.
        group: the study.
        name: of the job.
        job_type: its stage.
        tags: in place of those that a run has of itself, which say how many people it tests.

    Raises:
        InputError: one of them fixes the id of its run, which all jobs would share.

    >>> name_runs("WandbLogger", "toy/study", "kd/seed0", "student")["init_args"]["name"]
    'kd/seed0'
    """
    if not any(map(is_wandb, listed(loggers))):
        return loggers
    named = []
    for logger in listed(loggers):
        if is_wandb(logger):
            given = logger["init_args"]
            if (fixed := given.get("id") or given.get("version")) is not None:
                raise InputError(
                    f"WandbLogger: id and version must be left out in a study, but got {fixed!r}: all jobs would write "
                    "into this run. Remove it."
                )
            given["name"] = name
            wanted = (("group", group), ("job_type", job_type), ("tags", [*tags] or None))
            names = {key: v for key, v in wanted if v is not None and given.get(key) is None}
            logger["dict_kwargs"] = {**names, **(logger.get("dict_kwargs") or {})}
        named.append(logger)
    return named if isinstance(loggers, list | tuple) else named[0]


# ---------------------------------------------------------------------- runs that are open
@contextmanager
def held_open() -> Iterator[None]:
    """Within the block a command that succeeds leaves its runs open, for whoever logs more and closes them."""
    token = _held.set(True)
    try:
        yield
    finally:
        _held.reset(token)


@contextmanager
def closing(trainer: Any) -> Iterator[None]:
    """Close the runs of a trainer's loggers after the block, so that the next one in this process has its own."""
    try:
        yield
    except BaseException:
        close(trainer, failed=True)
        raise
    if not _held.get():
        close(trainer)


def close(trainer: Any, failed: bool = False) -> None:
    """End the Weights & Biases runs of a trainer; they are marked as failed where they did."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and logger._experiment is not None:
            logger.experiment.finish(exit_code=int(failed))


def log_scores(trainer: Any, row: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    """Log what was measured of a job, ``test/accuracy`` and so on; Weights & Biases keep it as the run's summary.

    Args:
        trainer: of the job.
        row: what was measured.
        described: its checkpoint's description: a fit has logged it, one that was only measured has not.
    """
    scores = {
        name.replace("_", "/", 1) if name.startswith(("test_", "val_")) else name: value
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in ("seed", "test_windows")
    }
    kept = {k: v for k, v in described.items() if k in ("fingerprint", "objective", "teachers")}
    kept["fingerprint"] = without_people(kept.get("fingerprint") or {})  # a logger may be a service elsewhere
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):
            continue
        logger.log_hyperparams(kept)
        logger.log_metrics({k: v for k, v in scores.items() if k.startswith("test/")}, step=trainer.global_step)
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update(scores)
