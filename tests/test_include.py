"""Configs that include others: one rule of merging, one level, and one line for what is refused."""

import contextlib
import io
import json
import os

import pytest
import yaml

from kdlab import cli
from kdlab.configs import read_config, stack, stack_studies
from kdlab.evaluate.trust import data_module
from kdlab.study.plan import Study
from kdlab.types import InputError, MissingFileError

RUN = """
run: here/run
trainer: {max_epochs: 3, callbacks: [{class_path: ConfusionMatrixPicture}]}
model:
  class_path: TGD
  init_args:
    student: {class_path: WideResNet, init_args: {depth: 10, width: 1, in_channels: 6, num_classes: 4}}
    teachers: {raw: {checkpoint: runs/x}}
    kd_weight: 0.3
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.05, momentum: 0.9}}
data: {class_path: BasicMotions, init_args: {batch_size: 8}}
"""
MORE = {
    "values": "{seed_everything: 7, trainer: {max_epochs: 5}, data: {init_args: {batch_size: 4}}}",
    "callbacks": "trainer: {callbacks+: [{class_path: ViewPictures}]}",
    "one callback": "trainer: {callbacks+: {class_path: ViewPictures, init_args: {per_class: 2}}}",
    "other callbacks": "trainer: {callbacks: [{class_path: ViewPictures}]}",
    "arguments alone": "model: {init_args: {student: {init_args: {width: 2}}, optimizer: {init_args: {lr: 1.0e-3}}}}",
    "another class": "model: {init_args: {optimizer: {class_path: torch.optim.Adam, init_args: {lr: 1.0e-3}}}}",
    "class alone": "model: {class_path: KD}",
    "the same class": "model: {class_path: TGD, init_args: {kd_weight: 0.5}}",
    "another view": "data: {init_args: {views: {raw: Raw, pi: {class_path: PersistenceImage, init_args: {size: 32}}}}}",
    "texts like numbers": "{run: '1e3', model: {init_args: {optimizer: {init_args: {lr: 1e-3}}}}}",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, text):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def printed(*files):
    """``--print_config`` of stacked configs."""
    words = [word for file in files for word in ("--config", str(file))]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as info:
        cli.check(["fit", *words, "--print_config"])
    assert not info.value.code
    return yaml.safe_load(out.getvalue())


@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
def test_an_include_is_as_files_that_are_stacked(more, here):
    write(here / "base/run.yaml", RUN)
    write(here / "more.yaml", more)
    write(
        here / "new.yaml",
        f"include: base/run.yaml\n{more}" if more[0] != "{" else f"{{include: base/run.yaml, {more[1:]}",
    )
    write(here / "both.yaml", "include: [base/run.yaml, more.yaml]")
    stacked = printed("base/run.yaml", "more.yaml")
    assert stacked != printed("base/run.yaml")
    assert printed("new.yaml") == printed("both.yaml") == stacked


def test_added_callbacks_extend_those_of_the_command_line(here):
    write(here / "run.yaml", RUN)
    for name in ("ViewPictures", "DeviceStatsMonitor"):
        write(here / f"{name}.yaml", f"trainer: {{callbacks+: [{{class_path: {name}}}]}}")
    write(here / "two.yaml", "include: [ViewPictures.yaml, DeviceStatsMonitor.yaml]\ntrainer: {max_epochs: 9}")
    both = printed("run.yaml", "two.yaml")
    assert both["trainer"]["max_epochs"] == 9
    names = [callback["class_path"].rpartition(".")[2] for callback in both["trainer"]["callbacks"]]
    assert names == ["ConfusionMatrixPicture", "ViewPictures", "DeviceStatsMonitor"]
    assert (
        printed("run.yaml", "ViewPictures.yaml", "DeviceStatsMonitor.yaml")["trainer"]["callbacks"]
        == both["trainer"]["callbacks"]
    )


