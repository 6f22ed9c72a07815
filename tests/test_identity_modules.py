"""Who and what in the data modules: one person is one, two classes are two, and nobody is guessed."""

import csv
import logging
import re
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
import torch
import yaml

from kdlab.augment import Noise
from kdlab.callbacks.predictions import write_predictions
from kdlab.data import UEA, ArrayDataModule, BasicMotions, WindowDataModule, WindowSet, check_fingerprint, slide
from kdlab.data.groups import Groups
from kdlab.data.identified import identified
from kdlab.data.split_table import in_words
from kdlab.data.splits import make_split
from kdlab.fingerprint import (
    comparable,
    hashed,
    is_hashed,
    leaks,
    only_counts,
    salt_mark,
    split_differences,
    with_hashes,
    without_people,
)
from kdlab.types import InputError, MissingFileError
from kdlab.views import PersistenceImage, Raw

SALT = "a salt of one laboratory"
N = 120


def windows(n=N, channels=2, length=16, seed=0):
    return np.random.default_rng(seed).normal(size=(n, channels, length))


def module(y=None, subject=None, **arguments):
    """Windows of six people and two classes, unless told otherwise."""
    y = np.arange(N) % 2 if y is None else y
    subject = np.arange(N) // 20 if subject is None else subject
    return ArrayDataModule(windows(len(np.asarray(y, dtype=object))), y, subject, **arguments)


