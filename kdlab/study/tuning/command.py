"""``kdlab tune FILE``: find the settings of a study's rows on validation people, and write a file to include."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from kdlab import usage
from kdlab.files import read_text, remove_leftovers, write_text
from kdlab.study import ends
from kdlab.study.cluster.queue import FOLDER as CLUSTER
from kdlab.study.cluster.queue import refuse_while_queued
from kdlab.study.job import Runner, quiet, sources
from kdlab.study.locks import LOCK, alone
from kdlab.study.plan import Study
from kdlab.study.planned import check_configs, plan, under_its_rule
from kdlab.study.results import Survey, survey
from kdlab.study.resume import Earlier, export
from kdlab.study.tuning.record import FOLDER, TUNED, tuned_text
from kdlab.study.tuning.run import Settings, command_line, find, fix_threads, look_up, read_settings, resolve, show
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
    given = usage.tune().parse_args(list(words))
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
        earlier = None
        if given.resume_from is not None:
            earlier = Earlier(given.resume_from, study, settings.folds, keep=not given.dry_run)
            settings.row_of = earlier.row_of
        if given.dry_run:
            _show(study, settings, Path(given.root), check, earlier)
            return
        folder = Path(given.root) / study.name
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / LOCK, str(folder), "study"):
            refuse_while_queued(folder / CLUSTER, "tune", known=False)
            remove_leftovers(folder)
            _show(study, settings, Path(given.root), check, earlier)
            command = command_line(["tune", *words])
            tuned = find(settings, runner, folder, processes=given.jobs, command=command)
            if out is not None:
                write_text(out, tuned_text(tuned, command, sources()))
            print(f"Settings, to include in a study: {out or folder / FOLDER / TUNED}")
            print(f"Trials, to go on from elsewhere (--resume-from): {_export(study, settings, Path(given.root))}")


def _export(study: Study, settings: Settings, root: Path) -> Path:
    """Write ``rows.jsonl`` with the trials, and with the rows of the study that are done under the settings found."""
    jobs = plan(study, root, settings)[1]
    known = {**look_up(settings)[0].jobs, **jobs}
    rows = [*settings.rows.values(), *survey(jobs).rows.values()]
    return export(study, known, rows, settings.folds, root / study.name)


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


def _show(
    study: Study,
    settings: Settings,
    root: Path,
    check: Callable[[Sequence[str]], None],
    earlier: Earlier | None,
) -> None:
    """Print the plan, and check everything that can be wrong with it."""
    print(study.name)
    check_configs(plan(study, root, settings)[1], check, Survey())
    planned, found = resolve(settings, check)
    if earlier is not None:
        print("\n".join(earlier.lines(pending=True)))
    show(settings, planned, found, check)
