"""A name with an empty mapping is refused where it is no argument; jsonargparse alone would drop it."""

import copy
import json

import pytest
import yaml

from kdlab import cli
from kdlab.dropped import refuse_dropped
from kdlab.parser import Parser
from kdlab.study.configs import set_value
from kdlab.types import InputError

NET = {"class_path": "WideResNet", "init_args": {"depth": 10, "width": 1, "in_channels": 6, "num_classes": 4}}
CONFIG = {
    "model": {
        "class_path": "KD",
        "init_args": {
            "student": NET,
            "teachers": {"raw": {"checkpoint": "runs/teacher"}},
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
        },
    },
    "data": {"class_path": "BasicMotions", "init_args": {"views": {"raw": {"class_path": "Raw", "init_args": {}}}}},
    "trainer": {"callbacks": [{"class_path": "EarlyStoppedTeacher", "init_args": {}}]},
}
TYPOS = {
    "model.init_args.studnt": {},
    "model.init_args.taps": {"stage1": {}},
    "model.init_args.student.init_args.dept": {},
    "model.init_args.teachers.raw.chekpoint": {},
    "model.init_args.optimizer.init_args.momentun": {},
    "model.init_args.cache.foldr": {},
    "data.init_args.batchsize": {},
    "data.init_args.views.raw.init_args.chanels": {},
}


def changed(tmp_path, name, value, base=CONFIG):
    config = copy.deepcopy(base)
    set_value(config, name, value)
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def refused(words):
    with pytest.raises(InputError) as error:
        cli.check(["fit", *words])
    return str(error.value)


@pytest.mark.parametrize("name", TYPOS)
def test_a_typo_with_an_empty_mapping_is_named(name, tmp_path):
    path = changed(tmp_path, name, TYPOS[name])
    assert refused(["--config", path]) == (
        f"--config: {path!r}: {name} is not accepted. Correct the name, or remove it."
    )


def test_in_a_list_and_behind_a_plus(tmp_path):
    for key in ("callbacks", "callbacks+"):
        callback = {"class_path": "EarlyStoppedTeacher", "init_args": {"patiense": {}}}
        path = changed(tmp_path, f"trainer.{key}", [callback, {"class_path": "OpenSetScore"}])
        assert f"trainer.{key.rstrip('+')}.init_args.patiense is not accepted" in refused(["--config", path])


def test_on_the_command_line(tmp_path):
    path = changed(tmp_path, "run", "a/b")
    raw = json.dumps({"class_path": "Raw", "init_args": {"chanels": {}}})
    for words in ([f"--data.init_args.views.raw={raw}"], ["--data.init_args.views.raw", raw]):
        assert refused(["--config", path, *words]) == (
            "--data.init_args.views.raw: data.init_args.views.raw.init_args.chanels is not accepted. Correct the name, "
            "or remove it."
        )


def test_in_a_config_that_is_built(tmp_path):
    base = {"model": {"class_path": "Supervised", "init_args": {"net": NET}}, "data": CONFIG["data"]}
    with pytest.raises(InputError, match=r"model\.init_args\.vew is not accepted"):
        cli.build(changed(tmp_path, "model.init_args.vew", {}, base))
    cli.build(changed(tmp_path, "model.init_args.view", "raw", base))


@pytest.mark.parametrize("name", ["model.init_args.weights", "data.init_args.views", "trainer", "data.init_args"])
def test_an_empty_mapping_that_is_an_argument_stays(name, tmp_path):
    cli.check(["fit", "--config", changed(tmp_path, name, {})])


def test_a_class_that_a_later_file_replaces_has_arguments_of_its_own():
    """What the first file says of it is gone, whatever it was."""
    first = {"net": {"class_path": "WideResNet", "init_args": {"released": {}}}}
    parser = Parser(allow_abbrev=False)
    parser.add_argument("--net", type=dict)
    net = {"class_path": "kdlab.nets.VGG", "init_args": {"depth": 8}}
    refuse_dropped(first, parser.parse_object({"net": net}), "first.yaml")
    net["class_path"] = "kdlab.nets.WideResNet"
    with pytest.raises(InputError, match=r"first.yaml: net.init_args.released is not accepted"):
        refuse_dropped(first, parser.parse_object({"net": net}), "first.yaml")


def test_in_a_file_that_another_includes(tmp_path):
    changed(tmp_path, "model.init_args.studnt", {})
    path = tmp_path / "short.yaml"
    path.write_text("include: run.yaml\ntrainer: {max_epochs: 1}\n")
    message = f"--config: {str(path)!r}: model.init_args.studnt is not accepted. Correct the name, or remove it."
    assert refused(["--config", str(path)]) == message
