"""A config that differs from an accepted one in a section is refused and accepted as a config that is read alone."""

import copy
import functools
import operator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI

from kdlab import Supervised, cli, reuse
from kdlab.config_checks import data_class
from kdlab.configs import read_config, stack
from kdlab.methods.base import Method
from kdlab.other_values import as_it_is, with_values
from kdlab.parser import Parser
from kdlab.sections import MADE, _parser, _shape, accepted
from kdlab.study.configs import set_value
from kdlab.study.plan import Study
from kdlab.study.planned import check_configs
from kdlab.study.results import Survey
from kdlab.types import InputError
from tests.configs import EXPERIMENTS
from tests.test_study import toy

STUDENT = "model.init_args.student.init_args"
ACCEPTED = (
    {"model.init_args.temperature": 8.0},
    {f"{STUDENT}.width": 2},
    {"data.init_args.batch_size": 4},
    {"trainer.max_epochs": 7},
    {"trainer.callbacks": [{"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss"}}]},
    {"seed_everything": 5, "run": "toy/other", "model.init_args.teachers.raw.checkpoint": "runs/another"},
)
REFUSED = (
    {"model.init_args.temperture": 8.0},
    {"model.init_args.temperature": "warm"},
    {"model.class_path": "Distilation"},
    {"model.class_path": "kdlab.methods.base.Method"},
    {f"{STUDENT}.depth": 5000},
    {f"{STUDENT}.option": {}},
    {"model": None},
    {"data.init_args.batchsize": 4},
    {"data.init_args": {"views": {"raw": {"class_path": "Raw", "init_args": {"size": 3}}}}},
    {"data": {"init_args": {}}},
    {"trainer.max_epoch": 3},
    {"trainer.max_epochs": "many"},
    {"trainer.accumulate_grad_batches": 0},
    {"trainer.callbacks": [{"class_path": "EarlyStoping"}]},
    {"trainer.option": {}},
    {"trainer": [1]},
    {"seed_everything": -1},
    {"seed_everything": 2**32},
    {"run": "toy/../.."},
    {"monitr": "val/loss"},
    {"monitor": {"a": 1}},
    {"smoothing": "much"},
)


@pytest.fixture(autouse=True)
def nothing_kept():
    reuse.forget()
    yield
    reuse.forget()


@pytest.fixture
def full(monkeypatch):
    """Which configs were parsed in full."""
    seen, real = [], LightningCLI.parse_arguments

    def parse(self, parser, args):
        seen.append(args[-1])
        return real(self, parser, args)

    monkeypatch.setattr(LightningCLI, "parse_arguments", parse)
    return seen


def words(folder, changes):
    toy(folder)
    config = stack([yaml.safe_load((folder / "student.yaml").read_text())])
    given = {"seed_everything": 0, "run": "toy/kd", "model.init_args.teachers.raw.checkpoint": "runs/teacher"}
    for name, value in {**given, **changes}.items():
        set_value(config, name, value)
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(config))
    return ["fit", "--config", str(path)]


def end(given, capsys):
    """How a check ends: its status or error, and what it prints last."""
    try:
        cli.check(given)
    except SystemExit as error:
        return error.code, capsys.readouterr().err.strip().splitlines()[-1]
    except InputError as error:
        return "error", str(error)
    return "accepted", ""


def test_what_is_accepted_is_parsed_a_section_at_a_time(tmp_path, capsys, full):
    with reuse.reusing():
        assert end(words(tmp_path, {}), capsys)[0] == "accepted"
        for changes in ACCEPTED:
            assert end(words(tmp_path, changes), capsys) == ("accepted", ""), changes
        assert len(full) == 1
        cli.check(words(tmp_path, {"smoothing": 5}))  # what has no section is parsed in full
        assert len(full) == 2
    cli.check(words(tmp_path, {}))  # outside of a study each time
    assert len(full) == 3


def test_what_is_refused_alone_is_refused_after_others_with_the_same_message(tmp_path, capsys):
    alone = [end(words(tmp_path, changes), capsys) for changes in REFUSED]
    with reuse.reusing():
        for changes in ({}, *ACCEPTED):
            cli.check(words(tmp_path, changes))
        capsys.readouterr()
        after = [end(words(tmp_path, changes), capsys) for changes in (*REFUSED, REFUSED[0])]
    assert after == [*alone, alone[0]]  # what was refused is not kept
    assert not [changes for changes, found in zip(REFUSED, alone, strict=True) if found[0] == "accepted"]


def an_ensemble(*folders, temperature=4.0):
    members = {str(i): {"checkpoint": folder, "view": "raw"} for i, folder in enumerate(folders)}
    teacher = {"class_path": "EnsembleTeacher", "init_args": {"members": members}}
    return {"model.init_args.teachers": {"raw": teacher}, "model.init_args.temperature": temperature}


