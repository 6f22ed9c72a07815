"""The people of each part of a split, with windows and minutes: printed at setup and kept beside a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kdlab.data.groups import Groups
from kdlab.data.splits import Split
from kdlab.data.windows import WindowSet
from kdlab.files import cell

MOST = 24  # groups of a part that are printed separately


class Part(NamedTuple):
    """A person (recording) in a part of the split.

    Attributes:
        part: ``train``, ``val``, ``test`` or ``unknown``.
        name: of the person or recording; ``""`` for all windows of a part that has neither.
        windows: how many.
        minutes: of signal in them that no window before has; None where the rate or the step is not known.
    """

    part: str
    name: str
    windows: int
    minutes: float | None


def minutes_of(data: WindowSet, windows: int) -> float | None:
    """Minutes that so many windows add up to, each counted by the samples that the one before does not have.

    >>> x = np.zeros((120, 1, 100), np.float32)
    >>> data = WindowSet({"raw": x}, np.arange(120) % 2, ["a", "b"], {"raw": ["x"]}, sampling_rate=50.0, step=50)
    >>> minutes_of(data, 120)
    2.0
    """
    rate = data.sampling_rate
    if isinstance(rate, dict):
        rate = rate.get(data.sources[0])
    if not rate or not data.step or not isinstance(data.window, int):
        return None
    return windows * min(data.step, data.window) / rate / 60


def split_table(data: WindowSet, split: Split, shown: Callable[[str], str] = str) -> list[Part]:
    """One row per part and person (recording, where people are unknown); one per part where neither is known.

    Args:
        data: the windows.
        split: theirs.
        shown: how a name is shown.
    """
    values = {"subject": data.subject, "recording": data.recording}.get(split.grouping)
    if values is None:
        return [Part(part, "", len(rows), minutes_of(data, len(rows))) for part, rows in split.rows.items()]
    group = Groups.of(values)
    table = []
    for part, rows in split.rows.items():
        counts = np.bincount(group.code[rows], minlength=len(group.names))
        for i in np.flatnonzero(counts).tolist():
            table.append(Part(part, shown(group.names[i]), int(counts[i]), minutes_of(data, int(counts[i]))))
    return table


def as_csv(table: list[Part], grouping: str) -> str:
    """The table as CSV text: part, subject (recording), windows, minutes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["part", grouping, "windows", "minutes"])
    for row in table:
        minutes = "" if row.minutes is None else f"{row.minutes:.2f}"
        writer.writerow([row.part, cell(row.name), row.windows, minutes])
    return text.getvalue()


def in_words(table: list[Part], grouping: str) -> str:
    """The table on one line: every person where there are few of them, and their spread where there are many.

    >>> in_words([Part("train", "1", 30, 0.5), Part("train", "2", 10, None), Part("val", "3", 8, 0.2)], "subject")
    'train 40 windows of 2 subjects (1: 30, 0.5 min; 2: 10); val 8 windows of 1 subject (3: 8, 0.2 min)'
    """
    parts = []
    for part in dict.fromkeys(row.part for row in table):
        rows = [row for row in table if row.part == part]
        total = sum(row.windows for row in rows)
        if rows[0].name == "" or grouping != "subject":
            groups = "" if rows[0].name == "" else f" of {len(rows)} {grouping}{'s' * (len(rows) != 1)}"
            parts.append(f"{part} {total} windows{groups}")
            continue
        who = "; ".join(f"{row.name}: {_amount(row)}" for row in rows) if len(rows) <= MOST else _spread(rows)
        parts.append(f"{part} {total} windows of {len(rows)} subject{'s' * (len(rows) != 1)} ({who})")
    return "; ".join(parts)


def _amount(row: Part) -> str:
    return f"{row.windows}" + ("" if row.minutes is None else f", {row.minutes:.1f} min")


def _spread(rows: list[Part]) -> str:
    ordered = sorted(rows, key=lambda row: row.windows)
    least, middle, most = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    return f"from {_amount(least)} ({least.name}) over {_amount(middle)} to {_amount(most)} ({most.name}) each"
