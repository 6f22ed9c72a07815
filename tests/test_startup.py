"""What is imported for what: help without torch, the mathematics without Lightning, methods without tables."""

import subprocess
import sys

import pytest

import kdlab
from kdlab import cli, usage
from kdlab.evaluate.own_classes import own_class
from kdlab.methods.base import Method
from tests.conftest import LONG, REPOSITORY, place_of

SCRIPT = """
import sys
from kdlab import cli

def prints(*words):
    sys.argv = ["kdlab", *words]
    cli.main()

prints("--help")
prints("--version")
for command in ("new", "study", "tune", "evaluate", "export", "nets", "cite", "schema", "completion"):
    prints(command, "--help")
assert not {"torch", "lightning", "pandas", "scipy", "matplotlib"} & set(sys.modules)
import kdlab.functional
assert not {"lightning", "torchmetrics", "pandas", "scipy", "numba", "matplotlib"} & set(sys.modules)
import lightning.pytorch, torchmetrics
before = set(sys.modules)
from kdlab import TPKD
assert not {"pandas", "numba", "scipy", "matplotlib", "jsonargparse"} & (set(sys.modules) - before)
"""


def test_help_needs_no_torch_and_the_mathematics_no_lightning():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: kdlab study" in done.stdout
    assert f"kdlab {kdlab.__version__}" in done.stdout


def test_every_command_of_ours_has_its_options_in_one_place():
    assert set(usage.PARSERS) == {name for name, (_, function) in cli.COMMANDS.items() if function is not None}


def test_names_of_the_package():
    assert {"Batch", "ESKD", "TeacherCache", "views", "functional"} <= set(kdlab.__all__) <= set(dir(kdlab))
    space = {}
    exec("from kdlab import *", space)
    assert space["TPKD"] is kdlab.TPKD
    with pytest.raises(AttributeError, match="module 'kdlab' has no attribute 'Distilation'"):
        kdlab.Distilation  # noqa: B018


def test_a_path_through_the_package_names_its_class():
    assert own_class("kdlab.TGD", Method) is own_class("TGD", Method) is kdlab.TGD


def test_long_test_files_begin_first_where_there_are_several_workers():
    assert all((REPOSITORY / f"tests/{name}.py").is_file() for name in LONG)
    files = [("test_a", 3), ("test_tuning", 40), ("test_b", 9), ("test_experiments", 2)]
    ordered = sorted(files, key=lambda file: place_of(*file, file[0]))
    assert [name for name, _ in ordered] == ["test_experiments", "test_tuning", "test_b", "test_a"]
