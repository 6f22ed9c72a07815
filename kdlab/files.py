"""Files on disk: written whole or not at all, and read as data that may be damaged, huge or hostile.

Everything that kdlab keeps goes through `replacing`; text is UTF-8 in every locale. What people hand in (YAML, JSON)
is read here under limits, and what is wrong with it is one line that names the file.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
import shutil
import socket
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from kdlab.types import InputError, MissingFileError

#: bytes of a text file; bytes of a YAML file, levels of nesting in it, and values in it with its aliases written out
MOST_BYTES, MOST_YAML, MOST_LEVELS, MOST_VALUES = 2**24, 2**20, 64, 50_000
_PART = re.compile(r"\.kdlab-part-([0-9a-f]{8})-(\d+)-")
_NUMBER = re.compile(r"[+-](\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-](inf|nan)")
_LINE = 400  # characters of a one-line reason


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A file beside ``path`` to write into; it takes the place of ``path`` when the block ends without an error.

    A reader sees the old file or the whole new one, also where the temporary folder is another file system, where the
    disk is full, or where the process is killed. The file keeps the suffix of ``path``.

    Args:
        path: the file to write; its folder must exist.

    Raises:
        OSError: it cannot be written, and names ``path``, which is as it was.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "a.txt")) as part:
        ...         _ = part.write_text("whole", encoding="utf-8")
        ...     print(sorted(p.name for p in Path(folder).iterdir()), Path(folder, "a.txt").read_text("utf-8"))
        ['a.txt'] whole
    """
    path = Path(path)
    part: Path | None = None
    try:
        handle, name = tempfile.mkstemp(path.suffix if len(path.suffix) < 16 else "", part_prefix(), path.parent)
        os.close(handle)
        part = Path(name)
        part.chmod(0o666 & ~_umask())  # mkstemp keeps others out; what is written here is as open as any other file
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        ours = error.filename is None or _PART.match(Path(os.fsdecode(error.filename)).name) is not None
        if error.errno is None or not ours:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


