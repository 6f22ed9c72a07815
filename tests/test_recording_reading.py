"""Tables of recordings: read as they are written, or refused with the line."""

import csv
import gzip
import io
import tracemalloc

import numpy as np
import pytest

from kdlab.data import RecordingDataModule
from kdlab.data.recordings import rows as text_rows
from kdlab.data.recordings.resample import NO_LABEL
from kdlab.data.recordings.store import MISSING
from kdlab.types import InputError

ROWS = 200


def module(root, **more):
    settings = {
        "channels": ["x", "y", "z"],
        "window": 20,
        "sampling_rate": 50.0,
        "batch_size": 8,
        "subject": {"folder": -1},
        "agree": 0.01,
    }
    return RecordingDataModule(root, cache_dir=root.parent / "kept", **{**settings, **more})


def write(tmp_path, text, name="p1/a.csv", encoding="utf-8"):
    file = tmp_path / "data" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    raw = text if isinstance(text, bytes) else text.encode(encoding)
    file.write_bytes(gzip.compress(raw) if file.suffix == ".gz" else raw)
    return tmp_path / "data"


def kept(root, **more):
    """Signal and label words of the one recording."""
    data = module(root, **more)
    _, (stored,) = data._stored()
    words = np.array([*stored.labels, "(missing)", ""])  # codes -2 and -1
    return np.array(stored.signal()), words[stored.codes()].tolist()


def numbers(rows=ROWS, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, 3)).round(4)


def table(x, label="walk", delimiter=",", decimal=".", header="x,y,z,label", line="\n"):
    rows = [[str(v).replace(".", decimal) for v in row] + [label] for row in x.tolist()]
    head = [header.replace(",", delimiter)] if header else []
    return line.join([*head, *(delimiter.join(row) for row in rows)]) + line


