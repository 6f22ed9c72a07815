"""The time that a study may take."""

from __future__ import annotations

import math
from typing import Any

from kdlab.study.keys import BUDGET
from kdlab.types import InputError


def check_hours(value: Any, where: str) -> float | None:
    """Hours that a study may take; None where there is no limit.

    Raises:
        InputError: no positive number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"{where} must be a positive number of hours, but got {value!r}. Write for example 2 or 0.5.")
    return float(value)


def read_hours(budget: Any, where: str) -> float | None:
    """``budget: {hours: 2}`` of a study file.

    Raises:
        InputError: it is anything else.
    """
    if budget is None:
        return None
    if not isinstance(budget, dict) or set(budget) != set(BUDGET):
        raise InputError(f"{where}: budget must be {{hours: <number>}}, but got {budget!r:.80}. Write {{hours: 2}}.")
    return check_hours(budget["hours"], f"{where}: budget: hours")
