"""The training, validation and test subjects: disjoint where subjects are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray

from kdlab.data.cross_fit import CrossFit
from kdlab.data.groups import Groups
from kdlab.data.held_out import check_fraction, generator, split_groups, split_recordings
from kdlab.data.identity import words
from kdlab.data.label_rows import count_classes, has_class
from kdlab.data.spelling import likeness, yaml_word
from kdlab.data.unlabelled import Unlabelled
from kdlab.data.windows import WindowSet
from kdlab.types import InputError, Name

STAGES = ("train", "val", "test")
TEST_FRACTION = 0.2


@dataclass(frozen=True)
class Split:
    """Rows of the data set and groups per stage; ``grouping`` is the kind of group.

    ``kept`` are the windows that a stage can have, see :func:`usable`, and those of unknown classes.
    """

    grouping: str
    rows: dict[str, NDArray[np.int64]]
    groups: dict[str, list[str]]
    kept: NDArray[np.bool_]


def make_split(
    data: WindowSet,
    *,
    split: str = "group",
    test_subjects: Sequence[Name] | None = None,
    val_subjects: Sequence[Name] | None = None,
    val_fraction: float = 0.15,
    val_count: int | None = None,
    val_choice: str = "balanced",
    seed: int = 0,
    train_per_class: int | None = None,
    unknown: Sequence[int] = (),
    dropped: Sequence[int] = (),
    unlabelled: Unlabelled | None = None,
    cross_fit: CrossFit | None = None,
) -> Split:
    """Divide the windows of a data set.

    Args:
        data: the windows.
        split: ``"group"`` keeps all windows of a subject (or else recording) in one part; ``"random_windows"`` does
            not.
        test_subjects: the test subjects; None: the data set's own split, or else a fifth of the groups.
        val_subjects: the validation subjects; None: chosen by ``seed``.
        val_fraction: the least part of the training groups that is held out for validation, never fewer than two
            subjects.
        val_count: number of validation subjects, in place of ``val_fraction``.
        val_choice: ``"balanced"`` or ``"random"``, see :func:`~kdlab.data.split_groups`.
        seed: of every choice.
        train_per_class: keep so many training recordings (windows, where recordings are unknown) of each class.
        unknown: labels that are held out of training: their windows are left out after the split, which they do not
            change, and those of the test part become the rows ``"unknown"``.
        dropped: labels whose windows are in no part, and have none in any choice.
        unlabelled: which training windows have no label; they are the rows ``"unlabelled"``.
        cross_fit: which training people are left out; their windows are the rows ``"left_out"``.

    Raises:
        InputError: unknown subjects, a subject in two splits, an empty fold, a class without a training window.
    """
    if split not in ("group", "random_windows"):
        raise InputError(f'split must be "group" or "random_windows", but got {split!r}.')
    check_fraction(val_fraction)
    if val_choice not in ("balanced", "random"):
        raise InputError(f'val_choice must be "balanced" or "random", but got {val_choice!r}. Choose one of them.')
    _check_count(data, split, val_subjects, val_count)
    if data.subject is None and (test_subjects is not None or val_subjects is not None):
        given = "test_subjects" if test_subjects is not None else "val_subjects"
        raise InputError(f"{given}: the subjects of this data set are unknown; give subject ids, or leave {given} out")
    grouping, group = _grouping(data, split)
    kept, hidden = usable(data, dropped, unlabelled)
    least = 2 + (2 if val_count is None else val_count)
    test = _test_rows(data, grouping, group, kept, test_subjects, seed, least)
    validating: list[str] = []
    if val_subjects is not None and grouping == "subject":
        validating = _known(val_subjects, group.names, "val_subjects")
    if unlabelled is not None:
        unlabelled.refuse_held(data, group.among(test), validating)
    _refuse_without_windows(group, ~test, kept, validating)
    if test_subjects is not None and grouping == "subject" and not (test & kept).any():
        raise InputError(
            f"test_subjects must be people with labelled windows, but got {', '.join(group.among(test))}, whose "
            "windows all have no label or a class that is left out. Name others."
        )
    rest = np.flatnonzero(~test & kept)
    if len(rest) == 0:
        raise InputError("test_subjects: every window would be tested, none is left to train on; name fewer subjects")
    held = _val_rows(data, grouping, group, rest, val_subjects, val_fraction, seed, val_count, val_choice)
    rows = {"train": rest[~held], "val": rest[held], "test": np.flatnonzero(test & kept)}
    rows["train"] = _few(data, rows["train"], train_per_class, seed)
    if unlabelled is not None:
        rows = unlabelled.rows(data, group, rows, hidden, group.among(test))
    if cross_fit is not None:
        rows = cross_fit.rows(data, grouping, group, rows)
    if unknown:
        strange = _of_any(data, unknown)
        aside = rows["test"][strange[rows["test"]]]
        rows = {stage: r[~strange[r]] for stage, r in rows.items()} | {"unknown": aside}
    result = Split(grouping, rows, {stage: group.among(r) for stage, r in rows.items()}, kept)
    no_class = [] if unlabelled is None else [data.classes.index(name) for name in unlabelled.names(data)]
    _check(data, result, group, [*unknown, *dropped, *no_class])
    return result


def usable(
    data: WindowSet, dropped: Sequence[int], unlabelled: Unlabelled | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The windows whose label can be trained and tested, and those of no label, each ``(N,)``; the others are dropped.

    Args:
        data: the windows.
        dropped: labels whose windows are in no part.
        unlabelled: which windows have no label.
    """
    kept = ~_of_any(data, dropped)
    hidden = np.zeros(len(data), dtype=np.bool_) if unlabelled is None else unlabelled.hidden(data) & kept
    return kept & ~hidden, hidden


