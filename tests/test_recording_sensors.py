"""Sensors in files of their own: joined by their names and times, against numpy by hand."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import i0

from kdlab.data import RecordingDataModule
from kdlab.data.recordings import rows as table_rows
from kdlab.types import InputError

BEGIN = 1547223008.27
SENSORS = {
    "by": [{"part": 0}, {"part": 1}, {"part": 2}],
    "files": {
        "acc": {"file": "Accelerometer", "columns": {"ax": "x", "ay": "y"}, "recorded_at": 12.5},
        "gyro": {"file": "Gyroscope", "columns": {"gx": "x"}, "recorded_at": 25},
    },
}
SETTINGS = {
    "channels": ["gx", "ax", "ay"],
    "sampling_rate": 25,
    "window": 25,
    "time": "epoch (ms)",
    "time_unit": "ms",
    "subject": {"part": 0},
    "label": {"part": 1},
    "sensors": SENSORS,
}


def samples(rate, first, last, seed, columns):
    """Times that jitter by up to a fifth of a period, whole milliseconds, and smooth values."""
    rng = np.random.default_rng(seed)
    time = np.arange(first, last, 1 / rate)
    time = np.round(1000 * (BEGIN + time + rng.uniform(-0.2, 0.2, len(time)) / rate)).astype(np.int64)
    seconds = (time - 1000 * BEGIN) / 1000
    values = {
        c: np.sin(2 * np.pi * (0.3 + 0.2 * k) * seconds + k) + 0.1 * rng.normal(size=len(time))
        for k, c in enumerate(columns)
    }
    return pd.DataFrame({"epoch (ms)": time, **values})


def write(folder, person, label, start, acc, gyro):
    folder.mkdir(parents=True, exist_ok=True)
    acc.to_csv(folder / f"{person}-{label}_{start}_Accelerometer_12.500Hz.csv", index=False, float_format="%.14g")
    gyro.to_csv(folder / f"{person}-{label}_{start}_Gyroscope_25.000Hz.csv", index=False, float_format="%.14g")


@pytest.fixture
def pair(tmp_path):
    acc, gyro = samples(12.5, 0, 40, 0, ["x", "y"]), samples(25, 1.3, 43, 1, ["x"])
    write(tmp_path / "data", "A", "bench", "1", acc, gyro)
    return tmp_path / "data", acc, gyro


def stored(root, **more):
    data = RecordingDataModule(root, cache_dir=root.parent / "kept", **{**SETTINGS, **more})
    recordings, kept = data._stored()
    return recordings, kept, data


def by_hand(acc, gyro, rate):
    """The grid of what both have, from the later start to the earlier end, each interpolated from its own times."""
    a, g = ((frame["epoch (ms)"].to_numpy() - 1000 * BEGIN) / 1000 for frame in (acc, gyro))
    begin, end = max(a[0], g[0]), min(a[-1], g[-1])
    moments = begin + np.arange(int((end - begin) * rate + 1e-6) + 1) / rate
    return moments, np.column_stack(
        [np.interp(moments, g, gyro["x"]), np.interp(moments, a, acc["x"]), np.interp(moments, a, acc["y"])]
    )


# ---- by hand --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rate", [25, 50])
def test_two_files_of_two_rates(pair, rate):
    root, acc, gyro = pair
    recordings, (one,), _ = stored(root, sampling_rate=rate)
    _, expected = by_hand(acc, gyro, rate)
    assert one.samples == len(expected)
    assert np.abs(one.signal() - expected).max() < 2e-6
    assert (one.labels, recordings[0].subject) == (("bench",), "A")
    assert one.segments == ((0, one.samples, 0),)


def test_each_file_is_filtered_from_its_own_rate(pair):
    """To 12.5 Hz the gyroscope comes through a low-pass and the accelerometer, which is at that rate, does not."""
    root, acc, gyro = pair
    _, (one,), _ = stored(root, sampling_rate=12.5)
    moments, expected = by_hand(acc, gyro, 12.5)
    assert np.abs(one.signal()[:, 1:] - expected[:, 1:]).max() < 2e-6
    time, x = gyro["epoch (ms)"].to_numpy() / 1000 - BEGIN, gyro["x"].to_numpy()
    spacing = np.gradient(time)
    cut, half, beta = 0.45 * 12.5, 22 / 12.5, 0.1102 * (2.285 * 4 * np.pi * 0.1 * 22 + 7.95 - 8.7)
    inner = np.flatnonzero((moments > time[0] + half) & (moments < time[-1] - half))
    compared = 0
    for k in inner[::3]:
        tau = moments[k] - time
        if np.abs(np.abs(tau) - half).min() < 1e-6:
            continue  # a sample at the very end of the filter
        compared += 1
        h = np.where(
            np.abs(tau) <= half, np.sinc(2 * cut * tau) * i0(beta * np.sqrt(np.maximum(0, 1 - (tau / half) ** 2))), 0
        )
        assert one.signal()[k, 0] == pytest.approx((spacing * h * x).sum() / (spacing * h).sum(), abs=1e-5)
    assert compared > 100
    assert np.abs(one.signal()[inner, 0] - expected[inner, 0]).max() > 0.01  # it is not the interpolated one


@pytest.mark.parametrize("how", ["previous", "linear"])
def test_a_channel_at_1_hertz(pair, how):
    """Held or interpolated for at most fill_max, from its own times; a gap of it is missing."""
    root, acc, gyro = pair
    beat = pd.DataFrame({"epoch (ms)": (1000 * (BEGIN + np.arange(0.5, 36))).round().astype(np.int64)})
    beat["bpm"] = 60 + np.arange(len(beat)) % 7
    beat = beat.drop(index=range(12, 17)).reset_index(drop=True)  # 6 seconds between two values
    beat.to_csv(root / "A-bench_1_Heart.csv", index=False)
    heart = {"file": "Heart", "columns": {"hr": "bpm"}, "recorded_at": 1}
    _, (one,), _ = stored(
        root,
        channels=["gx", "ax", "ay", "hr"],
        sensors={**SENSORS, "files": {**SENSORS["files"], "heart": heart}},
        fill={"hr": how},
        fill_max=2.0,
    )
    a, g, h = (frame["epoch (ms)"].to_numpy() / 1000 - BEGIN for frame in (acc, gyro, beat))
    begin = max(a[0], g[0], h[0])
    end = min(a[-1], g[-1], h[-1] + 2 * (how == "previous"))
    moments = begin + np.arange(int((end - begin) * 25 + 1e-6) + 1) / 25
    assert one.samples == len(moments)
    bpm = beat["bpm"].to_numpy(float)
    left = np.searchsorted(h, moments + 1e-6, side="right") - 1
    right = np.minimum(left + 1, len(h) - 1)
    if how == "previous":
        expected = np.where(moments - h[left] <= 2 + 1e-6, bpm[left], np.nan)
    else:
        expected = np.where(
            (h[right] - h[left] <= 2) | (np.abs(moments - h[left]) < 1e-6), np.interp(moments, h, bpm), np.nan
        )
    assert np.isnan(expected).any()
    assert np.array_equal(np.isnan(one.signal()[:, 3]), np.isnan(expected))
    there = ~np.isnan(expected)
    assert np.abs(one.signal()[there, 3] - expected[there]).max() < 1e-4
    assert one.contents()["report"]["filled"] == {"hr": int(there.sum())}
    assert np.abs(one.signal()[:, 1] - np.interp(moments, a, acc["x"])).max() < 2e-6


def test_a_gap_of_one_sensor_is_missing(pair):
    root, acc, gyro = pair
    lost = (np.arange(len(acc)) < 200) | (np.arange(len(acc)) >= 240)  # 3.2 s
    write(root, "A", "bench", "1", acc[lost], gyro)
    _, (one,), data = stored(root, window=25)
    moments, expected = by_hand(acc[lost], gyro, 25)
    a = acc[lost]["epoch (ms)"].to_numpy() / 1000 - BEGIN
    inside = (moments > a[199] + 1e-6) & (moments < a[200] - 1e-6)
    assert np.array_equal(np.isnan(one.signal()[:, 1]), inside)
    assert not np.isnan(one.signal()[:, 0]).any()
    assert np.abs(one.signal()[~inside] - expected[~inside]).max() < 2e-6
    windows = data.load()
    clean = sum(not inside[s : s + 25].any() for s in range(0, len(moments) - 24, 25))
    assert len(windows) == clean
    assert np.isfinite(windows.windows["raw"][:]).all()
    assert data.load().windows["raw"].counts["gaps"] == 1


def test_blocks_do_not_matter(pair, monkeypatch):
    root, _, _ = pair
    settings = {"fill": {"ax": "previous", "gx": "linear"}, "fill_max": 1.0}
    for rate in (25, 10):
        whole = [np.array(stored(root, sampling_rate=rate, **more)[1][0].signal()) for more in ({}, settings)]
        with monkeypatch.context() as patch:
            patch.setattr(table_rows, "BLOCK", 700)
            shutil.rmtree(root.parent / "kept")
            parts = [np.array(stored(root, sampling_rate=rate, **more)[1][0].signal()) for more in ({}, settings)]
        shutil.rmtree(root.parent / "kept")
        for a, b in zip(whole, parts, strict=True):
            assert np.allclose(a, b, atol=1e-6, equal_nan=True)


def test_labels_are_those_of_the_first_sensor(pair):
    root, acc, gyro = pair
    acc["what"] = np.where(np.arange(len(acc)) < 250, "rest", "lift")
    write(root, "A", "bench", "1", acc, gyro)
    _, (one,), _ = stored(root, label="what")
    moments, _ = by_hand(acc, gyro, 25)
    a = acc["epoch (ms)"].to_numpy() / 1000 - BEGIN
    word = acc["what"].to_numpy()[np.searchsorted(a, moments + 1e-6, side="right") - 1]
    assert [one.labels[k] for k in one.codes()] == word.tolist()


# ---- which files ----------------------------------------------------------------------------------------------------
def six(tmp_path):
    for k, person in enumerate("ABCDEF"):
        for label in ("bench", "squat"):
            acc, gyro = samples(12.5, 0, 8, k, ["x", "y"]), samples(25, 0.2, 8, k + 9, ["x"])
            write(tmp_path / "data", person, label, "7", acc, gyro)
    return tmp_path / "data"


def test_windows_of_several_people(tmp_path):
    data = RecordingDataModule(six(tmp_path), cache_dir=tmp_path / "kept", batch_size=4, **SETTINGS)
    data.setup()
    assert data.classes == ["bench", "squat"]
    assert sorted(set(data.data.subject.tolist())) == list("ABCDEF")
    assert data.data.windows["raw"].shape[1:] == (3, 25)
    assert len(data.data) == 12 * 7


def test_a_partner_that_is_missing(tmp_path, caplog):
    root = six(tmp_path)
    (root / "B-squat_7_Gyroscope_25.000Hz.csv").unlink()
    with pytest.raises(
        InputError, match=r"B-squat_7_Accel.*every sensor must have a file of B, squat, 7, but gyro has none"
    ):
        stored(root)
    caplog.set_level("INFO", logger="lightning.pytorch")
    recordings, _, data = stored(root, sensors={**SENSORS, "alone": "drop"})
    assert len(recordings) == 11
    assert "1 files without their partners are left out: B-squat_7_Accelerometer_12.500Hz.csv" in caplog.text
    assert data.load().windows["raw"].counts["files without partners"] == 1
    for file in root.glob("*Gyro*"):
        file.unlink()
    with pytest.raises(InputError, match="no file has all of its partners"):
        stored(root, sensors={**SENSORS, "alone": "drop"})


def test_a_partner_that_is_there_twice(tmp_path):
    root = six(tmp_path)
    shutil.copyfile(root / "A-bench_7_Gyroscope_25.000Hz.csv", root / "A-bench_7_Gyroscope_copy.csv")
    with pytest.raises(InputError, match=r"Gyroscope_25.000Hz.csv, .*Gyroscope_copy.csv: one file of a sensor"):
        stored(root)


def test_a_partner_of_another_person(tmp_path):
    acc, gyro = samples(12.5, 0, 8, 0, ["x", "y"]), samples(25, 0.2, 8, 1, ["x"])
    write(tmp_path / "data", "A", "bench", "7", acc, gyro)
    (tmp_path / "data/A-bench_7_Gyroscope_25.000Hz.csv").rename(tmp_path / "data/B-bench_7_Gyroscope_25.000Hz.csv")
    by = {"sensors": {**SENSORS, "by": [{"part": 2}]}}
    with pytest.raises(InputError, match="files of one recording must have one subject, but have 'A' and 'B'"):
        stored(tmp_path / "data", **by)
    with pytest.raises(InputError, match="every sensor must have a file of A, bench, 7"):
        stored(tmp_path / "data")


def test_no_overlap_and_other_units(tmp_path):
    acc, gyro = samples(12.5, 0, 8, 0, ["x", "y"]), samples(25, 100, 108, 1, ["x"])
    write(tmp_path / "data", "A", "bench", "7", acc, gyro)
    with pytest.raises(InputError, match=r"must overlap in time, but .*Accel.* has 0 to 7.9\d* s, .*Gyro.* has 9\d"):
        stored(tmp_path / "data")
    gyro = samples(25, 0, 8, 1, ["x"])
    gyro["epoch (ms)"] = gyro["epoch (ms)"] / 1000  # seconds under the name of milliseconds
    write(tmp_path / "data", "A", "bench", "7", acc, gyro)
    with pytest.raises(InputError, match=r"rate of the time stamps .*Set time_unit: s"):
        stored(tmp_path / "data")
    seconds = {**SENSORS["files"], "gyro": {**SENSORS["files"]["gyro"], "time_unit": "s"}}
    _, (one,), _ = stored(tmp_path / "data", sensors={**SENSORS, "files": seconds})
    assert (
        np.abs(one.signal() - by_hand(acc, gyro.assign(**{"epoch (ms)": gyro["epoch (ms)"] * 1000}), 25)[1]).max()
        < 1e-3
    )
    gyro["epoch (ms)"] = pd.to_datetime(gyro["epoch (ms)"], unit="s").dt.strftime("%Y-%m-%d %H:%M:%S.%f")
    write(tmp_path / "data", "A", "bench", "7", acc, gyro)
    dates = {**SENSORS["files"], "gyro": {**SENSORS["files"]["gyro"], "time_unit": "iso"}}
    with pytest.raises(InputError, match="one has dates and the other numbers"):
        stored(tmp_path / "data", sensors={**SENSORS, "files": dates})


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"sensors": {**SENSORS, "by": []}}, "sensors: by must be a list"),
        ({"sensors": {**SENSORS, "alone": "maybe"}}, "alone must be error or drop"),
        ({"sensors": {"by": [{"part": 0}], "files": {"a": SENSORS["files"]["acc"]}}}, "two sensors or more"),
        ({"sensors": {**SENSORS, "which": 1}}, "with by and files"),
        ({"channels": ["gx", "ax"]}, "ay is only in sensors"),
        ({"backwards": "split"}, "backwards: split"),
        ({"resample": "polyphase"}, "resample: polyphase"),
        ({"subject": {"column": "User"}}, r"subject: \{column"),
        (
            {"sensors": {**SENSORS, "files": {**SENSORS["files"], "b": {"file": "[", "columns": ["q"]}}}},
            "regular expression",
        ),
        (
            {"sensors": {**SENSORS, "files": {**SENSORS["files"], "b": {"file": "B", "columns": ["ax"]}}}},
            "'ax' is of two",
        ),
        ({"sensors": {**SENSORS, "files": {**SENSORS["files"], "b": {"file": "B"}}}}, "with file and columns"),
    ],
)
def test_wrong_declarations(tmp_path, change, line):
    with pytest.raises(InputError, match=line):
        RecordingDataModule(tmp_path, **{**SETTINGS, **change})


def test_a_file_of_two_sensors_and_no_times(pair):
    root, _, _ = pair
    both = {**SENSORS["files"], "gyro": {**SENSORS["files"]["gyro"], "file": "Hz"}}
    with pytest.raises(InputError, match="its path fits acc and gyro"):
        stored(root, sensors={**SENSORS, "files": both})
    with pytest.raises(InputError, match=r"joined by their times, but this file has none"):
        stored(root, time=None, time_unit="s")


def test_a_device_and_a_table(tmp_path):
    """The accelerometer of a .cwa, and a heart rate with dates of the same clock."""
    place = Path(os.environ.get("KDLAB_DATA", "")) / "devices/ax3_testfile.cwa"
    actfast = pytest.importorskip("actfast")
    if not os.environ.get("KDLAB_DATA") or not place.is_file():
        pytest.skip("KDLAB_DATA/devices: no device files here")
    (tmp_path / "data").mkdir()
    shutil.copyfile(place, tmp_path / "data/P1_wrist.cwa")
    when = pd.date_range("2019-02-26 10:55:10", periods=60, freq="s")
    pd.DataFrame({"t": when.strftime("%Y-%m-%d %H:%M:%S"), "bpm": np.arange(60.0)}).to_csv(
        tmp_path / "data/P1_heart.csv", index=False
    )
    data = RecordingDataModule(
        tmp_path / "data",
        cache_dir=tmp_path / "kept",
        channels=["x", "hr"],
        sampling_rate=100,
        window=100,
        suffixes=[".cwa", ".csv"],
        subject={"part": 0},
        label={"part": 0},
        sensors={
            "by": [{"part": 0}],
            "files": {
                "acc": {"file": "wrist", "columns": ["x"]},
                "heart": {"file": "heart", "columns": {"hr": "bpm"}, "time": "t", "time_unit": "iso", "recorded_at": 1},
            },
        },
        fill={"hr": "linear"},
    )
    _, (one,) = data._stored()
    high = actfast.read(str(place))["timeseries"]["high_frequency"]
    stamp = high["datetime"].astype("datetime64[ns]")
    moments = np.datetime64("2019-02-26T10:55:10", "ns") + (np.arange(5901) * 10**7).astype("timedelta64[ns]")
    expected = np.interp(
        moments.astype(np.int64) - 1.551e18, stamp.astype(np.int64) - 1.551e18, high["acceleration"][:, 0]
    )
    assert one.samples == 5901
    assert np.abs(one.signal()[:, 0] - expected).max() < 1e-4
    assert np.abs(one.signal()[:, 1] - np.arange(5901) / 100).max() < 1e-4
