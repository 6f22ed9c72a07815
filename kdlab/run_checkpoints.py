"""The two checkpoints that every fit of the command line keeps, ``best.ckpt`` and ``last.ckpt``."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from weakref import proxy

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from kdlab.callbacks import EpochAveraging, SmoothedMetric
from kdlab.files import one_line
from kdlab.methods.checkpoints import description
from kdlab.methods.saving import can_wait, snapshot
from kdlab.methods.selection import Rule
from kdlab.types import InputError

#: names of files that callbacks of the user's own may not write
OWN = ("best", "last", "teacher")
#: the key of ``last.ckpt`` under which it holds the content of ``best.ckpt`` at that time
BEST = "best"
#: seconds between two writes
INTERVAL = 30.0


class RunCheckpoint(ModelCheckpoint):
    """One of the two checkpoints of a run; after a resume the best so far stays the best, wherever its folder is now.

    What is to be kept is copied into memory. Both files are written together, when an epoch begins and ``interval``
    seconds have passed since the last time, and when the fit ends, is interrupted or fails. ``last.ckpt`` holds the
    content of ``best.ckpt`` at its time, so that a process that is killed at any moment resumes with both.

    Args:
        filename: ``"best"`` or ``"last"``.
        monitor: the metric that is judged; None: every epoch is kept in place of the one before.
        mode: ``"min"`` or ``"max"``.
        interval: seconds between two writes; 0: every epoch is written.
    """

    def __init__(
        self, filename: str, monitor: str | None = None, mode: str = "min", interval: float = INTERVAL
    ) -> None:
        often: dict[str, Any] = {} if monitor is not None else {"every_n_epochs": 1}
        if monitor in (None, "epoch") or str(monitor).startswith("train/"):  # in every epoch, validated or not
            often["save_on_train_epoch_end"] = True
        super().__init__(
            filename=filename,
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            auto_insert_metric_name=False,
            enable_version_counter=False,
            **often,
        )
        self.interval = interval
        self.waiting: tuple[str, dict[str, Any]] | None = None  # file and content that are not written yet
        self.content: dict[str, Any] | None = None  # of best.ckpt, written or not
        self._written = 0.0
        self._offered: dict[str, Any] | None = None  # by a last.ckpt that is read
        self._resumed: dict[str, Any] | None = None

    @property
    def state_key(self) -> str:
        """As that of Lightning's class, so that checkpoints of earlier versions are read."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    # ------------------------------------------------------------------ what is kept
    def _save_topk_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """Nothing before the first validation, of which the fit was told where there is none."""
        if self.monitor is None or self.monitor in monitor_candidates or not self.monitor.startswith("val/"):
            super()._save_topk_checkpoint(trainer, monitor_candidates)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Copy what is to be kept; where it is in parts on several processes, write it at once."""
        if not can_wait(trainer.strategy):
            super()._save_checkpoint(trainer, filepath)
            return
        content = trainer._checkpoint_connector.dump_checkpoint(self.save_weights_only)
        self._last_global_step_saved, self._last_checkpoint_saved = trainer.global_step, filepath
        if not trainer.is_global_zero:
            return
        best = _best_of(trainer)
        self.content = snapshot(content, None if best is None or best is self else best.content)
        if best is not self and best is not None and best.content is not None:
            self.content[BEST] = best.content
        self.waiting = filepath, self.content

    def write(self, trainer: Trainer) -> None:
        """Write what is not written yet."""
        if self.waiting is None:
            return
        path, content = self.waiting
        trainer.strategy.save_checkpoint(content, path)
        self.waiting = None
        if self.monitor is None:
            self.content = None  # that of best.ckpt alone is used again
        for logger in trainer.loggers:
            logger.after_save_checkpoint(proxy(self))

    # ------------------------------------------------------------------ when it is written
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count the seconds; of a fit that resumes, ``best.ckpt`` is that of the ``last.ckpt`` it read."""
        super().on_train_start(trainer, pl_module)
        self._written = time.monotonic()
        if self._resumed is not None and trainer.is_global_zero and can_wait(trainer.strategy):
            self.content, self.waiting = self._resumed, (self.best_model_path, self._resumed)
            self.write(trainer)
        self._resumed = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what was kept of the epochs before, where it is time; all they logged is written first."""
        self._write_in_time(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the best, and write it where the epoch is not over yet."""
        super().on_validation_end(trainer, pl_module)
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        if fitting and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._write_in_time(trainer)

    def _write_in_time(self, trainer: Trainer) -> None:
        if time.monotonic() - self._written >= self.interval:
            write_all(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is not written yet; no process reads it before."""
        super().on_train_end(trainer, pl_module)
        write_all(trainer)
        trainer.strategy.barrier()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the newest epoch that is complete; where that fails, the error that ended the fit is still raised."""
        super().on_exception(trainer, pl_module, exception)
        try:
            write_all(trainer)
        except OSError as error:
            rank_zero_warn(f"The newest checkpoints cannot be written ({one_line(error)}); those of before are kept.")

    # ------------------------------------------------------------------ a fit that resumes
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """The content of ``best.ckpt``; `load_state_dict` takes it, if this fit chooses by the same metric.

        It is copied: the optimiser changes the tensors that were read, which both may share.
        """
        self._offered, self._resumed = snapshot(best_in(checkpoint)) if self.monitor is not None else None, None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on judging against the best so far, whose file is in this run's folder (see `kdlab.resuming`)."""
        resumed = self._offered
        here = Path(self.dirpath or ".") / f"{self.filename}{self.FILE_EXTENSION}"
        known = resumed is not None or here.is_file()
        if self.monitor is None or not known or not state_dict.get("best_model_path"):
            return  # nothing is known of a best: the first validation is it
        score, path = state_dict["best_model_score"], str(here)
        self.best_model_score, self.best_model_path = score, path
        self.best_k_models = {path: score}
        self.kth_best_model_path, self.kth_value = path, score
        self.current_score = state_dict.get("current_score")
        self._resumed = resumed


def best_in(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """The content of ``best.ckpt`` in a ``last.ckpt``; None where it holds none.

    Raises:
        InputError: it is damaged.
    """
    found = checkpoint.get(BEST)
    if found is not None and (not isinstance(found, dict) or description(found, f"ckpt_path: its {BEST}") is None):
        raise InputError(
            f"ckpt_path: {BEST} must be the content of best.ckpt, but is damaged. Resume from another checkpoint."
        )
    return found


def _both(trainer: Trainer) -> list[RunCheckpoint]:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, RunCheckpoint)]


