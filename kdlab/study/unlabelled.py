"""How many windows without a label each row of a study was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kdlab.study.conditions import Condition, Row

UNLABELLED = "unlabelled"


def has_unlabelled(rows: Iterable[Row]) -> bool:
    """Do the data of some row have windows without a label?"""
    return any(row.get(UNLABELLED) is not None for row in rows)


def filled(row: Row, there: bool) -> Mapping[str, Any]:
    """A row with their number, 0 where it was trained on none."""
    return {**row, UNLABELLED: row.get(UNLABELLED) or 0} if there else row


def unlabelled_column(rows: Iterable[Row]) -> list[tuple[str, Callable[[Condition], str]]]:
    """The column of a table with their number, or the smallest and the largest; none where no data have any."""
    return [("unlabelled windows", _cell)] if has_unlabelled(rows) else []


def _cell(condition: Condition) -> str:
    found = [int(row.get(UNLABELLED) or 0) for row in condition.rows]
    low, high = f"{min(found):,}", f"{max(found):,}"
    return low if low == high else f"{low}–{high}"