def test_named_values_are_merged_and_a_class_with_arguments_replaces_another(here):
    """The rule of studies. A later ``--config`` replaces all teachers, and keeps arguments that both classes take."""
    write(here / "run.yaml", RUN)
    write(here / "pi.yaml", "model: {init_args: {teachers: {pi: {checkpoint: runs/y, view: pi}}}}")
    write(
        here / "new.yaml",
        "{include: [run.yaml, pi.yaml], model: {init_args: {optimizer: {class_path: X, init_args: {}}}}}",
    )
    arguments = read_config(here / "new.yaml", "config")["model"]["init_args"]
    assert arguments["teachers"] == {"raw": {"checkpoint": "runs/x"}, "pi": {"checkpoint": "runs/y", "view": "pi"}}
    assert arguments["optimizer"] == {"class_path": "X", "init_args": {}}
    assert list(printed("run.yaml", "pi.yaml")["model"]["init_args"]["teachers"]) == ["pi"]


def test_a_study_reads_includes_and_its_jobs_are_the_same(here):
    write(here / "run.yaml", RUN)
    write(here / "more.yaml", MORE["callbacks"])
    write(here / "new.yaml", "{include: [run.yaml, more.yaml], trainer: {max_epochs: 9}}")
    keys = []
    for config in ("new.yaml", "[run.yaml, more.yaml, own.yaml]"):
        write(here / "own.yaml", "trainer: {max_epochs: 9}")
        write(here / "teacher.yaml", RUN.replace("TGD", "KD").replace("{raw: {checkpoint: runs/x}}", "{}"))
        teachers = "teachers: {t: {config: teacher.yaml}}"
        write(
            here / "study.yaml", f"study: a/b\n{teachers}\nstudents: {{s: {{config: {config}, teachers: {{raw: t}}}}}}"
        )
        jobs = Study.read(here / "study.yaml").jobs(here, {"": []}, lambda config: "the same data")
        keys.append([job.key for job in jobs.values()])
    assert keys[0] == keys[1]
    write(here / "new.yaml", "include: gone.yaml")
    write(here / "study.yaml", "{study: a/b, scratch: {s: {config: new.yaml}}}")
    with pytest.raises(MissingFileError, match=r"scratch: s: '.*new\.yaml': include: '.*gone\.yaml' is not there"):
        Study.read(here / "study.yaml")


def test_a_row_that_is_left_out_is_named_nowhere_in_the_included_file(here):
    write(here / "run.yaml", RUN.replace("TGD", "KD").replace("{raw: {checkpoint: runs/x}}", "{}"))
    below = {
        "study": "a/below",
        "scratch": {name: {"config": "run.yaml"} for name in ("one", "two", "three")},
        "compare": [["two", "one"], ["three", "one"]],
        "baselines": ["one", "two"],
        "published": {"two (theirs)": {"value": 0.9, "source": "a paper"}},
        "tune": {"on": ["one", "two"], "own": {"two": {"model.lr": [0.1]}, "one": {"model.lr": [0.1]}}},
    }
    write(here / "below.yaml", json.dumps(below))
    child = {"include": "below.yaml", "study": "a/b", "scratch": {"two": None}}
    write(here / "study.yaml", json.dumps(child))
    study = Study.read(here / "study.yaml")
    assert study.paper.compare == (("three", "one"),)
    assert study.baselines == ("one",)
    assert not study.published
    assert study.tune == {"on": ["one"], "own": {"one": {"model.lr": [0.1]}}}
    write(here / "study.yaml", json.dumps({**child, "compare": [["two", "one"]]}))
    with pytest.raises(InputError, match="compare: unknown run 'two'"):
        Study.read(here / "study.yaml")
    write(here / "study.yaml", json.dumps({**child, "students": {"two": {"config": "run.yaml"}}}))
    assert Study.read(here / "study.yaml").paper.compare == (("two", "one"), ("three", "one"))


