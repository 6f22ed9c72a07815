"""Known, unknown and dropped classes, and the labels of the known ones."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from kdlab.data.identity import words
from kdlab.data.spelling import text, yaml_word
from kdlab.data.windows import WindowSet
from kdlab.types import InputError, Name


def known_classes(
    classes: Sequence[str], unknown: Sequence[Name] | None, merge: Mapping[str, str] | None = None
) -> list[int]:
    """Labels of the classes that are not named as unknown.

    Args:
        classes: names of the classes, in the order of their labels.
        unknown: names; a number that is no name is a label.
        merge: other spellings of a class -> the class.

    Raises:
        InputError: no list, a class that there is not, or fewer than two known ones.

    >>> known_classes(["lie", "sit", "walk"], ["sit"]), known_classes(["lie", "sit", "walk", "run"], [0, "run"])
    ([0, 2], [1, 2])
    """
    if isinstance(unknown, str) or not isinstance(unknown, Sequence | np.ndarray | None):
        raise InputError(f"unknown_classes must be a list of classes, but got {unknown!r}. Write [{unknown}].")
    names = [str(c) for c in classes]
    given: list[Any] = [] if unknown is None else list(unknown)
    words(given, "unknown_classes")  # refuses what is no name
    given = [c if isinstance(c, int | np.integer) else text(c) for c in given]
    given = [(merge or {}).get(str(c), c) for c in given]
    wrong = [c for c in given if str(c) not in names and (isinstance(c, str) or c not in range(len(names)))]
    if wrong:
        raise InputError(
            f"unknown_classes: no class {', '.join(map(str, wrong))}; there are {', '.join(names)} (or labels, 0 to "
            f"{len(names) - 1})"
        )
    named = {names[int(c)] if str(c) not in names else str(c) for c in given}
    known = [k for k, name in enumerate(names) if name not in named]
    if named and len(known) < 2:
        raise InputError(
            f"unknown_classes: of {', '.join(names)}, {len(known)} would be known; leave at least two to learn"
        )
    return known


def dropped_classes(data: WindowSet, names: Sequence[str], name: str) -> list[int]:
    """Labels of the classes that are left out of everything; how many windows these are is logged.

    Args:
        data: all windows.
        names: of the classes, merged.
        name: of the data set, for messages.

    Raises:
        InputError: a class that is not in the data, or fewer than two others.
    """
    if absent := sorted(set(names) - set(data.classes)):
        raise InputError(
            f"drop_classes must be classes of the data ({', '.join(data.classes)}), but got {', '.join(absent)}. "
            "Name some of those."
        )
    dropped = [k for k, known in enumerate(data.classes) if known in names]
    if not dropped and len(data.classes) < 2:
        raise InputError(
            f"{name}: classes must be two or more, but got {', '.join(data.classes) or 'none'}. Are the other "
            "labels words without a class (no_label, ignore)?"
        )
    if len(data.classes) - len(dropped) < 2:
        raise InputError(f"drop_classes must leave two classes, but got {', '.join(sorted(set(names)))}. Drop fewer.")
    if dropped:
        counts = np.bincount(data.target[data.target >= 0], minlength=len(data.classes))
        rank_zero_info("drop_classes: left out " + ", ".join(f"{counts[k]} of {data.classes[k]}" for k in dropped))
    return dropped


def refuse_twice(classes: Sequence[str], left_out: Mapping[str, Sequence[int]]) -> None:
    """Refuse a class that two arguments leave out, each in its own way.

    Args:
        classes: names of the classes, in the order of their labels.
        left_out: argument -> the labels that it names.

    Raises:
        InputError: with the line to write.

    >>> refuse_twice(["lie", "sit", "walk"], {"unknown_classes": [0], "drop_classes": [2]})
    """
    for (first, some), (second, others) in itertools.combinations(left_out.items(), 2):
        if both := sorted(set(some) & set(others)):
            rest = [yaml_word(classes[k]) for k in others if k not in some]
            written = f"[{', '.join(rest)}]" if rest else "null"
            raise InputError(
                f"{first}, {second}: a class must be in one of them, but got {', '.join(classes[k] for k in both)} in "
                f"both. Write {second}: {written}, or take it out of {first}."
            )


def own_labels(target: NDArray[np.int64], known: Sequence[int], count: int) -> NDArray[np.int64]:
    """Labels among the known classes, from those of the data set; -1 for all others.

    Args:
        target: labels of the data set, ``(N,)``; -1 for none.
        known: labels of the known classes, in order.
        count: number of classes of the data set.

    >>> own_labels(np.array([0, 1, 2, 1]), [0, 2], 3).tolist()
    [0, -1, 1, -1]
    """
    if len(known) == count:
        return target
    place = np.full(count + 1, -1)  # the last one of -1
    place[list(known)] = np.arange(len(known))
    return place[target]
