"""Which of the settings that a tuning chose lie at an end of their range, so that a wider one may be better."""

from __future__ import annotations

from collections import Counter

from kdlab.study.tuning.space import Range
from kdlab.study.tuning.steps import Planned, Tuning

NEAR = 5  # percent of a range


def near_ends(tuning: Tuning, planned: Planned) -> str:
    """One sentence; empty where all lie within. No people are named: choices with several parts of them are counted.

    Args:
        tuning: that is complete.
        planned: what it chose.
    """
    found: dict[str, Counter[str]] = {}
    choices: Counter[str] = Counter()
    for step in tuning.steps.values():
        for setting, value in planned.chosen[step.name].values.items():
            space, name = step.space[setting], f"{step.title}: `{setting}`"
            choices[name] += 1
            if isinstance(space, Range) and (end := _end(space.place(value))):
                found.setdefault(name, Counter())[end] += 1
    if not found:
        return ""
    lines = [
        f"{name} ({', '.join(f'{end} in {count} of {choices[name]} choices' for end, count in ends.items())})"
        for name, ends in found.items()
    ]
    return f"Chosen within {NEAR} % of an end of the range, so that a wider range may be better: {'; '.join(lines)}."


def _end(place: float) -> str:
    return "lowest" if 100 * place <= NEAR else "highest" if 100 * place >= 100 - NEAR else ""
