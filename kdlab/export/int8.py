"""Static int8 quantisation of an ONNX model."""

from __future__ import annotations

import copy
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.export.formats import INPUT, need, quiet
from kdlab.files import remove_leftovers, scratch_folder
from kdlab.types import InputError

_BATCH = 64  # windows at a time in calibration


def to_int8(model: Any, calibration: NDArray[np.float32]) -> tuple[Any, float]:
    """Quantise convolutions and matrix products: weights int8 per output channel, activations int8 per tensor.

    Both are signed, which suits the ARM cores of watches and loses nothing on others; the head's logits stay float32.

    Returns:
        The model, and the share of its weights that is int8.
    """
    onnx, quantization, shapes = need(
        "quantize='int8'", "onnx", "onnxruntime.quantization", "onnxruntime.quantization.shape_inference"
    )
    windows = [{INPUT: calibration[i : i + _BATCH]} for i in range(0, len(calibration), _BATCH)]

    remove_leftovers(tempfile.gettempdir())
    with scratch_folder() as folder, quiet():
        prepared, made = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        shapes.quant_pre_process(copy.deepcopy(model), prepared)
        quantization.quantize_static(
            prepared,
            made,
            _Reader(windows),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
        quantised = onnx.load(made)
    share = _int8_share(quantised, model, onnx)
    if share == 0:
        raise InputError("quantize='int8': this net has no convolution or matrix product to quantise. Leave it out.")
    return quantised, share


class _Reader:
    """Calibration windows, one batch per call of the quantiser."""

    def __init__(self, windows: list[dict[str, NDArray[np.float32]]]) -> None:
        self._left = iter(windows)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._left, None)


def _int8_share(quantised: Any, model: Any, onnx: Any) -> float:
    def count(of: Any, kind: int) -> int:
        return sum(math.prod(t.dims) for t in of.graph.initializer if t.data_type == kind and t.dims)

    return count(quantised, onnx.TensorProto.INT8) / max(count(model, onnx.TensorProto.FLOAT), 1)
