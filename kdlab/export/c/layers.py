"""The layers of a program as C: their arrays, their structures, and the calls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdlab.export.c import kernels
from kdlab.export.c.ir import IntAddition, IntAverage, IntConvolution, IntDense, IntLayer, Program, Requantised
from kdlab.export.c.text import array, comment, identifier

_Arrays = dict[str, tuple[NDArray[np.generic], int]]


@dataclass(frozen=True)
class Written:
    """A layer as text.

    Attributes:
        text: arrays and structure.
        call: with ``{x}`` for the places of its inputs and ``{y}`` for its output.
        note: what it does.
        kind: of its structure.
        bytes: of its arrays.
    """

    text: str
    call: str
    note: str
    kind: str
    bytes: int


def write_layers(program: Program) -> list[Written]:
    """The layers in their order, under names of their own."""
    taken = set[str]()
    found = []
    for layer in program.layers:
        words = identifier(layer.name)
        name = next(n for n in (words, *(f"{words}_{i}" for i in range(2, len(taken) + 3))) if n not in taken)
        taken.add(name)
        found.append(_write(layer, name))
    return found


def _write(layer: IntLayer, name: str) -> Written:
    if isinstance(layer, IntConvolution):
        return _convolution(layer, name)
    source, target = layer.inputs[0], layer.output
    if isinstance(layer, IntAddition):
        arrays: _Arrays = {"first": (layer.first, 0), "second": (layer.second, 0), "shifts": (layer.shift, 0)}
        numbers = {"length": source.length, "channels": source.channels, "first_zero": layer.zeros[0]}
        numbers |= {"first_wide": int(layer.wides[0]), "second_zero": layer.zeros[1]}
        numbers |= {"second_wide": int(layer.wides[1]), "out_zero": layer.zero, "out_wide": int(layer.wide)}
        return _structure(name, "addition", numbers, arrays, "add(&{name}, {x}, {y});", f"sum, {target}")
    if isinstance(layer, IntAverage):
        arrays = {"multipliers": (layer.to.multiplier, 0), "shifts": (layer.to.shift, 0)}
        numbers = {"length": source.length, "channels": source.channels}
        numbers |= _ends(layer, layer.to)
        note = f"mean over time, {source} -> {target}"
        return _structure(name, "average", numbers, arrays, "pool(&{name}, {x}, {y});", note)
    assert isinstance(layer, IntDense)  # there is no other
    bias = _with_zero_point(layer.bias, layer.weight, layer.zeros[0])
    arrays = {"weights": (layer.weight, layer.weight.shape[1]), "bias": (bias, 0), "steps": (layer.step, 0)}
    numbers = {"inputs": source.channels, "outputs": target.channels}
    note = f"linear, {source.channels} -> {target.channels} logits"
    return _structure(name, "dense", numbers, arrays, "classify(&{name}, {x}, logits);", note)


def _convolution(layer: IntConvolution, name: str) -> Written:
    source, target, geometry = layer.inputs[0], layer.output, layer.geometry
    numbers = {"in_length": source.length, "in_channels": source.channels}
    numbers |= {"out_length": target.length, "out_channels": target.channels, "kernel": geometry.kernel}
    numbers |= {"stride": geometry.stride, "padding": geometry.padding}
    numbers |= _ends(layer, layer.to)
    if geometry.depthwise:
        weights, bias, row = layer.weight[:, 0].T, layer.bias, len(layer.weight)
    else:
        weights = layer.weight.transpose(0, 2, 1)
        bias, row = _with_zero_point(layer.bias, layer.weight, layer.zeros[0]), source.channels * geometry.kernel
    arrays: _Arrays = {"weights": (weights, row), "bias": (bias, 0)}
    arrays |= {"multipliers": (layer.to.multiplier, 0), "shifts": (layer.to.shift, 0)}
    if geometry.depthwise and geometry.kernel == 1:
        note = f"a factor and a bias per channel, {target}"
    else:
        kind = "depthwise, " if geometry.depthwise else ""
        note = f"{kind}{source} -> {target}, {geometry.kernel} taps, stride {geometry.stride}"
    call = f"{'convolve_each' if geometry.depthwise else 'convolve'}(&{{name}}, {{x}}, {{y}});"
    return _structure(name, "convolution", numbers, arrays, call, note)


def _ends(layer: IntLayer, to: Requantised) -> dict[str, int]:
    wide = {"in_wide": int(layer.wides[0]), "out_wide": int(to.wide)}
    return {"in_zero": layer.zeros[0], "out_zero": to.zero} | wide


def _with_zero_point(bias: NDArray[np.int32], weight: NDArray[np.int8], zero: int) -> NDArray[np.int32]:
    """``bias + sum w (q - zero) = (bias - zero sum w) + sum w q``."""
    folded: NDArray[np.int32] = (bias - zero * weight.reshape(len(weight), -1).sum(1, dtype=np.int64)).astype(np.int32)
    return folded


def _structure(name: str, kind: str, numbers: dict[str, int], arrays: _Arrays, call: str, note: str) -> Written:
    head = f"/* {comment(name)}: {note} */\n"
    texts = [array(f"{name}_{key}", values, row=row) for key, (values, row) in arrays.items()]
    fields = [f".{key} = {value}" for key, value in numbers.items()] + [f".{key} = {name}_{key}" for key in arrays]
    lines = "".join(f"    {', '.join(fields[i : i + 4])},\n" for i in range(0, len(fields), 4))
    text = f"{head}{''.join(texts)}static const {kind} {name}_layer = {{\n{lines}}};\n"
    size = sum(values.nbytes for values, _ in arrays.values())
    return Written(text, call.replace("{name}", f"{name}_layer"), note, kind, size)


def shared(program: Program) -> str:
    """The types and functions that these layers need."""
    layers = program.layers
    convolutions = [layer for layer in layers if isinstance(layer, IntConvolution)]
    each = any(layer.geometry.depthwise for layer in convolutions)
    across = any(not layer.geometry.depthwise for layer in convolutions)
    narrows = any(not isinstance(layer, IntDense) for layer in layers)
    sums = any(isinstance(layer, IntAddition) for layer in layers)
    means = any(isinstance(layer, IntAverage) for layer in layers)
    parts = [
        (narrows, kernels.CLAMP),
        (bool(convolutions) or means, kernels.REQUANTISE),
        (True, kernels.DOT),
        (bool(convolutions), kernels.CONVOLUTION_TYPE),
        (across, kernels.CONVOLVE),
        (each, kernels.CONVOLVE_EACH),
        (sums, kernels.ADD),
        (means, kernels.AVERAGE),
        (True, kernels.DENSE),
    ]
    return "\n".join(text for needed, text in parts if needed)
