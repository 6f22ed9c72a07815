"""Who was recorded: found where it is declared, plain to see, or refused with the line to write."""

import gzip
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from kdlab.data import RecordingDataModule
from kdlab.data.recordings.where import Where
from kdlab.data.recordings.who import candidates, named_like_a_person
from kdlab.types import InputError, MissingFileError

from .fixtures import movement_recording, write_recording_csv


def table(file, seed=0, columns=None, seconds=2.0, suffix=""):
    """A recording of three activities, perhaps with columns beside the channels."""
    x, label = movement_recording(seed, seconds=seconds)
    file.parent.mkdir(parents=True, exist_ok=True)
    names = ["c0", "c1", "c2", "label", *(columns or {})]
    cells = [[*(repr(v) for v in row), word] for row, word in zip(x.tolist(), label, strict=True)]
    for values in (columns or {}).values():
        cells = [[*row, str(v)] for row, v in zip(cells, np.broadcast_to(values, len(x)).tolist(), strict=True)]
    file.write_text("\n".join(",".join(row) for row in [names, *cells]) + "\n")
    return file


def folder(tmp_path, names, **more):
    for seed, name in enumerate(names):
        table(tmp_path / "data" / name, seed, **more)
    return tmp_path / "data"


def module(root, **more):
    settings = {"channels": ["c0", "c1", "c2"], "window": 50, "step": 25, "sampling_rate": 50.0, "batch_size": 8}
    return RecordingDataModule(root, cache_dir=root.parent / "kept", **{**settings, **more})


def people(data):
    """Recording -> subject."""
    windows = data.load()
    return dict(zip(windows.recording.tolist(), windows.subject.tolist(), strict=True))


MORNINGS = [f"P{p}/{t}_imu.csv" for p in range(6) for t in ("am", "night", "noon", "pm")]
FUSED = [f"P{p}-{s}.csv" for p in range(4) for s in range(3)]


# ---- no guesses -----------------------------------------------------------------------------------------------------
def test_six_people_in_folders_are_not_four_times_of_day(tmp_path):
    root = folder(tmp_path, MORNINGS)
    with pytest.raises(InputError) as refused:
        module(root).setup()
    text = str(refused.value)
    assert "\n" not in text
    assert "subject: {folder: 0} (6 ids, files each: P0 4, P1 4, P2 4, P3 4, P4 4, P5 4)" in text
    assert "subject: {part: 0} (4 ids, files each: am 6, night 6, noon 6, pm 6)" in text
    data = module(root, subject={"folder": 0})
    data.setup()
    subject = np.asarray(data.data.subject)
    parts = {stage: set(subject[data._ready.split.rows[stage]].tolist()) for stage in ("train", "val", "test")}
    assert sorted(p for part in parts.values() for p in part) == [f"P{p}" for p in range(6)]  # each in one part only


def test_twelve_files_of_four_people(tmp_path):
    root = folder(tmp_path, FUSED)
    with pytest.raises(InputError, match=r"subject: \{part: 0\} \(4 ids.* \| subject: \{part: 1\} \(3 ids"):
        module(root).setup()
    assert set(people(module(root, subject={"part": 0})).values()) == {"P0", "P1", "P2", "P3"}
    assert set(people(module(root, subject=Where(name="P[0-9]"))).values()) == {"P0", "P1", "P2", "P3"}
    assert set(people(module(root, pattern=r"(?P<subject>P\d)-(?P<session>\d)"))) == {
        f"P{p}/{s}" for p in range(4) for s in range(3)
    }


def test_person_and_session_without_anything_between_them(tmp_path):
    root = folder(tmp_path, [f"P{p}S{s}.csv" for p in range(3) for s in range(2)])
    with pytest.raises(
        InputError, match=r"\{part: 0\} \(6 ids.*\{part: 0, name: 'P\[0-9\]\+'\} \(3 ids, files each: P0 2"
    ):
        module(root).setup()
    assert set(people(module(root, subject={"part": 0, "name": "P[0-9]+"})).values()) == {"P0", "P1", "P2"}
    assert len(set(people(module(root, subject={"part": 0})).values())) == 6


