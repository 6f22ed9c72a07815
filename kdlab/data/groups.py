"""Which person, recording or block each window is of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.data.label_rows import class_pairs
from kdlab.data.spelling import natural_key, text


def names_of(values: NDArray[Any]) -> NDArray[np.str_]:
    """Ids as text: ``101``, ``101.0`` and ``"101"`` are the same subject."""
    as_text = str if values.dtype.kind in "iu" else text
    return np.array([as_text(v) for v in values.tolist()], dtype=np.str_)


@dataclass(frozen=True)
class Groups:
    """Which group each window is of: ``names[code]``, the names in natural order.

    >>> groups = Groups.of(np.array([101, 7, 101]))
    >>> groups.names, groups.code.tolist(), groups.among(np.array([0, 2]))
    (['7', '101'], [1, 0, 1], ['101'])
    """

    names: list[str]
    code: NDArray[np.int32]

    @classmethod
    def of(cls, values: NDArray[Any]) -> Groups:
        """Ids of any kind, one per window."""
        if values.dtype.kind not in "biuUS":
            values = names_of(values)
        distinct, code = np.unique(values, return_inverse=True)
        return cls.named(names_of(distinct).tolist(), code)

    @classmethod
    def named(cls, text: list[str], code: NDArray[np.int64]) -> Groups:
        """Windows of group ``text[code]``, where names may come twice."""
        names = sorted(set(text), key=natural_key)
        place = {name: i for i, name in enumerate(names)}
        return cls(names, np.array([place[t] for t in text], dtype=np.int32)[code])

    def among(self, rows: NDArray[Any]) -> list[str]:
        """The groups that windows of these rows are of."""
        present = np.bincount(self.code[rows], minlength=len(self.names))
        return [self.names[i] for i in np.flatnonzero(present)]

    def isin(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Which windows are of one of these groups."""
        wanted = set(names)
        return np.array([name in wanted for name in self.names])[self.code]

    def labels(self, target: NDArray[np.int64], rows: NDArray[np.int64]) -> Iterator[tuple[str, int, int]]:
        """Each group among the rows with each class that it has, in order, and how many windows of it.

        Where windows have any number of classes, the last class is that of windows without any.
        """
        row, label, many = class_pairs(target)
        if target.ndim > 1:
            kept = np.isin(row, rows)
            rows, label = row[kept], label[kept]
        else:
            label = target[rows]
        pairs, counts = np.unique(self.code[rows].astype(np.int64) * many + label, return_counts=True)
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
            yield self.names[pair // many], pair % many, count
