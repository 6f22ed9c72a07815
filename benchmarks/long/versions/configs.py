"""What ``--print_config`` says of the shipped runs, each composed as its users compose it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from kdlab import cli

#: how a run is composed where its own file is gone: pattern of its name -> words. A word without dashes is a file below
#: ``experiments`` without ``.yaml``; ``{set}`` and ``{run}`` are the parts of the name. The first pattern that fits
#: counts; a word that ends in ``?`` is left out where the file is not there.
COMPOSED: dict[str, list[str]] = {
    "*/teacher_*": ["{set}/data", "{set}/{run}", "--run={set}/{run}"],
    "*/*": ["{set}/data", "{set}/student", "methods/{run}", "--run={set}/{run}"],
}
#: base files that any run can be stacked on, before it or behind it
BASES = ("debug", "trainer", "wandb")


class OneParser(cli.KdlabCLI):
    """The command line, whose parser is made once for all runs."""

    made: tuple[Any, Any] | None = None

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        """Make the parser, or take the one that was made."""
        if OneParser.made is None:
            super().setup_parser(*args, **kwargs)
            OneParser.made = (self.parser, self._subcommand_parsers)
        self.parser, self._subcommand_parsers = OneParser.made


def runs_of(checkout: Path) -> list[str]:
    """Names of the run files below ``experiments``: they name their ``run``."""
    root = checkout / "experiments"
    files = sorted(root.rglob("*.yaml"))
    return [
        file.relative_to(root).with_suffix("").as_posix() for file in files if "run" in yaml.safe_load(file.read_text())
    ]


def words_of(checkout: Path, name: str) -> list[str]:
    """The words that compose a run: its file on the data of its folder, or what `COMPOSED` says where it is gone."""
    folder, _, run = name.partition("/")
    file = checkout / f"experiments/{name}.yaml"
    if not file.is_file():
        words = next(words for pattern, words in COMPOSED.items() if fnmatch(name, pattern))
        return _spelt(checkout, [word.format(set=folder, run=run) for word in words])
    shared = [f"{folder}/data?"] if "include" not in yaml.safe_load(file.read_text()) else []
    return _spelt(checkout, [*shared, name])


def _spelt(checkout: Path, words: Sequence[str]) -> list[str]:
    spelt = []
    for word in words:
        file = f"experiments/{word.removesuffix('?')}.yaml"
        if word.startswith("--"):
            spelt.append(word)
        elif not word.endswith("?") or (checkout / file).is_file():
            spelt += ["--config", file]
    return spelt


def printed(words: Sequence[str]) -> dict[str, Any]:
    """The config that ``kdlab fit WORDS --print_config`` prints."""
    out, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            OneParser(["fit", *words, "--print_config"])
    except SystemExit as end:
        if end.code:
            said = errors.getvalue().strip().splitlines() or [str(end.code)]
            raise ValueError(f"{' '.join(words)}: {said[-1]}") from end
    found: dict[str, Any] = yaml.safe_load(out.getvalue())
    return found


def plain(value: Any) -> Any:
    """A config in which a class is one mapping, under its bare name, whether it has arguments or not.

    >>> plain({"model": {"class_path": "kdlab.KD", "init_args": {"kd_weight": 1}}, "views": {"raw": "kdlab.views.Raw"}})
    {'model': {'class': 'KD', 'kd_weight': 1}, 'views': {'raw': 'kdlab.views.Raw'}}
    """
    if isinstance(value, dict) and "class_path" in value:
        rest = {key: item for key, item in value.items() if key not in ("class_path", "init_args")}
        arguments = {**(value.get("init_args") or {}), **rest}
        return {"class": str(value["class_path"]).rpartition(".")[2], **plain(arguments)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def record(checkout: Path, asked: Sequence[str] | None = None) -> dict[str, Any]:
    """Name of the run -> its config, or why there is none; the working directory is the checkout."""
    found: dict[str, Any] = {}
    names = list(runs_of(checkout) if asked is None else asked)
    for name in names:
        found[name] = _config(words_of(checkout, name)) if "+" not in name else _stacked(checkout, name)
    if asked is None and names:
        for name in (f"{names[0]}+{where}+{base}" for base in BASES for where in ("before", "behind")):
            found[name] = _stacked(checkout, name)
    return found


def _stacked(checkout: Path, name: str) -> dict[str, Any]:
    """A run with a file of ``experiments/base`` before or behind it: ``<run>+before+debug``."""
    run, where, base = name.split("+")
    words, more = words_of(checkout, run), ["--config", f"experiments/base/{base}.yaml"]
    return _config([*more, *words] if where == "before" else [*words, *more])


def _config(words: Sequence[str]) -> dict[str, Any]:
    try:
        return {key: plain(value) for key, value in printed(words).items()}
    except Exception as error:  # whatever it is, the run has no config
        return {"failed": f"{type(error).__name__}: {error}"}
