"""Long recordings: a folder of tables or numpy files, memory-mapped, resampled and windowed on demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from tqdm import tqdm

from kdlab.data import identity
from kdlab.data.base import WindowDataModule
from kdlab.data.dataset import WindowDataset
from kdlab.data.files import expanded
from kdlab.data.prepared import windows_to_predict
from kdlab.data.recordings.arrays import persons_in_arrays
from kdlab.data.recordings.classes import class_names
from kdlab.data.recordings.copies import warn_of_copies
from kdlab.data.recordings.declared import form_of, times_of
from kdlab.data.recordings.devices import DEVICES, Device
from kdlab.data.recordings.form import Csv
from kdlab.data.recordings.grid import Grid
from kdlab.data.recordings.intervals import Intervals, Spans
from kdlab.data.recordings.layout import (
    EXPECTED,
    Recording,
    known_suffixes,
    listed,
    matching,
    subject_pattern,
)
from kdlab.data.recordings.predicted import Predicted, PredictRoot, predicted
from kdlab.data.recordings.rates import stored_at_one_setting
from kdlab.data.recordings.raw import is_raw
from kdlab.data.recordings.reading import Reading
from kdlab.data.recordings.sensor_checks import check_device_files, check_partners, check_sensors
from kdlab.data.recordings.sensors import Sensors
from kdlab.data.recordings.store import Joint, Stored, store
from kdlab.data.recordings.summary import nothing_left, summed
from kdlab.data.recordings.tables import LOOKED_AT, persons_in
from kdlab.data.recordings.where import Where, stem_of, suffix_of
from kdlab.data.recordings.who import whose
from kdlab.data.recordings.windows import RecordingWindows, cut, whose_windows
from kdlab.data.shared import Shared, Unpack
from kdlab.data.splits import Split
from kdlab.data.windows import WindowSet
from kdlab.files import remove_leftovers
from kdlab.types import InputError, Name


class RecordingDataModule(WindowDataModule):
    """Windows of long recordings, such as days, that stay on disk.

    ``root`` holds one file per recording, in folders or not. A ``.csv`` has a row per sample; an ``.npz`` has ``x``
    (samples, channels), ``y`` (samples,) and perhaps ``t`` (samples,); an ``.npy`` is ``x``, and beside it are
    ``<name>.labels.npy`` and perhaps ``<name>.time.npy``. Each file is read once, in pieces, and kept as float32 at the
    common rate in ``cache_dir``, which takes 4 bytes per sample and channel (415 MB for 24 hours of 12 channels at
    100 Hz; float64 where float32 would lose a signal on a large offset); it is read again when it changes. Nothing is
    written into ``root``.

    Who was recorded is declared: in a folder of the path, in the file name or in a column. Without a declaration the
    one part of path and name that varies is the person; where several vary, or a column is named like a person, setup
    refuses and lists the lines to write. No window contains two persons, two sessions or a gap.

    A window takes the label that most of its samples have, where these are at least ``agree`` of it; other windows are
    left out, and so are (``missing="drop"``) windows with a missing sample. How many is logged.

    Args:
        root: the folder.
        channels: columns of a table, or what the columns of ``x`` are, in order.
        window: samples of a window at the common rate.
        step: samples from one window to the next; None: windows do not overlap.
        sampling_rate: the common rate, hertz.
        subject: where the person is found: ``{folder: 0}``, ``{part: 0}``, ``{name: "P[0-9]+"}`` or ``{column: user}``,
            see `Where`; None: the one part of path and name that varies.
        session: where the session is found, likewise; recordings are then named ``person/session``. None: each file is
            a recording.
        pattern: regular expression for a complete file name without its suffix; files with other names are left out,
            and named. Its groups ``subject`` and ``session`` give these, where it has them.
        suffixes: of recordings; tables may have any suffix and may be packed (``.csv.gz``). ``.bin``, ``.cwa`` and
            ``.gt3x`` are raw files of GENEActiv, Axivity and ActiGraph (``pip install "kdlab[devices]"``).
        csv: how tables are written, see `Csv`: delimiter, decimal mark, encoding, lines to skip, header or names,
            quotes, comments, words for missing values.
        device: whose software wrote the tables; sets ``csv``, ``time`` and its unit.
        label: column of the label, a word or a number; or where the label of a complete file is found, see `Where`:
            ``{folder: 0}``, ``{part: 1}`` or ``{name: ...}``.
        intervals: labels as intervals in a table of their own, in place of ``label``, see `Intervals`.
        time: column with the time of each sample; None: samples come at a constant rate. Arrays have times where ``t``
            is there.
        time_unit: of the times: ``s``, ``ms``, ``us``, ``ns``, ``iso`` for dates, or a format of ``strptime``.
        day_first: whether dates such as 03/04/2020 begin with the day.
        zone: time zone of dates without an offset.
        repeated: samples with one time stamp are ``"spread"`` up to the next one, the ``"first"`` is kept, or it is an
            ``"error"``.
        backwards: time that goes back is an ``"error"``, is ``"sort"`` ed, or begins a new session (``"split"``).
        recorded_at: rate of the recordings, hertz: of those without times, and to check that of the others; None: the
            common rate.
        resample: ``"linear"``: values between samples are interpolated, after a low-pass where the rate falls;
            ``"polyphase"``: recordings at a constant rate are filtered as by :func:`scipy.signal.resample_poly`, those
            with times are refused.
        max_gap: the longest time between two samples that is interpolated, seconds; longer ones count as missing, and
            no window spans them. None: the larger of half a second and three sample periods of the file.
        sensors: sensors in files of their own that are one recording, see `Sensors`; None: each file is a recording.
        fill: what is put into empty cells of slower channels: ``{hr: previous}`` or ``{hr: linear}``.
        fill_max: the longest time that is filled, seconds.
        classes: the classes, in order; None: all labels that there are, in natural order.
        ignore: labels that are no class, such as ``transient``.
        no_label: words that mean "no label", in any case; None: those of `kdlab.data.identity.NO_LABEL_WORDS`. Empty
            cells never have a label.
        agree: the least part of a window that has its label; 1: all of it.
        missing: ``"drop"`` leaves out windows with NaN, infinite or empty values or a gap; ``"error"`` refuses them.
        units: of each channel; those of raw files of devices are known, and others are refused.
        lenient: skip and count damaged blocks of raw files of devices; False: they are refused, with their place.
        max_memory: the most memory in which a raw file of a device is decoded, gigabytes; a file that may take more is
            refused before.
        predict_root: recordings without labels that ``predict`` reads in place of the test windows, device files
            included: a folder, a file, or a mapping with what is other in them, see `PredictRoot`.
        cache_dir: where recordings are kept; relative to the working directory.
        dataset: a name for the data, kept in the fingerprint; give every data set its own.

    Shapes:
        windows ``(N, channels, window)``

    Raises:
        MissingFileError: ``root`` is not there or holds no recordings.
        InputError: a person that is not declared; a file that cannot be read, with its line or array; an unknown label;
            no window at all.

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
        subject: str | Where | dict[str, Any] | None = None,  # a word is refused with the line to write
        session: str | Where | dict[str, Any] | None = None,
        pattern: str | None = None,
        suffixes: list[str] | None = None,
        csv: Csv | dict[str, Any] | None = None,
        device: Device | None = None,
        label: str | Where | dict[str, Any] | None = "label",
        intervals: Intervals | dict[str, Any] | None = None,
        time: str | None = None,
        time_unit: str = "s",
        day_first: bool | None = None,
        zone: str | None = None,
        repeated: Literal["spread", "first", "error"] = "spread",
        backwards: Literal["error", "sort", "split"] = "error",
        recorded_at: float | None = None,
        resample: Literal["linear", "polyphase"] = "linear",
        max_gap: float | None = None,
        sensors: Sensors | dict[str, Any] | None = None,
        fill: dict[str, Literal["previous", "linear"]] | None = None,
        fill_max: float | dict[str, float] = 2.0,
        classes: list[Name] | None = None,
        ignore: list[Name] | None = None,
        no_label: list[Name] | None = None,
        agree: float = 0.6,
        missing: Literal["drop", "error"] = "drop",
        units: list[str] | None = None,
        lenient: bool = False,
        max_memory: float = 8.0,
        predict_root: str | PredictRoot | Path | dict[str, Any] | None = None,  # of these a run writes the first
        cache_dir: str | Path = "runs/.recordings",
        dataset: str = "recordings",
        **common: Unpack[Shared],
    ) -> None:
        super().__init__(**common)
        step = window if step is None else step
        for name, value in (("window", window), ("step", step)):
            if value < 1:
                raise InputError(f"{name} must be a number of samples of at least 1, but got {value}.")
        for name, word, words in (
            ("resample", resample, ("linear", "polyphase")),
            ("missing", missing, ("drop", "error")),
        ):
            if word not in words:
                raise InputError(f"{name} must be one of {', '.join(words)}, but got {word!r}.")
        if not max_memory > 0:
            raise InputError(f"max_memory must be a number of gigabytes above 0, but got {max_memory!r}.")
        if not 0.0 < agree <= 1.0:
            raise InputError(f"agree must be a part of the window in (0, 1], such as 0.6, but got {agree}.")
        if (
            not isinstance(channels, list | tuple)
            or not channels
            or len(set(channels)) < len(channels)
            or (units and len(units) != len(channels))
        ):
            raise InputError(
                f"channels must be a list of different names, with a unit for each in units, but got "
                f"channels={channels!r}, units={units!r}."
            )
        if device is not None and device not in DEVICES:
            raise InputError(f"device must be one of {', '.join(DEVICES)}, but got {device!r}.")
        self.name = dataset
        self.root, self.window, self.step, self.agree, self.missing = root, window, step, agree, missing
        self.subject, self.session = Where.of(subject, "subject"), Where.of(session, "session")
        self.pattern = subject_pattern(pattern, self.subject, self.session)
        self.cache_dir, self.suffixes = Path(cache_dir).expanduser(), known_suffixes(suffixes)
        self.intervals = Intervals.of(intervals)
        self.label = _label(label, self.intervals)
        self.reading = Reading(
            grid=Grid(
                rate=float(sampling_rate),
                channels=tuple(channels),
                recorded_at=None if recorded_at is None else float(recorded_at),
                resample=resample,
                max_gap=None if max_gap is None else float(max_gap),
                times=times_of(device, time_unit, day_first, zone, repeated, backwards),
                fill=fill or {},
                fill_max=fill_max,
            ),
            label=None if self.label is None else self.label.column,
            time=time,
            subject=None if self.subject is None else self.subject.column,
            session=None if self.session is None else self.session.column,
            csv=form_of(csv, device),
            device=device,
            lenient=bool(lenient),
            max_memory=float(max_memory),
        )
        self.sensors, self._alone = Sensors.of(sensors), 0
        if self.sensors is not None:
            check_sensors(self.sensors, self.reading)
        self._classes = None if classes is None else identity.words(classes, "classes")
        self._ignore = identity.words(ignore or [], "ignore")
        if both := sorted(set(self._classes or ()) & set(self._ignore)):
            raise InputError(
                f"RecordingDataModule: classes and ignore must have no label in common, but got {', '.join(both)} in "
                "both. Remove it from one of them."
            )
        self._nothing = (
            identity.NO_LABEL_WORDS
            if no_label is None
            else tuple(identity.words([word for word in no_label if word != ""], "no_label"))
        )
        self._units = units
        self.predict_root, self._predicted = PredictRoot.of(predict_root), cast("Predicted | None", None)

    def prepare_data(self) -> None:
        """Read what is not kept yet, in one process."""
        self._stored()

    def setup(self, stage: str | None = None) -> None:
        """Load, check, split and scale, once; and find the windows of ``predict_root`` where they may be predicted."""
        super().setup(stage)
        if stage not in ("fit", "validate", "test"):
            self._find_predicted()

    def moments_of(self, index: Sequence[int]) -> list[tuple[str, str, str]]:
        """Recording, start and end of windows of ``predict_root``, by their ``Batch.index``; empty where it is None."""
        if self._predicted is None:
            return []
        shown = self._ready.people.shown
        return [(shown(name), begin, end) for name, begin, end in self._predicted.moments(index)]

    def _find_predicted(self) -> None:
        if self.predict_root is None or self._predicted is not None:
            return
        self._predicted = predicted(
            self.predict_root,
            self.reading,
            name=self.name,
            window=self.window,
            step=self.step,
            cache=self.cache_dir,
            suffixes=self.suffixes,
            sensors=self.sensors,
            intervals=self.intervals,
            units=self._units,
        )
        windows = {"raw": cast("NDArray[np.float32]", self._predicted.windows)}
        self._ready.predict = windows_to_predict(windows, self.data, self._ready.split.rows["train"])

    def _dataset(self, stage: str, **settings: Any) -> WindowDataset:
        if stage == "predict":
            self._find_predicted()
        return super()._dataset(stage, **settings)

    def load(self) -> WindowSet:
        """Find the windows of every recording."""
        recordings, stored = self._stored()
        classes, places = class_names(
            recordings,
            stored,
            classes_given=self._classes,
            ignore=self._ignore,
            nothing=self._nothing,
            merge=self.merge_labels,
        )
        starts, labels, groups, dropped = [], [], [], np.zeros(2, dtype=np.int64)
        for recording, one, place in zip(recordings, stored, places, strict=True):
            start, label, lost, group = cut(one, place, window=self.window, step=self.step, agree=self.agree)
            if len(lost) and self.missing == "error":
                raise InputError(
                    f"{recording.file}: {len(lost)} windows with missing samples (NaN, infinite, empty, or a gap "
                    f"beyond max_gap), the first is window {lost[0]}; fill them, or set missing: drop"
                )
            kept = np.ones(len(label), dtype=np.bool_) if self.missing_labels else label >= 0
            starts.append(start[kept])
            labels.append(label[kept])
            groups.append(group[kept])
            dropped += len(lost), int((~kept).sum())
        counts = summed(self.name, stored, places, self.window, dropped)
        counts.update({"files without partners": self._alone} if self._alone else {})
        number = sum(map(len, starts))
        line = (
            f"{len(stored)} recordings, {number} windows; left out: {dropped[0]} with missing samples, {dropped[1]} "
            f"without a label for {self.agree:g} of the window"
        )
        if not number:
            channels = self.reading.channels
            raise InputError(nothing_left(str(self.root), stored, channels, self.window, line, bool(dropped[0])))
        rank_zero_info(f"{self.name}: {line}")
        file = np.repeat(np.arange(len(stored), dtype=np.int32), [len(s) for s in starts])
        windows = RecordingWindows(stored, file, np.concatenate(starts), self.window, counts)
        who, names = whose_windows(recordings, stored, file, np.concatenate(groups))
        return WindowSet(
            windows={"raw": cast("NDArray[np.float32]", windows)},
            target=np.concatenate(labels),
            classes=classes,
            channels={"raw": list(self.reading.channels)},
            subject=who,
            recording=names,
            sampling_rate=self.reading.grid.rate,
            step=self.step,
            units={"raw": list(self._units)} if self._units else {},
            missing_labels=self.missing_labels,
        )

    def _stored(self) -> tuple[list[Recording], list[Stored]]:
        recordings, spans = self._recordings()
        remove_leftovers(self.cache_dir)
        shown = tqdm(recordings, desc="reading recordings", leave=False, disable=None)  # None: only on a terminal
        reads = (
            partial(store, recording.file, self.reading, self.cache_dir, one, self._joint(recording))
            for recording, one in zip(shown, spans, strict=True)
        )
        return recordings, stored_at_one_setting(reads) if self.sensors is None else [read() for read in reads]

    def _joint(self, recording: Recording) -> Joint | None:
        return None if recording.files is None or self.sensors is None else Joint(self.sensors, recording.files)

    def _recordings(self) -> tuple[list[Recording], list[Spans | str | None]]:
        """The recordings, and their labels where these are not in a column: intervals, or one for all of it."""
        every = listed(self.root, self.cache_dir, self.suffixes)
        place = expanded(self.root, EXPECTED)
        if self.intervals is not None:
            other = {path.resolve() for path in self.intervals.tables(every, place)}
            every = [file for file in every if file.resolve() not in other]
        files = matching(every, place, self.pattern)
        joint: list[dict[str, Path]] | None = None
        if self.sensors is not None:
            joint, self._alone = self.sensors.partners(files, place)
            where = {"subject": self.subject, "session": self.session, "label": self.label}
            check_partners(joint, place, self.pattern, **where)
            files = [next(iter(one.values())) for one in joint]
        check_device_files(files, joint, self.sensors, self.reading, self._units)
        declared = self.subject is not None or (self.pattern is not None and "subject" in self.pattern.groupindex)
        found = whose(
            files,
            place,
            pattern=self.pattern,
            subject=self.subject,
            session=self.session,
            columns={} if declared else self._columns_of_persons(files),
            data_set=self.name,
        )
        warn_of_copies(found, self.merge_subjects, self.name)
        if joint is not None:
            found = [one._replace(files=own) for one, own in zip(found, joint, strict=True)]
        if self.intervals is not None:
            return found, list(self.intervals.of_each(found, place))
        if self.label is None or self.label.column is not None:
            return found, [None] * len(found)
        return found, [self.label.find(one.file.relative_to(place), stem_of(one.file)) for one in found]

    def _columns_of_persons(self, files: Sequence[Path]) -> dict[str, Counter[str]]:
        arrays = [file for file in files if suffix_of(file) == ".npz"]
        tables = [file for file in files if suffix_of(file) not in (".npz", ".npy") and not is_raw(file)]
        used = {*self.reading.channels, self.reading.label or "", self.reading.time or "", self.reading.session or ""}
        found = persons_in(tables, self.reading.csv, self.reading.device, used)
        found.update(persons_in_arrays(arrays, LOOKED_AT))
        return found

    def _contents(self, data: WindowSet, split: Split) -> dict[str, Any]:
        windows: Any = data.windows["raw"]
        reading = {"reading": windows.counts} if isinstance(windows, RecordingWindows) else {}
        return {**super()._contents(data, split), **reading}


def _label(label: str | Where | dict[str, Any] | None, intervals: Intervals | None) -> Where | None:
    """Where labels are found; None where they are intervals."""
    if intervals is None and label is None:
        raise InputError(
            "RecordingDataModule: label must be the column of the labels where there are no intervals, but got None. "
            "Name the column, or declare intervals=."
        )
    if intervals is not None and label not in (None, "label"):
        raise InputError(
            f"RecordingDataModule: label and intervals must not both be given, but got label={label!r}. Remove one of "
            "them."
        )
    if intervals is not None:
        return None
    return Where(column=label) if isinstance(label, str) else Where.of(label, "label")
