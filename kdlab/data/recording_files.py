"""Long recordings on disk: read in pieces, resampled, and kept in files that can be memory-mapped."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from kdlab.data.recording_time import SECOND, Times
from kdlab.data.regular import Grid, regular
from kdlab.data.resample import NO_LABEL, Piece
from kdlab.types import InputError

VERSION = 2  # of the stored files
BLOCK, ROWS = 2**23, 2**16  # bytes of a CSV, rows of an array that are in memory at a time
MISSING = -2  # code of samples with a missing value, beside NO_LABEL
MOST_LABELS = 1000
SIDE = {"y": ".labels.npy", "t": ".time.npy"}  # what goes with an .npy
NOTHING = ("", "na", "n/a", "null", "?")  # cells that are missing values, beside nan
_WORDS = "|".join(map(re.escape, NOTHING)).encode()
_EMPTY = re.compile(rb'(?<=,)(?:%b|"")(?=[,\r\n])|(?<=\n)(?:%b|"")(?=,)' % (_WORDS, _WORDS), re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """What is read from a recording, and at which rate it is kept."""

    channels: tuple[str, ...]
    label: str
    time: str | None
    second: float  # in units of the time column
    recorded_at: float | None
    rate: float
    resample: Literal["linear", "polyphase"]
    max_gap: float | None

    def grid(self) -> Grid:
        """The common rate, and how recordings are brought to it."""
        unit = next(name for name, second in SECOND.items() if second == self.second)
        return Grid(self.rate, self.channels, self.recorded_at, self.resample, self.max_gap, Times(unit))


@dataclass(frozen=True)
class Stored:
    """A recording that is kept: ``samples`` rows of ``width`` float32 values, and a label code of each row."""

    folder: Path
    samples: int
    width: int
    labels: tuple[str, ...]

    @classmethod
    def find(cls, folder: Path) -> Stored | None:
        """The recording that is kept in a folder; None where it is not there or not whole."""
        try:
            told = json.loads((folder / "recording.json").read_text())
            found = cls(folder, int(told["samples"]), int(told["width"]), tuple(told["labels"]))
            sizes = [(folder / name).stat().st_size for name in ("signal.f32", "label.i16")]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if sizes == [4 * found.samples * found.width, 2 * found.samples] else None

    def signal(self) -> NDArray[np.float32]:
        """The signal, mapped anew, ``(samples, width)``."""
        return np.memmap(self.folder / "signal.f32", np.float32, "r", shape=(self.samples, self.width))

    def codes(self) -> NDArray[np.int16]:
        """Indices into ``labels``, or ``NO_LABEL``, or ``MISSING``, mapped anew, ``(samples,)``."""
        return np.memmap(self.folder / "label.i16", np.int16, "r", shape=(self.samples,))


def store(file: Path, reading: Reading, cache: Path) -> Stored:
    """Keep a recording in ``cache``, or find it there as it was kept before.

    It is found by the file's path, size and time of change, and by how it is read; a new one appears whole or not at
    all.

    Args:
        file: a ``.csv``, ``.npz`` or ``.npy``.
        reading: what is read, and the rate.
        cache: folder of what is kept.

    Raises:
        InputError: the file cannot be read.
    """
    parts = [file, *(side for side in (_side(file, key) for key in SIDE) if side.exists())]
    told = [[str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns] for p in parts]
    key = hashlib.blake2b(json.dumps([VERSION, told, asdict(reading)]).encode(), digest_size=8).hexdigest()
    folder = cache / f"{file.stem}-{key}"
    found = Stored.find(folder)
    if found:
        return found
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{file.stem}-", dir=cache))
    try:
        made = _write(file, reading, scratch)
        if folder.exists() and Stored.find(folder) is None:
            shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # another process was faster
            os.rename(scratch, folder)
        found = Stored.find(folder)
        if found is None:
            raise InputError(f"cache_dir={str(cache)!r}: {folder.name} cannot be written there; name another folder")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    size = 4e-6 * made.samples * made.width
    rank_zero_info(f"{file}: {made.samples} samples at {reading.rate:g} Hz are kept in {folder} ({size:.0f} MB)")
    return found


def _write(file: Path, reading: Reading, scratch: Path) -> Stored:
    book: dict[str, int] = {}
    samples = 0
    with (scratch / "signal.f32").open("wb") as signals, (scratch / "label.i16").open("wb") as labels:
        rows = _encoded(_read(file, reading, scratch), book, file)
        for _, signal, code, _ in regular(rows, reading.grid(), str(file)):
            kept = np.ascontiguousarray(signal, dtype=np.float32)
            signals.write(kept.tobytes())
            labels.write(np.where(np.isfinite(kept).all(axis=1), code, MISSING).astype(np.int16).tobytes())
            samples += len(kept)
    if not samples:
        raise InputError(f"{file}: no samples in it; is the file half-written?")
    made = Stored(scratch, samples, len(reading.channels), tuple(book))
    told = {"samples": samples, "width": made.width, "labels": list(book), "file": str(file)}
    (scratch / "recording.json").write_text(json.dumps(told))
    for key in "xyt":
        (scratch / f"{key}.npy").unlink(missing_ok=True)
    return made


def _encoded(pieces: Iterator[Piece], book: dict[str, int], file: Path) -> Iterator[Piece]:
    for time, signal, label, _ in pieces:
        with np.errstate(over="ignore"):
            signal[~np.isfinite(signal.astype(np.float32))] = np.nan
        yield Piece(time, signal, encode(label, book))
        if len(book) > MOST_LABELS:
            raise InputError(f"{file}: more than {MOST_LABELS} different labels; expected the classes of a recording")


def encode(label: NDArray[Any], book: dict[str, int]) -> NDArray[np.int16]:
    """Codes of labels, in the order in which they first appear; ``NO_LABEL`` for an empty one.

    Args:
        label: words or numbers, ``(n,)``.
        book: the codes so far; new labels are added.

    >>> book = {}
    >>> encode(np.array(["walk", "walk", "", "sit"]), book).tolist(), encode(np.array([1.0, np.nan]), book).tolist()
    ([0, 0, -1, 1], [2, -1])
    >>> book
    {'walk': 0, 'sit': 1, '1': 2}
    """
    if not len(label):
        return np.empty(0, np.int16)
    starts = np.flatnonzero(np.concatenate([[True], label[1:] != label[:-1]]))
    codes = []
    for value in label[starts].tolist():
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        word = (whole.decode(errors="replace") if isinstance(whole, bytes) else str(whole)).strip()
        codes.append(NO_LABEL if word.lower() in ("", "nan", "none") else book.setdefault(word, len(book)))
    return np.repeat(np.array(codes, np.int16), np.diff([*starts, len(label)]))


# ---- reading --------------------------------------------------------------------------------------------------------
def _read(file: Path, reading: Reading, scratch: Path) -> Iterator[Piece]:
    if file.suffix == ".csv":
        return read_csv(file, reading)
    if file.suffix == ".npz":
        return read_arrays(_unpacked(file, scratch), file, reading)
    return read_arrays({"x": file, **{k: _side(file, k) for k in SIDE if _side(file, k).exists()}}, file, reading)


def _side(file: Path, key: str) -> Path:
    return file.with_name(file.stem + SIDE[key])


def _unpacked(file: Path, scratch: Path) -> dict[str, Path]:
    """The arrays of an npz as files, which can be mapped."""
    try:
        with zipfile.ZipFile(file) as archive:
            for key in {"x", "y", "t"} & {name.removesuffix(".npy") for name in archive.namelist()}:
                with archive.open(f"{key}.npy") as source, (scratch / f"{key}.npy").open("wb") as target:
                    shutil.copyfileobj(source, target, BLOCK)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise InputError(
            f"{file}: not readable as npz ({error}); is it half-written? Write it again with np.savez"
        ) from error
    return {key: scratch / f"{key}.npy" for key in "xyt" if (scratch / f"{key}.npy").exists()}


def read_arrays(paths: Mapping[str, Path], file: Path, reading: Reading) -> Iterator[Piece]:
    """Rows of ``x (T, C)``, ``y (T,)`` and perhaps ``t (T,)``, some at a time.

    Raises:
        InputError: an array that is not there, cannot be read or does not fit the others.
    """
    try:
        heads = {key: np.load(path, mmap_mode="r", allow_pickle=False) for key, path in paths.items()}
    except (OSError, EOFError, ValueError) as error:
        raise InputError(
            f"{file}: not readable ({error}); is it half-written, or does it hold Python objects? Write it again"
        ) from error
    where = "arrays x (samples, channels) and y (samples,)" if file.suffix == ".npz" else f"{file.stem}{SIDE['y']}"
    absent = [key for key in "xy" if key not in heads]
    if absent:
        raise InputError(f"{file}: no {absent[0]!r}; expected {where}")
    x, width = heads["x"], len(reading.channels)
    if x.ndim != 2 or x.shape[1] != width or x.dtype.kind not in "fiu":
        turned = "; is it (channels, samples)? Save x.T" if x.ndim == 2 and len(x) == width else ""
        raise InputError(
            f"{file}: expected x of numbers, (samples, {width}) for channels {', '.join(reading.channels)}, got "
            f"{x.dtype} of shape {x.shape}{turned}"
        )
    for key in set(heads) - {"x"}:
        kinds = "biufUS" if key == "y" else "biuf"
        if heads[key].shape != x.shape[:1] or heads[key].dtype.kind not in kinds:
            raise InputError(
                f"{file}: expected {key} of shape {x.shape[:1]}, got {heads[key].dtype} of shape {heads[key].shape}"
            )
    rows = len(x)
    del heads, x
    for start in range(0, rows, ROWS):
        part = {k: np.array(np.load(path, mmap_mode="r")[start : start + ROWS]) for k, path in paths.items()}
        time = part["t"].astype(np.float64) / reading.second if "t" in part else None
        yield Piece(time, part["x"].astype(np.float64), part["y"])


def read_csv(file: Path, reading: Reading) -> Iterator[Piece]:
    """Rows of a CSV with a header, some at a time; empty cells, ``NA`` and ``?`` are missing values.

    Raises:
        InputError: a column that is not there; a row that is not complete or not numeric, with its line.
    """
    with file.open("rb") as stream:
        header = stream.readline().decode("utf-8-sig", errors="replace")
        names = [cell.strip().strip('"') for cell in header.split(",")]
        numeric = [*reading.channels, *([reading.time] if reading.time else [])]
        absent = [name for name in (*numeric, reading.label) if names.count(name) != 1]
        if absent:
            raise InputError(
                f"{file}, line 1: expected one column {absent[0]!r}, got the header {header[:200].strip()!r}; name the "
                "columns with channels=, label= and time="
            )
        columns = [names.index(name) for name in (*numeric, reading.label)]
        line = 2
        while block := stream.read(BLOCK):
            block += stream.readline()
            if block.strip():
                values, label = _cells(block, columns, len(names), f"{file}", line)
                time = values[:, -1] / reading.second if reading.time else None
                yield Piece(time, values[:, : len(reading.channels)].copy(), label)
            line += block.count(b"\n")


def _cells(
    block: bytes, columns: list[int], width: int, name: str, line: int
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    layout = np.dtype([("values", np.float64, (len(columns) - 1,)), ("label", "U64")])
    for fill in (False, True):  # filling empty cells takes time that most recordings do not need
        text = _EMPTY.sub(b"nan", b"\n" + block + b"\n")[1:] if fill else block
        with contextlib.suppress(ValueError):
            rows = np.loadtxt(
                io.StringIO(text.decode()),
                dtype=layout,
                comments=None,
                delimiter=",",
                usecols=columns,
                ndmin=1,
                quotechar='"',
            )
            if b'"' in text or text.count(b",") == len(rows) * (width - 1):  # or else cells may have moved
                return rows["values"], rows["label"]
    _blame(block, columns, width, name, line)


def _blame(block: bytes, columns: list[int], width: int, name: str, line: int) -> NoReturn:
    for number, row in enumerate(block.decode(errors="replace").splitlines(), start=line):
        cells = [cell.strip().strip('"') for cell in row.split(",")]
        if not row.strip():
            continue
        if len(cells) != width:
            raise InputError(
                f"{name}, line {number}: expected {width} cells, got {len(cells)}: {row[:60]!r}; is the file "
                "half-written?"
            )
        for column in columns[:-1]:
            try:
                float("nan" if cells[column].lower() in NOTHING else cells[column])
            except ValueError:
                raise InputError(
                    f"{name}, line {number}: expected a number in column {column + 1}, got {cells[column][:40]!r}"
                ) from None
    raise InputError(f"{name}, from line {line} on: not readable as a CSV; is it UTF-8 text with commas?")
