"""Recordings without labels: from files of devices and tables to predictions.csv, every window, gaps told."""

import csv
import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from kdlab import cli
from kdlab.callbacks.predictions import write_predictions
from kdlab.data import PredictRoot, RecordingDataModule
from kdlab.data.recordings.moments import written
from kdlab.data.recordings.predicted import _reading
from kdlab.types import InputError
from tests.device_files import cwa_by_hand

ACTFAST = importlib.util.find_spec("actfast") is not None


def tables(folder, people="ABCDEF", seconds=12, rate=50):
    """Two activities of each person, x, y, z in g."""
    rng = np.random.default_rng(0)
    for person in people:
        time = np.arange(seconds * rate) / rate
        walks = time >= seconds / 2
        x = np.where(walks[:, None], 0.8, 0.02) * np.sin(12 * time[:, None] + np.arange(3)) + [0, 0, 1]
        x += rng.normal(0, 0.02, x.shape)
        file = folder / person / "imu.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"{1700000000 + t:.2f},{a:.4f},{b:.4f},{c:.4f},{'walk' if w else 'rest'}" for t, (a, b, c), w in
                zip(time, x, walks, strict=True)]  # fmt: skip
        file.write_text("\n".join(["time,x,y,z,label", *rows]) + "\n")
    return folder


NET = {"depth": 10, "width": 1, "in_channels": 3, "num_classes": 2}
SETTINGS = {
    "channels": ["x", "y", "z"],
    "window": 50,
    "sampling_rate": 50,
    "time": "time",
    "subject": {"folder": 0},
    "units": ["g", "g", "g"],
}


def module(tmp_path, predict_root, **more):
    tables(tmp_path / "train")
    return RecordingDataModule(
        tmp_path / "train", cache_dir=tmp_path / "kept", predict_root=predict_root, **{**SETTINGS, **more}
    )


def field(tmp_path, rows, name="field/P9.csv", head="time,x,y,z"):
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([head, *rows]) + "\n")
    return file.parent


def devices():
    place = Path(os.environ.get("KDLAB_DATA", "")) / "devices"
    if not os.environ.get("KDLAB_DATA") or not place.is_dir() or not ACTFAST:
        pytest.skip("KDLAB_DATA/devices or actfast: not here")
    return place


# ---- which windows, and when ----------------------------------------------------------------------------------------
def test_every_window_and_its_moment(tmp_path):
    """Windows of each part between gaps, with the moments of its own grid; nothing is left out by label."""
    time = np.concatenate([np.arange(0, 5.2, 0.02), np.arange(9.013, 12.5, 0.02)])
    x = np.sin(time)
    folder = field(tmp_path, [f"{1700000100 + t:.3f},{v:.6f},{v:.6f},1" for t, v in zip(time, x, strict=True)])
    data = module(tmp_path, folder)
    data.setup("predict")
    batches = list(data.batches("predict"))
    index = torch.cat([b.index for b in batches]).tolist()
    assert all((b.target == -1).all() for b in batches)
    moments = data.moments_of(index)
    begin = [float(start) for _, start, _ in moments]
    rows = [k * 50 for k in range(9)]  # of the grid: 260 rows, one missing, 175 rows
    kept = [r for r in rows if not r <= 260 < r + 50 and r + 50 <= 260 + 1 + 175]
    expected = [1700000100 + (r / 50 if r < 260 else 9.013 + (r - 261) / 50) for r in kept]
    assert sum(r < 260 for r in kept) == 5
    assert begin == pytest.approx(expected, abs=2e-6)
    assert {name for name, _, _ in moments} == {"P9"}
    assert all(float(end) - float(start) == pytest.approx(1, abs=2e-6) for _, start, end in moments)
    signal = torch.cat([b.views["raw"] for b in batches])[:, 0].numpy()
    scaler = data._ready.scalers["raw"]
    moment = np.array(expected)[:, None] - 1700000100 + np.arange(50) / 50
    physical = np.interp(moment, time, x)
    windows = np.stack([physical, physical, np.ones_like(physical)], axis=1).astype(np.float32)
    assert np.abs(signal - np.asarray(scaler(windows))[:, 0]).max() < 1e-3


