"""Which files are recordings, and whose: found in a folder of the path, in the file name or in a column, as declared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.utilities import rank_zero_info

from kdlab.data.files import expanded
from kdlab.data.windows import natural_key
from kdlab.types import InputError, MissingFileError

SUFFIXES = (".csv", ".npz", ".npy")
SIDE = {"y": ".labels.npy", "t": ".time.npy"}  # what goes with an .npy
EXPECTED = "a folder with one .csv, .npz or .npy file per recording"
_CUT = re.compile(r"[_\-.\s]+")
_PIECES = re.compile(r"\d+|[^\W\d_]+")
_PERSON = re.compile(
    r"(id[ _.-]?)?(subject|subj|participant|person|patient|volunteer|proband|user|id|pid|uid)"
    r"([ _.-]?(ids?|no|nr|num|number|code|name|key|uuid))?\d*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Where:
    """Where the id of a person or of a session is found: exactly one of these is given.

    Args:
        folder: a folder of the path below ``root``, counted from 0; -1 is the folder that holds the file.
        part: a part of the file name (without its suffix, cut at ``_``, ``-``, ``.`` and blanks), counted from 0; -1 is
            the last one.
        name: regular expression that is searched in the file name (without its suffix); the id is its group, where it
            has one, else all that matches.
        column: a column of the file (an array of an ``.npz``).

    Raises:
        InputError: none or several given, or no regular expression.

    >>> Where(part=1).find(Path("day1/P07_walk.csv"), "P07_walk")
    'walk'
    >>> Where(folder=0).find(Path("day1/P07_walk.csv"), "P07_walk"), Where(name="P\\\\d+").find(Path(), "P07_walk")
    ('day1', 'P07')
    """

    folder: int | None = None
    part: int | None = None
    name: str | None = None
    column: str | None = None

    def __post_init__(self) -> None:
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        if len(given) != 1:
            raise InputError(
                f"Where: exactly one of folder, part, name and column must be given, but got {given or 'none'}. Write "
                "one, such as {folder: 0}."
            )
        for key in ("folder", "part"):
            if key in given and (not isinstance(given[key], int) or isinstance(given[key], bool)):
                raise InputError(f"Where: {key} must be a whole number, but got {given[key]!r}. Count from 0.")
        if self.name is not None:
            try:
                groups = re.compile(self.name).groups
            except (re.error, TypeError) as error:
                raise InputError(
                    f"Where: name must be a regular expression, but got {self.name!r} ({error}). Mend it."
                ) from error
            if groups > 1:
                raise InputError(
                    f"Where: name must have one group at most, but got {self.name!r} with {groups}. Write (?:...) for "
                    "the groups that are not the id."
                )

    @classmethod
    def of(cls, value: Where | Mapping[str, Any] | None, argument: str) -> Where | None:
        """A declaration from what a user writes: a mapping, such as ``{"folder": 0}``, or a ``Where``.

        Raises:
            InputError: it is neither.
        """
        if value is None or isinstance(value, Where):
            return value
        known = [f.name for f in fields(cls)]
        if not isinstance(value, Mapping) or set(value) - set(known):
            raise InputError(
                f"RecordingDataModule: {argument} must be a mapping with one of {', '.join(known)}, but got {value!r}. "
                f"Write {argument}: {{folder: 0}}, or another of them."
            )
        try:
            return cls(**value)
        except InputError as error:
            raise InputError(str(error).replace("Where:", f"RecordingDataModule: {argument}:", 1)) from error

    def find(self, path: Path, stem: str) -> str:
        """The id in a path below ``root`` and in the file name without its suffix.

        Raises:
            InputError: it is not there, or ``name`` cuts a number in two.
        """
        if self.name is not None:
            return self._matched(path, stem)
        what, parts = ("folder", path.parts[:-1]) if self.folder is not None else ("part", cut_name(stem))
        place = self.folder if self.folder is not None else self.part
        if place is None or not -len(parts) <= place < len(parts):
            raise InputError(
                f"RecordingDataModule: {what}: {place} must be there for every file, but got {path.as_posix()!r} with "
                f"{len(parts)} of them ({', '.join(parts) or 'none'}). Name another, or leave the file out with "
                "pattern=."
            )
        return parts[place]

    def _matched(self, path: Path, stem: str) -> str:
        match = re.search(str(self.name), stem)
        group = 1 if match is not None and match.re.groups else 0
        if match is None or not match[group]:
            raise InputError(
                f"RecordingDataModule: name: {self.name!r} must match every file name, but got {path.as_posix()!r}. "
                "Change it, or leave the file out with pattern=."
            )
        begin, end = match.span(group)
        around = stem[max(0, begin - 1) : begin + 1], stem[end - 1 : end + 1]
        if any(len(two) == 2 and two.isdigit() for two in around):
            raise InputError(
                f"RecordingDataModule: name: {self.name!r} must take whole numbers, but got {match[group]!r} out of "
                f"{stem!r}. Write \\d+ where it has a digit."
            )
        return match[group]

    def __str__(self) -> str:
        key = next(f.name for f in fields(self) if getattr(self, f.name) is not None)
        value = getattr(self, key)
        return f"{{{key}: {value}}}" if isinstance(value, int) else f"{{{key}: {value!r}}}"


class Recording(NamedTuple):
    """One file, and whose recording it is; ``subject`` is empty where a column of the file tells."""

    name: str
    subject: str
    file: Path
    session: str = ""


def stem_of(file: Path) -> str:
    """The file name without its suffix; ``.gz`` is a suffix of a suffix.

    >>> stem_of(Path("P001.csv.gz")), stem_of(Path("a.b.csv"))
    ('P001', 'a.b')
    """
    return Path(file.stem).stem if file.suffix.lower() == ".gz" else file.stem


def suffix_of(file: Path) -> str:
    """The suffix in lower case, without ``.gz``.

    >>> suffix_of(Path("P001.CSV.gz"))
    '.csv'
    """
    return (Path(file.stem) if file.suffix.lower() == ".gz" else file).suffix.lower()


def cut_name(stem: str) -> tuple[str, ...]:
    """The parts of a file name.

    >>> cut_name("S1-ADL1"), cut_name("data_1600_accel watch")
    (('S1', 'ADL1'), ('data', '1600', 'accel', 'watch'))
    """
    return tuple(part for part in _CUT.split(stem) if part)


def named_like_a_person(columns: Iterable[str]) -> list[str]:
    """The columns whose name says that they tell persons apart.

    >>> named_like_a_person(["Subject_ID", "userAcceleration.x", "User", "id", "width", "participant no"])
    ['Subject_ID', 'User', 'id', 'participant no']
    """
    return [name for name in columns if _PERSON.fullmatch(name.strip())]


def listed(root: str | Path, cache: Path, suffixes: Sequence[str], without: Iterable[Path] = ()) -> list[Path]:
    """The files under a folder that may be recordings, in the order of their paths.

    Args:
        root: the folder.
        cache: where recordings are kept; its files are none.
        suffixes: of recordings, in lower case.
        without: files that are something else.

    Raises:
        MissingFileError: no folder.
        InputError: a file in place of the folder.
    """
    place = expanded(root, EXPECTED)
    if not place.is_dir():
        raise InputError(f"root={str(root)!r}: a file; expected {EXPECTED}")
    kept, other = cache.resolve(), {path.resolve() for path in without}
    return [
        file
        for file in sorted(place.rglob("*"))
        if suffix_of(file) in suffixes
        and not file.name.startswith(".")
        and not file.name.lower().endswith(tuple(SIDE.values()))
        and kept not in file.resolve().parents
        and file.resolve() not in other
        and file.is_file()
    ]


def matching(files: Sequence[Path], root: Path, pattern: re.Pattern[str] | None) -> list[Path]:
    """The files whose name matches; the others are named in the log.

    Raises:
        MissingFileError: none is left.
        InputError: two files of one name in one folder.
    """
    kept = [file for file in files if pattern is None or pattern.fullmatch(stem_of(file)) is not None]
    if pattern is not None and len(kept) < len(files):
        chosen = set(kept)
        other = [file.name for file in files if file not in chosen]
        rank_zero_info(
            f"{root}: {len(other)} files do not match pattern={pattern.pattern!r}: {_short(other, len(other))}"
        )
    if not kept:
        wanted = f" that match pattern={pattern.pattern!r}" if pattern is not None else ""
        raise MissingFileError(f"root={str(root)!r}: no recordings in it{wanted}; expected {EXPECTED}")
    found: dict[Path, Path] = {}
    for file in kept:
        name = file.with_name(stem_of(file))
        if name in found:
            raise InputError(f"{found[name]}, {file}: two files of one recording; keep one of them")
        found[name] = file
    return kept


def subject_pattern(pattern: str | None, subject: Where | None) -> re.Pattern[str] | None:
    """The compiled pattern of whole file names.

    Raises:
        InputError: no regular expression; it has no group ``subject`` and nothing else tells; or both tell.
    """
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"pattern={pattern!r}: expected a regular expression ({error})") from error
    if "subject" not in compiled.groupindex and subject is None:
        raise InputError(
            f"pattern={pattern!r}: expected a group that tells the subject, such as (?P<subject>[^_]+)_.*, or subject= "
            "beside it"
        )
    if "subject" in compiled.groupindex and subject is not None:
        raise InputError(
            f"RecordingDataModule: subject must be declared once, but got subject={subject} and the group subject of "
            f"pattern={pattern!r}. Remove one of them."
        )
    return compiled


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
        pattern: of whole file names; its groups ``subject`` and ``session`` tell, where it has them.
        subject: where the person is found.
        session: where the session is found.
        columns: columns of the files that are named like a person, with files per id; looked at where nothing tells.
        data_set: name for the log.

    Raises:
        InputError: nothing tells, and more than one part of path and name varies or a column may tell.
    """
    told = pattern is not None and "subject" in pattern.groupindex
    paths = [file.relative_to(root) for file in files]
    if subject is None and not told:
        subject = _only_candidate(paths, columns, data_set)
    recordings = []
    for path, file in zip(paths, files, strict=True):
        stem = stem_of(file)
        match = pattern.fullmatch(stem) if pattern is not None else None
        groups = match.groupdict() if match is not None else {}
        name = path.with_name(stem).as_posix()
        who = groups.get("subject") if told else _found(subject, path, stem, name)
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
    found = candidates(paths)
    fused = next(iter(found.values())) if len(found) == 1 else []
    finer = fused_pieces(fused) if fused else {}
    if len(found) + len(columns) > 1 or columns or finer:
        options = {**{where: Counter(ids) for where, ids in found.items()}, **finer}
        lines = [f"subject: {where} ({_ids(files)})" for where, files in options.items()]
        lines += [f"subject: {Where(column=column)} ({_ids(files)})" for column, files in columns.items()]
        what = "more than one part of path and name varies" if len(found) > 1 else "a part of the name has two parts"
        if columns:
            what = f"the column {next(iter(columns))!r} is named like a person"
        raise InputError(
            f"RecordingDataModule: subject must be declared where it is not plain, but {what}. Write the line that "
            f"tells who was recorded: {' | '.join(lines)}."
        )
    if not found:
        rank_zero_info(
            f"{data_set}: {len(paths)} file(s), and no part of path or name varies: counted as one person per file; "
            "declare subject= where this is wrong"
        )
        return None
    where, ids = next(iter(found.items()))
    rank_zero_info(f"{data_set}: the one part of path and name that varies is the person, {where}: {_ids(Counter(ids))}")
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
                found[Where(**{key: place})] = ids
    return found