def test_a_part_without_rows_is_tuned_no_more(here):
    write(here / "run.yaml", RUN.replace("TGD", "KD").replace("{raw: {checkpoint: runs/x}}", "{}"))
    rows = {"scratch": {"one": {"config": "run.yaml"}}, "students": {"kd": {"config": "run.yaml"}}}
    space = {"scratch": {"model.lr": [0.1]}, "students": {"model.lr": [0.2]}}
    write(here / "below.yaml", json.dumps({"study": "a/below", **rows, "tune": {"own": space}}))
    write(here / "study.yaml", json.dumps({"include": "below.yaml", "study": "a/b", "students": {"kd": None}}))
    assert Study.read(here / "study.yaml").tune == {"own": {"scratch": {"model.lr": [0.1]}}}


@pytest.mark.parametrize("part", ["teachers", "scratch", "students"])
def test_a_part_of_null_is_all_of_its_rows_of_null(here, part):
    write(here / "run.yaml", RUN.replace("TGD", "KD").replace("{raw: {checkpoint: runs/x}}", "{}"))
    parts = {name: {f"{name}1": {"config": "run.yaml"}} for name in ("teachers", "scratch", "students")}
    below = {
        "study": "a/below",
        **parts,
        "compare": [[f"{part}1", f"{other}1"] for other in parts if other != part],
        "baselines": [f"{name}1" for name in parts],
        "published": {f"{name}1": {"value": 0.9, "source": "a paper"} for name in parts},
        "tune": {"own": {name: {"model.lr": [0.1]} for name in parts}},
    }
    write(here / "below.yaml", json.dumps(below))
    write(here / "over.yaml", json.dumps({part: None}))
    found = []
    for rows in ({part: {f"{part}1": None}}, {part: None}, {"include": ["below.yaml", "over.yaml"]}):
        write(here / "study.yaml", json.dumps({"include": "below.yaml", "study": "a/b", **rows}))
        found.append(Study.read(here / "study.yaml"))
    assert found[0] == found[1] == found[2]
    assert list(found[0].published) == [f"{name}1" for name in parts if name != part]
    assert found[0].paper.compare == ()


def test_later_files_win_and_names_start_at_the_file(here):
    write(here / "a/one.yaml", "{run: one, trainer: {max_epochs: 1, devices: 1}}")
    write(here / "b/two.yaml", "{run: two, trainer: {max_epochs: 2, log_every_n_steps: 2}}")
    write(here / "b/run.yaml", "{include: [../a/one.yaml, two.yaml], trainer: {log_every_n_steps: 3}}")
    expected = {"run": "two", "trainer": {"max_epochs": 2, "devices": 1, "log_every_n_steps": 3}}
    assert read_config(here / "b/run.yaml", "config") == expected
    write(here / "b/run.yaml", f"include: {here / 'a/one.yaml'}")
    assert read_config(here / "b/run.yaml", "config") == {"run": "one", "trainer": {"max_epochs": 1, "devices": 1}}


def test_arguments_before_any_class_are_kept_for_it():
    parts = [{"model": {"init_args": {"a": 1}}}, {"model": {"class_path": "X", "init_args": {"b": 2}}}]
    assert stack(parts) == {"model": {"class_path": "X", "init_args": {"a": 1, "b": 2}}}
    assert stack([*parts, {"model": {"class_path": "Y", "init_args": {}}}])["model"] == {
        "class_path": "Y",
        "init_args": {},
    }


def test_two_additions_to_one_list_both_stay(here):
    first, second = ({"trainer": {"callbacks+": [name]}} for name in "ab")
    assert stack([first, second]) == {"trainer": {"callbacks": ["a", "b"]}}
    assert stack([first, {"trainer": {"callbacks": ["c"]}}, second]) == {"trainer": {"callbacks": ["c", "b"]}}
    write(here / "one.yaml", "trainer: {callbacks+: [a]}")
    write(here / "run.yaml", "{include: one.yaml, trainer: {callbacks+: b}}")
    assert read_config(here / "run.yaml", "config") == {"trainer": {"callbacks+": ["a", "b"]}}


