"""Imports go one way."""

import ast
from pathlib import Path

import kdlab

ROOT = Path(kdlab.__file__).parent
OPEN = {"files"}  # may be imported by all
MAY_IMPORT = {
    "types": set(),
    "fingerprint": {"types"},
    "files": {"types"},
    "remedies": {"types"},
    "streams": set(),
    "ends": {"remedies", "streams"},
    "configs": {"types"},
    "dropped": {"types"},
    "parser": {"types", "configs", "dropped"},
    "run_folder": set(),
    "functional": {"types"},
    "distributed": set(),
    "views": {"types", "functional"},
    "augment": {"types", "functional"},
    "nets": {"types"},
    "objective": {"types", "functional", "distributed"},
    "data": {"types", "views", "augment", "fingerprint"},
    "methods": {"types", "functional", "distributed", "objective", "nets", "cache", "fingerprint"},
    "cache": {"types", "objective"},
    "figures": {"types"},
    "callbacks": {"types", "functional", "figures", "methods"},
    "evaluate": {"types", "functional", "views", "augment", "data", "nets", "methods", "figures", "fingerprint"},
    "export": {"types", "views", "data", "nets", "methods", "evaluate", "fingerprint"},
}


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module else []
        for name in names:
            if name.split(".")[0] == "kdlab":
                yield name.split(".")[1]


def test_imports_go_one_way():
    checked = 0
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for other in imported_rooms(path):
            assert other != "cli" or room == "cli", f"{path} imports the command line"
            if room in MAY_IMPORT:
                assert other in MAY_IMPORT[room] | OPEN | {room}, f"{path} imports kdlab.{other}"
                checked += 1
    assert checked > 30


def test_only_one_file_knows_torch_distributed():
    users = {p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*.py") if "torch.distributed" in p.read_text()}
    assert users <= {"distributed.py"}


def test_files_are_replaced_in_one_place():
    """Outer rooms write through `kdlab.files.replacing`; no other temporary file, no rename of their own."""
    rooms = ("study", "evaluate", "export", "callbacks", "figures", "nets")
    paths = [path for room in rooms for path in (ROOT / room).rglob("*.py")] + list(ROOT.glob("*.py"))
    ways = ("os.replace", "os.rename", "mkstemp", "NamedTemporaryFile")
    users = {path.relative_to(ROOT).as_posix() for path in paths if any(way in path.read_text() for way in ways)}
    assert users <= {"files.py", "cache.py"}  # the cache fills a memory-mapped file before it has its name


def test_a_recipe_stands_once():
    """Lines of the shipped configs without comments and blank ones."""
    folder = ROOT.parent / "experiments"
    lines = [line.strip() for path in folder.rglob("*.yaml") for line in path.read_text().splitlines()]
    assert 0 < sum(bool(line) and not line.startswith("#") for line in lines) <= 1700
