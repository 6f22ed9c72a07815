"""Declared arguments: a class writes each argument once, with its text, default and range; the rest is made from that.

A class body declares ``temperature: Setting = setting("``T > 0``", default=4.0, low=1e-3)``. The signature, the
``Args:`` of the docstring (and so ``--help``), the check of the range and the entry in ``--print_config`` are made from
it; a subclass inherits it, and changes its default with ``temperature: Setting = setting(default=2.0)``.
"""

from __future__ import annotations

import inspect
import math
import numbers
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, overload

import docstring_parser
from torch import Tensor

from kdlab.types import InputError


class Setting:
    """Type of a declared number that may change during training: a ``float`` is given, a 0-dim ``Tensor`` is read."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> Tensor: ...
    def __get__(self, instance: object | None, owner: Any) -> Any:
        """For type checkers: the class is made without the declaration, and the buffer is read."""
        return self

    def __set__(self, instance: object, value: float) -> None:
        """For type checkers: what the constructor takes."""


class OptionalSetting:
    """As `Setting`, but ``None`` leaves it out: ``float | None`` is given, ``Tensor | None`` is read."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> Tensor | None: ...
    def __get__(self, instance: object | None, owner: Any) -> Any:
        """For type checkers, see `Setting`."""
        return self

    def __set__(self, instance: object, value: float | None) -> None:
        """For type checkers: what the constructor takes."""


#: the weight of a term that is measured on the first batches
AUTO = "auto"
_GIVEN = {Setting: float, OptionalSetting: float | None}
_WEIGHT = float | Literal["auto"]
_INHERITED: Any = object()  # a part of a declaration that a subclass does not change


@dataclass(frozen=True)
class Field:
    """One declared argument.

    Attributes:
        text: what it is, in the words of a docstring.
        default: its default.
        low: the least value, included.
        high: the greatest value, included.
        above: the values are greater than this.
        check: ``check(who, value) -> value``, a check beyond range and type.
        init: whether the constructor takes it; a subclass withdraws an argument with ``init=False``.
        annealed: whether it is a 0-dim buffer that callbacks may change.
        auto: whether ``"auto"`` is a value, of a weight without an upper bound.
        type: what the constructor takes, resolved from the annotation.
    """

    text: str
    default: Any
    low: float | None
    high: float | None
    above: float | None
    check: Callable[[str, Any], Any] | None
    init: bool
    annealed: bool
    auto: bool = True
    type: Any = None

    def checked(self, who: str, name: str, value: Any) -> Any:
        """The value, if it is one that this argument may have.

        Args:
            who: name of the class, for the message.
            name: name of the argument.
            value: the given value.

        Raises:
            InputError: naming class and argument, the constraint and the value.
        """
        if value is None and type(None) in get_args(self.type):
            return None
        if self.may_be_auto and value == AUTO and isinstance(value, str):
            return value
        if (choices := self.choices) and not any(isinstance(value, type(c)) and value == c for c in choices):
            allowed = (*choices, None) if type(None) in get_args(self.type) else choices
            raise _refused(who, name, " or ".join(map(repr, allowed)), value)
        if self._kinds == [bool] and not isinstance(value, bool):
            raise _refused(who, name, "true or false", value)
        if constraint := self._number():
            number = isinstance(value, numbers.Integral if self._integer else numbers.Real | Tensor)
            if not number or isinstance(value, bool) or not self._contains(float(value)):
                raise _refused(who, name, constraint, value)
        return value if self.check is None else self.check(who, value)

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a ``Literal``, if its type is one; empty where other types are allowed too."""
        literal = all(get_origin(kind) is Literal for kind in self._kinds)
        return tuple(word for kind in self._kinds for word in get_args(kind)) if literal else ()

    @property
    def may_be_auto(self) -> bool:
        """Whether ``"auto"`` is a value: of weights without an upper bound."""
        return self.annealed and self.type == _WEIGHT

    @property
    def _kinds(self) -> list[Any]:
        """The members of its type but None, if that is a union, or else the type."""
        members = get_args(self.type) if get_origin(self.type) in (Union, UnionType) else (self.type,)
        return [kind for kind in members if kind is not type(None)]

    @property
    def _integer(self) -> bool:
        return self._kinds == [int]

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest value."""
        return (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)

    def _contains(self, value: float) -> bool:
        low, high = self.range
        return math.isfinite(value) and low <= value <= high and (self.above is None or value > self.above)

    def _number(self) -> str:
        """The allowed numbers, in words; empty where it need not be a number."""
        bounded = (self.low, self.high, self.above) != (None, None, None)
        words = in_words(self.low, self.high, self.above) if bounded else ""
        return f"a whole number {words.removesuffix(' and finite')}".rstrip() if self._integer else words


