"""``kdlab tune FILE``: find the settings of a study's rows on validation people, and write a file to include."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from kdlab.files import read_text, remove_leftovers, write_text
from kdlab.study import ends
from kdlab.study.job import Runner, quiet, sources
from kdlab.study.locks import LOCK, alone
from kdlab.study.plan import Study
from kdlab.study.planned import check_configs, plan, under_its_rule
from kdlab.study.results import Survey
from kdlab.study.tuning.record import FOLDER, TUNED, tuned_text
from kdlab.study.tuning.run import Settings, command_line, find, fix_threads, read_settings, resolve, show
from kdlab.types import InputError

_HEAD = "# Written by kdlab tune "


def main(words: Sequence[str], runner: Runner, check: Callable[[Sequence[str]], None]) -> None:
    """The command.

    Args:
        words: what comes after ``kdlab tune``.
        runner: runs a command line.
        check: reads a command line without running it.

    Raises:
        InputError: a wrong study file or argument, or a file that cannot be written.
    """
    parser = argparse.ArgumentParser(prog="kdlab tune", description=__doc__, allow_abbrev=False)
    parser.add_argument("file", help="a study file with a section tune")
    parser.add_argument("--out", help="the file to write; beside the trials without it")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, check the space, and run nothing")
    parser.add_argument("--jobs", type=int, default=1, help="how many fits run at a time")
    parser.add_argument("--root", default="runs", help="folder of all runs")
    given = parser.parse_args(list(words))
    if given.jobs < 1:
        raise InputError(f"--jobs: must be at least 1, but got {given.jobs}. Raise it.")
    with ends.ending("tuning"), quiet():
        study = Study.read(given.file)
        if study.tune is None:
            raise InputError(
                f"{given.file}: must have a section tune, but has none. Write tune: {{trials: 20, own: ...}}."
            )
        out = _free(given.out)
        study = under_its_rule(study, Path(given.root), run=not given.dry_run)
        settings = read_settings(study, Path(given.root), again=True)
        fix_threads()
        if given.dry_run:
            _show(study, settings, Path(given.root), check)
            return
        folder = Path(given.root) / study.name
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / LOCK, str(folder), "study"):
            remove_leftovers(folder)
            _show(study, settings, Path(given.root), check)
            command = command_line(["tune", *words])
            tuned = find(settings, runner, folder, processes=given.jobs, command=command)
            if out is not None:
                write_text(out, tuned_text(tuned, command, sources()))
            print(f"Settings, to include in a study: {out or folder / FOLDER / TUNED}")


def _free(out: str | None) -> Path | None:
    """The file to write: a new one, or one that this command wrote.

    Raises:
        InputError: another file is there, or its folder is not.
    """
    if out is None:
        return None
    path = Path(out)
    if not path.parent.is_dir():
        raise InputError(f"--out: the folder must be there, but {str(path.parent)!r} is not. Make it.")
    if path.exists() and not read_text(path, "--out").startswith(_HEAD):
        raise InputError(f"--out: must be a new file or one of kdlab tune, but {out!r} is another. Name another.")
    return path


def _show(study: Study, settings: Settings, root: Path, check: Callable[[Sequence[str]], None]) -> None:
    """Print the plan, and check everything that can be wrong with it."""
    print(study.name)
    check_configs(plan(study, root, settings)[1], check, Survey())
    show(settings, *resolve(settings, check), check)
