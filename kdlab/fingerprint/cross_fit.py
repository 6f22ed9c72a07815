"""Teachers of which each has seen some of the training people: who has been seen by which, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from kdlab.fingerprint.differences import input_differences
from kdlab.fingerprint.people import SALT, comparable, hashed, spelt


def member_differences(trained: Mapping[str, Any], current: Mapping[str, Any], same_scale: bool = True) -> list[str]:
    """Why a net cannot be one of several teachers, each of which teaches the people whom it has not seen.

    Other training people than those of this run are no reason. People of this run's test must not be among those that
    it was trained or selected on, its validation people not among those that it was trained on; people are counted and
    not named.

    Args:
        trained: the fingerprint of the data that it was trained on.
        current: the fingerprint of the data of this run.
        same_scale: compare the numbers of the scaling, too.
    """
    a, b = comparable(trained, current)
    found = [
        f"{key} {a.get(key)!r}, here {b.get(key)!r}"
        for key in ("dataset", "step", "grouping")
        if a.get(key) != b.get(key)
    ]
    if found:
        return found
    learnt = {*a.get("train", ()), *a.get("unlabelled", ())}
    tested, validated = set(b.get("test", ())), set(b.get("val", ()))
    if leak := tested & (learnt | set(a.get("val", ()))):
        found.append(f"it was trained or selected on {len(leak)} of the {len(tested)} people tested here")
    if leak := validated & learnt:
        found.append(f"it was trained on {len(leak)} of the {len(validated)} people who validate here")
    without = set(b.get("unlabelled", ())) - set(b.get("train", ()))
    if leak := without & set(a.get("train", ())):
        found.append(
            f"it was trained on the labels of {len(leak)} of {len(without)} people whose labels are not used here"
        )
    return found + input_differences(trained, current, same_split=same_scale)


def unseen(trained: Mapping[str, Any], current: Mapping[str, Any], people: Iterable[str]) -> set[str]:
    """Those of some people whose labels a net was neither trained nor selected on.

    Args:
        trained: the fingerprint of the data that it was trained on.
        current: the fingerprint of the data of this run.
        people: as the data of this run show them.

    >>> trained = {"dataset": "d", "grouping": "subject", "train": ["1", "2"], "val": ["3"]}
    >>> sorted(unseen(trained, {**trained, "train": ["1", "2", "4"]}, ["1", "4.0", "3"]))
    ['4.0']
    """
    a, b = comparable(trained, current)
    seen = {*a.get("train", ()), *a.get("val", ())}
    salted = "salt" in b and "salt" not in current  # names here, hashes in the checkpoint
    value = os.environ.get(SALT, "").strip()
    return {name for name in people if (hashed(name, value) if salted else spelt(name)) not in seen}
