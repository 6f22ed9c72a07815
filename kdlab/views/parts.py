"""Which samples of a window a view keeps."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kdlab.views.base import check, check_size

Place = Literal["end", "centre", "start"]
PLACES = ("end", "centre", "start")


def checked(name: str, samples: object, part: object) -> None:
    """Refuse a number of samples, or a place of them, that cannot be.

    Raises:
        InputError: naming the argument.
    """
    if samples is not None:
        check_size(name, samples, 1)
    check(part in PLACES, "part", f"one of {', '.join(PLACES)}", part)


def place(length: int, samples: int, part: str) -> int:
    """Where ``samples`` of ``length`` samples begin; below 0 where there are not so many.

    >>> place(10, 4, "end"), place(10, 4, "centre"), place(10, 4, "start"), place(3, 4, "end")
    (6, 3, 0, -1)
    """
    return {"end": length - samples, "centre": (length - samples) // 2, "start": 0}[part]


def fitted(x: Tensor, samples: int, part: str) -> Tensor:
    """``samples`` samples of ``(..., T)``; where there are not so many, the first and the last are repeated.

    >>> fitted(torch.tensor([[1.0, 2.0, 3.0]]), 2, "end"), fitted(torch.tensor([[1.0, 2.0]]), 4, "centre")
    (tensor([[2., 3.]]), tensor([[1., 1., 2., 2.]]))
    """
    start = place(x.shape[-1], samples, part)
    return x[..., torch.arange(start, start + samples, device=x.device).clamp(0, x.shape[-1] - 1)]
