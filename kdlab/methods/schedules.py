"""Learning-rate schedules that torch has no class for, and those of torch that need to know the fit.

A bare class name (``scheduler: OneCycleLR``) means the one of this file, where there is one, and torch's otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from kdlab.methods.number_checks import check_number, check_numbers
from kdlab.methods.plans import Interval, Plan, plan_here, planned
from kdlab.types import InputError


class Schedule(LRScheduler):
    """Base of the learning-rate schedules of kdlab, which may be spread over the planned length of the fit."""

    #: how often it is stepped, where the method's ``scheduler_interval`` does not say
    interval: ClassVar[Interval] = "epoch"


#: makes an optimiser from the parameters; Lightning's, without the command line that its definition imports
OptimizerCallable = Callable[[Iterable], Optimizer]  # type: ignore[type-arg]
#: makes a schedule from an optimiser; a bare name is looked for among kdlab's classes first
ScheduleCallable = Callable[[Optimizer], Schedule] | Callable[[Optimizer], LRScheduler]


def checked_init_lr(value: float | None, init: Any, who: str, argument: str) -> float | None:
    """The learning rate of a warm start.

    Args:
        value: that was given.
        init: the weights to start from, if there are any.
        who: whose setting it is, for messages.
        argument: the one that names those weights.

    Raises:
        InputError: no number above 0, or no weights to start from.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(
            f"{who}: init_lr must be a number above 0, or None for the optimiser's, but got {value!r}. Write one, such "
            "as 0.005."
        )
    if init is None:
        raise InputError(
            f"{who}: init_lr must be left out where {argument} is, but got {value!r}. Name the weights to start from "
            f"({argument}), or set the optimiser's lr."
        )
    return float(value)


#: last words of a metric -> its mode, and words beside them with which it may be the other one (``error_of_f1``)
_MODES = {"loss": "min", "accuracy": "max", "f1": "max"}
_UNCLEAR = {"error", "loss", "gap", "drop", "std", "variance", "of", "difference", "diff", "minus", "neg", "negative"}


def mode_of(monitor: str, mode: str | None, who: str) -> str:
    """Whether a metric is minimised or maximised.

    Args:
        monitor: a logged name.
        mode: ``"min"``, ``"max"`` or None: losses are minimised, accuracy and F1 are maximised, also as one of several
            words (``macro_f1``, ``loss_smoothed``).
        who: whose setting it is, for messages.

    Raises:
        InputError: for what is no name, another mode, or none and a name that says nothing.

    Example:
        >>> mode_of("val/loss", None, "best"), mode_of("val/f1", None, "best"), mode_of("val/f1", "min", "best")
        ('min', 'max', 'min')
    """
    if mode in ("min", "max"):
        return mode
    if not isinstance(monitor, str):
        raise InputError(
            f"{who}: monitor must be the name of a logged metric, but got {monitor!r}. Write one, such as 'val/loss'."
        )
    *others, last = monitor.rpartition("/")[2].removesuffix("_smoothed").split("_")
    known = None if _UNCLEAR & set(others) else _MODES.get(last)
    if mode is not None or known is None:
        raise InputError(
            f"{who}: mode must be min or max for the monitor {monitor!r}, but got {mode!r}. Set mode: max where more "
            "is better, and min where less is."
        )
    return known


def _length(schedule: type[Schedule], argument: str, given: int | None) -> int:
    """How often a schedule will be stepped: as given, or as planned."""
    if given is not None:
        check_number(schedule.__name__, argument, given, 1000, whole=True, low=1)
        return given
    plan = plan_here()
    length = plan.length(schedule.interval) if plan is not None else None
    if length is None:
        raise InputError(
            f"{schedule.__name__}: {argument} must be given where the fit has no planned end, but got None. Set "
            f"{argument}, or max_epochs or max_steps of the trainer (for a loader without a length max_steps or "
            "limit_train_batches)."
        )
    return length


