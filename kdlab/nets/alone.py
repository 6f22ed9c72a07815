"""Whether a net answers for each window alone, as a device needs it, or depends on the others in its batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kdlab.nets.base import Backbone
from kdlab.types import InputError

_WINDOWS = 8
#: of the largest logit; kernels for other batch sizes add in another order, which differs by far less
_TOLERANCE = 1e-3
_REMEDY = (
    "A device sees one window at a time. Keep it as a teacher, distil it into a student that reads each window alone, "
    "and take that"
)


def is_batch_relational(net: nn.Module) -> bool:
    """Whether a net, or a part of it, declares that its output for a window depends on the others in its batch."""
    return any(getattr(part, "batch_relational", False) is True for part in net.modules())


@torch.no_grad()
def check_alone(
    run: Callable[[Tensor], Tensor],
    net: nn.Module | None,
    shape: tuple[int, ...],
    what: str,
    offset: Tensor | Sequence[float] = (0.0,),
    divisor: Tensor | Sequence[float] = (1.0,),
) -> None:
    """Refuse a net whose answer for a window depends on the other windows of its batch.

    Beside what a net declares, a few random windows are read together and one by one.

    Args:
        run: windows ``(B, *shape)``, float32, to logits ``(B, K)``.
        net: what is run, if it is at hand.
        shape: of a window.
        what: the net in the message.
        offset: mean of the windows to try, one number or one per channel.
        divisor: their standard deviation, likewise.

    Raises:
        InputError: it declares it, or its logits differ by more than a thousandth of the largest.
    """
    if net is not None and is_batch_relational(net):
        raise InputError(f"{what} must answer for each window alone, but its answer depends on its batch. {_REMEDY}.")
    noise = torch.randn(_WINDOWS, *shape, generator=torch.Generator().manual_seed(0))
    axes = (-1, *(1 for _ in shape[1:]))
    mean, deviation = (torch.as_tensor(numbers, dtype=torch.float32).reshape(axes) for numbers in (offset, divisor))
    windows = mean + deviation * noise
    together, alone = run(windows), torch.cat([run(one[None]) for one in windows])
    difference, largest = float((together - alone).abs().max()), float(together.abs().max())
    if difference > _TOLERANCE * largest:
        raise InputError(
            f"{what} must answer for each window alone, but its logits for {_WINDOWS} windows together and one by one "
            f"differ by {difference:.2g} (largest logit {largest:.3g}). {_REMEDY}, or replace what mixes windows, such "
            "as a normalisation over the batch in evaluation."
        )


def check_net_alone(net: Backbone, shape: tuple[int, ...], what: str) -> None:
    """As :func:`check_alone`, of a net in evaluation mode that reads its view."""
    check_alone(lambda x: net(x).logits, net, shape, what, net.standardize.mean, net.standardize.std)


def warning_of_batches(name: str, size: int | None = None) -> str:
    """What is said where results of such a net are written.

    Args:
        name: of its class.
        size: windows of a batch; None: of the caller's choice.
    """
    held = "of one batch size and order" if size is None else f"of batches of {size} windows in this order"
    return f"the answers of {name} for a window depend on the others in its batch, so these are {held} alone."
