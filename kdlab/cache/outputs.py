"""Cached teacher outputs, as a training step reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdlab.cache.plan import Plan
from kdlab.objective import CachedOutput
from kdlab.types import InputError


class CachedOutputs:
    """Cached teacher outputs, read by the windows' indices.

    Args:
        plan: which arrays there are.
        arrays: the arrays, in the plan's order.
        index: the windows' indices, in the arrays' order.
        computed: names of the teachers whose outputs were computed; those of the others were in the folder.

    Attributes:
        computed: the same.
    """

    def __init__(
        self, plan: Plan, arrays: Sequence[Tensor], index: NDArray[np.int64], computed: tuple[str, ...] = ()
    ) -> None:
        self.plan, self.computed = plan, computed
        self._arrays = list(arrays)
        self._row = torch.full((int(index.max()) + 1,), len(index))  # no window: beyond the end
        self._row[torch.from_numpy(index)] = torch.arange(len(index))

    def to(self, device: torch.device) -> CachedOutputs:
        """Move them to a device, where reading them needs no synchronisation."""
        self._arrays = [array.to(device) for array in self._arrays]
        self._row = self._row.to(device)
        return self

    def read(self, index: Tensor, everyone: Tensor | None = None) -> dict[str, CachedOutput]:
        """The outputs for one batch, on the device of its indices.

        Args:
            index: indices of the windows of this process, ``(B,)``.
            everyone: those of all processes, in rank order, for the Gram matrices; ``None``: the same.

        Raises:
            InputError: for a window that is not cached (on a GPU the index error of the device).
        """
        rows = self._rows(index)
        every = rows if everyone is None else self._rows(everyone)
        low, high = torch.minimum(every[:, None], every), torch.maximum(every[:, None], every)
        triangle = high * (high + 1) // 2 + low
        found: dict[str, CachedOutput] = {}
        for part, array in zip(self.plan.parts, self._arrays, strict=True):
            values = array[triangle if part.form == "gram" else rows].to(index.device, non_blocking=True)
            if part.form == "logits":
                found[part.teacher] = CachedOutput(values, {}, {})
            elif part.form == "gram":
                found[part.teacher].grams[part.tap] = values
            else:
                # a map with one channel that has the energy of the feature
                values = values.sqrt().unsqueeze(1) if part.form == "attention" else values
                found[part.teacher].features[part.tap] = values
        return found

    def _rows(self, index: Tensor) -> Tensor:
        index = index.to(self._row.device)
        if index.device.type == "cpu":
            inside = (index >= 0) & (index < len(self._row))
            rows = torch.where(inside, self._row[torch.where(inside, index, 0)], -1)
            unknown = (rows < 0) | (rows >= self.plan.parts[0].windows)
            if unknown.any():
                raise InputError(
                    f"cache: window {int(index[unknown][0])} is in a training batch, but only the data module's "
                    "training windows are cached. Train on those, or without the cache."
                )
        return self._row[index]
