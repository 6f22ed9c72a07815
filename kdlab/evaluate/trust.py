"""The data module of a run's ``config.yaml``, from an untrusted run folder.

Of the config only ``data`` is read. Its classes are found among kdlab's own, which are loaded already, and its values
must be of the kinds that these take; nothing else is imported or called. Overrides on the command line are the
user's own, and may name any class.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities import rank_zero_warn

from kdlab.augment import Augmentation
from kdlab.data import Scale, WindowDataModule
from kdlab.data.mixing import Mixing
from kdlab.evaluate.own_classes import arguments, full_name, leaves, own_class, own_classes
from kdlab.files import flow, one_line, parse_yaml, read_yaml
from kdlab.types import InputError, input_error_in
from kdlab.views import View

#: what a config may name, and where kdlab's own classes of it lie
KINDS: tuple[type[Any], ...] = (WindowDataModule, View, Augmentation, Mixing, Scale)
#: arguments that name folders of a data module
WRITES = ("cache_dir",)
REMEDY = (
    "If you trust this run, pass --trust-config (then its config is a program: its classes are imported and called), "
    "or name a config of yours with --config"
)
_LARGEST, _SIDE = 10**9, 4096  # numbers of a data module; those of a view, an augmentation, ...


def data_module(config: Path, overrides: Sequence[str] = ()) -> WindowDataModule:
    """The data module that an untrusted config describes, not set up.

    Where it would write (``cache_dir``) is left to its default, which a user may override.

    Args:
        config: the ``config.yaml`` of a run folder.
        overrides: words of the user's command line, ``--data.init_args.root=/my/recordings``.

    Raises:
        InputError: for anything but kdlab's own data module, views, augmentations, mixing and scales with values that
            they take, and for a wrong override.
    """
    content = read_yaml(config, "CKPT")
    if "include" in content:  # it would read files outside the run folder
        raise InputError(f"{str(config)!r}: include must not stand in the config of a run folder. {REMEDY}.")
    data = _Reader(config).module(content.get("data"))
    parser = _Parser(allow_abbrev=False, exit_on_error=False)
    parser.add_lightning_class_args(WindowDataModule, "data", subclass_mode=True)
    others = [word for word in overrides if word.startswith("--") and not word.startswith("--data")]
    if others:
        raise InputError(
            f"{others[0]}: only data are read from {str(config)!r}; the net comes from the checkpoint. {REMEDY}."
        )
    instantiate = getattr(parser, "instantiate", parser.instantiate_classes)  # its name in newer jsonargparse
    try:
        made = instantiate(parser.parse_args([f"--data={flow(data)}", *overrides]))
    except (ArgumentError, ValueError, TypeError, OSError, AttributeError, KeyError) as error:
        raise _input_error(error, config) from error
    module: WindowDataModule = made.data
    return module


def config_beside(checkpoint: Path) -> Path | None:
    """The ``config.yaml`` of the run that a checkpoint belongs to."""
    folders = (checkpoint.parent, checkpoint.parent.parent)
    return next((f / "config.yaml" for f in folders if (f / "config.yaml").is_file()), None)


class _Parser(LightningArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> typing.NoReturn:
        text = " ".join(str(message).split())
        raise InputError(text if len(text) < 500 else f"{text[:100]} ... {text[-390:]}") from ex


def _input_error(error: BaseException, config: Path) -> InputError:
    return input_error_in(error) or InputError(
        f"{str(config)!r}: data cannot be made of it ({one_line(error)}). {REMEDY}."
    )


@functools.cache
def settings() -> tuple[type[Any], ...]:
    """Dataclasses among the arguments of kdlab's data modules: several values under names, and no class in a config."""
    hints = [hint for module in own_classes(WindowDataModule) for hint in arguments(module).values()]
    kinds = dict.fromkeys(kind for hint in hints for kind in leaves(hint) if dataclasses.is_dataclass(kind))
    inner = [hint for kind in kinds if isinstance(kind, type) for hint in arguments(kind).values()]
    kinds |= dict.fromkeys(kind for hint in inner for kind in leaves(hint) if dataclasses.is_dataclass(kind))
    return tuple(kind for kind in kinds if isinstance(kind, type) and not issubclass(kind, KINDS))


