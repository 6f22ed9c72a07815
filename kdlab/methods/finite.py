"""A fit that diverges ends: loss, weights and learning rate must be finite, at little cost on a GPU."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdlab import distributed
from kdlab.types import InputError

#: steps between two readings of the sum that a GPU, or several processes, have collected
EVERY = 200


class DivergedError(InputError):
    """A loss or a weight is NaN or infinite, so the fit cannot continue. The message names where and what to do."""


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinite values; one synchronisation with the device.

    Example:
        >>> not_finite({"a": torch.tensor([1.0, float("inf")]), "b": torch.zeros(2), "c": torch.tensor(3)})
        ['a']
    """
    real = {name: x.detach() for name, x in tensors.items() if x.is_floating_point() or x.is_complex()}
    if not real:
        return []
    if _surely_finite(list(real.values())):
        return []
    device = next(iter(real.values())).device
    fine = torch.stack([x.isfinite().all().to(device) for x in real.values()])
    if bool(fine.all()):
        return []
    return [name for name, good in zip(real, fine.tolist(), strict=True) if not good]


def _surely_finite(tensors: list[Tensor]) -> bool:
    """Is the sum of all values finite? Then each of them is; a sum that is not may have overflowed."""
    first = tensors[0]
    kind = (first.dtype, first.device, torch.strided)
    if first.device.type == "meta" or any((x.dtype, x.device, x.layout) != kind for x in tensors):
        return False
    return bool(torch.stack([x.sum() for x in tensors]).sum().isfinite())


def weights_of(module: nn.Module, net: nn.Module) -> dict[str, Tensor]:
    """What must stay finite in a module that is trained: its trainable parameters, and the buffers of its net."""
    buffers = {f"net.{name}": buffer for name, buffer in net.named_buffers()}
    return {name: p for name, p in module.named_parameters() if p.requires_grad} | buffers


def first_of(names: list[str]) -> str:
    """A list of names, cut after three.

    >>> first_of(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def check_finite(state: Mapping[str, Tensor], who: str) -> None:
    """Refuse weights that hold NaN or infinite values.

    Args:
        state: name -> weight.
        who: the net of the weights, for the message.

    Raises:
        InputError: naming the first of them.
    """
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if bad := not_finite(tensors):
        raise InputError(
            f"{who}: the weights must be finite, but {len(bad)} of {len(tensors)} tensors hold NaN or infinite values "
            f"({first_of(bad)}). Its training diverged, or the file is damaged: train it again."
        )


def check_settings(optimizer: torch.optim.Optimizer) -> None:
    """Refuse a learning rate that is not finite, and any other number of an optimiser that is NaN.

    Raises:
        InputError: naming it.
    """
    for group in optimizer.param_groups:
        for name, value in group.items():
            values = value if isinstance(value, list | tuple) else [value]
            for number in values if name != "params" else []:
                if isinstance(number, float) and (math.isnan(number) or (name == "lr" and math.isinf(number))):
                    raise InputError(
                        f"{type(optimizer).__name__}: {name} must be finite, but got {number}. Set a number, for "
                        "example lr=0.05 for SGD; a schedule must not end in NaN either."
                    )


def at_once(device: torch.device) -> bool:
    """Whether every step is checked; not where that would wait for a device or another process."""
    return device.type == "cpu" and distributed.world_size() == 1


class Watch:
    """Checks that the terms of a loss are finite, over the steps of a fit.

    One process on a CPU checks every step. On a GPU, and with several processes, ``0 * term`` is added up on the
    device: the sum is 0 as long as every term is finite, and NaN from then on. It is read every `EVERY` steps and where
    an epoch ends, by all processes at once, so no step waits for the device and no process waits for another that
    stopped.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._names: tuple[str, ...] = ()
        self._steps = (0, 0)

    def see(self, names: Iterable[str], terms: Tensor, step: int) -> list[str]:
        """Check the terms of one step.

        Args:
            names: of the terms.
            terms: ``(n,)``, in the same order.
            step: its number.

        Returns:
            The names of terms that are known not to be finite; `where` names the steps.
        """
        terms, names = terms.detach(), tuple(names)
        if at_once(terms.device):
            self._steps, self._names = (step, step), names
            return [] if bool(terms.isfinite().all()) else self._named(terms)
        found: list[str] = []
        if self._sum is None:
            self._steps = (step, step)
        elif names != self._names:  # a method that changes its terms
            found = self.read()
            if found:
                return found
            self._steps = (step, step)
        self._sum = terms * 0 if self._sum is None else self._sum + terms * 0
        self._names, self._steps = names, (self._steps[0], step)
        return self.read() if step - self._steps[0] + 1 >= EVERY else []

    def read(self) -> list[str]:
        """The names of terms that were not finite since the last reading; every process calls it."""
        collected, self._sum = self._sum, None
        return [] if collected is None else self._named(distributed.total(collected))

    @property
    def where(self) -> str:
        """The steps of the last reading."""
        first, last = self._steps
        return f"step {first}" if first == last else f"steps {first} to {last}"

    def _named(self, terms: Tensor) -> list[str]:
        values = terms.tolist()
        return [name for name, value in zip(self._names, values, strict=True) if not math.isfinite(value)]


def diverged(module: Any, where: str, what: str) -> DivergedError:
    """The error of a fit that diverged.

    Args:
        module: the method, with its trainer.
        where: epoch and step.
        what: must be finite, but is not.
    """
    trainer = module.trainer
    lr = [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups if "lr" in group]
    remedies = [f"Lower the learning rate (lr={float(lr[0]):g} now)" if lr else "Lower the learning rate"]
    if not trainer.gradient_clip_val:
        remedies.append("clip gradients (--trainer.gradient_clip_val=1)")
    if str(trainer.precision).startswith("16"):
        remedies.append("train in --trainer.precision=bf16-mixed or 32-true")
    remedies.append("or check the settings of the objective")
    return DivergedError(
        f"{type(module).__name__}: the fit diverged in epoch {trainer.current_epoch}, {where}: {what}. "
        f"{', '.join(remedies)}. Checkpoints of earlier epochs are finite and were kept."
    )


def check_fit(module: Any, watch: Watch) -> None:
    """Raise `DivergedError` unless the recorded values of a fit are finite; every process calls it."""
    refuse_terms(module, watch, watch.read())
    check_state(module)


def refuse_terms(module: Any, watch: Watch, bad: list[str]) -> None:
    """Raise `DivergedError` where terms are not finite.

    Args:
        module: the method, with its trainer.
        watch: found the terms.
        bad: their names.
    """
    if bad:
        broken = not_finite(weights_of(module, module.net))
        why = f" (and so are the weights {first_of(broken)})" if broken else " (the weights are still finite)"
        raise diverged(module, watch.where, f"term {first_of(bad)} must be finite, but is NaN or infinite{why}")


def check_state(module: Any) -> None:
    """Raise `DivergedError` unless the weights and the last validation loss of a method are finite."""
    step = module.trainer.global_step
    if bad := not_finite(weights_of(module, module.net)):
        held = f"the weights must be finite, but {first_of(bad)} hold NaN or infinite values"
        raise diverged(module, f"by step {step}", held)
    loss = module.trainer.callback_metrics.get("val/loss")
    if loss is not None and not bool(torch.isfinite(loss)):
        what = f"val/loss must be finite, but is {float(loss)}"
        raise diverged(module, f"validation after step {step}", what)
