"""Long recordings on disk: what is kept of them, which windows they have, and that memory stays flat."""

import logging
import os
import pickle
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d
from scipy.signal import firwin, resample_poly

import kdlab
from benchmarks.recording import write_npz
from kdlab.data import RecordingDataModule
from kdlab.data.cutting import slide
from kdlab.data.moments import chunks, moments
from kdlab.data.recordings import store as files
from kdlab.data.recordings.resample import NO_LABEL
from kdlab.data.recordings.store import MISSING, Stored
from kdlab.data.windows import check_finite
from kdlab.files import part_prefix
from kdlab.types import InputError, MissingFileError

from .conftest import net, trainer
from .fixtures import movement_recording, write_recording_csv

CHANNELS = ["c0", "c1", "c2"]


def module(root, **more):
    settings = {"channels": CHANNELS, "window": 50, "step": 25, "sampling_rate": 50.0, "batch_size": 8}
    who = {} if "pattern" in more else {"subject": {"part": 0}}
    return RecordingDataModule(root, cache_dir=root.parent / "kept", **{**settings, **who, **more})


def write_folder(root, subjects=6, kind="csv", **more):
    for s in range(1, subjects + 1):
        for day in (1, 2):
            x, label = movement_recording([s, day], **more)
            if kind == "csv":
                write_recording_csv(root / f"s{s:02d}_day{day}.csv", x, label)
            else:
                root.mkdir(parents=True, exist_ok=True)
                np.savez(root / f"s{s:02d}_day{day}.npz", x=x, y=label)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("recordings") / "data")


def naive_windows(x, label, window, step, agree):
    """Every window whose most frequent label has enough samples, one after the other."""
    windows, labels = [], []
    for start in range(0, len(x) - window + 1, step):
        words, counts = np.unique(label[start : start + window], return_counts=True)
        if counts.max() >= agree * window and np.isfinite(x[start : start + window]).all():
            windows.append(x[start : start + window].T)
            labels.append(words[counts.argmax()])
    return np.stack(windows), labels


# ---- windows --------------------------------------------------------------------------------------------------------
def test_windows_are_those_of_the_recordings(folder):
    data = module(folder).load()
    expected, labels, names = [], [], []
    for file in sorted(folder.iterdir()):
        rows = [line.split(",") for line in file.read_text().splitlines()[1:]]
        x = np.array([[float(v) for v in row[:3]] for row in rows], np.float32)
        windows, label = naive_windows(x, np.array([row[3] for row in rows]), 50, 25, 0.6)
        expected.append(windows)
        labels += label
        names += [file.stem] * len(label)
    np.testing.assert_array_equal(data.windows["raw"][:], np.concatenate(expected))
    assert [data.classes[k] for k in data.target] == labels
    assert data.recording.tolist() == names
    assert data.subject.tolist() == [name.partition("_")[0] for name in names]
    assert data.classes == ["run", "sit", "walk"]


def test_npz_npy_and_csv_are_the_same(folder, tmp_path):
    want = module(folder).load().windows["raw"][:]
    npz, npy = tmp_path / "npz", tmp_path / "npy"
    write_folder(npz, kind="npz")
    npy.mkdir()
    for file in npz.iterdir():
        with np.load(file) as stored:
            np.save(npy / f"{file.stem}.npy", np.asfortranarray(stored["x"].astype(float)))
            np.save(npy / f"{file.stem}.labels.npy", stored["y"])
    for root in (npz, npy):
        np.testing.assert_array_equal(module(root).load().windows["raw"][:], want)
    zipped = tmp_path / "zipped" / "s01_day1.npz"
    zipped.parent.mkdir()
    with np.load(npz / "s01_day1.npz") as stored:
        np.savez_compressed(zipped, x=stored["x"], y=stored["y"])
    got = module(zipped.parent).load().windows["raw"][:]
    np.testing.assert_array_equal(got, want[: len(got)])


def test_it_is_an_array_to_those_who_read_it(folder):
    x = module(folder).load().windows["raw"]
    whole = np.asarray(x)
    assert x.shape == whole.shape == (len(x), 3, 50)
    assert x.size == whole.size
    assert x.dtype == np.float32
    order = np.random.default_rng(0).permutation(len(x))[:40]
    for rows in (
        order,
        order.tolist(),
        slice(3, 60, 7),
        slice(None, None, -5),
        order - len(x),
        np.arange(len(x)) % 3 == 0,
    ):
        np.testing.assert_array_equal(x[rows], whole[rows])
    np.testing.assert_array_equal(x[5], whole[5])
    np.testing.assert_array_equal(x[-1], whole[-1])
    assert x[[]].shape == (0, 3, 50)
    with pytest.raises(IndexError):
        x[[len(x)]]
    check_finite(x, "raw", CHANNELS)
    mean, std = moments(chunks(x, order))
    np.testing.assert_allclose(mean, whole[order].astype(float).mean(axis=(0, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, whole[order].astype(float).std(axis=(0, 2)), rtol=1e-12)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(x))[order], whole[order])
    assert len(pickle.dumps(x)) < whole.nbytes / 10


