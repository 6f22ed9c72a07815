"""Trials that train without windows that have no label, where the jobs which use their settings have some."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdlab.configs import stack
from kdlab.study.configs import get_value
from kdlab.study.folds import set_fold
from kdlab.study.labels_alone import labels_alone
from kdlab.study.plan import title_of
from kdlab.study.tuning.declared import FOLD
from kdlab.study.tuning.steps import Tuning
from kdlab.study.windows import trained_on

_SETTING = "data.init_args.unlabelled"


def unlike_jobs(tuning: Tuning, folds: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """A line for every part whose people leave none without a label, where the folds that use its settings have some.

    Half of few people are soon all needed for labels and validation: what a row is to learn from the others would never
    be tried.

    Args:
        tuning: of a study.
        folds: name -> test subjects.
    """
    for part in tuning.parts if _declared(tuning) else ():
        found: dict[str, list[str]] = defaultdict(list)
        for step in tuning.steps.values():
            for run, labels in step.runs if step.part == part else ():
                tried = tuning.tried(run, dict(labels), {}, part).config
                if not _reads_unlabelled(tried) or trained_on(tried)["unlabelled"]:
                    continue
                for fold in filter(None, part.folds):
                    config = stack([tried])
                    set_fold(config, list(folds[fold]))
                    if there := trained_on(config)["unlabelled"]:
                        found[f"{there} in {fold}"].append(title_of(run, dict(labels)))
                        break
        for where, titles in found.items():
            yield (
                f"{part.name} has no one without labels for {', '.join(dict.fromkeys(titles))}, trained with {where}. "
                f"Write people: {FOLD}, which tries them as they are trained, or name more people."
            )


def _declared(tuning: Tuning) -> bool:
    """Can any run have windows without a label?"""
    study = tuning.study
    names = {name for labels in study.axes.values() for values in labels.values() for name in values}
    spaces = [tuning.tune.common, *tuning.tune.own.values()]
    names |= {name for space in spaces for name in space}
    given = any(get_value(run.config, _SETTING) is not None for run in study.runs.values())
    return given or any(name.startswith(_SETTING) for name in names)


def _reads_unlabelled(config: dict[str, Any]) -> bool:
    left_out = get_value(config, f"{_SETTING}.left_out", False)
    return not left_out and not labels_alone(config.get("model"))
