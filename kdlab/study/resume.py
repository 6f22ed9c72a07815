"""``--resume-from rows.jsonl``: rows that were made elsewhere, taken where they are those of this study's jobs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdlab.files import one_line, write_text
from kdlab.study.columns import BESIDE, TIMES
from kdlab.study.configs import get_value
from kdlab.study.digests import differing
from kdlab.study.measured import lacks
from kdlab.study.people import hidden_folds, with_pseudonyms
from kdlab.study.plan import Job, Jobs, Study
from kdlab.study.results import TAKEN, check_row, identity
from kdlab.study.rows_file import NAME, Entry, read_rows, write_rows
from kdlab.study.windows import trained_on
from kdlab.types import InputError

#: what may differ between two fits of one job
_FREE = {*TIMES, BESIDE, "sources", "pruned_at"}


def in_the_file(job: Job, names: Mapping[str, str]) -> str:
    """The name of a job in a file of rows, where folds that are called after people have hashes for names."""
    return replace(job, fold=names.get(job.fold, job.fold)).name


class Earlier:
    """The rows of a file, each taken once a job asks for it.

    A row is taken where its key, a digest of settings, teachers, data and version, is that of the job; it is then kept
    as the job's result. Its weights are not in the file: they are made again where another job needs them.

    Args:
        path: the file.
        study: today's.
        folds: fold -> its test subjects.
        keep: whether rows are kept as results; False: they are only read.

    Raises:
        InputError: the file is damaged, or another study's.
    """

    def __init__(self, path: str | Path, study: Study, folds: Mapping[str, Sequence[str]], keep: bool = True) -> None:
        self._rows, self._path, self._keep = read_rows(path, "--resume-from"), str(path), keep
        if (name := self._rows.head["study"]) != study.name:
            raise InputError(
                f"--resume-from: {self._path!r} must be of {study.name}, but is of {name!r:.60}. Name another file."
            )
        self._names = hidden_folds(folds, study.name if study.paper.hashed else "")
        self._taken: set[str] = set()
        self._here: set[str] = set()
        self._refused: dict[str, list[str]] = {}  # reason -> jobs
        self._seen: set[str] = set()

    def row_of(self, job: Job, row: dict[str, Any] | None) -> dict[str, Any] | None:
        """The row of a job: the one that is here already, or that of the file; None where there is none.

        Args:
            job: of the study.
            row: the one that is here already.
        """
        name = in_the_file(job, self._names)
        entry = self._rows.entries.get(name)
        if entry is None:
            return row
        again = name in self._seen
        self._seen.add(name)
        if row is not None:
            if not again and name not in self._taken:
                self._here.add(name)
                if entry.row["key"] == job.key and (changed := changes(entry.row, row)):
                    self._refuse(name, f"the row that is here counts, and has another {changed}")
            return row
        try:
            found = self._read(job, entry)
        except InputError as error:
            if not again:
                self._refuse(name, one_line(error))
            return None
        self._taken.add(name)
        if self._keep:
            job.folder.mkdir(parents=True, exist_ok=True)
            write_text(job.result, json.dumps({**found, TAKEN: True}, indent=1))
        return found

    def _read(self, job: Job, entry: Entry) -> dict[str, Any]:
        if entry.row["key"] != job.key:
            raise InputError(differing(entry.digests, job.digests))
        if entry.digests != job.digests:
            raise InputError("its key and its digests contradict each other")
        if (entry.kind == "trial") != bool(job.trial):
            raise InputError(f"it is a {entry.kind}")
        row = {"seconds": 0.0, **entry.row, **identity(job)}
        check_row(row, job, f"line {entry.line}")
        if not job.trial and (missing := lacks(row, job.measure)):
            raise InputError(f"the study measures {', '.join(missing)}, which it has not")
        return with_pseudonyms(row, job.hashed_for)

    def _refuse(self, name: str, reason: str) -> None:
        self._refused.setdefault(reason, []).append(name)

    def lines(self, pending: bool = False) -> list[str]:
        """What was taken and what was not, and why.

        Args:
            pending: whether settings are still to be found, so that the jobs of the study are not known yet.
        """
        entries = self._rows.entries
        parts = [f"{len(self._taken)} of {len(entries)} rows taken"]
        parts += [f"{len(self._here)} were here already"] if self._here else []
        found = [f"{self._path}: {', '.join(parts)}"]
        found += [f"its last line, {self._rows.cut}, is cut and left out"] if self._rows.cut else []
        untimed = [name for name in entries if name in self._taken and "seconds" not in entries[name].row]
        found += [f"{len(untimed)} rows have no times in it; they count as 0 s"] if untimed else []
        found += [f"not taken, {reason}: {', '.join(names)}" for reason, names in self._refused.items()]
        left = [name for name in entries if name not in self._seen]
        reason = "waits until the settings are found" if pending else "not a job of this study as it is"
        return [*found, *([f"not taken, {reason}: {', '.join(left)}"] if left else [])]


def changes(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Which results differ between two rows of one job, in words; empty where all are equal.

    >>> changes({"test_accuracy": 0.5, "seconds": 1.0}, {"test_accuracy": 0.75, "seconds": 2.0})
    'test_accuracy (0.75, not 0.5)'
    """
    names = sorted((one.keys() | other.keys()) - _FREE - {"job", "fold", "people", "test_subjects"})
    found = [name for name in names if one.get(name) != other.get(name)]
    shown = [
        f"{name} ({other.get(name)}, not {one.get(name)})" if _is_plain(one.get(name), other.get(name)) else name
        for name in found
    ]
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")