def test_loader_workers_read_the_same(folder):
    alone = [b.views["raw"] for b in module(folder, seed=0, batch_size=64).train_dataloader()]
    data = module(folder, seed=0, batch_size=64, num_workers=2)
    loader = data.train_dataloader()
    assert loader.num_workers == 2
    for one, other in zip(alone, loader, strict=True):
        assert one.equal(other.views["raw"])


def test_split_is_by_subject_and_deterministic(folder):
    data, again = module(folder), module(folder)
    subject = np.asarray(data.data.subject)
    parts = [set(subject[data._ready.split.rows[stage]].tolist()) for stage in ("train", "val", "test")]
    assert [len(p) for p in parts] == [2, 2, 2]
    assert len(set.union(*parts)) == 6
    assert data.fingerprint == again.fingerprint
    assert data.fingerprint["dataset"] == "recordings"
    named = module(folder, test_subjects=["s03"], val_subjects=["s01", "s05"])
    named.setup()
    assert named.fingerprint["train"] == ["s02", "s04", "s06"]


def test_majority_and_ignored_labels(tmp_path):
    x, _ = movement_recording(0, seconds=8.0, classes=1)
    label = np.array(["a"] * 130 + ["b"] * 70 + ["?"] * 100 + [""] * 60 + ["c"] * 40)
    root = write_recording_csv(tmp_path / "data" / "p_1.csv", x, label).parent
    for agree in (0.5, 0.6, 1.0):
        data = module(root, ignore=["?"], agree=agree, step=10).load()
        clean = np.where(np.isin(label, ["?", ""]), "-", label)
        votes = {k: slide((clean == k).astype(float), 50, 10).sum(axis=1) for k in "abc"}
        want = [
            max("abc", key=lambda k: votes[k][i]) for i in range(36) if max(v[i] for v in votes.values()) >= agree * 50
        ]
        assert [data.classes[k] for k in data.target] == want
    assert module(root, ignore=["?", "c"]).load().classes == ["a", "b"]
    assert module(root, classes=["c", "b", "a"], ignore=["?"]).load().classes == ["c", "b", "a"]
    with pytest.raises(InputError, match=r"label 'c' of .*p_1.csv is not among a, b; add it, or have it ignored"):
        module(root, classes=["a", "b"]).load()
    assert module(root, no_label=[]).load().classes == ["?", "a", "b", "c"]


def test_missing_values(tmp_path, caplog):
    x, label = movement_recording(0)
    x[500, 1], x[501:504, 2], x[2000, 0] = np.nan, np.nan, np.inf
    root = write_recording_csv(tmp_path / "data" / "p_1.csv", x, label).parent
    text = (root / "p_1.csv").read_text().replace("inf", "NA")
    (root / "p_1.csv").write_text(text)
    with caplog.at_level(logging.INFO):
        data = module(root).load()
    want, _ = naive_windows(x, label, 50, 25, 0.6)
    np.testing.assert_array_equal(data.windows["raw"][:], want)
    assert len(data) == 119 - 5
    assert "left out: 4 with missing samples, 1 without a label" in caplog.text
    with pytest.raises(InputError, match=r"p_1.csv: 4 windows with missing samples .* the first is window 19"):
        module(root, missing="error").load()
    x[:] = np.nan
    write_recording_csv(root / "p_1.csv", x, label)
    with pytest.raises(InputError, match="0 windows; left out: 119 with missing samples"):
        module(root).load()


# ---- time and resampling --------------------------------------------------------------------------------------------
def test_gaps_are_kept_apart_however_long(tmp_path):
    time = np.concatenate([np.arange(100) / 50, 1e9 + np.arange(100) / 50])  # a clock that was set in between
    x = np.arange(200.0)[:, None]
    write_recording_csv(tmp_path / "data" / "p_1.csv", np.repeat(x, 3, axis=1), np.array(["a"] * 200), time=time)
    starts = module(tmp_path / "data", time="time", step=10).load().windows["raw"].start
    assert starts.tolist() == [0, 10, 20, 30, 40, 50, 110, 120, 130, 140, 150]


