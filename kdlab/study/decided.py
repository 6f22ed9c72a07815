"""Settings of runs that the study decides itself, so that a value of its file for them would have no effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdlab.configs import ADDED
from kdlab.study.configs import get_value
from kdlab.types import InputError

_ALWAYS = {
    "seed_everything": "Write seeds: [0, 1, 2] in the study.",
    "run": "Folders are named by the study: rename its entry.",
    "trainer.default_root_dir": "Pass --root to the command.",
}
_OF_FOLDS = dict.fromkeys(
    ("data.init_args.test_subjects", "data.init_args.test_subject"),
    "The study's folds decide who is tested: list them, folds: [[1, 2], [3, 4]], or leave folds out.",
)
_OF_UPDATES = {"trainer.max_steps": "The study's updates are the length of its runs: change them, or leave them out."}
_COMPARED = {
    "trainer.max_epochs": "All rows have the study's updates, and no fit would have these epochs. Write it under set: "
    "once, as the length that the configs are written for, or leave updates out of the study."
}
_CORRUPTION = "data.init_args.corruption"


def refuse_decided(
    values: Mapping[str, Any], where: str, *, folds: bool = False, updates: bool = False, compared: bool = False
) -> None:
    """Refuse values for settings that the study decides, and those that :func:`refuse_corruption` refuses.

    Args:
        values: dotted name of a setting -> its value.
        where: of the file, for the message.
        folds: whether the study has folds.
        updates: whether it has a number of updates.
        compared: whether several values of a setting are tried (``axes``, ``tune``), rather than one set.

    Raises:
        InputError: naming the setting, and what to write.
    """
    decided = _ALWAYS | (_OF_FOLDS if folds else {}) | (_OF_UPDATES if updates else {})
    decided |= _COMPARED if updates and compared else {}
    for name in values:
        if (what := name.removesuffix(ADDED)) in decided:
            raise InputError(f"{where}: {name} must be left out, because the study decides it. {decided[what]}")
    refuse_corruption(values, where)


def refuse_corruption(values: Mapping[str, Any], where: str) -> None:
    """Refuse a ``corruption`` of the data: a study tests every row on clean windows, and it would have no effect.

    Args:
        values: a run config, or settings by their dotted names.
        where: of the file, for the message.

    Raises:
        InputError: naming the setting, and what to write.
    """
    for name, value in values.items():
        inside = name == _CORRUPTION or name.startswith(f"{_CORRUPTION}.")
        if not inside and _CORRUPTION.startswith(f"{name}.") and isinstance(value, Mapping):
            value = get_value(value, _CORRUPTION.removeprefix(f"{name}."))
            inside = True
        if inside and value is not None:
            raise InputError(
                f"{where}: {name if name.startswith(_CORRUPTION) else _CORRUPTION} must be left out, because a study "
                f"tests every row on clean windows, but got {value!r:.80}. Write measure: [robustness] in the study "
                "instead, which adds the accuracy on corrupted windows of every kind at three severities; kdlab test "
                "of a run applies its own corruption."
            )
