"""Every setting of a tuning is checked before anything is run: its name, and the ends of its range."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, Namespace

from kdlab import reuse
from kdlab.config_checks import data_class
from kdlab.data import WindowDataModule
from kdlab.files import one_line, write_yaml
from kdlab.fit_checks import check_optimizer
from kdlab.methods.base import Method
from kdlab.methods.plans import Plan, planned
from kdlab.parser import Parser, reason
from kdlab.sections import MADE, accepted
from kdlab.study import ends
from kdlab.study.plan import Job, title_of
from kdlab.study.tuning.declared import FOLD, rows_of
from kdlab.study.tuning.people import Part
from kdlab.study.tuning.space import Space
from kdlab.study.tuning.steps import Tuning
from kdlab.study.windows import batches
from kdlab.types import InputError, input_error_in

Check = Callable[[Sequence[str]], None]
Values = Mapping[str, Any]


def check_space(tuning: Tuning, check: Check) -> None:
    """Make data, method and optimiser of every row with the values at the ends of its space.

    Args:
        tuning: of a study.
        check: reads a command line without running it.

    Raises:
        InputError: naming the setting that is not accepted.
    """
    study, tune = tuning.study, tuning.tune
    for name in (n for n in study.runs if n in {*rows_of(study), *tune.own}):
        common = list(at_ends(tune.common)) if study.runs[name].stage != "teacher" else [{}]
        own = list(at_ends(tune.own.get(name, {})))
        for labels in study.labels_of(name):
            row = f"{study.file}: tune: {{}}: {title_of(name, labels)}"
            for values in common:
                _check_row(tuning, name, labels, {}, values, row.format("common"), check)
            for base, values in [*((common[0], each) for each in own), *((each, own[0]) for each in common[1:])]:
                _check_row(tuning, name, labels, base, values, row.format("own"), check)
            _check_parts(tuning, name, labels)


def _check_row(
    tuning: Tuning, name: str, labels: dict[str, str], base: Values, values: Values, where: str, check: Check
) -> None:
    """Check values over those of an earlier stage; a refusal names the one that is behind it."""
    if not values:
        return
    try:
        _check_values(tuning, name, labels, {**base, **values}, check)
    except InputError as error:
        _check_bare(tuning, name, labels, error, check)
        for key, value in values.items():
            try:
                _check_values(tuning, name, labels, {**base, key: value}, check)
            except InputError as alone:
                raise InputError(
                    f"{where}: {key} must be accepted, but got {value!r:.80}: {one_line(alone)}"
                ) from error
        raise InputError(f"{where}: {one_line(error)}") from error


def _check_bare(tuning: Tuning, name: str, labels: dict[str, str], error: InputError, check: Check) -> None:
    """Refuse a row that is refused for the same reason without any value: the people of the tuning are behind it."""
    try:
        _check_values(tuning, name, labels, {}, check)
    except InputError as bare:
        if one_line(bare) != one_line(error):
            return
        raise _too_few(tuning, tuning.parts[0], title_of(name, labels), bare) from error


def _check_parts(tuning: Tuning, name: str, labels: dict[str, str]) -> None:
    """Refuse a row for which people of a part other than the first, which all else is checked with, are too few."""
    for part in tuning.parts[1:]:
        try:
            batches(tuning.tried(name, labels, {}, part).config)
        except InputError as error:
            raise _too_few(tuning, part, title_of(name, labels), error) from error


def _too_few(tuning: Tuning, part: Part, row: str, error: InputError) -> InputError:
    people = f" ({', '.join(part.people)}, in training and validation)" if part.people else ""
    fold = (
        "" if tuning.tune.kind == FOLD else " Or write people: fold, to try them on the training people of each group."
    )
    why = one_line(error)
    end = "" if why.endswith(".") else "."
    return InputError(
        f"{tuning.study.file}: tune: people: {part.name}{people} must do for {row} without any value, but got: "
        f"{why}{end}{fold}"
    )


def at_ends(space: Space) -> Iterator[dict[str, Any]]:
    """Settings that hold every end of every range, all of them at once; one without settings of an empty space."""
    for i in range(max((len(values.ends) for values in space.values()), default=1)):
        yield {name: values.ends[min(i, len(values.ends) - 1)] for name, values in space.items()}


def _check_values(tuning: Tuning, name: str, labels: dict[str, str], values: Values, check: Check) -> None:
    job = tuning.tried(name, labels, values)
    with tempfile.TemporaryDirectory() as folder, reuse.reusing():
        path = Path(folder, "job.yaml")
        write_yaml(path, job.config)
        words = ["fit", "--config", str(path)]
        _parse(check, words)
        make(job, accepted(job.config, data_class(words)))
    batches(job.config)  # which windows too few to fill a batch do not give


def _parse(check: Check, words: Sequence[str]) -> None:
    """Read a command line; the parser prints why it refuses one, and its last line is the reason."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            check(words)
        except SystemExit as error:
            if ends.end_of(error) is not None:
                raise
            last = (said.getvalue().strip().splitlines() or ["the config is not accepted."])[-1]
            raise InputError(last.removeprefix("error: ")) from None


@functools.cache
def _parser() -> Parser:
    parser = Parser(allow_abbrev=False, exit_on_error=False)
    parser.add_lightning_class_args(Method, "model", subclass_mode=True)
    parser.add_lightning_class_args(WindowDataModule, "data", subclass_mode=True)
    return parser


def make(job: Job, parsed: Namespace | None = None) -> None:
    """Make data module, method and optimiser of a job, and nothing more.

    Args:
        job: of a study.
        parsed: its sections ``model`` and ``data``, where they were parsed.

    Raises:
        InputError: one of them refuses its arguments.
    """
    parser = _parser()
    try:  # without the defaults of all other arguments, which the classes have themselves
        given = {key: copy.deepcopy(job.config[key]) for key in MADE} if parsed is None else {}
        made = parser.instantiate_classes(parser.parse_object(given, defaults=False) if parsed is None else parsed)
    except (ArgumentError, ValueError, TypeError, OSError) as error:
        raise input_error_in(error) or InputError(one_line(reason(str(error)))) from error
    cache, data = getattr(made.model, "cache", None), made.data
    if cache is not None and cache.teacher_input != "clean" and (data.augment is not None or data.mix is not None):
        raise InputError(
            f"cache: teacher_input must be 'clean' where windows change at random, but got {cache.teacher_input!r}. "
            "Set it, or leave out the cache or the change."
        )
    with planned(Plan(steps=1000, epochs=10)):  # a schedule is spread over the length of the fit
        check_optimizer(made.model)
