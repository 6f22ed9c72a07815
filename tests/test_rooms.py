"""Imports go one way."""

import ast
import sys
from pathlib import Path

import kdlab
from kdlab.methods.stubs import made_methods

ROOT = Path(kdlab.__file__).parent
OPEN = {"files", "usage"}  # may be imported by all
MAY_IMPORT = {
    "types": set(),
    "fingerprint": {"types"},
    "files": {"types"},
    "sizes": {"types"},
    "remedies": {"types"},
    "streams": set(),
    "slurm": set(),
    "shapes": set(),
    "completion": {"new", "schema"},
    "schema": {
        *("types", "configs", "shapes", "fields", "parser", "config_checks", "lightning_cli", "objective", "methods"),
        "study",
    },
    "ends": {"remedies", "streams"},
    "configs": {"types", "number_keys"},
    "dropped": {"types"},
    "number_types": set(),
    "parser": {"types", "configs", "dropped", "number_keys", "number_types"},
    "parsed": {"configs", "reuse"},
    "hyperparameters": set(),
    "run_folder": set(),
    "quiet": set(),
    "reuse": set(),
    "another_size": set(),
    "instances": {"types"},
    "autocast": set(),
    "functional": {"types", "autocast"},
    "distributed": set(),
    "views": {"types", "functional"},
    "augment": {"types", "functional"},
    "nets": {"types", "autocast"},
    "fields": {"types"},
    "pairs": {"types"},
    "temperature": set(),
    "objective": {"types", "functional", "distributed", "fields", "pairs", "temperature"},
    "labelled": {"types", "functional", "distributed", "fields", "objective"},
    "objectives": {"types", "functional", "distributed", "fields", "objective", "labelled", "pairs"},
    "data": {"types", "another_size", "instances", "views", "augment", "fingerprint", "reuse", "sizes"},
    "methods": {
        "types",
        "another_size",
        "instances",
        "functional",
        "distributed",
        "fields",
        "objective",
        "labelled",
        "objectives",
        "pairs",
        "nets",
        "cache",
        "fingerprint",
        "reuse",
    },
    "cache": {"types", "objective", "sizes"},
    "figures": {"types"},
    "callbacks": {"types", "functional", "figures", "methods"},
    "evaluate": {
        "quiet",
        "types",
        "functional",
        "views",
        "augment",
        "data",
        "nets",
        "methods",
        "figures",
        "fingerprint",
    },
    "export": {"types", "views", "data", "nets", "methods", "evaluate", "fingerprint", "citations"},
    "stream": {"types", "views", "data", "nets", "methods", "evaluate"},
    "loading": {"instances", "types", "views", "data", "nets", "methods", "evaluate", "export", "stream"},
    "pretrained": {"types", "data", "fingerprint", "nets", "methods", "export", "stream", "loading"},
    "new": {"types", "another_size", "quiet", "data", "study", "schema"},
    # the files of the command line, which no room above imports
    "citations": {"types"},
    "run_checkpoints": {"types", "callbacks", "methods"},
    "resuming": {"types", "methods", "run_folder"},
    "run_record": {"types", "data", "fingerprint", "methods", "resuming", "run_folder"},
    "config_checks": {"types", "configs", "data", "methods", "nets"},
    "fit_checks": {"types", "callbacks", "data", "methods"},
    "monitor_checks": {"types", "callbacks", "methods", "run_checkpoints"},
}


def imported_rooms(path):
    for name in imported_names(path):
        if name.split(".")[0] == "kdlab":
            yield name.split(".")[1]


def imported_names(path):
    """Dotted names of all imports of a file, those in functions and under TYPE_CHECKING included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from names


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


def test_files_are_replaced_in_one_place():
    """Outer rooms write through `kdlab.files.replacing`; no other temporary file, no rename of their own."""
    rooms = ("study", "new", "evaluate", "export", "callbacks", "figures", "nets")
    paths = [path for room in rooms for path in (ROOT / room).rglob("*.py")] + list(ROOT.glob("*.py"))
    ways = ("os.replace", "os.rename", "mkstemp", "NamedTemporaryFile")
    users = {path.relative_to(ROOT).as_posix() for path in paths if any(way in path.read_text() for way in ways)}
    assert users <= {"files.py"}


def test_a_recipe_stands_once():
    """Lines of the shipped configs without comments and blank ones; ``kdlab tune`` writes ``tuned.yaml``."""
    written = [path for path in (ROOT.parent / "experiments").rglob("*.yaml") if path.name != "tuned.yaml"]
    lines = [line.strip() for path in written for line in path.read_text().splitlines()]
    assert 0 < sum(bool(line) and not line.startswith("#") for line in lines) <= 1870


def import_graph(root):
    """Module -> the modules of its package that it imports, at any place in the file."""
    paths = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root.parent).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {}
    for module, path in paths.items():
        graph[module] = set()
        for name in imported_names(path):
            while name and name not in paths:
                name = name.rpartition(".")[0]
            graph[module] |= {name} - {"", module}
    return graph


def circles(graph):
    """The strongly connected components of two modules and more (Tarjan, SIAM J. Comput. 1972, doi:10.1137/0201010)."""
    order, low, stack, found = {}, {}, [], []

    def visit(module):
        order[module] = low[module] = len(order)
        stack.append(module)
        for other in graph[module]:
            if other not in order:
                visit(other)
            if other in stack:
                low[module] = min(low[module], low[other])
        if low[module] == order[module]:
            circle = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(circle) > 1:
                found.append(frozenset(circle))

    sys.setrecursionlimit(max(sys.getrecursionlimit(), 10 * len(graph) + 1000))
    for module in graph:
        if module not in order:
            visit(module)
    return found


def test_no_modules_import_each_other():
    found = circles(import_graph(ROOT))
    assert not found, f"import circles: {[sorted(circle) for circle in found]}"


def test_circles_are_found(tmp_path):
    files = {
        "__init__": "",
        "a": "import p.b",
        "b": "def f():\n    from p import c",
        "c": "from p.a import x",
        "d": "from p.a import x\nfrom p.e import y",
        "e": "",
    }
    (tmp_path / "p").mkdir()
    for name, text in files.items():
        (tmp_path / "p" / f"{name}.py").write_text(text, encoding="utf-8")
    assert circles(import_graph(tmp_path / "p")) == [frozenset({"p.a", "p.b", "p.c"})]


def test_a_method_is_a_short_file():
    files = {Path(sys.modules[cls.__module__].__file__) for cls in made_methods().values()}
    lengths = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    assert len(lengths) >= 30
    assert lengths[len(lengths) // 2] <= 105


def test_no_argument_of_a_method_is_written_twice():
    """A field of an objective stands in no constructor of its method; a constructor's own arguments are no fields."""
    twice = []
    for cls in made_methods().values():
        if "__init__" in vars(cls):
            twice += [f"{cls.__name__}.{name}" for name in written_arguments(cls) if name in cls.made_from.declared()]
    assert not twice


def written_arguments(cls):
    """Arguments that the source of a class's constructor names."""
    body = next(
        node
        for node in ast.walk(ast.parse(Path(sys.modules[cls.__module__].__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__
    ).body
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
    return []
