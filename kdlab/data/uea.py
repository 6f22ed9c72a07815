"""Any multivariate data set of the UEA archive, from its ``.ts`` files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from kdlab.data.base import WindowDataModule
from kdlab.data.files import official_files, stretch
from kdlab.data.identity import NO_LABEL_WORDS
from kdlab.data.shared import Shared, Unpack
from kdlab.data.stored import stored
from kdlab.data.windows import WindowSet
from kdlab.fingerprint import spelt
from kdlab.types import InputError

SPLITS = ("TRAIN", "TEST")
FLAGS = ("timestamps", "missing", "univariate", "equallength", "targetlabel")


class UEA(WindowDataModule):
    """Recordings of a data set of the UEA archive, such as RacketSports, with the split that the archive gives.

    The subjects of the recordings are not known. Each recording therefore stays complete, and validation takes the same
    part of every class's training recordings; the fingerprint records both.

    Args:
        root: a folder with ``<problem>_TRAIN.ts`` and ``<problem>_TEST.ts`` in it or below, or an archive of it.
        problem: name of the data set, such as ``RacketSports``.
        length: samples that every recording is stretched to by linear interpolation, so that time is relative; None:
            as they are, all of the same length.
        missing: ``"error"``: missing values (``?``) are refused; ``"drop"``: recordings with one are left out, and
            counted; ``"interpolate"``: linearly over time from their neighbours in the same dimension, and from the
            nearest one before the first and after the last. Values that are missing in every dimension up to the end
            are not missing: the recording is shorter, and is cut there.
        channels: names of the dimensions; None: ``dimension_0`` and so on.
        sampling_rate: hertz of the recordings as they are; it is not in the files.

    Shapes:
        windows ``(N, dimensions, samples)``, in the unit of the archive

    Raises:
        MissingFileError: ``root`` is not there or does not hold the two files.
        InputError: a header or row that cannot be read, with file and line; time stamps; no class labels; unequal
            lengths without ``length``; missing values without ``missing``.

    References:
        Bagnall et al., The UEA multivariate time series classification archive, 2018, arXiv:1811.00075. Format: ts file
        format 1.0, documentation of sktime.
    """

    paper = ("bagnall2018uea",)

    def __init__(
        self,
        root: str | Path,
        problem: str,
        *,
        length: int | None = None,
        missing: Literal["error", "drop", "interpolate"] = "error",
        channels: list[str] | None = None,
        sampling_rate: float | None = None,
        **common: Unpack[Shared],
    ) -> None:
        super().__init__(**common)
        if length is not None and length < 2:
            raise InputError(
                f"length must be at least 2 samples, or null for the recordings as they are, but got {length}."
            )
        if missing not in ("error", "drop", "interpolate"):
            raise InputError(f'missing must be "error", "drop" or "interpolate", but got {missing!r}.')
        self.root, self.problem, self.length, self.missing = root, problem, length, missing
        self.name = f"uea_{problem}"
        self._channels, self._rate = channels, sampling_rate

    def load(self) -> WindowSet:
        """Read both files."""
        expected = (
            f"{self.problem}_TRAIN.ts and {self.problem}_TEST.ts of the UEA archive, published at "
            "timeseriesclassification.com, unpacked or as an archive"
        )
        parts: dict[str, Series] = {}
        pattern = rf"{re.escape(self.problem)}_(TRAIN|TEST)\.ts"
        for match, name, contents in official_files(self.root, pattern, expected):
            if match[1] in parts:
                raise InputError(f"root={str(self.root)!r}: {match[0]} is there twice ({name}); name one folder of it")
            parts[match[1]] = read_ts(contents, name)
        absent = [s for s in SPLITS if s not in parts]
        if absent:
            raise InputError(f"root={str(self.root)!r}: no {self.problem}_{absent[0]}.ts; expected {expected}")
        train, test = parts["TRAIN"], parts["TEST"]
        if set(train.classes) != set(test.classes):
            raise InputError(
                f"{self.problem}: the classes of the training file ({', '.join(train.classes)}) are not those of the "
                f"test file ({', '.join(test.classes)}); obtain both again"
            )
        label = np.array([*train.labels, *test.labels])
        values, kept = self._complete([*train.values, *test.values], label)
        windows, label = self._windows(values), label[kept]
        rate = self._rate if self.length is None else None
        recording = np.array([f"{s.lower()}-{i}" for s in SPLITS for i in range(len(parts[s].labels))])
        return WindowSet(
            windows={"raw": windows},
            target=np.array([train.classes.index(word) for word in label.tolist()], dtype=np.int64),
            classes=train.classes,
            channels={"raw": self._channels or [f"dimension_{c}" for c in range(windows.shape[1])]},
            recording=recording[kept],
            test=kept >= len(train.labels),
            sampling_rate=rate,
        )

    def _complete(
        self, values: list[NDArray[np.float64]], label: NDArray[np.str_]
    ) -> tuple[list[NDArray[np.float64]], NDArray[np.int64]]:
        """Recordings without padding and without missing values, and which of all they are."""
        cut = [unpadded(v) for v in values]
        if shorter := sum(a.shape[1] < b.shape[1] for a, b in zip(cut, values, strict=True)):
            rank_zero_info(
                f"{self.problem}: {shorter} of {len(values)} recordings end before their padding, and are cut"
            )
        gaps = np.array([not v.size or bool(np.isnan(v).any()) for v in cut])
        who = ", ".join(f"{(label[gaps] == word).sum()} of class {word}" for word in np.unique(label[gaps]).tolist())
        if gaps.any() and self.missing == "error":
            raise InputError(
                f"{self.problem}: {gaps.sum()} recordings have missing values ('?'); set missing: interpolate to fill "
                f"them, or missing: drop to leave them out ({who})"
            )
        if gaps.any() and self.missing == "drop":
            rank_zero_info(f"{self.problem}: left out {gaps.sum()} recordings with missing values ({who})")
            cut = [v for v, gap in zip(cut, gaps.tolist(), strict=True) if not gap]
            return cut, np.flatnonzero(~gaps)
        filled_up = [np.stack([filled(series) for series in v]) if np.isnan(v).any() else v for v in cut]
        return filled_up, np.arange(len(cut))

    def _windows(self, values: list[NDArray[np.float64]]) -> NDArray[np.float32]:
        if not values:
            raise InputError(
                f"{self.problem}: every recording has missing values; set missing: interpolate to fill them"
            )
        lengths = sorted({v.shape[1] for v in values})
        if self.length is None and len(lengths) > 1:
            raise InputError(
                f"{self.problem}: recordings of {lengths[0]} to {lengths[-1]} samples; set length, to which each is "
                "then stretched"
            )
        widths = sorted({len(v) for v in values})
        if len(widths) > 1:
            raise InputError(f"{self.problem}: recordings of {widths[0]} and {widths[-1]} dimensions; obtain it again")
        return stored(np.stack([v if self.length is None else stretch(v, self.length, np.float64) for v in values]))


@dataclass(frozen=True)
class Series:
    """What a ``.ts`` file holds: recordings ``(C, T)`` with NaN where values are missing, and their labels."""

    values: list[NDArray[np.float64]]
    labels: list[str]
    classes: list[str]


def unpadded(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """A recording ``(C, T)`` up to its last sample that any dimension has.

    >>> unpadded(np.array([[1.0, 2.0, np.nan, np.nan], [1.0, np.nan, 3.0, np.nan]])).shape
    (2, 3)
    """
    known = np.flatnonzero(~np.isnan(series).all(axis=0))
    return series[:, : known[-1] + 1] if len(known) else series[:, :0]


def filled(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Missing values from their neighbours, linearly over time.

    >>> filled(np.array([np.nan, 1.0, np.nan, 3.0])).tolist()
    [1.0, 1.0, 2.0, 3.0]
    """
    known = np.flatnonzero(~np.isnan(series))
    if not len(known):
        raise InputError("missing='interpolate': a recording has a dimension without any value; leave the set out")
    return np.asarray(np.interp(np.arange(len(series)), known, series[known]))


