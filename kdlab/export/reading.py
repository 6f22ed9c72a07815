"""Checks of an exported file before it is run: its card, and for a ``.pt2`` the program in it.

``torch.export.load`` unpickles objects, evaluates expressions and loads compiled libraries if an archive holds them.
Programs that kdlab writes hold none, so an archive with anything but tensors and ATen operations is refused unread.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from kdlab.export.formats import CARD_VERSION
from kdlab.files import one_line
from kdlab.methods.checkpoints import check_archive
from kdlab.types import InputError
from kdlab.usage import FORMATS

REMEDY = "Export the checkpoint again: kdlab export CKPT --overwrite"
_LARGEST_INPUT = 2**28  # numbers of one window
_ENTRIES = re.compile(
    r"[^/]+/(data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|data/sample_inputs/model\.pt|models/model\.json|extra/card\.json|archive_format|archive_version|byteorder|version"
    r"|\.data/\w+|\.format_version|\.storage_alignment)"
)
_TARGET = re.compile(
    r"torch\.ops\.aten\.(?!(?:from_file|save)\.)[A-Za-z_0-9]+\.\w+|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|getitem|eq|ne|lt|le|gt|ge)"
    r"|torch\.sym_\w+|math\.(ceil|floor|trunc)|torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)"
)
_SAFE = re.compile(r"[\w.+\- ,:]{0,400}")
_WORDS = {
    *("Symbol", "positive", "integer", "nonnegative", "real", "True", "False", "FloorDiv", "ModularIndexing", "Mod"),
    *("PythonMod", "CleanDiv", "CeilToInt", "FloorToInt", "IntTrueDiv", "FloatTrueDiv", "Max", "Min", "Eq", "Ne"),
    *("Mul", "Add"),
    *("Integer", "Rational", "Float", "L", "args", "kwargs", "windows", "size", "stride", "storage_offset", "and"),
    *("or", "not"),
}
_TREE = {None, "builtins.tuple", "builtins.list", "builtins.dict"}


def check_card(card: Any, path: Path) -> dict[str, Any]:
    """Check that a card has what it takes to feed a file.

    Args:
        card: as read.
        path: the exported file.

    Raises:
        InputError: naming what is missing or wrong.
    """
    if not isinstance(card, Mapping):
        raise _wrong(path, "the card", "an object", card)
    version = card.get("card_version")
    if type(version) is int and version > CARD_VERSION:
        raise InputError(
            f"path: the card of {str(path)!r} must be of card_version {CARD_VERSION} at most, but is of {version}, of "
            "a later kdlab. Update kdlab: pip install -U kdlab"
        )
    for key, (constraint, test) in _CARD.items():
        try:
            right = test(card.get(key), card)
        except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError):
            right = False
        if not right:
            raise _wrong(path, key, constraint, card.get(key))
    return dict(card)


def _wrong(path: Path, key: str, constraint: str, value: Any) -> InputError:
    shown = "missing" if value is None else repr(value)[:80]
    return InputError(
        f"path: the card of {str(path)!r} is damaged: {key} must be {constraint}, but got {shown}. {REMEDY}."
    )


def _word(value: Any) -> bool:
    return isinstance(value, str)


def _channel(value: Any) -> bool:
    size = value.get("root_mean_square", 0.0)
    return _word(value["name"]) and _finite(size) and size >= 0


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _numbers(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(type(v) in (int, float) for v in value)


def _shape(value: Any, card: Mapping[str, Any]) -> bool:
    batch, *axes = value["shape"]
    positive = all(type(n) is int and n > 0 for n in axes) and len(axes) in (2, 3) and batch == "batch"
    return positive and math.prod(axes) <= _LARGEST_INPUT and axes[0] == len(card["channels"])


def _scale(value: Any, card: Mapping[str, Any]) -> bool:
    count = len(card["channels"])
    finite = _numbers(value["offset"], count) and _numbers(value["divisor"], count) and type(value["clip"]) is bool
    return finite and all(map(math.isfinite, value["offset"] + value["divisor"])) and 0 not in value["divisor"]


_CARD: dict[str, tuple[str, Any]] = {
    "format": (f"one of {', '.join(FORMATS)}", lambda v, c: v in FORMATS),
    "classes": ("at least two words", lambda v, c: isinstance(v, list) and len(v) > 1 and all(map(_word, v))),
    "labels": ("one or many", lambda v, c: v in (None, "one", "many")),
    "channels": ("a list of {name, unit}", lambda v, c: isinstance(v, list) and v and all(map(_channel, v))),
    "card_version": (f"a whole number up to {CARD_VERSION}", lambda v, c: v is None or (type(v) is int and v >= 1)),
    "sampling_rate": ("a positive number, or null", lambda v, c: v is None or (_finite(v) and v > 0)),
    "window": ("an object", lambda v, c: isinstance(v, Mapping)),
    "input": ("{name, shape, dtype} with a channel each", _shape),
    "output": ("{name, shape, dtype} with a logit per class", lambda v, c: v["shape"] == ["batch", len(c["classes"])]),
    "scale": ("a finite offset and divisor (not 0) per channel", _scale),
    "provenance": ("an object", lambda v, c: isinstance(v, Mapping)),
}


def check_program(path: Path) -> None:
    """Check that a ``.pt2`` holds tensors and ATen operations only, and that its check sums fit.

    Raises:
        InputError: naming what else it holds, or that it is damaged.
    """
    try:
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            reason = next(_not_ours(archive), None)
    except Exception as error:  # damaged archives raise nearly anything
        raise InputError(f"path: {str(path)!r} is damaged ({one_line(error)}). {REMEDY}.") from error
    if reason:
        raise InputError(
            f"path: {str(path)!r} holds {reason[:200]}, which no program of kdlab does, and loading it could run any "
            f"code; it was not loaded. {REMEDY}, or load it with torch.export.load if you trust it."
        )


def _not_ours(archive: zipfile.ZipFile) -> Iterator[str]:
    names = archive.namelist()
    yield from (f"{name!r}" for name in names if not _ENTRIES.fullmatch(name))
    for name in names:
        if name.endswith("_config.json"):
            entries = json.loads(archive.read(name))["config"]
            yield from (f"the pickled tensor {key!r}" for key, one in entries.items() if one["use_pickle"] is not False)
        elif name.endswith("sample_inputs/model.pt"):
            torch.load(io.BytesIO(archive.read(name)), map_location="cpu", weights_only=True)
        elif name.endswith("models/model.json"):
            yield from _foreign_parts("", json.loads(archive.read(name)))


def _foreign_parts(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if not _SAFE.fullmatch(name) or name.startswith(("as_custom", "as_script")):
                yield f"the key {name!r}"
            yield from _foreign_parts(name, item)
    elif isinstance(value, list):
        for item in value:
            yield from _foreign_parts(key, item)
    elif isinstance(value, str) and not _understood(key, value):
        yield f"{key} {value!r}"


def _understood(key: str, text: str) -> bool:
    if key in ("target", "as_operator"):
        return _TARGET.fullmatch(text) is not None
    if key in ("expr_str", "guards_code"):
        words = re.findall(r"[A-Za-z_]\w*", text)
        plain = re.fullmatch(r"[\w\s+\-*/(),='<>!%\[\].]{0,1000}", text) is not None and "**" not in text
        return plain and all(word in _WORDS or re.fullmatch(r"[suz][a-z]{0,3}\d+", word) for word in words)
    if key in ("in_spec", "out_spec"):
        return _tree(json.loads(text)[1]) if text else True
    return _SAFE.fullmatch(text) is not None


def _tree(spec: Mapping[str, Any]) -> bool:
    return spec["type"] in _TREE and all(_tree(child) for child in spec["children_spec"])
