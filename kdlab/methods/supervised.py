"""Supervised training: teachers, and students from scratch."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from kdlab.methods.base import Method, sgd
from kdlab.methods.dry_run import leave_out_adapters, try_objective
from kdlab.methods.objective_calls import run_schedule, terms_of
from kdlab.methods.plans import Interval
from kdlab.methods.schedules import ScheduleCallable
from kdlab.nets.base import Backbone, MemoryFormat
from kdlab.objective import Objective
from kdlab.objectives import CrossEntropy
from kdlab.types import Batch, Output, Windows


class Supervised(Method):
    """Train one net on one view with labels only: a teacher, or a student from scratch.

    Args:
        net: the net.
        view: name of the view that it reads.
        objective: turns the output into terms; cross-entropy by default.
        optimizer: makes the optimiser from the parameters (SGD .05, momentum .9, weight decay 1e-4 by default).
        scheduler: makes the learning-rate schedule from the optimiser, stepped once an epoch.
        init: checkpoint or run folder of the same net to start from.
        compile: compile the net for the fit, see `Method`.
        memory_format: how the net's features lie in memory, see `Method`.
        scheduler_interval: step the schedule once an ``"epoch"`` or with every ``"step"``, see `Method`.

    Example:
        >>> from kdlab.nets import WideResNet
        >>> module = Supervised(WideResNet(16, 1, in_channels=6, num_classes=4))
        >>> module.net.num_classes
        4
    """

    def __init__(
        self,
        net: Backbone,
        view: str = "raw",
        objective: Objective | None = None,
        optimizer: OptimizerCallable = sgd,
        scheduler: ScheduleCallable | None = None,
        init: str | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        scheduler_interval: Interval | None = None,
    ) -> None:
        super().__init__(net, view, optimizer, scheduler, init, compile, memory_format, scheduler_interval)
        self.objective = objective if objective is not None else CrossEntropy()
        if type(self) is Supervised and type(self.objective) is CrossEntropy:
            self._term_names = ("ce",)

    def build(self, windows: Windows) -> None:
        """Make the objective's adapters, where it has some that are not made yet."""
        if not self.objective.ready:
            self.try_objective(windows)

    def try_objective(self, windows: Windows) -> None:
        """Put empty windows through net and objective; adapters are made from the output."""
        assumed = (self.net.in_channels, *[max(32, self.net.stride)] * self.net.ndim)
        *_, self._term_names = try_objective(self.objective, (self.net, windows.view_shape(self.view) or assumed), {})

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out the objective's adapters where nothing will be trained."""
        super().on_load_checkpoint(checkpoint)
        leave_out_adapters(checkpoint, self.objective)

    def terms(self, batch: Batch, student: Output) -> dict[str, Tensor]:
        """The terms of the objective, without teachers."""
        return terms_of(self.objective, batch, student, {})

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set what the objective's own schedule changes."""
        run_schedule(self, self.objective, batch)

    def settings(self) -> dict[str, Tensor]:
        """The objective's temperature and weights."""
        return self.objective.settings()
