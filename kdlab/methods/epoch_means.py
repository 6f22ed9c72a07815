"""The means of the terms of a loss over the windows of an epoch, logged once an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kdlab import distributed


class EpochMeans:
    r"""Means over the windows of an epoch: :math:`\sum_b n_b v_b / \sum_b n_b` over batches of :math:`n_b` windows.

    To log every term in every step costs a small net a sixth of its training time. The values stay on their device,
    so no step waits for it.

    Example:
        >>> means = EpochMeans()
        >>> means.add({"loss": torch.tensor(1.0)}, 3)
        >>> means.add({"loss": torch.tensor(5.0)}, 1)
        >>> means.read()
        {'loss': tensor(2.)}
        >>> means.read()
        {}
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sums = torch.zeros(0)
        self._windows = 0  # that the sums of these names have seen since they were last changed
        self._known: dict[str, tuple[Tensor, int]] = {}
        self._taken: dict[str, tuple[Tensor, int]] = {}  # what was read

    def add(self, values: Mapping[str, Tensor], windows: int) -> None:
        """Add a batch.

        Args:
            values: name -> scalar; without gradients from here on.
            windows: of the batch.
        """
        some = [value.detach() for value in values.values()]
        dtype = torch.float64 if any(value.dtype == torch.float64 for value in some) else torch.float32
        stacked = torch.stack([value.to(some[0].device, dtype) for value in some])
        if tuple(values) != self._names:
            self._close()
            self._names, zero = tuple(values), stacked.new_zeros(())
            self._sums = torch.stack([self._known.get(name, (zero, 0))[0].to(stacked) for name in values])
        self._sums = self._sums + stacked * windows
        self._windows += windows

    def read(self) -> dict[str, Tensor]:
        """The means since the last reading, over all processes; every process calls it."""
        self._close()
        self._taken, known, self._known = self._all(), self._known, {}
        self._names, self._sums = (), torch.zeros(0)
        if not known:
            return {}
        sums = distributed.total(torch.stack([value for value, _ in known.values()]))
        counts = torch.tensor([float(windows) for _, windows in known.values()]).to(sums)
        return dict(zip(known, (sums / distributed.total(counts)).unbind(), strict=True))

    def state(self) -> dict[str, Any]:
        """The sums of each process since the start, read or not, for :meth:`restore`; every process calls it."""
        self._close()
        if not (found := self._all()):
            return {}
        sums = torch.stack([value for value, _ in found.values()])
        windows = torch.tensor([windows for _, windows in found.values()], device=sums.device)
        return {"names": list(found), "sums": distributed.by_rank(sums), "windows": distributed.by_rank(windows)}

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from the sums of a checkpoint.

        Args:
            state: of :meth:`state`, also with another number of processes.
            device: of the values that follow.
        """
        if not state:
            return
        sums = distributed.own_of(state["sums"]).to(device).unbind()
        windows = distributed.own_of(state["windows"]).tolist()
        self._known = {n: (s, int(w)) for n, s, w in zip(state["names"], sums, windows, strict=True)}

    def _all(self) -> dict[str, tuple[Tensor, int]]:
        found = dict(self._taken)
        for name, (value, windows) in self._known.items():
            before = found.get(name)
            found[name] = (value, windows) if before is None else (before[0].to(value) + value, before[1] + windows)
        return found

    def _close(self) -> None:
        for name, value in zip(self._names, self._sums.unbind(), strict=True):
            self._known[name] = value, self._known.get(name, (value, 0))[1] + self._windows
        self._windows = 0
