"""The words of a recording, and their codes: labels, and who was recorded in which session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.data.identity import NO_LABEL_WORDS
from kdlab.data.recordings.resample import NO_LABEL
from kdlab.data.recordings.times import Clock
from kdlab.data.spelling import text
from kdlab.types import InputError

MOST_LABELS = 1000
MOST_GROUPS = 100_000


class Book:
    """Codes of labels and of (person, session), in the order in which they first appear.

    Labels are kept as they are written but for blanks and the form of whole numbers; which of them are classes is
    decided later, so that a recording need not be read again.

    Args:
        name: of the recording, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.labels: dict[str, int] = {}
        self.groups: dict[tuple[str, str], int] = {}
        self.clock: Clock | None = None  # what reads the times, where the recording has any
        self.header: str | None = None  # what in the header gives the rate, in place of times, or of epochs
        self.line: int | None = None  # of the first row, where the recording is a table
        self.notes: list[str] = []  # what a reader found, for the log
        self.damaged = 0  # blocks of the file that were skipped
        self._lost: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    @property
    def unit(self) -> str | None:
        """Of the times, as they are read; None where there are none."""
        return None if self.clock is None else self.clock.times.unit

    def label_codes(self, words: Sequence[Any]) -> NDArray[np.int16]:
        """A code for each word, ``NO_LABEL`` for an empty one."""
        spelt = [text(word, f"{self.name}: label") for word in words]
        codes = [NO_LABEL if word == "" else self.labels.setdefault(word, len(self.labels)) for word in spelt]
        if len(self.labels) > MOST_LABELS:
            raise InputError(
                f"{self.name}: more than {MOST_LABELS} different labels; expected the classes of a recording"
            )
        return np.array(codes, np.int16)

    def encode(self, label: NDArray[Any]) -> NDArray[np.int16]:
        """Codes of an array of labels, words or numbers, ``(n,)``.

        >>> book = Book("p")
        >>> book.encode(np.array(["walk", "walk", "", "sit"])).tolist(), book.encode(np.array([1.0, np.nan])).tolist()
        ([0, 0, -1, 1], [2, -1])
        >>> book.labels
        {'walk': 0, 'sit': 1, '1': 2}
        """
        if not len(label):
            return np.empty(0, np.int16)
        starts = np.flatnonzero(np.concatenate([[True], label[1:] != label[:-1]]))
        return np.repeat(self.label_codes(label[starts].tolist()), np.diff([*starts, len(label)]))

    def group_codes(
        self, subject: tuple[NDArray[Any], Sequence[str]] | None, session: tuple[NDArray[Any], Sequence[str]] | None
    ) -> NDArray[np.int32] | None:
        """Codes of (person, session), ``(n,)``, from codes and words of each; None where there is no column.

        Args:
            subject: codes ``(n,)`` and the word of each code, or None.
            session: likewise.
        """
        if subject is None and session is None:
            return None
        n = len((subject or session or (np.empty(0), ()))[0])
        who, names = subject if subject is not None else (np.zeros(n, np.int64), ("",))
        when, times = session if session is not None else (np.zeros(n, np.int64), ("",))
        pairs, place = np.unique(who.astype(np.int64) * len(times) + when, return_inverse=True)
        codes = []
        for pair in pairs.tolist():
            key = names[pair // len(times)], times[pair % len(times)]
            codes.append(self.groups.setdefault(key, len(self.groups)))
        if len(self.groups) > MOST_GROUPS:
            raise InputError(f"{self.name}: more than {MOST_GROUPS} persons and sessions; is it the right column?")
        return np.array(codes, np.int32)[place]

    def ids(self, words: Sequence[Any], codes: NDArray[Any], column: str, where: Callable[[int], str]) -> list[str]:
        """The ids behind codes, made equal; those that are missing are counted, with the place of the first.

        Args:
            words: the word of each code.
            codes: code of each row, -1 for none, ``(n,)``.
            column: its name, for the message.
            where: gives the place of a row.
        """
        spelt = [text(word, f"{self.name}: {column}") for word in words]
        empty = np.array([word.casefold() in NO_LABEL_WORDS for word in spelt] + [True])
        lost = empty[codes]
        if lost.any():
            self._first.setdefault(column, where(int(np.argmax(lost))))
            self._lost[column] += int(lost.sum())
        return [*spelt, ""]

    def refuse_lost(self) -> None:
        """Refuse rows without an id.

        Raises:
            InputError: with how many there are, and the first.
        """
        for column, count in self._lost.items():
            raise InputError(
                f"{self.name}: column {column!r} must have an id in each row, but {count} rows have none, the first at "
                f"{self._first[column]}. Leave those rows out, or fill them."
            )