def _of_any(data: WindowSet, labels: Sequence[int]) -> NDArray[np.bool_]:
    """Which windows are of one of these classes."""
    found = np.zeros(len(data), np.bool_)
    for k in labels:
        found |= has_class(data.target, k)
    return found


def _check_count(data: WindowSet, split: str, val_subjects: Sequence[Name] | None, count: int | None) -> None:
    if count is None:
        return
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise InputError(
            f"val_count must be a whole number of people of at least 1, but got {count!r}. Write one, or null."
        )
    if val_subjects is not None:
        raise InputError(f"val_count must be left out where val_subjects names who validates, but got {count}.")
    if data.subject is None or split != "group" or data.val is not None:
        raise InputError(
            f"val_count must be left out where no choice of people validates (people are unknown, or the data set "
            f"names its own), but got {count}. Use val_fraction."
        )
    if count == 1:
        rank_zero_warn("val_count=1: one subject validates, too few to choose an epoch or a setting by.")


def _grouping(data: WindowSet, split: str) -> tuple[str, Groups]:
    if data.block is not None:
        if split != "group":
            raise InputError(f"split={split!r}: has no meaning for images, which have no subjects; leave it out")
        return "image block", Groups.of(data.block)
    if split == "random_windows":
        rank_zero_warn(
            'split="random_windows": windows of one person or recording go into training, validation and test alike. '
            "Such results are too high by 10 points and more on human activity; report them as what they are."
        )
        return "window", Groups.of(np.arange(len(data)))
    if data.subject is not None:
        return "subject", Groups.of(data.subject)
    if data.recording is not None:
        rank_zero_info("Subjects are unknown: all windows of a recording are kept together, stratified by class.")
        return "recording", Groups.of(data.recording)
    rank_zero_warn(
        "Neither subjects nor recordings are known: each window is a group of its own. Windows that overlap or "
        'come from one recording would leak; give subject= or recording= (recording="each": each window is a complete '
        "recording)."
    )
    return "window", Groups.of(np.arange(len(data)))


