"""Class weights of the label term: found in the training windows, and kept in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdlab.labelled import Labelled, balanced_positive_weights, balanced_weights
from kdlab.methods.windows import name_of
from kdlab.objective import Objective
from kdlab.types import InputError, Windows

#: where a checkpoint's description has the numbers
KEY = "class_weights"


def weight_classes(who: str, objective: Objective | None, windows: Windows, classes: int) -> None:
    """Find ``"balanced"`` class weights in the training windows, and check that there is one for each class.

    Of windows without a label, the objective learns that there are some.

    Args:
        who: name of the method.
        objective: its objective.
        windows: the data.
        classes: number of classes of the net.

    Raises:
        InputError: without counts, for a class without training windows, or for another number of classes.
    """
    if isinstance(objective, Labelled):
        objective.partly_labelled = windows.unlabelled_count > 0
    if not isinstance(objective, Labelled) or objective.class_weights is None:
        return
    if objective.class_weights == "balanced":
        counts = windows.class_counts
        if not len(counts):
            raise InputError(
                f"{who}: class_weights='balanced' must have the number of training windows of each class, but "
                f"{name_of(windows)} has no class_counts. List the weights, or add it."
            )
        if objective.many:
            labelled = windows.counts.get("train", {}).get("windows", 0)  # the index holds windows without a label, too
            count = labelled or len(windows.train_index)
            objective.use_weights(balanced_positive_weights(who, counts, count, windows.classes))
        else:
            objective.use_weights(balanced_weights(who, counts, windows.classes))
    weights = objective.label_weights
    if weights is not None and len(weights) != classes:
        raise InputError(
            f"{who}: class_weights must be one number for each of the {classes} classes, but got {len(weights)}. List "
            "them in the order of the classes."
        )


def check_label_term(objective: Objective | None) -> None:
    """Raise after a step whose label term had none of the options that are set."""
    if isinstance(objective, Labelled):
        objective.check_labels_used()


def described_weights(objective: Objective | None) -> dict[str, Any]:
    """The class weights as numbers, for the description in a checkpoint; nothing where there are none."""
    if not isinstance(objective, Labelled) or objective.label_weights is None:
        return {}
    return {KEY: list(objective.label_weights)}


def restore_weights(objective: Objective | None, described: Mapping[str, Any]) -> None:
    """Train on with the ``"balanced"`` class weights of a checkpoint."""
    if isinstance(objective, Labelled) and objective.class_weights == "balanced" and described.get(KEY):
        objective.use_weights(described[KEY])


def use_many_labels(objective: Objective | None, many: bool) -> None:
    """Take targets as rows of 0 and 1 in the label term, or as one class per window."""
    if isinstance(objective, Labelled):
        objective.use_many_labels(many)
