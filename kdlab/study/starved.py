"""Rows that were trained with few updates, so that anything which adds updates looks like progress."""

from __future__ import annotations

from collections.abc import Iterable

from kdlab.study.conditions import Condition
from kdlab.study.equal_updates import budgeted, updates_cell

FEW = 300  # updates, below which a net has hardly been trained
UPDATES = "updates"
_RAISED = "More epochs (trainer.max_epochs) or smaller batches (data.init_args.batch_size) raise it."
_RAISED_BY_STUDY = "It is raised by `updates` of the study alone: epochs and batches of a config do not change it."


def remedy(
    updates: int, max_epochs: int | None, max_steps: int, batch_size: int | None, *, budget: bool = False
) -> str:
    """How few updates a fit has, and which settings raise them.

    Args:
        updates: of the fit.
        max_epochs: of its trainer.
        max_steps: of its trainer; -1 without.
        batch_size: of its data module, where that has one.
        budget: whether the number is ``updates`` of the study, which a smaller batch does not change.

    >>> remedy(120, 12, -1, 64)
    '120 updates in all are few (fewer than 300): raise trainer.max_epochs (12) or lower data.init_args.batch_size (64)'
    """
    few = f"{updates} updates in all are few (fewer than {FEW})"
    if budget:
        return f"{few}: raise updates ({updates}) of the study"
    by_steps = 0 < max_steps <= updates
    setting = f"trainer.max_steps ({max_steps})" if by_steps else f"trainer.max_epochs ({max_epochs})"
    size = "" if batch_size is None else f" ({batch_size})"
    return f"{few}: raise {setting} or lower data.init_args.batch_size{size}"


def starved_section(known: Iterable[Condition]) -> list[str]:
    """The rows with few updates, for a report."""
    few = [c for c in known if (found := c.values(UPDATES)) and min(found) < FEW]
    if not few:
        return []
    by_study = all(budgeted(condition.rows) for condition in few)
    note = (
        f"Fewer than {FEW} updates of the weights in a run. Differences between such rows may be differences in the "
        f"number of updates. {_RAISED_BY_STUDY if by_study else _RAISED}"
    )
    lines = [f"- {condition.title}: {updates_cell(condition)} updates." for condition in few]
    return ["## Few updates", note, "\n".join(lines)]
