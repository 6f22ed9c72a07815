"""PAMAP2: a heart rate monitor and sensors on hand, chest and ankle; one of nine subjects is left out."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from kdlab.data.base import WindowDataModule
from kdlab.data.cutting import window_starts
from kdlab.data.files import official_files
from kdlab.data.scaling import Scale
from kdlab.data.shared import SharedButScaleTestSubjects, Unpack
from kdlab.data.windows import WindowSet
from kdlab.types import InputError

# activity id of the data set -> class
ACTIVITIES = {24: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 12: 8, 13: 9, 16: 10, 17: 11}
CLASSES = [
    "rope_jumping",
    "lying",
    "sitting",
    "standing",
    "walking",
    "running",
    "cycling",
    "nordic_walking",
    "ascending_stairs",
    "descending_stairs",
    "vacuum_cleaning",
    "ironing",
]
DROPPED = (0, 8, 9, 10, 11, 18, 19, 20)  # transient, and activities outside the twelve
COLUMNS = 54  # timestamp, activity, heart rate, 3 x 17
SENSORS = ["temperature", *(f"{s}_{a}" for s in ("acc16", "acc6", "gyro", "magnet") for a in "xyz")]
CHANNELS = ["heart_rate", *(f"{place}_{sensor}" for place in ("hand", "chest", "ankle") for sensor in SENSORS)]
UNITS = ["1/min", *(["°C"] + ["m/s^2"] * 6 + ["rad/s"] * 3 + ["uT"] * 3) * 3]
KEPT = [2, *(3 + 17 * place + c for place in range(3) for c in range(13))]  # orientation, the last four, is not valid
WINDOW, STEP, FIRST, EVERY = 100, 22, 22, 3
# bounds of the 40 channels in the released preprocessing
UPPER = """202 35.5 47.6314 155.532 157.76 45.5484 62.2598 61.728 21.8452 13.1222 14.2184 137.544 109.181 100.543
38.5625 26.386 153.582 37.2936 23.9101 61.9328 36.9676 15.5171 5.97964 2.94183 80.4739 39.7391 95.8415
35.4375 157.232 157.293 150.99 61.9509 62.0461 60.9357 17.4204 13.5882 13.9617 91.4247 92.867 146.651"""
LOWER = """0 0 -114.755 -104.301 -73.0384 -61.1938 -61.8086 -61.4193 -27.8044 -17.8495 -14.2647 -103.941 -200.043
-163.608 0 -29.0888 -38.1657 -57.2366 -32.9627 -39.7561 -56.0108 -10.1563 -5.06858 -3.99487 -70.0627 -122.48 -66.6847
0 -155.068 -155.617 -156.179 -60.3067 -61.9064 -62.2629 -14.162 -13.0401 -14.0196 -172.865 -137.908 -102.232"""
EXPECTED = (
    "the PAMAP2 data set with its files Protocol/subject101.dat to subject109.dat, unpacked or as a tar archive; it is "
    "published in the UCI Machine Learning Repository, doi:10.24432/C5NW2H"
)


class PAMAP2(WindowDataModule):
    """Twelve activities of nine subjects, in windows of three seconds; one subject is tested.

    In this order, per file of the protocol: (1) rows of other activities are deleted and the twelve numbered from 0;
    (2) the orientation columns are left out, 40 channels remain; (3) the heart rate is filled forward, other missing
    values, and a heart rate before the first one, become 0; (4) every third row is kept, 33.3 Hz; (5) windows of 100
    rows, 22 apart, from row 22 on, that end before the last row, are kept where the first and the last label agree.
    Windows may therefore span deleted rows. The scaling to [0, 1] comes with the batch.

    Args:
        root: the official folder (or a folder above it), or its tar archive.
        test_subject: who is left out for the test, 101 to 109. Subject 109 did one activity for a minute and a half.
        scale: ``"minmax"``: to [0, 1] of the training subjects; ``"released"``: the constants of the released code,
            which may rest on all subjects (in both, what is above 1 becomes 0.99, what is below 0 becomes 0); or as
            in ``WindowDataModule``.

    Shapes:
        windows ``(28949, 40, 100)``: heart rate, then temperature, two accelerometers (16 g, 6 g), gyroscope and
        magnetometer of hand, chest and ankle

    Raises:
        MissingFileError: ``root`` is not there or holds no subjects.
        InputError: a row that cannot be read, with file and line; an unknown subject.

    References:
        Reiss, Stricker, Introducing a new benchmarked dataset for activity monitoring, ISWC 2012,
        doi:10.1109/ISWC.2012.13. Preprocessing: jeunsom/TDA_KD@b9091bb, preprocessing_pamap2_2.py and pamap2_load.py.

    Differences from the reference code:
        Bounds come from the training subjects by default; validation is by subject; float32. Nets then standardise
        each view by its mean and standard deviation over all training samples; the released code divides by the mean
        over windows of each window's standard deviation.
    """

    name = "pamap2"
    paper = ("reiss2012introducing",)
    fold_argument = "test_subject"
    clip_minmax = True

    def __init__(
        self,
        root: str | Path,
        *,
        test_subject: int | str = 101,
        scale: Literal["minmax", "released", "standard", "none"] | Scale | dict[str, Scale] = "minmax",
        **common: Unpack[SharedButScaleTestSubjects],
    ) -> None:
        if "test_subjects" in common:
            raise InputError("test_subjects: PAMAP2 leaves one subject out; give test_subject instead")
        super().__init__(scale=cast(Any, scale), test_subjects=[test_subject], **common)
        self.root, self.test_subject = root, test_subject

    @classmethod
    def scales(cls) -> tuple[str, ...]:
        """The words of every data module, and ``"released"``."""
        return (*super().scales(), "released")

    def named_scale(self, word: str) -> dict[str, Scale]:
        """The bounds of the released preprocessing."""
        if word != "released":
            return super().named_scale(word)
        low, high = (np.array(text.split(), dtype=np.float64) for text in (LOWER, UPPER))
        return {"raw": Scale(low.tolist(), (high - low).tolist(), clip=True)}

    def load(self) -> WindowSet:
        """Read and cut every subject of the protocol."""
        x, y, subject = [], [], []
        for match, name, contents in official_files(self.root, r"subject(10[1-9])\.dat", EXPECTED):
            signal, label = prepare(read_rows(contents, name))
            cut, target = cut_subject(signal, label)
            if len(target) and int(match[1]) in subject:  # the optional activities of a person give no windows
                raise InputError(f"root={str(self.root)!r}: {match[0]} is there twice ({name}); name one folder of it")
            x.append(cut)
            y.append(target)
            subject += [int(match[1])] * len(target)
        return WindowSet(
            windows={"raw": np.concatenate(x)},
            target=np.concatenate(y),
            classes=list(CLASSES),
            channels={"raw": list(CHANNELS)},
            subject=np.array(subject, dtype=np.int64),
            sampling_rate=100.0 / EVERY,
            step=STEP,
            units={"raw": list(UNITS)},
        )


def read_rows(contents: bytes, name: str) -> NDArray[np.float64]:
    """Parse a ``.dat`` file: 54 numbers a row, separated by blanks, missing ones as NaN.

    Raises:
        InputError: with file and line.
    """
    lines = contents.count(b"\n") + (not contents.endswith(b"\n"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy stopped early; counted below
        try:
            values = np.fromstring(contents.decode("ascii"), dtype=np.float64, sep=" ")
        except ValueError:
            values = np.empty(0)
    if len(values) != lines * COLUMNS or not _plausible(values.reshape(-1, COLUMNS)):
        return _read_slowly(contents, name)
    return cast("NDArray[np.float64]", values.reshape(-1, COLUMNS))


def _plausible(rows: NDArray[np.float64]) -> bool:
    known = np.isin(rows[:, 1], [*ACTIVITIES, *DROPPED])
    return len(rows) > 0 and bool(known.all()) and not bool(np.isinf(rows).any())


def _read_slowly(contents: bytes, name: str) -> NDArray[np.float64]:
    rows = []
    for number, line in enumerate(io.StringIO(contents.decode("ascii", errors="replace")), start=1):
        cells = line.split()
        if not cells:
            continue
        try:
            row = [float(c) for c in cells]
        except ValueError:
            row = []
        if len(row) != COLUMNS or np.isinf(row).any():
            raise InputError(
                f"{name}, line {number}: expected {COLUMNS} finite numbers or NaN, got {len(cells)} "
                f"values ({line[:40].strip()!r}"
                "...); is the file half-written? Obtain it again"
            )
        if row[1] not in ACTIVITIES and row[1] not in DROPPED:
            known = ", ".join(str(a) for a in sorted({*ACTIVITIES, *DROPPED}))
            raise InputError(f"{name}, line {number}: expected an activity id among {known}, got {row[1]:g}")
        rows.append(row)
    if not rows:
        raise InputError(f"{name}: an empty file; obtain it again")
    return np.array(rows)


def prepare(rows: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Steps 1 to 4: delete rows, choose channels, fill, keep every third row.

    Shapes:
        ``(R, 54)`` -> ``(40, R')``, ``(R',)``
    """
    rows = rows[~np.isin(rows[:, 1], DROPPED)]
    label = np.array([ACTIVITIES[int(a)] for a in rows[:, 1].tolist()], dtype=np.int64)
    signal = rows[:, KEPT]
    valid = ~np.isnan(signal[:, 0])
    latest = np.maximum.accumulate(np.where(valid, np.arange(len(signal)), -1))
    signal[:, 0] = np.where(latest >= 0, signal[latest, 0], 0.0)
    signal = np.nan_to_num(signal, nan=0.0)[::EVERY]
    return np.ascontiguousarray(signal.T, dtype=np.float32), label[::EVERY]


def cut_subject(signal: NDArray[np.float32], label: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Step 5: windows whose first and last labels agree.

    Shapes:
        ``(40, R)``, ``(R,)`` -> ``(N, 40, 100)``, ``(N,)``
    """
    starts = window_starts(len(label), WINDOW, STEP, start=FIRST, stop=len(label) - WINDOW)
    starts = starts[label[starts] == label[starts + WINDOW - 1]]
    if not len(starts):
        return np.empty((0, len(CHANNELS), WINDOW), dtype=np.float32), np.empty(0, dtype=np.int64)
    return np.stack([signal[:, s : s + WINDOW] for s in starts]), label[starts]
