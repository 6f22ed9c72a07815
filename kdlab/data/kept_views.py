"""Views of windows that nothing changes: read from disk, from memory, or computed, the first of these that there is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from kdlab import reuse
from kdlab.data.physical import seen
from kdlab.data.stored_views import StoredView
from kdlab.views import Raw, View


def unchanged_view(
    view: View,
    physical: bool,
    stored: StoredView | None,
    index: NDArray[np.int64],
    windows: Callable[[], NDArray[Any]],
    again: bool,
) -> Tensor:
    """A view of windows that nothing changes.

    Args:
        view: bound.
        physical: whether it reads physical units.
        stored: its files; None: there are none.
        index: of the windows in the data set.
        windows: gives them as the view reads them, ``(B, C, T)``; it is called where they are needed.
        again: whether the same batches are read again.
    """
    found = None if stored is None else stored.rows(index)
    if found is not None:
        return found
    if physical or not again:
        return seen(view, windows()) if physical else view(windows())
    return view_again(view, windows())


def view_again(view: View, x: NDArray[Any]) -> Tensor:
    """A view of a batch; within :func:`kdlab.reuse.reusing` it is computed once, and copied from then on.

    It is found by the view, its digest and the bytes of the batch, so every epoch and every job of the process has it.
    A raw view is faster than to look for it; processes that fetch batches keep nothing.

    Args:
        view: bound.
        x: the scaled windows, ``(B, C, T)``.
    """
    if not reuse.active() or isinstance(view, Raw) or get_worker_info() is not None:
        return view(x)
    kind = type(view)
    digest = hashlib.blake2b(np.ascontiguousarray(x).tobytes(), digest_size=16).digest()
    key = ("view", kind.__module__, kind.__qualname__, view.digest, x.shape, str(x.dtype), digest)
    made = reuse.kept(key, lambda: view(x), lambda tensor: tensor.nbytes)
    return made.clone()  # a batch may be changed by who reads it
