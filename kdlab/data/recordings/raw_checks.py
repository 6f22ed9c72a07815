"""Files of devices checked block by block before they are decoded: what is damaged, where, and how much they hold."""

from __future__ import annotations

import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kdlab.types import InputError

SECTOR, HEADER = 512, 1024  # bytes of an Axivity file
LINES, PAGE = 59, 10  # lines of a GENEActiv header and page
MOST_PAGES = 2**19  # twice what the memory of a GENEActiv holds
MOST_INFO = 2**20  # bytes of info.txt
BLOCK = 2**22  # bytes that are read at a time
_STAMP = re.compile(rb"Page Time:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d:\d{3}\s*")
_NUMBERS = tuple(re.compile(rb"%s:\s*\d+(\.\d+)?\s*" % key) for key in (b"Temperature", b"Battery voltage"))
_RATE = re.compile(rb"Measurement Frequency:\s*0*[1-9]\d{0,3}(\.\d+)?\s*")
_DIGITS = re.compile(rb"[0-9A-Fa-f]*\s*")


@dataclass
class Checked:
    """A file of a device that can be decoded.

    Attributes:
        path: what is decoded: the file, or a copy of its intact blocks.
        samples: that it holds, with ``width`` bytes each when they are decoded.
        damaged: what is wrong with each block that is not intact, with its place.
        more: bytes of the slower sensors when they are decoded.
    """

    path: Path
    samples: int = 0
    width: int = 0
    damaged: list[str] = field(default_factory=list)
    more: int = 0

    @property
    def arrays(self) -> int:
        """Bytes of everything that is decoded."""
        return self.samples * self.width + self.more


