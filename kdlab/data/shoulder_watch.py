"""ShoulderWatch: shoulder exercises of ten people with a smart watch; real, and embedded in seglearn."""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdlab.data.base import WindowDataModule
from kdlab.data.cutting import slide
from kdlab.data.pickles import PlainUnpickler
from kdlab.data.shared import Shared, Unpack
from kdlab.data.windows import WindowSet
from kdlab.types import InputError, MissingFileError

SENSORS = {"accelerometer": "g", "gyroscope": "rad/s"}
LABELS = ["ax", "ay", "az", "wx", "wy", "wz"]  # in the file: acceleration, angular rate
ARMS = ("left", "right")  # 0, 1
RATE = 50.0
FILE = "data/watch_dataset.npy"
SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
INSTALL = 'Install it: pip install "kdlab[shoulder]" (or pip install seglearn==1.2.5)'


class ShoulderWatch(WindowDataModule):
    """Seven shoulder exercises of ten people, each arm once, with a watch on the wrist: 140 recordings, 81 minutes.

    The exercises are those of a rotator cuff protocol: pendulum (``PEN``), abduction (``ABD``), forward elevation
    (``FEL``), internal and external rotation (``IR``, ``ER``), trapezius extension (``TRAP``) and upright row
    (``ROW``). Windows are cut within a recording (``3-left-ROW``). Both arms of a person are in one part of the split.

    Args:
        sensors: ``"accelerometer"``, ``"gyroscope"`` or both. To let a teacher read both and a student one, take both,
            and select the student's channels in its view: ``Raw(channels=["gyroscope_x", ...])``.
        window: samples of a window; 50 are a second.
        step: samples from one window of a recording to the next.
        common: as in :class:`~kdlab.data.WindowDataModule`.

    Shapes:
        windows ``(2229, 6, 200)``: acceleration in g and angular rate in rad/s, x, y and z, 50 Hz

    Raises:
        MissingFileError: the package ``seglearn``, which ships the recordings, is not installed.
        InputError: an unknown sensor, or a file that is not the one of seglearn 1.2.5.

    References:
        Burns, Leung, Hardisty, Whyne, Henry, McLachlin, Shoulder physiotherapy exercise recognition: machine learning
        the inertial signals from a smartwatch, Physiological Measurement 39(7), 2018, arXiv:1802.01489. The recordings
        are those of ``seglearn.datasets.load_watch`` (BSD licence), which states no units: g follows from the median
        norm, 1, and rad/s from the range.

    >>> data = ShoulderWatch()
    >>> data.data.windows["raw"].shape, data.classes
    ((2229, 6, 200), ['PEN', 'ABD', 'FEL', 'IR', 'ER', 'TRAP', 'ROW'])
    """

    name = "shoulder_watch"
    paper = ("burns2018shoulder",)
    licence = "BSD-3-Clause (seglearn)"

    def __init__(
        self,
        *,
        sensors: Sequence[Literal["accelerometer", "gyroscope"]] = ("accelerometer", "gyroscope"),
        window: int = 200,
        step: int = 100,
        **common: Unpack[Shared],
    ) -> None:
        super().__init__(**common)
        chosen = [sensors] if isinstance(sensors, str) else list(sensors)
        if not chosen or len(set(chosen)) != len(chosen) or not set(chosen) <= set(SENSORS):
            raise InputError(
                f"ShoulderWatch: sensors must be one or both of {', '.join(SENSORS)}, but got {sensors!r}. Write "
                "sensors: [gyroscope], for example."
            )
        for argument, value in (("window", window), ("step", step)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise InputError(
                    f"ShoulderWatch: {argument} must be a whole number of samples from 1 on, but got {value!r}. "
                    "50 samples are a second."
                )
        self.sensors = [sensor for sensor in SENSORS if sensor in chosen]
        self.window, self.step = int(window), int(step)

    def load(self) -> WindowSet:
        """Read what seglearn ships, and cut every recording into windows."""
        path = find_file()
        recordings = read_recordings(path.read_bytes(), str(path))
        kept = [c for k, sensor in enumerate(SENSORS) for c in range(3 * k, 3 * k + 3) if sensor in self.sensors]
        cuts = [slide(signal.T[kept], self.window, self.step) for signal in recordings["X"]]
        count = [len(cut) for cut in cuts]
        exercise, who, arm = (recordings[key].astype(np.int64) for key in ("y", "subject", "side"))
        classes = list(recordings["y_labels"])
        names = [f"{w}-{ARMS[a]}-{classes[e]}" for w, a, e in zip(who, arm, exercise, strict=True)]
        return WindowSet(
            windows={"raw": np.concatenate(cuts)},
            target=np.repeat(exercise, count),
            classes=classes,
            channels={"raw": [f"{sensor}_{axis}" for sensor in self.sensors for axis in "xyz"]},
            subject=np.repeat(who, count),
            recording=np.repeat(names, count),
            sampling_rate=RATE,
            step=self.step,
            units={"raw": [SENSORS[sensor] for sensor in self.sensors for _ in "xyz"]},
        )


def find_file() -> Path:
    """Where seglearn keeps its recordings; the package itself is not imported.

    Raises:
        MissingFileError: with the line that installs it.
    """
    found = importlib.util.find_spec("seglearn")
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    for folder in folders:
        if (path := Path(folder, FILE)).is_file():
            return path
    state = f"is installed without {FILE}" if folders else "is not installed"
    raise MissingFileError(f"ShoulderWatch: the package seglearn must be there, but it {state}. {INSTALL}.")


def read_recordings(contents: bytes, name: str) -> dict[str, Any]:
    """The dict in ``watch_dataset.npy``: ``X``, ``y``, ``subject``, ``side`` and the names of channels and classes.

    The file is a pickled object array. It is compared with its known digest, and read without calling anything that it
    names but what makes arrays.

    Raises:
        InputError: for another file.
    """
    found = hashlib.sha256(contents).hexdigest()
    if found != SHA256:
        raise InputError(
            f"ShoulderWatch: {name} must have the SHA-256 digest {SHA256[:16]}..., but got {found[:16]}.... It is "
            f"half-written or of another version of seglearn. {INSTALL}."
        )
    return parse_recordings(contents, name)


def parse_recordings(contents: bytes, name: str) -> dict[str, Any]:
    """What :func:`read_recordings` returns, without a check of the file's digest.

    Raises:
        InputError: for what is no such file, and for anything in it but arrays, words, numbers, lists and dicts.
    """
    file = io.BytesIO(contents)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not version 1.0 of the npy format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if shape != () or dtype != np.dtype(object):
            raise ValueError(f"expected one object, got {dtype} of shape {shape}")
        content = PlainUnpickler(file, encoding="ASCII").load().item()
        _check(content)
    except Exception as error:  # damaged pickles raise nearly anything
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"ShoulderWatch: {name} must hold the recordings of seglearn, but got something else ({said}). {INSTALL}."
        ) from error
    return dict(content)


def _check(content: Any) -> None:
    """Raise unless the dict holds recordings ``(samples, 6)`` with subject, side and exercise."""
    keys = ("X", "y", "subject", "side", "X_labels", "y_labels")
    if not isinstance(content, dict) or not set(keys) <= set(content):
        raise ValueError(f"expected a dict with {', '.join(keys)}")
    signals: list[NDArray[np.float64]] = content["X"]
    if list(content["X_labels"]) != LABELS:
        raise ValueError(f"expected the channels {', '.join(LABELS)}, got {content['X_labels']}")
    if not all(isinstance(x, np.ndarray) and x.dtype == np.float64 and x.shape[1:] == (6,) for x in signals):
        raise ValueError("expected recordings (samples, 6) of float64")
    for key, most in (("y", len(content["y_labels"]) - 1), ("side", 1), ("subject", 10)):
        values = content[key]
        if np.shape(values) != (len(signals),) or not all(0 <= v <= most and v == int(v) for v in values.tolist()):
            raise ValueError(f"expected {len(signals)} whole numbers from 0 to {most} as {key}")
