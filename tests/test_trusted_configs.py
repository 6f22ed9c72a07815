"""Of the config beside a checkpoint only data of kdlab's own classes are read; --trust-config and --config do more."""

import dataclasses
import inspect
import json
import sys
import typing
import warnings
from pathlib import Path

import pytest
import yaml

import kdlab
from kdlab import cli
from kdlab.data import BasicMotions, CrossFit, Intervals, PredictRoot, Sensor, Sensors, Unlabelled, WindowDataModule
from kdlab.data.recordings.form import Csv
from kdlab.data.recordings.where import Where
from kdlab.data.view_cache import ViewCache
from kdlab.evaluate import command, trust
from kdlab.evaluate.own_classes import arguments, own_classes
from kdlab.export import main as export
from kdlab.files import flow
from kdlab.parser import Parser
from kdlab.types import InputError
from tests.configs import RUNS, config_of
from tests.test_user_code import CODE, FAST

EVIL = """
from pathlib import Path
Path("pwned").write_text("x")
import kdlab

class Data(kdlab.data.BasicMotions):
    pass

def call(*args, **kwargs):
    return None
"""
MOTIONS = {"class_path": "kdlab.data.BasicMotions", "init_args": {"batch_size": 8}}


def views(view):
    return {"class_path": "BasicMotions", "init_args": {"views": {"raw": view}}}


def data(**init_args):
    return {"class_path": "BasicMotions", "init_args": init_args}


def recordings(**init_args):
    given = {"root": "recordings", "channels": ["x"], "window": 100, "sampling_rate": 50.0}
    return {"class_path": "RecordingDataModule", "init_args": {**given, **init_args}}


HOSTILE = {
    "a data module of somebody's": {"class_path": "evil.Data"},
    "a function": {"class_path": "os.system", "init_args": {"command": "touch pwned"}},
    "a function in place of a view": views({"class_path": "os.system", "init_args": {"command": "touch pwned"}}),
    "a view by word": views("evil.call"),
    "a view of the standard library by word": views("os.system"),
    "a view in a word": views("{class_path: evil.call}"),
    "views in a word": data(views="{raw: {class_path: evil.call}}"),
    "an augmentation by word": data(augment="evil.call"),
    "a mixing by word": data(mix="{class_path: evil.call}"),
    "a corruption of somebody's": data(corruption={"class_path": "evil.call"}),
    "a scale of somebody's": data(scale={"class_path": "evil.call"}),
    "a scale by word": data(scale="evil.call"),
    "scales by source": data(scale={"raw": {"class_path": "evil.call"}}),
    "a scale's numbers": data(scale={"class_path": "Scale", "init_args": {"offset": {"class_path": "evil.call"}}}),
    "numbers by word": data(scale={"class_path": "Scale", "init_args": {"offset": "[evil]", "divisor": [1.0]}}),
    "a kdlab class of another kind": {"class_path": "kdlab.Teacher", "init_args": {"checkpoint": "x"}},
    "a kdlab class of another kind as a view": views({"class_path": "kdlab.nets.WideResNet"}),
    "a kdlab function": {"class_path": "kdlab.nets.build", "init_args": {"spec": {}}},
    "a callable in a list": data(test_subjects=[{"class_path": "evil.call"}]),
    "a callable as a number": data(batch_size={"class_path": "evil.call"}),
    "arrays by class": {"class_path": "ArrayDataModule", "init_args": {"x": {"class_path": "evil.call"}}},
    "arrays by word": {"class_path": "ArrayDataModule", "init_args": {"x": "{class_path: evil.call}"}},
    "recordings' context": data(multiprocessing_context="evil"),
    "keywords": {**MOTIONS, "dict_kwargs": {"views": {"raw": {"class_path": "evil.call"}}}},
    "an unknown argument": data(hook="evil.call"),
    "a path of a module": {"class_path": "kdlab.data.basic_motions.Path"},
    "a word": "evil.Data",
    "a list": ["evil.Data"],
    "nothing": None,
    "a huge number": data(batch_size=10**13),
    "a huge picture": views({"class_path": "GramianAngularField", "init_args": {"size": 10**6}}),
    "an abstract class": {"class_path": "WindowDataModule"},
    "a callable among settings": recordings(subject={"part": 0, "class_path": "evil.call"}),
    "a callable in place of settings": recordings(subject={"class_path": "evil.call"}),
    "a callable in settings": recordings(csv={"delimiter": {"class_path": "evil.call"}}),
    "settings in a word": recordings(csv="{class_path: evil.call}"),
    "a callable in settings of settings": recordings(intervals={"file": "x.csv", "csv": {"class_path": "evil.call"}}),
    "an unknown setting": recordings(subject={"part": 0, "hook": 1}),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    sys.modules.pop("evil", None)


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_data(what, folder):
    config = folder / "config.yaml"
    model = {"class_path": "evil.call", "init_args": {}}
    config.write_text(yaml.safe_dump({"data": HOSTILE[what], "model": model, "trainer": {"callbacks": model}}))
    with pytest.raises(InputError) as error:
        trust.data_module(config)
    assert "\n" not in str(error.value)
    assert "--trust-config" in str(error.value)
    assert "evil" not in sys.modules
    assert {p.name for p in folder.iterdir()} == {"evil.py", "config.yaml"}


def test_only_data_are_read(folder):
    config = folder / "config.yaml"
    evil = {"class_path": "evil.call"}
    config.write_text(yaml.safe_dump({"data": MOTIONS, "model": evil, "trainer": evil, "run": evil, "other": evil}))
    assert isinstance(trust.data_module(config), BasicMotions)
    assert "evil" not in sys.modules
    for text in ("", "- 1", "a: 1", "\x00", "data: [", "data: {class_path: !!python/object/apply:os.system [ls]}"):
        config.write_text(text)
        with pytest.raises(InputError, match=r"config\.yaml") as error:
            trust.data_module(config)
        assert "\n" not in str(error.value)
    config.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        trust.data_module(config)


def test_what_a_user_adds_is_the_users(folder):
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"data": MOTIONS}))
    assert trust.data_module(config, ["--data.init_args.batch_size=4"]).batch_size == 4
    assert trust.data_module(config, ["--data.num_workers=1"]).num_workers == 1
    with pytest.raises(InputError, match=r"--model\.x=1: only data are read .*--trust-config"):
        trust.data_module(config, ["--model.x=1"])
    with pytest.raises(InputError, match="nonsense") as error:
        trust.data_module(config, ["--data.init_args.nonsense=1"])
    assert "\n" not in str(error.value)


