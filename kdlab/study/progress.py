"""How far the fit of a job is, in lines that a log file can hold."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm import tqdm

from kdlab.callbacks.update_budget import UpdateBudget
from kdlab.methods.plans import plan_of
from kdlab.study.mark_end import MarkEnd
from kdlab.study.starved import FEW, remedy
from kdlab.study.validated import Validations

EVERY = 30.0  # seconds between two lines of a job
_job: ContextVar[str | None] = ContextVar("job", default=None)
_warned: set[str] = set()


def say(text: str) -> None:
    """Print a line at once, above a progress bar where a terminal shows one."""
    tqdm.write(text)
    sys.stdout.flush()


@contextmanager
def shown(name: str) -> Iterator[None]:
    """Within the block a fit prints how far it is, under the name of its job."""
    token = _job.set(name)
    try:
        yield
    finally:
        _job.reset(token)


def job_callbacks() -> list[Callback]:
    """What a fit that is a job of a study has more: it prints its progress, and keeps its validations."""
    name = _job.get()
    return [] if name is None else [JobProgress(name), Validations(), MarkEnd()]


class JobProgress(Callback):
    """Prints a line every 30 seconds, and a warning where a fit has few updates.

    Args:
        name: of the job.
    """

    def __init__(self, name: str) -> None:
        self._name, self._last = name, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn of a fit with few updates, once for all jobs of its run."""
        self._last = time.monotonic()
        updates, run = plan_of(trainer).steps, self._name.partition("/")[0]
        if updates is not None and updates < FEW and run not in _warned:
            _warned.add(run)
            batch_size = getattr(getattr(trainer, "datamodule", None), "batch_size", None)
            budget = any(isinstance(callback, UpdateBudget) for callback in trainer.callbacks)  # type: ignore[attr-defined]
            text = remedy(updates, trainer.max_epochs, trainer.max_steps, batch_size, budget=budget)
            self._tell(trainer, f"warning: {run}: {text}")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Print how far the fit is, where the last line is old enough."""
        if time.monotonic() - self._last >= EVERY:
            self._last = time.monotonic()
            self._tell(trainer, f"{self._name}: {_where(trainer)}")

    def _tell(self, trainer: Trainer, text: str) -> None:
        if trainer.is_global_zero:
            with contextlib.suppress(OSError, ValueError):  # no fault of the job: the study's next line ends it
                say(text)


def _where(trainer: Trainer) -> str:
    epochs = f" of {trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
    steps = f" of {trainer.max_steps}" if trainer.max_steps > 0 else ""
    accuracy = trainer.callback_metrics.get("val/accuracy")
    validated = "" if accuracy is None else f", validation {100 * float(accuracy):.1f} %"
    return f"epoch {trainer.current_epoch + 1}{epochs}, update {trainer.global_step}{steps}{validated}"
