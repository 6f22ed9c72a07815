"""An npz file of windows: which arrays are what, never guessed."""

from __future__ import annotations

import argparse
import re
import shlex
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.data import ArrayDataModule
from kdlab.data.arrays import of_columns
from kdlab.data.complete import without_gaps
from kdlab.data.identity import labels as coded
from kdlab.data.identity import no_label_words
from kdlab.data.npz import arrays_in
from kdlab.data.spelling import yaml_word
from kdlab.data.unlabelled import NO_LABEL
from kdlab.new.found import (
    NONE,
    UNKNOWN,
    Found,
    Questions,
    described,
    line,
    made,
    names_given,
    number,
    place,
    read_rate,
    unlabelled_of,
)
from kdlab.types import InputError

_RATE = re.compile(r"f_?s|sr|hz|rate|freq(uency)?|sampl\w*_?(rate|freq\w*)|\w+_hz", re.IGNORECASE)
_MANY = (
    "write configs of your own with ArrayDataModule and labels: many, as `Several activities at once` in "
    "docs/recordings.md has them; kdlab new writes no study of many labels"
)
_OF_TEST = ("x_test", "y_test", "subject_test")


def from_arrays(path: Path, given: argparse.Namespace, more: dict[str, Any]) -> Found:
    """What an npz file holds.

    Args:
        path: the file.
        given: the options of ``kdlab new``.
        more: further arguments of the data module (``--set``).

    Raises:
        InputError: what cannot be known is not given, with the line to write; or the file cannot be read.
    """
    for option in ("time", "step", "window"):
        if getattr(given, option) is not None:
            raise InputError(f"--{option} must be left out for an npz file of windows, which are cut. Leave it out.")
    stored = _stored(path)
    x = _key(stored, "--windows", given.windows, "x", 3)
    number_of, questions = len(stored[x]), Questions()
    keys = {"x": x, "y": questions.ask(_key, stored, "--labels", given.labels, "y", 1, number_of, default="")}
    if given.people != NONE:
        keys["subject"] = questions.ask(
            _key, stored, "--people", given.people, "subject", 1, number_of, [keys["y"]], default=""
        )
    layout = more.get("layout") or questions.ask(_layout, stored[x], default="")
    hint = _scalars(stored) + f", and {UNKNOWN!r} is an answer"
    rate = questions.ask(read_rate, given.rate, hint, default="")
    questions.end()
    renamed = {ours: name for ours, name in keys.items() if name not in (ours, f"{ours}_train")}
    if "subject" not in keys and {"subject", "subject_train"} & set(stored):
        raise InputError(f"--people must name the people that {path.name} holds, but got {NONE}. Leave it out.")
    channels = names_given(given.channels) if given.channels is not None else None
    arguments: dict[str, Any] = {
        "path": place(path),
        "dataset": path.stem,
        **({"keys": renamed} if renamed else {}),
        **({"layout": layout} if layout != "NCT" else {}),
        **({"channels": channels} if channels else {}),
        **({"sampling_rate": number(rate)} if rate != UNKNOWN else {}),
        **more,
    }
    labels = stored[keys["y"]]
    _refuse_many(labels, keys["y"], more)
    _refuse_unlabelled(labels, keys["y"], more)
    unused, rates = _unused(stored, keys), _other_rates(stored, rate)
    damaged = sum(int((~without_gaps(stored[name])).sum()) for name in (x, "x_test") if name in stored)
    unnamed = channels is None and "channels" not in stored
    stored.clear()  # the data module reads the file itself
    if damaged:
        arguments.setdefault("missing", "drop")
    found = described(arguments, made(ArrayDataModule, arguments), rate)
    own = ", with a split of its own" if found.windows.test is not None else ""
    found.lines.insert(0, f"file      {path.name}: {', '.join(f'{o} = {n}' for o, n in keys.items())}; {layout}{own}")
    found.lines.append(f"gaps      {damaged} windows with missing samples")
    if unused:
        found.lines.append(f"unused    {', '.join(unused)}")
    if parts := [name.split()[0] for name in unused if name.startswith("x_")]:
        found.doubts.append(f"{', '.join(parts)} is not used: its windows are neither trained on nor tested")
    found.doubts.extend(rates)
    if damaged:
        found.doubts.append(f"{damaged} windows with missing samples are left out (missing: drop)")
    if unnamed:
        found.doubts.append("channels have no names: give them with --channels a,b,c")
    if rate == UNKNOWN:
        found.doubts.append("the sampling rate is unknown, and so it is to whoever gets a student")
    return found


def _refuse_many(labels: NDArray[Any], name: str, more: dict[str, Any]) -> None:
    """Refuse labels in columns, and what declares windows of many labels."""
    if labels.ndim > 1:
        raise InputError(
            "--labels must be one label for each window, because the views and methods of this study need one, but got "
            f"{name} {labels.shape}. {of_columns(labels, name, _MANY)}"
        )
    if more.get("labels") == "many":
        raise InputError(
            f"--set labels must be left out, or a mapping such as {{Walk: walk}}, where {name} has one label for each "
            "window, but got many. Leave it out."
        )


