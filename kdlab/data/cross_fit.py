"""Training people who are left out of a teacher, so that it has not seen them: cross-fitting over people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdlab.data.groups import Groups
from kdlab.data.held_out import generator
from kdlab.data.spelling import natural_key
from kdlab.data.windows import WindowSet
from kdlab.types import InputError

#: the stage of the training windows that a teacher does not see
LEFT_OUT = "left_out"


@dataclass(frozen=True)
class CrossFit:
    """One of ``groups`` teachers, trained on the training people without one group of them.

    The training people whose labels are used are divided into ``groups`` parts whose numbers of people differ by one at
    most: the people in the natural order of their ids are put into the order of a random permutation of ``seed``, and
    the one in place ``i`` is of group ``i % groups + 1``; of up to 200 permutations the first is taken with which every
    teacher sees every class. So the groups follow from (seed, ids) and are the same in every run on one split.

    Validation and test people are those of the split, and so are the numbers that scale the data and the ranges of
    views: no label is read for these, and they are those of all training people, left out ones included, so that the
    teachers read the windows that their student reads. The windows of the people left out are the stage
    ``"left_out"``; unlabelled windows of them are left out, too.

    Args:
        groups: number of groups, from 2 to the number of training people.
        without: the group that is left out, counted from 1.
        seed: of the division.

    Raises:
        InputError: for a number out of range; at setup also where people are unknown.

    >>> from kdlab.data import ArrayDataModule
    >>> x = np.random.default_rng(0).normal(size=(60, 3, 50))
    >>> y, who = np.arange(60) % 2, np.arange(60) // 6
    >>> teachers = [ArrayDataModule(x, y, who, cross_fit=CrossFit(3, j)) for j in (1, 2, 3)]
    >>> [data.fingerprint["left_out"] for data in teachers]
    [['5', '8'], ['1', '9'], ['2', '3']]
    """

    groups: int
    without: int
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("groups", 2), ("without", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise InputError(
                    f"cross_fit: {name} must be a whole number of at least {least}, but got {value!r}. Write one."
                )
        if self.without > self.groups:
            raise InputError(
                f"cross_fit: without must be one of the groups 1 to {self.groups}, but got {self.without}. Choose one."
            )

    def rows(
        self, data: WindowSet, grouping: str, group: Groups, rows: Mapping[str, NDArray[np.int64]]
    ) -> dict[str, NDArray[np.int64]]:
        """Rows per stage, those of the group that is left out in a part ``"left_out"``.

        Args:
            data: all windows.
            grouping: the kind of group that the split keeps together.
            group: which person each window is of.
            rows: of the split.

        Raises:
            InputError: where people are unknown, or more groups than people.
        """
        if grouping != "subject":
            raise InputError(
                f"cross_fit: needs a split by people, but this one is by {grouping}. Give subject ids, and leave out "
                'split="random_windows".'
            )
        train = rows["train"]
        away = group.isin(self.divide(data, group, train)[self.without - 1])
        result = {**rows, "train": train[~away[train]], LEFT_OUT: train[away[train]]}
        if "unlabelled" in rows:
            result["unlabelled"] = rows["unlabelled"][~away[rows["unlabelled"]]]
        return result

    def divide(self, data: WindowSet, group: Groups, train: NDArray[np.int64]) -> list[list[str]]:
        """The people of every group.

        Args:
            data: all windows.
            group: which person each window is of.
            train: rows of the training windows.

        Raises:
            InputError: more groups than people.
        """
        names = sorted(group.among(train), key=natural_key)
        if self.groups > len(names):
            raise InputError(
                f"cross_fit: groups must be at most {len(names)}, the number of training people whose labels are used, "
                f"but got {self.groups}. Lower it."
            )
        held: dict[str, set[int]] = {name: set() for name in names}
        for name, label, _ in group.labels(data.target, train):
            held[name].add(label)
        every = set().union(*held.values())
        rng, most, best = generator(self.seed, 9), -1, list[list[str]]()
        for _ in range(200):
            order = [names[i] for i in rng.permutation(len(names))]
            parts = [sorted(order[j :: self.groups], key=natural_key) for j in range(self.groups)]
            seen = [set().union(*(held[name] for name in names if name not in part)) for part in parts]
            complete = sum(len(classes) for classes in seen)
            if complete > most:
                most, best = complete, parts
            if complete == len(every) * self.groups:
                break
        return best


def with_left_out(rows: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """The training windows with a label, left out ones included: whose numbers scale the data.

    Args:
        rows: of a split.
    """
    train = rows["train"]
    return np.sort(np.concatenate([train, rows[LEFT_OUT]])) if LEFT_OUT in rows else train
