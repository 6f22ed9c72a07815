"""The schemas of YAML files agree with the parser and the study reader, and the shipped files with the schemas."""

import copy
import inspect
import json
import re
import subprocess
import sys
import textwrap
from dataclasses import fields
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml

from kdlab.files import parse_yaml, read_yaml
from kdlab.methods.stubs import made_methods
from kdlab.new.command import main as new
from kdlab.schema import command
from kdlab.schema.files import NAMES, kind_of
from kdlab.schema.runs import Parsers
from kdlab.study.configs import set_value
from kdlab.study.plan import Study
from kdlab.types import InputError
from kdlab.views import PersistenceImage
from tests.configs import EXPERIMENTS
from tests.conftest import REPOSITORY

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
LINE = re.compile(r"^# yaml-language-server: \$schema=(\S+)$", re.MULTILINE)
STUDY = {"study": "mine/study", "seeds": 2, "scratch": {"s": {"config": "s.yaml"}}}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Made by a process of its own: other tests of this one may have registered classes."""
    folder = tmp_path_factory.mktemp("schemas")
    code = f"from kdlab.schema.command import main; main(['--out', {str(folder)!r}])"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    return {kind: (folder / name).read_text(encoding="utf-8") for kind, name in NAMES.items()}


@pytest.fixture(scope="module")
def refused(texts):
    """What a schema refuses in a content: the places and the messages, the deepest first."""
    checkers = {}
    for kind, text in texts.items():
        schema = json.loads(text)
        jsonschema.Draft7Validator.check_schema(schema)
        checkers[kind] = jsonschema.Draft7Validator(schema)

    def check(kind, content):
        found = [e for error in checkers[kind].iter_errors(as_json(content)) for e in below(error)]
        return sorted((([*e.absolute_path], e.message) for e in found), key=lambda one: -len(one[0]))

    return check


def below(error):
    yield error
    for inner in error.context or ():
        yield from below(inner)


def as_json(value):
    """YAML as editors read it: keys are words, and on is no truth value."""
    if isinstance(value, dict):
        return {"on" if key is True else str(key): as_json(one) for key, one in value.items()}
    return [as_json(one) for one in value] if isinstance(value, list) else value


def test_the_shipped_schemas_are_those_that_the_code_makes(texts):
    """With other versions of Lightning or torch their classes differ, and those of kdlab are compared."""
    for kind, name in NAMES.items():
        text = (EXPERIMENTS / name).read_text(encoding="utf-8")
        if command.made_with() in text:
            same = text == texts[kind]
        else:
            here, there = (json.loads(one)["definitions"] for one in (texts[kind], text))
            same = all(set(here[n]["properties"]) == set(there[n]["properties"]) for n in here if "args.kdlab" in n)
        assert same, f"run: kdlab schema --out {EXPERIMENTS.name}"


def test_every_shipped_file_names_its_schema_and_agrees_with_it(refused):
    files = sorted(EXPERIMENTS.rglob("*.yaml"))
    assert len(files) > 200
    for path in files:
        content = read_yaml(path, "file")
        named = LINE.findall(path.read_text(encoding="utf-8"))
        assert len(named) == 1, path
        assert (path.parent / named[0]).resolve() == EXPERIMENTS / NAMES[kind_of(content)], path
        assert not refused(kind_of(content), content), path


def blocks():
    """YAML of the pages, the README and the notebooks that is a file or the head of one."""
    for path in (*(REPOSITORY / "docs").glob("*.md"), REPOSITORY / "README.md"):
        text = path.read_text(encoding="utf-8")
        yield from ((path.name, code) for code in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
        for code in re.findall(r"(?:^ {4}.*\n|^\n)+", text, re.MULTILINE):
            if re.match(r"\s*(study|slurm|data|model): ?\n? *", code) and not code.lstrip().startswith("data: "):
                yield path.name, "\n".join(line[4:] for line in code.splitlines())
        for code in re.findall(r"^ +```\n(.*?)^ +```$", text, re.MULTILINE | re.DOTALL):
            yield path.name, textwrap.dedent(code)
    for path in (REPOSITORY / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.source.startswith("%%writefile") and ".yaml" in cell.source.split("\n", 1)[0]:
                yield path.name, cell.source.split("\n", 1)[1]


def test_the_yaml_of_pages_and_notebooks_agrees(refused):
    found = list(blocks())
    assert {"recordings.md", "README.md", "cluster.md", "studies.md", "04_study.ipynb"} <= {name for name, _ in found}
    for name, code in found:
        content = parse_yaml(code, name)
        assert not refused(kind_of(content), content), (name, code)


def test_what_new_writes_agrees(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    n = np.arange(96)
    x = np.sin(np.arange(40) * (0.2 + 0.3 * (n % 2)[:, None, None]) + np.zeros((1, 3, 1)))
    np.savez("my.npz", x=x.astype(np.float32), y=n % 2, subject=n // 16)
    new(["mine", "--data", "my.npz", "--rate", "20", "--channels", "a,b,c"])
    new(["copied", "--example", "demo"])
    for path in (*Path("mine").glob("*.yaml"), *Path("copied").rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        content = read_yaml(path, "file")
        (named,) = LINE.findall(text)
        assert json.loads((path.parent / named).read_text())["title"] == f"kdlab {kind_of(content)} file"
        assert not refused(kind_of(content), content), path
        if path.name == "study.yaml":
            tuned = parse_yaml(re.sub(r"^# (tune:|  )", r"\1", text, flags=re.MULTILINE), "tuned")
            assert not refused("study", tuned)


def net(**given):
    return {"class_path": "WideResNet", **given}


def kd(**given):
    return {"model": {"class_path": "KD", "init_args": given}}


def callback(**given):
    return {"trainer": {"callbacks": [given]}}


TYPOS = {
    "an argument": (kd(temprature=2.0), "model.init_args"),
    "an argument of a part": ({"model": {"init_args": {"temprature": 2.0}}}, "model.init_args"),
    "a method": ({"model": {"class_path": "KDD"}}, "model.class_path"),
    "a method's bare name": ({"model": "KDD"}, "model"),
    "a base": ({"model": {"class_path": "Method"}}, "model.class_path"),
    "a net": (kd(student={"class_path": "WideResnet"}), "model.init_args.student.class_path"),
    "a path of ours": (kd(student={"class_path": "kdlab.nets.WideResnet"}), "model.init_args.student.class_path"),
    "an argument of a net": (kd(student=net(init_args={"depht": 16})), "model.init_args.student.init_args"),
    "a type": (kd(temperature="hot"), "model.init_args.temperature"),
    "a type of a net": (kd(student=net(init_args={"depth": "deep"})), "model.init_args.student.init_args.depth"),
    "a range": (kd(kd_weight=2.0), "model.init_args.kd_weight"),
    "a nesting": ({"max_epochs": 3}, ""),
    "arguments without init_args": ({"model": {"class_path": "KD", "temperature": 4.0}}, "model"),
    "class_path": ({"model": {"clas_path": "KD"}}, "model"),
    "the trainer": ({"trainer": {"max_epoch": 3}}, "trainer"),
    "a callback": (callback(class_path="EarlyStoping"), "trainer.callbacks.0.class_path"),
    "of a callback": (
        callback(class_path="EarlyStopping", init_args={"monitr": "x"}),
        "trainer.callbacks.0.init_args",
    ),
    "an optimiser": (kd(optimizer={"class_path": "torch.optim.SDG"}), "model.init_args.optimizer.class_path"),
    "of an optimiser": (
        kd(optimizer={"class_path": "torch.optim.SGD", "init_args": {"lrr": 0.1}}),
        "model.init_args.optimizer.init_args",
    ),
    "a schedule": (kd(scheduler={"class_path": "PiecewiseLr"}), "model.init_args.scheduler.class_path"),
    "a teacher": (kd(teachers={"raw": {"chekpoint": "x"}}), "model.init_args.teachers.raw"),
    "a view": (
        {"data": {"init_args": {"views": {"pi": {"class_path": "PersistenceImage", "init_args": {"sise": 3}}}}}},
        "data.init_args.views.pi.init_args",
    ),
    "unlabelled": (
        {"data": {"class_path": "ShoulderWatch", "init_args": {"unlabelled": {"labeled": 1}}}},
        "data.init_args.unlabelled",
    ),
    "a logger": ({"trainer": {"logger": {"class_path": "WandLogger"}}}, "trainer.logger.class_path"),
    "selection": ({"selection": "lst"}, "selection"),
    "include": ({"include": 3}, "include"),
}


@pytest.mark.parametrize("case", TYPOS)
def test_a_typo_is_refused_where_it_is(refused, case):
    content, place = TYPOS[case]
    found = [".".join(map(str, path)) for path, _ in refused("run", content)]
    assert place in found


ACCEPTED = [
    {"model": "KD"},
    {"model": {"class_path": "kdlab.methods.KD"}},
    {"model": {"class_path": "kdlab.KD"}},
    {"model": {"class_path": "mine.Method", "init_args": {"a": 1}}},
    {"data": {"class_path": "my.data.Data", "init_args": {"whatever": [1]}}},
    kd(student=net(init_args={"depth": 10}), temperature=2, kd_weight=1),
    kd(student={"class_path": "kdlab.nets.WideResNet"}, teachers={"raw": {"checkpoint": "runs/a"}}),
    kd(teachers={"all": {"class_path": "EnsembleTeacher"}}, student={"class_path": "mine.Net"}),
    kd(optimizer={"class_path": "torch.optim.sgd.SGD", "init_args": {"lr": 0.1}}),
    kd(optimizer="torch.optim.Adam", scheduler={"class_path": "OneCycleLR"}, weights=None),
    callback(class_path="lightning.pytorch.callbacks.EarlyStopping", init_args={"monitor": "val/loss"}),
    {"trainer": {"callbacks+": [{"class_path": "mine.Callback"}], "logger": False, "precision": "16-mixed"}},
    {"trainer": {"logger": [{"class_path": "WandbLogger", "init_args": {"offline": True}}]}},
    {"run": "a/b", "selection": "averaged", "smoothing": 3, "seed_everything": 1, "checkpoint_interval": 0.5},
    {"include": ["a.yaml", "b.yaml"], "data": {"init_args": {"views": {"raw": "Raw", "raw/clean": None}}}},
]


@pytest.mark.parametrize("content", ACCEPTED, ids=lambda content: json.dumps(content)[:60])
def test_what_the_parser_takes_is_accepted(refused, content):
    assert not refused("run", content)


COMPLETE = {
    "model": kd(student=net(init_args={"in_channels": 6, "num_classes": 4}), teachers={"raw": {"checkpoint": "x"}})[
        "model"
    ],
    "data": {"class_path": "BasicMotions"},
}
#: dotted name -> values, of which the parser takes some
SINGLE = {
    "model.init_args.temperature": [2, 2.5, "hot", [1.0]],
    "model.init_args.temperature_epochs": [3, 2.5, "few"],
    "model.init_args.kl_reduction": ["mean", "sum", 1],
    "model.init_args.learn_temperature": [True, "maybe", 3],
    "model.init_args.class_weights": [None, "balanced", "equal", [1.0, 2], {"a": 1}],
    "model.init_args.weights": [{"raw": 1.0}, {"raw": "much"}, [1.0]],
    "model.init_args.optimizer": ["SGD", "SDG", {"class_path": "torch.optim.SGD", "init_args": {"lrr": 1}}, 3],
    "model.init_args.student.init_args.depth": [10, "deep"],
    "data.init_args.batch_size": [8, "many", 1.5],
    "data.init_args.cross_fit": [None, {"groups": 3, "without": 1}, {"group": 3}],
    "trainer.max_epochs": [3, None, "three"],
    "trainer.callbacks": [None, "TQDMProgressBar", [{"class_path": "TQDMProgressBar"}], ["EarlyStoping"]],
    "trainer.logger": [True, False, "CSVLog"],
    "selection": [None, "best", "worst"],
    "mode": ["min", "mim"],
    "run": ["a/b", 3],
}


def test_the_parser_and_the_schema_take_the_same_values(refused, capsys):
    parser, differ = Parsers(["fit"])._parser("fit"), []
    for name, values in SINGLE.items():
        for value in values:
            content = copy.deepcopy(COMPLETE)
            set_value(content, name, value)
            try:
                parser.parse_object(copy.deepcopy(content))
                taken = True
            except SystemExit:
                taken = False
            if taken == bool(refused("run", content)):
                differ.append((name, value, taken))
    assert not differ


#: key of a study file -> values, of which the reader takes some
KEYS = {
    "sede": [1],
    "seeds": [2, 0, [0, 3], [], [1, 1], [-1], "three", 2.5, True],
    "folds": [None, 4, "leave_one_subject_out", "leave_one_out", [["a"], ["b"]], [[]], []],
    "set": [{"all": {"trainer.max_epochs": 3}}, {"student": {}}, {"scratch": None}, []],
    "axes": [{"size": {"1": {"model.init_args.width": 1}}}, {"size": ["1"]}, None],
    "baselines": [["s"], "s"],
    "published": [{"s (theirs)": {"value": 1, "source": "x"}}, {"KD": {"value": 1}}, {"KD": 85.0}],
    "logger": [False, "WandbLogger", [{"class_path": "CSVLogger"}], [], 3],
    "updates": [800, None, 0, 1.5, "800"],
    "controls": ["auto", "none", None, "all"],
    "people": ["hashed", "plain", "shown"],
    "compare": [[], None, ["s", "s"], [["s"]], "s"],
    "title": ["A title", None, 3],
    "columns": [["test_accuracy"], ["accuracy"], [], None, ["view", "view"]],
    "figures": [["png", "pdf"], ["jpg"], {"formats": ["png"], "width": 3.5}, {"width": 0.1}, {"size": 3}],
    "budget": [{"hours": 2}, {"hours": 0}, {"minutes": 3}, 2, None],
    "measure": [["latency"], ["latncy"], "latency", None],
    "slurm": [{"partition": "gpu", "time": "2h", "at_once": 8}, {"partion": "x"}, {"at_once": 0}, {"timeouts": -1}, []],
}
#: key of a run of a study -> values
OF_RUN = {
    "confg": ["s.yaml"],
    "config": ["s.yaml", ["s.yaml"], [], 3],
    "init": [None, 3],
    "one_per": ["fold", "seed", "folds"],
    "axes": [None, [], "size"],
    "title": ["One", 3],
    "set": [{"trainer.max_epochs": 3}, [3]],
    "cross_fit": [1, "3", {"group": 3}],
    "updates": [0, "many"],
    "split": [0, 1, "half"],
}


def test_the_study_reader_and_the_schema_take_the_same_values(refused, tmp_path):
    (tmp_path / "s.yaml").write_text("model: {class_path: Supervised}", encoding="utf-8")
    file, differ = tmp_path / "study.yaml", []
    contents = [{**STUDY, key: value} for key, values in KEYS.items() for value in values]
    runs = [{**STUDY["scratch"]["s"], key: value} for key, values in OF_RUN.items() for value in values]
    contents += [{**STUDY, "scratch": {"s": run}} for run in runs]
    for content in contents:
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        try:
            Study.read(file)
            taken = True
        except InputError:
            taken = False
        if taken == bool(refused("study", content)):
            differ.append((content, taken))
    assert not differ


TUNES = [
    ({"trials": 3, "on": ["scratch", "kd"], "common": {"model.lr": {"low": 0.1, "high": 1, "log": True}}}, True),
    ({"own": {"scratch": {"model.label_smoothing": [0.0, 0.1]}}, "prune": [0.5]}, True),
    ({"trial": 3}, False),
    ({"people": "half"}, False),
    ({"common": {"model.lr": {"low": 1, "hi": 2}}}, False),
    ({"common": {"lr": [1, 2]}}, False),
    ({"common": {"trainer.max_epoch": [1, 2]}}, False),
    ({"prune": [1.5]}, False),
]


@pytest.mark.parametrize(("tune", "taken"), TUNES)
def test_tune(refused, tune, taken):
    assert bool(refused("study", {**STUDY, "tune": tune})) != taken


@pytest.mark.parametrize("name", ["max_epochs", "trainer.max_epoch", "modle.init_args.net", "model.net", "include"])
def test_a_setting_of_a_study_is_one_of_a_run(refused, name):
    assert refused("study", {**STUDY, "set": {"all": {name: 3}}})
    assert not refused("study", {**STUDY, "set": {"all": {"model.init_args.my_own": 3, "trainer.max_epochs": 3}}})


def test_every_argument_stands_in_the_schema_with_text_range_and_default(texts):
    definitions = json.loads(texts["run"])["definitions"]
    for name, cls in made_methods().items():
        given = {key for key in definitions[f"args.kdlab.methods.{name}"]["properties"] if not key.endswith("+")}
        assert given == set(inspect.signature(cls).parameters), name
    view = definitions["args.kdlab.views.PersistenceImage"]["properties"]
    assert {field.name for field in fields(PersistenceImage)} == {key for key in view if not key.endswith("+")}
    temperature = definitions["args.kdlab.methods.KD"]["properties"]["temperature"]
    while "$ref" in temperature:
        temperature = definitions[temperature["$ref"].rpartition("/")[2]]
    assert temperature["default"] == 4.0
    assert temperature["minimum"] > 0
    assert "soft targets" in temperature["description"]


def test_the_command_writes_both_and_replaces_no_other_file(texts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "texts", lambda: texts)
    command.main(["--out", str(tmp_path / "new")])
    command.main(["--out", str(tmp_path / "new")])
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(NAMES.values())
    assert "# yaml-language-server: $schema=kdlab.run.schema.json" in capsys.readouterr().out
    (tmp_path / NAMES["study"]).write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"kdlab\.study\.schema\.json.* must be a schema of kdlab"):
        command.main(["--out", str(tmp_path)])
    assert [path.name for path in tmp_path.glob("*.json")] == [NAMES["study"]]
