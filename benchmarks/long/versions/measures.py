"""Tensors as a few numbers by which two of them are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

Measures = dict[str, float | str | list[int]]


def measures(x: Tensor | None) -> Measures | None:
    """Shape, digest of the bytes, and three sums in float64, none of which cancels.

    >>> measures(torch.tensor([3.0, -4.0]))["norm"]
    5.0
    """
    if x is None:
        return None
    flat = x.detach().cpu().double().reshape(-1)
    weight = 0.5 + torch.rand(flat.shape, generator=torch.Generator().manual_seed(len(flat)), dtype=torch.float64)
    return {
        "shape": list(x.shape),
        "digest": hashlib.blake2b(x.detach().cpu().contiguous().double().numpy().tobytes(), digest_size=8).hexdigest(),
        "norm": float(flat.norm()),
        "weighted": float((flat * weight).norm()),
        "positive": float((flat.clamp(min=0) * weight).sum()),
    }


def of_all(tensors: Mapping[str, Tensor | None]) -> dict[str, Measures | None]:
    """The measures of each, by name."""
    return {name: measures(x) for name, x in sorted(tensors.items())}
