"""Names of people (recordings, where people are unknown) in configs and in what is shown: merged, or as hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdlab.data.groups import Groups
from kdlab.data.identity import words
from kdlab.data.windows import WindowSet
from kdlab.fingerprint import hashed, is_hashed
from kdlab.types import Name


@dataclass(frozen=True)
class People:
    """How people are named.

    Args:
        merge: other spellings of a person -> the person.
        salt: of the hashes that replace names; None: names are shown.
    """

    merge: Mapping[str, str]
    salt: str | None = None

    def shown(self, name: str) -> str:
        """A name as it is shown in tables, fingerprints and predictions."""
        return name if self.salt is None else hashed(name, self.salt)

    def found(self, data: WindowSet, names: Sequence[Name] | None, argument: str) -> Sequence[Name] | None:
        """Names of a config as they are in the data: with one spelling, merged, and found by their hashes.

        Args:
            data: all windows.
            names: as in the config; None: none are given.
            argument: for messages.
        """
        if names is None or data.subject is None or isinstance(names, str):
            return names
        listed = [self.merge.get(name, name) for name in words(names, argument)]
        if self.salt is None or not any(map(is_hashed, listed)):
            return listed
        named = {self.shown(name): name for name in Groups.of(data.subject).names}
        return [named.get(name, name) for name in listed]
