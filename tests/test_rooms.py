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
    "dropped": {"types"},
    "parser": {"types", "dropped"},
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
        *("types", "functional", "distributed", "fields", "objective", "objectives", "nets", "cache", "fingerprint"),
    },
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


def calls(path, *names):
    """Lines of the calls of builtins by name."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    ]


def test_methods_callbacks_and_cache_know_what_they_read():
    """An attribute that may be missing is looked up in at most eight places, each with its reason on the line."""
    found = []
    for path in (path for room in ("methods", "callbacks", "cache") for path in (ROOT / room).rglob("*.py")):
        lines = path.read_text().splitlines()
        for number in calls(path, "hasattr", "getattr"):
            found.append(f"{path}:{number}")
            assert "  # " in lines[number - 1], f"{path}:{number}: {lines[number - 1].strip()} gives no reason"
    assert found
    assert len(found) <= 8, found


def test_one_file_takes_the_data_module_out_of_a_trainer():
    users = {
        p.name
        for room in ("methods", "callbacks", "cache")
        for p in (ROOT / room).rglob("*.py")
        if '"datamodule"' in p.read_text()
    }
    assert users == {"windows.py"}


def modules():
    """Name of every module of kdlab -> its file."""
    return {
        ".".join(p.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): p
        for p in ROOT.rglob("*.py")
    }


def test_no_import_circle():
    """Of modules, also not in functions or for type checkers alone."""
    files = modules()
    graph = {name: set() for name in files}
    for name, path in files.items():
        for node in ast.walk(ast.parse(path.read_text())):
            asked = []
            if isinstance(node, ast.Import):
                asked = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                asked = [m if (m := f"{node.module}.{a.name}") in files else node.module for a in node.names]
            graph[name] |= {m for m in asked if m in files and m != name}
    while graph:
        ends = [name for name, others in graph.items() if not others & graph.keys()]
        assert ends, f"circle among {sorted(graph)}"
        for name in ends:
            del graph[name]
