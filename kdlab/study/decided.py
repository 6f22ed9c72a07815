"""Settings of runs that the study decides itself, so that a value of its file for them would have no effect."""

from __future__ import annotations

from collections.abc import Iterable

from kdlab.configs import ADDED
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


def refuse_decided(
    names: Iterable[str], where: str, *, folds: bool = False, updates: bool = False, compared: bool = False
) -> None:
    """Refuse values for settings that the study decides.

    Args:
        names: of the settings, dotted.
        where: of the file, for the message.
        folds: whether the study has folds.
        updates: whether it has a number of updates.
        compared: whether several values of a setting are tried (``axes``, ``tune``), rather than one set.

    Raises:
        InputError: naming the setting, and what to write.
    """
    decided = _ALWAYS | (_OF_FOLDS if folds else {}) | (_OF_UPDATES if updates else {})
    decided |= _COMPARED if updates and compared else {}
    for name in names:
        if (what := name.removesuffix(ADDED)) in decided:
            raise InputError(f"{where}: {name} must be left out, because the study decides it. {decided[what]}")
