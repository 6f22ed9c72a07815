"""One label per window, or any number of them: what nets predict then, and which methods train on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from kdlab.objective import Objective
from kdlab.types import InputError

_PATTERNS = 65521  # a prime; patterns of up to 15 classes have a number of their own


def probabilities_of(logits: Tensor, many: bool) -> Tensor:
    """The probabilities of classes ``(B, K)``: of one class per window, or of each class by itself."""
    return logits.sigmoid() if many else logits.softmax(1)


def predicted(probabilities: Tensor, many: bool) -> Tensor:
    """The predicted class ``(B,)``; with any number of labels per window rows of 0 and 1 ``(B, K)``, 1 above one half.

    Example:
        >>> predicted(torch.tensor([[0.9, 0.6, 0.5]]), many=True)
        tensor([[1, 1, 0]])
    """
    return (probabilities > 0.5).long() if many else probabilities.argmax(1)


def is_right(logits: Tensor, target: Tensor, many: bool) -> Tensor:
    """Whether the prediction of a window is its label, in all classes where it may have any number, ``(B,)``.

    Never for a net with other classes, where it may have any number.
    """
    if many and logits.shape != target.shape:
        return torch.zeros(len(target), dtype=torch.bool, device=target.device)
    found = predicted(probabilities_of(logits, many), many) == target
    return found.all(1) if many else found


def patterns(target: Tensor, classes: int, many: bool) -> tuple[Tensor, int]:
    """The class of each window, or the number of its set of classes, and how many numbers there are.

    Beyond 15 classes two sets may have one number, once in 65521 pairs of sets.

    Example:
        >>> patterns(torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), 3, many=True)
        (tensor([5, 0]), 8)
    """
    if not many:
        return target, classes
    powers = torch.tensor([pow(2, k, _PATTERNS) for k in range(classes)], device=target.device)
    return ((target > 0.5).long() * powers).sum(1) % _PATTERNS, min(2**classes, _PATTERNS)


def check_same_labels(who: str, described: Mapping[str, Any], many: bool) -> None:
    """Refuse a net that was trained on one label per window where there are many, or the reverse.

    Args:
        who: the net, for the message.
        described: the description in its checkpoint; an empty one is not compared.
        many: whether the windows here have any number of labels.

    Raises:
        InputError: naming both.
    """
    if not described or many == trained_on_many(described):
        return
    there, here = ("one", "many") if many else ("many", "one")
    raise InputError(
        f"{who} must be trained on windows with labels: {here}, as those of this run, but was trained on labels: "
        f"{there}. Train it with this run's data settings."
    )


def trained_on_many(described: Mapping[str, Any]) -> bool:
    """Whether the net of a checkpoint was trained on windows with any number of labels."""
    return (described.get("labels") or (described.get("fingerprint") or {}).get("labels_per_window")) == "many"


def check_many_labels(method: type[Any], objective: Objective | None, root: type[Any]) -> None:
    """Refuse a method whose terms need one class per window.

    Args:
        method: its class.
        objective: its objective, where it has one.
        root: the class that all methods derive from.

    Raises:
        InputError: with the methods that train on any number of labels.
    """
    definers: dict[str, type[Any]] = {}
    for name in ("terms", "training_step"):
        definers[name] = next(cls for cls in method.__mro__ if name in vars(cls))
    wrong = [f"{n} of {c.__name__}" for n, c in definers.items() if not vars(c).get("takes_many_labels")]
    if objective is not None and not vars(type(objective)).get("takes_many_labels"):
        wrong.insert(0, type(objective).__name__)
    if wrong:
        raise InputError(
            f"{method.__name__}: the method must be defined for any number of labels per window (labels: many), but "
            f"{wrong[0]} needs one class per window. Use one of {', '.join(sorted(_able(root)))}; a class of your own "
            "declares takes_many_labels = True."
        )


def _able(root: type[Any]) -> Iterator[str]:
    """The methods of kdlab that train on any number of labels."""
    for cls in root.__subclasses__():
        yield from _able(cls)
        made = next((vars(c)["made_from"] for c in cls.__mro__ if "made_from" in vars(c)), None)
        bases = "_base" in vars(cls) or cls.__module__.partition(".")[0] != "kdlab"
        if not bases and (cls.__name__ == "Supervised" or (made and vars(made).get("takes_many_labels"))):
            yield cls.__name__