@contextmanager
def scratch_folder(parent: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """A folder in ``parent`` (that of temporary files by default) that is removed when the block ends.

    What a killed process leaves of it is removed by `remove_leftovers`.
    """
    folder = Path(tempfile.mkdtemp("", part_prefix(), parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def part_prefix() -> str:
    """How the names of this process's unfinished files and folders begin."""
    return f".kdlab-part-{_host()}-{os.getpid()}-"


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file, UTF-8, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write plain values as JSON, which has neither NaN nor infinity, whole or not at all.

    Raises:
        ValueError: a number that is not finite.
    """
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def unused(path: str | os.PathLike[str]) -> Path:
    """The path, or with -1, -2, ... before its suffix where a file has this name already.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(Path(folder, "a.csv"), "")
    ...     print(unused(Path(folder, "a.csv")).name, unused(Path(folder, "b.csv")).name)
    a-1.csv b.csv
    """
    path = Path(path)
    candidates = (path.with_stem(f"{path.stem}-{i}") if i else path for i in itertools.count())
    return next(candidate for candidate in candidates if not candidate.exists())


def remove_leftovers(folder: str | os.PathLike[str]) -> int:
    """Delete what killed processes of this machine left half-written in ``folder`` (not below it); how many there were.

    These are the files of `replacing` and the folders of `scratch_folder`.

    A process that still runs, and one of another machine that shares the disk, keeps its files.
    """
    removed = 0
    with contextlib.suppress(OSError):
        for path in Path(folder).iterdir():
            match = _PART.match(path.name)
            if match and match[1] == _host() and not _runs(int(match[2])):
                with contextlib.suppress(OSError):
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path)
                    else:
                        path.unlink()
                    removed += 1
    return removed


def _host() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


# ---- reading --------------------------------------------------------------------------------------------------------
def one_line(error: BaseException | str) -> str:
    """What an error says, in one line of readable length.

    >>> one_line("a\\n  b")
    'a b'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LINE else f"{text[: _LINE - 4]} ..."


def read_text(path: str | os.PathLike[str], what: str, limit: int = MOST_BYTES) -> str:
    """A text file, UTF-8 with or without a byte-order mark.

    Args:
        path: the file.
        what: the argument or key that names it, for messages.
        limit: the most bytes that are read.

    Raises:
        MissingFileError: it is not there.
        InputError: it is no regular file, cannot be read, is too large, or is no UTF-8 text.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise MissingFileError(f"{what}: {str(path)!r} is not there. Name a file that exists.")
        if not path.is_file():
            raise InputError(f"{what}: {str(path)!r} is not a file. Name a text file.")
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{what}: {str(path)!r} cannot be read ({one_line(error)}).") from error
    if len(raw) > limit:
        raise InputError(
            f"{what}: {str(path)!r} must be at most {limit / 2**20:g} MiB, but it is larger. Is it another "
            "kind of file?"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{what}: {str(path)!r} must be UTF-8 text, but byte {error.start} is not. Save it as UTF-8; is it another "
            "kind of file?"
        ) from error
    return text


def read_json(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        MissingFileError: it is not there.
        InputError: it is no JSON, no object, or too large or too deep.
    """
    text = read_text(path, what)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{what}: {str(path)!r} is not valid JSON ({one_line(error)}); it may be damaged or half-written."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{what}: {str(path)!r} must hold an object, but it holds {type(content).__name__}.")
    return content


def read_yaml(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Args:
        path: the file.
        what: the argument or key that names it, for messages.

    Raises:
        MissingFileError: it is not there.
        InputError: it is no YAML, no mapping, names a key twice, or is too large, too deep or has aliases that explode.
    """
    text = read_text(path, what, MOST_YAML)
    if not text.strip():
        raise InputError(f"{what}: {str(path)!r} must hold a mapping, but it is empty.")
    content = parse_yaml(text, f"{what}: {str(path)!r}")
    if not isinstance(content, dict):
        raise InputError(f"{what}: {str(path)!r} must hold a mapping, but it holds {_kind(content)}.")
    return content


def parse_yaml(text: str, where: str) -> Any:
    """The plain values of a YAML text.

    Args:
        text: the YAML.
        where: what it is and where it comes from, for messages.

    Raises:
        InputError: as :func:`read_yaml`.

    Example:
        >>> parse_yaml("a: {b: 1e-3, c: [1, null]}", "config")
        {'a': {'b': 0.001, 'c': [1, None]}}
        >>> parse_yaml("a: 1\\na: 2", "config")
        Traceback (most recent call last):
        ...
        kdlab.types.InputError: config, line 2: key 'a' must stand once, but it stands twice. Remove one of them.
    """
    try:
        _check_events(text, where)
        loader = _Strict(text)
        loader.where = where
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a number that Python refuses
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where} is not valid YAML: {one_line(error)}") from error


def write_yaml(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write a mapping into a temporary folder, from which this process reads it."""
    Path(path).write_text(yaml.dump(content, Dumper=_SafeDumper, sort_keys=False), encoding="utf-8")


def flow(value: Any) -> str:
    """Plain values on one line, as JSON, but with keys of every kind as they are, which YAML reads again.

    >>> flow({0: "still", "0": [1, None]})
    '{0: "still", "0": [1, null]}'
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)}: {flow(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(map(flow, value)) + "]" if isinstance(value, list | tuple) else json.dumps(value)


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former is ten times as fast, where yaml has it
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _check_events(text: str, where: str) -> None:
    """Measure a text before anything is made of it: levels, and values with aliases written out."""
    sizes: dict[str, int] = {}
    open_at: list[tuple[str | None, int]] = []  # anchors and the count at which their nodes begin
    count = 0
    for event in yaml.parse(text, Loader=_Safe):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:  # an alias within its own node would make a circle
                raise InputError(
                    f"{where}, line {event.start_mark.line + 1}: alias *{event.anchor} must come after its whole "
                    "anchor."
                )
            count += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_at.append((event.anchor, count))
            count += 1
            if event.anchor:
                sizes.pop(event.anchor, None)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, begin = open_at.pop()
            if anchor:
                sizes[anchor] = count - begin
        if len(open_at) > MOST_LEVELS:
            raise InputError(
                f"{where}, line {event.start_mark.line + 1}: must be nested at most {MOST_LEVELS} levels deep, but it "
                "is deeper."
            )
        if count > MOST_VALUES:
            raise InputError(
                f"{where}: must hold at most {MOST_VALUES:,} values, but it holds more once its aliases are written "
                "out. Write the values without so many aliases."
            )


class _Strict(_Safe):  # type: ignore[misc]
    """yaml's safe loader that refuses a key which stands twice, and reads ``1e-3`` as a number."""

    where = ""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else []:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            line = key_node.start_mark.line + 1
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise InputError(
                    f"{self.where}, line {line}: a key must be a word or a number, but it is {_kind(key)}."
                )
            if key in seen:
                raise InputError(
                    f"{self.where}, line {line}: key {key!r} must stand once, but it stands twice. Remove one of them."
                )
            seen.add(key)
        return dict(super().construct_mapping(node, deep))


_Strict.yaml_implicit_resolvers = {  # a date is a word: it names people and runs, and no setting takes one
    letter: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:timestamp"]
    for letter, rules in _Safe.yaml_implicit_resolvers.items()
}
_Strict.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
        |\.[0-9_]+(?:[eE][-+][0-9]+)?
        |[-+]?\.(?:inf|Inf|INF)
        |\.(?:nan|NaN|NAN))$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)


def plain(value: Any, where: str, levels: int = MOST_LEVELS) -> Any:
    """Check that a value holds nothing but plain ones (None, bool, int, float, str in lists and mappings).

    Args:
        value: what a file holds.
        where: what it is, for the message.
        levels: of nesting that are allowed.

    Raises:
        InputError: anything else in it, or nested too deep.
    """
    if levels < 0:
        raise InputError(f"{where}: must be nested at most {MOST_LEVELS} levels deep, but it is deeper.")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str | int | float | bool | None):
                raise InputError(f"{where}: must hold plain values, but a key in it is a {type(key).__name__}.")
            plain(item, where, levels - 1)
    elif isinstance(value, list | tuple):
        for item in value:
            plain(item, where, levels - 1)
    elif value is not None and type(value) not in (bool, int, float, str):
        raise InputError(f"{where}: must hold plain values, but it holds a {type(value).__name__}.")
    return value


