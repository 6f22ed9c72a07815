"""Several p-values at once."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

from kdlab.types import InputError

Name = TypeVar("Name", bound=Hashable)


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    r"""p-values corrected by Holm's step-down method: at most that share of all families holds one false difference.

    With :math:`p_{(1)} \le \dots \le p_{(m)}`, the corrected k-th is
    :math:`\max_{j \le k} \min(1, (m - j + 1) p_{(j)})`. It needs no independence of the tests.

    Args:
        p_values: name of a comparison -> its p-value, from 0 to 1; together they are the family.

    Returns:
        The corrected p-values, in the order given.

    Raises:
        InputError: a number that is no p-value.

    References:
        Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.

    Example:
        >>> holm({"kd": 0.01, "tpkd": 0.04, "amd": 0.03})
        {'kd': 0.03, 'tpkd': 0.06, 'amd': 0.06}
    """
    for name, p in p_values.items():
        if not (math.isfinite(p) and 0 <= p <= 1):
            raise InputError(f"p_values: must be from 0 to 1, but got {p} for {name}. Pass p-values.")
    result, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        result[name] = largest
    return {name: result[name] for name in p_values}
