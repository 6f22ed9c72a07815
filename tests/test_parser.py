"""What the command line reads and refuses before anything is made: configs from others, typos, commands."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

import kdlab
from kdlab import cli
from kdlab.configs import read_config, read_file
from kdlab.data import ArrayDataModule
from kdlab.lightning_cli import Reading
from kdlab.parser import _as_yaml, reason
from kdlab.types import InputError
from tests.test_cli import SCRATCH, files, here  # noqa: F401

BOMB = "[&a [x, x, x, x, x, x, x, x], " + ", ".join(
    f"&{new} [{', '.join([f'*{old}'] * 8)}]" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)
BOMB += "]"


def last_line(words, capsys):
    """The last line of a command that is refused in one line."""
    capsys.readouterr()
    with pytest.raises((SystemExit, InputError)) as info:
        cli.run(words)
    if info.type is SystemExit:
        assert info.value.code == 2
        return capsys.readouterr().err.strip().splitlines()[-1]
    assert "\n" not in str(info.value)
    return f"error: {info.value}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"trainer: {{max_epochs: {BOMB}}}", "at most 50,000 values"),
        (f"trainer: {{max_epochs: '{BOMB}'}}", "at most 50,000 values"),
        (f"x: {BOMB}", "at most 50,000 values"),
        ("trainer: {max_epochs: 1, max_epochs: 2}", "line 1: key 'max_epochs' must stand once"),
        ("data:\n  init_args:\n    batch_size: 4\n    batch_size: 8", "line 4: key 'batch_size' must stand once"),
        ("model: {init_args: {net: {init_args: {width: 1, width: 2}}}}", "key 'width' must stand once"),
        ("trainer: -1", "trainer must be a mapping, but got -1"),
        ("trainer: null", "trainer must be a mapping, but got None"),
        ("trainer: [1]", "trainer must be a mapping, but got [1]"),
        ("data: null", "data must be a mapping, but got None"),
        ("data: [1]", "data must be a mapping, but got [1]"),
        ("data: {class_path: null}", "class_path must be the name of a class, but got None"),
        ("data: {class_path: [BasicMotions]}", "class_path must be the name of a class, but got ['BasicMotions']"),
        ("data: {class_path: BasicMotions, init_args: null}", "init_args must be a mapping, but got None. Write init"),
        ("model: {init_args: {net: {class_path: VGG, init_args: null}}}", "init_args must be a mapping, but got None"),
        ("trainner: {}", "trainner is not accepted. Correct the name, or remove it."),
        ("trainer: {max_epoch: {}}", "trainer.max_epoch is not accepted. Correct the name, or remove it."),
        ("trainer: {callbacks: [{}]}", "Callback is abstract"),
        ("trainer: {limit_train_batches: 0}", "limit_train_batches must leave at least one of 4 batches, but got 0"),
        ("data: {class_path: BasicMotions, init_args: 3}", "init_args must be a mapping, but got 3"),
        ("model: 5", "model must be a mapping, but got 5"),
        ("modle: {class_path: Supervised}", "does not accept option 'modle.class_path'"),
        ("seed_everything: -1", '"seed_everything": must be a number from 0 to 4294967295, but got -1'),
        (f"seed_everything: {10**20}", f"but got {10**20}"),
        ("trainer: {accumulate_grad_batches: 0}", '"trainer.accumulate_grad_batches": must be at least 1, but got 0'),
        ("trainer: {check_val_every_n_epoch: 0}", "must be at least 1, but got 0"),
        ("trainer: {gradient_clip_val: .nan}", "must be at least 0, but got nan"),
        ("run: ../elsewhere", "run: must be names of folders"),
        ("run: ' '", "run: must be names of folders"),
        ("model: {init_args: {optimizer: {init_args: {lr: 1.0e+308}}}}", "optimizer: lr must be a number of float32"),
        (f"model: {{init_args: {{net: {{init_args: {{depth: {10**20}}}}}}}}}", '"depth": must be at most 2000'),
        ("[" * 5000, "at most 64 levels deep"),
        ("{a: " * 80 + "1" + "}" * 80, "at most 64 levels deep"),
        ("a: &a [*a]", "must come after its whole anchor"),
        ("1: 2", "a key must be a word, but got 1"),
        ("- 1", "must hold a mapping"),
        ("", "it is empty"),
        ("config: c.yaml", "Config file loop detected"),
    ],
)
def test_a_config_that_is_refused_in_one_line(text, said, here, capsys):  # noqa: F811
    (here / "c.yaml").write_text(text, encoding="utf-8")
    begin = time.process_time()
    line = last_line(["fit", "--config", SCRATCH, "--config", "c.yaml"], capsys)
    assert said in line
    assert line.startswith("error: ")
    assert len(line) < 600
    assert time.process_time() - begin < 300  # the explosions would take hours
    assert files(here) == ["c.yaml"]


def test_a_config_without_a_class_for_its_data_is_refused(here, capsys):  # noqa: F811
    config = read_config(Path(SCRATCH), "config")
    for key, base in (("data", "WindowDataModule"), ("model", "Method")):
        for section in ({}, {"init_args": {}}):
            (here / "c.yaml").write_text(yaml.safe_dump({**config, key: section}), encoding="utf-8")
            line = last_line(["fit", "--config", "c.yaml"], capsys)
            assert f"{base} is abstract" in line or "the following arguments are required: net" in line
    del config["data"]["class_path"]
    (here / "c.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert "WindowDataModule is abstract" in last_line(["fit", "--config", "c.yaml"], capsys)
    assert files(here) == ["c.yaml"]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01", "ü".encode("latin-1"), b"a: \x00", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.parametrize("form", [("--config", "c.yaml"), ("--config=c.yaml",), ("-c", "c.yaml")])
def test_a_binary_config_is_refused(content, form, here, capsys):  # noqa: F811
    (here / "c.yaml").write_bytes(content)
    line = last_line(["fit", *form], capsys)
    assert line.startswith("error: --config: 'c.yaml'")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trainer.max_epochs="], "\"trainer.max_epochs\": expected one of int, null, but got ''"),
        (["--trainer=-1"], "Parser key \"trainer\": Unable to load config '-1'"),
        (["--data.init_args.views={raw: Raw, raw: Raw}"], "key 'raw' must stand once"),
        ([f"--trainer.max_epochs={BOMB}"], "at most 50,000 values"),
        (["--config={trainer: {max_epochs: 1, max_epochs: 2}}"], "key 'max_epochs' must stand once"),
        (["--model.init_args.optimizer.init_args.lr=fast"], '"lr": expected float (a number), but got fast'),
        (["--model.init_args.net=Backbone"], "kdlab.nets.Backbone is abstract"),
        (["--model=Method"], "Method is abstract"),
        (["--data=WindowDataModule"], "kdlab.data.WindowDataModule is abstract"),
        (["--data.init_args.views={raw: View}"], "View is abstract"),
        (["--data.class_path=json.loads"], "Import path json.loads does not correspond to a subclass"),
        (["--model.init_args.net.init_args.width=100000"], "you tried to allocate"),
        (["--model.init_args.net.init_args.dpth=4"], "Option 'dpth' is not accepted (a typo, or the class_path"),
        (["--trainer.callbacks=[3]"], "Not a valid subclass of Callback, but got 3"),
    ],
)
def test_the_last_line_gives_the_true_reason(words, said, here, capsys):  # noqa: F811
    assert said in last_line(["fit", "--config", SCRATCH, *words], capsys)
    assert not files(here)


def test_a_fit_without_a_config_names_the_option(here, capsys):  # noqa: F811
    assert last_line(["fit"], capsys).endswith("fit.data, fit.model. Name a config that has them: --config FILE")


def test_a_plateau_is_named_by_its_bare_name_or_by_its_path(here):  # noqa: F811
    for name in ("ReduceLROnPlateau", "torch.optim.lr_scheduler.ReduceLROnPlateau"):
        cli.check(["fit", "--config", SCRATCH, f"--model.init_args.scheduler={name}"])


@pytest.mark.parametrize(("written", "number"), [("1", 1), ("2", 2), ("1.0", 1.0), ("0.5", 0.5)])
def test_one_batch_is_not_all_of_them(written, number, here):  # noqa: F811
    """A limit of 1 counts, one of 1.0 is a part; likewise in the arguments of a callback."""
    names = [f"limit_{part}_batches" for part in ("train", "val", "test", "predict")]
    pruning = f"{{class_path: ModelPruning, init_args: {{pruning_fn: l1_unstructured, amount: {written}}}}}"
    lines = [f"  {name}: {written}" for name in names] + [f"  callbacks: [{pruning}]"]
    (here / "c.yaml").write_text("\n".join(["trainer:", *lines]))
    words = [f"--trainer.{name}={written}" for name in names] + [f"--trainer.callbacks=[{pruning}]"]
    for more in (words, ["--config", "c.yaml"]):
        found = cli._with_words(Reading, ["fit", "--config", SCRATCH, *more]).config["fit"]["trainer"]
        values = [found[name] for name in names] + [found["callbacks"][0]["init_args"]["amount"]]
        assert list(map(repr, values)) == [repr(number)] * 5


def test_none_of_the_agent_of_a_sweep_is_null(here):  # noqa: F811
    words = ["--trainer.gradient_clip_val=None", "--data.init_args.augment=None", "--run=None", "--ckpt_path=None"]
    config = cli._with_words(Reading, ["fit", "--config", SCRATCH, *words]).config["fit"]
    found = config.trainer.gradient_clip_val, config.data.init_args.augment, config.run, config.ckpt_path
    assert found == (None, None, None, None)


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        ("{raw: {offset: [0], divisor: [1]}}", None),
        ("{raw: {class_path: Scale, init_args: {offset: [0], divisor: [1]}}}", None),
        ("{offset: [0], divisor: [1]}", None),
        ("{raw: {offset: [0], divisors: [1]}}", "Option 'divisors' is not accepted"),
        ("{raw: {offsets: [0], divisors: [1]}}", "Option 'offsets' is not accepted"),
        ("{offset: [0], divisors: [1]}", "Option 'divisors' is not accepted"),
        ("{raw: {offset: [x], divisor: [1]}}", 'key "offset": expected float, but got x'),
        ("{raw: {offset: [0]}}", "required: divisor"),
        ("{raw: standard}", "Option 'raw' is not accepted"),
    ],
)
def test_constants_of_a_scale_by_source(here, scale, said, capsys):  # noqa: F811
    (here / "c.yaml").write_text(f"data: {{init_args: {{scale: {scale}}}}}")
    words = ["fit", "--config", SCRATCH, "--config", "c.yaml"]
    if said is None:
        cli.check(words)
    else:
        assert said in last_line(words, capsys)


def test_python_of_the_agent_of_a_sweep_is_read_as_python(here):  # noqa: F811
    """What YAML reads otherwise; flow YAML, in which None is a word, stays as it is."""
    optimizer = {"class_path": "torch.optim.Adam", "init_args": {"betas": (0.9, 0.99), "foreach": None, "lr": 1e-05}}
    given = {
        "trainer": {"default_root_dir": None},
        "data": {"init_args": {"val_count": None, "drop_classes": ["None", "it's", "C:\\d"]}},
        "model.init_args.optimizer": optimizer,
    }
    words = [f"--{name}={value}" for name, value in given.items()]
    words += ["--data.init_args.test_subjects=[None, a]"]
    config = cli._with_words(Reading, ["fit", "--config", SCRATCH, *words]).config["fit"]
    data, read = config.data.init_args, config.model.init_args.optimizer.init_args
    assert (config.trainer.default_root_dir, data.val_count, data.test_subjects) == (None, None, ["None", "a"])
    assert data.drop_classes == ["None", "it's", "C:\\d"]
    assert (list(read.betas), read.foreach, read.lr) == ([0.9, 0.99], None, 1e-05)


@pytest.mark.parametrize(
    "text", ["{'name': 'P\\d+'}", "{'name': '\\bP'}", "{1: None}", "{1, 2}", "[" * 300, "{'a':None}", '{"a": "None"}']
)
def test_flow_yaml_is_not_taken_for_python(text):
    assert _as_yaml(f"--data={text}") == f"--data={text}"


def test_a_key_that_stands_twice_is_found_in_python_too(here):  # noqa: F811
    with pytest.raises(InputError, match="'batch_size' must stand once"):
        cli.check(["fit", "--config", SCRATCH, "--data={'init_args': {'batch_size': None, 'batch_size': 4}}"])


def test_a_date_stays_a_word_on_the_command_line_and_in_files(here):  # noqa: F811
    (here / "c.yaml").write_text("run: 2026-01-31", encoding="utf-8-sig")
    cli.check(["fit", "--config", SCRATCH, "--config", "c.yaml"])


def test_a_csv_given_as_npz_says_so(tmp_path):
    (tmp_path / "x.npz").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"not an npz file .*RecordingDataModule"):
        ArrayDataModule(path=tmp_path / "x.npz").setup()
    np.savez(tmp_path / "y.npz", x=np.zeros((4, 1, 8)), y=np.array([0, 1, 0, 1]))
    assert (tmp_path / "y.npz").read_bytes()[:2] == b"PK"


def test_a_study_file_is_read_under_the_same_limits(tmp_path):
    file = tmp_path / "study.yaml"
    for text, said in (
        (f"study: {BOMB}", "50,000 values"),
        ("seeds: 1\nseeds: 2", "line 2: key 'seeds'"),
        ("[" * 999, "64"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=said):
            read_file(file, "study", "here")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        read_file(file, "study", "here")


def test_a_long_message_ends_in_a_line_of_readable_length(here, capsys):  # noqa: F811
    assert len(last_line(["fit", "--config", SCRATCH, f"--{'k' * 9000}=1"], capsys)) < 500
    assert reason("") == "?"


# ---- the commands ----------------------------------------------------------------------------------------------------
def of_main(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["kdlab", *words])
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code, said.out, said.err


def test_all_commands_are_listed_from_one_table(monkeypatch, capsys):
    names = {"fit", "validate", "test", "predict", "study", "tune", "evaluate", "export", "nets", "cite"}
    assert names <= set(cli.COMMANDS)
    width = max(map(len, cli.COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (text, _) in cli.COMMANDS.items()]
    for words, status in ((["--help"], 0), (["-h"], 0), ([], 2), (["stduy"], 2)):
        code, out, err = of_main(words, monkeypatch, capsys)
        assert code == status
        for line in lines:
            assert line in (out if status == 0 else err).splitlines()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stduy"], "error: kdlab: 'stduy' is no command. Did you mean 'study'?"),
        (["trian"], "error: kdlab: 'trian' is no command. Write one of those above."),
        ([], "error: kdlab: a command is missing. Write one of those above."),
    ],
)
def test_an_unknown_command_is_told_with_a_similar_one(words, said, monkeypatch, capsys):
    code, _, err = of_main(words, monkeypatch, capsys)
    assert (code, err.strip().splitlines()[-1]) == (2, said)


def test_version(monkeypatch, capsys):
    assert of_main(["--version"], monkeypatch, capsys)[:2] == (0, f"kdlab {kdlab.__version__}\n")


@pytest.mark.parametrize("name", ["study", "tune", "evaluate", "export", "cite", "nets"])
def test_each_command_has_help(name, monkeypatch, capsys):
    code, out, _ = of_main([name, "--help"], monkeypatch, capsys)
    assert code == 0
    assert f"kdlab {name}" in out
