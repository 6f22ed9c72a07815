"""Weights of terms that are ``"auto"``: measured on the first batches, fixed before the first update."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kdlab import distributed
from kdlab.methods.preparation import Preparation
from kdlab.methods.receiving import batches_in, is_read_once, unmoved
from kdlab.objective import Objective
from kdlab.types import Batch, InputError, Output

#: where a checkpoint's description has the numbers
KEY = "auto_weights"
#: batches that are measured
BATCHES = 8
#: the terms that others are compared with, the first that is above 0
REFERENCES = ("kd", "ce")
#: share of the loss above which a term is warned of
DOMINANT = 0.9


def measure_weights(
    method: Preparation, objective: Objective, terms_of: Callable[[Batch, Output], Mapping[str, Tensor]]
) -> None:
    r"""Set the weights that are ``"auto"``, unless they came with a checkpoint.

    .. math:: w = \frac{\sum_b R_b}{\sum_b T_b}

    over the first 8 training batches of all ranks, with ``T`` the term at weight 1 and ``R`` the reference, the term
    ``"kd"``, or else ``"ce"``: at the beginning the two are equally large. The nets are in training mode, as in the
    steps that follow; weights, running statistics and the random state stay as they were.

    Args:
        method: the method, as its training starts.
        objective: its objective.
        terms_of: the terms of a batch, from the output of the net for it.

    Raises:
        InputError: if there is no such term, or it or the reference is 0, or the loader can be read once only.
    """
    if not objective.open_weights:
        return
    who, names = type(objective).__name__, list(objective.open_weights)
    for name in names:
        objective.set(name, 1.0)
    trainer, totals = method.trainer, dict[str, float]()
    loader: Any = trainer.train_dataloader
    if is_read_once(loader):
        raise InputError(
            f"{who}: {names[0]} must be a number where the training loader can be read once only "
            f"({type(loader).__name__}), because it is measured on the first batches, but got 'auto'. Write a number, "
            "or give a DataLoader."
        )
    with _as_it_was(method.net, objective), unmoved(loader), torch.no_grad():
        for given in itertools.islice(batches_in(loader), BATCHES):
            batch = method.received(given, "train")
            with trainer.precision_plugin.forward_context():
                terms = terms_of(batch, method.net(batch.views[method.view]))
            for term, value in terms.items():
                totals[term] = totals.get(term, 0.0) + float(value)
    for term in sorted(totals):
        totals[term] = float(distributed.total(torch.tensor(totals[term], dtype=torch.float64, device=method.device)))
    reference = _reference(who, names, totals)
    for name in names:
        term = name.removesuffix("_weight")
        if not totals.get(term, 0.0) > 0:
            raise InputError(
                f"{who}: {name} must be a number, because its term {term!r} is "
                f"{'missing' if term not in totals else f'{totals[term]:g}'} in the first batches, but got 'auto'. "
                "Write a number."
            )
        weight = totals[reference] / totals[term]
        objective.fix(name, weight)
        rank_zero_info(
            f"{type(method).__name__}: {name} is {weight:.6g}, so that {term!r} begins as large as {reference!r}"
        )


def _reference(who: str, names: list[str], totals: Mapping[str, float]) -> str:
    if (found := reference_of(names, totals)) is not None:
        return found
    states = [f"{term!r} is {_state(term, names, totals)}" for term in REFERENCES]
    raise InputError(
        f"{who}: {names[0]} must be a number, because there is no term to compare it with ({', '.join(states)}), but "
        "got 'auto'. Write a number."
    )


def reference_of(names: Collection[str], totals: Mapping[str, float]) -> str | None:
    """The term that weights are measured against; None where there is none.

    Args:
        names: of the weights that are measured.
        totals: term -> its size.

    Example:
        >>> reference_of(["kd_weight"], {"kd": 2.0, "ce": 1.0}), reference_of(["ce_weight"], {"ce": 1.0})
        ('ce', None)
    """
    known = (term for term in REFERENCES if totals.get(term, 0.0) > 0 and f"{term}_weight" not in names)
    return next(known, None)


def _state(term: str, names: Collection[str], totals: Mapping[str, float]) -> str:
    if term not in totals:
        return "missing"
    return "'auto' itself" if f"{term}_weight" in names else f"{totals[term]:g}"


def takes_auto(method: Preparation, objective: Objective, name: str, totals: Mapping[str, float]) -> bool:
    """Whether a weight of a fit could be ``"auto"``: the method takes it, and there is a term to compare it with.

    Args:
        method: the method.
        objective: its objective.
        name: of the weight.
        totals: term -> its size.
    """
    field = objective.declared().get(name)
    if field is None or not field.may_be_auto or not field.init or not method.measures_weights:
        return False
    return reference_of([name], totals) is not None and not is_read_once(method.trainer.train_dataloader)


@contextmanager
def _as_it_was(net: nn.Module, objective: Objective) -> Iterator[None]:
    """Restore buffers, modes and random state.

    The objective is in evaluation mode, and writes nothing, but its batch norms are in training mode, as in all steps.
    """
    buffers = [(value, value.clone()) for module in (net, objective) for value in module.buffers()]
    modes = [(part, part.training) for module in (net, objective) for part in module.modules()]
    device = next(net.parameters()).device
    objective.eval()
    net.train()
    for part in objective.modules():
        if isinstance(part, _BatchNorm):
            part.train()
    try:
        with isolate_rng(include_cuda=False), torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        for part, training in modes:
            part.training = training
        for value, before in buffers:
            value.copy_(before)


def described_auto(objective: Objective | None) -> dict[str, Any]:
    """The measured weights, for the description in a checkpoint; nothing where there are none."""
    measured = {} if objective is None else objective.measured_weights
    return {KEY: copy.copy(measured)} if measured else {}


def restore_auto(objective: Objective | None, described: Mapping[str, Any]) -> None:
    """Train on with the measured weights of a checkpoint."""
    known = described.get(KEY) or {}
    if objective is not None:
        for name in [name for name in objective.open_weights if name in known]:
            objective.fix(name, float(known[name]))


def warn_of_dominance(method: Preparation, objective: Objective | None) -> None:
    """Warn after the first epoch of a weighted term that is nearly all of the loss.

    Soft targets with a share ``kd_weight`` of at most 1 are meant to be most of the loss. So may labels be, as long as
    the other terms grow in the first epochs. The advice ``"auto"`` is given where it is accepted.
    """
    if objective is None or method.trainer.current_epoch or method.trainer.sanity_checking:
        return
    metrics = method.trainer.callback_metrics
    loss = metrics.get("train/loss")
    names = [name for name in objective.settings() if name.endswith("_weight") and objective.unbounded(name)]
    names = [name for name in names if name != "ce_weight"]
    totals = {term.removeprefix("train/"): float(value) for term, value in metrics.items() if term.startswith("train/")}
    for name in names:
        value = metrics.get(f"train/{name.removesuffix('_weight')}")
        if loss is None or value is None or not float(loss) > 0 or float(value) == float(loss):
            continue
        if (share := float(value) / float(loss)) > DOMINANT:
            auto = f"write {name}: auto, or choose it" if takes_auto(method, objective, name, totals) else "choose it"
            rank_zero_warn(
                f"{type(method).__name__}: the term {name.removesuffix('_weight')!r} was {share:.0%} of the loss in "
                f"the first epoch, with {name}={float(objective.settings()[name]):g}. Published weights belong to "
                f"their data, nets and batch size; {auto} on validation."
            )
