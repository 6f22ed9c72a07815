"""Sizes of nets, batches and images, updates and folds that fit the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kdlab.data.splits import make_split
from kdlab.new.found import Found, unlabelled_of
from kdlab.quiet import quieted
from kdlab.study.folds import make_folds
from kdlab.study.keys import LEAVE_ONE_OUT
from kdlab.types import InputError

#: windows of training up to which nets are small
SMALL = 4000
EPOCHS, LEAST, MOST = 30, 300, 3000
LEAST_PEOPLE = 3  # to train, validate and test on different ones
_SEEDS = 10


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
        people: number of people; 0: unknown.
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
    people: int


def sizes_of(found: Found) -> Sizes:
    """Sizes for what was found.

    Raises:
        InputError: too few people, or classes that no folds of people leave in training.
    """
    windows, people = found.windows, found.people
    own = windows.test is not None or "test_subjects" in found.init_args
    dropped = [] if own else _of_one_person(found)
    given, unknown = _named(found, "drop_classes"), _named(found, "unknown_classes")
    if strange := [name for name in (*given, *unknown) if name not in windows.classes]:
        raise InputError(
            f"--set drop_classes, unknown_classes: must be classes of the data, {', '.join(windows.classes)}, but got "
            f"{', '.join(strange)}. Correct it."
        )
    unlabelled = unlabelled_of(found.init_args)
    nameless = [] if unlabelled is None else unlabelled.names(windows)
    out = {*dropped, *given, *unknown, *nameless}
    if len(windows.classes) - len(out) < 2:
        raise InputError(
            f"--labels: at least 2 classes must be there, each of 2 people, but got {', '.join(windows.classes)}"
            f"{f', without {sorted(out)}' if out else ''}. Name the activity, or record more people."
        )
    with quieted(reports=False):  # of splits that are tried
        folds, split, train = _folds(found, dropped, own)
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
        split=split if not dropped else {**split, "drop_classes": [*given, *dropped]},
        dropped=dropped,
        people=len(people),
    )


def _named(found: Found, argument: str) -> list[str]:
    """The classes that an argument names."""
    value = found.init_args.get(argument)
    return list(map(str, value if isinstance(value, list) else [] if value is None else [value]))


def _of_one_person(found: Found) -> list[str]:
    """Classes that cannot be trained on some people and tested on others: of one person alone, or without windows."""
    if len(found.people) < LEAST_PEOPLE or found.init_args.get("split") == "random_windows":
        return []
    return [name for label, name in enumerate(found.windows.classes) if len(found.people_of(label)) <= 1]


def _folds(found: Found, dropped: list[str], own: bool) -> tuple[int | str | None, dict[str, Any], int]:
    """The first folds in which every class is trained, what the split needs for it, and the least training windows."""
    people = found.people
    if not people or own or found.init_args.get("split") == "random_windows":
        return None, {}, _training(found, dropped, None, {})
    if len(people) < LEAST_PEOPLE:
        raise InputError(
            f"--people: at least 3 must be there, to train, validate and test on different ones, but got "
            f"{', '.join(people)}. Record more people; --set split=random_windows mixes their windows, and its results "
            "hold for none but them."
        )
    reason: InputError | None = None
    seeds = [0] if "split_seed" in found.init_args else range(_SEEDS)  # 0: as it was given
    for folds in _candidates(len(people)):
        for seed in seeds:
            split = {**({"val_count": 1} if len(people) == 3 else {}), **({"split_seed": seed} if seed else {})}
            try:
                tested = [None, *make_folds(folds, people).values()]
                return folds, split, min(_training(found, dropped, some, split) for some in tested)
            except InputError as error:
                reason = error
    raise InputError(f"--data: every class must be trained in every fold, but {reason}")


def _candidates(people: int) -> Iterator[int | str]:
    if people >= 6:
        first = min(5, people // 2)
        yield first
        yield from (k for k in (5, 4, 3) if k != first and k <= people // 2)
    yield LEAVE_ONE_OUT


def _training(found: Found, dropped: list[str], tested: list[str] | None, split: dict[str, Any]) -> int:
    """Training windows of a split, which is checked as that of a run is."""
    arguments = found.init_args
    place = found.windows.classes.index
    out, unknown = {*dropped, *_named(found, "drop_classes")}, _named(found, "unknown_classes")
    names = ("split", "test_subjects", "val_subjects", "val_fraction", "val_count", "val_choice", "train_per_class")
    given = {name: arguments[name] for name in names if name in arguments}
    seed = split.get("split_seed", arguments.get("split_seed", 0))
    more = {name: value for name, value in split.items() if name != "split_seed"}
    given = {**more, **given, **({"test_subjects": tested} if tested else {}), "seed": seed}
    unlabelled = unlabelled_of(arguments)
    parts = make_split(
        found.windows, unlabelled=unlabelled, dropped=list(map(place, out)), unknown=list(map(place, unknown)), **given
    )
    return len(parts.rows["train"])
