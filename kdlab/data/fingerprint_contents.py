"""What the fingerprint of a data module holds: data set, split, scaling, classes and channels, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdlab.data.cross_fit import LEFT_OUT
from kdlab.data.prepared import Prepared
from kdlab.data.splits import STAGES


def fingerprint_contents(
    name: str, ready: Prepared, settings: Mapping[str, Any], drop_classes: Sequence[str] | None
) -> dict[str, Any]:
    """What distinguishes a data set, its split and its scaling, as plain values for the fingerprint.

    Args:
        name: of the data set.
        ready: its windows, split, scaling and classes.
        settings: what else the split depends on (seed), and what else is in the data.
        drop_classes: names of the classes that are left out of everything.
    """
    data, split = ready.data, ready.split
    rate = data.sampling_rate
    scale: dict[str, dict[str, Any]] = {}
    for source, scaler in ready.scalers.items():
        scale[source] = {"offset": scaler.offset.tolist(), "divisor": scaler.divisor.tolist()}
        if scaler.clip:
            scale[source]["clip"] = True
    result: dict[str, Any] = {
        "dataset": str(name),
        "window": data.window,
        "step": data.step,
        "grouping": split.grouping,
        **{stage: list(split.groups[stage]) for stage in STAGES},
        **settings,
        "scale": scale,
        "classes": [str(c) for c in ready.classes],
        "channels": {source: [str(c) for c in names] for source, names in data.channels.items()},
        "sampling_rate": {s: float(r) for s, r in rate.items()} if isinstance(rate, dict) else rate,
    }
    if data.labels != "one":
        result["labels_per_window"] = data.labels
    if "unknown" in split.groups:
        result["unknown_classes"] = [str(c) for k, c in enumerate(data.classes) if k not in ready.known]
        result["unknown"] = list(split.groups["unknown"])
    if "unlabelled" in split.groups:
        result["unlabelled"] = list(split.groups["unlabelled"])
        result["unlabelled_windows"] = len(split.rows["unlabelled"])
    if LEFT_OUT in split.groups:
        result[LEFT_OUT] = list(split.groups[LEFT_OUT])
    if drop_classes:
        result["drop_classes"] = sorted(drop_classes)
    if any(ready.merged.values()):  # how many windows of each class, and of people, who are not named here
        people = sum(ready.merged["subjects"].values())
        result["merged"] = {"labels": ready.merged["labels"], "subjects": people}
    return result
