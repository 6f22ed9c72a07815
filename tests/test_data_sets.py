"""The loaders, against the recordings where they are there and against small folders in the official layout."""

import tarfile

import numpy as np
import pandas as pd
import pytest

from kdlab.data import PAMAP2, SPSWHAR, UTDMHAD, ArrayDataModule, BasicMotions
from kdlab.data.pamap2 import prepare, read_rows
from kdlab.types import InputError, MissingFileError
from kdlab.views import Raw

from .fixtures import write_pamap2, write_spswhar, write_utdmhad


@pytest.fixture(scope="module")
def pamap2(tmp_path_factory):
    return write_pamap2(tmp_path_factory.mktemp("pamap2"), subjects=(101, 102, 103), rows=400)


@pytest.fixture(scope="module")
def spswhar(tmp_path_factory):
    return write_spswhar(tmp_path_factory.mktemp("spswhar"))


@pytest.fixture(scope="module")
def utdmhad(tmp_path_factory):
    return write_utdmhad(tmp_path_factory.mktemp("utdmhad"))


def test_basic_motions():
    data = BasicMotions()
    data.setup()
    assert data.data.windows["raw"].shape == (80, 6, 100)
    assert data.counts == {
        "train": {"windows": 32, "groups": 32},
        "val": {"windows": 8, "groups": 8},
        "test": {"windows": 40, "groups": 40},
    }
    assert data.fingerprint["grouping"] == "recording"
    assert data.batch_size == 8
    for stage, each in (("train", 8), ("val", 2), ("test", 10)):
        labels = np.concatenate([b.target.numpy() for b in data.batches(stage)])
        assert np.bincount(labels).tolist() == [each] * 4


# ---- SP-SW-HAR ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def spswhar_windows(recordings):
    return SPSWHAR(recordings / "sp_sw_har_original.tar.xz").load()


def test_spswhar_reproduces_the_windows(spswhar_windows, recordings):
    expected = dict(np.load(recordings / "sp_sw_har_windows.npz"))
    got = spswhar_windows
    assert len(got) == 4115
    np.testing.assert_array_equal(got.windows["raw"], expected["x"].transpose(0, 2, 1))
    np.testing.assert_array_equal(got.target, expected["y"])
    np.testing.assert_array_equal(got.subject, expected["subject"])
    assert [int(r[4:]) for r in got.recording] == expected["execution"].tolist()
    assert got.classes == expected["classes"].tolist()
    assert got.channels["raw"] == expected["channels"].tolist()


def test_spswhar_reads_one_device(spswhar):
    both, watch = SPSWHAR(spswhar).load(), SPSWHAR(spswhar, devices=["watch"]).load()
    np.testing.assert_array_equal(both.windows["raw"][:, 6:], watch.windows["raw"])
    np.testing.assert_array_equal(both.target, watch.target)
    assert watch.channels["raw"] == [f"watch_{s}_{a}" for s in ("acc", "gyro") for a in "xyz"]
    with pytest.raises(InputError, match=r"devices must be one or both of phone, watch, but got "):
        SPSWHAR(spswhar, devices=["ring"])


def test_spswhar_student_reads_the_watch_of_the_same_windows(spswhar):
    names = [f"watch_{s}_{a}" for s in ("acc", "gyro") for a in "xyz"]
    data = SPSWHAR(spswhar, views={"raw": Raw(), "watch": Raw(channels=names)})
    batch = next(data.batches("test"))
    assert data.view_shape("watch") == (6, 100)
    np.testing.assert_array_equal(batch.views["raw"][:, 6:], batch.views["watch"])


def test_spswhar_reads_an_archive(spswhar, tmp_path):
    archive = tmp_path / "all.tar.xz"
    with tarfile.open(archive, "w:xz", preset=0) as tar:
        tar.add(spswhar / "DATA", arcname="SP_SW_HAR/DATA")
    np.testing.assert_array_equal(SPSWHAR(archive).load().windows["raw"], SPSWHAR(spswhar).load().windows["raw"])
    cut = tmp_path / "cut.tar.xz"
    cut.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(InputError, match="not readable as a tar archive"):
        SPSWHAR(cut).load()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-25], r"s01_01_sp.csv, line 1501: expected 8 columns, got 7|line 1501: expected"),
        (lambda text: text.replace("WALKING", "FLYING", 1), r"line 602: expected a label among SEATED.*got 'FLYING'"),
        (
            lambda text: text.replace(text.splitlines()[5], "a" + text.splitlines()[5]),
            r"line 6: expected 7 finite numbers",
        ),
        (lambda text: text.splitlines()[0] + "\n", "no rows after the header"),
    ],
)
def test_spswhar_names_file_and_line(tmp_path, damage, message):
    root = write_spswhar(tmp_path, subjects=(1,), executions=1)
    file = root / "DATA" / "s01" / "s01_01_sp.csv"
    file.write_text(damage(file.read_text()))
    with pytest.raises(InputError, match=message):
        SPSWHAR(root).load()


