"""The files of a tuning, in the folder ``tuning`` of the study: trials, space, choice and times."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from kdlab import __version__
from kdlab.configs import ADDED
from kdlab.files import cell, replacing, write_text
from kdlab.study.configs import get_value, set_value
from kdlab.study.plan import title_of
from kdlab.study.tuning.declared import rows_of
from kdlab.study.tuning.steps import Planned, Step, Tuning
from kdlab.study.tuning.suggest import frozen, optuna
from kdlab.study.tuning.tuned import Tuned

FOLDER, TRIALS, TIMES, SPACE, JOURNAL, TUNED = (
    "tuning",
    "trials.csv",
    "times.csv",
    "space.yaml",
    "journal.log",
    "tuned.yaml",
)
_FIRST = ("people", "stage", "row", "trial", "round", "state", "val_accuracy", "updates")


def write_trials(tuning: Tuning, planned: Planned, folder: Path) -> None:
    """Everything that is done so far: a table, the seconds, the space, and a journal that Optuna's tools read.

    Until a trial is done, the files of an earlier tuning stay, which the tables that are kept cite.
    """
    if not any(planned.finished.values()) and (folder / TRIALS).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    steps = [(step, planned.finished.get(name, [])) for name, step in tuning.steps.items()]
    names = list(dict.fromkeys(name for step in tuning.steps.values() for name in step.space))
    table: list[list[Any]] = [[*_FIRST, *names]]
    times: list[list[Any]] = [["people", "stage", "row", "trial", "seconds"]]
    for step, finished in steps:
        for trial in finished:
            where = [step.part.name, step.stage, step.title, trial.number]
            values = [_text(trial.values[name]) if name in trial.values else "" for name in names]
            turn = trial.number // tuning.tune.round
            table.append([*where, turn, trial.state, trial.value, trial.updates, *values])
            times.append([*where, round(trial.seconds, 1)])
    write_text(folder / TRIALS, _csv(table))
    write_text(folder / TIMES, _csv(times))
    write_text(folder / SPACE, yaml.safe_dump(tuning.tune.content, sort_keys=False))
    _write_journal(tuning, planned, folder / JOURNAL)


def _text(value: Any) -> Any:
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else json.dumps(value)


def _csv(lines: Sequence[Sequence[Any]]) -> str:
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([[cell(value) for value in line] for line in lines])
    return content.getvalue()


def _write_journal(tuning: Tuning, planned: Planned, path: Path) -> None:
    """One study of Optuna for each step; the file is replaced at once, so that a kill leaves a complete one."""
    package = optuna()
    with replacing(path) as part:
        backend = package.storages.journal.JournalFileBackend(str(part))
        storage = package.storages.JournalStorage(backend)
        for name, step in tuning.steps.items():
            study = package.create_study(
                storage=storage, study_name=f"{tuning.study.name}/{name}", direction="maximize"
            )
            study.add_trials([frozen(trial, step.space, sampling=False) for trial in planned.finished.get(name, [])])


def tuned_of(tuning: Tuning, planned: Planned) -> Tuned:
    """What a complete tuning found: the settings of every row (and tuned teacher) for each part."""
    study = tuning.study
    named = [*(n for n in study.runs if study.runs[n].stage == "teacher" and n in tuning.tune.own), *rows_of(study)]
    settings = {
        title_of(name, labels): {p.name: tuning.settings(name, labels, p, planned.chosen) for p in tuning.parts}
        for name in named
        for labels in study.labels_of(name)
    }
    return Tuned(tuning.tune.kind, tuning.tune.trials, {p.name: list(p.people) for p in tuning.parts}, settings)


def head(command: str, sources: str, *more: str) -> str:
    """The first lines of a file: the command that writes it, and the version."""
    return "".join(f"# {line}\n" for line in (f"Written by {command} (kdlab {__version__}, sources {sources}).", *more))


def write_chosen(tuning: Tuning, planned: Planned, folder: Path, command: str, sources: str) -> Tuned:
    """``tuned.yaml`` for studies, and ``<part>/<row>.yaml`` for runs, both to ``include``."""
    tuned = tuned_of(tuning, planned)
    write_text(folder / TUNED, tuned_text(tuned, command, sources))
    for row, of_part in tuned.settings.items():
        for part in tuning.parts:
            place = folder / part.name
            place.mkdir(parents=True, exist_ok=True)
            searches = [step for step in tuning.steps.values() if step.part == part and step.title in ("common", row)]
            lines = [_choice(step, planned) for step in searches]
            lines.append(f"Used in {', '.join(fold or 'the split of the configs' for fold in part.folds)}.")
            write_text(place / f"{row}.yaml", head(command, sources, *lines) + _fragment(of_part[part.name]))
    return tuned


def _choice(step: Step, planned: Planned) -> str:
    best, trials = planned.chosen[step.name], planned.finished[step.name]
    return (
        f"{step.title}: trial {best.number} of {len(trials)}, validation accuracy {100 * best.value:.1f} % "
        f"with the people of {step.part.name}."
    )


def _fragment(settings: Mapping[str, Any]) -> str:
    """Settings as a part of a run config."""
    config: dict[str, Any] = {}
    for name, value in settings.items():
        place, _, last = name.rpartition(".")
        if last.endswith(ADDED):  # it extends the list of the config that includes this one
            name, value = place, {**get_value(config, place, {}), last: value}
        set_value(config, name, value)
    return str(yaml.safe_dump(config, sort_keys=False))


def tuned_text(tuned: Tuned, command: str, sources: str) -> str:
    """A file that a study includes."""
    return head(command, sources, tuned.caption) + str(yaml.safe_dump({"tuned": tuned.content}, sort_keys=False))
