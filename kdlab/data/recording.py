"""Long recordings: a folder of CSV or numpy files, memory-mapped, resampled and windowed when windows are asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from tqdm import tqdm

from kdlab.data.base import WindowDataModule
from kdlab.data.files import expanded
from kdlab.data.recording_files import MISSING, ROWS, SIDE, Reading, Stored, store
from kdlab.data.windows import WindowSet, natural_key, window_starts
from kdlab.types import InputError, MissingFileError

SUFFIXES = (".csv", ".npz", ".npy")
SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
EXPECTED = "a folder with one .csv, .npz or .npy file per recording"


class Recording(NamedTuple):
    """One file, and whose recording it is."""

    name: str
    subject: str
    file: Path


class RecordingWindows:
    """Windows of recordings on disk that are read when they are asked for; to its users an array ``(N, C, T)``.

    Files are mapped for as long as the windows are copied and no longer, so that memory does not grow with what was
    read. A process that it is sent to is told the files.

    Args:
        files: the recordings.
        file: the recording of each window, ``(N,)``.
        start: the first sample of each window, ``(N,)``.
        window: samples of a window.

    Shapes:
        ``x[rows]`` is ``(len(rows), C, T)`` for a slice, a mask or indices
    """

    dtype = np.dtype(np.float32)
    ndim = 3

    def __init__(self, files: Sequence[Stored], file: NDArray[np.int32], start: NDArray[np.int64], window: int) -> None:
        self.files, self.file, self.start = list(files), file, start
        self.shape = (len(start), self.files[0].width, window)

    @property
    def size(self) -> int:
        """Number of samples."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        file, start = np.atleast_1d(self.file[rows]), np.atleast_1d(self.start[rows])
        out = np.empty((len(file), *self.shape[1:]), np.float32)
        for k in np.unique(file):
            mine = np.flatnonzero(file == k)
            cuts = np.lib.stride_tricks.sliding_window_view(self.files[k].signal(), self.shape[2], axis=0)
            out[mine] = cuts[start[mine]]
        return out if np.ndim(self.start[rows]) else out[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(np.float32 if dtype is None else dtype, copy=False)


class RecordingDataModule(WindowDataModule):
    """Windows of long recordings, such as whole days, that stay on disk.

    ``root`` holds one file per recording, in folders or not. A ``.csv`` has a header and a row per sample; an ``.npz``
    has ``x`` (samples, channels), ``y`` (samples,) and perhaps ``t`` (samples,); an ``.npy`` is ``x``, and beside it
    are ``<name>.labels.npy`` and perhaps ``<name>.time.npy``. Each file is read once, in pieces, and kept as float32 at
    the common rate in ``cache_dir``, which takes 4 bytes per sample and channel (415 MB for 24 hours of 12 channels at
    100 Hz); it is read again when it changes. Nothing is written into ``root``.

    A window takes the label that most of its samples have, where these are at least ``agree`` of it; other windows are
    left out, and so are (``missing="drop"``) windows with a missing sample. How many is logged.

    Args:
        root: the folder.
        channels: columns of a ``.csv``, or what the columns of ``x`` are, in order.
        window: samples of a window at the common rate.
        step: samples from one window to the next; None: windows do not overlap.
        sampling_rate: the common rate, hertz.
        pattern: regular expression for a whole file name without its suffix; its group ``subject`` says whose recording
            it is. Files with other names are left out, and named.
        label: column of a ``.csv`` with the label, a word or a number.
        time: column of a ``.csv`` with the time of each sample; None: samples come at a constant rate. Arrays have
            times where ``t`` is there.
        time_unit: of the times.
        recorded_at: rate of the recordings, hertz, against which the rate of their times is checked; None: recordings
            without times have the common rate.
        resample: ``"linear"``: values between samples are interpolated, after a low-pass where the rate goes down
            (:func:`~kdlab.data.resample.lowpassed`); ``"polyphase"``: recordings at a constant rate are filtered as by
            :func:`scipy.signal.resample_poly`, those with times are refused.
        max_gap: the longest time between two samples that is interpolated, seconds; longer ones count as missing, and
            no window spans them; None: the larger of 0.5 s and three sample periods of the recording.
        classes: the classes, in order; None: all labels that there are, in natural order.
        ignore: labels that are no class, such as ``transient``; samples without a label are always ignored.
        agree: the least part of a window that has its label; 1: all of it.
        missing: ``"drop"`` leaves out windows with NaN, infinite or empty values or a gap; ``"error"`` refuses them.
        units: of each channel.
        cache_dir: where recordings are kept; relative to the working directory.
        dataset: a name for the data, kept in the fingerprint; give every data set its own.

    Shapes:
        windows ``(N, channels, window)``

    Raises:
        MissingFileError: ``root`` is not there or holds no recordings.
        InputError: a file that cannot be read, with its line or array; an unknown label; no window at all.

    References:
        Matey-Sanz et al., Data in Brief 2023, doi:10.1016/j.dib.2023.109809, whose windows on the same rule
        (:class:`~kdlab.data.SPSWHAR`) are the origin of ``agree=0.6``.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        channels: list[str],
        window: int,
        step: int | None = None,
        sampling_rate: float,
        pattern: str = r"(?P<subject>[^_]+)(_.*)?",
        label: str = "label",
        time: str | None = None,
        time_unit: Literal["s", "ms", "us", "ns"] = "s",
        recorded_at: float | None = None,
        resample: Literal["linear", "polyphase"] = "linear",
        max_gap: float | None = None,
        classes: list[str] | None = None,
        ignore: list[str] | None = None,
        agree: float = 0.6,
        missing: Literal["drop", "error"] = "drop",
        units: list[str] | None = None,
        cache_dir: str | Path = "runs/.recordings",
        dataset: str = "recordings",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        step = window if step is None else step
        for name, value in (("window", window), ("step", step)):
            if value < 1:
                raise InputError(f"{name}={value}: expected a number of samples of at least 1")
        rates = {"sampling_rate": sampling_rate, "recorded_at": recorded_at, "max_gap": max_gap}
        for name, number in rates.items():
            if number is not None and not (0.0 < number < math.inf):
                raise InputError(f"{name}={number}: expected a finite number above 0")
        for name, word, words in (
            ("time_unit", time_unit, tuple(SECOND)),
            ("resample", resample, ("linear", "polyphase")),
            ("missing", missing, ("drop", "error")),
        ):
            if word not in words:
                raise InputError(f"{name}={word!r}: expected one of {', '.join(words)}")
        if not 0.0 < agree <= 1.0:
            raise InputError(f"agree={agree}: expected a part of the window in (0, 1], such as 0.6")
        if not channels or len(set(channels)) < len(channels) or (units and len(units) != len(channels)):
            raise InputError(f"channels={channels!r}, units={units!r}: expected different names, and a unit for each")
        self.name = dataset
        self.root, self.window, self.step, self.agree, self.missing = root, window, step, agree, missing
        self.pattern, self.cache_dir = subject_pattern(pattern), Path(cache_dir).expanduser()
        self.reading = Reading(
            channels=tuple(channels),
            label=label,
            time=time,
            second=SECOND[time_unit],
            recorded_at=None if recorded_at is None else float(recorded_at),
            rate=float(sampling_rate),
            resample=resample,
            max_gap=None if max_gap is None else float(max_gap),
        )
        self._classes, self._ignore, self._units = classes, [str(v) for v in ignore or []], units

    def prepare_data(self) -> None:
        """Read what is not kept yet, in one process."""
        self._stored()

    def load(self) -> WindowSet:
        """Find the windows of every recording."""
        recordings, stored = self._stored()
        classes = self._class_names(recordings, stored)
        starts, labels, dropped = [], [], np.zeros(2, dtype=np.int64)
        for recording, one in zip(recordings, stored, strict=True):
            start, label, lost = cut(one, classes, self._ignore, window=self.window, step=self.step, agree=self.agree)
            if len(lost) and self.missing == "error":
                raise InputError(
                    f"{recording.file}: {len(lost)} windows with missing samples (NaN, infinite, empty, or a gap "
                    f"beyond max_gap), the first is window {lost[0] // self.step}; fill them, or set missing: drop"
                )
            starts.append(start[label >= 0])
            labels.append(label[label >= 0])
            dropped += len(lost), int((label < 0).sum())
        kept = sum(map(len, starts))
        told = (
            f"{len(stored)} recordings, {kept} windows; left out: {dropped[0]} with missing samples, {dropped[1]} "
            f"without a label for {self.agree:g} of the window"
        )
        if not kept:
            raise InputError(f"root={str(self.root)!r}: {told}; expected recordings of at least {self.window} samples")
        rank_zero_info(f"{self.name}: {told}")
        file = np.repeat(np.arange(len(stored), dtype=np.int32), [len(s) for s in starts])
        windows = RecordingWindows(stored, file, np.concatenate(starts), self.window)
        return WindowSet(
            windows={"raw": cast("NDArray[np.float32]", windows)},
            target=np.concatenate(labels),
            classes=classes,
            channels={"raw": list(self.reading.channels)},
            subject=np.array([r.subject for r in recordings])[file],
            recording=np.array([r.name for r in recordings])[file],
            sampling_rate=self.reading.rate,
            step=self.step,
            units={"raw": list(self._units)} if self._units else {},
        )

    def _stored(self) -> tuple[list[Recording], list[Stored]]:
        recordings = find_recordings(self.root, self.pattern, self.cache_dir)
        shown = tqdm(recordings, desc="reading recordings", leave=False, disable=None)  # None: only on a terminal
        return recordings, [store(recording.file, self.reading, self.cache_dir) for recording in shown]

    def _class_names(self, recordings: list[Recording], stored: list[Stored]) -> list[str]:
        found = {word: r.file for r, one in zip(recordings, stored, strict=True) for word in one.labels}
        if self._classes is None:
            return sorted(set(found) - set(self._ignore), key=natural_key)
        classes = [str(c) for c in self._classes]
        unknown = sorted(set(found) - set(classes) - set(self._ignore), key=natural_key)
        if unknown:
            raise InputError(
                f"classes: label {unknown[0]!r} of {found[unknown[0]]} is not among {', '.join(classes)}; add it, or "
                f"have it ignored (ignore: [{', '.join(unknown)}])"
            )
        return classes


def subject_pattern(pattern: str) -> re.Pattern[str]:
    """The compiled pattern.

    Raises:
        InputError: no regular expression, or one without the group ``subject``.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"pattern={pattern!r}: expected a regular expression ({error})") from error
    if "subject" not in compiled.groupindex:
        raise InputError(f"pattern={pattern!r}: expected a group that tells the subject, such as (?P<subject>[^_]+)_.*")
    return compiled