def read_ts(contents: bytes, name: str) -> Series:
    """Parse a ``.ts`` file of class-labelled series without time stamps.

    Lines that begin with ``#`` or ``%`` are comments; identifiers are read in any case; ``?`` and ``NaN`` are missing.

    Raises:
        InputError: with file and line.

    >>> text = b"@problemName demo\\n@univariate false\\n@classLabel true a b\\n@data\\n1,2:3,?:a\\n5,6:7,8:b\\n"
    >>> read_ts(text, "demo.ts").values[0].tolist(), read_ts(text, "demo.ts").labels
    ([[1.0, 2.0], [3.0, nan]], ['a', 'b'])
    """
    header: dict[str, list[str]] = {}
    values: list[NDArray[np.float64]] = []
    labels: list[str] = []
    classes: list[str] = []
    folded = 0
    known: dict[str, str] = {}  # as written, or else in any case
    for number, line in enumerate(contents.decode("utf-8-sig", errors="replace").splitlines(), start=1):
        text, where = line.strip(), f"{name}, line {number}"
        if not text or text[0] in "#%":
            continue
        if "data" not in header:
            if text[0] != "@":
                raise InputError(f"{where}: expected '@data' before the first series, got {text[:40]!r}")
            word, *rest = text[1:].split() or [""]
            header[word.lower()] = rest or [""]
            if word.lower() == "data":
                classes = _classes(header, name)
                known = {**{c.casefold(): c for c in classes}, **{c: c for c in classes}}
            continue
        series, word = _row(text, where, header)
        label = spelt(word)
        if classes and label not in known and label.casefold() not in known:
            raise InputError(f"{where}: expected a class among {', '.join(classes)}, got {label!r}")
        if not classes and label.casefold() in NO_LABEL_WORDS:
            raise InputError(f"{where}: expected a class, got {label!r}; name it behind @classLabel true if it is one")
        folded += label not in known and label.casefold() in known
        values.append(series)
        labels.append(known.get(label, known.get(label.casefold(), label)))
    if folded:
        rank_zero_info(f"{name}: {folded} labels are written in another case than in @classLabel, whose names they get")
    if not values:
        raise InputError(f"{name}: no series after '@data'; is the file half-written? Obtain it again")
    return Series(values, labels, classes or sorted(set(labels)))


