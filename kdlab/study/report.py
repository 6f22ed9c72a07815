"""The results of a study as files: two tables for programs, two for people, and pictures.

Nothing in them but ``times.*`` depends on when, where or in which order the runs were made: an interrupted and resumed
study writes the same bytes as an uninterrupted one.
"""

from __future__ import annotations

import csv
import io
import math
import statistics as plain
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kdlab.evaluate.evaluation import KINDS, SEVERITIES
from kdlab.files import cell as csv_cell
from kdlab.files import replacing
from kdlab.functional import SCORES
from kdlab.study.plots import pictures, severities
from kdlab.study.statistics import (
    Condition,
    Difference,
    FoldMeans,
    Row,
    axis_labels,
    comparisons,
    conditions,
    fold_means,
    independent,
    is_shared,
    natural,
    number,
    summarise,
)

FIRST = ("run", "stage")
THEN = ("fold", "seed", "shared", "test_windows", "view", "parameters", "macs", "best_epoch")
METRICS = (
    *("val_accuracy", "val_f1", "test_accuracy", "test_f1", "test_nll", "test_ece", "test_v_measure"),
    *(f"test_accuracy_{kind}{severity}" for kind in KINDS for severity in SEVERITIES),
    *(f"test_open_set_auroc_{score}" for score in SCORES),
)
TIMES = ("seconds", "latency_ms", "view_ms")
METRIC = "test_accuracy"
UNEQUAL = 1.1  # largest fold / smallest fold, above which both weightings are shown
TINY = 0.1  # of the median fold, below which the mean without the smallest fold is shown too
NOISY = f"{METRIC}_noise{SEVERITIES[-1]}"
LAST = f"{METRIC}_last"
NONE = "–"

Column = tuple[str, Callable[[Condition], str]]


