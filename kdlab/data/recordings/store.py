"""Long recordings on disk: read in pieces, resampled, and kept in files that can be memory-mapped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from kdlab.data.recordings.arrays import read_npy, read_npz, side
from kdlab.data.recordings.book import Book
from kdlab.data.recordings.grid import regular
from kdlab.data.recordings.intervals import Spans
from kdlab.data.recordings.labels import Labelled
from kdlab.data.recordings.layout import SIDE
from kdlab.data.recordings.moments import clock_contents
from kdlab.data.recordings.raw import is_raw, read_raw
from kdlab.data.recordings.reading import Reading
from kdlab.data.recordings.report import TimeReport
from kdlab.data.recordings.resample import BORDER, NO_LABEL, Piece
from kdlab.data.recordings.segments import Segments
from kdlab.data.recordings.sensors import Sensors
from kdlab.data.recordings.tables import read_csv
from kdlab.data.recordings.together import readings, together
from kdlab.data.recordings.where import stem_of
from kdlab.data.stored import rounds_little
from kdlab.files import part_prefix, read_json
from kdlab.types import InputError

VERSION = 4  # of the stored files
SIGNAL, LABEL = "signal.bin", "label.i16"
MISSING = -2  # code of samples with a missing value, beside NO_LABEL


@dataclass(frozen=True)
class Stored:
    """A recording that is kept: ``samples`` rows of ``width`` values, and a label code of each row.

    Attributes:
        folder: where it is kept.
        samples: rows.
        width: channels.
        labels: the labels, as they are written; codes are places in them.
        groups: (person, session) as given by columns; empty where there are none.
        segments: ``(start, stop, group)`` of the rows of one person and session; no window crosses their ends.
        precision: of the values; ``float64`` where float32 would lose a signal on a large offset.
    """

    folder: Path
    samples: int
    width: int
    labels: tuple[str, ...]
    groups: tuple[tuple[str, str], ...] = ()
    segments: tuple[tuple[int, int, int], ...] = ()
    precision: str = "float32"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return np.dtype(np.float64 if self.precision == "float64" else np.float32)

    @classmethod
    def find(cls, folder: Path) -> Stored | None:
        """The recording that is kept in a folder; None where it is not there or not complete."""
        try:
            kept = read_json(folder / "recording.json", "cache_dir")
            found = cls(
                folder,
                int(kept["samples"]),
                int(kept["width"]),
                tuple(str(word) for word in kept["labels"]),
                tuple((str(who), str(when)) for who, when in kept["groups"]),
                tuple((int(start), int(stop), int(group)) for start, stop, group in kept["segments"]),
                str(kept["precision"]),
            )
            sizes = [(folder / name).stat().st_size for name in (SIGNAL, LABEL)]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if sizes == [found.dtype.itemsize * found.samples * found.width, 2 * found.samples] else None

    def contents(self) -> dict[str, Any]:
        """What is kept beside the samples: ``counts`` of samples per label, the ``report`` on times, ``file``."""
        return read_json(self.folder / "recording.json", "cache_dir")

    def signal(self) -> NDArray[Any]:
        """The signal, mapped, ``(samples, width)``."""
        return np.memmap(self.folder / SIGNAL, self.dtype, "r", shape=(self.samples, self.width))

    def codes(self) -> NDArray[np.int16]:
        """Indices into ``labels``, or ``NO_LABEL``, or ``MISSING``, mapped, ``(samples,)``."""
        return np.memmap(self.folder / LABEL, np.int16, "r", shape=(self.samples,))


class Joint(NamedTuple):
    """The files of the sensors of one recording, and how they are declared."""

    sensors: Sensors
    files: dict[str, Path]


def store(
    file: Path, reading: Reading, cache: Path, spans: Spans | str | None = None, joint: Joint | None = None
) -> Stored:
    """Keep a recording in ``cache``, or find it there as it was kept before.

    It is found by the file's path, size and time of change, by its intervals, and by how it is read; a new one appears
    complete or not at all.

    Args:
        file: a table, an ``.npz``, an ``.npy`` or a file of a device.
        reading: what is read, and the rate.
        cache: folder of what is kept.
        spans: labels as intervals, or one label of all samples.
        joint: the files of its sensors, where each has its own; ``file`` is that of the first.

    Raises:
        InputError: the file cannot be read.
    """
    own = [file] if joint is None else list(joint.files.values())
    parts = [*own, *(path for one in own for path in (side(one, key) for key in SIDE) if path.exists())]
    files = [[str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns] for p in parts]
    settings = [reading.settings]
    settings += [] if joint is None else [one.settings for one in readings(joint.sensors, reading).values()]
    exact = json.dumps(
        [VERSION, files, settings, spans.contents() if isinstance(spans, Spans) else spans], sort_keys=True
    )
    key = hashlib.blake2b(exact.encode(), digest_size=8).hexdigest()
    folder = cache / f"{stem_of(file)}-{key}"
    found = Stored.find(folder)
    if found:
        return found
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=part_prefix(), dir=cache))
    try:
        line = None
        for dtype in (np.float32, np.float64):
            line = line or _write(file, reading, scratch, spans, dtype, joint)
        if folder.exists() and Stored.find(folder) is None:
            shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # another process was faster
            os.rename(scratch, folder)
        found = Stored.find(folder)
        if found is None:
            raise InputError(f"cache_dir={str(cache)!r}: {folder.name} cannot be written there; name another folder")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    size = 1e-6 * found.dtype.itemsize * found.samples * found.width
    rank_zero_info(f"{file}: {line}; kept at {reading.grid.rate:g} Hz in {folder} ({size:.0f} MB)")
    return found


def _write(
    file: Path, reading: Reading, scratch: Path, spans: Spans | str | None, dtype: type[Any], joint: Joint | None
) -> str | None:
    """Read a recording into a folder. Returns a line on its times; None where float32 would lose a channel."""
    book, report = Book(str(file)), TimeReport(reading.channels)
    pieces = _on_grid(file, reading, scratch, spans, joint, book, report)
    samples, counts, segments, spread = 0, np.zeros(0, np.int64), Segments(), Spread(len(reading.channels))
    with (scratch / SIGNAL).open("wb") as signals, (scratch / LABEL).open("wb") as labels:
        for piece in pieces:
            kept = np.ascontiguousarray(piece.signal, dtype=dtype)
            spread.add(piece.signal)
            signals.write(kept.tobytes())
            labels.write(np.where(np.isfinite(kept).all(axis=1), piece.label, MISSING).astype(np.int16).tobytes())
            segments.add(piece.group, len(kept))
            samples += len(kept)
            inner = piece.label if piece.group is None else piece.label[piece.group != BORDER]
            counts = _sum(counts, np.bincount(inner.astype(np.int64) - NO_LABEL))
    if not samples:
        raise InputError(f"{file}: no samples in it; is the file half-written?")
    if dtype is np.float32 and not spread.fits_float32():
        return None
    report.damaged = book.damaged
    counted = dict(zip(["", *book.labels], counts.tolist(), strict=False))
    contents = {
        "samples": samples,
        "width": len(reading.channels),
        "labels": list(book.labels),
        "groups": [list(pair) for pair in book.groups],
        "segments": segments.found(),
        "precision": np.dtype(dtype).name,
        "counts": {word: count for word, count in counted.items() if count},
        "report": report.as_dict(),
        "clock": clock_contents(book.clock),
        "file": str(file),
    }
    # the folder takes its place when it is complete
    (scratch / "recording.json").write_text(json.dumps(contents, allow_nan=False), encoding="utf-8")
    for note in book.notes:
        rank_zero_info(f"{file}: {note}")
    for warning in report.warnings:
        rank_zero_info(warning)
    return report.line()


def _on_grid(
    file: Path,
    reading: Reading,
    scratch: Path,
    spans: Spans | str | None,
    joint: Joint | None,
    book: Book,
    report: TimeReport,
) -> Iterator[Piece]:
    """The rows at the common rate, with their labels."""

    def read(one: Path, own: Reading, its: Book) -> Iterator[Piece]:
        return _finite(_read(one, own, scratch, its))

    def labelled(rows: Iterator[Piece], its: Book) -> Iterator[Piece]:
        if isinstance(spans, str):
            return _all_labelled(rows, its, spans)
        if spans is None:
            return rows
        return Labelled(spans, its, reading.grid.recorded_at or reading.grid.rate).label(rows)

    if joint is not None:
        yield from together(joint.files, joint.sensors, reading, read, book, report, labelled)
        return
    rows = labelled(read(file, reading, book), book)
    rows = chain([piece for piece in (next(rows, None),) if piece is not None], rows)  # the reader has begun
    report.unit, report.header = book.unit, book.header
    yield from regular(rows, reading.grid, str(file), report, line=book.line)


def _read(file: Path, reading: Reading, scratch: Path, book: Book) -> Iterator[Piece]:
    suffix = file.suffix.lower()
    if is_raw(file):
        return read_raw(file, reading, book, scratch)
    if suffix == ".npz":
        return read_npz(file, reading, book, scratch)
    return read_npy(file, reading, book) if suffix == ".npy" else read_csv(file, reading, book)


def _finite(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Values that float32 cannot hold are missing."""
    for piece in pieces:
        with np.errstate(over="ignore"):
            piece.signal[~np.isfinite(piece.signal.astype(np.float32))] = np.nan
        yield piece


