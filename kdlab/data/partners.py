"""Another window of the same class, for data sets that are not kdlab's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from kdlab.types import InputError, plain_array


class RandomPartner:
    """Draws for a window another one of its class, each time another; itself if it is alone in its class.

    It draws from torch's random state, which a ``DataLoader`` seeds in each of its workers. The data modules of kdlab
    have partners of their own (view ``"raw/pair"``), which depend on seed and epoch alone.

    Args:
        labels: class of every window, ``(N,)``, in the order of the data set.

    Raises:
        InputError: when they are not whole numbers, one per window.

    Example:
        >>> partner = RandomPartner([0, 1, 0, 2, 1])
        >>> [partner(i) for i in range(5)]
        [2, 4, 0, 3, 1]
    """

    def __init__(self, labels: Any) -> None:
        target = plain_array(labels, "RandomPartner: labels")
        if target.ndim != 1 or not len(target) or target.dtype.kind not in "iub":
            raise InputError(
                f"RandomPartner: labels must be whole numbers of shape (N,), one per window, but got {target.dtype} of "
                f"shape {target.shape}. Number the classes."
            )
        self._class = np.unique(target, return_inverse=True)[1]
        self._members = [np.flatnonzero(self._class == label) for label in range(int(self._class.max()) + 1)]
        self._place = np.zeros(len(target), np.int64)
        for members in self._members:
            self._place[members] = np.arange(len(members))

    def __call__(self, index: int) -> int:
        """Position of a partner of the window at a position."""
        members = self._members[self._class[index]]
        if len(members) == 1:
            return int(index)
        drawn = int(torch.randint(len(members) - 1, ()))
        return int(members[drawn + (drawn >= self._place[index])])
