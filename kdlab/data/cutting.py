"""Cutting recordings into windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.types import InputError, plain_array


def window_starts(length: int, window: int, step: int, start: int = 0, stop: int | None = None) -> NDArray[np.int64]:
    """First samples of the windows that fit into a recording.

    Args:
        length: samples of the recording.
        window: samples of a window.
        step: samples from one start to the next.
        start: first sample of the first window.
        stop: starts lie before this sample; None: before ``length - window + 1``, so that each window fits.

    Returns:
        Starts, ``(N,)``; empty where the recording is shorter than a window.

    Raises:
        InputError: ``window`` or ``step`` below one, or ``start`` below zero.

    >>> window_starts(10, window=4, step=3).tolist()
    [0, 3, 6]
    >>> window_starts(10, window=4, step=3, start=1, stop=6).tolist()
    [1, 4]
    """
    for name, value, least in (("window", window, 1), ("step", step, 1), ("start", start, 0)):
        if value < least:
            raise InputError(f"{name} must be a number of samples of at least {least}, but got {value}.")
    last = length - window + 1
    return np.arange(start, last if stop is None else min(stop, last), step, dtype=np.int64)


def slide(
    recording: NDArray[Any], window: int, step: int, *, start: int = 0, stop: int | None = None
) -> NDArray[np.float32]:
    """Cut a recording into windows.

    Args:
        recording: samples in time order, one row per channel, or a single series.
        window: samples of a window.
        step: samples from one start to the next.
        start: first sample of the first window.
        stop: starts lie before this sample.

    Shapes:
        ``(C, T)`` or ``(T,)`` -> ``(N, C, window)`` or ``(N, window)``, float32; float64 where float32 would lose a
        signal that rides on a large offset (:func:`~kdlab.data.stored.fits_float32`)

    Raises:
        InputError: not one or two axes, or a wrong ``window``, ``step`` or ``start``.

    >>> slide(np.arange(6.0), window=4, step=2).tolist()
    [[0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0]]
    """
    from kdlab.data.stored import stored

    recording = plain_array(recording, "recording", native=False)
    if recording.ndim not in (1, 2):
        raise InputError(f"recording must be (channels, samples) or (samples,), but got shape {recording.shape}.")
    starts = window_starts(recording.shape[-1], window, step, start, stop)
    if not len(starts):
        return np.empty((0, *recording.shape[:-1], window), dtype=np.float32)
    cuts = np.lib.stride_tricks.sliding_window_view(recording, window, axis=-1)
    picked = np.moveaxis(cuts, -2, 0)[starts]
    return stored(picked) if picked.ndim == 3 else stored(picked[:, None])[:, 0]
