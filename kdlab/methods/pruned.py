"""Lightning's pruning: what it must leave behind, so that a student can be read again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning.pytorch.callbacks import ModelPruning
from lightning.pytorch.utilities import rank_zero_warn


def warn_of_masks(callbacks: Iterable[Any]) -> None:
    """Tell, before a fit, of pruning whose masks stay beside the weights, so that the checkpoints cannot be read.

    Args:
        callbacks: of the trainer.
    """
    if any(isinstance(one, ModelPruning) and not one._make_pruning_permanent for one in callbacks):
        rank_zero_warn(
            "ModelPruning: make_pruning_permanent must be True for checkpoints that kdlab reads and exports, but got "
            "False. Set make_pruning_permanent: true, or call torch.nn.utils.prune.remove before you save the student."
        )