def test_what_a_job_needs_to_be_made_is_as_if_its_config_was_parsed_alone(tmp_path):
    changes = (
        {},
        {"seed_everything": 5, "model.init_args.teachers.raw.checkpoint": "runs/another"},
        {"data.init_args.test_subjects": ["2"], "model.init_args.temperature": 8},
        an_ensemble("runs/a", "runs/b"),
        an_ensemble("runs/c", "runs/d"),
        an_ensemble("runs/c", "runs/e", temperature=1.0),
        an_ensemble("runs/c", "word"),  # a folder that the parser need not take as it is
    )
    given = words(tmp_path, {})
    content, base = yaml.safe_load(Path(given[-1]).read_text()), data_class(given)
    assert accepted(content, base) is None  # nothing is kept
    parser = Parser(allow_abbrev=False)
    parser.add_lightning_class_args(Method, "model", subclass_mode=True)
    parser.add_lightning_class_args(base, "data", subclass_mode=True)
    with reuse.reusing():
        for change in changes:
            given = words(tmp_path, change)
            cli.check(given)
            content = yaml.safe_load(Path(given[-1]).read_text())
            found = accepted(content, base).as_dict()
            given = {name: copy.deepcopy(content[name]) for name in MADE}
            alone = parser.parse_object(given, defaults=False).as_dict()
            assert held(found, alone) == alone, change


def held(found, given):
    """What is found of what is given; defaults of other arguments may be there, too."""
    if isinstance(given, dict):
        return {name: held(found.get(name), value) for name, value in given.items()}
    return found


def test_members_of_an_ensemble_are_the_jobs_own(tmp_path, monkeypatch):
    read, real = [], Parser.parse_object

    def parse(self, content, *args, **kwargs):
        read.append(content)
        return real(self, content, *args, **kwargs)

    with reuse.reusing():
        cli.check(words(tmp_path, an_ensemble("runs/a", "runs/b")))
        monkeypatch.setattr(Parser, "parse_object", parse)
        cli.check(words(tmp_path, an_ensemble("runs/c", "runs/d")))
        assert not read
        cli.check(words(tmp_path, an_ensemble("runs/c", "runs/d", temperature=2.0)))
        assert not read
        cli.check(words(tmp_path, an_ensemble("runs/c", "runs/d", temperature="2")))  # a text may be a number, too
        assert read


def planned(folder, count, wrong="", **more):
    toy(folder, seeds=2)
    labels = {f"t{i}": {"model.init_args.temperature": 1.0 + i} for i in range(count)}
    if wrong:
        labels[wrong] = {"model.init_args.temperature": "warm"}
    kd = {"config": "student.yaml", "teachers": {"raw": "teacher"}, "axes": ["temperature"]}
    study = Study.read(toy(folder, seeds=2, axes={"temperature": labels}, students={"kd": kd}))
    return study.jobs(Path("runs"), {"fold1": ["1"], "fold2": ["2"]}, lambda config: "data", **more)


def test_every_config_of_a_study_is_checked_and_equal_ones_once(tmp_path, capsys, full):
    check_configs(planned(tmp_path, 60), cli.check, Survey())
    assert len(full) == 1
    with pytest.raises(InputError, match=r"the config of kd\[temperature=t57\]/fold1/seed0 is not accepted"):
        check_configs(planned(tmp_path, 60, "t57"), cli.check, Survey())
    assert "temperature" in capsys.readouterr().err


def test_settings_of_one_fold_are_checked(tmp_path):
    def tuned(run, labels, fold):
        return {"model.init_args.lr": 0.1} if (run, fold) == ("kd", "fold2") else {}

    with pytest.raises(InputError, match=r"the config of kd\[temperature=t0\]/fold2/seed0 is not accepted"):
        check_configs(planned(tmp_path, 2, tuned=tuned), cli.check, Survey())


@pytest.fixture
def read(monkeypatch):
    """Which sections were parsed, and whether without the defaults of other arguments."""
    seen, real = [], Parser.parse_object

    def parse(self, content, *args, **kwargs):
        if isinstance(content, dict) and set(content) & set(MADE):
            seen.append((next(iter(content)), kwargs.get("defaults", True)))
        return real(self, content, *args, **kwargs)

    monkeypatch.setattr(Parser, "parse_object", parse)
    return seen


def test_sections_that_differ_in_values_are_not_parsed_and_refused_as_before(tmp_path, capsys, read):
    wrong = [{"data.init_args.test_subjects": ["2"], "data.init_args.batch_size": size} for size in (0.5, "b/c", [4])]
    alone = [end(words(tmp_path, changes), capsys) for changes in wrong]
    read.clear()
    with reuse.reusing():
        cli.check(words(tmp_path, {}))
        cli.check(words(tmp_path, {"data.init_args.test_subjects": ["1"], "data.init_args.batch_size": 4}))
        assert read == [("data", False)]
        cli.check(words(tmp_path, {"data.init_args.test_subjects": ["2"], "data.init_args.batch_size": 8}))
        assert read == [("data", False)]
        capsys.readouterr()
        assert [end(words(tmp_path, changes), capsys) for changes in wrong] == alone


