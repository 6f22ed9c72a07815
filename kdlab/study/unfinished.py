"""What is missing of a study whose jobs are not all done, for its report."""

from __future__ import annotations

from collections.abc import Mapping

from kdlab.study.counted import Planned
from kdlab.study.report_cells import NONE, escape, table_line


def unfinished_line(plan: Mapping[str, Planned]) -> str:
    """That a report is not complete, for its top; empty where it is."""
    left, jobs = sum(one.left for one in plan.values()), sum(one.jobs for one in plan.values())
    if not left:
        return ""
    return f"**Not complete: {left:,} of {jobs:,} jobs have no result.** What is missing of each row stands below."


def unfinished_section(plan: Mapping[str, Planned]) -> list[str]:
    """The rows that are not complete, and what is missing of them."""
    lines = [
        table_line((escape(title), f"{one.jobs - one.left} of {one.jobs}", escape(one.words) or NONE))
        for title, one in plan.items()
        if one.left
    ]
    head = table_line(("run", "done", "missing")), table_line(("---", "---:", "---"))
    return ["## Not complete", "\n".join((*head, *lines))] if lines else []
