"""Figures of a study: which there are, and those with one row per condition. Accuracies are in percent.

Colours are those of Okabe and Ito, which colour-blind readers tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from kdlab.evaluate.plots import plot_reliability, plot_robustness
from kdlab.study.conditions import Condition, axis_labels
from kdlab.study.differences import comparisons
from kdlab.study.plot_grids import plot_axis, plot_grid, plot_runs
from kdlab.study.plot_rows import plot_accuracy, plot_differences
from kdlab.study.pooled import reliability, robustness

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def stems_of(axes: Iterable[str]) -> list[str]:
    """The names without ending of all figures that `figures_of` may give for a study with these axes.

    >>> stems_of(["size"])
    ['accuracy', 'differences', 'robustness', 'reliability', 'axis_size', 'runs_size']
    """
    axes = list(axes)
    lines = [f"{kind}_{axis}" for axis in axes for kind in ("axis", "runs")]
    grids = [f"grid_{first}_{second}" for first, second in combinations(axes, 2)]
    return ["accuracy", "differences", "robustness", "reliability", *lines, *grids]


def figures_of(
    known: Sequence[Condition],
    *,
    baselines: Sequence[str] = ("scratch", "kd"),
    axes: Mapping[str, Sequence[str]] | None = None,
    confidence: float = 0.95,
    metric: str = "test_accuracy",
) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    """What there is to draw: (file name without ending, caption, what draws it).

    Args:
        known: the conditions of the study.
        baselines: runs that the others are compared with.
        axes: axis -> its labels in the order of the file.
        confidence: of the intervals.
        metric: an accuracy, as a fraction.
    """
    known = [condition for condition in known if condition.values(metric)]
    rows = [row for condition in known for row in condition.rows]
    if not known:
        return
    yield "accuracy", "Test accuracy of every run", lambda: plot_accuracy(known, metric)
    found = comparisons([c for c in known if c.stage != "teacher"], baselines, metric, confidence)
    differences = {key: difference for key, difference in found.items() if difference.mean is not None}
    if differences:
        caption = f"Paired differences to {' and '.join(dict.fromkeys(baseline for _, baseline in differences))}"
        yield "differences", caption, _bind(plot_differences, known, differences, confidence)
    labels = axis_labels(rows, axes)
    for axis in labels:
        if lines := [condition for condition in known if list(condition.labels) == [axis]]:
            flat = [condition for condition in known if not condition.labels and condition.run in baselines]
            yield (
                f"axis_{axis}",
                f"Test accuracy along {axis}",
                _bind(plot_axis, lines, axis, labels[axis], flat, metric),
            )
            if len({condition.run for condition in lines}) > 1:
                caption = f"Test accuracy of the runs over {axis}"
                yield f"runs_{axis}", caption, _bind(plot_runs, lines, axis, labels[axis], metric)
    for first, second in combinations(labels, 2):
        if cells := [condition for condition in known if {first, second} <= condition.labels.keys()]:
            caption = f"Test accuracy over {first} and {second}"
            arguments = (cells, (first, labels[first]), (second, labels[second]), metric)
            yield f"grid_{first}_{second}", caption, _bind(plot_grid, *arguments)
    if curves := robustness(known, metric):
        yield "robustness", "Test accuracy under corruption", _bind(plot_robustness, curves)
    if bins := reliability(known):
        yield "reliability", "Calibration, pooled over seeds and folds", _bind(plot_reliability, bins)


def _bind(draw: Callable[..., Figure], *arguments: Any) -> Callable[[], Figure]:
    return lambda: draw(*arguments)
