"""By which rule the jobs of a study choose their weights where their configs name none.

A study that was begun with an earlier version keeps the rule of that version, so that no table mixes two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from kdlab.callbacks import EarlyStoppedTeacher
from kdlab.files import write_json
from kdlab.methods.selection import EARLIER, USUAL
from kdlab.study.configs import get_value

KEYS = ("selection", "monitor", "mode")
NOTE = "rule.json"  # in the folder of a study that keeps the earlier rule
#: callbacks that end a fit by a metric -> what they monitor, and in which direction
_ENDS: dict[str, tuple[str | None, Callable[[str, Any], str]]] = {
    "EarlyStopping": (None, lambda monitor, mode: mode or "min"),
    "EarlyStoppedTeacher": ("val/loss", lambda monitor, mode: EarlyStoppedTeacher(monitor, mode=mode).mode),
}
_NAMED = re.compile(r"^(?:selection|monitor|mode): +(?!null\b|~)\S", re.MULTILINE)


def rule_of_job(config: Mapping[str, Any], earlier: bool) -> dict[str, str]:
    """The keys that say the rule of a job whose config says none; empty where it does.

    Args:
        config: of the job.
        earlier: the study was begun with a version whose rule was the lowest validation loss.

    Example:
        >>> rule_of_job({}, earlier=False), rule_of_job({"monitor": "val/f1"}, earlier=False)
        ({'selection': 'last'}, {})
    """
    if any(config.get(key) is not None for key in KEYS):
        return {}
    if earlier:
        return _best(EARLIER["monitor"], EARLIER["mode"])
    callbacks = get_value(config, "trainer.callbacks")
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        name, given = _class(callback)
        if name in _ENDS:
            usual, direction = _ENDS[name]
            monitor = given.get("monitor", usual)
            if isinstance(monitor, str) and monitor.startswith("val/"):
                return _best(monitor, direction(monitor, given.get("mode")))
    return {"selection": USUAL}


def in_identity(rule: Mapping[str, str]) -> dict[str, str]:
    """What a rule adds to the key of a job: nothing where it is that of earlier versions, whose keys stay."""
    return {} if rule == _best(EARLIER["monitor"], EARLIER["mode"]) else dict(rule)


def begun_earlier(folder: Path, runs: Iterable[str]) -> bool:
    """Whether a study was begun with a version that had the earlier rule.

    Its jobs name no rule in their ``job.yaml``, and those of this version do. What keeps the earlier rule is
    noted (`note_earlier`), since its further jobs name theirs.

    Args:
        folder: of the study.
        runs: their names.
    """
    if (folder / NOTE).is_file():
        return True
    for name in runs:
        for pattern in ("*/job.yaml", "*/*/job.yaml"):
            for file in (folder / name).glob(pattern):
                if not _NAMED.search(file.read_text(encoding="utf-8", errors="replace")):
                    return True
    return False


def note_earlier(folder: Path) -> None:
    """Note that a study keeps the earlier rule."""
    if not (folder / NOTE).is_file():
        write_json(folder / NOTE, EARLIER)


def _best(monitor: str, mode: str) -> dict[str, str]:
    return {"selection": "best", "monitor": monitor, "mode": mode}


def _class(callback: Any) -> tuple[str, Mapping[str, Any]]:
    path = callback.get("class_path") if isinstance(callback, Mapping) else callback
    given = callback.get("init_args") if isinstance(callback, Mapping) else None
    return str(path).rpartition(".")[2], given or {}
