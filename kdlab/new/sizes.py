"""Sizes of nets, batches and images, updates and folds that fit the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.data.classes import refuse_twice
from kdlab.data.splits import make_split, usable
from kdlab.new.found import Found
from kdlab.quiet import quieted
from kdlab.study.folds import make_folds
from kdlab.study.keys import LEAVE_ONE_OUT
from kdlab.study.tuning.people import halves as halves_of
from kdlab.types import InputError

#: windows of training up to which nets are small
SMALL = 4000
EPOCHS, LEAST, MOST = 30, 300, 3000
LEAST_PEOPLE = 3  # to train, validate and test on different ones
_SEEDS = 10
_HALVED = 8  # people from which on a half of them can train and validate
_UNLABELLED = "its windows have no label that is used, and train students through their teachers alone"
_LEFT_OUT = "its windows are all of classes that are left out"
_WITH_LABELS = " with labelled windows of classes that are not left out"


@dataclass(frozen=True)
class Sizes:
    """What is written into the files.

    Args:
        folds: a number of groups of people, ``leave_one_subject_out``, or None: the split of the data.
        classes: number of classes.
        channels: number of channels.
        batch_size: windows of a batch.
        updates: of every row.
        depth: of all nets.
        teacher_width: of the teacher on signals.
        image: pixels of a side of a view.
        split: further arguments of the data module, for folds that all classes train in.
        dropped: classes that one person alone has, which are left out.
        windows: number of windows of the classes, with a label.
        halves: whether one half of the people can train and validate settings for the other.
        never: people who are in no fold, because they have no windows to test -> why.
    """

    folds: int | str | None
    classes: int
    channels: int
    batch_size: int
    updates: int
    depth: int
    teacher_width: int
    image: int
    split: dict[str, Any]
    dropped: list[str]
    windows: int
    halves: bool
    never: dict[str, str]


@dataclass(frozen=True)
class _Classes:
    """Classes that are left out, each in one way.

    Args:
        dropped: of one person alone, or without windows.
        given: dropped by the user.
        unknown: held out of training by the user.
        nameless: those whose windows have no label.
    """

    dropped: list[str]
    given: list[str]
    unknown: list[str]
    nameless: list[str]

    @property
    def out(self) -> list[str]:
        return [*self.dropped, *self.given]

    @property
    def every(self) -> set[str]:
        return {*self.out, *self.unknown, *self.nameless}


def sizes_of(found: Found) -> Sizes:
    """Sizes for what was found.

    Raises:
        InputError: too few people, or classes that no folds of people leave in training.
    """
    windows = found.windows
    own = windows.test is not None or "test_subjects" in found.init_args
    left = _left_out(found, own)
    out, place = left.every, windows.classes.index
    kept, hidden = usable(windows, list(map(place, left.out)), found.unlabelled)
    if len(windows.classes) - len(out) < 2:
        raise InputError(
            f"--labels: at least 2 classes must be there, each of 2 people, but got {', '.join(windows.classes)}"
            f"{f', without {sorted(out)}' if out else ''}. Name the activity, or record more people."
        )
    with quieted(reports=False):  # of splits that are tried
        people = _testable(found, kept)
        folds, split, train = _folds(found, people, left, own)
        halves = _halves(found, people, left, folds, split)
    never = [] if folds is None else [name for name in found.people if name not in people]
    bare = set(found.among(hidden))
    batch = int(found.init_args.get("batch_size", 64))
    while "batch_size" not in found.init_args and (
        (batch > 16 and train < 8 * batch) or (batch > 2 and train < 2 * batch)
    ):
        batch //= 2
    updates = min(MOST, max(LEAST, EPOCHS * max(1, train // batch)))
    length, small = windows.windows["raw"].shape[2], train <= SMALL
    return Sizes(
        folds=folds,
        classes=len(windows.classes) - len(out),
        channels=windows.windows["raw"].shape[1],
        batch_size=batch,
        updates=round(updates, -2),
        depth=10 if small else 16,
        teacher_width=2 if small else 3,
        image=min(24 if small else 32, length),
        split=split if not left.dropped else {**split, "drop_classes": [*left.given, *left.dropped]},
        dropped=left.dropped,
        windows=int(np.count_nonzero(kept & ~np.isin(windows.target, list(map(place, left.unknown))))),
        halves=halves,
        never={name: _UNLABELLED if name in bare else _LEFT_OUT for name in never},
    )


def _left_out(found: Found, own: bool) -> _Classes:
    """The classes that are not trained."""
    windows = found.windows
    given, unknown = _named(found, "drop_classes"), _named(found, "unknown_classes")
    if strange := [name for name in (*given, *unknown) if name not in windows.classes]:
        raise InputError(
            f"--set drop_classes, unknown_classes: must be classes of the data, {', '.join(windows.classes)}, but got "
            f"{', '.join(strange)}. Correct it."
        )
    nameless = [] if found.unlabelled is None else found.unlabelled.names(windows)
    labels = {"unlabelled: classes": nameless, "unknown_classes": unknown, "drop_classes": given}
    refuse_twice(windows.classes, {name: list(map(windows.classes.index, some)) for name, some in labels.items()})
    aside = {*given, *unknown, *nameless}
    dropped = [] if own else [name for name in _of_one_person(found) if name not in aside]
    return _Classes(dropped, given, unknown, nameless)


def _testable(found: Found, kept: NDArray[np.bool_]) -> dict[str, int]:
    """Person -> number of windows, of those who have windows to test."""
    tested = set(found.among(kept))
    return {name: count for name, count in found.people.items() if name in tested}


def _named(found: Found, argument: str) -> list[str]:
    """The classes that an argument names."""
    value = found.init_args.get(argument)
    named = value if isinstance(value, list) else [] if value is None else [value]
    return list(dict.fromkeys(map(str, named)))


def _of_one_person(found: Found) -> list[str]:
    """Classes that cannot be trained on some people and tested on others: of one person alone, or without windows."""
    if len(found.people) < LEAST_PEOPLE or found.init_args.get("split") == "random_windows":
        return []
    return [name for label, name in enumerate(found.windows.classes) if len(found.people_of(label)) <= 1]


def _folds(
    found: Found, people: dict[str, int], left: _Classes, own: bool
) -> tuple[int | str | None, dict[str, Any], int]:
    """The first folds in which every class is trained, what the split needs for it, and the least training windows."""
    if not found.people or own or found.init_args.get("split") == "random_windows":
        return None, {}, _training(found, left, None, {})
    if len(people) < LEAST_PEOPLE:
        who = _WITH_LABELS if len(people) < len(found.people) else ""
        raise InputError(
            f"--people: at least 3 must be there{who}, to train, validate and test on different ones, but got "
            f"{', '.join(people) or 'none'}. Record more people; --set split=random_windows mixes their windows, and "
            "its results hold for none but them."
        )
    reason: InputError | None = None
    seeds = [0] if "split_seed" in found.init_args else range(_SEEDS)  # 0: as it was given
    for folds in _candidates(len(people), shared=bool(left.unknown)):
        for seed in seeds:
            split = {**({"val_count": 1} if len(people) == 3 else {}), **({"split_seed": seed} if seed else {})}
            try:
                tested = [None, *make_folds(folds, people).values()]
                return folds, split, min(_training(found, left, some, split) for some in tested)
            except InputError as error:
                reason = error if reason is None or folds == LEAVE_ONE_OUT else reason
    raise InputError(f"--data: every class must be trained in every fold, but {reason}")


def _halves(
    found: Found, people: dict[str, int], left: _Classes, folds: int | str | None, split: dict[str, Any]
) -> bool:
    """Whether every class is trained on each of the halves that ``tune: {people: halves}`` makes of the people."""
    if not isinstance(folds, int) or len(people) < _HALVED:
        return False
    try:
        for part in halves_of(make_folds(folds, people), found.people, "tune: people"):
            _training(found, left, list(part.held), split)
    except InputError:
        return False
    return True


def _candidates(people: int, shared: bool) -> Iterator[int | str]:
    """Folds to try, the best first.

    Args:
        people: number of them.
        shared: also few groups of few people, as one who has windows of unknown classes alone is tested with another.
    """
    if people >= 6:
        first = min(5, people // 2)
        yield first
        yield from (k for k in (5, 4, 3) if k != first and k <= people // 2)
    yield LEAVE_ONE_OUT
    if shared and people < 6:
        yield from range(people - 1, 1, -1)


def _training(found: Found, left: _Classes, tested: list[str] | None, split: dict[str, Any]) -> int:
    """Training windows of a split, which is checked as that of a run is."""
    arguments = found.init_args
    place = found.windows.classes.index
    names = ("split", "test_subjects", "val_subjects", "val_fraction", "val_count", "val_choice", "train_per_class")
    given = {name: arguments[name] for name in names if name in arguments}
    seed = split.get("split_seed", arguments.get("split_seed", 0))
    more = {name: value for name, value in split.items() if name != "split_seed"}
    given = {**more, **given, **({"test_subjects": tested} if tested else {}), "seed": seed}
    parts = make_split(
        found.windows,
        unlabelled=found.unlabelled,
        dropped=list(map(place, left.out)),
        unknown=list(map(place, left.unknown)),
        **given,
    )
    return len(parts.rows["train"])
