"""Static int8 quantisation of an ONNX model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.export.formats import INPUT, need, quiet
from kdlab.export.origins import Origins, Quantised, count_int8
from kdlab.files import remove_leftovers, scratch_folder
from kdlab.types import InputError

_BATCH = 64  # windows at a time in calibration


def to_int8(model: Any, known: Origins, calibration: NDArray[np.float32], least: float) -> tuple[Any, Quantised]:
    """Quantise convolutions and matrix products: weights int8 per output channel, activations int8 per tensor.

    Both are signed, which suits the ARM cores of watches and loses nothing on others; the head's logits stay float32.

    Args:
        model: in float32.
        known: which parameters its values are computed from.
        calibration: windows ``(N, C, T)`` or images, for the ranges of the activations.
        least: share of the parameters that must be int8 at least.

    Returns:
        The model, and which of its weights are int8.

    Raises:
        InputError: when fewer are; names the layers that stay float32.
    """
    onnx, quantization, shapes = need(
        "quantize='int8'", "onnx", "onnxruntime.quantization", "onnxruntime.quantization.shape_inference"
    )
    windows = [{INPUT: calibration[i : i + _BATCH]} for i in range(0, len(calibration), _BATCH)]

    remove_leftovers(tempfile.gettempdir())
    with scratch_folder() as folder, quiet():
        given, prepared, made = (Path(folder, f"{name}.onnx") for name in ("float32", "prepared", "int8"))
        onnx.save(model, given)
        # the model names the shapes of its values; the symbolic inference cannot follow maxima and other reductions
        shapes.quant_pre_process(given, prepared, skip_symbolic_shape=True)
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
        made_model = onnx.load(made)
    counted = count_int8(made_model, known, onnx.TensorProto.INT8, onnx.TensorProto.FLOAT)
    if counted.share < least or counted.share == 0:
        raise InputError(_too_few(counted, least))
    return made_model, counted


def _too_few(counted: Quantised, least: float) -> str:
    held = f" These layers stay float32: {counted.in_words()}." if counted.left else ""
    return (
        f"quantize='int8': the int8 share of the weights must be above 0 and at least {100 * least:g} %, but is "
        f"{100 * counted.share:.1f} %.{held} Convolutions, linear layers and matrix products are quantised; recurrent "
        "layers, transposed convolutions and embeddings are not. Leave out quantize (--quantize), distil into a "
        "student of the former, or lower int8_minimum (--int8-minimum)."
    )


class _Reader:
    """Calibration windows, one batch per call of the quantiser."""

    def __init__(self, windows: list[dict[str, NDArray[np.float32]]]) -> None:
        self._left = iter(windows)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._left, None)
