"""SP-SW-HAR: a phone in the trouser pocket and a watch on the wrist, worn by the same person at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdlab.data.base import WindowDataModule
from kdlab.data.cutting import slide
from kdlab.data.files import labelled_rows, official_files
from kdlab.data.shared import Shared, Unpack
from kdlab.data.windows import WindowSet
from kdlab.types import InputError

CLASSES = ["SEATED", "STANDING_UP", "WALKING", "TURNING", "SITTING_DOWN"]
DEVICES = {"phone": "sp", "watch": "sw"}
AXES = [f"{sensor}_{axis}" for sensor in ("acc", "gyro") for axis in "xyz"]
RATE, WINDOW, STEP, AGREE = 100.0, 100, 50, 60
EXPECTED = (
    "the SP-SW-HAR data set (folders sXX of files sXX_YY_sp.csv and sXX_YY_sw.csv), unpacked or as its tar archive; "
    "it is published at Zenodo, doi:10.5281/zenodo.8398688"
)
Rows = tuple[NDArray[np.float64], NDArray[np.int64]]


class SPSWHAR(WindowDataModule):
    """Five activities of 23 persons, in 4,115 windows of one second.

    Both devices are resampled to 100 Hz over the time in which both record: timestamps are sorted, of equal ones the
    first sample counts, and values in between are interpolated linearly. The label at a moment is that of the latest
    sample of the watch. Windows of 100 samples, 50 apart, are kept where one label has at least 60 of the 100 samples,
    and take that label. The windows are the same moments, for every choice of devices.

    Args:
        root: the official folder (or a folder above it), or its tar archive.
        devices: ``"phone"``, ``"watch"`` or both. To let a teacher read both and a student the watch alone, ask for
            both, and select the student's channels in its view: ``Raw(channels=["watch_acc_x", ...])``.

    Shapes:
        windows ``(4115, 12, 100)``: per device acceleration in m/s^2 and angular rate in rad/s, x, y and z

    Raises:
        MissingFileError: ``root`` is not there or holds no recordings.
        InputError: an unknown device, a recording of one device only, a row that cannot be read.

    References:
        Matey-Sanz, Casteleyn, Granell, Dataset of inertial measurements of smartphones and smartwatches for human
        activity recognition, Data in Brief 2023, doi:10.1016/j.dib.2023.109809 (CC BY 4.0).
    """

    name = "sp_sw_har"
    paper = ("mateysanz2023dataset",)
    licence = "CC BY 4.0"

    def __init__(
        self,
        root: str | Path,
        *,
        devices: Sequence[Literal["phone", "watch"]] = ("phone", "watch"),
        **common: Unpack[Shared],
    ) -> None:
        super().__init__(**common)
        chosen = [devices] if isinstance(devices, str) else list(devices)
        if not chosen or len(set(chosen)) != len(chosen) or not set(chosen) <= set(DEVICES):
            raise InputError(f"devices must be one or both of {', '.join(DEVICES)}, but got {devices!r}.")
        self.root, self.devices = root, [d for d in DEVICES if d in chosen]

    def load(self) -> WindowSet:
        """Read, resample and cut every recording."""
        recordings: dict[tuple[int, int], dict[str, Rows]] = {}
        for match, name, contents in official_files(self.root, r"s(\d+)_(\d+)_(sp|sw)\.csv", EXPECTED):
            key = (int(match[1]), int(match[2]))
            if match[3] in recordings.setdefault(key, {}):
                raise InputError(
                    f"root={str(self.root)!r}: recording {key[1]} of subject {key[0]} is there twice ({name}); name "
                    "one folder of it"
                )
            recordings[key][match[3]] = labelled_rows(contents, name, 7, CLASSES)
        x, y, subject, recording = [], [], [], []
        for (person, execution), rows in sorted(recordings.items()):
            name = f"s{person:02d}_{execution:02d}"
            missing = [d for d, code in DEVICES.items() if code not in rows]
            if missing:
                raise InputError(
                    f"root={str(self.root)!r}: recording {name} has no file of the {missing[0]}; {EXPECTED}"
                )
            cut, label = cut_recording(rows["sp"], rows["sw"])
            x.append(cut)
            y.append(label)
            subject += [person] * len(label)
            recording += [name] * len(label)
        both = np.concatenate(x)
        wanted = [i for i, d in enumerate(DEVICES) if d in self.devices]
        return WindowSet(
            windows={"raw": np.concatenate([both[:, 6 * i : 6 * i + 6] for i in wanted], axis=1)},
            target=np.concatenate(y),
            classes=list(CLASSES),
            channels={"raw": [f"{device}_{axis}" for device in self.devices for axis in AXES]},
            subject=np.array(subject),
            recording=np.array(recording),
            sampling_rate=RATE,
            step=STEP,
            units={"raw": (["m/s^2"] * 3 + ["rad/s"] * 3) * len(self.devices)},
        )


def cut_recording(phone: Rows, watch: Rows) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Resample the two devices of one recording over the time they share, and cut it into windows.

    Args:
        phone: ``(samples, 7)``, six channels and a timestamp in milliseconds; labels ``(samples,)``.
        watch: the same.

    Returns:
        Windows ``(N, 12, 100)``, phone first, and labels ``(N,)``.
    """
    ordered = []
    for values, label in (phone, watch):
        time, first = np.unique(values[:, 6], return_index=True)
        ordered.append((time, values[first], label[first]))
    begin = max(time[0] for time, _, _ in ordered)
    end = min(time[-1] for time, _, _ in ordered)
    moments = np.arange(begin, end + 1e-6, 1000.0 / RATE)
    signal = np.stack([np.interp(moments, time, values[:, c]) for time, values, _ in ordered for c in range(6)])
    time, _, label = ordered[1]
    labels = label[np.maximum(np.searchsorted(time, moments, side="right") - 1, 0)]
    windows = slide(signal, WINDOW, STEP)
    votes = slide(labels.astype(np.float32), WINDOW, STEP)
    counts = np.stack([(votes == k).sum(axis=1) for k in range(len(CLASSES))], axis=1)
    kept = counts.max(axis=1, initial=0) >= AGREE
    return windows[kept], counts.argmax(axis=1)[kept].astype(np.int64)