# ---- Axivity --------------------------------------------------------------------------------------------------------
def check_cwa(file: Path, scratch: Path, lenient: bool) -> Checked:
    """Sectors of 512 bytes behind a header of 1024: each begins with AX, and its 16-bit words add up to 0."""
    found, size = Checked(file), file.stat().st_size
    if size < HEADER + SECTOR:
        raise InputError(f"{file}: must hold a header and sectors, but has {size} bytes. Obtain it again.")
    gyro = done = 0
    with file.open("rb") as stream:
        stream.seek(HEADER)
        while block := stream.read(BLOCK):
            sectors = np.frombuffer(block, np.uint8, len(block) // SECTOR * SECTOR).reshape(-1, SECTOR)
            words = sectors.view("<u2")
            named = (sectors[:, 0] == ord("A")) & (sectors[:, 1] == ord("X"))
            good = named & ((words.sum(axis=1, dtype=np.int64) % 65536 == 0) | (sectors[:, 24] == 0))
            for k in np.flatnonzero(~good).tolist():
                what = "has a wrong checksum" if named[k] else "does not begin with AX"
                found.damaged.append(f"sector {done + k} (byte {HEADER + (done + k) * SECTOR}) {what}")
            packed, axes = sectors[:, 25] & 15 == 0, np.maximum(sectors[:, 25] >> 4, 1)
            most = np.where(packed, 120, 240 // axes)
            found.samples += int(np.minimum(words[:, 14], most)[good].sum())
            gyro |= int((~packed & (axes >= 6))[good].any())
            done += len(sectors)
            if len(block) % SECTOR:
                found.damaged.append(f"the file ends within sector {done} (byte {size})")
    found.width, found.more = 8 + 12 + 12 * gyro, 18 * done
    return found


# ---- GENEActiv ------------------------------------------------------------------------------------------------------
def check_bin(file: Path, scratch: Path, lenient: bool) -> Checked:
    """Pages of ten lines behind 59 lines of header; the last line of a page has 12 digits a sample."""
    found, copy = Checked(file, width=8 + 12 + 4 + 1), scratch / "intact.bin"
    with file.open("rb") as stream:
        head = [stream.readline(BLOCK) for _ in range(LINES)]
        declared = _geneactiv_head(head, file)
        good = pages = 0
        first = -1
        with copy.open("wb") as out:
            out.writelines(head)
            for page in _pages(stream):
                what, samples = _page(page, first)
                first = samples if first < 0 and what is None else first
                if what is not None:
                    found.damaged.append(f"page {pages} {what}")
                if samples:
                    out.writelines(page)
                    found.samples += samples
                    good += 1
                pages += 1
    if pages < declared:
        found.damaged.append(f"the file ends after page {pages - 1}, and its header counts {declared} pages")
    found.more = 16 * good
    if found.damaged and lenient:
        found.path = copy
        _count_pages(copy, declared, good)
    else:
        copy.unlink()
    return found


def _geneactiv_head(head: list[bytes], file: Path) -> int:
    known = dict(line.strip().split(b":", 1) for line in head if b":" in line)
    pages = known.get(b"Number of Pages", b"").strip()
    numbers = [known.get(b"%c %s" % (axis, word), b"").strip() for axis in b"xyz" for word in (b"gain", b"offset")]
    if not head[-1] or not pages.isdigit() or not all(re.fullmatch(rb"-?\d+", n) for n in numbers):
        raise InputError(
            f"{file}: must have a header of {LINES} lines with gains, offsets and the number of pages, but lacks some. "
            "Obtain it again."
        )
    if int(pages) > MOST_PAGES or any(int(gain) == 0 for gain in numbers[::2]):
        raise InputError(
            f"{file}: Number of Pages must be at most {MOST_PAGES} and no gain 0, but got {int(pages)} and gains "
            f"{', '.join(gain.decode() for gain in numbers[::2])}. Obtain it again."
        )
    return int(pages)


def _pages(stream: BinaryIO) -> Iterator[list[bytes]]:
    """Ten lines each; after a page of another length the next begins with the next ``Recorded Data``."""
    lines = iter(lambda: stream.readline(BLOCK), b"")
    page: list[bytes] = []
    for line in lines:
        if line.strip() == b"Recorded Data" and page:
            yield page
            page = []
        page.append(line)
        if len(page) == PAGE:
            yield page
            page = list(islice(lines, 1))
    if any(line.strip() for line in page):
        yield page


def _page(page: list[bytes], first: int) -> tuple[str | None, int]:
    """What is wrong with a page, and how many of its samples can be used."""
    if page[0].strip() != b"Recorded Data" or len(page) < PAGE:
        return f"has {len(page)} lines of {PAGE}, or does not begin with Recorded Data", 0
    body = page[3:8]
    if not _STAMP.fullmatch(page[3]) or not any(_RATE.fullmatch(line) for line in page[1:9]):
        return "has no time or no rate", 0
    if not all(any(number.fullmatch(line) for line in body) for number in _NUMBERS):
        return "has no temperature or no battery voltage", 0
    digits = page[9].strip()
    if not _DIGITS.fullmatch(page[9]):
        return "has a sample that is not hexadecimal", 0
    samples = len(digits) // 12
    if len(digits) % 12 or (first >= 0 and samples != first):
        return f"is cut: {samples} samples of {first if first >= 0 else 300}", samples
    return None, samples


def _count_pages(copy: Path, declared: int, good: int) -> None:
    """The number of pages in the header of a copy, with as many digits as before."""
    with copy.open("r+b") as stream:
        head = stream.read(BLOCK)
        at = head.index(b"Number of Pages:") + len(b"Number of Pages:")
        width = len(str(declared))
        stream.seek(head.index(str(declared).encode(), at))
        stream.write(str(good).zfill(width).encode()[-width:])


# ---- ActiGraph ------------------------------------------------------------------------------------------------------
def check_gt3x(file: Path, scratch: Path, lenient: bool, most: float = np.inf) -> Checked:
    """A zip of info.txt and log.bin; records of it begin with 0x1E and end with a checksum.

    Args:
        file: the file.
        scratch: folder in which log.bin is unpacked.
        lenient: whether damaged records are left out of the copy.
        most: bytes of samples that log.bin may hold by its declared size.
    """
    found, log = Checked(scratch / "intact.gt3x", width=8 + 12), scratch / "log.bin"
    info = _unpacked(file, log, found, most)
    try:
        with zipfile.ZipFile(found.path, "w") as archive:  # not packed, and nothing but what was checked
            archive.writestr("info.txt", info)
            with archive.open("log.bin", "w", force_zip64=True) as out:
                _records(file, log, out, found)
    finally:
        log.unlink(missing_ok=True)
    return found


def _unpacked(file: Path, log: Path, found: Checked, most: float) -> bytes:
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            if "info.txt" not in sizes or "log.bin" not in sizes or len(archive.infolist()) > 100:
                raise InputError(f"{file}: must hold info.txt and log.bin, but holds {', '.join(list(sizes)[:6])}.")
            if sizes["info.txt"] > MOST_INFO or 20 / 4.5 * sizes["log.bin"] > most:
                raise InputError(
                    f"{file}: the declared size of log.bin must be decoded within max_memory, but it is "
                    f"{sizes['log.bin'] / 1e6:.0f} MB. Set max_memory: {13.4 * sizes['log.bin'] / 1e9 + 0.1:.1f} where "
                    "that is the recording."
                )
            info = archive.read("info.txt")
            with archive.open("log.bin") as source, log.open("wb") as target:
                try:
                    shutil.copyfileobj(source, target, BLOCK)
                except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                    found.damaged.append(f"log.bin cannot be unpacked completely ({error})")
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, struct.error) as error:
        raise InputError(f"{file}: must be a zip, but cannot be unpacked ({error}). Obtain it again.") from error
    return info


def _records(file: Path, log: Path, out: Any, found: Checked) -> None:
    size = log.stat().st_size
    data = np.memmap(log, np.uint8, "r") if size else np.empty(0, np.uint8)
    at, lost, known = 0, False, False
    while at < size:
        end = _record_end(data, at, size)
        if end is None:
            if not lost:
                found.damaged.append(f"record at byte {at} of log.bin is cut or has a wrong checksum")
            lost = True
            following = np.flatnonzero(data[at + 1 : at + 1 + BLOCK] == 0x1E)
            at += 1 + int(following[0]) if len(following) else 1 + min(BLOCK, size - at - 1)
            continue
        kind, payload, lost = int(data[at + 1]), data[at + 8 : end - 1], False
        if kind == 26:
            raise InputError(
                f"{file}: samples must be in records of kind 0, but the record at byte {at} of log.bin is of kind 26 "
                "(16-bit samples), which actfast does not decode. Export the recording as CSV."
            )
        if kind == 21:
            known = {(0, 10), (0, 55)} <= {
                struct.unpack_from("<HH", payload.tobytes(), k) for k in range(0, len(payload) - 7, 8)
            }
        if kind == 0:
            found.samples += len(payload) * 8 // 36
            if not known:
                raise InputError(
                    f"{file}: parameters must give the rate and the scale before the first sample, but do not; the "
                    "unit is not known. Export the recording as CSV."
                )
        found.more += 10
        out.write(data[at:end].tobytes())
        at = end


def _record_end(data: Any, at: int, size: int) -> int | None:
    """The end of an intact record."""
    if data[at] != 0x1E or at + 9 > size:
        return None
    end = at + 9 + int(data[at + 6]) + 256 * int(data[at + 7])
    if end > size or np.bitwise_xor.reduce(data[at:end]) != 0xFF:
        return None
    return end
