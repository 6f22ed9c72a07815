"""What is logged of training: the values of single steps, and accuracy, learning rate and gradient of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor
from torch.optim import Optimizer

from kdlab import distributed

#: strategies whose processes hold parts of the gradients only
_SHARDED = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)


def right_of(logits: Tensor, target: Tensor, many: bool = False) -> Tensor:
    """How many labelled windows are classified as their label, and how many there are, on the device of the logits.

    The label of a mixed target is its most probable class. Windows without a label, ``-1`` or a row of zeros, are left
    out.

    Args:
        logits: ``(N, K)``.
        target: class indices ``(N,)`` or class probabilities ``(N, K)``; of ``many`` rows of 0 and 1.
        many: whether windows have any number of labels each; right are those with exactly the right classes.

    Returns:
        int64 ``(2,)``.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
        >>> right_of(logits, torch.tensor([0, 1, -1])), right_of(logits, torch.tensor([[0.7, 0.3], [0, 1], [0, 0]]))
        (tensor([1, 2]), tensor([1, 2]))
    """
    if many:
        known = (target >= 0).all(1)
        same = ((logits.detach() > 0) == (target > 0.5)).all(1)
        return torch.stack([(known & same).sum(), known.sum()])
    predicted, labelled = logits.detach().argmax(1), target >= 0
    if target.ndim > 1:
        target, labelled = target.argmax(1), (target > 0).any(1)
    return torch.stack([(labelled & (predicted == target)).sum(), labelled.sum()])


def gradient_norm(optimizer: Optimizer, trainer: Trainer) -> Tensor | None:
    r"""The norm of the gradient of a step, :math:`\sqrt{\sum_p |g_p|^2}`, before clipping and without a loss scale.

    Args:
        optimizer: of the trained parameters, whose gradients are ready.
        trainer: of the fit.

    Returns:
        A scalar on the device; None where there is no gradient, or no process holds all of it.
    """
    grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not grads or isinstance(trainer.strategy, _SHARDED):
        return None
    full = [g.coalesce().values() if g.is_sparse else g for g in grads]
    norms: tuple[Tensor, ...] = torch._foreach_norm([g if g.dtype.itemsize > 2 else g.float() for g in full])
    norm: Tensor = torch.linalg.vector_norm(torch.stack([one.to(norms[0]) for one in norms]))
    plugin = trainer.precision_plugin
    # fused optimisers divide by the scale in their step, all others have done so
    if isinstance(plugin, MixedPrecision) and plugin.scaler and vars(optimizer).get("_step_supports_amp_scaling"):
        norm = norm / plugin.scaler.scale(torch.ones_like(norm))
    return norm


def learning_rates(optimizer: Optimizer) -> dict[str, float | Tensor]:
    """``lr`` of an optimiser; of several groups ``lr/<name>``, where a group without a name is called ``pg1`` etc.

    Example:
        >>> one, two = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
        >>> learning_rates(torch.optim.SGD([{"params": [one], "lr": 0.5}, {"params": [two], "name": "head"}], lr=0.25))
        {'lr/pg1': 0.5, 'lr/head': 0.25}
    """
    groups = optimizer.param_groups
    names = ["lr"] if len(groups) == 1 else [f"lr/{group.get('name', f'pg{i}')}" for i, group in enumerate(groups, 1)]
    rates = {name: group["lr"] for name, group in zip(names, groups, strict=True) if "lr" in group}
    return {name: lr.detach().clone() if isinstance(lr, Tensor) else lr for name, lr in rates.items()}


class _Sum:
    """A sum over many steps, to which a step adds nothing but a reference.

    Args:
        fold: the sum of a stack of values.
    """

    _MOST = 64

    def __init__(self, fold: Callable[[Tensor], Tensor]) -> None:
        self._fold, self._held = fold, list[Tensor]()
        self._total: Tensor | None = None
        self._taken: tuple[list[Tensor], Tensor | None] = [], None

    def add(self, value: Tensor) -> None:
        """Add the value of a step."""
        self._held.append(value)
        if len(self._held) == self._MOST:
            self._total = self._folded()

    def take(self) -> Tensor | None:
        """The sum, which begins again; None where nothing was added."""
        if self._held or self._total is not None:
            self._taken = self._held, self._total
        total = self._folded()
        self._total = None
        return total

    def parts(self) -> tuple[list[Tensor], Tensor | None]:
        """The values that are not summed yet, and the sum of those before; of the last sum where none followed it."""
        return (self._held, self._total) if self._held or self._total is not None else self._taken

    def restore(self, held: Sequence[Tensor], total: Tensor | None) -> None:
        """Go on from :meth:`parts`."""
        self._held, self._total = list(held), total

    def _folded(self) -> Tensor | None:
        if not self._held:
            return self._total
        part, self._held = self._fold(torch.stack(self._held)), []
        return part if self._total is None else self._total + part


def _sum(values: Tensor) -> Tensor:
    return values.sum(0)


def _finite(norms: Tensor) -> Tensor:
    """The sum of those that are finite, and their number: a step that a loss scale let overflow is not taken."""
    finite = norms.isfinite()
    return torch.stack([torch.where(finite, norms, 0).sum(), finite.sum().to(norms.dtype)])


class StepValues:
    """The values of the steps of a fit, which stay on the device until they are logged.

    Every ``log_every_n_steps`` steps of the optimiser the values of that step are logged as ``train/<name>_step``: the
    mean over its windows, over all processes and accumulated batches. They are read with one copy from the device;
    other steps wait for no device. Learning rates are logged as ``train/lr``, as they were in that step.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[int, dict[str, Tensor]]] = []  # since the last step of the optimiser
        self._right: list[Tensor] = []
        self._epoch, self._norms = _Sum(_sum), _Sum(_finite)
        self._rates: dict[str, float | Tensor] = {}
        self._names: Collection[str] = ()  # of the values, which go before those of this class

    def see(
        self, windows: int, values: Mapping[str, Tensor], logits: Tensor, target: Tensor, many: bool = False
    ) -> None:
        """Take the values of a batch.

        Args:
            windows: their number.
            values: name -> mean over the windows.
            logits: ``(N, K)``.
            target: class indices ``(N,)`` or class probabilities ``(N, K)``; of ``many`` rows of 0 and 1.
            many: whether windows have any number of labels each.
        """
        right, self._names = right_of(logits, target, many), tuple(values)
        self._batches.append((windows, dict(values)))
        self._right.append(right)
        self._epoch.add(right)

    def step(self, optimizer: Optimizer, trainer: Trainer) -> None:
        """Take gradient and learning rates of a step of the optimiser, and log it where that is due.

        Args:
            optimizer: about to take the step.
            trainer: of the fit.
        """
        norm, self._rates = gradient_norm(optimizer, trainer), learning_rates(optimizer)
        if norm is not None:
            self._norms.add(norm)
        batches, right, self._batches, self._right = self._batches, self._right, [], []
        every, step = trainer.log_every_n_steps, trainer.global_step  # type: ignore[attr-defined]
        if not trainer.loggers or not every or (step + 1) % every:
            return
        found = {name: float(lr) for name, lr in self._rates.items()} | _means(batches, right, norm)
        row = {"epoch": trainer.current_epoch, **{f"train/{name}": value for name, value in found.items()}}
        for logger in trainer.loggers:
            logger.log_metrics(row, step=step)

    def epoch(self) -> dict[str, Any]:
        """``accuracy``, ``grad_norm`` and ``lr`` of the steps since the last call, those of the last step for ``lr``.

        Every process calls it. They stay on the device; NaN where no window had a label, or no gradient was finite.
        """
        found: dict[str, Any] = {}
        right, norms = self._epoch.take(), self._norms.take()
        if right is not None:
            hits, windows = distributed.total(right).float()
            found["accuracy"] = hits / windows
        if norms is not None:  # the same in every process
            found["grad_norm"] = norms[0] / norms[1]
        found |= {name: torch.as_tensor(lr, dtype=torch.float32) for name, lr in self._rates.items()}
        self._rates = {}
        return {name: value for name, value in found.items() if name not in self._names}

    def state(self) -> dict[str, Any]:
        """The sums of the epoch so far, for :meth:`restore`; every process calls it."""
        held, total = self._epoch.parts()
        right = [*held, *([] if total is None else [total])]
        norms, norm = self._norms.parts()
        return {
            "right": distributed.by_rank(torch.stack(right).sum(0)) if right else None,
            "norms": torch.stack(norms).cpu() if norms else None,
            "norm_sum": None if norm is None else norm.cpu(),
        }

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from the sums of a checkpoint.

        Args:
            state: of :meth:`state`, also with another number of processes.
            device: of the values that follow.
        """
        right, norms, norm = state["right"], state["norms"], state["norm_sum"]
        self._epoch.restore([], None if right is None else distributed.own_of(right).to(device))
        held = () if norms is None else norms.to(device).unbind()
        self._norms.restore(held, None if norm is None else norm.to(device))


def _means(batches: list[tuple[int, dict[str, Tensor]]], right: list[Tensor], norm: Tensor | None) -> dict[str, float]:
    """The values of a step as numbers: one sum over the processes, and one copy from the device."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for windows, values in batches:
        for name, value in values.items():
            weighted = windows * (value if value.dtype == torch.float64 else value.float())
            sums[name] = sums[name] + weighted if name in sums else weighted
            counts[name] = counts.get(name, 0) + windows
    parts = [*sums.values(), *(torch.stack(right).sum(0) if right else ()), *(() if norm is None else (norm,))]
    if not parts:
        return {}
    device, dtype = parts[0].device, torch.float64 if parts[0].dtype == torch.float64 else torch.float32
    divisors = torch.tensor([*counts.values(), *([1.0, 1.0] if right else ()), *([1.0] if norm is not None else ())])
    packed = torch.stack([torch.stack([part.to(device, dtype) for part in parts]), divisors.to(device, dtype)])
    top, bottom = distributed.total(packed).tolist()
    own: dict[str, float] = {} if norm is None else {"grad_norm_step": top[-1] / bottom[-1]}
    if right and top[len(sums) + 1]:
        own["accuracy_step"] = top[len(sums)] / top[len(sums) + 1]
    return own | {f"{name}_step": top[i] / bottom[i] for i, name in enumerate(sums)}
