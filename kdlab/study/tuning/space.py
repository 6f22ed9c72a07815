"""The space of a tuning: name of a setting -> the values that it may take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdlab.study.digests import as_text
from kdlab.study.keys import RANGE
from kdlab.types import InputError

DIGITS = 4  # of a suggested number
_OPTIMIZER = ("lr", "weight_decay", "momentum")


@dataclass(frozen=True)
class Choice:
    """A setting that takes one of several values, of any kind that a config holds."""

    values: tuple[Any, ...]

    @property
    def words(self) -> list[Any]:
        """The values as the sampler sees them: what is no plain value is written as JSON."""
        plain = (bool, int, float, str, type(None))
        return [v if isinstance(v, plain) else as_text(v) for v in self.values]

    def value(self, word: Any) -> Any:
        """The value of a word of the sampler."""
        kinds = [(type(w), w) for w in self.words]
        return self.values[kinds.index((type(word), word))]

    def word(self, value: Any) -> Any:
        """The word of a value."""
        return self.words[[(type(v), v) for v in self.values].index((type(value), value))]

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are checked before anything is run."""
        return self.values

    @property
    def members(self) -> Sequence[Any]:
        """All values."""
        return self.values

    @property
    def content(self) -> Any:
        """As a study file declares it."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """A number between two others; a whole one where both ends are written as whole numbers."""

    low: float
    high: float
    log: bool = field(default=False, repr=False)

    @property
    def whole(self) -> bool:
        """Whether it takes whole numbers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def value(self, word: Any) -> Any:
        """A number of the sampler, rounded to `DIGITS` digits, within the range.

        >>> Range(0.005, 0.1).value(0.0123456), Range(0.005, 0.1).value(0.00500001), Range(1, 8).value(3)
        (0.01235, 0.005, 3)
        """
        return int(word) if self.whole else min(max(float(f"{word:.{DIGITS}g}"), self.low), self.high)

    def word(self, value: Any) -> Any:
        """The number itself."""
        return value

    def place(self, value: float) -> float:
        """Where a number lies, in the scale of the range: 0 at its low end, 1 at its high one.

        >>> Range(0.0, 2.0).place(0.5), round(Range(0.001, 0.1, log=True).place(0.01), 6)
        (0.25, 0.5)
        """
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are checked before anything is run."""
        return (self.low, self.high)

    @property
    def members(self) -> Sequence[int]:
        """All values of a range of whole numbers."""
        return range(int(self.low), int(self.high) + 1)

    @property
    def content(self) -> Any:
        """As a study file declares it."""
        return {"low": self.low, "high": self.high, "log": self.log}


Space = dict[str, Choice | Range]


def size_of(space: Space) -> float:
    """How many different settings a space holds.

    >>> size_of({"a": Choice((1, 2, 4)), "b": Range(1, 8)}), size_of({"a": Range(0.1, 0.2)})
    (24, inf)
    """
    return math.prod(len(v.members) if isinstance(v, Choice) or v.whole else math.inf for v in space.values())


def full_name(name: str) -> str:
    """The dotted name of a setting in a config; the short forms leave out ``init_args`` and ``optimizer``.

    >>> full_name("model.lr"), full_name("model.temperature")
    ('model.init_args.optimizer.init_args.lr', 'model.init_args.temperature')
    >>> full_name("data.batch_size"), full_name("trainer.max_epochs")
    ('data.init_args.batch_size', 'trainer.max_epochs')
    """
    first, _, rest = name.partition(".")
    if first not in ("model", "data") or not rest or rest.split(".")[0] in ("class_path", "init_args"):
        return name
    rest = f"optimizer.init_args.{rest}" if first == "model" and rest in _OPTIMIZER else rest
    return f"{first}.init_args.{rest}"


def read_space(content: Any, where: str) -> Space:
    """A space as a study file declares it.

    Args:
        content: name -> list of values, or ``{low, high, log}``.
        where: for messages.

    Raises:
        InputError: a name that stands twice, or values that are neither.

    >>> read_space({"model.temperature": [2, 4], "model.kd_weight": {"low": 0.1, "high": 1.0}}, "own: kd")
    {'model.init_args.temperature': Choice(values=(2, 4)), 'model.init_args.kd_weight': Range(low=0.1, high=1.0)}
    """
    if not isinstance(content, Mapping):
        raise InputError(f"{where} must map settings to their values, but got {content!r:.80}. Write {{name: [...]}}.")
    space: Space = {}
    for name, given in content.items():
        full = full_name(str(name))
        if not full.startswith(("model.", "data.", "trainer.")):
            raise InputError(
                f"{where}: {name} must be a setting of model, data or trainer, but got {name!r}. Write for example "
                "model.temperature or data.batch_size."
            )
        if full in space:
            raise InputError(f"{where}: {name} must stand once, but it stands twice. Remove one of them.")
        space[full] = _read_values(given, f"{where}: {name}")
    return space


def _read_values(given: Any, where: str) -> Choice | Range:
    if isinstance(given, Mapping) and {"low", "high"} <= set(given) <= set(RANGE):
        return _read_range(given, where)
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given):
        words = [as_text(value) for value in given]
        if len(set(words)) < len(words):
            raise InputError(f"{where} must be different values, but got {given!r:.80}. Remove the repeated one.")
        return Choice(tuple(given))
    raise InputError(
        f"{where} must be a list of values or {{low: ..., high: ..., log: true}}, but got {given!r:.80}. Write one of "
        "them."
    )


def _read_range(given: Mapping[str, Any], where: str) -> Range:
    low, high, log = given["low"], given["high"], given.get("log", False)
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in (low, high))
    if not numbers or not low < high or not isinstance(log, bool) or (log and low <= 0):
        above = " above 0" if log is True else ""
        raise InputError(
            f"{where} must be two numbers{above}, low below high, and log true or false, but got {dict(given)!r:.120}. "
            "Correct it."
        )
    if not all(isinstance(v, int) for v in (low, high)):
        low, high = float(low), float(high)
    return Range(low, high, log)