def in_words(low: float | None, high: float | None, above: float | None = None) -> str:
    """A range in the words of a message.

    Example:
        >>> in_words(0.0, 1.0), in_words(0.0, None), in_words(None, 2.0, above=0.0)
        ('from 0 to 1', 'at least 0 and finite', 'above 0 and at most 2')
    """
    low, high = (None if low == -math.inf else low), (None if high == math.inf else high)
    if above is not None:
        return f"above {above:g} and " + ("finite" if high is None else f"at most {high:g}")
    if low is None:
        return f"at most {high:g} and finite" if high is not None else "finite"
    return f"at least {low:g} and finite" if high is None else f"from {low:g} to {high:g}"


def _refused(who: str, name: str, constraint: str, value: Any) -> InputError:
    return InputError(f"{who}: {name} must be {constraint}, but got {value!r}.")


def setting(
    text: str = "",
    *,
    default: float | None = _INHERITED,
    low: float | None = _INHERITED,
    high: float | None = _INHERITED,
    init: bool = True,
    auto: bool = _INHERITED,
) -> Any:
    """Declare a number that may change during training: a float32 0-dim buffer, logged, annealed by callbacks.

    Args:
        text: what it is; empty: that of the class above.
        default: its default; ``None`` (of an `OptionalSetting`) leaves it out.
        low: the least value, 0 unless given.
        high: the greatest value; unbounded unless given.
        init: ``False`` withdraws the argument of a class above.
        auto: ``False`` for the weight of a term that trains adapters alone: it is their learning rate, and no share of
            what the student learns.
    """
    return Field(text, default, low, high, None, None, init, annealed=True, auto=auto)


def argument(
    text: str = "",
    *,
    default: Any = _INHERITED,
    low: float | None = _INHERITED,
    high: float | None = _INHERITED,
    above: float | None = _INHERITED,
    check: Callable[[str, Any], Any] | None = _INHERITED,
    init: bool = True,
) -> Any:
    """Declare an argument that is constant; the values of a ``Literal`` are checked without a ``check``.

    Args:
        text: what it is; empty: that of the class above.
        default: its default.
        low: the least value, included.
        high: the greatest value, included.
        above: the values are greater than this.
        check: ``check(who, value) -> value``, which raises `InputError` for a wrong value.
        init: ``False`` withdraws the argument of a class above.
    """
    return Field(text, default, low, high, above, check, init, annealed=False)


def _switch(text: str) -> Field:
    return Field(text, False, None, None, None, None, init=True, annealed=False, type=bool)


#: the arguments that a class with a declared setting ``temperature`` has besides
OF_A_TEMPERATURE: dict[str, Field] = {
    "learn_temperature": _switch(
        "learn the temperature against the student, from 15.6 within 1 to 21, in place of ``temperature`` (CTKD); see "
        ":class:`kdlab.temperature.LearntTemperature`."
    ),
    "temperature_epochs": Field(
        "epochs in which the gradient of a learnt temperature grows to its full, reversed size, at least 1.",
        10,
        1,
        None,
        None,
        None,
        init=True,
        annealed=False,
        type=int,
    ),
    "standardise": _switch(
        "standardise the logits of student and teachers (z-score over the classes of a window) in the terms of "
        "distillation, not in the label term; ``temperature`` is then that of the z-scores."
    ),
}


def declare(cls: type, above: Mapping[str, Field]) -> dict[str, Field]:
    """Take the declarations out of a class body, where they would hide the attributes of instances.

    Args:
        cls: a class that has just been made.
        above: the fields of the classes above it.

    Returns:
        All fields of the class, inherited ones first.

    Raises:
        TypeError: for a declaration without annotation or default, or with the name of a method; for a class attribute
            in the place of an inherited declaration, which the constructor would overwrite.
    """
    fields = dict(above)
    notes = inspect.get_annotations(cls)
    if hidden := sorted(n for n in above.keys() & vars(cls).keys() if not isinstance(vars(cls)[n], Field)):
        kind = "setting" if above[hidden[0]].annealed else "argument"
        raise TypeError(
            f"{cls.__name__}: {hidden[0]} must be declared, but got the class attribute {vars(cls)[hidden[0]]!r:.80}. "
            f"Change its default with {hidden[0]}: <type> = {kind}(default=...)."
        )
    for name, field in [(n, f) for n, f in vars(cls).items() if isinstance(f, Field)]:
        if name not in notes:
            raise TypeError(f"{cls.__name__}: {name} must have a type, as in {name}: Setting = setting(...).")
        if callable(getattr(cls.__base__, name, None)):
            raise TypeError(f"{cls.__name__}: {name} must not be the name of a method. Rename the argument.")
        delattr(cls, name)
        kind = _resolved(notes[name], cls, name)
        completed = _completed(replace(field, type=_GIVEN.get(kind, kind)), fields.get(name), cls, name)
        if kind is Setting and name.endswith("_weight") and completed.high is None and completed.auto:
            completed = replace(completed, type=_WEIGHT)
        fields[name] = completed
    if (temperature := fields.get("temperature")) is not None and temperature.annealed and temperature.init:
        fields |= {n: f for n, f in OF_A_TEMPERATURE.items() if n not in fields and not callable(getattr(cls, n, None))}
    return fields


