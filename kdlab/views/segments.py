"""A window in segments: the pixels of an image that is made of pairs of samples."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdlab.types import InputError


@lru_cache(maxsize=64)
def bounds(length: int, size: int) -> npt.NDArray[np.int64]:
    """Ends of ``size`` segments of a window, truncated as floating point has them.

    >>> bounds(10, 4).tolist()
    [0, 2, 5, 7, 10]
    """
    return np.linspace(0, length, size + 1).astype(np.int64)


def side(size: int | None, length: int) -> int:
    """The number of segments: ``size``, or every sample for None.

    Raises:
        InputError: a window with fewer samples.
    """
    found = length if size is None else size
    if found > length:
        raise InputError(
            f"size: expected at most the {length} samples of a window, got {found}; use a smaller size, or "
            f"size=None to keep every sample"
        )
    return found


def means(x: Tensor, ends: npt.NDArray[np.int64]) -> Tensor:
    """Mean of each segment, float64: ``(..., T)`` -> ``(..., n)``.

    Samples are added one after the other, so a window has the same means in every batch and on every device.

    >>> means(torch.tensor([[1.0, 3.0, 5.0]]), bounds(3, 2)).tolist()
    [[1.0, 4.0]]
    """
    lengths, last = np.diff(ends), x.shape[-1] - 1
    x, total = x.double(), torch.zeros((), dtype=torch.float64, device=x.device)
    for step in range(int(lengths.max())):
        places = torch.as_tensor(np.minimum(ends[:-1] + step, last), device=x.device)
        inside = torch.as_tensor(step < lengths, device=x.device)
        total = total + torch.where(inside, x[..., places], 0.0)
    return total / torch.as_tensor(lengths, device=x.device)
