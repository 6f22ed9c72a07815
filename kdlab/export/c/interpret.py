"""An int8 program in numpy, from its equations: what the C form computes, bit for bit.

Sums are products of matrices in float64, which are exact below 2^53.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from kdlab.export.c.ir import (
    IntAddition,
    IntAverage,
    IntConvolution,
    IntDense,
    IntLayer,
    Program,
    Reader,
    Requantised,
)

Whole = NDArray[np.int64]


def run(program: Program, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits ``(B, K)`` float32 of windows ``(B, C, T)`` in physical units; NaN for windows that are not finite."""
    finite = np.isfinite(windows).all((1, 2))
    logits = np.full((len(windows), program.classes), np.nan, dtype=np.float32)
    if finite.any():
        values = {program.reader.output.name: read(program.reader, windows[finite])}
        for layer in program.layers[:-1]:
            values[layer.output.name] = _layer(layer, values)
        logits[finite] = _dense(program.layers[-1], values)
    return logits


def read(reader: Reader, windows: NDArray[np.float32]) -> Whole:
    """Finite windows in physical units to int8 numbers ``(B, C, T)``."""

    def column(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        return numbers[:, None]

    with np.errstate(over="ignore"):
        y = ((windows - column(reader.offset)) - column(reader.rest)) / column(reader.divisor)
        if reader.clip:
            y = np.where(y > np.float32(1), np.float32(0.99), np.where(y < 0, np.float32(0), y))
            y = (y - column(reader.mean)) / column(reader.step)
    assert y.dtype == np.float32
    lifted: Whole = np.floor(np.clip(y, np.float32(-128), np.float32(127)) + np.float32(128.5)).astype(np.int64)
    return lifted - 128


def _layer(layer: IntLayer, values: dict[str, Whole]) -> Whole:
    inputs = [values[v.name] - zero for v, zero in zip(layer.inputs, layer.zeros, strict=True)]
    if isinstance(layer, IntConvolution):
        return _requantise(_convolve(layer, inputs[0]) + layer.bias.astype(np.int64)[:, None], layer.to)
    if isinstance(layer, IntAverage):
        return _requantise(inputs[0].sum(2, keepdims=True), layer.to)
    assert isinstance(layer, IntAddition)  # there is no other
    first, second, shift = (a.astype(np.int64)[:, None] for a in (layer.first, layer.second, layer.shift))
    return _clamped(_over_power(inputs[0] * first + inputs[1] * second, shift) + layer.zero, layer.wide)


def _convolve(layer: IntConvolution, x: Whole) -> Whole:
    geometry = layer.geometry
    padded = np.pad(x, ((0, 0), (0, 0), geometry.ends)).astype(np.float64)
    taps = sliding_window_view(padded, geometry.kernel, axis=2)[:, :, :: geometry.stride]  # (B, C, T', K)
    weight = layer.weight.astype(np.float64)
    if geometry.depthwise:
        sums: Whole = np.einsum("bctk,ck->bct", taps, weight[:, 0]).astype(np.int64)
    else:
        columns = taps.transpose(0, 2, 1, 3).reshape(len(x), taps.shape[2], -1)
        sums = (columns @ weight.reshape(len(weight), -1).T).transpose(0, 2, 1).astype(np.int64)
    return sums


def _dense(layer: IntLayer, values: dict[str, Whole]) -> NDArray[np.float32]:
    assert isinstance(layer, IntDense)  # the last one
    x = (values[layer.inputs[0].name] - layer.zeros[0])[:, :, 0]
    return (x @ layer.weight.astype(np.int64).T + layer.bias).astype(np.float32) * layer.step


def _requantise(sums: Whole, to: Requantised) -> Whole:
    multiplier, shift = to.multiplier.astype(np.int64)[:, None], to.shift.astype(np.int64)[:, None]
    return _clamped(_over_power(sums * multiplier, shift) + to.zero, to.wide)


def _over_power(a: Whole, shift: Whole) -> Whole:
    """``floor(a / 2^n + 1/2)``; numpy shifts signed integers down to the floor."""
    return np.right_shift(a + np.left_shift(1, shift - 1), shift)


def _clamped(q: Whole, wide: bool) -> Whole:
    return np.clip(q, -32768, 32767) if wide else np.clip(q, -128, 127)
