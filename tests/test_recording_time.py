"""What a time is: columns of numbers and dates, repeated stamps, rates, gaps, and the way to a common rate."""

import tracemalloc
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import convolve1d
from scipy.signal import firwin, resample_poly

from kdlab.data.recordings.grid import Grid, regular
from kdlab.data.recordings.lowpass import BETA, lowpassed
from kdlab.data.recordings.report import TimeReport, lost_to_missing
from kdlab.data.recordings.resample import BORDER, NO_LABEL, Piece, linear, polyphase
from kdlab.data.recordings.times import Times
from kdlab.types import InputError

SIZES = [1, 7, 100, 10_000]


def cut(rows, size):
    return iter([rows.rows(slice(a, a + size)) for a in range(0, len(rows.label), size)])


def rows_of(time, signal, label=None, group=None):
    signal = np.asarray(signal, float).reshape(len(signal), -1)
    return Piece(time, signal, np.zeros(len(signal), np.int16) if label is None else label, group)


def run(time, signal, size=10_000, label=None, group=None, line=None, **settings):
    """The signal, labels and groups at 50 Hz (or ``rate``), and the report."""
    rows = rows_of(time, signal, label, group)
    channels = settings.pop("channels", tuple(f"c{i}" for i in range(rows.signal.shape[1])))
    times = {k: settings.pop(k) for k in ("unit", "zone", "day_first", "repeated", "backwards") if k in settings}
    grid = Grid(settings.pop("rate", 50.0), channels, times=Times(**times), **settings)
    report = TimeReport(channels)
    out = list(regular(cut(rows, size), grid, "a.csv", report, line=line))
    assert all(p.time is None for p in out)
    return *(np.concatenate([getattr(p, k) for p in out]) for k in ("signal", "label", "group")), report


def seconds(column, *chunks, **settings):
    clock = Times(**settings).clock("a.csv")
    return np.concatenate([clock.seconds(part, 2) for part in (column, *chunks)])


def joined(result):
    result = list(result)
    return np.concatenate([p.signal for p in result]), np.concatenate([p.label for p in result])


# ---- columns --------------------------------------------------------------------------------------------------------
def test_epoch_nanoseconds_are_exact():
    stamps = 1_525_704_421_000_000_000 + np.arange(2000) * 50_000_001
    want = np.arange(2000) * 0.050000001
    for column in (stamps, stamps.astype(np.uint64), stamps.astype(str), pd.Series(stamps), stamps.astype(object)):
        np.testing.assert_allclose(seconds(column, unit="ns"), want, rtol=0, atol=1e-12)
    as_float = (stamps.astype(float) - float(stamps[0])) / 1e9  # what it would be as floats
    assert np.abs(as_float - want).max() > 1e-7
    halves = seconds(stamps[:1000], stamps[1000:], unit="ns")
    np.testing.assert_array_equal(halves, seconds(stamps, unit="ns"))