def test_columns_of_other_names(tmp_path):
    """A table of another program: its columns are named, in any order, and nothing else is renamed."""
    rows = [f"{k / 50:.2f},{k % 7},{-k % 5},1" for k in range(100)]
    same = module(tmp_path, field(tmp_path, rows))
    other = field(
        tmp_path, [",".join(r.split(",")[i] for i in (3, 0, 2, 1)) for r in rows], "other/P9.csv", "Z (g),time,Y,X"
    )
    columns = {"x": "X", "y": "Y", "z": "Z (g)"}
    renamed = module(tmp_path, {"root": str(other), "columns": columns})
    for data in (same, renamed):
        data.setup("predict")
    views = [torch.cat([b.views["raw"] for b in data.batches("predict")]) for data in (same, renamed)]
    assert len(views[0])
    assert torch.equal(*views)
    for wrong, said in [
        (str(other), r"one column 'x'.*; predict_root: \{root: ..., columns: \{<channel>: <column>\}\} names"),
        ({"root": str(other), "columns": {**columns, "x": "X (g)"}}, r"one column 'X \(g\)'.*columns"),
        ({"root": str(other), "columns": {"X": "x"}}, r"columns must name channels \(x, y, z\), but got 'X'"),
    ]:
        with pytest.raises(InputError, match=said):
            module(tmp_path, wrong).setup("predict")
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    np.savez(arrays / "P9.npz", x=np.zeros((100, 3), np.float32))
    for wrong, said in [
        (
            {"root": str(other), "columns": {"x": "X", "y": "X"}},
            "columns must be different .* got X, X, z",
        ),
        ({"root": str(other), "columns": {"x": "y"}}, "columns must be different .* got y, y, z"),
        ({"root": str(arrays), "columns": columns, "suffixes": [".npz"]}, r"they are of tables, but P9\.npz is none"),
    ]:
        with pytest.raises(InputError, match=said):
            module(tmp_path, wrong).setup("predict")
    with pytest.raises(InputError, match="columns must map channels to columns"):
        PredictRoot("x", columns={"x": 3})


def test_training_is_as_it_was(tmp_path):
    """Split, scaling, fingerprint and test windows do not depend on what is predicted; a fit does not read it."""
    plain, other = module(tmp_path, None), module(tmp_path, tmp_path / "nowhere")
    other.setup("fit")
    plain.setup()
    assert plain.fingerprint == other.fingerprint
    assert plain.moments_of([0, 1]) == []
    assert len(list(plain.batches("predict"))) == len(list(plain.batches("test")))
    with pytest.raises(InputError, match=r"predict_root='.*nowhere'|predict_root=.*nowhere"):
        other.batches("predict").__next__()
    with pytest.raises(InputError, match="predict_root="):
        module(tmp_path, tmp_path / "nowhere").setup("predict")


def test_gaps_are_told(tmp_path, caplog):
    caplog.set_level("INFO", logger="lightning.pytorch")
    time = np.concatenate([np.arange(0, 3, 0.02), np.arange(8, 11, 0.02)])
    folder = field(tmp_path, [f"{1700000000 + t:.2f},0,0,1" for t in time])
    field(tmp_path, ["1700000000.00,0,0,1", "1700000000.02,0,0,1"], "field/short.csv")
    module(tmp_path, folder).setup("predict")
    text = caplog.text
    assert "P9: 5 windows to predict, 1 with missing samples left out; 1 gaps: 1700000002.98 to 1700000008" in text
    assert "short: 0 windows to predict, it has 2 samples of 50" in text
    assert "2 recordings without labels, 5 windows to predict" in text