def test_the_one_part_that_varies_is_the_person_and_is_printed(tmp_path, caplog):
    root = folder(tmp_path, [f"imu_s{p:02d}.csv" for p in range(3)])
    with caplog.at_level(logging.INFO):
        assert set(people(module(root)).values()) == {"s00", "s01", "s02"}
    assert "the one part of path and name that varies is the person, {part: 1}: 3 ids, files each: s00 1" in caplog.text


def test_one_file_says_so(tmp_path, caplog):
    root = folder(tmp_path, ["walk_1.csv"])
    with caplog.at_level(logging.INFO):
        assert set(people(module(root)).values()) == {"walk_1"}
    assert "no part of path or name varies: each file is counted as one person" in caplog.text


def test_a_column_named_like_a_person_is_not_passed_over(tmp_path):
    halves = {"Subject_ID": np.repeat(["7", "8"], 150)}
    root = folder(tmp_path, ["a.csv", "b.csv"], columns=halves)
    with pytest.raises(InputError, match=r"column 'Subject_ID' is named like a person.*\{column: Subject_ID\} \(2 ids"):
        module(root).setup()
    data = module(root, subject={"column": "Subject_ID"}).load()
    assert sorted(set(data.subject.tolist())) == ["7", "8"]
    assert set(people(module(root, subject={"part": 0})).values()) == {"a", "b"}
    arrays = tmp_path / "arrays" / "data"
    arrays.mkdir(parents=True)
    x, label = movement_recording(0, seconds=2.0)
    np.savez(arrays / "a.npz", x=x, y=label, participant=np.repeat([1, 2], 150))
    with pytest.raises(InputError, match=r"column 'participant' is named like a person.*files each: 1 1, 2 1"):
        module(arrays).setup()
    assert set(module(arrays, subject={"column": "participant"}).load().subject.tolist()) == {"1", "2"}


def test_names_of_columns():
    assert named_like_a_person(["userAcceleration.x", "identity", "width", "personnel", "idle", "useful"]) == []
    like = ["USER", "user_id", "UserID", "participant 2", "person-no", "uid", "subject.code", "id_user", "Patient Name"]
    assert named_like_a_person(like) == like


# ---- several people in one file -------------------------------------------------------------------------------------
def test_no_window_holds_two_people_or_two_sessions(tmp_path):
    who = np.repeat(["1", "2", "1"], [110, 130, 60])
    when = np.repeat(["a", "b", "b", "b"], [70, 40, 130, 60])
    root = folder(tmp_path, ["all.csv"], columns={"user": who, "session": when})
    data = module(root, subject={"column": "user"}, session={"column": "session"}, agree=0.01, step=1).load()
    x, _ = movement_recording(0, seconds=2.0)
    runs = [(0, 70, "1/a"), (70, 110, None), (110, 240, "2/b"), (240, 300, "1/b")]  # the second is too short
    want = [(x[k : k + 50].T, name) for a, b, name in runs for k in range(a, b - 49)]
    assert data.recording.tolist() == [name for _, name in want]
    np.testing.assert_array_equal(data.windows["raw"][:], [window for window, _ in want])
    assert data.subject.tolist() == [name[0] for _, name in want]


def test_windows_with_times_keep_people_apart(tmp_path):
    """With times, rows between two people are not interpolated."""
    x = np.concatenate([np.zeros((100, 3)), np.full((100, 3), 8.0)])
    file = write_recording_csv(tmp_path / "data" / "all.csv", x, np.array(["a"] * 200), time=np.arange(200) / 40)
    rows = file.read_text().splitlines()
    file.write_text("\n".join(f"{row},{'user' if k == 0 else 1 + (k > 100)}" for k, row in enumerate(rows)) + "\n")
    data = module(file.parent, subject={"column": "user"}, time="time", step=1).load()
    assert set(np.unique(data.windows["raw"][:])) == {0.0, 8.0}
    assert sorted(set(data.subject.tolist())) == ["1", "2"]


def test_missing_ids_are_counted_and_refused(tmp_path):
    ids = np.array(["1"] * 100 + ["NA"] * 20 + [""] * 30 + ["2"] * 150)
    root = folder(tmp_path, ["all.csv"], columns={"user": ids})
    with pytest.raises(InputError, match=r"column 'user' must have an id in each row, but 50 rows have none.*line 102"):
        module(root, subject={"column": "user"}).load()
    arrays = tmp_path / "arrays" / "data"
    arrays.mkdir(parents=True)
    x, label = movement_recording(0, seconds=2.0)
    np.savez(arrays / "a.npz", x=x, y=label, user=np.where(np.arange(300) == 7, np.nan, 1.0))
    with pytest.raises(InputError, match=r"but 1 rows have none, the first at sample 7"):
        module(arrays, subject={"column": "user"}).load()