def spread(values, n=N):
    """Each value in turn, for runs of n / len(values) windows."""
    return [values[i * len(values) // n] for i in range(n)]


def in_turn(values, n=N):
    return [values[i % len(values)] for i in range(n)]


# ------------------------------------------------------------------------------- names of public data sets: who
WHO = {
    "UniMiB SHAR: numbers from a .mat are doubles": (
        [1.0, 2.0, 3.0, 10.0],
        ["1", "2", "3", "10"],
    ),
    "WISDM 2019: ids with and without .0 in two exports": (
        ["1600", "1601.0", 1600.0, "1602", 1603],
        "1600 1601 1602 1603",
    ),
    "PAMAP2: 101 beside '101 '": (["101", "101 ", 102, "103", "104"], "101 102 103 104"),
    "WESAD: S2 in the folders, s2 in the questionnaires": (["S2", "s2", "S3", "S4", "S5"], r"subjects: \{S2: s2\}"),
    "Capture-24: P001 in the file names, P1 by hand": (["P001", "P1", "P2", "P3", "P4"], r"subjects: \{P001: P1\}"),
    "mHealth: subject1 beside subject01": (
        ["subject1", "subject01", "subject2", "subject3"],
        "subject01 and|'subject01'",
    ),
    "HHAR: single letters, one of them in upper case": (["a", "b", "c", "A", "d"], r"subjects: \{A: a\}"),
    "ExtraSensory: UUIDs in both cases": (
        ["00EABED2-271D-49D8-B599-1D4A09240601", "00eabed2-271d-49d8-b599-1d4a09240601", "x", "y", "z"],
        "Say that they are one",
    ),
    "Sleep-EDF: 4001E0 is no number": (["4001E0", "4002E0", "4011E0", "4012E0"], "4001E0 4002E0 4011E0 4012E0"),
    "Sleep-EDF: but a spreadsheet made one of it": (["4001E0", "4001", "4002E0", "4011E0"], r"'4001' and '4001E0'"),
    "RealWorld: proband1 to proband10": (
        ["proband1", "proband2", "proband10", "proband15"],
        "proband1 proband10 proband15 proband2",
    ),
    "Opportunity: S1, and a cell that the export left empty": (["S1", "S2", "", "S3"], "30 missing ones .* index 60"),
    "HARTH: S006 as bytes, as an old h5 file holds them": (
        [b"S006", b"S008", b"S009 ", b"S010"],
        "S006 S008 S009 S010",
    ),
    "a serial number that went through a float": ([20230415123456789.0, 1.0, 2.0, 3.0], "Read them as text"),
}


@pytest.mark.parametrize("layout", WHO)
def test_who(layout):
    values, expected = WHO[layout]
    data = module(subject=spread(values))
    refused = isinstance(expected, str) and re.search(r"[^\w ]|missing|Say|Read", expected)
    if refused:
        with pytest.raises(InputError, match=expected) as refusal:
            data.setup()
        assert "\n" not in str(refusal.value)
    else:
        expected = expected.split() if isinstance(expected, str) else expected
        names = Groups.of(data.data.subject).names
        assert names == expected
        held = data.fingerprint
        assert sorted([*held["train"], *held["val"], *held["test"]]) == sorted(expected)  # nobody is in two parts


@pytest.mark.parametrize(
    "layout", [k for k, (_, said) in WHO.items() if (isinstance(said, str) and "Say" in said) or "subjects:" in said]
)
def test_the_line_to_write_merges_the_people(layout):
    with pytest.raises(InputError) as refusal:
        module(subject=spread(WHO[layout][0])).setup()
    line = str(refusal.value).split("they are one, ")[1].split(", or two, ")[0]
    data = module(subject=spread(WHO[layout][0]), subjects=yaml.safe_load(line)["subjects"])
    assert len(data.subject_counts()) == len(WHO[layout][0]) - 1
    assert sum(data.subject_counts().values()) == N
    assert data.fingerprint["merged"]["subjects"] > 0


# ------------------------------------------------------------------------------ names of public data sets: what
LONG = "home activity;miscellaneous;sitting;9030 sitting playing traditional video game computer game;MET 1."
WHAT = {
    "PAMAP2: 1.0 in half of the files": ([1.0, "1", 2, "2.0", "0", 0.0], "0 1 2"),
    "HHAR: the word null": (["stand", "null", "sit"], "40 'null'"),
    "ExtraSensory: nan for not said": (["walk", float("nan"), "sit"], "40 'nan'"),
    "mHealth: L1, and L01 in the description": (["L1", "L01", "L2"], r"labels: \{L01: L1\}"),
    "WISDM: Walking in one version, walking in the other": (
        ["Walking", "walking", "Jogging"],
        r"labels: \{Walking: walking\}",
    ),
    "Capture-24: annotations of over 64 characters": ([LONG + "0", LONG + "5", "7030 sleeping;MET 0.95"], None),
    "Sleep-EDF: 'Sleep stage ?' is a word, '?' is none": (["Sleep stage W", "Sleep stage ?", "?"], "40 '\\?'"),
    "MobiAct: codes with blanks around them": (["STD ", "WAL", " STD", "WAL "], "STD WAL"),
    "HARTH: 1, 13, 130 with gaps": (np.array([1, 13, 130]), "number them from 0 without gaps"),
    "UniMiB SHAR: from 1": (np.array([1.0, 2.0, 3.0]), "got 1, 2, 3; number them from 0"),
    "Opportunity: names of a gesture with NBSP": (
        ["Open\u00a0Door 1", "Open Door 1", "Clean Table"],
        r'labels: \{"Open\\u00a0Door 1": "Open Door 1"',
    ),
    "fall detection: yes and no": (["yes", "no"], "no yes"),
}


@pytest.mark.parametrize("layout", WHAT)
def test_what(layout):
    values, expected = WHAT[layout]
    y = in_turn(values) if isinstance(values, list) else values[np.arange(N) % len(values)]
    data = module(y=y)
    if expected is None:
        assert data.classes == sorted(values)
    elif re.fullmatch(r"[\w ]+", expected) and "gaps" not in expected:
        assert data.classes == expected.split()
        assert [data.classes[k] for k in data.data.target[:2]] == [str(v).strip().removesuffix(".0") for v in y[:2]]
    else:
        with pytest.raises(InputError, match=expected) as refusal:
            data.setup()
        assert "\n" not in str(refusal.value)


def test_classes_are_merged_as_told():
    y = in_turn(["Walk", "walk", "run", "RUN"])
    data = module(y=y, labels={"Walk": "walk", "RUN": "run"})
    assert data.classes == ["run", "walk"]
    np.testing.assert_array_equal(data.data.target, [["run", "walk"].index(v.lower()) for v in y])
    assert data.fingerprint["merged"] == {"labels": {"Walk": 30, "RUN": 30}, "subjects": 0}
    apart = module(y=y, labels={"Walk": "Walk", "walk": "walk", "RUN": "run"})
    assert apart.classes == ["Walk", "run", "walk"]
    ordered = module(y=y, labels={"Walk": "walk", "RUN": "run"}, classes=["walk", "run"])
    assert ordered.classes == ["walk", "run"]
    numbered = module(y=np.arange(N) % 3, classes=["walk", "run", "Walk"], labels={"Walk": "walk"})
    assert numbered.classes == ["walk", "run"]
    np.testing.assert_array_equal(numbered.data.target, np.array([0, 1, 0])[np.arange(N) % 3])
    with pytest.warns(UserWarning, match="nothing is named 'Wlak'"):
        module(labels={"Wlak": "walk"}).setup()


def test_a_declared_word_is_a_class_whatever_it_is():
    y = in_turn(["none", "wave"])
    with pytest.raises(InputError, match="60 'none'"):
        module(y=y).setup()
    assert module(y=y, classes=["none", "wave"]).classes == ["none", "wave"]
    assert module(y=y, no_label=[]).classes == ["none", "wave"]
    with pytest.raises(InputError, match="60 'wave'"):
        module(y=y, no_label=["wave"]).setup()
    assert module(y=y, labels={"none": "rest"}).classes == ["rest", "wave"]


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (np.ma.masked_array(np.arange(N) % 2, mask=np.arange(N) == 7), "1 'masked'.*index 7"),
        (["", *in_turn(["a", "b"], N - 1)], "1 ''.*index 0"),
        ([None, *in_turn(["a", "b"], N - 1)], "1 'None'.*index 0"),
        (np.where(np.arange(N) < 3, np.nan, 0.0), "3 missing .*index 0"),
    ],
)
def test_missing_labels_of_arrays(y, said):
    with pytest.raises(InputError, match=f"^y must be a class for each, but got .*{said}"):
        module(y=y).setup()


