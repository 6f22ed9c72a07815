"""Raw files of devices: equal to the library and to numpy alone, damaged blocks refused or counted, hostile files."""

import importlib.util
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kdlab.data import RecordingDataModule
from kdlab.data.recordings import raw
from kdlab.data.recordings.book import Book
from kdlab.data.recordings.grid import Grid
from kdlab.data.recordings.raw import UNITS, read_raw
from kdlab.data.recordings.raw_checks import check_bin, check_cwa, check_gt3x
from kdlab.data.recordings.reading import Reading
from kdlab.types import InputError
from tests.device_files import cwa_by_hand, geneactiv_by_hand, write_cwa, write_gt3x, zip_that_lies

if importlib.util.find_spec("actfast") is None:
    pytest.skip("actfast is not installed", allow_module_level=True)
import actfast

DAMAGED = "ax3_testfile_corrupt_blocks_0_13_14_142_143_144.cwa"
SUFFIXES = [".bin", ".cwa", ".gt3x"]


@pytest.fixture(scope="module")
def devices():
    place = Path(os.environ.get("KDLAB_DATA", "")) / "devices"
    if not os.environ.get("KDLAB_DATA") or not place.is_dir():
        pytest.skip("KDLAB_DATA/devices: no device files here")
    return place


def rows(file, scratch, channels=("x", "y", "z"), **more):
    """What the reader gives: seconds, signal and the book."""
    book = Book(str(file))
    reading = Reading(Grid(rate=50.0, channels=tuple(channels)), None, **more)
    pieces = list(read_raw(file, reading, book, scratch))
    return np.concatenate([p.time for p in pieces]), np.concatenate([p.signal for p in pieces]), book


def stored(tmp_path, file, name=None, **more):
    place = tmp_path / "data/worn"
    place.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, place / (name or file.name))
    settings = {"channels": ["x", "y", "z"], "sampling_rate": 50, "window": 10, "label": {"folder": 0}}
    data = RecordingDataModule(
        tmp_path / "data", cache_dir=tmp_path / "kept", suffixes=SUFFIXES, **{**settings, **more}
    )
    _, (one,) = data._stored()
    return one


def refused(tmp_path, file, name=None, **more):
    with pytest.raises(InputError) as error:
        stored(tmp_path, file, name, **more)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- values and times -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["ax3_testfile.cwa", "ax6_testfile.cwa", "GENEActiv_testfile.bin"])
def test_values_and_times_are_those_of_the_library(tmp_path, devices, name, monkeypatch):
    monkeypatch.setattr(raw, "ROWS", 1000)  # several pieces
    six = name.startswith("ax6")
    channels = ["z", "x", "y", "temperature", *(["gz", "gx", "gy"] if six else [])]
    time, signal, book = rows(devices / name, tmp_path, channels, lenient=True)
    series = actfast.read(str(devices / name), lenient=True)["timeseries"]
    high, low = series["high_frequency"], series["low_frequency"]
    assert np.array_equal(signal[:, :3], high["acceleration"][:, [2, 0, 1]].astype(np.float64))
    if six:
        assert np.array_equal(signal[:, 4:], high["gyroscope"][:, [2, 0, 1]].astype(np.float64))
    nanoseconds = book.clock.origin + np.rint(time * 1e9).astype(np.int64)
    assert np.array_equal(nanoseconds, high["datetime"])
    here = np.isfinite(signal[:, 3])  # once a block, in its first sample
    assert np.array_equal(nanoseconds[here], low["datetime"])
    assert np.array_equal(signal[here, 3], low["temperature"].astype(np.float64))


