"""Whether the method of a run config trains on labelled windows alone, so that its epochs have fewer batches."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from kdlab.methods.distillation import Distillation
from kdlab.methods.made import Made
from kdlab.methods.receiving import Receiving
from kdlab.objective import Objective
from kdlab.objectives import CrossEntropy, SoftTargets


def labels_alone(model: Any) -> bool:
    """Whether all terms of a method read labels, see `Objective`; of an unknown class, False.

    Args:
        model: the part ``model`` of a run config.

    Example:
        >>> labels_alone("Supervised"), labels_alone({"class_path": "kdlab.KD"}), labels_alone("DKD")
        (True, False, True)
        >>> [labels_alone({"class_path": "AMC", "init_args": {"pairs": pairs}}) for pairs in ("labels", "predictions")]
        [True, False]
    """
    found, arguments = _class(model)
    if not isinstance(found, type) or (issubclass(found, Receiving) and found.label_free):
        return False
    if issubclass(found, Made):
        kind: Any = found.made_from
        fields = kind.declared()
        return bool(kind(**{name: value for name, value in arguments.items() if name in fields}).reads_labels)
    given = arguments.get("objective")
    if given is None:
        return SoftTargets.reads_labels if issubclass(found, Distillation) else CrossEntropy.reads_labels
    objective, _ = _class(given)
    return isinstance(objective, type) and issubclass(objective, Objective) and objective.reads_labels


def _class(value: Any) -> tuple[Any, Mapping[str, Any]]:
    """The class that a config names, and its arguments; None for one that is not found."""
    value = {"class_path": value} if isinstance(value, str) else value or {}
    module, _, name = str(value.get("class_path", "")).rpartition(".")
    places = [importlib.import_module(place) for place in ([module] if module else ["kdlab", "kdlab.methods"])]
    found = next((getattr(place, name) for place in places if hasattr(place, name)), None)
    return found, value.get("init_args") or {}