def _best_of(trainer: Trainer) -> RunCheckpoint | None:
    return next((callback for callback in _both(trainer) if callback.monitor is not None), None)


def write_all(trainer: Trainer) -> None:
    """Write both checkpoints of a run, as far as they are not written, and before them the metrics that were logged."""
    both = _both(trainer)
    if any(callback.waiting is not None for callback in both):
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                logger.save()
    for callback in both:
        callback.write(trainer)
        callback._written = time.monotonic()


def checkpoint_callbacks(interval: float = INTERVAL) -> list[ModelCheckpoint]:
    """The two checkpoints of every fit: ``best.ckpt`` (by the usual rule) and ``last.ckpt`` (the last epoch)."""
    return [RunCheckpoint("best", *Rule().watched, interval=interval), RunCheckpoint("last", interval=interval)]


def watching(callbacks: Iterable[Any], rule: Rule, further: Any = None, interval: float = INTERVAL) -> list[Any]:
    """The callbacks of a run, whose ``best.ckpt`` is chosen by another rule.

    Args:
        callbacks: with those of :func:`checkpoint_callbacks`.
        rule: how the weights are chosen.
        further: the callback or callbacks of the config; None: none.
        interval: seconds between two writes of the checkpoints, at least 0.

    Raises:
        InputError: the interval is out of range.
    """
    if not 0 <= interval < math.inf:
        raise InputError(
            f"checkpoint_interval: must be a number of seconds, at least 0, but got {interval}. Write 0 to write the "
            "checkpoints in every epoch."
        )
    added: list[Any] = []
    if rule.selection == "smoothed":
        added = [SmoothedMetric(rule.monitor, rule.smoothing)]
    elif rule.selection == "averaged" and not _averages(further):
        added = [EpochAveraging()]
    for callback in callbacks:
        if isinstance(callback, RunCheckpoint):
            is_best = callback.filename == "best"
            callback = RunCheckpoint("best", *rule.watched, interval=interval) if is_best else callback
            callback.interval = interval
        added.append(callback)
    return added


def _averages(callbacks: Any) -> bool:
    given = callbacks if isinstance(callbacks, list | tuple) else [callbacks]
    return any(isinstance(callback, WeightAveraging) for callback in given)


def without_checkpoints(callbacks: Iterable[Any]) -> list[Any]:
    """The callbacks of a run that keeps no weights."""
    return [callback for callback in callbacks if not isinstance(callback, RunCheckpoint)]


def check_enabled(trainer: Any) -> None:
    """No callback of the config writes checkpoints where ``enable_checkpointing`` is false.

    Args:
        trainer: its part of the config.

    Raises:
        InputError: naming the callback.
    """
    if trainer.get("enable_checkpointing") is not False:
        return
    callbacks = trainer.get("callbacks") or []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        if str(callback.get("class_path")).endswith("ModelCheckpoint"):
            raise InputError(
                "trainer: enable_checkpointing must be true for the callback ModelCheckpoint, but got false. Leave one "
                "of them out."
            )


def check_files(callbacks: Iterable[Any], folder: Path) -> None:
    """No further ``ModelCheckpoint`` writes into a file of the run's own.

    Args:
        callbacks: of the trainer.
        folder: of the run's checkpoints.

    Raises:
        InputError: naming the file, and what to write instead.
    """
    for callback in callbacks:
        if not isinstance(callback, ModelCheckpoint) or isinstance(callback, RunCheckpoint):
            continue
        if callback.dirpath is not None and Path(callback.dirpath).resolve() != folder.resolve():
            continue
        names = [callback.filename, callback.CHECKPOINT_NAME_LAST if callback.save_last else None]
        for name in names:
            if name in OWN:
                remedy = "Leave save_last out" if name != callback.filename else f"Name another, such as {name}-2"
                further = f" To choose {name}.ckpt by another metric, set monitor: {callback.monitor}." * (
                    name == "best"
                )
                raise InputError(
                    f"ModelCheckpoint: filename must not be {name!r}: every run writes {name}.ckpt itself.{further} "
                    f"{remedy}, or give it a dirpath of its own."
                )
