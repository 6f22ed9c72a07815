"""Arguments, defaults and types of the public classes and functions, ``**kwargs`` resolved into what they accept."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from jsonargparse._parameter_resolvers import get_signature_parameters

import kdlab
import kdlab.methods
from kdlab.objective import Objective

from .differences import renamed

PACKAGES = (
    "augment",
    "callbacks",
    "citations",
    "data",
    "distributed",
    "evaluate",
    "export",
    "functional",
    "methods",
    "nets",
    "objective",
    "study",
    "types",
    "views",
)


def objectives() -> list[type[Objective]]:
    """Every concrete objective of kdlab, by name."""
    for module in pkgutil.walk_packages(kdlab.methods.__path__, "kdlab.methods."):
        importlib.import_module(module.name)

    def walk(cls: type[Objective]) -> Iterator[type[Objective]]:
        for sub in cls.__subclasses__():
            if sub.__module__.startswith("kdlab.") and not inspect.isabstract(sub):
                yield sub
            yield from walk(sub)

    return sorted(set(walk(Objective)), key=lambda cls: cls.__name__)


def public() -> dict[str, Any]:
    """``<package>.<name>`` -> what it is, of all that kdlab and its packages export, and of all objectives."""
    found: dict[str, Any] = {}
    for package in ("", *PACKAGES):
        module = importlib.import_module(f"kdlab.{package}".rstrip("."))
        for name in getattr(module, "__all__", None) or _own(module):
            found[f"{package}.{name}".lstrip(".")] = getattr(module, name)
    return found | {f"objectives.{cls.__name__}": cls for cls in objectives()}


def _own(module: types.ModuleType) -> list[str]:
    """The public names that a module without ``__all__`` defines."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    return [name for name in own if not name.startswith("_")]


def spelled(annotation: Any) -> str:
    """A type as text: classes by bare name, unions in alphabetical order.

    >>> spelled(dict[str, float] | None), spelled(typing.Literal["a", "b"])
    ('None | dict[str, float]', "Literal['a', 'b']")
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is inspect.Parameter.empty:
        return ""
    if annotation in (None, type(None)):
        return "None"
    if origin in (typing.Union, types.UnionType):
        return " | ".join(sorted(map(spelled, arguments)))
    if origin is typing.Literal:
        return f"Literal[{', '.join(sorted(map(repr, arguments)))}]"
    if origin is typing.Annotated:
        return spelled(arguments[0])
    if origin is not None and arguments:
        return f"{spelled(origin)}[{', '.join(map(spelled, arguments))}]"
    if isinstance(annotation, list):  # the arguments of a callable
        return f"[{', '.join(map(spelled, annotation))}]"
    if isinstance(annotation, type) or hasattr(annotation, "__name__"):
        return str(annotation.__name__)
    return str(annotation).rpartition(".")[2] if isinstance(annotation, str) else str(annotation)


def default(value: Any) -> Any:
    """A default as text, without addresses."""
    if value is inspect.Parameter.empty:
        return "required"
    if callable(value) or isinstance(value, type):
        return getattr(value, "__name__", type(value).__name__)
    text = repr(value)
    return type(value).__name__ if " at 0x" in text else text


def arguments(thing: Any) -> dict[str, dict[str, Any]]:
    """Name -> default, type and kind of each argument of a class or function."""
    if isinstance(thing, type):
        try:
            return {p.name: _described(p) for p in get_signature_parameters(thing, None)}
        except ValueError:  # classes without an __init__ of their own, such as errors
            pass
    try:
        signature = inspect.signature(thing, eval_str=True)
    except NameError:  # a type that is imported for checks of types only
        signature = inspect.signature(thing)
    except ValueError:  # an error, which takes any words
        return {}
    return {p.name: _described(p) for p in signature.parameters.values()}


def _described(parameter: Any) -> dict[str, Any]:
    return {
        "default": default(parameter.default),
        "type": spelled(parameter.annotation),
        "kind": "keyword" if parameter.kind is inspect.Parameter.KEYWORD_ONLY else "positional",
    }


def record(asked: Sequence[str] | None = None) -> dict[str, Any]:
    """``<package>.<name>`` -> its arguments; of what is no class or function, its value or kind.

    Args:
        asked: names from the record of an earlier version, looked for besides the exported ones.
    """
    found = public()
    for name in (renamed(name) for name in asked or ()):
        package, _, last = name.rpartition(".")
        if name not in found and package != "objectives":
            with contextlib.suppress(ImportError, AttributeError):
                found[name] = getattr(importlib.import_module(f"kdlab.{package}".rstrip(".")), last)
    return {name: _recorded(thing) for name, thing in sorted(found.items())}


def _recorded(thing: Any) -> Any:
    if isinstance(thing, types.ModuleType):
        return "module"
    if not callable(thing) or typing.get_origin(thing) is not None:
        text = repr(thing)
        return type(thing).__name__ if len(text) > 300 or " at 0x" in text else text
    try:
        return {"arguments": arguments(thing)}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}