# ---- a row of the wrong width ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("quoted", [False, True])
def test_a_row_too_long_and_one_too_short_do_not_cancel(tmp_path, quoted):
    """The battery must not be read as y."""
    lines = table(numbers(), header="x,y,z,battery,label").splitlines()
    lines = [lines[0]] + [line.replace(",walk", ",87,walk") for line in lines[1:]]
    if quoted:
        lines = [line.replace("walk", '"walk, slowly"') for line in lines]
    lines[50] = lines[50].replace(",", ",9.99,", 1)
    lines[120] = lines[120].replace(",", ";", 1)
    root = write(tmp_path, "\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"a.csv, line 51: expected 5 cells, got 6"):
        kept(root)
    lines[50], lines[51] = lines[49], lines[49]
    root = write(tmp_path, "\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"a.csv, line 121: expected 5 cells, got 4"):
        kept(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[:-9], r"line 201: expected 4 cells, got [123]|line 201: expected a number"),
        (lambda t: t.replace("walk\n", "walk,\n"), "line 2: expected 4 cells, got 5.*does each row end with a delim"),
        (lambda t: t.replace(",", ";"), r'got the header .x;y;z;label.; is .;. between the columns\? Set csv: .*";"'),
        (lambda t: t.partition("\n")[2], r"has it no header\? Set csv: \{header: false"),
        (lambda t: "made by a program\n\n" + t, r"line 1: expected one column 'x', got the header 'made by"),
        (lambda t: t.replace("\n", "\r"), "single carriage returns"),
        (lambda t: t[:2000] + "\0" * 100 + t[2000:], "expected text, got zero bytes"),
        (lambda t: t.replace("x,y", "x,x"), r"expected one column 'x', got the header 'x,x,z,label'"),
        (lambda t: t.replace("\n", "\n\n", 30)+ "1,2,3\n", r"expected 4 cells, got 3: '1,2,3'"),
        (lambda t: t.replace("walk", 'wa"lk', 3), "line 2: expected \" around complete cells"),
        (lambda t: t.replace("walk", '"walk', 1), "line 2: expected \" around complete cells"),
        (lambda t: t.replace("walk", '"walk" now', 2), "line 2: expected \" around complete cells"),
        (lambda t: t.replace("walk", "höhe").encode("latin-1"), "must be text in utf-8, but has the byte 0xf6.*latin"),
        (lambda t: b"MD\xfc\x03\0" + t.encode(), r"must be a table as text, but is binary. Export it as CSV"),
        (lambda t: t.encode("utf-16"), r"must be text, but is utf-16; set csv: \{encoding: utf-16\}"),
        (lambda t: gzip.compress(t.encode()), "must be text, but is gzip"),
        (lambda t: t.replace(".", ","), r"line 2: expected 4 cells, got [567]"),
        (lambda t: t.replace("label\n", "label\n0x10,1,1,a\n"), r"line 2: expected a number in column 1 .*got '0x10'"),
        (lambda t: t.replace("label\n", "label\nTrue,1,1,a\n"), r"line 2: expected a number in column 1 .*got 'True'"),
        (lambda t: t.replace("label\n", "label\n1,--,1,walk\n"), r"got '--'; a word for missing values is declared"),
        (lambda t: t.replace(".", ":", 1), "expected a number in column 1 .*a word for missing values is declared"),
        (lambda t: "x,y,z,label\n", "no samples in it"),
        (lambda t: "", "must have a header and samples, but it is empty"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, change, message):
    root = write(tmp_path, change(table(numbers())))
    with pytest.raises(InputError, match=message) as refused:
        kept(root)
    assert "\n" not in str(refused.value)


def test_dates_where_seconds_are_declared_name_the_unit(tmp_path):
    x = numbers()
    lines = [f"2023-11-14 22:13:{k / 50:09.6f},{row}" for k, row in enumerate(table(x, header="").splitlines())]
    root = write(tmp_path, "\n".join(["t,x,y,z,label", *lines]) + "\n")
    with pytest.raises(InputError, match=r"line 2: expected a number in column 1 \(t\), .*; set time_unit: iso"):
        kept(root, time="t")
    assert len(kept(root, time="t", time_unit="iso")[0]) == ROWS


@pytest.mark.parametrize("fill", [["z"], "previous", {"z"}])
def test_fill_that_is_no_mapping_is_refused(tmp_path, fill):
    with pytest.raises(InputError, match=r"fill: must be a mapping of channels.* Write fill: \{z: previous\}"):
        module(tmp_path / "data", fill=fill)


def test_blank_lines_and_line_ends(tmp_path):
    x = numbers()
    for change in (
        lambda t: t.replace("\n", "\r\n"),
        lambda t: t.replace("\n", "\n\n"),
        lambda t: t.replace("\n", "\n  \r\n"),
        lambda t: t.rstrip("\n"),
        lambda t: "\ufeff" + t,
        lambda t: t.replace(",", ", "),
    ):
        signal, words = kept(write(tmp_path, change(table(x))))
        np.testing.assert_array_equal(signal, x.astype(np.float32))
        assert set(words) == {"walk"}
    root = write(tmp_path, "v\n1\n2\n\n3\n", "p2/b.csv")
    with pytest.raises(InputError, match="line 4: expected a value, got an empty line"):
        module(root, channels=["v"], label={"folder": 0}, pattern="b").load()


def test_upper_case_suffix_and_packed_files(tmp_path):
    x = numbers()
    for name in ("p1/a.CSV", "p2/a.csv.gz", "p3/a.Csv.GZ"):
        root = write(tmp_path, gzip.compress(table(x).encode()) if name.endswith("GZ") else table(x), name)
    data = module(root).load()
    assert len(data) == 30
    assert sorted(set(data.recording.tolist())) == ["p1/a", "p2/a", "p3/a"]
    np.testing.assert_array_equal(data.windows["raw"][:10], data.windows["raw"][20:])
    half = root / "p2" / "a.csv.gz"
    half.write_bytes(half.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"a.csv.gz: cannot be unpacked.*half-written"):
        module(root).load()


# ---- how it is written ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"delimiter": ";", "decimal": ","}, lambda x: table(x, delimiter=";", decimal=",")),
        ({"delimiter": "tab", "encoding": "utf-16"}, lambda x: table(x, delimiter="\t").encode("utf-16")),
        ({"delimiter": "\t", "encoding": "latin-1"}, lambda x: table(x, "größe", "\t").encode("latin-1")),
        ({"delimiter": "whitespace"}, lambda x: table(x, delimiter="  ", header=" x y \t z label")),
        ({"delimiter": "whitespace"}, lambda x: table(x, '"5"', " ")),
        ({"delimiter": "space"}, lambda x: table(x, delimiter=" ")),
        ({"delimiter": "|", "quote": "'"}, lambda x: table(x, "'a|b'", "|")),
        ({"quote": None}, lambda x: table(x, '5"')),
        ({"skip": 3}, lambda x: 'device: "unbalanced\n\n1,2\n' + table(x)),
        ({"header": False, "names": ["x", "y", "z", "label"]}, lambda x: table(x, header="")),
        ({"names": ["x", "y", "z", "label"]}, lambda x: table(x, header="X (g),Y (g),Z (g),Activity")),
        ({"comment": "#"}, lambda x: "# made by\n".join(["x,y,z,label # names\n", table(x, header="")]) + "# end\n"),
        ({"comment": ";", "header": False, "names": ["x", "y", "z", "label"]}, lambda x: table(x, "walk;", header="")),
    ],
)
def test_forms(tmp_path, form, text):
    x = numbers()
    signal, words = kept(write(tmp_path, text(x)), csv=form)
    np.testing.assert_array_equal(signal, x.astype(np.float32))
    assert len(words) == ROWS
    assert len(set(words)) == 1


