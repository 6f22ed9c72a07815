"""The classes of recordings, and the class of each label code of a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kdlab.data import identity
from kdlab.data.recordings.layout import Recording
from kdlab.data.recordings.resample import NO_LABEL
from kdlab.data.recordings.store import Stored
from kdlab.data.spelling import natural_key
from kdlab.types import InputError


def class_names(
    recordings: Sequence[Recording],
    stored: Sequence[Stored],
    *,
    classes_given: Sequence[str] | None,
    ignore: Sequence[str],
    nothing: Sequence[str],
    merge: Mapping[str, str],
) -> tuple[list[str], list[NDArray[np.int64]]]:
    """The classes, and for each recording the class of each of its codes: -1 for none.

    Args:
        recordings: the files.
        stored: the same, as they are kept.
        classes_given: the classes, in order; None: all labels that there are, in natural order.
        ignore: labels that are no class.
        nothing: words that mean "no label".
        merge: other spellings of a label -> the class.

    Raises:
        InputError: labels that are alike, or a label that is not among the given classes.
    """
    files = {word: r.file for r, one in zip(recordings, stored, strict=True) for word in one.labels}
    coded = identity.labels(
        sorted(files),
        "label",
        merge=merge,
        nothing=nothing,
        classes=[*(classes_given or ()), *ignore],
    )
    name_of = dict(zip(sorted(files), coded.array().tolist(), strict=True))
    identity.alike({*coded.names, *ignore, *(classes_given or ())}, "label", merge, by="labels")
    found = set(coded.names) - set(ignore)
    classes = sorted(found, key=natural_key)
    if classes_given is not None:
        classes = identity.class_names(classes_given, "classes", merge)
        unknown = sorted(found - set(classes), key=natural_key)
        if unknown:
            file = next(file for word, file in sorted(files.items()) if name_of[word] == unknown[0])
            raise InputError(
                f"classes: label {unknown[0]!r} of {file} is not among {', '.join(classes)}; add it, or have it "
                f"ignored (ignore: [{', '.join(unknown)}])"
            )
    at = {name: k for k, name in enumerate(classes)}
    places = [np.array([at.get(name_of[word], NO_LABEL) for word in one.labels], np.int64) for one in stored]
    return classes, places