class Foreign(Supervised):
    """A method of one's own."""


@pytest.mark.parametrize(
    ("path", "in_full"), [("Supervised", False), (f"{__name__}.Foreign", True), ("kdlab.Supervised", False)]
)
def test_defaults_of_classes_of_ones_own_are_read(tmp_path, monkeypatch, path, in_full):
    files, real = [], Parser.parse_path

    def parse(self, file, *args, **kwargs):
        files.append(Path(file).name)
        return real(self, file, *args, **kwargs)

    net = {"class_path": "WideResNet", "init_args": {"depth": 10, "in_channels": 6, "num_classes": 4}}
    with reuse.reusing():
        cli.check(words(tmp_path, {}))
        monkeypatch.setattr(Parser, "parse_path", parse)
        cli.check(words(tmp_path, {"model": {"class_path": path, "init_args": {"net": net}}}))
    assert files == ["section.yaml"] * in_full


NUMBERS = {bool: (True, False), int: (0, -1, 2, 10**6), float: (0.0, -1.0, 2.0, 1e-9, float("inf"), float("nan"))}


def of_numbers(node, above=()):
    """Where the numbers of a config are, and those lists that hold nothing else."""
    if type(node) in NUMBERS or (isinstance(node, list) and node and all(type(item) in NUMBERS for item in node)):
        yield above
    elif isinstance(node, dict | list):
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from of_numbers(value, (*above, name))


@pytest.mark.parametrize(
    ("file", "name", "least"),
    [
        ("basic_motions/tpkd", "model", 14),
        ("sp_sw_har/tgd", "model", 10),
        ("cifar10/amd", "model", 10),
        ("basic_motions/tpkd", "data", 4),
        ("pamap2/teacher_gaf", "data", 2),
    ],
)
def test_exchanged_values_are_what_the_parser_makes_of_them(file, name, least):
    path = EXPERIMENTS / f"{file}.yaml"
    section = read_config(path, "config")[name]
    parser = _parser(name, data_class(["fit", "--config", str(path)]))
    accepted = parser.parse_given({name: section}, "config")[name]
    exchanged = 0
    for where in of_numbers(section):
        node = functools.reduce(operator.getitem, where[:-1], section)
        kinds = [type(item) for item in node[where[-1]]] if isinstance(node[where[-1]], list) else None
        for i in range(2):
            other = copy.deepcopy(section)
            changed = functools.reduce(operator.getitem, where[:-1], other)
            changed[where[-1]] = [NUMBERS[kind][i] for kind in kinds] if kinds else NUMBERS[type(node[where[-1]])][i]
            found = with_values(accepted, section, other)
            if found is not None:
                exchanged += 1
                assert repr(found) == repr(parser.parse_given({name: other}, "config")[name]), where
    assert exchanged >= least
    assert repr(accepted) == repr(parser.parse_given({name: section}, "config")[name])  # it is left as it is


def test_values_that_a_parser_need_not_take_as_they_are():
    anything = (*NUMBERS, str)
    assert [hint for hint in anything for value in (True, 1, 0.5, "1") if as_it_is(hint, value)] == [*anything]
    for hint in (float | str, Literal[1, 2], bool | int, Any, Annotated[int, "positive"], None, list, tuple[int, ...]):
        assert not any(as_it_is(hint, value) for value in (True, 1, 0.5, "1", [1], ["1"])), hint
    assert as_it_is(float | torch.Tensor, 0.5)
    assert as_it_is(list[float] | Literal["balanced"] | None, [0.5, 2.0])
    assert not as_it_is(list[float], [1, 2.0])
    assert as_it_is(int | float, 1)
    assert not as_it_is(int | float, 0.5)  # 2.0 may be the whole number


def test_shapes_keep_all_that_other_arguments_depend_on():
    assert _shape({"fold": 1, "people": ["1", "22"], "root": "a/b"}) == _shape(
        {"fold": 2, "people": ["7"], "root": "c/"}
    )
    different = [{"a": 1}, {"a": 1.0}, {"a": True}, {"a": None}, {"a": "1"}, {"a": []}, {"a": {}}, {"a": [1]}, {"b": 1}]
    different += [{"a": name} for name in ("SGD", "torch.optim.Adam", "kdlab.nets.WideResNet", "{b/c: 1}", "&x/y *x/y")]
    different += [{"a": {"class_path": name}} for name in ("SGD", "Adam")] + [{"a": ["SGD"]}, {"a": ["Adam"]}]
    assert len({repr(_shape(content)) for content in different}) == len(different)
