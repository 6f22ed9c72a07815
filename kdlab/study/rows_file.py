"""``rows.jsonl``: the finished rows and trials of a study as text, to be committed, and to go on from elsewhere.

One JSON object per line, with its kind:

- ``head``: the study, its baselines, and the runs of each run's teachers;
- ``trial``, ``row``: a fit of a tuning, and a finished job, with what tables and figures are made from: accuracies by
  person and class, calibration bins, updates; ``digests`` are of the parts of its key, ``data`` is how many people
  trained it with labels and without, and how many channels its net reads;
- ``times``: seconds and latencies of one job, apart from the rest, since they differ from one machine to the next.

The lines are in the order of the study, so equal results have equal lines, but for ``times``, which come last.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdlab.files import MOST_BYTES, one_line, plain, read_text, write_text
from kdlab.study.columns import BESIDE, TIMES
from kdlab.types import InputError

NAME, FORMAT = "rows.jsonl", 1
_KEYS = {
    "head": {"kind", "format", "study", "baselines", "teachers", "titles"},
    "row": {"kind", "digests", "row", "data"},
    "trial": {"kind", "digests", "row", "data"},
    "times": {"kind", "job", "key", "times"},
}
_WORDS = ("job", "run", "stage", "fold", "key")
_MISSING = "not finite"  # where a row keeps its numbers that JSON does not have


@dataclass(frozen=True)
class Entry:
    """A row or a trial.

    Attributes:
        kind: ``"row"`` or ``"trial"``.
        digests: of the parts of its job's key.
        row: with its times, where they are known.
        data: ``labelled`` and ``unlabelled`` people who train it, and ``channels`` of its net; empty for trials.
        line: its number in the file.
    """

    kind: str
    digests: Mapping[str, str]
    row: dict[str, Any]
    data: Mapping[str, int] = field(default_factory=dict)
    line: int = 0


@dataclass
class Rows:
    """A file of rows.

    Attributes:
        head: study, baselines, teachers and titles.
        entries: name of a job -> its row.
        cut: the number of a last line that is cut, and so left out; 0: none is.
    """

    head: dict[str, Any]
    entries: dict[str, Entry] = field(default_factory=dict)
    cut: int = 0


# ---------------------------------------------------------------------- writing
def write_rows(path: Path, head: Mapping[str, Any], entries: Iterable[Entry]) -> None:
    """Write the file, whole or not at all.

    Args:
        path: the file.
        head: ``study``, ``baselines``, ``teachers`` and ``titles``.
        entries: in the order of the study.
    """
    entries = list(entries)
    lines = [_line({"kind": "head", "format": FORMAT, **head})]
    for entry in entries:
        row = {key: value for key, value in entry.row.items() if key not in (*TIMES, BESIDE)}
        lines.append(_line({"kind": entry.kind, "digests": entry.digests, "row": _finite(row), "data": entry.data}))
    for entry in entries:
        times = {key: entry.row[key] for key in (*TIMES, BESIDE) if entry.row.get(key) is not None}
        name, key = entry.row["job"], entry.row["key"]
        lines += [_line({"kind": "times", "job": name, "key": key, "times": times})] if times else []
    write_text(path, "".join(lines))


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the numbers that JSON does not have (a loss may be infinite) as words, apart."""
    odd = {name: str(v) for name, v in row.items() if isinstance(v, float) and not math.isfinite(v)}
    return {**{name: v for name, v in row.items() if name not in odd}, **({_MISSING: odd} if odd else {})}


