"""A folder of recordings: people, labels, time and channels as declared, or the lines to choose from."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path
from typing import Any

from kdlab.data import RecordingDataModule
from kdlab.data.recordings.declared import form_of
from kdlab.data.recordings.devices import prepared, started, written_by
from kdlab.data.recordings.layout import few, known_suffixes, listed
from kdlab.data.recordings.predicted import SLOWER
from kdlab.data.recordings.raw import UNITS
from kdlab.data.recordings.rows import opened
from kdlab.data.recordings.where import stem_of, suffix_of
from kdlab.data.recordings.who import candidates, fused_pieces, named_like_a_person
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
)
from kdlab.types import InputError

TABLES = (".csv", ".txt", ".tsv", ".dat")  # one of which may hold several people
SECONDS = 2.0  # of a window
CACHE = "runs/.recordings"  # the default of RecordingDataModule
_WHERE = re.compile(r"(?:(folder|part):(-?\d+))?,?(?:name:(.+))?")


def from_recordings(root: Path, given: argparse.Namespace, more: dict[str, Any]) -> Found:
    """What a folder of recordings, or a table of several people, holds.

    Args:
        root: the folder; or a table, whose people are in a column.
        given: the options of ``kdlab new``.
        more: further arguments of the data module (``--set``).

    Raises:
        InputError: what cannot be known is not given, with the line to write; or a file cannot be read.
    """
    files, only = (_files(root, given, more), dict[str, Any]()) if root.is_dir() else ([root], _alone(root, more))
    data_set, root = stem_of(root) if only else root.resolve().name, root.parent if only else root
    columns = columns_of(files[0], more)
    questions, none = Questions(), list[str]()
    people, labels, time = dict[str, Any](), dict[str, Any](), dict[str, Any]()
    channels = questions.ask(_channels, given.channels, columns, files[0], default=none)
    people = questions.ask(_people, given.people, root, files, columns, more, default=people)
    labels = questions.ask(_labels, given.labels, root, files, columns, more, default=labels)
    rate = questions.ask(read_rate, given.rate, default="")
    if channels:  # one of the columns that are left may be the time
        label = labels.get("label", "label" if "intervals" not in labels else None)  # the module's default
        in_path = isinstance(label, dict)  # where it is found, which is no column
        used = {*channels, people.get("subject", {}).get("column"), *_words(more), *([] if in_path else [label])}
        rest = [name for name in columns if name not in used]
        time = questions.ask(_time, given.time, rest, files[0], more, default=time)
    questions.end()
    if rate == UNKNOWN:
        raise InputError("--rate must be a number of hertz for recordings, but got unknown. Write, say, --rate 50.")
    window = max(8, round(SECONDS * float(rate))) if given.window is None else given.window
    arguments: dict[str, Any] = {
        "root": place(root),
        "dataset": data_set or "recordings",
        "channels": channels,
        "window": window,
        "step": max(1, window // 2) if given.step is None else given.step,
        "sampling_rate": number(rate),
        **({"suffixes": sorted({suffix_of(file) for file in files})} if _raw(files) else {}),
        **only,
        **people,
        **labels,
        **time,
        **more,
    }
    module = made(RecordingDataModule, arguments)
    found = _with_gaps(module, described(arguments, module, rate), files)
    found.doubts.extend(_of_folders([file.relative_to(root) for file in files], people.get("subject", {}), labels))
    return found


def _alone(file: Path, more: dict[str, Any]) -> dict[str, Any]:
    """The arguments that leave one file of its folder."""
    if taken := {"pattern", "suffixes"} & set(more):
        raise InputError(f"--set {min(taken)} must be left out where --data is a table, but it is given. Leave it out.")
    return {"pattern": re.escape(stem_of(file)), "suffixes": [suffix_of(file)]}


def _of_folders(paths: list[Path], subject: dict[str, Any], labels: dict[str, Any]) -> list[str]:
    """Folders that may not be those of people: files at different depths, and one name below several folders."""
    at = subject.get("folder")
    if at is None or "name" in subject:
        return []
    depths = {len(path.parts) - 1 for path in paths}
    if len(depths) > 1:
        deep = max(paths, key=lambda path: len(path.parts))
        other = f"folder:{-1 if at >= 0 else 0}"
        return [
            f"files are {min(depths)} to {max(depths)} folders deep, and folder:{at} of {deep.as_posix()} is "
            f"{deep.parts[:-1][at]}: is that the person, or is it {other}?"
        ]
    above: dict[str, set[str]] = {}
    place = at if at >= 0 else min(depths) + at
    activity = (labels.get("label") or {}).get("folder") if isinstance(labels.get("label"), dict) else None
    for path in paths:
        parents = [part for k, part in enumerate(path.parts[:place]) if k != activity]
        above.setdefault(path.parts[place], set()).add("/".join(parents))
    several = {name: folders for name, folders in above.items() if len(folders) > 1}
    if not several:
        return []
    name, folders = next(iter(sorted(several.items())))
    return [
        f"{len(several)} names are below several folders ({name} below {few(sorted(folders), len(folders))}), and each "
        "is taken as one person: people who share a name need different ones"
    ]


def _with_gaps(module: RecordingDataModule, found: Found, files: list[Path]) -> Found:
    windows: Any = found.windows.windows["raw"]
    counts = windows.counts
    lost = counts["windows left out"]
    found.lines.insert(0, f"folder    {module.root}: {counts['recordings']} recordings, such as {files[0].name}")
    found.lines.append(
        f"gaps      {counts.get('gaps', 0)}; windows left out: {lost['missing']} with missing samples, {lost['label']} "
        f"without a label for {module.agree:g} of them"
    )
    asked = float(found.init_args["sampling_rate"])
    slow = [rate for one in windows.files if (rate := one.contents()["report"]["rate"]) and rate < SLOWER * asked]
    if slow:
        found.doubts.append(
            f"{len(slow)} recordings are slower than --rate {asked:g} (the slowest has {min(slow):.4g} Hz, so "
            f"nothing above {min(slow) / 2:.4g} Hz is in it): a lower --rate costs less and is the same for all"
        )
    if lost["missing"] > len(windows) / 10:
        found.doubts.append(f"{lost['missing']} windows have missing samples, {len(windows)} are left")
    if lost["label"] > len(windows):
        found.doubts.append(f"{lost['label']} windows have no label, {len(windows)} have one")
    if "units" not in found.init_args and not _raw(files):
        found.doubts.append("units are not declared: --set 'units=[g, ...]', one for each channel, keeps them")
    return found


def _words(more: dict[str, Any]) -> set[str]:
    """Columns that further arguments name."""
    named = [more.get(key) for key in ("subject", "session", "label")]
    return {str(at.get("column") if isinstance(at, dict) else at) for at in named if at is not None}


def _raw(files: list[Path]) -> bool:
    return any(suffix_of(file) in UNITS for file in files)


def _files(root: Path, given: argparse.Namespace, more: dict[str, Any]) -> list[Path]:
    """The recordings: those of ``suffixes``, or else tables and arrays, or else raw files of devices."""
    cache = Path(more.get("cache_dir", CACHE))
    files = listed(root, cache, known_suffixes(more.get("suffixes")))
    raw = [] if "suffixes" in more else listed(root, cache, tuple(UNITS))
    side = re.escape(given.labels.partition(":")[2]) if (given.labels or "").startswith("file:") else None
    if side is not None:  # tables of labels beside the recordings
        pattern = re.compile(side.replace(re.escape("{name}"), ".*"))
        files = [file for file in files if not pattern.fullmatch(file.name)]
    if raw and files:
        kinds = sorted({suffix_of(file) for file in [*files, *raw]})
        lines = " | ".join(f"--set 'suffixes=[{kind}]'" for kind in kinds)
        raise InputError(f"--data: the recordings must be of one kind, but got {', '.join(kinds)}. Write {lines}.")
    files = files or raw
    if not files:
        there = Counter(suffix_of(file) for file in root.rglob("*") if file.is_file() and file.suffix)
        held = ", ".join(f"{count} {kind}" for kind, count in sorted(there.items())[:6]) or "no files"
        raise InputError(
            f"--data: {root} must hold a .csv, .npz or .npy file per recording, or files of devices, but got {held}. "
            "Name other tables by their suffix: --set 'suffixes=[.txt]'."
        )
    return files


def columns_of(file: Path, more: dict[str, Any]) -> list[str]:
    """The columns of the first recording; those of arrays have no names."""
    if suffix_of(file) in UNITS:
        return list(UNITS[suffix_of(file)])
    if suffix_of(file) in (".npz", ".npy"):
        return []
    device = more.get("device")
    if device is None and "csv" not in more:
        _refuse_header(file)
    form = form_of(more.get("csv"), device)
    with opened(file, form.encoding) as stream:
        start = started(stream, form, str(file)) if device is None else prepared(stream, device, form, str(file))
    return list(start.names)


def _refuse_header(file: Path) -> None:
    """Refuse a table that begins with the lines of a device's software, which are no columns.

    Raises:
        InputError: with the line that names the device.
    """
    with file.open("rb") as stream:
        known = written_by(stream.readline(1000))
    if known is not None:
        raise InputError(
            f"--set device must be given for a table that the software of a device wrote, but got none; {file.name} "
            f"begins as those of {known} do. Write --set device={known}."
        )


def _channels(given: str | None, columns: list[str], file: Path) -> list[str]:
    names = names_given(given) if given is not None else []
    if names and not (columns and set(names) - set(columns)):
        return names
    there = f"the columns of {file.name} are {', '.join(columns)}" if columns else f"{file.name} names none"
    split = ""
    if len(columns) == 1 and (marks := [mark for mark in ";\t|" if mark in columns[0]]):
        mark = {"\t": "tab"}.get(marks[0], marks[0])
        split = f" Is {mark!r} between the columns? Add --set 'csv={{delimiter: \"{mark}\"}}'."
    raise InputError(
        f"--channels must name the columns of the signal, but got {given or 'none'}; {there}. Write, for example, "
        f"--channels x,y,z.{split}"
    )


def where(text: str) -> dict[str, Any]:
    """Where an id is found, as an option writes it.

    >>> where("folder:0"), where("part:1,name:P[0-9]+"), where("User"), where("column:part:0")
    ({'folder': 0}, {'part': 1, 'name': 'P[0-9]+'}, {'column': 'User'}, {'column': 'part:0'})
    """
    match = _WHERE.fullmatch(text)
    if match is None or not text:
        return {"column": text.removeprefix("column:")}
    key, at, name = match.groups()
    return {**({key: int(at)} if key else {}), **({"name": name} if name else {})}


def in_a_column(people: str | None) -> bool:
    """Whether ``--people`` names a column.

    >>> in_a_column("User"), in_a_column("folder:0"), in_a_column(None)
    (True, False, False)
    """
    return people not in (None, "", NONE) and "column" in where(str(people))


def _in_paths(root: Path, files: list[Path], option: str) -> list[str]:
    """The lines for parts of path and name that vary, with the ids that they give."""
    base = root.expanduser()
    found = candidates([file.relative_to(base) for file in files])
    lines = []
    for at, ids in found.items():
        if "" in ids:  # a part that some files lack
            continue
        key, value = ("folder", at.folder) if at.folder is not None else ("part", at.part)
        finer = [f"{key}:{value},name:{one.name}" for one in fused_pieces(at, ids)]
        for text in [f"{key}:{value}", *(f"'{one}'" for one in finer)]:
            shown = f" ({few(sorted(set(ids)), len(set(ids)))})" if text == f"{key}:{value}" else ""
            lines.append(f"{option} {text}{shown}")
    return lines


def _people(
    given: str | None, root: Path, files: list[Path], columns: list[str], more: dict[str, Any]
) -> dict[str, Any]:
    if "subject" in more or "pattern" in more:
        return {}
    if given is not None and given != NONE:
        at = where(given)
        if not columns or "column" not in at or at["column"] in columns:
            return {"subject": at}
    likely = named_like_a_person(columns) or (columns if len(files) == 1 else [])
    lines = _in_paths(root, files, "--people") + [line("--people", name) for name in likely]
    raise InputError(
        f"--people: who was recorded must be declared by a folder, a part of the file name or a column, but got "
        f"{given or NONE} for {len(files)} files. Write {' | '.join(lines) or '--people COLUMN'}."
    )


def _labels(
    given: str | None, root: Path, files: list[Path], columns: list[str], more: dict[str, Any]
) -> dict[str, Any]:
    if {"label", "intervals"} & set(more):
        return {}
    if given is None and "label" in columns and not _raw(files):
        return {}
    if given is None and suffix_of(files[0]) in (".npz", ".npy"):
        return {}
    if given is not None and given.startswith("file:"):
        return {"intervals": {"file": given.removeprefix("file:")}}
    if given is not None:
        at = where(given)
        if "column" not in at:
            return {"label": at}
        if at["column"] in columns and not _raw(files):
            return {"label": at["column"]}
    lines = [] if _raw(files) else [line("--labels", name) for name in columns]
    lines += ["--labels 'file:{name}_labels.csv' (a table start,end,label beside each recording)"]
    lines += _in_paths(root, files, "--labels")
    raise InputError(
        "--labels: the activity must be a column, a table beside the recording or in the path, but got "
        f"{given or NONE}. Write {' | '.join(lines)}."
    )


def _time(given: str | None, rest: list[str], file: Path, more: dict[str, Any]) -> dict[str, Any]:
    """The column of times; with other columns than those that are used one of them may be it."""
    if given == NONE or "time" in more or "device" in more or suffix_of(file) in UNITS:
        return {}
    if given is not None and given in rest:
        return {"time": given}
    if given is None and not rest:
        return {}
    lines = [line("--time", name) for name in rest] + [f"--time {NONE} (samples come at the constant rate)"]
    raise InputError(
        f"--time: the column of the times must be given where {file.name} has further columns, but got "
        f"{given or NONE}. Write {' | '.join(lines)}; times that are no seconds need --set time_unit=ms, us, ns or iso."
    )