def _known(names_given: Sequence[Name], present: list[str], argument: str) -> list[str]:
    if isinstance(names_given, str) or not isinstance(names_given, Sequence | np.ndarray):
        raise InputError(f"{argument} must be a list of subjects, but got {names_given!r}. Write [{names_given}].")
    names = words(names_given, argument)
    unknown = [n for n in names if n not in present]
    if unknown:
        meant = [n for n in present if likeness(n) in set(map(likeness, unknown))]
        hint = f"; did you mean [{', '.join(yaml_word(n) for n in meant)}]?" if meant else ""
        raise InputError(f"{argument}: no subject {', '.join(unknown)}; there are {', '.join(present)}{hint}")
    if not names:
        raise InputError(f"{argument}: an empty list leaves an empty fold; name some of {', '.join(present)}")
    return names


def _majority(data: WindowSet, group: Groups, rows: NDArray[np.int64]) -> dict[str, int]:
    most: dict[str, tuple[int, int]] = {}
    for name, label, count in group.labels(data.target, rows):  # of two labels as frequent, the first
        if name not in most or count > most[name][1]:
            most[name] = label, count
    return {name: label for name, (label, _) in most.items()}


def _held_by_label(
    data: WindowSet, group: Groups, rows: NDArray[np.int64], fraction: float, seed: int
) -> NDArray[np.bool_]:
    return group.isin(split_recordings(_majority(data, group, rows), fraction, seed)[1])[rows]


def _test_rows(
    data: WindowSet,
    grouping: str,
    group: Groups,
    kept: NDArray[np.bool_],
    names_given: Sequence[Name] | None,
    seed: int,
    least: int,
) -> NDArray[np.bool_]:
    if names_given is not None and data.subject is not None:
        subject = Groups.of(data.subject)
        return subject.isin(_known(names_given, subject.names, "test_subjects"))
    if data.test is not None:
        rest = set(group.among(~data.test))
        both = [name for name in group.among(data.test) if name in rest]
        if both:
            raise InputError(
                f"{grouping} {', '.join(both[:8])} in two splits: the given test split shares it with the training "
                "windows; give test_subjects, or a split whose subjects are disjoint"
            )
        return data.test.astype(np.bool_)
    if grouping == "subject":
        names = group.among(kept)
        if len(names) < least:
            raise InputError(
                f"{len(names)} subjects ({', '.join(names)}) are too few to hold out some for test and "
                f"{'two' if least == 4 else least - 2} for validation; give test_subjects and val_subjects"
            )
        count = max(1, math.ceil(TEST_FRACTION * len(names) - 1e-9))
        order = generator(seed, 0).permutation(len(names))
        return group.isin(names[i] for i in order[:count])
    rows, test = np.flatnonzero(kept), np.zeros(len(data), dtype=np.bool_)
    test[rows] = _held_by_label(data, group, rows, TEST_FRACTION, seed + (1 << 20))
    return test


def _val_rows(
    data: WindowSet,
    grouping: str,
    group: Groups,
    rest: NDArray[np.int64],
    names_given: Sequence[Name] | None,
    fraction: float,
    seed: int,
    count: int | None,
    choice: str,
) -> NDArray[np.bool_]:
    if names_given is not None:
        if grouping != "subject":
            raise InputError('val_subjects: has no meaning with split="random_windows"; leave one of the two out')
        names = _known(names_given, group.names, "val_subjects")
        left = set(group.among(rest))
        both = [n for n in names if n not in left]
        if both:
            raise InputError(f"subject {', '.join(both)} in two splits: named for validation, but tested; name others")
        if len(set(names)) < 2:
            rank_zero_warn(f"One subject ({names[0]}) validates: too few to choose an epoch or a setting by.")
        return group.isin(names)[rest]
    if data.val is not None:
        both = sorted(set(group.among(rest[data.val[rest]])) & set(group.among(rest[~data.val[rest]])))
        if both:
            raise InputError(f"{grouping} {', '.join(both[:8])} in two splits: it validates and trains; give others")
        return data.val[rest]
    if data.block is not None:
        names = group.among(rest)
        many = min(max(1, math.ceil(fraction * len(names) - 1e-9)), len(names) - 1)
        return group.isin(names[i] for i in generator(seed, 1).permutation(len(names))[:many])[rest]
    if grouping != "subject":
        return _held_by_label(data, group, rest, fraction, seed)
    windows: dict[str, dict[int, int]] = {}
    for name, label, many in group.labels(data.target, rest):
        windows.setdefault(name, {})[label] = many
    classes = {name: set(counts) for name, counts in windows.items()}
    balance = windows if choice == "balanced" else None
    held = split_groups(list(classes), fraction, 2, seed, classes=classes, windows=balance, count=count)[1]
    return group.isin(held)[rest]


