"""Refusals by fingerprint: of data, or of a net, that were not made for each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdlab.fingerprint.differences import input_differences, leaks, split_differences
from kdlab.fingerprint.people import comparable
from kdlab.types import InputError


class OtherDataError(InputError):
    """The data are not those that a net can be used on; the data settings of its training are."""


_CONFIG = "Use the data settings that it was trained with (config.yaml beside its checkpoints)"


def check_same_split(
    trained: Mapping[str, Any] | None, current: Mapping[str, Any] | None, who: str, remedy: str, before: str = ""
) -> None:
    """Refuse to continue a training with other data than before; unknown values are not compared.

    Args:
        trained: fingerprint of the data that the net was trained on.
        current: fingerprint of the data module.
        who: whose weights they are, for the message.
        remedy: what to do, for the message.
        before: what follows "on another split", for the message.

    Raises:
        InputError: naming every difference.
    """
    if trained and current and (differences := split_differences(trained, current)):
        raise InputError(f"{who} was trained on another split{before}: {'; '.join(differences)}. {remedy}.")


def check_use(
    who: str, trained: Mapping[str, Any] | None, current: Mapping[str, Any] | None, *, new: bool = False
) -> None:
    """Refuse to use a net on what it was trained or selected on, or on inputs that differ from those of its training.

    Args:
        who: the net, for the message.
        trained: fingerprint of the data that it was trained on; an unknown one is not compared.
        current: fingerprint of the data module.
        new: new windows are predicted, none of the split, so that only inputs are compared; the numbers of the scaling
            and of views are those of training people, which another split changes.

    Raises:
        OtherDataError: naming the subjects or recordings, or what differs.
    """
    if not trained or not current:
        return
    seen = [] if new else leaks(trained, current)
    if seen:
        raise OtherDataError(
            f"{who} was trained or selected on {current['grouping']}s {', '.join(seen[:12])}, which are test data "
            "here; the result would be a leak. Use the split that it was trained with."
        )
    check_inputs(who, trained, current)


def check_inputs(who: str, trained: Mapping[str, Any], current: Mapping[str, Any], *more: str) -> None:
    """Refuse inputs that differ from those of a net's training.

    Args:
        who: the net, for the message.
        trained: fingerprint of the data that it was trained on.
        current: fingerprint of the data module.
        more: further differences, as text.

    Raises:
        OtherDataError: naming what differs.
    """
    if differences := [*input_differences(trained, current), *more]:
        raise OtherDataError(f"{who} was trained on other inputs: {'; '.join(differences)}. {_CONFIG}.")


def check_teacher_split(
    who: str, trained: Mapping[str, Any] | None, current: Mapping[str, Any] | None, allow_other_split: bool
) -> str | None:
    """Refuse a teacher that was trained on other subjects, windows, classes or units than this run.

    Args:
        who: the teacher, for messages.
        trained: fingerprint of the data that it was trained on.
        current: fingerprint of the data module.
        allow_other_split: accept other held-out subjects, and other numbers of the scaling.

    Returns:
        A warning, or None.

    Raises:
        InputError: naming every difference.
    """
    if not current:
        return None
    if not trained:
        return "has no record of its training data: its split cannot be checked"
    differences = split_differences(trained, current)
    if wrong := input_differences(trained, current, same_split=False):
        switch = " (allow_other_split=True accepts other held-out subjects, and nothing else)" * allow_other_split
        raise InputError(
            f"{who} was trained on other inputs or classes: {'; '.join(wrong)}. Take a teacher that was trained "
            f"with this run's data settings{switch}."
        )
    if differences and not allow_other_split:
        raise InputError(
            f"{who} was trained on another split: {'; '.join(differences)}. Train it with this run's data "
            "settings, or set allow_other_split=True if this is meant."
        )
    if scaled := input_differences(trained, current):
        return f"reads windows that are not scaled as those of its training: {'; '.join(scaled)}"
    return None


def check_fingerprint(trained: Mapping[str, Any], current: Mapping[str, Any], stage: str) -> None:
    """Compare the split that a checkpoint was trained on with the one at hand.

    Args:
        trained: fingerprint in the checkpoint.
        current: fingerprint of the data module.
        stage: ``"fit"``: they must be the same; ``"validate"``, ``"test"``, ``"predict"``: training subjects, and those
            that the training was stopped on, must not be tested, and training subjects must not validate.

    Raises:
        InputError: naming what differs, or the subjects in both.

    >>> a = {"dataset": "d", "grouping": "subject", "train": ["1", "2"], "val": ["3"], "test": ["4"]}
    >>> check_fingerprint(a, {**a, "train": ["3"], "test": ["2"]}, "test")
    Traceback (most recent call last):
    kdlab.types.InputError: subject 2 would be tested, but the checkpoint was trained or stopped on it; ...
    """
    trained, current = comparable(trained, current)
    if stage == "fit":
        differing = sorted(k for k in {*trained, *current} - {"id"} if trained.get(k) != current.get(k))
        if differing:
            shown = "; ".join(f"{k}: {_short(trained.get(k))} then, {_short(current.get(k))} now" for k in differing)
            raise InputError(
                f"the checkpoint was trained on other data or another split ({shown}); resume with the settings of "
                "its training, or start a new run"
            )
        return
    if trained.get("dataset") != current.get("dataset"):
        return
    grouping = current["grouping"]
    if trained["grouping"] != grouping:
        raise InputError(
            f"the checkpoint was trained on a split by {trained['grouping']}, this one is by {grouping}, so it cannot "
            "be shown that training and test data are disjoint; use the same kind of split"
        )
    fold, verb = ("val", "validate") if stage == "validate" else ("test", "be tested")
    seen = {*trained["train"], *trained.get("unlabelled", ()), *(() if stage == "validate" else trained["val"])}
    both = [g for g in current[fold] if g in seen]
    if both:
        raise InputError(
            f"{grouping} {_short(both)} would {verb}, but the checkpoint was trained or stopped on it; use the split "
            f"of the checkpoint ({fold}: {_short(trained[fold])}, split_seed {trained.get('seed')})"
        )


def _short(value: Any) -> str:
    text = ", ".join(str(v) for v in value) if isinstance(value, list) else str(value)
    return text if len(text) <= 120 else text[:117] + "..."
