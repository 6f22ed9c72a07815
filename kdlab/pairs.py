"""Taps of student and teachers that have other names: which one is compared with which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from kdlab.types import InputError, Output

#: student's tap -> teacher's tap, or teacher -> such a mapping
Pairs = dict[str, str | dict[str, str]]
_Part = TypeVar("_Part")


class MissingTapError(InputError):
    """A net has no tap of a name that an objective reads.

    Args:
        lacks: which net lacks which tap.
        output: of the net.
    """

    def __init__(self, lacks: str, output: Output) -> None:
        self.lacks = lacks
        held = ", ".join(map(repr, output.features)) or "none"
        super().__init__(f"{lacks}; it has {held}. Choose taps= among those of all nets.")


def checked_pairs(who: str, pairs: Any) -> dict[str, Any]:
    """Pairs as plain mappings.

    Args:
        who: name of the class, for the message.
        pairs: ``{student's tap: teacher's tap}``, or ``{teacher: {student's tap: teacher's tap}}``.

    Raises:
        InputError: when it is neither form, or teachers pair other taps of the student.

    Example:
        >>> checked_pairs("AT", {"stage3": "layer4"})
        {'stage3': 'layer4'}
    """
    if isinstance(pairs, Mapping) and pairs and _words(pairs):
        return dict(pairs)
    parts = list(pairs.values()) if isinstance(pairs, Mapping) else []
    if not parts or not all(isinstance(part, Mapping) and part and _words(part) for part in parts):
        raise InputError(
            f"{who}: pairs must be {{student's tap: teacher's tap}}, or {{teacher: {{student's tap: teacher's tap}}}}, "
            f"but got {pairs!r:.200}. Write pairs={{'stage3': 'layer4'}}."
        )
    for part in parts:
        if set(part) != set(parts[0]):
            raise InputError(
                f"{who}: pairs must pair the same taps of the student for all teachers, but got {sorted(parts[0])} and "
                f"{sorted(part)}. Pair the same ones."
            )
    return {name: dict(part) for name, part in pairs.items()}


def _words(pairs: Mapping[Any, Any]) -> bool:
    return all(isinstance(word, str) for pair in pairs.items() for word in pair)


def student_taps(pairs: Mapping[str, Any]) -> tuple[str, ...]:
    """The student's taps in pairs, in their order."""
    first = next(iter(pairs.values()))
    return tuple(first) if isinstance(first, Mapping) else tuple(pairs)


def by_teacher(who: str, pairs: Mapping[str, Any], teachers: Iterable[str]) -> dict[str, dict[str, str]]:
    """Teacher -> its pairs; none for a teacher that pairs by teacher do not name.

    Raises:
        InputError: when they name others.
    """
    names = list(teachers)
    if not isinstance(next(iter(pairs.values())), Mapping):
        return {name: dict(pairs) for name in names}
    if unknown := sorted(set(pairs) - set(names)):
        raise InputError(f"{who}: pairs must name teachers, {sorted(names)}, but got {unknown[0]!r}. Rename it.")
    return {name: dict(pairs.get(name, {})) for name in names}


def renamed(taps: Mapping[str, _Part], pairs: Mapping[str, str]) -> dict[str, _Part]:
    """A teacher's taps under the names of the student's that they are paired with; others keep theirs.

    A student's name whose partner is missing is left out, so that no other tap of that name is taken for it.

    Example:
        >>> renamed({"stage3": 1, "layer4": 2}, {"stage3": "layer4"})
        {'layer4': 2, 'stage3': 2}
    """
    others = {name: tap for name, tap in taps.items() if name not in pairs}
    return {**others, **{own: taps[other] for own, other in pairs.items() if other in taps}}


def what_nets_have(student: Output, teachers: Mapping[str, Output]) -> str:
    """The taps of each net, for messages."""
    nets = {"the student": student, **{f"teacher {name!r}": output for name, output in teachers.items()}}
    return "; ".join(f"{who} has {', '.join(map(repr, out.features)) or 'none'}" for who, out in nets.items())
