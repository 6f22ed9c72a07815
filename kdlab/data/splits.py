"""Who trains, who validates, who is tested: disjoint by subject where subjects are known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray

from kdlab.data.windows import WindowSet, _rng, natural_key, split_groups, split_recordings
from kdlab.types import InputError

STAGES = ("train", "val", "test")
TEST_FRACTION = 0.2


@dataclass(frozen=True)
class Split:
    """Rows of the data set and groups per stage; ``grouping`` says what a group is."""

    grouping: str
    rows: dict[str, NDArray[np.int64]]
    groups: dict[str, list[str]]
    group: NDArray[np.str_]  # of every window


def names_of(values: NDArray[Any]) -> NDArray[np.str_]:
    """Ids as text: ``101`` and ``"101"`` are the same subject."""
    return np.array([str(v) for v in values.tolist()], dtype=np.str_)


def make_split(
    data: WindowSet,
    *,
    split: str = "group",
    test_subjects: Sequence[int | str] | None = None,
    val_subjects: Sequence[int | str] | None = None,
    val_fraction: float = 0.15,
    seed: int = 0,
    train_per_class: int | None = None,
) -> Split:
    """Divide the windows of a data set.

    Args:
        data: the windows.
        split: ``"group"`` keeps subjects (or else recordings) whole; ``"random_windows"`` does not.
        test_subjects: who is tested; None: the data set's own split, or else a fifth of the groups.
        val_subjects: who validates; None: chosen by ``seed``.
        val_fraction: the least part of the training groups that validates.
        seed: of every choice.
        train_per_class: keep so many training recordings (windows, where recordings are unknown) of each class.

    Raises:
        InputError: unknown subjects, a subject in two splits, an empty fold, a class without a training window.
    """
    if split not in ("group", "random_windows"):
        raise InputError(f'split={split!r}: expected "group" or "random_windows"')
    if not 0.0 < val_fraction < 1.0:
        raise InputError(f"val_fraction={val_fraction}: expected a number in (0, 1), such as 0.15")
    if data.subject is None and (test_subjects is not None or val_subjects is not None):
        given = "test_subjects" if test_subjects is not None else "val_subjects"
        raise InputError(f"{given}: the subjects of this data set are unknown; give subject ids, or leave {given} out")
    grouping, group = _grouping(data, split)
    test = _test_rows(data, grouping, group, test_subjects, seed)
    rest = np.flatnonzero(~test)
    if len(rest) == 0:
        raise InputError("test_subjects: every window would be tested, none is left to train on; name fewer subjects")
    held = _val_rows(data, grouping, group, rest, val_subjects, val_fraction, seed)
    rows = {"train": rest[~held], "val": rest[held], "test": np.flatnonzero(test)}
    rows["train"] = _few(data, rows["train"], train_per_class, seed)
    groups = {s: sorted(set(group[r].tolist()), key=natural_key) for s, r in rows.items()}
    result = Split(grouping, rows, groups, group)
    _check(data, result)
    return result


def _grouping(data: WindowSet, split: str) -> tuple[str, NDArray[np.str_]]:
    every = names_of(np.arange(len(data)))
    if split == "random_windows":
        rank_zero_warn(
            'split="random_windows": windows of one person or recording go into training, validation and test alike. '
            "Such figures are too high by 10 points and more on human activity; report them as what they are."
        )
        return "window", every
    if data.subject is not None:
        return "subject", names_of(data.subject)
    if data.recording is not None:
        rank_zero_info("Subjects are unknown: whole recordings are kept together, stratified by class.")
        return "recording", names_of(data.recording)
    rank_zero_warn(
        "Neither subjects nor recordings are known: each window is taken to stand for itself. Windows that overlap or "
        'come from one recording would leak; give subject= or recording= (recording="each": they are whole recordings).'
    )
    return "window", every


def _known(asked: Sequence[int | str], available: NDArray[np.str_], argument: str) -> list[str]:
    if isinstance(asked, str) or not isinstance(asked, Sequence | np.ndarray):
        raise InputError(f"{argument}: expected a list of subjects, got {asked!r}; write [{asked}]")
    names = [str(v) for v in asked]
    present = sorted(set(available.tolist()), key=natural_key)
    unknown = [n for n in names if n not in present]
    if unknown:
        raise InputError(f"{argument}: no subject {', '.join(unknown)}; there are {', '.join(present)}")
    if not names:
        raise InputError(f"{argument}: an empty list leaves an empty fold; name some of {', '.join(present)}")
    return names


def _majority(data: WindowSet, group: NDArray[np.str_], rows: NDArray[np.int64]) -> dict[str, int]:
    count: dict[str, Counter[int]] = {}
    for name, label in zip(group[rows].tolist(), data.target[rows].tolist(), strict=True):
        count.setdefault(name, Counter())[label] += 1
    return {name: min(c, key=lambda k: (-c[k], k)) for name, c in count.items()}


def _held_by_label(
    data: WindowSet, group: NDArray[np.str_], rows: NDArray[np.int64], fraction: float, seed: int
) -> NDArray[np.bool_]:
    held = split_recordings(_majority(data, group, rows), fraction, seed)[1]
    return np.isin(group[rows], held)


def _test_rows(
    data: WindowSet, grouping: str, group: NDArray[np.str_], asked: Sequence[int | str] | None, seed: int
) -> NDArray[np.bool_]:
    if asked is not None and data.subject is not None:
        subject = names_of(data.subject)
        return np.isin(subject, _known(asked, subject, "test_subjects"))
    if data.test is not None:
        both = sorted(set(group[data.test].tolist()) & set(group[~data.test].tolist()), key=natural_key)
        if both:
            raise InputError(
                f"{grouping} {', '.join(both[:8])} in two splits: the given test split shares it with the training "
                "windows; give test_subjects, or a split whose subjects are disjoint"
            )
        return data.test.astype(np.bool_)
    if grouping == "subject":
        names = sorted(set(group.tolist()), key=natural_key)
        if len(names) < 4:
            raise InputError(
                f"{len(names)} subjects ({', '.join(names)}) are too few to hold out some for test and two for "
                "validation; give test_subjects and val_subjects"
            )
        count = max(1, math.ceil(TEST_FRACTION * len(names) - 1e-9))
        order = _rng(seed, 0).permutation(len(names))
        return np.isin(group, [names[i] for i in order[:count]])
    return _held_by_label(data, group, np.arange(len(data)), TEST_FRACTION, seed + (1 << 20))


def _val_rows(
    data: WindowSet,
    grouping: str,
    group: NDArray[np.str_],
    rest: NDArray[np.int64],
    asked: Sequence[int | str] | None,
    fraction: float,
    seed: int,
) -> NDArray[np.bool_]:
    if asked is not None:
        if grouping != "subject":
            raise InputError('val_subjects: has no meaning with split="random_windows"; leave one of the two out')
        names = _known(asked, group, "val_subjects")
        both = [n for n in names if n not in set(group[rest].tolist())]
        if both:
            raise InputError(f"subject {', '.join(both)} in two splits: named for validation, but tested; name others")
        if len(set(names)) < 2:
            rank_zero_warn(f"One subject ({names[0]}) validates: too few to choose an epoch or a setting by.")
        return np.isin(group[rest], names)
    if grouping != "subject":
        return _held_by_label(data, group, rest, fraction, seed)
    classes: dict[str, set[int]] = {}
    for name, label in zip(group[rest].tolist(), data.target[rest].tolist(), strict=True):
        classes.setdefault(name, set()).add(label)
    return np.isin(group[rest], split_groups(list(classes), fraction, 2, seed, classes=classes)[1])


def _few(data: WindowSet, rows: NDArray[np.int64], per_class: int | None, seed: int) -> NDArray[np.int64]:
    if per_class is None:
        return rows
    if per_class < 1:
        raise InputError(f"train_per_class={per_class}: expected at least one, or null for all")
    unit = names_of(np.arange(len(data))) if data.recording is None else names_of(data.recording)
    if data.recording is not None and data.subject is not None:
        unit = np.char.add(np.char.add(names_of(data.subject), "/"), unit)
    rng, kept = _rng(seed, 4), []
    for k in range(len(data.classes)):
        mine = rows[data.target[rows] == k]
        names = sorted(set(unit[mine].tolist()), key=natural_key)
        chosen = [names[i] for i in rng.permutation(len(names))[:per_class]]
        kept.append(mine[np.isin(unit[mine], chosen)])
    return np.sort(np.concatenate(kept))


def _check(data: WindowSet, split: Split) -> None:
    for stage in STAGES:
        if len(split.rows[stage]) == 0:
            raise InputError(
                f"the {stage} fold is empty: {data_summary(data)}; choose other subjects or more recordings"
            )
    absent = [name for k, name in enumerate(data.classes) if not (data.target[split.rows["train"]] == k).any()]
    if absent:
        raise InputError(
            f"no training window of class {', '.join(absent)}: its windows are all validated or tested on, or there "
            "are none; hold out other subjects (test_subjects, val_subjects, split_seed) or leave the class out"
        )


def data_summary(data: WindowSet) -> str:
    """How many windows, classes and subjects there are, for messages."""
    subjects = "unknown subjects" if data.subject is None else f"{len(set(names_of(data.subject).tolist()))} subjects"
    return f"{len(data)} windows of {len(data.classes)} classes and {subjects}"
