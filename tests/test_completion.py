"""The tab key completes commands, options, methods and files; in bash through the script that a user evaluates."""

import shutil
import subprocess
import sys

import pytest

from kdlab import completion, usage
from kdlab.cli import COMMANDS
from tests.conftest import REPOSITORY


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/toy/kd/version_0").mkdir(parents=True)
    (tmp_path / "a study").mkdir()
    for name in ("study.yaml", "notes.txt", ".hidden.yaml", "runs/toy/kd/version_0/best.ckpt", "rows.jsonl"):
        (tmp_path / name).write_text("", encoding="utf-8")
    return tmp_path


def found(*words):
    return completion.complete(words, COMMANDS)


def test_commands_and_their_options_come_from_their_one_declaration(here):
    assert set(found("")[1]) == {*COMMANDS, "--help", "--version"}
    assert found("ev") == ("words", ["evaluate"])
    for name, parser in usage.PARSERS.items():
        options = {option for action in parser()._actions for option in action.option_strings}
        assert set(found(name, "-")[1]) == options, name
    assert found("export", "x", "--format", "") == ("words", sorted(usage.FORMATS))
    assert found("study", "s.yaml", "--submit", "") == ("words", ["local", "slurm"])
    assert found("completion", "") == ("words", ["bash", "zsh"])
    assert "shoulder_watch" in found("new", "mine", "--example", "")[1]
    assert found("nets", "--channels", "") == ("words", [])
    assert found("nothing", "") == ("words", [])


def test_every_path_is_an_argument_of_some_command():
    known = {action.dest for parser in usage.PARSERS.values() for action in parser()._actions}
    assert set(completion.PATHS) - {"ckpt_path"} <= known


def test_files_and_run_folders(here):
    assert found("study", "") == ("paths", ["a study/", "runs/", "study.yaml"])
    assert found("study", "./.h") == ("paths", ["./.hidden.yaml"])
    assert found("evaluate", "runs/toy/k") == ("paths", ["runs/toy/kd/"])
    assert found("export", "runs/toy/kd/version_0/") == ("paths", ["runs/toy/kd/version_0/best.ckpt"])
    assert found("new", "") == ("paths", ["a study/", "runs/"])
    assert found("study", "s", "--resume-from", "r") == ("paths", ["rows.jsonl", "runs/"])
    assert found("fit", "--config", "s") == ("paths", ["study.yaml"])
    assert found("test", "--ckpt_path=".rstrip("="), "=", "ru") == ("paths", ["runs/"])
    assert found("study", "nowhere/") == ("paths", [])


def test_methods_nets_and_settings_of_a_run():
    assert {"KD", "TPKD", "Supervised"} <= set(found("fit", "--model", "")[1])
    assert "Method" not in found("fit", "--model", "")[1]
    assert "UTDMHAD" in found("fit", "--data", "U")[1]
    assert found("fit", "--model=".rstrip("="), "=", "TPK") == ("words", ["TPKD"])
    assert found("fit", "--selection", "") == ("words", ["averaged", "best", "last", "smoothed"])
    assert found("fit", "--trainer.max_ep") == ("words", ["--trainer.max_epochs"])
    assert found("fit", "--trai") == ("open", ["--trainer."])
    assert found("fit", "--model", "KD", "--model.kd_w") == ("words", ["--model.kd_weight"])
    assert found("fit", "--model", "Supervised", "--model.kd_w") == ("words", [])
    assert "WideResNet" in found("fit", "--model", "KD", "--model.student", "Wide")[1]
    assert found("fit", "--model", "KD", "--model.kl_reduction", "m") == ("words", ["mean"])
    assert found("fit", "--run", "") == ("words", [])
    assert found("fit", "--trainer.barebones", "t") == ("words", ["true"])
    assert {"--config", "--run", "--trainer.", "--model"} <= set(found("fit", "--")[1])


SCRIPT = """
eval "$(kdlab completion bash)"
try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _kdlab; printf '%s\\n' "${COMPREPLY[@]}" --; }
complete -p kdlab
try kdlab stu
try kdlab study ""
try kdlab fit --model = TPK
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash(here):
    (here / "bin").mkdir()
    program = here / "bin/kdlab"
    body = "from kdlab.cli import main; main(); import sys; assert not {'torch', 'lightning'} & set(sys.modules)"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{body}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    around = {"PATH": f"{here / 'bin'}:/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "--norc", "-c", SCRIPT], capture_output=True, text=True, env=around, cwd=here, check=False
    )
    assert not done.stderr
    assert done.stdout.split("\n") == [
        *("complete -F _kdlab kdlab", "study", "--", "a study/", "bin/", "runs/", "study.yaml", "--", "TPKD", "--", "")
    ]


def test_zsh_is_handed_the_words_up_to_the_cursor(capsys, monkeypatch):
    completion.main(["zsh"], COMMANDS)
    script = capsys.readouterr().out
    assert script.startswith("#compdef kdlab\n")
    assert completion.WORDS in script
    monkeypatch.setenv(completion.WORDS, "study\n--dry\nend")
    completion.main([], COMMANDS)
    assert capsys.readouterr().out == "words\n--dry-run\n"
