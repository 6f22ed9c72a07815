"""The classes that a YAML file may name in one place, and the words by which it may name them."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pkgutil import walk_packages

from kdlab.config_checks import is_abstract

#: packages whose classes are listed, where they have them in public
_LISTED = ("kdlab", "lightning.pytorch.callbacks", "lightning.pytorch.loggers", "torch.optim")


@cache
def load_all() -> None:
    """Import what configs may name: the rooms of kdlab, as the command line does."""
    package = importlib.import_module("kdlab")
    for name in package.__all__:
        getattr(package, name)
    for room in ("augment", "callbacks", "data", "methods", "nets", "views"):
        package = importlib.import_module(f"kdlab.{room}")
        for module in walk_packages(getattr(package, "__path__", []), f"{package.__name__}."):
            importlib.import_module(module.name)


def is_listed(kind: type) -> bool:
    """Whether the classes below this one are listed, with their arguments."""
    return kind.__module__.startswith(tuple(f"{name}." for name in _LISTED)) or kind.__module__ in _LISTED


def found(base: type) -> dict[str, type]:
    """Import path -> class, of what a config may name where a ``base`` is taken: the public ones that can be made.

    Args:
        base: the class that an argument takes.

    Example:
        >>> from kdlab.views import View
        >>> "kdlab.views.Raw" in found(View)
        True
    """
    load_all()
    known: list[type] = [base, *_below(base)]
    classes = [kind for kind in dict.fromkeys(known) if not is_abstract(kind)]
    paths = {path_of(kind): kind for kind in classes if kind is base or _is_public(kind, base)}
    return dict(sorted(paths.items(), key=lambda item: (item[1].__name__, item[0])))


def _below(base: type) -> Iterator[type]:
    subclasses: list[type] = type.__subclasses__(base)
    for kind in subclasses:
        yield kind
        yield from _below(kind)


def _is_public(kind: type, base: type) -> bool:
    module = kind.__module__
    if kind.__name__.startswith("_") or not is_listed(kind):
        return False
    return module == base.__module__ or _exported(kind) != module or hasattr(sys.modules[module], "__path__")


def _exported(kind: type) -> str:
    """The first of its packages that has it."""
    parts = kind.__module__.split(".")
    for n in range(2, len(parts)):
        package = ".".join(parts[:n])
        if vars(sys.modules[package]).get(kind.__name__) is kind:
            return package
    return kind.__module__


def path_of(kind: type) -> str:
    """The shortest dotted path.

    >>> from kdlab.methods import KD
    >>> path_of(KD)
    'kdlab.methods.KD'
    """
    return f"{_exported(kind)}.{kind.__name__}"


def bare_names(bases: Iterable[type]) -> dict[str, type]:
    """Name -> class, of those that may be written without their module: where one class alone has the name.

    Args:
        bases: what an argument takes; the first that has the name decides.
    """
    names: dict[str, type] = {}
    for base in bases:
        listed = found(base)
        below = [base, *dict.fromkeys(_below(base))]
        for kind in listed.values():
            twins = {other for other in below if other.__name__ == kind.__name__ and _is_ours(other)}
            if twins == {kind}:
                names.setdefault(kind.__name__, kind)
    return names


def _is_ours(kind: type) -> bool:
    """Of an installed package, not of a user's file, which changes nothing here."""
    return kind.__module__.partition(".")[0] in ("kdlab", "lightning", "torch")


def pattern_of(kind: type) -> str:
    """A regular expression of the dotted paths of a class.

    >>> from kdlab.methods import KD
    >>> re.match(pattern_of(KD), "kdlab.methods.KD") is not None, re.match(pattern_of(KD), "mine.KD") is not None
    (True, False)
    """
    return rf"^{re.escape(_root(kind))}\.(\w+\.)*{kind.__name__}$"


def _root(kind: type) -> str:
    return "kdlab" if kind.__module__.startswith("kdlab.") else _exported(kind)


def foreign_pattern(bases: Iterable[type]) -> str:
    """A regular expression of the dotted paths of classes that are not known here, such as a user's own.

    What kdlab has, and the packages of the listed classes, are known, so that a typo there is none of these.
    """
    packages = sorted({_root(kind) for base in bases for kind in found(base).values()} - {"kdlab"})
    closed = "".join(rf"|{re.escape(package)}\.\w+$" for package in packages)
    return rf"^(?!kdlab\.{closed})[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"
