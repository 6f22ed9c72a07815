"""Settings that ``kdlab tune`` found, as a file that a study includes, and where they are used."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdlab.files import read_text
from kdlab.study.keys import TUNED
from kdlab.study.plan import Study, title_of
from kdlab.study.study_file import holder
from kdlab.study.tuning.declared import FOLD, HALVES
from kdlab.study.windows import make_data
from kdlab.types import InputError

_WRITTEN = re.compile(
    r"# Written by (kdlab tune [\w ./~=-]+) \(kdlab [^()]*\)\.\n"
)  # the first line of a file of the command

_OF_OTHERS = (
    "Settings are found with the training people of each fold of the study that was tuned, and used where none of "
    "these is tested"
)


@dataclass(frozen=True)
class Tuned:
    """What was found, with whose windows.

    Attributes:
        kind: ``"halves"``, ``"fold"`` or ``"people"``.
        trials: of the common settings, and of every row.
        people: part -> the people whose windows were read.
        settings: row -> part -> setting -> value.
    """

    kind: str
    trials: int
    people: dict[str, list[str]]
    settings: dict[str, dict[str, dict[str, Any]]]

    @property
    def content(self) -> dict[str, Any]:
        """As it stands in a file."""
        return {"people": self.kind, "trials": self.trials, "parts": self.people, "settings": self.settings}

    @property
    def caption(self) -> str:
        """Which people the settings were chosen with, for the head of a file; no one is named in it."""
        return self.caption_of()

    def caption_of(self, *, untuned: Sequence[str] = (), others: bool = False) -> str:
        """The same for the head of a table.

        Args:
            untuned: its rows without settings of their own.
            others: whether a fold uses the settings that another fold found (``fold``).
        """
        with_whom = {
            HALVES: "Settings found with the people of one half are used where those of the other are tested",
            FOLD: _OF_OTHERS if others else "Settings are found in each fold with its own training people",
            "people": "Settings are found with people who are never tested",
        }[self.kind]
        sizes = "; ".join(f"{name}: {len(people)} people" for name, people in self.people.items() if people)
        listed = f" ({sizes})" if sizes and self.kind != FOLD else ""
        rows = "every row that is tuned" if untuned else "every row"
        left = f"; not tuned: {', '.join(untuned)}" if untuned else ""
        return (
            f"Tuned on validation windows alone, with {self.trials} trials for {rows} (`people: {self.kind}`{left}). "
            f"{with_whom}{listed}."
        )

    def untuned(self, study: Study) -> list[str]:
        """The runs of a study that have no settings here, without copies of others."""
        return [
            name
            for name, run in study.runs.items()
            if not run.origin and all(title_of(name, labels) not in self.settings for labels in study.labels_of(name))
        ]


def read_tuned(study: Study) -> Tuned | None:
    """The section ``tuned`` of a study; None where it has none.

    Raises:
        InputError: it is not what ``kdlab tune`` writes, or lacks a row.
    """
    if study.tuned is None:
        return None
    where, content = f"{study.file}: tuned", study.tuned
    parts, settings = (content.get(key) if isinstance(content, Mapping) else None for key in ("parts", "settings"))
    known = isinstance(content, Mapping) and set(content) == set(TUNED)
    if not known or content["people"] not in (HALVES, FOLD, "people") or type(content["trials"]) is not int:
        raise InputError(f"{where} must be what kdlab tune writes, but got {content!r:.80}. Write it again.")
    if not isinstance(parts, Mapping) or not all(isinstance(v, list) for v in parts.values()):
        raise InputError(f"{where}: parts must map parts to their people, but got {parts!r:.80}. Write it again.")
    good = isinstance(settings, Mapping) and all(
        isinstance(of_part, Mapping)
        and set(of_part) == set(parts)
        and all(isinstance(v, Mapping) for v in of_part.values())
        for of_part in settings.values()
    )
    if not good:
        raise InputError(
            f"{where}: settings must map rows to parts to values, but got {settings!r:.80}. Write it again."
        )
    assert isinstance(settings, Mapping)
    rows = [
        title_of(n, labels) for n, run in study.runs.items() if run.stage != "teacher" for labels in study.labels_of(n)
    ]
    if missing := [row for row in rows if row not in settings]:
        raise InputError(
            f"{where}: settings must name every row, but names none of {', '.join(missing)}. {_again(study)}"
        )
    people = {str(part): [str(name) for name in names] for part, names in parts.items()}
    return Tuned(
        content["people"],
        content["trials"],
        people,
        {str(row): {str(part): dict(v) for part, v in of_part.items()} for row, of_part in settings.items()},
    )


def _again(study: Study) -> str:
    """How to find settings that fit a study: by its own section ``tune``, or as the file says that it was written."""
    file = holder(study.file, "tuned")
    included = None if file == study.file else file
    out = "" if included is None else f" --out {shlex.quote(str(included))}"
    if study.tune is not None:
        return f"Run kdlab tune {study.file}{out}."
    written = None if included is None else _WRITTEN.match(read_text(included, "tuned"))
    if written is not None:
        return f"Find settings for these rows and folds, and write {included} again. It was written by: {written[1]}"
    return f"Run kdlab tune{out} with the study file that has the section tune, and the same rows and folds."


def parts_of_folds(study: Study, tuned: Tuned, folds: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Fold -> the part whose settings are used in it: one that holds none of the people whom the fold tests.

    Raises:
        InputError: there is none.
    """
    found = {}
    config = next(iter(study.runs.values())).config
    for fold, named in folds.items():
        tested = set(named or make_data(config).fingerprint["test"])
        free = [part for part, people in tuned.people.items() if not tested & set(people)]
        if not free:
            leak = sorted(tested & set(next(iter(tuned.people.values()), [])))
            raise InputError(
                f"{study.file}: tuned: settings must be found with people who are not tested, but "
                f"{fold or 'the split'} tests {', '.join(leak)}. {_again(study)}"
            )
        found[fold] = fold if fold in free else free[0]
    return found
