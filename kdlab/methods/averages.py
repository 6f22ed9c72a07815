"""Averaged weights (EMA, SWA): what is validated and kept as best is the average, what is resumed are the weights.

Lightning's callbacks `WeightAveraging` and `EMAWeightAveraging` train the current weights, put the average in their
place for validation, and write both into a checkpoint: the average as ``state_dict``. Here is what they leave open:
the average is made of the prepared method; before the first update it is the current weights; an epoch's update comes
before its validation; and checkpoints of weights alone hold the average, too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from kdlab.methods.checkpoints import KEY
from kdlab.methods.finite import check_finite
from kdlab.methods.teacher import Teacher
from kdlab.types import InputError

#: the key of the current weights in a checkpoint whose ``state_dict`` is an average
CURRENT = "current_model_state"


class Averages(AveragedModel):
    r"""The average of a method: of its trained parameters and, with ``use_buffers``, of the real buffers of its net.

    All else is that of the method: integers, which an average would round, settings of the objective, and teachers,
    which are not even copied. The first update takes the weights as they are; then, for an exponential average,
    :math:`\bar\theta_{t+1} = d \bar\theta_t + (1 - d) \theta_{t+1}`.

    Args:
        model: the method.
        device: of the average; None: the method's.
        use_buffers: average running statistics (batch norm), too; else they are those of the current weights.
        avg_fn: ``(average, current, updates so far) -> average``; by default all updates have the same weight.
        multi_avg_fn: the same in place, for lists of tensors.
    """

    def __init__(
        self,
        model: LightningModule,
        device: torch.device | int | None = None,
        use_buffers: bool = True,
        avg_fn: Callable[[Tensor, Tensor, Tensor | int], Tensor] | None = None,
        multi_avg_fn: Callable[[Any, Any, Tensor | int], None] | None = None,
    ) -> None:
        nn.Module.__init__(self)
        shared: dict[int, Any] = {id(part): part for part in model.modules() if isinstance(part, Teacher)}
        self.module = copy.deepcopy(model, shared)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", torch.tensor(0))  # on the processor: it is read in every step
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Update the average.

        Args:
            model: the method, with its current weights.
        """
        averaged, copied = self._pairs(model)
        for ours, current in copied if self.n_averaged else [*averaged, *copied]:
            ours.copy_(current)
        if self.n_averaged and self.multi_avg_fn is not None:
            for kind in {(ours.device, ours.dtype) for ours, _ in averaged}:
                some = [(ours, c.to(ours.device)) for ours, c in averaged if (ours.device, ours.dtype) == kind]
                self.multi_avg_fn([a for a, _ in some], [c for _, c in some], self.n_averaged.to(kind[0]))
        elif self.n_averaged:
            average = self.avg_fn or _mean
            counts = {device: self.n_averaged.to(device) for device in {ours.device for ours, _ in averaged}}
            for ours, current in averaged:
                ours.copy_(average(ours, current.to(ours.device), counts[ours.device]))
        self.n_averaged += 1

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Take the current weights, as long as there was no update."""
        if not self.n_averaged:
            for ours, current in (pair for pairs in self._pairs(model) for pair in pairs):
                ours.copy_(current)

    def _pairs(self, model: nn.Module) -> tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]:
        """(average, current) of what is averaged, and of all else."""
        averaged: list[tuple[Tensor, Tensor]] = []
        copied: list[tuple[Tensor, Tensor]] = []
        mine, theirs = (dict(_tensors(module)) for module in (self.module, model))
        if mine.keys() != theirs.keys():
            names = ", ".join(sorted(mine.keys() ^ theirs.keys())[:3])
            raise InputError(
                f"callbacks: averaged weights need a module that keeps its parameters and buffers during a fit, but "
                f"{names} came or went. Make them in build(), or leave the callback out."
            )
        for name, current in theirs.items():
            if mine[name] is current:  # of a teacher
                continue
            is_weight = isinstance(current, nn.Parameter) and current.requires_grad
            is_statistic = self.use_buffers and name.startswith("net.") and not isinstance(current, nn.Parameter)
            real = current.is_floating_point() or current.is_complex()
            (averaged if real and (is_weight or is_statistic) else copied).append(
                (mine[name].detach(), current.detach())
            )
        return averaged, copied


def _mean(average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
    return average + (current - average) / (count + 1)


def _tensors(module: Any) -> Iterable[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def check_averages(callbacks: Iterable[Any]) -> None:
    """At most one callback averages the weights, and it validates what it averages.

    Raises:
        InputError: naming the callback, and what to write instead.
    """
    found = [callback for callback in callbacks if isinstance(callback, WeightAveraging | StochasticWeightAveraging)]
    for callback in found:
        if isinstance(callback, StochasticWeightAveraging):
            raise InputError(
                "StochasticWeightAveraging: callbacks must validate the average that they keep, but this one validates "
                "the current weights, and at its end clears the batch statistics of teachers, too. Use "
                "kdlab.callbacks.EpochAveraging(start=0.8), with the learning rate as a scheduler (torch's SWALR)."
            )
    if len(found) > 1:
        names = " and ".join(type(callback).__name__ for callback in found)
        raise InputError(f"callbacks: one callback may average the weights, but got {names}. Leave one out.")


def averaging(trainer: Trainer | None) -> WeightAveraging | None:
    """The callback that averages the weights, None where none does."""
    callbacks: list[Any] = [] if trainer is None else trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, WeightAveraging)), None)


def average_of(trainer: Trainer | None) -> Averages | None:
    """The average of a fit, None where there is none."""
    callback = averaging(trainer)
    average = callback._average_model if callback is not None else None
    return average if isinstance(average, Averages) else None


def make_average(module: LightningModule, stage: str) -> None:
    """Make the average of a method that is prepared; outside of a fit there is none, so nothing is exchanged for it.

    Raises:
        InputError: of :func:`check_averages`.
    """
    check_averages(module.trainer.callbacks)  # type: ignore[attr-defined]
    callback = averaging(module.trainer)
    if callback is None:
        return
    callback._average_model = None
    if stage == "fit":
        device: Any = callback._device or module.device
        made = Averages(module, device, callback._use_buffers, **callback._kwargs)
        callback._average_model = made


def before_validation(module: LightningModule) -> None:
    """At the end of an epoch the average gets its update first, so that what is validated is what is kept."""
    trainer, callback = module.trainer, averaging(module.trainer)
    if callback is None or trainer.state.fn != TrainerFn.FITTING:
        return
    if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch and not trainer.sanity_checking:
        callback.on_train_epoch_end(trainer, module)  # not twice in an epoch: it keeps the epoch of the last update
    follow(module)


def follow(module: LightningModule) -> None:
    """Before its first update the average is the current weights."""
    average = average_of(module.trainer)
    if average is not None:
        average.follow(module)


def measured_weights(module: Any) -> dict[str, Tensor]:
    """Copies of the weights of a method's net that validation measures: the average, where there is one."""
    average = average_of(module.trainer)
    net: Any = module.net if average is None else average.module.net
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def keep_average(module: LightningModule, checkpoint: dict[str, Any]) -> None:
    """Make the average the weights of a checkpoint, also of one without the state of callbacks, and describe it."""
    average = average_of(module._trainer)
    if average is None:
        return
    average.follow(module)
    checkpoint["state_dict"] = average.module.state_dict()
    if average.n_averaged:
        who = type(averaging(module.trainer)).__name__
        provenance = {**checkpoint[KEY]["provenance"], "averaged": f"{who}, {int(average.n_averaged)} updates"}
        checkpoint[KEY] = {**checkpoint[KEY], "provenance": provenance}


def check_current(callbacks: Iterable[Any], checkpoint: Mapping[str, Any]) -> None:
    """A fit that averaged its weights is resumed by one that does.

    Args:
        callbacks: of the trainer that resumes.
        checkpoint: that it resumes from.

    Raises:
        InputError: none of them averages, or the current weights are damaged.
    """
    if CURRENT not in checkpoint:
        return
    if not any(isinstance(callback, WeightAveraging) for callback in callbacks):
        raise InputError(
            "ckpt_path: a fit of averaged weights must be resumed with its callback, but none averages here. Add it "
            "(config.yaml beside the checkpoints), or start from the average with init= or student_init=."
        )
    current = checkpoint[CURRENT]
    if not isinstance(current, dict) or current.keys() != checkpoint["state_dict"].keys():
        raise InputError(f"ckpt_path: {CURRENT} must have the names of state_dict, but has not. Train it again.")
    check_finite(current, "ckpt_path: the checkpoint")
