"""Windows as they were loaded, with people, recordings and classes made equal and merged as declared."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray

from kdlab.data.identity import alike, merge_map, names
from kdlab.data.label_rows import count_classes
from kdlab.data.spelling import text
from kdlab.data.windows import WindowSet
from kdlab.types import InputError

Merged = dict[str, dict[str, int]]


def identified(
    data: WindowSet, labels: Mapping[Any, Any] | None = None, subjects: Mapping[Any, Any] | None = None
) -> tuple[WindowSet, Merged]:
    """Windows whose subjects, recordings and classes are equal where they are the same; the samples are not touched.

    Args:
        data: the windows of any data set.
        labels: other spellings of classes -> the class that they are.
        subjects: other spellings of subjects (recordings, where subjects are unknown) -> who it is.

    Returns:
        The windows (``data`` itself, where nothing changes), and for ``labels`` and ``subjects`` how many windows had a
        name that was merged.

    Raises:
        InputError: missing ids; names that are alike and not merged; a class named twice.
    """
    changes: dict[str, Any] = {}
    merged: Merged = {"labels": {}, "subjects": {}}
    split_by = "subject" if data.subject is not None else "recording"
    for argument in ("subject", "recording"):
        merge = subjects if argument == split_by else None
        values = getattr(data, argument)
        if values is None or (values.dtype.kind in "iu" and not merge and not np.ma.isMaskedArray(values)):
            continue  # whole numbers are equal or not
        found = names(values, argument, merge=merge)
        if argument == split_by:
            alike(found.names, argument, merge)
            merged["subjects"] = found.merged
        same = found.array()
        if values.dtype.kind != "U" or not np.array_equal(same, values):
            changes[argument] = same
    classes, target = _classes(data, labels, merged)
    if classes != list(data.classes):
        changes |= {"classes": classes, "target": target}
    for argument, counts in merged.items():
        mapping = merge_map({"labels": labels, "subjects": subjects}[argument], argument)
        idle = [name for name, other in mapping.items() if name != other and name not in counts]
        if idle:
            rank_zero_warn(f"{argument}: nothing is named {', '.join(map(repr, idle))}, so nothing of it was merged")
        if counts:
            listed = ", ".join(f"{name!r}: {count}" for name, count in sorted(counts.items()))
            rank_zero_info(f"{argument}: merged as declared, windows by the name that they had: {listed}")
    if not changes:
        return data, merged
    result = copy.copy(data)  # dataclasses.replace would read all windows again, to check them
    for name, value in changes.items():
        setattr(result, name, value)
    return result, merged


def _classes(data: WindowSet, labels: Mapping[Any, Any] | None, merged: Merged) -> tuple[list[str], NDArray[np.int64]]:
    given = list(data.classes)
    doubled = sorted({str(name) for name in given if given.count(name) > 1})
    if doubled:
        raise InputError(
            f"classes must be different names, but got {', '.join(doubled)} more than once. Name each once."
        )
    mapping = merge_map(labels, "labels")
    spelt = [text(name, "classes") for name in given]
    final = [mapping.get(name, name) for name in spelt]
    classes = list(dict.fromkeys(final))
    if data.labels == "one":  # columns are told apart by their place
        alike(classes, "classes", labels, by="labels")
    counts = count_classes(data.target, len(given))
    for name, other, count in zip(spelt, final, counts.tolist(), strict=True):
        if name != other and count:
            merged["labels"][name] = count
    if classes == given or data.labels == "many":
        return classes, data.target
    place = np.array([*(classes.index(name) for name in final), -1], dtype=np.int64)  # of -1, no label, -1
    return classes, place[data.target]