def test_missing_people_and_recordings_of_arrays():
    people = np.arange(N) // 20
    for values in (
        np.where(people == 2, np.nan, people),
        np.ma.masked_equal(people, 2),
        [None if p == 2 else p for p in people],
    ):
        with pytest.raises(InputError, match=r"^subject must be an id for each, but got 20 missing ones .* index 40\."):
            module(subject=values).setup()
    with pytest.raises(InputError, match=r"^recording must be .* 1 missing"):
        module(recording=["", *map(str, range(N - 1))]).setup()
    with pytest.raises(InputError, match=r"^subject_test must be .* 5 missing"):
        module(x_test=windows(5), y_test=[0] * 5, subject_test=[np.nan] * 5).setup()


def test_one_person_in_training_and_test_is_found_in_any_spelling():
    def data(test):
        return module(x_test=windows(20), y_test=np.arange(20) % 2, subject_test=[test] * 20)

    for spelling in ("3", "3.0", " 3", 3.0, b"3"):
        with pytest.raises(InputError, match="subject 3 in two splits"):
            data(spelling).setup()
    data(9).setup()


def test_names_in_arguments_are_spelt_like_those_of_the_data():
    data = module(test_subjects=["1.0", 2], val_subjects=[" 3", 4.0])
    assert (data.fingerprint["test"], data.fingerprint["val"]) == (["1", "2"], ["3", "4"])
    with pytest.raises(InputError, match=r'did you mean \["01"\]'):
        module(subject=spread(["01", "02", "03", "04"]), test_subjects=[1]).setup()
    merged = module(subject=spread(["Ann", "ann", "Ben", "Cy", "Di"]), subjects={"ann": "Ann"}, test_subjects=["ann"])
    assert merged.fingerprint["test"] == ["Ann"]
    for argument in ("test_subjects", "unknown_classes", "drop_classes"):
        with pytest.raises(InputError, match=r'in quotes, such as .*\["yes", "no"\]'):
            module(**{argument: [True]}).setup()
    with pytest.raises(InputError, match=r'classes: \["yes", "no"\]'):
        module(classes=[True, False]).setup()
    with pytest.raises(InputError, match="'walk' more than once"):
        module(classes=["walk", "walk"]).setup()
    assert module(y=np.arange(N) % 3, unknown_classes=["1.0"]).classes == ["0", "2"]


class Given(WindowDataModule):
    """Any data set that hands over what it likes."""

    def __init__(self, classes, subject=None, recording=None, **common):
        super().__init__(**common)
        self.given = {"classes": classes, "subject": subject, "recording": recording}

    def load(self):
        x = windows().astype(np.float32)
        return WindowSet({"raw": x}, np.arange(N) % 3, channels={"raw": ["a", "b"]}, **self.given)


def test_every_data_module_makes_names_equal():
    data = Given(["1.0", "2 ", "3"], subject=np.array(spread(["S1 ", "S1", "S2", "S3", "S4"]), dtype=object))
    assert data.classes == ["1", "2", "3"]
    assert list(data.subject_counts()) == ["S1", "S2", "S3", "S4"]
    with pytest.raises(InputError, match=r"labels: \{Sit: sit\}"):
        Given(["sit", "Sit", "run"]).setup()
    assert Given(["sit", "Sit", "run"], labels={"Sit": "sit"}, recording=np.arange(N) // 10).classes == ["sit", "run"]
    with pytest.raises(InputError, match=r"'sit' more than once|sit more than once"):
        Given(["sit", "sit", "run"]).setup()
    with pytest.raises(InputError, match=r"subjects: \{R1: r1\}"):
        Given(["a", "b", "c"], recording=np.array(spread(["R1", "r1", "r2", "r3"]))).setup()
    with pytest.raises(InputError, match=r"^recording must be an id"):
        Given(["a", "b", "c"], recording=np.array(spread(["R1", "", "r2", "r3"]))).setup()


def test_windows_that_were_equal_already_are_left_alone():
    data = WindowSet(
        {"raw": windows().astype(np.float32)}, np.arange(N) % 2, ["a", "b"], {"raw": ["x", "y"]}, np.arange(N)
    )
    assert identified(data)[0] is data
    changed, _ = identified(data, {"b": "c"})
    assert changed.classes == ["a", "c"]
    assert changed.windows is data.windows


# ------------------------------------------------------------------------------------------------- masks and kinds
HALF_MASKED = np.ma.masked_greater(windows(), 1.0)


@pytest.mark.parametrize("argument", ["x", "x_test", "x_predict"])
def test_masked_samples_are_refused(argument):
    given = {"x": windows(), "y": np.arange(N) % 2, "subject": np.arange(N) // 20}
    given |= {"y_test": np.arange(N) % 2, "subject_test": 50 + np.arange(N) // 20} if argument == "x_test" else {}
    with pytest.raises(
        InputError, match=rf"^{argument} must be without masked samples, but got {HALF_MASKED.mask.sum()} of"
    ):
        ArrayDataModule(**{**given, argument: HALF_MASKED}).setup()
    fine = ArrayDataModule(**{**given, argument: np.ma.masked_array(windows())})
    fine.setup()
    assert not isinstance(fine.data.windows["raw"], np.ma.MaskedArray)


def test_masked_samples_are_refused_by_views_augmentations_and_window_sets():
    one = HALF_MASKED[int(HALF_MASKED.mask.any(axis=(1, 2)).argmax())]
    for view in (Raw(), PersistenceImage(size=8)):
        with pytest.raises(InputError, match=r"^x must be without masked samples"):
            view(one)
        with pytest.raises(InputError, match=r"^x must be without masked samples"):
            view([one, one])
        torch.testing.assert_close(view(np.ma.masked_array(one.data)), view(one.data))
    with pytest.raises(InputError, match=r"^window must be without masked samples"):
        Noise()(one, np.random.default_rng(0))
    with pytest.raises(InputError, match="without masked samples"):
        slide(one, 4, 4)
    with pytest.raises(InputError, match="without masked samples"):
        WindowSet({"raw": HALF_MASKED}, np.arange(N) % 2, ["a", "b"], {"raw": ["x", "y"]})
    target = np.ma.masked_equal(np.arange(N) % 2, 1)
    with pytest.raises(InputError, match=r"^target must be without masked"):
        WindowSet({"raw": windows()}, target, ["a", "b"], {"raw": ["x", "y"]})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[1.0, 2.0, 3.0], [1.0, 2.0]], "rows of different lengths"),
        (np.array([[1, None], [2, 3]], dtype=object), "Python objects"),
        (np.array([["1", "2"]]), "real numbers, but got <U1"),
        (np.array([[1j, 2.0]]), "real numbers, but got complex128"),
        (np.zeros(2, dtype=[("a", "f4")]), "real numbers"),
    ],
)
def test_what_is_no_array_of_numbers_gets_one_line(values, said):
    for call in (Raw(), lambda x: Noise()(x, np.random.default_rng(0)), lambda x: module(x_predict=x).setup()):
        with pytest.raises(InputError, match=said) as refusal:
            call(values)
        assert "\n" not in str(refusal.value)


