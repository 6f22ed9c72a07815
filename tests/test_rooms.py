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
    "ends": {"types"},
    "parser": {"types"},
    "run_folder": set(),
    "functional": {"types"},
    "distributed": set(),
    "views": {"types", "functional"},
    "augment": {"types", "functional"},
    "nets": {"types"},
    "fields": {"types"},
    "objective": {"types", "functional", "distributed", "fields"},
    "objectives": {"types", "functional", "distributed", "fields", "objective"},
    "data": {"types", "views", "augment", "fingerprint"},
    "methods": {
        "types",
        "functional",
        "distributed",
        "fields",
        "objective",
        "objectives",
        "nets",
        "cache",
        "fingerprint",
    },
    "cache": {"types", "objective"},
    "callbacks": {"functional", "methods", "types"},
    "evaluate": {"types", "functional", "views", "augment", "data", "nets", "methods", "callbacks"},
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