@pytest.mark.parametrize("name", ["ax3_testfile.cwa", "ax6_testfile.cwa", DAMAGED])
def test_sectors_by_numpy_alone(tmp_path, devices, name):
    known = cwa_by_hand(devices / name)
    time, signal, book = rows(devices / name, tmp_path, lenient=True)
    assert np.array_equal(signal, known["acc"])
    starts = np.cumsum(known["count"]) - known["count"]
    assert np.array_equal(book.clock.origin + np.rint(time[starts] * 1e9).astype(np.int64), known["first"])
    assert book.damaged == int((~known["good"]).sum())
    if "gyro" in known:
        assert np.array_equal(rows(devices / name, tmp_path, ["gx", "gy", "gz"])[1], known["gyro"])


def test_pages_by_numpy_alone(tmp_path, devices):
    known = geneactiv_by_hand(devices / "GENEActiv_testfile.bin")
    time, signal, book = rows(devices / "GENEActiv_testfile.bin", tmp_path, ["x", "y", "z", "light"], lenient=True)
    assert np.abs(signal[:, :3] - known["acc"]).max() < 1e-6
    assert np.abs(signal[:, 3] - known["light"]).max() < 1e-4
    starts = np.cumsum(known["count"]) - known["count"]
    assert np.array_equal(book.clock.origin + np.rint(time[starts] * 1e9).astype(np.int64), known["first"])
    assert known["count"].tolist() == [300] * 16 + [231]


def test_gt3x(tmp_path):
    counts = np.random.default_rng(0).integers(-2048, 2048, (90, 3))
    file = write_gt3x(tmp_path / "a.gt3x", counts, lux=[10, 20, 30])
    time, signal, book = rows(file, tmp_path, ["x", "y", "z", "light"])
    assert np.array_equal(signal[:, :3], counts / 256)
    assert np.abs(time - np.arange(90) / 30).max() < 1e-6
    assert book.clock.origin == 1577880000 * 10**9
    assert np.flatnonzero(np.isfinite(signal[:, 3])).tolist() == [0, 30, 60]
    assert signal[[0, 30, 60], 3].tolist() == [10, 20, 30]
    assert [p.name for p in tmp_path.iterdir()] == ["a.gt3x"]


def test_a_recording_like_any_other(tmp_path, devices):
    """On the common grid, by numpy: linear interpolation, a slower channel holds its value."""
    one = stored(
        tmp_path,
        devices / "ax3_testfile.cwa",
        channels=["x", "temperature"],
        sampling_rate=100,
        fill={"temperature": "previous"},
        units=["g", "°C"],
    )
    series = actfast.read(str(devices / "ax3_testfile.cwa"))["timeseries"]
    high, low = series["high_frequency"], series["low_frequency"]
    seconds = (high["datetime"] - high["datetime"][0]) / 1e9
    moments = np.arange(int(seconds[-1] * 100 + 1e-6) + 1) / 100
    assert one.samples == len(moments)
    assert np.abs(one.signal()[:, 0] - np.interp(moments, seconds, high["acceleration"][:, 0])).max() < 1e-5
    held = np.searchsorted(low["datetime"], high["datetime"], side="right") - 1
    expected = np.interp(moments, seconds, low["temperature"][held])
    assert np.abs(one.signal()[:, 1] - expected).max() < 1e-4


def test_a_device_that_runs_fast(tmp_path):
    """Sectors that overlap by some milliseconds are refused, and put in order where this is declared."""
    counts = np.random.default_rng(0).integers(-300, 300, (1600, 3))
    known = cwa_by_hand(write_cwa(tmp_path / "a.cwa", counts, every=0.785))
    assert np.array_equal(known["acc"] * 256, counts)
    assert np.abs(np.diff(known["first"]) - 0.785e9).max() < 1e5
    assert "times must not go back" in refused(tmp_path, tmp_path / "a.cwa", sampling_rate=100)
    one = stored(tmp_path, tmp_path / "a.cwa", sampling_rate=100, backwards="sort")
    assert one.contents()["report"]["sorted"] == 19
    assert one.samples == pytest.approx(100 * 0.785 * 20, abs=3)


