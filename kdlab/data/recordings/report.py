"""What was found, moved, dropped and filled while a recording was resampled to the common rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.data.recordings.times import SECOND
from kdlab.types import InputError

WARN, FAIL, UNLIKELY = 1.05, 2.0, 20.0  # factors between rates: a warning; errors against recorded_at, sampling_rate
EPOCHS = "epochs"  # a header of sums over time, not of samples, says so
CHANGES = 1.15  # factor between the rate of the first samples and that of all: a warning


class RateError(InputError):
    """The rate of a recording does not fit the settings."""

    #: that was found, hertz
    rate: float
    #: the message without what to write
    reason: str


@dataclass
class TimeReport:
    """Counts of one recording, complete when :func:`~kdlab.data.recordings.grid.regular` has read its last row.

    Attributes:
        channels: names, in order.
        samples: rows read.
        with_times: whether the recording has times.
        rate: that was found, or declared where there are no times, hertz; None: a single sample.
        inherited: whether it was declared for other recordings, those of training.
        unit: of the times of the file, where it may be another than is declared, such as a device's own.
        header: what in the header of the file gives the rate, where rows have no times or are epochs; None: nothing.
        rate_at_first: that was found in the first samples and decides on the low-pass, hertz.
        spread: samples that were moved because they have the time stamp of the sample before.
        dropped: samples left out because they have the time stamp of the sample before.
        equal: of these, those that are equal to the sample before in every channel.
        back: how often the time went back; ``furthest``: by how much at most, seconds.
        sorted, sessions: how many of these were sorted, and how many began a new session.
        gaps: steps of more than ``max_gap``; ``longest_gap``: seconds.
        max_gap: seconds.
        filtered: whether a low-pass came before the lower rate.
        filled: values put into empty cells, per channel.
        missing: samples still missing after that, per channel.
        present: samples that have a value of their own, per channel.
        seconds: from the first to the last sample, without gaps.
        damaged: blocks of the file that were skipped.
        starts: ``[row, seconds]`` where an even grid begins, in seconds after the first sample.
        warnings: what to look at.
    """

    channels: tuple[str, ...] = ()
    samples: int = 0
    with_times: bool = True
    rate: float | None = None
    inherited: bool = False
    unit: str | None = None
    header: str | None = None
    rate_at_first: float | None = None
    spread: int = 0
    dropped: int = 0
    equal: int = 0
    back: int = 0
    furthest: float = 0.0
    sorted: int = 0
    sessions: int = 0
    gaps: int = 0
    longest_gap: float = 0.0
    max_gap: float = 0.0
    filtered: bool = False
    filled: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    present: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    damaged: int = 0
    starts: list[list[float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self)

    def line(self) -> str:
        """One line for the log.

        >>> TimeReport(samples=500, rate=50.0, spread=400, gaps=2, longest_gap=7.5, max_gap=0.5).line()
        '500 samples at 50 Hz (found); 400 with a repeated time stamp spread; 2 gaps beyond 0.5 s (longest 7.5 s)'
        """
        how = "found" if self.with_times else "declared by the training data" if self.inherited else "declared"
        rate = "" if self.rate is None else f" at {self.rate:.5g} Hz ({how})"
        parts = [f"{self.samples} samples{rate}"]
        parts += [f"{self.damaged} damaged blocks skipped"] if self.damaged else []
        same = f" ({self.equal} equal to the one before)" if self.equal else ""
        parts += [f"{self.spread} with a repeated time stamp spread{same}"] if self.spread else []
        parts += [f"{self.dropped} with a repeated time stamp dropped{same}"] if self.dropped else []
        if self.back:
            done = f"{self.sorted} sorted" if self.sorted else f"{self.sessions} new sessions"
            parts += [f"time goes back {self.back} times (by up to {self.furthest:.4g} s): {done}"]
        if self.gaps:
            parts += [f"{self.gaps} gaps beyond {self.max_gap:.3g} s (longest {self.longest_gap:.4g} s)"]
        parts += ["low-passed"] if self.filtered else []
        parts += [f"{count} of {channel} filled" for channel, count in self.filled.items() if count]
        parts += [
            f"{count} of {channel} missing ({100 * count / max(1, self.samples - self.dropped):.3g} %)"
            for channel, count in self.missing.items()
            if count
        ]
        return "; ".join(parts)

    def grid_begins(self, row: int, moment: float, rate: float) -> None:
        """Note the moment of a row, where it does not follow from the rows before it."""
        if not self.starts or abs(self.starts[-1][1] + (row - self.starts[-1][0]) / rate - moment) > 1e-6:
            self.starts.append([row, moment])

    def went_back(self, steps: NDArray[np.float64], how: str) -> None:
        """Count steps back, all negative, in seconds."""
        if len(steps):
            self.back += len(steps)
            self.furthest = max(self.furthest, float(-steps.min()))
            self.sorted += len(steps) * (how == "sort")
            self.sessions += len(steps) * (how == "split")

    def count_gaps(self, steps: NDArray[np.float64]) -> None:
        """Count steps between samples beyond ``max_gap``, seconds."""
        long = steps[steps > self.max_gap]
        self.seconds += float(steps.sum() - long.sum())
        if len(long):
            self.gaps += len(long)
            self.longest_gap = max(self.longest_gap, float(long.max()))

    def finish(self, rate: float, recorded_at: float | None, unit: str, name: str, filled: tuple[str, ...]) -> None:
        """Check the rate that was found in all of the recording, and count what was filled.

        Raises:
            InputError: see :func:`check_rate`.
        """
        kept = self.samples - self.dropped
        self.filled = {channel: kept - self.missing[channel] - self.present[channel] for channel in filled}
        if self.rate is not None and self.with_times:
            self.warnings += check_rate(self.rate, rate, recorded_at, self.unit or unit, name, self.header)
        if self.rate and self.rate_at_first:
            change = self.rate / self.rate_at_first
            if not 1 / CHANGES < change < CHANGES:
                self.warnings.append(
                    f"{name}: {self.rate_at_first:.4g} Hz were found in the first samples, but {self.rate:.4g} Hz in "
                    "all of the recording; if its rate changes, make a file of each part"
                )
        if self.equal > 0.9 * self.spread:
            self.warnings.append(
                f"{name}: {self.equal} samples have the time stamp and the values of the sample before; if rows were "
                "written twice, set repeated: first"
            )


def fitting_units(found: float, expected: float, unit: str, within: float) -> list[str]:
    """Other units of time in which a rate is the expected one, within a factor.

    >>> fitting_units(0.05, 50.0, "s", 1.05), fitting_units(48.0, 50.0, "s", 1.05)
    (['ms'], [])
    """
    return [
        other
        for other in (SECOND if unit in SECOND else ())
        if other != unit and 1 / within < found * SECOND[other] / SECOND[unit] / expected < within
    ]


def check_rate(
    found: float, rate: float, recorded_at: float | None, unit: str, name: str, header: str | None = None
) -> list[str]:
    """Hold the rate that was found against what is declared.

    Args:
        found: hertz.
        rate: the common rate, hertz.
        recorded_at: the declared rate of the recording, hertz, or None.
        unit: of the times.
        name: of the recording.
        header: what in the header of the file gives the rate; None: the time stamps do.

    Returns:
        Warnings: more than 5 % from ``recorded_at``.

    Raises:
        RateError: a factor of 2 from ``recorded_at``, or, where that is not declared, of 20 from the common rate.

    >>> check_rate(52.6, 50.0, 50.0, "s", "a.csv")
    ['a.csv: 52.6 Hz were found, 5.2 % above recorded_at=50; set recorded_at: 52.6 if that is the rate']
    """
    name_of, expected, most = (
        ("sampling_rate", rate, UNLIKELY) if recorded_at is None else ("recorded_at", recorded_at, FAIL)
    )
    factor = max(found / expected, expected / found)
    if factor >= most * (1 - 1e-9):
        fitting = [] if header is not None else fitting_units(found, expected, unit, most)
        wrong = (
            f"Set time_unit: {fitting[0]} (that makes {found * SECOND[fitting[0]] / SECOND[unit]:.4g} Hz)"
            if fitting
            else ""
        )
        own = f"set recorded_at: {found:.4g} if that is the rate of the recording"
        if header is not None and EPOCHS in header and found * UNLIKELY <= rate:
            own = (
                f"it has sums over epochs and no samples: export the raw samples of the device, or train on epochs "
                f"(sampling_rate: {found:.4g})"
            )
        times = f"time stamps (time_unit: {unit})" if header is None else f"header ({header})"
        reason = (
            f"{name}: the rate of the {times} must be within a factor of {most:g} of "
            f"{name_of}={expected:g} Hz, but got {found:.4g} Hz."
        )
        error = RateError(f"{reason} {f'{wrong}, or {own}' if wrong else own[0].upper() + own[1:]}.")
        error.rate, error.reason = found, reason
        raise error
    if recorded_at is not None and factor > WARN:
        share = 100 * (found / expected - 1)
        return [
            f"{name}: {found:.4g} Hz were found, {abs(share):.1f} % {'above' if share > 0 else 'below'} "
            f"recorded_at={expected:g}; set recorded_at: {found:.4g} if that is the rate"
        ]
    return []


def lost_to_missing(reports: Iterable[TimeReport]) -> str | None:
    """The channel that costs most windows because it is missing, and the line to write; None where none is missing.

    Args:
        reports: of all recordings.

    >>> report = TimeReport(("x", "hr"), samples=500, missing={"hr": 490}, present={"hr": 10}, seconds=10.0)
    >>> print(lost_to_missing([report]))  # doctest: +ELLIPSIS
    channel 'hr' is missing in 98 % of the samples (one value in 1 s); write fill: {hr: previous} (or linear), ...
    """
    total, missing, present, seconds = 0, dict[str, int](), dict[str, int](), 0.0
    for report in reports:
        total += report.samples - report.dropped
        seconds += report.seconds
        for channel, count in report.missing.items():
            missing[channel] = missing.get(channel, 0) + count
            present[channel] = present.get(channel, 0) + report.present.get(channel, 0)
    if not any(missing.values()):
        return None
    worst = max(missing, key=lambda channel: missing[channel])
    share = f"channel {worst!r} is missing in {100 * missing[worst] / total:.3g} % of the samples"
    if not present[worst]:
        return f"{share}; leave it out of channels"
    every = seconds / present[worst]
    return (
        f"{share} (one value in {every:.3g} s); write fill: {{{worst}: previous}} (or linear), fill_max: "
        f"{2 * every:.2g}"
    )
