"""``kdlab new FOLDER``: look at a user's data, and write a study of them; or copy a shipped experiment."""

from __future__ import annotations

import argparse
import difflib
import inspect
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdlab import usage
from kdlab.data import ArrayDataModule, RecordingDataModule, WindowDataModule
from kdlab.data.recordings.raw import UNITS
from kdlab.data.recordings.where import suffix_of
from kdlab.files import parse_yaml
from kdlab.new.arrays import from_arrays
from kdlab.new.examples import example
from kdlab.new.examples import names as example_names
from kdlab.new.found import Found, place
from kdlab.new.recordings import TABLES, columns_of, from_recordings, in_a_column
from kdlab.new.schemas import with_schemas
from kdlab.new.sizes import Sizes, sizes_of
from kdlab.new.texts import texts
from kdlab.new.writing import refuse_taken, write
from kdlab.types import InputError, MissingFileError

#: arguments that are classes, which are written into data.yaml by hand, or that options set
_WRITTEN = (
    *("views", "augment", "mix", "corruption", "cross_fit", "path", "root", "keys", "channels"),
    *("sampling_rate", "x", "y", "x_test", "y_test", "x_unlabelled", "subject_test", "subject_unlabelled", "x_predict"),
)
_OPTIONS = {
    "path": "--data",
    "root": "--data",
    "channels": "--channels",
    "sampling_rate": "--rate",
    "keys": "--windows, --labels and --people",
}
_ARRAYS = (".npz", ".npy")
_TABLE = "Convert it: pandas.read_{}(...).to_csv('recordings.csv', index=False)."
_CONVERT = {
    ".mat": "Convert it: np.savez('windows.npz', **{k: v for k, v in scipy.io.loadmat(...).items() if k[0] != '_'}).",
    ".parquet": _TABLE.format("parquet"),
    ".feather": _TABLE.format("feather"),
    ".xlsx": _TABLE.format("excel"),
}


def main(words: Sequence[str]) -> None:
    """The command; nothing is written before all questions are answered.

    Args:
        words: what comes after ``kdlab new``.

    Raises:
        InputError: an option that is missing, with the lines to choose from; data that cannot be read; a folder that
            holds files already.
    """
    given = usage.new().parse_args(list(words))
    folder = Path(given.folder).expanduser()
    if (given.data is None) == (given.example is None):
        raise InputError(
            f"--data, --example: one of them must be given, but got {'none' if given.data is None else 'both'}. Write "
            f"--data FILE_OR_FOLDER | --example {', '.join(example_names())}."
        )
    refuse_taken(folder)
    if given.example is not None:
        _copy(given, folder)
        return
    name = re.sub(r"[^\w.-]+", "_", folder.resolve().name).strip("._") or "study"
    command = shlex.join(["kdlab", "study", str(folder / "study.yaml")])
    found = look(given)
    sizes = sizes_of(found)
    print("\n".join(["found", *(f"  {line}" for line in found.lines)]))
    for line in [*found.doubts, *_of_sizes(found, sizes)]:
        print(f"  doubt: {line}")
    written = with_schemas(texts(found, sizes, name, command))
    write(folder, written)
    print(f"written  {folder}: {', '.join(written)}")
    print(f"next     {command} --dry-run")
    print(f"         {command}    (its runs are in runs/{name}/study below the working directory)")


def look(given: argparse.Namespace) -> Found:
    """What the data are; the questions that they leave open are refusals with the lines to choose from."""
    path = Path(given.data).expanduser()
    if not path.exists():
        raise MissingFileError(f"--data: {given.data!r} is not there. Name an npz file or a folder of recordings.")
    arrays = path.is_file() and path.suffix.lower() in _ARRAYS
    more = _more(given.set, ArrayDataModule if arrays else RecordingDataModule)
    if path.is_dir() or (suffix_of(path) in TABLES and ("subject" in more or in_a_column(given.people))):
        return from_recordings(path, given, more)
    if arrays:
        return from_arrays(path, given, more)
    raise InputError(_not_windows(path, more))


