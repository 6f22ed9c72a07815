"""Files as devices write them, in their documented formats, and what is in them by numpy alone."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

EPOCH = 621355968000000000  # 1970 in the ticks of .NET, 100 ns each since the year 1


def gt3x_record(kind: int, second: int, payload: bytes, checksum: int | None = None) -> bytes:
    """One record of ``log.bin``: separator, type, time, size, payload, and the complement of the XOR of all of it."""
    body = struct.pack("<BBIH", 0x1E, kind, second, len(payload)) + payload
    found = 0
    for byte in body:
        found ^= byte
    return body + bytes([~found & 0xFF if checksum is None else checksum])


def scale_as_ssp(value: float) -> int:
    """A number in the device's 32-bit floating point: 8 bits of exponent above 24 of significand."""
    mantissa, exponent = np.frexp(value)
    return (int(exponent) & 0xFF) << 24 | int(mantissa * 0x800000) & 0xFFFFFF


def pack12(rows: np.ndarray) -> bytes:
    """Samples ``(n, 3)`` in the order y, x, z, 12 bits each, the highest bit first."""
    bits = "".join(f"{int(value) & 0xFFF:012b}" for row in rows for value in (row[1], row[0], row[2]))
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big") if bits else b""


def write_gt3x(
    file: Path,
    counts: np.ndarray,
    *,
    rate: int = 30,
    begin: int = 1577880000,
    lux: Sequence[int] = (),
    packed: bool = True,
    damaged: Sequence[int] = (),
    info: str | None = None,
) -> Path:
    """A ``.gt3x`` with one activity record per second.

    Args:
        file: where it is written.
        counts: samples in steps of 1/256 g, ``(n, 3)``.
        rate: hertz.
        begin: UNIX time of the first record.
        lux: one value per second, in records of their own.
        packed: 12 bits per value (``ACTIVITY``), or 16 (``ACTIVITY2``).
        damaged: records (counted among those of activity) whose checksum is wrong.
        info: ``info.txt``; None: as it belongs to the samples.
    """
    seconds = len(counts) // rate
    parameters = struct.pack("<HHI", 0, 10, rate) + struct.pack("<HHI", 0, 55, scale_as_ssp(256.0))
    log = [gt3x_record(21, begin, parameters)]
    for k in range(seconds):
        rows = counts[k * rate : (k + 1) * rate]
        payload = pack12(rows) if packed else rows.astype("<i2").tobytes()
        log.append(gt3x_record(0 if packed else 26, begin + k, payload, 0 if k in damaged else None))
        if k < len(lux):
            log.append(gt3x_record(5, begin + k, struct.pack("<H", lux[k])))
    ticks = [EPOCH + (begin + k) * 10**7 for k in (0, seconds)]
    text = (
        f"Serial Number: MOS2D12345678\r\nDevice Type: wGT3XBT\r\nSample Rate: {rate}\r\nStart Date: {ticks[0]}\r\n"
        f"Last Sample Time: {ticks[1]}\r\nTimeZone: 01:00:00\r\nAcceleration Scale: 256.0\r\n"
    )
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("info.txt", text if info is None else info)
        archive.writestr("log.bin", b"".join(log))
    return file