def test_what_is_other_is_declared(tmp_path):
    """Another table format, another step, another rate; a single file."""
    rows = [f"{1000 * (1700000000 + k / 100):.0f};0,5;0;1" for k in range(400)]
    folder = field(tmp_path, rows, "field/a.txt", "ms;x;y;z")
    given = {
        "root": str(folder / "a.txt"),
        "suffixes": [".txt"],
        "csv": {"delimiter": ";", "decimal": ","},
        "time": "ms",
        "time_unit": "ms",
        "recorded_at": 100,
        "step": 10,
    }
    data = module(tmp_path, given, recorded_at=50)
    data.setup("predict")
    count = len(data._ready.predict)
    moments = data.moments_of(range(count))
    assert moments[:2] == [("a", "1700000000000", "1700000001000"), ("a", "1700000000200", "1700000001200")]
    assert count == (200 - 50) // 10 + 1
    with pytest.raises(InputError, match="must be a path, or a mapping of root"):
        module(tmp_path, {"folder": "x"})
    with pytest.raises(InputError, match="step must be at least 1"):
        PredictRoot("x", step=0)


@pytest.mark.parametrize(("more", "count"), [({}, 16), ({"recorded_at": 50}, 32)])
def test_recordings_without_times_have_the_rate_that_training_declares(tmp_path, caplog, more, count):
    """The same file has the same windows as recording to predict and in training, unless another rate is declared."""
    caplog.set_level("INFO", logger="lightning.pytorch")
    for person in "ABCDEF":
        (tmp_path / "arrays" / person).mkdir(parents=True)
        x = np.sin(2 * np.pi * 5 * np.arange(1600) / 100 + ord(person))[:, None]
        np.savez(tmp_path / "arrays" / person / "a.npz", x=x, y=np.repeat(["sit", "walk"], 800))
    settings = {"channels": ["x"], "window": 50, "sampling_rate": 50, "recorded_at": 100, "subject": {"folder": 0}}
    data = RecordingDataModule(
        tmp_path / "arrays", cache_dir=tmp_path / "kept", test_subjects=["A"], **settings,
        predict_root={"root": str(tmp_path / "arrays" / "A"), **more},
    )  # fmt: skip
    data.setup()
    predicted = data._predicted.windows[:]
    assert len(predicted) == count
    assert ("1600 samples at 100 Hz (declared by the training data)" in caplog.text) == (not more)
    if not more:
        test = data.data.windows["raw"][data._ready.split.rows["test"]]
        assert np.array_equal(predicted, test)


def test_the_rate_of_recordings_with_times_is_found_whatever_training_declares(tmp_path):
    """Another device at a tenth of the rate: `recorded_at` of training is no check on it, one of its own is."""
    folder = field(tmp_path, [f"{1700000000 + k / 10:.2f},0,0,1" for k in range(100)])
    data = module(tmp_path, folder, recorded_at=50)
    data.setup("predict")
    assert len(data._predicted.windows) == 9
    with pytest.raises(InputError, match=r"factor of 2 of recorded_at=50 Hz, but got 10 Hz.*in predict_root: \{root"):
        module(tmp_path, {"root": str(folder), "recorded_at": 50}, recorded_at=50).setup("predict")


@pytest.mark.parametrize("kind", [".csv", ".npz"])
@pytest.mark.parametrize("there", [(), ("user",), ("user", "day")])
def test_columns_of_person_and_session_are_read_where_they_are(tmp_path, kind, there):
    words = {
        "user": np.repeat(["u7", "u8"], 100),
        "day": np.repeat(["am", "pm"], 100),
        "label": np.repeat([*"abab"], 50),
    }
    (tmp_path / "all").mkdir()
    (tmp_path / "new").mkdir()

    def write(file, names, who=""):
        time, x = np.arange(200) / 50, np.sin(np.arange(200))
        columns = {name: np.char.add(words[name], who) if name == "user" else words[name] for name in names}
        if kind == ".npz":
            columns = {"y" if name == "label" else name: values for name, values in columns.items()}
            np.savez(file, x=x[:, None], t=time, **columns)
            return
        rows = [",".join(map(str, row)) for row in zip(time, x, *columns.values(), strict=True)]
        file.write_text("\n".join([",".join(["t", "x", *names]), *rows]) + "\n")

    for k in range(3):
        write(tmp_path / f"all/{k}{kind}", ("user", "day", "label"), str(k))
    write(tmp_path / f"new/P9{kind}", there)
    data = RecordingDataModule(
        tmp_path / "all", channels=["x"], window=50, sampling_rate=50, time="t" if kind == ".csv" else None,
        subject={"column": "user"}, session={"column": "day"}, cache_dir=tmp_path / "kept",
        predict_root=tmp_path / "new",
    )  # fmt: skip
    data.setup("predict")
    names = {name for name, _, _ in data.moments_of(range(len(data._predicted.windows)))}
    assert names == {0: {"P9"}, 1: {"P9/u7", "P9/u8"}, 2: {"u7/am", "u8/pm"}}[len(there)]


