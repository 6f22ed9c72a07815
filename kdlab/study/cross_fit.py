"""Out-of-person teachers of a study: ``cross_fit: k`` of a student, the k teachers of each view, what they measure.

With ``cross_fit: 3`` a student's teachers are replaced by three each: ``teacher_raw_without1of3`` is trained as
``teacher_raw`` is, without the first of three groups of the training people (`kdlab.data.CrossFit`: the groups follow
from a seed, 0 here, and the ids). The soft targets of a person come from the teacher that was trained without this
person (`kdlab.CrossFittedTeacher`); those of unlabelled and of validation people are the mean of all three.
``cross_fit: {groups: 3, seed: 1}`` divides by another seed. Students with the same number and seed share the teachers.
"""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kdlab.methods.label_kinds import is_right
from kdlab.study.conditions import LEFT_OUT, Condition, Row, number
from kdlab.study.configs import get_value, set_value
from kdlab.study.keys import CROSS_FIT
from kdlab.study.limits import check_count
from kdlab.study.runs import Run
from kdlab.types import InputError

CLASS = "CrossFittedTeacher"
ACCURACY, WINDOWS, PEOPLE = (f"{LEFT_OUT}_{name}" for name in ("accuracy", "windows", "people"))
_NAME = re.compile(r"(.+)_without(\d+)of(\d+)((?:_seed\d+)?)")


def read_cross_fit(value: Any, where: str) -> tuple[int, int] | None:
    """Number of groups and seed of a run; None where it has none.

    Raises:
        InputError: it is no number of at least 2, and no mapping with one.
    """
    if value is None:
        return None
    given = value if isinstance(value, Mapping) else {"groups": value}
    numbers: list[Any] = [given.get("groups"), given.get("seed", 0)]
    whole = all(isinstance(v, int) and not isinstance(v, bool) for v in numbers)
    if not whole or set(given) - set(CROSS_FIT) or numbers[0] < 2 or numbers[1] < 0:
        raise InputError(
            f"{where}: cross_fit must be a number of groups of at least 2, or {{groups: 3, seed: 0}}, but got "
            f"{value!r}. Write cross_fit: 3."
        )
    check_count(numbers[0], f"{where}: groups of cross_fit")
    return numbers[0], numbers[1]


def with_cross_fit(runs: Mapping[str, Run], where: str) -> dict[str, Run]:
    """The runs with the teachers that ``cross_fit`` needs, before the students that they teach.

    Args:
        runs: in an order in which they can be run.
        where: the study file, for messages.

    Raises:
        InputError: a run without teachers, a teacher that needs other runs, or a name that is taken.
    """
    found: dict[str, Run] = {}
    for run in runs.values():
        if run.cross_fit is None:
            found[run.name] = run
            continue
        if not run.teachers:
            raise InputError(f"{where}: {run.name}: cross_fit must be left out of a run without teachers. Remove it.")
        groups, seed = run.cross_fit
        teachers = {}
        for teacher, other in run.teachers.items():
            members = added_teachers(runs[other], groups, seed, where)
            for j, member in enumerate(members, start=1):
                if member.name in runs and runs[member.name] != member:
                    raise InputError(
                        f"{where}: {member.name} must be the name of a teacher that cross_fit adds, but there is "
                        "another run of this name. Rename it."
                    )
                found[member.name] = member
                teachers[f"{teacher}/{j}"] = member.name
        found[run.name] = replace(run, teachers=teachers)
    return found


def added_teachers(teacher: Run, groups: int, seed: int, where: str) -> list[Run]:
    """The teachers of the groups, each without one."""
    if teacher.needs:
        raise InputError(
            f"{where}: {teacher.name}: a teacher of cross_fit must not need other runs, which have seen everyone, but "
            f"needs {', '.join(teacher.needs)}. Name a teacher that is trained on labels alone."
        )
    if get_value(teacher.config, "data.init_args.cross_fit") is not None:
        raise InputError(
            f"{where}: {teacher.name}: a teacher of cross_fit or folds must see all groups in its own config, but is "
            "trained without one. Leave out cross_fit, or folds."
        )
    members = []
    for j in range(1, groups + 1):
        config = copy.deepcopy(teacher.config)
        data = config.get("data")
        config["data"] = {"class_path": data} if isinstance(data, str) else data
        given = {"groups": groups, "without": j, **({"seed": seed} if seed else {})}
        set_value(config, "data.init_args.cross_fit", given)
        name = f"{teacher.name}_without{j}of{groups}" + (f"_seed{seed}" if seed else "")
        members.append(replace(teacher, name=name, config=config, control=True, origin=teacher.origin or teacher.name))
    return members


