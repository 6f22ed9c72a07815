"""Files of a study for papers and programs: a LaTeX table, means, and the counts by person and class, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from kdlab.files import cell as csv_cell
from kdlab.study.conditions import Condition, natural
from kdlab.study.people import f1_by_class, macro_f1
from kdlab.study.report_cells import NONE, Column, Findings
from kdlab.study.report_columns import chosen_columns, number_columns

_TEX = {
    **{"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"},
    **{"|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "−": "$-$", "†": r"\textdagger{}"},
    **{"–": "--", "·": r"$\cdot$", "[": "{[}", "]": "{]}", "*": r"\textasteriskcentered{}"},
}


def paper_files(study: Findings) -> dict[str, str | None]:
    """Name of a file -> its text; None where the rows do not have what belongs into it."""
    return {
        "means.csv": means_text(study) if study.known else None,
        "results.tex": tex_text(study) if study.known else None,
        "people.csv": people_text(study),
        "classes.csv": classes_text(study),
    }


def escape_tex(text: str) -> str:
    r"""A text for a cell of a LaTeX table (with T1 fonts).

    >>> print(escape_tex("kd_48 & 50 % {x}"))
    kd\_48 \& 50 \% \{x\}
    """
    return "".join(_TEX.get(letter, letter) for letter in " ".join(text.split()))


def tex_text(study: Findings) -> str:
    """The chosen columns as a ``tabular`` with the rules of booktabs, without those that are empty throughout."""
    columns: list[Column] = [
        ("run", lambda c: study.paper.shown(c.run)),
        *((axis, _label(axis)) for axis in study.axes),
        *chosen_columns(study),
    ]
    cells = [[cell(condition) for _, cell in columns] for condition in study.known]
    kept = [i for i in range(len(columns)) if i == 0 or any(line[i] not in ("", NONE) for line in cells)]
    text = {"view", "run", *study.axes}
    lines = ["% \\usepackage[T1]{fontenc} \\usepackage{booktabs}"]
    lines.append(f"\\begin{{tabular}}{{{''.join('l' if columns[i][0] in text else 'r' for i in kept)}}}")
    lines += ["\\toprule", _tex_line([escape_tex(columns[i][0]) for i in kept]), "\\midrule"]
    for (condition, line), after in pairwise([*zip(study.known, cells, strict=True), None]):  # type: ignore[misc]
        lines.append(_tex_line([_tex_cell(line[i]) for i in kept]))
        if after is not None and after[0].stage != condition.stage:
            lines.append("\\midrule")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _label(axis: str) -> Any:
    return lambda condition: condition.labels.get(axis, NONE)


def _tex_cell(text: str) -> str:
    bold = len(text) > 4 and text.startswith("**") and text.endswith("**")
    return f"\\textbf{{{escape_tex(text[2:-2])}}}" if bold else escape_tex(text)


def _tex_line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def means_text(study: Findings) -> str:
    """One line per condition: its names, and the chosen columns as fractions (accuracies from 0 to 1)."""
    lines = [{**_names(study, condition), **number_columns(study, condition)} for condition in study.known]
    return _csv_text(list(lines[0]), lines)


def _names(study: Findings, condition: Condition) -> dict[str, Any]:
    labels = {axis: condition.labels.get(axis, "") for axis in study.axes}
    return {"run": condition.run, "title": study.paper.shown(condition.run), "stage": condition.stage, **labels}


def people_text(study: Findings) -> str | None:
    """One line per run and test person: windows, right ones, accuracy and macro F1."""
    lines = [
        {
            **_identity(study, condition, row),
            "person": person,
            "windows": counts["windows"],
            "correct": counts["correct"],
            "accuracy": counts["correct"] / counts["windows"],
            "f1": macro_f1(counts) if "hits" in counts else None,
        }
        for condition in study.known
        for row in condition.rows
        for person, counts in sorted((row.get("people") or {}).items(), key=lambda item: natural(item[0]))
    ]
    return _csv_text(list(lines[0]), lines) if lines else None


def classes_text(study: Findings) -> str | None:
    """One line per run and class: windows of the class, windows predicted as it, right ones, and F1 if it has any."""
    lines = [
        {
            **_identity(study, condition, row),
            "class": name,
            **{kind: row["classes"][kind][i] for kind in ("support", "predicted", "hits")},
            "f1": f1_by_class(row["classes"])[i],
        }
        for condition in study.known
        for row in condition.rows
        if row.get("classes")
        for i, name in enumerate(row["classes"]["names"])
    ]
    return _csv_text(list(lines[0]), lines) if lines else None


def _identity(study: Findings, condition: Condition, row: Any) -> dict[str, Any]:
    labels = {axis: condition.labels.get(axis, "") for axis in study.axes}
    return {"run": condition.run, "stage": condition.stage, **labels, "fold": row["fold"], "seed": row["seed"]}


def _csv_text(columns: Sequence[str], lines: Iterable[dict[str, Any]]) -> str:
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(map(csv_cell, columns))
    for line in lines:
        writer.writerow([csv_cell(line[column]) for column in columns])
    return content.getvalue()
