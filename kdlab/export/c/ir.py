"""What lies between a net and its C form: typed layers with their buffers, in float and in int8."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Activation = Literal["", "relu", "relu6"]


@dataclass(frozen=True)
class Value:
    """Features of one window: ``channels`` rows of ``length`` samples; behind the pooling the length is 1."""

    name: str
    channels: int
    length: int

    @property
    def size(self) -> int:
        """Numbers, and bytes in int8."""
        return self.channels * self.length

    def __str__(self) -> str:
        return f"{self.channels} x {self.length}"


@dataclass(frozen=True)
class Geometry:
    """How a 1-D convolution moves over its input; ``depthwise``: each channel by itself.

    ``padding`` zeros come before the input; behind it as many, or one more where ``odd``.
    """

    kernel: int
    stride: int = 1
    padding: int = 0
    depthwise: bool = False
    odd: bool = False

    @property
    def ends(self) -> tuple[int, int]:
        """Zeros before and behind the input."""
        return self.padding, self.padding + self.odd

    def length(self, samples: int) -> int:
        """Samples of the output."""
        return (samples + sum(self.ends) - self.kernel) // self.stride + 1


@dataclass
class Layer:
    """A layer in float64; ``activation`` comes after it."""

    name: str
    inputs: tuple[Value, ...]
    output: Value
    activation: Activation = field(default="", kw_only=True)


@dataclass
class Convolution(Layer):
    """``weight`` ``(O, I, K)``, of a depthwise one ``(C, 1, K)``; ``bias`` ``(O,)``."""

    weight: Array
    bias: Array
    geometry: Geometry


@dataclass
class Addition(Layer):
    """The sum of two inputs."""


@dataclass
class Average(Layer):
    """The mean over the samples."""


@dataclass
class Dense(Layer):
    """A linear layer, ``weight`` ``(K, D)`` and ``bias`` ``(K,)``; its outputs are the logits."""

    weight: Array
    bias: Array


@dataclass
class Graph:
    """A net: its standardisation, and its layers in their order; the last one is the only `Dense`."""

    window: Value
    mean: Array
    std: Array
    layers: list[Layer]

    @property
    def values(self) -> list[Value]:
        """The input and the outputs of the layers, without the logits."""
        return [self.window, *(layer.output for layer in self.layers[:-1])]


@dataclass(frozen=True)
class Scale:
    """Integers ``q`` of the real numbers ``step (q - zero)``; one step per channel; ``wide``: int16, not int8."""

    step: NDArray[np.float64]
    zero: int
    wide: bool = False


@dataclass(frozen=True)
class Reader:
    """Physical units to int8, float32 operations in this order.

    ``y = ((x - offset) - rest) / divisor``; with ``clip``, what lies above 1 becomes 0.99 and what lies below 0
    becomes 0, and then ``y = (y - mean) / step``; last, ``q = floor(clamp(y) + 128.5) - 128`` between -128 and 127.
    Without ``clip``, standardisation and step are part of ``offset``, ``rest`` and ``divisor``.
    """

    output: Value
    offset: NDArray[np.float32]
    rest: NDArray[np.float32]
    divisor: NDArray[np.float32]
    clip: bool
    mean: NDArray[np.float32]
    step: NDArray[np.float32]


@dataclass(frozen=True)
class Requantised:
    """Sums to int8, or to int16 where ``wide``: ``clamp(floor(a m / 2^n + 1/2) + zero)`` in int64; m, n per channel."""

    multiplier: NDArray[np.int32]
    shift: NDArray[np.uint8]
    zero: int
    wide: bool = False


@dataclass(frozen=True)
class IntLayer:
    """A layer in integers; ``zeros`` are the zero points of its inputs, and ``wides`` says which are int16."""

    name: str
    inputs: tuple[Value, ...]
    output: Value
    zeros: tuple[int, ...]
    wides: tuple[bool, ...]


@dataclass(frozen=True)
class IntConvolution(IntLayer):
    """``a = bias + sum w (q - zero)``, ``weight`` ``(O, I, K)`` or ``(C, 1, K)`` int8, ``bias`` int32."""

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    geometry: Geometry
    to: Requantised


@dataclass(frozen=True)
class IntAddition(IntLayer):
    """``clamp(floor(((p - z) m + (q - y) k) / 2^n + 1/2) + zero)`` in int64; m, k and n per channel."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    shift: NDArray[np.uint8]
    zero: int
    wide: bool


@dataclass(frozen=True)
class IntAverage(IntLayer):
    """``a = sum (q - zero)`` over the samples."""

    to: Requantised


@dataclass(frozen=True)
class IntDense(IntLayer):
    """``logit = float32(bias + sum w (q - zero)) step``, ``weight`` ``(K, D)`` int8, ``step`` float32."""

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    step: NDArray[np.float32]


@dataclass(frozen=True)
class Program:
    """A net in int8; features that are only added and scaled may be int16."""

    reader: Reader
    layers: tuple[IntLayer, ...]

    def bytes(self, value: Value) -> int:
        """Bytes of features, an even number."""
        read = ((v, w) for layer in self.layers for v, w in zip(layer.inputs, layer.wides, strict=True))
        wide = any(w for v, w in read if v == value)
        return 2 * value.size if wide else value.size + value.size % 2

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.layers[-1].output.channels
