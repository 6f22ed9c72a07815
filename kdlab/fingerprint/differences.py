"""Differences between two fingerprints: of the split, of the inputs of a net, and leaks between training and test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from kdlab.fingerprint.people import comparable


def split_differences(trained: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """The differences between the data that a net was trained on and the data of this run, as text.

    Compared are the data set, the step, the grouping, the held-out (validation and test) subjects or recordings, and
    what :func:`input_differences` compares.
    """
    trained, current = comparable(trained, current)
    differences = []
    for key in ("dataset", "step", "grouping"):
        if trained.get(key) != current.get(key):
            differences.append(f"{key} {trained.get(key)!r}, here {current.get(key)!r}")
    group = f"{current.get('grouping', 'subject')}s"
    for part in ("val", "test"):
        theirs, ours = set(trained.get(part, ())), set(current.get(part, ()))
        if theirs != ours:
            differences.append(f"its {part} {group} are {_listed(theirs)}, here {_listed(ours)}")
        leak = (set(trained.get("train", ())) | set(trained.get("unlabelled", ()))) & ours
        if leak:
            differences.append(f"it was trained on {group} {_listed(leak)}, which are held out here ({part})")
    without = set(current.get("unlabelled", ())) - set(current.get("train", ()))
    if named := without & set(trained.get("train", ())):
        differences.append(f"it was trained on the labels of {group} {_listed(named)}, which are not used here")
    return differences + input_differences(trained, current)


def input_differences(trained: Mapping[str, Any], current: Mapping[str, Any], same_split: bool = True) -> list[str]:
    """Where the input preprocessing differs from that of the training: length, rate, classes, channels, scaling.

    Args:
        trained: the fingerprint of the data that it was trained on.
        current: the fingerprint of the data at hand.
        same_split: compare the numbers of the scaling, too. Where they come from training windows, another split has
            others: without this, only whether data are scaled and clipped is compared.
    """
    trained, current = comparable(trained, current)
    differences = []
    for key in ("window", "sampling_rate"):
        if trained.get(key) != current.get(key):
            differences.append(f"its {key} is {trained.get(key)}, here {current.get(key)}")
    if trained.get("classes") != current.get("classes"):
        differences.append(
            f"its classes are {', '.join(trained.get('classes', ()))}, here {', '.join(current.get('classes', ()))}"
        )
    theirs, ours = (one.get("labels_per_window", "one") for one in (trained, current))
    if theirs != ours:
        differences.append(f"its labels per window are {theirs}, here {ours}")
    if trained.get("channels") != current.get("channels"):
        differences.append(f"its channels are {trained.get('channels')}, here {current.get('channels')}")
    elif not _same_scale(trained.get("scale"), current.get("scale"), same_split):
        differences.append(
            f"its data were scaled with other numbers ({_numbers(trained.get('scale'))}, here "
            f"{_numbers(current.get('scale'))})"
        )
    return differences


def leaks(trained: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """The subjects or recordings that a net was trained or selected on and that are test data here."""
    if trained.get("dataset") != current.get("dataset") or trained.get("grouping") != current.get("grouping"):
        return []
    trained, current = comparable(trained, current)
    seen = {*trained.get("train", ()), *trained.get("unlabelled", ()), *trained.get("val", ())}
    return sorted(seen & set(current.get("test", ())))


def _numbers(scale: Any) -> str:
    parts = []
    for source, numbers in (scale or {}).items():
        first = [f"{key} " + ", ".join(f"{v:.4g}" for v in numbers[key][:3]) for key in ("offset", "divisor")]
        parts.append(f"{source}: {'; '.join(first)}{', ...' if len(numbers['offset']) > 3 else ''}")
    return " / ".join(parts) or "none"


def _same_scale(a: Any, b: Any, numbers: bool) -> bool:
    if a is None or b is None:
        return a is b
    if set(a) != set(b):
        return False
    if not numbers:
        return all(_kind_of_scale(a[source]) == _kind_of_scale(b[source]) for source in a)
    for source in a:
        for key in ("offset", "divisor"):
            left, right = torch.tensor(a[source][key]), torch.tensor(b[source][key])
            if (
                a[source].get("clip") != b[source].get("clip")
                or left.shape != right.shape
                or not torch.allclose(left, right, rtol=1e-5, atol=1e-7)
            ):
                return False
    return True


def _kind_of_scale(scale: Mapping[str, Any]) -> tuple[int, bool, bool]:
    """How many channels are scaled, whether they are clipped, and whether they are scaled at all."""
    changed = any(v != 0 for v in scale["offset"]) or any(v != 1 for v in scale["divisor"])
    return len(scale["offset"]), bool(scale.get("clip")), changed


def _listed(items: set[Any]) -> str:
    names = sorted((str(i) for i in items), key=lambda s: (len(s), s))
    return "none" if not names else ", ".join(names[:12]) + (f", ... ({len(names)})" if len(names) > 12 else "")
