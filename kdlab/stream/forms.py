"""The forms in which a student runs: windows in physical units to logits."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kdlab.data.scaling import Scaler
from kdlab.nets import Backbone


class Form(Protocol):
    """What runs a student.

    Attributes:
        exact: whether it also reads float64 windows, without rounding them to float32 before they are scaled.

    Shapes:
        ``(B, C, T)`` in physical units, float32, contiguous and finite, to logits ``(B, K)``, float32.
    """

    exact: bool

    def __call__(self, windows: NDArray[Any], /) -> NDArray[np.float32]:
        """Logits of windows."""
        ...


class ModuleForm:
    """A module that scales inside: of a ``.pt``, a ``.pt2`` or an ``.onnx``.

    Args:
        module: float32 windows to logits.
    """

    exact = False

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, windows: NDArray[Any], /) -> NDArray[np.float32]:
        """Logits of windows."""
        with torch.no_grad():
            logits: NDArray[np.float32] = self.module(torch.from_numpy(windows)).numpy()
        return logits


class ScaledNet:
    """The net of a checkpoint behind the scaling of its training, in float64 as there.

    Args:
        net: in evaluation mode.
        scaler: of the channels that it reads.
        exact: whether float32 would lose the signal of a channel on its offset, so that windows are kept in float64.
    """

    def __init__(self, net: Backbone, scaler: Scaler, exact: bool) -> None:
        self.net, self.scaler, self.exact = net, scaler, exact

    def __call__(self, windows: NDArray[Any], /) -> NDArray[np.float32]:
        """Logits of windows."""
        scaled = np.ascontiguousarray(self.scaler(windows))
        with torch.no_grad():
            logits: NDArray[np.float32] = self.net(torch.from_numpy(scaled)).logits.numpy()
        return logits
