"""CIFAR-10 and CIFAR-100: 60,000 small photographs of 10 or 100 kinds of things."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from kdlab.data.files import expanded, official_files
from kdlab.data.image_store import Pixels
from kdlab.data.images import ImageDataModule
from kdlab.data.npz import read_npz
from kdlab.data.pickles import PlainUnpickler
from kdlab.data.shared import Shared, SharedButLabels, Unpack
from kdlab.data.windows import WindowSet
from kdlab.files import one_line
from kdlab.types import InputError

SIDE, PIXELS = 32, 3072
CIFAR10_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
EXPECTED = (
    "the python version of {0} ({1}) or its binary version ({2}), unpacked or as the official .tar.gz; it is published "
    "at www.cs.toronto.edu/~kriz/cifar.html"
)


class _CIFAR(ImageDataModule):
    """What both have in common: how their files are found, checked and joined."""

    paper = ("krizhevsky2009learning",)
    _parts: ClassVar[
        dict[str, tuple[str, ...]]
    ]  # part -> names of its python files; those of the binary version end in .bin
    _meta: ClassVar[str]
    _names: ClassVar[dict[str, str]]  # kind of label -> text file of its names in the binary version

    def __init__(self, root: str | Path, **common: Unpack[Shared]) -> None:
        super().__init__(**common)
        self.root = root

    @property
    def _expected(self) -> str:
        files = [name for names in self._parts.values() for name in names]
        binary = ", ".join([*(f"{name}.bin" for name in files), *self._names.values()])
        return EXPECTED.format(type(self).__name__, ", ".join([*files, self._meta]), binary)

    def load(self) -> WindowSet:
        """Read the files of either version."""
        files = [name for names in self._parts.values() for name in names]
        python = [*files, self._meta]
        binary = [*(f"{name}.bin" for name in files), *self._names.values()]
        contents: dict[str, tuple[str, bytes]] = {}
        for match, name, data in official_files(
            self.root, "|".join(map(re.escape, [*python, *binary])), self._expected
        ):
            if match[0] in contents:
                raise InputError(f"root={str(self.root)!r}: {match[0]} is there twice ({name}); name one folder of it")
            contents[match[0]] = name, data
        wanted = python if any(name in contents for name in files) else binary
        if missing := [name for name in wanted if name not in contents]:
            raise InputError(f"root={str(self.root)!r}: no file {', '.join(missing)}; expected {self._expected}")
        chosen = {name: contents[name] for name in wanted}
        return self._joined(chosen, binary=wanted is binary)

    def _joined(self, files: dict[str, tuple[str, bytes]], binary: bool) -> WindowSet:
        kind = self._kind()
        if binary:
            where, text = files[self._names[kind]]
            classes = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
        else:
            where, text = files[self._meta]
            classes = [word(name) for name in entry(read_pickle(text, where), self._name_key(kind), list, where)]
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise InputError(
                f"{where}: expected the names of the classes, each once, got {len(classes)}; obtain it again"
            )
        pixels, target, test = [], [], []
        for part, names in self._parts.items():
            for name in names:
                where, data = files[f"{name}.bin" if binary else name]
                x, y = (
                    read_records(data, where, len(self._names), list(self._names).index(kind))
                    if binary
                    else read_batch(data, where, self._label_key(kind))
                )
                check_labels(y, classes, where)
                pixels.append(x)
                target.append(y)
                test.append(np.full(len(y), part == "test"))
        return self.image_set(Pixels(np.concatenate(pixels)), np.concatenate(target), classes, np.concatenate(test))

    def _kind(self) -> str:
        return "label"

    def _label_key(self, kind: str) -> str:
        return f"{kind}s"

    def _name_key(self, kind: str) -> str:
        return f"{kind}_names"


class CIFAR10(_CIFAR):
    """CIFAR-10: 50,000 training and 10,000 test images of 10 classes, 32 x 32.

    Validation is held out from the training images, see :class:`~kdlab.data.images.ImageDataModule`. 184 MB in memory
    (8-bit pixels; batches are converted to float32).

    Args:
        root: the official folder (or a folder above it) or archive, in its python or binary version (the first is read
            where both are there), or an ``.npz`` with ``x_train`` ``(N, 32, 32, 3)`` uint8, ``y_train``, ``x_test``,
            ``y_test`` and, optionally, ``classes``. An npz counts as a data set of its own, named as the file.

    Shapes:
        images ``(60000, 3, 32, 32)``

    Raises:
        MissingFileError: ``root`` is not there or holds none of the files.
        InputError: a file that is missing, there twice, half-written, or holds anything but arrays, numbers and words.

    References:
        Krizhevsky, Learning multiple layers of features from tiny images, technical report, University of Toronto,
        2009.
    """

    name = "cifar10"
    _parts: ClassVar = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
    _meta = "batches.meta"
    _names: ClassVar = {"label": "batches.meta.txt"}

    def __init__(self, root: str | Path, **common: Unpack[Shared]) -> None:
        super().__init__(root, **common)
        if Path(root).suffix == ".npz":
            self.name = Path(root).stem

    def load(self) -> WindowSet:
        """Read the files of either version, or the npz."""
        if Path(self.root).suffix != ".npz":
            return super().load()
        place = expanded(self.root, "an npz of CIFAR-10 images, or the official folder or archive")
        arrays = read_npz(place)
        if missing := {"x", "y", "x_test", "y_test"} - set(arrays):
            raise InputError(
                f"root={str(self.root)!r}: no {', '.join(sorted(missing))}; expected x_train, y_train, x_test, y_test"
            )
        classes = [str(name) for name in arrays.get("classes", np.array(CIFAR10_CLASSES)).tolist()]
        pixels, target = [], []
        for x, y, part in ((arrays["x"], arrays["y"], "train"), (arrays["x_test"], arrays["y_test"], "test")):
            if x.ndim != 4 or x.shape[1:] != (SIDE, SIDE, 3) or x.dtype != np.uint8:
                raise InputError(f"x_{part}: expected (N, 32, 32, 3) uint8, got {x.dtype} of shape {x.shape}")
            if y.shape != (len(x),) or y.dtype.kind not in "iu":
                raise InputError(f"y_{part}: expected {len(x)} whole numbers, got {y.dtype} of shape {y.shape}")
            check_labels(y.astype(np.int64), classes, f"y_{part}")
            pixels.append(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
            target.append(y.astype(np.int64))
        test = np.arange(sum(map(len, target))) >= len(target[0])
        return self.image_set(Pixels(np.concatenate(pixels)), np.concatenate(target), classes, test)


class CIFAR100(_CIFAR):
    """CIFAR-100: 50,000 training and 10,000 test images of 100 classes in 20 superclasses, 32 x 32.

    Validation is held out from the training images, see :class:`~kdlab.data.images.ImageDataModule`. 184 MB in memory
    (8-bit pixels; batches are converted to float32).

    Args:
        root: the official folder (or a folder above it) or archive, in its python or binary version (the first is read
            where both are there).
        labels: ``"fine"``: the 100 classes; ``"coarse"``: the 20 superclasses.

    Shapes:
        images ``(60000, 3, 32, 32)``

    Raises:
        MissingFileError: ``root`` is not there or holds none of the files.
        InputError: a file that is missing, there twice, half-written, or holds anything but arrays, numbers and words.

    References:
        Krizhevsky, Learning multiple layers of features from tiny images, technical report, University of Toronto,
        2009.
    """

    name = "cifar100"
    _parts: ClassVar = {"train": ("train",), "test": ("test",)}
    _meta = "meta"
    _names: ClassVar = {"coarse": "coarse_label_names.txt", "fine": "fine_label_names.txt"}  # in the order of a record

    def __init__(
        self, root: str | Path, labels: Literal["fine", "coarse"] = "fine", **common: Unpack[SharedButLabels]
    ) -> None:
        super().__init__(root, **common)
        if labels not in self._names:
            raise InputError(f'labels must be "fine" or "coarse", but got {labels!r}.')
        self.labels = labels

    def _kind(self) -> str:
        return self.labels

    def _label_key(self, kind: str) -> str:
        return f"{kind}_labels"

    def _name_key(self, kind: str) -> str:
        return f"{kind}_label_names"


def read_pickle(contents: bytes, name: str) -> dict[str, Any]:
    """The dict in a pickle of Python 2 or 3; nothing in the file can run.

    Raises:
        InputError: half-written, not a dict, or with anything but arrays, bytes, words, numbers, lists and dicts.

    >>> import pickle
    >>> read_pickle(pickle.dumps({b"labels": [3, 1]}), "demo")
    {'labels': [3, 1]}
    """
    try:
        content = PlainUnpickler(io.BytesIO(contents), encoding="bytes").load()
    except Exception as error:  # damaged pickles raise nearly anything
        raise InputError(
            f"{name}: not readable as a pickle of arrays and words ({one_line(error)}); is it "
            "half-written? Obtain it again"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{name}: expected a pickled dict, got {type(content).__name__}; obtain it again")
    return {word(key): value for key, value in content.items()}


def word(value: Any) -> str:
    """Bytes or text as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def entry(content: dict[str, Any], key: str, kind: type, name: str) -> Any:
    """One value of a pickled dict.

    Raises:
        InputError: not there, or of another type.
    """
    if not isinstance(content.get(key), kind):
        raise InputError(f"{name}: expected {key!r}, a {kind.__name__}; it has {', '.join(content)}. Obtain it again")
    return content[key]


