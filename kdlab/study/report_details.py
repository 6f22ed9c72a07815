"""Further sections of the report of a study: differences, folds, unknown classes, robustness, failures and times."""

from __future__ import annotations

import math
import statistics as plain
from collections import Counter
from collections.abc import Iterable

from kdlab.evaluate.evaluation import KINDS, SEVERITIES
from kdlab.functional import SCORES
from kdlab.study.chosen import epochs_in_words
from kdlab.study.columns import BESIDE
from kdlab.study.conditions import Condition, number
from kdlab.study.differences import Difference
from kdlab.study.durations import duration
from kdlab.study.pooled import severities
from kdlab.study.report_cells import (
    METRIC,
    NONE,
    Column,
    Findings,
    counted,
    escape,
    first_value,
    interval_cell,
    mean_cell,
    name_columns,
    table,
    table_line,
    windows_of,
)
from kdlab.study.statistics import FoldMeans, fold_means

UNEQUAL = 1.1  # largest fold / smallest fold, above which both weightings are shown
TINY = 0.1  # of the median fold, below which the mean without the smallest fold is shown too
LAST = f"{METRIC}_last"
MARK = "†"


def difference_section(study: Findings) -> list[str]:
    """The paired differences with their pairs and methods."""
    if not study.differences:
        return []
    shown = [d for d in study.differences.values() if d.mean is not None] or list(study.differences.values())
    usual = Counter(difference.method for difference in shown).most_common(1)[0][0]
    head = ["run", "minus", "difference", "pairs", "better / worse / equal", "left out", "note"]
    lines = [
        [
            escape(title),
            escape(baseline),
            interval_cell(difference),
            str(difference.pairs),
            _outcomes(difference),
            str(difference.left_out),
            "" if difference.method == usual else difference.method,
        ]
        for (title, baseline), difference in study.differences.items()
    ]
    rule = ["---", "---", *["---:"] * 4, "---"]
    note = (
        "*Pairs* are runs of the same fold and seed; *left out* are runs whose partner is missing. Where there is no "
        f"note: {usual}."
    )
    return ["## Differences of the test accuracy", note, "\n".join(map(table_line, (head, rule, *lines)))]


def _outcomes(difference: Difference) -> str:
    if difference.mean is None:
        return NONE
    return f"{difference.wins} / {difference.losses} / {difference.pairs - difference.wins - difference.losses}"


def fold_section(study: Findings) -> list[str]:
    """Both weightings, where the folds are unequal."""
    windows = {fold: count for fold, count in windows_of(study).items() if count.most}
    if len(windows) < 2 or not any(map(_unequal, study.known)):
        return []
    means: dict[str, FoldMeans] = {c.title: fold_means(c.rows, METRIC) for c in study.known}
    least = {fold: count.least for fold, count in windows.items()}
    smallest = min(least, key=lambda fold: least[fold])

    def percent(value: float | None) -> str:
        return NONE if value is None else f"{100 * value:.1f}"

    def of_fold(fold: str) -> Column:
        return fold, lambda c: percent(means[c.title].folds.get(fold))

    def without(condition: Condition) -> str:
        rest = [row for row in condition.rows if str(row["fold"]) != smallest]
        return percent(fold_means(rest, METRIC).fold_weighted)

    columns: list[Column] = [
        *name_columns(study),
        ("window-weighted", lambda c: percent(means[c.title].window_weighted)),
        ("fold-weighted", lambda c: percent(means[c.title].fold_weighted)),
    ]
    if least[smallest] < TINY * plain.median(least.values()):
        columns.append((f"fold-weighted without {smallest} ({windows[smallest].text} windows)", without))
    columns += map(of_fold, windows)
    note = (
        f"The folds have {min(least.values()):,} to {max(count.most for count in windows.values()):,} test windows. "
        "*Window-weighted*: every window counts the same; *fold-weighted*: every fold, and so every group of subjects, "
        "counts the same (as in the other tables where no run is missing)."
    )
    return ["## Test accuracy by fold", note, table(columns, study.known)]


def _unequal(condition: Condition) -> bool:
    """Do the folds of a condition differ much in their test windows?"""
    windows = [row["test_windows"] for row in condition.rows if row.get("test_windows")]
    return len(windows) > 0 and max(windows) > UNEQUAL * min(windows)


