"""A student as a folder that describes itself: weights (safetensors), card, and the card to read.

- ``model.safetensors``: weights and buffers of the net alone, its standardisation included; no teacher is in it.
- ``card.json``: see :mod:`kdlab.export.card`; ``file`` has the hash of the weights, ``digest`` that of the card itself.
- ``README.md``: the card in words, for readers; it is not read again, and may be edited.

Nothing in the folder is code. The net is built again from classes that are loaded; a card or weights that are missing,
cut or changed are refused. The scale is in the card, as float64, so that a student from the folder predicts as its
checkpoint does, in every bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from kdlab.export.reading import check_card
from kdlab.export.readme import readme
from kdlab.export.told import lacking
from kdlab.files import one_line, read_json, remove_leftovers, replacing
from kdlab.methods.checkpoints import assign, check_types, weights_hash
from kdlab.methods.finite import check_finite
from kdlab.nets.base import Backbone, build
from kdlab.types import InputError, MissingFileError

FORMAT = "pretrained"
WEIGHTS, CARD, README = "model.safetensors", "card.json", "README.md"
REMEDY = "Write it again (kdlab export RUN --format pretrained --overwrite), or fetch a complete copy"


class Parts(NamedTuple):
    """The files of a folder while they are written."""

    weights: Path
    card: Path
    readme: Path


def is_pretrained(path: Path) -> bool:
    """Is it a folder of a student, or what is left of one?"""
    return path.is_dir() and ((path / WEIGHTS).is_file() or (path / CARD).is_file())


def check_free(folder: Path, overwrite: bool) -> None:
    """Refuse a place that holds something, unless it is a folder whose student may be replaced.

    Raises:
        InputError: it is a file, holds other files, or holds a student and ``overwrite`` is False.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"folder: must be a folder, but {str(folder)!r} is a file. Name another place.")
    others = sorted({p.name for p in folder.iterdir()} - {WEIGHTS, CARD, README}) if folder.is_dir() else []
    there = [name for name in (WEIGHTS, CARD, README) if (folder / name).exists()]
    if others and not is_pretrained(folder):
        raise InputError(
            f"folder: must be new, empty, or of a student, but {str(folder)!r} holds {', '.join(others[:3])}. Name "
            "another folder."
        )
    if there and not overwrite:
        raise InputError(
            f"folder: {str(folder)!r} holds {', '.join(there)}. Pass overwrite=True (--overwrite), or name another "
            "folder."
        )


@contextmanager
def replaced(folder: Path) -> Iterator[Parts]:
    """The files to write; they take the place of older ones together, the weights first, at the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    with ExitStack() as opened:  # the last one that is opened is the first that is in place
        card = opened.enter_context(replacing(folder / CARD))
        text = opened.enter_context(replacing(folder / README))
        yield Parts(opened.enter_context(replacing(folder / WEIGHTS)), card, text)


def to_bytes(state: Mapping[str, Tensor]) -> bytes:
    """Weights as safetensors, sorted by name, without shared memory."""
    from safetensors.torch import save

    return bytes(save({name: state[name].detach().cpu().clone().contiguous() for name in sorted(state)}))


def finish(parts: Parts, card: Mapping[str, Any]) -> dict[str, Any]:
    """Write card and text of a folder whose weights are written, and return the card with its digest."""
    card = json.loads(json.dumps(card, allow_nan=False))
    card = {**card, "digest": digest_of(card)}
    parts.card.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    parts.readme.write_text(readme(card), encoding="utf-8")
    return dict(card)


def write_folder(folder: Path, net: Backbone, card: Mapping[str, Any], overwrite: bool) -> dict[str, Any]:
    """Write a student that was not compared with its windows.

    Args:
        folder: where.
        net: the net.
        card: without ``file`` and ``digest``.
        overwrite: replace a student that is there.

    Returns:
        The card.

    Raises:
        InputError: see `check_free`.
    """
    check_free(folder, overwrite)
    content = to_bytes(net.state_dict())
    with replaced(folder) as parts:
        parts.weights.write_bytes(content)
        return finish(parts, {**card, "file": about_file(content)})


def about_file(content: bytes) -> dict[str, Any]:
    """The entry ``file`` of the card."""
    return {"name": WEIGHTS, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def digest_of(card: Mapping[str, Any]) -> str:
    """The hash of a card without its digest."""
    rest = {key: value for key, value in card.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_folder(folder: Path) -> tuple[dict[str, Any], Backbone]:
    """Card and net of a folder.

    Raises:
        MissingFileError: there is no such folder, or a file of it is missing.
        InputError: it is damaged, of another format, or its net is of no class that is loaded.
    """
    what = f"folder: {str(folder)!r}"
    if not folder.is_dir():
        raise MissingFileError(f"{what} must be the folder of a student, but is none. Name one of save_pretrained.")
    for name in (CARD, WEIGHTS):
        if not (folder / name).is_file():
            raise MissingFileError(f"{what} must hold {WEIGHTS} and {CARD}, but {name} is missing. {REMEDY}.")
    card = check_card(read_json(folder / CARD, "card"), folder / CARD)
    if card["format"] != FORMAT:
        raise InputError(f"{what}: its card must be of format {FORMAT!r}, but is of {card['format']!r}. {REMEDY}.")
    if card.get("digest") != digest_of(card) or not isinstance(card.get("sharing"), Mapping):
        raise InputError(f"{what}: {CARD} was changed after it was written, or is damaged. {REMEDY}.")
    if (wrong := lacking(card)) is not None:
        raise InputError(f"{what}: {CARD} is damaged: {wrong}. {REMEDY}.")
    content = (folder / WEIGHTS).read_bytes()
    if card.get("file") != about_file(content):
        raise InputError(f"{what}: {WEIGHTS} is not the file of {CARD} (its hash differs): cut or replaced. {REMEDY}.")
    return card, net_from(content, card, what)


def net_from(content: bytes, card: Mapping[str, Any], what: str) -> Backbone:
    """The net of a card, with these weights.

    Args:
        content: of the weights.
        card: of the folder.
        what: the folder, for messages.

    Raises:
        InputError: the weights are no safetensors, not those of the card or of another type than the net's, or the
            net cannot be built again.
    """
    from safetensors.torch import load

    try:
        state = load(content)
    except Exception as error:  # of its own class, and others for what is damaged
        raise InputError(f"{what}: {WEIGHTS} cannot be read ({one_line(error)}). {REMEDY}.") from error
    if card["provenance"].get("weights") != weights_hash(state):
        raise InputError(f"{what}: {WEIGHTS} does not hold the weights of {CARD}. {REMEDY}.")
    try:
        net = build(card["provenance"].get("net") or {}, state)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    check_types(net, state, what)
    assign(net, state, what)
    check_finite(state, what)
    if (net.in_channels, net.num_classes) != (len(card["channels"]), len(card["classes"])):
        raise InputError(
            f"{what}: the net must read {len(card['channels'])} channels and return {len(card['classes'])} classes, as "
            f"{CARD} names, but has {net.in_channels} and {net.num_classes}. {REMEDY}."
        )
    return net.cpu().eval().requires_grad_(False)