def test_tensors_with_gradients_and_foreign_byte_orders_are_read():
    x = windows()[:3]
    want = Raw()(x.astype(np.float32))
    for same in (
        torch.tensor(x, dtype=torch.float32, requires_grad=True),
        x.astype(">f4"),
        x.astype(np.float32)[:, ::-1][:, ::-1],
    ):
        torch.testing.assert_close(Raw()(same), want)
    torch.testing.assert_close(Raw()([torch.tensor(w, requires_grad=True) for w in x]), Raw()(x))
    with pytest.raises(InputError, match="real numbers"):
        Raw()(torch.zeros(2, 4, dtype=torch.complex64))
    for tensor in (torch.ones(2, 2, 8).to_sparse(), torch.empty(2, 2, 8, device="meta")):
        with pytest.raises(InputError, match="x must be a dense tensor, but got one "):
            Raw()(tensor)
    y, who = torch.arange(N) % 2, torch.arange(N).float().requires_grad_() // 20
    plain = module().data
    for kind in (torch.tensor(windows(), requires_grad=True), windows().astype(">f8"), windows().tolist()):
        data = ArrayDataModule(kind, y, who).data
        assert data.windows["raw"].dtype == np.float32
        np.testing.assert_array_equal(data.windows["raw"], plain.windows["raw"])
        assert Groups.of(data.subject).names == ["0", "1", "2", "3", "4", "5"]


# --------------------------------------------------------------------------------------------------------- offsets
def batch(data, stage="train"):
    return torch.cat([b.views["raw"] for b in data.batches(stage)]).numpy()


