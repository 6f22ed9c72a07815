"""Figures that compare nets: robustness curves, reliability, embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdlab.evaluate.metrics import calibration_error, v_measure
from kdlab.figures.style import COLOURS, DASHES, MARKERS, new_figure
from kdlab.types import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLES = {
    "noise": "white noise",
    "missing": "missing instants",
    "both": "missing instants and noise",
    "shift": "shift in time",
}


def plot_robustness(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Accuracy over the severity of each kind of corruption, one panel per kind, one line per net.

    Lines are shifted a little sideways, so that equal ones can be seen.

    Args:
        curves: net -> kind -> accuracies (0 to 1) at severities 0 (clean), 1, 2, 3.

    Raises:
        InputError: when there is nothing to draw.
    """
    kinds = list(dict.fromkeys(kind for net in curves.values() for kind in net))
    if not kinds:
        raise InputError(
            "curves: must hold a net with a kind of corruption, but got none. Evaluate with robustness=True."
        )
    figure = new_figure(2.9 * len(kinds) + 0.6, 3.3 + 0.22 * math.ceil(len(curves) / 4), dpi=130)
    axes = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axis, kind in zip(axes, kinds, strict=True):
        for i, (name, net) in enumerate(curves.items()):
            if kind in net:
                aside = 0.04 * (i - (len(curves) - 1) / 2)
                axis.plot(
                    [severity + aside for severity in range(len(net[kind]))],
                    [100 * value for value in net[kind]],
                    label=name,
                    color=COLOURS[i % 8],
                    marker=MARKERS[(i + i // 8) % 8],
                    linestyle=DASHES[i // 8 % 4],
                    markersize=5,
                    linewidth=1.4,
                )
        axis.set_title(_TITLES.get(kind, kind), fontsize=10)
        axis.set_xticks(range(4), ["clean", "1", "2", "3"])
        axis.set_xlabel("severity")
        axis.grid(alpha=0.3, linewidth=0.5)
    axes[0].set_ylabel("accuracy (%)")
    handles = {h.get_label(): h for axis in axes for h in axis.get_lines()}
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=min(4, len(handles)), frameon=False)
    return figure


def plot_reliability(bins: Mapping[str, Mapping[str, NDArray[Any]]]) -> Figure:
    """Accuracy against confidence, one panel per net, and below it the number of windows with that confidence.

    Bars below the diagonal are overconfident, bars above it underconfident; bars of fewer windows are paler.

    Args:
        bins: net -> what :func:`kdlab.evaluate.reliability_bins` returns.

    Raises:
        InputError: when there is nothing to draw.
    """
    if not bins:
        raise InputError("bins: must hold at least one net, but got none. Add one.")
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    columns, rows = _grid(len(bins))
    figure = new_figure(2.6 * columns + 0.4, 3.5 * rows, dpi=130)
    panels = figure.subfigures(rows, columns, squeeze=False)
    for i, (name, net) in enumerate(bins.items()):
        _reliability(panels[i // columns, i % columns], name, net, left=i % columns == 0)
    handles = [
        Patch(color=COLOURS[0], label="accuracy"),
        Patch(facecolor="none", edgecolor=COLOURS[1], hatch="////", label="gap to the confidence"),
        Line2D([], [], color="black", linestyle="--", linewidth=0.9, label="calibrated"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, 2 * columns - 1), frameon=False, fontsize=8)
    return figure


def _reliability(panel: Any, name: str, net: Mapping[str, NDArray[Any]], *, left: bool) -> None:
    upper, lower = panel.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    width = 1 / len(net["count"])
    middle = (np.arange(len(net["count"])) + 0.5) * width
    share = net["count"] / net["count"].sum()
    accuracy, confidence = np.nan_to_num(net["accuracy"]), np.nan_to_num(net["confidence"])
    some = net["count"] > 0
    strength = 0.35 + 0.65 * np.minimum(1, share * len(share))
    for x, y, c, alpha in zip(middle[some], accuracy[some], confidence[some], strength[some], strict=True):
        upper.bar(x, y, width, color=COLOURS[0], alpha=alpha, edgecolor="white", linewidth=0.6)
        upper.bar(x, c - y, width, bottom=y, color="none", edgecolor=COLOURS[1], hatch="////", linewidth=0.6, alpha=0.8)
    upper.plot([0, 1], [0, 1], color="black", linewidth=0.9, linestyle="--")
    upper.set(xlim=(0, 1), ylim=(0, 1), xticks=np.linspace(0, 1, 6), yticks=np.linspace(0, 1, 6))
    upper.set_title(f"{name}\nECE {100 * calibration_error(net):.1f} %", fontsize=9)
    lower.bar(middle, 100 * share, width, color="0.45", edgecolor="white", linewidth=0.6)
    lower.set_xlabel("confidence", fontsize=9)
    lower.set_ylim(0, 100)
    if left:
        upper.set_ylabel("accuracy", fontsize=9)
        lower.set_ylabel("windows (%)", fontsize=9)
    for axis in (upper, lower):
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3, linewidth=0.5)
        axis.set_axisbelow(True)


def plot_embeddings(
    embeddings: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], classes: Sequence[str], most: int = 500, seed: int = 0
) -> Figure:
    """t-SNE figures of embeddings side by side, windows coloured by class, with the V-measure of each.

    Distances between far points, and the size and place of a cluster, mean nothing in such a figure.

    Args:
        embeddings: net -> embedding ``(N, D)`` and target ``(N,)``.
        classes: class names.
        most: so many windows at most are drawn, the same of every net on the same windows; the V-measure is of all.
        seed: of the choice and of t-SNE.

    Raises:
        InputError: when there is nothing to draw, or fewer than 3 windows.

    References:
        van der Maaten and Hinton, Visualizing Data using t-SNE, JMLR 9, 2008.
    """
    if not embeddings:
        raise InputError("embeddings: must hold at least one net, but got none. Add one.")
    columns, rows = _grid(len(embeddings))
    legend = math.ceil(len(classes) / (2 * columns))
    figure = new_figure(2.9 * columns, 3.0 * rows + 0.2 * legend + 0.1, dpi=130)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (name, (x, y)) in zip(axes, embeddings.items(), strict=False):
        points, label = _tsne(x, y, most, seed)
        for k in range(len(classes)):
            mine = points[label == k]
            style = {"color": COLOURS[k % 8], "marker": MARKERS[(k // 8 + k) % 8]}
            axis.scatter(*mine.T, s=11, alpha=0.75, linewidths=0, label=classes[k].replace("_", " "), **style)
        measure = v_measure(x, y)
        axis.set_title(name if math.isnan(measure) else f"{name}\nV-measure {measure:.2f}", fontsize=9)
        axis.set(xticks=[], yticks=[])
    for axis in axes[len(embeddings) :]:
        axis.set_axis_off()
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=min(len(classes), 2 * columns),
        frameon=False,
        fontsize=8,
        markerscale=1.6,
    )
    return figure


def _tsne(x: NDArray[Any], y: NDArray[Any], most: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.manifold import TSNE  # slow to import, and only wanted here

    if len(x) < 3 or x.ndim != 2 or x.shape[1] == 0:
        raise InputError(
            f"embeddings: must be (N, D) with N >= 3 and D >= 1, but got {x.shape}. Evaluate more windows."
        )
    picked = np.sort(np.random.default_rng(seed).permutation(len(x))[:most])
    perplexity = min(30.0, (len(picked) - 1) / 3)
    points = TSNE(perplexity=perplexity, random_state=seed, init="random" if x.shape[1] < 2 else "pca").fit_transform(
        x[picked]
    )
    return points, y[picked]


def _grid(count: int) -> tuple[int, int]:
    columns = count if count <= 4 else math.ceil(count / math.ceil(count / 4))
    return columns, math.ceil(count / columns)