def test_ids_in_float_form_are_one_and_alike_ids_are_refused(tmp_path):
    root = folder(tmp_path, ["all.csv"], columns={"user": np.repeat(["1", "1.0", " 1 ", "2"], 75)})
    assert sorted(set(module(root, subject={"column": "user"}).load().subject.tolist())) == ["1", "2"]
    root = folder(tmp_path / "cases", ["p1/a.csv", "P1/a.csv", "p2/a.csv", "p3/a.csv", "p4/a.csv"])
    with pytest.raises(InputError, match=r"'P1' and 'p1'.*subjects: \{P1: p1\}"):
        module(root).setup()
    data = module(root, subjects={"P1": "p1"})
    data.setup()
    assert sorted(set(data.data.subject.tolist())) == ["p1", "p2", "p3", "p4"]
    root = folder(tmp_path / "zeros", ["S1.csv", "S01.csv", "S2.csv", "S3.csv"])
    with pytest.raises(InputError, match=r"'S01' and 'S1'"):
        module(root).setup()


def test_rows_of_people_that_alternate_say_so(tmp_path):
    root = folder(tmp_path, ["all.csv"], columns={"user": np.tile(np.repeat(["1", "2"], 30), 5)})
    with pytest.raises(InputError, match=r"the longest has 30; if the rows of several people alternate, sort them"):
        module(root, subject={"column": "user"}).load()


def test_stretches_shorter_than_a_window_are_counted(tmp_path, caplog):
    root = folder(tmp_path, ["all.csv"], columns={"user": np.repeat(["1", "2", "3"], [100, 30, 170])})
    with caplog.at_level(logging.INFO):
        module(root, subject={"column": "user"}).load()
    assert "1 of 3 stretches of one person and session are shorter than a window (30 samples)" in caplog.text


def test_hidden_files_and_folders_are_no_recordings(tmp_path):
    root = folder(tmp_path, ["P1.csv", "P2.csv", "._P1.csv", ".ipynb_checkpoints/P1-checkpoint.csv"])
    assert set(people(module(root))) == {"P1", "P2"}


def test_other_kinds_of_files_are_named(tmp_path):
    root = folder(tmp_path, ["P1.csv", "P2.csv"])
    for file in list(root.rglob("*.csv")):
        file.rename(file.with_suffix(".TXT"))
    with pytest.raises(
        MissingFileError, match=r"no recordings in it, but files of other kinds \(2 .txt\); set suffixes: "
    ):
        module(root).load()
    assert len(people(module(root, suffixes=[".txt"]))) > 0


def test_a_label_is_a_class_or_ignored(tmp_path):
    with pytest.raises(InputError, match="classes and ignore must have no label in common, but got 1 in both"):
        module(tmp_path, classes=["walk", 1], ignore=["1.0"])
    with pytest.raises(InputError, match=r"channels must be a list of different names.*channels='xyz'"):
        module(tmp_path, channels="xyz")


# ---- wrong declarations ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("subject", "message"),
    [
        ({}, "exactly one of folder, part, name and column"),
        ({"folder": 0, "column": "a"}, "exactly one of folder, part, name and column"),
        ("user", r"but got 'user'. Write subject: \{column: user\} for a column of the file, subject: \{folder: 0\}"),
        ({"files": 0}, "subject must be a mapping with one of folder, part, name, column, but got"),
        ("folder", "subject must be a mapping"),
        ({"folder": "0"}, "folder must be a whole number, but got '0'"),
        ({"part": True}, "part must be a whole number"),
        ({"name": "(P"}, "name must be a regular expression"),
        ({"name": "(P)(Q)"}, "one group at most"),
        ({"column": 3}, "column must be the name of a column"),
        ({"folder": 1}, r"folder 1 must be there for every file, but 'P0/am_imu.csv' has 1 of them \(P0\)"),
        ({"part": -3}, r"part -3 must be there for every file"),
        ({"name": "Q[0-9]+"}, r"name 'Q\[0-9\]\+' must be found for every file, but is not in 'am_imu'"),
        ({"column": "who"}, "expected one column 'who'"),
    ],
)
def test_wrong_declarations(tmp_path, subject, message):
    root = folder(tmp_path, ["P0/am_imu.csv", "P0/pm_imu.csv", "P1/am_imu.csv"])
    with pytest.raises(InputError, match=message) as refused:
        module(root, subject=subject).load()
    assert "\n" not in str(refused.value)


