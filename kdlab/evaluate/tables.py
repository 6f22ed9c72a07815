"""Evaluations as Markdown tables, one row per net."""

from __future__ import annotations

import math
from collections.abc import Mapping

from kdlab.evaluate.evaluation import SEVERITIES, Evaluation
from kdlab.evaluate.markdown import markdown
from kdlab.functional import SCORES
from kdlab.methods.selection import in_words


def summary(evaluations: Mapping[str, Evaluation]) -> str:
    """Quality, calibration, robustness at the highest severity, and cost; what was not measured is left out.

    Args:
        evaluations: name of the row -> evaluation.
    """
    rows = []
    for name, one in evaluations.items():
        s = one.scalars
        row = {"run": name, "view": str(one.description.get("view", "")), "windows": f"{len(one.target):,}"}
        row |= {"weights": in_words(rule)} if (rule := one.description.get("selection")) else {}
        row |= {"accuracy %": _percent(s["accuracy"]), "F1 %": _percent(s["f1"])}
        row |= {"mean AP %": _percent(s["map"])} if _known(s.get("map")) else {}
        row |= {"NLL": f"{s['nll']:.3f}", "ECE %": _percent(s["ece"])}
        if _known(s.get("v_measure")):
            row["V-measure"] = f"{s['v_measure']:.2f}"
        row |= {f"{kind} {SEVERITIES[-1]} %": _percent(curve[-1]) for kind, curve in one.robustness.items()}
        open_set = {score: s.get(f"open_set_auroc_{score}") for score in SCORES}
        row |= {f"open-set AUROC %, {score}": _percent(v) for score, v in open_set.items() if v is not None}
        rows.append(row | _cost(one))
    return markdown(rows)


def robustness(evaluations: Mapping[str, Evaluation]) -> str:
    """Accuracy in percent without corruption and at every severity of each kind."""
    rows = []
    for name, one in evaluations.items():
        row = {"run": name, "clean": _percent(one.scalars["accuracy"])}
        for kind, curve in one.robustness.items():
            row |= {f"{kind} {s}": _percent(value) for s, value in zip(SEVERITIES, curve[1:], strict=True)}
        rows.append(row)
    return markdown(rows)


def cost(evaluations: Mapping[str, Evaluation]) -> str:
    """Parameters, multiply-accumulates and time of net and view for one window, and the ratio to the least."""
    known = {name: one for name, one in evaluations.items() if "macs" in one.scalars}
    timed = {name: one.scalars for name, one in known.items() if "view_ms" in one.scalars}
    total = {name: s["view_ms"] + s["latency_ms"] for name, s in timed.items()}
    rows = []
    for name, one in known.items():
        row = {"run": name, "method": str(one.description.get("method", "")), "view": one.description.get("view", "")}
        least = min(other.scalars["macs"] for other in known.values())
        row |= _cost(one) | ({"view + net ms": f"{total[name]:.2f}"} if name in total else {})
        row["MACs, x least"] = f"{one.scalars['macs'] / least:.1f}"
        rows.append(row | ({"ms, x least": f"{total[name] / min(total.values()):.1f}"} if name in total else {}))
    return markdown(rows)


def per_class(evaluations: Mapping[str, Evaluation]) -> str:
    """F1 in percent and number of windows of each class."""
    rows = []
    for name, one in evaluations.items():
        cells = zip(one.classes, one.per_class["f1"], one.per_class["support"], strict=True)
        rows.append({"run": name} | {label: f"{_percent(f1)} ({support:.0f})" for label, f1, support in cells})
    return markdown(rows)


def by_class(evaluations: Mapping[str, Evaluation]) -> str:
    """True and false positives and negatives of each class, its average precision and calibration error.

    For windows with any number of labels.
    """
    rows = []
    for name, one in evaluations.items():
        for k, label in enumerate(one.classes):
            ((absent, wrong), (missed, hit)) = one.confusion[k].tolist()
            row = {"run": name, "class": label, "TP": f"{hit:,}", "FN": f"{missed:,}", "FP": f"{wrong:,}"}
            row["TN"] = f"{absent:,}"
            precision = one.per_class["average_precision"][k]
            row["average precision %"] = _percent(precision) if _known(precision) else ""
            rows.append(row | {"ECE %": _percent(one.per_class["ece"][k])})
    return markdown(rows)


def _cost(one: Evaluation) -> dict[str, str]:
    s = one.scalars
    if "macs" not in s:
        return {}
    return {
        "parameters": f"{s['parameters']:,.0f}",
        "MACs (M)": f"{s['macs'] / 1e6:.2f}",
        "net ms": f"{s['latency_ms']:.2f}",
        **({"view ms": f"{s['view_ms']:.2f}"} if "view_ms" in s else {}),
    }


def _known(value: float | None) -> bool:
    """Whether a metric has a value; what was not finite is None after it was read from a file."""
    return value is not None and math.isfinite(value)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
