"""Time columns as public data sets and devices write them: each is read with the settings that its users declare."""

import io
import tarfile

import numpy as np
import pandas as pd
import pytest

from kdlab.data.recordings.grid import Grid, regular
from kdlab.data.recordings.report import TimeReport
from kdlab.data.recordings.resample import BORDER, Piece
from kdlab.data.recordings.times import Times
from kdlab.types import InputError


def signal_at(seconds):
    """What the sensor measures, slow enough for every rate here."""
    return np.sin(2 * np.pi * 0.2 * np.asarray(seconds)) + 0.1


def read(text, time, channels, grid, group=None, chunk=97, **csv):
    """A table through pandas, the clock and the grid, some rows at a time; its rows, groups and report."""
    report, clock, line = TimeReport(grid.channels), grid.times.clock("a.csv"), 2
    numeric = grid.times.unit in ("s", "ms", "us", "ns")

    def pieces():
        nonlocal line
        kinds = {} if time is None or numeric else {time: str}
        for frame in pd.read_csv(io.StringIO(text), chunksize=chunk, dtype=kinds, skipinitialspace=True, **csv):
            stamps = None if time is None else clock.seconds(frame[time], line)
            codes = None if group is None else frame[group].map(ord).to_numpy()
            yield Piece(stamps, frame[channels].to_numpy(float), np.zeros(len(frame), np.int16), codes)
            line += len(frame)

    out = list(regular(pieces(), grid, "a.csv", report, line=2))
    return np.concatenate([p.signal for p in out]), np.concatenate([p.group for p in out]), report


def lines(*rows):
    return "\n".join(rows) + "\n"


def pamap2():
    """``subject101.dat``: seconds, activity, heart rate at about 9 Hz between NaN, IMU columns; 100 Hz."""
    t = np.arange(3000) / 100
    heart = [f"{104 + k // 99 % 3}" if k % 11 == 0 else "NaN" for k in range(3000)]
    rows = [f"{8.38 + s:.2f} 1 {h} {v:.5f} 8.60074" for s, h, v in zip(t, heart, signal_at(t), strict=True)]
    grid = Grid(100.0, ("heart", "x"), fill={"heart": "previous"}, fill_max=0.5)
    return lines(*rows), 0, [2, 3], grid, {"sep": " ", "header": None}, t, 100.0


def wisdm():
    """``data_1600_accel_phone.txt``: subject, code, nanoseconds since the phone started, x, y, z; 20 Hz."""
    t = np.arange(1000) * 0.050354
    rows = [
        f"1600,A,{252207666810782 + round(1e9 * s)},{v:.7f},8.793503,1.0550842;"
        for s, v in zip(t, signal_at(t), strict=True)
    ]
    grid = Grid(20.0, ("x",), times=Times("ns"))
    return lines(*rows), 2, [3], grid, {"header": None}, t, 1 / 0.050354


def extrasensory():
    """``UUID.features_labels.csv.gz``: one row a minute, seconds since 1970."""
    t = np.arange(200) * 60.0
    rows = [f"{1444079161 + int(s)},{v:.6f}" for s, v in zip(t, signal_at(t / 600), strict=True)]
    return (
        lines("timestamp,raw_acc:magnitude_stats:mean", *rows),
        "timestamp",
        ["raw_acc:magnitude_stats:mean"],
        Grid(1 / 60, ("x",)),
        {},
        t,
        1 / 60,
    )


def hhar():
    """``Phones_accelerometer.csv``: arrival in ms, creation in ns with jitter, some rows late, two users; 200 Hz."""
    rng = np.random.default_rng(0)
    t = np.arange(4000) / 200 + rng.normal(0, 0.0004, 4000)
    late = np.where((rng.uniform(size=4000) < 0.01) & (np.arange(4000) % 2000 < 1900), 4.5, 0)
    order = np.argsort(np.arange(4000) + late, kind="stable")
    rows = [
        f"{k},{1424696633908 + round(1e3 * t[k])},{1424696631913248572 + round(1e9 * t[k])},{signal_at(t[k]):.7f},"
        f"0.68,8.3,{'a' if k < 2000 else 'b'},nexus4,nexus4_1,stand"
        for k in order.tolist()
    ]
    head = "Index,Arrival_Time,Creation_Time,x,y,z,User,Model,Device,gt"
    grid = Grid(50.0, ("x",), times=Times("ns", backwards="sort"), recorded_at=200.0)
    return lines(head, *rows), "Creation_Time", ["x"], grid, {"group": "User"}, t, 200.0