def test_columns_without_names_are_numbers(tmp_path):
    x = numbers()
    root = write(tmp_path, table(x, header=""))
    signal, _ = kept(root, csv={"header": False}, channels=["2", "0"], label="3")
    np.testing.assert_array_equal(signal, x[:, [2, 0]].astype(np.float32))


def test_a_number_with_another_decimal_mark_is_refused(tmp_path):
    root = write(tmp_path, table(numbers(), delimiter=";", decimal=","))
    with pytest.raises(InputError, match=r'line 2: expected a number in column 1 \(x\).*set csv: \{decimal: ","\}'):
        kept(root, csv={"delimiter": ";"})
    root = write(tmp_path, table(numbers(), delimiter=";"))
    with pytest.raises(InputError, match=r"line 2: expected a number in column 1 \(x\), got '-?\d\.\d+'"):
        kept(root, csv={"delimiter": ";", "decimal": ","})
    for cell, remedy in (
        ("1700000000.000", r'csv: \{decimal: ","\} is for all columns, but this number has a point'),
        ("1.234,5", "write numbers without a separator of thousands"),
    ):
        root = write(tmp_path, f"x;y;z;label\n{cell};0,05;0,5;walk\n".encode())
        with pytest.raises(InputError, match=rf"got '{cell}'; {remedy}"):
            kept(root, csv={"delimiter": ";", "decimal": ","})


def test_recordings_of_several_rates_are_counted(tmp_path):
    """`recorded_at` of one of them would be wrong for the others."""
    for k, rate in enumerate((50, 50.2, 1, 49.9, 1)):
        rows = "".join(f"{i / rate:.6f},{i % 7},walk\n" for i in range(200))
        root = write(tmp_path, "t,x,label\n" + rows, f"p{k}/a.csv")
    settings = {"channels": ["x"], "time": "t"}
    with pytest.raises(
        InputError, match=r"p2/a\.csv: .* Of the first 5 recordings there are 2 at 1 Hz, 3 at 49\.9 Hz"
    ) as one:
        module(root, **settings).load()
    assert "Set recorded_at" not in str(one.value)
    assert "recorded_at is for all of them: leave those of the other rate out (pattern:)" in str(one.value)
    with pytest.raises(InputError, match=r"Set time_unit: ms .*, or set recorded_at: 50 if"):
        module(root, sampling_rate=50_000.0, pattern="a", window=100, **settings).load()


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"delimiter": ";;"}, "delimiter must be one ASCII character"),
        ({"delimiter": ","  , "decimal": ","}, "must be different"),
        ({"decimal": "x"}, "decimal must be"),
        ({"encoding": "utf8000"}, "encoding must be one that Python knows"),
        ({"skip": -1}, "skip must be a number of lines"),
        ({"separator": ","}, "csv must be a mapping of delimiter, decimal"),
        ({"skip": 999}, "must have more than skip=999 lines"),
        ({"names": ["x", "y", "z"]}, "line 1: expected 3 columns as in names, got 4"),
    ],
)  # fmt: skip
def test_wrong_forms(tmp_path, form, message):
    root = write(tmp_path, table(numbers()))
    with pytest.raises(InputError, match=message):
        kept(root, csv=form)


