"""Bytes of the wheel, and of an installation with and without each extra, in environments of their own.

    python -m benchmarks.long.sizes FOLDER                       # the package, then each extra on top of it
    python -m benchmarks.long.sizes FOLDER --extras tune export  # these alone

The packages are those of ``constraints.txt``. Sizes are of the files in ``site-packages``, without pip and setuptools,
in MB (10^6 bytes); an extra counts what it adds to the package.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.long.lowest import ROOT, run

OWN = ("pip", "setuptools", "_distutils_hack", "distutils-precedence.pth")


def installed(folder: Path, without: Sequence[str] = OWN) -> dict[str, int]:
    """Entry of a ``site-packages`` -> bytes of its files; metadata count for their package."""
    sizes: dict[str, int] = {}
    for entry in folder.iterdir():
        name = entry.name.partition("-")[0] if entry.suffix == ".dist-info" else entry.name
        if name in without or name.startswith("pip"):
            continue
        files = [entry] if entry.is_file() else [p for p in entry.rglob("*") if p.is_file() and not p.is_symlink()]
        sizes[name] = sizes.get(name, 0) + sum(p.stat().st_size for p in files)
    return sizes


def line(name: str, sizes: dict[str, int], most: int = 4) -> str:
    """A row of the table: megabytes in total, and the largest entries.

    >>> line("tune", {"optuna": 2_500_000, "alembic": 500_000})
    '| tune | 3.0 | optuna 2.5, alembic 0.5 |'
    """
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:most]
    told = ", ".join(f"{entry} {size / 1e6:.1f}" for entry, size in largest)
    return f"| {name} | {sum(sizes.values()) / 1e6:.1f} | {told} |"


def main(words: Sequence[str] | None = None) -> None:
    """Build, install, and print the table."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for name in project["optional-dependencies"] if name != "dev"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long.sizes", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the environments are made")
    parser.add_argument("--extras", nargs="*", default=extras, choices=extras, help="default: each of them")
    given = parser.parse_args(words)
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    pip = ("-m", "pip", "--disable-pip-version-check")
    run(sys.executable, *pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    wheel = max(folder.glob("kdlab-*.whl"), key=lambda path: path.stat().st_mtime)
    with zipfile.ZipFile(wheel) as archive:
        entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB, {len(entries)} files of {unpacked / 1e6:.2f} MB")
    venv = folder / "venv"
    run(sys.executable, "-m", "venv", "--clear", venv)
    python = venv / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    constraints = ("install", "--quiet", "-c", ROOT / "constraints.txt")
    print("\n| installed | MB | largest |\n|---|---:|---|", flush=True)
    before: dict[str, int] = {}
    for name in ("", *given.extras):  # one after the other; what an earlier extra brought counts there
        run(python, *pip, *constraints, f"{wheel}[{name}]" if name else wheel)
        now = installed(_site(python))
        print(line(f"+ {name}" if name else "kdlab", _added(now, before)), flush=True)
        before = now
    print(line("all", before))


def _added(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    grown = {name: size - before.get(name, 0) for name, size in now.items()}
    return {name: size for name, size in grown.items() if size > 0}


def _site(python: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())


if __name__ == "__main__":
    main()