def axivity():
    """Exported by OMGUI: dates with milliseconds, 100 Hz."""
    t = np.arange(2000) / 100
    stamps = (pd.Timestamp("2015-06-05 10:36:38.610") + pd.to_timedelta(t, "s")).strftime("%Y-%m-%d %H:%M:%S.%f")
    rows = [f"{s[:-3]},{v:.6f}" for s, v in zip(stamps, signal_at(t), strict=True)]
    return lines(*rows), 0, [1], Grid(50.0, ("x",), times=Times("iso")), {"header": None}, t, 100.0


def actigraph():
    """Raw CSV of ActiLife (``date format M/d/yyyy``), 30 Hz, from 11:59 to 12:00."""
    t = np.arange(1800) / 30
    stamps = pd.Timestamp("2018-09-17 11:59:30") + pd.to_timedelta(t, "s")
    rows = [
        f"{s.month}/{s.day}/{s.year} {s:%H:%M:%S}.{s.microsecond // 1000:03d},{v:.6f}"
        for s, v in zip(stamps, signal_at(t), strict=True)
    ]
    grid = Grid(30.0, ("x",), times=Times("iso", day_first=False), recorded_at=30.0)
    return lines("Timestamp,Accelerometer X", *rows), "Timestamp", ["Accelerometer X"], grid, {}, t, 30.0


def capture24():
    """``P001.csv.gz``: dates with microseconds, 100 Hz, annotations with blanks and commas."""
    t = np.arange(2000) / 100
    stamps = (pd.Timestamp("2016-11-13 02:18:00") + pd.to_timedelta(t, "s")).strftime("%Y-%m-%d %H:%M:%S.%f")
    rows = [f'{s},{v:.8f},"7030 sleeping;MET 0.95"' for s, v in zip(stamps, signal_at(t), strict=True)]
    grid = Grid(30.0, ("x",), times=Times("iso", zone="Europe/London"))
    return lines("time,x,annotation", *rows), "time", ["x"], grid, {}, t, 100.0


def empatica():
    """``ACC.csv`` of the E4: the start, the rate, then samples without times; 32 Hz."""
    t = np.arange(640) / 32
    rows = [f"{round(64 * v)}" for v in signal_at(t)]
    return (
        lines("1551178506.000000", "32.000000", *rows),
        None,
        [0],
        Grid(32.0, ("x",)),
        {"header": None, "skiprows": 2},
        t,
        32.0,
    )


def realworld():
    """``acc_walking_chest.csv``: milliseconds, 50 Hz, some stamps twice."""
    rng = np.random.default_rng(1)
    t = np.arange(1500) / 50 + np.where(rng.uniform(size=1500) < 0.1, 0.02, 0.0)
    rows = [f"{k},{1435993259000 + round(1e3 * s)},{signal_at(k / 50):.7f}" for k, s in enumerate(t)]
    return (
        lines("id,attr_time,attr_x", *rows),
        "attr_time",
        ["attr_x"],
        Grid(50.0, ("x",), times=Times("ms")),
        {},
        np.arange(1500) / 50,
        50.0,
    )


def daphnet():
    """``S01R01.txt``: milliseconds from the start, cut to whole ones, 64 Hz, separated by blanks."""
    t = np.arange(2000) / 64
    rows = [f"{15 + int(1e3 * s)} {round(1000 * v)} 1" for s, v in zip(t, signal_at(t), strict=True)]
    return (
        lines(*rows),
        0,
        [1],
        Grid(64.0, ("x",), times=Times("ms"), recorded_at=64.0),
        {"sep": " ", "header": None},
        t,
        64.0,
    )