class OneCycleLR(lr_scheduler.OneCycleLR, Schedule):
    """torch's ``OneCycleLR`` over the planned length of the fit: it ends with the last step, at its lowest rate.

    The learning rate rises from ``max_lr / div_factor`` to ``max_lr`` in the first ``pct_start`` of the steps, and
    falls to ``max_lr / (div_factor * final_div_factor)``. It is stepped with every optimiser step, unless the method's
    ``scheduler_interval`` is ``epoch``.

    Args:
        optimizer: the optimiser.
        max_lr: the highest learning rate.
        total_steps: number of steps; ``None``: those of the fit.
        pct_start: share of the steps in which it rises.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        cycle_momentum: let the momentum go the opposite way.
        base_momentum: lowest momentum.
        max_momentum: highest momentum.
        div_factor: the first learning rate is ``max_lr / div_factor``.
        final_div_factor: the last is the first divided by this.
        three_phase: fall in two parts, as in the paper.
        last_epoch: as in torch.

    References:
        Smith and Topin, Super-convergence, 2019, doi:10.1117/12.2520589.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
        >>> round(OneCycleLR(optimizer, max_lr=0.5, total_steps=10, div_factor=5.0).get_last_lr()[0], 6)
        0.1
    """

    interval: ClassVar[Interval] = "step"

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        who = type(self).__name__
        rates: Any = max_lr
        for rate in rates if isinstance(rates, list | tuple) else [rates]:  # torch takes one for each group
            check_number(who, "max_lr", rate, 0.1, above=0)
        check_number(who, "pct_start", pct_start, 0.3, low=0, high=1)
        check_number(who, "div_factor", div_factor, 25.0, above=0)
        check_number(who, "final_div_factor", final_div_factor, 1e4, above=0)
        super().__init__(
            optimizer,
            max_lr,
            total_steps=_length(type(self), "total_steps", total_steps),
            pct_start=float(pct_start),
            anneal_strategy=anneal_strategy,
            cycle_momentum=cycle_momentum,
            base_momentum=base_momentum,
            max_momentum=max_momentum,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
            three_phase=three_phase,
            last_epoch=last_epoch,
        )


class LinearWarmupCosine(Schedule):
    r"""A linear warm-up, then half a cosine down to ``end_factor`` of the learning rate at the end of the fit.

    .. math:: \frac{\eta_t}{\eta} = f_0 + (1 - f_0) \frac{t}{w} \quad (t < w), \qquad
        f_1 + (1 - f_1) \frac{1 + \cos(\pi (t - w) / (T - w))}{2} \quad (t \ge w)

    It is stepped with every optimiser step, unless the method's ``scheduler_interval`` is ``epoch``.

    Args:
        optimizer: the optimiser.
        warmup: share of the steps that is the warm-up, 0 to below 1.
        start_factor: ``f_0``, above 0 and at most 1.
        end_factor: ``f_1``, 0 to 1.
        total_steps: ``T``; ``None``: the steps of the fit.
        warmup_steps: ``w``, in place of the share.
        last_epoch: as in torch.

    Raises:
        InputError: for a value out of range.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> schedule, rates = LinearWarmupCosine(optimizer, warmup_steps=2, start_factor=0.5, total_steps=6), []
        >>> for _ in range(6):
        ...     optimizer.step(); rates.append(round(schedule.get_last_lr()[0], 3)); schedule.step()
        >>> rates
        [0.5, 0.75, 1.0, 0.854, 0.5, 0.146]
    """

    interval: ClassVar[Interval] = "step"

    def __init__(
        self,
        optimizer: Optimizer,
        warmup: float = 0.1,
        start_factor: float = 0.01,
        end_factor: float = 0.0,
        total_steps: int | None = None,
        warmup_steps: int | None = None,
        last_epoch: int = -1,
    ) -> None:
        self.total_steps = _length(type(self), "total_steps", total_steps)
        shares = {"warmup": (warmup, 0.1), "start_factor": (start_factor, 0.01), "end_factor": (end_factor, 0.0)}
        for name, (share, example) in shares.items():
            check_number("LinearWarmupCosine", name, share, example, low=-math.inf)
        if warmup_steps is not None:
            check_number("LinearWarmupCosine", "warmup_steps", warmup_steps, 100, whole=True, low=0)
        if not (0 <= warmup < 1 and 0 < start_factor <= 1 and 0 <= end_factor <= 1):
            raise InputError(
                "LinearWarmupCosine: arguments must be 0 <= warmup < 1, 0 < start_factor <= 1 and 0 <= end_factor <= 1,"
                f" but got {warmup}, {start_factor} and {end_factor}. For a number of steps set warmup_steps."
            )
        self.warmup_steps = round(warmup * self.total_steps) if warmup_steps is None else warmup_steps
        if not 0 <= self.warmup_steps < self.total_steps:
            raise InputError(
                f"LinearWarmupCosine: warmup_steps must be from 0 to below the {self.total_steps} of the schedule, "
                f"but got {self.warmup_steps}. Lower it, or train longer."
            )
        self.start_factor, self.end_factor = start_factor, end_factor
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # type: ignore[override]
        """The learning rate of each parameter group at ``last_epoch``."""
        t, warm = min(self.last_epoch, self.total_steps), self.warmup_steps
        if t < warm:
            factor = self.start_factor + (1 - self.start_factor) * t / warm
        else:
            falling = (1 + math.cos(math.pi * (t - warm) / (self.total_steps - warm))) / 2
            factor = self.end_factor + (1 - self.end_factor) * falling
        return [float(base) * factor for base in self.base_lrs]


