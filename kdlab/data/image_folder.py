"""Folders of image files, one folder a class: ImageNet, or your own photographs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from lightning.pytorch.utilities import rank_zero_info

from kdlab.data.image_files import find_images
from kdlab.data.image_store import ImageFiles
from kdlab.data.images import ImageDataModule
from kdlab.data.shared import Shared, Unpack
from kdlab.data.windows import WindowSet
from kdlab.types import InputError

EXPECTED = (
    "folders of image files ({train}/<class>/* and {test}/<class>/*, .jpg, .jpeg, .png, .bmp or .webp), such as "
    "those of ImageNet (ILSVRC 2012), published at image-net.org"
)
#: suffixes of files that lie among images
_BESIDE = {".csv", ".db", ".ini", ".json", ".md", ".tsv", ".txt", ".xml", ".yaml", ".yml"}


class ImageFolder(ImageDataModule):
    """Image files of any size, decoded when they are read; only their names are in memory (about 0.3 GB for the
    1.3 million of ImageNet).

    For evaluation, and in training without an augmentation that cuts from the complete image, the shorter side is
    resized to ``resize`` and the middle ``size`` x ``size`` is read. With ``augment: ResizedCropFlip`` (or
    ``RandomResizedCrop``) of the same size, training parts are cut from the complete image. The folder ``val`` of
    ImageNet is the test set here, as its test labels are not public; validation is held out from the training images,
    see :class:`~kdlab.data.images.ImageDataModule`. Scaling and standardisation rest on up to 10,000 training images,
    evenly spread over all. Use ``num_workers``: decoding takes longer than a small net's step.

    Args:
        root: a folder that holds the folders ``train`` and ``val`` (or is above the one that does).
        size: side of the images that nets read.
        resize: the shorter side before the middle is read.
        train: folder of the training images.
        test: folder of the test images.
        dataset: a name for the data, kept in the fingerprint.

    Shapes:
        images ``(N, 3, size, size)``; grey-scale and CMYK files become RGB

    Raises:
        MissingFileError: ``root`` is not there or holds no images.
        InputError: a class without training images, a folder of a class that holds files of other suffixes alone (what
            is left out of others is counted in the log), a missing part, and, when it is read, a file that cannot be
            decoded.

    References:
        Russakovsky et al., ImageNet large scale visual recognition challenge, IJCV 2015,
        doi:10.1007/s11263-015-0816-y.
    """

    name = "image_folder"
    paper = ("russakovsky2015imagenet",)
    statistics_windows = 10_000

    def __init__(
        self,
        root: str | Path,
        *,
        size: int = 224,
        resize: int = 256,
        train: str = "train",
        test: str = "val",
        dataset: str = "image_folder",
        **common: Unpack[Shared],
    ) -> None:
        super().__init__(**common)
        if not 1 <= size <= resize:
            raise InputError(
                f"size must be at least 1 pixel, and resize at least size, but got size={size}, resize={resize}."
            )
        if not train or not test or train == test:
            raise InputError(f"train, test must be the names of two folders, but got {train!r}, {test!r}.")
        self.name = dataset
        self.root, self.size, self.resize, self.train, self.test = root, size, resize, train, test

    def load(self) -> WindowSet:
        """Find the files."""
        expected = EXPECTED.format(train=self.train, test=self.test)
        parts = f"{re.escape(self.train)}|{re.escape(self.test)}"
        pattern = rf"({parts})/([^/]+)/(?:[^/]+/)*[^/]+\.(?i:jpe?g|png|bmp|webp)"
        place, files, others = find_images(self.root, pattern, expected)
        if not place.is_dir():
            raise InputError(f"root={str(self.root)!r}: an archive; unpack it, as its files are read one by one")
        test = np.array([file.groups[0] == self.test for file in files])
        classes = sorted({file.groups[1] for file, tested in zip(files, test, strict=True) if not tested})
        label = {name: k for k, name in enumerate(classes)}
        for file in files:
            if file.groups[1] not in label:
                raise InputError(
                    f"{file.place}: unknown class {file.groups[1]!r}, of which there are no training images; expected "
                    f"{expected}"
                )
        self._check_left_out(others, {file.groups[:2] for file in files})
        target = np.array([label[file.groups[1]] for file in files], dtype=np.int64)
        images = ImageFiles(place, [file.place for file in files], self.size, self.resize)
        return self.image_set(images, target, classes, test)

    def _check_left_out(self, others: Iterable[str], read: set[tuple[str, ...]]) -> None:
        """Tell what files are left out by their suffixes.

        Args:
            others: paths of files that are not read.
            read: part and class of the folders of which files are read.

        Raises:
            InputError: none is read of a folder of a class.
        """
        left_out: dict[tuple[str, ...], Counter[str]] = {}
        for path in map(PurePosixPath, others):
            part, *inner = path.parts
            hidden = any(name.startswith(".") for name in path.parts)
            if part in (self.train, self.test) and len(inner) > 1 and not hidden and path.suffix.lower() not in _BESIDE:
                left_out.setdefault((part, inner[0]), Counter())[path.suffix.lower() or "without a suffix"] += 1
        for folder, suffixes in sorted(left_out.items()):
            if folder not in read:
                raise InputError(
                    f"root={str(self.root)!r}: {'/'.join(folder)} must hold .jpg, .jpeg, .png, .bmp or .webp, but "
                    f"holds {_counted(suffixes)}. Convert these files, or move the folder away."
                )
        if left_out:
            every = sum(left_out.values(), Counter[str]())
            rank_zero_info(f"{self.name}: {every.total()} files of other suffixes are left out ({_counted(every)})")


def _counted(suffixes: Mapping[str, int]) -> str:
    """How many files have each suffix.

    >>> _counted({".tif": 3, ".gif": 1})
    '1 .gif, 3 .tif'
    """
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items()))
