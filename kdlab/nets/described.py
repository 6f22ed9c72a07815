"""Nets that a file describes: plain values within bounds, loaded classes, made under a limit of memory.

Nothing is imported by a name from a file, and nothing is called before all of a description is checked.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from kdlab.files import one_line
from kdlab.nets.recorded import record_arguments, recorded_arguments
from kdlab.types import InputError

#: of a description: the largest number, values, levels of nesting, characters of a word
LARGEST, MOST_VALUES, MOST_LEVELS, MOST_CHARACTERS = 65_536, 4096, 16, 1000
#: of a construction: bytes of tensors (or four times the weights that the net is to hold), operations on tensors
MOST_BYTES, MOST_OPERATIONS = 2**30, 30_000
#: packages whose modules do more than compute (metrics download, wrappers generate code) -> the part that holds layers
_LAYERS = {
    "torch": "torch.nn.modules.",
    "kdlab": "kdlab.nets.",
    "torchmetrics": None,
    "lightning": None,
    "lightning_fabric": None,
    "pytorch_lightning": None,
}
_REMEDY = "If you trust the file, pass the net yourself with net=."
_registered: dict[str, Callable[..., Any]] = {}
_under_limit: ContextVar[bool] = ContextVar("_under_limit", default=False)
_Made = TypeVar("_Made", bound=Callable[..., Any])


def register(cls: _Made) -> _Made:
    """Let checkpoints and exported files name a class of nets, or a function that makes one; usable as a decorator.

    Rebuilt without it are subclasses of :class:`~kdlab.nets.Backbone`, and classes of ``torch.nn.Module`` that are
    imported already, as the net of an :class:`~kdlab.nets.Adapter`. Whoever writes a file chooses the arguments (plain
    values within bounds), so register only what may be called with any.

    Nets that are made from the class after that record their arguments. The checkpoint of a plain ``torch.nn.Module``
    then describes it, so that it can be rebuilt, if the arguments are plain values and its layers are still those that
    its constructor made.

    Args:
        cls: a subclass of ``torch.nn.Module``, or a function that returns a net.

    Returns:
        ``cls``.

    Raises:
        InputError: when it is neither.

    Example:
        >>> @register
        ... def perceptron(size: int) -> nn.Module:
        ...     return nn.Sequential(nn.Flatten(), nn.Linear(size, 4))
    """
    if not (inspect.isfunction(cls) or (isinstance(cls, type) and issubclass(cls, nn.Module))):
        raise InputError(
            f"register: cls must be a subclass of torch.nn.Module or a function that returns one, but got {cls!r}. "
            "Register the class of the net."
        )
    if isinstance(cls, type):
        record_arguments(cls)
    _registered[path_of(cls)] = cls
    return cls


def spec_of(net: nn.Module) -> dict[str, Any] | None:
    """``{"class_path", "init_args"}`` of a net that files may describe; None where its arguments are not recorded."""
    given = recorded_arguments(net)
    if given is None:
        return None
    spec = {"class_path": path_of(type(net)), "init_args": given}
    try:
        check(spec, lambda cls: False, inside=True)
    except InputError:  # no plain values
        return None
    return spec


def path_of(cls: Callable[..., Any]) -> str:
    """``module.name`` of a class or a function.

    >>> path_of(nn.Linear)
    'torch.nn.modules.linear.Linear'
    """
    return f"{cls.__module__}.{cls.__qualname__}"


def subclasses(cls: type[Any]) -> list[type[Any]]:
    """All classes loaded so far that are derived from ``cls``."""
    return [found for child in cls.__subclasses__() for found in (child, *subclasses(child))]


def find(path: Any) -> Callable[..., Any]:
    """The class that a file may name with ``path``: a registered one, or a class of nets that is loaded already.

    Raises:
        InputError: when there is none, or it is one that files may not name.
    """
    found = _registered.get(path) if isinstance(path, str) else None
    if found is not None:
        return found
    loaded = _loaded(path) if isinstance(path, str) else None
    if loaded is None or loaded.__module__ not in sys.modules:
        raise InputError(
            f"net {_short(path)}: no net of this name is imported. Import its module first (in YAML: give the teacher "
            "net={class_path: ...}; kdlab evaluate and export: --trust-config), or pass the net yourself with net=."
        )
    why = _refusal(loaded)
    if why:
        raise InputError(
            f"net {_short(path)}: a file may name classes of nets only, but this is {why}. If it is safe to call with "
            "any arguments, admit it with kdlab.nets.register; or pass the net yourself with net=."
        )
    return loaded


def _loaded(path: str) -> type[nn.Module] | None:
    """A loaded class by its own name, or by the name under which a loaded module holds it (``torch.nn.Linear``)."""
    known = {path_of(cls): cls for cls in subclasses(nn.Module) if not _is_shadow(cls)}
    if path in known:
        return known[path]
    module, _, name = path.rpartition(".")
    found = vars(sys.modules[module]).get(name) if module in sys.modules else None  # vars: no __getattr__ of a module
    return found if isinstance(found, type) and issubclass(found, nn.Module) else None


def _is_shadow(cls: type[Any]) -> bool:
    """Is it a subclass that has its name from a class above it, as tracers make them?"""
    return any(path_of(base) == path_of(cls) for base in cls.__mro__[1:])


def _refusal(cls: type[nn.Module]) -> str:
    """Why a class is none that files may name; empty when it is one."""
    if any(base.__name__ in ("LightningModule", "LightningDataModule") for base in cls.__mro__):
        return "a LightningModule"
    if issubclass(cls, torch.jit.ScriptModule):
        return "a ScriptModule"
    if issubclass(cls, fx.GraphModule):
        return "a GraphModule, which is made of code"
    package = cls.__module__.partition(".")[0]
    layers = _LAYERS.get(package, "")
    if layers is None or not f"{cls.__module__}.".startswith(layers):
        return f"a part of {package} that is no layer"
    return ""


# ---- checking -------------------------------------------------------------------------------------------------------
def check(spec: Any, wraps: Callable[[Any], bool], inside: bool = False) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Check all of a description before anything of it is made.

    Args:
        spec: ``{"class_path", "init_args"}``, from a file.
        wraps: whether a class holds a net of any class (an ``Adapter``), of which there may be one on the way down.
        inside: whether the net is in an ``Adapter``.

    Returns:
        The class that it names, and the arguments.

    Raises:
        InputError: for a class that files may not name, at any level, and for arguments that are no plain values, are
            out of bounds, or are too many.
    """
    if not isinstance(spec, Mapping) or not isinstance(spec.get("class_path"), str):
        raise InputError(f"net: must be {{class_path, init_args}}, but got {_short(spec)}. The file is damaged.")
    _Check(str(spec["class_path"]), wraps).value("net", spec, MOST_LEVELS, inside)
    return find(spec["class_path"]), dict(spec.get("init_args") or {})


