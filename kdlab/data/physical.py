"""Windows brought back from scaled to physical units, for views that read these."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.data.moments import chunk_size
from kdlab.data.scaling import Scaler
from kdlab.data.windows import WindowSet
from kdlab.types import InputError
from kdlab.views import Raw, RawImage, Resampled, View


def seen(view: View, windows: NDArray[np.float64]) -> Any:
    """A view of windows in physical units; one that is a signal keeps its float64, in which a large offset is exact.

    >>> seen(Raw(), np.array([[[1e8 + 1.0]]])).tolist()
    [[[100000001.0]]]
    """
    if isinstance(view, Raw | Resampled) and type(view) in (Raw, RawImage, Resampled):  # a subclass may do anything
        return view.exact(windows)
    return view(windows)


def check_kept(key: str, source: str, data: WindowSet, scaler: Scaler) -> None:
    """Refuse a scaling that clips windows: their range is lost, and no inverse brings it back.

    Args:
        key: of the view that reads physical units.
        source: which windows it reads.
        data: all windows.
        scaler: their scaling.

    Raises:
        InputError: naming the channel, how many windows were clipped, and the first.
    """
    if not scaler.clip:
        return
    x = data.windows[source]
    lost, size = [], chunk_size(x)
    for start in range(0, len(x), size):
        lost.append(scaler.clipped(np.asarray(x[start : start + size])))
    where = np.concatenate(lost)
    if where.any():
        first = int(where.any(axis=1).argmax())
        channel = data.channels[source][int(where[first].argmax())]
        raise InputError(
            f"view {key!r}: scale must not clip windows that are brought back to physical units, but it clips "
            f"{int(where.any(axis=1).sum())} of {len(x)} windows of {source!r} (the first is window {first}, channel "
            f"{channel!r}). Set scale: standard or constants without clip, or read scaled windows (units: scaled, "
            "with mean= and std= of these)."
        )
