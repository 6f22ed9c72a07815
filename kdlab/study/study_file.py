"""A study file, read and checked: its runs, with what they need, and its settings.

What the keys mean is told in `kdlab.study.plan`; their names, for editors, are in `kdlab.study.keys`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from kdlab.config_checks import MOST_SEED
from kdlab.configs import read_config, read_file, stack
from kdlab.study.budgets import read_controls, read_split, read_updates, with_budgets
from kdlab.study.cluster.settings import read_slurm
from kdlab.study.configs import get_value, set_values
from kdlab.study.cross_fit import read_cross_fit, with_cross_fit
from kdlab.study.decided import refuse_corruption, refuse_decided
from kdlab.study.ensembles import flat_teachers, read_ensembles, with_members
from kdlab.study.keys import LEAVE_ONE_OUT, RUN, STAGES, STUDY
from kdlab.study.known import refuse_unknown
from kdlab.study.left_out import laid_over
from kdlab.study.limits import check_count, read_hours
from kdlab.study.loggers import check_setting
from kdlab.study.measured import read_measure
from kdlab.study.paper import read_paper
from kdlab.study.run_config import config_of
from kdlab.study.runs import Run, without_idle
from kdlab.types import InputError

FOLDER = "the folder of the study file"  # where the names in it start


def read_study_file(path: Path) -> dict[str, Any]:
    """The fields of `kdlab.study.plan.Study`.

    Raises:
        InputError: naming the entry, what was expected and what came.
    """
    content = _read_content(path, ())
    name = content.get("study")
    if not isinstance(name, str) or not _is_plain(*name.split("/")):
        raise InputError(f"{path}: study must be <data set>/<name>, the folder of its runs, but got {name!r}. Name it.")
    axes = _read_axes(_mapping(content.get("axes"), f"{path}: axes"), path)
    runs = without_idle(with_cross_fit(_read_runs(content, path, axes), str(path)))
    for run in runs.values():
        config_of(run, (), f"{path}: {run.name}")  # so that a wrong teacher is refused before any job is planned
    own, updates = list(runs), read_updates(content.get("updates"), str(path))
    decided = {"folds": content.get("folds") is not None, "updates": updates is not None}
    for where, values in _set_values(content, path):
        refuse_decided(values, where, **decided)
    for axis, labels in axes.items():
        for label, values in labels.items():
            refuse_decided(values, f"{path}: axis {axis!r}: {label}", **decided, compared=True)
    for part in STAGES:
        for run, entry in (content.get(part) or {}).items():
            refuse_corruption(runs[str(run)].config, f"{path}: {part}: {run}: config: {entry['config']}")
    published = _mapping(content.get("published"), f"{path}: published")
    _known({str(title).partition(" (")[0]: None for title in published}, tuple(runs), f"{path}: published")
    for title, entry in published.items():
        if not isinstance(entry, dict) or not {"value", "source"} <= set(entry):
            raise InputError(
                f"{path}: published: {title}: must be {{value, source, note}}, but got {entry!r}. Add them."
            )
    first = [run.name for run in runs.values() if run.stage == "scratch"][:1]
    baselines = content.get("baselines", [*first, *(["kd"] if "kd" in runs else [])])
    baselines = _names(baselines, tuple(runs), f"{path}: baselines")
    controls = read_controls(content.get("controls"), str(path))
    runs = _in_order(with_budgets(runs, updates, controls, baselines, str(path)), path)
    starts = {run.init for run in runs.values()}
    baselines = [*baselines, *(name for name in runs if name not in own and name not in starts)]
    return {
        "name": name,
        "file": path,
        "description": str(content.get("description", "")).strip(),
        "seeds": _seeds(content.get("seeds", 3), path),
        "folds": _folds(content.get("folds"), path),
        "axes": axes,
        "runs": runs,
        "baselines": tuple(baselines),
        "published": published,
        "paper": read_paper(content, STAGES, tuple(runs), path),
        "tune": content.get("tune"),
        "tuned": content.get("tuned"),
        "hours": read_hours(content.get("budget"), str(path)),
        "measure": read_measure(content.get("measure"), str(path)),
        "slurm": read_slurm(content.get("slurm"), str(path)),
    }


def _read_content(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The file, laid over those that it includes."""
    if path in seen:
        raise InputError(f"{path}: include: it includes itself, by {' -> '.join(str(p) for p in (*seen, path))}.")
    if seen:
        content = read_file(path, f"{seen[-1]}: include", FOLDER)
    else:
        content = read_file(path, "study", f"the working directory ({Path.cwd()})")
    if "study" not in content and {"run", "model", "data"} & set(content):
        raise InputError(
            f"study: {str(path)!r} must name several runs, but is the config of one. Run it by kdlab fit --config "
            f"{shlex.quote(str(path))}."
        )
    _known(content, tuple(STUDY), str(path))
    included = content.pop("include", None)
    if included is None:
        return content
    names = included if isinstance(included, list) and included else [included]
    if not all(isinstance(name, str) and _is_plain(name) for name in names):
        raise InputError(
            f"{path}: include: expected the name of a file in the same folder, or a list of them, got {included!r}."
        )
    files = [_read_content(path.parent / name, (*seen, path)) for name in names]
    return reduce(lambda below, over: laid_over(over, below), [*files[1:], content], files[0])


