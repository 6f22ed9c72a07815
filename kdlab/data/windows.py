"""Windows: cutting recordings, splitting them by subject or by recording, and checking what a loader returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdlab.data.label_rows import column_names, label_rows
from kdlab.data.moments import chunk_size
from kdlab.types import InputError, plain_array


@dataclass
class WindowSet:
    """What a loader returns: windows of one or several sources, with their labels and what they come from.

    Args:
        windows: source name -> ``(N, C, T)`` float32 (images: ``(N, C, H, W)``), in physical units; an array,
            memory-mapped or not, or what is read like one by rows (:class:`~kdlab.data.mapped.MappedWindows`,
            :class:`~kdlab.data.image_store.Pixels`). Sources may differ in ``C`` and ``T``, never in ``N``: row ``i``
            of each is the same moment.
        target: class of each window, ``(N,)``, in ``0 .. K-1``; with ``labels="many"`` rows of 0 and 1, ``(N, K)``; -1
            where a window has no label.
        classes: the ``K`` class names.
        channels: source name -> channel names.
        subject: subject of each window, ``(N,)``; None: unknown.
        recording: recording of each window, ``(N,)``; None: unknown.
        test: True where the data set itself counts a window as a test window, ``(N,)``; None: it names no split.
        val: likewise for validation; None: validation is held out from what is not tested.
        block: images, which have no subjects: the group of each, ``(N,)``, by which they are held out.
        sampling_rate: hertz, one number or one per source; None: unknown.
        step: samples from one window of a recording to the next; None: windows do not overlap or it is unknown.
        units: source name -> unit of each channel.
        missing_labels: whether windows without a label are meant; otherwise -1 is refused.
        labels: ``"one"`` class per window, or ``"many"``: any number of them, or none.

    Raises:
        InputError: shapes that do not fit together, no windows, labels outside ``0 .. K-1``, NaN or infinite samples.
    """

    windows: dict[str, NDArray[np.float32]]
    target: NDArray[np.int64]
    classes: list[str]
    channels: dict[str, list[str]]
    subject: NDArray[Any] | None = None
    recording: NDArray[Any] | None = None
    test: NDArray[np.bool_] | None = None
    val: NDArray[np.bool_] | None = field(default=None, kw_only=True)
    block: NDArray[Any] | None = field(default=None, kw_only=True)
    sampling_rate: dict[str, float] | float | None = None
    step: int | None = None
    units: dict[str, list[str]] = field(default_factory=dict)
    missing_labels: bool = field(default=False, kw_only=True)
    labels: Literal["one", "many"] = field(default="one", kw_only=True)

    def __post_init__(self) -> None:
        if not self.windows:
            raise InputError("windows must have at least one source, but got none.")
        for source, x in self.windows.items():
            if isinstance(x, np.ma.MaskedArray):  # refused where anything is masked
                self.windows = {**self.windows, source: plain_array(x, f"windows[{source!r}]")}
        if isinstance(self.target, np.ma.MaskedArray):
            self.target = plain_array(self.target, "target")
        self._check_shapes()
        self._check_target()
        for source in self.windows:
            check_finite(self.windows[source], source, self.channels[source])

    @property
    def sources(self) -> list[str]:
        """Names of the sources, the first one being the default."""
        return list(self.windows)

    @property
    def window(self) -> int | list[int]:
        """Samples per window of the first source; ``[H, W]`` of images."""
        length = sample_length(self.windows[self.sources[0]])
        return length if isinstance(length, int) else list(length)

    def __len__(self) -> int:
        return len(self.target)

    def _check_shapes(self) -> None:
        n = len(self.target)
        if n == 0:
            raise InputError("target: no windows at all; are the recordings shorter than one window?")
        for source, x in self.windows.items():
            if x.ndim not in (3, 4):
                raise InputError(
                    f"windows[{source!r}]: expected (windows, channels, samples) or (images, channels, height, width), "
                    f"got shape {x.shape}"
                )
            if len(x) != n:
                raise InputError(f"windows[{source!r}]: {len(x)} windows, but target has {n} labels")
            if 0 in x.shape[1:]:
                raise InputError(f"windows[{source!r}]: no channels or no samples in shape {x.shape}")
            if len(self.channels.get(source, [])) != x.shape[1]:
                raise InputError(
                    f"channels[{source!r}]: {len(self.channels.get(source, []))} names for {x.shape[1]} channels"
                )
            doubled = sorted({c for c in self.channels[source] if self.channels[source].count(c) > 1})
            if doubled:
                raise InputError(f"channels[{source!r}]: each name once, got {', '.join(doubled)} more than once")
        for name in ("subject", "recording", "test", "val", "block"):
            values = getattr(self, name)
            if values is not None and np.shape(values) != (n,):
                raise InputError(
                    f"{name} must be one value per window, shape ({n},), but got shape {np.shape(values)}."
                )

    def _check_target(self) -> None:
        k = len(self.classes)
        if self.labels == "many":
            self.target = label_rows(self.target, "target", len(self.target), self.missing_labels)
            column_names(self.target.shape[1], self.classes)
            return
        if self.target.ndim != 1 or self.target.dtype.kind not in "iu":
            raise InputError(f"target must be (N,) integers, but got {self.target.dtype} of shape {self.target.shape}.")
        wrong = np.flatnonzero((self.target < (-1 if self.missing_labels else 0)) | (self.target >= k))
        if len(wrong):
            raise InputError(
                f"target: expected labels in 0..{k - 1} ({k} classes), got {int(self.target[wrong[0]])} at window "
                f"{int(wrong[0])} ({len(wrong)} such windows); number the classes from 0, or give all class names"
                + "; -1 is a window without a label with unlabelled: {missing: true}"
                * bool((self.target == -1).any())
            )
        if not (self.target >= 0).any():
            raise InputError("target must have labels, but no window has one. Label some windows.")


def sample_length(x: Any) -> int | tuple[int, ...]:
    """Samples T of windows ``(N, C, T)``, sides ``(H, W)`` of images ``(N, C, H, W)``.

    >>> sample_length(np.zeros((2, 3, 50))), sample_length(np.zeros((2, 3, 8, 9)))
    (50, (8, 9))
    """
    return int(x.shape[2]) if x.ndim == 3 else tuple(int(side) for side in x.shape[2:])


def check_finite(x: NDArray[Any], source: str, channels: Sequence[str]) -> None:
    """Refuse NaN and infinite samples; pixels of 8 bits (``x.finite``) are not looked at.

    Raises:
        InputError: with source, channel, how many, and the first window that has one.
    """
    if getattr(x, "finite", False):
        return
    count, first = np.zeros(x.shape[1], dtype=np.int64), np.full(x.shape[1], -1)
    size = chunk_size(x)
    for start in range(0, len(x), size):
        bad = ~np.isfinite(x[start : start + size])
        if bad.any():
            bad = bad.reshape(*bad.shape[:2], -1)
            per_window = bad.any(axis=2)
            fresh = (count == 0) & per_window.any(axis=0)
            first[fresh] = start + per_window.argmax(axis=0)[fresh]
            count += bad.sum(axis=(0, 2))
    worst = np.flatnonzero(count)
    if len(worst):
        c = int(worst[0])
        more = f" (and {len(worst) - 1} further channels)" if len(worst) > 1 else ""
        raise InputError(
            f"source {source!r}, channel {channels[c]!r}: {int(count[c])} NaN or infinite samples, the first in window "
            f"{int(first[c])}{more}; fill or drop them before the windows are cut"
        )
