"""What the values of a row may be, and which of its numbers follow from others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from kdlab.study.people import COUNTS, macro_f1
from kdlab.study.plan import Job
from kdlab.types import InputError

#: the keys of a row that are words
WORDS = ("job", "run", "stage", "fold", "key", "sources", "view", "selection")
_NESTED = ("labels", "reliability", "test_subjects", "classes", "people")
_INTEGERS = (
    *("test_windows", "best_epoch", "last_epoch", "parameters", "macs", "seed", "unlabelled"),
    *("updates", "updates_warm_start", "left_out_windows", "left_out_people"),
)
_SHARES = ("val_accuracy", "val_f1", "test_f1", "test_map", "test_v_measure", "left_out_accuracy")
_SHARES_BEGIN = ("test_accuracy", "test_open_set_auroc_")
#: a net was sure of a wrong class; no class has a label; the test windows are of one class
_NOT_FINITE = {"test_nll": "inf", "test_map": "nan", "test_v_measure": "nan"}
_BINS = {"confidence", "accuracy", "count"}
ROUNDING = 1e-5  # of metrics that were computed in float32


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number, and no truth value."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def damaged(where: str, name: str, expected: str, value: Any) -> InputError:
    """The refusal of a value of a row."""
    return InputError(f"{where}: {name} must be {expected}, but got {value!r:.40}. It is damaged.")


def check_values(row: Mapping[str, Any], needed: Sequence[str], where: str) -> None:
    """Refuse a value that is of another kind than its key says; counts by class and person are checked elsewhere.

    Args:
        row: of a job.
        needed: keys of numbers that it must have.
        where: the row is, for messages.

    Raises:
        InputError: naming the key.
    """
    for name in ("sources", "view", *needed, *row):
        value = row.get(name)
        if name in WORDS:
            check_word(name, value, where)
        elif name not in (*_NESTED, "shared") and not (value is None and name not in needed):
            _check_number(name, value, where)
    _check_bins(row.get("reliability"), where)


def check_word(name: str, value: Any, where: str) -> None:
    """Refuse a value of a row that must be a word.

    Raises:
        InputError: it is none.
    """
    if not isinstance(value, str):
        raise damaged(where, name, "a word", value)


def _check_number(name: str, value: Any, where: str) -> None:
    share = name in _SHARES or name.startswith(_SHARES_BEGIN)
    if isinstance(value, float) and str(value) == _NOT_FINITE.get(name):
        return
    if not is_number(value) or not 0 <= value <= (1 + ROUNDING if share else math.inf):
        raise damaged(where, name, "a number from 0 to 1" if share else "a number of at least 0", value)
    if name in _INTEGERS and value != int(value):
        raise damaged(where, name, "an integer", value)


def _check_bins(bins: Any, where: str) -> None:
    columns = list(bins.values()) if isinstance(bins, dict) and set(bins) == _BINS else []
    equal = all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns)
    if not columns or not equal or not all(v is None or is_number(v) for column in columns for v in column):
        raise damaged(where, "reliability", "three lists of numbers of the same length", bins)
    if not all(is_number(count) and count >= 0 and count == int(count) for count in bins["count"]):
        raise damaged(where, "reliability: count", "numbers of windows", bins["count"])


# ---------------------------------------------------------------------- numbers that follow from others
def check_agreement(row: Mapping[str, Any], where: str) -> None:
    """Refuse a row whose metrics and counts contradict each other; one without counts has nothing to compare.

    Args:
        row: whose values and counts are each as they must be.
        where: the row is, for messages.

    Raises:
        InputError: naming the number, and what it follows from.
    """
    if (classes := row.get("classes")) is None:
        return
    windows = sum(classes["support"])
    if row["test_windows"] != windows:
        raise _other(where, "test_windows", windows, "the support of classes", row["test_windows"])
    accuracy, f1 = sum(classes["hits"]) / windows, macro_f1(classes)
    if abs(row["test_accuracy"] - accuracy) > ROUNDING:
        raise _other(where, "test_accuracy", f"{accuracy:.6g}", "hits / support of classes", row["test_accuracy"])
    if abs(row["test_f1"] - f1) > ROUNDING:
        raise _other(where, "test_f1", f"{f1:.6g}", "of the counts of classes", row["test_f1"])
    if (binned := sum(row["reliability"]["count"])) != windows:
        raise _other(where, "reliability: count", windows, "the test windows, in sum", binned)
    _check_people(row, where)


def _check_people(row: Mapping[str, Any], where: str) -> None:
    """Everyone tested is counted, and their counts are those of the classes; some windows may be of no one known."""
    people: Mapping[str, Mapping[str, Sequence[int]]] = row["people"]
    tested: list[str] | None = row.get("test_subjects")
    if tested is not None and set(people) != set(tested) - {""}:
        alone = sorted(set(people) ^ (set(tested) - {""}))
        raise InputError(
            f"{where}: people must be those of test_subjects, but {', '.join(alone):.60} "
            f"{'is' if len(alone) == 1 else 'are'} in one of the two alone. It is damaged."
        )
    everyone = "" not in (tested or [""])
    for name in COUNTS:
        for label, total, *counts in zip(
            row["classes"]["names"], row["classes"][name], *(counts[name] for counts in people.values()), strict=True
        ):
            if sum(counts) > total or (everyone and sum(counts) < total):
                raise _other(where, f"classes: {name} of {label}", sum(counts), "the sum over people", total)


def check_updates(row: Mapping[str, Any], job: Job, where: str) -> None:
    """Refuse a row with other updates than its study gives the job; a fit that a callback ends may have fewer.

    Args:
        row: whose values are as they must be.
        job: its job.
        where: the row is, for messages.

    Raises:
        InputError: naming the number.
    """
    updates, warm = row.get("updates"), row.get("updates_warm_start")
    if job.updates is None:
        return
    if warm is not None and warm != job.warm:
        raise _other(where, "updates_warm_start", job.warm, "of its job", warm)
    if updates is not None and (updates > job.updates or (updates < job.updates and not _may_end_early(job))):
        raise _other(where, "updates", job.updates, "of its job", updates)


def _may_end_early(job: Job) -> bool:
    trainer = job.config.get("trainer") or {}
    callbacks = trainer.get("callbacks") or []
    callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
    names = [one.get("class_path") if isinstance(one, Mapping) else one for one in callbacks]
    own = [name for name in names if str(name).rpartition(".")[2] != "UpdateBudget"]
    return bool(own) or trainer.get("max_time") is not None


def _other(where: str, name: str, expected: Any, source: str, value: Any) -> InputError:
    return damaged(where, name, f"{expected}, {source}", value)
