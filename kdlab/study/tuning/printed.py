"""What a tuning would run, printed as a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdlab.study.configs import get_value
from kdlab.study.lengths import updates_an_epoch
from kdlab.study.results import Survey
from kdlab.study.tuning.checks import at_ends
from kdlab.study.tuning.steps import Planned, Step, Tuning
from kdlab.study.tuning.unlike import unlike_jobs
from kdlab.study.windows import batches
from kdlab.types import InputError


def print_tuning(tuning: Tuning, folds: Mapping[str, Sequence[str]], planned: Planned, found: Survey) -> None:
    """Whose windows are read, and of every step its fits, their updates, and how many trials are done."""
    tune, parts = tuning.tune, tuning.parts
    print(f"  tune: people {tune.kind}, {tune.trials} trials in rounds of {tune.round} for every row, seed {tune.seed}")
    for part in parts:
        who = f"people {', '.join(part.people)}" if part.people else "the training people of the split"
        print(f"    {part.name}: {who}; its settings are used in {', '.join(f or 'the split' for f in part.folds)}")
    for line in unlike_jobs(tuning, folds):
        print(f"    note: {line}")
    kinds: dict[tuple[str, str], list[Step]] = {}
    for step in tuning.steps.values():
        kinds.setdefault((step.stage, step.title), []).append(step)
    fits, most = 0, 0
    for (stage, title), steps in kinds.items():
        done = sum(len(planned.finished.get(step.name, ())) for step in steps)
        low, high = updates_of(tuning, steps[0])
        each, trials = len(steps[0].runs), tune.trials * len(steps)
        fits, most = fits + trials * each, most + trials * each * high
        updates = f"{low}" if low == high else f"{low} to {high}"
        times = f" x {each} fits" if each > 1 else ""
        print(f"    {stage:8} {title:24} {trials:4} trials{times} of {updates} updates, {done} done")
    print(f"    together {fits} fits of at most {most} updates, and the teachers that they need")
    for name, reason in found.damaged.items():
        print(f"  note: {name} counts as not done: {reason}")


def updates_of(tuning: Tuning, step: Step) -> tuple[int, int]:
    """The least and the most optimiser steps of a fit, over the ends of the space."""
    counts = []
    space = {**(tuning.tune.common if step.stage == "own" else {}), **step.space}
    for run, labels in step.runs:
        matter = {k: v for k, v in space.items() if k.startswith("trainer.") or k == "data.init_args.batch_size"}
        for values in at_ends(matter):
            counts.append(updates(tuning.tried(run, dict(labels), values).config))
    return min(counts), max(counts)


def updates(config: Mapping[str, Any]) -> int:
    """The optimiser steps of a fit, as its config plans them."""
    try:
        an_epoch = updates_an_epoch(dict(config.get("trainer") or {}), batches(dict(config)))
    except InputError:  # batches that the windows do not fill: the check of the space refuses them by name
        return 0
    epochs, steps = get_value(config, "trainer.max_epochs"), get_value(config, "trainer.max_steps", -1)
    if epochs is None or epochs < 0:
        return int(steps) if steps > 0 else 1000 * an_epoch  # Lightning's own end
    return int(min(an_epoch * epochs, steps) if steps >= 0 else an_epoch * epochs)
