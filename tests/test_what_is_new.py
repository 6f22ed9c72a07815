"""What is added to kdlab is complete: exported, cited, in the docs, and a method has a recipe."""

import importlib
import inspect
import pkgutil
import re

import pytest
import yaml

import kdlab
from kdlab.citations import BIBTEX
from kdlab.data import WindowDataModule
from kdlab.methods import Method
from kdlab.nets import Backbone
from kdlab.objective import Objective
from kdlab.views import View
from tests.conftest import REPOSITORY

ROOMS = {kdlab.views: View, kdlab.nets: Backbone, kdlab.data: WindowDataModule, kdlab.methods: Method}
#: classes to derive from
BASES = {"Method", "Distilled", "TeacherFree", "WindowDataModule", "ImageDataModule"}
NO_RECIPE = {"Distillation", "FullKD", "SAKDNTeacher"}  # an objective is its recipe; the teachers of another method


def defined(room, base):
    """The classes of a kind that the files of a room define, without those to derive from."""
    for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
        for name, cls in vars(importlib.import_module(module.name)).items():
            own = inspect.isclass(cls) and issubclass(cls, base) and cls.__module__ == module.name
            if own and not name.startswith("_") and not inspect.isabstract(cls):
                yield cls


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_every_class_is_exported(room):
    missing = {cls.__name__: cls.__module__ for cls in defined(room, ROOMS[room])}
    missing = {name: module for name, module in missing.items() if not hasattr(room, name)}
    assert not missing, f"add them to {room.__name__}/__init__.py: {missing}"


def test_every_objective_names_its_paper():
    objectives = [cls for cls in defined(kdlab.methods, Objective) if "forward" in vars(cls)]
    missing = [cls.__name__ for cls in objectives if not set(vars(cls).get("paper", ["none"])) <= set(BIBTEX)]
    assert not missing, f"set paper = (<key of kdlab.citations.BIBTEX>,) in {missing}"


def test_every_method_has_a_recipe():
    folder = REPOSITORY / "experiments/methods"
    recipes = {yaml.safe_load(path.read_text())["model"]["class_path"] for path in folder.glob("*.yaml")}
    missing = {cls.__name__ for cls in defined(kdlab.methods, Method)} - recipes - BASES - NO_RECIPE
    assert not missing, f"add experiments/methods/<method>.yaml for {sorted(missing)}"


@pytest.mark.parametrize(("room", "page"), [(kdlab.methods, "methods.md"), (kdlab.data, "data_sets.md")])
def test_a_page_names_it(room, page):
    named = set(re.findall(r"\w+", (REPOSITORY / "docs" / page).read_text()))
    missing = {cls.__name__ for cls in defined(room, ROOMS[room])} - named - BASES
    assert not missing, f"add them to the tables of docs/{page}: {sorted(missing)}"
