"""Recordings without labels that are to be predicted: every window of them, and when it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray

from kdlab.data.recordings.arrays import arrays_of
from kdlab.data.recordings.declared import form_of, times_of
from kdlab.data.recordings.devices import DEVICES, Device
from kdlab.data.recordings.form import Csv
from kdlab.data.recordings.intervals import Intervals
from kdlab.data.recordings.layout import Recording, few, known_suffixes, listed, matching
from kdlab.data.recordings.moments import seconds_of, written
from kdlab.data.recordings.raw import UNITS, is_raw
from kdlab.data.recordings.reading import Reading
from kdlab.data.recordings.report import RateError
from kdlab.data.recordings.resample import NO_LABEL
from kdlab.data.recordings.sensor_checks import check_device_files
from kdlab.data.recordings.sensors import Sensors
from kdlab.data.recordings.store import Joint, Stored, store
from kdlab.data.recordings.tables import ColumnError, columns_of
from kdlab.data.recordings.where import stem_of, suffix_of
from kdlab.data.recordings.windows import RecordingWindows, cut, whose_windows
from kdlab.types import InputError

SLOWER = 0.8  # part of the common rate below which a recording lacks frequencies that the others have


@dataclass(frozen=True)
class PredictRoot:
    """Recordings without labels that are predicted, and what is other in them than in those of training.

    Args:
        root: a folder, or one file.
        suffixes: of recordings; None: those of the module, and of raw files of devices.
        step: samples from one window to the next; None: as of the module.
        csv: how tables are written; None: as of the module.
        device: whose software wrote the tables; None: as of the module.
        time: column of the times of tables; None: as of the module.
        time_unit: of these; None: as of the module.
        recorded_at: the rate of these recordings, hertz: of those without times, and to check that of the others;
            None: those without times have the ``recorded_at`` of the module, or else the common rate, and the rate of
            the others is found, whatever that of training was.
        sensors: whether sensors are in files of their own where those of training are.
        columns: channel -> column of tables, where that has another name than the channel: ``{x: "Acceleration X"}``.

    Raises:
        InputError: a step below 1, another device, or columns that are no names.
    """

    root: str | Path
    suffixes: list[str] | None = None
    step: int | None = None
    csv: Csv | dict[str, Any] | None = None
    device: Device | None = None
    time: str | None = None
    time_unit: str | None = None
    recorded_at: float | None = None
    sensors: bool = True
    columns: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if self.step is not None and self.step < 1:
            raise InputError(f"predict_root: step must be at least 1, but got {self.step}.")
        if self.device is not None and self.device not in DEVICES:
            raise InputError(f"predict_root: device must be one of {', '.join(DEVICES)}, but got {self.device!r}.")
        names = self.columns or {}
        if not isinstance(names, dict) or not all(isinstance(word, str) for pair in names.items() for word in pair):
            raise InputError(
                f"predict_root: columns must map channels to columns of tables, but got {self.columns!r}. Write "
                "columns: {x: acc_x}."
            )

    @classmethod
    def of(cls, value: PredictRoot | Mapping[str, Any] | str | Path | None) -> PredictRoot | None:
        """What a user writes: a path, or a mapping with ``root``.

        Raises:
            InputError: it is neither, or has other keys.
        """
        if value is None or isinstance(value, PredictRoot):
            return value
        if isinstance(value, str | Path):
            return cls(value)
        known = [f.name for f in fields(cls)]
        if not isinstance(value, Mapping) or not {"root"} <= set(value) <= set(known):
            raise InputError(
                f"predict_root must be a path, or a mapping of {', '.join(known)} with root, but got {value!r}. Write "
                "predict_root: folder."
            )
        return cls(**value)


class Predicted:
    """Windows of recordings without labels, and what they come from.

    Args:
        windows: every window without a missing sample.
        names: recording of each, ``(N,)``.
        step: samples from one to the next.
        rate: hertz.
    """

    def __init__(self, windows: RecordingWindows, names: NDArray[Any], step: int, rate: float) -> None:
        self.windows, self.names, self.step, self.rate = windows, names, step, rate
        self._kept: dict[int, dict[str, Any]] = {}

    def moments(self, index: Sequence[int]) -> list[tuple[str, str, str]]:
        """Recording, first moment and end of windows; the end is the moment of the sample that would follow."""
        rows = np.asarray(index, np.int64)
        rows = np.where(rows < 0, -1 - rows, rows)
        found: list[tuple[str, str, str]] = [("", "", "")] * len(rows)
        for k in np.unique(self.windows.file[rows]).tolist():
            kept = self._kept.setdefault(k, self.windows.files[k].contents())
            mine = np.flatnonzero(self.windows.file[rows] == k)
            begin = seconds_of(self.windows.start[rows[mine]], kept["report"]["starts"], self.rate)
            end = begin + self.windows.shape[2] / self.rate
            names = self.names[rows[mine]].tolist()
            lines = zip(names, written(begin, kept["clock"]), written(end, kept["clock"]), strict=True)
            for place, line in zip(mine.tolist(), lines, strict=True):
                found[place] = line
        return found


def predicted(
    given: PredictRoot,
    reading: Reading,
    *,
    name: str,
    window: int,
    step: int,
    cache: Path,
    suffixes: Sequence[str],
    sensors: Sensors | None,
    intervals: Intervals | None,
    units: Sequence[str] | None,
) -> Predicted:
    """Read the recordings, and find all of their windows.

    Args:
        given: where they are, and what is other in them.
        reading: how recordings of training are read.
        name: of the data set, for the log.
        window: samples of a window.
        step: samples from one to the next, where ``given`` has none.
        cache: where recordings are kept.
        suffixes: of recordings of training.
        sensors: the declaration of sensors in files of their own.
        intervals: labels as intervals, whose tables are no recordings.
        units: of each channel, or None.

    Raises:
        InputError: no recordings, one that cannot be read, or no window at all.
    """
    sensors = sensors if given.sensors else None
    if sensors is not None and given.columns:
        raise InputError(
            "predict_root: columns must be left out where sensors are in files of their own, whose columns sensors: "
            "names. Set sensors: false, or leave columns out."
        )
    own = _reading(given, reading)
    recordings = _found(given, own, cache, suffixes, sensors, intervals, units)
    if given.columns and not any(_is_table(one.file) for one in recordings):
        raise InputError(
            f"predict_root: columns must be left out, because they are of tables, but {recordings[0].file.name} is "
            "none. Arrays have the channels in their order, and files of devices name them."
        )
    stored = []
    for one in recordings:
        joint = None if sensors is None or one.files is None else Joint(sensors, one.files)
        try:
            stored.append(store(one.file, _ids_that_are_there(one.file, own), cache, None, joint))
        except RateError as error:
            raise InputError(f"{error} Settings of these recordings belong in predict_root: {{root: ...}}.") from error
        except ColumnError as error:
            key = "time: <column>" if error.column == own.time else "columns: {<channel>: <column>}"
            raise InputError(f"{error}; predict_root: {{root: ..., {key}}} names those of these recordings") from error
    step = step if given.step is None else given.step
    starts, groups = [], []
    for recording, kept in zip(recordings, stored, strict=True):
        none = np.full(len(kept.labels), NO_LABEL, np.int64)
        start, _, lost, group = cut(kept, none, window=window, step=step, agree=1.0)
        starts.append(start)
        groups.append(group)
        _tell(name, recording, kept, len(start), len(lost), reading.grid.rate, window)
    if not sum(map(len, starts)):
        raise InputError(
            f"predict_root={str(given.root)!r}: recordings must have a window of {window} samples, none of them "
            f"missing, but {len(stored)} have none. Set fill: and max_gap:, or name other recordings."
        )
    file = np.repeat(np.arange(len(stored), dtype=np.int32), [len(s) for s in starts])
    windows = RecordingWindows(stored, file, np.concatenate(starts), window)
    _, names = whose_windows(recordings, stored, file, np.concatenate(groups))
    rank_zero_info(f"{name}: {len(stored)} recordings without labels, {len(file)} windows to predict")
    return Predicted(windows, names, step, reading.grid.rate)


def _reading(given: PredictRoot, reading: Reading) -> Reading:
    if unknown := sorted({*(given.columns or {})} - {*reading.channels}):
        raise InputError(
            f"predict_root: columns must name channels ({', '.join(reading.channels)}), but got {unknown[0]!r}. Write "
            "the channel first: {<channel>: <column>}."
        )
    picked = [(given.columns or {}).get(channel, channel) for channel in reading.channels]
    if given.columns and len(set(picked)) < len(picked):
        raise InputError(
            f"predict_root: columns must be different for all channels, but got {', '.join(picked)} for "
            f"{', '.join(reading.channels)}. Name a column of its own for each."
        )
    device = given.device or reading.device
    times = reading.grid.times
    if given.time_unit is not None or given.device is not None:
        unit = given.time_unit or times.unit
        times = times_of(device, unit, times.day_first, times.zone, times.repeated, times.backwards)
    return replace(
        reading,
        label=None,
        device=device,
        time=given.time if given.time is not None else None if given.device is not None else reading.time,
        csv=reading.csv if given.csv is None and given.device is None else form_of(given.csv, device),
        grid=replace(reading.grid, recorded_at=given.recorded_at, untimed=reading.grid.recorded_at, times=times),
        columns=dict(given.columns or {}),
    )


def _ids_that_are_there(file: Path, reading: Reading) -> Reading:
    """How a recording is read: with the columns of person and session that it has, which predictions do not need."""
    if is_raw(file):
        return replace(reading, subject=None, session=None, columns={})
    if reading.subject is None and reading.session is None:
        return reading
    names = columns_of(file, reading) if _is_table(file) else arrays_of(file)
    subject, session = (column if column in names else None for column in (reading.subject, reading.session))
    return replace(reading, subject=subject, session=session)


def _is_table(file: Path) -> bool:
    return not is_raw(file) and file.suffix.lower() not in (".npz", ".npy")


def _found(
    given: PredictRoot,
    reading: Reading,
    cache: Path,
    suffixes: Sequence[str],
    sensors: Sensors | None,
    intervals: Intervals | None,
    units: Sequence[str] | None,
) -> list[Recording]:
    place = Path(given.root).expanduser()
    wanted = (*suffixes, *UNITS) if given.suffixes is None else known_suffixes(given.suffixes)
    try:
        if place.is_file():
            files, place = [place], place.parent
            if suffix_of(files[0]) not in wanted:
                raise InputError(
                    f"root={str(given.root)!r}: must have a suffix of {few(wanted, len(wanted))}. Set suffixes:."
                )
        else:
            files = listed(given.root, cache, wanted)
            tables = set() if intervals is None else {t.resolve() for t in intervals.tables(files, place)}
            files = matching([file for file in files if file.resolve() not in tables], place, None)
    except InputError as error:
        raise type(error)(f"predict_{error}") from error
    joint = None
    if sensors is not None:
        joint, _ = sensors.partners(files, place)
        files = [next(iter(one.values())) for one in joint]
    plain = replace(reading, subject=None, session=None)
    check_device_files(files, joint, sensors, plain, units)
    names = [file.relative_to(place).with_name(stem_of(file)).as_posix() for file in files]
    each = joint if joint is not None else [None] * len(files)
    return [Recording(name, "", file, "", own) for name, file, own in zip(names, files, each, strict=True)]


def _tell(name: str, recording: Recording, one: Stored, count: int, lost: int, rate: float, window: int) -> None:
    kept = one.contents()
    starts = kept["report"]["starts"]
    gaps = []
    for (row, moment), (following, again) in pairwise(starts):
        last = moment + max(0.0, following - row - 2) / rate  # one missing sample is kept between two parts
        gaps.append(" to ".join(written([last, again], kept["clock"])))
    found = kept["report"]["rate"]
    if found and found < SLOWER * rate:
        rank_zero_warn(
            f"{name}: {recording.name}: its rate must be that of the training windows or above, {rate:g} Hz, but it is "
            f"{found:.4g} Hz, so nothing above {found / 2:.4g} Hz is in it. Record it faster, or train a student of "
            "that rate (sampling_rate)."
        )
    text = f"{name}: {recording.name}: {count} windows to predict"
    if lost:
        text += f", {lost} with missing samples left out"
    if gaps:
        text += f"; {len(gaps)} gaps: {few(gaps, len(gaps), 3)}"
    if not count and not lost:
        text += f", it has {one.samples} samples of {window}"
    rank_zero_info(text)