# ---- damage ---------------------------------------------------------------------------------------------------------
def test_damaged_sectors_are_refused_with_their_place(tmp_path, devices):
    line = refused(tmp_path, devices / DAMAGED)
    assert "sector 0 (byte 1024) has a wrong checksum, and 5 more" in line
    assert "lenient: true" in line


def test_damaged_sectors_are_skipped_and_counted(tmp_path, devices):
    checked = check_cwa(devices / DAMAGED, tmp_path, True)
    places = [int(re.match(r"sector (\d+)", one)[1]) for one in checked.damaged]
    assert places == [0, 13, 14, 142, 143, 144]  # as the name of the file says
    assert checked.samples == 139 * 120
    report = stored(tmp_path, devices / DAMAGED, lenient=True).contents()["report"]
    assert (report["damaged"], report["samples"], report["gaps"]) == (6, 139 * 120, 1)


def test_a_cut_file(tmp_path, devices):
    whole = (devices / "ax3_testfile.cwa").read_bytes()
    (tmp_path / "cut.cwa").write_bytes(whole[:5000])
    assert "ends within sector 7 (byte 5000)" in refused(tmp_path, tmp_path / "cut.cwa")
    assert stored(tmp_path, tmp_path / "cut.cwa", lenient=True).contents()["report"]["samples"] == 7 * 120
    (tmp_path / "head.cwa").write_bytes(whole[:1024])
    _, read = tmp_path, rows
    with pytest.raises(InputError, match="has 1024 bytes"):
        read(tmp_path / "head.cwa", tmp_path)
    with pytest.raises(InputError, match=r"page 16 is cut: 231 samples of 300, and 1 more"):
        read(devices / "GENEActiv_testfile.bin", tmp_path)
    checked = check_bin(devices / "GENEActiv_testfile.bin", tmp_path, False)
    assert checked.damaged[1] == "the file ends after page 16, and its header counts 222048 pages"


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b"Page Time:2013-05-30 10:12:58:000", b"Page Time:XXXX-05-30 10:12:58:000", "page 1 has no time or no rate"),
        (b"Temperature:21.5", b"Temperature:warm", "has no temperature"),
        (b"Sequence Number:1\r\n", b"", "page 1 has 9 lines"),
        (b"Frequency:85.7\r\nF", b"Frequency:85.7\r\nZ", "has a sample that is not hexadecimal"),
    ],
)
def test_damaged_pages(tmp_path, devices, old, new, what):
    text = (devices / "GENEActiv_testfile.bin").read_bytes()
    at = text.index(old, text.index(b"Recorded Data"))
    (tmp_path / "a.bin").write_bytes(text[:at] + text[at:].replace(old, new, 1))
    with pytest.raises(InputError, match=what):
        rows(tmp_path / "a.bin", tmp_path)
    _, signal, book = rows(tmp_path / "a.bin", tmp_path, lenient=True)
    assert (len(signal), book.damaged) == (5031 - 300, 3)  # the page, the cut one, and the pages that are missing
    kept = rows(devices / "GENEActiv_testfile.bin", tmp_path, lenient=True)[1]
    place = next(k for k in range(17) if not np.array_equal(signal[300 * k : 300 * k + 300], kept[300 * k :][:300]))
    assert np.array_equal(signal, np.delete(kept, slice(300 * place, 300 * place + 300), axis=0))


def test_damaged_records(tmp_path):
    counts = np.random.default_rng(1).integers(-300, 300, (120, 3))
    file = write_gt3x(tmp_path / "a.gt3x", counts, damaged=[1])
    with pytest.raises(InputError, match=r"record at byte \d+ of log.bin is cut or has a wrong checksum"):
        rows(file, tmp_path)
    time, signal, book = rows(file, tmp_path, lenient=True)
    assert np.array_equal(signal * 256, np.delete(counts, slice(30, 60), axis=0))
    assert book.damaged == 1
    assert np.diff(time).max() == pytest.approx(1 + 1 / 30, abs=1e-6)


