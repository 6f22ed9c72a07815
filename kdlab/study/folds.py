"""The folds of a study: groups of people that are tested in turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdlab.data.identity import words
from kdlab.fingerprint import hashed, is_hashed, salt
from kdlab.study.configs import get_value, set_value
from kdlab.study.keys import LEAVE_ONE_OUT
from kdlab.types import InputError


def set_fold(config: dict[str, Any], subjects: list[str]) -> None:
    """Set the test subjects; ``kdlab.data`` classes name the argument of that."""
    from kdlab.study.windows import data_class

    argument = data_class(config).fold_argument
    if argument == "test_subjects":
        set_value(config, "data.init_args.test_subjects", subjects)
    elif len(subjects) == 1:
        set_value(config, f"data.init_args.{argument}", subjects[0])
    else:
        raise InputError(
            f"folds: {get_value(config, 'data.class_path')} tests one subject at a time. Set folds: {LEAVE_ONE_OUT}."
        )


def make_folds(folds: int | str | list[list[Any]] | None, windows: Mapping[str, int]) -> dict[str, list[str]]:
    """Fold -> its test subjects; every subject is tested once, unless the file lists the folds itself.

    ``k`` groups are filled from the subject with the most windows to the one with the fewest, each time the group that
    has the fewest windows so far, so that folds are about equally large; the same in every study of the data.

    Args:
        folds: a number of groups, ``"leave_one_subject_out"``, lists of subjects, or None: the configs' own split.
        windows: subject -> number of windows, in the order of the data set.

    Raises:
        InputError: more folds than subjects, or a subject that is not there or in two folds.

    >>> make_folds(2, {"a": 5, "b": 4, "c": 3, "d": 3})
    {'fold1': ['a', 'd'], 'fold2': ['b', 'c']}
    """
    if folds is None:
        return {"": []}
    if not windows:
        raise InputError(
            "folds: the subjects of this data set are unknown, so they cannot be held out. Leave folds out."
        )
    if folds == LEAVE_ONE_OUT:
        return {f"subject{name}": [name] for name in windows}
    if isinstance(folds, list):
        groups = [spelt_as(windows, group) for group in folds]
        flat = [name for group in groups for name in group]
        unknown = sorted(set(flat) - set(windows))
        if unknown or len(set(flat)) < len(flat):
            wrong = f"no subject {', '.join(unknown)}" if unknown else "a subject is in two folds"
            raise InputError(f"folds: {wrong}; the subjects are {', '.join(windows)}.")
        return {f"fold{i}": group for i, group in enumerate(groups, start=1)}
    assert isinstance(folds, int)
    if not 2 <= folds <= len(windows):
        raise InputError(
            f"folds: must be 2 to {len(windows)} groups, with one subject each at least, but got {folds}. Change it."
        )
    order = list(windows)
    filled: list[list[str]] = [[] for _ in range(folds)]
    for name in sorted(order, key=lambda n: (-windows[n], order.index(n))):
        min(filled, key=lambda group: sum(windows[n] for n in group)).append(name)
    return {f"fold{i}": sorted(group, key=order.index) for i, group in enumerate(filled, start=1)}


def spelt_as(windows: Mapping[str, int], group: list[Any]) -> list[str]:
    """The subjects of a fold by the names that the data have: made equal, and hashed where these are hashes."""
    names = words(group, "folds")
    if all(map(is_hashed, windows)) and not set(names) <= set(windows):
        return [name if name in windows else hashed(name, salt()) for name in names]
    return names