@pytest.mark.parametrize(("unit", "second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_units(unit, second):
    stamps = 1_600_000_000 * second + np.arange(100) * second // 50 * (50 if unit == "s" else 1)
    got = seconds(stamps, unit=unit)
    np.testing.assert_allclose(got, (stamps - stamps[0]) / second, rtol=0, atol=1e-12)
    np.testing.assert_allclose(seconds(stamps.astype(float), unit=unit), got, atol=1e-6)


def test_the_origin_is_the_same_for_a_second_table():
    clock = Times("ms").clock("a.csv")
    clock.seconds(np.array([1000, 1020]))
    np.testing.assert_allclose(Times("ms").clock("labels.csv", clock.origin).seconds(["500", "4000"]), [-0.5, 3.0])
    dates = Times("iso").clock("a.csv")
    dates.seconds(["2020-03-01 10:00:00.5"])
    assert dates.origin == 1583056800500000000
    assert Times("iso").clock("b.csv", dates.origin).seconds(["2020-03-01 10:00:02"]).tolist() == [1.5]


def python_seconds(cells, form):
    found = [datetime.strptime(cell, form) for cell in cells]
    return [(moment - found[0]).total_seconds() for moment in found]


@pytest.mark.parametrize(
    ("cells", "settings", "form"),
    [
        (["2015-06-05 10:36:38.610", "2015-06-05 10:36:38.620"], {}, "%Y-%m-%d %H:%M:%S.%f"),
        (["2016-11-13 02:18:00.000000", "2016-11-13 02:18:00.010000"], {}, "%Y-%m-%d %H:%M:%S.%f"),
        (["2013-08-26T09:00:00", "2013-08-26T09:00:15"], {}, "%Y-%m-%dT%H:%M:%S"),
        (["20191223T210406", "20191223T210407"], {}, "%Y%m%dT%H%M%S"),
        (["2017-09-12T15:00:00Z", "2017-09-12T15:00:01Z"], {}, "%Y-%m-%dT%H:%M:%SZ"),
        (["2020-03-05 14:05:59 -0800", "2020-03-06 00:06:00 +0200"], {}, "%Y-%m-%d %H:%M:%S %z"),
        (["2020-03-05 14:05:59-08", "2020-03-05 14:06:00-08"], {}, None),
        (["2020-03-05 14:05:59 UTC", "2020-03-05 14:06:00 UTC"], {}, "%Y-%m-%d %H:%M:%S UTC"),
        (["2020-03-05 14:05:59,250", "2020-03-05 14:06:00,750"], {}, "%Y-%m-%d %H:%M:%S,%f"),
        (["9/17/2018 08:00:00.000", "9/17/2018 08:00:00.033"], {"day_first": False}, "%m/%d/%Y %H:%M:%S.%f"),
        (["03/04/2020 23:59:59", "04/04/2020 00:00:01"], {"day_first": True}, "%d/%m/%Y %H:%M:%S"),
        (["03/04/2020 23:59:59", "03/05/2020 00:00:01"], {"day_first": False}, "%m/%d/%Y %H:%M:%S"),
        (["26.8.2013 09:00:00.5", "26.8.2013 09:00:01.5"], {"day_first": True}, "%d.%m.%Y %H:%M:%S.%f"),
        (["8/26/2013 11:59:59 AM", "8/26/2013 12:00:00 PM"], {"day_first": False}, "%m/%d/%Y %I:%M:%S %p"),
        (["03-04-2020T10:00:00 +0100", "03-04-2020T10:00:01 +0100"], {"day_first": True}, "%d-%m-%YT%H:%M:%S %z"),
        (["2010-10-20 20:17:16:500", "2010-10-20 20:17:17:000"], {"unit": "%Y-%m-%d %H:%M:%S:%f"}, None),
        (["26.08.2013 09:00:00,5", "26.08.2013 09:00:02,0"], {"unit": "%d.%m.%Y %H:%M:%S,%f"}, "%d.%m.%Y %H:%M:%S,%f"),
        (["26/08/13 09:00:00", "26/08/13 09:00:02"], {"unit": "%d/%m/%y %H:%M:%S"}, "%d/%m/%y %H:%M:%S"),
    ],
)
def test_dates(cells, settings, form):
    settings = {"unit": "iso", **settings}
    want = (
        [0.0, {"%Y-%m-%d %H:%M:%S:%f": 0.5}.get(settings["unit"], 1.0)] if form is None else python_seconds(cells, form)
    )
    for column in (cells, np.array(cells), pd.Series(cells), np.array(cells, object), [c.encode() for c in cells]):
        np.testing.assert_allclose(seconds(column, **settings), want, atol=1e-9)
    np.testing.assert_allclose(seconds(cells[:1], cells[1:], **settings), want, atol=1e-9)


def test_whole_numbers_that_are_dates():
    assert seconds(np.array([20191223235959, 20191224000001]), unit="%Y%m%d%H%M%S").tolist() == [0.0, 2.0]
    with pytest.raises(InputError, match=r"must be a date .time_unit: iso., but got the number 20191223235959"):
        seconds(np.array([20191223235959]), unit="iso")


def test_midnight_without_a_time_of_day():
    cells = ["26/08/2013 23:59:59", "27/08/2013", "27/08/2013 00:00:01.25"]
    assert seconds(cells, unit="iso", day_first=True).tolist() == [0.0, 1.0, 2.25]
    assert seconds(["2013-08-26 23:59", "2013-08-27"], unit="iso").tolist() == [0.0, 60.0]


def test_pandas_and_numpy_dates():
    index = pd.date_range("2020-03-29 00:59:59", periods=5, freq="500ms")
    for column in (
        index,
        pd.Series(index),
        index.to_numpy(),
        index.tz_localize("UTC"),
        index.tz_localize("Asia/Tokyo"),
    ):
        assert seconds(column, unit="iso").tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize(
    ("column", "settings", "message"),
    [
        (
            ["03/04/2020 10:00"],
            {"unit": "iso"},
            r"line 2.*day_first: true reads 2020-04-03, day_first: false reads 2020-03-04",
        ),
        (["9/17/2018 08:00"], {"unit": "iso"}, r"but got '9/17/2018 08:00'. day_first: false reads 2018-09-17; write"),
        (["9/17/2018 08:00"], {"unit": "iso", "day_first": True}, "Set day_first: false if"),
        (["26/08/13 09:00:00"], {"unit": "iso", "day_first": True}, "year of four digits.*Set time_unit to its format"),
        (["2010-10-20 20:17:16:500"], {"unit": "iso"}, r"Set time_unit: '%Y-%m-%d %H:%M:%S:%f'"),
        (["2010-10-20 20:17:16", "x"], {"unit": "iso"}, r"a.csv, line 3: time must be a date .* but got 'x'"),
        (
            ["2010-10-20 20:17:16"],
            {"unit": "ms"},
            "must be a number .ms., but got '2010-10-20 20:17:16'. Set time_unit: iso",
        ),
        (["1.5", "walk"], {"unit": "s"}, "line 3: time must be a number .* 'walk'. Correct the cell"),
        ([1551178506.01], {"unit": "iso"}, "Set time_unit: s, which makes it 2019-02-26"),
        (["1551178506010"], {"unit": "iso"}, "Set time_unit: ms, which makes it 2019-02-26"),
        ([1.0, np.nan, np.nan], {"unit": "s"}, "line 3: time must be there for every sample, but got 2 missing"),
        ([1.0, np.inf], {"unit": "s"}, "line 3: time must be there"),
        (["1", ""], {"unit": "s"}, "line 3: time must be there"),
        ([1, None], {"unit": "s"}, "line 3: time must be there"),
        (["2010-10-20", ""], {"unit": "iso"}, "line 3: time must be there"),
        (pd.Series(["2010-10-20", None]), {"unit": "iso"}, "line 3: time must be there"),
        (["2020-01-01 10:00Z", "2020-01-01 10:01"], {"unit": "iso"}, "line 3: dates must all have an offset"),
        (np.float32([1.6e9, 1.6e9]), {"unit": "s"}, "kept exactly, but got float32, which has steps of 128 s"),
        (
            [1.7e15, 1.7e15 + 2e4],
            {"unit": "s"},
            r"\(time_unit: s\) must be .* Set time_unit: us, which makes it 2023-11-14",
        ),
        (["1400-01-01 10:00"], {"unit": "iso"}, "must lie between 1677 and 2262"),
    ],
)
def test_columns_that_are_refused(column, settings, message):
    with pytest.raises(InputError, match=message):
        seconds(column, **settings)


def test_offsets_must_stay_from_chunk_to_chunk():
    with pytest.raises(InputError, match="an offset from UTC or none, but got both"):
        seconds(["2020-01-01 10:00Z"], ["2020-01-01 10:01"], unit="iso")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unit": "min"}, "time_unit: must be one of s, ms, us, ns, iso, or a format"),
        ({"unit": "iso", "zone": "Europe/Berln"}, "zone: must be the name of a time zone, but got 'Europe/Berln'"),
        ({"unit": "iso", "zone": "../etc"}, "zone: must be the name of a time zone"),
        ({"zone": "UTC"}, "zone: must be left out with time_unit: s"),
        ({"day_first": True}, "day_first: must be left out with time_unit: s"),
        ({"repeated": "last"}, "repeated: must be one of spread, first, error, but got 'last'"),
        ({"backwards": "yes"}, "backwards: must be one of error, sort, split"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Times(**settings)


# ---- daylight saving time -------------------------------------------------------------------------------------------
def shown(zone, begin, steps, every):
    """What a clock on the wall shows every some seconds from a moment in UTC on, and the seconds."""
    elapsed = np.arange(steps) * every
    start = datetime.fromisoformat(begin).replace(tzinfo=UTC).timestamp()
    wall = [
        datetime.fromtimestamp(start + s, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S.%f") for s in elapsed.tolist()
    ]
    return wall, elapsed


@pytest.mark.parametrize("size", [1, 13, 10_000])
@pytest.mark.parametrize(
    ("zone", "begin", "steps", "every"),
    [
        ("Europe/Berlin", "2019-10-26 23:50:00", 400, 20.0),  # back at 01:00 UTC
        ("Europe/Berlin", "2019-03-31 00:50:00", 300, 5.0),  # forward
        ("America/New_York", "2020-11-01 04:00:00", 200, 60.0),
        ("Australia/Lord_Howe", "2019-04-06 14:00:00", 200, 30.0),  # by half an hour
        ("Europe/Berlin", "2019-10-26 22:00:00", 40, 900.0),
    ],
)
def test_daylight_saving_time_by_zone(size, zone, begin, steps, every):
    wall, want = shown(zone, begin, steps, every)
    got = seconds(*(wall[a : a + size] for a in range(0, steps, size)), unit="iso", zone=zone)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_offsets_across_the_change():
    cells = ["2019-10-27T02:59:59+02:00", "2019-10-27T02:00:00+01:00", "2019-10-27T02:00:01+01:00"]
    assert seconds(cells, unit="iso").tolist() == [0.0, 1.0, 2.0]
    index = pd.date_range("2019-10-27 00:59:59", periods=3, freq="s", tz="UTC").tz_convert("Europe/Berlin")
    assert seconds(index, unit="iso").tolist() == [0.0, 1.0, 2.0]


def test_the_hour_that_occurs_twice_without_a_zone():
    wall, _ = shown("Europe/Berlin", "2019-10-26 23:59:50", 1000, 5.0)
    with pytest.raises(InputError, match=r"3595 s back .* daylight saving time \(declare zone:"):
        run(seconds(wall, unit="iso"), np.zeros(1000), unit="iso", rate=0.2)
    time = seconds(wall, unit="iso", zone="Europe/Berlin")
    assert run(time, np.zeros(1000), unit="iso", zone="Europe/Berlin", rate=0.2)[3].back == 0


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["2019-10-27 02:30:00"], "line 2: time must be known, but got 2019-10-27 02:30:00, which occurs twice"),
        (
            ["2019-10-27 01:00:00", "2019-10-27 01:00:01", "2019-10-27 02:30:00"],
            "line 4.*right after the start or a gap",
        ),
        (["2019-03-31 02:30:00"], "line 2: time must exist in zone: Europe/Berlin"),
    ],
)
def test_times_that_a_zone_leaves_open(cells, message):
    with pytest.raises(InputError, match=message):
        seconds(cells, unit="iso", zone="Europe/Berlin")


# ---- repeated stamps ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
def test_a_coarse_clock_is_spread(size):
    """50 Hz and a clock of 0.1 s: all five samples of a stamp count."""
    true = np.arange(1003) / 50
    x = np.stack([np.sin(2 * np.pi * 3 * true), true], axis=1)
    label = (np.arange(1003) // 70).astype(np.int16)
    got, codes, group, report = run(np.floor(true * 10 + 1e-9) / 10, x, size, label)
    np.testing.assert_allclose(got, x, atol=1e-9)
    np.testing.assert_array_equal(codes, label)
    assert not group.any()
    assert (report.spread, report.dropped, report.gaps, report.samples) == (802, 0, 0, 1003)
    assert report.rate == pytest.approx(50.0)


@pytest.mark.parametrize("size", SIZES)
def test_a_clock_of_seconds(size):
    """85.7 Hz and a clock of seconds; the first and the last second are not complete."""
    true = 7.4 + np.arange(2000) / 85.7
    x = np.sin(2 * np.pi * 1.5 * true)
    got, _, _, report = run(np.floor(true), x, size, rate=100.0)
    moments = true[0] + np.arange(len(got)) / 100
    inner = slice(20, -100)
    np.testing.assert_allclose(
        got[inner, 0], np.sin(2 * np.pi * 1.5 * moments)[inner], atol=9.5 * 2 / 85.7
    )  # two samples
    assert report.gaps == 0
    assert report.rate == pytest.approx(85.7, rel=0.01)


def test_spread_is_that_of_the_equation():
    """n samples at t go to t + k (u - t) / n for the next stamp u; the last ones are as far apart as those before."""
    time = np.repeat([0.0, 0.1, 0.22, 0.3], [5, 4, 5, 3])
    begin, step, count = [0.0, 0.1, 0.22, 0.3], [0.02, 0.03, 0.016, 0.016], [5, 4, 5, 3]
    want = np.concatenate([b + s * np.arange(n) for b, s, n in zip(begin, step, count, strict=True)])
    x = np.random.default_rng(0).normal(size=len(time))
    for size in (1, 2, 3, 100):
        got, *_ = run(time, x, size)
        grid = np.arange(len(got)) / 50
        np.testing.assert_allclose(got[:, 0], np.interp(grid, want, x), atol=1e-9)
        assert len(got) == int(want[-1] * 50 + 1e-6) + 1


@pytest.mark.parametrize("size", SIZES)
def test_a_stamp_before_a_gap_is_not_stretched_over_it(size):
    true = np.concatenate([np.arange(500) / 50, 40 + np.arange(500) / 50])
    x = np.arange(1000.0)
    got, _, group, report = run(np.floor(true * 10 + 1e-9) / 10, x, size)
    np.testing.assert_allclose(got[:, 0], [*range(500), np.nan, *range(500, 1000)], atol=1e-6)
    assert np.flatnonzero(group == BORDER).tolist() == [500]
    assert report.gaps == 1
    assert report.longest_gap == pytest.approx(30.02)
    lost = np.delete(np.arange(1000), np.arange(303, 322))  # 19 samples: less than max_gap
    got, _, _, report = run(np.floor(lost / 50 * 10 + 1e-9) / 10, lost.astype(float), size)
    np.testing.assert_allclose(got[:, 0], np.arange(1000.0), atol=1e-6)


STAMPS_AND_GAPS = {  # samples that are there, 10 to a tick of the clock, and where they go
    "a part of a tick, then a gap": ([(0, 5), (6000, 6100)], [0, 6000]),
    "a tick, then a gap": ([(0, 10), (6000, 6100)], [0, 6000]),
    "a tick between two gaps": ([(0, 100), (200, 210), (6000, 6100)], [0, 200, 6000]),
    "a part of a tick between two gaps": ([(0, 100), (204, 209), (6000, 6100)], [0, 200, 6000]),
    "a part of a tick after a gap": ([(7, 100), (206, 300)], [7, 206]),
    "two parts of a tick, then a gap": ([(8, 14), (6000, 6100)], [0, 10, 6000]),
    "a part of a tick before a gap": ([(0, 95), (6000, 6100)], [0, 6000]),
    "one tick is missing": ([(0, 50), (60, 160)], [0, 60]),
    "one tick after the first is missing": ([(0, 10), (20, 160)], [0, 20]),
    "two ticks are missing": ([(0, 50), (70, 77)], [0, 70]),
}


@pytest.mark.parametrize("tick", [0.1, 1.0, 60.0])
@pytest.mark.parametrize("case", STAMPS_AND_GAPS)
def test_samples_of_a_stamp_stay_on_their_side_of_a_gap(case, tick):
    parts, begins = STAMPS_AND_GAPS[case]
    true = np.concatenate([np.arange(*part) for part in parts])
    x = true.astype(float)
    cuts = np.flatnonzero(np.diff(true, prepend=-9) > 1)
    if len(cuts) < len(begins):  # two stamps of which it is not known that they touch
        cuts = np.flatnonzero(np.diff(true // 10, prepend=-9))[: len(begins)]
    want = [value for part in np.split(x, cuts[1:]) for value in (*part, np.nan)][:-1]
    for size in (1, 3, 10_000):
        time = true // 10 * tick
        got, _, group, report = run(time, x, size, rate=10 / tick, max_gap=0.35 * tick)
        np.testing.assert_allclose(got[:, 0], want, atol=1e-6)
        assert (group == BORDER).sum() == report.gaps == len(begins) - 1
        assert [moment for _, moment in report.starts] == pytest.approx(
            [(begin - true[0] // 10 * 10) * tick / 10 + time[0] for begin in begins]
        )
        if tick == 1.0:
            first = run(time, x, size, rate=1.0, repeated="first")[0][:, 0]
            assert set(first[np.isfinite(first)].tolist()) >= {x[0], x[cuts[-1]]}


def test_first_and_error():
    time, x = np.repeat(np.arange(200) / 10, 5), np.arange(1000.0)
    for size in SIZES:
        got, _, _, report = run(time, x, size, repeated="first", rate=10.0)
        np.testing.assert_allclose(got[:, 0], np.arange(200) * 5)
        assert (report.dropped, report.spread) == (800, 0)
        assert report.rate == pytest.approx(10.0)
        with pytest.raises(InputError, match=r"a.csv, line 3: time stamps must differ.*Write repeated: spread"):
            run(time, x, size, repeated="error", line=2)
    unique = np.concatenate([np.arange(30) / 10, [2.9]])
    for size in SIZES:
        with pytest.raises(InputError, match=r"a.csv, sample 30: time stamps must differ"):
            run(unique, np.zeros(31), size, repeated="error")


def test_one_stamp_for_everything_is_refused():
    for size in SIZES:
        with pytest.raises(InputError, match=r"one time stamp for all of 300 samples. Leave time out and declare"):
            run(np.full(300, 5.0), np.zeros(300), size)
    assert run(np.array([5.0]), np.array([3.0]))[0].tolist() == [[3.0]]


def test_rows_that_were_written_twice_are_told():
    true = np.repeat(np.arange(500) / 50, 2)
    x = np.repeat(np.random.default_rng(0).normal(size=(500, 3)), 2, axis=0)
    *_, report = run(true, x, 50, rate=100.0)
    assert report.equal == 500
    assert "500 samples have the time stamp and the values of the sample before" in report.warnings[0]
    assert run(true, x, 50, repeated="first")[3].rate == pytest.approx(50.0)


# ---- the rate -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("time", "rate"),
    [
        (np.arange(3000) / 50, 50.0),
        (np.round(np.arange(3000) / 85.7, 3), 85.7),  # a clock of milliseconds
        (np.floor(np.arange(3000) / 100 / 0.0156) * 0.0156, 100.0),  # a clock of 15.6 ms
        (np.arange(3000) / 50 + np.repeat(np.arange(30) * 60.0, 100), 50.0),  # gaps
        (np.delete(np.arange(3000), np.arange(0, 3000, 20)) / 50, 50.0),  # one sample in 20 is lost
        (np.arange(3000) // 5 * 0.05 + np.arange(3000) % 5 * 0.001, 100.0),  # bursts of 5 samples every 50 ms
        (np.arange(300) * 60.0, 1 / 60),
        (np.cumsum(np.random.default_rng(0).normal(0.02, 0.003, 3000)), 50.0),
    ],
)
def test_the_rate_is_found(time, rate):
    *_, report = run(time, np.arange(len(time)), rate=rate * 1.2, recorded_at=rate * 1.04)
    assert report.rate == pytest.approx(rate, rel=0.03)
    assert not report.warnings


def test_milliseconds_on_seconds_name_the_unit():
    """Today one sample in a thousand would be read."""
    stamps = 1551178506.0 + np.arange(1000) / 100
    with pytest.raises(
        InputError,
        match=r"a.csv: the rate of the time stamps \(time_unit: ms\) must be within a factor of 20 of "
        r"sampling_rate=100 Hz, but got 1e\+05 Hz. Set time_unit: s \(that makes 100 Hz\), or set recorded_at: 1e\+05",
    ):
        run(seconds(stamps, unit="ms"), np.zeros(1000), rate=100.0, unit="ms")
    for wrong, right, scale in (("s", "ms", 1e3), ("s", "ns", 1e9), ("us", "ns", 1e9), ("ns", "ms", 1e3)):
        column = np.round(np.arange(1000) / 50 * scale)
        with pytest.raises(InputError, match=rf"Set time_unit: {right} \(that makes 50 Hz\)"):
            run(seconds(column, unit=wrong), np.zeros(1000), unit=wrong)
    with pytest.raises(InputError, match=r"but got 0.01667 Hz. Set recorded_at: 0.01667 if"):
        run(np.arange(100) * 60.0, np.zeros(100), unit="iso")


def test_the_rate_is_held_against_recorded_at():
    time, x = np.arange(1000) / 100, np.zeros(1000)
    assert run(time, x, recorded_at=100.0)[3].warnings == []
    assert run(time, x, recorded_at=96.0)[3].warnings == []
    (warning,) = run(time, x, recorded_at=90.0)[3].warnings
    assert warning == (
        "a.csv: 100 Hz were found, 11.1 % above recorded_at=90; set recorded_at: 100 if that is the rate"
    )
    for declared in (50.0, 201.0):
        with pytest.raises(
            InputError, match=r"within a factor of 2 of recorded_at=.* but got 100 Hz. Set recorded_at: 100"
        ):
            run(time, x, recorded_at=declared)
    assert run(np.arange(100) * 60.0, np.zeros(100), rate=1.0, recorded_at=1 / 60)[3].gaps == 0


def test_a_rate_that_changes_later_is_found_at_the_end():
    time = np.concatenate([np.arange(20_000) / 100, 200 + np.arange(20_000) / 400])
    warning, change = run(time, np.zeros(40_000), rate=100.0, recorded_at=100.0)[3].warnings
    assert "160 Hz were found, 60.0 % above recorded_at=100" in warning
    assert "100 Hz were found in the first samples, but 160 Hz in all of the recording" in change
    time[20_000:] = 200 + np.arange(20_000) / 1000
    with pytest.raises(InputError, match=r"within a factor of 2 of recorded_at=82 Hz, but got 181.8 Hz"):
        run(time, np.zeros(40_000), rate=100.0, recorded_at=82.0)


def test_the_longest_gap():
    time = np.concatenate([np.arange(100), 102 + np.arange(100), 300 + np.arange(100)]) * 1.0
    got, _, group, report = run(time, np.arange(300.0), rate=1.0)  # 1 Hz: three periods are 3 s
    assert (report.max_gap, report.gaps, int((group == BORDER).sum())) == (3.0, 1, 1)
    assert len(got) == 202 + 1 + 100
    fast = np.concatenate([np.arange(100), 120 + np.arange(100), 200 + np.arange(100) + 60]) / 50
    assert run(fast, np.zeros(300))[3].max_gap == 0.5
    with pytest.raises(
        InputError, match=r"max_gap must be at least one sample period \(0.02 s at 50 Hz\), but got 0.01"
    ):
        run(fast, np.zeros(300), max_gap=0.01)
    with pytest.raises(InputError, match=r"max_gap must be at least one sample period \(1 s at 1 Hz\), but got 0.5"):
        run(None, np.zeros(30), rate=10.0, recorded_at=1.0, max_gap=0.5)


# ---- time that goes back --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
def test_time_that_goes_back_is_refused_with_both_lines_to_write(size):
    time = np.arange(1000) / 50
    time[500:] -= 1.5
    with pytest.raises(
        InputError,
        match=r"a.csv, line 502: times must not go back, but got 8.5 s after 9.98 s, 1.48 s back .*rows are out of "
        r"order.*backwards: sort .*backwards: split",
    ):
        run(time, np.zeros(1000), size, line=2)
    time[500:] -= 3600
    with pytest.raises(InputError, match=r"sample 500: .* looks as if a new session begins here"):
        run(time, np.zeros(1000), size)


@pytest.mark.parametrize("size", SIZES)
def test_small_steps_back_are_sorted(size):
    rng = np.random.default_rng(0)
    time = np.arange(2000) / 50
    order = np.argsort(time + rng.uniform(0, 1.0, 2000), kind="stable")
    x = np.sin(time)
    got, _, _, report = run(time[order], x[order], size, backwards="sort")
    np.testing.assert_allclose(got[:, 0], x, atol=1e-9)
    steps = np.diff(time[order])
    assert report.back == report.sorted == int((steps < 0).sum())
    assert report.furthest == pytest.approx(-steps.min())
    order = np.roll(np.arange(4000), 10)
    with pytest.raises(
        InputError, match=r"sample 10: with backwards: sort, .* at most 60 s, but got 79.98 s. Write backw"
    ):
        run((np.arange(4000) / 50)[order], order, size, backwards="sort")


@pytest.mark.parametrize("size", SIZES)
def test_sessions_are_split(size):
    time = np.concatenate([np.arange(300) / 50, 2 + np.arange(200) / 50, np.arange(100) / 50])
    got, _, group, report = run(time, np.arange(600.0), size, backwards="split")
    np.testing.assert_allclose(got[:, 0], [*range(300), np.nan, *range(300, 500), np.nan, *range(500, 600)], atol=1e-9)
    assert np.flatnonzero(group == BORDER).tolist() == [300, 501]
    assert (report.back, report.sessions) == (2, 2)
    assert report.furthest == pytest.approx(5.98)


def test_a_clock_without_dates_at_midnight():
    cells = ["23:59:59.98", "00:00:00.00", "00:00:00.02"]
    with pytest.raises(InputError, match="passed midnight and the column holds no date"):
        run(seconds(cells, unit="%H:%M:%S.%f"), np.zeros(3), unit="%H:%M:%S.%f")


# ---- groups ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("timed", [True, False])
def test_a_grid_never_spans_two_groups(size, timed):
    time = np.concatenate([np.arange(200) / 100, 2 + np.arange(200) / 100, np.arange(200) / 100])
    group = np.repeat([4, 7, 4], 200)
    x = np.repeat([1.0, 5.0, 2.0], 200)
    for rate in (100.0, 150.0, 50.0):
        got, label, codes, _ = run(time if timed else None, x, size, None, group, rate=rate, recorded_at=100.0)
        edges = np.flatnonzero(codes == BORDER)
        assert len(edges) == 2
        assert np.isnan(got[edges]).all()
        assert (label[edges] == NO_LABEL).all()
        for code, value, part in zip((4, 7, 4), (1.0, 5.0, 2.0), np.split(np.arange(len(got)), edges), strict=True):
            inner = part[1:] if part[0] else part
            np.testing.assert_allclose(got[inner], value, rtol=1e-12)
            assert (codes[inner] == code).all()
            assert len(inner) == {100.0: 200, 150.0: 299, 50.0: 100}[rate]


def test_people_whose_rows_alternate_are_refused():
    with pytest.raises(InputError, match=r"must stand together, but got 1999 changes in 2000 rows. Sort the file"):
        run(np.repeat(np.arange(1000) / 50, 2), np.zeros(2000), group=np.arange(2000) % 2)


# ---- a lower rate ---------------------------------------------------------------------------------------------------
def amplitude(signal, frequency, rate):
    """Of a sine, by least squares away from the ends."""
    inner = np.arange(len(signal))[len(signal) // 5 : -len(signal) // 5]
    turn = 2 * np.pi * frequency * inner / rate
    basis = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return float(np.linalg.norm(np.linalg.lstsq(basis, signal[inner], rcond=None)[0]))


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("source", [200.0, 100.0, 85.7, 64.0, 49.97 * 1.5])
def test_a_lower_rate_has_no_aliases(source, timed):
    """Today 49 Hz at 200 Hz becomes 1 Hz at 50 Hz at full strength."""
    time = np.arange(int(30 * source)) / source
    for frequency in (0.0, 1.0, 10.0, 20.0):  # up to 0.4 of the new rate
        x = np.cos(2 * np.pi * frequency * time + 0.3)
        got, _, _, report = run(time if timed else None, x, rate=50.0, recorded_at=source)
        moments = np.arange(len(got)) / 50
        inner = slice(50, -50)
        np.testing.assert_allclose(
            got[inner, 0], np.cos(2 * np.pi * frequency * moments + 0.3)[inner], atol=1e-3
        )  # no delay, and the amplitude within 0.1 %
        assert report.filtered
    for frequency in (25.0, 26.0, 31.0, 45.0, 49.0, 70.0, 99.0):
        if frequency < source / 2:
            got, *_ = run(time if timed else None, np.cos(2 * np.pi * frequency * time), rate=50.0, recorded_at=source)
            assert np.abs(got[50:-50]).max() < 1e-3  # 60 dB
    high = np.cos(2 * np.pi * 0.24 * source * time)  # at the ends, where the first value is held
    if 0.24 * source >= 25.0:
        got, *_ = run(time if timed else None, high, rate=50.0, recorded_at=source)
        assert np.abs(got).max() < 0.51
    plain = np.cos(2 * np.pi * 49 * np.arange(6000) / 200)[::4]
    assert amplitude(plain, 1.0, 50.0) == pytest.approx(1.0)  # what it was


@pytest.mark.parametrize(("source", "rate"), [(200, 50), (100, 50), (100, 20)])
def test_the_low_pass_is_that_of_scipy(source, rate):
    """At whole ratios: scipy's Kaiser low-pass with the edges held, and every n-th sample."""
    x = np.random.default_rng(0).normal(5, 1, (3000, 2))
    ratio = source // rate
    taps = firwin(2 * 22 * ratio + 1, 0.45 * rate, window=("kaiser", BETA), fs=source)
    want = convolve1d(x, taps, axis=0, mode="nearest")[::ratio]
    for time in (None, np.arange(3000) / source):
        got, *_ = run(time, x, rate=float(rate), recorded_at=float(source))
        np.testing.assert_allclose(got, want, atol=1e-6)


def direct(time, x, moments, rate):
    """The low-pass of samples without holes, written from its equation, one moment after the other."""
    half = 22 / rate
    period = float(np.mean(np.diff(time)))
    edge = np.arange(1, 3 * int(half / period)) * period
    t = np.concatenate([time[0] - edge[::-1], time, time[-1] + edge])
    v = np.concatenate([np.full(len(edge), x[0]), x, np.full(len(edge), x[-1])])
    out = []
    for moment in moments:
        near = np.flatnonzero(np.abs(t - moment) <= half * (1 + 1e-9))
        tau = moment - t[near]
        window = np.i0(BETA * np.sqrt(np.maximum(0, 1 - (tau / half) ** 2))) / np.i0(BETA)
        weight = np.sinc(0.9 * rate * tau) * window * (t[near + 1] - t[near - 1]) / 2
        out.append(weight @ v[near] / weight.sum())
    return np.array(out)


def test_the_low_pass_is_its_equation_at_any_times():
    rng = np.random.default_rng(0)
    time = np.arange(800) / 85.7 + rng.uniform(-0.003, 0.003, 800)
    x = rng.normal(size=800)
    got, *_ = run(time, x)
    moments = time[0] + np.arange(len(got)) / 50
    np.testing.assert_allclose(got[:, 0], direct(time, x, moments, 50.0), atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_the_low_pass_does_not_depend_on_the_pieces(size):
    rng = np.random.default_rng(0)
    time = np.cumsum(rng.choice([0.006, 0.01, 0.013, 0.06], p=[0.3, 0.3, 0.38, 0.02], size=3000))
    time[1000:] += 9.0
    x, label = rng.normal(size=(3000, 2)), (np.arange(3000) // 70).astype(np.int16)
    x[rng.integers(3000, size=40), 0] = np.nan
    x[1500:1700, 1] = np.nan
    want = run(time, x, 10**6, label, rate=40.0)
    got = run(time, x, size, label, rate=40.0)
    for one, other in zip(got[:3], want[:3], strict=True):
        np.testing.assert_array_equal(one, other)
    assert got[3].as_dict() == {
        **want[3].as_dict(),
        **{k: pytest.approx(getattr(want[3], k)) for k in ("seconds", "rate")},
    }
    assert want[3].gaps == 1


def test_missing_samples_stay_missing_and_do_not_spread():
    time = np.arange(2000) / 100
    x = np.stack([np.sin(time), np.cos(time)], axis=1)
    clean, *_ = run(time, x)
    x[500, 0] = np.nan
    x[1000:1200, 1] = np.nan
    got, *_ = run(time, x)
    assert np.flatnonzero(np.isnan(got[:, 0])).tolist() == [250]
    assert np.flatnonzero(np.isnan(got[:, 1])).tolist() == list(range(500, 600))
    np.testing.assert_allclose(got[:245, 0], clean[:245, 0], atol=1e-3)
    np.testing.assert_array_equal(got[700:, 1], clean[700:, 1])
    alone, *_ = run(time[:1000], x[:1000, 1])  # before a long hole: as if the recording ended there
    np.testing.assert_allclose(got[:500, 1], alone[:500, 0], atol=1e-12)


def test_labels_hold_until_the_next_sample():
    label = (np.arange(2000) // 33).astype(np.int16)
    _, codes, *_ = run(np.arange(2000) / 100, np.zeros(2000), label=label, rate=40.0)
    np.testing.assert_array_equal(codes, label[np.floor(np.arange(len(codes)) * 2.5 + 1e-9).astype(int)])


def test_rates_that_are_nearly_equal_are_interpolated():
    time = np.arange(3000) / 49.97
    got, _, _, report = run(time, np.sin(time))
    assert not report.filtered
    np.testing.assert_allclose(got[:, 0], np.interp(np.arange(len(got)) / 50, time, np.sin(time)), atol=1e-9)
    with pytest.raises(InputError, match="sample 1: the time goes back"):
        list(lowpassed(iter([rows_of(np.array([1.0, 0.5]), np.zeros(2))]), 100.0, 50.0, 0.5, "p"))


# ---- channels of different rates ------------------------------------------------------------------------------------
def heart_rate_table(rows=3000):
    """Heart rate at 1 Hz beside acceleration at 50 Hz: 49 of 50 cells are empty."""
    time = np.arange(rows) / 50
    x = np.stack([np.sin(time), np.full(rows, np.nan)], axis=1)
    x[10::50, 1] = 60 + np.arange(len(x[10::50])) % 7
    return time, x


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("timed", [True, False])
def test_fill_is_that_of_pandas(size, timed):
    time, x = heart_rate_table()
    x[1010:1160:50, 1] = np.nan  # for 4 s there is none
    hr = pd.Series(x[:, 1])
    got, _, _, report = run(
        time if timed else None, x, size, channels=("acc", "hr"), fill={"hr": "previous"}, fill_max=1.5
    )
    np.testing.assert_allclose(got[:, 1], hr.ffill(limit=75).to_numpy(), atol=1e-9)
    np.testing.assert_array_equal(got[:, 0], x[:, 0])
    want = int(hr.ffill(limit=75).notna().sum() - hr.notna().sum())
    assert (report.filled, report.missing) == ({"hr": want}, {"acc": 0, "hr": 3000 - want - int(hr.notna().sum())})
    got, _, _, report = run(
        time if timed else None, x, size, channels=("acc", "hr"), fill={"hr": "linear"}, fill_max={"hr": 2.0}
    )
    want = hr.interpolate(limit_area="inside").to_numpy().copy()
    want[961:1160] = np.nan
    np.testing.assert_allclose(got[:, 1], want, atol=1e-9)
    assert report.filled == {"hr": int(np.isfinite(want).sum() - hr.notna().sum())}


def test_sensors_in_rows_of_their_own():
    """A long table of two sensors: each fills the rows of the other."""
    time = np.sort(np.concatenate([np.arange(500) / 50, np.arange(10) + 0.013]))
    fast = np.isin(time, np.arange(500) / 50)
    x = np.full((510, 2), np.nan)
    x[fast, 0], x[~fast, 1] = np.sin(time[fast]), np.arange(10)
    got, *_, report = run(time, x, channels=("acc", "hr"), fill={"acc": "linear", "hr": "previous"})
    grid = np.arange(len(got)) / 50
    np.testing.assert_allclose(got[:, 0], np.interp(grid, time[fast], np.sin(time[fast])), atol=1e-9)
    assert report.filled == {"acc": 10, "hr": 499}
    assert np.isfinite(got[2:]).all()


def test_no_value_is_carried_into_another_group():
    time, x = heart_rate_table(200)
    got, _, group, _ = run(
        time, x, group=np.repeat([0, 1], [65, 135]), channels=("acc", "hr"), fill={"hr": "previous"}, fill_max=9.0
    )
    first = got[group == 1, 1]
    assert np.isnan(first[:45]).all()
    assert np.isfinite(first[45:]).all()


def test_what_is_lost_names_the_channel_and_the_line_to_write():
    time, x = heart_rate_table()
    *_, report = run(time, x, channels=("acc", "hr"))
    told = lost_to_missing([report, report])
    assert "channel 'hr' is missing in 98 % of the samples (one value in 1 s); write fill: {hr: previous}" in told
    assert told.endswith("fill_max: 2")
    x[:, 1] = np.nan
    assert "'hr' is missing in 100 %" in lost_to_missing([run(time, x, channels=("acc", "hr"))[3]])
    assert lost_to_missing([run(time, x[:, :1])[3]]) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fill": {"ht": "previous"}}, "fill: must name channels .c0., but got 'ht'"),
        ({"fill": {"c0": "next"}}, "fill: must be previous or linear, but got 'next' for c0"),
        ({"fill": {"c0": "linear"}, "fill_max": 0.0}, "fill_max: must be a finite number above 0, but got 0.0"),
        ({"fill": {"c0": "linear"}, "fill_max": {}}, "fill_max: must give every channel of fill a time"),
        ({"max_gap": -1.0}, "max_gap: must be a finite number above 0"),
        ({"recorded_at": np.inf}, "recorded_at: must be a finite number"),
        ({"recorded_at": "50"}, "recorded_at: must be a finite number above 0, but got '50'"),
    ],
)
def test_grids_that_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Grid(50.0, ("c0",), **settings)


# ---- piece by piece -------------------------------------------------------------------------------------------------
def difficult(rows, seed=0):
    """Late rows, repeated stamps, gaps, holes, two people, and a channel with few values."""
    rng = np.random.default_rng(seed)
    true = np.arange(rows) / 100 + np.where(np.arange(rows) > rows // 3, 7.0, 0.0)
    group = (np.arange(rows) > rows // 2).astype(int)
    order = np.argsort(np.arange(rows) + 1e6 * group + np.where(rng.uniform(size=rows) < 0.02, 9.5, 0), kind="stable")
    x = np.stack([np.sin(true), np.where(np.arange(rows) % 40 == 3, true, np.nan), rng.normal(size=rows)], axis=1)
    x[rows // 4 : rows // 4 + 30, 0] = np.nan
    label = (np.arange(rows) // 70 % 5).astype(np.int16)
    settings = {"fill": {"c1": "linear", "c2": "previous"}, "backwards": "sort", "recorded_at": 100.0}
    return (np.floor(true * 20 + 1e-9) / 20)[order], x[order], label[order], group[order], settings


@pytest.mark.parametrize("rate", [100.0, 128.0, 40.0])
@pytest.mark.parametrize("size", [1, 13, 1000])
def test_the_result_does_not_depend_on_the_pieces(size, rate):
    time, x, label, group, settings = difficult(3000)
    want = run(time, x, 10**6, label, group, rate=rate, **settings)
    got = run(time, x, size, label, group, rate=rate, **settings)
    for one, other in zip(got[:3], want[:3], strict=True):
        np.testing.assert_array_equal(one, other)
    assert want[3].back > 20
    assert want[3].gaps == 1
    assert set(want[2].tolist()) == {0, 1, BORDER}
    told, wanted = got[3].as_dict(), want[3].as_dict()
    for key in ("seconds", "rate", "rate_at_first", "longest_gap"):
        assert told.pop(key) == pytest.approx(wanted.pop(key))
    assert told == wanted


def test_memory_does_not_grow_with_the_recording():
    def peak(repeats):
        time, x, label, _, settings = difficult(2000)
        settings = {**settings, "fill": {"c1": "linear", "c2": "previous"}}

        def long():
            for k in range(repeats):
                yield Piece(time + 27.0 * k, x, label)

        grid = Grid(40.0, ("c0", "c1", "c2"), recorded_at=100.0, times=Times(backwards="sort"), fill=settings["fill"])
        for _ in regular(long(), grid, "warm.csv"):
            break
        tracemalloc.start()
        count = sum(len(piece.label) for piece in regular(long(), grid, "a.csv"))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most, count

    short, few = peak(30)
    long, many = peak(300)
    assert many > 9 * few
    assert long < 1.2 * short


def test_the_report_is_one_line():
    time = np.floor(np.arange(2000) / 100 * 10 + 1e-9) / 10
    time[1000:] += 60
    *_, report = run(time, np.zeros((2000, 1)))
    assert report.line() == (
        "2000 samples at 100 Hz (found); 1800 with a repeated time stamp spread (1800 equal to the one before); "
        "1 gaps beyond 0.5 s (longest 60.01 s); low-passed"
    )
    assert report.as_dict()["rate"] == report.rate


# ---- linear and polyphase --------------------------------------------------------------------------------------------
def pieces(size, time, signal, label):
    return cut(Piece(time, signal, label), size)


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_linear_equals_interp(size):
    rng = np.random.default_rng(0)
    time = 1.7e9 + np.cumsum(rng.choice([0.0, 0.006, 0.01, 0.013], size=900))
    x, label = rng.normal(size=(900, 2)), (np.arange(900) // 70).astype(np.int16)
    got, codes = joined(linear(pieces(size, time, x, label), 40.0, 1.0, "p"))
    moments_, first = np.unique(time, return_index=True)
    grid = time[0] + np.arange(len(got)) / 40.0
    assert len(got) == int((time[-1] - time[0]) * 40.0) + 1
    for c in range(2):
        np.testing.assert_allclose(got[:, c], np.interp(grid, moments_, x[first, c]), atol=1e-4)
    latest = np.searchsorted(moments_, grid + 1e-7, side="right") - 1
    np.testing.assert_array_equal(codes, label[first][latest])


def test_linear_refuses_time_that_goes_back():
    time = np.array([0.0, 1.0, 2.0, 1.5, 3.0])
    for size in (2, 3, 10):
        with pytest.raises(InputError, match=r"p, sample 3: the time goes back"):
            list(linear(pieces(size, time, np.zeros((5, 1)), np.zeros(5, np.int16)), 1.0, 9.0, "p"))


@pytest.mark.parametrize(("source", "rate", "up", "down"), [(100, 50, 1, 2), (100, 30, 3, 10), (50, 128, 64, 25)])
@pytest.mark.parametrize("size", [64, 100, 5000])
def test_polyphase_equals_scipy_on_the_whole(source, rate, up, down, size):
    rng = np.random.default_rng(0)
    x, label = rng.normal(5, 1, (1003, 2)), (np.arange(1003) // 50).astype(np.int16)
    got, codes = joined(polyphase(pieces(size, None, x, label), float(source), float(rate)))
    np.testing.assert_allclose(got, resample_poly(x, up, down, axis=0, padtype="edge"), rtol=1e-12)
    np.testing.assert_array_equal(codes, label[np.arange(len(got)) * down // up])