def fused_pieces(ids: Sequence[str]) -> dict[Where, Counter[str]]:
    """Runs of letters or digits in ids that several ids share, while others differ: ``P01S2`` may be person and session.

    >>> {str(k): dict(v) for k, v in fused_pieces(["P1S1", "P1S2", "P2S1"]).items()}
    {"{name: 'P\\\\\\\\d+'}": {'P1': 2, 'P2': 1}, "{name: 'S\\\\\\\\d+'}": {'S1': 2, 'S2': 1}}
    >>> fused_pieces(["s01", "s02", "s03"]), fused_pieces(["anna1", "bob2"])
    ({}, {})
    """
    pieces = [_PIECES.findall(one) for one in ids]
    count = max(map(len, pieces))
    columns = [[one[place] if place < len(one) else "" for one in pieces] for place in range(count)]
    varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) < 2 or not any(len(set(columns[place])) < len(set(ids)) for place in varying):
        return {}
    found: dict[Where, Counter[str]] = {Where(part=_part_of(ids)): Counter(ids)} if False else {}
    for place in varying:
        fixed = columns[place - 1][0] if place and len(set(columns[place - 1])) == 1 else ""
        digits = all(value.isdigit() for value in columns[place] if value)
        pattern = f"{re.escape(fixed)}\\d+" if digits else f"{re.escape(fixed)}[A-Za-z]+"
        found[Where(name=pattern)] = Counter(fixed + value for value in columns[place])
    return found


def _ids(files: Mapping[str, int]) -> str:
    names = sorted(files, key=natural_key)
    each = [f"{name or '(none)'} {files[name]}" for name in names]
    return f"{len(names)} ids, files each: {_short(each, len(each))}"


def _short(words: Sequence[str], count: int, most: int = 6) -> str:
    return ", ".join(words[:most]) + (", ..." if count > most else "")
