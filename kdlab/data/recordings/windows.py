"""Windows of recordings on disk: which there are, and an array of them that is read on demand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.data.cutting import window_starts
from kdlab.data.recordings.arrays import ROWS
from kdlab.data.recordings.layout import Recording
from kdlab.data.recordings.resample import NO_LABEL
from kdlab.data.recordings.store import MISSING, Stored
from kdlab.data.spelling import text


class RecordingWindows:
    """Windows of recordings on disk that are read on demand; used like an array ``(N, C, T)``.

    They are float32, or float64 where a recording has a signal on so large an offset that float32 would lose it.

    Files are mapped for as long as the windows are copied and no longer, so that memory does not grow with what was
    read. Sent to another process, it takes the names of the files along, not the samples.

    Args:
        files: the recordings.
        file: the recording of each window, ``(N,)``.
        start: the first sample of each window, ``(N,)``.
        window: samples of a window.
        counts: of what was dropped, moved and filled, for the fingerprint.

    Shapes:
        ``x[rows]`` is ``(len(rows), C, T)`` for a slice, a mask or indices
    """

    ndim = 3

    def __init__(
        self,
        files: Sequence[Stored],
        file: NDArray[np.int32],
        start: NDArray[np.int64],
        window: int,
        counts: dict[str, Any] | None = None,
    ) -> None:
        self.files, self.file, self.start, self.counts = list(files), file, start, counts or {}
        self.shape = (len(start), self.files[0].width, window)
        self.dtype: np.dtype[Any] = np.result_type(*{one.dtype for one in self.files})

    @property
    def size(self) -> int:
        """Number of samples."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        file, start = np.atleast_1d(self.file[rows]), np.atleast_1d(self.start[rows])
        out = np.empty((len(file), *self.shape[1:]), self.dtype)
        for k in np.unique(file):
            mine = np.flatnonzero(file == k)
            cuts = np.lib.stride_tricks.sliding_window_view(self.files[k].signal(), self.shape[2], axis=0)
            out[mine] = cuts[start[mine]]
        return out if np.ndim(self.start[rows]) else out[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)


def cut(
    stored: Stored, place: NDArray[np.int64], *, window: int, step: int, agree: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """The windows of a recording that have no missing sample.

    Args:
        stored: the recording.
        place: the class of each of its label codes, ``NO_LABEL`` for none.
        window: samples of a window.
        step: samples from one window to the next.
        agree: the least part of a window that has its label.

    Returns:
        First samples ``(N,)`` and classes ``(N,)``, -1 where no label has enough samples; which windows, of all, have a
        missing sample ``(M,)``; the person and session of each, as a place in ``stored.groups``, ``(N,)``.
    """
    class_of = np.concatenate([place, [MISSING, NO_LABEL]])  # the codes of these are -2 and -1
    starts, labels, groups = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for begin, stop, group in stored.segments or ((0, stored.samples, 0),):
        every = begin + window_starts(stop - begin, window, step)
        for first in range(0, len(every), max(1, ROWS // step)):
            start = every[first : first + max(1, ROWS // step)]
            codes = class_of[stored.codes()[start[0] : start[-1] + window]]
            starts.append(start)
            labels.append(voted(codes, start - start[0], window, agree))
            groups.append(np.full(len(start), group, np.int32))
    start, label = np.concatenate(starts), np.concatenate(labels)
    kept = label != MISSING
    return start[kept], label[kept], np.flatnonzero(~kept), np.concatenate(groups)[kept]


def voted(classes: NDArray[np.int64], begin: NDArray[np.int64], window: int, agree: float) -> NDArray[np.int64]:
    """The class that most samples of each window have; of two with as many samples the first.

    Args:
        classes: of each sample ``(n,)``, or ``NO_LABEL``, or ``MISSING``.
        begin: first samples of the windows, ``(N,)``.
        window: samples of a window.
        agree: the least part of a window that has the class.

    Returns:
        ``(N,)``: a class, or ``NO_LABEL``, or ``MISSING`` where a sample is.

    >>> voted(np.array([0, 0, 1, 1, 1, -1, -2]), np.array([0, 1, 4]), 3, 0.6).tolist()
    [0, 1, -2]
    """

    def count(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        total = np.concatenate([[0], np.cumsum(mask)])
        return np.asarray(total[begin + window] - total[begin])

    best, label = np.zeros(len(begin), np.int64), np.full(len(begin), NO_LABEL)
    for k in np.unique(classes[classes >= 0]).tolist():
        votes = count(classes == k)
        more = votes > best
        best[more], label[more] = votes[more], k
    label[best < math.ceil(agree * window - 1e-9)] = NO_LABEL
    label[count(classes == MISSING) > 0] = MISSING
    return label


def whose_windows(
    recordings: Sequence[Recording], stored: Sequence[Stored], file: NDArray[np.int32], group: NDArray[np.int32]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Person and recording of each window.

    Args:
        recordings: the files.
        stored: the same, as they are kept.
        file: the recording of each window, ``(N,)``.
        group: its (person, session) within the recording, ``(N,)``.
    """
    pairs, place = np.unique(file.astype(np.int64) << 32 | group, return_inverse=True)
    who, names = [], []
    for pair in pairs.tolist():
        recording, one = recordings[pair >> 32], stored[pair >> 32]
        own = one.groups[pair & 0xFFFFFFFF] if one.groups else ("", "")
        subject = text(recording.subject or own[0], "subject")
        session = text(recording.session or own[1], "session")
        who.append(subject)
        names.append(f"{subject}/{session}" if session else f"{recording.name}/{subject}" if own[0] else recording.name)
    return np.array(who)[place], np.array(names)[place]
