"""Windows: cutting recordings, splitting them by subject or by recording, and checking what a loader returns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.types import InputError, plain_array

CHUNK = 1024  # windows read at a time, so that a memory-mapped data set is never in memory as a whole; fewer, where
SAMPLES = 2**22  # they would have more samples than this


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
            raise InputError(f"{name}={value}: expected a number of samples of at least {least}")
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
        raise InputError(f"recording: expected (channels, samples) or (samples,), got shape {recording.shape}")
    starts = window_starts(recording.shape[-1], window, step, start, stop)
    if not len(starts):
        return np.empty((0, *recording.shape[:-1], window), dtype=np.float32)
    cuts = np.lib.stride_tricks.sliding_window_view(recording, window, axis=-1)
    picked = np.moveaxis(cuts, -2, 0)[starts]
    return stored(picked) if picked.ndim == 3 else stored(picked[:, None])[:, 0]


def natural_key(value: object) -> tuple[int, float, str]:
    """Sort key under which numbers come in numeric order and before words.

    >>> sorted(["s10", "2", "10"], key=natural_key)
    ['2', '10', 's10']
    """
    text = str(value)
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def _rng(seed: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([purpose, seed])


def split_groups(
    groups: Sequence[str],
    val_fraction: float = 0.15,
    minimum: int = 2,
    seed: int = 0,
    *,
    classes: Mapping[str, set[int]] | None = None,
    windows: Mapping[str, Mapping[int, int]] | None = None,
    count: int | None = None,
) -> tuple[list[str], list[str]]:
    r"""Choose the groups (subjects, recordings) that are held out.

    Where the classes that each group holds are given, the choice is the first of up to 200 random ones that leaves
    every class among the rest, and among the held-out groups where that is possible too.

    Where windows are given too, it is the first of these that is also balanced, or else, of those that leave the
    most classes, the one nearest to it:

    .. math:: \tfrac12 \le \frac{n_v / n}{g_v / g} \le
              \min\left(\tfrac32, \max\left(\tfrac65, \tfrac35 \frac{g}{g_v}\right)\right), \qquad
              \tfrac12 \sum_k \left|\frac{n_{vk}}{n_v} - \frac{n_k}{n}\right| \le \tfrac14

    with :math:`n_v` of n windows and :math:`g_v` of g groups held out, and :math:`n_{vk}` of the :math:`n_k` windows of
    class k. So in a small cohort one person with many windows does not make validation larger than training. A choice
    that is balanced is the one that was made before windows were looked at.

    Args:
        groups: names of the groups.
        val_fraction: the least part of the groups that is held out, in (0, 1).
        minimum: the least number of groups that is held out.
        seed: of the choice.
        classes: group -> classes that it has windows of.
        windows: group -> class -> how many windows it has; needs ``classes``.
        count: how many groups are held out, in place of ``val_fraction`` and ``minimum``.

    Returns:
        The groups that stay, and those held out, each in natural order.

    Raises:
        InputError: a fraction outside (0, 1), or nothing would stay.

    References:
        Dehghani et al., A quantitative comparison of overlapping and non-overlapping sliding windows for human activity
        recognition using inertial sensors, Sensors 2019, doi:10.3390/s19225026 (why splits are by subject).

    >>> split_groups(["1", "2", "3", "4", "5", "6"], seed=0)
    (['2', '3', '4', '6'], ['1', '5'])
    """
    if not 0.0 < val_fraction < 1.0:
        raise InputError(f"val_fraction={val_fraction}: expected a number in (0, 1), such as 0.15")
    names = sorted(set(groups), key=natural_key)
    held = max(minimum, math.ceil(val_fraction * len(names) - 1e-9)) if count is None else count
    if held >= len(names):
        raise InputError(
            f"{len(names)} groups ({', '.join(names)}) cannot give {held} for validation and leave any for training; "
            "add recordings of more subjects, or name the held-out ones yourself (val_subjects=)"
        )
    every = set().union(*classes.values()) if classes else set()
    best: tuple[int, int, float] | None = None
    chosen: set[str] = set()
    rng = _rng(seed, 1)
    for _ in range(200 if classes else 1):
        candidate = {names[i] for i in rng.permutation(len(names))[:held]}
        if not classes:
            chosen = candidate
            break
        seen = {True: set[int](), False: set[int]()}
        for name in names:
            seen[name in candidate] |= classes.get(name, set())
        missing = (
            len(every - seen[False]),
            len(every - seen[True]),
            0.0 if windows is None else _unbalanced(windows, candidate, held / len(names)),
        )
        if best is None or missing < best:
            best, chosen = missing, candidate
        if best == (0, 0, 0.0):
            break
    return [n for n in names if n not in chosen], [n for n in names if n in chosen]


def _unbalanced(windows: Mapping[str, Mapping[int, int]], held: Collection[str], fair: float) -> float:
    """By how much the held-out windows are too many or too few, and of other classes; 0 where they are balanced."""
    every: Counter[int] = Counter()
    inside: Counter[int] = Counter()
    for name, counts in windows.items():
        every.update(counts)
        if name in held:
            inside.update(counts)
    n, n_held = every.total(), inside.total()
    if not n_held:
        return math.inf
    size, most = n_held / n / fair, min(1.5, max(1.2, 0.6 / fair))
    mix = sum(abs(inside[k] / n_held - every[k] / n) for k in every) / 2
    return round(max(0.0, 0.5 - size, size - most) + max(0.0, mix - 0.25), 9)


def split_recordings(label: Mapping[str, int], val_fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Hold out whole recordings, the same part of every class: at least one per class, at least two altogether.

    Args:
        label: recording -> its (most frequent) class.
        val_fraction: the least part of each class's recordings that is held out, in (0, 1).
        seed: of the choice.

    Returns:
        The recordings that stay, and those held out, each in natural order. A class of one recording is not held out.

    Raises:
        InputError: a fraction outside (0, 1), or no class has two recordings.

    >>> split_recordings({"a": 0, "b": 0, "c": 1, "d": 1, "e": 2}, 0.15, seed=0)[1]
    ['a', 'd']
    """
    if not 0.0 < val_fraction < 1.0:
        raise InputError(f"val_fraction={val_fraction}: expected a number in (0, 1), such as 0.15")
    rng, held = _rng(seed, 2), set[str]()
    spare: list[str] = []
    for k in sorted(set(label.values())):
        names = sorted((name for name, c in label.items() if c == k), key=natural_key)
        order = [names[i] for i in rng.permutation(len(names))]
        count = min(math.ceil(val_fraction * len(names) - 1e-9), len(names) - 1)
        held.update(order[:count])
        spare += order[count : len(names) - 1]
    if len(held) == 1 and spare:
        held.add(spare[0])
    if not held:
        raise InputError(
            f"{len(label)} recordings of {len(set(label.values()))} classes: no class has two, so none can be held "
            "out; give more recordings, or their subjects"
        )
    names = sorted(label, key=natural_key)
    return [n for n in names if n not in held], [n for n in names if n in held]