def hostile(seed, rows=300):
    """A table with quotes, blank lines, missing values and words that look like numbers, and what it says."""
    rng = np.random.default_rng(seed)
    words = ["walk", 'say ""no""', "a, b", "1.0", "two\nlines", "NA", "", "x" * 90, "x" * 90 + "y"]
    text, want = io.StringIO(), []
    text.write('"x","note",y,label,z\n')
    for _ in range(rows):
        cells = [rng.choice(["", "nan", "NA", "1e3", "-0.5", ".25", "inf", "7"]) for _ in range(3)]
        note, label = words[rng.integers(len(words))], words[rng.integers(len(words))]
        quoted = [f'"{w}"' if set(w) & set('," \n') or rng.random() < 0.3 else w for w in (note, label)]
        text.write(f"{cells[0]},{quoted[0]},{cells[1]},{quoted[1]},{cells[2]}\n")
        if rng.random() < 0.1:
            text.write("\n")
    for row in csv.reader(io.StringIO(text.getvalue())):
        if row and row[0] != "x":
            values = [float("nan" if c in ("", "NA") else c) for c in (row[0], row[2], row[4])]
            want.append((values, row[3].strip()))
    return text.getvalue(), want


@pytest.mark.parametrize("block", [16, 100, 2**23])
@pytest.mark.parametrize("seed", range(4))
def test_equal_to_pythons_own_reader_whatever_the_blocks(tmp_path, monkeypatch, seed, block):
    """Labels of any length; missing labels and values do not depend on other cells."""
    text, want = hostile(seed)
    monkeypatch.setattr(text_rows, "BLOCK", block)
    root = write(tmp_path, text)
    data = module(root, no_label=[])
    _, (stored,) = data._stored()
    x = np.array([values for values, _ in want])
    x[~np.isfinite(x)] = np.nan
    np.testing.assert_array_equal(stored.signal(), x.astype(np.float32))
    label = np.array([*stored.labels, "", ""], object)[stored.codes()]
    one = {"1.0": "1"}
    fine = stored.codes() != MISSING
    assert label[fine].tolist() == [one.get(w, w) for (_, w), f in zip(want, fine, strict=True) if f]
    assert (stored.codes()[fine] == NO_LABEL).sum() == sum(w == "" for (_, w), f in zip(want, fine, strict=True) if f)


def test_words_for_no_label_do_not_depend_on_other_cells(tmp_path, caplog):
    x = numbers()
    lines = table(x).splitlines()
    for k, word in enumerate(("null", "NA", "?", "None"), start=1):
        lines[10 * k : 10 * k + 5] = [line.replace("walk", word) for line in lines[10 * k : 10 * k + 5]]
    for empty in (False, True):
        if empty:
            lines[100] = lines[100].replace(lines[100].split(",")[0], "", 1)
        root = write(tmp_path, "\n".join(lines) + "\n")
        caplog.clear()
        with caplog.at_level("INFO"):
            assert module(root).load().classes == ["walk"]
        assert "samples without a class, by what is written: '?' 5, 'NA' 5, 'None' 5, 'null' 5" in caplog.text
        assert module(root, no_label=["?"]).load().classes == ["NA", "None", "null", "walk"]
        assert module(root, classes=["walk", "null"]).load().classes == ["walk", "null"]


