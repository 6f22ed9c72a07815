"""Evaluations of several nets written together: tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from kdlab.evaluate import tables
from kdlab.evaluate.evaluation import Evaluation
from kdlab.evaluate.plots import plot_embeddings, plot_reliability, plot_robustness
from kdlab.files import replacing, write_text
from kdlab.nets.alone import warning_of_batches

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_MANY = (
    "Windows have any number of labels. Accuracy is the share of windows with exactly the right classes, at a "
    "probability of one half; NLL is a mean over windows and classes; ECE is that of all decisions for or against a "
    "class. V-measure, embeddings and the confusion matrix are left out, because they need one class per window."
)


def write(results: Mapping[str, Evaluation], out: Path) -> None:
    """Write ``results.md`` and the figures_of of all evaluations together into a folder.

    Args:
        results: name of the row -> evaluation.
        out: the folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures_of(results).items():
        with replacing(out / f"{name}.png") as part:
            figure.savefig(part, bbox_inches="tight")
    where = [f"- {name}: `{one.description.get('checkpoint', 'in memory')}`" for name, one in results.items()]
    parts = ["# Evaluation", *warnings_of(results), tables.summary(results), "\n".join(where)]
    if any(one.robustness for one in results.values()):
        parts += ["## Accuracy (%) on corrupted windows", tables.robustness(results)]
    if any("macs" in one.scalars for one in results.values()):
        parts += ["## Cost of one window, on one thread of this CPU", tables.cost(results)]
    for classes in dict.fromkeys(tuple(one.classes) for one in results.values()):
        same = {name: one for name, one in results.items() if tuple(one.classes) == classes}
        parts += ["## F1 (%) of each class, and its windows", tables.per_class(same)]
        if many := {name: one for name, one in same.items() if one.many_labels}:
            parts += ["## Decisions for and against each class", _MANY, tables.by_class(many)]
    write_text(out / "results.md", "\n\n".join(parts) + "\n")


def figures_of(results: Mapping[str, Evaluation]) -> dict[str, Figure]:
    """``reliability``, one confusion matrix each and, where they were measured, ``robustness`` and ``embeddings``.

    Of windows with any number of labels there are neither confusion matrices nor embeddings, whose colour is the class.
    """
    from kdlab.figures.confusion import plot_confusion

    figures = {"reliability": plot_reliability({name: one.reliability for name, one in results.items()})}
    if curves := {name: one.robustness for name, one in results.items() if one.robustness}:
        figures["robustness"] = plot_robustness(curves)
    for classes in dict.fromkeys(tuple(one.classes) for one in results.values()):
        embedded = {
            name: (one.embedding, one.target)
            for name, one in results.items()
            if one.embedding.shape[1] and tuple(one.classes) == classes and not one.many_labels
        }
        if embedded:
            figures[f"embeddings{_suffix(figures)}"] = plot_embeddings(embedded, classes)
    for name, one in results.items():
        if one.many_labels:
            continue
        figure = plot_confusion(torch.from_numpy(one.confusion), one.classes)
        figure.suptitle(name, fontsize=10)
        figures[f"confusion_{slug(name)}"] = figure
    return figures


def _suffix(figures: Mapping[str, Figure]) -> str:
    taken = sum(name.startswith("embeddings") for name in figures)
    return f"-{taken}" if taken else ""


def warnings_of(results: Mapping[str, Evaluation]) -> list[str]:
    """Lines on rows of one batch size alone, and where the nets were evaluated on different windows."""
    lines = [
        f"warning: {warning_of_batches(name, one.description['batch'])}"
        for name, one in results.items()
        if one.description.get("batch") is not None
    ]
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, one in results.items():
        data = one.description["tested_on"]
        key = (
            data.get("dataset"),
            data.get("window"),
            one.description["stage"],
            one.index.tobytes(),
            one.target.tobytes(),
        )
        groups.setdefault(key, []).append(name)
    if len(groups) < 2:
        return lines
    sets = " / ".join(", ".join(names) for names in groups.values())
    return [*lines, f"warning: not the same windows, so these rows cannot be compared with each other: {sets}"]


def slug(name: str) -> str:
    """The name of a row as a file name."""
    return name.strip("/").replace("/", "-")
