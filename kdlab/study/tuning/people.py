"""Whose windows a tuning may read, and in which folds its settings are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdlab.study.configs import get_value
from kdlab.study.folds import make_folds, spelt_as
from kdlab.study.plan import Study
from kdlab.study.tuning.declared import FOLD, HALVES, Tune
from kdlab.study.windows import data_class, make_data, subjects
from kdlab.types import InputError

OWN_SPLIT = "split"  # the part of a study without folds


@dataclass(frozen=True)
class Part:
    """People whose windows the trials read, and where the settings that they find are used.

    Attributes:
        name: ``half_a`` and ``half_b``, ``people``, or that of a fold.
        fold: of the trials' jobs.
        people: in training and validation of the trials; empty where people are unknown.
        held: the test subjects of the trials, everyone else; empty: those of the configs.
        folds: those in which the settings are used.
    """

    name: str
    fold: str
    people: tuple[str, ...]
    held: tuple[str, ...]
    folds: tuple[str, ...]


def plan_people(study: Study, tune: Tune | None, aside: Sequence[str] = ()) -> tuple[dict[str, list[str]], list[Part]]:
    """The folds of a study (name -> test subjects), and the parts of its tuning.

    Args:
        study: the study.
        tune: its section ``tune``; None: nothing is tuned.
        aside: people who are never tested, where nothing is tuned any more.

    Raises:
        InputError: the people are unknown, too few, or both tuned on and tested.
    """
    first = next(iter(study.runs.values())).config
    named = bool(aside) if tune is None else tune.kind == "people"
    windows, never = subjects(first) if study.folds is not None or named else ({}, [])
    if tune is None:
        where = f"{study.file}: tuned: people"
        return _folds_without(study, _aside(list(aside), windows, where) if named else [], never, windows, where), []
    where = f"{study.file}: tune: people"
    if named:
        aside = _aside(tune.people, windows, where)
        folds = _folds_without(study, aside, never, windows, where)
        parts = [_part("people", "people", aside, [n for n in windows if n not in aside], list(folds))]
    else:
        folds = _folds_without(study, [], never, windows, where)
        parts = halves(folds, windows, where) if tune.kind == HALVES else _nested(folds, windows)
    _check(first, folds, parts, where)
    return folds, parts


def _part(name: str, fold: str, people: Sequence[str], held: Sequence[str], folds: Sequence[str]) -> Part:
    return Part(name, fold, tuple(people), tuple(held), tuple(folds))


def _aside(people: Any, windows: Mapping[str, int], where: str) -> list[str]:
    names = spelt_as(windows, people)
    if not windows:
        raise InputError(f"{where} must be fold, because the people of this data set are unknown. Write people: fold.")
    if unknown := [name for name in names if name not in windows]:
        raise InputError(f"{where}: no subject {', '.join(unknown)}; the subjects are {', '.join(windows)}.")
    if len(set(names)) < len(names) or len(names) == len(windows):
        raise InputError(f"{where} must be different people, and not all, but got {', '.join(names)}. Correct it.")
    return names


def _folds_without(
    study: Study, aside: Sequence[str], never: Sequence[str], windows: Mapping[str, int], where: str
) -> dict[str, list[str]]:
    """The folds of the people who are not set aside and have windows to test; the others train in every fold."""
    if isinstance(study.folds, list):
        folds = make_folds(study.folds, windows)
        if both := [name for group in folds.values() for name in group if name in aside]:
            raise InputError(
                f"{where} are never tested, but folds tests {', '.join(both)}. Take them out of one of the two."
            )
        return folds
    left = {name: count for name, count in windows.items() if name not in (*aside, *never)}
    return make_folds(study.folds, left)


def _nested(folds: Mapping[str, list[str]], windows: Mapping[str, int]) -> list[Part]:
    """For each fold its own training people."""
    return [
        _part(fold or OWN_SPLIT, fold, [name for name in windows if name not in tested], tested, [fold])
        for fold, tested in folds.items()
    ]


def halves(folds: Mapping[str, list[str]], windows: Mapping[str, int], where: str) -> list[Part]:
    """Complete folds, from the one with the most windows on, to the half that has fewer tested windows so far.

    The settings found with the people of one half are used in the folds that test those of the other. People whom no
    fold tests belong to both.
    """
    if len(folds) < 2 or not windows:
        raise InputError(
            f"{where} must be fold or a list of people, because the study has fewer than two folds of people. Write "
            "people: fold, or folds: 2 or more."
        )
    size = {fold: sum(windows[name] for name in tested) for fold, tested in folds.items()}
    order = list(folds)
    both: tuple[list[str], list[str]] = ([], [])
    for fold in sorted(folds, key=lambda f: (-size[f], order.index(f))):
        min(both, key=lambda half: sum(size[f] for f in half)).append(fold)
    first, second = both if order[0] in both[0] else (both[1], both[0])
    parts: list[Part] = []
    for name, others in (("half_a", second), ("half_b", first)):
        held = {person for fold in others for person in folds[fold]}
        people = [person for person in windows if person not in held]
        parts.append(_part(name, name, people, [p for p in windows if p in held], sorted(others, key=order.index)))
    return parts


def _check(config: dict[str, Any], folds: Mapping[str, list[str]], parts: Sequence[Part], where: str) -> None:
    """No one is tuned on and tested; the data module can hold out whom the trials must not read."""
    for part in parts:
        if len(part.held) > 1 and data_class(config).fold_argument != "test_subjects":
            raise InputError(
                f"{where} must be {FOLD} for {get_value(config, 'data.class_path')}, which tests one subject at a time."
                f" Write people: {FOLD}."
            )
        for fold in part.folds:
            tested = folds[fold] or (make_data(config).fingerprint["test"] if part.held else [])
            if both := sorted(set(tested) & set(part.people)):
                raise InputError(
                    f"{where}: {part.name} must hold no test subject, but the test subjects "
                    f"{fold and f'of {fold} '}hold {', '.join(both)}. Choose others."
                )
