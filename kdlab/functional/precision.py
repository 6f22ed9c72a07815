"""Precision and checks, which every function of distillation shares."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor

from kdlab import autocast
from kdlab.types import InputError

P = ParamSpec("P")
T = TypeVar("T")

#: Floor of every L2 norm that something is divided by.
EPS = 1e-12


def promote(value: T) -> T:
    """Half precision to float32, in a tensor or in the values of a mapping; everything else as it is.

    Example:
        >>> promote(torch.zeros(1, dtype=torch.bfloat16)).dtype, promote(torch.zeros(1, dtype=torch.float64)).dtype
        (torch.float32, torch.float64)
    """
    if isinstance(value, Tensor):
        return cast(T, value.float() if value.is_floating_point() and value.element_size() < 4 else value)
    if isinstance(value, Mapping):
        return cast(T, {key: promote(item) for key, item in value.items()})
    return value


def _first_tensor(values: Iterable[Any]) -> Tensor | None:
    for value in values:
        found = _first_tensor(value.values()) if isinstance(value, Mapping) else value
        if isinstance(found, Tensor):
            return found
    return None


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function in at least float32: autocast off, half-precision arguments promoted."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        values = [promote(value) for value in args]
        named = {key: promote(value) for key, value in kwargs.items()}
        tensor = _first_tensor((*values, *named.values()))
        call = cast("Callable[..., T]", function)
        if tensor is None:
            return call(*values, **named)
        with autocast.off(tensor.device.type):
            return call(*values, **named)

    return wrapper


def unit(x: Tensor, dim: int = -1) -> Tensor:
    """Divide by the L2 norm (at least 1e-12) along a dimension.

    Zeros stay zeros, with the gradient of division by one: divided by 1e-12, a single dead sample in a batch would send
    a gradient of 1e10 to the net.

    Example:
        >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    return x / torch.where(norm > 0, norm.clamp_min(EPS), 1.0)


def shape_of(tensor: Tensor) -> str:
    """The shape as errors print it."""
    return str(tuple(tensor.shape))


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise :class:`~kdlab.types.InputError` unless an argument is one of a few words."""
    if value not in allowed:
        raise InputError(f"{name} must be one of {', '.join(map(repr, allowed))}, but is {value!r}.")


def check_same_batch(student: Tensor, teacher: Tensor, who: str = "the teacher") -> None:
    """Raise :class:`~kdlab.types.InputError` with both shapes unless two features ``(B, ...)`` are of one batch."""
    if student.ndim < 2 or teacher.ndim < 2:
        raise InputError(
            f"Features must be (B, ...) with at least two dimensions, but the student has {shape_of(student)} "
            f"and {who} {shape_of(teacher)}."
        )
    if student.shape[0] != teacher.shape[0]:
        raise InputError(
            f"Student and teacher must see the same batch, but the student has {shape_of(student)} "
            f"and {who} {shape_of(teacher)}."
        )


def check_same_names(teachers: Iterable[str], weights: Iterable[str]) -> None:
    """Raise :class:`~kdlab.types.InputError` with both sets unless the weights name exactly the teachers."""
    if not set(teachers) or set(teachers) != set(weights):
        raise InputError(
            f"weights must name exactly the teachers: the teachers are {sorted(teachers)}, "
            f"the weights are for {sorted(weights)}."
        )
