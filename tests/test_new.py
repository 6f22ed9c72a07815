"""`kdlab new`: what it finds, what it asks for, and that the study that it writes runs to its end."""

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

from kdlab import cli, usage
from kdlab.data import ArrayDataModule
from kdlab.new import examples
from kdlab.new.command import main
from kdlab.new.found import Found, described
from kdlab.new.sizes import sizes_of
from kdlab.study.command import main as study
from kdlab.study.plan import Study
from kdlab.study.tuning.declared import read_tune
from kdlab.study.tuning.people import plan_people
from kdlab.types import InputError, MissingFileError
from tests.device_files import write_cwa

FILES = {
    *("data.yaml", "student.yaml", "scratch.yaml", "kd.yaml", "kd_views.yaml", "study.yaml"),
    *("teacher_raw.yaml", "teacher_gaf.yaml", "teacher_pi.yaml"),
    *("kdlab.run.schema.json", "kdlab.study.schema.json"),
}


def windows(n=96, people=6, length=40, classes=2):
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    turn = np.arange(length) * (0.2 + 0.3 * y[:, None, None])
    x = np.sin(turn + rng.uniform(0, 6, (n, 3, 1))) + 0.1 * rng.normal(size=(n, 3, length))
    return x.astype(np.float32), y, np.arange(n) * people // n


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(*words):
    with pytest.raises(InputError) as caught:
        main(words)
    return str(caught.value)


def read(path):
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


def test_a_study_of_an_npz_runs_to_its_end_from_another_folder(here, monkeypatch, capsys):
    x, y, who = windows()
    np.savez("my.npz", x=x, y=np.array(["sit", "walk"])[y], subject=who)
    main(["deep/mine", "--data", "my.npz", "--rate", "20", "--channels", "a,b,c"])
    said = capsys.readouterr().out
    assert "96, of 40 samples (2 s at 20 Hz)" in said
    assert "classes   2, windows each: sit 48, walk 48" in said
    assert "doubt: 6 people are few" in said
    assert {path.name for path in Path("deep/mine").iterdir()} == FILES
    for path in Path("deep/mine").glob("*.yaml"):
        assert path.read_text(encoding="utf-8").startswith("# ")
        assert max(map(len, path.read_text(encoding="utf-8").replace(str(here), "").splitlines())) <= 120

    file = (here / "deep/mine/study.yaml").resolve()
    text = file.read_text(encoding="utf-8")
    assert re.search(r"^folds: 3 ", text, re.MULTILINE)
    tuned = file.with_name("tuned.yaml")
    tuned.write_text(re.sub(r"^# (tune:|  )", r"\1", text, flags=re.MULTILINE), encoding="utf-8")
    tune = read_tune(Study.read(tuned))
    assert tune is not None
    assert (tune.trials, tune.people) == (8, "fold")
    assert len(plan_people(Study.read(tuned), tune)[1]) == 3

    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    study([str(file), "--dry-run"], cli.run, cli.check, cli.build)
    assert "36 jobs" in capsys.readouterr().out
    short = text.replace("seeds: 3", "seeds: 1").replace("folds: 3 ", "folds: [['0', '1']] ")
    file.write_text(re.sub(r"updates: \d+", "updates: 2", short), encoding="utf-8")
    study([str(file)], cli.run, cli.check, cli.build)
    with open("runs/mine/study/results.csv", encoding="utf-8") as table:
        rows = {row["run"] for row in csv.DictReader(table)}
    assert rows == {"teacher_raw", "teacher_gaf", "teacher_pi", "scratch", "kd", "kd_views"}


def test_what_an_npz_leaves_open_is_asked_for_at_once(here):
    x, y, who = windows()
    np.savez("odd.npz", signal=x, act=y, who=who, fs=20)
    assert "Write --windows signal." in refusal("f", "--data", "odd.npz")
    said = refusal("f", "--data", "odd.npz", "--windows", "signal")
    assert "3 options must be given" in said
    assert "Write --labels act | --labels who." in said
    assert "--people act | --people who | --people none" in said
    assert "the file has fs = 20" in said
    words = ["--windows", "signal", "--labels", "act", "--people", "who"]
    assert refusal("f", "--data", "odd.npz", *words, "--rate", "fast").startswith("--rate must be")
    assert not Path("f").exists()
    main(["f", "--data", "odd.npz", *words, "--rate", "20"])
    data = read("f/data.yaml")["data"]["init_args"]
    assert data["keys"] == {"x": "signal", "y": "act", "subject": "who"}
    assert (data["sampling_rate"], data["path"]) == (20, str((here / "odd.npz").resolve()))
    assert data["dataset"] == "odd"  # not that of all npz files


