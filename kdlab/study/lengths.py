"""A number of updates as settings of a run: epochs, schedules and callbacks that are written for another length.

A config is written for ``trainer.max_epochs``. Here all that it counts in epochs is stretched to the number of updates,
fold by fold, since folds have different numbers of batches: schedules are stepped with every update, so that a cosine
ends with the last one; a patience keeps its share of the validations, of which there is one per epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kdlab.study.configs import get_value, set_value
from kdlab.types import InputError

_MODEL = "model.init_args"

#: schedule -> its lengths, and what they are where the config does not say
_LENGTHS: dict[str, dict[str, Any]] = {
    "CosineAnnealingLR": {"T_max": None},
    "CosineAnnealingWarmRestarts": {"T_0": None},
    "StepLR": {"step_size": None},
    "MultiStepLR": {"milestones": None},
    "PiecewiseLR": {"milestones": None},
    "LinearLR": {"total_iters": 5},
    "ConstantLR": {"total_iters": 5},
    "PolynomialLR": {"total_iters": 5},
    "CyclicLR": {"step_size_up": 2000, "step_size_down": None},
    "SequentialLR": {"milestones": None},
    "ChainedScheduler": {},
    "ExponentialLR": {},
    "LinearWarmupCosine": {"total_steps": None, "warmup_steps": None},
    "OneCycleLR": {"total_steps": None},
}
#: schedules of kdlab that count updates, unless the config says epochs
_OF_STEPS = ("OneCycleLR", "LinearWarmupCosine")
#: callback -> what it counts in epochs or validations, and what that is where the config does not say
_CALLBACKS: dict[str, dict[str, Any]] = {
    "EarlyStoppedTeacher": {"patience": 10, "min_epochs": None, "epochs": None},
    "EarlyStopping": {"patience": 3},
    "TemperatureAnnealing": {"epochs": None},
    "WeightAnnealing": {"epochs": None},
    "EpochAveraging": {"start": None},
    "EMAWeightAveraging": {"update_starting_at_epoch": None},
}
#: method -> the same
_METHODS: dict[str, dict[str, Any]] = {
    "DKD": {"warm_up": 20},
    "ReviewKD": {"warm_up": 20},
    "MTKDRL": {"equal_epochs": 1},
    "AMC": {"ramp_up": None, "ramp_down": None, "epochs": None},
    "PSKD": {"epochs": None},
    "AnnealingKD": {"regression_epochs": None},
}
#: the same of any method, where its temperature is learnt
_LEARNT: dict[str, Any] = {"temperature_epochs": 10}


@dataclass(frozen=True)
class Length:
    """The length of a fit: as its config is written, and as the study has it.

    Args:
        updates: of the fit.
        an_epoch: updates of an epoch.
        written: epochs of the config; None where it names none.
        where: the job, for messages.
    """

    updates: int
    an_epoch: int
    written: int | None
    where: str

    @property
    def epochs(self) -> int:
        """Epochs of the fit, the last of which may be a part of one."""
        return math.ceil(self.updates / self.an_epoch)

    def _written(self, name: str) -> int:
        if self.written is None:
            raise InputError(
                f"{self.where}: trainer.max_epochs must say how many epochs {name} is written for, but is not set. "
                "Set it in the config."
            )
        return self.written

    def in_updates(self, value: float, name: str) -> int:
        """A number of epochs in updates, at least 1 unless it is 0."""
        return max(min(1, math.ceil(value)), round(value * self.updates / self._written(name)))

    def in_epochs(self, value: float, name: str) -> int:
        """A number of epochs in those of this fit, at least 1 unless it is 0."""
        exact = value * self.updates / self.an_epoch / self._written(name)
        return max(min(1, math.ceil(value)), round(exact))


def updates_an_epoch(trainer: dict[str, Any], batches: int) -> int:
    """Updates of an epoch, from the batches that a training loader of one process has.

    Args:
        trainer: its part of a config.
        batches: of an epoch.

    Example:
        >>> updates_an_epoch({"accumulate_grad_batches": 2}, 37), updates_an_epoch({"limit_train_batches": 0.5}, 37)
        (19, 18)
    """
    limit, devices = trainer.get("limit_train_batches"), trainer.get("devices")
    each = int(devices) if isinstance(devices, int | str) and str(devices).isdigit() else 1
    each = len(devices) if isinstance(devices, list) else each
    batches = max(1, batches // max(1, each * int(trainer.get("num_nodes") or 1)))
    if limit is not None:
        batches = int(batches * limit) if isinstance(limit, float) else min(batches, int(limit))
    return max(1, math.ceil(batches / int(trainer.get("accumulate_grad_batches") or 1)))


def unknown_batches(config: dict[str, Any]) -> int:
    """In place of a function that counts the batches of a run config.

    Raises:
        InputError: always.
    """
    raise InputError("updates: the batches of an epoch must be known to plan them, but are not. Pass batches=.")


def set_length(config: dict[str, Any], updates: int, batches: int, where: str) -> None:
    """Give a run so many updates, and stretch what its config counts in epochs; it is validated at least once.

    Args:
        config: of the run; it is changed.
        updates: of the optimiser.
        batches: of an epoch.
        where: the job, for messages.

    Raises:
        InputError: a schedule that cannot be stretched, or that is as long as another fit.
    """
    trainer = dict(config.get("trainer") or {})
    written = trainer.get("max_epochs")
    written = written if isinstance(written, int) and written > 0 else None
    length = Length(updates, updates_an_epoch(trainer, batches), written, where)
    set_value(config, "trainer.max_epochs", length.epochs)
    set_value(config, "trainer.max_steps", updates)
    every, complete = trainer.get("check_val_every_n_epoch"), max(1, updates // length.an_epoch)
    if isinstance(every, int) and every > complete:  # large folds have few epochs, of which a cut one is not validated
        set_value(config, "trainer.check_val_every_n_epoch", complete)
    _stretch_schedule(config, length)
    _stretch_method(config, length)
    callbacks = [_stretched_callback(one, length) for one in _listed(trainer.get("callbacks"))]
    callbacks.append({"class_path": "UpdateBudget", "init_args": {"updates": updates}})
    set_value(config, "trainer.callbacks", callbacks)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _class(value: Any) -> tuple[str, dict[str, Any]]:
    """Name without its module, and arguments, of a class in a config."""
    value = {"class_path": value} if isinstance(value, str) else value
    return str(value["class_path"]).rpartition(".")[2], dict(value.get("init_args") or {})


def _with(value: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    value = {"class_path": value} if isinstance(value, str) else dict(value)
    return {**value, "init_args": arguments} if arguments else value


def _changed(arguments: dict[str, Any], names: dict[str, Any], change: Callable[[float, str], int]) -> None:
    for name, usual in names.items():
        value = arguments.get(name, usual)
        if isinstance(value, list):
            arguments[name] = [change(one, name) for one in value]
        elif value is not None:
            arguments[name] = change(value, name)


# ---------------------------------------------------------------------- schedules
def _stretch_schedule(config: dict[str, Any], length: Length) -> None:
    schedule = get_value(config, f"{_MODEL}.scheduler")
    if schedule is None:
        return
    interval = get_value(config, f"{_MODEL}.scheduler_interval")
    name, arguments = _class(schedule)
    if name == "ReduceLROnPlateau":
        _changed(arguments, {"patience": 10, "cooldown": None}, length.in_epochs)
        set_value(config, f"{_MODEL}.scheduler", _with(schedule, arguments))
        return
    if interval == "step":  # its lengths are in updates already
        _check_steps(name, arguments, length)
        return
    set_value(config, f"{_MODEL}.scheduler", _stretched(schedule, length, interval, outer=True))
    set_value(config, f"{_MODEL}.scheduler_interval", "step")


def _check_steps(name: str, arguments: dict[str, Any], length: Length) -> None:
    given = arguments.get("T_max")
    if name == "CosineAnnealingLR" and given != length.updates:
        raise InputError(
            f"{length.where}: T_max of {name} must be the {length.updates} updates of the fit where scheduler_interval "
            f"is step, but is {given}. Leave scheduler_interval out, and give epochs, or correct it."
        )


def _stretched(schedule: Any, length: Length, interval: str | None, outer: bool) -> dict[str, Any]:
    name, arguments = _class(schedule)
    if name not in _LENGTHS:
        raise InputError(
            f"{length.where}: scheduler must be one whose lengths are known ({', '.join(_LENGTHS)}), but got {name}. "
            "Set scheduler_interval: step, and give its lengths in updates."
        )
    if name == "OneCycleLR":
        for argument in ("epochs", "steps_per_epoch"):
            arguments.pop(argument, None)
    if outer and name in _OF_STEPS:
        arguments["total_steps"] = length.updates
        in_steps = interval is None and name == "LinearWarmupCosine"
        change = _steps_to_updates(length) if in_steps else length.in_updates
        _changed(arguments, {"warmup_steps": None} if name == "LinearWarmupCosine" else {}, change)
        return _with(schedule, arguments)
    if name == "ExponentialLR":
        arguments["gamma"] = float(arguments["gamma"]) ** (length._written(name) / length.updates)
    _changed(arguments, _LENGTHS[name], length.in_updates)
    if "schedulers" in arguments:
        arguments["schedulers"] = [_stretched(one, length, interval, outer=False) for one in arguments["schedulers"]]
    return _with(schedule, arguments)


def _steps_to_updates(length: Length) -> Callable[[float, str], int]:
    def change(value: float, name: str) -> int:
        return length.in_updates(value / length.an_epoch, name)

    return change


# ---------------------------------------------------------------------- callbacks and methods
def _stretched_callback(callback: Any, length: Length) -> Any:
    name, arguments = _class(callback)
    if name == "GradientAccumulationScheduler":
        raise InputError(
            f"{length.where}: callbacks must leave accumulate_grad_batches as it is in a study with updates, but got "
            f"{name}. Set trainer.accumulate_grad_batches."
        )
    names = dict(_CALLBACKS.get(name, {}))
    if name == "EpochAveraging" and arguments.get("start", 0) < 1:
        return callback
    _changed(arguments, names, length.in_epochs)
    return _with(callback, arguments) if names else callback


def _stretch_method(config: dict[str, Any], length: Length) -> None:
    name = str(get_value(config, "model.class_path") or "").rpartition(".")[2]
    arguments = dict(get_value(config, _MODEL) or {})
    names = _METHODS.get(name, {}) | (_LEARNT if arguments.get("learn_temperature") else {})
    if names:
        _changed(arguments, names, length.in_epochs)
        set_value(config, _MODEL, arguments)
