"""`kdlab new` on data as they come: each option counts, nothing is dropped, errors have the line to write."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

import kdlab
from kdlab import cli, usage
from kdlab.data import ArrayDataModule, RecordingDataModule, Unlabelled
from kdlab.methods.checkpoints import find_checkpoint
from kdlab.new.command import main
from kdlab.study.command import main as study
from kdlab.study.plan import Study
from kdlab.study.tuning.declared import read_tune
from kdlab.study.tuning.people import plan_people
from kdlab.types import InputError, MissingFileError
from tests.test_new import refusal


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(capsys, *words):
    main(words)
    return capsys.readouterr().out


def arrays(n=96, people=6, **more):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 3, 40)).astype(np.float32), np.arange(n) % 2
    return {"x": x, "y": y, "subject": np.arange(n) * people // n, **more}


RATE = ("--rate", "20")


def test_an_array_that_is_not_used_and_another_rate_are_told(here, capsys):
    np.savez("w.npz", **arrays(x_val=np.zeros((4, 3, 40)), session=np.zeros(96), fs=100, trial_hz=20))
    said = found(capsys, "f", "--data", "w.npz", *RATE)
    assert "unused    x_val (4, 3, 40), session (96,), fs (), trial_hz ()" in said
    assert "doubt: x_val is not used: its windows are neither trained on nor tested" in said
    assert "doubt: the file has fs = 100, but --rate is 20" in said
    assert "trial_hz = " not in said
    assert "unused" not in found(capsys, "g", "--data", str(saved("plain.npz")), *RATE)
    assert "--rate must be a number" in refusal("h", "--data", "w.npz", "--rate", "1_0")


def saved(name, **more):
    np.savez(name, **arrays(**more))
    return name


def test_labels_in_columns_and_from_one_and_objects_have_their_line(here):
    y = np.arange(96) % 2
    hot, column, one = saved("hot.npz", y=np.eye(2)[y]), saved("column.npz", y=y[:, None]), saved("one.npz", y=y + 1)
    assert "Each row has one 1: write y.argmax(axis=1)" in refusal("f", "--data", hot, *RATE)
    assert "Write y[:, 0]." in refusal("f", "--data", column, *RATE)
    assert "y.astype(str)" in refusal("f", "--data", one, *RATE)
    objects = saved("objects.npz", subject=np.array(["P1", "P2"] * 48, dtype=object))
    for said in (refusal("f", "--data", objects, *RATE), module_refusal(path=objects)):
        assert "got Python objects in subject" in said
        assert "values.astype(str)" in said
    x = arrays()["x"]
    assert "write y.argmax(axis=1)" in module_refusal(x=x, y=np.eye(2)[y], subject=np.arange(96))
    assert "unlabelled: {missing: true}" in module_refusal(x=x, y=y - 1, subject=np.arange(96))


def module_refusal(**arguments):
    with pytest.raises(InputError) as caught:
        ArrayDataModule(**arguments).load()
    return str(caught.value)


def test_a_class_without_windows_is_left_out_and_one_class_is_none(here, capsys):
    file = saved("w.npz", y=np.arange(96) % 2 + 1, classes=np.array(["null", "sit", "walk"]))
    said = found(capsys, "f", "--data", file, *RATE)
    assert "classes of at most one person are left out (drop_classes in data.yaml): null (no windows)" in said
    assert yaml.safe_load(Path("f/data.yaml").read_text())["data"]["init_args"]["drop_classes"] == ["null"]
    assert "in_channels: 3, num_classes: 2" in Path("f/scratch.yaml").read_text()
    alone = refusal("g", "--data", saved("one.npz", y=np.zeros(96, int)), *RATE)
    assert alone.startswith("--labels: at least 2 classes must be there, each of 2 people, but got 0.")
    assert "at least 3 must be there" in refusal("g", "--data", saved("p.npz", subject=np.zeros(96, int)), *RATE)


def test_arguments_of_the_split_count_and_a_strange_class_is_refused(here):
    file = saved("w.npz", y=np.arange(96) % 4)
    said = refusal("f", "--data", file, *RATE, "--set", "drop_classes=[walk]")
    assert "must be classes of the data, 0, 1, 2, 3, but got walk" in said
    main(["f", "--data", file, *RATE, "--set", "drop_classes=[2]", "--set", "unknown_classes=3"])
    assert "num_classes: 2" in Path("f/scratch.yaml").read_text()
    main(["g", "--data", file, *RATE, "--set", "train_per_class=2", "--set", "split_seed=7"])
    data = yaml.safe_load(Path("g/data.yaml").read_text())["data"]["init_args"]
    assert (data["split_seed"], data["batch_size"]) == (7, 4)  # of 8 training windows


def test_labels_and_people_as_numbers_are_read_again(here):
    np.savez("m3.npz", **arrays())
    main(["z1", "--data", "m3.npz", *RATE, "--set", "labels={0: still, 1: move}", "--set", "subjects={4: a, 3: a}"])
    cli.check(["fit", "--config", "z1/scratch.yaml"])
    _, data = cli.build("z1/scratch.yaml")
    assert (data.merge_labels, data.merge_subjects) == ({"0": "still", "1": "move"}, {"4": "a", "3": "a"})


def test_names_of_channels_have_no_blanks_and_none_is_empty(here):
    file = saved("w.npz")
    assert "must be names between commas, but got 'a,,c'" in refusal("f", "--data", file, *RATE, "--channels", "a,,c")
    main(["f", "--data", file, *RATE, "--channels", " a, b ,c"])
    assert yaml.safe_load(Path("f/data.yaml").read_text())["data"]["init_args"]["channels"] == ["a", "b", "c"]


def table(path, person=0, rate=50, delimiter=",", rows=500, who=False):
    rng = np.random.default_rng(person)
    lines = [delimiter.join(["t", "x", "y", "z", "act", *(["user"] if who else [])])]
    for k in range(rows):
        cells = [f"{k / rate:.3f}", *(f"{v:.3f}" for v in rng.normal(size=3)), ("rest", "walk")[k * 2 // rows]]
        cells = [cell.replace(".", "," if delimiter == ";" else ".") for cell in cells]
        lines.append(delimiter.join([*cells, *([f"P{person}"] if who else [])]))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


WORDS = ("--channels", "x,y,z", "--labels", "act", "--time", "t", "--rate", "50")
FOLDER = (*WORDS, "--people", "folder:0")


def test_a_table_of_several_people_needs_no_folder_of_its_own(here, capsys):
    every = [line for person in range(4) for line in table("all/one.csv", person, who=True)[min(person, 1) :]]
    Path("all/every.one.csv").write_text("\n".join(every) + "\n", encoding="utf-8")
    asked = refusal("f", "--data", "all/every.one.csv", *WORDS)
    assert "or --people COLUMN where one of t, x, y, z, act, user says who it was" in asked
    assert "Write --people user." in refusal("f", "--data", "all/every.one.csv", *WORDS, "--people", "usr")
    said = found(capsys, "f", "--data", "all/every.one.csv", *WORDS, "--people", "user")
    assert "people    4, windows each: P0 8, P1 8, P2 8, P3 8" in said
    data = yaml.safe_load(Path("f/data.yaml").read_text())["data"]["init_args"]
    assert (data["pattern"], data["suffixes"], data["dataset"]) == (r"every\.one", [".csv"], "every.one")
    assert data["root"] == str((here / "all").resolve())
    wrong = refusal("g", "--data", "all/every.one.csv", *WORDS, "--people", "user", "--set", "pattern=every.*")
    assert "--set pattern must be left out where --data is a table" in wrong


def test_a_file_of_another_kind_has_the_line_that_converts_it(here):
    for name, line in {
        "a.mat": "scipy.io.loadmat",
        "b.parquet": "pandas.read_parquet",
        "c.edf": "as .csv or .npz",
    }.items():
        Path(name).write_bytes(b"MATLAB")
        said = refusal("f", "--data", name, *RATE)
        assert f"but got {name}, which is not read." in said
        assert line in said


def test_an_option_of_zero_and_one_that_is_given_twice_count(here):
    for person in range(4):
        table(f"rec/P{person}/w.csv", person, delimiter=";")
    semicolon, comma = ("--set", 'csv={delimiter: ";"}'), ("--set", 'csv={decimal: ","}')
    for option in ("--window", "--step"):
        said = refusal("f", "--data", "rec", *FOLDER, *semicolon, *comma, option, "0")
        assert f"{option[2:]} must be a number of samples of at least 1, but got 0" in said
    main(["f", "--data", "rec", *FOLDER, *semicolon, *comma])
    data = yaml.safe_load(Path("f/data.yaml").read_text())["data"]["init_args"]
    assert data["csv"] == {"delimiter": ";", "decimal": ","}
    twice = refusal("g", "--data", "rec", *FOLDER, *semicolon, "--set", 'csv={delimiter: ","}')
    assert "--set csv must be given once" in twice
    Path("rec/P0/w.csv").write_text("")
    assert "w.csv: must have a header and samples, but it is empty" in refusal("g", "--data", "rec", *FOLDER)


def test_folders_that_are_not_those_of_people_and_slow_recordings_are_doubts(here, capsys):
    for person in range(4):
        table(f"rec/P{person}/w.csv", person, rate=25 if person == 2 else 50)
    said = found(capsys, "f", "--data", "rec", *FOLDER)
    assert "1 recordings are slower than --rate 50 (the slowest has 25 Hz, so nothing above 12.5 Hz is in it)" in said
    assert "folders deep" not in said
    table("rec/siteB/P9/w.csv", 9)
    said = found(capsys, "g", "--data", "rec", *FOLDER)
    assert "files are 1 to 2 folders deep, and folder:0 of siteB/P9/w.csv is siteB: is that the person" in said
    for person in range(6):
        table(f"sites/{'AB'[person % 2]}/P{person // 2}/w.csv", person)
    said = found(capsys, "h", "--data", "sites", *WORDS, "--people", "folder:1")
    assert "3 names are below several folders (P0 below A, B), and each is taken as one person" in said


def test_an_activity_in_the_path_is_no_column(here, capsys):
    for person in range(4):
        for act in ("sit", "walk"):
            lines = table(f"rec/P{person}/{act}/{act}_1.csv", person, rows=300)
            bare = [line.rpartition(",")[0].partition(",")[2] for line in lines]
            Path(f"rec/P{person}/{act}/{act}_1.csv").write_text("\n".join(bare) + "\n")
    words = ("--data", "rec", "--channels", "x,y,z", "--people", "folder:0", "--rate", "50")
    for name, where in {"f": "part:0", "g": "folder:1", "h": "part:0,name:[a-z]+"}.items():
        said = found(capsys, name, *words, "--labels", where)
        assert "classes   2, windows each: sit 20, walk 20" in said
        assert "people    4, windows each: P0 10, P1 10, P2 10, P3 10" in said
    assert yaml.safe_load(Path("g/data.yaml").read_text())["data"]["init_args"]["label"] == {"folder": 1}


def test_a_slow_recording_to_predict_is_a_warning(here):
    for person in range(4):
        table(f"rec/P{person}/w.csv", person)
    table("new/slow.csv", 7, rate=25)
    settings = {"channels": ["x", "y", "z"], "window": 100, "sampling_rate": 50, "time": "t", "label": "act"}
    data = RecordingDataModule("rec", subject={"folder": 0}, predict_root="new", **settings)
    with pytest.warns(
        UserWarning, match=r"slow: its rate must be that .* 50 Hz, but it is 25 Hz, so nothing above 12.5"
    ):
        data.setup("predict")


def refused(*words):
    with pytest.raises(InputError) as caught:
        cli.run(list(words))
    return str(caught.value)


def test_a_wrong_kind_of_file_or_folder_is_named_as_such(here, capsys):
    Path("study.yaml").write_text("study: mine/study\nstudents:\n  kd: {config: kd.yaml}\n")
    Path("kd.yaml").write_text("run: mine/kd\n")
    said = refused("fit", "--config", "study.yaml")
    assert "'study.yaml' must be the config of one run, but is a study of several. Run all of it by kdlab study" in said
    with pytest.raises(InputError, match="is a study of several"):
        cli.build("study.yaml")
    with pytest.raises(SystemExit):
        cli.run(["fit", "kd.yaml"])
    assert "error: unrecognized arguments: kd.yaml. Write --config kd.yaml" in capsys.readouterr().err
    for run in ("kd/fold1-seed0", "kd/fold2-seed0", "scratch/fold1-seed0"):
        Path("runs/mine", run, "version_0/checkpoints").mkdir(parents=True)
    with pytest.raises(InputError, match=r"It holds 3 runs: name one of them, runs/mine/kd/fold1-seed0, runs/mine/kd/"):
        kdlab.load("runs/mine")
    with pytest.raises(InputError, match=r"It holds 2 runs: name one of them, runs/mine/kd/fold1-seed0"):
        kdlab.load("runs/mine/kd")
    with pytest.raises(InputError, match=r"but 'kd.yaml' is a \.yaml file\. Name the folder of the run"):
        kdlab.load("kd.yaml")


def test_a_stream_takes_a_student_and_names_the_unit_of_its_times():
    class Means:
        exact = False

        def __call__(self, windows):
            return windows.mean(2)

    with pytest.raises(InputError, match=r"must be a student that was read, but got 'runs/mine'\. Pass kdlab\.load"):
        kdlab.Stream("runs/mine")
    channels = [{"name": "x"}, {"name": "y"}]
    card = {"classes": ["x", "y"], "channels": channels, "sampling_rate": 50.0, "input": {"shape": ["B", 2, 100]}}
    times, samples = np.arange(300), np.zeros((300, 2))
    for unit, step in {"ms": 20.0, "us": 20_000.0, "ns": 2e7}.items():
        with pytest.raises(InputError, match=rf"but got s, in which .* in place of 50\. Pass time_unit='{unit}'"):
            kdlab.Stream(kdlab.stream.Student(Means(), card)).push(times * step, samples)
    with pytest.raises(InputError, match=r"Pass recorded_at=25, or"):
        kdlab.Stream(kdlab.stream.Student(Means(), card)).push(times * 0.04, samples)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("study s.yaml --dryrun", "unrecognized arguments: --dryrun. Did you mean --dry-run?\n"),
        ("study s.yaml --job=2 --resume_fits", "--job=2 --resume_fits. Did you mean --jobs or --resume-fits?\n"),
        ("new there --sett a=b", "unrecognized arguments: --sett a=b. Did you mean --set?\n"),
        ("nets --qqq", "unrecognized arguments: --qqq\n"),
    ],
)
def test_an_option_that_there_is_not_names_the_one_that_is_meant(capsys, words, message):
    name, *rest = words.split()
    with pytest.raises(SystemExit) as ended:
        usage.PARSERS[name]().parse_args(rest)
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(message)


@pytest.mark.parametrize(
    "place", ["experiments/mine/teacher raw.yaml", "teacher raw.yaml", "a folder/teacher raw.yaml"]
)
def test_a_missing_teacher_names_the_config_that_trains_it(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    for file, run in ((place, "mine/teacher raw"), ("other/teacher raw.yaml", "other/teacher raw"), ("b/x.yaml", "]{")):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(f"run: {run}\n")
    with pytest.raises(MissingFileError, match=f"Train it first: lightning fit --config '{place}'$"):
        find_checkpoint(Path("runs/mine/teacher raw"), ["best.ckpt"])
    with pytest.raises(MissingFileError, match="Train it first, or name the checkpoint file"):
        find_checkpoint(Path("runs/mine/x"), ["best.ckpt"])


# ---- people and classes that are not trained or tested like the others
LINE = ("--rate", "20", "--channels", "x,y,z")


def file_of(y, who, name="w.npz", **more):
    x = np.random.default_rng(0).normal(size=(len(y), 3, 40)).astype(np.float32)
    np.savez(name, x=x, y=y, subject=who, **more)
    return ("--data", name, *LINE)


def people(count, each=30):
    """Labels of three classes in turn, and whose windows they are."""
    return np.arange(count * each) % 3, np.arange(count * each) // each


def named(y):
    return np.array(list("abcd"))[y]


def data_of(folder):
    text = Path(folder, "data.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["data"]["init_args"], text


def all_of(folds):
    return sorted(name for tested in folds.values() for name in tested)


def folds_of(folder):
    return plan_people(Study.read(f"{folder}/study.yaml"), None)[0]


def test_a_class_that_the_user_leaves_out_is_not_dropped_again(here, capsys):
    y, who = people(10)
    y[who == 9] = 3
    words = file_of(named(y), who)
    main(["a", *words, "--set", "unknown_classes=[d]"])
    data, text = data_of("a")
    assert data["unknown_classes"] == ["d"]
    assert "drop_classes" not in data
    assert "9" in all_of(folds_of("a"))  # tested as one of an unknown class
    assert "270 windows of 3 classes, of 300 that were found" in text
    main(["b", *words, "--set", "drop_classes=[d]"])
    assert data_of("b")[0]["drop_classes"] == ["d"]
    assert "of one person" not in data_of("b")[1]
    main(["c", *words, "--set", "drop_classes=[b]"])
    assert "drop_classes: [b, d]  # d: of one person alone" in data_of("c")[1]
    capsys.readouterr()
    main(["d", *words, "--set", "unlabelled={classes: [d]}"])
    assert "drop_classes" not in data_of("d")[0]
    assert "9 is never tested: its windows have no label that is used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        ({"unknown_classes": ["c"], "drop_classes": ["c", "d"]}, "Write drop_classes: [d]"),
        ({"unknown_classes": ["c"], "drop_classes": ["c"]}, "got c in both. Write drop_classes: null"),
        (
            {"unknown_classes": ["c"], "unlabelled": Unlabelled(classes=["c"])},
            "Write unknown_classes: null, or take it out of unlabelled: classes",
        ),
    ],
)
def test_a_class_is_left_out_in_one_way(here, left_out, message):
    y = np.arange(120) % 4
    with pytest.raises(InputError, match=re.escape(message)):
        ArrayDataModule(np.ones((120, 3, 40)), named(y), np.arange(120) // 20, **left_out).setup()
    if "drop_classes" in left_out:
        some = [part for key, value in left_out.items() for part in ("--set", f"{key}=[{', '.join(value)}]")]
        assert message in refusal("f", *file_of(named(y), np.arange(120) // 20), *some)


@pytest.mark.parametrize("kind", ["dropped", "no label", "unknown"])
def test_of_few_people_those_with_windows_to_test_make_the_folds(here, capsys, kind):
    y, who = people(5)
    y[who == 4] = -1 if kind == "no label" else 3
    more = {"dropped": (), "no label": ("--set", "unlabelled={missing: true}")}.get(
        kind, ("--set", "unknown_classes=[3]")
    )
    main(["f", *file_of(y, who), *more])
    said = capsys.readouterr().out
    folds = folds_of("f")
    if kind == "unknown":  # with another person, whose windows are of known classes
        assert sorted(len(tested) for tested in folds.values()) == [1, 1, 1, 2]
        return
    assert sorted(folds) == ["subject0", "subject1", "subject2", "subject3"]
    why = "of classes that are left out" if kind == "dropped" else "no label that is used"
    assert re.search(rf"doubt: 4 is never tested: its windows .*{why}", said)
    assert "120 windows of 3 classes, of 150 that were found" in data_of("f")[1]
    study(["f/study.yaml", "--dry-run"], cli.run, cli.check, cli.build)
    assert "subject4" not in capsys.readouterr().out


def test_of_many_people_one_without_a_label_trains_in_every_fold(here, recwarn):
    y, who = people(10, 12)
    y[who == 9] = -1
    main(["f", *file_of(y, who), "--set", "unlabelled={missing: true}"])
    folds = folds_of("f")
    assert all_of(folds) == [str(k) for k in range(9)]
    arguments = {"x": np.ones((120, 3, 40)), "y": y, "subject": who, "unlabelled": Unlabelled(missing=True)}
    for tested in folds.values():
        found = ArrayDataModule(**arguments, test_subjects=tested)
        assert found.counts["unlabelled"] == {"windows": 12, "groups": 1}
    assert not [w for w in recwarn if "without a label" in str(w.message)]
    with pytest.raises(InputError, match="test_subjects must be people with labelled windows, but got 9,"):
        ArrayDataModule(**arguments, test_subjects=[9]).setup()
    some = np.where((who == 8) & (np.arange(120) % 2 == 0), -1, np.arange(120) % 3)
    with pytest.warns(UserWarning, match="all training windows have one: those of 8 validate or are tested"):
        ArrayDataModule(**{**arguments, "y": some}, test_subjects=[8]).setup()


def test_halves_are_offered_where_both_train_every_class(here):
    y, who = people(10)
    main(["all", *file_of(y, who)])
    tested = folds_of("all")["fold1"]
    half = plan_people(Study.read("all/study.yaml"), tune_of("all"))[1][0]
    assert tested
    y = np.where((y == 2) & ~np.isin(who, list(map(int, half.people))), 0, y)
    main(["some", *file_of(y, who, "some.npz")])
    assert tune_of("all").people == "halves"
    assert tune_of("some").people == "fold"


def tune_of(folder):
    text = Path(folder, "study.yaml").read_text(encoding="utf-8")
    Path(folder, "tuned.yaml").write_text(re.sub(r"^# (tune:|  )", r"\1", text, flags=re.MULTILINE), encoding="utf-8")
    return read_tune(Study.read(f"{folder}/tuned.yaml"))


def test_labels_in_columns_have_no_line_that_is_refused(here):
    y, who = people(6)
    many = file_of(np.stack([y == 0, y != 1], axis=1).astype(int), who, "many.npz")
    hot = file_of(np.eye(3)[y], who, "hot.npz")
    for words, more in ((many, ()), (many, ("--set", "labels=many")), (hot, ())):
        message = refusal("f", *words, *more)
        assert "kdlab new writes no study of many labels" in message
        assert "declare labels: many" not in message
        assert "docs/recordings.md" in message
    assert "--set labels must be left out" in refusal("f", *file_of(y, who), "--set", "labels=many")


def test_words_that_mean_no_label_are_named_with_the_line_that_makes_them_classes(here):
    y, who = people(6, 12)
    words = file_of(np.array(["null", "sit", "walk"])[y], who)
    message = refusal("f", *words)
    assert "24 of 72 have none (24 null)" in message
    (line,) = re.findall(r"If null is a class, write (.*)\.$", message)
    main(["f", *words, *shlex.split(line)])
    assert data_of("f")[0]["no_label"] == []
    two = refusal("g", *file_of(np.array(["null", "?", "walk", "sit"])[np.arange(72) % 4], who))
    assert "(18 null, 18 ?). Write" in two
    assert "If null, ? are classes" in two
    assert "no_label=[]" not in refusal("g", *file_of(np.where(y == 0, "", "a"), who))
    assert "(24 -1)" in refusal("g", *file_of(y - 1, who))


def test_lines_are_quoted_for_the_shell(here):
    Path("data/P1").mkdir(parents=True)
    Path("data/P1/a.csv").write_text("Zeit [s],x,y,who is it,-t\n" + "0,1,2,3,4\n" * 9, encoding="utf-8")
    message = refusal("f", "--data", "data", "--rate", "20", "--channels", "x,y")
    assert "--labels 'Zeit [s]' | --labels x" in message
    assert "--labels=-t" in message
    assert "--people 'who is it'" in message
    assert "--time 'Zeit [s]'" in message
    y, who = people(6)
    np.savez("w.npz", x=np.ones((180, 3, 40)), **{"the label": y, "who": who})
    assert "--labels 'the label'" in refusal("f", "--data", "w.npz", *LINE)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("units=[g,g,g]", "--channels 'ax (g),ay (g),az (g)'"),
        ("channels=[a]", "Write it as --channels."),
        ("views={}", "Write it into data.yaml"),
        ("window=40", "It is one of RecordingDataModule"),
        ("zzzzzz=1", "Take one of batch_size, "),
    ],
)
def test_an_argument_that_an_npz_has_not_names_what_to_do(here, given, line):
    assert line in refusal("f", *file_of(*people(6)), "--set", given)


@pytest.mark.parametrize(
    ("first", "device"),
    [
        ("------------ Data File Created By ActiGraph GT3X+ ActiLife v6", "actigraph"),
        ("Device Type,GENEActiv", "geneactiv"),
    ],
)
def test_the_header_of_a_device_is_no_column(here, first, device):
    Path("one.csv").write_text(f"{first}\n" + "1,2,3\n" * 200, encoding="utf-8")
    assert f"Write --set device={device}." in refusal("f", "--data", "one.csv", "--rate", "20")
    Path("data/P1").mkdir(parents=True)
    Path("one.csv").rename("data/P1/one.csv")
    assert f"Write --set device={device}." in refusal("f", "--data", "data", "--rate", "20")