def chunk_size(x: NDArray[Any]) -> int:
    """How many windows of ``x`` are read at a time."""
    return max(1, min(CHUNK, SAMPLES // max(1, math.prod(x.shape[1:]))))


def chunks(
    x: NDArray[Any], rows: NDArray[np.int64] | None = None, size: int | None = None
) -> Iterator[NDArray[np.float64]]:
    """The windows of ``x`` (those in ``rows``), some at a time, in float64."""
    size = chunk_size(x) if size is None else size
    total = len(x) if rows is None else len(rows)
    for start in range(0, total, size):
        part = x[start : start + size] if rows is None else x[rows[start : start + size]]
        yield np.asarray(part, dtype=np.float64)


def moments(parts: Iterator[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation per channel (axis 1) over all else, merged chunk by chunk.

    References:
        Chan, Golub, LeVeque, Algorithms for computing the sample variance, The American Statistician 1983,
        doi:10.1080/00031305.1983.10483115 (the merging rule).

    >>> mean, std = moments(iter([np.array([[[0.0, 2.0]]]), np.array([[[4.0, 6.0]]])]))
    >>> mean.tolist(), (std**2).round(6).tolist()
    ([3.0], [5.0])
    """
    count, mean, square = 0, np.zeros(1), np.zeros(1)
    for part in parts:
        axes = (0, *range(2, part.ndim))
        n = part.size // part.shape[1]
        centre = part.mean(axis=axes)
        spread = part.var(axis=axes) * n
        delta = centre - mean
        total = count + n
        square = square + spread + delta**2 * (count * n / total)
        mean = mean + delta * (n / total)
        count = total
    return mean, np.sqrt(square / max(count, 1))


@dataclass
class WindowSet:
    """What a loader returns: windows of one or several sources, with their labels and what they come from.

    Args:
        windows: source name -> ``(N, C, T)`` float32 (images: ``(N, C, H, W)``), in physical units; an array,
            memory-mapped or not, or what is read like one by rows (:class:`~kdlab.data.mapped.MappedWindows`,
            :class:`~kdlab.data.images.Pixels`). Sources may differ in ``C`` and ``T``, never in ``N``: row ``i`` of
            each is the same moment.
        target: class of each window, ``(N,)``, in ``0 .. K-1``.
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

    def __post_init__(self) -> None:
        if not self.windows:
            raise InputError("windows: expected at least one source, got none")
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
                raise InputError(f"{name}: expected one value per window, shape ({n},), got shape {np.shape(values)}")

    def _check_target(self) -> None:
        k = len(self.classes)
        if self.target.ndim != 1 or self.target.dtype.kind not in "iu":
            raise InputError(f"target: expected (N,) integers, got {self.target.dtype} of shape {self.target.shape}")
        wrong = np.flatnonzero((self.target < 0) | (self.target >= k))
        if len(wrong):
            raise InputError(
                f"target: expected labels in 0..{k - 1} ({k} classes), got {int(self.target[wrong[0]])} at window "
                f"{int(wrong[0])} ({len(wrong)} such windows); number the classes from 0, or give all class names"
            )


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