def test_unknown_people_have_no_folds_and_axes_are_not_guessed(here, capsys):
    x, y, _ = windows()
    np.savez("w.npz", x=np.swapaxes(x, 1, 2), y=y)
    words = ["--data", "w.npz", "--rate", "unknown", "--people", "none"]
    assert "Write --set layout=NTC (40 samples of 3 channels)" in refusal("f", *words)
    with pytest.warns(UserWarning, match="Neither subjects nor recordings"):
        main(["f", *words, "--set", "layout=NTC"])
    said = capsys.readouterr().out
    assert "doubt: people are unknown" in said
    assert "doubt: the sampling rate is unknown" in said
    content = read("f/study.yaml")
    assert "folds" not in content
    assert read("f/data.yaml")["data"]["init_args"]["layout"] == "NTC"
    assert read("f/scratch.yaml")["model"]["init_args"]["net"]["init_args"]["in_channels"] == 3


def test_doubts_about_classes_channels_and_samples(here, capsys):
    x, y, who = windows(people=8)
    y[:4] = 2  # a class of the first person alone
    x[:, 1] = 4.0
    x[50, 0, 3] = np.nan
    np.savez("w.npz", x=x, y=np.array(["sit", "walk", "jump"])[y], subject=who)
    main(["f", "--data", "w.npz", "--rate", "20"])
    said = capsys.readouterr().out
    assert "doubt: channel channel_1 has one value throughout" in said
    assert "doubt: 1 windows with missing samples are left out" in said
    assert "doubt: class jump has 4 windows" in said
    assert "left out (drop_classes in data.yaml): jump (0)" in said
    data = read("f/data.yaml")["data"]["init_args"]
    assert (data["drop_classes"], data["missing"]) == (["jump"], "drop")
    assert read("f/teacher_pi.yaml")["model"]["init_args"]["net"]["init_args"]["num_classes"] == 2


def test_a_split_of_the_file_is_kept_and_halves_are_tuned_on(here):
    x, y, who = windows(192, 12)
    kept = who < 9
    parts = {"x_train": x[kept], "y_train": y[kept], "subject_train": who[kept]}
    np.savez("w.npz", **parts, x_test=x[~kept], y_test=y[~kept], subject_test=who[~kept])
    main(["f", "--data", "w.npz", "--rate", "20", "--set", "batch_size=12"])
    assert "folds" not in read("f/study.yaml")
    assert read("f/data.yaml")["data"]["init_args"]["batch_size"] == 12
    np.savez("words.npz", x=x, y=np.array(["sit", "walk", "Walk"])[np.arange(192) % 3], subject=who)
    main(["merged", "--data", "words.npz", "--rate", "20", "--set", "labels={Walk: walk}"])
    assert read("merged/kd.yaml")["include"] == ["data.yaml", "student.yaml"]
    assert read("merged/student.yaml")["model"]["init_args"]["student"]["init_args"]["num_classes"] == 2
    np.savez("all.npz", x=x, y=y, subject=who)
    main(["g", "--data", "all.npz", "--rate", "20"])
    text = Path("g/study.yaml").read_text(encoding="utf-8")
    Path("g/tuned.yaml").write_text(re.sub(r"^# (tune:|  )", r"\1", text, flags=re.MULTILINE), encoding="utf-8")
    tune = read_tune(Study.read("g/tuned.yaml"))
    assert tune is not None
    assert tune.people == "halves"
    assert sum(len(part.people) for part in plan_people(Study.read("g/tuned.yaml"), tune)[1]) == 12
    np.savez("many.npz", x=x, y=np.stack([y, 1 - y], axis=1), subject=who)
    assert "labels: many" in refusal("h", "--data", "many.npz", "--labels", "y", "--rate", "20")


def found_of(n, people, length=40):
    return described({}, ArrayDataModule(*windows(n, people, length)), "20")


@pytest.mark.parametrize(
    ("people", "folds"), [(3, "leave_one_subject_out"), (5, "leave_one_subject_out"), (6, 3), (8, 4), (24, 5)]
)
def test_folds_by_the_number_of_people(people, folds):
    found = found_of(24 * people, people)
    assert isinstance(found, Found)
    sizes = sizes_of(found)
    assert sizes.folds == folds
    assert sizes.split == ({"val_count": 1} if people == 3 else {})
    assert sizes.image == 24


def test_two_people_are_too_few_and_updates_grow_with_the_data():
    with pytest.raises(InputError, match="at least 3 must be there"):
        sizes_of(found_of(60, 2))
    small, large = sizes_of(found_of(90, 6, 16)), sizes_of(found_of(9000, 6, 16))
    assert (small.batch_size, small.updates, small.depth, small.image) == (8, 300, 10, 16)
    assert large.batch_size == 64
    assert 300 < large.updates <= 3000
    assert large.depth == (16 if large.teacher_width == 3 else 10)


