"""The stages of a study: jobs that need nothing of each other, one array each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kdlab.study.cluster.left import Left
from kdlab.study.keys import STAGES

_PLURALS = {stage: part for part, stage in STAGES.items()}  # as a study file has them


@dataclass(frozen=True)
class Stage:
    """Jobs that can run at the same time.

    Attributes:
        name: for example ``students``.
        jobs: their names, in the order of the study.
        after: places of the stages that have what they need.
    """

    name: str
    jobs: tuple[str, ...]
    after: tuple[int, ...]


def stages_of(left: Left) -> list[Stage]:
    """The stages of what is left, in an order in which they can be run.

    Jobs of the same kind (trials of a round, teachers, scratch, students) that come after jobs of the same stages are a
    stage, so that students that start from nothing do not wait for the nets that others start from.

    Args:
        left: the jobs to be run; the others are done.

    Example:
        >>> from types import SimpleNamespace
        >>> needs = {"teacher": (), "scratch": (), "student": ("teacher",)}
        >>> jobs = {stage: SimpleNamespace(stage=stage, needs=needs[stage]) for stage in needs}
        >>> [(stage.name, stage.jobs, stage.after) for stage in stages_of(Left(jobs, list(jobs)))]
        [('teachers', ('teacher',), ()), ('scratch', ('scratch',), ()), ('students', ('student',), (0,))]
    """
    groups: dict[tuple[str, frozenset[int]], list[str]] = {}
    places: dict[tuple[str, frozenset[int]], int] = {}
    place_of: dict[str, int] = {}
    for name in left.names:
        kind = (left.jobs[name].stage, frozenset(place_of[one] for one in left.before(name) if one in place_of))
        place_of[name] = places.setdefault(kind, len(places))
        groups.setdefault(kind, []).append(name)
    found: list[Stage] = []
    seen: dict[str, int] = {}
    for (stage, after), names in groups.items():
        plural = _PLURALS.get(stage, stage)
        seen[plural] = seen.get(plural, 0) + 1
        title = plural if seen[plural] == 1 else f"{plural}-{seen[plural]}"
        found.append(Stage(title, tuple(names), tuple(sorted(after))))
    return found


def chunks(names: Sequence[str], limit: int) -> Iterator[tuple[str, ...]]:
    """Parts of at most so many names, of about equal length.

    >>> list(chunks("abcde", 3))
    [('a', 'b'), ('c', 'd', 'e')]
    """
    number = -(-len(names) // limit)
    for part in range(number):
        yield tuple(names[part * len(names) // number : (part + 1) * len(names) // number])


def lines(stages: Sequence[Stage]) -> list[str]:
    """What to print of the stages, counted from 1.

    >>> lines([Stage("teachers", ("t",), ()), Stage("students", ("a", "b"), (0,))])
    ['stage 1: teachers, 1 job', 'stage 2: students, 2 jobs, after stage 1']
    """

    def line(number: int, stage: Stage) -> str:
        count = f"{len(stage.jobs)} job{'s' * (len(stage.jobs) != 1)}"
        after = ", ".join(str(place + 1) for place in stage.after)
        return f"stage {number}: {stage.name}, {count}" + (f", after stage {after}" if after else "")

    return [line(number, stage) for number, stage in enumerate(stages, start=1)]
