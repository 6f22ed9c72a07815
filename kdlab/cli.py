"""The command line, ``lightning`` or ``kdlab``; ``COMMANDS`` lists its commands."""

from __future__ import annotations

import difflib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlab import __version__, usage
from kdlab.ends import ending, restart_in_utf8
from kdlab.files import flow
from kdlab.slurm import one_process
from kdlab.types import InputError

if TYPE_CHECKING:  # help and version start without Lightning and torch: what needs them imports them
    from lightning.pytorch import Callback, LightningDataModule

    from kdlab.data import WindowDataModule
    from kdlab.lightning_cli import KdlabCLI
    from kdlab.methods.base import Method


def __getattr__(name: str) -> Any:
    if name == "KdlabCLI":
        from kdlab.lightning_cli import KdlabCLI

        return KdlabCLI
    raise AttributeError(f"module 'kdlab.cli' has no attribute {name!r}")


def run(args: Sequence[str], prepare: Callable[[WindowDataModule], None] | None = None) -> KdlabCLI:
    """Run one command in this process, as ``kdlab <args>`` would; errors are raised.

    Args:
        args: command-line words, for example ``["fit", "--config", "experiments/basic_motions/scratch.yaml"]``.
        prepare: is handed the data module before it is set up.

    Returns:
        The finished command line, with ``model``, ``datamodule`` and ``trainer``.
    """
    from kdlab.lightning_cli import KdlabCLI

    return _with_words(KdlabCLI, args, prepare)


def check(args: Sequence[str]) -> None:
    """Read the words of a command and its configs; a word that is not accepted ends in ``SystemExit``."""
    from kdlab.lightning_cli import Reading
    from kdlab.sections import accept

    accept(args, lambda: _with_words(Reading, args).config[args[0]])


def build(config: str | Path, overrides: Sequence[str] = ()) -> tuple[Method, LightningDataModule]:
    """The method and the data module of a config file, not set up, and with the weights that they begin with.

    Args:
        config: a run's config file, or the ``config.yaml`` beside its checkpoints.
        overrides: further words, such as ``--data.init_args.batch_size=8``.

    Raises:
        InputError: for a wrong argument of data module or method.
    """
    from kdlab.config_checks import data_class
    from kdlab.configs import read_config
    from kdlab.lightning_cli import input_error
    from kdlab.methods.base import Method
    from kdlab.parser import Parser

    parser = Parser(allow_abbrev=False)
    parser.add_lightning_class_args(Method, "model", subclass_mode=True)
    parser.add_lightning_class_args(data_class([f"--config={config}", *overrides]), "data", subclass_mode=True)
    content = read_config(Path(config), "config")
    for key in ("model", "data"):
        if content.get(key) is None:
            raise InputError(
                f"config: {str(config)!r} must name a {key}, but names none. Add {key}: {{class_path: ...}}."
            )
    try:
        words = [f"--{key}={flow(content[key])}" for key in ("model", "data")]
        made = parser.instantiate_classes(parser.parse_args([*words, *overrides]))
    except (ValueError, TypeError, OSError) as error:
        raise input_error(error) from error
    return made.model, made.data


def build_callbacks(config: str | Path) -> list[Callback]:
    """The callbacks that a config's trainer names.

    Raises:
        InputError: for a wrong argument of a callback.
    """
    from lightning.pytorch import Callback

    from kdlab.configs import read_config
    from kdlab.lightning_cli import input_error
    from kdlab.parser import Parser

    trainer = read_config(Path(config), "config").get("trainer") or {}
    if not isinstance(trainer, dict):
        raise InputError(f"config: trainer in {str(config)!r} must be a mapping, but is a {type(trainer).__name__}.")
    named = [trainer.get(key) or [] for key in ("callbacks", "callbacks+")]
    listed = [callback for some in named for callback in (some if isinstance(some, list) else [some])]
    parser = Parser(allow_abbrev=False)
    parser.add_argument("--callbacks", type=list[Callback], default=[])
    try:
        callbacks: list[Callback] = parser.instantiate_classes(
            parser.parse_args([f"--callbacks={flow(listed)}"])
        ).callbacks
    except (ValueError, TypeError, OSError) as error:
        raise input_error(error) from error
    return callbacks


def _with_words(kind: type[KdlabCLI], words: Sequence[str], *more: Any) -> KdlabCLI:
    from kdlab.quiet import quieted

    argv, sys.argv = sys.argv, sys.argv[:1]  # LightningCLI wants either words or the process's own
    try:
        with quieted():
            return kind(words, *more)
    finally:
        sys.argv = argv


