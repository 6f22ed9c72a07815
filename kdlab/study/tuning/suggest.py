"""Settings that are tried next: the tree-structured Parzen estimator of Optuna, as a pure function of what is finished.

A study of Optuna is made in memory, finished trials of earlier rounds are added to it, and one trial is drawn, by a
sampler of its own seed. So a suggestion depends on the seed, the number of the trial and the finished trials of earlier
rounds, and on nothing else: neither on the number of processes nor on the order in which trials end.

References:
    Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 2011 (the estimator).
    Akiba et al., Optuna: a next-generation hyperparameter optimization framework, KDD 2019,
        doi:10.1145/3292500.3330701.
"""

from __future__ import annotations

import hashlib
import math
import random
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdlab.study.statistics import EQUAL
from kdlab.study.tuning.space import Choice, Space, size_of
from kdlab.types import InputError

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
_RANDOM = 10  # trials that the sampler draws at random first, but at most half of all
_AGAIN = 20  # suggestions, of which the first is taken that was not tried before, ahead of a draw from all others


@dataclass(frozen=True)
class Finished:
    """The outcome of a trial.

    Attributes:
        number: from 0.
        values: setting -> value.
        state: ``"complete"``, ``"pruned"`` or ``"failed"``.
        value: mean validation accuracy of its fits; that of chance, where one of them diverged.
        points: run -> best validation accuracy so far at each share of the fit where it is compared.
        reason: why it failed.
        updates: of its fits together.
        seconds: of its fits together.
    """

    number: int
    values: Mapping[str, Any]
    state: str
    value: float
    points: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    reason: str = ""
    updates: int = 0
    seconds: float = 0.0


def optuna() -> Any:
    """The package, which is imported only where something is tuned.

    Raises:
        InputError: it is not installed.
    """
    try:
        import optuna as package
    except ImportError as error:
        raise InputError(
            "tune: the package optuna must be installed, but is not. Run pip install 'kdlab[tune]'."
        ) from error
    package.logging.set_verbosity(package.logging.WARNING)
    return package


def distributions(space: Space) -> dict[str, Any]:
    """A space as Optuna has it."""
    kinds = optuna().distributions
    found = {}
    for name, values in space.items():
        if isinstance(values, Choice):
            found[name] = kinds.CategoricalDistribution(values.words)
        elif values.whole:
            found[name] = kinds.IntDistribution(values.low, values.high, log=values.log)
        else:
            found[name] = kinds.FloatDistribution(values.low, values.high, log=values.log)
    return found


def frozen(trial: Finished, space: Space, *, sampling: bool) -> Any:
    """A finished trial as Optuna has it.

    Args:
        trial: with a value of each setting of the space.
        space: of the settings.
        sampling: for the sampler a failed trial is a complete one at chance level, so that its region is avoided; in
            the record it is a failed one.
    """
    package = optuna()
    states = package.trial.TrialState
    failed = trial.state == FAILED and not sampling
    curves = [points for points in trial.points.values() if points]
    means = [statistics.fmean(found) for found in _until_missing(curves)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of choices that are no plain values
        return package.trial.create_trial(
            state=states.FAIL if failed else states.PRUNED if trial.state == PRUNED else states.COMPLETE,
            value=None if failed else trial.value,
            params={name: values.word(trial.values[name]) for name, values in space.items()},
            distributions=distributions(space),
            intermediate_values=dict(enumerate(means)),
            user_attrs={"reason": trial.reason} if trial.reason else {},
        )


def _until_missing(curves: Sequence[Sequence[float | None]]) -> list[list[float]]:
    """The values of all fits at each point, up to the first that one of them did not reach."""
    reached = []
    for values in zip(*curves, strict=True):
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            break
        reached.append(known)
    return reached


def suggest(
    space: Space,
    finished: Sequence[Finished],
    seed: int,
    number: int,
    trials: int,
    taken: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The settings of a trial: none that was tried before, as far as the space has others.

    Args:
        space: of the settings.
        finished: trials of earlier rounds.
        seed: of the tuning.
        number: of the trial.
        trials: how many there will be.
        taken: the settings of trials of the same round with lower numbers.

    Returns:
        Setting -> value.
    """
    before = [*(trial.values for trial in finished), *taken]
    others = size_of(space) > len({repr(dict(tried)) for tried in before})
    values: dict[str, Any] = {}
    for attempt in range(_AGAIN if others else 1):
        values = _suggest_once(space, finished, f"{seed}/{number}/{attempt}", trials)
        if values not in before:
            return values
    return _drawn(space, before, f"{seed}/{number}") if others and math.isfinite(size_of(space)) else values


def _drawn(space: Space, before: Sequence[Mapping[str, Any]], seed: str) -> dict[str, Any]:
    """Settings of a finite space that were not tried before, at random: the sampler gives the best ones again."""
    rng, tried = random.Random(seed), {repr(dict(values)) for values in before}
    while True:
        values = {name: rng.choice(some.members) for name, some in space.items()}
        if repr(values) not in tried:
            return values


def _suggest_once(space: Space, finished: Sequence[Finished], seed: str, trials: int) -> dict[str, Any]:
    package = optuna()
    start = min(_RANDOM, max(1, trials // 2))
    number = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=4).digest(), "big")
    study = package.create_study(
        sampler=package.samplers.TPESampler(seed=number, n_startup_trials=start), direction="maximize"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of choices that are no plain values
        for trial in sorted(finished, key=lambda t: t.number):
            study.add_trial(frozen(trial, space, sampling=True))
        asked = study.ask(distributions(space))
    return {name: values.value(asked.params[name]) for name, values in space.items()}


def medians(finished: Sequence[Finished], run: str, least: int) -> list[float | None] | None:
    """The median over complete trials of a run's best validation accuracy so far, at each point of a fit.

    Args:
        finished: trials of earlier rounds.
        run: whose fits are compared.
        least: complete trials from which on there is a median.

    Returns:
        None where there are fewer complete trials; None at a point that none of them reached.

    >>> some = [Finished(i, {}, "complete", v, {"kd": (v, None)}) for i, v in enumerate((0.2, 0.5, 0.9))]
    >>> medians(some, "kd", 3), medians(some, "kd", 4)
    ([0.5, None], None)
    """
    curves = [trial.points[run] for trial in finished if trial.state == COMPLETE and run in trial.points]
    if len(curves) < least:
        return None
    columns = [[value for value in column if value is not None] for column in zip(*curves, strict=True)]
    return [statistics.median(column) if column else None for column in columns]


def best_of(finished: Sequence[Finished]) -> Finished | None:
    """The complete trial of the highest value, the first of several; None where none is complete.

    Accuracies are means in single precision: what differs by less than that can tell apart is equal.

    >>> best_of([Finished(i, {}, COMPLETE, v) for i, v in enumerate((0.25, 0.4166666567, 0.4166666717))]).number
    1
    """
    complete = [trial for trial in finished if trial.state == COMPLETE]
    highest = max((trial.value for trial in complete), default=0.0)
    equal = [trial for trial in complete if math.isclose(trial.value, highest, rel_tol=EQUAL)]
    return min(equal, key=lambda trial: trial.number, default=None)
