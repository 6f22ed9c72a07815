"""How large the windows are that a net reads, where no data module tells how they are scaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from kdlab.another_size import other_sizes
from kdlab.nets.base import Backbone
from kdlab.types import Windows


class InputSize:
    """Root mean square of the channels of all windows that a net reads in a stage."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._count = 0

    def see(self, x: Tensor) -> None:
        """Add a batch ``(B, C, *S)``; nothing is read on the host."""
        if x.ndim < 2 or not len(x):
            return
        squares = x.detach().float().square().transpose(0, 1).flatten(1).mean(1) * len(x)
        self._total = squares if self._total is None else self._total + squares
        self._count += len(x)

    def compare(self, who: str, net: Backbone, trained: Mapping[str, Any] | None) -> None:
        """Warn where the windows are of another size than those of the net's training (`kdlab.another_size`).

        Args:
            who: the net, for the message.
            net: it, whose first layer has the statistics of its training.
            trained: fingerprint of the data that it was trained on, as far as it is known.
        """
        usual = _usual(net, trained)
        if usual is None or self._total is None or len(usual) != len(self._total):
            return
        size = (self._total.cpu().double() / self._count).sqrt().numpy()
        names = [f"channel {c}" for c in range(len(size))]
        if each := other_sizes(size, usual.numpy(), names):
            rank_zero_warn(
                f"{who}: windows must be scaled as those that it was trained on, but their root mean square is {each} "
                "that of these. A data module of kdlab scales windows, and loaders give them as they are: train and "
                "use a net with the same of the two."
            )


def size_to_compare(
    net: Backbone, trained: Mapping[str, Any] | None, windows: Windows, *, fits: bool = False
) -> InputSize | None:
    """Where to add the windows of a stage; None where fingerprints are compared, or a net has no training behind it.

    Args:
        net: that reads them.
        trained: fingerprint of the data that it was trained on, as far as it is known.
        windows: the data module.
        fits: the net is trained on the windows, and not only evaluated.
    """
    compared = trained and windows.fingerprint
    return None if compared or (fits and not bool(net.standardize.filled)) else InputSize()


def _usual(net: Backbone, trained: Mapping[str, Any] | None) -> Tensor | None:
    """Root mean square of the channels in training; None where it is not known."""
    mean, std = net.standardize.mean.detach().cpu().double(), net.standardize.std.detach().cpu().double()
    if bool((mean == 0).all()) and bool((std == 1).all()):  # the view was scaled, or nothing is known
        return std if trained and trained.get("scale") else None
    return (mean.square() + std.square()).sqrt()
