"""Names of what tables show: metrics, times, and the columns that a study file may choose."""

from __future__ import annotations

from kdlab.evaluate.evaluation import KINDS, SEVERITIES
from kdlab.functional import SCORES

METRICS = (
    *("val_accuracy", "val_f1", "test_accuracy", "test_f1", "test_map", "test_nll", "test_ece", "test_v_measure"),
    *(f"test_accuracy_{kind}{severity}" for kind in KINDS for severity in SEVERITIES),
    *(f"test_open_set_auroc_{score}" for score in SCORES),
)
TIMES = ("seconds", "latency_ms", "view_ms")
BESIDE = "latency_beside"  #: other jobs that the study ran at a time, beside which the latency was measured
DIFFERENCES = ("over_folds", "over_people")
#: what ``columns`` of a study file may name
COLUMNS = (
    *("view", "parameters", "macs", "runs", "best_epoch", *METRICS, "test_accuracy_last", "standard_error"),
    *(*DIFFERENCES, "published", "latency_ms", "view_ms", "seconds"),
)
USUAL = ("view", "parameters", "runs", "test_accuracy", "standard_error", "test_f1", *DIFFERENCES)