def mhealth():
    """``mHealth_subject1.log``: no times, 50 Hz, separated by tabs."""
    t = np.arange(1000) / 50
    return (
        lines(*(f"{v:.6f}\t0" for v in signal_at(t))),
        None,
        [0],
        Grid(25.0, ("x",), recorded_at=50.0),
        {"sep": "\t", "header": None},
        t,
        50.0,
    )


def sensor_logger():
    """``Accelerometer.csv``: nanoseconds since 1970 and seconds since the start, about 100 Hz."""
    t = np.arange(2000) * 0.009973
    rows = [f"{1612345678901234567 + round(1e9 * s)},{s:.6f},{v:.9f}" for s, v in zip(t, signal_at(t), strict=True)]
    return (
        lines("time,seconds_elapsed,z", *rows),
        "time",
        ["z"],
        Grid(100.0, ("x",), times=Times("ns")),
        {},
        t,
        1 / 0.009973,
    )


def apple_watch():
    """Heart rate of ``export.xml`` as a table: dates with an offset that changes with summer time, every 5 s."""
    t = np.arange(720) * 5.0
    stamps = (pd.Timestamp("2020-03-08 09:30:00", tz="UTC") + pd.to_timedelta(t, "s")).tz_convert("America/Los_Angeles")
    rows = [f"{s:%Y-%m-%d %H:%M:%S %z},{v:.6f}" for s, v in zip(stamps, signal_at(t / 50), strict=True)]
    return lines("startDate,value", *rows), "startDate", ["value"], Grid(1.0, ("x",), times=Times("iso")), {}, t, 0.2


def geneactiv():
    """CSV of the GENEActiv software: milliseconds after a colon, 85.7 Hz."""
    t = np.arange(2000) / 85.7
    stamps = (pd.Timestamp("2012-05-22 11:10:00") + pd.to_timedelta(t, "s")).strftime("%Y-%m-%d %H:%M:%S:%f")
    rows = [f"{s[:-3]},{v:.4f},24,0" for s, v in zip(stamps, signal_at(t), strict=True)]
    return lines(*rows), 0, [1], Grid(50.0, ("x",), times=Times("%Y-%m-%d %H:%M:%S:%f")), {"header": None}, t, 85.7


