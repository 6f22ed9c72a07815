"""Type checkers and editors see every argument of every data module."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jsonargparse import ArgumentParser

import kdlab
from kdlab.augment import Noise
from kdlab.data import ArrayDataModule, stubs
from kdlab.data.base import WindowDataModule
from kdlab.types import InputError

REPOSITORY = Path(kdlab.__file__).parent.parent
SCRIPT = """
from kdlab.data import CIFAR100, PAMAP2, ArrayDataModule, BasicMotions, ImageDataModule, ImageFolder, WindowDataModule
from kdlab.types import Windows
from kdlab.views import Raw

BasicMotions(batch_size=4, views={"raw": Raw()}, val_count=2, labels={"walk": "Walking"})
PAMAP2("folder", scale="released", val_fraction=0.2)
CIFAR100("folder", labels="coarse", seed=1)
ArrayDataModule(path="x.npz", scale="minmax", drop_last=False)

BasicMotions(batchsize=4)
BasicMotions(val_count="two")
PAMAP2("folder", test_subjects=[1])
CIFAR100("folder", labels={"cat": "dog"})
ImageFolder("folder", split_seed=1.5, nom_workers=2)

def read(module: WindowDataModule, images: ImageDataModule) -> list[Windows]:
    return [module, images]
"""


def test_the_stub_file_is_fresh():
    assert stubs.PATH.read_text(encoding="utf-8") == stubs.text(), "run python -m kdlab.data.stubs"


@pytest.mark.slow
def test_mypy_names_wrong_arguments_and_accepts_right_ones(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--no-error-summary", str(script)]
    done = subprocess.run(command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, check=False)
    said = [line.removeprefix(f"{script}:") for line in done.stdout.splitlines() if ": error:" in line]
    lines = SCRIPT.splitlines()
    found = [(lines[int(line.partition(":")[0]) - 1], line) for line in said]
    expected = [
        ("BasicMotions(batchsize=4)", 'Unexpected keyword argument "batchsize" for "BasicMotions"'),
        ('BasicMotions(val_count="two")', 'Argument "val_count" to "BasicMotions" has incompatible type "str"'),
        ('PAMAP2("folder", test_subjects=[1])', 'Unexpected keyword argument "test_subjects" for "PAMAP2"'),
        ('CIFAR100("folder", labels={"cat": "dog"})', 'Argument "labels" to "CIFAR100" has incompatible type'),
        (lines[14], 'Unexpected keyword argument "nom_workers" for "ImageFolder"'),
        (lines[14], 'Argument "split_seed" to "ImageFolder" has incompatible type "float"'),
    ]
    assert len(found) == len(expected), done.stdout + done.stderr
    for (line, message), (wanted, part) in zip(found, expected, strict=True):
        assert line == wanted
        assert part in message


def test_annotations_name_the_arguments_that_are_left():
    for cls, own in stubs.redeclared().items():
        parameters = inspect.signature(cls).parameters.values()
        rest = {p.name: p.annotation for p in parameters if p.kind is p.VAR_KEYWORD}
        title = "".join(part.capitalize() for name in own for part in name.split("_"))
        known = "" if "__init__" in vars(cls) else "|".join(rest.values())  # an inherited constructor
        assert rest == {"common": known or f"Unpack[Shared{'But' * bool(own)}{title}]"}, cls


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("augment", "Noise", "an instance of Augmentation, but got 'Noise'"),
        ("augment", Noise, "an instance of Augmentation, but got the class Noise"),
        ("corruption", {"class_path": "Corruption"}, "an instance of Augmentation"),
        ("mix", {"class_path": "Mixup"}, "an instance of Mixing, but got {'class_path': 'Mixup'}"),
        ("unlabelled", {"missing": True}, "an instance of Unlabelled"),
        ("cross_fit", 3, "an instance of CrossFit, but got 3"),
        ("view_cache", "views", "an instance of ViewCache"),
        ("views", ["raw"], "{key: View}, but got ['raw']"),
    ],
)
def test_the_form_of_yaml_is_refused_with_what_to_write(argument, value, said):
    with pytest.raises(InputError, match=rf"^{argument} must be {re.escape(said)}.* Write for example {argument}="):
        ArrayDataModule(np.zeros((60, 3, 32)), np.arange(60) % 3, np.arange(60) // 6, **{argument: value})


def test_every_shared_argument_reaches_the_parser():
    shared, redeclared = inspect.signature(WindowDataModule).parameters, stubs.redeclared()
    for cls in redeclared:
        own = {name for base in cls.__mro__ for name in redeclared.get(base, ())}
        parser = ArgumentParser()
        parser.add_class_arguments(cls, "data")
        defaults = parser.get_defaults().data
        texts = {action.dest: action.help for action in parser._actions}
        for name, parameter in shared.items():
            if name not in own:
                assert defaults[name] == parameter.default, (cls, name)
                assert texts[f"data.{name}"], (cls, name)