class SequentialLR(lr_scheduler.SequentialLR, Schedule):
    """torch's ``SequentialLR``, whose parts are made from a config: one schedule after the other.

    A part that is spread over the fit (`OneCycleLR`, `LinearWarmupCosine`) is spread over its own part of it. All are
    stepped once an epoch, or with every optimiser step where the method's ``scheduler_interval`` is ``step``.

    Args:
        optimizer: the optimiser.
        schedulers: make the parts, each from the optimiser.
        milestones: the steps at which the second and every further part begins.
        last_epoch: as in torch.

    Raises:
        InputError: unless the milestones increase and are one fewer than the parts.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[ScheduleCallable],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        check_numbers("SequentialLR", "milestones", milestones, [10], whole=True, low=-math.inf)
        bounds = [0, *milestones]
        if len(bounds) != len(schedulers) or any(a >= b for a, b in pairwise(bounds)):
            raise InputError(
                f"SequentialLR: milestones must be increasing steps, one fewer than the {len(schedulers)} schedulers, "
                f"but got {milestones}. Name the step at which the second and every further one begins."
            )
        plan, parts = plan_here() or Plan(), []
        for make, start, end in zip(schedulers, bounds, [*milestones, None], strict=True):
            with planned(plan.part(self.interval, start, end)):
                parts.append(make(optimizer))
        super().__init__(optimizer, parts, list(milestones), last_epoch)


class ReduceLROnPlateau(lr_scheduler.ReduceLROnPlateau, Schedule):
    """torch's ``ReduceLROnPlateau`` with the metric that it watches, at the end of every epoch that is validated.

    Of several validations in an epoch (``val_check_interval``) it sees the last one, so ``patience`` and ``cooldown``
    count epochs. With ``check_val_every_n_epoch`` they count validated epochs, and for ``train/loss`` all.

    Args:
        optimizer: the optimiser.
        monitor: a logged name, ``val/loss``, ``val/accuracy``, ``val/f1`` or ``train/loss``.
        mode: ``"min"`` or ``"max"``; ``None``: losses are minimised, accuracy and F1 are maximised.
        factor: the learning rate is multiplied by this.
        patience: validated epochs without improvement before it is.
        threshold: the smallest change that is an improvement.
        threshold_mode: whether the threshold is relative (``"rel"``) or absolute (``"abs"``).
        cooldown: validated epochs after a reduction that do not count.
        min_lr: the lowest learning rate.
        eps: smaller reductions are left out.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> ReduceLROnPlateau(optimizer, monitor="val/f1").mode
        'max'
    """

    def __init__(
        self,
        optimizer: Optimizer,
        monitor: str = "val/loss",
        mode: Literal["min", "max"] | None = None,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        found: Any = mode_of(monitor, mode, "ReduceLROnPlateau")
        check_number("ReduceLROnPlateau", "factor", factor, 0.1, above=0, high=1)
        check_number("ReduceLROnPlateau", "patience", patience, 10, whole=True, low=0)
        check_number("ReduceLROnPlateau", "threshold", threshold, 1e-4, low=0)
        check_number("ReduceLROnPlateau", "cooldown", cooldown, 0, whole=True, low=0)
        rates: Any = min_lr
        for rate in rates if isinstance(rates, list | tuple) else [rates]:  # torch takes one for each group
            check_number("ReduceLROnPlateau", "min_lr", rate, 0.0, low=0)
        check_number("ReduceLROnPlateau", "eps", eps, 1e-8, low=0)
        super().__init__(optimizer, found, factor, patience, threshold, threshold_mode, cooldown, min_lr, eps)
        self.monitor = monitor


class PiecewiseLR(Schedule):
    """Learning rate ``base * factors[i]`` from epoch ``milestones[i]`` on, and ``base`` before the first.

    Unlike ``MultiStepLR`` each step has a factor of its own, which the wearable papers need: .05, then .01 from epoch
    11, .001 from 66 and .0001 from 133 of 200 (code jeunsom/TDA_KD@b9091bb train_ad.py).

    Args:
        optimizer: the optimiser.
        milestones: increasing epochs.
        factors: factors of the first learning rate, one per milestone.
        last_epoch: as in torch.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05)
        >>> schedule = PiecewiseLR(optimizer, milestones=[1, 2], factors=[0.2, 0.02])
        >>> for _ in range(2):
        ...     optimizer.step(); schedule.step()
        >>> round(schedule.get_last_lr()[0], 6)
        0.001
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Sequence[int], factors: Sequence[float], last_epoch: int = -1
    ) -> None:
        check_numbers("PiecewiseLR", "milestones", milestones, [10, 20], whole=True)
        check_numbers("PiecewiseLR", "factors", factors, [0.2, 0.02])
        if len(milestones) != len(factors) or list(milestones) != sorted(set(milestones)):
            raise InputError(
                f"PiecewiseLR: milestones must increase and have one factor each, but got milestones={milestones!r}, "
                f"factors={factors!r}. Correct them."
            )
        self.milestones, self.factors = list(milestones), list(factors)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # type: ignore[override]
        """The learning rate of each parameter group at ``last_epoch``."""
        factor = 1.0
        for milestone, value in zip(self.milestones, self.factors, strict=True):
            if self.last_epoch >= milestone:
                factor = value
        return [float(base) * factor for base in self.base_lrs]