class _Reader:
    """Replaces the class names in a file by the full names of kdlab's classes; refuses all else."""

    def __init__(self, config: Path) -> None:
        self.config = config

    def module(self, data: Any) -> dict[str, Any]:
        """The data module."""
        if data is None:
            raise self._error("data", "a data module", data)
        read = self._object("data", data, WindowDataModule)
        cls = own_class(read["class_path"], WindowDataModule)
        for name in WRITES:
            left_out = read["init_args"].pop(name, None)
            if left_out is not None and cls and str(left_out) != str(inspect.signature(cls).parameters[name].default):
                rank_zero_warn(
                    f"{name}={left_out!r} of {str(self.config)!r} is not used: a config of a run folder must "
                    "not choose "
                    f"where files are written. Pass --data.init_args.{name}=... to name a folder."
                )
        return read

    def _error(self, key: str, constraint: str, value: Any) -> InputError:
        shown = repr(value) if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"
        return InputError(f"{str(self.config)!r}: {key} must be {constraint}, but got {shown[:200]}. {REMEDY}.")

    def _object(self, key: str, value: Any, base: type[Any]) -> dict[str, Any]:
        """A class of kdlab and its arguments."""
        fields = {"class_path", "init_args"}
        if not isinstance(value, Mapping) or "class_path" not in value or set(value) - fields:
            raise self._error(key, f"{{class_path, init_args}} of a {base.__name__} of kdlab", value)
        cls = own_class(value["class_path"], base)
        if cls is None:
            raise self._error(key, f"a {base.__name__} of kdlab", value["class_path"])
        given, hints = value.get("init_args") or {}, arguments(cls)
        if not isinstance(given, Mapping) or any(name not in hints for name in given):
            unknown = sorted(map(str, set(given) - set(hints))) if isinstance(given, Mapping) else given
            raise self._error(f"{key}.init_args", f"arguments of {cls.__name__}", ", ".join(unknown))
        where, largest = (f"{key}.", _LARGEST if base is WindowDataModule else _SIDE)
        read = {n: self.value(f"{where}{n}", v, hints[n], largest) for n, v in given.items()}
        return {"class_path": full_name(cls), "init_args": read}

    def value(self, key: str, value: Any, hint: Any, largest: int) -> Any:
        """One value, as the kind that an argument takes."""
        if hint is Any:
            return self._plain(key, value)
        options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
        if isinstance(value, Mapping):
            options = tuple(option for option in options if option in settings()) or options
        last: InputError | None = None
        for option in options:
            try:
                return self._one(key, value, option, largest)
            except InputError as error:
                if last is None or (isinstance(value, Mapping) and option in (*KINDS, *settings())):
                    last = error
        assert last is not None
        raise last

    def _one(self, key: str, value: Any, kind: Any, largest: int) -> Any:
        origin, inner = typing.get_origin(kind), typing.get_args(kind)
        if kind is Scale and isinstance(value, Mapping) and value and "class_path" not in value:  # as a run writes it
            return self._object(key, {"class_path": full_name(Scale), "init_args": value}, kind)
        if kind in KINDS:
            return self._object(key, value, kind)
        if kind in settings() and isinstance(value, Mapping) and "class_path" not in value:
            hints = arguments(kind)
            if unknown := [str(name) for name in value if name not in hints]:
                raise self._error(key, f"a mapping with some of {', '.join(hints)}", ", ".join(unknown))
            return {name: self.value(f"{key}.{name}", item, hints[name], _SIDE) for name, item in value.items()}
        if kind is type(None) and value is None:
            return None
        if kind in (str, Path) and type(value) is str:
            return value
        if kind is bool and type(value) is bool:
            return value
        if kind is int and type(value) is int:
            if abs(value) > largest:
                raise self._error(key, f"at most {largest:,}", value)
            return value
        if kind is float and type(value) in (int, float) and abs(value) < 1e300:
            return value
        if origin is typing.Literal and any(type(value) is type(word) and value == word for word in inner):
            return value
        if origin is dict and isinstance(value, Mapping) and _takes_keys(inner[0], value):
            return {name: self.value(f"{key}.{name}", item, inner[1], largest) for name, item in value.items()}
        if origin in (list, tuple, Sequence) and type(value) is list:
            return [self.value(f"{key}[{i}]", v, self._item(inner, i), largest) for i, v in enumerate(value)]
        raise self._error(key, _type_text(kind), value)

    @staticmethod
    def _item(inner: tuple[Any, ...], place: int) -> Any:
        return inner[min(place, len(inner) - 1)] if len(inner) < 2 or inner[-1] is not Ellipsis else inner[0]

    def _plain(self, key: str, value: Any) -> Any:
        """Numbers and words in lists; no mapping, nor a word that a parser would take for one."""
        if isinstance(value, list):
            return [self._plain(f"{key}[{i}]", item) for i, item in enumerate(value)]
        word = type(value) is str and isinstance(parse_yaml(value or "''", key), str | int | float | None)
        if value is None or type(value) in (bool, int, float) or word:
            return value
        raise self._error(key, "numbers or words", value)


def _takes_keys(kind: Any, value: Mapping[Any, Any]) -> bool:
    """Whether a mapping's keys are words or, where an argument takes keys of any kind, numbers."""
    kinds = (str, int, float, bool) if kind is Any else (str,)
    return all(type(name) in kinds for name in value)


def _type_text(kind: Any) -> str:
    if kind is type(None):
        return "null"
    text = str(kind).replace("typing.", "").replace("collections.abc.", "")
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else text
