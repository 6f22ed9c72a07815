"""The form of the description in a checkpoint: checked once, so that readers may rely on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from kdlab.types import InputError

_VALUES, _LEVELS = 1_000_000, 32  # of a description; one that contains itself is refused there, too
_Test = Callable[[Any], bool]


def check_description(described: Any, what: str) -> None:
    """Check the description in a checkpoint; unknown keys are ignored.

    Args:
        described: the value under the key of the description.
        what: the name of the checkpoint in a message.

    Raises:
        InputError: naming what is wrong with it.

    Example:
        >>> net = {"class_path": "kdlab.nets.vgg.VGG", "init_args": {"depth": 8}}
        >>> check_description({"net": net, "view": 3}, "teacher")
        Traceback (most recent call last):
        ...
        kdlab.types.InputError: teacher: the checkpoint is damaged: its view must be a word, but is 3. Train it again.
    """
    if not isinstance(described, Mapping):
        raise _damaged(what, "description", "a mapping", described)
    for key, (constraint, test) in _DESCRIPTION.items():
        if not test(described.get(key)):
            raise _damaged(what, key, constraint, described.get(key))
    _check_fingerprint(described.get("fingerprint") or {}, what)


def check_weights(state: Any, what: str) -> None:
    """Check that a state dict holds dense tensors under words.

    Raises:
        InputError: naming the entry that is wrong.
    """
    if not isinstance(state, Mapping):
        raise _damaged(what, "state_dict (weights)", "a mapping", state)
    for name, value in state.items():
        if type(name) is not str:
            raise _damaged(what, "state_dict (weights)", "a mapping with words as keys", name)
        dense = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type != "meta"
        if name.startswith("net.") and not (dense and not value.is_quantized):
            raise _damaged(what, f"weight {name[:100]!r}", "a dense tensor", value)


def check_progress(checkpoint: Mapping[str, Any], what: str) -> None:
    """Check the progress of the training in a checkpoint, as far as it is there.

    Raises:
        InputError: naming the entry that is wrong.
    """
    for key, (constraint, test) in _PROGRESS.items():
        if key in checkpoint and not test(checkpoint[key]):
            raise _damaged(what, key, constraint, checkpoint[key])


def _damaged(what: str, key: str, constraint: str, value: Any) -> InputError:
    if isinstance(value, Mapping | list | tuple | Tensor) or (type(value) is int and abs(value) >= 10**50):
        value = f"a {type(value).__name__}"
    else:
        value = "missing" if value is None else repr(value)[:100]
    return InputError(
        f"{what}: the checkpoint is damaged: its {key} must be {constraint}, but is {value}. Train it again."
    )


# ---- kinds of values ------------------------------------------------------------------------------------------------
def _word(value: Any) -> bool:
    return type(value) is str


def _number(value: Any) -> bool:
    return type(value) in (int, float) and -1e300 < value < 1e300 and math.isfinite(value)


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _or_none(test: _Test) -> _Test:
    return lambda value: value is None or test(value)


def _many(test: _Test, least: int = 0) -> _Test:
    return lambda value: type(value) in (list, tuple) and len(value) >= least and all(map(test, value))


def _by_name(test: _Test) -> _Test:
    return lambda value: isinstance(value, Mapping) and all(map(_word, value)) and all(map(test, value.values()))


def _anything(value: Any) -> bool:
    return True


def _plain(value: Any) -> bool:
    left = _VALUES

    def visit(value: Any, levels: int) -> bool:
        nonlocal left
        left -= 1
        if left < 0 or levels < 0:
            return False
        if isinstance(value, Mapping):
            return all(map(_word, value)) and all(visit(item, levels - 1) for item in value.values())
        if type(value) in (list, tuple):
            return all(visit(item, levels - 1) for item in value)
        return value is None or type(value) in (bool, int, float, str)

    return visit(value, _LEVELS)


def _net(value: Any) -> bool:
    return isinstance(value, Mapping) and _word(value.get("class_path")) and _by_name(_anything)(value.get("init_args"))


def _plain_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and _plain(value)


def _scale(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    offset, divisor = (value.get(key) or [] for key in ("offset", "divisor"))
    numbers = _many(_number, 1)(offset) and _many(_number, 1)(divisor) and type(value.get("clip", False)) is bool
    return numbers and len(offset) == len(divisor) and 0 not in divisor


def _size(value: Any) -> bool:
    return value is None or _count(value) or _many(_count)(value) or _by_name(_size)(value)


_IDS = _many(lambda one: type(one) in (str, int))
_PLAIN = ("a mapping of plain values", _or_none(_plain_mapping))
_DESCRIPTION: dict[str, tuple[str, _Test]] = {
    "net": ("{class_path, init_args}", _net),
    "view": ("a word", _word),
    "method": ("a word", _or_none(_word)),
    "view_settings": ("a word", _or_none(_word)),
    "labels": ("one or many", lambda value: value in (None, "one", "many")),
    "objective": _PLAIN,
    "fingerprint": _PLAIN,
    "amplitude": ("finite numbers of each source", _or_none(_by_name(_many(_number, 1)))),
    "selection": _PLAIN,
    "provenance": ("a mapping of plain values", lambda value: value is None or _plain_mapping(value)),
    "unlabelled": ("a count", _or_none(_count)),
    "published": ("words by name", _or_none(_by_name(lambda value: type(value) is str))),
    "auto_weights": ("finite numbers by name", _or_none(_by_name(_number))),
    "teachers": ("a mapping of mappings", _or_none(_by_name(_plain_mapping))),
}
_FINGERPRINT: dict[str, tuple[str, _Test]] = {
    "dataset": ("a word", _word),
    "grouping": ("a word", _word),
    "id": ("a word", _word),
    **dict.fromkeys(("train", "val", "test", "unlabelled", "left_out"), ("a list of ids", _IDS)),
    "unlabelled_windows": ("a count", _count),
    "classes": ("at least two words", _many(_word, 2)),
    "labels_per_window": ("one or many", lambda value: value in ("one", "many")),
    "channels": ("lists of words by source", _by_name(_many(_word, 1))),
    "scale": ("as many finite offsets and divisors (not 0) by source", _or_none(_by_name(_scale))),
    "window": ("a number of samples", _size),
    "step": ("a number of samples", _size),
    "sampling_rate": (
        "a number, or one by source",
        lambda v: v is None or _number(v) or _by_name(_or_none(_number))(v),
    ),
}
_PROGRESS: dict[str, tuple[str, _Test]] = {
    "epoch": ("a count", _count),
    "global_step": ("a count", _count),
    "optimizer_states": (
        "a list of states of optimisers",
        _many(
            lambda one: (
                isinstance(one, Mapping)
                and isinstance(one.get("state"), Mapping)
                and _many(lambda group: isinstance(group, Mapping), 1)(one.get("param_groups"))
            )
        ),
    ),
    "lr_schedulers": ("a list of mappings", _many(lambda one: isinstance(one, Mapping))),
    "callbacks": ("a mapping of mappings", _by_name(_anything)),
    "loops": ("a mapping of mappings", _by_name(lambda one: isinstance(one, Mapping))),
}


def _check_fingerprint(fingerprint: Mapping[str, Any], what: str) -> None:
    for key, (constraint, test) in _FINGERPRINT.items():
        if key in fingerprint and not test(fingerprint[key]):
            raise _damaged(what, f"fingerprint's {key}", constraint, fingerprint[key])
