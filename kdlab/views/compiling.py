"""numba's compiler for the kernels, with a cache on disk that may be full, read-only or damaged."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from numba.core import config
from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock

_warned: set[str] = set()
#: variable of the environment that tells processes started from here what was warned of
_TOLD = "KDLAB_VIEWS_WARNED"


class GuardedCache(FunctionCache):  # type: ignore[misc]
    """numba's cache of one function. What cannot be read or written is compiled again, and the folder is named once.

    numba itself raises here: `OSError` on a full disk, `EOFError` on every later start where a file was cut short.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function of a signature, or None where the cache does not hold it, or cannot be read."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # unpickling a damaged file raises anything
            _warn(self.cache_path, error)
        try:
            self.flush()  # an empty index: the next save writes the files again
        except Exception:  # read-only: this process compiles, and the file stays as it is
            self.disable()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function, where there is room."""
        try:
            super().save_overload(sig, data)
        except Exception as error:
            _warn(self.cache_path, error)
            self.disable()


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit`` without the interpreter lock, cached on disk where that works.

    ``NUMBA_DISABLE_JIT=1`` does not apply: the kernels use processor instructions that Python does not have.
    """

    def wrap(function: Callable[..., Any]) -> Any:
        if config.DISABLE_JIT:
            _warn_of_jit()
            with _switched_on():
                kernel = numba.njit(nogil=True, **options)(function)
            compile_for = kernel._compile_for_args

            def compile_anyway(*args: Any, **kwargs: Any) -> Any:
                with _switched_on():
                    return compile_for(*args, **kwargs)

            kernel._compile_for_args = compile_anyway
        else:
            kernel = numba.njit(nogil=True, **options)(function)
        try:
            kernel._cache = GuardedCache(function)
        except (RuntimeError, OSError) as error:  # no cache folder is writable
            _warn(str(config.CACHE_DIR or os.path.join(os.path.dirname(__file__), "__pycache__")), error)
        return kernel

    return wrap


@contextmanager
def _switched_on() -> Iterator[None]:
    with global_compiler_lock:  # numba's own, so that two threads do not restore each other's setting
        before, config.DISABLE_JIT = config.DISABLE_JIT, 0
        try:
            yield
        finally:
            config.DISABLE_JIT = before


def _is_new(what: str) -> bool:
    """Whether to warn: once, and not in the processes that load batches, run further jobs or train together."""
    if what in _warned:
        return False
    _warned.add(what)
    told = [name for name in os.environ.get(_TOLD, "").split(os.pathsep) if name]
    os.environ[_TOLD] = os.pathsep.join([*told, what])
    started = multiprocessing.parent_process() is not None
    return not (started and what in told) and os.environ.get("LOCAL_RANK", "0") == "0"


def _warn(folder: str, error: Exception) -> None:
    if _is_new(folder):
        reason = " ".join(str(error).split()) or type(error).__name__
        warnings.warn(
            f"kdlab.views: the numba cache folder {folder!r} cannot be used ({reason[:200]}); what it lacks is "
            "compiled in this process, which takes some seconds. Free some space in it, delete its .nbi and "
            ".nbc files, or name a writable folder in NUMBA_CACHE_DIR.",
            stacklevel=2,
        )


def _warn_of_jit() -> None:
    if _is_new("NUMBA_DISABLE_JIT"):
        warnings.warn(
            "kdlab.views: NUMBA_DISABLE_JIT is set, but the kernels of the views run compiled only. They are compiled "
            "all the same.",
            stacklevel=2,
        )