def test_names_that_end_with_a_plus_and_are_no_arguments_stay():
    """Classes, runs, labels of axes: what the user called so."""
    classes = {"data": {"init_args": {"class_map": {0: 1, "60+": 2, "walk+": 3}}}}
    assert stack([classes]) == stack([{"data": {"init_args": {"class_map": {}}}}, classes]) == classes
    runs = {"students": {"kd": {"config": "a"}, "kd+": {"config": "b", "teachers": {"raw+": "t"}}}}
    over = {"students": {"kd": None, "kd+": {"set": {"trainer.callbacks+": ["c"]}}}}
    assert stack_studies([runs, over])["students"] == {
        "kd": None,
        "kd+": {**runs["students"]["kd+"], **over["students"]["kd+"]},
    }


ADDED = {
    "set, all": {"set": {"all": {"trainer.callbacks+": ["New"]}}},
    "set, stage": {"set": {"all": {"trainer.callbacks+": ["First"]}, "scratch": {"trainer.callbacks+": "New"}}},
    "set, run": {"run": {"set": {"trainer.callbacks+": ["New"]}}, "set": {"all": {"trainer.callbacks+": ["First"]}}},
    "axis": {"run": {"axes": ["x"]}, "axes": {"x": {"one": {"trainer.callbacks+": [{"class_path": "New"}]}}}},
    "second config": {"run": {"config": ["run.yaml", "added.yaml"]}},
    "include": {"run": {"config": "including.yaml"}},
    "its own list": {"run": {"config": "both.yaml"}},
    "included study": {"include": "below.yaml", "set": {"all": {"trainer.callbacks+": ["New"]}}},
}


@pytest.mark.parametrize("updates", [None, 8])
@pytest.mark.parametrize("more", ADDED.values(), ids=ADDED)
def test_added_callbacks_extend_those_of_a_study(here, more, updates):
    """A job has one list of callbacks, with those that the study adds; what counts in epochs in them is stretched."""
    listed = "callbacks: [{class_path: EarlyStopping, init_args: {monitor: val/loss, patience: 2}}]"
    model = "model: {class_path: Supervised}"
    write(here / "run.yaml", f"{{trainer: {{max_epochs: 2, {listed}}}, {model}}}")
    write(here / "added.yaml", "trainer: {callbacks+: New}")
    write(here / "including.yaml", "{include: run.yaml, trainer: {callbacks+: [New]}}")
    write(here / "both.yaml", f"{{trainer: {{callbacks+: [New], max_epochs: 2, {listed}}}, {model}}}")
    write(here / "below.yaml", json.dumps({"study": "a/c", "set": {"all": {"trainer.callbacks+": "First"}}}))
    content = {k: v for k, v in more.items() if k != "run"} | ({"updates": updates} if updates else {})
    run = {"config": "run.yaml", **more.get("run", {})}
    write(here / "study.yaml", json.dumps({"study": "a/b", "seeds": 1, "scratch": {"s": run}, **content}))
    study = Study.read(here / "study.yaml")
    (job,) = study.jobs(here, {"": []}, lambda config: "the same data", batches=lambda config: 1).values()
    assert "callbacks+" not in job.config["trainer"]
    stop, *others = job.config["trainer"]["callbacks"]
    assert (stop["class_path"], stop["init_args"]["patience"]) == ("EarlyStopping", 8 if updates else 2)
    names = [one if isinstance(one, str) else one["class_path"] for one in others]
    first = ["First"] if "First" in json.dumps(more) or "include" in more else []
    assert names == [*first, "New", *(["UpdateBudget"] if updates else [])]
    assert job.config["selection"] == "best"  # that of EarlyStopping