def find_recordings(root: str | Path, pattern: re.Pattern[str], cache: Path) -> list[Recording]:
    """The recordings under a folder, in the order of their paths.

    Raises:
        MissingFileError: no folder, or no recordings in it.
        InputError: two files of one name in one folder.
    """
    place = expanded(root, EXPECTED)
    if not place.is_dir():
        raise InputError(f"root={str(root)!r}: a file; expected {EXPECTED}")
    kept = cache.resolve()
    files = [
        file
        for file in sorted(place.rglob("*"))
        if file.suffix in SUFFIXES
        and not file.name.startswith(".")
        and not file.name.endswith(tuple(SIDE.values()))
        and kept not in file.resolve().parents
    ]
    found: dict[Path, Recording] = {}
    other: list[str] = []
    for file in files:
        match = pattern.fullmatch(file.stem)
        if match is None or match["subject"] is None:
            other.append(file.name)
            continue
        name = file.relative_to(place).with_suffix("")
        if name in found:
            raise InputError(f"{found[name].file}, {file}: two files of one recording; keep one of them")
        found[name] = Recording(name.as_posix(), match["subject"], file)
    if other:
        listed = ", ".join(other[:6]) + (", ..." if len(other) > 6 else "")
        rank_zero_info(f"{place}: {len(other)} files do not match pattern={pattern.pattern!r}: {listed}")
    if not found:
        raise MissingFileError(
            f"root={str(root)!r}: no recordings in it (.csv, .npz or .npy that match pattern={pattern.pattern!r}); "
            f"expected {EXPECTED}"
        )
    return list(found.values())


