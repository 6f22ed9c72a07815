"""Recordings of several rates in one folder, for which one setting is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from kdlab.data.recordings.report import WARN, RateError
from kdlab.data.recordings.store import Stored
from kdlab.types import InputError

#: recordings that are read after one whose rate is refused
LOOKED_AT = 20


def stored_at_one_setting(reads: Iterable[Callable[[], Stored]]) -> list[Stored]:
    """Recordings, kept one after the other.

    Args:
        reads: keep one each.

    Raises:
        InputError: one cannot be read; of a rate that does not fit the settings where others do, how many have which
            rate, since a setting is for all of them.
    """
    found: list[Stored] = []
    remaining = iter(reads)
    for read in remaining:
        try:
            found.append(read())
        except RateError as error:
            rates = [error.rate, *(rate for one in found if (rate := one.contents()["report"]["rate"]))]
            refused = 1
            for other in islice(remaining, LOOKED_AT):
                try:
                    rate = other().contents()["report"]["rate"]
                except RateError as another:
                    rate, refused = another.rate, refused + 1
                except InputError:  # it is told when it is its turn
                    continue
                rates += [rate] if rate else []
            if refused == len(rates):
                raise
            counts = ", ".join(f"{count} at {rate:.4g} Hz" for rate, count in counted(rates))
            raise InputError(
                f"{error.reason} Of the first {len(rates)} recordings there are {counts}, and recorded_at is for all "
                "of them: leave those of the other rate out (pattern:), or move them to a folder of their own, which "
                "another data module reads."
            ) from error
    return found


def counted(rates: Iterable[float]) -> list[tuple[float, int]]:
    """Rates that are alike within 5 % as one, with how many there are.

    >>> counted([50.1, 1.0, 49.9])
    [(1.0, 1), (49.9, 2)]
    """
    found: list[tuple[float, int]] = []
    for rate in sorted(rates):
        if found and rate < WARN * found[-1][0]:
            found[-1] = found[-1][0], found[-1][1] + 1
        else:
            found.append((rate, 1))
    return found