def test_times_at_the_rate_change_nothing(folder, tmp_path):
    x, label = movement_recording([1, 1])
    time = 5e12 + 20.0 * np.arange(len(x))
    root = write_recording_csv(tmp_path / "data" / "s01_day1.csv", x, label, time=time).parent
    got = module(root, time="time", time_unit="ms").load().windows["raw"][:]
    np.testing.assert_array_equal(got, module(folder).load().windows["raw"][: len(got)])


def test_resampling_of_a_folder(tmp_path):
    x, label = movement_recording(0, rate=100.0)
    root = write_recording_csv(tmp_path / "data" / "p_1.csv", x, label).parent
    straight = module(root, recorded_at=100.0).load().windows["raw"]
    filtered = module(root, recorded_at=100.0, resample="polyphase").load().windows["raw"]
    taps = firwin(89, 22.5, window=("kaiser", 6.88), fs=100.0)
    smooth = convolve1d(x.astype(float), taps, axis=0, mode="nearest")[::2]
    np.testing.assert_allclose(straight[0], smooth[:50].T, atol=1e-4)
    want = resample_poly(x.astype(float), 1, 2, axis=0, padtype="edge")[:50].T
    np.testing.assert_allclose(filtered[0], want, rtol=1e-6)
    with pytest.raises(InputError, match="no ratio of whole numbers up to 1000"):
        module(root, recorded_at=np.pi * 30, resample="polyphase").load()
    write_recording_csv(root / "p_1.csv", x, label, time=np.arange(len(x)) / 100)
    with pytest.raises(InputError, match="needs a constant rate, but this recording has times"):
        module(root, time="time", resample="polyphase").load()


# ---- what is kept ---------------------------------------------------------------------------------------------------
def test_kept_once_and_read_again_when_it_changes(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "data", subjects=1)
    before = sorted(root.iterdir())
    first = module(root).load().windows["raw"]
    kept = sorted((tmp_path / "kept").iterdir())
    assert len(kept) == 2
    assert sorted(root.iterdir()) == before  # nothing is written beside the recordings
    with monkeypatch.context() as patch:
        patch.setattr(files, "read_csv", lambda *_: pytest.fail("read again"))
        np.testing.assert_array_equal(module(root, window=40, step=40).load().windows["raw"][0], first[0][:, :40])
    x, label = movement_recording(99)
    write_recording_csv(root / "s01_day1.csv", x, label)
    np.testing.assert_array_equal(module(root).load().windows["raw"][0], x[:50].T)
    module(root, channels=["c2"]).load()
    assert len(list((tmp_path / "kept").iterdir())) == 5
    assert not list((tmp_path / "kept").glob(".*"))