def test_nothing_is_written_where_a_config_says(folder):
    config, args = folder / "config.yaml", {"root": "recordings", "pattern": "(?P<subject>.*)", "cache_dir": "/etc/x"}
    args |= {"sampling_rate": 50.0, "channels": ["x"], "window": 100}
    config.write_text(yaml.safe_dump({"data": {"class_path": "RecordingDataModule", "init_args": args}}))
    with pytest.warns(UserWarning, match="must not choose where files are written"):
        made = trust.data_module(config)
    assert made.cache_dir == Path("runs/.recordings")
    config.write_text(config.read_text().replace("/etc/x", "runs/.recordings"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is left out where it says what holds without it
        assert trust.data_module(config).cache_dir == Path("runs/.recordings")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "cache_dir")
        assert trust.data_module(config, ["--data.init_args.cache_dir=mine"]).cache_dir == Path("mine")


def test_settings_of_recordings_are_read(folder):
    config = folder / "config.yaml"
    asked = {"subject": {"part": 1, "folder": None}, "csv": {"delimiter": ";", "missing": ["x"], "names": None}}
    asked["intervals"] = {"file": "{name}_labels.csv", "clock": "start", "csv": {"skip": 2}}
    config.write_text(yaml.safe_dump({"data": recordings(**asked, cache_dir="runs/.recordings")}))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # where it writes is the default
        made = trust.data_module(config)
    assert made.subject == kdlab.data.Where(part=1)
    assert (made.reading.csv.delimiter, made.reading.csv.missing) == (";", ("", "x"))
    assert (made.intervals.clock, made.intervals.csv.skip) == ("start", 2)


@pytest.mark.parametrize("word", ["yes", "null", "01", "1e3", "?", "a: b", "[x]"])
def test_words_in_quotes_stay_words(folder, word):
    config, args = folder / "config.yaml", {"root": "recordings", "sampling_rate": 50.0, "channels": ["x"], "window": 9}
    args |= {"classes": [word, "b"], "no_label": [word], "test_subjects": [word], "subjects": {word: "02"}}
    config.write_text(json.dumps({"data": {"class_path": "RecordingDataModule", "init_args": args}}))  # all in quotes
    for made in (trust.data_module(config), read_by_the_command_line(config)):
        assert (made._classes, made._nothing, made.test_subjects) == ([word, "b"], (word,), [word])
        assert made.merge_subjects == {word: "02"}


def read_by_the_command_line(config):
    parser = Parser()
    parser.add_subclass_arguments(WindowDataModule, "data")
    return parser.instantiate_classes(parser.parse_path(str(config))).data


def test_how_tables_are_written_is_read(folder):
    """Words such as ? and {name} are plain text where the argument takes text."""
    config, args = folder / "config.yaml", {"root": "recordings", "sampling_rate": 50.0, "channels": ["x"], "window": 9}
    args |= {
        "csv": dataclasses.asdict(Csv(delimiter=";", decimal=",")) | {"missing": ["", "?", "<na>"]},
        "subject": {"folder": None, "part": 0, "name": "[0-9]+", "column": None},
        "intervals": {"file": "{name}_labels.csv", "csv": {"quote": "'"}},
    }
    text = yaml.safe_dump({"data": {"class_path": "RecordingDataModule", "init_args": args}})
    config.write_text(text)
    made = trust.data_module(config)
    assert made.reading.csv == Csv(delimiter=";", decimal=",", missing=("", "?", "<na>"))
    assert (made.subject, made.intervals.file) == (Where(part=0, name="[0-9]+"), "{name}_labels.csv")
    assert made.intervals.csv.quote == "'"
    for old, new in (
        ("delimiter: ;", "delimiter: {class_path: os.system}"),
        ("delimiter: ;", "delimiter: long"),
        ("delimiter: ;", "class_path: os.system"),
        ("part: 0", "part: zero"),
    ):
        assert old in text
        config.write_text(text.replace(old, new))
        with pytest.raises(InputError) as error:
            trust.data_module(config)
        assert "\n" not in str(error.value)


def test_sensors_and_recordings_to_predict_are_read(folder):
    config, args = folder / "config.yaml", {"root": "recordings", "sampling_rate": 50.0, "channels": ["x"], "window": 9}
    args |= {
        "channels": ["ax", "gx"],
        "time": "t",
        "sensors": {
            "by": [{"part": 0}, {"folder": 0, "part": None, "name": "[0-9]+", "column": None}],
            "files": {"acc": {"file": "Acc", "columns": {"ax": "x"}}, "gyro": {"file": "Gyro", "columns": ["gx"]}},
        },
        "predict_root": {"root": "field", "suffixes": [".cwa"], "csv": {"quote": "'"}, "step": 3},
    }
    text = yaml.safe_dump({"data": {"class_path": "RecordingDataModule", "init_args": args}})
    config.write_text(text)
    made = trust.data_module(config)
    assert made.sensors.by == [Where(part=0), Where(folder=0, name="[0-9]+")]
    assert made.sensors.each["acc"].column_of == {"ax": "x"}
    assert (made.predict_root.root, made.predict_root.step) == ("field", 3)
    for old, new in (("file: Acc", "file: {class_path: os.system}"), ("step: 3", "class_path: os.system")):
        assert old in text
        config.write_text(text.replace(old, new))
        with pytest.raises(InputError):
            trust.data_module(config)


NUMBERS = {"offset": [0.0, 1.0], "divisor": [2.0, 4.0]}
#: values of all kinds that a data module takes, as one writes them
SAID = {
    "labels and people as numbers": {
        "labels": {0: "still", "1": "still", 2.5: "move"},
        "subjects": {4: "a", 3: "a"},
        "test_subjects": ["a"],
    },
    "constants": {"scale": NUMBERS},
    "constants by class": {"scale": {"class_path": "Scale", "init_args": NUMBERS}},
    "constants by source": {"scale": {"raw": NUMBERS}},
    "constants by source and class": {"scale": {"raw": {"class_path": "kdlab.data.Scale", "init_args": NUMBERS}}},
    "views": {"views": {"raw": "Raw", "g": {"class_path": "GramianAngularField", "init_args": {"size": 8}}}},
    "an augmentation": {"augment": {"class_path": "Noise", "init_args": {"max_std": 0.5}}},
    "a mixing": {"mix": {"class_path": "Mixup"}},
    "labels": {"unlabelled": {"labelled": 0.5}},
    "folds": {"cross_fit": {"groups": 3, "without": 1}},
    "a cache": {"view_cache": {"folder": "v", "budget": "1GiB"}},
    "people": {"subject": {"part": 0, "name": "[0-9]+"}, "session": {"part": 1}},
    "tables": {"csv": {"delimiter": ";", "missing": ["?"]}},
    "intervals": {"intervals": {"file": "{name}_labels.csv", "csv": {"skip": 2}}, "label": None},
    "sensors": {
        "sensors": {
            "by": [{"part": 0}],
            "files": {"a": {"file": "A", "columns": {"x": "c"}}, "b": {"file": "B", "columns": ["y"]}},
        },
        "time": "t",
    },
    "recordings to predict": {"predict_root": {"root": "field", "csv": {"quote": "'"}, "step": 3}},
}


@pytest.mark.parametrize("what", SAID)
def test_values_of_every_kind_are_read_as_a_run_writes_them(what, folder):
    """Some classes are written without their names."""
    common = {"root": "recordings", "channels": ["x", "y"], "window": 9, "sampling_rate": 50.0}
    said = {"class_path": "RecordingDataModule", "init_args": common | SAID[what]}
    parser = Parser(allow_abbrev=False)
    parser.add_lightning_class_args(WindowDataModule, "data", subclass_mode=True)
    parsed = parser.parse_args([f"--data={flow(said)}"])
    (folder / "config.yaml").write_text(parser.dump(parsed, skip_none=False))
    made, expected = trust.data_module(folder / "config.yaml"), Parser.instantiate_classes(parser, parsed).data
    for name in ("views", "augment", "mix", "scale", "unlabelled", "cross_fit", "view_cache", "subject", "session"):
        assert getattr(made, name) == getattr(expected, name), name
    for name in ("reading", "intervals", "label", "predict_root", "merge_labels", "merge_subjects"):
        assert getattr(made, name) == getattr(expected, name), name
    assert repr(made.sensors) == repr(expected.sensors)
    first = {"labels": "merge_labels"}.get(next(iter(SAID[what])), next(iter(SAID[what])))
    assert getattr(made, first, None) is not None or what == "tables"


def test_names_of_constants_are_checked(folder):
    for scale in (NUMBERS | {"hook": 1}, {"raw": NUMBERS | {"hook": 1}}, {"raw": {"offset": {"class_path": "e"}}}):
        (folder / "config.yaml").write_text(yaml.safe_dump({"data": recordings(scale=scale)}))
        with pytest.raises(InputError, match="scale"):
            trust.data_module(folder / "config.yaml")


def test_arguments_of_kdlab_take_no_callables():
    """All that a config can say is plain values and kdlab's own classes, so the reader knows every kind of argument."""

    def kinds(hint):
        inner = [part for part in typing.get_args(hint) if part is not Ellipsis]
        if typing.get_origin(hint) is typing.Literal:
            return {str}
        return {typing.get_origin(hint) or hint}.union(*map(kinds, inner))

    plain = {str, int, float, bool, type(None), Path, list, tuple, dict, typing.Any, typing.Sequence}
    checked = 0
    for base in trust.KINDS:
        for cls in own_classes(base):
            hints = arguments(cls)
            named = {n for n, p in inspect.signature(cls).parameters.items() if p.kind is not p.VAR_KEYWORD}
            assert named <= set(hints), cls
            for name, hint in hints.items():
                known = {*plain, *trust.KINDS, *trust.settings()}
                odd = {k for k in kinds(hint) if k not in known and isinstance(k, type)}
                assert not {k for k in odd if "Union" not in str(k) and k.__module__ != "collections.abc"}, (cls, name)
                checked += 1
    assert checked > 150
    known = {Where, Csv, CrossFit, Intervals, PredictRoot, Sensor, Sensors, Unlabelled, ViewCache}
    assert set(trust.settings()) == known  # of the signatures, and nothing else that they name


@pytest.mark.parametrize("name", RUNS)
def test_every_shipped_config_is_read(name, folder, monkeypatch):
    """As a run writes it: classes by their names and all arguments."""
    said = config_of(name)
    parser = Parser(allow_abbrev=False)
    parser.add_lightning_class_args(WindowDataModule, "data", subclass_mode=True)
    wanted = parser.parse_args([f"--data={json.dumps(said['data'])}"])
    (folder / "config.yaml").write_text(parser.dump(wanted, skip_none=False))
    made, expected = trust.data_module(folder / "config.yaml"), Parser.instantiate_classes(parser, wanted).data
    assert type(made) is type(expected)
    assert made.views == expected.views
    for name in ("augment", "mix", "corruption", "scale", "batch_size", "test_subjects", "val_fraction", "root"):
        assert getattr(made, name, None) == getattr(expected, name, None), name


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run on raw windows, and of one on pictures."""
    place = tmp_path_factory.mktemp("place")
    patch = pytest.MonkeyPatch()
    patch.chdir(place)
    for name, view, ndim in (("one", "raw", 1), ("two", "pi", 2)):
        net = {"class_path": "WideResNet", "init_args": {"depth": 10, "in_channels": 6, "num_classes": 4, "ndim": ndim}}
        pictures = {"class_path": "PersistenceImage", "init_args": {"size": 16}}
        config = {
            "run": f"m/{name}",
            "model": {"class_path": "Supervised", "init_args": {"net": net, "view": view}},
            "data": data(batch_size=8, views={"raw": {"class_path": "Raw"}, "pi": pictures}),
        }
        (place / f"{name}.yaml").write_text(yaml.safe_dump(config))
        cli.run(["fit", "--config", f"{name}.yaml", *FAST])
    patch.undo()
    return place


def test_runs_of_ones_own_need_no_flag(run, monkeypatch, tmp_path):
    monkeypatch.chdir(run)
    words = ["runs/m/one", "runs/m/two", "--no-robustness", "--no-embedding", "--out", str(tmp_path / "out")]
    got = command.main(words, cli.build)
    trusted = command.main([*words, "--overwrite", "--trust-config"], cli.build)
    for name, one in got.items():
        assert (one.probabilities == trusted[name].probabilities).all()
        assert one.description == trusted[name].description
    words = ["runs/m/one", "--format", "torch", "--overwrite", "--output", str(tmp_path / "one.pt")]
    assert export(words, cli.build).card["metrics"] == export([*words, "--trust-config"], cli.build).card["metrics"]


def test_a_run_folder_of_another_is_no_program(run, folder, monkeypatch):
    """The folder as it was sent, beside a module that it names."""
    version = folder / "sent/version_0"
    (version / "checkpoints").mkdir(parents=True)
    (version / "checkpoints/best.ckpt").write_bytes((run / "runs/m/one/version_0/checkpoints/best.ckpt").read_bytes())
    (version / "finished.json").write_text("{}")
    said = yaml.safe_load((run / "runs/m/one/version_0/config.yaml").read_text())
    said["model"] = {"class_path": "evil.call"}
    said["trainer"]["callbacks"] = [{"class_path": "evil.call"}]
    (version / "config.yaml").write_text(yaml.safe_dump(said))
    words = ["--no-robustness", "--no-embedding"]
    assert command.main(["sent", *words], cli.build)["sent"].description["method"] == "Supervised"
    export(["sent", "--format", "torch"], cli.build)
    said["data"] = {"class_path": "evil.Data"}
    (version / "config.yaml").write_text(yaml.safe_dump(said))
    for run_it in (
        lambda *more: command.main(["sent", "--overwrite", *words, *more], cli.build),
        lambda *more: export(["sent", "--overwrite", "--format", "torch", *more], cli.build),
    ):
        with pytest.raises(InputError, match="--trust-config"):
            run_it()
        assert not (folder / "pwned").exists()
    export(["sent", "--format", "torch", "--overwrite", "--config", str(run / "one.yaml")], cli.build)
    assert not (folder / "pwned").exists()
    said["model"] = yaml.safe_load((run / "one.yaml").read_text())["model"]
    (version / "config.yaml").write_text(yaml.safe_dump(said))
    export(["sent", "--format", "torch", "--overwrite", "--trust-config"], cli.build)
    assert (folder / "pwned").exists()  # that is what the flag says


def test_a_net_of_ones_own_is_named(run, folder):
    (folder / "mine.py").write_text(CODE + "\n\nclass Net(kdlab.nets.WideResNet):\n    pass\n")
    net = {"class_path": "mine.Net", "init_args": {"depth": 10, "in_channels": 6, "num_classes": 4}}
    config = {"run": "m/mine", "model": {"class_path": "Supervised", "init_args": {"net": net}}, "data": MOTIONS}
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    cli.run(["fit", "--config", "mine.yaml", *FAST])
    before = sys.modules.pop("mine")
    net_class = before.Net
    net_class.__module__ = "gone"  # as in a new process, where nobody imported it
    words = ["runs/m/mine", "--no-robustness", "--no-embedding", "--overwrite"]
    with pytest.raises(InputError, match=r"'mine\.Net'.*Import its module.*--trust-config"):
        command.main(words, cli.build)
    assert command.main([*words, "--trust-config"], cli.build)["mine"].scalars["parameters"] > 0
    assert sys.modules.pop("mine") is not before


def test_help_says_so(capsys):
    for main in (command.main, export):
        with pytest.raises(SystemExit):
            main(["--help"], cli.build)
        said = " ".join(capsys.readouterr().out.split())
        assert "--trust-config" in said
        assert "Net and view come from the checkpoint" in said


def test_cite_reads_yaml_with_care(folder):
    for text, match in (("a: 1\na: 2", "twice"), ("data: {class_path: BasicMotions}", "model"), ("- 1", "mapping")):
        (folder / "c.yaml").write_text(text)
        with pytest.raises(kdlab.InputError, match=match):
            cli.build(folder / "c.yaml")
