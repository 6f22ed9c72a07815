"""The terms of every objective and their gradients, on fixed outputs of student and teachers."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from kdlab.objective import Objective
from kdlab.types import InputError, Output

from .measures import measures, of_all
from .signatures import objectives

BATCH, CLASSES = 8, 4
TAPS = ("stage1", "stage2", "stage3")
SIZES = {"1-D": [(16,), (8,), (5,)], "2-D": [(8, 8), (6, 5), (4, 4)]}
NAMES = ("raw", "pi", "gaf")
INDICES = torch.arange(BATCH) % CLASSES
TARGETS = {
    "indices": INDICES,
    "probabilities": torch.randn(BATCH, CLASSES, generator=torch.Generator().manual_seed(3)).softmax(1),
}
#: objectives whose student has the teacher's sizes already
SAME_SIZES = ("SimKDObjective",)


def output(seed: int, ndim: str, channels: int = 3) -> Output:
    """Logits and features of a batch, seeded."""
    random = torch.Generator().manual_seed(seed)
    features = {
        tap: torch.randn(BATCH, channels * 2**i, *size, generator=random) * torch.linspace(0.2, 2, size[-1])
        for i, (tap, size) in enumerate(zip(TAPS, SIZES[ndim], strict=True))
    }
    features["embedding"] = torch.randn(BATCH, 4 * channels, generator=random)
    return Output(3 * torch.randn(BATCH, CLASSES, generator=random), features)


def made(cls: type[Objective], names: tuple[str, ...]) -> tuple[Objective, str]:
    """The objective with its defaults, or with those arguments besides that so many teachers need."""
    weights = {name: 0.5 / (i + 1) for i, name in enumerate(names)}
    tried: list[dict[str, Any]] = [{}, {"map_teacher": names[0]}, {"weights": weights}]
    for arguments in tried:
        if set(arguments) <= set(inspect.signature(cls).parameters):
            objective = cls(**arguments)
            try:
                objective.check(batch_size=BATCH, teachers=list(names))
            except InputError:
                continue
            return objective, next(iter(arguments), "defaults")
    raise InputError("refused")


def case(cls: type[Objective], ndim: str, count: int, target: Tensor, index: Tensor | None = None) -> dict[str, Any]:
    """Terms, gradients and adapters of one batch."""
    names = NAMES[:count]
    objective, how = made(cls, names)
    channels = 3 if cls.__name__ in SAME_SIZES else 5
    teachers = {name: output(10 + i, ndim, channels) for i, name in enumerate(names)}
    plain = output(1, ndim)
    student = Output(plain.logits.requires_grad_(), {k: v.requires_grad_() for k, v in plain.features.items()})
    if index is not None:
        objective.remember(torch.arange(40))
    torch.manual_seed(1)
    objective.adapt(student=student, teachers=teachers)
    given = {"index": index} if "index" in inspect.signature(objective.forward).parameters else {}
    terms = objective(student=student, teachers=teachers, target=target, **given)
    torch.stack(list(terms.values())).sum().backward()
    return {
        "built with": how,
        "terms": {name: float(term.detach()) for name, term in terms.items()},
        "settings": {name: float(value) for name, value in sorted(objective.settings().items())},
        "observed": of_all({name: torch.as_tensor(value) for name, value in objective.observed().items()}),
        "gradients": {"logits": measures(student.logits.grad)}
        | of_all({name: tap.grad for name, tap in student.features.items()}),
        "adapters": of_all({name: p.grad for name, p in objective.adapters.named_parameters()}),
        "remembers": index is not None and of_all(dict(objective.adapters.named_buffers())),
    }


def record(only: Sequence[str] | None = None) -> dict[str, Any]:
    """Objective -> case -> what came out, ``"refused"``, or why it failed."""
    found: dict[str, Any] = {}
    for cls in objectives():
        if only is not None and cls.__name__ not in only:
            continue
        cases: dict[str, Any] = {}
        for ndim, count, (name, target) in product(SIZES, (1, 2, 3), TARGETS.items()):
            cases[f"{ndim}, {count} teachers, {name}"] = _tried(cls, ndim, count, target)
        if hasattr(cls, "remember"):
            cases["with an index"] = _tried(cls, "1-D", 1, INDICES, torch.arange(BATCH) * 3)
        found[cls.__name__] = cases
    return found


def _tried(*arguments: Any) -> Any:
    try:
        return case(*arguments)
    except InputError:
        return "refused"
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}
