"""The C form of a student, compiled into a shared object."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.files import one_line
from kdlab.types import InputError


class SharedObject:
    """A compiled ``void NAME_predict(const float *window, float *logits)``, called through ctypes.

    The window is ``C x T`` numbers in rows, in physical units; ``logits`` has room for K. Loading a shared object runs
    what its author wrote: load your own.

    Args:
        path: the shared object, ``gcc -shared -fPIC -O2 student.c -o student.so``.
        function: its name, ``NAME_predict``.
        shape: ``(C, T)``.
        classes: K.

    Raises:
        InputError: it cannot be loaded, or has no such function.
    """

    exact = False

    def __init__(self, path: Path, function: str, shape: tuple[int, ...], classes: int) -> None:
        self.path, self.shape, self.classes = path, shape, classes
        try:
            # holds Python's lock during a call: threads take turns, as static scratch in the library needs
            self._predict: Any = ctypes.PyDLL(str(path.resolve()))[function]
        except (OSError, AttributeError) as error:
            raise InputError(
                f"load: {str(path)!r} must be a shared object with the function {function}, but got: "
                f"{one_line(error)}. Compile it (gcc -shared -fPIC -O2), and pass name= with what its function begins "
                "with."
            ) from error
        self._predict.argtypes, self._predict.restype = [ctypes.c_void_p, ctypes.c_void_p], None

    def __call__(self, windows: NDArray[Any], /) -> NDArray[np.float32]:
        """Logits of windows."""
        logits = np.empty((len(windows), self.classes), np.float32)
        for window, row in zip(windows, logits, strict=True):
            self._predict(window.ctypes.data, row.ctypes.data)
        return logits


def identifier(name: str) -> str:
    """A name as the functions of a C file begin.

    >>> identifier("basic_motions-tpkd 2")
    'basic_motions_tpkd_2'
    """
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{word}" if word[:1].isdigit() else word
