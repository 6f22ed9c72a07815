"""Which files are recordings, and whose: found in the path, in the file name or in a column, as declared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch.utilities import rank_zero_info

from kdlab.data.files import expanded
from kdlab.data.recordings.where import Where, stem_of, suffix_of
from kdlab.types import InputError, MissingFileError

SUFFIXES = (".csv", ".npz", ".npy")
SIDE = {"y": ".labels.npy", "t": ".time.npy"}  # what goes with an .npy
EXPECTED = "a folder with one .csv, .npz or .npy file per recording"


class Recording(NamedTuple):
    """One file, and whose recording it is; ``subject`` is empty where a column of the file gives it.

    ``files`` are those of the recording's sensors, where each has its own; ``file`` is that of the first.
    """

    name: str
    subject: str
    file: Path
    session: str = ""
    files: dict[str, Path] | None = None


def listed(root: str | Path, cache: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files under a folder that may be recordings, in the order of their paths; hidden ones are none.

    Args:
        root: the folder.
        cache: where recordings are kept; its files are none.
        suffixes: of recordings, in lower case.

    Raises:
        MissingFileError: no folder.
        InputError: a file in place of the folder.
    """
    place = expanded(root, EXPECTED)
    if not place.is_dir():
        raise InputError(f"root={str(root)!r}: a file; expected {EXPECTED}")
    kept = cache.resolve()
    return [
        file
        for file in sorted(place.rglob("*"))
        if suffix_of(file) in suffixes
        and not any(part.startswith(".") for part in file.relative_to(place).parts)
        and not file.name.lower().endswith(tuple(SIDE.values()))
        and kept not in file.resolve().parents
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
        rank_zero_info(f"{root}: {len(other)} files do not match pattern={pattern.pattern!r}: {few(other, len(other))}")
    if not kept:
        wanted = f" that match pattern={pattern.pattern!r}" if pattern is not None else ""
        raise MissingFileError(
            f"root={str(root)!r}: no recordings in it{wanted}{_others(files, root)}; expected {EXPECTED}"
        )
    found: dict[Path, Path] = {}
    for file in kept:
        name = file.with_name(stem_of(file))
        if name in found:
            raise InputError(f"{found[name]}, {file}: two files of one recording; keep one of them")
        found[name] = file
    return kept


def _others(files: Sequence[Path], root: Path) -> str:
    """What a folder without recordings holds, and the line to write."""
    found = Counter(suffix_of(file) for file in root.rglob("*") if file.is_file() and file.suffix) if not files else {}
    if not found:
        return ""
    most = max(sorted(found), key=lambda suffix: found[suffix])
    listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(found.items())[:6])
    return f", but files of other kinds ({listed}); set suffixes: [{most}] if those are tables"


def subject_pattern(pattern: str | None, subject: Where | None, session: Where | None) -> re.Pattern[str] | None:
    """The compiled pattern of complete file names.

    Raises:
        InputError: no regular expression; it has no group ``subject`` and nothing else is declared; or both are.
    """
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"pattern must be a regular expression ({error}), but got {pattern!r}.") from error
    for name, where in (("subject", subject), ("session", session)):
        if name in compiled.groupindex and where is not None:
            raise InputError(
                f"RecordingDataModule: {name} must be declared once, but got {name}={where} and the group {name} of "
                f"pattern={pattern!r}. Remove one of them."
            )
    if "subject" not in compiled.groupindex and subject is None:
        raise InputError(
            f"pattern={pattern!r}: expected a group for the subject, such as (?P<subject>[^_]+)_.*, or subject= "
            "beside it"
        )
    return compiled


def few(words: Sequence[str], count: int, most: int = 6) -> str:
    """Some of many words, for a message."""
    return ", ".join(words[:most]) + (", ..." if count > most else "")


def known_suffixes(suffixes: Sequence[str] | None) -> tuple[str, ...]:
    """Suffixes of recordings in lower case, with their dot.

    Raises:
        InputError: no list, or an empty one.

    >>> known_suffixes(["dat", ".TXT", ".csv.gz"])
    ('.dat', '.txt', '.csv')
    """
    if suffixes is None:
        return SUFFIXES
    if isinstance(suffixes, str) or not suffixes:
        raise InputError(f"suffixes must be a list, such as [.txt], but got {suffixes!r}.")
    return tuple(dict.fromkeys("." + str(one).lower().removesuffix(".gz").lstrip(".") for one in suffixes))
