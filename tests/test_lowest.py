"""Small twins of ``benchmarks.long.lowest`` and ``benchmarks.long.sizes``: what they pin, and what they count."""

import tomllib

import pytest
from packaging.requirements import Requirement

from benchmarks.long import lowest, sizes
from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_requirement_has_a_floor_that_its_range_and_the_pins_admit():
    pins = lowest.floors(PROJECT)
    assert {"torch", "lightning", "jsonargparse[signatures]", "onnx", "optuna", "pytest", "safetensors"} <= set(pins)
    assert "kdlab" not in pins
    kept = dict(line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().split() if "==" in line)
    kept = {name.lower().replace("_", "-"): version for name, version in kept.items()}
    extras = [word for words in PROJECT["optional-dependencies"].values() for word in words]
    for requirement in map(Requirement, (*PROJECT["dependencies"], *extras)):
        if requirement.name == "kdlab":
            continue
        if requirement.name in pins:
            assert requirement.specifier.contains(pins[requirement.name]), requirement
        assert requirement.specifier.contains(kept[requirement.name.lower()]), requirement


def test_a_requirement_without_a_floor_is_refused():
    with pytest.raises(ValueError, match="torch: must have one floor, but got none"):
        lowest.floors({"name": "p", "dependencies": ["torch"]})
    with pytest.raises(ValueError, match="torch: must have one floor, but got >=3"):
        lowest.floors({"name": "p", "dependencies": ["torch>=2"], "optional-dependencies": {"x": ["torch>=3"]}})


def test_floors_are_printed(capsys, tmp_path):
    assert lowest.main([str(tmp_path), "--floors"]) == 0
    assert "torch==2.9\n" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_sizes_of_an_installation(tmp_path):
    for name, size in {"a/x.py": 10, "a/b/y.so": 20, "a-1.0.dist-info/METADATA": 5, "pip/z.py": 9, "c.py": 1}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    assert sizes.installed(tmp_path) == {"a": 35, "c.py": 1}
