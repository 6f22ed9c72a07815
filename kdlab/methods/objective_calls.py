"""How methods call their objective in a training step."""

from __future__ import annotations

from lightning.pytorch import LightningModule
from torch import Tensor

from kdlab.methods.batches import Unindexed
from kdlab.methods.plans import planned_epochs
from kdlab.objective import Objective
from kdlab.types import Batch, Output


def run_schedule(method: LightningModule, objective: Objective, batch: Batch) -> None:
    """Set what an objective's own schedule changes, before a training step."""
    trainer = method.trainer
    epochs = planned_epochs(trainer)
    objective.advance(trainer.current_epoch, len(batch.index), step=trainer.global_step, epochs=epochs)


def terms_of(objective: Objective, batch: Batch, student: Output, teachers: dict[str, Output]) -> dict[str, Tensor]:
    """The terms of an objective for a batch; with the index of its windows, where the objective takes it."""
    index = {"index": batch.index} if objective.takes_index and not isinstance(batch, Unindexed) else {}
    terms: dict[str, Tensor] = objective(student=student, teachers=teachers, target=batch.target, **index)
    return terms