# ---------------------------------------------------------------------- reading
def read_rows(path: str | Path, what: str = "rows") -> Rows:
    """Read and check the form of a file; a cut last line is left out.

    Args:
        path: the file.
        what: the argument that names it, for messages.

    Raises:
        InputError: naming the line that is damaged.
    """
    where = f"{what}: {str(path)!r}"
    text = read_text(path, what, 4 * MOST_BYTES)
    lines = text.split("\n")
    ended = lines[-1] == ""
    lines = lines[:-1] if ended else lines
    found: Rows | None = None
    for number, line in enumerate(lines, start=1):
        place = f"{where}, line {number}"
        try:
            value = json.loads(line, parse_constant=_refused, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            if number == len(lines) and not ended and found is not None:
                found.cut = number
                break
            raise InputError(
                f"{place}: must be one JSON object, but is not ({one_line(error):.80}). Write the file again."
            ) from None
        found = _take(found, plain(value, place), place, number)
    if found is None:
        raise InputError(f"{where}: must begin with a line of kind head, but it is empty. Name a file of kdlab study.")
    return found


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _take(found: Rows | None, value: Any, place: str, number: int) -> Rows:
    """Add a line to what is read."""
    kind = value.get("kind") if isinstance(value, dict) else None
    expected = "head" if found is None else "row, trial or times"
    if not isinstance(kind, str) or kind not in _KEYS or (kind == "head") != (found is None):
        raise InputError(f"{place}: kind must be {expected}, but got {kind!r:.40}. Name a rows.jsonl of kdlab study.")
    if set(value) != _KEYS[kind]:
        raise InputError(
            f"{place}: a {kind} must have {', '.join(sorted(_KEYS[kind]))}, but got {', '.join(sorted(value)):.200}. "
            "Write the file again."
        )
    if found is None:
        return Rows(_head(value, place))
    if kind == "times":
        _add_times(found, value, place)
    else:
        digests, data = _words(value["digests"], f"{place}: digests"), value["data"]
        if not isinstance(data, dict) or not all(type(count) is int and count >= 0 for count in data.values()):
            raise InputError(f"{place}: data must be numbers of people, but got {data!r:.60}. Write the file again.")
        entry = Entry(kind, digests, _row(value["row"], place), data, number)
        name = entry.row["job"]
        if name in found.entries:
            raise InputError(f"{place}: {name} must stand once, but line {found.entries[name].line} has it, too.")
        found.entries[name] = entry
    return found


def _head(value: dict[str, Any], place: str) -> dict[str, Any]:
    if value["format"] != FORMAT:
        raise InputError(f"{place}: format must be {FORMAT}, but got {value['format']!r:.40}. Take another kdlab.")
    teachers, baselines = value["teachers"], value["baselines"]
    lists = [baselines, *(teachers.values() if isinstance(teachers, dict) else [None])]
    if not isinstance(value["study"], str) or not all(isinstance(names, list) for names in lists):
        raise InputError(f"{place}: study must be a name, teachers and baselines lists of runs. Write the file again.")
    _words(value["titles"], f"{place}: titles")
    _words({str(i): name for i, name in enumerate(v for names in lists for v in names)}, f"{place}: runs")
    return {key: value[key] for key in ("study", "baselines", "teachers", "titles")}


def _words(value: Any, place: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(word, str) for word in value.values()):
        raise InputError(f"{place} must be words, but got {value!r:.60}. Write the file again.")
    return value


def _row(value: Any, place: str) -> dict[str, Any]:
    row = dict(value) if isinstance(value, dict) else {}
    labels = row.get("labels")
    good = all(isinstance(row.get(name), str) for name in _WORDS) and isinstance(labels, dict)
    if not good or type(row.get("seed")) is not int or type(row.get("shared")) is not bool:
        raise InputError(
            f"{place}: row must name its job ({', '.join(_WORDS)}, labels, seed, shared), but got {value!r:.60}. Write "
            "the file again."
        )
    _words(labels, f"{place}: labels")
    for name, word in _words(row.pop(_MISSING, {}), f"{place}: {_MISSING}").items():
        if word not in ("inf", "-inf", "nan"):
            raise InputError(f"{place}: {name} must be inf, -inf or nan, but got {word!r:.40}. Write the file again.")
        row[name] = float(word)
    return row


def _add_times(found: Rows, value: dict[str, Any], place: str) -> None:
    times, entry = value["times"], found.entries.get(str(value["job"]))
    if entry is None or entry.row["key"] != value["key"]:
        raise InputError(f"{place}: times must be of a row above, but got {value['job']!r:.60}. Write the file again.")
    good = isinstance(times, dict) and set(times) <= {*TIMES, BESIDE}
    if not good or not all(isinstance(v, int | float) and not isinstance(v, bool) and v >= 0 for v in times.values()):
        raise InputError(f"{place}: times must be numbers of at least 0, but got {times!r:.60}. Write the file again.")
    entry.row.update(times)
