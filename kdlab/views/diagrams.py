"""Persistence diagrams of the sublevel sets of a series."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from torch import Tensor

from kdlab.types import InputError, plain_array

Floats = npt.NDArray[np.float64]


def _rows(x: npt.ArrayLike | Tensor, ndim: int, axes: str) -> npt.NDArray[np.floating]:
    """``x`` as checked, contiguous float32 or float64 rows."""
    array = plain_array(x, "x")
    if array.ndim != ndim or array.size == 0:
        raise InputError(f"x: expected {axes} with at least one sample, got shape {array.shape}")
    if array.dtype != np.float32:
        array = array.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(array.sum())
    bad = 0 if math.isfinite(total) else int(array.size - np.isfinite(array).sum())
    if bad:
        raise InputError(f"x: expected finite samples, got {bad} NaN or infinite ones; fill or drop them first")
    return np.ascontiguousarray(array).reshape(-1, array.shape[-1])


def sublevel_diagrams(x: npt.ArrayLike | Tensor) -> list[Floats]:
    """:func:`sublevel_diagram` of each row of ``x`` (N, T), in the order of the merging, not sorted."""
    from kdlab.views.kernels import diagrams, run_rows

    rows = _rows(x, 2, "(N, T)")
    pairs = np.empty((len(rows), rows.shape[1] // 2 + 1, 2))
    counts = np.empty(len(rows), np.int64)
    run_rows(diagrams, len(rows), rows, pairs, counts)
    return [pairs[i, :count] for i, count in enumerate(counts.tolist())]


def sublevel_diagram(x: npt.ArrayLike | Tensor) -> Floats:
    """Finite part of the 0-dimensional persistence diagram of the sublevel sets of a series.

    The series lives on the path graph: sample i enters at x_i, edge (i, i + 1) at max(x_i, x_{i+1}). A component is
    born at a valley; where two meet, at the peak between them, the one born later dies (elder rule). Only valleys and
    peaks matter, and a stack of valleys with falling peaks pairs them in one pass, O(T), exactly: no sample is rounded.

    Args:
        x: the series, in any unit.

    Shapes:
        ``(T,)`` -> ``(P, 2)`` float64, columns birth and death, sorted by birth, then death. The component that never
        dies and pairs of zero persistence are left out; ``P`` is 0 for a monotone or constant series.

    Raises:
        InputError: for another number of axes, or samples that are not finite.

    References:
        Edelsbrunner and Harer, "Computational Topology: An Introduction", AMS 2010, chapter VII. Reference code:
        scikit-tda/ripser.py on the lower-star distance matrix, as in itsmeafra/Sublevel-Set-TDA@47f6000.

    Differences from the reference code:
        The same multiset. ripser rounds to float32 and takes NaN in silence; the pair with infinite death is dropped.

    Example:
        >>> sublevel_diagram([0.0, 3.0, 1.0, 2.0, 0.5, 4.0])
        array([[0.5, 3. ],
               [1. , 2. ]])
    """
    pairs = sublevel_diagrams(_rows(x, 1, "(T,)"))[0]
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def ripser_diagram(x: npt.ArrayLike | Tensor) -> Floats:
    """:func:`sublevel_diagram` computed by ripser (in float32), as the reference."""
    from ripser import ripser
    from scipy.sparse import coo_matrix

    series = _rows(x, 1, "(T,)")[0]
    length = series.size
    vertices, edges = np.arange(length), np.arange(length - 1)
    # ripser reads births from the diagonal of a sparse matrix and edges from the rest; explicit zeros are kept
    values = np.concatenate([np.maximum(series[:-1], series[1:]), series])
    places = (np.concatenate([edges, vertices]), np.concatenate([edges + 1, vertices]))
    found = ripser(coo_matrix((values, places), shape=(length, length)).tocsr(), maxdim=0, distance_matrix=True)
    pairs = np.asarray(found["dgms"][0], dtype=np.float64)
    pairs = pairs[np.isfinite(pairs[:, 1]) & (pairs[:, 1] > pairs[:, 0])]
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
