"""GENEActiv: an accelerometer on the wrist, in daily activities of many subjects; windows that are already cut."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from kdlab.data.base import WindowDataModule
from kdlab.data.files import official_files
from kdlab.data.shared import Shared, Unpack
from kdlab.data.spelling import natural_key
from kdlab.data.windows import WindowSet
from kdlab.types import InputError

CHANNELS = ["acc_x", "acc_y", "acc_z"]
RATE = 100.0
EXPECTED = (
    "the GENEActiv windows, files Life_log/Window-size-500/ID-<subject>_CLASS-<class>_Window-<number>.mat with the "
    "variable xw, unpacked or as an archive; the data are not public, ask the authors of the papers that use them"
)


class GENEActiv(WindowDataModule):
    """Activities of daily life on one wrist: windows of 3 axes and 500 or 1000 samples; subjects come from file names.

    The data are not public. What is certain is the layout of the files; that the axes are x, y and z in g and the rate
    is 100 Hz is how the papers describe the device, and the activity of a class number is not known. Classes
    are therefore named by their numbers unless ``classes`` names them. The published results on 14 classes are on
    windows of 500 samples with .7 of the data for training and .25 for the test, those on 7 classes with .3 and .3;
    that these are parts of the subjects, and which of the numbers make the 7, is not known for certain.

    Args:
        root: the official folder, one of its ``Window-size`` folders, or an archive.
        window: samples per window, 500 or 1000; files in the folder of another ``Window-size`` are not read.
        classes: the class numbers to use, such as ``[1, 2, 5]``; or name -> the numbers that make this class, such as
            ``{"walking": [1, 2], "sitting": [5]}``; None: every number that there is, a class each.
        test_fraction: part of the subjects that is tested, drawn by ``split_seed``.
        train_fraction: part of the subjects that trains, validation subjects included, and the others are left out;
            None: all who are not tested. Neither has a meaning where ``test_subjects`` names who is tested.

    Shapes:
        windows ``(N, 3, window)``

    Raises:
        MissingFileError: ``root`` is not there or holds no windows.
        InputError: a file that cannot be read, windows of another length, an unknown class, impossible fractions.

    References:
        Wang, Lohit, Toledo, Buman, Turaga, A statistical estimation framework for energy expenditure of physical
        activities from a wrist-worn accelerometer, EMBC 2016.
    """

    name = "geneactiv"

    def __init__(
        self,
        root: str | Path,
        *,
        window: int = 500,
        classes: list[int] | dict[str, list[int]] | None = None,
        test_fraction: float = 0.25,
        train_fraction: float | None = None,
        **common: Unpack[Shared],
    ) -> None:
        super().__init__(**common)
        if window < 2:
            raise InputError(f"window must be a number of samples, 500 or 1000, but got {window}.")
        train = 1.0 - test_fraction if train_fraction is None else train_fraction
        if not (0.0 < train < 1.0 and 0.0 < test_fraction < 1.0 and train + test_fraction <= 1.0 + 1e-9):
            raise InputError(
                f"test_fraction={test_fraction}, train_fraction={train_fraction}: expected parts of the subjects in "
                "(0, 1) that are together at most 1, such as 0.25 and 0.7, or 0.3 and 0.3"
            )
        self.root, self.window = root, window
        self.test_fraction, self.train_fraction = test_fraction, train_fraction
        self._classes = None if classes is None else named_classes(classes)

    def load(self) -> WindowSet:
        """Read every window of the classes."""
        x: list[NDArray[np.float32]] = []
        rows: list[tuple[str, int]] = []
        wanted = None if self._classes is None else {n for numbers in self._classes.values() for n in numbers}
        found, seen = set[int](), set[str]()
        for match, name, contents in official_files(
            self.root,
            r"ID-(.+)_CLASS-(\d+)_Window-(\d+)\.mat",
            f"{EXPECTED} (window={self.window})",
            within=rf"^(?!.*Window-size-(?!{self.window}/)\d+/)",
        ):
            if match[0] in seen:
                raise InputError(f"root={str(self.root)!r}: {match[0]} is there twice ({name}); name one folder of it")
            seen.add(match[0])
            number = int(match[2])
            found.add(number)
            if wanted is None or number in wanted:
                x.append(read_window(contents, name, self.window))
                rows.append((match[1], number))
        classes = self._classes or {f"class_{n}": [n] for n in sorted(found)}
        absent = [n for numbers in classes.values() for n in numbers if n not in found]
        if absent:
            raise InputError(
                f"classes: no window of class {', '.join(map(str, absent))}; the files have "
                f"{', '.join(map(str, sorted(found)))}"
            )
        label = {n: k for k, numbers in enumerate(classes.values()) for n in numbers}
        return WindowSet(
            windows={"raw": np.stack(x)},
            target=np.array([label[number] for _, number in rows], dtype=np.int64),
            classes=list(classes),
            channels={"raw": list(CHANNELS)},
            subject=np.array([subject for subject, _ in rows]),
            sampling_rate=RATE,
            units={"raw": ["g"] * 3},
        )

    def _chosen(self, data: WindowSet) -> WindowSet:
        """Draw who trains and who is tested, unless the tested are named."""
        return data if self.test_subjects is not None else self._parts(data)

    def _parts(self, data: WindowSet) -> WindowSet:
        """The windows of those who train or are tested."""
        subject = np.asarray(data.subject)
        names = sorted(set(subject.tolist()), key=natural_key)
        tested = round(self.test_fraction * len(names))
        trains = len(names) - tested if self.train_fraction is None else round(self.train_fraction * len(names))
        least = 1 + (2 if self.val_count is None else self.val_count)
        if trains < least or tested < 1:
            raise InputError(
                f"test_fraction={self.test_fraction}, train_fraction={self.train_fraction}: of {len(names)} subjects "
                f"that is {tested} to test and {trains} to train; expected at least 1 and {least}, so raise the "
                "fractions or give test_subjects"
            )
        order = [names[i] for i in np.random.default_rng([5, self.split_seed]).permutation(len(names))]
        rest = sorted(order[tested + trains :], key=natural_key)
        if rest:
            listed = ", ".join(rest[:12]) + (", ..." if len(rest) > 12 else "")
            rank_zero_info(
                f"{self.name}: test_fraction={self.test_fraction} and train_fraction={self.train_fraction} leave out "
                f"{len(rest)} of {len(names)} subjects ({listed})"
            )
        kept = np.flatnonzero(~np.isin(subject, rest))
        return replace(
            data,
            windows={source: values[kept] for source, values in data.windows.items()} if rest else data.windows,
            target=data.target[kept],
            subject=subject[kept],
            test=np.isin(subject[kept], order[:tested]),
        )


def named_classes(classes: Sequence[int] | Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Name -> class numbers, each number in one class only.

    Raises:
        InputError: no classes, or a number twice.

    >>> named_classes([3, 1])
    {'class_3': [3], 'class_1': [1]}
    """
    given = classes if isinstance(classes, Mapping) else {f"class_{n}": [n] for n in classes}
    result = {str(name): [int(n) for n in numbers] for name, numbers in given.items()}
    numbers = [n for some in result.values() for n in some] if isinstance(classes, Mapping) else list(classes)
    if not numbers or not all(result.values()) or len(set(numbers)) < len(numbers):
        raise InputError(
            f"classes={classes!r}: expected class numbers, each once, such as [1, 2, 5], or name -> numbers, such as "
            "{'walking': [1, 2]}"
        )
    return result


def read_window(contents: bytes, name: str, window: int) -> NDArray[np.float32]:
    """The variable ``xw`` of one ``.mat`` file, ``(window, 3)`` or ``(3, window)``, channels first.

    Raises:
        InputError: not readable, of another shape, or with NaN.
    """
    from scipy.io import loadmat

    try:
        values = np.asarray(loadmat(io.BytesIO(contents), variable_names=["xw"])["xw"], dtype=np.float64)
    except Exception as error:  # a half-written .mat raises almost anything
        raise InputError(
            f"{name}: no variable 'xw' can be read from it ({type(error).__name__}: {error}); is the file "
            "half-written? Obtain it again"
        ) from error
    if values.shape == (window, 3):
        values = values.T
    if values.shape != (3, window):
        raise InputError(
            f"{name}: expected xw of shape ({window}, 3) or (3, {window}), got {values.shape}; give the length of the "
            "windows with window="
        )
    if not np.isfinite(values).all():
        raise InputError(f"{name}: {int((~np.isfinite(values)).sum())} NaN or infinite samples; obtain it again")
    return np.ascontiguousarray(values, dtype=np.float32)
