"""The compiled loops behind the views. Imported on first use, because numba alone takes half a second.

Every kernel is serial, releases the interpreter lock and works on rows ``start`` to ``stop`` of a batch, so a pool of
threads can share a batch and no result depends on the number of threads or on the neighbours in the batch.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic
from torch.utils.data import get_worker_info

from kdlab.views.compiling import compiled

ONE = 8.2924
"""Sigmas above which the normal CDF is 1 in double precision."""

_pools: dict[int, ThreadPoolExecutor] = {}


def thread_count() -> int:
    """Threads that a batch is spread over: those of torch, and one inside a worker of a data loader."""
    return 1 if get_worker_info() is not None else max(1, torch.get_num_threads())


def run_rows(kernel: Any, rows: int, *arguments: Any) -> None:
    """Call ``kernel(*arguments, start, stop)`` so that every row below ``rows`` is done once."""
    threads = min(thread_count(), rows // 8)
    if threads <= 1:
        kernel(*arguments, 0, rows)
        return
    pid = os.getpid()
    pool = _pools.get(pid)  # a forked child must not use its parent's threads
    if pool is None:
        pool = _pools.setdefault(pid, ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="kdlab-views"))
    step = -(-rows // (4 * threads))
    spans = [(start, min(start + step, rows)) for start in range(0, rows, step)]
    share = [spans[i::threads] for i in range(threads)]

    def work(mine: list[tuple[int, int]]) -> None:
        for start, stop in mine:
            kernel(*arguments, start, stop)

    for done in [pool.submit(work, mine) for mine in share]:
        done.result()


def blank(*shape: int, dtype: Any = np.float32) -> torch.Tensor:
    """An empty tensor on numpy's memory, which comes in huge pages: filling it for the first time is 5 times faster."""
    return torch.from_numpy(np.empty(shape, dtype))


# -- diagrams ---------------------------------------------------------------------------------------------------------


# Places are unsigned, because numba wraps negative ones round; so are the 0 and 1 of decisions. Nothing
# here branches on the samples: a wrong guess of the processor costs more than the work.
_0, _1, _2, _3 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)


@compiled(fastmath={"nnan"})
def _extrema(x, kept):  # type: ignore[no-untyped-def]
    """Write the alternating valleys (even places from 2 on) and peaks (odd places) of ``x``; return the last valley's.

    The end of the running monotone stretch is overwritten until the direction turns; equal samples change nothing. An
    infinite peak is put behind the last valley.
    """
    last = x[0]
    kept[2] = last
    place = _2
    rising = _0
    for i in range(1, x.size):
        value = x[i]
        turn = (np.uint64(value > last) ^ rising) & np.uint64(value != last)
        rising ^= turn
        place += turn
        kept[place] = value
        last = value
    end = place & ~_1
    kept[end + _1] = np.inf
    kept[end + _2] = 0
    return end


@compiled(inline="always")
def _step(kept, pairs, top, place, count):  # type: ignore[no-untyped-def]
    """Settle the separator on top of the stack, or push the peak at ``place`` and the valley behind it.

    The stack of valleys (even places from 2 on) and the falling peaks between them lives in the front of ``kept``. A
    peak that is no lower than the separator on top settles it: the higher of its two valleys dies there (elder rule),
    and the lower stays. NaN under the stack ends it, place 0 is scratch.
    """
    separator, peak, valley = kept[top - _1], kept[place], kept[place + _1]
    pop = np.uint64(separator <= peak)
    a, b = kept[top - _2], kept[top]
    pairs[count, 0] = b if a < b else a
    pairs[count, 1] = separator
    kept[top + _1] = peak
    kept[top + _2] = valley
    kept[(top - _2) & (_0 - pop)] = a if a < b else b
    return top + _2 - (pop << _2), place + _2 - (pop << _1), count + pop


@compiled()
def _pairs(x, kept, pairs):  # type: ignore[no-untyped-def]
    """Write the finite (birth, death) pairs of the sublevel filtration of ``x``; return how many."""
    steps = _extrema(x, kept) - _2
    kept[0] = 0
    kept[1] = np.nan
    top, place, count = _2, _3, _0
    for _ in range(steps):
        top, place, count = _step(kept, pairs, top, place, count)
    return np.int64(count)