def write_cross_fitted(config: dict[str, Any], run: Run, where: str) -> None:
    """Replace the teachers of a run with ``cross_fit`` by cross-fitted ones with the same arguments.

    Args:
        config: of the run, with its ensembles; it is changed.
        run: after `with_cross_fit`.
        where: the run, for messages.

    Raises:
        InputError: a teacher is of another class.
    """
    for teacher in dict.fromkeys(key.rpartition("/")[0] for key in run.teachers) if run.cross_fit is not None else ():
        arguments = arguments_of(config, teacher, f"{where}: teacher {teacher!r} must be a Teacher with cross_fit")
        for name in ("checkpoint", "allow_other_split"):
            arguments.pop(name, None)
        set_value(config, place_of(teacher), {"class_path": CLASS, "init_args": arguments})


def arguments_of(config: Mapping[str, Any], key: str, must: str) -> dict[str, Any]:
    """The arguments of a teacher of a config, or of a member of one.

    Args:
        config: of a student.
        key: of the teacher.
        must: what it must be, for the message.

    Raises:
        InputError: it is of another class.
    """
    entry = get_value(config, place_of(key)) or {}
    if "class_path" in entry and str(entry["class_path"]).rpartition(".")[2] != "Teacher":
        raise InputError(f"{must}, but is {entry['class_path']}. Change it.")
    plain = {name: value for name, value in entry.items() if name not in ("class_path", "init_args")}
    return {**plain, **(entry.get("init_args") or {})}


def place_of(key: str) -> str:
    """Where a config has a teacher, or a member of one.

    >>> place_of("raw"), place_of("all/2")
    ('model.init_args.teachers.raw', 'model.init_args.teachers.all.init_args.members.2')
    """
    return "model.init_args.teachers." + key.replace("/", ".init_args.members.")


def connect_members(config: dict[str, Any], run: Run, folders: Mapping[str, Path], views: Mapping[str, str]) -> None:
    """Put the folders of cross-fitted teachers into a config.

    Args:
        config: of a job.
        run: its run.
        folders: name of a needed run -> the folder of its job.
        views: name of a needed run -> the view that it reads.
    """
    entries: dict[str, list[str]] = defaultdict(list)
    for key, other in run.teachers.items():
        entries[key.rpartition("/")[0]].append(other)
    for teacher, others in entries.items():
        place = f"{place_of(teacher)}.init_args"
        set_value(config, f"{place}.checkpoints", [str(folders[other]) for other in others])
        if get_value(config, f"{place}.view") is None:
            set_value(config, f"{place}.view", views[others[0]])


# ---------------------------------------------------------------------- what the teachers measure
@torch.no_grad()
def left_out_row(model: Any, data: Any) -> dict[str, float]:
    """Accuracy of a teacher on the training people whom it was trained without; nothing where it has seen all.

    Args:
        model: a method with the weights that were chosen.
        data: its data module.
    """
    if data.cross_fit is None:
        return {}
    right, many = 0, data.many_labels is True
    device = next(model.parameters()).device
    model.eval()
    for batch in data.batches(LEFT_OUT, views=[model.view]):
        logits = model.net(batch.views[model.view].to(device)).logits.float().cpu()
        right += int(is_right(logits, batch.target, many).sum())
    count = data.counts[LEFT_OUT]
    return {ACCURACY: right / count["windows"], WINDOWS: count["windows"], PEOPLE: count["groups"]}


def unseen_accuracies(known: Sequence[Condition]) -> dict[str, list[tuple[str, float, int, int, int]]]:
    """Teacher and number of groups -> fold, accuracy, windows, people and seeds over all people left out.

    Each person counts with the windows that the one teacher without this person classifies; a fold and seed counts
    where all its teachers are done. Seeds of a fold are averaged.

    Args:
        known: the conditions of a study.
    """
    rows: dict[tuple[str, int], dict[tuple[str, Any], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for condition in known:
        match = _NAME.fullmatch(condition.run)
        if match is None:
            continue
        title = condition.title.replace(condition.run, match[1] + match[4].replace("_", ", "), 1)
        for row in condition.rows:
            if number(row, ACCURACY) is not None:
                rows[f"{title}, {match[3]} groups", int(match[3])][str(row["fold"]), row["seed"]].append(row)
    found: dict[str, list[tuple[str, float, int, int, int]]] = {}
    for (title, groups), runs in rows.items():
        folds: dict[str, list[list[Row]]] = defaultdict(list)
        for (fold, _), some in runs.items():
            if len(some) == groups:
                folds[fold].append(some)
        found[title] = [
            (
                fold,
                sum(_pooled(some) for some in seeds) / len(seeds),
                sum(int(row[WINDOWS]) for row in seeds[0]),
                sum(int(row[PEOPLE]) for row in seeds[0]),
                len(seeds),
            )
            for fold, seeds in folds.items()
        ]
    return {title: folds for title, folds in found.items() if folds}


def _pooled(rows: Sequence[Row]) -> float:
    right = sum(float(row[ACCURACY]) * int(row[WINDOWS]) for row in rows)
    return right / sum(int(row[WINDOWS]) for row in rows)