def _resolved(note: Any, cls: type, name: str) -> Any:
    """The type of an annotation, which is text under ``from __future__ import annotations``."""
    if not isinstance(note, str):
        return note
    try:
        module = getattr(sys.modules.get(cls.__module__), "__dict__", {})
        return eval(note, globals() | module, dict(vars(cls)))
    except (NameError, AttributeError) as error:
        raise TypeError(
            f"{cls.__name__}: the type of {name} must be known where its module begins, but got {note!r} ({error}). "
            "Import or define it at the top of the module, not within a function."
        ) from error


def _completed(field: Field, inherited: Field | None, cls: type, name: str) -> Field:
    """A declaration with the parts of the class above that it leaves open, or the defaults of a new one."""
    new = {"low": 0.0 if field.annealed else None, "high": None, "above": None, "check": None, "auto": True}
    new["default"] = _INHERITED
    parts: dict[str, Any] = {
        part: getattr(inherited, part) if inherited is not None else value
        for part, value in new.items()
        if getattr(field, part) is _INHERITED
    }
    if inherited is not None and not field.text:
        parts["text"] = inherited.text
    if parts.get("default") is _INHERITED:
        raise TypeError(f"{cls.__name__}: {name} must have a default, as in setting(..., default=1.0).")
    return replace(field, **parts)


def parameters(fields: Mapping[str, Field]) -> list[inspect.Parameter]:
    """The keyword-only parameters of the constructor."""
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for name, field in fields.items()
        if field.init
    ]


def accepted(cls: type, fields: Mapping[str, Field]) -> dict[str, Field]:
    """What a constructor takes: the declared fields, and the parameters of one that is written by hand.

    Args:
        cls: the class.
        fields: its declared fields.

    Returns:
        Name -> declaration; ``default`` is ``inspect.Parameter.empty`` where a parameter has none.
    """
    given = inspect.signature(cls).parameters.values()
    declared = {name: field for name, field in fields.items() if field.init}
    found = {
        p.name: replace(declared[p.name], default=p.default) if p.name in declared else _by_hand(p, cls)
        for p in given
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
    }
    return found | ({n: f for n, f in declared.items() if n not in found} if _takes_all(given) else {})


def _takes_all(given: Iterable[inspect.Parameter]) -> bool:
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in given)


def _by_hand(parameter: inspect.Parameter, cls: type) -> Field:
    note = Any if parameter.annotation is parameter.empty else parameter.annotation
    try:
        kind = _resolved(note, cls, parameter.name)
    except TypeError:  # a name that only type checkers import
        kind = Any
    text = described(cls).get(parameter.name, "")
    return Field(text, parameter.default, None, None, None, None, init=True, annealed=False, type=kind)


def described(cls: type) -> dict[str, str]:
    """Argument -> text, from a Google docstring."""
    return dict(_described(cls.__doc__ or ""))


@lru_cache(maxsize=256)  # methods share the docstring of their base
def _described(doc: str) -> dict[str, str]:
    listed = docstring_parser.parse(doc).params
    return {param.arg_name: " ".join((param.description or "").split()) for param in listed}


def texts(fields: Mapping[str, Field]) -> dict[str, str]:
    """Argument -> what it is."""
    return {name: field.text for name, field in fields.items() if field.init and field.text}


def documented(doc: str | None, arguments: Mapping[str, str]) -> str | None:
    r"""A docstring with an ``Args:`` section of these arguments, before its other sections.

    Args:
        doc: a Google docstring; the texts of its own ``Args:`` are kept.
        arguments: argument -> text.

    Example:
        >>> print(documented("Terms.\n\nRaises:\n    ValueError: never.", {"width": "how wide"}))
        Terms.
        <BLANKLINE>
        Args:
            width: how wide
        <BLANKLINE>
        Raises:
            ValueError: never.
    """
    if doc is None:
        return None  # python -OO
    lines = inspect.cleandoc(doc).splitlines()
    own = lines.index("Args:") if "Args:" in lines else None
    if own is None:
        heads = ("Attributes:", "Raises:", "References:", "Example:", "Examples:", "Returns:")
        at = next((i for i, line in enumerate(lines) if line in heads), len(lines))
        lines[at:at] = ["Args:", ""] if at < len(lines) else ["", "Args:"]
        own = lines.index("Args:")
    block = own + 1
    while block < len(lines) and lines[block].startswith(" "):
        block += 1
    written = {line.strip().partition(":")[0] for line in lines[own + 1 : block] if not line.startswith("     ")}
    added = [line for name, text in arguments.items() if name not in written for line in _entry(name, text)]
    lines[own + 1 : own + 1] = added
    return "\n".join(lines)


@lru_cache(maxsize=1024)  # most arguments are those of all methods
def _entry(name: str, text: str) -> tuple[str, ...]:
    return tuple(textwrap.wrap(f"{name}: {text}", 112, initial_indent="    ", subsequent_indent="        "))
