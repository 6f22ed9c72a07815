"""What the constructors of all methods are given: values that no fit could begin with are refused there."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import torch
from lightning.fabric.utilities.types import Optimizable
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from kdlab.instances import check_callable, check_name, check_path
from kdlab.methods.finite import first_of
from kdlab.types import InputError

_OPTIMIZER = "optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.05)"
_SCHEDULER = "scheduler=lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)"


def check_given(
    who: str,
    start: str,
    *,
    view: Any,
    optimizer: Any,
    scheduler: Any,
    init: Any,
    compile: Any,
    memory_format: Any,
    scheduler_interval: Any,
) -> None:
    """Check the arguments that all methods have.

    Args:
        who: the method, for messages.
        start: the argument that names the weights to start from.
        view: see `Method`, as all that follow.
        optimizer: makes the optimiser.
        scheduler: makes the schedule.
        init: the weights to start from.
        compile: whether the net is compiled, or by what.
        memory_format: of its features.
        scheduler_interval: how often the schedule is stepped.

    Raises:
        InputError: with the line to write.
    """
    argument = "student_view" if start == "student_init" else "view"
    check_name(f"{who}: {argument}", view, f'for example {argument}="raw"')
    if init is not None:
        check_path(f"{who}: {start}", init, f'for example {start}="runs/scratch"')
    if optimizer is None:
        raise InputError(
            f"{who}: optimizer must be a class or a function, but got None. Write for example {_OPTIMIZER}."
        )
    _check_maker(f"{who}: optimizer", optimizer, "the parameters", _OPTIMIZER)
    if scheduler is not None:
        _check_maker(f"{who}: scheduler", scheduler, "the optimiser", _SCHEDULER)
    if not isinstance(compile, bool) and (not isinstance(compile, str) or not compile.strip()):
        raise InputError(
            f"{who}: compile must be true, false or the name of a backend of torch.compile, but got {compile!r}. Write "
            "for example compile=True."
        )
    for name, value, words in (
        ("memory_format", memory_format, ("channels_last", "contiguous")),
        ("scheduler_interval", scheduler_interval, ("epoch", "step")),
    ):
        if value not in (None, *words):
            raise InputError(
                f"{who}: {name} must be {words[0]!r}, {words[1]!r} or None, but got {value!r}. Choose one of them."
            )


def _check_maker(where: str, make: Any, given: str, line: str) -> None:
    """Refuse what cannot be called with one argument, as torch's schedules that need a length, too."""
    check_callable(where, make, f"for example {line}")
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # of what is not written in Python
        return
    try:
        signature.bind(None)
    except TypeError:
        name = make.__name__ if isinstance(make, type | FunctionType) else type(make).__name__
        needed = [p.name for p in list(signature.parameters.values())[1:] if _is_required(p)]
        if needed and isinstance(make, type):
            argument, taken = line.partition("=lambda ")[0], line.partition("lambda ")[2].partition(":")[0]
            line = f"{argument}=lambda {taken}: {name}({taken}, {', '.join(f'{n}=...' for n in needed)})"
        also = f"also needs {', '.join(needed)}" if needed else "takes no argument"
        raise InputError(f"{where} must be called with {given} alone, but {name} {also}. Write {line}.") from None


def _is_required(parameter: inspect.Parameter) -> bool:
    several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and not several


def check_optimizer(who: str, optimizer: Any, trained: Mapping[str, nn.Parameter], told: bool) -> bool:
    """Refuse an optimiser that would train nothing, and warn of parameters that it does not hold.

    Args:
        who: the method, for messages.
        optimizer: what was made from the parameters.
        trained: name -> parameter that requires a gradient.
        told: whether the warning was given before.

    Returns:
        Whether the warning was given.

    Raises:
        InputError: no optimiser, or one of other parameters.
    """
    if not isinstance(optimizer, Optimizable):
        raise InputError(
            f"{who}: optimizer must make one optimiser of torch from the parameters, but made {optimizer!r:.80}. Write "
            f"for example {_OPTIMIZER}."
        )
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    missing = [name for name, parameter in trained.items() if id(parameter) not in held]
    if not missing or "param_groups" not in vars(optimizer):  # a property: of copies, on another device
        return told
    if len(missing) == len(trained) and isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(
            f"{who}: the optimiser must hold the parameters that it is made from, but {type(optimizer).__name__} holds "
            f"none of these {len(trained)}, so nothing would be trained. Write for example {_OPTIMIZER}."
        )
    if not told:
        rank_zero_warn(
            f"{who}: {type(optimizer).__name__} does not hold {len(missing)} of the {len(trained)} parameters that it "
            f"was given ({first_of(missing)}), so these stay as they are. Give it all, or freeze them."
        )
    return True
