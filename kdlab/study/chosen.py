"""Which weights of a fit a study tests: the rule that chose them, and teachers whose peak is their last epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdlab.methods.checkpoints import read_checkpoint
from kdlab.methods.selection import EARLIER, in_words
from kdlab.study.conditions import Condition, Row, natural

_LAST = in_words({"rule": "last"})


def chosen_by(described: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The keys of a row that tell how its weights were chosen.

    Args:
        described: the description in the checkpoint that is tested.
        path: of the checkpoint; that of an early-stopped teacher has its last epoch beside it.

    Returns:
        ``selection`` in words, where it is not the rule of earlier versions, whose rows have no such key, and
        ``last_epoch`` of teachers with a peak.
    """
    rule, last = described.get("selection"), path.with_name("last.ckpt")
    found: dict[str, Any] = {} if rule is None or rule == EARLIER else {"selection": in_words(rule)}
    if path.name.startswith("teacher") and last.is_file():
        found["last_epoch"] = int(read_checkpoint(last)["epoch"])
    return found


def spent(updates: int | None, warm: int, path: Path) -> dict[str, int]:
    """The keys of a row that tell how many updates it had in total, and how many of them were its warm start's.

    Args:
        updates: that the study gives the run; None: it gives none, and the row has no such keys.
        warm: those of its warm start.
        path: of a checkpoint of the run; its last epoch is beside it.
    """
    if updates is None:
        return {}
    last = path.with_name("last.ckpt")
    own = int(read_checkpoint(last)["global_step"]) if last.is_file() else updates - warm
    return {"updates": own + warm, "updates_warm_start": warm}


def rule_of(row: Row) -> str:
    """How the weights of a row were chosen, in words."""
    if row.get("last_epoch") is not None:
        return "the peak of the teacher"
    return str(row.get("selection") or in_words(EARLIER))


def rules_in_words(rows: Iterable[Row]) -> str:
    """How the weights of all rows were chosen, as one sentence."""
    by_rule: dict[str, dict[str, None]] = {}
    for row in rows:
        by_rule.setdefault(rule_of(row), {})[row["run"]] = None
    if list(by_rule) == [_LAST]:
        return "All weights are those of the last epoch; no epoch was chosen."
    if len(by_rule) == 1:
        rule = next(iter(by_rule))
        return f"Weights were chosen on validation windows by: {rule}." if _chooses(rule) else f"Weights: {rule}."
    each = {rule: f"{rule} ({', '.join(runs)})" for rule, runs in by_rule.items()}
    chosen = "; ".join(text for rule, text in each.items() if _chooses(rule))
    others = "; ".join(text for rule, text in each.items() if not _chooses(rule))
    text = [f"Weights were chosen on validation windows by: {chosen}."] if chosen else []
    text += [f"Weights that validation did not choose: {others}."] if others else []
    return " ".join(text)


def is_chosen(rows: Iterable[Row]) -> bool:
    """Whether validation windows chose the epoch of any of some rows.

    >>> is_chosen([{"selection": "last epoch"}]), is_chosen([{"selection": "last epoch"}, {"last_epoch": 3}])
    (False, True)
    """
    return any(_chooses(rule_of(row)) for row in rows)


def epochs_in_words(rows: Sequence[Row]) -> str:
    """What the epochs of all rows are whose weights were tested."""
    if not is_chosen(rows):
        return "the epochs whose weights are tested, which are the last, with their accuracy"
    some = "" if all(is_chosen([row]) for row in rows) else " (where validation chooses none, the last)"
    return f"the epochs that validation chose{some}, and the accuracy of the last epoch beside it"


def _chooses(rule: str) -> bool:
    return rule != _LAST and not rule.startswith("averaged weights")


def peak_section(known: Sequence[Condition]) -> list[str]:
    """Where a teacher's peak is its last epoch, so that early-stopped and full teachers are the same weights."""
    lines = []
    for condition in known:
        rows = [row for row in condition.rows if row.get("last_epoch") is not None]
        same = [row for row in rows if row.get("best_epoch") == row["last_epoch"]]
        if rows:
            where = ", ".join(sorted({_place(row) for row in same}, key=natural))
            text = f"in {len(same)} of {len(rows)} fits" + (f" ({where})" if where.strip(", ") else "")
            lines.append(f"- {condition.title}: the peak is the last epoch {text}.")
    if not lines:
        return []
    note = (
        "An early-stopped teacher (ESKD) is its peak on validation, a full one (Full KD) its last epoch. Where the two "
        "are the same epoch, ESKD and Full KD distil from the same weights, and a difference between them is noise."
    )
    return ["## Peaks of the teachers", note, "\n".join(lines)]


def _place(row: Row) -> str:
    seed = "" if row.get("shared") else f"seed {row['seed']}"
    return " ".join(part for part in (str(row["fold"]), seed) if part)
