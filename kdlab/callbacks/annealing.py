"""Temperatures and weights that change during training."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer

from kdlab.methods.arguments import objective_of
from kdlab.methods.base import Method
from kdlab.methods.number_checks import check_number
from kdlab.methods.plans import Start, has_end, length_of, plan_of, start_of, steps_of_epochs
from kdlab.types import Batch, InputError

Schedule = Literal["linear", "cosine", "exponential"]


def anneal(step: int, steps: int, start: float, end: float, schedule: Schedule = "linear") -> float:
    """The value of a schedule from ``start`` at step 0 to ``end`` at step ``steps``, constant after it.

    With u = min(step / steps, 1): linear ``start + u (end - start)``; cosine
    ``end + (start - end) (1 + cos(pi u)) / 2``; exponential ``start (end / start)^u``.

    Args:
        step: the optimiser step, from 0.
        steps: length of the schedule in steps.
        start: first value.
        end: last value.
        schedule: its form.

    Example:
        >>> [anneal(step, 4, 8.0, 1.0) for step in (0, 2, 4, 9)]
        [8.0, 4.5, 1.0, 1.0]
        >>> anneal(1, 2, 9.0, 1.0, "exponential")
        3.0
    """
    u = min(max(step / steps, 0.0), 1.0) if steps > 0 else 1.0
    if schedule == "linear":
        return start + u * (end - start)
    if schedule == "cosine":
        return end + (start - end) * (1 + math.cos(math.pi * u)) / 2
    return float(start * (end / start) ** u)


class WeightAnnealing(Callback):
    """Change one weight of the objective along a schedule, step by step.

    By default the distillation weight lambda decreases from .9 (mostly the teachers) to .1 (mostly the labels). The
    value is a pure function of the step, is written into the objective's buffer without waiting for the device, and is
    logged as ``train/<setting>``; an interrupted and resumed run equals an uninterrupted one, as long as both plan the
    same number of steps. Set ``epochs`` where the resumed run has another ``max_epochs``.

    After the fit the objective and its checkpoints keep the last value. The next fit begins with the value that was
    given to the objective. A schedule begins at ``start`` in every fit, also in a second one with the same trainer.

    Args:
        setting: name of the objective's buffer.
        start: first value.
        end: last value.
        schedule: ``"linear"``, ``"cosine"`` or ``"exponential"``.
        epochs: length of the schedule in epochs; that of the fit by default.

    Raises:
        InputError: for an unknown schedule, an exponential one through zero, a setting that the objective lacks, a
            fit whose steps are not known before, or a weight that is ``"auto"`` and not measured yet.

    References:
        Clark et al., BAM! Born-Again Multi-Task Networks (teacher annealing), ACL 2019, doi:10.18653/v1/P19-1595.

    Example:
        >>> WeightAnnealing(start=0.9, end=0.1).value(step=50, steps=100)
        0.5
    """

    def __init__(
        self,
        setting: str = "kd_weight",
        start: float = 0.9,
        end: float = 0.1,
        schedule: Schedule = "linear",
        epochs: int | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if schedule not in ("linear", "cosine", "exponential"):
            raise InputError(
                f"{name}: schedule must be linear, cosine or exponential, but got {schedule!r}. Choose one."
            )
        for argument, value, example in (("start", start, 0.9), ("end", end, 0.1)):
            if schedule == "exponential":
                check_number(f"{name}: for an exponential schedule", argument, value, example, above=0)
            check_number(name, argument, value, example, low=0)
        if epochs is not None:
            check_number(name, "epochs", epochs, 10, whole=True, low=1)
        self.setting, self.start, self.end, self.schedule, self.epochs = setting, start, end, schedule, epochs
        self.steps = 0
        self._first: Start | None = None  # of the fit, once it is known
        self._before = math.nan  # of the setting, until a fit begins
        #: keys in `kdlab.citations.BIBTEX`
        self.paper: tuple[str, ...] = ("clark2019bam",) if setting == "kd_weight" else ()

    @property
    def state_key(self) -> str:
        """Two schedules of different settings keep their states apart."""
        return self._generate_state_key(setting=self.setting)

    def value(self, step: int, steps: int) -> float:
        """The value at a step of a schedule of ``steps`` steps."""
        return anneal(step, steps, self.start, self.end, self.schedule)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the objective has the setting, that it may take both ends, and that no other callback moves it."""
        if stage == "fit":
            self._first = None
            self.check(pl_module)
            check_settings_once(trainer.callbacks)  # type: ignore[attr-defined]

    def check(self, pl_module: LightningModule) -> None:
        """Raise unless the module's objective has the setting, and it may take both ends."""
        objective = objective_of(pl_module)
        if objective is None or self.setting not in objective.settings():
            names = ", ".join(sorted(objective.settings())) if objective is not None else ""
            remedy = "Choose one of them" if names else "Leave the callback out"
            raise InputError(
                f"{type(self).__name__}: setting must be one of the objective of {type(pl_module).__name__} "
                f"({names or 'none'}), but got {self.setting!r}. {remedy}."
            )
        own = pl_module.moves if isinstance(pl_module, Method) else ()
        if self.setting in (*own, *objective.moves):
            raise InputError(
                f"{type(self).__name__}: {type(pl_module).__name__} changes {self.setting!r} by arguments of its "
                "own. Set those, or anneal another setting."
            )
        if self.setting in objective.open_weights:
            raise InputError(
                f"{type(self).__name__}: {self.setting} of {type(pl_module).__name__} must be a number, because a "
                f"schedule takes the place of what would be measured, but got 'auto'. Write {self.setting}: 1.0, or "
                "leave the callback out."
            )
        self._before = objective.before_annealing(self.setting)
        for value in (self.start, self.end, self._before):
            objective.set(self.setting, value)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plan the schedule over the fit, from where it begins: a trainer of an earlier fit counts further."""
        self._first = self._first or start_of(trainer)
        self.steps = self._planned(trainer, self._first)

    def _planned(self, trainer: Trainer, first: Start) -> int:
        who, batches = type(self).__name__, trainer.num_training_batches
        if batches == math.inf:
            total = plan_of(trainer, start=first).steps if self.epochs is None else None
        elif self.epochs is None:
            total = length_of(trainer, int(batches), first)[0]
        else:
            total = steps_of_epochs(trainer, int(batches), self.epochs, first[0])
        if total is not None:
            return total
        if self.epochs is not None:
            raise InputError(
                f"{who}: epochs must be None where the training loader has no length, but got {self.epochs}. Leave "
                "epochs out and set max_steps of the trainer, or set its limit_train_batches to a number of batches."
            )
        if has_end(trainer):
            raise InputError(
                f"{who}: the training loader must have a length where max_steps of the trainer is not set, but got "
                "one without. Set max_steps, or limit_train_batches to a number of batches."
            )
        raise InputError(
            f"{who}: epochs must be set where the fit has no planned end, but got None. Set epochs= or max_epochs."
        )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Set the value of this step."""
        objective: Any = pl_module.objective
        step = trainer.global_step - (self._first or (0, 0))[1]
        objective.anneal(self.setting, self.value(step, self.steps), self._before)

    def state_dict(self) -> dict[str, Any]:
        """The planned schedule, for the checkpoint."""
        own = {"setting": self.setting, "steps": self.steps, "start": self.start, "end": self.end}
        return own | {"first": list(self._first or (0, 0))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the schedule of the fit that was interrupted."""
        epoch, step = state_dict.get("first", (0, 0))
        self._first = int(epoch), int(step)


def check_settings_once(callbacks: Iterable[Callback]) -> None:
    """Each setting is moved by one callback: of two the last would win, in every step.

    Args:
        callbacks: of the trainer.

    Raises:
        InputError: naming both.
    """
    found: dict[str, str] = {}
    for callback in callbacks:
        if isinstance(callback, WeightAnnealing):
            name, other = type(callback).__name__, found.get(callback.setting)
            if other is not None:
                raise InputError(
                    f"callbacks: {callback.setting!r} must be annealed by one callback, but got {other} and {name}. "
                    "Leave one out."
                )
            found[callback.setting] = name


class TemperatureAnnealing(WeightAnnealing):
    """Change the temperature along a schedule, logged as ``train/temperature``.

    Off in the papers' presets, which keep it constant.

    Args:
        start: first temperature.
        end: last temperature.
        schedule: ``"linear"``, ``"cosine"`` or ``"exponential"``.
        epochs: length of the schedule in epochs; that of the fit by default.

    References:
        Jafari et al., Annealing Knowledge Distillation, EACL 2021, doi:10.18653/v1/2021.eacl-main.212, which scales
        logits by a growing factor and is a method of its own; this callback changes the temperature of any objective.

    Example:
        >>> TemperatureAnnealing(start=8.0, end=2.0, schedule="exponential").value(step=1, steps=2)
        4.0
    """

    def __init__(
        self, start: float = 8.0, end: float = 1.0, schedule: Schedule = "linear", epochs: int | None = None
    ) -> None:
        check_number(type(self).__name__, "start", start, 8.0, above=0)
        check_number(type(self).__name__, "end", end, 1.0, above=0)
        super().__init__("temperature", start, end, schedule, epochs)
        self.paper = ("jafari2021annealing",)
