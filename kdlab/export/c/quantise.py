"""Float layers to int8 layers: weights per output channel, features per channel where that costs nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.export.c.calibrate import Ranges
from kdlab.export.c.fixed import pair, requantised
from kdlab.export.c.ir import (
    Addition,
    Array,
    Average,
    Convolution,
    Dense,
    Graph,
    IntAddition,
    IntAverage,
    IntConvolution,
    IntDense,
    IntLayer,
    Layer,
    Program,
    Reader,
    Scale,
    Value,
)
from kdlab.types import InputError

SCHEME = (
    "static; weights int8 per output channel; features int8 per channel, or per tensor where a convolution that mixes "
    "channels or a linear layer reads them; signed features that are only added and scaled (residual streams) int16; "
    "sums int32; biases corrected for the mean error of the rounded weights"
)
#: ranges of calibration are widened so much, int16 ones more: other people move more strongly
_MARGIN, _WIDE_MARGIN = 1.2, 2.0
_SMALLEST = 2.0**-16  # of the largest step of a value: what never moved in calibration


def quantise(graph: Graph, ranges: Ranges, scale: dict[str, Any]) -> Program:
    """The int8 program of a net.

    Features that are nowhere negative have the zero point -128 and 255 steps, others the zero point 0 and 127 steps to
    each side, or 32767 of int16 where nothing but sums, means and factors per channel reads them.

    Args:
        graph: the net.
        ranges: of its values on calibration windows.
        scale: ``offset``, ``divisor`` and ``clip`` of the data.

    Raises:
        InputError: numbers that int8 and int32 cannot hold.
    """
    scales = {value.name: _scale(value, graph, ranges) for value in graph.values}
    means = {name: found.mean / scales[name].step for name, found in ranges.items()}
    layers = tuple(_quantised(layer, scales, means) for layer in graph.layers)
    return Program(_reader(graph, scales[graph.window.name], scale), layers)


def _scale(value: Value, graph: Graph, ranges: Ranges) -> Scale:
    low, high, _ = ranges[value.name]
    alone = all(_reads_channels_alone(layer) for layer in graph.layers if value in layer.inputs)
    zero = -128 if low.min() >= 0 and value != graph.window else 0
    wide = alone and not zero and value != graph.window
    six = any(layer.activation == "relu6" for layer in graph.layers if layer.output == value)
    if zero:
        step = np.minimum(high * _MARGIN, 6.0 if six else np.inf) / 255
    else:
        step = np.maximum(-low, high) * (_WIDE_MARGIN / 32767 if wide else _MARGIN / 127)
    largest = float(step.max()) or 1.0
    if not np.isfinite(largest):
        raise InputError(
            f"format='c': features must be finite on the calibration windows, but those of {value.name} are not. Train "
            "the net again."
        )
    step = np.maximum(step, largest * _SMALLEST) if alone else np.full(value.channels, largest)
    return Scale(step, zero, wide)


def _reads_channels_alone(layer: Layer) -> bool:
    """Whether a step per channel costs such a layer nothing."""
    return isinstance(layer, Addition | Average) or (isinstance(layer, Convolution) and layer.geometry.depthwise)


def _quantised(layer: Layer, scales: dict[str, Scale], means: dict[str, Array]) -> IntLayer:
    read, mean = [scales[value.name] for value in layer.inputs], means[layer.inputs[0].name]
    zeros, wides = tuple(scale.zero for scale in read), tuple(scale.wide for scale in read)
    where, most = (layer.name, layer.inputs, layer.output, zeros, wides), 2**16 if any(wides) else 2**8
    if isinstance(layer, Dense):
        weight, bias, step = _weights(layer.name, layer.weight * read[0].step, layer.bias, mean, most)
        return IntDense(*where, weight, bias, _float32(step, layer.name))
    to = scales[layer.output.name]
    if isinstance(layer, Convolution):
        rows = np.s_[:, None, None] if layer.geometry.depthwise else np.s_[:, None]
        weight, bias, step = _weights(layer.name, layer.weight * read[0].step[rows], layer.bias, mean[rows], most)
        return IntConvolution(*where, weight, bias, layer.geometry, requantised(step / to.step, to.zero, to.wide))
    if isinstance(layer, Average):
        length = layer.inputs[0].length
        _check_sum(layer.name, most * length)
        return IntAverage(*where, requantised(read[0].step / to.step / length, to.zero, to.wide))
    assert isinstance(layer, Addition)  # there is no other
    return IntAddition(*where, *pair(read[0].step / to.step, read[1].step / to.step), to.zero, to.wide)


def _weights(
    name: str, weight: Array, bias: Array, mean: Array, most: int
) -> tuple[NDArray[np.int8], NDArray[np.int32], Array]:
    """int8 weights and int32 biases of the same step, one per output.

    The bias takes up what the rounded weights make of the mean of the inputs.

    Args:
        name: of the layer.
        weight: per step of its input.
        bias: of it.
        mean: of the inputs in steps, shaped like the weights.
        most: bound of the inputs in steps.
    """
    flat = np.abs(weight.reshape(len(weight), -1))
    step = np.maximum(flat.max(1) / 127, np.abs(bias) / 2.0**29)
    step[step == 0] = 1.0
    rounded = np.rint(weight / step.reshape(-1, *(1,) * (weight.ndim - 1))).astype(np.int8)
    lost = (weight - rounded * step.reshape(-1, *(1,) * (weight.ndim - 1))) * mean
    biases = np.rint((bias + lost.reshape(len(weight), -1).sum(1)) / step).astype(np.int32)
    partial = most * np.abs(rounded.reshape(len(weight), -1).astype(np.int64)).sum(1)
    _check_sum(name, int((partial + np.abs(biases.astype(np.int64))).max()))
    return rounded, biases, step


def _check_sum(name: str, largest: int) -> None:
    """Refuse a layer whose partial sums could leave int32, whatever the features are."""
    if largest >= 2**31:
        raise InputError(
            f"format='c': sums must fit in 32 bits, but those of {name} may reach {largest:.3g}. Use a narrower net or "
            "shorter windows, or format='onnx'."
        )


def _reader(graph: Graph, to: Scale, scale: dict[str, Any]) -> Reader:
    offset, divisor = (np.asarray(scale[key], dtype=np.float64) for key in ("offset", "divisor"))
    mean, step, clip = graph.mean, graph.std * to.step, bool(scale["clip"])
    if not clip:
        offset, divisor = offset + divisor * mean, divisor * step
        mean, step = np.zeros_like(mean), np.ones_like(step)
    high = _float32(offset, "the scaling", zero=True)
    rest = (offset - high.astype(np.float64)).astype(np.float32)
    return Reader(
        graph.window,
        high,
        rest,
        _float32(divisor, "the scaling"),
        clip,
        mean.astype(np.float32),
        _float32(step, "the standardisation"),
    )


def _float32(numbers: Array, name: str, zero: bool = False) -> NDArray[np.float32]:
    """As float32, neither infinite nor (but 0 itself) below its normal numbers."""
    size = np.abs(numbers)
    fits = (size < np.finfo(np.float32).max) & ((size >= np.finfo(np.float32).tiny) | zero)
    if not fits.all():
        raise InputError(
            f"format='c': numbers of {name} must be normal in float32, but got {numbers[~fits][0]:.3g}. Record in "
            "other units, or use format='torch.export'."
        )
    return numbers.astype(np.float32)
