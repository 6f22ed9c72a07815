"""Whose recording each file is: as declared, or the one part of path and name that varies, or refused."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info

from kdlab.data.recordings.layout import Recording, few
from kdlab.data.recordings.where import Where, cut_name, stem_of
from kdlab.data.spelling import natural_key
from kdlab.types import InputError

_PIECES = re.compile(r"\d+|[^\W\d_]+")
_PERSON = re.compile(
    r"(id[ _.-]?)?(subject|subj|participant|person|patient|volunteer|proband|user|id|pid|uid)"
    r"([ _.-]?(ids?|no|nr|num|number|code|name|key|uuid))?[ _.-]?\d*",
    re.IGNORECASE,
)


def named_like_a_person(columns: Iterable[str]) -> list[str]:
    """The columns whose name is that of a column of persons.

    >>> named_like_a_person(["Subject_ID", "userAcceleration.x", "User", "id", "width", "participant no"])
    ['Subject_ID', 'User', 'id', 'participant no']
    """
    return [name for name in columns if _PERSON.fullmatch(name.strip())]


def whose(
    files: Sequence[Path],
    root: Path,
    *,
    pattern: re.Pattern[str] | None,
    subject: Where | None,
    session: Where | None,
    columns: Mapping[str, Mapping[str, int]],
    data_set: str,
) -> list[Recording]:
    """Whose recording each file is.

    Args:
        files: the recordings.
        root: their folder.
        pattern: of complete file names; its groups ``subject`` and ``session`` are used, where it has them.
        subject: where the person is found.
        session: where the session is found.
        columns: columns of the files that are named like a person, with files per id; used where nothing is declared.
        data_set: name for the log.

    Raises:
        InputError: nothing is declared, and more than one part of path and name varies or a column may hold persons.
    """
    named = pattern is not None and "subject" in pattern.groupindex
    paths = [file.relative_to(root) for file in files]
    if subject is None and not named:
        subject = _only_candidate(paths, columns, data_set)
    recordings = []
    for path, file in zip(paths, files, strict=True):
        stem = stem_of(file)
        match = pattern.fullmatch(stem) if pattern is not None else None
        groups = match.groupdict() if match is not None else {}
        name = path.with_name(stem).as_posix()
        who = groups.get("subject") if named else _found(subject, path, stem, name)
        if not who and (subject is None or subject.column is None):
            raise InputError(
                f"RecordingDataModule: subject must be found for every file, but got none for {path.as_posix()!r}. "
                "Leave the file out with pattern=, or declare subject= another way."
            )
        when = groups.get("session") if session is None else _found(session, path, stem, "")
        recordings.append(Recording(name, who or "", file, when or ""))
    return recordings


def _found(where: Where | None, path: Path, stem: str, default: str) -> str:
    if where is None:
        return default
    return "" if where.column is not None else where.find(path, stem)


def _only_candidate(paths: Sequence[Path], columns: Mapping[str, Mapping[str, int]], data_set: str) -> Where | None:
    """The one part of path and name that varies; None where nothing does."""
    found = {where: Counter(ids) for where, ids in candidates(paths).items()}
    finer = fused_pieces(*next(iter(candidates(paths).items()))) if len(found) == 1 else {}
    if len(found) > 1 or columns or finer:
        what = "more than one part of path and name varies"
        if columns:
            what = f"column {next(iter(columns))!r} is named like a person"
        elif finer:
            what = f"{next(iter(found))} has letters and numbers that vary apart"
        options = [(where, files) for where, files in {**found, **finer}.items()]
        options += [(Where(column=column), Counter(files)) for column, files in columns.items()]
        lines = [f"subject: {where} ({_ids(files)})" for where, files in options]
        raise InputError(
            f"RecordingDataModule: subject must be declared where path, name or columns leave it open, but {what}. "
            f"Write the line that declares who was recorded: {' | '.join(lines)}."
        )
    if not found:
        rank_zero_info(
            f"{data_set}: {len(paths)} file(s), and no part of path or name varies: each file is counted as one "
            "person; declare subject= where this is wrong"
        )
        return None
    where, files = next(iter(found.items()))
    rank_zero_info(f"{data_set}: the one part of path and name that varies is the person, {where}: {_ids(files)}")
    return where


def candidates(paths: Sequence[Path]) -> dict[Where, list[str]]:
    """The parts of path and name that vary over the files, with the id of each file; equal ones count once.

    >>> found = candidates([Path("P0/am_imu.csv"), Path("P0/pm_imu.csv"), Path("P1/am_imu.csv")])
    >>> {str(where): ids for where, ids in found.items()}
    {'{folder: 0}': ['P0', 'P0', 'P1'], '{part: 0}': ['am', 'pm', 'am']}
    """
    found: dict[Where, list[str]] = {}
    folders = [path.parts[:-1] for path in paths]
    parts = [cut_name(stem_of(path)) for path in paths]
    for key, every in (("folder", folders), ("part", parts)):
        for place in range(max(map(len, every), default=0)):
            ids = [one[place] if place < len(one) else "" for one in every]
            if len(set(ids)) > 1 and ids not in found.values():
                found[Where(folder=place) if key == "folder" else Where(part=place)] = ids
    return found


def fused_pieces(where: Where, ids: Sequence[str]) -> dict[Where, Counter[str]]:
    """Letters or numbers that several ids share while the rest of them differs: ``P01S2`` may be person and session.

    >>> found = fused_pieces(Where(part=0), ["P1S1", "P1S2", "P2S1"])
    >>> {str(where): dict(files) for where, files in found.items()}
    {"{part: 0, name: 'P[0-9]+'}": {'P1': 2, 'P2': 1}, "{part: 0, name: 'S[0-9]+'}": {'S1': 2, 'S2': 1}}
    >>> fused_pieces(Where(part=0), ["s01", "s02", "s03"]), fused_pieces(Where(part=0), ["ann1", "bob2"])
    ({}, {})
    """
    columns: list[tuple[str, ...]] = list(zip_longest(*map(_PIECES.findall, ids), fillvalue=""))
    varying = [place for place, column in enumerate(columns) if len({piece.casefold() for piece in column}) > 1]
    return {} if len(varying) < 2 else _shared(where, columns, varying)


def _shared(where: Where, columns: Sequence[tuple[str, ...]], varying: Sequence[int]) -> dict[Where, Counter[str]]:
    if all(len(set(columns[place])) == len(set(zip(*columns, strict=True))) for place in varying):
        return {}
    found: dict[Where, Counter[str]] = {}
    for place in varying:
        before = set(columns[place - 1]) if place else {""}
        fixed = next(iter(before)) if len(before) == 1 else ""
        kind = "[0-9]+" if all(value.isdigit() for value in columns[place] if value) else "[A-Za-z]+"
        named = Where(folder=where.folder, part=where.part, name=re.escape(fixed) + kind)
        found[named] = Counter(fixed + value for value in columns[place])
    return found


def _ids(files: Mapping[str, int]) -> str:
    names = sorted(files, key=natural_key)
    each = [f"{name or '(none)'} {files[name]}" for name in names]
    return f"{len(names)} ids, files each: {few(each, len(each))}"
