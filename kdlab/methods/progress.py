"""How far the weights of a fit are trained, as their description tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer


def reached(trainer: Trainer, known: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of weights that may be of the middle of an epoch, or of a fit that was interrupted.

    Args:
        trainer: in a fit, or after its end.
        known: the provenance at the start of the epoch.
    """
    seen: Any = trainer.fit_loop.epoch_loop.batch_progress
    batches = trainer.num_training_batches
    if "epoch" not in known or not seen.total.ready:  # before the first batch
        return dict(known)
    done = seen.current.processed
    complete = done >= batches or (seen.is_last_batch and done == seen.current.ready)
    when, within = ("after", "") if complete else ("in", f", after {done} of {batches} batches")
    reason = f"weights {when} epoch {known['epoch']}, counted from 0, of {known.get('max_epochs')}{within}"
    if not trainer.interrupted:
        return {**known, "reason": reason}
    early = known.get("stopped_early")
    return {
        **known,
        "stopped_early": not complete if early is False else early,
        "reason": f"{reason}, where the fit was interrupted",
    }
