"""Metrics that callbacks and schedules watch: they must be measured on validation windows, and logged at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning.pytorch import Trainer

from kdlab.methods.base import Method
from kdlab.run_checkpoints import RunCheckpoint
from kdlab.types import InputError


def check_monitors(trainer: Trainer, model: Method, callbacks: Iterable[Any]) -> None:
    """Every metric that a callback or the schedule watches is logged by this fit, and not on test windows.

    What callbacks and methods of the user's own log is not known beforehand; where there are some, unknown names pass.

    Args:
        trainer: of the fit.
        model: the method.
        callbacks: of the trainer.

    Raises:
        InputError: naming who watches what, and what there is.
    """
    callbacks = list(callbacks)
    watched = [(type(callback).__name__, getattr(callback, "monitor", None)) for callback in callbacks]
    made: Any = model.configure_optimizers()
    schedule = made.get("lr_scheduler") if isinstance(made, dict) else None
    if schedule is not None and isinstance(schedule, dict) and schedule.get("monitor") is not None:
        watched.append((type(schedule["scheduler"]).__name__, schedule["monitor"]))
    names, validates = _logged(trainer, model)
    foreign = any(_is_foreign(part) for part in (model, *callbacks))
    for who, monitor in watched:
        if not isinstance(monitor, str) or (who == RunCheckpoint.__name__ and monitor.startswith("val/") > validates):
            continue  # a fit without validation keeps last.ckpt alone
        shown = "best.ckpt" if who == RunCheckpoint.__name__ else who
        if monitor.startswith("test"):
            raise InputError(
                f"{shown}: monitor must be measured on validation windows, but got {monitor!r}. Monitor "
                f"{monitor.replace('test', 'val', 1)!r}."
            )
        unknown = foreign or (monitor.startswith("train/") and not model.term_names())
        if monitor in names or (unknown and (validates or not monitor.startswith("val/"))):
            continue
        there = ", ".join(names)
        why = "" if validates or not monitor.startswith("val/") else ", because this fit has no validation"
        raise InputError(
            f"{shown}: monitor must be a metric that is logged, but got {monitor!r}; there are {there}{why}. "
            f"{'Monitor one of them' if not why else 'Raise limit_val_batches, or monitor one of them'}."
        )


def _logged(trainer: Trainer, model: Method) -> tuple[list[str], bool]:
    """Names of the metrics of a fit, and whether it validates."""
    validates = trainer.limit_val_batches > 0
    every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs
    if every is not None and epochs is not None and 0 < epochs < every:
        validates = False
    measured: Any = model.metrics["val"]
    terms = [f"train/{name}" for name in (*model.term_names(), *model.settings())]
    always = ("train/loss", "train/accuracy", "train/grad_norm")
    return [*(measured.keys() if validates else ()), *dict.fromkeys((*always, *terms))], validates


def _is_foreign(part: object) -> bool:
    return type(part).__module__.split(".")[0] not in ("kdlab", "lightning", "torch")
