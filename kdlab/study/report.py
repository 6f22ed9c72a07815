"""The results of a study as files: two tables for programs, two for readers, and figures.

Nothing in them but ``times.*`` depends on when, where or in which order the runs were made: an interrupted and resumed
study writes the same bytes as an uninterrupted one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdlab.files import replacing
from kdlab.study.chosen import peak_section
from kdlab.study.conditions import Row, axis_labels, conditions
from kdlab.study.counted import Planned
from kdlab.study.evidence import NAME as EVIDENCE
from kdlab.study.evidence import evidence_text
from kdlab.study.figure_files import remove_figures, save_figure
from kdlab.study.paper import Paper
from kdlab.study.plot_people import people_figures
from kdlab.study.plots import figures_of, stems_of
from kdlab.study.report_cells import Findings
from kdlab.study.report_cross_fit import cross_fit_section
from kdlab.study.report_csv import csv_text
from kdlab.study.report_details import (
    difference_section,
    failed_section,
    fold_section,
    open_set_section,
    robustness_section,
    times_text,
)
from kdlab.study.report_paper import paper_files
from kdlab.study.report_people import class_section, pair_section, people_section
from kdlab.study.report_reading import how_to_read
from kdlab.study.report_results import main_table, what_was_done
from kdlab.study.starved import starved_section
from kdlab.study.unfinished import unfinished_line, unfinished_section
from kdlab.study.weak_teachers import teachers_section, weak_teachers


def write_report(
    rows: Iterable[Row],
    failures: Iterable[tuple[str, str]],
    folder: str | Path,
    *,
    name: str,
    description: str = "",
    baselines: Sequence[str] = ("scratch", "kd"),
    published: Mapping[str, Mapping[str, Any]] | None = None,
    order: Sequence[str] = (),
    axes: Mapping[str, Sequence[str]] | None = None,
    subjects: Mapping[str, Sequence[str]] | None = None,
    confidence: float = 0.95,
    seconds: float | None = None,
    draw: bool = True,
    more: Sequence[tuple[str, str]] = (),
    paper: Paper | None = None,
    plan: Mapping[str, Planned] | None = None,
    teachers: Mapping[str, Sequence[str]] | None = None,
    commit: str | None = None,
) -> Path:
    """Write ``results.csv``, ``results.md``, ``times.csv``, ``times.md`` and the figures; each is replaced at once.

    Also ``means.csv`` and ``results.tex`` with the columns that ``paper`` names, and, where rows count their windows by
    person and class, ``people.csv`` and ``classes.csv``. ``evidence.json`` is what the cards of students take.

    Args:
        rows: one dict per finished run, see :mod:`kdlab.study.statistics`; nested values are not written.
        failures: (name, error) of the runs that did not finish.
        folder: where the files go; those of an earlier report are replaced.
        name: of the study.
        description: a paragraph for the top of ``results.md``.
        baselines: runs that all others are compared with, where they are there.
        published: run (with its labels, ``"eskd (capacity=16-3)"``, in a grid) -> ``value`` in percent, ``source`` and
            ``note`` with its caveats.
        order: names of the runs as the tables show them; without it teachers, then scratch, then students.
        axes: axis -> its labels in the order of the study file.
        subjects: fold -> its test subjects.
        confidence: of the intervals.
        seconds: the wall time of the study, for ``times.md``.
        draw: whether to draw the figures.
        more: (file, caption) of further figures in the folder.
        paper: display names, matched pairs, columns and formats of figures.
        plan: title of a condition -> its jobs, so that what is missing is shown.
        teachers: run -> the runs of its teachers, so that those below their students are named.
        commit: of the sources that made all rows, where it is known.

    Returns:
        The path of ``results.md``.

    Example:
        >>> import tempfile
        >>> row = {"run": "scratch", "stage": "scratch", "labels": {}, "fold": "", "view": "raw"}
        >>> rows = [{**row, "seed": seed, "test_accuracy": 0.9 + 0.01 * seed} for seed in range(3)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     text = write_report(rows, [], folder, name="three seeds", draw=False).read_text("utf-8")
        >>> next(line for line in text.splitlines() if line.startswith("| scratch"))
        '| scratch | raw | 3 | 91.0 ± 1.0 | 0.6 |'
    """
    folder, paper = Path(folder), paper or Paper()
    folder.mkdir(parents=True, exist_ok=True)
    known = conditions(rows, order, axes)
    there = {condition.run for condition in known}
    study = Findings(
        known,
        axis_labels([row for condition in known for row in condition.rows], axes),
        [baseline for baseline in baselines if baseline in there],
        published or {},
        confidence,
        paper,
        plan or {},
    )
    _write(folder / "results.csv", csv_text(study, times=False))
    _write(folder / "times.csv", csv_text(study, times=True))
    _write(folder / "times.md", times_text(study, name, seconds))
    _write(folder / EVIDENCE, evidence_text(study, name, teachers or {}, commit))
    for file, content in paper_files(study).items():
        if content is None:
            (folder / file).unlink(missing_ok=True)  # of an earlier report
        else:
            _write(folder / file, content)
    drawn = _draw(study, axes, folder) if draw else []
    if draw:
        stems = [*stems_of(dict.fromkeys([*(axes or ()), *study.axes])), "people", "pairs", "embeddings"]
        remove_figures(
            [*stems, *_shown(folder / "results.md")], folder, {file for file, _ in (*drawn, *more)}, study.paper.figures
        )
    parts = [
        f"# {paper.title or name}",
        description.strip(),
        what_was_done(study, subjects or {}),
        unfinished_line(study.plan),
        main_table(study),
        how_to_read(study),
        *unfinished_section(study.plan),
        *starved_section(study.known),
        *cross_fit_section(study),
        *teachers_section(weak_teachers(study.known, teachers or {})),
        *difference_section(study),
        *people_section(study),
        *pair_section(study),
        *class_section(study),
        *fold_section(study),
        *open_set_section(study),
        *peak_section(study.known),
        *robustness_section(study),
        *(f"## {caption}\n\n![{caption}]({file})" for file, caption in (*drawn, *more)),
        *failed_section(failures),
    ]
    _write(folder / "results.md", "\n\n".join(part for part in parts if part) + "\n")
    return folder / "results.md"


def _shown(report: Path) -> list[str]:
    """The figures of an earlier report in its folder, without ending: an axis of then may be none of the study now."""
    text = report.read_text("utf-8", errors="replace") if report.is_file() else ""
    return re.findall(r"^!\[.*\]\(([\w-]+)\.png\)$", text, re.MULTILINE)


def _write(path: Path, content: str | bytes) -> None:
    """Replace a file at once: a reader never finds a part of it."""
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def _draw(study: Findings, axes: Mapping[str, Sequence[str]] | None, folder: Path) -> list[tuple[str, str]]:
    """Save the figures; (file, caption) of each."""
    shown = study.paper.shown
    known = [replace(condition, run=shown(condition.run)) for condition in study.known]
    options: dict[str, Any] = {"baselines": list(map(shown, study.baselines)), "axes": axes}
    there = [*figures_of(known, **options, confidence=study.confidence), *people_figures(study)]
    return [(save_figure(draw, folder, stem, study.paper.figures), caption) for stem, caption, draw in there]