def test_half_written_is_made_again(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "data", subjects=1)
    want = module(root).load().windows["raw"][:]
    kept = sorted((tmp_path / "kept").iterdir())
    with (kept[0] / "signal.bin").open("r+b") as stream:
        stream.truncate(1000)
    (kept[1] / "recording.json").write_text('{"samples": 3')
    assert [Stored.find(k) for k in kept] == [None, None]
    np.testing.assert_array_equal(module(root).load().windows["raw"][:], want)
    (kept[0] / "recording.json").unlink()
    monkeypatch.setattr(files, "regular", lambda *_, **__: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        module(root).load()
    monkeypatch.undo()
    assert not list((tmp_path / "kept").glob(".*"))
    np.testing.assert_array_equal(module(root).load().windows["raw"][:], want)


def test_what_a_killed_run_left_is_removed(tmp_path):
    root = write_folder(tmp_path / "data", subjects=1)
    module(root).load()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    own = part_prefix()
    left = tmp_path / "kept" / (own.replace(f"-{os.getpid()}-", f"-{dead.pid}-") + "abc")
    mine = tmp_path / "kept" / (own + "abc")
    for place in (left, mine):
        place.mkdir()
        (place / "signal.bin").write_bytes(b"1234")
    module(root).load()
    assert not left.exists()
    assert mine.exists()  # a process that still runs may be writing there


def test_same_names_in_two_folders_are_two_recordings(tmp_path):
    for subject in ("a", "b"):
        x, label = movement_recording([ord(subject)])
        file = write_recording_csv(tmp_path / "data" / subject / f"{subject}_1.csv", x, label)
        file.rename(file.with_name("p_1.csv"))
    for file in (tmp_path / "data").rglob("*.csv"):
        os.utime(file, (1e9, 1e9))
    data = module(tmp_path / "data").load()
    assert sorted(set(data.recording.tolist())) == ["a/p_1", "b/p_1"]
    assert not np.array_equal(data.windows["raw"][0], data.windows["raw"][-1])


# ---- wrong input ----------------------------------------------------------------------------------------------------
def test_wrong_folder_says_what_is_expected(tmp_path):
    with pytest.raises(MissingFileError, match=r"nowhere.*no such folder.*one .csv, .npz or .npy file per recording"):
        module(tmp_path / "nowhere").load()
    with pytest.raises(MissingFileError, match="no recordings in it"):
        module(tmp_path).load()
    (tmp_path / "data").mkdir()
    file = write_recording_csv(tmp_path / "data" / "p_1.csv", *movement_recording(0))
    with pytest.raises(InputError, match="a file; expected a folder"):
        module(file).load()
    with pytest.raises(MissingFileError, match="match pattern="):
        module(file.parent, pattern=r"(?P<subject>s\d+)_.*").load()
    np.savez(tmp_path / "data" / "p_1.npz", x=np.zeros((10, 3)), y=np.zeros(10))
    with pytest.raises(InputError, match="two files of one recording"):
        module(file.parent).load()


@pytest.mark.parametrize(
    ("line", "damage", "message"),
    [
        (3001, lambda row: row[:20], r"p_1.csv, line 3001: expected 4 cells, got [123]"),
        (1, lambda row: row.replace("c1", "c9"), r"p_1.csv, line 1: expected one column 'c1', got the header 'c0,c9"),
        (301, lambda row: "x" + row, r"line 301: expected a number in column 1 \(c0\), got 'x"),
        (41, lambda row: "1," + row, r"line 41: expected 4 cells, got 5"),
    ],
)
def test_csv_names_file_and_line(tmp_path, line, damage, message):
    file = write_recording_csv(tmp_path / "data" / "p_1.csv", *movement_recording(0))
    rows = file.read_text().splitlines()
    rows[line - 1] = damage(rows[line - 1])
    file.write_text("\n".join(rows) + ("\n" if line < 3001 else ""))
    with pytest.raises(InputError, match=message):
        module(file.parent).load()
    assert not list((tmp_path / "kept").iterdir())
    file.write_text(rows[0] + "\n")
    with pytest.raises(InputError):
        module(file.parent).load()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((3, 90)), "y": np.zeros(90)}, r"is it \(channels, samples\)\? Save x.T"),
        ({"x": np.zeros((90, 3))}, "no 'y'; expected arrays x"),
        ({"x": np.zeros((90, 3)), "y": np.zeros(89)}, r"expected y of shape \(90,\), got float64 of shape \(89,\)"),
        ({"x": np.zeros((90, 3)), "y": np.array([None] * 90)}, "does it hold Python objects"),
        ({"x": np.zeros((90, 3)), "y": np.zeros(90), "t": np.array(["0"] * 90)}, "expected t of shape"),
        ({"x": np.zeros((90, 3)), "y": np.zeros(90), "t": np.zeros(90, "M8[s]")}, "; set time_unit: iso"),
        ({"x": np.zeros((2000, 3)), "y": np.arange(2000)}, "more than 1000 different labels"),
    ],
)
def test_npz_says_what_is_wrong(tmp_path, arrays, message):
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "p_1.npz", **arrays)
    with pytest.raises(InputError, match=message):
        module(tmp_path / "data").load()


def test_half_an_npz(tmp_path):
    root = write_folder(tmp_path / "data", subjects=1, kind="npz")
    file = root / "s01_day1.npz"
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"s01_day1.npz: not readable as npz"):
        module(root).load()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"pattern": "(.*"}, "pattern must be a regular expression"),
        ({"pattern": "[^_]+"}, "expected a group for the subject"),
        ({"window": 0}, "window must be a number of samples of at least 1, but got 0"),
        ({"sampling_rate": -1.0}, "sampling_rate: must be a finite number above 0, but got -1.0"),
        ({"agree": 0.0}, "agree must be a part of the window in .*, but got 0.0"),
        ({"missing": "fill"}, "missing must be one of drop, error, but got 'fill'"),
        ({"channels": ["a", "a"]}, "different names"),
        ({"units": ["g"]}, "a unit for each"),
    ],
)
def test_wrong_settings(tmp_path, setting, message):
    with pytest.raises(InputError, match=message):
        module(tmp_path, **setting)


