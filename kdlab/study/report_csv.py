"""The rows of a study as CSV: results, and times."""

from __future__ import annotations

import csv
import io

from kdlab.evaluate.evaluation import KINDS, SEVERITIES
from kdlab.files import cell as csv_cell
from kdlab.functional import SCORES
from kdlab.study.report_cells import Findings
from kdlab.study.unlabelled import filled, has_unlabelled

FIRST = ("run", "stage")
THEN = ("fold", "seed", "shared", "test_windows", "view", "parameters", "macs", "best_epoch")
METRICS = (
    *("val_accuracy", "val_f1", "test_accuracy", "test_f1", "test_map", "test_nll", "test_ece", "test_v_measure"),
    *(f"test_accuracy_{kind}{severity}" for kind in KINDS for severity in SEVERITIES),
    *(f"test_open_set_auroc_{score}" for score in SCORES),
)
TIMES = ("seconds", "latency_ms", "view_ms")


def csv_text(study: Findings, times: bool) -> str:
    """One line per run: its identity, and either its metrics or its times."""
    there = has_unlabelled(study.rows)
    rows = [filled(row, there) for row in study.rows]
    scalars = {
        key for row in rows for key, value in row.items() if value is None or isinstance(value, str | int | float)
    }
    present = scalars - set(TIMES) - set(FIRST)
    identity = THEN[:2]
    if times:
        columns = [*identity, *(key for key in TIMES if key in scalars)]
    else:
        fixed = [key for key in (*THEN, *METRICS) if key in present or key in identity]
        columns = [*fixed, *sorted(present - set(fixed))]
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow([*FIRST, *study.axes, *columns])
    for row in rows:
        labels = [row["labels"].get(axis, "") for axis in study.axes]
        cells = [*(row[key] for key in FIRST), *labels, *(row.get(key) for key in columns)]
        writer.writerow(map(csv_cell, cells))
    return content.getvalue()
