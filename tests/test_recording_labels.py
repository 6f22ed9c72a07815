"""Labels as intervals in a table of their own."""

import logging

import numpy as np
import pytest

from kdlab.data import Intervals, RecordingDataModule
from kdlab.types import InputError, MissingFileError

RATE = 50.0


def module(root, **more):
    settings = {"channels": ["x"], "window": 10, "sampling_rate": RATE, "batch_size": 8, "agree": 1.0}
    return RecordingDataModule(
        root, cache_dir=root.parent / "kept", subject={"part": 0}, **{"time": "time", **settings, **more}
    )


def write(root, name="p1", start=1000.0, rows=500, stamps=None):
    root.mkdir(parents=True, exist_ok=True)
    time = start + np.arange(rows) / RATE if stamps is None else stamps
    lines = [f"{t:.3f},{k}" if not isinstance(t, str) else f"{t},{k}" for k, t in enumerate(np.asarray(time).tolist())]
    (root / f"{name}.csv").write_text("\n".join(["time,x", *lines]) + "\n")


def labels(root, text, name="p1_labels.csv"):
    (root / name).write_text("start,end,label\n" + text)


def words(data):
    """Sample -> label, where it has one."""
    _, stored = data._stored()
    codes = np.concatenate([one.codes() for one in stored])
    return np.array([*stored[0].labels, "?", ""])[codes].tolist()


def test_one_table_per_recording(tmp_path, caplog):
    root = tmp_path / "data"
    write(root)
    labels(root, "1002,1003.5,walk\n1000.5,1001,sit\n1003.5,1004,run\n2000,2001,walk\n")
    data = module(root, intervals={"file": "{name}_labels.csv"})
    with caplog.at_level(logging.INFO):
        got = words(data)
    time = np.arange(500) / RATE
    want = ["walk" if 2 <= t < 3.5 else "sit" if 0.5 <= t < 1 else "run" if 3.5 <= t < 4 else "" for t in time.tolist()]
    assert got == want
    assert "1 of 4 intervals have no sample of" in caplog.text
    assert "the first in line 5" in caplog.text
    assert data.load().classes == ["run", "sit", "walk"]
    assert data.load().recording.tolist() == ["p1"] * len(data.load())  # the table of labels is no recording


def test_they_are_read_again_when_they_change(tmp_path):
    root = tmp_path / "data"
    write(root)
    labels(root, "1000,1001,a\n")
    assert module(root, intervals={"file": "{name}_labels.csv"}).load().classes == ["a"]
    labels(root, "1000,1001,b\n")
    assert module(root, intervals={"file": "{name}_labels.csv"}).load().classes == ["b"]


def test_one_table_for_all(tmp_path, caplog):
    root = tmp_path / "data"
    for k, name in enumerate(("p1", "p2", "p3")):
        write(root, name, start=1000.0 * (k + 1))
    (root / "labels.csv").write_text(
        "who;from;to;what\np1;1000;1001;a\np2.csv;2000,5;2001;b\np1;1001;1002;b\n".replace(";", "\t").replace(",", ".")
    )
    columns = {"recording": "who", "start": "from", "end": "to", "label": "what", "csv": {"delimiter": "tab"}}
    data = module(root, intervals={"file": "labels.csv", **columns}, pattern=r"p\d")
    with caplog.at_level(logging.INFO):
        found = data.load()
    assert "no intervals of 1 recordings: p3" in caplog.text
    assert found.recording.tolist() == ["p1"] * 10 + ["p2"] * 2  # windows of p2 begin at multiples of ten samples
    assert [found.classes[k] for k in found.target] == ["a"] * 5 + ["b"] * 7


def test_seconds_since_the_first_sample(tmp_path):
    root = tmp_path / "data"
    write(root)
    labels(root, "0,1,a\n")
    want = ["a"] * 50 + [""] * 450
    assert words(module(root, intervals=Intervals("{name}_labels.csv", clock="start"))) == want
    assert words(module(root, intervals=Intervals("{name}_labels.csv", clock="start"), time=None)) == want
    with pytest.raises(InputError, match="clock must be start where recordings have no times"):
        words(module(root, intervals={"file": "{name}_labels.csv"}, time=None))


