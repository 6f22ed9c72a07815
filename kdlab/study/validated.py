"""Validation of the weights that a fit keeps: that of the fit itself, where it validated these very weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from kdlab import reuse
from kdlab.methods.checkpoints import read_checkpoint, weights_hash


class Line(Protocol):
    """A finished command line."""

    model: Any
    datamodule: Any
    trainer: Any


class Validations(Callback):
    """Keeps the metrics of every complete validation of a fit, under a hash of the weights that it was made with."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}
        self._hash = ""

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        """Take the weights as the first batch meets them: averaged ones are in their place by now."""
        if batch[1] == 0 and trainer.world_size == 1:
            self._hash = weights_hash(net_state(pl_module.state_dict()))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics, but for the sanity check."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and self._hash:
            metrics = trainer.callback_metrics.items()
            self.found[self._hash] = {name: value.item() for name, value in metrics if name.startswith("val/")}


def net_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the net of a method."""
    return {name: value for name, value in state.items() if name.startswith("net.")}


def validated(line: Line, path: Path) -> Mapping[str, float]:
    """Metrics of the weights that a fit keeps, on validation windows; the model has these weights afterwards.

    Args:
        line: the finished command line.
        path: the checkpoint that is kept.
    """
    model, data, trainer = line.model, line.datamodule, line.trainer
    checkpoint = read_checkpoint(path)
    kept = _kept(trainer, checkpoint["state_dict"])
    if kept is None:
        with no_rows(trainer):
            scores = trainer.validate(model, datamodule=data, ckpt_path=str(path), weights_only=True, verbose=False)
        return dict(scores[0])
    trainer.state.fn = TrainerFn.VALIDATING  # as after Trainer.validate
    model.on_load_checkpoint(checkpoint)
    model.load_state_dict(checkpoint["state_dict"], strict=model.strict_loading)
    return kept


def _kept(trainer: Any, state: Mapping[str, Tensor]) -> dict[str, float] | None:
    """The metrics that the fit of a trainer found with these weights, where nobody else is to be told of them."""
    known = next((one.found for one in trainer.callbacks if isinstance(one, Validations)), {})
    if not reuse.active() or not all(isinstance(logger, CSVLogger) for logger in trainer.loggers):
        return None
    found = known.get(weights_hash(net_state(state)))
    return found if found is not None and "val/accuracy" in found else None


@contextmanager
def no_rows(trainer: Any) -> Iterator[None]:
    """Within the block ``metrics.csv`` gets no rows: it has those of the epochs, and no other."""
    loggers = trainer.loggers
    trainer.loggers = [logger for logger in loggers if not isinstance(logger, CSVLogger)]
    try:
        yield
    finally:
        trainer.loggers = loggers


def same_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two checkpoints hold the same net."""
    a, b = net_state(one), net_state(other)
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)