# ---- hostile --------------------------------------------------------------------------------------------------------
def test_wrong_suffixes(tmp_path, devices):
    assert "It is a .cwa; rename it" in refused(tmp_path / "1", devices / "ax3_testfile.cwa", "a.bin")
    (tmp_path / "text.bin").write_text("time,x,y,z\n0,1,2,3\n")
    assert "must begin with 'Device Identity', but begins with b'time,x" in refused(
        tmp_path / "2", tmp_path / "text.bin"
    )
    (tmp_path / "empty.cwa").write_bytes(b"")
    assert "must begin with 'MD'" in refused(tmp_path / "3", tmp_path / "empty.cwa")
    (tmp_path / "a.cwa.gz").write_bytes(b"\x1f\x8b")
    assert "Unpack it" in refused(tmp_path / "4", tmp_path / "a.cwa.gz")


def test_a_zip_bomb(tmp_path):
    """By its declared size it is refused before anything is unpacked; one that lies is not unpacked beyond it."""
    with zipfile.ZipFile(tmp_path / "a.gt3x", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("info.txt", "Sample Rate: 30\r\n")
        archive.writestr("log.bin", bytes(5 * 10**7))
    with pytest.raises(InputError, match=r"declared size of log.bin .* 50 MB\. Set max_memory: 0\.8"):
        rows(tmp_path / "a.gt3x", tmp_path, max_memory=0.5)
    assert not (tmp_path / "log.bin").exists()
    file = zip_that_lies(tmp_path / "b.gt3x", bytes(10**7), 1000)
    assert file.stat().st_size < 20000
    with pytest.raises(InputError, match=r"log.bin"):
        rows(file, tmp_path)
    with pytest.raises(InputError, match=r"has no sample|no samples|must be in the file"):
        rows(file, tmp_path, lenient=True)
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 10**5


def test_other_zips(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.gt3x", "w") as archive:
        archive.writestr("x.csv", "1,2")
    with pytest.raises(InputError, match=r"must hold info.txt and log.bin, but holds x.csv"):
        rows(tmp_path / "a.gt3x", tmp_path)
    counts = np.zeros((60, 3), int)
    with pytest.raises(InputError, match="kind 26"):
        rows(write_gt3x(tmp_path / "b.gt3x", counts, packed=False), tmp_path)
    file = write_gt3x(tmp_path / "c.gt3x", counts)
    with zipfile.ZipFile(file) as archive:
        log = archive.read("log.bin")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("info.txt", "Sample Rate: 30\r\n")
        archive.writestr("log.bin", log[25:])  # without the record of parameters
    with pytest.raises(InputError, match="the unit is not known"):
        rows(file, tmp_path)


@pytest.mark.parametrize(("old", "new"), [(b"Pages:222048", b"Pages:" + b"9" * 15), (b"x gain:25875", b"x gain:00000")])
def test_a_hostile_header(tmp_path, devices, old, new):
    text = (devices / "GENEActiv_testfile.bin").read_bytes().replace(old, new)
    (tmp_path / "a.bin").write_bytes(text)
    with pytest.raises(InputError, match="Number of Pages must be at most 524288 and no gain 0"):
        rows(tmp_path / "a.bin", tmp_path, lenient=True)


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("kind", ["ax6_testfile.cwa", "GENEActiv_testfile.bin", "a.gt3x"])
def test_random_damage_is_refused_or_read(tmp_path, devices, kind, lenient):
    counts = np.random.default_rng(0).integers(-300, 300, (300, 3))
    whole = (devices / kind if kind != "a.gt3x" else write_gt3x(tmp_path / "whole.gt3x", counts)).read_bytes()
    whole = whole[:40000]
    for seed in range(40):
        rng = np.random.default_rng(seed)
        hurt = bytearray(whole)
        for at in rng.integers(0, min(len(hurt), (4000, 40000)[seed % 2]), int(rng.integers(1, 8))).tolist():
            hurt[at] = int(rng.integers(256))
        file = tmp_path / f"hurt{Path(kind).suffix}"
        file.write_bytes(bytes(hurt[: int(rng.integers(1, len(hurt)))] if seed % 5 == 0 else hurt))
        said = str(file)
        try:
            time, signal, _ = rows(file, tmp_path, lenient=lenient)
            assert signal.shape == (len(time), 3)
        except InputError as error:
            said = str(error)
        assert str(file) in said


# ---- declared -------------------------------------------------------------------------------------------------------
def test_units_channels_and_columns(tmp_path, devices):
    file = devices / "ax3_testfile.cwa"
    assert "channel x is in g, but units declares 'm/s^2'" in refused(tmp_path, file, units=["m/s^2"] * 3)
    assert "channels must be some of x, y, z" in refused(tmp_path, file, channels=["acc_x"])
    assert "not that of the documented format" in refused(tmp_path, file, channels=["battery"])
    assert "gx has no sample in it (it has" in refused(tmp_path, file, channels=["gx"])
    assert "label must not be a column" in refused(tmp_path, file, label="label")
    assert "subject must not be a column" in refused(tmp_path, file, subject={"column": "User"})


def test_the_battery_of_axivity_in_the_library_is_not_that_of_the_format(devices):
    """The reason why it is not offered: above 5 volts on a cell that has 4.2 at most."""
    known = cwa_by_hand(devices / "ax3_testfile.cwa")["battery"]
    found = actfast.read(str(devices / "ax3_testfile.cwa"))["timeseries"]["low_frequency"]["battery_voltage"]
    assert known.max() < 4.2 < found.min()
    assert "battery" not in UNITS[".cwa"]


def test_what_is_shown(tmp_path, devices, caplog):
    caplog.set_level("INFO", logger="lightning.pytorch")
    stored(tmp_path, devices / "GENEActiv_testfile.bin", lenient=True)
    text = caplog.text
    for said in (
        "5031 samples, decoding takes at most 0 MB",
        "85.7 Hz by its header; times are those of the device's clock (zone in the header: GMT +01:00)",
        "x in g, y in g, z in g",
        "2 damaged blocks skipped, the first: page 16 is cut",
    ):
        assert said in text


def test_memory_is_estimated_from_what_is_decoded(tmp_path, devices):
    """The arrays are known to the byte before they are decoded, but for buffers of slow sensors in a .gt3x."""
    counts = np.random.default_rng(0).integers(-300, 300, (300, 3))
    files = {devices / "ax6_testfile.cwa": check_cwa, devices / "GENEActiv_testfile.bin": check_bin}
    for file, check in {**files, write_gt3x(tmp_path / "a.gt3x", counts, lux=[1, 2]): check_gt3x}.items():
        series = actfast.read(str(file))["timeseries"]
        size = sum(array.nbytes for one in series.values() for array in one.values())
        assert size <= check(file, tmp_path, False).arrays <= 1.03 * size + 100
    line = refused(tmp_path, devices / "ax3_testfile.cwa", max_memory=0.001)
    assert "at most max_memory=0.001 GB, but can take 0.00105 GB (17400 samples). Set max_memory: 0.1" in line


def test_without_actfast(tmp_path, devices, monkeypatch):
    monkeypatch.setitem(sys.modules, "actfast", None)
    assert 'pip install "kdlab[devices]"' in refused(tmp_path, devices / "ax3_testfile.cwa")


def test_files_of_devices_are_found_where_they_are_declared(tmp_path, devices):
    """Without suffixes they are none of the recordings, as before."""
    (tmp_path / "data").mkdir()
    shutil.copyfile(devices / "ax3_testfile.cwa", tmp_path / "data/a.cwa")
    data = RecordingDataModule(tmp_path / "data", channels=["x"], window=10, sampling_rate=50)
    with pytest.raises(InputError, match=r"set suffixes: \[\.cwa\]"):
        data.load()
