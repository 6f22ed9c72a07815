"""What a study may take: its time, and how many jobs a number in its file may mean."""

from __future__ import annotations

import math
from typing import Any

from kdlab.study.keys import BUDGET
from kdlab.types import InputError

#: seeds, teachers of one kind, groups and trials: each number is as many fits, whose names are kept in memory
MOST = 1000


def check_count(number: int, where: str, otherwise: str = "Lower it.") -> None:
    """Refuse a number that nobody means, before as many jobs are named.

    Args:
        number: of jobs.
        where: the entry, for the message.
        otherwise: the remedy.

    Raises:
        InputError: it is above 1,000.
    """
    if number > MOST:
        raise InputError(f"{where} must be at most {MOST:,}, but got {number}. {otherwise}")


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