def recordings(folder, people=4):
    rng = np.random.default_rng(0)
    for person in range(1, people + 1):
        for part in ("am", "pm"):
            file = Path(folder, f"P{person}", f"{part}_imu.csv")
            file.parent.mkdir(parents=True, exist_ok=True)
            rows = ["t,x,y,z,hr,act"]
            for k in range(500):
                label, size = (("rest", 0.1), ("walk", 0.9))[k // 250]
                a, b, c = size * np.sin(k / 5 + np.arange(3)) + rng.normal(0, 0.02, 3)
                rows.append(f"{k / 50:.2f},{a:.3f},{b:.3f},{c:.3f},60,{label}")
            file.write_text("\n".join(rows) + "\n", encoding="utf-8")


def test_a_folder_of_tables(here, capsys):
    recordings("rec")
    said = refusal("f", "--data", "rec")
    assert "the columns of am_imu.csv are t, x, y, z, hr, act" in said
    assert "Write --people folder:0 (P1, P2, P3, P4) | --people part:0 (am, pm)" in said
    assert "--labels act" in said
    assert "--labels 'file:{name}_labels.csv'" in said
    words = ["--data", "rec", "--channels", "x,y,z", "--people", "folder:0", "--labels", "act", "--rate", "50"]
    assert "Write --time t | --time hr | --time none" in refusal("f", *words)
    main(["f", *words, "--time", "t", "--set", "units=[g, g, g]"])
    said = capsys.readouterr().out
    assert "8 recordings, such as am_imu.csv" in said
    assert "people    4, windows each: P1" in said
    assert "units" not in said
    data = read("f/data.yaml")["data"]["init_args"]
    assert data["subject"] == {"folder": 0}
    assert data["dataset"] == Path(data["root"]).name
    assert (data["window"], data["step"], data["label"], data["time"]) == (100, 50, "act", "t")
    assert read("f/study.yaml")["folds"] == "leave_one_subject_out"
    study(["f/study.yaml", "--dry-run"], cli.run, cli.check, cli.build)
    assert "subjectP4" in capsys.readouterr().out


def test_one_recording_is_of_one_person_and_names_its_folder(here):
    recordings("rec", 1)
    said = refusal("f", "--data", "rec/P1/am_imu.csv")
    assert f"--data {here.resolve() / 'rec/P1'}" in said
    assert "--data.predict_root" in said
    Path("rec/week.cwa").write_bytes(b"MD")
    assert "one recording of a device with x (g), y (g), z (g), gx (deg/s)" in refusal("f", "--data", "rec/week.cwa")
    assert "must be of one kind, but got .csv, .cwa" in refusal("f", "--data", "rec")
    Path("empty").mkdir()
    assert "but got no files" in refusal("f", "--data", "empty")


def test_raw_files_of_a_device_have_labels_in_tables_beside_them(here, capsys):
    pytest.importorskip("actfast")
    begin = np.datetime64("2024-05-06T09:00:00")
    for person in "ABCD":
        Path("watches", person).mkdir(parents=True)
        k = np.arange(80 * 40)
        size = np.where(k < 1600, 0.05, 0.9)[:, None]
        counts = (256 * size * np.sin(k[:, None] / 8 + np.arange(3))).round().astype(np.int64)
        write_cwa(Path("watches", person, "wrist.cwa"), counts)
        spans = [f"{begin},{begin + 16},rest", f"{begin + 16},{begin + 32},walk"]
        Path("watches", person, "wrist_labels.csv").write_text("\n".join(["start,end,label", *spans]) + "\n")
    words = ["--data", "watches", "--people", "folder:0", "--rate", "50"]
    assert "of wrist.cwa are x, y, z" in refusal("f", *words, "--labels", "file:{name}_labels.csv")
    main(["f", *words, "--labels", "file:{name}_labels.csv", "--channels", "x,y,z", "--set", "time_unit=iso"])
    assert "classes   2, windows each: rest" in capsys.readouterr().out
    data = read("f/data.yaml")["data"]["init_args"]
    assert (data["suffixes"], data["intervals"]) == ([".cwa"], {"file": "{name}_labels.csv"})


def without_labels(kind, y):
    gone = np.arange(len(y)) % 5 == 0
    words = np.array(["sit", "walk"])[y]
    return {"-1": np.where(gone, -1, y), "nan": np.where(gone, np.nan, y), "empty": np.where(gone, "", words)}[kind]


@pytest.mark.parametrize("kind", ["-1", "nan", "empty"])
def test_windows_without_a_label_are_said_in_one_line(here, capsys, kind):
    """The line that the refusal recommends writes a study that runs."""
    x, y, who = windows()
    np.savez("some.npz", x=x, y=without_labels(kind, y), subject=who)
    words = ["some", "--data", "some.npz", "--rate", "20"]
    line = "--set 'unlabelled={missing: true}'"
    message = refusal(*words)
    assert "y must have a label for each window, but 20 of 96 have none" in message
    assert f"Write {line}:" in message
    assert line in refusal(*words, "--set", "unlabelled={labelled: 2}")
    main([*words, *shlex.split(line)])
    said = capsys.readouterr().out
    assert "classes   2, windows each: " in said and " 38, " in said  # noqa: PT018
    assert "no label  20 windows" in said
    assert read("some/data.yaml")["data"]["init_args"]["unlabelled"] == {"missing": True}
    if kind == "-1":
        study(["some/study.yaml", "--dry-run"], cli.run, cli.check, cli.build)
        assert "36 jobs" in capsys.readouterr().out


def test_a_class_that_is_none_is_without_a_label(here):
    x, y, who = windows(classes=3)
    np.savez("some.npz", x=x, y=np.array(["null_", "sit", "walk"])[y], subject=who)
    words = ["some", "--data", "some.npz", "--rate", "20", "--set"]
    for given in ("unlabelled=3", "unlabelled=[missing]"):
        assert "--set unlabelled must be a mapping" in refusal(*words, given)
    assert "Did you mean 'missing'?" in refusal(*words, "unlabelled={mising: true}")
    main([*words, "unlabelled={classes: [null_]}"])
    assert "num_classes: 2" in Path("some/scratch.yaml").read_text(encoding="utf-8")


def test_nothing_is_replaced_and_wrong_words_are_refused(here):
    x, y, who = windows()
    np.savez("w.npz", x=x, y=y, subject=who)
    np.save("w.npy", x)
    Path("f").mkdir()
    Path("f/notes.txt").write_text("mine")
    main(["f", "--data", "w.npz", "--rate", "20"])
    before = {path: path.read_bytes() for path in Path("f").iterdir()}
    assert "because none is replaced" in refusal("f", "--data", "w.npz", "--rate", "20")
    assert "because none is replaced" in refusal("f", "--example", "demo")
    assert {path: path.read_bytes() for path in Path("f").iterdir()} == before
    assert "'w.npz' is a file" in refusal("w.npz", "--example", "demo")
    assert "np.savez" in refusal("g", "--data", "w.npy")
    assert "one of them must be given" in refusal("g")
    assert "KEY=VALUE" in refusal("g", "--data", "w.npz", "--set", "layout")
    assert "Did you mean 'layout'?" in refusal("g", "--data", "w.npz", "--set", "layot=NTC")
    assert "that is no class, but got 'views'" in refusal("g", "--data", "w.npz", "--set", "views={}")
    assert "which are cut" in refusal("g", "--data", "w.npz", "--time", "t")
    with pytest.raises(MissingFileError, match="is not there"):
        main(["g", "--data", "nothing.npz"])
    Path("bad.npz").write_bytes(b"no zip")
    assert "cannot be read" in refusal("g", "--data", "bad.npz")
    assert not Path("g").exists()


def test_every_example_stands_on_its_own(here):
    assert "Did you mean 'shoulder_watch'?" in refusal("f", "--example", "shoulder_watc")
    assert {"demo", "shoulder_watch", "sp_sw_har"} <= set(examples.names())
    assert not {"methods", "base"} & set(examples.names())
    for name in examples.names():
        main([name, "--example", name])
        for path in Path(name).rglob("*.yaml"):
            content = read(path)
            included = content.get("include", [])
            named = [included] if isinstance(included, str) else included
            assert all((path.parent / one).is_file() for one in named), (path, named)
            assert "../" not in path.read_text(encoding="utf-8").replace("$schema=../", "$schema=")
        for file in Path(name).glob("study*.yaml"):
            assert Study.read(file).runs


def test_examples_are_read_from_the_package_of_a_wheel(tmp_path, monkeypatch):
    for name in ("mine", "methods", "base"):
        (tmp_path / "examples" / name).mkdir(parents=True)
    (tmp_path / "examples/mine/run.yaml").write_text("run: mine/run\n", encoding="utf-8")
    monkeypatch.setattr(examples.importlib.resources, "files", lambda _: tmp_path)
    assert examples.names() == ["mine"]
    assert examples.example("mine", "f") == {"run.yaml": "run: mine/run\n"}
    monkeypatch.setattr(examples.importlib.resources, "files", lambda _: tmp_path / "nothing" / "kdlab")
    with pytest.raises(InputError, match="has no examples"):
        examples.names()


def test_the_command_is_listed():
    assert "new" in cli.COMMANDS
    assert usage.new().parse_args(["f", "--set", "a=1", "--set", "b=2"]).set == ["a=1", "b=2"]