def zip_that_lies(file: Path, contents: bytes, declared: int) -> Path:
    """A ``.gt3x`` whose directory says another size of ``log.bin`` than it has when it is unpacked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("info.txt", "Sample Rate: 30\r\n")
        archive.writestr("log.bin", contents)
    raw, true = bytearray(buffer.getvalue()), struct.pack("<I", len(contents))
    at = raw.find(true)
    while at >= 0:
        raw[at : at + 4] = struct.pack("<I", declared)
        at = raw.find(true, at + 4)
    file.write_bytes(bytes(raw))
    return file


def write_cwa(file: Path, counts: np.ndarray, begin: str = "2024-05-06T09:00:00", every: float = 0.8) -> Path:
    """A ``.cwa`` of an AX3 at 100 Hz, 80 samples of 16 bits in a sector, with fractions of a second.

    Args:
        file: where it is written.
        counts: samples in steps of 1/256 g, ``(n, 3)``.
        begin: the first moment.
        every: seconds from one sector to the next; below 0.8 the device runs faster than its nominal rate.
    """
    parts = [b"MD" + struct.pack("<H", 1020) + bytes(32) + bytes([74]) + bytes(987)]
    for n in range(len(counts) // 80):
        moment = np.datetime64(begin, "ns") + np.timedelta64(round(every * n * 1e9), "ns")
        date = moment.astype("datetime64[s]").item()
        rest = (moment - moment.astype("datetime64[s]")).astype("timedelta64[ns]").astype(int) / 1e9
        fraction = int(rest * 32768)
        stamp = (date.year - 2000) << 26 | date.month << 22 | date.day << 17 | date.hour << 12
        stamp |= date.minute << 6 | date.second
        fields = (b"AX", 508, 0x8000 | fraction, 1, n, stamp, 0, 250, 0, 190, 74, 0x32, -(fraction * 200 >> 16), 80)
        body = struct.pack("<2sHHIIIHHBBBBhH", *fields) + counts[80 * n : 80 * n + 80].astype("<i2").tobytes()
        total = int(np.frombuffer(body, "<u2").astype(np.int64).sum())
        parts.append(body + struct.pack("<H", -total % 65536))
    file.write_bytes(b"".join(parts))
    return file


def cwa_by_hand(file: Path) -> dict[str, np.ndarray]:
    """An AX3 or AX6 file by its documented sectors of 512 bytes.

    Returns:
        ``good`` (of every sector: whether its sixteen-bit words add up to 0), and of the good ones ``acc`` in g,
        ``gyro`` in degrees per second (AX6), ``first`` (nanoseconds of the first sample of each), ``count``,
        ``temperature`` in degrees Celsius, ``light``, ``battery`` in volts.
    """
    raw = np.frombuffer(file.read_bytes(), np.uint8)
    sectors = raw[1024 : 1024 + (len(raw) - 1024) // 512 * 512].reshape(-1, 512)
    good = sectors.view("<u2").astype(np.int64).sum(axis=1) % 65536 == 0
    kept = np.ascontiguousarray(sectors[good])

    def at(byte: int, kind: str) -> np.ndarray:
        width = np.dtype(kind).itemsize
        return np.ascontiguousarray(kept[:, byte : byte + width]).view(kind)[:, 0].astype(np.int64)

    stamp, scale, count = at(14, "<u4"), at(18, "<u2"), at(28, "<u2")
    text = [
        f"{2000 + (s >> 26 & 63):04d}-{s >> 22 & 15:02d}-{s >> 17 & 31:02d}T{s >> 12 & 31:02d}:{s >> 6 & 63:02d}:"
        f"{s & 63:02d}"
        for s in stamp.tolist()
    ]
    whole = np.array(text, "datetime64[ns]").astype(np.int64)
    rate = 3200 / 2 ** (15 - (at(24, "u1") & 15))
    fraction = (at(4, "<u2") & 0x7FFF) * 2 / 65536
    index = at(26, "<i2") + np.floor(fraction * rate).astype(np.int64)  # of the sample that the stamp belongs to
    first = whole + np.floor(fraction * 1e9).astype(np.int64) - (index * np.floor(1e9 / rate)).astype(np.int64)
    unit = 2.0 ** -(8 + (scale >> 13))
    axes = at(25, "u1")[0]
    data = np.ascontiguousarray(kept[:, 30:510])
    found = {
        "good": good,
        "first": first,
        "count": count,
        "rate": rate,
        "temperature": (at(20, "<u2") & 1023) * 75 / 256 - 50,
        "light": scale & 1023,
        "battery": (at(23, "u1") + 512) * 6 / 1024,
    }
    if axes & 15 == 0:  # three values of ten bits, and two bits that multiply them
        word = data.view("<u4").astype(np.int64)
        triple = np.stack([(word >> shift & 1023) for shift in (0, 10, 20)], axis=2)
        triple = np.where(triple >= 512, triple - 1024, triple) << (word >> 30)[:, :, None]
        found["acc"] = np.concatenate([t[:n] * u for t, n, u in zip(triple, count, unit, strict=True)])
    else:
        values = data.view("<i2").astype(np.int64).reshape(len(kept), -1, axes >> 4)
        gyro = 8000.0 / 2 ** (scale >> 10 & 7) / 32768
        found["acc"] = np.concatenate([v[:n, -3:] * u for v, n, u in zip(values, count, unit, strict=True)])
        found["gyro"] = np.concatenate([v[:n, :3] * g for v, n, g in zip(values, count, gyro, strict=True)])
    return found


def geneactiv_by_hand(file: Path) -> dict[str, np.ndarray]:
    """A GENEActiv ``.bin`` by its documented text: pages of ten lines, 12 hexadecimal digits per sample."""
    text = file.read_text(encoding="latin-1").replace("\r\n", "\n")
    head, *pages = text.split("Recorded Data\n")
    known = dict(line.split(":", 1) for line in head.split("\n") if ":" in line)
    gain, offset = ([float(known[f"{axis} {word}"]) for axis in "xyz"] for word in ("gain", "offset"))
    acc, light, first, rate, temperature, count = [], [], [], [], [], []
    for page in pages:
        lines = dict(line.split(":", 1) for line in page.split("\n") if ":" in line)
        digits = page.split("\n")[8].strip()
        samples = [int(digits[k : k + 12], 16) for k in range(0, len(digits) // 12 * 12, 12)]
        three = np.array([[s >> 36 & 4095, s >> 24 & 4095, s >> 12 & 4095] for s in samples])
        three = np.where(three >= 2048, three - 4096, three)
        acc.append((three * 100 - np.array(offset)) / np.array(gain))
        light.append(np.array([s >> 2 & 1023 for s in samples]) * float(known["Lux"]) / float(known["Volts"]))
        stamp = lines["Page Time"].strip()
        first.append(np.datetime64(stamp[:10] + "T" + stamp[11:19] + "." + stamp[20:], "ns").astype(np.int64))
        rate.append(float(lines["Measurement Frequency"]))
        temperature.append(float(lines["Temperature"]))
        count.append(len(samples))
    return {
        "acc": np.concatenate(acc),
        "light": np.concatenate(light),
        "first": np.array(first),
        "rate": np.array(rate),
        "temperature": np.array(temperature),
        "count": np.array(count),
    }