def as_plain(value: Any, other: Callable[[Any], Any], finite: bool = False) -> Any:
    """Mappings, lists and subclasses of the plain kinds as dicts with words as keys, lists, and the kinds themselves.

    Args:
        value: any value.
        other: converts what is none of these, or raises.
        finite: None in place of numbers that JSON does not have, NaN and infinity.

    >>> as_plain({1: (True, float("nan")), "a": Path("b")}, str, finite=True)
    {'1': [True, None], 'a': 'b'}
    """
    if isinstance(value, Mapping):
        return {str(key): as_plain(item, other, finite) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item, other, finite) for item in value]
    if finite and isinstance(value, float) and not math.isfinite(value):
        return None
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else other(value)


def cell(value: Any) -> Any:
    """A value for a CSV cell that no spreadsheet takes for a formula: text that begins like one gets a ``'`` in front.

    Numbers, also as text, stay as they are.

    >>> [cell(value) for value in ("=1+1", "-1.5", "@home", "walk", "-walk", -3, "+49 151")]
    ["'=1+1", '-1.5', "'@home", 'walk', "'-walk", -3, "'+49 151"]
    """
    if not isinstance(value, str) or value[:1] not in ("=", "+", "-", "@", "\t", "\r") or _NUMBER.fullmatch(value):
        return value
    return "'" + value
