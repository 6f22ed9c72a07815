"""What a fit that resumes needs beside weights and optimiser: random states, and sums over the epoch it is in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdlab.methods.random_state import RANDOM, random_states, set_random_states
from kdlab.types import InputError

#: the key of the sums in a checkpoint of the middle of an epoch
SUMS = "epoch_sums"


def keep(module: Any, checkpoint: dict[str, Any]) -> None:
    """Put random states and sums into a checkpoint that a fit can be resumed from; every process calls it.

    Args:
        module: the method, with its trainer.
        checkpoint: that is written.
    """
    if "optimizer_states" not in checkpoint or module._trainer is None:
        return
    if module.trainer.world_size == 1:
        checkpoint[RANDOM] = random_states()
    batches = module.trainer.fit_loop.epoch_loop.batch_progress
    if batches.current.processed > 0 and not batches.is_last_batch:
        checkpoint[SUMS] = {"means": module._means.state(), "steps": module._steps.state()}


def read(module: Any, checkpoint: Mapping[str, Any]) -> None:
    """Note what a fit takes up when its training begins; checkpoints of earlier versions have less of it."""
    module._random, module._sums = checkpoint.get(RANDOM), checkpoint.get(SUMS)


def take_up(module: Any) -> None:
    """Go on with the random states and the sums of the checkpoint that the fit resumes from, if it does.

    Raises:
        InputError: they are damaged.
    """
    if module._sums is not None:
        try:
            module._means.restore(module._sums["means"], module.device)
            module._steps.restore(module._sums["steps"], module.device)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            raise InputError(
                f"ckpt_path: its sums over the epoch must be tensors by name, but are damaged ({error!r:.100}). Resume "
                "from another checkpoint."
            ) from error
    if module._random is not None:
        set_random_states(module._random)