LAYOUTS = [
    pamap2,
    wisdm,
    extrasensory,
    hhar,
    axivity,
    actigraph,
    capture24,
    empatica,
    realworld,
    daphnet,
    mhealth,
    sensor_logger,
    apple_watch,
    geneactiv,
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("chunk", [97, 10_000])
def test_layouts(layout, chunk):
    text, time, columns, grid, csv, t, rate = layout()
    x, group, report = read(text, time, columns, grid, chunk=chunk, **csv)
    assert report.rate == pytest.approx(rate, rel=0.005)
    assert report.samples == len(t)
    assert report.gaps == report.dropped == 0
    inner = x[group != BORDER, -1]
    borders = int((group == BORDER).sum())
    if borders:
        begin = np.array([0.0, t[2000]])
        moments = np.concatenate(
            [b + np.arange((group == g).sum()) / grid.rate for b, g in zip(begin, map(ord, "ab"), strict=True)]
        )
    else:
        moments = t[0] + np.arange(len(inner)) / grid.rate
        assert abs(len(inner) - (int((t[-1] - t[0]) * grid.rate + 1e-3) + 1)) <= 1
    slow = {"extrasensory": 1 / 600, "apple_watch": 1 / 50}.get(layout.__name__, 1.0)
    scale = {"empatica": 64, "daphnet": 1000}.get(layout.__name__, 1)
    off = np.abs(inner / scale - signal_at(moments * slow))
    assert np.quantile(off, 0.95) < 0.02
    assert off.max() < 0.1
    if layout is pamap2:
        assert report.filled == {"heart": 3000 - 273}
        assert np.isfinite(x).all()


@pytest.mark.parametrize(
    ("layout", "settings", "message"),
    [
        (wisdm, {"times": Times("ms")}, r"Set time_unit: ns \(that makes 19.86 Hz\)"),
        (daphnet, {"times": Times("s"), "recorded_at": None}, r"Set time_unit: ms \(that makes 64"),
        (axivity, {"times": Times("s")}, "Set time_unit: iso"),
        (actigraph, {"times": Times("iso")}, "day_first: false reads 2018-09-17"),
        (geneactiv, {"times": Times("iso")}, r"Set time_unit: '%Y-%m-%d %H:%M:%S:%f'"),
        (hhar, {"times": Times("ns")}, r"backwards: sort .* or backwards: split"),
        (realworld, {"times": Times("ms", repeated="error")}, "Write repeated: spread"),
        (extrasensory, {"rate": 50.0}, "set recorded_at: 0.01667"),
        (sensor_logger, {"times": Times("us")}, "Set time_unit: ns"),
        (apple_watch, {"times": Times("ms")}, "Set time_unit: iso"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_layouts_read_with_the_wrong_settings(layout, settings, message):
    from dataclasses import replace

    text, time, columns, grid, csv, *_ = layout()
    with pytest.raises(InputError, match=message):
        read(text, time, columns, replace(grid, **settings), **csv)


# ---- real files -----------------------------------------------------------------------------------------------------
def test_axivity_files(recordings):
    place = recordings / "devices"
    for name, unit, channels in (
        ("ax3_testfile_unix_timestamps.csv", "s", 3),
        ("ax6_testfile_formatted_timestamps.csv", "iso", 6),
    ):
        names = tuple("abcdef"[:channels])
        text = (place / name).read_text()
        x, _, report = read(text, 0, list(range(1, channels + 1)), Grid(100.0, names, times=Times(unit)), header=None)
        frame = pd.read_csv(place / name, header=None)
        assert report.samples == len(frame) == 210
        assert report.rate == pytest.approx(100.0, rel=0.01)
        stamps = frame[0] - frame[0][0] if unit == "s" else (pd.to_datetime(frame[0]) - pd.Timestamp(frame[0][0]))
        time = stamps.to_numpy() if unit == "s" else stamps.dt.total_seconds().to_numpy()
        want = np.stack([np.interp(np.arange(len(x)) / 100, time, frame[c]) for c in range(1, channels + 1)], axis=1)
        np.testing.assert_allclose(x, want, atol=1e-5)
        assert len(x) == int(time[-1] * 100 + 1e-6) + 1


def test_actigraph_file(recordings):
    text = (recordings / "devices" / "ActiGraph13_timestamps_headers.csv").read_text()
    axes = ["axis1", "axis2", "axis3"]
    x, _, report = read(text, "TimeStamp", axes, Grid(1.0, tuple(axes), times=Times("iso")), skiprows=10)
    want = pd.read_csv(io.StringIO(text), skiprows=10)[axes].to_numpy()
    np.testing.assert_allclose(x[: len(want)], want, atol=1e-9)
    assert report.rate == pytest.approx(1.0)


def test_phone_and_watch_of_sp_sw_har(recordings):
    """Stamps of milliseconds, 8 % of the phone's twice; the rate is what samples and duration tell."""
    channels = [f"{a}_{s}" for s in ("acc", "gyro") for a in "xyz"]
    seen = {"sp": 0, "sw": 0}
    with tarfile.open(recordings / "sp_sw_har_original.tar.xz") as archive:
        for member in archive:
            device = member.name[-6:-4]
            if not member.name.endswith(".csv") or seen.get(device, 9) >= 3:
                continue
            seen[device] += 1
            text = archive.extractfile(member).read().decode()
            t = pd.read_csv(io.StringIO(text))["timestamp"].to_numpy()
            grid = Grid(100.0, tuple(channels), recorded_at=100.0, times=Times("ms"))
            x, group, report = read(text, "timestamp", channels, grid)
            assert report.rate == pytest.approx(1e3 * (len(t) - 1) / (t[-1] - t[0]), rel=0.04)
            assert report.spread == int((np.diff(t) == 0).sum())
            assert np.isfinite(x[group != BORDER]).all()
            assert report.back == 0
    assert seen == {"sp": 3, "sw": 3}
