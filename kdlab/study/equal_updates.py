"""Rows of unequal numbers of updates, which are not compared: the longer training would be taken for the method."""

from __future__ import annotations

from collections.abc import Sequence

from kdlab.study.conditions import Condition, Row

OTHER = "other updates"


def updates_of(rows: Sequence[Row]) -> list[int]:
    """The numbers of updates of some rows, each once.

    >>> updates_of([{"updates": 800}, {"updates": 800}, {}])
    [800]
    """
    return sorted({int(row["updates"]) for row in rows if row.get("updates") is not None})


def budgeted(rows: Sequence[Row]) -> list[Row]:
    """The rows of a study that gives them a number of updates."""
    return [row for row in rows if row.get("updates_warm_start") is not None]


def other_updates(rows_a: Sequence[Row], rows_b: Sequence[Row]) -> str | None:
    """Why two conditions are not compared; None where they are, or their study gives no numbers of updates.

    >>> other_updates([{"updates": 1600, "updates_warm_start": 0}], [{"updates": 800, "updates_warm_start": 0}])
    'not compared: 1,600 and 800 updates'
    """
    a, b = updates_of(budgeted(rows_a)), updates_of(budgeted(rows_b))
    if not a or not b or (a == b and len(a) == 1):
        return None
    return f"not compared: {_text(a)} and {_text(b)} updates"


def longer(rows_a: Sequence[Row], rows_b: Sequence[Row]) -> bool:
    """Whether the first was trained longer than the second, or may have been: its gain could be that of the updates.

    >>> short, long = [{"updates": 400, "updates_warm_start": 0}], [{"updates": 800, "updates_warm_start": 0}]
    >>> longer(short, long), longer(long, short), longer(short, short)
    (False, True, False)
    """
    a, b = updates_of(budgeted(rows_a)), updates_of(budgeted(rows_b))
    return bool(a and b) and a[-1] > b[0]


def updates_cell(condition: Condition) -> str:
    """The updates of a condition in total, and those of its warm start."""
    total = updates_of(condition.rows)
    warm = sorted({int(row.get("updates_warm_start") or 0) for row in condition.rows})
    return (_text(total) or "–") + (f" ({_text(warm)} warm start)" if total and warm[-1] else "")


def _text(numbers: Sequence[int]) -> str:
    ends = dict.fromkeys((numbers[0], numbers[-1])) if numbers else ()
    return " to ".join(f"{number:,}" for number in ends)
