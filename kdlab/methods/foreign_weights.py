"""Weights of files that kdlab did not write: a state dict, plain or wrapped, for a net that the user names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from kdlab.methods.checkpoints import assign
from kdlab.nets.base import Backbone
from kdlab.nets.given_names import unwrapped, without_prefix
from kdlab.types import InputError


def with_foreign_weights(
    net: Backbone | None, checkpoint: Mapping[str, Any], what: str, statistics_given: bool
) -> Backbone:
    """Load foreign weights into a net; keys of released wide residual networks are renamed.

    Args:
        net: the net that the weights belong to.
        checkpoint: as read.
        what: its name in a message, with its file.
        statistics_given: whether mean and standard deviation of the view are given, where the weights hold none.

    Returns:
        The net.

    Raises:
        InputError: without weights, net or statistics, or when the weights are those of another net.
    """
    state: Any = unwrapped(checkpoint)
    state = {str(k).removeprefix("module."): v for k, v in state.items() if isinstance(v, Tensor)}
    if not state:
        raise InputError(f"{what} must hold a state dict, but holds no weights. Name another file.")
    if net is None:
        raise InputError(
            f"{what} must describe its net, but was not written by kdlab. Pass the net, for example "
            "net={class_path: WideResNet, init_args: {...}}."
        )
    rename: Any = getattr(net, "rename_released", None)  # nets with released weights
    if rename is not None:
        state = rename(state)
    own = [name for name in net.state_dict() if not name.startswith("standardize.")]
    state = without_prefix(state, own)
    if not any(key.startswith("standardize.") for key in state):
        if not statistics_given:
            raise InputError(
                f"{what} must hold the statistics of its view, but has none. Pass mean= and std= with "
                f"{net.in_channels} numbers each (zeros and ones if its inputs were not standardised)."
            )
        state |= {f"standardize.{k}": v for k, v in net.standardize.state_dict().items()}
    assign(net, state, what)
    return net