def main() -> None:
    """Entry point of ``kdlab`` and ``lightning``."""
    words = sys.argv[1:]
    name = words[0] if words else ""
    if Path(sys.argv[0]).name == "lightning" and name and name not in (*_SUBCOMMANDS, *_COMMANDS) and name[0] != "-":
        _hand_over()
    with ending():
        if _listed(words):
            return
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)  # a user's own classes work from YAML
    restart_in_utf8(words)
    with ending():
        if {"-h", "--help"} & set(words) and name in usage.PARSERS:
            usage.PARSERS[name]().print_help()
            return
        if name in _LIGHT:  # before Lightning is imported, which takes seconds
            _COMMANDS[name](words[1:])
            return
        if name in ("study", "tune"):  # a job is one process, whatever SLURM started
            one_process()
        from kdlab.lightning_cli import KdlabCLI
        from kdlab.quiet import quieted

        with quieted():
            if name in _COMMANDS:
                _COMMANDS[name](words[1:])
            else:
                KdlabCLI()


def _new(words: Sequence[str]) -> None:
    from kdlab.new.command import main

    main(words)


def _study(words: Sequence[str]) -> None:
    from kdlab.study.command import main

    main(words, run, check, build)


def _tune(words: Sequence[str]) -> None:
    from kdlab.study.tuning.command import main

    main(words, run, check)


def _evaluate(words: Sequence[str]) -> None:
    from kdlab.evaluate.command import main

    main(words, build)


def _export(words: Sequence[str]) -> None:
    from kdlab.export import main

    main(words, build)


def _cite(words: Sequence[str]) -> None:
    """Print the BibTeX of the papers behind a config's method, net, views, data, augmentation and callbacks."""
    from kdlab.citations import bibtex, papers
    from kdlab.data import WindowDataModule
    from kdlab.nets import Published

    config = usage.cite().parse_args(list(words)).config
    model, data = build(config)
    changes = [getattr(data, name, None) for name in ("augment", "mix", "corruption")]
    views = data.views.values() if isinstance(data, WindowDataModule) else ()
    print(bibtex(papers([*model.modules(), data, *changes, *views, *build_callbacks(config)])))
    for net in model.modules():
        if isinstance(net, Published) and net.licence:
            print(f"\n% Licence of the published weights of {net.licence}")


def _nets(words: Sequence[str]) -> None:
    from kdlab.evaluate.nets_table import main

    main(words)


def _schema(words: Sequence[str]) -> None:
    from kdlab.schema.command import main

    main(words)


def _completion(words: Sequence[str]) -> None:
    from kdlab.completion import main

    main(words, COMMANDS)


#: all commands: what each does, and the function that runs its words (None: a subcommand of Lightning's)
COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], None] | None]] = {
    "fit": ("train a teacher or a student, as a config describes it", None),
    "validate": ("metrics of a checkpoint on the validation windows", None),
    "test": ("metrics of a checkpoint on the test windows", None),
    "predict": ("write a checkpoint's predictions on the test windows as predictions.csv", None),
    "new": ("write a study of your own data, or a shipped experiment", _new),
    "study": ("run teachers and students over seeds, folds and grids, and write the tables", _study),
    "tune": ("find the settings of a study's rows on validation people", _tune),
    "evaluate": ("compare checkpoints: accuracy, calibration, robustness, cost", _evaluate),
    "export": ("write a trained student as one file for the device", _export),
    "nets": ("print what the nets cost", _nets),
    "cite": ("print the BibTeX of what a run used", _cite),
    "schema": ("write the JSON schemas with which editors check run and study files", _schema),
    "completion": ("print the script that completes commands in bash or zsh", _completion),
}
_SUBCOMMANDS = tuple(name for name, (_, function) in COMMANDS.items() if function is None)
_COMMANDS = {name: function for name, (_, function) in COMMANDS.items() if function is not None}

#: those that need no Lightning; completion runs at every press of the tab key
_LIGHT = ("nets", "completion")


def overview() -> str:
    """All commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (text, _) in COMMANDS.items()]
    usage = "usage: kdlab COMMAND [options]   (lightning is the same program)"
    more = "kdlab COMMAND --help: the options of a command    kdlab --version: the version"
    return "\n".join([usage, "", "commands:", *lines, "", more])


def _listed(words: Sequence[str]) -> bool:
    """Handle words that name no command: print help or version; a missing or unknown command ends with status 2."""
    name = words[0] if words else ""
    if name in ("-h", "--help"):
        print(overview())
        return True
    if name == "--version":
        print(f"kdlab {__version__}")
        return True
    if name in COMMANDS or name.startswith("-"):
        return False
    print(f"{overview()}\n", file=sys.stderr)
    similar = difflib.get_close_matches(name, COMMANDS, n=1)
    reason = f"{name!r} is no command" if name else "a command is missing"
    remedy = f"Did you mean {similar[0]!r}?" if similar else "Write one of those above."
    print(f"error: kdlab: {reason}. {remedy}", file=sys.stderr)
    raise SystemExit(2)


def _hand_over() -> None:
    """Give a subcommand that is not ours to the lightning_sdk package, where that is installed."""
    try:
        scripts = importlib.metadata.distribution("lightning_sdk").entry_points
    except importlib.metadata.PackageNotFoundError:
        return  # our parser names the known subcommands
    for script in scripts:
        if script.group == "console_scripts" and script.name == "lightning":
            sys.exit(script.load()())
