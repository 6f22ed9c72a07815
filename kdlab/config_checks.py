"""Settings that the parser accepts and a run could not use: refused before anything is made."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule
from lightning.pytorch.cli import LightningArgumentParser

from kdlab.configs import read_config
from kdlab.data import WindowDataModule
from kdlab.methods.base import Method
from kdlab.nets import Backbone
from kdlab.types import InputError

MOST_SEED = 2**32 - 1  # numpy's largest
#: settings of the trainer that Lightning does not check, and that end in a division by zero or do nothing
LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "val_check_interval": 1e-6,
    "gradient_clip_val": 0,
    "log_every_n_steps": 0,
    "num_sanity_val_steps": -1,
}
MOST_LAYERS, MOST_SIZE = 2000, 100_000  # of a net: its depth, and all other integers


def data_class(words: Sequence[str]) -> type[LightningDataModule]:
    """The base class of the data module that words of a command line name: kdlab's own, unless they name another.

    With kdlab's a file may hold settings of the data alone, and the next one name the class.

    Args:
        words: of the command line; what cannot be read is refused later, by the parser.
    """
    named = ""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        key, _, value = word.partition("=")
        value = value or after
        if key in ("--data", "--data.class_path") and value[:1] not in ("", "{"):
            named = value
        elif key in ("--config", "-c"):
            with suppress(InputError, OSError):
                data = read_config(Path(value), "config").get("data")
                given = data.get("class_path", "") if isinstance(data, dict) else data
                named = given if isinstance(given, str) and given else named
    module, _, name = named.rpartition(".")
    found = None
    if module:
        with suppress(Exception):  # a module of the user's own raises what it likes; the parser tells of it
            found = getattr(importlib.import_module(module), name, None)
    foreign = isinstance(found, type) and issubclass(found, LightningDataModule)
    return LightningDataModule if foreign and not issubclass(found, WindowDataModule) else WindowDataModule  # type: ignore[arg-type]


def check_parsed(config: Any, parser: LightningArgumentParser) -> None:
    """Refuse what the parser accepts and a run could not use.

    Args:
        config: of a subcommand.
        parser: of the subcommand; it ends the process with a message.

    Raises:
        InputError: the run's name is none of a folder.
        SystemExit: for everything else.
    """
    _check_run(config.run)
    for key in ("data", "model", "trainer"):
        check_section(key, config[key], parser)
    if not is_seed(config.seed_everything):
        parser.error(
            f'Parser key "seed_everything": must be a number from 0 to {MOST_SEED}, but got {config.seed_everything}'
        )


def check_section(key: str, section: Any, parser: LightningArgumentParser) -> None:
    """Refuse what the parser accepts in ``data``, ``model`` or ``trainer`` and a run could not use.

    Args:
        key: the section.
        section: as it was parsed.
        parser: ends the process with a message.

    Raises:
        SystemExit: it is refused.
    """
    if key != "trainer":
        if not isinstance(section, Namespace) or not section.get("class_path"):
            parser.error(
                f'Parser key "{key}": must name a class, but has no class_path. Write {key}: {{class_path: ...}}'
            )
        _check_classes(section, key, parser)
        return
    _check_classes(section.get("callbacks"), "trainer.callbacks", parser)
    for name, least in LEAST.items():
        value = section.get(name)
        if isinstance(value, int | float) and not value >= least:
            parser.error(f'Parser key "trainer.{name}": must be at least {least:g}, but got {value}')


def is_seed(seed: Any) -> bool:
    """Whether a seed that the parser accepts is in the range of numpy's."""
    return isinstance(seed, bool | None) or bool(0 <= seed <= MOST_SEED)


def is_name_of_run(run: str | None) -> bool:
    """Whether the name of a run is that of folders below the root folder."""
    parts = (run or "run").strip("/").split("/")
    return not any(not p.strip() or p.strip() in (".", "..") or len(p.encode()) > 255 or "\0" in p for p in parts)


def _check_run(run: str | None) -> None:
    if not is_name_of_run(run):
        raise InputError(
            f"run: must be names of folders, of 1 to 255 bytes each, joined by /, but got {run!r:.80}. Name data "
            "set and run: run: basic_motions/scratch."
        )


def _check_classes(config: Any, key: str, parser: LightningArgumentParser) -> None:
    """Abstract classes train nothing, and fail late or with an unclear reason."""
    if isinstance(config, Namespace | dict):
        items = (vars(config) if isinstance(config, Namespace) else config).items()
        name = dict(items).get("class_path")
        if isinstance(name, str) and is_abstract(found(name)):
            parser.error(
                f'Parser key "{key}":\n  - Expected an instantiatable class, but is abstract\nGiven value: {name}'
            )
        for inner, value in items:
            if inner == "init_args" and isinstance(name, str):
                _check_sizes(found(name), value, parser)
            _check_classes(value, key if inner == "init_args" else str(inner), parser)
    elif isinstance(config, list):
        for value in config:
            _check_classes(value, key, parser)


def _check_sizes(kind: Any, arguments: Any, parser: LightningArgumentParser) -> None:
    """Nets of kdlab that would take hours or all memory to make: a typo in a number."""
    if isinstance(kind, type) and issubclass(kind, Backbone) and kind.__module__.startswith("kdlab."):
        for key, value in vars(arguments).items() if isinstance(arguments, Namespace) else ():
            most = MOST_LAYERS if key in ("depth", "layers") else MOST_SIZE
            if isinstance(value, int) and value > most:
                parser.error(f'Parser key "{key}": must be at most {most}, but got {value:.3g}')


def found(name: str) -> Any:
    """The class of this name, which the parser has imported; None for a function or a name that is no class."""
    module, _, attribute = name.rpartition(".")
    return getattr(sys.modules.get(module), attribute, None)


def is_abstract(kind: Any) -> bool:
    """Whether a class only names what its subclasses share."""
    return isinstance(kind, type) and (
        kind in (Method, LightningDataModule, WindowDataModule, Backbone, Callback)
        or any(getattr(getattr(kind, name, None), "__isabstractmethod__", False) for name in dir(kind))
        or (issubclass(kind, Method) and kind.terms is Method.terms)
    )
