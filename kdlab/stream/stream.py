"""Samples of a sensor, as they come, to decisions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from numpy.typing import NDArray

from kdlab.data.amplitude import warn_of_another_size
from kdlab.data.recordings.grid import Grid, regular
from kdlab.data.recordings.report import TimeReport
from kdlab.data.recordings.resample import BORDER, Piece
from kdlab.data.recordings.stamps import Pace
from kdlab.data.recordings.times import Times
from kdlab.nets.alone import check_alone
from kdlab.stream.decision import Decision, Stable
from kdlab.stream.forms import ModuleForm, ScaledNet
from kdlab.stream.incoming import Incoming
from kdlab.stream.pushed import Pushed
from kdlab.stream.rates import checked, latency, rate_of
from kdlab.stream.ring import Ring, Window
from kdlab.stream.student import MANY, Student, TooLargeError
from kdlab.types import InputError

ROWS = 4096  # rows that are resampled at a time


class Stream:
    """Samples in, decisions out: the windows of a student, cut from a sensor's samples as they come.

    Samples are ordered, filled and resampled by the rules of :class:`~kdlab.data.RecordingDataModule`, with its
    arguments and its code, and windows begin where they would begin in a recording that starts with the first sample.
    So the decisions are those on the windows of the complete recording, however it is cut into pieces. A window with a
    missing sample is returned as not decided, with the reason. Smoothing and dwell time begin again after it.

    What cannot be decided without later samples comes later: at most ``latency`` seconds after the last sample of the
    window, and the rest with :meth:`end`. Memory does not grow. Call it from one thread at a time.

    Args:
        student: of :func:`kdlab.load`, on windows ``(C, T)``.
        hop: samples at the student's rate from one window to the next; None: windows do not overlap.
        channels: names of the columns of the samples, from which those that the student reads are picked; None: the
            student's channels, in their order. Only what is picked can be missing.
        sampling_rate: of the student, hertz, where its description has none.
        recorded_at: rate of the samples, hertz; None: that of the student. The first time stamps must have it, within
            5 % (see :func:`~kdlab.stream.rates.checked`). ``"found"``: it is found in the first 16,384 samples, as in
            recordings, and no decision comes before; then low-passed samples, too, are equal to those of a recording
            in every bit.
        time_unit: of the time stamps, as for recordings, as are ``day_first`` and ``zone``.
        day_first: whether dates such as 03/04/2020 begin with the day.
        zone: time zone of dates without an offset.
        repeated: samples with one time stamp are ``"spread"``, the ``"first"`` is kept, or it is an ``"error"``.
        backwards: time that goes back begins a new session (``"split"``), is ``"sort"`` ed (which delays all decisions
            by a minute), or is an ``"error"``.
        resample: ``"linear"``, or ``"polyphase"`` for samples without times.
        max_gap: the longest time between two samples that is interpolated, seconds; None: the larger of half a second
            and three sample periods.
        fill: channels whose missing values are filled, ``{hr: previous}`` or ``{hr: linear}``.
        fill_max: the longest time that is filled, seconds.
        smooth: windows whose probabilities are averaged.
        dwell: seconds that a prediction must hold before the stable decision changes.

    Attributes:
        report: what was found in the samples: gaps, steps back, repeated stamps, missing and filled values.
        decided, undecided: numbers of windows.

    Raises:
        InputError: a student on images, or whose answer for a window depends on the others in its batch; an argument
            out of range.

    Example:
        >>> class Means:
        ...     exact = False
        ...     def __call__(self, windows):
        ...         return windows.mean(2)
        >>> channels = [{"name": "x"}, {"name": "y"}]
        >>> card = {"classes": ["x", "y"], "channels": channels, "sampling_rate": 2.0, "input": {"shape": ["B", 2, 4]}}
        >>> stream = Stream(Student(Means(), card))
        >>> stream.push([0.0, 0.5, 1.0], [[0, 1], [0, 1], [0, 1]])
        []
        >>> [(d.start, d.end, d.prediction) for d in stream.push([1.5, 2.0, 2.5], [[0, 1], [9, 0], [9, 0]])]
        [(0.0, 1.5, 'y')]
    """

    def __init__(
        self,
        student: Student,
        *,
        hop: int | None = None,
        channels: Sequence[str] | None = None,
        sampling_rate: float | None = None,
        recorded_at: float | Literal["found"] | None = None,
        time_unit: str = "s",
        day_first: bool | None = None,
        zone: str | None = None,
        repeated: Literal["spread", "first", "error"] = "spread",
        backwards: Literal["split", "sort", "error"] = "split",
        resample: Literal["linear", "polyphase"] = "linear",
        max_gap: float | None = None,
        fill: Mapping[str, Literal["previous", "linear"]] | None = None,
        fill_max: float | Mapping[str, float] = 2.0,
        smooth: int = 1,
        dwell: float = 0.0,
    ) -> None:
        if not isinstance(student, Student):
            raise InputError(
                f"Stream: student must be a student that was read, but got {student!r}. Pass kdlab.load(RUN_OR_FILE), "
                "or kdlab.from_pretrained(FOLDER)."
            )
        if len(student.shape) != 2:
            raise InputError(f"Stream: student must read windows (C, T), but got {student.shape}. Pass another one.")
        _check_alone(student)
        rate = rate_of(student, sampling_rate)
        hop = student.shape[1] if hop is None else hop
        for name, number in (("hop", hop), ("smooth", smooth)):
            if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
                raise InputError(f"Stream: {name} must be a whole number of at least 1, but got {number!r}. Pass 1.")
        if not isinstance(dwell, int | float | np.number) or not 0 <= dwell < math.inf:
            raise InputError(f"Stream: dwell must be a time of at least 0 s, but got {dwell!r}. Pass 0.")
        if resample not in ("linear", "polyphase"):
            raise InputError(f"Stream: resample must be linear or polyphase, but got {resample!r}. Use one of them.")
        declared = None if recorded_at == "found" else rate if recorded_at is None else recorded_at
        self.student, self.hop, self.smooth, self.dwell = student, int(hop), int(smooth), float(dwell)
        names, self._named = student.channels if channels is None else channels, channels is not None
        self.given = [names] if isinstance(names, str) else list(names)
        self.grid = Grid(
            rate=rate,
            channels=student.channels,
            recorded_at=declared,
            resample=resample,
            max_gap=max_gap,
            times=Times(time_unit, day_first, zone, repeated, backwards),
            fill=fill or {},
            fill_max=fill_max,
        )
        self.reset()

    def reset(self) -> None:
        """Begin again, with the next sample as the first."""
        grid, student = self.grid, self.student
        channels, window = student.shape
        self._squares: NDArray[np.float64] = np.zeros(channels)
        self.report, self.decided, self.undecided = TimeReport(grid.channels), 0, 0
        self._incoming = Incoming(self.given, grid, self._named)
        self._ring = Ring(window, self.hop, channels, np.float64 if student.form.exact else np.float32)
        self._row, self._part = 0, 0  # of the grid, and of its even parts
        self._stable = Stable(self.smooth, self.dwell, student.classes, student.many_labels)
        self._pushed: Pushed[Piece, Piece] | None = _resampler(grid, self.report)

    @property
    def latency(self) -> float:
        """Seconds from the last sample of a window to its decision, at most, where samples come evenly.

        With ``recorded_at="found"``, infinite until the rate is found.
        """
        source = self.grid.recorded_at or self.report.rate_at_first
        return math.inf if source is None else latency(self.grid, source, self._incoming.timed)

    def push(self, times: npt.ArrayLike | None, samples: npt.ArrayLike) -> list[Decision]:
        """Samples as they come.

        Args:
            times: of the samples, ``(n,)``, in ``time_unit``; None, in all calls: they come at the constant rate
                ``recorded_at``.
            samples: ``(n, C)`` in physical units, NaN where a value is missing; one sample may be ``(C,)``.

        Returns:
            Decisions on the windows that are complete, in order.

        Raises:
            InputError: another number of columns or times, a time that is missing; what the settings make an error.
                After an error on times or rates the stream must be :meth:`reset`.
        """
        piece = self._incoming.read(times, samples)
        if piece is None:
            return []
        parts = (piece.rows(slice(at, at + ROWS)) for at in range(0, len(piece.label), ROWS))
        return [decision for part in parts for decision in self._decisions(self._feed(part))]

    def end(self) -> list[Decision]:
        """The windows that waited for later samples. Push nothing more, or :meth:`reset`."""
        return self._decisions(self._feed(None))

    def _feed(self, piece: Piece | None) -> list[Piece]:
        pushed, self._pushed = self._pushed, None  # after an error there is none
        if pushed is None:
            raise InputError(
                "Stream: must not be pushed or ended after an error or its end, but was. Reset the stream first."
            )
        if piece is None:
            return pushed.end()
        made = pushed.push(piece)
        self._pushed = pushed
        return made

    # ---- rows of the grid -------------------------------------------------------------------------------------------
    def _decisions(self, pieces: list[Piece]) -> list[Decision]:
        return [self._decide(window) for piece in pieces for window in self._ring.add(*self._placed(piece))]

    def _placed(self, piece: Piece) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_]]:
        """Rows of the grid with their times, and which of them are borders."""
        starts, border = self.report.starts, np.asarray(piece.group) == BORDER
        while self._part + 1 < len(starts) and starts[self._part + 1][0] <= self._row:
            self._part += 1
        first, moment = starts[self._part]
        rows = self._row + np.arange(len(border))  # all in this part
        time = np.asarray(moment + (rows - first) / self.grid.rate, np.float64)
        self._row += len(border)
        return piece.signal, time, border

    def _decide(self, window: Window) -> Decision:
        zero = self._incoming.zero
        start, end = zero + float(window.time[0]), zero + float(window.time[-1])
        missing = ~np.isfinite(window.signal).all(axis=0)
        if missing.any():
            self.undecided += 1
            self._stable.restart()
            names = ", ".join(name for name, gone in zip(self.grid.channels, missing, strict=True) if gone)
            return Decision(start, end, reason="gap" if window.border.any() else f"missing {names}")
        try:
            found = self.student.probabilities(window.signal.T)
        except TooLargeError:
            self.undecided += 1
            self._stable.restart()
            return Decision(start, end, reason="too large")
        self.decided += 1
        self._see(window.signal)
        mean, label, stable = self._stable.add(end, found)
        return Decision(start, end, label, tuple(mean.tolist()), stable)

    def _see(self, signal: NDArray[Any]) -> None:
        """Tell where the first windows have other values than those of training, as in another unit."""
        if self.decided > MANY:
            return
        self._squares += np.square(signal, dtype=np.float64).mean(axis=0)
        usual = self.student.root_mean_square
        if self.decided == MANY and usual is not None:
            warn_of_another_size(np.sqrt(self._squares / MANY), usual, self.student.channels, "Stream: samples")


def _check_alone(student: Student) -> None:
    scale = student.card.get("scale") or {"offset": [0.0], "divisor": [1.0]}
    run = student.form
    check_alone(
        lambda x: torch.from_numpy(np.asarray(run(x.numpy()))),
        run.net if isinstance(run, ScaledNet) else run.module if isinstance(run, ModuleForm) else None,
        student.shape,
        "Stream: student",
        scale["offset"],
        scale["divisor"],
    )


def _resampler(grid: Grid, report: TimeReport) -> Pushed[Piece, Piece]:
    declared = grid.recorded_at

    def run(pieces: Iterator[Piece]) -> Iterator[Piece]:
        if declared is None:
            return regular(pieces, grid, "Stream", report)
        return regular(checked(pieces, declared, grid), grid, "Stream", report, pace=Pace(1 / declared, 1 / declared))

    return Pushed(run)