def _refuse_unlabelled(values: NDArray[Any], name: str, more: dict[str, Any]) -> None:
    """Refuse windows without a label, where it is not said what becomes of them."""
    unlabelled = unlabelled_of(more)
    if unlabelled is not None and unlabelled.missing:
        return
    if values.dtype.kind in "iuf":
        bare = {"-1": int(np.count_nonzero(values == NO_LABEL)), "NaN": int(np.count_nonzero(values != values))}
        missing, words = {value: count for value, count in bare.items() if count}, list[str]()
    else:
        classes = more.get("classes")
        nothing = no_label_words(more.get("no_label"))
        missing = coded(values, "y", nothing=nothing, classes=classes if isinstance(classes, list) else ()).missing
        words = [word for word in missing if word and values.dtype.kind in "USO"]
    if missing:
        counts = ", ".join(f"{count} {word or 'empty words'}" for word, count in missing.items())
        raise InputError(
            f"--labels: {name} must have a label for each window, but {sum(missing.values())} of {len(values)} have "
            f"none ({counts}). Write --set 'unlabelled={{missing: true}}': they train students through their teachers "
            f"alone. Or leave these windows out of the file.{_of_words(words)}"
        )


def _of_words(words: Sequence[str]) -> str:
    """What to write where words that mean "no label" are classes."""
    if not words:
        return ""
    if len(words) == 1:
        return f" If {words[0]} is a class, write --set 'no_label=[]'."
    return (
        f" If {', '.join(words)} are classes, write --set 'no_label=[]'; if one of them is none, name it there: --set "
        f"{shlex.quote(f'no_label=[{yaml_word(words[0])}]')}."
    )


def _stored(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix.lower() == ".npy":
        raise InputError(
            f"--data: {path.name} is one array, but windows, labels and people are needed. Write them as one file: "
            'np.savez("windows.npz", x=np.load(...), y=labels, subject=people).'
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            return arrays_in(archive, f"--data: {path.name}")
    except InputError:
        raise
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise InputError(
            f"--data: {path.name} must be an npz file of arrays, but it cannot be read ({error}). Write it with "
            "np.savez, without Python objects."
        ) from error


def _key(
    stored: dict[str, NDArray[Any]],
    option: str,
    given: str | None,
    ours: str,
    axes: int,
    length: int | None = None,
    taken: Sequence[str] = (),
) -> str:
    """The array that an option names, or the one that has our name; otherwise the lines to choose from."""
    for name in (given,) if given is not None else (ours, f"{ours}_train"):
        if name in stored:
            return name
    fits = [
        name
        for name, values in stored.items()
        if values.ndim == axes and (length is None or len(values) == length) and name not in (*_OF_TEST, *taken)
    ]
    lines = [line(option, name) for name in fits]
    if option == "--people":
        lines.append(f"{option} {NONE} (people are unknown)")
    what = {"--windows": "the windows", "--labels": "the label of each window", "--people": "who was recorded"}[option]
    shapes = ", ".join(f"{name} {values.shape}" for name, values in stored.items())
    raise InputError(
        f"{option}: {what} must be an array of the file, but got {given or NONE}; there are {shapes or 'no arrays'}. "
        f"Write {' | '.join(lines) or 'the array into the file'}."
    )


def _layout(x: NDArray[Any]) -> str:
    if x.ndim == 3 and x.shape[1] > x.shape[2]:
        raise InputError(
            f"--set layout must be given where it is not plain, but got windows of shape {x.shape}. Write "
            f"--set layout=NTC ({x.shape[1]} samples of {x.shape[2]} channels) | --set layout=NCT ({x.shape[1]} "
            f"channels of {x.shape[2]} samples)."
        )
    return "NCT"


def _unused(stored: dict[str, NDArray[Any]], keys: dict[str, str]) -> list[str]:
    """The arrays that no one reads, with their shapes."""
    used = {*keys.values(), *_OF_TEST, "x_unlabelled", "subject_unlabelled", "recording", "classes", "channels"}
    return [f"{name} {values.shape}" for name, values in stored.items() if name not in used]


def _other_rates(stored: dict[str, NDArray[Any]], rate: str) -> list[str]:
    """Single numbers that are named like a rate and differ from the one that was given."""
    single = {name: values.item() for name, values in stored.items() if values.size == 1 and values.dtype.kind in "iuf"}
    return [
        f"the file has {name} = {value:g}, but --rate is {rate}"
        for name, value in single.items()
        if _RATE.fullmatch(name) and rate != UNKNOWN and value != float(rate)
    ]


def _scalars(stored: dict[str, NDArray[Any]]) -> str:
    """Single numbers of the file, of which one may be the rate."""
    single = [f"{name} = {values.item()}" for name, values in stored.items() if values.size == 1]
    return f"; the file has {', '.join(single)}" if single else ""
