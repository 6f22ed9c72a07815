"""Windows of each test person and class: counted by every job, kept in its row, and named or hashed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.evaluate import Evaluation
from kdlab.fingerprint import hashed, is_hashed, salt
from kdlab.study.conditions import natural
from kdlab.types import InputError

COUNTS = ("hits", "support", "predicted")


def counted(found: Evaluation) -> dict[str, Any]:
    """The part of a row that counts windows by class and by person.

    Args:
        found: the evaluation of a job on its test windows.

    Returns:
        ``classes``: ``names`` of the K classes, and for each ``hits`` (right windows), ``support`` (windows of the
        class) and ``predicted`` (windows that were predicted as it). ``people``: for each test person ``windows``,
        ``correct`` and the same three lists; empty where people are unknown. Nothing, where a window may have any
        number of labels: it is not right or wrong as one.
    """
    if found.target.ndim != 1:
        return {}
    predicted = found.probabilities.argmax(1)
    subjects, classes = np.array(found.subjects, dtype=np.str_), len(found.classes)
    people = {}
    for person in sorted(set(found.subjects) - {""}, key=natural):
        mine = subjects == person
        counts = _counts(found.target[mine], predicted[mine], classes)
        people[person] = {"windows": int(mine.sum()), "correct": sum(counts["hits"]), **counts}
    return {"classes": {"names": found.classes, **_counts(found.target, predicted, classes)}, "people": people}


def _counts(target: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> dict[str, list[int]]:
    right = target[target == predicted]
    parts = zip(COUNTS, (right, target, predicted), strict=True)
    return {name: np.bincount(part, minlength=classes).tolist() for name, part in parts}


def f1_scores(counts: Mapping[str, Sequence[int]]) -> list[float | None]:
    """F1 of each class, ``2 hits / (support + predicted)``; None for a class that is neither a label nor a prediction.

    >>> f1_scores({"hits": [3, 0, 0], "support": [4, 1, 0], "predicted": [4, 1, 0]})
    [0.75, 0.0, None]
    """
    columns = zip(*(counts[name] for name in COUNTS), strict=True)
    return [2 * hits / (support + predicted) if support + predicted else None for hits, support, predicted in columns]


def f1_by_class(counts: Mapping[str, Sequence[int]]) -> list[float | None]:
    """F1 of each class that has windows, and None for any other, whether or not it was predicted.

    So the mean over folds is one over the same folds for every run.

    >>> f1_by_class({"hits": [3, 0, 0], "support": [4, 1, 0], "predicted": [3, 1, 1]})
    [0.857..., 0.0, None]
    """
    return [f1 if n else None for f1, n in zip(f1_scores(counts), counts["support"], strict=True)]


def macro_f1(counts: Mapping[str, Sequence[int]]) -> float:
    """Mean F1 over the classes that occur as label or prediction, as the macro F1 of a row is."""
    found = [f1 for f1 in f1_scores(counts) if f1 is not None]
    return sum(found) / len(found)


def check_counts(row: Mapping[str, Any], where: str) -> None:
    """Refuse damaged counts; rows of earlier versions have none.

    Raises:
        InputError: naming the person or class.
    """
    classes, people = row.get("classes"), row.get("people")
    tested = row.get("test_subjects", [])
    if not isinstance(tested, list) or not all(isinstance(name, str) for name in tested):
        raise InputError(f"{where}: test_subjects must be a list of names, but got {tested!r:.40}. It is damaged.")
    if classes is None and people is None:
        return
    names = classes.get("names") if isinstance(classes, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _damaged(where, "classes", classes)
    if not isinstance(classes, dict) or not _are_counts(classes, len(names)):
        raise _damaged(where, "classes", classes)
    if not isinstance(people, dict):
        raise _damaged(where, "people", people)
    for person, counts in people.items():
        good = isinstance(counts, dict) and _are_counts(counts, len(names))
        if not good or counts.get("windows") != sum(counts["support"]) or counts.get("correct") != sum(counts["hits"]):
            raise _damaged(where, f"people: {person}", counts)


def _are_counts(counts: Mapping[str, Any], classes: int) -> bool:
    lists = [counts.get(name) for name in COUNTS]
    if not all(isinstance(column, list) and len(column) == classes for column in lists):
        return False
    whole = all(type(value) is int and 0 <= value < 2**53 for column in lists for value in column or ())
    if not whole or sum(counts["support"]) == 0 or sum(counts["support"]) != sum(counts["predicted"]):
        return False
    columns = zip(counts["hits"], counts["support"], counts["predicted"], strict=True)
    return all(hits <= min(support, predicted) for hits, support, predicted in columns)


def _damaged(where: str, name: str, value: Any) -> InputError:
    return InputError(f"{where}: {name} must be counts of windows by class, but got {value!r:.40}. It is damaged.")


# ---------------------------------------------------------------------- hashes in place of names
def pseudonym(name: str, study: str) -> str:
    """The hash of a person in the tables of one study: the same in all of its rows, another one in other studies.

    It is salted by the laboratory's ``KDLAB_SALT`` and the study's name, so a list of likely names cannot be tried on
    it, and persons cannot be followed from study to study. A name that the data module has hashed already
    (``subject_ids: hashed``) stays as it is.

    Args:
        name: of a person.
        study: its name.

    Raises:
        InputError: ``KDLAB_SALT`` is not set, or short.
    """
    return name if is_hashed(name) else hashed(name, f"{salt('people')} {study}")


def with_pseudonyms(row: Mapping[str, Any], study: str) -> dict[str, Any]:
    """A row with hashes in place of the names of its test people; in the order of the hashes, which discloses nothing.

    Args:
        row: of a job.
        study: the name of the study for whose tables people are hashed; empty: they keep their names.

    Raises:
        InputError: as :func:`pseudonym`, or two people of one hash.
    """
    if not study:
        return dict(row)
    result = dict(row)
    if "people" in row:
        people = {pseudonym(name, study): counts for name, counts in row["people"].items()}
        if len(people) < len(row["people"]):
            raise InputError("people: two names have one hash under this salt. Take another KDLAB_SALT.")
        result["people"] = dict(sorted(people.items()))
    if "test_subjects" in row:
        result["test_subjects"] = sorted(pseudonym(name, study) if name else "" for name in row["test_subjects"])
    return result


def hidden_folds(folds: Mapping[str, Sequence[str]], study: str) -> dict[str, str]:
    """Fold -> its name in tables: a fold that is called after its one test person gets that person's hash.

    Args:
        folds: fold -> its test people.
        study: the name of the study for whose tables people are hashed; empty: folds keep their names.
    """
    if not study:
        return {fold: fold for fold in folds}
    return {
        fold: f"subject-{pseudonym(tested[0], study)}" if len(tested) == 1 and fold == f"subject{tested[0]}" else fold
        for fold, tested in folds.items()
    }


def hidden_job(name: str, folds: Mapping[str, str]) -> str:
    """The name of a job with its fold as tables have it.

    >>> hidden_job("kd[size=2]/subject7/seed0", {"subject7": "subject-h0123456789ab"})
    'kd[size=2]/subject-h0123456789ab/seed0'
    >>> hidden_job("tune:kd/subject7/seed0/own1", {"subject7": "subject-h0123456789ab"})
    'tune:kd/subject-h0123456789ab/seed0/own1'
    """
    title, *parts = name.split("/")
    return "/".join((title, *(folds.get(part, part) for part in parts)))


def logged_fold(fold: str, tested: Sequence[str], study: str, key: str) -> str:
    """The name of a fold for loggers, which may be services elsewhere: never that of a person.

    A fold that is called after its one test person has the person's hash in the tables of the study where there is a
    salt, and else the key of the job, by which its folder is found.

    Args:
        fold: its name.
        tested: its test people.
        study: its name.
        key: of the job.

    >>> logged_fold("fold1", ["Anna"], "toy/study", "0123456789")
    'fold1'
    """
    try:
        return hidden_folds({fold: tested}, study)[fold]
    except InputError:  # no salt
        return f"subject-{key}"
