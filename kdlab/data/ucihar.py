"""UCI HAR: a phone at the waist, six activities of thirty persons; windows that are already cut."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdlab.data.base import WindowDataModule
from kdlab.data.files import official_files
from kdlab.data.shared import Shared, Unpack
from kdlab.data.windows import WindowSet
from kdlab.types import InputError

CHANNELS = [f"{sensor}_{axis}" for sensor in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"]
UNITS = ["g"] * 3 + ["rad/s"] * 3 + ["g"] * 3
RATE, WINDOW, STEP = 50.0, 128, 64
SPLITS = ("train", "test")
EXPECTED = (
    "the UCI HAR data set (activity_labels.txt and, for train and test alike, y_train.txt, subject_train.txt and "
    "'Inertial Signals/body_acc_x_train.txt' and eight more), unpacked or as the archive 'UCI HAR Dataset.zip'; it is "
    "published in the UCI Machine Learning Repository, doi:10.24432/C54S4K"
)


class UCIHAR(WindowDataModule):
    """Six activities of 30 persons in 10,299 windows of 2.56 seconds; the 9 official test persons are tested.

    Windows of 128 samples at 50 Hz overlap by half. The accelerations come in g, the angular rate in rad/s;
    ``body_acc`` is ``total_acc`` without what a low-pass filter takes for gravity. Validation persons are chosen among
    the 21 training ones.

    Args:
        root: the official folder (or a folder above it), or its archive.

    Shapes:
        windows ``(10299, 9, 128)``: body acceleration, angular rate, total acceleration, x, y and z each

    Raises:
        MissingFileError: ``root`` is not there or holds none of the files.
        InputError: a file that is missing, there twice, not numeric, or does not fit the others.

    References:
        Anguita, Ghio, Oneto, Parra, Reyes-Ortiz, A public domain dataset for human activity recognition using
        smartphones, ESANN 2013; doi:10.24432/C54S4K (CC BY 4.0).
    """

    name = "uci_har"
    paper = ("anguita2013public",)
    licence = "CC BY 4.0"

    def __init__(self, root: str | Path, **common: Unpack[Shared]) -> None:
        super().__init__(**common)
        self.root = root

    def load(self) -> WindowSet:
        """Read the signals, labels and persons of both parts."""
        files = self._files()
        classes = read_classes(files["activity_labels.txt"], "activity_labels.txt")
        x, y, subject = [], [], []
        for split in SPLITS:
            signals = [read_table(files[f"{c}_{split}.txt"], f"{c}_{split}.txt", WINDOW) for c in CHANNELS]
            label, person = (read_table(files[f], f, 1)[:, 0] for f in (f"y_{split}.txt", f"subject_{split}.txt"))
            for what, rows in zip([*CHANNELS, "subject"], [*signals, person], strict=True):
                if len(rows) != len(label):
                    raise InputError(
                        f"{what}_{split}.txt: {len(rows)} rows, but y_{split}.txt has {len(label)}; expected {EXPECTED}"
                    )
            wrong = np.flatnonzero(~np.isin(label, np.arange(1, len(classes) + 1)))
            if len(wrong):
                raise InputError(
                    f"y_{split}.txt, line {wrong[0] + 1}: expected a class from 1 to {len(classes)}, got "
                    f"{label[wrong[0]]:g}; obtain the file again"
                )
            x.append(np.stack(signals, axis=1).astype(np.float32))
            y.append(label.astype(np.int64) - 1)
            subject.append(person.astype(np.int64))
        return WindowSet(
            windows={"raw": np.concatenate(x)},
            target=np.concatenate(y),
            classes=classes,
            channels={"raw": list(CHANNELS)},
            subject=np.concatenate(subject),
            test=np.arange(sum(map(len, y))) >= len(y[0]),
            sampling_rate=RATE,
            step=STEP,
            units={"raw": list(UNITS)},
        )

    def _files(self) -> dict[str, bytes]:
        needed = {f"{what}_{split}.txt" for split in SPLITS for what in ("y", "subject", *CHANNELS)}
        needed.add("activity_labels.txt")
        files: dict[str, bytes] = {}
        for match, name, contents in official_files(self.root, "|".join(sorted(needed)), EXPECTED):
            if match[0] in files:
                raise InputError(f"root={str(self.root)!r}: {match[0]} is there twice ({name}); name one folder of it")
            files[match[0]] = contents
        missing = sorted(needed - set(files))
        if missing:
            raise InputError(
                f"root={str(self.root)!r}: no file {', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}; "
                f"expected {EXPECTED}"
            )
        return files


def read_classes(contents: bytes, name: str) -> list[str]:
    """Class names of ``activity_labels.txt``: lines of a number from 1 and a word.

    >>> read_classes(b"1 WALKING\\n2 SITTING\\n", "activity_labels.txt")
    ['WALKING', 'SITTING']
    """
    rows = [line.split() for line in contents.decode(errors="replace").splitlines() if line.strip()]
    if not rows or [row[0] for row in rows] != [str(k) for k in range(1, len(rows) + 1)] or {*map(len, rows)} != {2}:
        raise InputError(
            f"{name}: expected lines of a number from 1 and a name, got {contents[:60]!r}; obtain it again"
        )
    return [row[1] for row in rows]


def read_table(contents: bytes, name: str, columns: int) -> NDArray[np.float64]:
    """Numbers separated by blanks, so many a line.

    Raises:
        InputError: with file and line of a row that is not complete or not numeric.
    """
    if not contents.strip():
        raise InputError(f"{name}: an empty file; obtain it again")
    try:
        rows = np.loadtxt(io.BytesIO(contents), ndmin=2, comments=None)
    except ValueError:
        rows = np.empty((0, 0))
    if len(rows) and rows.shape[1] == columns and np.isfinite(rows).all():
        return rows
    for number, line in enumerate(contents.decode(errors="replace").splitlines(), start=1):
        cells = line.split()
        try:
            fine = len(cells) in (0, columns) and all(np.isfinite(float(c)) for c in cells)
        except ValueError:
            fine = False
        if not fine:
            raise InputError(
                f"{name}, line {number}: expected {columns} finite numbers, got {len(cells)} values "
                f"({line[:40].strip()!r}...); is the file half-written? Obtain it again"
            )
    raise InputError(f"{name}: not readable as lines of {columns} numbers; obtain it again")
