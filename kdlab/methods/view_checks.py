"""Checks of the views that nets read against those that a data module computes."""

from __future__ import annotations

import torch

from kdlab.files import one_line
from kdlab.methods.dry_run import evaluating
from kdlab.nets.base import Backbone
from kdlab.types import InputError, Windows


def check_view(who: str, view: str, net: Backbone, windows: Windows, num_classes: int | None = None) -> None:
    """Check that the data module computes ``view`` in the shape and with the classes that ``net`` expects.

    Args:
        who: name of the net in messages.
        view: key of the view.
        net: the net that reads it.
        windows: the data module; what it does not declare is not checked.
        num_classes: number of classes of the output that is used; None: that of the net.

    Raises:
        InputError: naming what is missing or differs.
    """
    names = windows.view_names
    if not names:
        return
    if view not in names:
        raise InputError(
            f"{who}: reads view {view!r}, but the data module emits {', '.join(map(repr, names))}. Add it to the data "
            "module's views, or name one of these."
        )
    shape, classes = windows.view_shape(view), windows.num_classes
    if shape and (len(shape) != net.ndim + 1 or shape[0] != net.in_channels or min(shape[1:]) < net.stride):
        if len(shape) == net.ndim + 1 and shape[0] == net.in_channels:
            remedy = "Use a longer window or a larger image" + (f", or {net.smaller} of the net" if net.smaller else "")
        elif who.startswith("teacher"):
            remedy = "Train one on this view, or select its channels (Raw(channels=...)) under a view name of its own"
        else:
            remedy = f"Set in_channels={shape[0]} and ndim={len(shape) - 1}, or read another view"
        raise InputError(
            f"{who}: view {view!r} must have {net.in_channels} channels and {net.ndim} axes of at least {net.stride} "
            f"for its net, but got the shape {shape} (channels first). {remedy}."
        )
    own = net.num_classes if num_classes is None else num_classes
    if classes is not None and own != classes:
        raise InputError(
            f"{who}: num_classes of its net must be {classes}, the number of classes of the data "
            f"({', '.join(map(str, windows.classes[:12]))}), but got {own}. Set num_classes={classes}, or "
            "take a net that was trained on these classes."
        )
    if shape:
        _check_output(who, view, net, shape)


def check_dtype(who: str, net: Backbone, precision: str | None) -> None:
    """Check that a net has no 16-bit weights where it is given windows of 32 bits.

    Args:
        who: name of the net in messages.
        net: the net.
        precision: of the trainer; None: not known, and not checked.

    Raises:
        InputError: with the type of its weights.
    """
    if precision != "32-true":
        return
    for parameter in net.parameters():
        if parameter.dtype in (torch.bfloat16, torch.float16):
            raise InputError(
                f"{who}: the net must have 32-bit weights where the trainer's precision is 32-true, but got "
                f"{parameter.dtype}. Pass net.float()."
            )


@torch.no_grad()
def _check_output(who: str, view: str, net: Backbone, shape: tuple[int, ...]) -> None:
    """Check on two all-zero windows of the view that a net returns as many logits as it has classes.

    Raises:
        InputError: when it cannot read them, or returns something else; what the net raises is in the message.
    """
    like = next(net.parameters(), net.standardize.mean)
    with evaluating(net), torch.random.fork_rng([like.device] if like.device.type == "cuda" else []):
        try:
            logits = net(like.new_zeros(2, *shape)).logits
        except InputError as error:
            raise InputError(f"{who}: {error}") from error
        except Exception as error:  # nets of other libraries raise whatever a wrong size makes them raise
            raise InputError(
                f"{who}: the net must read windows of view {view!r}, of shape {shape} (channels first), but raised "
                f"{type(error).__name__}: {one_line(error)}. Give it a net for this shape, or another view."
            ) from error
    if tuple(logits.shape) != (2, net.num_classes):
        raise InputError(
            f"{who}: the net must return {net.num_classes} logits for a window, its num_classes, but two windows of "
            f"view {view!r} give an output of shape {tuple(logits.shape)}. Set num_classes to the outputs of its last "
            "layer, or give that layer as many outputs as there are classes."
        )


def view_settings(windows: Windows, view: str, trained: str | None = None, again: bool = False) -> str | None:
    """The view as the data module computes it, as text; None where it is not known.

    Args:
        windows: the data module.
        view: name of the view.
        trained: the view that a net was trained on, whose ranges replace those that are ``"auto"`` here.
        again: also where another net's ranges replaced them before.
    """
    if trained:
        windows.adopt_view(view, trained, again)
    return windows.view_settings(view)


def check_version(who: str, view: str, version: str, windows: Windows) -> None:
    """Check that the data module computes a second version of a view, and that it is the same view.

    Args:
        who: name of the net in messages.
        view: key of the view.
        version: what comes after the slash, such as ``"second"``.
        windows: the data module; one whose views are not known passes.

    Raises:
        InputError: naming the setting.
    """
    names, key = windows.view_names, f"{view}/{version}"
    if not names:
        return
    if key not in names:
        raise InputError(
            f"{who}: reads view {key!r} beside {view!r}, but the data module emits {', '.join(map(repr, names))}. Add "
            f"{key!r} to the data module's views (in YAML: {key}: null)."
        )
    one, other = (view_settings(windows, name) for name in (view, key))
    if one != other:
        raise InputError(
            f"{who}: {view!r} and {key!r} must be the same view, but are {one} and {other}. Set {key}: null in the "
            "data module's views."
        )
