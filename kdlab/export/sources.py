"""What is exported: a net with what is known of it, from a checkpoint or from this process."""

from __future__ import annotations

import copy
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch import LightningDataModule
from torch import nn

from kdlab.data import WindowDataModule
from kdlab.methods.base import Method
from kdlab.methods.checkpoints import (
    KEPT_FILES,
    check_not_masked,
    description,
    find_checkpoint,
    net_of,
    read_checkpoint,
)
from kdlab.methods.finite import check_finite
from kdlab.nets.base import Backbone
from kdlab.nets.plain import as_backbone
from kdlab.types import InputError


class Source(NamedTuple):
    """A trained net.

    Attributes:
        described: as in a checkpoint, and ``epoch``.
        net: in float32 and evaluation mode, on the CPU; a copy.
        file: the checkpoint; None of a net of this process.
    """

    described: dict[str, Any]
    net: Backbone
    file: Path | None


def find_source(given: str | PathLike[str] | nn.Module) -> Path | None:
    """The checkpoint that is named; None for a net of this process."""
    return None if isinstance(given, nn.Module) else find_checkpoint(given, KEPT_FILES, "CKPT")


def read_source(
    given: str | PathLike[str] | nn.Module, file: Path | None, datamodule: LightningDataModule, net: nn.Module | None
) -> Source:
    """The net and its description.

    Args:
        given: a checkpoint, a method that was trained in this process, or a net.
        file: the checkpoint, if it is one.
        datamodule: the data; what a net alone was trained on. Of a data module that is not kdlab's, the training data
            need not be known.
        net: the net of a checkpoint.

    Raises:
        InputError: when its training data are not known, or it cannot be built.
    """
    outside = not isinstance(datamodule, WindowDataModule)
    if file is not None:
        return Source(*read_net(file, net, outside), file)
    assert isinstance(given, nn.Module)  # as `find_source` found
    if net is not None:
        raise InputError("net: must be left out where a method or a net is exported, but got one. Pass one of them.")
    if isinstance(given, Method):
        return of_method(given, outside)
    if not isinstance(datamodule, WindowDataModule):
        raise InputError(
            f"net: a net alone must come with a data module of kdlab, but got {type(datamodule).__name__}. Pass the "
            "method that trained it, or its checkpoint."
        )
    return _of_net(given, datamodule)


def read_net(path: Path, net: nn.Module | None = None, outside: bool = False) -> tuple[dict[str, Any], Backbone]:
    """The description and the net of one of our checkpoints, in float32 and evaluation mode.

    Args:
        path: the checkpoint.
        net: a net of its kind, which is copied; None: it is built from the description.
        outside: its data are of another origin than kdlab's, so that they need not be in it.

    Raises:
        InputError: when kdlab did not write it, its training data are not in it, or its weights are not
            those of its net, or not finite.
    """
    checkpoint = read_checkpoint(path, "CKPT")
    described = description(checkpoint, "CKPT")
    if described is None:
        raise InputError(
            f"CKPT: {str(path)!r} was not written by kdlab, so its classes, channels and units are not known. Expected "
            "a checkpoint of kdlab fit."
        )
    if not described.get("fingerprint") and not outside:
        raise InputError(
            f"CKPT: {str(path)!r} must name the data that it was trained on, but does not, so its units are not "
            "known. Train it with "
            "a data module of kdlab (ArrayDataModule takes your arrays)."
        )
    given = None if net is None else as_backbone(net, "net", _classes(described))
    made = net_of(checkpoint, f"CKPT: {str(path)!r}", copy.deepcopy(given))
    check_finite(made.state_dict(), f"CKPT: {str(path)!r}")
    spec = described["net"] if net is None else made.spec
    return {**described, "net": spec, "epoch": checkpoint.get("epoch")}, _ready(made)


def of_method(method: Method, outside: bool = False) -> Source:
    """A method that was trained in this process.

    Args:
        method: the method.
        outside: its data are of another origin than kdlab's, so that they need not be known.

    Raises:
        InputError: its training data are not known, or its weights are not finite.
    """
    method.check_begun("kdlab.export.export({file!r}, ...)")
    described = method.describe()
    if not described.get("fingerprint") and not outside:
        raise InputError(
            f"{type(method).__name__}: must have been trained in this process with a data module of kdlab, or the "
            "units of its windows are not known, but was not. Fit it first, or export its checkpoint with net=."
        )
    check_not_masked(method.net.state_dict(), type(method).__name__)
    net = copy.deepcopy(method.net)
    check_finite(net.state_dict(), type(method).__name__)
    return Source({**described, "epoch": described["provenance"].get("epoch")}, _ready(net), None)


def _of_net(net: nn.Module, datamodule: WindowDataModule) -> Source:
    """A net alone: the data module's only view and data are taken for those that it was trained on."""
    if len(datamodule.view_names) != 1:
        raise InputError(
            f"net: a net alone must come with a data module of one view, but got {', '.join(datamodule.view_names)}. "
            "Pass the method that trained it, its checkpoint, or a data module with the view that it reads."
        )
    (view,) = datamodule.view_names
    described: dict[str, Any] = {
        "fingerprint": datamodule.fingerprint,
        "view": view,
        "view_settings": datamodule.view_settings(view),
        "provenance": {},
    }
    check_not_masked(net.state_dict(), "net")
    made = copy.deepcopy(as_backbone(net, "net", _classes(described)))
    check_finite(made.state_dict(), "net")
    return Source({**described, "net": made.spec, "epoch": None}, _ready(made), None)


def _classes(described: dict[str, Any]) -> int | None:
    """Number of classes of the training data, where these are known."""
    fingerprint = described.get("fingerprint")
    return len(fingerprint["classes"]) if fingerprint else None


def _ready(net: Backbone) -> Backbone:
    return net.cpu().float().eval().requires_grad_(False)
