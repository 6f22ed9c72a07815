"""Ids and class labels are made equal here, for every data module, and nothing else is merged in silence.

Two spellings are the same name where they differ in blanks around them or where one is a whole number in float form
(``"1.0"``, ``1.0`` and ``b"1"`` are ``"1"``). What differs in case, inner blanks, leading zeros or number format only
is refused (:func:`alike`) until a mapping declares what it is. Missing ids are refused (:func:`names`); missing labels
are counted by the word that was written (:func:`labels`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.data.spelling import likeness, natural_key, stripped, text, yaml_map, yaml_word
from kdlab.types import InputError

NO_LABEL_WORDS = ("", "na", "n/a", "<na>", "nan", "nat", "null", "none", "?")  # in any case; no name and no class
CHUNK = 2**20  # values that are Python objects at a time
SHOWN = 8  # names in a message


@dataclass(frozen=True)
class Coded:
    """Names and which of them each value is: ``names[code[i]]``, -1 where there is none.

    Attributes:
        names: the distinct names, as made equal and merged, in natural order.
        code: ``(N,)`` int32.
        missing: words for "nothing", as they were written -> how many values have it.
        merged: names that the mapping renamed -> how many values had it.
        first: the first index without a name, -1 where each value has one.
    """

    names: list[str]
    code: NDArray[np.int32]
    missing: dict[str, int] = field(default_factory=dict)
    merged: dict[str, int] = field(default_factory=dict)
    first: int = -1

    def array(self) -> NDArray[np.str_]:
        """The name of each value, ``(N,)``; ``""`` where there is none."""
        return np.array([*self.names, ""], dtype=np.str_)[self.code]


def names(values: Any, argument: str, *, merge: Mapping[Any, Any] | None = None) -> Coded:
    """Ids (subjects, recordings, sessions) made equal; a missing one is refused.

    Args:
        values: one id per window or sample, ``(N,)``: an array of any kind, a list, a pandas column, a tensor.
        argument: its name, for the message.
        merge: other spellings -> the name that they get; a name that is mapped to itself is meant as it is.

    Raises:
        InputError: missing ids (None, NaN, NaT, masked, a word of ``NO_LABEL_WORDS``), with how many and the first
            index; more than one axis; values that are no ids (:func:`text`).

    >>> names(["S1 ", "S1", "s2"], "subject", merge={"s2": "S2"}).array().tolist()
    ['S1', 'S1', 'S2']
    >>> names(np.array([1.0, 2.0, 10.0, 2.0]), "subject").names
    ['1', '2', '10']
    """
    found = _coded(values, argument, merge_map(merge, argument), NO_LABEL_WORDS)
    refuse_missing(found, argument, "an id")
    return found


def labels(
    values: Any,
    argument: str,
    *,
    merge: Mapping[Any, Any] | None = None,
    nothing: Sequence[str] = NO_LABEL_WORDS,
    classes: Sequence[str] = (),
) -> Coded:
    """Class labels made equal by the same rule; what has none gets the code -1 and is counted by its word.

    Args:
        values: one label per window or sample, ``(N,)``, of any kind and length.
        argument: its name, for the message.
        merge: other spellings -> the class that they get.
        nothing: words that mean "no label", in any case. None, NaN, NaT, masked and empty values have none in any case.
        classes: declared classes; a word that is among them is a class whatever ``nothing`` holds.

    Raises:
        InputError: more than one axis; values that are no labels (:func:`text`).

    >>> found = labels(["walk", "NA", " walk", "1.0", "NA", None], "label")
    >>> found.names, found.code.tolist(), found.missing
    (['1', 'walk'], [1, -1, 1, 0, -1, -1], {'NA': 2, 'None': 1})
    """
    declared = set(classes)
    return _coded(values, argument, merge_map(merge, argument), nothing, declared)


def refuse_missing(found: Coded, argument: str, what: str, more: str = "") -> None:
    """Refuse values without a name.

    Args:
        found: the values.
        argument: their name, for the message.
        what: they are to be.
        more: what else can be done.

    Raises:
        InputError: with how many there are of each word, and the first index.
    """
    if found.missing:
        counts = ", ".join(f"{count} {word!r}" for word, count in _most(found.missing))
        raise InputError(
            f"{argument} must be {what} for each, but got {sum(found.missing.values())} missing ones ({counts}), the "
            f"first at index {found.first}. Leave those out, or give them {what}{more}."
        )


def alike(found: Iterable[str], argument: str, merge: Mapping[Any, Any] | None = None, *, by: str = "subjects") -> None:
    """Refuse names that differ in case, blanks, leading zeros or number format only.

    Args:
        found: the distinct names, merged already.
        argument: what they are, for the message.
        merge: the mapping in use; names that it maps to themselves are meant as they are and may be alike.
        by: the argument that takes the mapping, for the line to write.

    Raises:
        InputError: with the line to write.

    >>> alike(["S1", "S2", "S10"], "subject")
    >>> alike(["walk", "Walk"], "y", by="labels")
    Traceback (most recent call last):
    ...
    kdlab.types.InputError: y must be names that differ in more than case, blanks, leading zeros or number format, but \