def test_labels_follow_the_one_rule(tmp_path):
    x = numbers(rows=60)
    for k, words in enumerate((["1.0", "2.0", "0.0"], ["1", "2", "0"], [" 1 ", "2.00", "0"])):
        cells = [",".join([*map(str, row), words[i // 20]]) for i, row in enumerate(x.tolist())]
        root = write(tmp_path, "\n".join(["x,y,z,label", *cells]), f"p{k}/a.csv")
    assert module(root).load().classes == ["0", "1", "2"]
    for k, word in enumerate(("walk", "Walk", "run", "run")):
        root = write(tmp_path / "case", table(x, word), f"p{k}/a.csv")
    with pytest.raises(InputError, match=r"'Walk' and 'walk'.*labels: \{Walk: walk\}"):
        module(root).load()
    data = module(root, labels={"Walk": "walk"}).load()
    assert data.classes == ["run", "walk"]
    assert data.target.tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    both = table(x, "walk") + table(x, "Walk", header="")
    root = write(tmp_path / "vote", both)
    assert len(module(root, labels={"Walk": "walk"}, window=100, agree=1.0).load()) == 1  # they vote together


def test_declared_missing_values(tmp_path):
    x = numbers()
    x[7, 1] = -9999
    root = write(tmp_path, table(x))
    assert (kept(root)[0] == -9999).sum() == 1
    signal, words = kept(root, csv={"missing": ["-9999"]})
    assert np.isnan(signal[7, 1])
    assert words.count("(missing)") == 1


def test_memory_is_that_of_a_block(tmp_path, monkeypatch):
    """Reading twenty blocks takes no more memory than reading two."""
    monkeypatch.setattr(text_rows, "BLOCK", 2**18)
    text = table(numbers(4000), '"a, b"')
    peaks = []
    for k, times in enumerate((4, 40)):
        body = text.partition("\n")[2] * times
        root = write(tmp_path / str(k), "x,y,z,label\n" + body)
        kept(write(tmp_path / f"w{k}", text))  # what is imported on the way
        tracemalloc.start()
        module(root).prepare_data()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


# ---- as public data sets write them ---------------------------------------------------------------------------------
def spaced(x, before="", after="", between=" "):
    return "\n".join(before + between.join(f"{v:.4f}" for v in row) + after for row in x.tolist()) + "\n"


PUBLIC = {
    "PAMAP2": (
        "subject101.dat",
        lambda x: "".join(
            f"{8.38 + 0.02 * i:.2f} 1 NaN 30.375 {a} {b} {c}\n" for i, (a, b, c) in enumerate(x.tolist())
        ),
        {
            "csv": {
                "delimiter": "whitespace",
                "header": False,
                "names": ["t", "activity", "hr", "temp", "x", "y", "z"],
            },
            "label": "activity",
            "time": "t",
        },
    ),
    "MHEALTH": (
        "mHealth_subject1.log",
        lambda x: "".join(f"{a}\t{b}\t{c}\t4\n" for a, b, c in x.tolist()),
        {"csv": {"delimiter": "tab", "header": False}, "channels": ["0", "1", "2"], "label": "3"},
    ),
    "WISDM 1.1": (
        "WISDM_ar_v1.1_raw.txt",
        lambda x: "".join(
            f"33,Jogging,{49105962326000 + 20000000 * i},{a},{b},{c};\n\n" for i, (a, b, c) in enumerate(x.tolist())
        ),
        {
            "csv": {"comment": ";", "header": False, "names": ["user", "label", "time", "x", "y", "z"]},
            "time": "time",
            "time_unit": "ns",
            "subject": {"column": "user"},
        },
    ),
    "HARTH": (
        "S006.csv",
        lambda x: (
            "timestamp,x,y,z,label\n"
            + "".join(
                f"2019-01-12 00:00:{i // 50:02d}.{i % 50 * 20000:06d},{a},{b},{c},6\n"
                for i, (a, b, c) in enumerate(x.tolist())
            )
        ),
        {"time": "timestamp", "time_unit": "iso"},
    ),
    "Capture-24": (
        "P001.csv.gz",
        lambda x: (
            "time,x,y,z,annotation\n"
            + "".join(
                f'2016-11-13 02:18:{i // 50:02d}.{i % 50 * 20000:06d},{a},{b},{c},"7030 sleeping, lying;MET 0.95"\n'
                for i, (a, b, c) in enumerate(x.tolist())
            )
        ),
        {"time": "time", "time_unit": "iso", "label": "annotation"},
    ),
    "SisFall": (
        "D01_SA01_R01.txt",
        lambda x: "".join(f"{a:9.4f},{b:9.4f},{c:9.4f}; \n" for a, b, c in x.tolist()),
        {
            "csv": {"comment": ";", "header": False, "names": ["x", "y", "z"]},
            "label": {"part": 0},
        },
    ),
    "DSADS": (
        "a01/p1/s01.txt",
        lambda x: "".join(f"{a},{b},{c}\n" for a, b, c in x.tolist()),
        {"csv": {"header": False}, "channels": ["0", "1", "2"], "label": {"folder": 1}},
    ),
    "Opportunity": (
        "S1-ADL1.dat",
        lambda x: "".join(f"{20 * i} {a} {b} {c} NaN 1\n" for i, (a, b, c) in enumerate(x.tolist())),
        {
            "csv": {"delimiter": "space", "header": False, "names": ["ms", "x", "y", "z", "w", "locomotion"]},
            "label": "locomotion",
            "time": "ms",
            "time_unit": "ms",
        },
    ),
    "MotionSense": (
        "dws_1/sub_1.csv",
        lambda x: ",x,userAcceleration.y,z\n" + "".join(f"{i},{a},{b},{c}\n" for i, (a, b, c) in enumerate(x.tolist())),
        {"channels": ["x", "userAcceleration.y", "z"], "label": {"folder": -1, "name": "[a-z]+"}},
    ),
    "HHAR": (
        "Phones_accelerometer.csv",
        lambda x: (
            "Index,Arrival_Time,Creation_Time,x,y,z,User,Model,Device,gt\n"
            + "".join(
                f"{i},{1424696633908 + 20 * i},{1424696631913248572 + 20000000 * i},{a},{b},{c},a,nexus4,nexus4_1,"
                f"{'null' if i > 150 else 'stand'}\n"
                for i, (a, b, c) in enumerate(x.tolist())
            )
        ),
        {"time": "Creation_Time", "time_unit": "ns", "label": "gt", "subject": {"column": "User"}},
    ),
    "RealWorld": (
        "proband1/data/acc_walking_csv/acc_walking_waist.csv",
        lambda x: (
            "id,attr_time,attr_x,attr_y,attr_z\n"
            + "".join(f"{i},{1435993002330 + 20 * i},{a},{b},{c}\n" for i, (a, b, c) in enumerate(x.tolist()))
        ),
        {
            "channels": ["attr_x", "attr_y", "attr_z"],
            "time": "attr_time",
            "time_unit": "ms",
            "label": {"part": 1},
            "subject": {"folder": 1},
        },
    ),
    "Daphnet": (
        "S01R01.txt",
        lambda x: "".join(f"{20 * i} {a} {b} {c} {1 + (i > 99)}\n" for i, (a, b, c) in enumerate(x.tolist())),
        {
            "csv": {"delimiter": "space", "header": False, "names": ["ms", "x", "y", "z", "freeze"]},
            "label": "freeze",
            "time": "ms",
            "time_unit": "ms",
            "no_label": ["0"],
        },
    ),
}
LABELS = {
    "PAMAP2": {"1"},
    "MHEALTH": {"4"},
    "WISDM 1.1": {"Jogging"},
    "HARTH": {"6"},
    "Capture-24": {"7030 sleeping, lying;MET 0.95"},
    "SisFall": {"D01"},
    "DSADS": {"a01"},
    "Opportunity": {"1"},
    "MotionSense": {"dws"},
    "HHAR": {"stand"},
    "RealWorld": {"walking"},
    "Daphnet": {"1", "2"},
}


@pytest.mark.parametrize("name", PUBLIC)
def test_as_public_data_sets_write_them(tmp_path, name):
    x = numbers()
    path, text, settings = PUBLIC[name]
    root = write(tmp_path, text(x), f"top/{path}")
    settings = {"subject": {"folder": 0}, "suffixes": [".dat", ".log", ".txt", ".csv"], **settings}
    data = module(root, **settings).load()
    assert set(data.classes) == LABELS[name]
    windows = x.reshape(10, 20, 3).transpose(0, 2, 1)
    np.testing.assert_allclose(data.windows["raw"][:], windows[: len(data)], atol=2e-4)
    assert len(data) >= 8
    if name == "RealWorld":
        with pytest.raises(InputError, match=r"subject: \{column: id\}"):  # a row number that is named like a person
            module(root, **{**settings, "subject": None}).load()