class _Check:
    """One walk over a description; a value that occurs at two places counts twice, so that the walk ends."""

    def __init__(self, name: str, wraps: Callable[[Any], bool]) -> None:
        self.name, self.wraps, self.left = name, wraps, MOST_VALUES

    def value(self, key: str, value: Any, levels: int, inside: bool) -> None:
        self.left -= 1
        if self.left < 0:
            self._refuse("the description", f"of at most {MOST_VALUES} values", None, "it has more")
        if levels < 0:
            self._refuse("the description", f"nested at most {MOST_LEVELS} levels deep", None, "it is deeper")
        if isinstance(value, Mapping):
            self._mapping(key, value, levels, inside)
        elif type(value) in (list, tuple):
            for item in value:
                self.value(key, item, levels - 1, inside)
        else:
            self._leaf(key, value)

    def _mapping(self, key: str, value: Mapping[Any, Any], levels: int, inside: bool) -> None:
        if "class_path" in value:
            cls = find(value["class_path"])
            if not isinstance(value.get("init_args", {}), Mapping | None):
                self._refuse("init_args", "a mapping", value["init_args"])
            if self.wraps(cls):
                if inside:
                    self._refuse(key, "no Adapter inside an Adapter", value["class_path"])
                inside = True
        for name, item in value.items():
            if type(name) is not str or len(name) > MOST_CHARACTERS:
                self._refuse(key, "a mapping with words as keys", name)
            self.value(key if name in ("class_path", "init_args") else name, item, levels - 1, inside)

    def _leaf(self, key: str, value: Any) -> None:
        if type(value) is str:
            if len(value) > MOST_CHARACTERS:
                self._refuse(key, f"a word of at most {MOST_CHARACTERS} characters", value)
        elif type(value) in (int, float):
            if not abs(value) <= LARGEST:  # nor is NaN
                self._refuse(key, f"a number between -{LARGEST:,} and {LARGEST:,}", value)
        elif value is not None and type(value) is not bool:
            self._refuse(key, "a plain value", value)

    def _refuse(self, key: str, constraint: str, value: Any, got: str = "") -> None:
        raise InputError(
            f"net {self.name[:200]!r}: {key[:100]} must be {constraint}, but "
            f"{got or f'got {_short(value)}'}. The file is damaged, or was made to do harm. {_REMEDY}"
        )