def read_batch(contents: bytes, name: str, key: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels ``(N, 3, 32, 32)`` and labels of a file of the python version.

    Raises:
        InputError: naming the file and what it should hold.
    """
    content = read_pickle(contents, name)
    data, labels = entry(content, "data", np.ndarray, name), entry(content, key, list, name)
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXELS:
        raise InputError(f"{name}: expected data (N, {PIXELS}) uint8, got {data.dtype} of shape {data.shape}")
    if len(labels) != len(data) or not all(isinstance(label, int) for label in labels):
        raise InputError(f"{name}: expected {len(data)} whole numbers as {key!r}, got {len(labels)} values")
    return data.reshape(-1, 3, SIDE, SIDE), np.array(labels, dtype=np.int64)


def read_records(contents: bytes, name: str, labels: int, which: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels ``(N, 3, 32, 32)`` and labels of a file of the binary version: ``labels`` bytes, then 3072, a record.

    Raises:
        InputError: a number of bytes that is no multiple of a record.

    >>> pixels, target = read_records(bytes([7]) + bytes(3072), "demo.bin", 1, 0)
    >>> pixels.shape, target.tolist()
    ((1, 3, 32, 32), [7])
    """
    record = labels + PIXELS
    if not contents or len(contents) % record:
        raise InputError(
            f"{name}: {len(contents)} bytes, expected a multiple of {record} ({labels} of labels, {PIXELS} of pixels); "
            "is it half-written? Obtain it again"
        )
    table = np.frombuffer(contents, np.uint8).reshape(-1, record)
    return table[:, labels:].reshape(-1, 3, SIDE, SIDE), table[:, which].astype(np.int64)


def check_labels(target: NDArray[np.int64], classes: list[str], name: str) -> None:
    """Refuse labels that have no name.

    Raises:
        InputError: with the first of them.
    """
    wrong = np.flatnonzero((target < 0) | (target >= len(classes)))
    if len(wrong):
        raise InputError(
            f"{name}: expected labels in 0..{len(classes) - 1}, got {int(target[wrong[0]])} for image {int(wrong[0])}; "
            "obtain it again"
        )
