"""The cache of compiled kernels may be damaged, full or missing: the kernels are compiled, and the folder is named."""

import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from numba.core import caching, config

from kdlab.views import compiling
from tests.conftest import PATIENCE

PROGRAM = """
import warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from kdlab.views import sublevel_diagram
    print(sublevel_diagram(np.array([3.0, 1.0, 2.0, 0.0, 5.0, 4.0, 6.0])).tolist())
print(*sorted({str(w.message) for w in caught if str(w.message).startswith("kdlab.views")}), sep="\\n")
"""
DIAGRAM = "[[1.0, 2.0], [4.0, 5.0]]"


def add_one(x):
    return x + 1


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiling, "_warned", set())
    return tmp_path


def kernel():
    return compiling.compiled()(add_one)


def hits(function):
    return sum(function.stats.cache_hits.values())


def files(folder, suffix):
    return sorted(folder.rglob(f"*{suffix}"))


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("left", [0, 7, 60])
def test_a_truncated_file_is_compiled_again_and_replaced(folder, suffix, left):
    kernel()(1)
    (path,) = files(folder, suffix)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.warns(UserWarning, match="numba cache folder") as caught:
        assert kernel()(1) == 2
    assert str(folder) in str(caught[0].message)
    assert path.stat().st_size > left  # its size differs a little from one compilation to the next
    healed = kernel()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert healed(1) == 2
    assert hits(healed) == 1


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), PermissionError(13, "denied")])
def test_a_full_or_read_only_folder(folder, monkeypatch, error):
    kernel()(1)
    (index,) = files(folder, ".nbi")
    index.write_bytes(b"")  # so that reading fails, and so does every repair

    def refuse(*args):
        raise error

    monkeypatch.setattr(caching.IndexDataCacheFile, "_open_for_write", refuse)
    function = kernel()
    with pytest.warns(UserWarning, match="numba cache folder"):
        assert function(1) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once, not for each signature and function
        assert function(1.5) == 2.5
        assert kernel()(1.5) == 2.5


def test_no_folder_at_all(folder, monkeypatch):
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    with pytest.warns(UserWarning, match="no locator available") as caught:
        assert kernel()(1) == 2
    assert str(folder) in str(caught[0].message)


def test_switched_off_compilation_compiles_the_kernels(folder, monkeypatch):
    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    with pytest.warns(UserWarning, match="NUMBA_DISABLE_JIT"):
        function = kernel()
    assert function(1) == 2
    assert function.signatures
    assert config.DISABLE_JIT == 1  # as the user's own functions expect


def test_the_views_with_a_damaged_cache_and_without_compilation(tmp_path):
    """As at the command line: a cache folder whose files were all cut short, on the next start."""

    def run(**more: str) -> list[str]:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), **more}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()

    assert run() == [DIAGRAM]
    stored = [*files(tmp_path, ".nbi"), *files(tmp_path, ".nbc")]
    assert stored
    for path in stored:
        path.write_bytes(path.read_bytes()[:11])
    said = run(NUMBA_DISABLE_JIT="1")
    assert said[0] == DIAGRAM
    assert len(said) == 3  # the folder, and the variable
    assert any(str(Path(tmp_path)) in line for line in said)
    assert run() == [DIAGRAM]
