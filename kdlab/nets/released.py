"""Key names of released weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

#: pattern of a released key -> our key, as in :func:`re.sub`
Names = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]


def rename(state: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Weights under our key names.

    Args:
        state: key -> tensor.
        names: pattern -> replacement, applied to every key one after the other.

    Example:
        >>> import torch
        >>> list(rename({"fc.weight": torch.zeros(1)}, [(r"^fc\\.", "head.")]))
        ['head.weight']
    """
    renamed = {}
    for key, value in state.items():
        for pattern, replacement in names:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    return renamed