def _classes(header: dict[str, list[str]], name: str) -> list[str]:
    """The classes that the header names, where it does; refuses what is no classification of plain series."""
    flags = {flag: header.get(flag, ["false"])[0].lower() for flag in FLAGS}
    for flag, value in flags.items():
        if value not in ("true", "false"):
            raise InputError(f"{name}: expected @{flag} true or false, got {' '.join(header[flag])!r}")
    if flags["timestamps"] == "true":
        raise InputError(f"{name}: it has time stamps (@timestamps true); expected series of equal steps without them")
    if flags["targetlabel"] == "true":
        raise InputError(f"{name}: a regression problem (@targetlabel true); expected class labels (@classlabel true)")
    has, *names = header.get("classlabel", ["false"])
    if has.lower() != "true":
        raise InputError(f"{name}: no class labels (@classlabel {has}); expected '@classlabel true' and the classes")
    return [spelt(name) for name in names]


def _row(text: str, where: str, header: dict[str, list[str]]) -> tuple[NDArray[np.float64], str]:
    *dimensions, label = [part.strip() for part in text.split(":")]
    declared = header.get("dimensions", header.get("dimension", []))
    if not dimensions or (declared and str(len(dimensions)) != declared[0]):
        raise InputError(
            f"{where}: expected {declared[0] if declared else 'some'} dimensions and a class, separated by ':', got "
            f"{len(dimensions)} dimensions and {label[:20]!r}; is the file half-written? Obtain it again"
        )
    try:
        rows = [[float("nan" if v.strip() == "?" else v) for v in part.split(",")] for part in dimensions]
    except ValueError as error:
        raise InputError(f"{where}: expected numbers or '?', separated by ',' ({error}); obtain it again") from error
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise InputError(
            f"{where}: dimensions of {lengths[0]} and of {lengths[-1]} values; expected as many in each; is the file "
            "half-written? Obtain it again"
        )
    series = np.array(rows)
    if np.isinf(series).any():
        raise InputError(f"{where}: infinite values; expected finite numbers or '?'")
    return series, label
