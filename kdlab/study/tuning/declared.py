"""The section ``tune`` of a study file::

    tune:
      trials: 20          # of the common settings, and of every row
      round: 4            # trials that are suggested together
      people: halves      # or fold, or a list of people who are never tested
      seed: 0
      common:             # stage 1: on the mean of the rows in `on`, then fixed for all rows
        model.lr: {low: .005, high: .1, log: true}
        data.batch_size: [16, 32, 64]
      own:                # stage 2: of each row
        scratch: {model.weight_decay: {low: 1e-5, high: 1e-3, log: true}, model.label_smoothing: [0.0, 0.1]}
        students: {model.temperature: [2.0, 4.0, 8.0], model.kd_weight: {low: .1, high: 1.0}}
        tpkd: {model.temperature: [2.0, 4.0], model.similarity_weight: {low: 1.0, high: 100.0, log: true}}

A row is a run of ``scratch`` or ``students``, with each of its labels; ``own`` names runs, or a part of the study for
those of its runs that are not named. Either no row has settings of its own or all have, and all have the same number of
trials. A teacher that ``own`` names is tuned first, with as many trials; other teachers keep the settings of their
configs, and the common ones are not theirs.

``prune`` names the shares of a fit at which a trial is compared with the median of earlier rounds (``[]``: never), and
``prune_from`` the number of complete trials from which on that is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdlab.study.decided import refuse_decided
from kdlab.study.keys import FOLD as FOLD
from kdlab.study.keys import HALVES as HALVES
from kdlab.study.keys import STAGES, TUNE
from kdlab.study.known import refuse_unknown
from kdlab.study.limits import check_count
from kdlab.study.plan import Study
from kdlab.study.tuning.space import Space, read_space
from kdlab.types import InputError


@dataclass(frozen=True)
class Tune:
    """The section, read and checked.

    Attributes:
        trials: of stage 1, and of every row in stage 2.
        round: trials that are suggested together.
        people: ``"halves"``, ``"fold"``, or people who are never tested.
        seed: of suggestions and fits.
        on: the runs on whose mean the common settings are chosen.
        common: their space.
        own: run -> the space of its own settings.
        prune: shares of a fit at which a trial is compared with others.
        prune_from: complete trials from which on it is.
    """

    trials: int
    round: int
    people: str | list[Any]
    seed: int
    on: tuple[str, ...]
    common: Space
    own: dict[str, Space]
    prune: tuple[float, ...] = (0.25, 0.5, 0.75)
    prune_from: int = 5

    @property
    def kind(self) -> str:
        """``"halves"``, ``"fold"`` or ``"people"``."""
        return self.people if isinstance(self.people, str) else "people"

    @property
    def content(self) -> dict[str, Any]:
        """The section with every default and the full names of all settings."""
        plain = {name: getattr(self, name) for name in ("trials", "round", "people", "seed", "prune_from")}
        return {
            **plain,
            "on": list(self.on),
            "prune": list(self.prune),
            "common": {name: values.content for name, values in self.common.items()},
            "own": {run: {name: v.content for name, v in space.items()} for run, space in self.own.items()},
        }


def rows_of(study: Study) -> list[str]:
    """The runs whose results are compared: scratch and students, in an order in which they can be run."""
    return [name for name, run in study.runs.items() if run.stage != "teacher"]


def read_tune(study: Study) -> Tune | None:
    """The section ``tune`` of a study; None where it has none.

    Raises:
        InputError: naming the key, what it must be and what it is.
    """
    if study.tune is None:
        return None
    where = f"{study.file}: tune"
    content: Any = study.tune
    if isinstance(content, Mapping) and True in content and "on" not in content:
        content = {"on" if name is True else name: value for name, value in content.items()}  # on, unquoted in YAML
    _check_names(content, tuple(TUNE), where)
    trials = _whole(content.get("trials", 20), f"{where}: trials", 1)
    check_count(trials, f"{where}: trials")
    people = content.get("people", HALVES)
    if people not in (HALVES, FOLD) and not (isinstance(people, list) and people):
        raise InputError(
            f"{where}: people must be halves, fold or a list of people, but got {people!r:.80}. Choose one."
        )
    common = read_space(content.get("common") or {}, f"{where}: common")
    tune = Tune(
        trials,
        min(_whole(content.get("round", 4), f"{where}: round", 1), trials),
        people,
        _whole(content.get("seed", 0), f"{where}: seed", 0),
        _on(study, content.get("on"), common, where),
        common,
        _own(study, content.get("own") or {}, where),
        _shares(content.get("prune", [0.25, 0.5, 0.75]), f"{where}: prune"),
        _whole(content.get("prune_from", 5), f"{where}: prune_from", 1),
    )
    if not tune.common and not tune.own:
        raise InputError(f"{where} must name settings under common or own, but names none. Add some.")
    _check_axes(study, tune, where)
    updates = any(run.updates is not None for run in study.runs.values())
    for part, space in {"common": tune.common, **{f"own: {name}": space for name, space in tune.own.items()}}.items():
        refuse_decided(space, f"{where}: {part}", folds=True, updates=updates, compared=True)
    return tune


def _on(study: Study, given: Any, common: Space, where: str) -> tuple[str, ...]:
    if not common:
        return ()
    if given is None:
        scratch = [name for name in rows_of(study) if study.runs[name].stage == "scratch"][:1]
        given = [*scratch, *(["kd"] if "kd" in study.runs else [])]
        if len(given) < 2:
            raise InputError(
                f"{where}: on must name the runs on whose mean the common settings are chosen, but the study has no "
                f"run 'kd' beside {', '.join(scratch) or 'no scratch run'}. Write on: [scratch, <a distilled run>]."
            )
    if not isinstance(given, list) or not given or len(set(map(str, given))) < len(given):
        raise InputError(f"{where}: on must be a list of different runs, but got {given!r:.80}. Write [scratch, kd].")
    _check_names(dict.fromkeys(map(str, given)), rows_of(study), f"{where}: on")
    for name in given:
        if (init := study.runs[name].init) is not None:
            raise InputError(
                f"{where}: on must name runs that start from random weights, but {name} starts from {init}. Name "
                "another."
            )
    return tuple(given)


def _own(study: Study, given: Any, where: str) -> dict[str, Space]:
    """Run -> its space, from entries of runs and of parts of the study."""
    where = f"{where}: own"
    _check_names(given, [*study.runs, *STAGES], where)
    stages = {STAGES[part]: part for part in STAGES}
    own, used = {}, set()
    for name, run in study.runs.items():
        if run.origin:  # it has the settings of the run that it is a copy of
            continue
        entry = name if name in given else stages[run.stage]
        if entry in given:
            used.add(entry)
            if not (space := read_space(given[entry], f"{where}: {entry}")):
                raise InputError(f"{where}: {entry} must name settings, but names none. Name some.")
            own[name] = space
    if unused := [entry for entry in given if entry not in used]:
        raise InputError(
            f"{where}: {unused[0]} must be a part of the study with runs that own does not name. Remove it."
        )
    rows = rows_of(study)
    if (missing := [name for name in rows if name not in own]) and len(missing) < len(rows):
        raise InputError(
            f"{where} must name settings of every row, which all have the same number of trials, but names none of "
            f"{', '.join(missing)}. Add them, or write scratch: or students: for all that are not named."
        )
    return own


def _check_axes(study: Study, tune: Tune, where: str) -> None:
    """No axis sets what is tuned: it would have no effect."""
    for name in {*rows_of(study), *tune.own}:
        common = tune.common if study.runs[name].stage != "teacher" else {}
        for axis in study.runs[name].axes:
            for values in study.axes[axis].values():
                if both := sorted(set(values) & {*common, *tune.own.get(name, {})}):
                    raise InputError(
                        f"{where}: {both[0]} must be tuned or be on an axis, but axis {axis} of {name} sets it, too. "
                        "Remove one of them."
                    )


def _shares(given: Any, where: str) -> tuple[float, ...]:
    good = isinstance(given, list) and all(type(v) in (int, float) and 0 < v < 1 for v in given)
    if not good or sorted(set(given)) != given:
        raise InputError(f"{where} must be rising shares of a fit, between 0 and 1, but got {given!r:.80}. Correct it.")
    return tuple(float(v) for v in given)


def _whole(value: Any, where: str, least: int) -> int:
    if type(value) is not int or value < least:
        raise InputError(f"{where} must be a whole number of at least {least}, but got {value!r:.40}. Correct it.")
    return value


def _check_names(given: Any, known: Sequence[str], where: str) -> None:
    if not isinstance(given, Mapping):
        raise InputError(f"{where} must be a mapping, but got {given!r:.80}. Write {{name: value}}.")
    refuse_unknown(given, known, where)
