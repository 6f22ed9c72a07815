"""The rows of a study as CSV: results, and times."""

from __future__ import annotations

import csv
import io

from kdlab.files import cell as csv_cell
from kdlab.study.columns import BESIDE, METRICS, TIMES
from kdlab.study.report_cells import Findings
from kdlab.study.unlabelled import filled, has_unlabelled

FIRST = ("run", "stage")
THEN = ("fold", "seed", "shared", "test_windows", "view", "parameters", "macs", "best_epoch")


def csv_text(study: Findings, times: bool) -> str:
    """One line per run: its identity, and either its metrics or its times; a metric without a value (NaN) is empty."""
    there = has_unlabelled(study.rows)
    rows = [filled(row, there) for row in study.rows]
    scalars = {
        key for row in rows for key, value in row.items() if value is None or isinstance(value, str | int | float)
    }
    present = scalars - {*TIMES, BESIDE} - set(FIRST)
    identity = THEN[:2]
    if times:
        columns = [*identity, *(key for key in (*TIMES, BESIDE) if key in scalars)]
    else:
        fixed = [key for key in (*THEN, *METRICS) if key in present or key in identity]
        columns = [*fixed, *sorted(present - set(fixed))]
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow([*FIRST, *study.axes, *columns])
    for row in rows:
        labels = [row["labels"].get(axis, "") for axis in study.axes]
        cells = [*(row[key] for key in FIRST), *labels, *(row.get(key) for key in columns)]
        writer.writerow("" if value != value else csv_cell(value) for value in cells)
    return content.getvalue()