def test_a_name_that_cuts_a_number_is_refused(tmp_path):
    root = folder(tmp_path, [f"P{p}_a.csv" for p in (1, 10, 11)])
    with pytest.raises(InputError, match=r"must take numbers with all their digits, but takes 'P1' out of 'P1[01]_a'"):
        module(root, subject={"name": "P[0-9]"}).load()


def test_a_person_is_declared_once(tmp_path):
    root = folder(tmp_path, ["P0_a.csv", "P1_a.csv"])
    with pytest.raises(InputError, match="subject must be declared once"):
        module(root, subject={"part": 0}, pattern=r"(?P<subject>P\d)_a")
    assert set(people(module(root, subject={"part": 0}, pattern=r"P1.*")).values()) == {"P1"}  # a filter alone


# ---- layouts of public data sets ------------------------------------------------------------------------------------
KINDS, BODY = ("accel", "gyro"), ("waist", "shin")
UUIDS = ("00EABED2-271D-49D8-B599-1D4A09240601", "0A986513-7828-4D53-AA1F-E02D6DF9561B")
#: name: files, what it takes (None: nothing), some of the people, and lines that the refusal must offer
LAYOUTS = {
    "PAMAP2": ([f"Protocol/subject10{k}.dat" for k in range(1, 5)], None, ["subject101", "subject102"], []),
    "MHEALTH": ([f"mHealth_subject{k}.log" for k in range(1, 4)], None, ["subject1", "subject2"], []),
    "HARTH": ([f"harth/S0{k}.csv" for k in ("06", "08", "29")], None, ["S006", "S029"], []),
    "Capture-24": ([f"P{k:03d}.csv.gz" for k in (1, 2, 151)], None, ["P001", "P151"], []),
    "WESAD": ([f"S{p}/S{p}.csv" for p in (2, 3, 17)], None, ["S2", "S17"], []),
    "WISDM 2019": (
        [f"raw/{d}/{s}/data_{p}_{s}_{d}.txt" for d in ("phone", "watch") for s in KINDS for p in (1600, 1601)],
        {"part": 1},
        ["1600", "1601"],
        ["{folder: 1} (2 ids", "{folder: 2} (2 ids", "{part: 1} (2 ids, files each: 1600 4, 1601 4)"],
    ),
    "RealWorld": (
        [f"proband{p}/data/acc_{a}_csv/acc_{a}_{w}.csv" for p in (1, 2) for a in ("walking", "lying") for w in BODY],
        {"folder": 0},
        ["proband1", "proband2"],
        ["{folder: 0} (2 ids, files each: proband1 4", "{part: 1} (2 ids", "{part: 2} (2 ids"],
    ),
    "SisFall": (
        [f"{p}/{a}_{p}_R0{r}.txt" for p in ("SA01", "SE06") for a in ("D01", "F05") for r in (1, 2)],
        {"folder": 0},
        ["SA01", "SE06"],
        ["{folder: 0} (2 ids", "{part: 0} (2 ids, files each: D01 4, F05 4)", "{part: 2} (2 ids"],
    ),
    "DSADS": (
        [f"a{a:02d}/p{p}/s{s:02d}.txt" for a in (1, 19) for p in (1, 8) for s in (1, 60)],
        {"folder": 1},
        ["p1", "p8"],
        ["{folder: 0} (2 ids, files each: a01 4", "{folder: 1} (2 ids, files each: p1 4", "{part: 0} (2 ids"],
    ),
    "Opportunity": (
        [f"dataset/S{p}-{r}.dat" for p in (1, 2, 3, 4) for r in ("ADL1", "ADL2", "Drill")],
        {"part": 0},
        ["S1", "S4"],
        ["{part: 0} (4 ids, files each: S1 3", "{part: 1} (3 ids, files each: ADL1 4"],
    ),
    "MotionSense": (
        [f"A_DeviceMotion_data/{a}/sub_{p}.csv" for a in ("dws_1", "ups_3") for p in (1, 2, 24)],
        {"part": 1},
        ["1", "24"],
        ["{folder: 1} (2 ids, files each: dws_1 3", "{part: 1} (3 ids, files each: 1 2"],
    ),
    "ExtraSensory": (
        [f"{uuid}.features_labels.csv.gz" for uuid in UUIDS],
        {"name": "[0-9A-F-]{36}"},
        [UUIDS[0]],
        ["{part: 0} (2 ids", "{part: 4} (2 ids"],
    ),
    "HAPT": (
        [f"RawData/acc_exp{e:02d}_user{u:02d}.txt" for e, u in ((1, 1), (2, 1), (3, 2))],
        {"part": 2},
        ["user01", "user02"],
        ["{part: 1} (3 ids", "{part: 2} (2 ids, files each: user01 2, user02 1)"],
    ),
    "Daphnet": (
        [f"S{p:02d}R{r:02d}.txt" for p in (1, 2, 10) for r in (1, 2)],
        {"part": 0, "name": "S[0-9]+"},
        ["S01", "S10"],
        ["{part: 0} (6 ids", "{part: 0, name: 'S[0-9]+'} (3 ids, files each: S01 2, S02 2, S10 2)"],
    ),
    "SP-SW-HAR": (
        [f"DATA/s{p:02d}/s{p:02d}_{e:02d}_{d}.csv" for p in (1, 2) for e in (1, 2) for d in ("sp", "sw")],
        {"folder": 1},
        ["s01", "s02"],
        ["{folder: 1} (2 ids, files each: s01 4, s02 4)", "{part: 1}", "{part: 2}"],
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_public_data_sets(tmp_path, name):
    files, where, some, offered = LAYOUTS[name]
    for seed, file in enumerate(files):
        path = table(tmp_path / "data" / file.removesuffix(".gz"), seed)
        if file.endswith(".gz"):
            (tmp_path / "data" / file).write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    suffixes = sorted({Path(file.removesuffix(".gz")).suffix for file in files})
    if where is not None:
        with pytest.raises(InputError, match="subject must be declared") as refused:
            module(tmp_path / "data", suffixes=suffixes).load()
        for line in offered:
            assert f"subject: {line}" in str(refused.value)
    found = people(module(tmp_path / "data", suffixes=suffixes, subject=where))
    assert len(found) == len(files)
    assert set(some) <= set(found.values())
    assert len(set(found.values())) == len({re.sub(r"\W", "", who) for who in found.values()})


def test_hhar_names_its_users_in_a_column(tmp_path):
    root = folder(tmp_path, ["Phones_accelerometer.csv"], columns={"User": np.repeat(["a", "b", "i"], 100), "gt_": "x"})
    with pytest.raises(InputError, match=r"subject: \{column: User\} \(3 ids, files each: a 1, b 1, i 1\)"):
        module(root).load()
    assert sorted(set(module(root, subject={"column": "User"}).load().subject.tolist())) == ["a", "b", "i"]


def test_parts_that_some_files_lack_vary():
    found = candidates([Path("walk.csv"), Path("walk_2.csv")])
    assert {str(where): ids for where, ids in found.items()} == {"{part: 1}": ["", "2"]}


# ---- copies ---------------------------------------------------------------------------------------------------------
def test_a_file_of_two_people_is_warned_of(tmp_path, recwarn):
    names = [f"P{p}/{t}.csv" for p in range(8) for t in ("am", "pm")]
    root = folder(tmp_path, names)

    def warned(**more):
        recwarn.clear()
        module(root, subject={"folder": 0}, **more).setup()
        return [str(w.message) for w in recwarn.list if "equal byte for byte" in str(w.message)]

    assert not warned()
    shutil.copy(root / "P1/am.csv", root / "P1/again.csv")  # of one person
    assert not warned()
    shutil.copy(root / "P1/am.csv", root / "P3/noon.csv")
    (root / "P4/noon.csv").symlink_to(root / "P0/pm.csv")
    (line,) = warned()
    assert "P0/pm.csv of P0 and " in line
    assert "P4/noon.csv of P4 are equal byte for byte, and so are 1 further files" in line
    assert "subjects: {P4: P0}" in line
    assert not warned(subjects={"P4": "P0", "P3": "P1"})  # the remedy
