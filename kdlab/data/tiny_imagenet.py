"""Tiny-ImageNet: 200 classes of ImageNet, 64 x 64."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kdlab.data.image_files import Found, contents_of, find_images
from kdlab.data.image_store import store
from kdlab.data.images import ImageDataModule
from kdlab.data.shared import Shared, Unpack
from kdlab.data.windows import WindowSet
from kdlab.types import InputError

EXPECTED = (
    "Tiny-ImageNet (wnids.txt, words.txt, train/<wnid>/images/*.JPEG, val/images/*.JPEG, val/val_annotations.txt), "
    "unpacked or as tiny-imagenet-200.zip; it is published at cs231n.stanford.edu/tiny-imagenet-200.zip"
)
_PATTERN = r"wnids\.txt|words\.txt|val/val_annotations\.txt|train/([^/]+)/images/[^/]+\.JPEG|val/images/([^/]+\.JPEG)"


class TinyImageNet(ImageDataModule):
    """Tiny-ImageNet: 100,000 training images of 200 classes; its 10,000 validation images are the test set here.

    The official test images have no labels, and are not read. Validation is held out from the training images, see
    :class:`~kdlab.data.images.ImageDataModule`. 1.35 GB in memory (8-bit pixels; batches are converted to float32), and
    the archive's size again while one is read. A class is named by the first of its words.

    Args:
        root: the official folder (or a folder above it) or archive.
        in_memory: False: the files of a folder are decoded whenever they are read, and a broken one is found then.

    Shapes:
        images ``(110000, 3, 64, 64)``; grey-scale files become RGB

    Raises:
        MissingFileError: ``root`` is not there or holds none of the files.
        InputError: an unknown class, an image without a label, a file that is missing, cannot be decoded or is not
            64 x 64.

    References:
        Le and Yang, Tiny ImageNet visual recognition challenge, CS 231N, Stanford University, 2015.
    """

    name = "tiny_imagenet"
    paper = ("le2015tiny",)

    def __init__(self, root: str | Path, *, in_memory: bool = True, **common: Unpack[Shared]) -> None:
        super().__init__(**common)
        self.root, self.in_memory = root, in_memory

    def load(self) -> WindowSet:
        """Read the lists, find the files, and decode them."""
        place, every, _ = find_images(self.root, _PATTERN, EXPECTED)
        texts, files = {}, []
        for file in every:
            if file.place.endswith(".txt"):
                contents = contents_of(place / file.place) if file.contents is None else file.contents
                texts[file.place.rpartition("/")[2]] = contents.decode(errors="replace").splitlines()
            else:
                files.append(file)
        missing = [name for name in ("wnids.txt", "words.txt", "val_annotations.txt") if name not in texts]
        if missing:
            raise InputError(f"root={str(self.root)!r}: no file {', '.join(missing)}; expected {EXPECTED}")
        wnids = [line.strip() for line in texts["wnids.txt"] if line.strip()]
        label = {wnid: k for k, wnid in enumerate(wnids)}
        annotated = dict(line.split("\t")[:2] for line in texts["val_annotations.txt"] if "\t" in line)
        target = np.array([_label(file, annotated, label) for file in files], dtype=np.int64)
        test = np.array([not file.groups[0] for file in files])
        lost = sorted(set(annotated) - {file.groups[1] for file in files})
        if lost:
            raise InputError(
                f"root={str(self.root)!r}: no file val/images/{lost[0]} ({len(lost)} of val_annotations.txt missing); "
                "obtain it again"
            )
        return self.image_set(
            store(place, files, 64, self.in_memory), target, class_names(wnids, texts["words.txt"]), test
        )


def _label(file: Found, annotated: dict[str, str], label: dict[str, int]) -> int:
    wnid = file.groups[0] or annotated.get(file.groups[1], "")
    if not wnid:
        raise InputError(f"{file.place}: no label in val_annotations.txt; obtain it again")
    if wnid not in label:
        raise InputError(f"{file.place}: unknown class {wnid!r}; expected one of the {len(label)} of wnids.txt")
    return label[wnid]


def class_names(wnids: list[str], words: list[str]) -> list[str]:
    """The first word of each class, with its WordNet id where two classes share it or there is none.

    >>> class_names(["n1", "n2", "n3", "n4"], ["n1\\tgoldfish, Carassius", "n2\\tcrane, bird", "n3\\tcrane"])
    ['goldfish', 'crane (n2)', 'crane (n3)', 'n4']
    """
    first = {wnid: text.split(",")[0].strip() for wnid, _, text in (line.partition("\t") for line in words)}
    names = [first.get(wnid, "") for wnid in wnids]
    return [
        name if name and names.count(name) == 1 else f"{name} ({wnid})" if name else wnid
        for name, wnid in zip(names, wnids, strict=True)
    ]