@compiled()
def _two_pairs(x, other, kept, pairs, more):  # type: ignore[no-untyped-def]
    """:func:`_pairs` of two series at once, so that one works while the other waits for its memory."""
    first, second = kept[0], kept[1]
    kept[:, 0] = 0
    kept[:, 1] = np.nan
    steps, others = _extrema(x, first) - _2, _extrema(other, second) - _2
    both = min(steps, others)
    top, place, count = _2, _3, _0
    top2, place2, count2 = _2, _3, _0
    for _ in range(both):
        top, place, count = _step(first, pairs, top, place, count)
        top2, place2, count2 = _step(second, more, top2, place2, count2)
    for _ in range(steps - both):
        top, place, count = _step(first, pairs, top, place, count)
    for _ in range(others - both):
        top2, place2, count2 = _step(second, more, top2, place2, count2)
    return np.int64(count), np.int64(count2)


@compiled()
def diagrams(x, pairs, counts, start, stop):  # type: ignore[no-untyped-def]
    """Write the diagram of each row of ``x`` (N, T) to ``pairs`` (N, T // 2 + 1, 2), its length to ``counts`` (N,)."""
    kept = np.empty((2, x.shape[1] + 4), x.dtype)
    for i in range(start, stop - 1, 2):
        counts[i], counts[i + 1] = _two_pairs(x[i], x[i + 1], kept, pairs[i], pairs[i + 1])
    if (stop - start) % 2:
        counts[stop - 1] = _pairs(x[stop - 1], kept[0], pairs[stop - 1])


@compiled()
def _keep(pairs, count, threshold):  # type: ignore[no-untyped-def]
    """Turn (birth, death) into (birth, lifetime) in place, dropping short lives; return how many and the longest."""
    kept = 0
    longest = 0.0
    for k in range(count):
        birth = pairs[k, 0]
        life = pairs[k, 1] - birth
        pairs[kept, 0] = birth
        pairs[kept, 1] = life
        if life > threshold:
            kept += 1
            longest = max(longest, life)
    return kept, longest


# -- images -----------------------------------------------------------------------------------------------------------


@compiled()
def _mass(low, high, centre, sigma):  # type: ignore[no-untyped-def]
    """Mass of a Gaussian between ``low`` and ``high``, taken in the tail where the two CDFs are small.

    Where both are 1 in double precision it is 0, as in the reference code.
    """
    a = (low - centre) / (sigma * math.sqrt(2.0))
    b = (high - centre) / (sigma * math.sqrt(2.0))
    if a > ONE / math.sqrt(2.0):
        return 0.0
    if a > 0:
        return 0.5 * (math.erfc(a) - math.erfc(b))
    if b < 0:
        return 0.5 * (math.erfc(-b) - math.erfc(-a))
    return 0.5 * (math.erf(b) - math.erf(a))


@compiled()
def _exact(points, count, longest, columns, rows, sigma, image):  # type: ignore[no-untyped-def]
    """Rasterise in float64 without a band: ``image[row, column]`` with row 0 the smallest persistence."""
    n = columns.shape[1]
    across = np.empty(n)
    image[:] = 0.0
    for k in range(count):
        weight = points[k, 1] / longest
        for c in range(n):
            across[c] = _mass(columns[0, c], columns[1, c], points[k, 0], sigma)
        for r in range(n):
            up = weight * _mass(rows[0, r], rows[1, r], points[k, 1], sigma)
            for c in range(n):
                image[r, c] += up * across[c]


@compiled()
def _write(image, normalize, gain, out):  # type: ignore[no-untyped-def]
    """Flip ``image`` into ``out`` (row 0 the largest persistence), divided by its maximum or times ``gain``."""
    n = out.shape[0]
    peak = 0.0
    for r in range(n):
        for c in range(n):
            peak = max(peak, image[r, c])
    factor = 1.0 / peak if normalize and peak > 0.0 else gain
    for r in range(n):
        for c in range(n):
            out[n - 1 - r, c] = image[r, c] * factor


@compiled()
def _gain(longest, top):  # type: ignore[no-untyped-def]
    """The factor from weights relative to the longest life to weights relative to ``top``; 1 where that is 0."""
    return longest / top if top > 0.0 else 1.0


