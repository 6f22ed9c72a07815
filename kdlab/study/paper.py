"""How a study names people and shows its results: keys of a study file that change no job.

A study file may have::

    people: hashed                    # hashes in place of names (KDLAB_SALT); plain by default
    compare: [[kd_48, scratch_48]]    # matched pairs, each with an interval of its own
    title: Distillation on the wrist  # heads results.md; a run has its own, kd: {config: kd.yaml, title: Soft targets}
    columns: [parameters, test_accuracy, over_people]     # of results.tex and means.csv
    figures: [png, pdf, svg]          # or {formats: [png, pdf], font: DejaVu Serif, font_size: 8, width: 3.5}

``people: hashed`` is about the tables and figures of the study and each ``result.json``. The folders of the jobs
(configs, checkpoints, predictions, logs) have hashes only where the data module makes them: ``subject_ids: hashed``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdlab.study.columns import COLUMNS, USUAL
from kdlab.study.keys import FIGURES, FONT_SIZES, WIDTHS
from kdlab.study.keys import FORMATS as FORMATS
from kdlab.study.known import refuse_unknown
from kdlab.types import InputError


@dataclass(frozen=True)
class Figures:
    """How figures are saved.

    Attributes:
        formats: endings; PNG is always among them, since results.md shows it.
        font: a family that matplotlib finds; None: its default.
        font_size: of text that is 10 points by default, in points; other text keeps its proportion. None: 10.
        width: of each figure in inches, with its height in proportion; None: as drawn.
    """

    formats: tuple[str, ...] = ("png",)
    font: str | None = None
    font_size: float | None = None
    width: float | None = None


@dataclass(frozen=True)
class Paper:
    """The settings of a study file that change what is shown, and no job.

    Attributes:
        hashed: whether tables and results have hashes in place of people's names.
        compare: pairs of runs, the first minus the second.
        title: of the study; empty: its name.
        titles: run -> its display name, of those that have one.
        columns: of results.tex and means.csv.
        figures: how figures are saved.
    """

    hashed: bool = False
    compare: tuple[tuple[str, str], ...] = ()
    title: str = ""
    titles: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = USUAL
    figures: Figures = Figures()

    def shown(self, run: str) -> str:
        """The display name of a run."""
        return self.titles.get(run, run)


def read_paper(content: Mapping[str, Any], parts: Iterable[str], runs: Sequence[str], where: str | Path) -> Paper:
    """Read these keys of a study file.

    Args:
        content: the file.
        parts: its keys that hold runs.
        runs: their names.
        where: the file, for messages.

    Raises:
        InputError: naming the key, what was expected and what came.
    """
    people = content.get("people", "plain")
    if people not in ("plain", "hashed"):
        raise InputError(f"{where}: people must be 'plain' or 'hashed', but got {people!r}. Write one of them.")
    entries = {str(run): entry for part in parts for run, entry in (content.get(part) or {}).items()}
    given = {run: entries.get(run, {}).get("title") for run in runs}
    titles = {run: _title(title, f"{where}: {run}") for run, title in given.items() if title is not None}
    shown = [titles.get(run, run) for run in runs]
    if twice := sorted({title for title in shown if shown.count(title) > 1}):
        raise InputError(f"{where}: title must be that of one run alone, but got {twice[0]!r} twice. Rename one.")
    title = content.get("title")
    return Paper(
        people == "hashed",
        _pairs(content.get("compare"), runs, f"{where}: compare"),
        "" if title is None else _title(title, str(where)),
        titles,
        _columns(content.get("columns"), f"{where}: columns"),
        _figures(content.get("figures"), f"{where}: figures"),
    )


def _title(value: Any, where: str) -> str:
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if not text or not text.isprintable():
        raise InputError(f"{where}: title must be a text of one line, but got {value!r}. Write one, or leave it out.")
    return text


def _pairs(value: Any, runs: Iterable[str], where: str) -> tuple[tuple[str, str], ...]:
    listed = [] if value is None else value
    pairs = listed if isinstance(listed, list) else [listed]
    for pair in pairs:
        two = isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str | int | float) for name in pair)
        if not two or str(pair[0]) == str(pair[1]):
            raise InputError(
                f"{where}: must be a list of pairs of two different runs, but got {pair!r}. Write [[first, second]]."
            )
        refuse_unknown([str(name) for name in pair], list(runs), where, "run")
    found = tuple((str(pair[0]), str(pair[1])) for pair in pairs)
    if len({frozenset(pair) for pair in found}) < len(found):
        raise InputError(f"{where}: must be different pairs, but got {value!r}. Remove the repeated one.")
    return found


def _columns(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return USUAL
    if not isinstance(value, list) or not value or len(set(map(str, value))) < len(value):
        raise InputError(f"{where}: must be a list of different names, but got {value!r}. Write [test_accuracy].")
    refuse_unknown([str(name) for name in value], COLUMNS, where, "column")
    return tuple(map(str, value))


def _figures(value: Any, where: str) -> Figures:
    given = {"formats": value} if isinstance(value, list) else {} if value is None else value
    if not isinstance(given, dict):
        raise InputError(f"{where}: must be a list of formats or a mapping, but got {value!r}. Write [png, pdf].")
    refuse_unknown(map(str, given), tuple(FIGURES), where, "name")
    formats = given.get("formats", ["png"])
    if not isinstance(formats, list) or "png" not in formats or len(set(map(str, formats))) < len(formats):
        raise InputError(
            f"{where}: formats must be a list with png, which results.md shows, but got {formats!r}. Write [png, pdf]."
        )
    refuse_unknown(map(str, formats), FORMATS, where, "format")
    size = _number(given.get("font_size"), FONT_SIZES, f"{where}: font_size")
    width = _number(given.get("width"), WIDTHS, f"{where}: width")
    return Figures(tuple(formats), _font(given.get("font"), where), size, width)


def _number(value: Any, limits: tuple[float, float], where: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not limits[0] <= value <= limits[1]:
        raise InputError(f"{where} must be a number from {limits[0]:g} to {limits[1]:g}, but got {value!r}. Change it.")
    return float(value)


def _font(value: Any, where: str) -> str | None:
    if value is None:
        return None
    from matplotlib import font_manager

    there = {*font_manager.get_font_names(), "serif", "sans-serif", "monospace"}
    if value not in there:
        close = difflib.get_close_matches(str(value), sorted(there), 1)
        hint = f"Did you mean {close[0]!r}?" if close else "Install it, or write serif, sans-serif or monospace."
        raise InputError(f"{where}: font must be a family that matplotlib finds, but got {value!r}. {hint}")
    return str(value)