def cut(
    stored: Stored, classes: Sequence[str], ignore: Sequence[str], *, window: int, step: int, agree: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The windows of a recording that have no missing sample.

    Args:
        stored: the recording.
        classes: class names.
        ignore: labels that are no class.
        window: samples of a window.
        step: samples from one window to the next.
        agree: the least part of a window that has its label.

    Returns:
        First samples ``(N,)`` and classes ``(N,)``, -1 where no label has enough samples; first samples of the windows
        that have a missing sample ``(M,)``.
    """
    every = window_starts(stored.samples, window, step)
    found = []
    for first in range(0, len(every), max(1, ROWS // step)):
        start = every[first : first + max(1, ROWS // step)]
        codes = np.array(stored.codes()[start[0] : start[-1] + window])

        def count(mask: NDArray[np.bool_], begin: NDArray[np.int64] = start - start[0]) -> NDArray[np.int64]:
            total = np.concatenate([[0], np.cumsum(mask)])
            return np.asarray(total[begin + window] - total[begin])

        best, label = np.zeros(len(start), np.int64), np.full(len(start), -1)
        for code, word in enumerate(stored.labels):
            if word not in ignore:
                votes, k = count(codes == code), classes.index(word)
                more = (votes > best) | ((votes == best) & (votes > 0) & (k < label))
                best[more], label[more] = votes[more], k
        label[best < math.ceil(agree * window - 1e-9)] = -1
        label[count(codes == MISSING) > 0] = -2
        found.append(label)
    labels = np.concatenate(found) if found else np.empty(0, np.int64)
    return every[labels > -2], labels[labels > -2], every[labels == -2]