@compiled()
def exact_images(x, threshold, columns, rows, sigma, normalize, top, out, start, stop):  # type: ignore[no-untyped-def]
    """Persistence images of rows of ``x`` (N, T) in float64; ``columns`` and ``rows`` (2, n) hold the cell edges."""
    n = out.shape[1]
    kept = np.empty(x.shape[1] + 4, x.dtype)
    pairs = np.empty((x.shape[1] // 2 + 1, 2))
    image = np.empty((n, n))
    for i in range(start, stop):
        count, longest = _keep(pairs, _pairs(x[i], kept, pairs), threshold)
        _exact(pairs, count, longest, columns, rows, sigma, image)
        _write(image, normalize, _gain(longest, top), out[i])


@intrinsic
def _blend8(typing, target, at, table, first, second, third, fourth, f, g, h, k):  # type: ignore[no-untyped-def]
    """``target[at:at + 8] = f table[first:...] + g table[second:...] + h table[third:...] + k table[fourth:...]``."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        where = _lanes(context, builder, signature.args[0], values[0], values[1])
        total = None
        for place, factor in zip(values[3:7], values[7:11], strict=True):
            row = builder.load(_lanes(context, builder, signature.args[2], values[2], place), align=4)
            term = builder.fmul(row, _spread(builder, factor), flags=("contract",))
            total = term if total is None else builder.fadd(total, term, flags=("contract",))
        builder.store(total, where, align=4)
        return context.get_dummy_value()

    return types.void(target, at, table, first, second, third, fourth, f, g, h, k), generate


@intrinsic
def _add8(typing, target, at, source, start, factor):  # type: ignore[no-untyped-def]
    """``target[at:at + 8] += factor * source[start:start + 8]``."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        where = _lanes(context, builder, signature.args[0], values[0], values[1])
        row = builder.load(_lanes(context, builder, signature.args[2], values[2], values[3]), align=4)
        term = builder.fmul(row, _spread(builder, values[4]), flags=("contract",))
        builder.store(builder.fadd(builder.load(where, align=4), term, flags=("contract",)), where, align=4)
        return context.get_dummy_value()

    return types.void(target, at, source, start, factor), generate


def _lanes(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    """Pointer to eight float32 of a flat array. numba does not vectorise straight-line code."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), ir.VectorType(ir.FloatType(), 8).as_pointer())


def _spread(builder: Any, value: Any) -> Any:
    """One float32 in eight lanes."""
    lanes = ir.VectorType(ir.FloatType(), 8)
    one = builder.insert_element(ir.Constant(lanes, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)
    return builder.shuffle_vector(one, ir.Constant(lanes, ir.Undefined), zeros)


@compiled()
def _band(table, stride, nodes, position, reach, width, cells, scale, out):  # type: ignore[no-untyped-def]
    """Write ``width`` cell masses around ``position`` (in cells) to ``out``, times ``scale``; return the first cell.

    Cubic Hermite interpolation between the ``nodes`` sub-cell positions of ``table`` (flat, rows of ``stride``): rows
    2 i and 2 i + 1 hold the masses and their slopes at node i.
    """
    cell = int(np.floor(position))
    first = max(min(cell - reach, cells - width), 0)
    at = (position - cell) * nodes
    node = min(int(at), nodes - 1)
    t = np.float32(at - node)
    s = np.float32(1) - t
    f0 = scale * (np.float32(1) + np.float32(2) * t) * s * s
    d0 = scale * t * s * s
    f1 = scale * t * t * (np.float32(3) - np.float32(2) * t)
    d1 = -scale * t * t * s
    k = 2 * node * stride + first - cell + reach + width + 1
    for block in range(0, width, 8):
        _blend8(out, block, table, k, k + stride, k + 2 * stride, k + 3 * stride, f0, d0, f1, d1)
        k += 8
    return first


@compiled()
def _splat(tile, side, across, up, top, left, height, width):  # type: ignore[no-untyped-def]
    """Add the outer product of ``up`` and ``across`` to the flat ``tile`` at (top, left), eight columns at a time."""
    for block in range(0, width, 8):
        place = top * side + left + block
        for r in range(height):
            _add8(tile, place, across, block, up[r])
            place += side


@compiled(fastmath={"nnan", "ninf", "nsz", "reassoc"})
def _flush(tile, side, normalize, gain, least, out):  # type: ignore[no-untyped-def]
    """Flip ``tile`` into ``out``, divided by its maximum if ``normalize``, or times ``gain``; False, and nothing
    written, under ``least``.
    """
    n = out.shape[0]
    peak = np.float32(0)
    for r in range(n):
        source = tile[r * side : r * side + n]
        for c in range(n):
            if source[c] > peak:
                peak = source[c]
    if peak < least:
        return False
    factor = np.float32(1) / peak if normalize else gain
    for r in range(n):
        line = out[n - 1 - r]
        source = tile[r * side : r * side + n]
        for c in range(n):
            line[c] = source[c] * factor
    return True


@compiled()
def fast_images(  # type: ignore[no-untyped-def]
    x, threshold, columns, rows, sigma, normalize, top, tables, strides, grids, reaches, widths, least, out, start, stop
):
    """Persistence images of rows of ``x`` (N, T) in float32: diagram, raster and normalisation in one pass.

    ``tables`` (two, one an axis, flat with rows of ``strides``) give the mass of a Gaussian in the cells around it,
    ``grids`` the axes' lower ends and cells per unit. An image fainter than ``least`` has its points off the grid or
    between the cells; it is drawn again without a band in float64.
    """
    n = out.shape[1]
    side = (n + 7) // 8 * 8
    kept = np.empty(x.shape[1] + 4, x.dtype)
    pairs = np.empty((x.shape[1] // 2 + 1, 2))
    tile = np.empty(side * side, np.float32)
    across = np.empty(side, np.float32)
    up = np.empty(side, np.float32)
    image = np.empty((n, n))
    nodes = (tables[0].size // strides[0] // 2 - 1, tables[1].size // strides[1] // 2 - 1)
    for i in range(start, stop):
        count, longest = _keep(pairs, _pairs(x[i], kept, pairs), threshold)
        if count == 0:
            out[i] = np.float32(0)
            continue
        tile[:] = np.float32(0)
        for k in range(count):
            column = (pairs[k, 0] - grids[0, 0]) * grids[0, 1]
            row = (pairs[k, 1] - grids[1, 0]) * grids[1, 1]
            if -reaches[0] <= column < n + reaches[0] and -reaches[1] <= row < n + reaches[1]:
                weight = np.float32(pairs[k, 1] / longest)
                one = np.float32(1)
                left = _band(tables[0], strides[0], nodes[0], column, reaches[0], widths[0], side, one, across)
                lower = _band(tables[1], strides[1], nodes[1], row, reaches[1], widths[1], side, weight, up)
                _splat(tile, side, across, up, lower, left, widths[1], widths[0])
        gain = _gain(longest, top)
        if not _flush(tile, side, normalize, np.float32(gain), least, out[i]):
            _exact(pairs, count, longest, columns, rows, sigma, image)
            _write(image, normalize, gain, out[i])


@compiled()
def kept_points(x, threshold, points, counts, start, stop):  # type: ignore[no-untyped-def]
    """Write (birth, lifetime, weight) of the kept pairs of rows of ``x`` to ``points`` (N, T // 2 + 1, 3)."""
    kept = np.empty(x.shape[1] + 4, x.dtype)
    pairs = np.empty((x.shape[1] // 2 + 1, 2))
    for i in range(start, stop):
        count, longest = _keep(pairs, _pairs(x[i], kept, pairs), threshold)
        counts[i] = count
        for k in range(count):
            points[i, k, 0] = pairs[k, 0]
            points[i, k, 1] = pairs[k, 1]
            points[i, k, 2] = pairs[k, 1] / longest


# -- Gramian angular field --------------------------------------------------------------------------------------------


@compiled()
def _angles(x, bounds, cosine, sine, scaled):  # type: ignore[no-untyped-def]
    """Segment means, min-max to [-1, 1] and the matching sines: float64 inside, float32 out."""
    n = bounds.size - 1
    low, high = np.inf, -np.inf
    for i in range(n):
        total = 0.0
        for t in range(bounds[i], bounds[i + 1]):
            total += x[t]
        mean = total / (bounds[i + 1] - bounds[i])
        scaled[i] = mean
        low = min(low, mean)
        high = max(high, mean)
    spread = high - low
    if spread < 10 * 2.220446049250313e-16:  # a constant window: every sample at the low end
        spread = 1.0
    scale = 2.0 / spread
    shift = -1.0 - low * scale
    for i in range(n):
        value = scaled[i] * scale + shift
        cosine[i] = value
        sine[i] = math.sqrt(min(max(1.0 - value * value, 0.0), 1.0))


@compiled(fastmath={"contract", "nsz"})
def _field(left, right, left2, right2, out):  # type: ignore[no-untyped-def]
    """Write ``left right^T - left2 right2^T``."""
    n = out.shape[0]
    for i in range(n):
        a, b = left[i], left2[i]
        for j in range(n):
            out[i, j] = a * right[j] - b * right2[j]


@compiled()
def gramian(x, bounds, difference, out, start, stop):  # type: ignore[no-untyped-def]
    """Gramian angular fields of rows of ``x`` (N, T) into ``out`` (N, n, n)."""
    n = out.shape[1]
    scaled = np.empty(n)
    cosine = np.empty(n, np.float32)
    sine = np.empty(n, np.float32)
    for i in range(start, stop):
        _angles(x[i], bounds, cosine, sine, scaled)
        if difference:
            _field(sine, cosine, cosine, sine, out[i])
        else:
            _field(cosine, cosine, sine, sine, out[i])
