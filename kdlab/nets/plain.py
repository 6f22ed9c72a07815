"""A plain ``torch.nn.Module`` where a net of kdlab is expected: its head and its input are found, and tried."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from kdlab.nets.adapter import Adapter
from kdlab.nets.base import Backbone
from kdlab.types import InputError

_TRIED = 5  # heads, the last ones first
_CONVOLUTIONS: dict[type[nn.Module], int] = {nn.Conv1d: 1, nn.Conv2d: 2}


def as_backbone(net: Any, who: str, num_classes: int | None = None) -> Backbone:
    """A net of kdlab as it is, and any other net in an `Adapter` without taps.

    The head is the last linear layer that the net returns the output of, with ``num_classes`` outputs; channels and
    axes of the input are those of the first convolution. Where the net can read a window of 32 samples, that is tried
    here; a method tries it on windows of the shape of its data before the fit.

    Args:
        net: a `Backbone`, or any ``torch.nn.Module``.
        who: what takes it, for messages.
        num_classes: number of classes; None: as many as the head has.

    Raises:
        InputError: when it is no net, has another number of classes, or its head or input is not found; shows the
            `Adapter` to write.

    Example:
        >>> net = nn.Sequential(nn.Conv1d(3, 8, 5), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 4))
        >>> backbone = as_backbone(net, "Teacher")
        >>> backbone.in_channels, backbone.num_classes, backbone(torch.zeros(2, 3, 20)).logits.shape
        (3, 4, torch.Size([2, 4]))
    """
    if isinstance(net, Backbone):
        if num_classes not in (None, net.num_classes):
            raise InputError(
                f"{who}: num_classes must be the {net.num_classes} of the net, but got {num_classes}. Leave it out, or "
                "give the net as many classes."
            )
        return net
    if not isinstance(net, nn.Module):
        raise InputError(f"{who}: net must be a Backbone or a torch.nn.Module, but got {net!r:.100}. Pass a net.")
    first: Any = next((m for m in net.modules() if isinstance(m, tuple(_CONVOLUTIONS))), None)
    heads = [
        (path, m.out_features)
        for path, m in net.named_modules()
        if path and isinstance(m, nn.Linear) and num_classes in (None, m.out_features) and m.out_features > 1
    ]
    if first is None or not heads:
        lacks = "convolution" if first is None else f"linear layer of {num_classes or 'two or more'} outputs"
        raise InputError(
            f"{who}: net must begin with a convolution and end in a linear layer to be taken as it is, but "
            f"{type(net).__name__} has no {lacks}. Pass {_written(net, None, num_classes)}."
        )
    ndim = next(n for kind, n in _CONVOLUTIONS.items() if isinstance(first, kind))
    refused: list[tuple[str, InputError]] = []
    for path, classes in reversed(heads[-_TRIED:]):
        try:
            return _tried(Adapter(net, path, ndim=ndim, in_channels=first.in_channels, num_classes=classes))
        except InputError as error:
            refused.append((path, error))
    head, why = refused[0]
    raise InputError(f"{who}: {why} Pass {_written(net, head, num_classes)}.") from why


def _tried(adapter: Adapter) -> Adapter:
    """The adapter, if its net returns the output of the head.

    Raises:
        InputError: when it does not; what it does with windows that it cannot read is not known.
    """
    like = next(adapter.parameters())
    modes = [(part, part.training) for part in adapter.modules()]
    adapter.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng([]):
            adapter(like.new_zeros(2, adapter.in_channels, *(32,) * adapter.ndim))
    except InputError:
        raise
    except Exception:  # the net reads other sizes
        pass
    finally:
        for part, mode in modes:
            part.training = mode
    return adapter


def _written(net: nn.Module, head: str | None, num_classes: int | None) -> str:
    return (
        f"kdlab.nets.Adapter({type(net).__name__}(...), head={head or '...'!r}, in_channels=..., "
        f"num_classes={num_classes or '...'}), with arguments= and output= for a forward with flags or a dict"
    )