def scheduled(make: ScheduleCallable, optimizer: Optimizer, plan: Plan) -> dict[str, Any]:
    """What Lightning is told of a schedule: the schedule itself, how often it is stepped, and what it watches.

    Args:
        make: makes the schedule.
        optimizer: the optimiser.
        plan: of the fit, with the method's ``scheduler_interval``.

    Raises:
        InputError: the schedule cannot be stepped so, or is spread over another length than the fit's.
    """
    with planned(plan):
        schedule: Any = make(optimizer)
    own: Interval = schedule.interval if isinstance(schedule, Schedule) else "epoch"
    interval: Interval = plan.interval or own
    if isinstance(schedule, lr_scheduler.ReduceLROnPlateau):
        if interval == "step":
            raise InputError(
                "ReduceLROnPlateau: scheduler_interval must be epoch, but got 'step'. It is stepped after a validation."
            )
        twin = any(base.__module__.startswith("lightning") for base in type(schedule).__mro__)
        ours = isinstance(schedule, ReduceLROnPlateau)
        watched: Any = schedule
        monitor: str = watched.monitor if ours or twin else "val/loss"
        every = plan.every if monitor.startswith("val") else 1
        return {"scheduler": schedule, "monitor": monitor, "interval": "epoch", "frequency": every}
    if isinstance(schedule, lr_scheduler.OneCycleLR):
        _check_length(schedule.total_steps, plan.length(own), interval)
    return {"scheduler": schedule, "interval": interval}


def _check_length(total: int, length: int | None, interval: str) -> None:
    if length is not None and total != length:
        end = "would stop within the fit" if total < length else "would not have come down at its end"
        raise InputError(
            f"OneCycleLR: total_steps must be {length}, the {interval}s of this fit, but got {total}: the schedule "
            f"{end}. Leave total_steps out (class_path: OneCycleLR), or set scheduler_interval to step or epoch."
        )