def _short(value: Any) -> str:
    if isinstance(value, int | float | str):
        return repr(value)[:200] if not isinstance(value, int) or abs(value) < 10**100 else "a longer number"
    return "nothing" if value is None else f"a {type(value).__name__}"


# ---- making ---------------------------------------------------------------------------------------------------------
def make(path: str, call: Callable[[], Any], weights: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Call what makes a net, under a limit of memory and of operations.

    Args:
        path: the name of its class, for messages.
        call: makes the net.
        weights: what it is to hold; a net may be larger than the limit where these are large.

    Raises:
        InputError: whatever goes wrong, and when the net is larger than its limit.
    """
    try:
        with limited(path, 4 * held_bytes(weights or {})):
            made = call()
    except InputError:
        raise
    except Exception as error:  # constructors raise whatever wrong arguments make them raise
        raise InputError(f"net {path!r}: the arguments in the file do not fit: {one_line(error)}. {_REMEDY}") from error
    if not isinstance(made, nn.Module):
        raise InputError(f"net {path!r}: must make a torch.nn.Module, but made a {type(made).__name__}. {_REMEDY}")
    return made


def held_bytes(weights: Mapping[str, Tensor]) -> int:
    """Bytes of memory behind tensors; those that share it count once.

    >>> held_bytes({"a": torch.zeros(3), "b": torch.zeros(1).expand(10**9)})
    16
    """
    storages = [w.untyped_storage() for w in weights.values() if isinstance(w, Tensor) and w.layout == torch.strided]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


@contextmanager
def limited(path: str, at_least: int = 0) -> Iterator[None]:
    """Refuse operations that would make tensors of more than ``MOST_BYTES`` (or ``at_least``) in all, before they do.

    Raises:
        InputError: naming the net ``path``.
    """
    if _under_limit.get():  # a net in a net: the outer limit counts all of it
        yield
        return
    token = _under_limit.set(True)
    try:
        with _Limit(path, max(MOST_BYTES, at_least)):
            yield
    finally:
        _under_limit.reset(token)


class _Limit(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, path: str, most: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path, self.most, self.left, self.operations = path, most, most, MOST_OPERATIONS

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.operations -= 1
        if self.operations < 0:
            raise InputError(f"net {self.path!r}: the file describes a net of too many layers. {_REMEDY}")
        if 8 * _bound((args, kwargs)) > self.left:  # perhaps too large: only shapes are computed first
            self._spend(_on_meta(func, args, kwargs), spend=False)
        out = func(*args, **kwargs)
        if not any(result.alias_info for result in func._schema.returns):  # neither in place nor a view
            self._spend(out)
        return out

    def _spend(self, out: Any, spend: bool = True) -> None:
        tensors = [part for part in (out if isinstance(out, tuple | list) else (out,)) if isinstance(part, Tensor)]
        size = sum(part.numel() * part.element_size() for part in tensors)
        if size > self.left:
            raise InputError(
                f"net {self.path!r}: must take at most {self.most / 2**20:,.0f} MiB, but the file describes a larger "
                f"one. {_REMEDY}"
            )
        self.left -= size * spend


def _bound(value: Any) -> int:
    """At least as many numbers as an operation with these arguments can make, views aside."""
    if isinstance(value, Tensor):
        return max(1, value.numel())
    if isinstance(value, Mapping):
        return math.prod(_bound(item) for item in value.values())
    if isinstance(value, tuple | list):
        return math.prod(_bound(item) for item in value)
    return max(1, abs(value)) if type(value) is int else max(1, math.ceil(abs(value))) if _finite(value) else 1


def _finite(value: Any) -> bool:
    return type(value) is float and math.isfinite(value)


def _on_meta(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """What an operation would return, as shapes; nothing where they cannot be known without computing."""

    def move(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to("meta")
        if isinstance(value, tuple | list):
            return type(value)(move(item) for item in value)
        return torch.device("meta") if isinstance(value, torch.device) else value

    moved = {key: move(value) for key, value in kwargs.items()}
    if any(argument.name == "device" for argument in func._schema.arguments):
        moved["device"] = torch.device("meta")
    try:
        return func(*move(args), **{k: v for k, v in moved.items() if k not in ("pin_memory", "generator")})
    except InputError:
        raise
    except Exception:
        return None
