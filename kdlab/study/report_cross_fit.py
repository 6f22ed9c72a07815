"""The section of a report on teachers of ``cross_fit``: their accuracy on the people whom each has not seen."""

from __future__ import annotations

from kdlab.study.chosen import is_chosen
from kdlab.study.conditions import number
from kdlab.study.cross_fit import ACCURACY, unseen_accuracies
from kdlab.study.report_cells import NONE, Findings, escape, table_line


def cross_fit_section(study: Findings) -> list[str]:
    """Accuracy of out-of-person teachers on the training people left out, by fold; nothing where there are none.

    Args:
        study: the findings.
    """
    lines = [
        table_line(
            (escape(title), escape(fold or NONE), str(people), f"{windows:,}", str(seeds), f"{100 * accuracy:.1f}")
        )
        for title, folds in unseen_accuracies(study.known).items()
        for fold, accuracy, windows, people, seeds in folds
    ]
    if not lines:
        return []
    head = ["teacher", "fold", "people", "windows", "teachers of a group", "accuracy"]
    rows = [row for row in study.rows if number(row, ACCURACY) is not None]
    chosen = ", who choose the epochs of these teachers," if is_chosen(rows) else ""
    note = (
        "Each training person is classified by the one teacher that was trained without this person, so this is the "
        "accuracy (%) of the soft targets that `cross_fit` gives, on people whom their teacher has not seen. The "
        f"validation people{chosen} are not among them. Where a group has several teachers "
        "(one per seed), it is their mean. Their rows in the other tables are those of trainings without one group, "
        "and are compared with no control."
    )
    rule = ["---", "---", *["---:"] * 4]
    body = "\n".join([table_line(head), table_line(rule), *lines])
    return ["## Teachers on training people they have not seen", note, body]
