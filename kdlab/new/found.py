"""What was found in a user's data, and what is doubtful about it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kdlab.data import Unlabelled, WindowDataModule
from kdlab.data.groups import Groups
from kdlab.data.identified import identified
from kdlab.data.label_rows import without_label
from kdlab.data.splits import usable
from kdlab.data.windows import WindowSet
from kdlab.new.doubts import doubts_of
from kdlab.study.known import refuse_unknown
from kdlab.types import InputError

T = TypeVar("T")
M = TypeVar("M", bound=WindowDataModule)
FEW_PEOPLE, FEW_WINDOWS = 8, 20
#: of ``--people``, ``--rate`` and ``--time``: there is none, or it is not known
NONE, UNKNOWN = "none", "unknown"


@dataclass(frozen=True)
class Found:
    """A data module's arguments, its windows, and what a user should read about them.

    Args:
        class_path: of the data module.
        init_args: that are written into ``data.yaml``.
        windows: what it loads.
        lines: what was found.
        doubts: what may be wrong.
    """

    class_path: str
    init_args: dict[str, Any]
    windows: WindowSet
    lines: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @property
    def unlabelled(self) -> Unlabelled | None:
        """Which windows have no label, as the data module takes it."""
        given = unlabelled_of(self.init_args)
        return Unlabelled(missing=True) if given is None and self.windows.missing_labels else given

    @property
    def people(self) -> dict[str, int]:
        """Person -> number of windows, in natural order; empty where people are unknown."""
        if self.windows.subject is None:
            return {}
        groups = Groups.of(self.windows.subject)
        return dict(zip(groups.names, np.bincount(groups.code, minlength=len(groups.names)).tolist(), strict=True))

    def people_of(self, label: int) -> list[str]:
        """The people with windows of a class whose label is used."""
        kept, _ = usable(self.windows, (), self.unlabelled)
        return self.among(kept & (self.windows.target == label))

    def among(self, chosen: NDArray[np.bool_]) -> list[str]:
        """The people with one of these windows; empty where people are unknown."""
        return [] if self.windows.subject is None else Groups.of(self.windows.subject).among(chosen)


def described(init_args: dict[str, Any], module: WindowDataModule, rate: str) -> Found:
    """Windows, people, classes and channels in words, with the doubts that every kind of data can raise."""
    windows, _ = identified(module.load(), module.merge_labels, module.merge_subjects)
    x, lines, doubts = windows.windows["raw"], list[str](), list[str]()
    found = Found(type(module).__name__, init_args, windows, lines, doubts)
    _, width, length = x.shape
    seconds = f" ({length / float(rate):.3g} s at {rate} Hz)" if rate != UNKNOWN else " (rate unknown)"
    lines.append(f"windows   {len(x)}, of {length} samples{seconds}")
    lines.append(f"channels  {width}: {_few(windows.channels['raw'])}")
    people = found.people
    each = _few([f"{name} {count}" for name, count in people.items()])
    lines.append(f"people    {len(people)}, windows each: {each}" if people else "people    unknown")
    bare = without_label(windows.target)
    counts = np.bincount(windows.target[~bare], minlength=len(windows.classes))
    lines.append(f"classes   {len(counts)}, windows each: {_few(list(map(_counted, windows.classes, counts)))}")
    if bare.any():
        lines.append(f"no label  {np.count_nonzero(bare)} windows, which train students through their teachers alone")
    if not people:
        doubts.append("people are unknown: the table will not show how it would be with new people")
    elif len(people) < FEW_PEOPLE:
        doubts.append(f"{len(people)} people are few: intervals over people will be wide")
    for label, name in enumerate(windows.classes):
        if 0 < counts[label] < FEW_WINDOWS:
            doubts.append(f"class {name} has {counts[label]} windows")
    doubts.extend(doubts_of(windows))
    return found


def made(kind: Callable[..., M], arguments: Mapping[str, Any]) -> M:
    """A data module of the arguments that are written into ``data.yaml``."""
    unlabelled = unlabelled_of(arguments)
    return kind(**{**arguments, **({} if unlabelled is None else {"unlabelled": unlabelled})})


def unlabelled_of(arguments: Mapping[str, Any]) -> Unlabelled | None:
    """The windows without a label that arguments of a data module declare.

    Raises:
        InputError: they are no mapping of what `Unlabelled` takes.
    """
    given = arguments.get("unlabelled")
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise InputError(
            f"--set unlabelled must be a mapping, but got {given!r:.40}. Write --set 'unlabelled={{missing: true}}'."
        )
    refuse_unknown(given, [one.name for one in fields(Unlabelled)], "--set unlabelled")
    return Unlabelled(**given)


def _counted(name: str, count: int) -> str:
    return f"{name} {count}"


def _few(words: Sequence[str], most: int = 12) -> str:
    return ", ".join(words[:most]) + (", ..." if len(words) > most else "")


class Questions:
    """What the data leave open, gathered, so that one refusal asks for all of it.

    >>> questions = Questions()
    >>> questions.ask(read_rate, "50", default="")
    '50'
    """

    def __init__(self) -> None:
        self.open: list[str] = []

    def ask(self, question: Callable[..., T], *arguments: Any, default: T) -> T:
        """The answer, or ``default`` where there is none yet."""
        try:
            return question(*arguments)
        except InputError as error:
            self.open.append(str(error))
            return default

    def end(self) -> None:
        """Refuse what is open.

        Raises:
            InputError: a line for each question.
        """
        if len(self.open) == 1:
            raise InputError(self.open[0])
        if self.open:
            lines = "".join(f"\n  {line}" for line in self.open)
            raise InputError(f"kdlab new: {len(self.open)} options must be given, but got none that fits.{lines}")


def read_rate(text: str | None, hint: str = "") -> str:
    """The sampling rate that was given, in hertz.

    Raises:
        InputError: none was given, or no positive number.
    """
    if text is None:
        raise InputError(
            f"--rate: the sampling rate must be given in hertz, but got none{hint}. Write, for example, --rate 50."
        )
    try:
        fine = text == UNKNOWN or ("_" not in text and 0 < float(text) < float("inf"))
    except ValueError:
        fine = False
    if not fine:
        raise InputError(f"--rate must be a number of hertz above 0, but got {text!r}. Write, for example, --rate 50.")
    return text


def names_given(text: str) -> list[str]:
    """The names in ``--channels``, without the blanks around them.

    Raises:
        InputError: an empty name.

    >>> names_given("x, y ,z")
    ['x', 'y', 'z']
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise InputError(f"--channels must be names between commas, but got {text!r}. Write, say, --channels x,y,z.")
    return names


def line(option: str, value: str) -> str:
    """An option and its value as a shell takes them.

    >>> line("--labels", "Zeit [s]"), line("--time", "-t"), line("--people", "who")
    ("--labels 'Zeit [s]'", '--time=-t', '--people who')
    """
    return f"{option}{'=' if value.startswith('-') else ' '}{shlex.quote(value)}"


def number(text: str) -> int | float:
    """A number as YAML writes it best: 50 in place of 50.0."""
    value = float(text)
    return int(value) if value.is_integer() else value


def place(path: Path) -> str:
    """The absolute path of data, so that a study runs from any working directory."""
    return str(path.expanduser().resolve())
