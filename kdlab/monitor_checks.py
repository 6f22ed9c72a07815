"""Metrics that callbacks and schedules watch: they must be measured on validation windows, and logged at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn

from kdlab.callbacks import EarlyStoppedTeacher, SmoothedMetric
from kdlab.methods.base import Method
from kdlab.methods.validation import check_plateau, why_none
from kdlab.run_checkpoints import RunCheckpoint
from kdlab.types import InputError


def check_monitors(trainer: Trainer, model: Method, callbacks: Iterable[Any], batches: int) -> None:
    """Every metric that a callback or the schedule watches is logged by this fit, and not on test windows.

    What callbacks and methods of the user's own log is not known beforehand; where there are some, unknown names pass.

    Args:
        trainer: of the fit.
        model: the method.
        callbacks: of the trainer.
        batches: that the training loader has.

    Raises:
        InputError: naming who watches what, and what there is.
    """
    callbacks = list(callbacks)
    watched = [(type(callback).__name__, getattr(callback, "monitor", None)) for callback in callbacks]
    watched += _watched_by_schedule(trainer, model, batches)
    remedy = why_none(trainer, batches)
    validates = remedy is None
    names = _logged(model, validates)
    names += [callback.name for callback in callbacks if validates and isinstance(callback, SmoothedMetric)]
    if any(isinstance(callback, EarlyStoppedTeacher) for callback in callbacks) and remedy is not None:
        raise InputError(
            f"EarlyStoppedTeacher: the fit must be validated, but is not. {remedy}, or leave the callback out."
        )
    foreign = any(_is_foreign(part) for part in (model, *callbacks))
    for who, monitor in watched:
        own = who == RunCheckpoint.__name__
        if not isinstance(monitor, str) or (own and (monitor == "epoch" or monitor.startswith("val/") > validates)):
            continue  # a fit without validation keeps last.ckpt alone
        shown = "best.ckpt" if who == RunCheckpoint.__name__ else who
        if monitor.startswith("test"):
            raise InputError(
                f"{shown}: monitor must be measured on validation windows, but got {monitor!r}. Monitor "
                f"{monitor.replace('test', 'val', 1)!r}."
            )
        if who == EarlyStoppedTeacher.__name__ and monitor.startswith("train/"):
            raise InputError(
                f"{who}: monitor must be measured on validation windows, but got {monitor!r}. Choose one of "
                f"{', '.join(name for name in names if name.startswith('val/'))}."
            )
        unknown = foreign or (monitor.startswith("train/") and not model.term_names())
        if monitor in names or (unknown and (validates or not monitor.startswith("val/"))):
            continue
        there = ", ".join(names)
        why = "" if validates or not monitor.startswith("val/") else ", because this fit has no validation"
        raise InputError(
            f"{shown}: monitor must be a metric that is logged, but got {monitor!r}; there are {there}{why}. "
            f"{'Monitor one of them' if not why else f'{remedy}, or monitor one of them'}."
        )
    if not validates and any(who == RunCheckpoint.__name__ and str(m).startswith("val/") for who, m in watched):
        rank_zero_warn("This fit has no validation, so it has no best.ckpt; last.ckpt holds its last epoch.")


def _watched_by_schedule(trainer: Trainer, model: Method, batches: int) -> list[tuple[str, str]]:
    made: Any = model.configure_optimizers()
    schedule = made.get("lr_scheduler") if isinstance(made, dict) else None
    if not isinstance(schedule, dict) or schedule.get("monitor") is None:
        return []
    who, monitor = type(schedule["scheduler"]).__name__, schedule["monitor"]
    check_plateau(trainer, who, monitor, batches)
    return [(who, monitor)]


def _logged(model: Method, validates: bool) -> list[str]:
    """Names of the metrics of a fit."""
    measured: Any = model.metrics["val"]
    terms = [f"train/{name}" for name in (*model.term_names(), *model.settings())]
    always = ("train/loss", "train/accuracy", "train/grad_norm")
    return [*(measured.keys() if validates else ()), *dict.fromkeys((*always, *terms))]


def _is_foreign(part: object) -> bool:
    return type(part).__module__.split(".")[0] not in ("kdlab", "lightning", "torch")
