"""UTD-MHAD: a wearable inertial sensor and a depth camera's skeleton see the same trials."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdlab.data.base import WindowDataModule
from kdlab.data.files import official_files, stretch
from kdlab.data.shared import Shared, Unpack
from kdlab.data.windows import WindowSet
from kdlab.types import InputError

CLASSES = """
    swipe_left swipe_right wave clap throw arm_cross basketball_shoot draw_x draw_circle_cw draw_circle_ccw
    draw_triangle bowling boxing baseball_swing tennis_swing arm_curl tennis_serve push knock catch pickup_throw jog
    walk sit_to_stand stand_to_sit lunge squat
""".split()  # noqa: SIM905 (a list of one word a line is no easier to read)
JOINTS = """
    head shoulder_center spine hip_center left_shoulder left_elbow left_wrist left_hand right_shoulder right_elbow
    right_wrist right_hand left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle right_foot
""".split()  # noqa: SIM905
CHANNELS = {
    "inertial": [f"{sensor}_{axis}" for sensor in ("acc", "gyro") for axis in "xyz"],
    "skeleton": [f"{joint}_{axis}" for joint in JOINTS for axis in "xyz"],
}
CHANNELS["both"] = CHANNELS["inertial"] + CHANNELS["skeleton"]
UNITS = {"inertial": ["g"] * 3 + ["deg/s"] * 3, "skeleton": ["m"] * 60}
UNITS["both"] = UNITS["inertial"] + UNITS["skeleton"]
VARIABLE = {"inertial": "d_iner", "skeleton": "d_skel"}
EXPECTED = (
    "the UTD-MHAD data set (folders Inertial and Skeleton of files aA_sS_tT_inertial.mat and aA_sS_tT_skeleton.mat), "
    "unpacked or as a tar archive; it is published by its authors at the University of Texas at Dallas, "
    "doi:10.1109/ICIP.2015.7350781"
)


class UTDMHAD(WindowDataModule):
    """27 actions of 8 subjects in 861 trials, each one window; odd subjects train, even ones are tested.

    The inertial sensor (50 Hz) sat on the right wrist for actions 1 to 21 and on the right thigh for the others; the
    skeleton is that of a depth camera (30 Hz). Each trial is stretched to a fixed number of samples by linear
    interpolation, so that time is relative. Views choose between the two with ``source: skeleton``, or read both at
    once with ``source: both``, for which the skeleton is stretched to the samples of the inertial sensor.

    Args:
        root: the official folder, or its tar archive.
        inertial_length: samples that a trial of the inertial sensor is stretched to.
        skeleton_length: frames that a trial of the skeleton is stretched to.
        skeleton_origin: where joints are measured from: ``"camera"`` is the published place; ``"start"`` is where each
            joint was in the first frame of its trial, so that neither the person's build nor where they stood is seen.

    Shapes:
        ``inertial`` ``(861, 6, 128)``: acceleration in g, angular rate in degrees/s; ``skeleton`` ``(861, 60, 64)``:
        x, y and z of 20 joints in m; ``both`` ``(861, 66, 128)``: the channels of the one, then those of the other

    Raises:
        MissingFileError: ``root`` is not there or holds no trials.
        InputError: a trial without one of its two files, a file that cannot be read, or a wrong argument.

    References:
        Chen, Jafari, Kehtarnavaz, UTD-MHAD: a multimodal dataset for human action recognition utilizing a depth camera
        and a wearable inertial sensor, ICIP 2015, doi:10.1109/ICIP.2015.7350781 (the split by odd and even subjects is
        its own).
    """

    name = "utd_mhad"
    paper = ("chen2015utd",)
    licence = "no formal licence; freely available by its authors"

    def __init__(
        self,
        root: str | Path,
        *,
        inertial_length: int = 128,
        skeleton_length: int = 64,
        skeleton_origin: Literal["camera", "start"] = "camera",
        **common: Unpack[Shared],
    ) -> None:
        super().__init__(**common)
        self.root = root
        if skeleton_origin not in ("camera", "start"):
            raise InputError(f"skeleton_origin must be 'camera' or 'start', but got {skeleton_origin!r}.")
        self.skeleton_origin = skeleton_origin
        self.lengths = {"inertial": inertial_length, "skeleton": skeleton_length}
        for source, length in self.lengths.items():
            if length < 2:
                raise InputError(f"{source}_length must be at least 2 samples, but got {length}.")

    def load(self) -> WindowSet:
        """Read and stretch every trial."""
        trials: dict[tuple[int, int, int], dict[str, NDArray[np.float32]]] = {}
        for match, name, contents in official_files(
            self.root, r"a(\d+)_s(\d+)_t(\d+)_(inertial|skeleton)\.mat", EXPECTED
        ):
            key = (int(match[1]), int(match[2]), int(match[3]))
            if not 1 <= key[0] <= len(CLASSES):
                raise InputError(f"{name}: expected an action from 1 to {len(CLASSES)}, got {key[0]}")
            source, trial = match[4], trials.setdefault(key, {})
            if source in trial:
                raise InputError(
                    f"root={str(self.root)!r}: trial {match[0]} is there twice ({name}); name one folder of it"
                )
            values = read_trial(contents, name, source)
            if source == "skeleton":
                if self.skeleton_origin == "start":
                    values = values - values[:, :1]
                trial["both"] = stretch(values, self.lengths["inertial"])  # completed below
            trial[source] = stretch(values, self.lengths[source])
        keys = sorted(trials)
        for key in keys:
            trial = trials[key]
            missing = sorted(set(VARIABLE) - set(trial))
            if missing:
                raise InputError(
                    f"root={str(self.root)!r}: trial a{key[0]}_s{key[1]}_t{key[2]} has no {missing[0]} file; "
                    f"expected {EXPECTED}"
                )
            trial["both"] = np.concatenate([trial["inertial"], trial["both"]])
        subject = np.array([person for _, person, _ in keys])
        return WindowSet(
            windows={source: np.stack([trials[k][source] for k in keys]) for source in CHANNELS},
            target=np.array([action - 1 for action, _, _ in keys], dtype=np.int64),
            classes=list(CLASSES),
            channels={source: list(names) for source, names in CHANNELS.items()},
            subject=subject,
            recording=np.array([f"a{a}_s{s}_t{t}" for a, s, t in keys]),
            test=subject % 2 == 0,
            units={source: UNITS[source] for source in CHANNELS},
        )


def read_trial(contents: bytes, name: str, source: str) -> NDArray[np.float64]:
    """The signal of one ``.mat`` file, channels first.

    Raises:
        InputError: not readable, or not of the expected shape.
    """
    from scipy.io import loadmat

    variable = VARIABLE[source]
    try:
        values = np.asarray(loadmat(io.BytesIO(contents), variable_names=[variable])[variable], dtype=np.float64)
    except Exception as error:  # a half-written .mat raises almost anything
        raise InputError(
            f"{name}: no variable {variable!r} can be read from it ({type(error).__name__}: {error}); is the file "
            "half-written? Obtain it again"
        ) from error
    shape = values.shape
    if source == "skeleton" and values.ndim == 3 and shape[:2] == (20, 3) and shape[2] > 1:
        values = values.reshape(60, -1)
    elif source == "inertial" and values.ndim == 2 and shape[1] == 6 and shape[0] > 1:
        values = values.T
    else:
        expected = "(20, 3, frames)" if source == "skeleton" else "(samples, 6)"
        raise InputError(f"{name}: expected {variable} of shape {expected}, got {shape}")
    if not np.isfinite(values).all():
        raise InputError(f"{name}: {int((~np.isfinite(values)).sum())} NaN or infinite samples; obtain it again")
    return values
