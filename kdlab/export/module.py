"""An exported file that is read again: its card, and what runs it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from kdlab.export.formats import FORMATS
from kdlab.export.physical import PhysicalNet
from kdlab.export.pretrained import is_pretrained, read_folder
from kdlab.export.reading import REMEDY, check_card
from kdlab.export.stored import OnnxModule, read_card, read_program, read_weights
from kdlab.files import one_line, read_json
from kdlab.methods.checkpoints import check_types, weights_hash
from kdlab.methods.descriptions import check_weights
from kdlab.methods.label_kinds import probabilities_of
from kdlab.nets.base import build
from kdlab.types import InputError, MissingFileError


class Exported:
    """An exported file, ready for a forward pass.

    Attributes:
        path: the file.
        card: its description, see :mod:`kdlab.export.card`.
        module: what runs it, windows ``(B, C, T)`` or images ``(B, C, H, W)`` to logits ``(B, K)``.
    """

    def __init__(self, path: Path, card: dict[str, Any], module: nn.Module) -> None:
        self.path, self.card, self.module = path, card, module

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels and samples of a window, or channels, height and width of an image."""
        return tuple(int(n) for n in self.card["input"]["shape"][1:])

    def __call__(self, windows: npt.ArrayLike | Tensor) -> Tensor:
        """Logits of windows.

        Args:
            windows: ``(B, C, T)``, or one ``(C, T)``, in the units and the order of channels of the card; images with
                ``H, W`` for ``T``.

        Returns:
            ``(B, K)``, or ``(K,)``.

        Raises:
            InputError: for another shape, for NaN or infinite samples, and for samples so large that the logits are
                not finite.
        """
        x = torch.as_tensor(windows, dtype=torch.float32).cpu()
        shape = self.shape
        if x.ndim not in (len(shape), len(shape) + 1) or tuple(x.shape[-len(shape) :]) != shape or 0 in x.shape:
            names = ", ".join(channel["name"] for channel in self.card["channels"])
            raise InputError(
                f"windows: must be (B, {', '.join(map(str, shape))}) or one window, channels {names}, but got shape "
                f"{tuple(x.shape)}. Cut and order them as in the card of {self.path.name}."
            )
        if not bool(torch.isfinite(x).all()):
            raise InputError("windows: must be finite, but got NaN or infinite samples. Fill or drop them first.")
        with torch.no_grad():
            logits: Tensor = self.module(x if x.ndim > len(shape) else x[None])
        if not bool(torch.isfinite(logits).all()):
            raise InputError(
                "windows: must have samples of a size that float32 can compute with, but their logits are not finite. "
                "Check the units, or leave these windows out."
            )
        return logits if x.ndim > len(shape) else logits[0]

    def probabilities(self, windows: npt.ArrayLike | Tensor) -> Tensor:
        """Probabilities of the classes of windows, in the order of ``card["classes"]``.

        They sum to 1; with ``labels: many`` on the card each class has its own, and is present above one half.

        Args:
            windows: as for a call.

        Returns:
            ``(B, K)``, or ``(K,)``.
        """
        logits = self(windows)
        found = probabilities_of(logits.reshape(-1, logits.shape[-1]), self.card.get("labels") == "many")
        return found.reshape(logits.shape)


def load(path: str | PathLike[str]) -> Exported:
    """Read an exported file of any format.

    No code in a file is run: of a ``.pt`` the net is built again from classes that are loaded, a ``.pt2`` may hold
    tensors and ATen operations only. A file that is not the one of its card is refused: by its hash in the card
    beside it, without which a ``.pt``, a ``.pt2`` and a folder are known by the hash of their weights in the card
    inside. An ``.onnx`` without the card beside it is read as it is.

    Args:
        path: a ``.pt``, ``.pt2`` or ``.onnx`` that :func:`kdlab.export.export` wrote, or the folder of a student.

    Returns:
        A callable with the file's ``card``: the one beside it, or where there is none (or that of a file of another
        format) the one inside, which lacks what was measured after the file was written.

    Raises:
        MissingFileError: when the file is not there.
        InputError: when kdlab did not export it, it or its card is damaged, or what runs it is not installed.
    """
    return open_exported(path)