def open_set_section(study: Findings) -> list[str]:
    """How well each score separates unknown classes, where the data hold some out."""

    def auroc(score: str) -> Column:
        return score, lambda c: mean_cell(c, f"test_open_set_auroc_{score}")

    columns = [auroc(score) for score in SCORES]
    if all(cell(condition) == NONE for _, cell in columns for condition in study.known):
        return []
    note = (
        "Open-set AUROC (%): how probably a test window of a known class scores higher than one of an unknown class; "
        "50 is chance. The scores are the largest class probability, the largest logit, the log-sum-exp of the logits "
        "and the largest cosine of embedding and class weights."
    )
    return ["## Unknown classes", note, table([*name_columns(study), *columns], study.known)]


def robustness_section(study: Findings) -> list[str]:
    """Robustness, embedding and size."""

    columns: list[Column] = [
        *map(_corrupted, KINDS),
        ("V-measure", lambda c: mean_cell(c, "test_v_measure", 1, 3)),
        ("best epoch", _epochs),
        ("test accuracy, last epoch", lambda c: mean_cell(c, LAST)),
        ("multiply-accumulates", lambda c: first_value(c, "macs")),
    ]
    if all(cell(condition) == NONE for _, cell in columns for condition in study.known):
        return []
    rest = f"{epochs_in_words(study.rows)}; multiply-accumulates of one window."
    if all(cell(condition) == NONE for _, cell in columns[: len(KINDS) + 1] for condition in study.known):
        rest = rest[0].upper() + rest[1:]
        return ["## Epochs and cost", rest, table([*name_columns(study), *columns], study.known)]
    note = (
        f"Mean test accuracy (%) under corruption of severity {' / '.join(map(str, SEVERITIES))}; V-measure of the "
        f"embedding's clusters; {rest}"
    )
    return ["## Robustness, embedding and cost", note, table([*name_columns(study), *columns], study.known)]


def _corrupted(kind: str) -> Column:
    """Mean accuracies at the severities of one kind."""

    def cell(condition: Condition) -> str:
        curves = [found for row in condition.rows if (found := severities(row, kind)) is not None]
        means = [math.fsum(values) / len(values) for values in zip(*curves, strict=True)]
        return " / ".join(f"{100 * mean:.1f}" for mean in means[1:]) or NONE

    return kind, cell


def _epochs(condition: Condition) -> str:
    epochs = condition.values("best_epoch")
    if not epochs:
        return NONE
    low, high = f"{min(epochs):g}", f"{max(epochs):g}"
    return low if low == high else f"{low}–{high}"


def failed_section(failures: Iterable[tuple[str, str]]) -> list[str]:
    """The runs that failed, and why."""
    lines = [f"- **{escape(name)}**: {escape(error)[:400]}" for name, error in failures]
    return (
        [
            "## Failed",
            f"{counted(len(lines), 'run')} failed and {'is' if len(lines) == 1 else 'are'} in no table.",
            "\n".join(lines),
        ]
        if lines
        else []
    )


def times_text(study: Findings, name: str, seconds: float | None) -> str:
    """The table of times, which differs from one machine and one execution to the next."""
    columns: list[Column] = [
        *name_columns(study),
        ("parameters", lambda c: first_value(c, "parameters")),
        ("seconds a run", lambda c: mean_cell(c, "seconds", 1, 0)),
        ("latency (ms, batch 1)", latency_cell),
        ("view (ms a window)", lambda c: mean_cell(c, "view_ms", 1, 2)),
    ]
    total = math.fsum(value for row in study.rows if (value := number(row, "seconds")) is not None)
    notes = [f"All runs together: {duration(total)}."] if total else []
    notes += [f"Wall time of the study: {duration(seconds)}."] if seconds is not None else []
    if beside := max((int(found) for row in study.rows if (found := number(row, BESIDE)) is not None), default=0):
        notes.append(
            f"{MARK} measured while the study may have run {counted(beside, 'other job')} on this machine, and so too "
            "long; latencies to compare need --jobs 1."
        )
    parts = [f"# {name}: times", " ".join(notes), table(columns, study.known) if study.known else "No run finished."]
    return "\n\n".join(part for part in parts if part) + "\n"


def latency_cell(condition: Condition) -> str:
    """Latency in ms, marked where it was measured beside other jobs."""
    text = mean_cell(condition, "latency_ms", 1, 2)
    return f"{text} {MARK}" if text != NONE and any(condition.values(BESIDE)) else text