def test_added_test_subjects_are_refused_where_folds_decide_them(here):
    write(here / "run.yaml", "model: {class_path: Supervised}")
    given = {"set": {"all": {"data.init_args.test_subjects+": ["1"]}}, "scratch": {"s": {"config": "run.yaml"}}}
    write(here / "study.yaml", json.dumps({"study": "a/b", "folds": 2, **given}))
    with pytest.raises(InputError, match=r"test_subjects\+ must be left out, because the study decides it"):
        Study.read(here / "study.yaml")


BOMB = (
    "["
    + "&a [x, x, x, x, x, x, x, x], "
    + ", ".join(f"&{b} [{', '.join([f'*{a}'] * 8)}]" for a, b in zip("abcdef", "bcdefg", strict=True))
)
REFUSED = {
    "a number": ("include: 3", {}, "'run.yaml': include must be the name of a file or a list of them, but got 3"),
    "nothing": ("include:", {}, "include must be the name of a file or a list of them, but got None"),
    "no names": ("include: []", {}, "include must be the name of a file or a list of them, but got []"),
    "an empty name": ("include: ['']", {}, "include must be the name of a file or a list of them, but got ['']"),
    "a mapping in it": ("include: [{a: b}]", {}, "include must be the name of a file or a list of them, but got"),
    "missing": ("include: gone.yaml", {}, "'run.yaml': include: 'gone.yaml' is not there. Name a file; a relative"),
    "a long name": (f"include: {'gone' * 80}", {}, "is not there. Name a file"),
    "a folder": ("include: .", {}, "is not a file"),
    "itself": ("include: run.yaml", {}, "include must name other files, but got 'run.yaml', the file itself"),
    "a circle": (
        "include: b.yaml",
        {"b": "include: run.yaml"},
        "'b.yaml', which includes 'run.yaml'. Name all files in",
    ),
    "two levels": (
        "include: b.yaml",
        {"b": "include: c.yaml", "c": "run: x"},
        "files that include no others, but got 'b",
    ),
    "no mapping": (
        "include: b.yaml",
        {"b": "- 1"},
        "'run.yaml': include: 'b.yaml' must hold a mapping, but it holds a list",
    ),
    "empty": ("include: b.yaml", {"b": ""}, "include: 'b.yaml' must hold a mapping, but it is empty"),
    "no YAML": ("include: b.yaml", {"b": "a: ["}, "'b.yaml' is not valid YAML"),
    "a key twice": ("include: b.yaml", {"b": "run: a\nrun: b"}, "'b.yaml', line 2: key 'run' must stand once"),
    "aliases": ("include: b.yaml", {"b": f"x: {BOMB}]"}, "'b.yaml': must hold at most 50,000 values"),
    "depth": ("include: b.yaml", {"b": "x: " + "[" * 99 + "]" * 99}, "'b.yaml', line 1: must be nested at most 64"),
    "size": ("include: b.yaml", {"b": "x: " + "a" * 2**20}, "'b.yaml' must be at most 1 MiB"),
    "a number as key": (
        "include: b.yaml",
        {"b": "data: {init_args: {views: {0: Raw}}}"},
        "'b.yaml': data.init_args.views: a key must be a word, but got 0. Write \"0\": in quotes",
    ),
    "a section": ("include: b.yaml", {"b": "trainer: 3"}, "trainer must be a mapping, but got 3"),
}


