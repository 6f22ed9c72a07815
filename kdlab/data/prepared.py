"""What setup makes of the windows of a data set: split, scaling, views, known classes, and how people are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.augment import Augmentation, Constants
from kdlab.data.amplitude import root_mean_square, warn_of_another_size
from kdlab.data.classes import own_labels
from kdlab.data.cross_fit import LEFT_OUT
from kdlab.data.dataset import Wanted, WindowDataset
from kdlab.data.identified import Merged
from kdlab.data.mixing import Mixing
from kdlab.data.module_views import ModuleViews
from kdlab.data.people import People
from kdlab.data.physical import check_kept
from kdlab.data.scaling import Scaler
from kdlab.data.splits import STAGES, Split
from kdlab.data.stored_views import StoredView, StoredViews
from kdlab.data.unlabelled import NO_LABEL
from kdlab.data.windows import WindowSet, check_finite
from kdlab.types import InputError
from kdlab.views import View


@dataclass
class Prepared:
    """A data set that is ready to be read.

    Attributes:
        data: all windows, in physical units, with the labels of the data set.
        split: their rows per stage.
        scalers: source -> its scaling.
        views: the views of a batch.
        known: labels of the known classes, in the order of the classes' own labels.
        people: how people are named.
        predict: windows without labels; None: the test windows are predicted.
        merged: how many windows had a name that was merged.
        fingerprint: of all of this.
        constants: source -> what strengths of augmentations refer to, where it is already known.
        labels_only: leave training windows without a label out of batches.
        stored: views on disk; None: there are none.
    """

    data: WindowSet
    split: Split
    scalers: dict[str, Scaler]
    views: ModuleViews
    known: list[int]
    people: People
    predict: WindowSet | None
    merged: Merged
    fingerprint: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, Constants] = field(default_factory=dict)
    labels_only: bool = False
    stored: StoredViews | None = None

    @property
    def classes(self) -> list[str]:
        """Names of the known classes, in the order of the labels."""
        return [self.data.classes[k] for k in self.known]

    def train_rows(self, unlabelled: bool = True) -> NDArray[np.int64]:
        """The training windows: those with a label, and behind them those without.

        Args:
            unlabelled: also those without.
        """
        return np.concatenate([self.split.rows["train"], *([self.unlabelled] if unlabelled else [])])

    @property
    def unlabelled(self) -> NDArray[np.int64]:
        """The training windows without a label that batches hold."""
        none = np.empty(0, dtype=np.int64)
        return none if self.labels_only else self.split.rows.get("unlabelled", none)

    def rows(self, stage: str) -> tuple[WindowSet, NDArray[np.int64], NDArray[np.int64]]:
        """The windows that a stage reads, which rows of them, and their labels among the known classes.

        Training windows without a label have the label -1 and come last.

        Raises:
            InputError: no such stage.
        """
        if stage not in (*STAGES, "predict", "unknown", LEFT_OUT):
            raise InputError(f"stage must be train, val, test, predict, unknown or left_out, but got {stage!r}.")
        if stage == LEFT_OUT and stage not in self.split.rows:
            raise InputError("stage='left_out': no training people are left out; set cross_fit")
        if stage == "unknown" and stage not in self.split.rows:
            raise InputError("stage='unknown': all classes are known; name some in unknown_classes")
        if stage == "predict" and self.predict is not None:
            count = len(self.predict)
            return self.predict, np.arange(count), np.full((count, *self.data.target.shape[1:]), -1)
        target = own_labels(self.data.target, self.known, len(self.data.classes))
        if stage == "train":
            if len(self.unlabelled):
                target = target.copy()
                target[self.unlabelled] = NO_LABEL
            return self.data, self.train_rows(), target
        return self.data, self.split.rows["test" if stage == "predict" else stage], target

    def dataset(
        self,
        stage: str,
        wanted: Sequence[Wanted],
        seed: int,
        *,
        augment: Augmentation | None = None,
        mix: Mixing | None = None,
        constants: Mapping[str, Constants] | None = None,
    ) -> WindowDataset:
        """The windows of a stage as batches.

        Args:
            stage: ``"train"``, ``"val"``, ``"test"``, ``"predict"`` or ``"unknown"``.
            wanted: the views that are computed.
            seed: of augmentation, mixing and pairs.
            augment: changes the windows after scaling.
            mix: mixes the windows of a batch after that.
            constants: source -> what the strengths of ``augment`` refer to.
        """
        data, rows, target = self.rows(stage)
        for want in wanted if data is self.predict else ():
            if want.physical:
                check_kept(want.key, want.source, data, self.scalers[want.source])
        return WindowDataset(
            data.windows,
            target,
            rows,
            wanted,
            self.scalers,
            augment=augment,
            mix=mix,
            classes=len(self.known),
            seed=seed,
            keyed_by_epoch=stage == "train",
            constants=constants,
            stored=self._on_disk(wanted, augment is not None or mix is not None) if data is self.data else None,
        )

    def _on_disk(self, wanted: Sequence[Wanted], changed: bool) -> dict[tuple[str, bool, View], StoredView | None]:
        """The stored views of windows that nothing changes."""
        kept = [want for want in wanted if self.stored is not None and (want.version == "clean" or not changed)]
        at = [(want.source, want.physical, want.view) for want in kept]
        return {key: self.stored.of(*key) for key in at if self.stored is not None}


def windows_to_predict(
    windows: dict[str, NDArray[np.float32]] | None, data: WindowSet, train: NDArray[np.int64]
) -> WindowSet | None:
    """Windows without labels, checked against those of the data set; values of another size are a warning.

    Args:
        windows: source -> windows; None: there are none.
        data: the data set.
        train: rows of its training windows.

    Raises:
        InputError: another shape than in training, NaN or infinite samples.
    """
    if windows is None:
        return None
    for source, x in windows.items():
        expected = data.windows[source].shape[1:]
        if x.shape[1:] != expected:
            raise InputError(
                f"windows to predict: expected (windows, {', '.join(map(str, expected))}) as in training, got {x.shape}"
            )
        check_finite(x, source, data.channels[source])
        if x.ndim == 3 and len(x) and len(train):
            usual = root_mean_square(data.windows[source], train)
            warn_of_another_size(root_mean_square(x), usual, data.channels[source], "windows to predict")
    count = len(next(iter(windows.values())))
    return WindowSet(windows, np.zeros(count, dtype=np.int64), data.classes, data.channels)
