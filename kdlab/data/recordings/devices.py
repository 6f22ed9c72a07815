"""How the software of sensor makers writes tables: what comes before the rows, and what it holds about their times."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Literal, get_args

from kdlab.data.recordings.form import Csv
from kdlab.data.recordings.report import EPOCHS
from kdlab.data.recordings.rows import cells, head, line_from
from kdlab.types import InputError

Device = Literal["actigraph", "axivity", "geneactiv", "empatica"]
DEVICES = get_args(Device)
#: what each device sets of :class:`~kdlab.data.recordings.rows.Csv`; a user's own settings replace it
FORMS: dict[str, dict[str, Any]] = {
    "actigraph": {"skip": 10},
    "axivity": {"header": False},
    "geneactiv": {
        "skip": 100,
        "header": False,
        "names": ["timestamp", "x", "y", "z", "light", "button", "temperature"],
    },
    "empatica": {"header": False},
}
_COUNTS = ("axis1", "axis2", "axis3", "steps", "lux", "off", "standing", "sitting", "lying")
_MODES = {"13": _COUNTS[:4], "61": _COUNTS}  # what the columns of epochs are, where there is no header
_AXIVITY = ("time", "x", "y", "z", "gx", "gy", "gz")
_NUMBER = re.compile(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Prepared:
    """A table up to its first row.

    Attributes:
        form: how the rows are written.
        names: of the columns.
        line: number of the next line, from 1.
        rest: bytes of the next lines that were read already.
        time: the column of the times, where the device has one.
        unit: of that column, or of ``begin``.
        begin: time of the first row, where the file has it before the rows and no column of times.
        rate: rows per second, where the file has it before the rows.
        header: what gives the rate there, for messages.
    """

    form: Csv
    names: list[str]
    line: int
    rest: bytes = b""
    time: str | None = None
    unit: str | None = None
    begin: str | None = None
    rate: float | None = None
    header: str | None = None


def started(stream: BinaryIO, form: Csv, name: str) -> Prepared:
    """A table that is written as in the settings.

    Raises:
        InputError: it ends before its rows.
    """
    _, names, line = head(stream, form, name)
    if names is not None:
        return Prepared(form, names, line)
    first = line_from(stream, name)
    return Prepared(form, [str(k) for k in range(len(cells(first, form)))], line, first)


def written_by(first: bytes) -> str | None:
    """The device whose software begins a table with this line; None: no known one.

    >>> written_by(b"------------ Data File Created By ActiGraph GT3X+ ActiLife v6.11.5"), written_by(b"x,y,z")
    ('actigraph', None)
    """
    text = first.decode(errors="replace").strip().lstrip("\ufeff").lower()
    if "actigraph" in text and text.startswith("---"):
        return "actigraph"
    return "geneactiv" if text.startswith("device type") else None


def prepared(stream: BinaryIO, device: str, form: Csv, name: str) -> Prepared:
    """A table as a device's software writes it.

    Args:
        stream: the table.
        device: one of ``DEVICES``.
        form: how it is written.
        name: of the file, for messages.

    Raises:
        InputError: it is not what the software of this device writes, with what was expected.
    """
    readers: dict[str, Callable[[BinaryIO, Csv, str], Prepared]] = {
        "actigraph": _actigraph,
        "axivity": _axivity,
        "geneactiv": _geneactiv,
        "empatica": _empatica,
    }
    return readers[device](stream, form, name)


def _actigraph(stream: BinaryIO, form: Csv, name: str) -> Prepared:
    before, _, line = head(stream, replace(form, header=False), name)
    texts = [one.decode(errors="replace").strip().rstrip(",") for one in before]
    if not texts or "actigraph" not in texts[0].lower():
        raise _other(name, "actigraph", "ten lines, the first of which names ActiGraph", texts[:1])
    first = line_from(stream, name)
    row = cells(first, form)
    if any(cell and not _NUMBER.fullmatch(cell) and re.search("[A-Za-z]{2}", cell) for cell in row):
        stamp = next((cell for cell in row if re.sub(r"\W", "", cell).lower() in ("timestamp", "datetime")), None)
        known = Prepared(form, list(form.names or row), line + 1, time=stamp, unit="iso" if stamp else None)
    else:
        mode = re.search(r"Mode\s*=\s*(\d+)", " ".join(texts))
        names = form.names or _MODES.get(mode[1] if mode else "", ())
        if len(names) != len(row):
            raise InputError(
                f"{name}, line {line}: expected a header or the columns of mode 13 or 61, got {len(row)} columns of "
                f"mode {mode[1] if mode else 'unknown'}; name them, csv: {{names: [...]}}"
            )
        known = Prepared(form, list(names), line, first)
    rate = re.search(r"at (\d+(?:\.\d+)?) Hz", texts[0])
    epoch = re.search(r"Epoch Period \(hh:mm:ss\) (\d+):(\d+):(\d+)", "\n".join(texts))
    seconds = sum(int(v) * f for v, f in zip(epoch.groups(), (3600, 60, 1), strict=True)) if epoch else 0
    if rate is None and seconds:
        known = replace(known, rate=1 / seconds, header=f"{EPOCHS} of {seconds} s")
    elif rate is not None:
        known = replace(known, rate=float(rate[1]), header=rate[0])
    return known if known.time is not None else _actigraph_times(known, texts, name)


def _actigraph_times(known: Prepared, texts: Sequence[str], name: str) -> Prepared:
    every = "\n".join(texts)
    clock = re.search(r"Start Time (\d+:\d+:\d+)", every)
    day = re.search(r"Start Date (\d+)\D(\d+)\D(\d+)", every)
    order = re.search(r"date format ([dMy]+)\W([dMy]+)\W([dMy]+)", texts[0])
    if known.rate is None or not clock or not day or not order:
        raise _other(name, "actigraph", "Start Time, Start Date, date format and Epoch Period (or 'at ... Hz')", texts)
    part = {token[0]: int(value) for token, value in zip(order.groups(), day.groups(), strict=True)}
    if set(part) != {"d", "M", "y"} or not (1 <= part["M"] <= 12 and 1 <= part["d"] <= 31):
        raise InputError(
            f"{name}: expected a Start Date in the date format {order[0][12:]}, got {day[0][11:]}; export it with time "
            "stamps"
        )
    begin = f"{part['y']:04d}-{part['M']:02d}-{part['d']:02d} {clock[1]}"
    return replace(known, unit="iso", begin=begin)


def _axivity(stream: BinaryIO, form: Csv, name: str) -> Prepared:
    _, _, line = head(stream, replace(form, header=False), name)
    first = line_from(stream, name)
    row, rest = cells(first, form), first
    names = list(form.names) if form.names is not None else list(_AXIVITY[: len(row)])
    if row and row[0].lower().startswith("time"):
        names, line, rest = list(form.names or row), line + 1, line_from(stream, name)
        row = cells(rest, form)
    elif form.names is None and len(row) not in (4, 7):
        raise InputError(
            f"{name}, line {line}: expected 4 columns (AX3) or 7 (AX6), got {len(row)}; name them, csv: {{names: "
            "[...]}"
        )
    if not row or not row[0][:1].isdigit():
        raise _other(name, "axivity", "rows that begin with a UNIX time or a date", [first.decode(errors="replace")])
    return Prepared(form, names, line, rest, names[0], "s" if _NUMBER.fullmatch(row[0]) else "iso")


def _geneactiv(stream: BinaryIO, form: Csv, name: str) -> Prepared:
    before, names, line = head(stream, form, name)
    first = before[0].decode(errors="replace") if before else ""
    if not first.startswith("Device Type") or names is None:
        raise _other(name, "geneactiv", "100 lines, the first of which begins with 'Device Type'", [first])
    return Prepared(form, names, line, time=names[0], unit="%Y-%m-%d %H:%M:%S:%f")


def _empatica(stream: BinaryIO, form: Csv, name: str) -> Prepared:
    _, _, line = head(stream, replace(form, header=False), name)
    begin, rate = (cells(line_from(stream, name), form) for _ in range(2))
    if len(begin) not in (1, 3) or len(rate) != len(begin) or not all(map(_NUMBER.fullmatch, begin + rate)):
        raise _other(
            name,
            "empatica",
            "the time of the first sample in line 1 and the rate in line 2 (ACC, BVP, EDA, HR or TEMP)",
            [",".join(begin), ",".join(rate)],
        )
    if len(set(begin)) > 1 or len(set(rate)) > 1 or float(rate[0]) <= 0:
        raise InputError(f"{name}: expected one time and one rate for all columns, got {begin} and {rate}")
    names = list(form.names or (["x", "y", "z"] if len(begin) == 3 else ["value"]))
    return Prepared(form, names, line + 2, unit="s", begin=begin[0], rate=float(rate[0]), header="line 2")


def _other(name: str, device: str, expected: str, got: Sequence[str]) -> InputError:
    shown = " / ".join(one.strip() for one in got)[:120]
    return InputError(f"{name}: device {device} expects {expected}, got {shown!r}; set csv: and no device:")