@dataclass(frozen=True)
class _Study:
    """What the parts of the report share."""

    known: list[Condition]
    axes: dict[str, list[str]]
    baselines: list[str]
    published: Mapping[str, Mapping[str, Any]]
    confidence: float

    @property
    def rows(self) -> list[Row]:
        return [row for condition in self.known for row in condition.rows]

    @cached_property
    def differences(self) -> dict[tuple[str, str], Difference]:
        """(title of a condition, baseline) -> difference of the test accuracy."""
        return comparisons(self.known, self.baselines, METRIC, self.confidence)


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
) -> Path:
    """Write ``results.csv``, ``results.md``, ``times.csv``, ``times.md`` and the pictures; each file appears whole.

    Args:
        rows: one dict a finished run, see :mod:`kdlab.study.statistics`; nested values are not written.
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
        draw: whether to make the pictures.
        more: (file, caption) of further pictures in the folder.

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
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    known = conditions(rows, order, axes)
    there = {condition.run for condition in known}
    study = _Study(
        known,
        axis_labels([row for condition in known for row in condition.rows], axes),
        [baseline for baseline in baselines if baseline in there],
        published or {},
        confidence,
    )
    _write(folder / "results.csv", _csv(study, times=False))
    _write(folder / "times.csv", _csv(study, times=True))
    _write(folder / "times.md", _times(study, name, seconds))
    drawn = _draw(study, axes, folder) if draw else []
    parts = [
        f"# {name}",
        description.strip(),
        _what_was_done(study, subjects or {}),
        _main_table(study),
        _reading(study),
        *_differences(study),
        *_fold_weights(study),
        *_open_set(study),
        *_more(study),
        *(f"## {caption}\n\n![{caption}]({file})" for file, caption in (*drawn, *more)),
        *_failed(failures),
    ]
    _write(folder / "results.md", "\n\n".join(part for part in parts if part) + "\n")
    return folder / "results.md"


def _write(path: Path, content: str | bytes) -> None:
    """Replace a file at once, so that nobody reads half of it."""
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def _draw(study: _Study, axes: Mapping[str, Sequence[str]] | None, folder: Path) -> list[tuple[str, str]]:
    """Save the pictures; (file, caption) of each."""
    files = []
    options: dict[str, Any] = {"baselines": study.baselines, "axes": axes, "confidence": study.confidence}
    for stem, caption, draw in pictures(study.known, **options):
        file = "".join(c if c.isalnum() or c in "-_" else "-" for c in stem) + ".png"
        content = io.BytesIO()
        draw().savefig(content, format="png", dpi=120)
        _write(folder / file, content.getvalue())
        files.append((file, caption))
    return files


# --------------------------------------------------------------------------------------------------------- CSV files
def _csv(study: _Study, times: bool) -> str:
    """One line a run: what it is, and either its metrics or its times."""
    rows = study.rows
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


# ---------------------------------------------------------------------------------------------------- Markdown parts
def _table(columns: Sequence[Column], known: Iterable[Condition]) -> str:
    """A table with one line a condition, without the columns that are empty throughout."""
    lines = [[_escape(cell(condition)) for _, cell in columns] for condition in known]
    kept = [i for i in range(len(columns)) if any(line[i] not in ("", NONE) for line in lines)]
    head = [columns[i][0] for i in kept]
    rule = ["---" if title in ("run", "view") else "---:" for title in head]
    return "\n".join(_line(cells) for cells in (head, rule, *([line[i] for i in kept] for line in lines)))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: Any) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _names(study: _Study) -> list[Column]:
    """The columns that say which condition a line is."""

    def label(axis: str) -> Column:
        return axis, lambda c: c.labels.get(axis, NONE)

    return [("run", lambda c: c.run), *map(label, study.axes), ("view", lambda c: _first(c, "view"))]


def _first(condition: Condition, key: str) -> str:
    found = next((row[key] for row in condition.rows if row.get(key) is not None), NONE)
    return f"{found:,}" if isinstance(found, int) else str(found)


def _mean(condition: Condition, metric: str, scale: float = 100, digits: int = 1) -> str:
    """``mean ± standard deviation``, with the number of runs where some lack the metric."""
    summary = summarise(condition.values(metric))
    if summary.mean is None:
        return NONE
    deviation = summary.standard_deviation
    spread = "" if deviation is None else f" ± {scale * deviation:.{digits}f}"
    missing = f" (of {summary.n})" if summary.n < len(condition.rows) else ""
    return f"{scale * summary.mean:.{digits}f}{spread}{missing}"


def _standard_error(condition: Condition) -> str:
    error = summarise(independent(condition.rows, METRIC)[1]).standard_error
    return NONE if error is None else f"{100 * error:.1f}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def _interval(difference: Difference | None) -> str:
    if difference is None or difference.mean is None:
        return NONE
    if difference.low is None or difference.high is None:
        return _points(difference.mean)
    text = f"{_points(difference.mean)} [{_points(difference.low)}, {_points(difference.high)}]"
    return f"**{text}**" if difference.excludes_zero else text


def _unit(study: _Study) -> str:
    return "folds" if len(_windows(study)) > 1 else "seeds"


def _windows(study: _Study) -> dict[str, int | None]:
    """Fold -> its test windows, in natural order."""
    found = {str(row["fold"]): row.get("test_windows") for row in study.rows}
    return {fold: found[fold] for fold in sorted(found, key=natural)}


def _what_was_done(study: _Study, subjects: Mapping[str, Sequence[str]]) -> str:
    rows = study.rows
    if not rows:
        return "No run finished."
    seeds = sorted({row["seed"] for row in rows if row["seed"] is not None})
    windows = _windows(study)
    text = f"{_count(len(rows), 'finished run')}; {_count(len(seeds), 'seed')} ({', '.join(map(str, seeds))})"
    if len(windows) == 1:
        ((fold, count),) = windows.items()
        tested = f"{count:,} test windows" if count else ""
        return f"{text}; {', '.join(part for part in (fold, tested) if part) or 'one split'}."
    lines = [
        _line(
            (
                _escape(fold),
                *([_escape(", ".join(map(str, subjects.get(fold, ()))))] if subjects else []),
                f"{n or 0:,}",
            )
        )
        for fold, n in windows.items()
    ]
    head = ["fold", *(["test subjects"] if subjects else []), "test windows"]
    rule = ["---", *(["---"] if subjects else []), "---:"]
    return "\n".join([f"{text}; {len(windows)} folds.", "", _line(head), _line(rule), *lines])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("s" if number != 1 else "")


def _main_table(study: _Study) -> str:
    if not study.known:
        return ""
    notes = {name: f"[^{i}]" for i, name in enumerate(_matched(study), start=1)}

    def difference(baseline: str) -> Column:
        title = f"minus {baseline} [{100 * study.confidence:g} %]"
        return title, lambda c: _interval(study.differences.get((c.title, baseline)))

    def published(condition: Condition) -> str:
        found = study.published.get(condition.title)
        return NONE if found is None else f"{found['value']}{notes[condition.title]}"

    columns: list[Column] = [
        *_names(study),
        ("parameters", lambda c: _first(c, "parameters")),
        ("runs", lambda c: str(len(c.rows))),
        ("val accuracy", lambda c: _mean(c, "val_accuracy")),
        ("test accuracy", lambda c: _mean(c, METRIC)),
        (f"standard error over {_unit(study)}", _standard_error),
        ("test F1", lambda c: _mean(c, "test_f1")),
        ("NLL", lambda c: _mean(c, "test_nll", 1, 3)),
        ("ECE", lambda c: _mean(c, "test_ece")),
        (f"accuracy, noise {SEVERITIES[-1]}", lambda c: _mean(c, NOISY)),
        *map(difference, study.baselines),
        ("published", published),
    ]
    return "\n\n".join(part for part in ("## Results", _table(columns, study.known), _footnotes(study)) if part)


def _matched(study: _Study) -> list[str]:
    return [condition.title for condition in study.known if condition.title in study.published]


def _footnotes(study: _Study) -> str:
    matched = _matched(study)
    lines = [f"[^{i}]: {_source(study.published[name])}" for i, name in enumerate(matched, start=1)]
    rest = [
        f"{name} {study.published[name]['value']} ({_source(study.published[name])})"
        for name in study.published
        if name not in matched
    ]
    others = [f"Published, without a row here: {'; '.join(map(_escape, rest))}."] if rest else []
    return "\n\n".join([*(["\n".join(lines)] if lines else []), *others])


def _source(found: Mapping[str, Any]) -> str:
    note = f" {found['note']}" if found.get("note") else ""
    return _escape(f"{str(found.get('source', 'no source given')).rstrip('.')}.{note}").rstrip(".")


def _reading(study: _Study) -> str:
    """How to read the tables, in plain words."""
    if not study.known:
        return ""
    folds = _unit(study) == "folds"
    text = [
        "Accuracy, F1 and expected calibration error (ECE) are in percent, NLL in nats, differences in points.",
        f"*±* is the standard deviation over {'all seeds and folds' if folds else 'the seeds'}: the spread of single "
        "runs, not the uncertainty of their mean.",
        "The *standard error* is that of the mean over folds: standard deviation of the fold means / √folds. Seeds of "
        "one fold share its test subjects, so they are averaged first and not counted as independent."
        if folds
        else "The *standard error* is that of the mean over seeds: standard deviation / √seeds. There is one split, so "
        "it and the intervals tell how training varies, and nothing about other test subjects.",
    ]
    sizes = [count for count in _windows(study).values() if count]
    if sizes and min(sizes) < 1000:
        text.append(f"One test window {'of the smallest fold ' if folds else ''}is {100 / min(sizes):.2g} points.")
    text += _reading_differences(study, folds)
    seeds = {row["seed"] for row in study.rows}
    if len(seeds) > 1 and any(c.stage == "teacher" and is_shared(c.rows) for c in study.known):
        where = " of a fold" if folds else ""
        text.append(f"Teachers are shared by the seeds{where}: the spread over seeds is that of the students alone.")
    controls = dict.fromkeys(c.run for c in study.known if c.stage == "scratch" or c.run in study.baselines)
    if controls:
        text.append(
            f"Controls: {', '.join(controls)}. A method has shown something only where it is better than these."
        )
    if incomplete := _incomplete(study):
        text.append(
            f"With fewer runs than others: {', '.join(incomplete)}. Those means are over other seeds or folds; only "
            "the paired differences compare like with like."
        )
    return "\n".join(["How to read this:", "", *(f"- {line}" for line in text)])


def _reading_differences(study: _Study, folds: bool) -> list[str]:
    if not study.differences:
        return []
    percent = f"{100 * study.confidence:g} %"
    intervals = sum(difference.low is not None for difference in study.differences.values())
    text = [
        f"Differences are paired over the same seeds and folds, with {percent} t intervals over {_unit(study)}. One "
        "whose interval includes 0 is not shown to be real; those whose interval does not are in bold."
    ]
    if intervals > 1:
        chance = (1 - study.confidence) * intervals
        each = 100 * (1 - (1 - study.confidence) / intervals)
        text.append(
            f"Several comparisons are made: of {intervals} intervals about {chance:.1f} would leave out 0 by chance if "
            f"no method differed at all. To be {percent} sure of all of them at once, each would have to be one of "
            f"{each:.4g} %, and so be wider. The best of many is flattered by having been chosen."
        )
    if intervals < len(study.differences):
        text.append("A difference without an interval has too few units for one; its note below says why.")
    if folds:
        text.append(
            "Folds share training subjects, so the intervals over them are approximate and rather too narrow (Bengio "
            "and Grandvalet 2004)."
        )
    return text


def _incomplete(study: _Study) -> list[str]:
    """Conditions with fewer seeds and folds than others of their kind."""
    most: dict[bool, int] = {}
    for condition in study.known:
        shared = is_shared(condition.rows)
        most[shared] = max(most.get(shared, 0), len(condition.rows))
    return [c.title for c in study.known if len(c.rows) < most[is_shared(c.rows)]]


def _differences(study: _Study) -> list[str]:
    if not study.differences:
        return []
    usual = Counter(difference.method for difference in study.differences.values()).most_common(1)[0][0]
    head = ["run", "minus", "difference", "pairs", "better / worse / equal", "left out", "note"]
    lines = [
        [
            _escape(title),
            _escape(baseline),
            _interval(difference),
            str(difference.pairs),
            f"{difference.wins} / {difference.losses} / {difference.pairs - difference.wins - difference.losses}",
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
    return ["## Differences of the test accuracy", note, "\n".join(map(_line, (head, rule, *lines)))]


def _fold_weights(study: _Study) -> list[str]:
    """Both weightings, where the folds are unequal."""
    windows = {fold: count for fold, count in _windows(study).items() if count}
    if len(windows) < 2 or max(windows.values()) <= UNEQUAL * min(windows.values()):
        return []
    means: dict[str, FoldMeans] = {c.title: fold_means(c.rows, METRIC) for c in study.known}
    smallest = min(windows, key=lambda fold: windows[fold])

    def percent(value: float | None) -> str:
        return NONE if value is None else f"{100 * value:.1f}"

    def of_fold(fold: str) -> Column:
        return fold, lambda c: percent(means[c.title].folds.get(fold))

    def without(condition: Condition) -> str:
        rest = [row for row in condition.rows if str(row["fold"]) != smallest]
        return percent(fold_means(rest, METRIC).fold_weighted)

    columns: list[Column] = [
        *_names(study),
        ("window-weighted", lambda c: percent(means[c.title].window_weighted)),
        ("fold-weighted", lambda c: percent(means[c.title].fold_weighted)),
    ]
    if windows[smallest] < TINY * plain.median(windows.values()):
        columns.append((f"fold-weighted without {smallest} ({windows[smallest]} windows)", without))
    columns += map(of_fold, windows)
    note = (
        f"The folds have {min(windows.values()):,} to {max(windows.values()):,} test windows. *Window-weighted*: every "
        "window counts the same; *fold-weighted*: every fold, and so every group of subjects, counts the same (as in "
        "the other tables where no run is missing)."
    )
    return ["## Test accuracy by fold", note, _table(columns, study.known)]


def _open_set(study: _Study) -> list[str]:
    """How well each score tells unknown classes apart, where the data hold some out."""

    def auroc(score: str) -> Column:
        return score, lambda c: _mean(c, f"test_open_set_auroc_{score}")

    columns = [auroc(score) for score in SCORES]
    if all(cell(condition) == NONE for _, cell in columns for condition in study.known):
        return []
    note = (
        "Open-set AUROC (%): how probably a test window of a known class scores higher than one of an unknown class; "
        "50 is chance. The scores are the largest class probability, the largest logit, the log-sum-exp of the logits "
        "and the largest cosine of embedding and class weights."
    )
    return ["## Unknown classes", note, _table([*_names(study), *columns], study.known)]


def _more(study: _Study) -> list[str]:
    """Robustness, embedding and size."""

    columns: list[Column] = [
        *map(_corrupted, KINDS),
        ("V-measure", lambda c: _mean(c, "test_v_measure", 1, 3)),
        ("best epoch", _epochs),
        ("test accuracy, last epoch", lambda c: _mean(c, LAST)),
        ("multiply-accumulates", lambda c: _first(c, "macs")),
    ]
    if all(cell(condition) == NONE for _, cell in columns for condition in study.known):
        return []
    note = (
        f"Mean test accuracy (%) under corruption of severity {' / '.join(map(str, SEVERITIES))}; V-measure of the "
        "embedding's clusters; the epochs that validation chose, and the accuracy of the last epoch beside it; "
        "multiply-accumulates of one window."
    )
    return ["## Robustness, embedding and cost", note, _table([*_names(study), *columns], study.known)]


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


def _failed(failures: Iterable[tuple[str, str]]) -> list[str]:
    lines = [f"- **{_escape(name)}**: {_escape(error)[:400]}" for name, error in failures]
    return (
        [
            "## Failed",
            f"{_count(len(lines), 'run')} failed and {'is' if len(lines) == 1 else 'are'} in no table.",
            "\n".join(lines),
        ]
        if lines
        else []
    )


def _times(study: _Study, name: str, seconds: float | None) -> str:
    """The table of times, which differs from one machine and one execution to the next."""
    columns: list[Column] = [
        *_names(study),
        ("parameters", lambda c: _first(c, "parameters")),
        ("seconds a run", lambda c: _mean(c, "seconds", 1, 0)),
        ("latency (ms, batch 1)", lambda c: _mean(c, "latency_ms", 1, 2)),
        ("view (ms a window)", lambda c: _mean(c, "view_ms", 1, 2)),
    ]
    total = math.fsum(value for row in study.rows if (value := number(row, "seconds")) is not None)
    notes = [f"All runs together: {_duration(total)}."] if total else []
    notes += [f"Wall time of the study: {_duration(seconds)}."] if seconds is not None else []
    parts = [f"# {name}: times", " ".join(notes), _table(columns, study.known) if study.known else "No run finished."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _duration(seconds: float) -> str:
    """
    >>> _duration(59.6), _duration(3720)
    ('1 min', '1 h 2 min')
    """
    minutes = round(seconds / 60)
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
