"""The installed package: what the wheel holds, and an editable install beside a clone of the same name."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from tests.conftest import PATIENCE, REPOSITORY

pytest.importorskip("hatchling")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
LOCAL = ["--no-deps", "--no-build-isolation", "--no-index"]


def run(*words, cwd):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    out = subprocess.run(
        [str(w) for w in words], capture_output=True, text=True, cwd=cwd, env=environment, timeout=PATIENCE
    )
    return out.returncode, out.stdout + out.stderr


def clone(folder):
    """A clone named as git names it, as far as an installation reads it."""
    folder.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    for name in ("kdlab", "experiments"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_the_wheel_holds_every_module_and_the_mark_of_types(tmp_path):
    source = clone(tmp_path / "kdlab")
    code, said = run(*PIP, "wheel", *LOCAL, "--wheel-dir", tmp_path / "wheel", source, cwd=tmp_path)
    assert code == 0, said
    (wheel,) = (tmp_path / "wheel").glob("kdlab-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        p.relative_to(source).as_posix() for p in (source / "kdlab").rglob("*.py*") if p.suffix in (".py", ".pyi")
    }
    shipped = [*(source / "experiments").rglob("*.yaml"), *(source / "experiments").glob("*.schema.json")]
    examples = {f"kdlab/examples/{p.relative_to(source / 'experiments').as_posix()}" for p in shipped}
    assert len(modules) > 100
    assert len(examples) > 100
    assert {name for name in held if ".dist-info" not in name} == {*modules, *examples, "kdlab/py.typed"}
    scripts = zipfile.ZipFile(wheel).read(next(n for n in held if n.endswith("entry_points.txt"))).decode()
    assert {"kdlab = kdlab.cli:main", "lightning = kdlab.cli:main"} <= set(scripts.splitlines())
    assert any(name.endswith("licenses/LICENSE") for name in held)


def test_a_script_and_mypy_beside_a_clone_named_kdlab_see_the_package(tmp_path):
    source = clone(tmp_path / "kdlab")
    (tmp_path / "script.py").write_text("import kdlab\n\nprint(kdlab.__file__, kdlab.cli_words)\n", encoding="utf-8")
    with (source / "kdlab/__init__.py").open("a", encoding="utf-8") as file:
        file.write("\n\ncli_words = 3\n")  # so it is this copy that is imported
    code, said = run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    assert code == 0, said
    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    _, site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path)
    with open(f"{site.strip()}/others.pth", "w", encoding="utf-8") as file:  # what kdlab needs, not kdlab itself
        file.write(f"{sysconfig.get_path('purelib')}\n")
    code, said = run(*PIP, "--python", python, "install", *LOCAL, "--editable", source, cwd=tmp_path)
    assert code == 0, said

    code, said = run(python, "script.py", cwd=tmp_path)
    assert code == 0, said
    assert said.strip().endswith(f"{source / 'kdlab/__init__.py'} 3")

    (source / "kdlab/__init__.py").write_text("def words() -> int:\n    return 3\n", encoding="utf-8")  # mypy is slow
    (tmp_path / "script.py").write_text("import kdlab\n\nsaid: str = kdlab.words()\n", encoding="utf-8")
    mypy = [sys.executable, "-m", "mypy", "--python-executable", python, "--strict", "--cache-dir", tmp_path / "cache"]
    _, said = run(*mypy, "script.py", cwd=tmp_path)
    assert 'has type "int", variable has type "str"' in said
    assert "Found 1 error in 1 file" in said
