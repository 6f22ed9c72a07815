"""The swap of IPS: two windows exchange some of equal segments of time, or cells of an image."""

from __future__ import annotations

import torch
from torch import Tensor

from kdlab import functional
from kdlab.types import InputError


def drawn_cells(keys: Tensor, cells: int, number: int, probability: float, seed: int, step: int) -> Tensor:
    """Which cells of each window are swapped, ``(B, cells)`` bool: ``number`` of them, or none.

    Args:
        keys: ``(B,)`` int64: the windows, on which the draw depends besides seed and step.
        cells: of a window.
        number: that are swapped.
        probability: share of the windows that swap.
        seed: a whole number.
        step: a whole number.

    Example:
        >>> drawn_cells(torch.tensor([3, 4]), 4, 2, 1.0, seed=0, step=0).sum(1).tolist()
        [2, 2]
    """
    drawn = functional.keyed_uniform(keys, cells + 1, seed * 2**20 + step)
    first = drawn[:, :cells].argsort(1).argsort(1) < number
    return first & (drawn[:, cells:] < probability)


def swap(one: Tensor, two: Tensor, cells: Tensor, segments: int) -> tuple[Tensor, Tensor]:
    """Both windows with their marked cells exchanged.

    Args:
        one: ``(B, C, T)`` or ``(B, C, H, W)``.
        two: of the same shape.
        cells: ``(B, segments)``, or ``(B, segments^2)`` row by row, bool.
        segments: on each axis; their lengths differ by one position at most.

    Example:
        >>> a, b = swap(torch.zeros(1, 1, 6), torch.ones(1, 1, 6), torch.tensor([[True, False, True]]), 3)
        >>> a.tolist(), b.tolist()
        ([[[1.0, 1.0, 0.0, 0.0, 1.0, 1.0]]], [[[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]]])
    """
    cell = torch.zeros((), dtype=torch.int64, device=one.device)
    for side in one.shape[2:]:
        cell = cell[..., None] * segments + torch.arange(side, device=one.device) * segments // side
    mask = cells[:, cell][:, None]
    return torch.where(mask, two, one), torch.where(mask, one, two)


def check_swap(segments: int, number: int, ndim: int, shape: tuple[int, ...] | None) -> None:
    """Check a swap against the windows.

    Raises:
        InputError: for more cells than there are, or segments without a position.
    """
    if number >= segments**ndim:
        raise InputError(
            f"IPS: swapped must be below the number of cells, {segments**ndim}, but got {number}. Swap fewer, or raise "
            "segments."
        )
    if shape and min(shape[1:]) < segments:
        raise InputError(
            f"IPS: segments must be at most the positions of a window, {min(shape[1:])}, but got {segments}. Lower it."
        )