def holder(path: Path, key: str) -> Path | None:
    """The file that has a key: a study file that was read, or the last one of those that it includes."""
    content = read_file(path, "study", FOLDER)
    if key in content:
        return path
    names = content.get("include") or []
    below = [names] if isinstance(names, str) else reversed(names)
    return next((found for name in below if (found := holder(path.parent / name, key)) is not None), None)


def _set_values(content: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where the file sets one value of runs, and those values."""
    for part, values in (content.get("set") or {}).items():
        yield f"{path}: set: {part}", values or {}
    for part in STAGES:
        for name, entry in (content.get(part) or {}).items():
            yield f"{path}: {part}: {name}: set", entry.get("set") or {}


def _read_axes(given: Mapping[str, Any], path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    axes: dict[str, dict[str, dict[str, Any]]] = {}
    for axis, labels in given.items():
        if not isinstance(labels, dict) or not labels or not all(isinstance(v, dict) for v in labels.values()):
            raise InputError(
                f"{path}: axis {axis!r} must map labels to settings, but got {labels!r}. Write "
                f"{{label: {{name: value}}}}."
            )
        if not _is_plain(str(axis), *map(str, labels)):
            raise InputError(f"{path}: axis {axis!r}: its labels name folders, so they may not hold / or be empty.")
        axes[str(axis)] = {str(label): values for label, values in labels.items()}
    return axes


def _read_runs(content: Mapping[str, Any], path: Path, axes: Mapping[str, Any]) -> dict[str, Run]:
    given = _mapping(content.get("set"), f"{path}: set")
    _known(given, ("all", *STAGES), f"{path}: set")
    logger = content.get("logger")
    logs = {} if logger is None else {"trainer.logger": check_setting(logger, str(path))}
    runs: dict[str, Run] = {}
    for part, stage in STAGES.items():
        common = [logs, *(_mapping(given.get(key), f"{path}: set: {key}") for key in ("all", part))]
        for name, entry in _mapping(content.get(part), f"{path}: {part}").items():
            where = f"{path}: {part}: {name}"
            if name in runs:
                raise InputError(f"{where}: there is another run of this name. Give it another one.")
            if not _is_plain(str(name)):
                raise InputError(f"{where}: the name of a run is that of a folder, so it may not hold /.")
            runs[str(name)] = _read_run(str(name), stage, entry, common, axes, path, where)
    if not runs:
        raise InputError(f"{path}: no runs. Name some under {', '.join(STAGES)}.")
    return _in_order(with_members(runs, str(path)), path)


def _read_run(
    name: str,
    stage: str,
    entry: Any,
    common: Sequence[Mapping[str, Any]],
    axes: Mapping[str, Any],
    path: Path,
    where: str,
) -> Run:
    files = entry.get("config") if isinstance(entry, dict) else None
    files = [files] if isinstance(files, str) else files
    if not isinstance(files, list) or not files or not all(isinstance(file, str) for file in files):
        raise InputError(f"{where}: must be {{config: <file>, ...}}, but got {entry!r}. Name a config.")
    _known(entry, tuple(RUN), where)
    one_per, init = entry.get("one_per", "seed"), entry.get("init")
    if one_per not in ("seed", "fold"):
        raise InputError(f"{where}: one_per must be 'seed' or 'fold', but got {one_per!r}. Write one of them.")
    if init is not None and not isinstance(init, str):
        raise InputError(f"{where}: init must be the name of a run, but got {init!r}. Name one.")
    config = stack(read_config(path.parent / file, where, FOLDER) for file in files)
    for values in (*common, _mapping(entry.get("set"), f"{where}: set")):
        set_values(config, values)
    given = {str(k): v for k, v in _mapping(entry.get("teachers"), f"{where}: teachers").items()}
    _check_teachers(config, given, where)
    ensembles = read_ensembles(given, where)
    teachers = flat_teachers(given, ensembles)
    named = _names(entry.get("axes"), tuple(axes), f"{where}: axes")
    updates, split = read_updates(entry.get("updates"), where), read_split(entry.get("split"), where)
    crossed = read_cross_fit(entry.get("cross_fit"), where)
    return Run(
        name, stage, config, teachers, init, named, one_per, updates, split, cross_fit=crossed, ensembles=ensembles
    )


def _check_teachers(config: Mapping[str, Any], teachers: Mapping[str, Any], where: str) -> None:
    configured = get_value(config, "model.init_args.teachers") or {}
    forgotten, unknown = sorted(set(configured) - set(teachers)), sorted(set(teachers) - set(configured))
    if forgotten:
        raise InputError(
            f"{where}: its config names teacher {', '.join(map(repr, forgotten))}, but the study does not name its "
            f"run. Write teachers: {{{forgotten[0]}: <run>, ...}}."
        )
    if unknown:
        raise InputError(
            f"{where}: its config has no teacher {', '.join(map(repr, unknown))}; it names "
            f"{', '.join(map(repr, configured)) or 'none'}. Add it to the config, or set model.init_args.teachers."
        )


def _in_order(runs: Mapping[str, Run], path: Path) -> dict[str, Run]:
    """Runs after what they need."""
    ordered: dict[str, Run] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in ordered:
            return
        if name in trail:
            raise InputError(f"{path}: {' needs '.join((*trail, name))}: nothing can be run first.")
        run = runs[name]
        _known(dict.fromkeys(run.needs), tuple(runs), f"{path}: {name}")
        for other in run.needs:
            if run.one_per == "fold" and runs[other].one_per == "seed":
                raise InputError(
                    f"{path}: {name} is one per fold, but needs {other}, which is one per seed. Write "
                    f"one_per: fold for {other} too."
                )
            visit(other, (*trail, name))
        ordered[name] = run

    for name in runs:
        visit(name, ())
    return ordered


def _seeds(value: Any, path: Path) -> tuple[int, ...]:
    if isinstance(value, int):
        check_count(value, f"{path}: seeds", f"Did you mean one seed, seeds: [{value}]?")
    seeds = list(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(seeds, list) or not seeds or not all(type(s) is int and s >= 0 for s in seeds):
        raise InputError(
            f"{path}: seeds must be a number of seeds or a list of integers, but got {value!r}. Write seeds: 3."
        )
    if max(seeds) > MOST_SEED:
        raise InputError(f"{path}: seeds must be from 0 to {MOST_SEED}, but got {max(seeds)}. Lower it.")
    if len(set(seeds)) < len(seeds):
        raise InputError(f"{path}: seeds must be different, but got {value!r}. Remove the repeated one.")
    return tuple(seeds)


def _folds(value: Any, path: Path) -> Any:
    lists = isinstance(value, list) and value and all(isinstance(group, list) and group for group in value)
    number = isinstance(value, int) and not isinstance(value, bool)
    if not (value is None or lists or number or value == LEAVE_ONE_OUT):
        raise InputError(
            f"{path}: folds must be a number of subject groups, {LEAVE_ONE_OUT}, or lists of subjects, but got "
            f"{value!r}. Write one of them."
        )
    return value


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise InputError(f"{where}: must be a mapping, but got {value!r}. Write {{name: value}}.")
    return value or {}


def _names(value: Any, known: Sequence[str], where: str) -> tuple[str, ...]:
    if value is not None and not isinstance(value, list):
        raise InputError(f"{where}: must be a list of names, but got {value!r}. Write [{value}].")
    names = [str(name) for name in value or []]
    _known(dict.fromkeys(names), known, where)
    return tuple(names)


def _known(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    if not isinstance(given, Mapping):
        raise InputError(f"{where}: must be a mapping, but got {given!r}. Write {{name: value}}.")
    refuse_unknown(given, known, where)


def _is_plain(*names: str) -> bool:
    """Can these be names of folders?"""
    return all(name not in ("", ".", "..") and not set(name) & set("/\\") and name.isprintable() for name in names)
