"""The config of a run with the values of axes and tuned settings, and with its teachers that are several nets.

Values are set where the config names each teacher once, as ``set`` of a study does, so that
``model.init_args.teachers.raw.precision`` is that of every member of an ensemble, and of cross-fitted teachers. Those
of an ensemble itself (``...raw.init_args.weights``, ``...raw.init_args.members.1.precision``) are set at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kdlab.configs import stack
from kdlab.number_keys import check_keys
from kdlab.study.configs import set_values
from kdlab.study.cross_fit import place_of, write_cross_fitted
from kdlab.study.ensembles import write_ensembles
from kdlab.study.runs import Run

_OF_ENSEMBLES = ("members", "weights")


def config_of(run: Run, given: Iterable[Mapping[str, Any]], where: str) -> dict[str, Any]:
    """The config of a run.

    Args:
        run: whose config is copied.
        given: values by their dotted names; later ones win.
        where: the run, for messages.

    Raises:
        InputError: a teacher that is several nets is of another class than Teacher, or a number is a key where none is
            taken.
    """
    given = list(given)
    config = stack([run.config])
    for values in given:
        set_values(config, {name: value for name, value in values.items() if not _is_of_ensemble(name, run)})
    write_ensembles(config, run.ensembles, where)
    write_cross_fitted(config, run, where)
    for values in given:
        set_values(config, {name: value for name, value in values.items() if _is_of_ensemble(name, run)})
    check_keys(config, where)
    return config


def _is_of_ensemble(name: str, run: Run) -> bool:
    places = (f"{place_of(teacher)}.init_args.{argument}" for teacher in run.ensembles for argument in _OF_ENSEMBLES)
    return any(f"{name}.".startswith(f"{place}.") for place in places)