@pytest.mark.parametrize(("text", "others", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(text, others, said, here):
    write(here / "run.yaml", text)
    for name, content in others.items():
        write(here / f"{name}.yaml", content)
    with pytest.raises(InputError) as info:
        cli.check(["fit", "--config", "run.yaml"])
    assert said in str(info.value)
    assert "\n" not in str(info.value)
    assert isinstance(info.value, MissingFileError) == ("gone" in text)


def test_labels_and_people_are_numbers_in_runs_and_studies(here):
    """Those of an included file, a config, an option and a study; elsewhere a number is refused with the file."""
    alone = RUN.replace("TGD", "Supervised").replace("student:", "net:")
    alone = alone.replace("    teachers: {raw: {checkpoint: runs/x}}\n    kd_weight: 0.3\n", "")
    write(here / "data.yaml", alone.replace("batch_size: 8", 'labels: {0: still, "1": still}'))
    write(here / "run.yaml", "{include: data.yaml, data: {init_args: {subjects: {4: a, 3: a}}}}")
    arguments = printed("run.yaml")["data"]["init_args"]
    assert (arguments["labels"], arguments["subjects"]) == ({0: "still", "1": "still"}, {4: "a", 3: "a"})
    write(
        here / "set.yaml", "{study: a/b, set: {all: {data.init_args.labels: {2: x, y: x}}}, scratch: {s: {config: C}}}"
    )
    write(here / "study.yaml", (here / "set.yaml").read_text("utf-8").replace("C", "run.yaml"))
    job, *_ = Study.read(here / "study.yaml").jobs(here, {"": []}, lambda config: "the same data").values()
    assert job.config["data"]["init_args"]["labels"] == {2: "x", "y": "x"}
    write(here / "study.yaml", (here / "study.yaml").read_text("utf-8").replace("labels", "views"))
    with pytest.raises(InputError, match=r"study\.yaml: s.*: data\.init_args\.views: a key must be a word, but got 2"):
        Study.read(here / "study.yaml").jobs(here, {"": []}, lambda config: "the same data")


def test_a_typo_in_an_included_file_is_named(here, capsys):
    write(here / "run.yaml", "include: b.yaml")
    write(here / "b.yaml", RUN.replace("kd_weight", "kd_wait"))
    with pytest.raises(SystemExit):
        cli.check(["fit", "--config", "run.yaml"])
    assert "kd_wait" in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_fit_keeps_the_expanded_config_and_other_commands_read_includes(here):
    write(
        here / "parts/net.yaml",
        yaml.safe_dump({"model": {"init_args": {"net": yaml.safe_load(RUN)["model"]["init_args"]["student"]}}}),
    )
    write(here / "parts/data.yaml", "data: {class_path: BasicMotions, init_args: {batch_size: 8, train_per_class: 2}}")
    limits = "max_epochs: 1, limit_train_batches: 1, limit_val_batches: 1, limit_predict_batches: 1, accelerator: cpu"
    trainer = f"{{{limits}, enable_progress_bar: false, callbacks+: [{{class_path: ConfusionMatrixPicture}}]}}"
    own = f"run: here/run\nmodel: {{class_path: Supervised}}\ntrainer: {trainer}"
    write(here / "run.yaml", f"include: [parts/net.yaml, parts/data.yaml]\n{own}")
    cli.run(["fit", "--config", "run.yaml"])
    kept = yaml.safe_load((here / "runs/here/run/version_0/config.yaml").read_text())
    assert "include" not in kept
    assert kept["data"]["init_args"]["train_per_class"] == 2
    assert kept["model"]["init_args"]["net"]["init_args"]["depth"] == 10
    cli.run(["predict", "--config", "run.yaml", "--ckpt_path", "runs/here/run"])
    model, data = cli.build("run.yaml")
    assert (type(model).__name__, data.batch_size) == ("Supervised", 8)
    assert [type(callback).__name__ for callback in cli.build_callbacks("run.yaml")] == ["ConfusionMatrixPicture"]
    os.remove("parts/net.yaml")
    cli.run(["predict", "--config", "runs/here/run/version_0/config.yaml", "--ckpt_path", "runs/here/run"])


def test_the_config_of_a_run_folder_of_others_includes_nothing(here):
    write(here / "data.yaml", "data: {class_path: BasicMotions}")
    write(here / "config.yaml", "include: data.yaml")
    with pytest.raises(InputError, match=r"'.*config\.yaml': include must not stand in the config of a run folder"):
        data_module(here / "config.yaml")