def test_spswhar_needs_both_devices(tmp_path):
    root = write_spswhar(tmp_path, subjects=(1,), executions=1)
    (root / "DATA" / "s01" / "s01_01_sw.csv").unlink()
    with pytest.raises(InputError, match="s01_01 has no file of the watch"):
        SPSWHAR(root).load()


# ---- PAMAP2 ---------------------------------------------------------------------------------------------------------
def pandas_reading(file):
    """The protocol, written independently: (windows (N, 40, 100), labels (N,))."""
    table = pd.read_csv(file, sep=r"\s+", header=None, na_values="NaN")
    assert table.shape[1] == 54
    table = table[~table[1].isin([0, 8, 9, 10, 11, 18, 19, 20])]
    label = table[1].replace({24: 0, 12: 8, 13: 9, 16: 10, 17: 11}).astype(int).to_numpy()
    features = table.drop(columns=[0, 1]).set_axis(range(52), axis=1)
    features = features.drop(columns=[*range(14, 18), *range(31, 35), *range(48, 52)])
    features[0] = features[0].ffill()
    values, label = features.fillna(0.0).to_numpy()[::3], label[::3]
    windows, kept = [], []
    for start in range(22, len(label) - 100, 22):
        if label[start] == label[start + 99]:
            windows.append(values[start : start + 100].T)
            kept.append(label[start])
    return np.stack(windows), np.array(kept)


def test_pamap2_equals_an_independent_reading(pamap2):
    got = PAMAP2(pamap2).load()
    expected = [pandas_reading(pamap2 / "Protocol" / f"subject{s}.dat") for s in (101, 102, 103)]
    np.testing.assert_array_equal(got.windows["raw"], np.concatenate([x for x, _ in expected]).astype(np.float32))
    np.testing.assert_array_equal(got.target, np.concatenate([y for _, y in expected]))
    assert got.subject.tolist() == [s for s, (_, y) in zip((101, 102, 103), expected, strict=True) for _ in y]
    assert set(got.target.tolist()) == set(range(12))
    assert got.windows["raw"].shape[1:] == (40, 100)
    signal, _ = prepare(read_rows((pamap2 / "Protocol" / "subject101.dat").read_bytes(), "101"))
    assert signal[0, 0] == 0  # the heart rate before the first one
    assert (signal[0, 10:] > 50).all()


def test_pamap2_leaves_one_subject_out(pamap2):
    data = PAMAP2(pamap2, test_subject=102, val_subjects=[103])
    with pytest.warns(UserWarning, match="One subject"):
        data.setup()
    assert data.fingerprint["test"] == ["102"]
    assert data.fingerprint["train"] == ["101"]
    x = np.concatenate([b.views["raw"].numpy() for b in data.batches("train")])
    np.testing.assert_allclose([x.min(), x.max()], [0, 1], atol=1e-6)
    with pytest.raises(InputError, match="cannot give 2 for validation"):
        PAMAP2(pamap2).setup()
    with pytest.raises(InputError, match="no subject 109; there are 101, 102, 103"):
        PAMAP2(pamap2, test_subject=109).setup()
    with pytest.raises(InputError, match="leaves one subject out"):
        PAMAP2(pamap2, test_subjects=[101])


@pytest.mark.filterwarnings("ignore:One subject")
def test_pamap2_released_constants(pamap2):
    data = PAMAP2(pamap2, scale="released", val_subjects=[103])
    data.setup()
    low, span = (np.array(data.fingerprint["scale"]["raw"][k]) for k in ("offset", "divisor"))
    assert (low[2], low[2] + span[2]) == pytest.approx((-114.755, 47.6314))
    x = data.data.windows["raw"][data._ready.split.rows["test"]].astype(float)
    want = (x - low[:, None]) / span[:, None]
    want[want > 1], want[want < 0] = 0.99, 0.0
    got = np.concatenate([b.views["raw"].numpy() for b in data.batches("test")])
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert data.fingerprint["scale"]["raw"]["clip"] is True
    with pytest.raises(InputError, match="scale must be one of standard, minmax, none, released"):
        PAMAP2(pamap2, scale="relaesed")
    with pytest.raises(InputError, match=r"scale must be one of standard, .* but got None"):
        PAMAP2(pamap2, scale=None)


def test_pamap2_windows_per_fold(recordings):
    originals = recordings / "PAMAP2_Dataset"
    if not originals.is_dir():
        pytest.skip("the original PAMAP2 recordings are not in KDLAB_DATA")
    got = PAMAP2(originals).load()
    per_fold = [int((got.subject == s).sum()) for s in range(101, 110)]
    assert per_fold == [3726, 3925, 2592, 3447, 4065, 3728, 3465, 3909, 92]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-30], r"subject101.dat, line \d+: expected 54 finite numbers or NaN, got"),
        (lambda text: text.replace("8.39 ", "8.39 x", 1), r"subject101.dat, line 2: expected 54 finite numbers"),
        (
            lambda text: text.replace("8.40 0", "8.40 77", 1).replace("8.40 10", "8.40 77", 1),
            r"line 3: expected an activity",
        ),
        (lambda text: "", "an empty file"),
    ],
)
def test_pamap2_names_file_and_line(tmp_path, damage, message):
    root = write_pamap2(tmp_path, subjects=(101,), rows=60)
    file = root / "Protocol" / "subject101.dat"
    file.write_text(damage(file.read_text()))
    with pytest.raises(InputError, match=message):
        PAMAP2(root).load()


