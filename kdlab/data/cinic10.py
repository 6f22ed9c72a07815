"""CINIC-10: the classes of CIFAR-10 with 270,000 images in three equal parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kdlab.data.cifar import CIFAR10_CLASSES
from kdlab.data.image_files import find_images
from kdlab.data.image_store import store
from kdlab.data.images import ImageDataModule
from kdlab.data.shared import Shared, Unpack
from kdlab.data.windows import WindowSet
from kdlab.types import InputError

PARTS = ("train", "valid", "test")
EXPECTED = (
    "CINIC-10 ({train,valid,test}/<class>/*.png of airplane, automobile, ..., truck), unpacked or as CINIC-10.tar.gz; "
    "it is described in arXiv:1810.03505 and published by the University of Edinburgh"
)


class CINIC10(ImageDataModule):
    """CINIC-10: 90,000 training, 90,000 validation and 90,000 test images of 10 classes, 32 x 32.

    Its own validation part validates, so ``val_fraction`` has no meaning. 829 MB in memory (8-bit pixels; batches are
    converted to float32), and as much again while an archive is read.

    Args:
        root: the official folder (or a folder above it) or archive.
        in_memory: False: the files of a folder are decoded whenever they are read, and a broken one is found then.

    Shapes:
        images ``(270000, 3, 32, 32)``; grey-scale files become RGB

    Raises:
        MissingFileError: ``root`` is not there or holds none of the files.
        InputError: an unknown class, a missing part, a file that cannot be decoded or is not 32 x 32.

    References:
        Darlow, Crowley, Antoniou, Storkey, CINIC-10 is not ImageNet or CIFAR-10, 2018, arXiv:1810.03505.
    """

    name = "cinic10"
    paper = ("darlow2018cinic",)

    def __init__(self, root: str | Path, *, in_memory: bool = True, **common: Unpack[Shared]) -> None:
        super().__init__(**common)
        self.root, self.in_memory = root, in_memory

    def load(self) -> WindowSet:
        """Find the files of the three parts, and decode them."""
        place, files, _ = find_images(self.root, rf"({'|'.join(PARTS)})/([^/]+)/[^/]+\.png", EXPECTED)
        for file in files:
            if file.groups[1] not in CIFAR10_CLASSES:
                raise InputError(
                    f"{file.place}: unknown class {file.groups[1]!r}; expected one of {', '.join(CIFAR10_CLASSES)}"
                )
        part = np.array([file.groups[0] for file in files])
        if missing := sorted(set(PARTS) - set(part.tolist())):
            raise InputError(f"root={str(self.root)!r}: no images in {', '.join(missing)}; expected {EXPECTED}")
        target = np.array([CIFAR10_CLASSES.index(file.groups[1]) for file in files], dtype=np.int64)
        images = store(place, files, 32, self.in_memory)
        return self.image_set(images, target, list(CIFAR10_CLASSES), part == "test", part == "valid")
