"""Files of two people that are equal byte for byte: one person under two names, or a file that was copied."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn

from kdlab.data.identity import merge_map
from kdlab.data.recordings.layout import Recording
from kdlab.data.spelling import yaml_map


def warn_of_copies(recordings: Iterable[Recording], merge: Mapping[str, str] | None, data_set: str) -> None:
    """Warn where a file is there for two people, since a net would be tested on what it was trained on.

    Only files of one size are read.

    Args:
        recordings: with their people; those whose people are in a column are not compared.
        merge: other spellings of people -> their names.
        data_set: name for the message.
    """
    named = merge_map(merge, "subjects")
    whose = [(one.file, named.get(one.subject, one.subject)) for one in recordings if one.subject]
    equal = [group for group in _equal(whose) if len({who for _, who in group}) > 1]
    if equal:
        (file, one), (copy, other) = equal[0][0], next(pair for pair in equal[0] if pair[1] != equal[0][0][1])
        more = f", and so are {len(equal) - 1} further files" if len(equal) > 1 else ""
        rank_zero_warn(
            f"{data_set}: recordings of two people must differ, but {file} of {one} and {copy} of {other} are equal "
            f"byte for byte{more}. Remove the copy, or say that they are one person, subjects: "
            f"{yaml_map({other: one})}; a net is otherwise tested on what it was trained on."
        )


def _equal(files: list[tuple[Path, str]]) -> Iterable[list[tuple[Path, str]]]:
    """Groups of files with one content, in the order of their first."""
    sizes: dict[int, list[tuple[Path, str]]] = {}
    for file, who in files:
        sizes.setdefault(file.stat().st_size, []).append((file, who))
    for group in sizes.values():
        if len({who for _, who in group}) > 1:
            digests = [(_digest(file), (file, who)) for file, who in group]
            for _, same in groupby(sorted(digests, key=lambda pair: pair[0]), key=lambda pair: pair[0]):
                yield [pair for _, pair in same]


def _digest(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