def _refuse_without_windows(
    group: Groups, free: NDArray[np.bool_], kept: NDArray[np.bool_], names: Sequence[str]
) -> None:
    """Refuse people to validate whose windows have no label or are of classes that are left out."""
    bare = set(group.among(free)) - set(group.among(free & kept))
    if found := [name for name in names if name in bare]:
        raise InputError(
            f"val_subjects must be people with labelled windows, but got {', '.join(found)}, whose windows all have no "
            "label or a class that is left out. Name others."
        )


def _few(data: WindowSet, rows: NDArray[np.int64], per_class: int | None, seed: int) -> NDArray[np.int64]:
    if per_class is None:
        return rows
    if isinstance(per_class, bool) or not isinstance(per_class, int | np.integer) or per_class < 1:
        raise InputError(f"train_per_class must be at least one, or null for all, but got {per_class!r}.")
    unit = _units(data)
    rng, kept = generator(seed, 4), []
    for k in range(len(data.classes)):
        mine = rows[has_class(data.target[rows], k)]
        names = unit.among(mine)
        chosen = [names[i] for i in rng.permutation(len(names))[:per_class]]
        kept.append(mine[unit.isin(chosen)[mine]])
    return np.sort(np.concatenate(kept))


def _units(data: WindowSet) -> Groups:
    """Recordings, distinguished by subject; windows, where recordings are unknown."""
    if data.recording is None:
        return Groups.of(np.arange(len(data)))
    recording = Groups.of(data.recording)
    if data.subject is None:
        return recording
    subject, many = Groups.of(data.subject), len(recording.names)
    pairs, code = np.unique(subject.code.astype(np.int64) * many + recording.code, return_inverse=True)
    return Groups.named([f"{subject.names[p // many]}/{recording.names[p % many]}" for p in pairs.tolist()], code)


def _check(data: WindowSet, split: Split, group: Groups, unknown: Sequence[int]) -> None:
    for stage in STAGES:
        if len(split.rows[stage]) == 0:
            raise InputError(
                f"the {stage} fold is empty: {data_summary(data)}; choose other subjects or more recordings"
            )
    counts = count_classes(data.target[split.rows["train"]], len(data.classes))
    present = {*np.flatnonzero(counts).tolist(), *unknown}
    absent = [name for k, name in enumerate(data.classes) if k not in present]
    if absent:
        listed = ", ".join(yaml_word(name) for name in absent)
        raise InputError(
            f"no training window of class {', '.join(absent)}: its windows are all validated or tested on, or there "
            f"are none ({_holders(data, split, group, absent)}); hold out other subjects (test_subjects, val_subjects, "
            f"split_seed) or leave the class out (drop_classes: [{listed}])"
        )


def _holders(data: WindowSet, split: Split, group: Groups, classes: Sequence[str]) -> str:
    listed = []
    for name in classes[:4]:
        mine = has_class(data.target, data.classes.index(name))
        held = {stage: group.among(rows[mine[rows]]) for stage, rows in split.rows.items()}
        who = [
            f"{', '.join(names[:6])}{', ...' if len(names) > 6 else ''} ({stage})"
            for stage, names in held.items()
            if names
        ]
        listed.append(f"{name}: {split.grouping} {' and '.join(who)}" if who else f"{name}: no windows")
    return "; ".join(listed) + ("; ..." if len(classes) > 4 else "")


def data_summary(data: WindowSet) -> str:
    """How many windows, classes and subjects there are, for messages."""
    subjects = "unknown subjects" if data.subject is None else f"{len(Groups.of(data.subject).names)} subjects"
    return f"{len(data)} windows of {len(data.classes)} classes and {subjects}"
