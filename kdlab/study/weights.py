"""Jobs whose row is known but whose weights are not here: which of them have to be run again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol


class Needing(Protocol):
    """What needs the weights of jobs."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Their names."""


def to_make_again(jobs: Mapping[str, Needing], running: Iterable[str], bare: Iterable[str]) -> set[str]:
    """The jobs without weights that jobs to be run need, and those that these need themselves.

    Args:
        jobs: name -> job.
        running: names of jobs to be run.
        bare: names of jobs that are done, but whose weights are not here.

    Example:
        >>> from types import SimpleNamespace
        >>> needs = {"start": (), "teacher": ("start",), "other": (), "kd": ("teacher",), "at": ("other",)}
        >>> jobs = {name: SimpleNamespace(needs=needs[name]) for name in needs}
        >>> sorted(to_make_again(jobs, ["kd"], ["start", "teacher", "other"]))
        ['start', 'teacher']
    """
    bare, found, left = set(bare), set[str](), list(running)
    while left:
        new = {other for other in jobs[left.pop()].needs if other in bare} - found
        found |= new
        left += new
    return found
