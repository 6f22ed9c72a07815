"""Supervised training: teachers, and students from scratch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from kdlab.fields import documented, parameters, texts
from kdlab.methods.base import Method, sgd
from kdlab.methods.calls import checked_call
from kdlab.methods.dry_run import leave_out_adapters, try_objective
from kdlab.methods.freezing import freeze as freeze_parts
from kdlab.methods.freezing import unfreeze
from kdlab.methods.objective_calls import run_schedule, terms_of
from kdlab.methods.plans import Interval
from kdlab.methods.schedules import OptimizerCallable, ScheduleCallable
from kdlab.nets.base import Backbone, MemoryFormat
from kdlab.objective import Objective
from kdlab.objectives import CrossEntropy
from kdlab.types import Batch, InputError, Output, Windows


class Supervised(Method):
    """Train one net on one view with labels only: a teacher, or a student from scratch.

    Args:
        net: the net; a plain ``torch.nn.Module`` is taken too, without taps.
        view: name of the view that it reads.
        objective: turns the output into terms; `CrossEntropy` with the arguments of the label term by default.
        optimizer: makes the optimiser from the parameters (SGD .05, momentum .9, weight decay 1e-4 by default).
        scheduler: makes the learning-rate schedule from the optimiser, stepped once an epoch.
        init: checkpoint or run folder of the same net to start from; of a net of `kdlab.nets.pretrained` also the file
            of its published weights.
        compile: compile the net for the fit, see `Method`.
        memory_format: how the net's features lie in memory, see `Method`.
        num_classes: number of classes of a plain ``torch.nn.Module``, see `Method`.
        scheduler_interval: step the schedule once an ``"epoch"`` or with every ``"step"``, see `Method`.
        init_lr: learning rate of a fit that starts from ``init``, see `Method`.
        freeze: parts of the net that are not trained and stay in evaluation mode during the fit: ``"body"``, all but
            the head, or paths of modules and parameters, such as ``["stem", "stages.0"]``; ``None``: no part.

    Example:
        >>> from kdlab.nets import WideResNet
        >>> module = Supervised(WideResNet(16, 1, in_channels=6, num_classes=4))
        >>> module.net.num_classes
        4
    """

    takes_many_labels = True

    @checked_call
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
        num_classes: int | None = None,
        scheduler_interval: Interval | None = None,
        init_lr: float | None = None,
        freeze: str | list[str] | None = None,
        **labels: Any,
    ) -> None:
        super().__init__(
            net, view, optimizer, scheduler, init, compile, memory_format, num_classes, scheduler_interval, init_lr
        )
        self.objective = _objective(type(self).__name__, objective, labels)
        self.frozen_parts = freeze
        self._frozen: list[str] = []
        if freeze is not None:  # refuse a wrong path here
            unfreeze(self.net, freeze_parts(self.net, freeze, type(self).__name__))
        if type(self) is Supervised and type(self.objective) is CrossEntropy:
            self._term_names = ("ce",)

    def start_weights(self, windows: Windows) -> None:
        """Load the weights to start from, and take the frozen parts out of training."""
        super().start_weights(windows)
        if self.frozen_parts is not None and not self._frozen:
            self._frozen = freeze_parts(self.net, self.frozen_parts, type(self).__name__)

    def end_fit(self) -> None:
        """Put the frozen parts back into training."""
        super().end_fit()
        if self._frozen:
            unfreeze(self.net, self._frozen)
            self._frozen = []

    def build(self, windows: Windows) -> None:
        """Make the objective's adapters, where it has some that are not made yet."""
        if not self.objective.ready:
            self.try_objective(windows)

    def try_objective(self, windows: Windows) -> None:
        """Put empty windows through net and objective; adapters are made from the output."""
        assumed = (self.net.in_channels, *[max(32, self.net.stride)] * self.net.ndim)
        own = (self.net, windows.view_shape(self.view) or assumed)
        *_, self._term_names = try_objective(self.objective, own, {}, many_labels=self.many_labels)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out the objective's adapters where they are not made yet; a fit that makes them takes them up."""
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


def _objective(who: str, objective: Objective | None, labels: Mapping[str, Any]) -> Objective:
    """The objective that is given, or cross-entropy with the arguments of the label term."""
    fields = CrossEntropy.declared()
    if unknown := [name for name in labels if name not in fields]:
        names = ", ".join(inspect.signature(Supervised).parameters)
        raise TypeError(f"{who}: has no argument {', '.join(map(repr, unknown))}. Its arguments are {names}.")
    if objective is None:
        return CrossEntropy(**labels)
    if twice := [name for name, value in labels.items() if value != fields[name].default]:
        raise InputError(
            f"{who}: {twice[0]} must be an argument of the objective where one is given, but got "
            f"{labels[twice[0]]!r} beside {type(objective).__name__}. Write it below the objective."
        )
    return objective


def _declare() -> None:
    """Give `Supervised` the arguments of the label term, with their texts and defaults."""
    written, fields = Supervised.__init__, CrossEntropy.declared()
    own = [p for p in inspect.signature(written, eval_str=True).parameters.values() if p.kind != p.VAR_KEYWORD]
    signature = inspect.Signature([*own, *parameters(fields)], return_annotation=None)
    written.__signature__ = signature  # type: ignore[attr-defined]
    Supervised.__doc__ = documented(Supervised.__doc__, texts(fields))


_declare()
