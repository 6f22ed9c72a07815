"""Where two records differ, and how much that counts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase as fnmatch
from typing import Any

ABSENT = "(absent)"
TOLERANCE = 1e-6
#: parts whose numbers are computed: the same operations in another order round differently
COMPUTED = ("terms", "fits")
#: names that stand for the same thing in the version before and after
RENAMED = {"WeighedTeachers": "WeightedTeachers"}
#: those that make the comparison fail
COUNTED = ("failed", "difference")
KINDS = (*COUNTED, "announced", "close", "note")


@dataclass(frozen=True)
class Difference:
    """One value of one record.

    Attributes:
        kind: ``"failed"``: it could not be recorded; ``"difference"``; ``"announced"``: it belongs to an argument that
            was named as changed; ``"close"``: numbers within 1e-6, relative; ``"note"``: something new, or whether an
            argument may be given by position.
    """

    part: str
    name: str
    path: str
    before: Any
    after: Any
    kind: str


def compare(before: Mapping[str, Any], after: Mapping[str, Any], ignore: Iterable[str] = ()) -> list[Difference]:
    """All differences of two records ``{part: {name: value}}`` in the parts that both have.

    Args:
        before: of one version.
        after: of another.
        ignore: what is announced to change: ``Class.argument`` or ``Class.*`` in configs and signatures, ``Class`` for
            the terms and the fits of a method.

    >>> old, new = ({"configs": {"a/kd": {"model": {"class": "KD", "kd_weight": w}}}} for w in (0.9, 0.8))
    >>> [(d.path, d.before, d.after, d.kind) for d in compare(old, new)]
    [('model.kd_weight', 0.9, 0.8, 'difference')]
    >>> [d.kind for d in compare(old, new, ["KD.kd_weight"])]
    ['announced']
    """
    found: list[Difference] = []
    for part in before:
        if part in after:
            old, new = ({renamed(k): renamed(v) for k, v in side[part].items()} for side in (before, after))
            for name in sorted({*old, *new}):
                found += _record(part, name, old.get(name, ABSENT), new.get(name, ABSENT), set(ignore))
    return found


def _record(part: str, name: str, old: Any, new: Any, ignore: set[str]) -> Iterator[Difference]:
    owner = _owner(part, name)
    for path, owners, before, after, kind in _differing(old, new, (), (), part in COMPUTED):
        named = {owner} if part in COMPUTED else {(owner, key) for key in path} | set(owners)
        announced = any(_named(said, one) for said in ignore for one in named)
        if kind == "difference" and announced:
            kind = "announced"
        elif kind == "difference" and (old == ABSENT or (part == "signatures" and path[-1:] == ("kind",))):
            kind = "note"
        yield Difference(part, name, ".".join(path), before, after, kind)


def _named(ignored: str, one: str | tuple[str, str]) -> bool:
    """Whether ``Class.argument`` names an argument, or ``Class`` a method; an objective goes by its method's name."""
    cls, _, argument = ignored.partition(".")
    cls = cls.removesuffix("Objective")
    if isinstance(one, str):
        return not argument and fnmatch(one, cls)
    return bool(argument) and fnmatch(one[0].removesuffix("Objective"), cls) and fnmatch(one[1], argument)


def _owner(part: str, name: str) -> str:
    """The method to which a record belongs: ``AFD`` of ``methods.AFD``, ``AFDObjective`` and ``AFD, cached``."""
    return "" if part == "configs" else name.partition(",")[0].rpartition(".")[2].removesuffix("Objective")


def _differing(
    a: Any, b: Any, path: tuple[str, ...], owners: tuple[tuple[str, str], ...], computed: bool
) -> Iterator[tuple[tuple[str, ...], tuple[tuple[str, str], ...], Any, Any, str]]:
    reasons = [side.get("failed") if isinstance(side, dict) else None for side in (a, b)]
    if any(reasons):
        yield path, owners, *reasons, "failed"
    elif isinstance(a, dict) and isinstance(b, dict):
        cls = a.get("class")
        for key in dict.fromkeys([*a, *b]):
            above = (*owners, (str(cls), key)) if cls is not None else owners
            yield from _differing(a.get(key, ABSENT), b.get(key, ABSENT), (*path, key), above, computed)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _differing(x, y, (*path, str(i)), owners, computed)
    elif not _same(a, b):
        numbers = isinstance(a, float | int) and isinstance(b, float | int)
        near = numbers and math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12)
        close = computed and (near or (path[-1:] == ("digest",) and ABSENT not in (a, b)))
        yield path, owners, a, b, "close" if close else "difference"


def _same(a: Any, b: Any) -> bool:
    both_nan = isinstance(a, float) and isinstance(b, float) and a != a and b != b
    return both_nan or (a == b and isinstance(a, bool) == isinstance(b, bool))


def renamed(value: Any) -> Any:
    """The value with the later names of what was renamed."""
    if isinstance(value, dict):
        return {renamed(key): renamed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item) for item in value]
    if isinstance(value, str):
        for old, new in RENAMED.items():
            value = value.replace(old, new)
    return value


def lines(differences: Iterable[Difference], names: int = 4, values: int = 3) -> Iterator[str]:
    """The differences as text, by part and kind; digests are not shown.

    Args:
        differences: from :func:`compare`.
        names: those that say the same are one line, in which so many of their names are written.
        values: so many values are written of each objective and fit.
    """
    groups: dict[tuple[str, int, str], list[str]] = {}
    seen: Counter[tuple[str, str, str]] = Counter()
    for d in differences:
        if d.path.rpartition(".")[2] != "digest":
            seen[d.part, d.kind, d.name] += 1
            if d.part not in COMPUTED or d.kind == "close" or seen[d.part, d.kind, d.name] <= values:
                groups.setdefault((d.part, KINDS.index(d.kind), _said(d)), []).append(d.name)
    for (part, kind, name), count in seen.items():
        if part in COMPUTED and kind != "close" and count > values:
            groups[part, KINDS.index(kind), f"and {count - values} more values of {name}"] = [name]
    for (part, kind, said), found in sorted(groups.items(), key=lambda group: (group[0][:2], group[1][0])):
        who = list(dict.fromkeys(found))
        more = f" and {len(who) - names} more" if len(who) > names else ""
        yield f"{part:10s} {KINDS[kind]:10s} {', '.join(who[:names])}{more}: {said}"


def _said(d: Difference) -> str:
    if d.kind == "failed":
        reasons = [f"{side}: {said}" for side, said in (("before", d.before), ("after", d.after)) if said]
        return "; ".join([d.path, *reasons] if d.path else reasons)
    if d.kind == "close":
        return f"numbers within {TOLERANCE:g}"
    if d.before == ABSENT and not d.path:
        return "only after"
    said = f"{_short(d.before)} -> {_short(d.after)}"
    if d.kind == "note" and d.path.rpartition(".")[2] == "kind":
        return f"arguments: {said}"
    return f"{d.path}: {said}" if d.path else said


def _short(value: Any) -> str:
    text = value if value == ABSENT else repr(value)
    return text if len(text) <= 200 else f"{text[:200]} ..."
