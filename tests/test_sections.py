"""A config that differs from an accepted one in a section is refused and accepted as a config that is read alone."""

import copy
from pathlib import Path

import pytest
import yaml
from lightning.pytorch.cli import LightningCLI

from kdlab import cli, reuse
from kdlab.config_checks import data_class
from kdlab.configs import stack
from kdlab.methods.base import Method
from kdlab.parser import Parser
from kdlab.sections import MADE, _shape, accepted
from kdlab.study.configs import set_value
from kdlab.study.plan import Study
from kdlab.study.planned import check_configs
from kdlab.study.results import Survey
from kdlab.types import InputError
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


def test_sections_that_differ_in_values_are_read_without_defaults_and_refused_as_before(tmp_path, capsys, monkeypatch):
    read, real = [], Parser.parse_object

    def parse(self, content, *args, **kwargs):
        if kwargs.get("defaults") is False and isinstance(content, dict):
            read.append(next(iter(content)))
        return real(self, content, *args, **kwargs)

    wrong = [{"data.init_args.test_subjects": ["2"], "data.init_args.batch_size": size} for size in (0.5, "b/c", [4])]
    alone = [end(words(tmp_path, changes), capsys) for changes in wrong]
    monkeypatch.setattr(Parser, "parse_object", parse)
    with reuse.reusing():
        cli.check(words(tmp_path, {}))
        cli.check(words(tmp_path, {"data.init_args.test_subjects": ["1"], "data.init_args.batch_size": 4}))
        assert "data" not in read
        cli.check(words(tmp_path, {"data.init_args.test_subjects": ["2"], "data.init_args.batch_size": 8}))
        assert read == ["data"]
        capsys.readouterr()
        assert [end(words(tmp_path, changes), capsys) for changes in wrong] == alone


def test_shapes_keep_all_that_other_arguments_depend_on():
    assert _shape({"fold": 1, "people": ["1", "22"], "root": "a/b"}) == _shape(
        {"fold": 2, "people": ["7"], "root": "c/"}
    )
    different = [{"a": 1}, {"a": 1.0}, {"a": True}, {"a": None}, {"a": "1"}, {"a": []}, {"a": {}}, {"a": [1]}, {"b": 1}]
    different += [{"a": name} for name in ("SGD", "torch.optim.Adam", "kdlab.nets.WideResNet", "{b/c: 1}", "&x/y *x/y")]
    different += [{"a": {"class_path": name}} for name in ("SGD", "Adam")] + [{"a": ["SGD"]}, {"a": ["Adam"]}]
    assert len({repr(_shape(content)) for content in different}) == len(different)