def _all_labelled(pieces: Iterator[Piece], book: Book, word: str) -> Iterator[Piece]:
    for piece in pieces:
        yield piece._replace(label=np.repeat(book.label_codes([word]), len(piece.label)))


def _sum(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    total = np.zeros(max(len(a), len(b)), np.int64)
    total[: len(a)] += a
    total[: len(b)] += b
    return total


class Spread:
    """Mean and standard deviation of each channel, piece by piece, without missing values.

    >>> spread = Spread(2)
    >>> spread.add(np.array([[1e8, 0.0], [1e8 + 1, np.nan]]))
    >>> spread.add(np.array([[1e8 + 2, 4.0]]))
    >>> (spread.mean - 1e8).tolist(), spread.mean[1], spread.fits_float32()
    ([1.0, -99999998.0], np.float64(2.0), False)
    """

    def __init__(self, channels: int) -> None:
        self.count, self.mean, self.square = np.zeros(channels), np.zeros(channels), np.zeros(channels)

    def add(self, signal: NDArray[np.float64]) -> None:
        """Rows ``(n, C)``."""
        fine = np.isfinite(signal)
        if fine.all():
            count = np.full(signal.shape[1], float(len(signal)))
            mean = signal.mean(axis=0)
            square = ((signal - mean) ** 2).sum(axis=0)
        else:
            count = fine.sum(axis=0).astype(np.float64)
            mean = np.where(fine, signal, 0.0).sum(axis=0) / np.maximum(count, 1)
            square = (np.where(fine, signal - mean, 0.0) ** 2).sum(axis=0)
        total, delta = self.count + count, mean - self.mean
        part = count / np.maximum(total, 1)
        self.square += square + delta**2 * self.count * part
        self.mean += delta * part
        self.count = total

    def fits_float32(self) -> bool:
        """Whether rounding to float32 changes no channel by more than 1e-4 of its standard deviation."""
        return rounds_little(self.mean, np.sqrt(self.square / np.maximum(self.count, 1)))
