"""Images: 8-bit pixels or files that are converted batch by batch, and the data module that their data sets share."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, cast

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from kdlab.data.base import WindowDataModule
from kdlab.data.dataset import Wanted
from kdlab.data.held_out import generator
from kdlab.data.image_store import ImageFiles, Pixels
from kdlab.data.scaling import Scale
from kdlab.data.shared import SharedButScaleBatchSizeValFraction, Unpack
from kdlab.data.splits import Split
from kdlab.data.windows import WindowSet
from kdlab.types import InputError
from kdlab.views import Raw, RawImage, ScanPersistenceImage

CHANNELS = ["red", "green", "blue"]
BLOCKS = 100  # groups that training images are dealt into: few enough to be listed in every fingerprint


def blocks(target: NDArray[np.int64], most: int = BLOCKS) -> NDArray[np.int64]:
    """Deal images into blocks that hold the same part of every class; the same whatever the seed of a split.

    Args:
        target: class of each image, ``(N,)``.
        most: the most blocks; there are fewer where a class has fewer images.

    Returns:
        The block of each image, ``(N,)``, from 0.

    Raises:
        InputError: a class of one image.

    >>> blocks(np.array([0, 0, 0, 1, 1, 1, 1])).tolist()
    [2, 0, 1, 1, 0, 0, 2]
    """
    sizes = np.bincount(target)
    count = int(min(most, sizes[sizes > 0].min()))
    if count < 2:
        raise InputError("class: expected at least two training images of every class, one of them for validation")
    rng, block = generator(0, 5), np.empty(len(target), dtype=np.int64)
    for k in np.flatnonzero(sizes):
        rows = np.flatnonzero(target == k)
        block[rows[rng.permutation(len(rows))]] = np.arange(len(rows)) % count
    return block


class ImageDataModule(WindowDataModule):
    """Images and their classes, seen in views. Data sets derive from this and write ``load`` with :meth:`image_set`.

    Images have no subjects. Training images are dealt into up to 100 blocks, each with the same part of every class, in
    a way that does not depend on any seed; validation holds out complete blocks, chosen by ``split_seed``, unless the
    data set names its own validation images. The fingerprint lists the blocks, not the images, so that a teacher of
    another split is refused as with subjects. The test images are the official ones.

    Scaled units are pixel / 255: thresholds, ranges and blurs of :class:`~kdlab.views.ScanPersistenceImage` hold for
    values from 0 (black) to 1 (white); the noise of a corruption is in training standard deviations. Each net
    standardises its own view in its first layer, with mean and standard deviation per channel over the training images,
    so nothing is lost by ``scale="none"``. With ``scale="standard"`` the images themselves are standardised per
    channel, views included.

    Args:
        scale: ``"none"`` (pixel / 255), ``"standard"``, ``"minmax"``, or ``Scale`` constants for values of [0, 1].
        val_fraction: the least part of the training images that is held out for validation, where the data set names
            none.
        batch_size: images per batch and process.
        common: as in :class:`~kdlab.data.WindowDataModule`; ``test_subjects``, ``val_subjects`` and ``split`` have no
            meaning for images.

    Shapes:
        images ``(N, 3, H, W)``, float32; kept as uint8 (a byte a sample) or as names of files

    Raises:
        InputError: also for an augmentation that does not change images, or changes their size.
    """

    def __init__(
        self,
        *,
        scale: Literal["standard", "minmax", "none"] | Scale | dict[str, Scale] = "none",
        val_fraction: float = 0.1,
        batch_size: int = 128,
        **common: Unpack[SharedButScaleBatchSizeValFraction],
    ) -> None:
        super().__init__(scale=scale, val_fraction=val_fraction, batch_size=batch_size, **common)
        self.views = {
            key: RawImage(view.channels, source=view.source) if type(view) is Raw else view
            for key, view in self.views.items()
        }

    def image_set(
        self,
        images: Pixels | ImageFiles,
        target: NDArray[np.int64],
        classes: list[str],
        test: NDArray[np.bool_],
        val: NDArray[np.bool_] | None = None,
    ) -> WindowSet:
        """Images as all data sets hand them over.

        Args:
            images: all of them.
            target: their classes, ``(N,)``.
            classes: names of the classes.
            test: which are the official test images, ``(N,)``.
            val: which are the official validation images, ``(N,)``; None: validation is held out of the others.
        """
        block = np.full(len(target), "test", dtype="<U5")
        rest = ~test
        if val is not None:
            rest &= ~val
            block[val] = "valid"
        if not rest.any() or not test.any():
            raise InputError(f"{self.name}: expected training and test images, got {rest.sum()} and {test.sum()}")
        numbers = blocks(target[rest])
        block[rest] = np.array([f"{k:02d}" for k in range(int(numbers.max()) + 1)])[numbers]
        return WindowSet(
            windows={"raw": cast("NDArray[np.float32]", images)},
            target=target,
            classes=classes,
            channels={"raw": list(CHANNELS)},
            test=test,
            val=val,
            block=block,
            units={"raw": ["pixel / 255"] * 3},
        )

    def _bind(self, data: WindowSet) -> list[Wanted]:
        wanted = super()._bind(data)
        shape = next(iter(data.windows.values())).shape[1:]
        for argument in ("augment", "corruption"):
            change = getattr(self, argument)
            if change is not None:
                changed = change(np.zeros(shape, np.float32), np.random.default_rng(0)).shape
                if changed != shape:
                    raise InputError(
                        f"{argument}: {change} makes images of shape {changed}, but those of {self.name} are read as "
                        f"{shape}; set its size to {shape[-1]}"
                    )
        scanned = [want.key for want in wanted if isinstance(want.view, ScanPersistenceImage)]
        if scanned and self.scale != "none":
            rank_zero_warn(
                f"scale={self.scale!r}: the ranges, sigma and threshold of view {scanned[0]!r} are then in other units "
                'than pixel / 255, which its defaults are for; scale="none" loses nothing, as nets standardise'
            )
        return wanted

    def _contents(self, data: WindowSet, split: Split) -> dict[str, Any]:
        labels = hashlib.blake2b(np.ascontiguousarray(data.target).tobytes(), digest_size=8).hexdigest()
        return {"images": {stage: len(rows) for stage, rows in split.rows.items()}, "labels": labels}
