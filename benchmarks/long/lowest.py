"""The unit tests with the lowest versions that ``pyproject.toml`` admits, in an environment of their own.

Every requirement of the package, of its extras and of pytest is pinned to its floor; what these packages need further
is left to pip. A floor that does not install or does not pass is too low: raise it, with the reason, in
``pyproject.toml``.

    python -m benchmarks.long.lowest FOLDER                     # makes FOLDER/venv, runs all tests
    python -m benchmarks.long.lowest FOLDER tests/test_nets.py  # these alone; an environment that is there is used
    python -m benchmarks.long.lowest FOLDER --floors            # print the pins

A torch of the PyPI brings CUDA, some gigabytes. ``--find-links FOLDER`` names a folder with a CPU build of its floor.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
#: of the extra ``dev``, what runs the tests; linters and builders stay as they are
RUNNERS = ("pytest", "pytest-xdist")


def floors(project: Mapping[str, Any], runners: Sequence[str] = RUNNERS) -> dict[str, str]:
    """The lowest version of every requirement, by name with its extras.

    Args:
        project: the table ``project`` of a ``pyproject.toml``.
        runners: packages of the extra ``dev`` that are pinned, too.

    Raises:
        ValueError: a requirement without a floor, or two floors of one package.

    >>> floors({"name": "p", "dependencies": ["a[b]>=1.2,<2", "c>=3"], "optional-dependencies": {"x": ["p[y]"]}}, ())
    {'a[b]': '1.2', 'c': '3'}
    """
    extras = project.get("optional-dependencies", {})
    words = list(project["dependencies"]) + [w for name, some in extras.items() if name != "dev" for w in some]
    words += [word for word in extras.get("dev", []) if Requirement(word).name in runners]
    found: dict[str, str] = {}
    for requirement in map(Requirement, words):
        if requirement.name == project["name"]:
            continue
        lowest = [one.version for one in requirement.specifier if one.operator in (">=", "==")]
        name = requirement.name + (f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else "")
        if len(lowest) != 1 or found.get(name, lowest[0]) != lowest[0]:
            raise ValueError(f"{name}: must have one floor, but got {str(requirement.specifier) or 'none'}")
        found[name] = lowest[0]
    return found


def differing(pins: Mapping[str, str], installed: Mapping[str, str]) -> dict[str, str | None]:
    """What is installed in another version than its floor.

    >>> differing({"a[b]": "1.2", "c": "3"}, {"a": "1.2.0", "c": "3.1"})
    {'c': '3.1'}
    """
    names = {name: name.partition("[")[0].lower().replace("_", "-") for name in pins}
    return {
        name: installed.get(plain)
        for name, plain in names.items()
        if plain not in installed or Version(Version(installed[plain]).public) != Version(pins[name])
    }


def main(words: Sequence[str] | None = None) -> int:
    """Make the environment, and run the tests in it; returns the exit status of pytest."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long.lowest", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the environment is made")
    parser.add_argument("tests", nargs="*", default=["tests"], help="what pytest runs (default: all)")
    parser.add_argument("--find-links", metavar="FOLDER", help="wheels that are not on the index")
    parser.add_argument("--floors", action="store_true", help="print the pins and do nothing")
    given = parser.parse_args(words)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = floors(project)
    if given.floors:
        print("\n".join(f"{name}=={version}" for name, version in pins.items()))
        return 0
    python = environment(given.folder, pins, given.find_links)
    return run(python, "-m", "pytest", "-p", "no:cacheprovider", *given.tests, check=False)


def environment(folder: Path, pins: Mapping[str, str], links: str | None) -> Path:
    """The interpreter of an environment with these versions; one that is there is checked and used."""
    python = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not python.exists():
        folder.mkdir(parents=True, exist_ok=True)
        run(Path(sys.executable), "-m", "venv", folder / "venv")
    requirements = folder / "lowest.txt"
    requirements.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()), encoding="utf-8")
    pip = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    found = () if links is None else ("--find-links", links)
    run(python, *pip, "--upgrade", "pip")  # the pip of Python 3.11 takes hours to find versions that go together
    run(python, *pip, *found, "-r", requirements)
    run(python, *pip, "--no-deps", "--editable", ROOT)
    listed = subprocess.run(
        [python, "-m", "pip", "--disable-pip-version-check", "list", "--format=freeze"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    installed = {n.lower().replace("_", "-"): v for n, _, v in (line.partition("==") for line in listed.split())}
    if other := differing(pins, installed):
        raise SystemExit(f"not at its floor: {other}")
    print(f"{len(pins)} packages at their floors, {len(installed) - len(pins)} others", flush=True)
    return python


def run(*words: object, check: bool = True) -> int:
    """Run a command in the clone, without the packages of the calling environment."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run([str(word) for word in words], cwd=ROOT, env=clean, check=check).returncode


if __name__ == "__main__":
    sys.exit(main())