got 'Walk' and 'walk'. Say that they are one, labels: {Walk: walk}, or two, labels: {Walk: Walk, walk: walk}.
    """
    mapping = merge_map(merge, by)
    meant = {name for name, other in mapping.items() if name == other}
    same: dict[str, list[str]] = {}
    for name in sorted(set(found)):
        same.setdefault(likeness(name), []).append(name)
    groups = [group for group in same.values() if len(group) > 1 and not set(group) <= meant]
    if not groups:
        return
    listed = "; ".join(" and ".join(_seen(n) for n in group) for group in groups[:SHOWN])
    more = f" (and {len(groups) - SHOWN} more)" if len(groups) > SHOWN else ""
    kept = {n: o for n, o in mapping.items() if n != o or n in meant}
    target = {n: max(group, key=lambda m: (m.isascii(), m)) for group in groups for n in group}
    one = {**kept, **{n: m for n, m in target.items() if n != m}}
    two = {**kept, **{n: n for group in groups for n in group}}
    raise InputError(
        f"{argument} must be names that differ in more than case, blanks, leading zeros or number format, but got "
        f"{listed}{more}. Say that they are one, {by}: {yaml_map(one)}, or two, {by}: {yaml_map(two)}."
    )


def class_names(
    values: Any, argument: str = "classes", merge: Mapping[Any, Any] | None = None, *, by: str = "labels"
) -> list[str]:
    """Declared classes, in their order.

    Raises:
        InputError: booleans (YAML reads yes, no, on and off as such), missing ones, a class named twice, classes that
            are alike.

    >>> class_names(["walk", 1.0, " run"])
    ['walk', '1', 'run']
    """
    declared = words(values, argument)
    doubled = sorted({name for name in declared if declared.count(name) > 1})
    if doubled:
        raise InputError(
            f"{argument} must be different names, but got {', '.join(map(_seen, doubled))} more than once. Name each "
            "class once."
        )
    mapping = merge_map(merge, by)
    alike([mapping.get(name, name) for name in declared], argument, merge, by=by)
    return declared


def words(values: Any, argument: str) -> list[str]:
    """Names that were written into a config or a call, such as ``test_subjects``, made equal like those of the data.

    Raises:
        InputError: no list; a boolean; a missing name.

    >>> words([1, "2.0", " S3"], "test_subjects")
    ['1', '2', 'S3']
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable) or isinstance(values, Mapping):
        raise InputError(f"{argument} must be a list, but got {values!r}. Write [{yaml_word(str(values))}].")
    listed = values.tolist() if isinstance(values, np.ndarray) else list(values)
    for value in listed:
        if isinstance(value, bool | np.bool_):
            raise InputError(
                f"{argument} must be words or numbers, but got {value} (YAML reads yes, no, on and off so). Write them "
                f'in quotes, such as {argument}: ["yes", "no"].'
            )
        if text(value, argument) == "":
            raise InputError(
                f"{argument} must be words or numbers, but got {value!r}. Write it in quotes, or leave it out."
            )
    return [text(value, argument) for value in listed]


def no_label_words(values: Sequence[Any] | None, argument: str = "no_label") -> tuple[str, ...]:
    """Words that mean "no label", as declared; None: ``NO_LABEL_WORDS``.

    Raises:
        InputError: no list; a boolean or null, which YAML makes of words without quotes.

    >>> no_label_words(None) == NO_LABEL_WORDS, no_label_words(["", 0]), no_label_words([])
    (True, ('', '0'), ())
    """
    if values is None:
        return NO_LABEL_WORDS
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{argument} must be a list of words, but got {values!r}. Write [{yaml_word(str(values))}].")
    listed = list(values)
    return tuple("" if value == "" else words([value], argument)[0] for value in listed)


def merge_map(merge: Mapping[Any, Any] | None, argument: str) -> dict[str, str]:
    """A mapping of other spellings to names, made equal itself.

    Raises:
        InputError: no mapping; booleans or nothing in it; a name that is renamed twice.

    >>> merge_map({"Walk ": "walk", 1.0: 2}, "labels")
    {'Walk': 'walk', '1': '2'}
    """
    if merge is None:
        return {}
    if not isinstance(merge, Mapping):
        raise InputError(f"{argument} must be a mapping such as {{Walk: walk}}, but got {merge!r}. Write it so.")
    keys, others = words(list(merge.keys()), argument), words(list(merge.values()), argument)
    result = dict(zip(keys, others, strict=True))
    for key, other in zip(keys, others, strict=True):
        if result[key] != other:
            raise InputError(
                f"{argument} must name each once (1 and '1' are one), but got {key} -> {other} and {key} -> "
                f"{result[key]}. Write {yaml_map({key: other})}."
            )
    for key, other in result.items():
        if result.get(other, other) != other:
            raise InputError(
                f"{argument} must name what each becomes in the end, but got {key} -> {other} -> {result[other]}. "
                f"Write {yaml_map({key: result[other], other: result[other]})}."
            )
    return result


