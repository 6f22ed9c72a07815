"""Keys of views: the version of a window that each key reads, and the units that it reads it in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kdlab.types import PHYSICAL, InputError
from kdlab.views import Raw, View

VERSIONS = ("clean", "second", "pair")


class ViewKey(NamedTuple):
    """A key of a view in its parts.

    Attributes:
        name: what the user calls the view.
        version: ``"base"``, ``"clean"``, ``"second"`` or ``"pair"``.
        physical: whether the view reads physical units.
    """

    name: str
    version: str
    physical: bool


def read_key(key: str) -> ViewKey:
    """The parts of a key.

    Raises:
        InputError: a key of another form.

    >>> read_key("raw/clean/physical")
    ViewKey(name='raw', version='clean', physical=True)
    >>> read_key("raw/physical/clean") == read_key("raw/clean/physical")
    True
    """
    rest, physical = key.removesuffix(PHYSICAL), key.endswith(PHYSICAL)
    name, slash, version = rest.partition("/")
    for of in VERSIONS:  # of a method that reads two versions of a view in physical units
        if not physical and rest.endswith(f"{PHYSICAL}/{of}"):
            name, version, physical = rest.removesuffix(f"{PHYSICAL}/{of}"), of, True
    if not name or "/" in name or (slash and version not in VERSIONS):
        raise InputError(
            f"views: {key!r} is no key; expected a name, name/clean, name/second or name/pair, each also with "
            f"{PHYSICAL} behind it"
        )
    return ViewKey(name, version or "base", physical)


def complete_views(views: Mapping[str, View | None] | None) -> dict[str, View]:
    """Check the keys of ``views`` and fill those that repeat another one.

    Raises:
        InputError: no views, a version other than ``clean``, ``second`` and ``pair``, or nothing to repeat.

    >>> sorted(complete_views({"raw": Raw(), "raw/clean": None}))
    ['raw', 'raw/clean']
    """
    given: Mapping[str, View | None] = {"raw": Raw()} if views is None else views
    if not isinstance(given, Mapping):
        raise InputError(
            f'views must be {{key: View}}, but got {given!r:.80}. Write for example views={{"raw": Raw()}}.'
        )
    if not given:
        raise InputError('views: an empty mapping; expected at least one view, such as {"raw": Raw()}')
    result: dict[str, View] = {}
    for key, view in given.items():
        base = read_key(key).name
        repeated = [] if key == base else [given.get(key.rpartition("/")[0]), given.get(base)]
        same = next((one for one in [view, *repeated] if one is not None), None)
        if same is None:
            raise InputError(
                f"views: {key!r} has no view; give one" + (f", or add {base!r} to repeat" if key != base else "")
            )
        if not isinstance(same, View):
            raise InputError(f"views: {key!r} should be a View, such as Raw(), got {same!r}")
        result[key] = same
    return result
