"""Your own arrays, or an npz file of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from kdlab.data.base import WindowDataModule
from kdlab.data.complete import complete
from kdlab.data.identity import (
    alike,
    class_names,
    column_of,
    labels,
    names,
    no_label_words,
    refuse_missing,
)
from kdlab.data.label_rows import column_names, label_rows
from kdlab.data.mapped import MappedWindows, Place
from kdlab.data.npz import read_npz
from kdlab.data.shared import Shared, Unpack
from kdlab.data.stored import stored
from kdlab.data.unlabelled import NO_LABEL
from kdlab.data.windows import WindowSet
from kdlab.types import InputError, Name, plain_array

_TRAINED = ", or train with unlabelled: {missing: true}"
_NO_LABEL = f"; windows without a label (-1) are left out{_TRAINED}"


class ArrayDataModule(WindowDataModule):
    """Windows that are already cut, with labels and, best, subject ids.

    Args:
        x: windows, in any unit; channels and samples in the order of ``layout``. Memory-mapped ones
            (``np.load("x.npy", mmap_mode="r")``) stay on disk, whatever their number type and layout, and are read
            batch by batch. None: from ``path``.
        y: their labels: whole numbers from 0 (with or without ``classes``), or words. A window without one (-1, None,
            NaN, masked, a word of ``no_label``) is refused, or trains with ``unlabelled: {missing: true}``. With
            ``labels="many"``: rows of 0 and 1, ``(N, K)``, a column for each class, for windows with any number of
            classes or none; a window without labels has a row of -1.
        subject: whose window it is, as numbers or words (``1.0``, ``"1 "`` and ``1`` are one person); a missing one is
            refused. None: unknown, and then no result can claim to hold for new people.
        path: an npz file with ``x`` and ``y`` (and ``subject``, ``recording``), or with ``x_train``, ``y_train``,
            ``x_test``, ``y_test`` (and ``subject_train``, ``subject_test``); ``classes`` and ``channels`` are read
            where they are there and not given.
        layout: ``"NCT"`` (windows, channels, samples) or ``"NTC"`` (windows, samples, channels).
        x_test: windows of a test split of your own; ``x`` is then for training and validation only.
        y_test: their labels.
        subject_test: their subjects.
        x_unlabelled: windows without a label for training, see `Unlabelled`, which need not be given then.
        subject_unlabelled: their subjects; those of validation and test are left out.
        recording: the recording of each window, over ``x``, then ``x_test`` and ``x_unlabelled``; ``"each"``: every
            window is a complete recording; None: unknown.
        classes: class names in the order of the labels; of the columns, where ``labels`` is ``"many"``.
        no_label: words in ``y`` that are no class, in any case, unless ``classes`` names them; None: the empty word,
            ``na``, ``n/a``, ``<na>``, ``nan``, ``nat``, ``null``, ``none`` and ``?``.
        missing: ``"error"``: a NaN or infinite sample is refused; ``"drop"``: its window is left out, and counted.
        channels: channel names.
        sampling_rate: hertz.
        step: samples from one window of a recording to the next.
        x_predict: windows without labels, for ``predict``.
        keys: names in the npz that differ, such as ``{"subject": "participant"}``.
        dataset: a name for the data, kept in the fingerprint; give every data set its own.

    Shapes:
        ``(N, C, T)`` or ``(N, T, C)``, labels and subjects ``(N,)``; rows of labels ``(N, K)``

    Raises:
        InputError: neither arrays nor a path, or both; arrays that do not fit together; an npz that cannot be read.
        MissingFileError: ``path`` is not there.

    >>> x = np.random.default_rng(0).normal(size=(60, 3, 50))
    >>> data = ArrayDataModule(x, np.arange(60) % 2, subject=np.arange(60) // 6, channels=["x", "y", "z"])
    >>> data.counts
    {'train': {'windows': 36, 'groups': 6}, 'val': {'windows': 12, 'groups': 2}, 'test': {'windows': 12, 'groups': 2}}
    """

    name = "arrays"
    takes_many_labels = True

    def __init__(
        self,
        x: Any = None,
        y: Any = None,
        subject: Any = None,
        *,
        path: str | Path | None = None,
        layout: Literal["NCT", "NTC"] = "NCT",
        x_test: Any = None,
        y_test: Any = None,
        subject_test: Any = None,
        x_unlabelled: Any = None,
        subject_unlabelled: Any = None,
        recording: Any = None,
        classes: list[Name] | None = None,
        no_label: list[Name] | None = None,
        missing: Literal["error", "drop"] = "error",
        channels: list[str] | None = None,
        sampling_rate: float | None = None,
        step: int | None = None,
        x_predict: Any = None,
        keys: dict[str, str] | None = None,
        dataset: str = "arrays",
        **common: Unpack[Shared],
    ) -> None:
        super().__init__(**common)
        if layout not in ("NCT", "NTC"):
            raise InputError(f'layout must be "NCT" (windows, channels, samples) or "NTC", but got {layout!r}.')
        if path is None and (x is None or y is None):
            raise InputError(
                "x, y must be windows and their labels, or path an npz file that holds them. Give x and y, or path."
            )
        if path is not None and not (x is None and y is None):
            raise InputError("x, path: one of them must be given, but got both. Leave one out.")
        if (x_test is None) != (y_test is None):
            raise InputError("x_test, y_test must be both given or both left out, but got one. Give both.")
        if missing not in ("error", "drop"):
            raise InputError(f'missing must be "error" or "drop", but got {missing!r}. Choose one of them.')
        self.missing, self.no_label = missing, no_label_words(no_label)
        self.name = dataset
        self.path, self.layout, self.keys = path, layout, dict(keys or {})
        self._arrays = {
            "x": x,
            "y": y,
            "subject": subject,
            "x_test": x_test,
            "y_test": y_test,
            "subject_test": subject_test,
            "x_unlabelled": x_unlabelled,
            "subject_unlabelled": subject_unlabelled,
            "recording": recording,
            "x_predict": x_predict,
        }
        self._classes, self._channels = classes, channels
        self._sampling_rate, self._step = sampling_rate, step

    def load(self) -> WindowSet:
        """Put the parts together."""
        given = {k: v for k, v in self._arrays.items() if v is not None}
        if self.path is not None:
            given = {**read_npz(self.path, self.keys), **given}
        if "x" not in given or "y" not in given:
            raise InputError(
                f"path={str(self.path)!r}: expected x and y, or x_train, y_train, x_test and y_test; the file has "
                f"{', '.join(given) or 'nothing'}; name what differs with keys="
            )
        missing = self.missing_labels or "x_unlabelled" in given
        x = self._windows(given["x"], "x")
        label, subject = self._targets(given["y"], "y", len(x), missing), given.get("subject")
        if subject is not None:
            subject = self._ids(subject, "subject", len(x))
        test = None
        if "x_test" in given:
            more = self._windows(given["x_test"], "x_test")
            if more.shape[1:] != x.shape[1:]:
                raise InputError(f"x_test: windows of shape {more.shape[1:]}, but those of x have {x.shape[1:]}")
            if (subject is None) != (given.get("subject_test") is None):
                raise InputError("subject, subject_test must be both given or both left out, but got one. Give both.")
            test = np.arange(len(x) + len(more)) >= len(x)
            label = _one_kind(label, self._targets(given["y_test"], "y_test", len(more), missing))
            if subject is not None:
                subject = _one_kind(subject, self._ids(given["subject_test"], "subject_test", len(more)))
            x = _joined(x, more)
        target, classes = self._labels(label, given.get("classes"), missing)
        if "x_unlabelled" in given:
            x, target, subject, test = self._with_unlabelled(given, x, target, subject, test)
        return complete(
            {
                "windows": {"raw": x},
                "target": target,
                "subject": subject,
                "recording": self._recordings(given.get("recording"), len(x)),
                "test": test,
            },
            drop=self.missing == "drop",
            classes=classes,
            channels={"raw": self._names(given.get("channels"), x)},
            sampling_rate=self._sampling_rate,
            step=self._step,
            missing_labels=missing,
            labels="many" if self.many_labels else "one",
        )

    def _with_unlabelled(
        self,
        given: dict[str, Any],
        x: NDArray[np.float32],
        target: NDArray[np.int64],
        subject: NDArray[Any] | None,
        test: NDArray[np.bool_] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[Any] | None, NDArray[np.bool_] | None]:
        """The windows with those of ``x_unlabelled`` behind them."""
        more = self._windows(given["x_unlabelled"], "x_unlabelled")
        if more.shape[1:] != x.shape[1:]:
            raise InputError(f"x_unlabelled: windows of shape {more.shape[1:]}, but those of x have {x.shape[1:]}")
        if (subject is None) != (given.get("subject_unlabelled") is None):
            raise InputError(
                "subject, subject_unlabelled must be both given or both left out, but got one. Give both, so that "
                "people who validate or are tested can be left out."
            )
        if subject is not None:
            subject = _one_kind(subject, self._ids(given["subject_unlabelled"], "subject_unlabelled", len(more)))
        target = np.concatenate([target, np.full((len(more), *target.shape[1:]), NO_LABEL)])
        test = None if test is None else np.concatenate([test, np.zeros(len(more), dtype=np.bool_)])
        return _joined(x, more), target, subject, test

    def load_predict(self) -> dict[str, NDArray[np.float32]] | None:
        """New windows, in the same layout."""
        new = self._arrays["x_predict"]
        return None if new is None else {"raw": self._windows(new, "x_predict")}

    def _windows(self, values: Any, argument: str) -> NDArray[np.float32]:
        x = plain_array(values, argument, native=False)
        on_disk = Place.of(x) is not None
        if x.ndim != 3:
            hint = f"; for one channel give {argument}[:, None, :]" if x.ndim == 2 and self.layout == "NCT" else ""
            raise InputError(f"{argument} must have three axes, {self._axes()}, but got shape {x.shape}{hint}")
        if x.dtype.kind not in "fiu":
            raise InputError(f"{argument} must be numbers, but got {x.dtype}.")
        x = np.swapaxes(x, 1, 2) if self.layout == "NTC" else x
        if on_disk:  # read like an array, by rows
            return cast(NDArray[np.float32], MappedWindows([x]))
        return stored(x)

    def _axes(self) -> str:
        return "(windows, channels, samples)" if self.layout == "NCT" else "(windows, samples, channels)"

    def _targets(self, values: Any, argument: str, n: int, missing: bool) -> NDArray[Any]:
        if self.many_labels:
            return label_rows(values, argument, n, missing)
        if (columns := _columns(values)) > 1:
            raise InputError(
                f"{argument} must be one value per window, shape ({n},), but got {columns} columns. "
                f"{of_columns(values, argument)}"
            )
        return self._column(values, argument, n, missing)

    def _column(self, values: Any, argument: str, n: int, missing: bool) -> NDArray[Any]:
        column, masked = column_of(np.asarray(values) if _numeric(values) else values, argument)
        if column.shape != (n,):
            raise InputError(f"{argument} must be one value per window, shape ({n},), but got shape {column.shape}.")
        if masked is not None and missing:
            raise InputError(f"{argument} must not be masked, but got masked labels. Write -1 where there is no label.")
        if masked is not None:
            refuse_missing(labels(values, argument), argument, "a class")
        return column

    def _ids(self, values: Any, argument: str, n: int) -> NDArray[Any]:
        column, masked = column_of(values, argument)
        if column.shape != (n,):
            raise InputError(f"{argument} must be one value per window, shape ({n},), but got shape {column.shape}.")
        if column.dtype.kind in "iu" and masked is None:
            return column
        return names(values, argument, merge=_themselves(self.merge_subjects)).array()

    def _labels(self, label: NDArray[Any], stored: Any, missing: bool) -> tuple[NDArray[np.int64], list[str]]:
        given = self._classes if self._classes is not None else None if stored is None else _words(stored)
        declared = None if given is None else class_names(given, "classes", self.merge_labels)
        if self.many_labels:
            return label, column_names(label.shape[1], declared)
        if label.dtype.kind not in "biuf":
            return self._worded(label, declared, missing)
        if missing:
            label = np.where(np.isnan(label), NO_LABEL, label)
        bad = np.flatnonzero(~np.isfinite(label))
        if len(bad):
            raise InputError(
                f"y must be a class for each, but got {len(bad)} missing (NaN) or infinite ones, the first at index "
                f"{bad[0]}. Leave those windows out{_TRAINED}."
            )
        if label.dtype.kind == "f" and not (label == np.floor(label)).all():
            raise InputError("y must be class labels (whole numbers from 0, or words), but got fractions.")
        target = label.astype(np.int64)
        if declared is not None:
            return target, declared  # classes are merged after the labels have been checked against them
        present = np.unique(target[target != NO_LABEL] if missing else target)
        if len(present) and (present[0] < 0 or present[-1] != len(present) - 1):
            raise InputError(
                f"y: expected labels 0..{len(present) - 1} for {len(present)} classes, got "
                f"{', '.join(str(v) for v in present[:20])}; number them from 0 without gaps "
                "(np.unique(y, return_inverse=True)[1]), give them as words (y.astype(str)), or give classes= with a "
                f"name for every number{_NO_LABEL if present[0] == NO_LABEL else ''}"
            )
        return target, [str(v) for v in present]

    def _worded(
        self, label: NDArray[Any], declared: list[str] | None, missing: bool
    ) -> tuple[NDArray[np.int64], list[str]]:
        """Labels that are words, with the names that are still to be merged behind the declared ones."""
        merge = self.merge_labels
        final = None if declared is None else {merge.get(name, name) for name in declared}
        found = labels(label, "y", merge=_themselves(merge), nothing=self.no_label, classes=declared or ())
        if not missing:
            refuse_missing(found, "y", "a class", _TRAINED)
        meant = {name: merge.get(name, name) for name in found.names}
        alike([*meant.values(), *(final or ())], "y", merge, by="labels")
        unknown = sorted({other for other in meant.values() if final is not None and other not in final})
        if unknown:
            raise InputError(f"y: labels {', '.join(unknown)} are not among the classes ({', '.join(declared or ())})")
        classes = list(dict.fromkeys([*(declared or ()), *sorted(found.names, key=lambda name: (meant[name], name))]))
        place = np.array([*(classes.index(name) for name in found.names), NO_LABEL], dtype=np.int64)
        return place[found.code], classes  # the code of a missing label is -1

    def _names(self, stored: Any, x: NDArray[np.float32]) -> list[str]:
        names = self._channels if self._channels is not None else None if stored is None else _words(stored)
        width, length = x.shape[1], x.shape[2]
        other = "NTC" if self.layout == "NCT" else "NCT"
        if names is None:
            if length < width <= 4 * length:
                rank_zero_warn(
                    f"layout={self.layout!r}: that makes {width} channels of {length} samples; if the axes are the "
                    f'other way round, set layout="{other}". Name the channels to be rid of this warning.'
                )
            if width > 4 * length:
                raise InputError(
                    f"layout={self.layout!r}: that makes {width} channels of {length} samples; it looks as if the axes "
                    f'are the other way round: set layout="{other}" (or name the channels, if it is meant)'
                )
            return [f"channel_{c}" for c in range(width)]
        if len(names) != width:
            hint = (
                f'; the windows have {length} samples: did you mean layout="{other}"?' if len(names) == length else ""
            )
            raise InputError(f"channels: {len(names)} names for {width} channels{hint}")
        return names

    def _recordings(self, values: Any, n: int) -> NDArray[Any] | None:
        if values is None:
            return None
        if isinstance(values, str):
            if values != "each":
                raise InputError(f'recording must be one id per window, "each", or nothing, but got {values!r}.')
            return np.arange(n)
        return self._ids(values, "recording", n)


def of_columns(values: Any, name: str, many: str = "declare labels: many") -> str:
    """What to write in place of labels in columns: one-hot rows are one class each.

    >>> of_columns(np.eye(3), "y")
    'Each row has one 1: write y.argmax(axis=1), or, where windows may have several classes, declare labels: many.'
    """
    rows = np.asarray(values)
    if rows.ndim == 2 and rows.shape[1] == 1:
        return f"Write {name}[:, 0]."
    if rows.ndim == 2 and rows.dtype.kind in "biuf" and ((rows == 0) | (rows == 1)).all() and (rows.sum(1) == 1).all():
        one = f"Each row has one 1: write {name}.argmax(axis=1)"
        return f"{one}, or, where windows may have several classes, {many}."
    return f"If windows have any number of classes each, in columns of 0 and 1, {many}."


def _joined(x: Any, more: Any) -> NDArray[np.float32]:
    if isinstance(x, MappedWindows) or isinstance(more, MappedWindows):
        return cast(NDArray[np.float32], MappedWindows.joined(x, more))
    return np.concatenate([x, more])


def _numeric(values: Any) -> bool:
    """Whether a list holds numbers alone, which numpy then reads as such."""
    return isinstance(values, list | tuple) and all(isinstance(v, int | float | np.number | np.bool_) for v in values)


def _columns(values: Any) -> int:
    """Number of columns of labels; 1 where there is one value per window."""
    if isinstance(values, list | tuple):
        first = values[0] if len(values) else 0
        return len(first) if isinstance(first, list | tuple | np.ndarray) else 1
    shape = np.shape(values)
    return int(shape[1]) if len(shape) == 2 else 1


def _themselves(merge: dict[str, str]) -> dict[str, str]:
    """The names that a mapping knows, each as it is: they are merged, and counted, once all windows are there."""
    return {name: name for name in merge}


def _one_kind(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Two columns as one; where one has numbers and the other words, both become objects and keep their values."""
    if first.shape[1:] != second.shape[1:]:
        raise InputError(
            f"y, y_test must have the same columns, but got {first.shape[1]} and {second.shape[1]}. Give a column for "
            "each class, also for one that is not there."
        )
    if (first.dtype.kind in "biuf") != (second.dtype.kind in "biuf"):
        return np.concatenate([first.astype(object), second.astype(object)])
    return np.concatenate([first, second])


def _words(values: Any) -> list[str]:
    return [v.decode() if isinstance(v, bytes) else str(v) for v in np.asarray(values).tolist()]