@pytest.mark.parametrize("offset", [0.0, 9.81, 1e3, 1e6, 1e8])
@pytest.mark.parametrize("kept", ["memory", "file", "cut"])
def test_an_offset_changes_nothing_after_scaling(offset, kept, tmp_path):
    x = windows()
    moved = x + offset
    if kept == "file":
        np.save(tmp_path / "x.npy", moved)
        moved = np.load(tmp_path / "x.npy", mmap_mode="r")
    if kept == "cut":
        moved = slide(np.concatenate([*(x + offset)], axis=1), 16, 16)
    data = ArrayDataModule(moved, np.arange(N) % 2, np.arange(N) // 20)
    rows = data.train_index
    mean, std = x[rows].mean((0, 2), keepdims=True), x[rows].std((0, 2), keepdims=True)
    np.testing.assert_allclose(batch(data), (x[rows] - mean) / std, atol=3e-4)  # 1e-4 of the deviation may be rounded
    assert data.data.windows["raw"].dtype == (np.float64 if offset >= 1e6 else np.float32)


def test_what_float32_keeps_is_as_it_was_bit_for_bit():
    x = windows() * 3 + 9.81
    for given in (x, x.astype(np.float32)):
        data = ArrayDataModule(given, np.arange(N) % 2, np.arange(N) // 20)
        stored, rows = x.astype(np.float32), data.train_index
        scale = data.fingerprint["scale"]["raw"]
        offset, divisor = (np.array(scale[key])[None, :, None] for key in ("offset", "divisor"))
        np.testing.assert_array_equal(batch(data), ((stored[rows] - offset) / divisor).astype(np.float32))
        np.testing.assert_allclose(offset.ravel(), stored[rows].astype(float).mean((0, 2)), rtol=1e-12)
    kept = np.ascontiguousarray(x, dtype=np.float32)
    assert np.shares_memory(ArrayDataModule(kept, np.arange(N) % 2).data.windows["raw"], kept)  # no copy


def test_a_constant_channel_on_an_offset_is_constant():
    x = windows()
    x[:, 1] = 1e8 + 0.1
    x[:, 0] += 1e8
    data = ArrayDataModule(x, np.arange(N) % 2, np.arange(N) // 20)
    assert data.fingerprint["scale"]["raw"]["divisor"][1] == 1.0
    np.testing.assert_allclose(batch(data)[:, 1], 0.0, atol=1e-6)
    with pytest.warns(UserWarning, match="so large an offset that float32"):
        ArrayDataModule(x, np.arange(N) % 2, np.arange(N) // 20, scale="none").setup()


# ---------------------------------------------------------------------------------------------------- who is where
def test_the_split_is_printed_and_kept(tmp_path, caplog):
    data = module(sampling_rate=16.0, step=8, subject=spread(["=a", "b", "c", "d", "e", "f"]), y=in_turn(["u", "v"]))
    with caplog.at_level(logging.INFO):
        data.setup()
        data.setup()
    told = [r.message for r in caplog.records if "windows of" in r.message]
    assert len(told) == 1  # once
    assert re.search(r"train 40 windows of 2 subjects \(\S+: 20, 0\.2 min; \S+: 20, 0\.2 min\); val", told[0])
    table = data.split_table()
    assert {(row.part, row.name) for row in table} == {
        (s, name) for s in ("train", "val", "test") for name in data.fingerprint[s]
    }
    assert all(row.windows == 20 and row.minutes == 20 * 8 / 16 / 60 for row in table)
    data.write_split(tmp_path / "run" / "split.csv")
    with (tmp_path / "run" / "split.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["part", "subject", "windows", "minutes"]
    assert {row["subject"] for row in rows} == {"'=a", "b", "c", "d", "e", "f"}
    assert sum(int(row["windows"]) for row in rows) == N


def test_a_cohort_of_two_hundred_is_summarised():
    data = ArrayDataModule(windows(800), np.arange(800) % 2, np.arange(800) // 4)
    told = in_words(data.split_table(), "subject")
    assert len(told) < 400
    assert re.search(r"train 544 windows of 136 subjects \(from 4 \(\d+\) over 4 to 4 \(\d+\) each\)", told)
    unknown = BasicMotions()
    assert re.fullmatch(
        r"train 32 windows of 32 recordings; val 8 .*; test 40 .*", in_words(unknown.split_table(), "recording")
    )


def test_a_fit_keeps_the_split_beside_the_run(tmp_path):
    from kdlab.cli import run

    np.savez(tmp_path / "d.npz", x=windows().astype(np.float32), y=np.arange(N) % 2, subject=np.arange(N) // 20)
    config = {
        "run": "demo/split",
        "model": {
            "class_path": "kdlab.Supervised",
            "init_args": {
                "net": {
                    "class_path": "kdlab.nets.WideResNet",
                    "init_args": {"depth": 10, "in_channels": 2, "num_classes": 2},
                }
            },
        },
        "data": {
            "class_path": "kdlab.data.ArrayDataModule",
            "init_args": {"path": str(tmp_path / "d.npz"), "batch_size": 8},
        },
        "trainer": {
            "default_root_dir": str(tmp_path / "runs"),
            "max_epochs": 1,
            "limit_train_batches": 1,
            "accelerator": "cpu",
            "enable_progress_bar": False,
        },
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(["fit", "--config", str(tmp_path / "c.yaml")])
    (kept,) = (tmp_path / "runs").rglob("split.csv")
    assert kept.parent.name == "version_0"
    assert len(kept.read_text("utf-8").splitlines()) == 7


# --------------------------------------------------------------------------------------------------------- privacy
def test_hashed_people(monkeypatch):
    people = spread(["Ann", "Ben", "Cy", "Di", "Eve", "Flo"])
    with pytest.raises(InputError, match=r"export KDLAB_SALT="):
        module(subject=people, subject_ids="hashed").setup()
    monkeypatch.setenv("KDLAB_SALT", SALT)
    plain, secret = module(subject=people), module(subject=people, subject_ids="hashed")
    for part in ("train", "val", "test"):  # the same split, in other words
        np.testing.assert_array_equal(plain._ready.split.rows[part], secret._ready.split.rows[part])
        assert secret.fingerprint[part] == sorted(hashed(name, SALT) for name in plain.fingerprint[part])
    shown = [*secret.subject_of(range(N)), *(row.name for row in secret.split_table()), *secret.subject_counts()]
    assert all(map(is_hashed, shown))
    everything = repr(secret.fingerprint) + secret._summary() + repr(secret.state_dict())
    assert not any(name in everything for name in ("Ann", "Ben", "Cy", "Eve", "Flo", SALT))
    assert secret.fingerprint["salt"] == salt_mark(SALT)
    by_hash = module(subject=people, subject_ids="hashed", test_subjects=secret.fingerprint["test"])
    assert by_hash.fingerprint["test"] == secret.fingerprint["test"]
    assert "salt" not in plain.fingerprint


def test_leaks_are_found_between_names_and_hashes(monkeypatch):
    monkeypatch.setenv("KDLAB_SALT", SALT)
    people = spread(["Ann", "Ben", "Cy", "Di", "Eve", "Flo"])
    common = {"val_subjects": ["Cy", "Di"]}
    teacher = module(subject=people, test_subjects=["Ann"], **common).fingerprint
    student = module(subject=people, test_subjects=["Ben"], subject_ids="hashed", **common).fingerprint
    for trained, here in ((teacher, student), (student, teacher), (with_hashes(teacher, SALT), student)):
        assert len(leaks(trained, here)) == 1
        assert any("it was trained on subjects" in text for text in split_differences(trained, here))
        with pytest.raises(InputError, match="would be tested, but the checkpoint was trained"):
            check_fingerprint(trained, here, "test")
    same = module(subject=people, test_subjects=["Ann"], subject_ids="hashed", **common).fingerprint
    assert split_differences(teacher, same) == []
    check_fingerprint(teacher, same, "fit")
    check_fingerprint(teacher, same, "test")
    for wrong in ("", "another laboratory's salt"):
        monkeypatch.setenv("KDLAB_SALT", wrong)
        with pytest.raises(InputError, match=r"are disjoint. Set KDLAB_SALT"):
            leaks(teacher, student)
    with pytest.raises(InputError, match="another salt"):
        leaks(with_hashes(teacher, "another laboratory's salt"), student)


def test_fingerprints_of_earlier_versions_stay_valid():
    now = module(subject=spread([1.0, 2.0, 3.0, 10.0]), y=in_turn(["1.0", "2.0"])).fingerprint
    then = {**now, "classes": ["1.0", "2.0"]} | {p: [f"{name}.0" for name in now[p]] for p in ("train", "val", "test")}
    assert split_differences(then, now) == []
    check_fingerprint(then, now, "fit")
    with pytest.raises(InputError, match="would be tested"):
        check_fingerprint({**then, "train": then["test"]}, now, "test")
    assert comparable({}, now)[0] == {}


def test_what_leaves_the_laboratory_has_no_names(monkeypatch):
    monkeypatch.setenv("KDLAB_SALT", SALT)
    people = spread(["Ann", "Ben", "Cy", "Di", "Eve", "Flo"])
    card = without_people(module(subject=people).fingerprint)
    assert (card["train"], card["val"], card["test"]) == (2, 2, 2)
    hidden = module(subject=people, subject_ids="hashed").fingerprint
    assert without_people(hidden) == hidden


def test_no_id_of_what_leaves_the_laboratory_is_over_names():
    known, others = (module(subject=spread(names)).fingerprint for names in (list("abcdef"), list("uvwxyz")))
    assert known["id"] != others["id"]
    for shared in (without_people, only_counts):
        assert shared(known)["id"] == shared(others)["id"] not in (known["id"], others["id"])
    assert only_counts(only_counts(known)) == only_counts(known)


# ---------------------------------------------------------------------------------------------------- small cohorts
def cohort(sizes, classes=2):
    subject = np.repeat(np.arange(len(sizes)), sizes)
    target = np.concatenate([np.arange(n) % classes for n in sizes])
    x = np.zeros((len(subject), 1, 4), dtype=np.float32)
    return WindowSet({"raw": x}, target, list("abcdefgh"[:classes]), {"raw": ["x"]}, subject=subject)


def test_val_count():
    data = cohort([70, 80, 75, 77, 74])  # 376 windows of five people
    two = make_split(data, test_subjects=[0])
    assert len(two.groups["val"]) == 2
    with pytest.warns(UserWarning, match="val_count=1: one subject validates"):
        one = make_split(data, test_subjects=[0], val_count=1)
    assert len(one.groups["val"]) == 1
    assert len(one.rows["val"]) < 0.3 * 306
    with pytest.warns(UserWarning, match="one subject"):
        assert len(make_split(cohort([9, 9, 9]), val_count=1).groups["train"]) == 1
    assert len(make_split(data, test_subjects=[0], val_count=3).groups["val"]) == 3
    for wrong, said in (
        ({"val_count": 0}, "at least 1"),
        ({"val_count": True}, "whole number"),
        ({"val_count": 1, "val_subjects": [1, 2]}, "left out where val_subjects"),
        ({"val_count": 4, "test_subjects": [0]}, "cannot give 4 for validation"),
        ({"val_choice": "best"}, "val_choice must be"),
    ):
        with pytest.raises(InputError, match=said):
            make_split(data, **wrong)
    with pytest.raises(InputError, match="people are unknown"):
        BasicMotions(val_count=1).setup()


def unbalanced(split, data):
    held, rest = split.rows["val"], np.concatenate([split.rows["val"], split.rows["train"]])
    fair = len(split.groups["val"]) / (len(split.groups["val"]) + len(split.groups["train"]))
    size = len(held) / len(rest) / fair
    of_all = np.bincount(data.target[rest], minlength=len(data.classes)) / len(rest)
    of_held = np.bincount(data.target[held], minlength=len(data.classes)) / len(held)
    return not 0.5 <= size <= 1.5 or np.abs(of_all - of_held).sum() / 2 > 0.25


def test_who_validates_is_balanced():
    data = cohort([300, 160, 140, 40, 50, 45, 55, 60, 50, 45])
    changed = 0
    for seed in range(20):
        chosen = make_split(data, test_subjects=[4], seed=seed)
        random = make_split(data, test_subjects=[4], seed=seed, val_choice="random")
        assert not unbalanced(chosen, data)
        if not unbalanced(random, data):
            assert chosen.groups == random.groups  # what was balanced stays as it was
        changed += chosen.groups != random.groups
    assert changed > 5
    small = cohort([177, 50, 50, 50, 49])  # two of four validate
    for seed in range(20):
        for other in range(1, 5):
            assert len(make_split(small, test_subjects=[other], seed=seed).rows["val"]) <= 100
    skewed = cohort([100] * 8)
    skewed.target[:200] = 0  # two people who only walk
    skewed.target[200:] = np.arange(600) % 2
    for seed in range(20):
        assert not unbalanced(make_split(skewed, test_subjects=[7], seed=seed), skewed)


# ----------------------------------------------------------------------------------- dropping classes and trials
def test_dropping_a_class():
    y = in_turn(["walk", "run", "transient"])
    data = module(y=y, drop_classes=["transient"])
    assert data.classes == ["run", "walk"]
    assert sum(count["windows"] for count in data.counts.values()) == 80
    assert set(torch.cat([b.target for s in ("train", "val", "test") for b in data.batches(s)]).tolist()) == {0, 1}
    assert data.fingerprint["drop_classes"] == ["transient"]
    with pytest.raises(InputError, match=r"drop_classes must be classes of the data .* but got sleep"):
        module(y=y, drop_classes=["sleep"]).setup()
    with pytest.raises(InputError, match=r"classes must be two or more, but got walk. Are .*\(no_label, ignore\)"):
        module(y=in_turn(["walk"])).setup()
    with pytest.raises(InputError, match="must leave two classes"):
        module(y=y, drop_classes=["walk", "run"]).setup()


def test_the_refusal_says_who_holds_the_class():
    y = ["rare" if i // 20 == 3 and i % 2 else "often" if i % 3 else "also" for i in range(N)]
    with pytest.raises(InputError, match=r"class rare: .*rare: subject 3 \(test\).*drop_classes: \[rare\]"):
        module(y=y, test_subjects=[3]).setup()
    module(y=y, test_subjects=[3], drop_classes=["rare"]).setup()


@pytest.mark.parametrize("kept", ["memory", "file"])
def test_dropping_windows_with_missing_samples(kept, tmp_path, caplog):
    x = windows()
    x[[3, 50, 51], 1, 5] = np.nan
    if kept == "file":
        np.save(tmp_path / "x.npy", x)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
    given = {"y": np.arange(N) % 2, "subject": np.arange(N) // 20}
    with pytest.raises(InputError, match="3 NaN or infinite samples"):
        ArrayDataModule(x, **given).setup()
    with caplog.at_level(logging.INFO):
        data = ArrayDataModule(x, **given, missing="drop")
        assert len(data.data) == N - 3
    assert "left out 3 of 120 windows with missing samples (1 of 0, 2 of 1)" in caplog.text
    fine = np.delete(np.arange(N), [3, 50, 51])
    np.testing.assert_array_equal(np.asarray(data.data.windows["raw"][:]), windows()[fine].astype(np.float32))
    np.testing.assert_array_equal(data.data.target, fine % 2)
    moved = ArrayDataModule(windows() + np.where(np.isnan(x), np.nan, 1e6), **given, missing="drop").data
    assert moved.windows["raw"].dtype == np.float64  # what is dropped does not hide the offset of the others
    with pytest.raises(InputError, match="all 120 have missing"):
        ArrayDataModule(np.full((N, 2, 4), np.nan), **given, missing="drop").setup()


def uea(folder, rows, classes="a b"):
    for part in ("TRAIN", "TEST"):
        text = f"@problemName Pad\n@univariate false\n@classLabel true {classes}\n@data\n" + "\n".join(rows)
        (folder / f"Pad_{part}.ts").write_text(text + "\n")
    return folder


def test_archives_in_archives_are_named(tmp_path):
    uea(tmp_path, FULL)
    inner, outer, folder = tmp_path / "Pad.zip", tmp_path / "outer.tar.gz", tmp_path / "held"
    with zipfile.ZipFile(inner, "w") as archive:
        for file in tmp_path.glob("*.ts"):
            archive.write(file, file.name)
    with tarfile.open(outer, "w:gz") as archive:
        archive.add(inner, "data/Pad.zip")
    folder.mkdir()
    inner.rename(folder / "Pad.zip")
    with pytest.raises(MissingFileError, match=r"holds the archive 'data/Pad.zip': unpack that"):
        UEA(outer, "Pad").setup()
    with pytest.raises(MissingFileError, match=r"name the archive in it, such as root: .*held/Pad.zip; expected"):
        UEA(folder, "Pad").setup()
    assert len(UEA(folder / "Pad.zip", "Pad").load()) == 4


FULL = ["1,2,3,4:5,6,7,8:a", "2,2,3,4:5,6,7,9:b"]


def test_padding_at_the_end_is_a_shorter_recording(tmp_path):
    root = uea(tmp_path, [*FULL, "1,2,NaN,NaN:5,6,?,?:a", "1,2,3,NaN:5,6,7,NaN:b"])
    with pytest.raises(InputError, match="recordings of 2 to 4 samples; set length"):
        UEA(root, "Pad", missing="interpolate").setup()
    data = UEA(root, "Pad", length=4)
    data.setup()
    np.testing.assert_allclose(data.data.windows["raw"][2], [np.linspace(1, 2, 4), np.linspace(5, 6, 4)], atol=1e-6)


def test_trials_with_missing_samples_are_dropped_when_told(tmp_path):
    root = uea(tmp_path, [*FULL, *FULL, "1,?,3,4:5,6,7,8:a"])
    with pytest.raises(InputError, match=r"2 recordings have missing values .*missing: drop .*\(2 of class a\)"):
        UEA(root, "Pad").setup()
    assert len(UEA(root, "Pad", missing="drop").data) == 8
    assert len(UEA(root, "Pad", missing="interpolate").data) == 10


def test_classes_of_uea_by_the_same_rule(tmp_path, caplog):
    numbers = uea(tmp_path, [row.replace(":a", ":1.0").replace(":b", ":2.0") for row in [*FULL, *FULL]], "1.0 2.0")
    assert UEA(numbers, "Pad").classes == ["1", "2"]
    with pytest.raises(InputError, match="line 7: expected a class, got '\\?'"):
        UEA(uea(tmp_path, [*FULL, FULL[0].replace(":a", ":?")], ""), "Pad").setup()
    with caplog.at_level(logging.INFO):
        UEA(uea(tmp_path, [*FULL, *FULL, FULL[0].replace(":a", ":A")]), "Pad").setup()
    assert "1 labels are written in another case" in caplog.text
    with pytest.raises(InputError, match=r"labels: \{A: a\}"):
        UEA(uea(tmp_path, [*FULL, FULL[0].replace(":a", ":A")], "a b A"), "Pad").setup()


# --------------------------------------------------------------------------------------------------------- tables
def test_cells_of_predictions_are_no_formulas(tmp_path):
    people = ["=cmd|' /C calc'!A0", "+49", "-1", "@SUM(1)", "\tx", "plain", "1e-3"]

    class Names:
        classes = ("=a", "b")

        @staticmethod
        def subject_of(index):
            return [people[i] for i in index]

    n = len(people)
    rows = {
        "index": torch.arange(n),
        "target": torch.zeros(n, dtype=torch.long),
        "prediction": torch.zeros(n, dtype=torch.long),
        "probabilities": torch.full((n, 2), 0.5),
    }
    write_predictions(tmp_path / "p.csv", rows, Names())
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        head, *cells = csv.reader(file)
    assert [row[1] for row in cells] == ["'=cmd|' /C calc'!A0", "+49", "-1", "'@SUM(1)", "'\tx", "plain", "1e-3"]
    assert not any(cell[:1] in "=+@\t\r" for row in [head, *cells] for cell in row if cell and cell != "+49")


def test_folds_are_named_like_the_subjects(monkeypatch):
    from kdlab.study.folds import make_folds

    monkeypatch.setenv("KDLAB_SALT", SALT)
    assert make_folds([[1.0, " 2"], ["3.0"]], dict.fromkeys("123", 5)) == {"fold1": ["1", "2"], "fold2": ["3"]}
    hidden = [hashed(name, SALT) for name in ("Ann", "Ben", "Cy")]
    found = make_folds([["Ann", hidden[1]], ["Cy "]], dict.fromkeys(hidden, 5))
    assert found == {"fold1": hidden[:2], "fold2": hidden[2:]}  # no name is in what a study writes
    with pytest.raises(InputError, match="a subject is in two folds"):
        make_folds([["Ann"], [hidden[0]]], dict.fromkeys(hidden, 5))


def test_studies_hand_on_who_validates_and_how_names_are_merged(tmp_path):
    from kdlab.study.folds import make_folds
    from kdlab.study.windows import forget, make_data, subjects

    people = [
        name.replace("Ann", "ann") if i % 2 else name for i, name in enumerate(spread(["Ann", "Ben", "Cy", "Di"]))
    ]
    y = in_turn(["walk", "Walk", "run"])
    np.savez(tmp_path / "d.npz", x=windows().astype(np.float32), y=y, subject=people)

    def config(**arguments):
        init = {"path": str(tmp_path / "d.npz"), "labels": {"Walk": "walk"}, "subjects": {"ann": "Ann"}, **arguments}
        return {"data": {"class_path": "kdlab.data.ArrayDataModule", "init_args": init}}

    forget()
    folds = make_folds("leave_one_subject_out", subjects(config())[0])
    assert sorted(name for tested in folds.values() for name in tested) == ["Ann", "Ben", "Cy", "Di"]
    for tested in folds.values():
        with pytest.warns(UserWarning, match="val_count=1"):
            data = make_data(config(test_subjects=tested, val_count=1))
        assert (len(data.fingerprint["train"]), len(data.fingerprint["val"]), data.fingerprint["test"]) == (
            2,
            1,
            tested,
        )
        assert data.classes == ["run", "walk"]
    apart = make_data(config(labels={"Walk": "Walk", "walk": "walk"}))
    assert apart.classes == ["Walk", "run", "walk"]  # read again: not the merged windows of the run before
    assert apart.fingerprint["merged"] == {"labels": {}, "subjects": 15}
    forget()


def test_make_split_takes_people_of_any_kind():
    data = cohort([10] * 6)
    data.subject = data.subject.astype(np.float64)
    split = make_split(data, test_subjects=[1], val_subjects=["2.0", 3])
    assert (split.groups["test"], split.groups["val"]) == (["1"], ["2", "3"])
