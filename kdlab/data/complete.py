"""Leaving out windows with missing samples, also where windows stay on disk."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from kdlab.data.label_rows import has_class
from kdlab.data.moments import chunk_size
from kdlab.data.windows import WindowSet
from kdlab.types import InputError


class ChosenWindows:
    """Some of the windows of an array, or of what is read like one; none is read before it is indexed.

    Args:
        windows: ``(N, C, T)``.
        chosen: the rows that there are, ``(M,)``.

    Shapes:
        ``x[rows]`` is ``(len(rows), C, T)`` for a slice, a mask or indices

    >>> ChosenWindows(np.arange(4.0).reshape(4, 1, 1), np.array([3, 1]))[:].ravel().tolist()
    [3.0, 1.0]
    """

    def __init__(self, windows: Any, chosen: NDArray[np.int64]) -> None:
        self.windows, self.chosen = windows, chosen
        self.dtype, self.ndim = windows.dtype, windows.ndim
        self.shape = (len(chosen), *windows.shape[1:])

    @property
    def size(self) -> int:
        """Number of samples."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        read: NDArray[np.float32] = self.windows[self.chosen[rows]]
        return read

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)


def without_gaps(x: Any) -> NDArray[np.bool_]:
    """Which windows have finite samples only, read a chunk at a time.

    >>> without_gaps(np.array([[[1.0]], [[np.nan]], [[2.0]]])).tolist()
    [True, False, True]
    """
    fine = np.ones(len(x), dtype=np.bool_)
    size = chunk_size(x)
    for start in range(0, len(x), size):
        part = np.isfinite(x[start : start + size])
        fine[start : start + size] = part.reshape(len(part), -1).all(axis=1)
    return fine


def complete(columns: dict[str, Any], *, drop: bool, **rest: Any) -> WindowSet:
    """A set of windows, without those that have missing samples where these are to be dropped.

    Args:
        columns: ``windows`` per source, and whatever has one value per window.
        drop: leave out windows with a NaN or infinite sample in any source, and log how many of each class.
        rest: what else a :class:`~kdlab.data.WindowSet` takes.

    Raises:
        InputError: no window is complete, or what the window set refuses.
    """
    if not drop:
        return WindowSet(**columns, **rest)
    fine = np.ones(len(columns["target"]), dtype=np.bool_)
    for x in columns["windows"].values():
        if len(x) != len(fine):
            return WindowSet(**columns, **rest)  # refuses it
        fine &= without_gaps(x)
    if fine.all():
        return WindowSet(**columns, **rest)
    if not fine.any():
        raise InputError(
            f"missing: some windows must be complete, but all {len(fine)} have missing samples. Fill them."
        )
    lost = columns["target"][~fine]
    counts = {name: int(has_class(lost, k).sum()) for k, name in enumerate(rest["classes"])}
    parts = ", ".join(f"{count} of {name}" for name, count in counts.items() if count)
    rank_zero_info(f"missing: left out {int((~fine).sum())} of {len(fine)} windows with missing samples ({parts})")
    chosen = np.flatnonzero(fine)
    windows: dict[str, Any] = {
        s: x[chosen] if isinstance(x, np.ndarray) else ChosenWindows(x, chosen) for s, x in columns["windows"].items()
    }
    others: dict[str, Any] = {
        name: None if v is None else v[chosen] for name, v in columns.items() if name != "windows"
    }
    return WindowSet(windows=windows, **others, **rest)