def made_again(row: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Whether a job that was run again gave the row that it had, in one line."""
    if text := changes(row, new):
        return f"warning: {new['job']}: made again for its weights, and differs from the row it had: {text}"
    return f"{new['job']}: made again for its weights, equal to the row it had"


def _is_plain(*values: Any) -> bool:
    return all(isinstance(value, str | int | float | None) for value in values)


def _channels(job: Job) -> dict[str, int]:
    """How many channels the net of a job reads, where its config says it."""
    for part in ("student", "net"):
        if type(count := get_value(job.config, f"model.init_args.{part}.init_args.in_channels")) is int:
            return {"channels": count}
    return {}


def export(
    study: Study,
    jobs: Jobs,
    rows: Iterable[Mapping[str, Any]],
    folds: Mapping[str, Sequence[str]],
    folder: Path,
    *,
    keep: bool = False,
) -> Path:
    """Write ``rows.jsonl`` with all rows of a study and all trials of its tuning that are done.

    Args:
        study: the study.
        jobs: trials and jobs, in their order.
        rows: of those that are done.
        folds: fold -> its test subjects.
        folder: of the study.
        keep: keep what the file has of other jobs: those of the study are not all known yet.
    """
    names = hidden_folds(folds, study.name if study.paper.hashed else "")
    done = {row["job"]: row for row in rows}
    entries = [
        Entry(
            "trial" if job.trial else "row",
            job.digests,
            {**done[name], "job": in_the_file(job, names), "fold": names.get(job.fold, job.fold)},
            {} if job.trial else {**trained_on(job.config), **_channels(job)},
        )
        for name, job in jobs.items()
        if name in done
    ]
    head = {
        "study": study.name,
        "baselines": list(study.baselines),
        "teachers": {name: list(run.teachers.values()) for name, run in study.runs.items() if run.teachers},
        "titles": dict(study.paper.titles),
    }
    path = folder / NAME
    if keep and path.is_file():
        new = {entry.row["job"] for entry in entries}
        entries += [entry for name, entry in _kept(path, study.name).items() if name not in new]
    write_rows(path, head, entries)
    return path


def _kept(path: Path, study: str) -> Mapping[str, Entry]:
    """The rows of a file that is written again; of a damaged one none, since all are in the folders of their jobs."""
    try:
        return read_rows(path, study).entries
    except InputError as error:
        print(
            f"note: {one_line(error)} It is damaged, and is written again with the trials and jobs that are known now; "
            "the other rows are in the folders of their jobs, and are written once the settings are found."
        )
        return {}