def test_the_line_for_a_time_column_of_another_name(tmp_path):
    folder = field(tmp_path, [f"{k / 50:.2f},0,0,1" for k in range(200)], head="stamp,x,y,z")
    with pytest.raises(InputError, match=r"one column 'time'.*predict_root: \{root: ..., time: <column>\}"):
        module(tmp_path, folder).setup("predict")
    module(tmp_path, {"root": str(folder), "time": "stamp"}).setup("predict")


def test_a_form_of_ones_own_keeps_that_of_the_device(tmp_path):
    """``csv`` of recordings to predict, whose device is that of training, replaces single settings of its form."""
    given = PredictRoot("x", csv={"delimiter": ";"})
    reading = RecordingDataModule("x", device="actigraph", **SETTINGS).reading
    form = _reading(given, reading).csv
    assert (form.skip, form.delimiter) == (10, ";")


def test_hashed_names(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLAB_SALT", "a long enough salt for a test")
    folder = field(tmp_path, [f"{1700000000 + k / 50:.2f},0,0,1" for k in range(200)], "field/Jane.csv")
    data = module(tmp_path, folder, subject_ids="hashed")
    data.setup("predict")
    assert "Jane" not in str(data.moments_of([0, 1]))


def test_nothing_to_predict(tmp_path):
    folder = field(tmp_path, ["1700000000.00,0,0,1", "1700000000.02,0,0,1"])
    with pytest.raises(InputError, match="recordings must have a window of 50 samples"):
        module(tmp_path, folder).setup("predict")


def test_dates_and_zones():
    clock = {"origin": 1572136200 * 10**9, "unit": "date", "zone": "Europe/Berlin", "aware": False}  # 0:30 UTC
    assert written([0, 3600], clock) == ["2019-10-27T02:30:00.000+02:00", "2019-10-27T02:30:00.000+01:00"]
    assert written([0.0004], {**clock, "zone": None}) == ["2019-10-27T00:30:00.000"]
    assert written([0.0006], {**clock, "zone": None, "aware": True}) == ["2019-10-27T00:30:00.001+00:00"]
    assert written([1.5], {"origin": 10**15, "unit": "us"}) == ["1000000001500000"]
    assert written([1e-9], {"origin": 1700000000123456789, "unit": "ns"}) == ["1700000000123456790"]


def test_columns_of_the_file(tmp_path):
    class Known:
        classes = ("rest", "=walk")

        def moments_of(self, index):
            return [(f"-P{i}", str(i), str(i + 1)) for i in index]

    rows = {
        "index": torch.tensor([1, 0, -2]),
        "target": torch.tensor([-1, -1, -1]),
        "prediction": torch.tensor([1, 0, 0]),
        "probabilities": torch.tensor([[0.25, 0.75], [0.5, 0.5], [1, 0]]),
    }
    write_predictions(tmp_path / "p.csv", rows, Known())
    assert (tmp_path / "p.csv").read_text().splitlines() == [
        "index,recording,start,end,prediction,class,probability_rest,probability_=walk",
        "0,'-P0,0,1,0,rest,0.5,0.5",
        "1,'-P1,1,2,1,'=walk,0.25,0.75",
    ]


# ---- from a file of a device to predictions.csv ---------------------------------------------------------------------
def config(tmp_path, place):
    tables(tmp_path / "train")
    settings = {
        "data": {
            "class_path": "RecordingDataModule",
            "init_args": {**SETTINGS, "root": "train", "lenient": True, "batch_size": 8},
        },
        "model": {
            "class_path": "Supervised",
            "init_args": {"net": {"class_path": "WideResNet", "init_args": NET}},
        },
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False},
        "run": "walk/student",
    }
    (tmp_path / "walk.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "field").mkdir()
    for file in place:
        shutil.copyfile(file, tmp_path / "field" / file.name)


def test_from_device_files_to_predictions(tmp_path, monkeypatch, caplog):
    """A .cwa, a damaged one and a .bin, at other rates than the training recordings."""
    damaged = "ax3_testfile_corrupt_blocks_0_13_14_142_143_144.cwa"
    names = ["ax3_testfile.cwa", damaged, "GENEActiv_testfile.bin"]
    config(tmp_path, [devices() / name for name in names])
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", logger="lightning.pytorch")
    cli.run(["fit", "--config", "walk.yaml"])
    words = ["predict", "--config", "walk.yaml", "--ckpt_path", "runs/walk/student"]
    cli.run([*words, "--data.predict_root", "field"])
    version = tmp_path / "runs/walk/student/version_0"
    with (version / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "index", "recording", "start", "end", "prediction", "class", "probability_rest", "probability_walk",
    ]  # fmt: skip
    assert [int(row["index"]) for row in rows] == list(range(len(rows)))
    mine = [row for row in rows if row["recording"] == "ax3_testfile"]
    known = cwa_by_hand(devices() / names[0])
    last = known["first"][-1] + (known["count"][-1] - 1) * 10**7
    samples = int((last - known["first"][0]) / 1e9 * 50 + 1e-6) + 1
    begin = known["first"][0] + np.arange(samples // 50) * 10**9  # of every window, by hand
    rounded = ((begin + 500_000) // 10**6 * 10**6).astype("datetime64[ns]").astype("datetime64[ms]")
    assert [row["start"] for row in mine] == [str(moment) for moment in rounded]
    assert [row["end"] for row in mine[:-1]] == [row["start"] for row in mine[1:]]
    hurt = [row for row in rows if row["recording"] == Path(damaged).stem]
    assert 0 < len(hurt) < len(mine)
    starts = np.array([row["start"] for row in hurt], "datetime64[ms]").astype(np.int64)
    assert (np.diff(starts) > 1100).sum() == 1  # the gap of sectors 13 and 14, in which no window is
    assert {row["start"][:10] for row in rows if row["recording"] == "GENEActiv_testfile"} == {"2013-05-30"}
    for row in rows:
        p = [float(row["probability_rest"]), float(row["probability_walk"])]
        assert sum(p) == pytest.approx(1, abs=1e-5)
        assert row["class"] == ["rest", "walk"][int(row["prediction"])] == ["rest", "walk"][int(np.argmax(p))]
    said = caplog.text
    assert "6 damaged blocks skipped" in said
    assert f"{Path(damaged).stem}: {len(hurt)} windows to predict" in said
    assert "1 gaps: 2019-02-26T10:55:2" in said


def test_a_student_of_another_split_predicts_as_with_its_own_or_is_refused(tmp_path, monkeypatch):
    """New recordings are no leak; numbers that the split changes are refused, with the config of the run."""
    config(tmp_path, [])
    field(tmp_path, [f"{k / 50:.2f},{np.sin(k / 4):.4f},0.1,1" for k in range(500)])
    monkeypatch.chdir(tmp_path)
    constants = "--data.scale={offset: [0, 0, 1], divisor: [1, 1, 1]}"
    other, at = "--data.test_subjects=[B]", ["--ckpt_path", "runs/walk/student"]
    new, file = ["--data.predict_root", "field"], tmp_path / "runs/walk/student/version_0/predictions.csv"
    cli.run(["fit", "--config", "walk.yaml", constants, "--data.test_subjects=[A]"])
    predicted = []
    for given in (["runs/walk/student/version_0/config.yaml"], ["walk.yaml", constants, other]):
        cli.run(["predict", "--config", *given, *at, *new])
        predicted.append(file.read_text())
        file.unlink()
    assert predicted[0] == predicted[1]
    line = "Write --config runs/walk/student/version_0/config.yaml."
    for words, said in (([constants], "would be a leak"), (new, "scaled with other numbers")):
        with pytest.raises((InputError, SystemExit)) as info:
            cli.run(["predict", "--config", "walk.yaml", other, *at, *words])
        assert said in str(info.value)
        assert str(info.value).endswith(line)
    assert not file.exists()
