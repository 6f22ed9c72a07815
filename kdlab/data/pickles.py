"""Pickles of arrays, read without running anything that they name."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np


class PlainUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays, bytes, words, numbers, lists and dicts, and refuses to call anything else."""

    def find_class(self, module: str, name: str) -> Any:
        """The few functions that pickled arrays and bytes need."""
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        raise pickle.UnpicklingError(f"it would call {module}.{name}")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Bytes as Python 3 writes them for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it would call the codec {encoding!r}")
    return text.encode("latin1")
