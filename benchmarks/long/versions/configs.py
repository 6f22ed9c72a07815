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

#: how a run of an earlier version is composed in a later one that has not its file, or that has its own name here:
#: pattern of the name -> words, of which the first that fits counts. A word without dashes is a file below
#: ``experiments`` without ``.yaml``, left out where it ends in ``?`` and is not there; ``{set}`` and ``{run}`` are the
#: parts of the name. Any other word is handed on, such as ``--model.init_args.kd_weight=0.5``.
_PARTS = ["methods/{run}", "{set}/data", "{set}/student", "--run={set}/{run}"]  # the method names the class: first
_BOTH = ["methods/{run}", "{set}/data", "{set}/student", "{set}/raw_and_pi", "--run={set}/{run}"]
_ALONE = ["methods/{run}", "{set}/data", "{set}/alone", "--run={set}/{run}"]
COMPOSED: dict[str, list[str]] = {
    **{f"basic_motions/{run}": _ALONE for run in ("cs_kd", "ddgsd", "ps_kd", "tf_kd_virtual")},
    **{f"basic_motions/{run}": _BOTH for run in ("aekd", "aver", "ca_mkd", "ebkd", "two_teachers")},
    "basic_motions/tf_kd_self": [*_PARTS, "--model.init_args.teachers.raw.checkpoint=runs/basic_motions/scratch"],
    "basic_motions/topological_kd": [*_BOTH, "--model.init_args.student_init=runs/basic_motions/scratch"],
    "cifar10/at": [*_PARTS, "--model.init_args.kd_weight=0.9", "--model.init_args.temperature=4.0"],
    "utd_mhad/sp": [*_PARTS, "--model.init_args.similarity_weight=500"],
    "*/teacher_*": ["{set}/data", "{set}/{run}", "--run={set}/{run}"],
    "*/*": _PARTS,
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


def words_of(checkout: Path, name: str, later: bool = False) -> list[str]:
    """The words that compose a run: its file on the data of its folder, or what `COMPOSED` says.

    Args:
        checkout: a version of kdlab.
        name: ``<data set>/<run>``.
        later: the name may be that of a run of an earlier version.
    """
    folder, _, run = name.partition("/")
    file = checkout / f"experiments/{name}.yaml"
    if later and (name in COMPOSED or not file.is_file()):
        words = COMPOSED.get(name) or next(words for pattern, words in COMPOSED.items() if fnmatch(name, pattern))
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
    """Name of the run -> its config, or why there is none; the working directory is the checkout.

    Args:
        checkout: a version of kdlab.
        asked: names from the record of an earlier version; by default its own runs, and the first one with each file of
            ``experiments/base`` before and behind it, as ``<run>+before+debug``.
    """
    names = runs_of(checkout)
    own = [*names, *(f"{names[0]}+{where}+{base}" for base in BASES for where in ("before", "behind"))]
    return {name: _config(checkout, name, asked is not None) for name in (own if asked is None else asked)}


def _config(checkout: Path, name: str, later: bool) -> dict[str, Any]:
    run, *stacked = name.split("+")
    try:
        words = words_of(checkout, run, later)
        for where, base in zip(stacked[::2], stacked[1::2], strict=True):
            more = ["--config", f"experiments/base/{base}.yaml"]
            words = [*more, *words] if where == "before" else [*words, *more]
        return {key: plain(value) for key, value in printed(words).items()}
    except Exception as error:  # whatever it is, the run has no config
        return {"failed": f"{type(error).__name__}: {error}"}
