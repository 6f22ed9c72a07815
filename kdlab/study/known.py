"""Names in a study file that nothing has: refused, with the one that is meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from kdlab.types import InputError


def refuse_unknown(
    names: Iterable[Any], known: Sequence[str], where: str, what: str = "name", otherwise: str = ""
) -> None:
    """Refuse the first name that is not among the known ones.

    Args:
        names: that were given.
        known: that there are.
        where: the entry, for the message.
        what: what they name.
        otherwise: the remedy where no known name resembles it.

    Raises:
        InputError: with the known names, and the one that resembles it.

    Example:
        >>> refuse_unknown(["trails"], ("trials", "people"), "s.yaml: tune")
        Traceback (most recent call last):
        ...
        kdlab.types.InputError: s.yaml: tune: unknown name 'trails'; known are trials, people. Did you mean 'trials'?
    """
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = f" Did you mean {close[0]!r}?" if close else otherwise
            raise InputError(f"{where}: unknown {what} {name!r}; known are {', '.join(known) or 'none'}.{hint}")
