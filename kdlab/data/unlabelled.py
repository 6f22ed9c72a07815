"""Training windows without a label: which they are, and how batches hold them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray

from kdlab.data.groups import Groups
from kdlab.data.held_out import generator
from kdlab.data.identity import words
from kdlab.data.label_rows import without_label
from kdlab.data.windows import WindowSet
from kdlab.types import InputError, Name

#: the label of a window without one
NO_LABEL = -1


@dataclass(frozen=True)
class Unlabelled:
    """Training windows that train a student through its teachers alone; the label term leaves them out.

    They are never of people (recordings, where people are unknown) of validation or test, and no part of the numbers
    that scale and standardise. Methods whose terms all need a label train without them. At least one of the first five
    arguments is given; several add up.

    Args:
        labelled: so many training people (recordings, where people are unknown) keep their labels, those of the others
            are not used. Which ones is chosen by ``seed``: the first of up to 200 random choices with every class. A
            share of the training people in (0, 1), such as 0.5, is rounded to people, at least one.
        people: whose labels are not used. They are in no other part, and cannot be named for one.
        recordings: likewise recordings, as ``recording`` of the data names them (``person/session`` of a folder of
            recordings).
        classes: names that are no class: the windows of training people that have them are without a label, those of
            the others are left out, as by ``drop_classes``. The null class of a recording is one; it must then be left
            out of ``ignore``.
        missing: take windows whose label is missing: -1 (of arrays), no label for enough of the window, or one of
            ``ignore`` (of a folder of recordings). False: they are refused or dropped, as the data module says.
        ratio: share of each batch that has no label, in (0, 1), at least one window and all but one at most. An epoch
            is then one pass over the windows with labels, and takes the others in turn, in a new order each time all
            of them were taken. None: an epoch is one pass over all windows, in random order.
        seed: of the choice by ``labelled``.
        left_out: leave them out of training batches: the run for comparison, which has the same labels, people and
            scaling, and nothing more.

    Raises:
        InputError: for a value out of range, or if no window is meant.

    >>> from kdlab.data import ArrayDataModule
    >>> x = np.random.default_rng(0).normal(size=(60, 3, 50))
    >>> y, who = np.arange(60) % 2, np.arange(60) // 6
    >>> data = ArrayDataModule(x, y, who, unlabelled=Unlabelled(labelled=2), batch_size=12)
    >>> data.counts["train"], data.counts["unlabelled"]
    ({'windows': 12, 'groups': 2}, {'windows': 24, 'groups': 4})
    """

    labelled: int | float | None = None
    people: list[Name] | None = None
    recordings: list[Name] | None = None
    classes: list[Name] | None = None
    missing: bool = False
    ratio: float | None = None
    seed: int = 0
    left_out: bool = False

    def __post_init__(self) -> None:
        for name in ("people", "recordings", "classes"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, str) or not isinstance(value, Sequence | np.ndarray)):
                raise InputError(f"unlabelled: {name} must be a list, but got {value!r}. Write [{value}].")
        if isinstance(self.labelled, float) and self.labelled.is_integer():  # 2.0, as a parser may give 2
            object.__setattr__(self, "labelled", int(self.labelled))
        number = self.labelled
        share = isinstance(number, float) and 0 < number < 1
        if number is not None and not share and (type(number) is not int or number < 1):
            raise InputError(
                "unlabelled: labelled must be a whole number of people of at least 1, or a share of them in (0, 1), "
                f"but got {number!r}. Write one, or null."
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"unlabelled: seed must be a whole number of at least 0, but got {self.seed!r}.")
        if not isinstance(self.left_out, bool):
            raise InputError(f"unlabelled: left_out must be true or false, but got {self.left_out!r}. Write one.")
        if self.ratio is not None and not (isinstance(self.ratio, int | float) and 0 < self.ratio < 1):
            raise InputError(
                f"unlabelled: ratio must be a share of the batch in (0, 1), such as 0.5, but got {self.ratio!r}. Write "
                "one, or null to read all windows in random order."
            )
        if not (self.missing or number or self.people or self.recordings or self.classes):
            raise InputError(
                "unlabelled: must say which windows have no label (labelled, people, recordings, classes or missing), "
                "but got none of these. Write one, such as labelled: 3."
            )

    def check_batches(self, batch_size: int, sampling: str, drop_last: bool) -> None:
        """Raise where the settings of batches do not fit.

        Raises:
            InputError: naming the setting.
        """
        if self.ratio is None and sampling == "balanced":
            raise InputError(
                'unlabelled: ratio must be given where sampling is "balanced", but got none. Write the share of each '
                "batch that has no label, such as ratio: 0.5."
            )
        if self.ratio is not None and (batch_size < 2 or not drop_last):
            what = f"batch_size is {batch_size}" if batch_size < 2 else "drop_last is false"
            raise InputError(
                f"unlabelled: ratio must be left out where {what}, but got {self.ratio}. With a ratio every batch is "
                "full and has windows of both kinds."
            )

    def hidden(self, data: WindowSet) -> NDArray[np.bool_]:
        """The windows whose label is missing or not used, before the split, ``(N,)``.

        Raises:
            InputError: naming people, recordings or classes that are not in the data.
        """
        hidden = without_label(data.target)
        for argument, values in (("people", data.subject), ("recordings", data.recording)):
            given = getattr(self, argument)
            if not given:
                continue
            if values is None:
                raise InputError(
                    f"unlabelled: {argument} must be left out, because they are unknown here, but got {given!r}. Give "
                    f"{'subject' if argument == 'people' else 'recording'} ids."
                )
            group = Groups.of(values)
            hidden |= group.isin(_among(words(given, f"unlabelled: {argument}"), group.names, argument))
        if self.classes:
            labels = [data.classes.index(c) for c in self.names(data)]
            hidden |= np.isin(data.target, labels)
        return np.asarray(hidden, dtype=np.bool_)

    def names(self, data: WindowSet) -> list[str]:
        """The names that are no class.

        Raises:
            InputError: naming those that are not in the data.
        """
        if not self.classes:
            return []
        if data.labels == "many":
            raise InputError(
                "unlabelled: classes must be left out where windows have any number of labels each, but got "
                f"{self.classes!r}. Give rows of -1, and missing: true."
            )
        return _among(words(self.classes, "unlabelled: classes"), list(data.classes), "classes")

    def rows(
        self,
        data: WindowSet,
        group: Groups,
        rows: dict[str, NDArray[np.int64]],
        hidden: NDArray[np.bool_],
        tested: Sequence[str],
    ) -> dict[str, NDArray[np.int64]]:
        """Rows per stage with a part ``"unlabelled"``.

        Args:
            data: all windows.
            group: which group (person, recording) each window is of.
            rows: of training, validation and test, without hidden windows.
            hidden: see :meth:`hidden`.
            tested: groups that are tested.

        Raises:
            InputError: if more people keep their labels than there are.
        """
        own = hidden & ~group.isin([*tested, *group.among(rows["val"])])
        if lost := int(hidden.sum() - own.sum()):
            rank_zero_info(f"unlabelled: left out {lost} windows of groups that validate or are tested")
        train = rows["train"]
        if self.labelled is not None:
            kept = group.isin(self._choose(data, group, train))[train]
            own[train[~kept]] = True
            train = train[kept]
        found = np.flatnonzero(own)
        if not len(found):
            held = group.among(hidden)
            who = f": those of {', '.join(held[:12])} validate or are tested" if held else ""
            rank_zero_warn(f"unlabelled: there is no window without a label, all training windows have one{who}")
        return {**rows, "train": train, "unlabelled": found}

    def refuse_held(self, data: WindowSet, tested: Sequence[str], validated: Sequence[str]) -> None:
        """Raise where people or recordings that are named without a label are held out.

        Args:
            data: all windows.
            tested: groups that are tested.
            validated: people that are named for validation.

        Raises:
            InputError: naming them.
        """
        for argument, values in (("people", data.subject), ("recordings", data.recording)):
            given = getattr(self, argument)
            if not given or values is None:
                continue
            of = Groups.of(values)
            named = of.isin(words(given, argument))
            who = Groups.of(data.subject if data.subject is not None else values)
            for stage, verb, names in (("test", "are tested", tested), ("val", "validate", validated)):
                if both := [name for name in who.among(named) if name in names]:
                    raise InputError(
                        f"unlabelled: {argument} must not be of those that {verb}, but got {', '.join(both[:12])}. "
                        f"Leave them out, or name others in {stage}_subjects."
                    )

    def _choose(self, data: WindowSet, group: Groups, train: NDArray[np.int64]) -> list[str]:
        """The training groups that keep their labels."""
        assert self.labelled is not None
        names = group.among(train)
        number = self.labelled
        count = number if isinstance(number, int) else max(1, math.floor(number * len(names) + 0.5))
        if count > len(names):
            raise InputError(
                f"unlabelled: labelled must be at most {len(names)}, the number of training people, but got "
                f"{number}. Lower it."
            )
        classes: dict[str, set[int]] = {}
        for name, label, _ in group.labels(data.target, train):
            classes.setdefault(name, set()).add(label)
        every = set().union(*classes.values())
        rng, best, chosen = generator(self.seed, 6), -1, names
        for _ in range(200):
            candidate = [names[i] for i in sorted(rng.permutation(len(names))[:count])]
            seen = len(set().union(*(classes[name] for name in candidate)))
            if seen > best:
                best, chosen = seen, candidate
            if best == len(every):
                break
        return chosen


def _among(given: Sequence[str], present: Sequence[str], argument: str) -> list[str]:
    if strange := [name for name in given if name not in present]:
        raise InputError(
            f"unlabelled: {argument} must be among those of the data ({', '.join(list(present)[:40])}), but got "
            f"{', '.join(strange)}. Correct the names."
        )
    return list(given)
