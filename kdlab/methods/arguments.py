"""An objective as plain values, for checkpoints and loggers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from kdlab.files import as_plain
from kdlab.objective import Objective


def objective_of(module: nn.Module) -> Objective | None:
    """The objective of a method, or None where it has none."""
    found = dict(module.named_children()).get("objective")
    return found if isinstance(found, Objective) else None


def objective_arguments(objective: Objective | None) -> dict[str, Any] | None:
    """An objective's class and those of its arguments that are plain values; what may be annealed, as it is now.

    Example:
        >>> from kdlab.objectives import SoftTargets
        >>> list(objective_arguments(SoftTargets(kl_reduction="mean"))["arguments"].items())[3:7]
        [('weights', None), ('temperature', 4.0), ('kd_weight', 0.9), ('kl_reduction', 'mean')]
    """
    if objective is None:
        return None
    given: dict[str, Any] = {}
    for name in objective.accepted():
        try:
            given[name] = as_plain(getattr(objective, name), _setting)  # the names are its own arguments
        except (AttributeError, TypeError):  # an argument that it does not keep, or that is no plain value
            continue
    return {"class": type(objective).__name__, "arguments": given}


def _setting(value: Any) -> float:
    if isinstance(value, Tensor) and value.ndim == 0:
        return float(f"{float(value):.7g}")  # as it was written before it became float32
    raise TypeError(f"{type(value).__name__} is no plain value")