# ---- UTD-MHAD -------------------------------------------------------------------------------------------------------
def test_utdmhad_reproduces_the_windows(recordings):
    expected = dict(np.load(recordings / "utd_mhad_windows.npz"))
    got = UTDMHAD(recordings / "utd_mhad_original.tar.xz").load()
    place = {name: i for i, name in enumerate(got.recording.tolist())}
    names = zip(expected["y"] + 1, expected["subject"], expected["trial"], strict=True)
    order = [place[f"a{a}_s{s}_t{t}"] for a, s, t in names]
    assert sorted(order) == list(range(861))
    for source in ("inertial", "skeleton"):
        want = expected[source].transpose(0, 2, 1)
        np.testing.assert_allclose(got.windows[source][order], want, rtol=2e-6, atol=2e-6 * np.abs(want).max())
    np.testing.assert_array_equal(got.target[order], expected["y"])
    assert int(got.test.sum()) == 430


def test_utdmhad_has_two_sources(utdmhad):
    data = UTDMHAD(utdmhad, views={"raw": Raw(), "skeleton": Raw(source="skeleton")}, batch_size=4)
    batch = next(data.batches("test"))
    assert batch.views["raw"].shape == (4, 6, 128)
    assert batch.views["skeleton"].shape == (4, 60, 64) == (4, *data.view_shape("skeleton"))
    assert set(data.fingerprint["test"]) == {"2", "4", "6", "8"}
    assert set(data.fingerprint["scale"]) == {"inertial", "skeleton", "both"}
    assert data.classes[8] == "draw_circle_cw"
    with pytest.raises(InputError, match="no source 'depth'; this data set has inertial, skeleton, both"):
        UTDMHAD(utdmhad, views={"raw": Raw(source="depth")}).setup()


@pytest.mark.parametrize(
    ("write", "kind", "name"),
    [
        (write_spswhar, SPSWHAR, "s01_01_sw.csv"),
        (write_utdmhad, UTDMHAD, "a1_s1_t1_inertial.mat"),
        (write_pamap2, PAMAP2, "subject101.dat"),
    ],
)
def test_a_recording_that_is_there_twice_is_refused(tmp_path, write, kind, name):
    subjects = (101, 102) if kind is PAMAP2 else (1, 2)
    root = write(tmp_path / "data", subjects=subjects)
    kind(root).load()
    (file,) = root.rglob(name)
    (root / "copy").mkdir()
    (root / "copy" / (name.replace("s01_01", "s1_1"))).write_bytes(file.read_bytes())
    with pytest.raises(InputError, match="is there twice"):
        kind(root).load()


def test_utdmhad_refuses_damage(tmp_path):
    root = write_utdmhad(tmp_path, subjects=(1,), actions=2)
    file = root / "Inertial" / "a1_s1_t1_inertial.mat"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a1_s1_t1_inertial.mat: no variable 'd_iner'"):
        UTDMHAD(root).load()
    file.unlink()
    with pytest.raises(InputError, match="a1_s1_t1 has no inertial file"):
        UTDMHAD(root).load()


@pytest.mark.parametrize("kind", [SPSWHAR, PAMAP2, UTDMHAD])
def test_missing_root_says_what_is_expected(kind, tmp_path):
    with pytest.raises(MissingFileError, match=r"nowhere.*no such folder or archive; expected the .*doi:10"):
        kind(tmp_path / "nowhere").setup()
    with pytest.raises(MissingFileError, match="no files named like"):
        kind(tmp_path).setup()


@pytest.mark.parametrize("labels", [[0.0, np.nan, 1.0, 0.0], [0.0, np.inf, 1.0, 0.0], ["a", None, "b", "a"]])
def test_missing_labels_are_refused(labels):
    x = np.random.default_rng(0).normal(size=(4, 2, 16))
    with pytest.raises(InputError, match=r"y must be a class for each, but got 1 missing .* index 1.*unlabelled: "):
        ArrayDataModule(x, np.array(labels, dtype=object if None in labels else None)).setup()


def test_a_lost_header_is_noticed(tmp_path):
    folder = tmp_path / "sp_sw_har"
    write_spswhar(folder)
    file = next(folder.rglob("*_sw.csv"))
    file.write_text(file.read_text().partition("\n")[2])
    with pytest.raises(InputError, match="expected a header"):
        SPSWHAR(folder).setup()
