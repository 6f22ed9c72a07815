"""Keys of views, and the version of a window that each key reads."""

from __future__ import annotations

from collections.abc import Mapping

from kdlab.types import InputError
from kdlab.views import Raw, View

VERSIONS = ("clean", "second", "pair")


def complete_views(views: Mapping[str, View | None] | None) -> dict[str, View]:
    """Check the keys of ``views`` and fill those that repeat another one.

    Raises:
        InputError: no views, a version other than ``clean``, ``second`` and ``pair``, or nothing to repeat.

    >>> sorted(complete_views({"raw": Raw(), "raw/clean": None}))
    ['raw', 'raw/clean']
    """
    given: Mapping[str, View | None] = {"raw": Raw()} if views is None else views
    if not given:
        raise InputError('views: an empty mapping; expected at least one view, such as {"raw": Raw()}')
    result: dict[str, View] = {}
    for key, view in given.items():
        base, slash, version = key.partition("/")
        if not base or (slash and version not in VERSIONS):
            raise InputError(f"views: {key!r} is no key; expected a name, name/clean, name/second or name/pair")
        same = view if view is not None else (given.get(base) if slash else None)
        if same is None:
            raise InputError(
                f"views: {key!r} has no view; give one" + (f", or add {base!r} to repeat" if slash else "")
            )
        if not isinstance(same, View):
            raise InputError(f"views: {key!r} should be a View, such as Raw(), got {same!r}")
        result[key] = same
    return result
