"""Checks before a run: nets and objective on all-zero windows, and the compiler on one line."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from lightning.pytorch.accelerators.cuda import CUDAAccelerator
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from kdlab import distributed
from kdlab.methods.class_maps import ClassMap, mapped
from kdlab.methods.class_weights import check_label_term
from kdlab.nets.base import Backbone
from kdlab.objective import Classifier, Objective
from kdlab.types import InputError, Output


@contextmanager
def evaluating(*modules: torch.nn.Module) -> Iterator[None]:
    """Put modules into evaluation mode, and restore the mode of each of their parts afterwards."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


class LogitsAlone(torch.nn.Module):
    """The net of a teacher that is made of several, as it is tried: logits and no features."""

    def __init__(self, net: Backbone) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Output:
        """The logits."""
        return Output(self.net(x).logits, {})

    def classify(self, stage3: Tensor) -> Tensor:
        """As the net does."""
        return self.net.classify(stage3)


@torch.no_grad()
def try_objective(
    objective: Objective,
    student: tuple[Backbone, tuple[int, ...]],
    teachers: Mapping[str, tuple[Backbone | LogitsAlone, tuple[int, ...]]],
    class_maps: Mapping[str, ClassMap] = MappingProxyType({}),
    many_labels: bool = False,
) -> tuple[Output, dict[str, Output], tuple[str, ...]]:
    """Run nets and objective on a few all-zero windows, so that what does not fit is found before a run.

    The objective's adapters are made from the outputs, with a copy of torch's random state: later random numbers of a
    fit do not depend on them. They get the weights of a checkpoint that was loaded before. Modes, statistics and
    random state are restored.

    Args:
        objective: as in a fit.
        student: the net that is trained and the shape of a window in its view.
        teachers: teacher name -> its net and the shape of a window in its view.
        class_maps: teacher name -> its class map, where it has one.
        many_labels: whether targets are rows of 0 and 1, for any number of labels per window.

    Returns:
        The outputs of student and teachers, as shapes (tensors on the device ``"meta"``), and the names of the terms;
        none in several processes.

    Raises:
        InputError: naming what does not fit.
    """
    windows = 2 * getattr(objective, "patches", 1)  # some objectives cut the batch into patches of two or more
    nets = [student[0], *(net for net, _ in teachers.values())]
    device = next(student[0].parameters()).device

    def run(net: Backbone | LogitsAlone, shape: tuple[int, ...]) -> Output:
        output: Output = net(next(net.parameters()).new_zeros(windows, *shape))
        return output

    terms: dict[str, Tensor] = {}
    with evaluating(*nets), torch.random.fork_rng([device] if device.type == "cuda" else []):
        own, others = run(*student), {name: run(*taught) for name, taught in teachers.items()}
        classifiers: dict[str, Classifier] = {name: net.classify for name, (net, _) in teachers.items()}
        for name, class_map in class_maps.items():
            others[name] = others[name]._replace(logits=mapped(others[name].logits, class_map))
            classifiers[name] = partial(_classify, classifiers[name], class_map)
        objective.adapt(student=own, teachers=others, classifiers=classifiers)
        if distributed.world_size() == 1:  # else the nets are not on their devices yet, so the ranks could not gather
            with evaluating(objective):
                target = torch.zeros_like(own.logits) if many_labels else own.logits.new_zeros(windows).long()
                terms = objective(student=own, teachers=others, target=target, **_required_index(objective, target))
            check_label_term(objective)
    take_adapters(objective)
    return _shapes(own), {name: _shapes(output) for name, output in others.items()}, tuple(terms)


def _required_index(objective: Objective, target: Tensor) -> dict[str, Tensor]:
    """An index for an objective that cannot do without; others may keep something of the windows that it names."""
    given = inspect.signature(objective.forward).parameters.get("index")
    required = given is not None and given.default is given.empty
    return {"index": torch.arange(len(target), device=target.device)} if required else {}


def _classify(classifier: Classifier, class_map: ClassMap, x: torch.Tensor) -> torch.Tensor:
    return mapped(classifier(x), class_map)


def _shapes(output: Output) -> Output:
    return Output(output.logits.to("meta"), {tap: feature.to("meta") for tap, feature in output.features.items()})


def leave_out_adapters(checkpoint: dict[str, Any], objective: Objective) -> None:
    """Take adapters out of a checkpoint for an objective that has none yet; it keeps them for a fit that makes some."""
    if not objective.adapters:
        held, start = checkpoint["state_dict"], "objective.adapters."
        checkpoint["state_dict"] = {k: v for k, v in held.items() if not k.startswith(start)}
        objective.trained_adapters = {k.removeprefix(start): v for k, v in held.items() if k.startswith(start)}


def put_adapters_back(checkpoint: dict[str, Any], objective: Objective | None) -> None:
    """Write the adapters of :func:`leave_out_adapters`, which no fit has taken yet, into a checkpoint."""
    if objective is not None and not objective.adapters:
        held = {f"objective.adapters.{name}": value for name, value in objective.trained_adapters.items()}
        checkpoint["state_dict"] = {**checkpoint["state_dict"], **held}


def take_adapters(objective: Objective) -> None:
    """Give adapters, once they are made, the weights of :func:`leave_out_adapters`; warn where they do not fit."""
    held, objective.trained_adapters = objective.trained_adapters, {}
    if not held:
        return
    own = objective.adapters.state_dict()
    if {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in held.items()}:
        objective.adapters.load_state_dict(held)
        return
    rank_zero_warn(
        f"{type(objective).__name__}: the adapters of the checkpoint that was loaded ({', '.join(sorted(held)[:3])}, "
        "...) are not those of this fit, which begins with new ones. Take the teachers that it was trained with."
    )


def check_compiler(backend: str) -> None:
    """Compile one line, so that a compiler that is missing is found before a run begins.

    Raises:
        InputError: with the error of torch.
    """
    if backend == "inductor" and CUDAAccelerator.is_available():
        return  # a GPU has another compiler, which comes with torch
    try:
        torch.compile(torch.nn.Softsign(), backend=backend)(torch.zeros(2))
    except Exception as error:  # torch wraps it in one of many
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"compile: torch cannot compile with backend {backend!r} here ({type(error).__name__}: {reason}). Install "
            "a C++ compiler (g++ or clang), name another backend (torch.compiler.list_backends()), or set compile to "
            "false."
        ) from error