def open_exported(path: str | PathLike[str], check: bool = True) -> Exported:
    """As :func:`load`; without ``check`` of the weights, for a file that has just been written."""
    path = Path(path)
    if is_pretrained(path):
        card, net = read_folder(path)
        return Exported(path, card, PhysicalNet(net, **card["scale"]).eval())
    if not path.exists():
        raise MissingFileError(f"path: must be an exported file, but {str(path)!r} does not exist. Name one.")
    read = [suffix for format, suffix in FORMATS.items() if format not in ("c", "pretrained")]
    if path.suffix == FORMATS["c"]:
        raise InputError(
            f"path: must be a file that ends in {', '.join(read)}, but got C source, {str(path)!r}. Compile it (cc "
            "-std=c99 -O2 -shared -fPIC NAME.c -o NAME.so) and read the library: kdlab.export.c.load('NAME.so')."
        )
    if path.suffix not in read or not path.is_file():
        raise InputError(
            f"path: must be a file that ends in {', '.join(read)}, or the folder of a student, "
            f"but got {str(path)!r}. Name one."
        )
    beside = _card_beside(path)
    card = read_card(path)
    if FORMATS[card["format"]] != path.suffix:
        raise InputError(f"path: {str(path)!r} is of format {card['format']!r} by its card. Restore its suffix.")
    return Exported(path, beside or card, _read(path, card, check))


def _card_beside(path: Path) -> dict[str, Any] | None:
    """The card beside a file, if it is of this file by its hash; none, where it is of a file of another format.

    Raises:
        InputError: when the hash is another's, or the card is damaged.
    """
    place = card_path(path)
    if not place.is_file():
        return None
    try:
        card = check_card(read_json(place, "card"), path)
    except InputError as error:
        raise InputError(f"{error} Or remove {place.name!r}: without it, the card inside the file is read.") from error
    if FORMATS[card["format"]] != path.suffix:
        return None
    digest = card["file"].get("sha256") if isinstance(card.get("file"), Mapping) else None
    if digest != sha256(path):
        raise InputError(
            f"path: {str(path)!r} is not the file that its card {place.name!r} describes (sha256 {digest!r:.20} "
            f"there): it is damaged, or one of them was replaced. {REMEDY}."
        )
    return card


def card_path(path: Path) -> Path:
    """Where the card of an exported file lies: ``<file>.json``."""
    return path.with_name(f"{path.name}.json")


def sha256(path: Path) -> str:
    """The hash of a file's bytes, as ``sha256sum`` prints it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read(path: Path, card: Mapping[str, Any], check: bool) -> nn.Module:
    if path.suffix == FORMATS["onnx"]:
        return OnnxModule(path)
    module = read_program(path) if path.suffix == FORMATS["torch.export"] else _rebuild(path, card)
    held = {name.removeprefix("net."): value for name, value in module.state_dict().items() if name.startswith("net.")}
    if check and card["provenance"].get("weights", "") not in ("", weights_hash(held)):
        raise InputError(f"path: the weights in {str(path)!r} are not those of its card; it is damaged. {REMEDY}.")
    return module.eval() if path.suffix == FORMATS["torch"] else module


def _rebuild(path: Path, card: Mapping[str, Any]) -> nn.Module:
    scale, what = card["scale"], f"path: {str(path)!r}"
    state = read_weights(path).get("state_dict")
    check_weights(state, what)
    assert isinstance(state, Mapping)  # as was checked
    try:
        net = build(card["provenance"].get("net") or {}, state)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    module = PhysicalNet(net, scale["offset"], scale["divisor"], scale["clip"])
    check_types(module, state, what)
    try:
        module.load_state_dict(state)
    except Exception as error:  # RuntimeError for names and shapes, others for what is no ordinary tensor
        raise InputError(f"{what}: the weights are not those of {net.spec}. {one_line(error)}") from error
    return module
