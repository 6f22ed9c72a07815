"""The two checkpoints that every fit of the command line keeps, ``best.ckpt`` and ``last.ckpt``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from torch import Tensor

from kdlab.callbacks import EpochAveraging, SmoothedMetric
from kdlab.methods.selection import Rule
from kdlab.types import InputError

#: names of files that callbacks of the user's own may not write
OWN = ("best", "last", "teacher")


class RunCheckpoint(ModelCheckpoint):
    """One of the two checkpoints of a run; after a resume the best so far stays the best, wherever its folder is now.

    Args:
        filename: ``"best"`` or ``"last"``.
        monitor: the metric that is judged; None: every epoch is kept in place of the one before.
        mode: ``"min"`` or ``"max"``.
    """

    def __init__(self, filename: str, monitor: str | None = None, mode: str = "min") -> None:
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

    @property
    def state_key(self) -> str:
        """As that of Lightning's class, so that checkpoints of earlier versions are read."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def _save_topk_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """Nothing before the first validation, of which the fit was told where there is none."""
        if self.monitor is None or self.monitor in monitor_candidates or not self.monitor.startswith("val/"):
            super()._save_topk_checkpoint(trainer, monitor_candidates)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on judging against the best so far, whose file is in this run's folder (see `kdlab.resuming`)."""
        here = Path(self.dirpath or ".") / f"{self.filename}{self.FILE_EXTENSION}"
        if self.monitor is None or not here.is_file() or not state_dict.get("best_model_path"):
            return  # nothing is known of a best: the first validation is it
        score, path = state_dict["best_model_score"], str(here)
        self.best_model_score, self.best_model_path = score, path
        self.best_k_models = {path: score}
        self.kth_best_model_path, self.kth_value = path, score
        self.current_score = state_dict.get("current_score")


def checkpoint_callbacks() -> list[ModelCheckpoint]:
    """The two checkpoints of every fit: ``best.ckpt`` (lowest validation loss) and ``last.ckpt`` (every epoch)."""
    return [RunCheckpoint("best", "val/loss"), RunCheckpoint("last")]


def watching(callbacks: Iterable[Any], rule: Rule, further: Any = None) -> list[Any]:
    """The callbacks of a run, whose ``best.ckpt`` is chosen by another rule.

    Args:
        callbacks: with those of :func:`checkpoint_callbacks`.
        rule: how the weights are chosen.
        further: the callback or callbacks of the config; None: none.
    """
    added: list[Any] = []
    if rule.selection == "smoothed":
        added = [SmoothedMetric(rule.monitor, rule.smoothing)]
    elif rule.selection == "averaged" and not _averages(further):
        added = [EpochAveraging()]
    chosen = [isinstance(c, RunCheckpoint) and c.filename == "best" for c in callbacks]
    own = [RunCheckpoint("best", *rule.watched) if is_best else c for c, is_best in zip(callbacks, chosen, strict=True)]
    return [*added, *own]


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