def _not_windows(path: Path, more: dict[str, Any]) -> str:
    """Why one file is not enough, and what to write."""
    suffix, asked = suffix_of(path), "--data must be an npz file of windows or the folder of all recordings, but got "
    if suffix not in (*TABLES, *UNITS):
        return f"{asked}{path.name}, which is not read. {_CONVERT.get(suffix, 'Write it as .csv or .npz.')}"
    channels = ", ".join(f"{name} ({unit})" for name, unit in UNITS.get(suffix, {}).items())
    kind = f"one recording of a device with {channels}" if channels else "one recording"
    columns = (
        "" if channels else f", or --people COLUMN where one of {', '.join(columns_of(path, more))} says who it was"
    )
    return (
        f"{asked}{path.name}, {kind}: a study trains on some people and tests others. Write --data "
        f"{shlex.quote(place(path.parent))}{columns}. A student of recordings predicts this file by: kdlab predict "
        f"--config RUN_FOLDER/version_0/config.yaml --ckpt_path RUN_FOLDER --data.predict_root "
        f"{shlex.quote(place(path))}."
    )


def _more(given: Sequence[str], kind: type[WindowDataModule]) -> dict[str, Any]:
    """``KEY=VALUE``, the value written as in YAML."""
    found: dict[str, Any] = {}
    known = {name for cls in (kind, WindowDataModule) for name in inspect.signature(cls.__init__).parameters}
    known -= {"self", "common", *_WRITTEN}
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or not key.isidentifier():
            raise InputError(f"--set must be KEY=VALUE, an argument of the data, but got {text!r}. Write step=50, say.")
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"Did you mean {close[0]!r}?" if close else _elsewhere(key, kind, sorted(known))
            raise InputError(
                f"--set must name an argument of {kind.__name__} that is no class, but got {key!r}. {hint}"
            )
        found[key] = _joined(key, found, parse_yaml(value, f"--set {key}"))
    return found


def _elsewhere(key: str, kind: type[WindowDataModule], known: Sequence[str]) -> str:
    """What to do with an argument that ``--set`` does not take."""
    if key in _OPTIONS:
        return f"Write it as {_OPTIONS[key]}."
    if key in _WRITTEN:
        return "Write it into data.yaml, once that is written."
    if key == "units":
        return "Windows have none: write them into the names, --channels 'ax (g),ay (g),az (g)'."
    if key in inspect.signature(RecordingDataModule.__init__).parameters and kind is ArrayDataModule:
        return "It is one of RecordingDataModule, for a folder of recordings. Leave it out."
    return f"Take one of {', '.join(known)}."


def _joined(key: str, found: dict[str, Any], value: Any) -> Any:
    """A value, with those of the same mapping that were given before: no option is dropped in silence."""
    if key not in found:
        return value
    before = found[key]
    if isinstance(before, dict) and isinstance(value, dict) and not set(before) & set(value):
        return {**before, **value}
    raise InputError(f"--set {key} must be given once, but got {before!r} and {value!r}. Leave one out.")


def _of_sizes(found: Found, sizes: Sizes) -> list[str]:
    doubts = []
    if sizes.dropped:
        who = {name: found.people_of(found.windows.classes.index(name)) for name in sizes.dropped}
        each = ", ".join(f"{name} ({people[0] if people else 'no windows'})" for name, people in who.items())
        doubts.append(f"classes of at most one person are left out (drop_classes in data.yaml): {each}")
    doubts.extend(f"{name} is never tested: {why}" for name, why in sizes.never.items())
    if found.init_args.get("split") == "random_windows":
        doubts.append("split: random_windows has windows of one person in training and test; results are too high")
    return doubts


def _copy(given: argparse.Namespace, folder: Path) -> None:
    """A shipped experiment."""
    written = with_schemas(example(given.example, folder.as_posix()))
    write(folder, written)
    print(f"written  {folder}: {', '.join(written)}")
    if "study.yaml" in written:
        print(f"next     {shlex.join(['kdlab', 'study', str(folder / 'study.yaml')])}")
        return
    first = next(name for name in ("scratch.yaml", *sorted(written)) if name in written)
    stacked = [] if "include:" in written[first] else ["--config", str(folder / "data.yaml")]
    print(f"next     {shlex.join(['kdlab', 'fit', *stacked, '--config', str(folder / first)])}")