def test_dates_in_a_zone(tmp_path):
    """Over the night on which clocks go back, the labels follow the same clock."""
    import pandas as pd

    root = tmp_path / "data"
    stamps = pd.date_range("2023-10-29 00:59:55", periods=500, freq="20ms", tz="UTC").tz_convert("Europe/Berlin")
    write(root, stamps=[t.strftime("%Y-%m-%dT%H:%M:%S.%f%z") for t in stamps])
    labels(root, "2023-10-29T02:59:56+02:00,2023-10-29T02:00:01+01:00,night\n")
    got = words(module(root, time_unit="iso", intervals={"file": "{name}_labels.csv"}))
    assert got == [""] * 50 + ["night"] * 250 + [""] * 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1002,1001,a\n", r"labels.csv, line 2: an interval must end after it begins, but got 1002 to 1001"),
        ("1000,1002,a\n1001,1003,b\n", "line 3: intervals of different labels must not overlap, but 'b' begins before"),
        ("5000,5001,a\n", r"none of 1 has a sample of it \(the first begins 4000 s after"),
        ("1000,x,a\n", r"labels.csv, line 2: time must be a number"),
        ("1000,,a\n", "time must be there"),
        ("1000,1001\n", "line 2: expected 3 cells, got 2"),
    ],
)  # fmt: skip
def test_wrong_intervals_are_named(tmp_path, text, message):
    root = tmp_path / "data"
    write(root)
    labels(root, text)
    with pytest.raises(InputError, match=message) as refused:
        words(module(root, intervals={"file": "{name}_labels.csv"}))
    assert "\n" not in str(refused.value)


def test_intervals_of_one_label_may_overlap(tmp_path):
    root = tmp_path / "data"
    write(root)
    labels(root, "1000,1003,a\n1001,1002,a\n1002.5,1004,a\n1004,1005,b\n")
    assert words(module(root, intervals={"file": "{name}_labels.csv"})) == ["a"] * 200 + ["b"] * 50 + [""] * 250


def test_tables_that_are_not_there_or_name_nothing(tmp_path):
    root = tmp_path / "data"
    write(root)
    with pytest.raises(
        MissingFileError, match=r"the labels of .*p1.csv must be in .*p1_labels.csv', which is not there"
    ):
        module(root, intervals={"file": "{name}_labels.csv"}).load()
    (root / "all.csv").write_text("who,start,end,label\np9,1,2,a\n")
    with pytest.raises(InputError, match=r"all.csv, line 2: column 'who' must name a recording, but got 'p9'"):
        module(root, intervals={"file": "all.csv", "recording": "who"}).load()
    for one in ("a", "b"):
        write(root / one, "p1")
    (root / "all.csv").write_text("who,start,end,label\np1,1000,1001,a\n")
    found = module(root, intervals={"file": "all.csv", "recording": "who"}).load()
    assert set(found.recording.tolist()) == {"p1"}  # the path below root, not the file name of another
    (root / "p1.csv").unlink()
    with pytest.raises(InputError, match=r"'p1' is the file name of 2. Write paths below root, such as 'a/p1'"):
        module(root, intervals={"file": "all.csv", "recording": "who"}).load()


@pytest.mark.parametrize(
    ("intervals", "message"),
    [
        ({}, "intervals must be a mapping of file"),
        ({"file": "labels.csv"}, "file must hold {name}"),
        ({"file": "{name}.txt", "recording": "who"}, "file must hold {name}"),
        ({"file": "{name}.txt", "clock": "wall"}, "clock must be recording or start"),
        ({"file": "{name}.txt", "from": "a"}, "intervals must be a mapping"),
    ],
)
def test_wrong_declarations(tmp_path, intervals, message):
    with pytest.raises(InputError, match=message):
        module(tmp_path, intervals=intervals)


def test_labels_are_declared_once(tmp_path):
    with pytest.raises(InputError, match="label and intervals must not both be given"):
        module(tmp_path, intervals={"file": "{name}.txt"}, label="y")
    with pytest.raises(InputError, match="label must be the column of the labels where there are no intervals"):
        module(tmp_path, label=None)