# ---- the real thing -------------------------------------------------------------------------------------------------
def test_spswhar_from_its_own_files_is_close(recordings, tmp_path):
    """The watch's files of three persons, read as recordings: the windows differ by where the phone begins and ends."""
    with tarfile.open(recordings / "sp_sw_har_original.tar.xz") as archive:
        for member in archive:
            if re.search(r"/s0[123]_\d+_sw.csv", member.name):
                head, *rows = archive.extractfile(member).read().decode().splitlines()
                rows.sort(key=lambda row: float(row.split(",")[6]))
                file = tmp_path / "data" / member.name.rpartition("/")[2]
                file.parent.mkdir(exist_ok=True)
                file.write_text("\n".join([head, *rows]) + "\n")
    data = module(
        tmp_path / "data",
        channels=[f"{a}_{s}" for s in ("acc", "gyro") for a in "xyz"],
        window=100,
        step=50,
        sampling_rate=100.0,
        time="timestamp",
        time_unit="ms",
        max_gap=2.0,
    ).load()
    known = dict(np.load(recordings / "sp_sw_har_windows.npz"))
    mine = np.isin(known["subject"], [1, 2, 3])
    assert abs(len(data) / mine.sum() - 1) < 0.05
    assert set(data.classes) == set(known["classes"].tolist())
    share = [
        np.mean([m == c for m in mine_])
        for c in known["classes"]
        for mine_ in (np.array(data.classes)[data.target], known["classes"][known["y"][mine]])
    ]
    np.testing.assert_allclose(share[::2], share[1::2], atol=0.03)
    np.testing.assert_allclose(
        data.windows["raw"][:].mean(axis=(0, 2)), known["x"][mine][:, :, 6:].mean(axis=(0, 1)), atol=0.1
    )


def test_trains(folder, tmp_path):
    data = module(folder, seed=0, batch_size=32)
    method = kdlab.Supervised(net(channels=3, classes=3))
    fit = trainer(tmp_path, max_epochs=2)
    fit.fit(method, data)
    assert fit.test(method, data, verbose=False)[0]["test/accuracy"] > 0.9


def grown(task):
    """Bytes by which the resident memory rises at its peak while the task runs."""

    def status(key):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before = status("VmRSS")
    task()
    return status("VmHWM") - before


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is measured on Linux")
def test_memory_stays_flat(tmp_path):
    """Four hours of recording are read, checked and passed over in the memory that one hour takes."""
    rng = np.random.default_rng(0)
    x, label = rng.normal(size=(72_000, 12)).astype(np.float32), np.arange(72_000) // 6000 % 4
    channels = [f"c{i}" for i in range(12)]

    def read(kind, whole=False):
        data = module(tmp_path / kind, channels=channels, window=200, step=100).load()
        moments(chunks(data.windows["raw"]))
        if whole:
            np.asarray(data.windows["raw"])

    for kind, times in (("short", 5), ("long", 20)):
        (tmp_path / kind).mkdir()
        write_npz(tmp_path / kind / "s01_day.npz", x, label, times)
    size = 20 * x.nbytes
    read("short")  # what is imported on the way
    (tmp_path / "short" / "s01_day.npz").touch()
    short = grown(lambda: read("short"))
    assert grown(lambda: read("long")) < short + size / 2
    assert grown(lambda: read("long", whole=True)) > 2 * size  # this is how one would see it if it did not


def test_a_signal_on_a_large_offset_is_not_lost(tmp_path):
    """Pressure in pascals, or a counter: what float32 would round away is kept in float64 and shifted there."""
    scaled = []
    for name, offset in (("plain", 0.0), ("offset", 1e8)):
        (tmp_path / name / "data").mkdir(parents=True)
        for s in range(1, 6):
            x, label = movement_recording([s], seconds=4.0)
            np.savez(tmp_path / name / "data" / f"s{s}_1.npz", x=x.astype(float) + offset, y=label)
        data = module(tmp_path / name / "data")
        data.setup()
        assert data.data.windows["raw"].dtype == (np.float64 if offset else np.float32)
        scaled.append(torch.cat([batch.views["raw"] for batch in data.batches("test")]))
    assert scaled[1].dtype == torch.float32
    torch.testing.assert_close(scaled[0], scaled[1], atol=1e-5, rtol=1e-5)


def test_codes_tell_missing_from_unlabelled(tmp_path):
    x, label = movement_recording(0, seconds=2.0, classes=1)
    x[3, 0] = np.nan
    label[7] = ""
    root = write_recording_csv(tmp_path / "data" / "p_1.csv", x, label).parent
    codes = module(root).load().windows["raw"].files[0].codes()
    assert codes[[2, 3, 7]].tolist() == [0, MISSING, NO_LABEL]
