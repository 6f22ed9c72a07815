"""How to read the tables of a study, in plain words."""

from __future__ import annotations

from collections import Counter

from kdlab.study.chosen import rules_in_words
from kdlab.study.conditions import is_shared, natural
from kdlab.study.equal_updates import OTHER
from kdlab.study.report_cells import Findings, unit_of, windows_of


def how_to_read(study: Findings) -> str:
    """How to read the tables, in plain words."""
    if not study.known:
        return ""
    folds = unit_of(study) == "folds"
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
    if any(row.get("best_epoch") is not None for row in study.rows):
        text.append(rules_in_words(study.rows))
    sizes = [count for count in windows_of(study).values() if count.most]
    if sizes and (smallest := min(sizes, key=lambda count: count.least)).least < 1000:
        points = dict.fromkeys(f"{100 / count:.2g}" for count in (smallest.most, smallest.least))
        text.append(
            f"One test window {'of the smallest fold ' if folds else ''}is {' to '.join(points)} points"
            f"{'' if smallest.least == smallest.most else ', by the number of windows of the row'}."
        )
    if absent := _absent(study):
        text.append(
            "F1 is the mean over the classes that occur as label or prediction. Without test windows of a class are "
            f"{absent}: there, a single window that is predicted as such a class lowers F1 by a large step, since the "
            "mean is then over one more class, whose F1 is 0. Accuracy, and F1 by class, have no such step."
        )
    text += _reading_differences(study, folds)
    seeds = {row["seed"] for row in study.rows}
    if len(seeds) > 1:
        text += _reading_teachers(study, folds)
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


def _reading_teachers(study: Findings, folds: bool) -> list[str]:
    """Which teachers all seeds share, so that a spread over seeds is not theirs."""
    teachers = [c for c in study.known if c.stage == "teacher"]
    shared = dict.fromkeys(c.run for c in teachers if is_shared(c.rows))
    others = dict.fromkeys(c.run for c in teachers if not is_shared(c.rows))
    where = " of a fold" if folds else ""
    if not shared:
        return []
    if not others:
        return [f"Teachers are shared by the seeds{where}: the spread over seeds is that of the students alone."]
    are = "is" if len(shared) == 1 else "are"
    return [
        f"Of the teachers, {', '.join(shared)} {are} shared by the seeds{where}, and the others are one per seed. The "
        "spread over seeds is that of the students alone only where all of their teachers are shared."
    ]


def _reading_differences(study: Findings, folds: bool) -> list[str]:
    if not study.differences:
        return []
    percent = f"{100 * study.confidence:g} %"
    shown = [difference for difference in study.differences.values() if difference.mean is not None]
    intervals = sum(difference.low is not None for difference in study.differences.values())
    text = [
        f"Differences are paired over the same seeds and folds, with {percent} t intervals over {unit_of(study)}. One "
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
    if len(shown) < len(study.differences):
        text.append(
            f"*{OTHER.capitalize()}*: the two rows had unequal numbers of updates, so their difference would tell of "
            "the length of training, too. Read the difference to the control of the same number."
        )
    if intervals < len(shown):
        text.append("A difference without an interval has too few units for one; its note below says why.")
    if folds:
        text.append(
            "Folds share training subjects, so the intervals over them are approximate and rather too narrow (Bengio "
            "and Grandvalet 2004)."
        )
    return text


def _absent(study: Findings) -> str:
    """Folds whose test people have no windows of some class, with these classes."""
    found: dict[str, Counter[str]] = {}
    rows: Counter[str] = Counter()
    for row in study.rows:
        classes = row.get("classes") or {}
        if row.get("test_f1") is not None and "hits" in classes:
            names = [name for name, windows in zip(classes["names"], classes["support"], strict=True) if not windows]
            found.setdefault(str(row["fold"]), Counter()).update(names)
            rows[str(row["fold"])] += 1

    def told(fold: str) -> str:
        return ", ".join(name if n == rows[fold] else f"{name} in some rows" for name, n in found[fold].items())

    return "; ".join(f"{fold or 'the split'} ({told(fold)})" for fold in sorted(found, key=natural) if found[fold])


def _incomplete(study: Findings) -> list[str]:
    """Conditions with fewer seeds and folds than others of their kind."""
    most: dict[bool, int] = {}
    for condition in study.known:
        shared = is_shared(condition.rows)
        most[shared] = max(most.get(shared, 0), len(condition.rows))
    return [c.title for c in study.known if len(c.rows) < most[is_shared(c.rows)]]