def _coded(
    values: Any, argument: str, mapping: dict[str, str], nothing: Sequence[str], declared: Iterable[str] = ()
) -> Coded:
    column, masked = column_of(values, argument)
    distinct, place = _distinct(column, argument)
    empty = {stripped(word).casefold() for word in nothing}
    classes = set(declared)
    spelt = [text(value, argument) for value in distinct]
    named = [mapping.get(word, word) for word in spelt]
    none = np.array(
        [w == "" or (w not in mapping and w not in classes and w.casefold() in empty) for w in spelt], dtype=np.bool_
    )
    order = sorted({name for name, absent in zip(named, none.tolist(), strict=True) if not absent}, key=natural_key)
    at = {name: i for i, name in enumerate(order)}
    codes = [-1 if absent else at[name] for name, absent in zip(named, none.tolist(), strict=True)]
    code = np.array(codes, dtype=np.int32)[place] if len(distinct) else np.empty(0, np.int32)
    counted = np.bincount(place if masked is None else place[~masked], minlength=len(distinct))
    missing: dict[str, int] = {}
    merged: dict[str, int] = {}
    for value, word, name, absent, count in zip(distinct, spelt, named, none.tolist(), counted.tolist(), strict=True):
        if absent and count:
            written = stripped(value) if isinstance(value, str) else str(value)
            missing[written] = missing.get(written, 0) + count
        elif name != word and count:
            merged[word] = merged.get(word, 0) + count
    if masked is not None and masked.any():
        missing["masked"] = int(masked.sum())
        code[masked] = -1
        present = np.unique(code[code >= 0])
        order, code = _only([order[i] for i in present.tolist()], present, code)
    first = int(np.argmax(code < 0)) if missing else -1
    return Coded(order, code, missing, merged, first)


def _only(order: list[str], present: NDArray[np.int32], code: NDArray[np.int32]) -> tuple[list[str], NDArray[np.int32]]:
    return order, np.where(code < 0, -1, np.searchsorted(present, code)).astype(np.int32)


def column_of(values: Any, argument: str) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """One value for each, ``(N,)``, and which are masked; whatever came in keeps its kind.

    Raises:
        InputError: more than one axis.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    masked = None
    if isinstance(values, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(values).reshape(-1)
        values = values.data
    if isinstance(values, list | tuple):  # numpy would turn [1, "a"] into words and [1, None] into objects
        column: NDArray[Any] = np.empty(len(values), dtype=object)
        for i, value in enumerate(values):  # at once, lists in it would become a second axis
            column[i] = value
    else:
        column = np.asarray(values)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1:
        raise InputError(f"{argument} must be one value for each, (N,), but got shape {column.shape}. Flatten it.")
    return column, masked if masked is not None and masked.any() else None


def _distinct(column: NDArray[Any], argument: str) -> tuple[list[Any], NDArray[np.int64]]:
    """The distinct values, and which of them each is; runs of one value are looked at once."""
    if not len(column):
        return [], np.empty(0, np.int64)
    if column.dtype.kind not in "biufSUMmO" and column.dtype.kind != "T":
        raise InputError(f"{argument} must be numbers or words, but got {column.dtype}. Convert it.")
    if column.dtype.kind not in "biuf":
        return _by_dictionary(column, argument)
    new = np.ones(len(column), dtype=np.bool_)
    new[1:] = column[1:] != column[:-1]
    heads = column[new]
    run = np.cumsum(new, dtype=np.int64) - 1
    distinct, place = np.unique(heads, return_inverse=True)
    return list(distinct), place.reshape(-1)[run]


def _by_dictionary(column: NDArray[Any], argument: str) -> tuple[list[Any], NDArray[np.int64]]:
    seen: dict[Any, int] = {}
    place = np.empty(len(column), dtype=np.int64)
    typed = column.dtype.kind == "O"  # True, 1 and 1.0 are one key otherwise
    for start in range(0, len(column), CHUNK):
        part = column[start : start + CHUNK]
        listed: Iterable[Any] = list(part) if column.dtype.kind in "Mm" else part.tolist()
        keys = [(v.__class__, v) for v in listed] if typed else listed
        try:
            place[start : start + len(part)] = [seen.setdefault(key, len(seen)) for key in keys]
        except TypeError:
            raise InputError(
                f"{argument} must be numbers or words, but got lists or other objects. Give one id or label for each."
            ) from None
    return [key[1] for key in seen] if typed else list(seen), place


def _most(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]


def _seen(name: str) -> str:
    return repr(name) if name.isascii() else ascii(name) if unicodedata.normalize("NFC", name) != name else repr(name)
