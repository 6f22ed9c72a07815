"""Which three channels are the x, y and z of one sensor."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from kdlab.types import InputError

Triple = tuple[int, int, int]
_AXIS = re.compile(r"(?P<head>.*?)[ _.-]?(?P<axis>[xyz])|(?P<first>[xyz])[ _.-](?P<tail>.+)", re.IGNORECASE)
_LINE = "Write triples: [[acc_x, acc_y, acc_z], ...] with the names (or places) of your channels"


def check_triples(triples: object) -> tuple[tuple[int | str, ...], ...] | None:
    """Triples of names or places as tuples.

    Raises:
        InputError: for anything else, or a channel that is named twice.
    """
    if triples is None:
        return None
    wrong = f"Rotation: triples must be lists of three channel names or places, but got {triples!r}. {_LINE}."
    if isinstance(triples, str) or not isinstance(triples, Sequence) or not triples:
        raise InputError(wrong)
    clean = []
    for one in triples:
        if isinstance(one, str) or not isinstance(one, Sequence) or len(one) != 3:
            raise InputError(wrong)
        if any(isinstance(c, bool) or not isinstance(c, str | int | np.integer) for c in one):
            raise InputError(wrong)
        clean.append(tuple(c if isinstance(c, str) else int(c) for c in one))
    every = [channel for one in clean for channel in one]
    if len(set(every)) < len(every):
        raise InputError(f"Rotation: triples must hold each channel once, but got {triples!r}. {_LINE}.")
    return tuple(clean)


def named_triples(names: Sequence[str]) -> list[Triple]:
    """The triples of names that differ in a first or last x, y, z alone, in the order of the channels.

    >>> named_triples(["watch_acc_x", "watch_acc_y", "watch_acc_z", "heart_rate"])
    [(0, 1, 2)]
    """
    groups: dict[str, dict[str, list[int]]] = {}
    for place, name in enumerate(names):
        match = _AXIS.fullmatch(str(name).strip())
        if match:
            key = f"{match['head']}|" if match["axis"] else f"|{match['tail']}"
            groups.setdefault(key, {}).setdefault((match["axis"] or match["first"]).lower(), []).append(place)
    complete = [g for g in groups.values() if len(g) == 3 and all(len(places) == 1 for places in g.values())]
    return [(g["x"][0], g["y"][0], g["z"][0]) for g in complete]


def find_triples(triples: tuple[tuple[int | str, ...], ...] | None, names: Sequence[str]) -> list[Triple]:
    """The places of the triples among channels of these names.

    Raises:
        InputError: for a channel that is not there, or where none is given and no names show x, y and z.
    """
    listed = ", ".join(map(str, names))
    if triples is None:
        found = named_triples(names)
        if not found:
            raise InputError(
                f"Rotation: triples must be given where no three channels are named x, y and z, but the channels are "
                f"{listed}. {_LINE}."
            )
        return found
    places = []
    for one in triples:
        for channel in one:
            if (channel not in names) if isinstance(channel, str) else not 0 <= channel < len(names):
                raise InputError(f"Rotation: triples must be channels of {listed}, but got {channel!r}. {_LINE}.")
        x, y, z = (list(names).index(c) if isinstance(c, str) else c for c in one)
        places.append((x, y, z))
    return places


def placed_triples(triples: tuple[tuple[int | str, ...], ...] | None, channels: int) -> list[Triple]:
    """The places of the triples among so many channels without names: one after the other, where none is given.

    Raises:
        InputError: for names, a place that is not there, or a number of channels that is no multiple of three.
    """
    if triples is None:
        if channels % 3:
            raise InputError(
                f"Rotation: triples must be given where the channels have no names, but got {channels} channels, which "
                f"is no multiple of 3. {_LINE}."
            )
        return [(c, c + 1, c + 2) for c in range(0, channels, 3)]
    named = [c for one in triples for c in one if isinstance(c, str)]
    if named:
        raise InputError(
            f"Rotation: triples must be places where the channels have no names, but got {named[0]!r}. Use the "
            "augmentation in a data module, bind it to Constants, or give places."
        )
    return find_triples(triples, [str(c) for c in range(channels)])
