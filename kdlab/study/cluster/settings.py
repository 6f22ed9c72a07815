"""``slurm:`` of a study file, which ``kdlab study FILE --submit`` reads and which changes no job.

A study file may have::

    slurm:
      partition: gpu
      gres: gpu:1                  # of every job
      time: 2h                     # of every job; or 90m, or '1-02:00:00'
      cpus_per_task: 4
      mem: 16G
      setup: [module load cuda]    # lines of the shell before every job
      at_once: 8                   # jobs of an array that run at a time
      array_limit: 500             # jobs of an array; without it SLURM's own limit
      timeouts: 3                  # how often a job that ran out of time is put back
      more: {exclude: node7}       # further options of sbatch
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kdlab.shapes import NAME, NULL, Shape, about, either, listed, mapping, one_of, text, whole
from kdlab.study.known import refuse_unknown
from kdlab.types import InputError

_TEXTS = ("partition", "account", "qos", "constraint", "gres", "mem")
_NUMBERS = {"cpus_per_task": 1, "at_once": 1, "array_limit": 1, "timeouts": 0}  # name -> the least
_OTHERS = {
    "time": text("that a job may take: 90m, 2h or '[days-]hours:minutes:seconds' in quotes; an hour by default"),
    "setup": either("lines of the shell before every job", text(), listed(text()), NULL),
    "more": either("further options of sbatch, by their long names", mapping(either("", NAME, one_of([True]))), NULL),
}
_ABOUT = {
    "gres": "of every job, such as gpu:1",
    "at_once": "jobs of an array that run at a time; all by default",
    "array_limit": "jobs of an array at most; SLURM's own limit by default",
    "timeouts": "how often a job that ran out of time is put back; 3 by default",
}
#: the keys of ``slurm:``
SLURM: dict[str, Shape] = {
    **{name: about(_ABOUT.get(name, f"{name} of every job, as sbatch takes it"), NAME) for name in _TEXTS},
    **{name: whole(least, _ABOUT.get(name, f"{name} of every job")) for name, least in _NUMBERS.items()},
    **_OTHERS,
}
KEYS = tuple(SLURM)
#: options that submitit sets, or that make several processes of a job
_OURS = (
    *("array", "dependency", "output", "error", "signal", "requeue", "no_requeue", "open_mode", "job_name"),
    *("ntasks", "ntasks_per_node", "nodes"),
)
_CLOCK = re.compile(r"(?:(\d+)-)?(\d{1,3}):(\d{2}):(\d{2})")  # [days-]hours:minutes:seconds
_SPAN = re.compile(r"(\d{1,5})([mh])")


@dataclass(frozen=True)
class Slurm:
    """How the jobs of a study are run on a cluster.

    Attributes:
        options: of sbatch that have a name of their own here, such as ``partition``.
        seconds: that a job may take; None: an hour.
        at_once: jobs of an array that run at a time; None: all.
        array_limit: jobs of an array at most; None: SLURM's own limit.
        timeouts: how often a job that ran out of time is put back into the queue.
        setup: lines of the shell before every job.
        more: further options of sbatch.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: int = 3600
    at_once: int | None = None
    array_limit: int | None = None
    timeouts: int = 3
    setup: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def minutes(self) -> int:
        """The time of a job as SLURM counts it, rounded up.

        >>> Slurm(seconds=61).minutes
        2
        """
        return math.ceil(self.seconds / 60)


def read_slurm(value: Any, where: str) -> Slurm:
    """Read ``slurm:``.

    Args:
        value: of the study file; None where it has no such entry.
        where: the file, for messages.

    Raises:
        InputError: naming the key, what was expected and what came.

    Example:
        >>> read_slurm({"partition": "gpu", "time": "1-02:00:00"}, "study.yaml").minutes
        1560
    """
    where = f"{where}: slurm"
    if value is None:
        return Slurm()
    if not isinstance(value, dict):
        raise InputError(f"{where} must be a mapping, but got {value!r:.80}. Write {{partition: <name>, time: 2h}}.")
    refuse_unknown(value, KEYS, where, otherwise=" Options of sbatch without a name here go into more.")
    given = {name: entry for name, entry in value.items() if entry is not None}
    options: dict[str, Any] = {name: _text(given[name], f"{where}: {name}") for name in _TEXTS if name in given}
    numbers = {
        name: _count(given[name], least, f"{where}: {name}") for name, least in _NUMBERS.items() if name in given
    }
    if (cpus := numbers.pop("cpus_per_task", None)) is not None:
        options["cpus_per_task"] = cpus
    if "time" in given:
        numbers["seconds"] = _seconds(given["time"], f"{where}: time")
    return Slurm(
        options, **numbers, setup=_setup(given.get("setup"), f"{where}: setup"), more=_more(given.get("more"), where)
    )


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise InputError(f"{where} must be a word, as sbatch takes it, but got {value!r:.80}. Change it.")
    if not str(value).isprintable():
        raise InputError(f"{where} must be a word of one line, but got {value!r:.80}. Change it.")
    return str(value)


def _count(value: Any, least: int, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{where} must be an integer of at least {least}, but got {value!r:.80}. Change it.")
    return value


def _seconds(value: Any, where: str) -> int:
    """Seconds of a time; a number is refused, since YAML reads ``2:00:00`` without quotes as 7200."""
    text = value if isinstance(value, str) else ""
    if (span := _SPAN.fullmatch(text)) is not None:
        found = int(span[1]) * {"m": 60, "h": 3600}[span[2]]
    elif (clock := _CLOCK.fullmatch(text)) is not None and int(clock[3]) < 60 and int(clock[4]) < 60:
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        found = ((24 * days + hours) * 60 + minutes) * 60 + seconds
    else:
        found = 0
    if not found:
        raise InputError(
            f"{where} must be a time such as 90m, 2h or '[days-]hours:minutes:seconds' with its quotes, but got "
            f"{value!r:.80}. Write 2h."
        )
    return found


def _setup(value: Any, where: str) -> tuple[str, ...]:
    lines = [] if value is None else value if isinstance(value, list) else [value]
    for line in lines:
        if not isinstance(line, str) or not line.strip() or not line.isprintable():
            raise InputError(f"{where} must be lines of the shell, but got {line!r:.80}. Write [module load cuda].")
    return tuple(lines)


def _more(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{where}: more must be a mapping, but got {value!r:.80}. Write {{exclude: node7}}.")
    found = {}
    for name, entry in value.items():
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
            raise InputError(f"{where}: more: must have long names of options of sbatch, but got {name!r}. Change it.")
        plain = name.replace("-", "_")
        if plain in _OURS or plain in KEYS:
            whose = "is set by kdlab" if plain in _OURS else f"has its own name, slurm: {plain}"
            raise InputError(f"{where}: more: must hold other options, but got {name!r}, which {whose}. Take it out.")
        found[plain] = entry if entry is True else _text(entry, f"{where}: more: {name}")
    return found
