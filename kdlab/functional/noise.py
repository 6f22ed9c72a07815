"""Noise that is a function of its keys: the same on every device, in every process, and in a fit that is resumed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_MASK, _BITS = 0xFFFFFFFF, 23  # so that float32 holds them exactly


def _mixed(x: Tensor) -> Tensor:
    """The finaliser of MurmurHash3 on 32-bit words in int64: products wrap around, and their low words are right."""
    x = (x ^ (x >> 16)) * 0x85EBCA6B & _MASK
    x = (x ^ (x >> 13)) * 0xC2B2AE35 & _MASK
    return x ^ (x >> 16)


def keyed_uniform(keys: Tensor, size: int, seed: Tensor | int) -> Tensor:
    r"""Numbers between 0 and 1, both excluded, uniformly distributed, from a hash of key, place and seed.

    Args:
        keys: ``(B,)`` int64: equal keys give equal rows.
        size: ``n``, numbers of a row.
        seed: a whole number, or an int64 tensor of one, such as the number of the step.

    Shapes:
        ``(B,) -> (B, n)`` float32.

    References:
        A. Appleby, MurmurHash3, whose finaliser is applied once for the seed, the key and the place.

    Example:
        >>> keyed_uniform(torch.tensor([3, 4, 3]), 2, 0)
        tensor([[0.1576, 0.2789],
                [0.6216, 0.1507],
                [0.1576, 0.2789]])
    """
    places = torch.arange(size, device=keys.device)
    start = torch.zeros_like(keys[:1]) + seed
    row = _mixed((_mixed(start + 0x9E3779B9 & _MASK) + keys * 0x9E3779B1) & _MASK)
    words = _mixed((row[:, None] + places * 0x85EBCA77 + 1) & _MASK)
    words = _mixed((words ^ row[:, None] * 0x27D4EB2F) & _MASK)
    numbers: Tensor = ((words >> (32 - _BITS)).float() + 0.5) / 2**_BITS
    return numbers


def keyed_normal(keys: Tensor, size: int, seed: Tensor | int) -> Tensor:
    r"""Standard normal numbers from :func:`keyed_uniform`, by the transform of Box and Muller.

    .. math:: \sqrt{-2 \log u_1} \cos(2 \pi u_2)

    Args:
        keys: ``(B,)`` int64.
        size: ``n``.
        seed: a whole number, or an int64 tensor of one.

    Shapes:
        ``(B,) -> (B, n)`` float32.

    Example:
        >>> keyed_normal(torch.tensor([3, 4]), 2, 0)
        tensor([[ 0.8858, -1.1483],
                [-0.8552,  1.4443]])
    """
    first, second = keyed_uniform(keys, 2 * size, seed).chunk(2, 1)
    noise: Tensor = (-2 * first.log()).sqrt() * (2 * math.pi * second).cos()
    return noise
