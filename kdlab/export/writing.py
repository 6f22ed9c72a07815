"""Writing a net in one of the three formats. ONNX is imported only where it is used."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kdlab.export.formats import CARD, KEY, need
from kdlab.export.int8 import to_int8
from kdlab.export.tracing import to_onnx, trace
from kdlab.files import replacing


def write(
    module: nn.Module,
    path: Path,
    format: str,
    card: dict[str, Any],
    calibration: NDArray[np.float32] | None = None,
) -> None:
    """Write a net that reads windows, with its card inside.

    Args:
        module: windows ``(B, C, T)`` or images ``(B, C, H, W)`` to logits ``(B, K)``, in evaluation mode.
        path: the file.
        format: a key of ``FORMATS``.
        card: the card; int8 notes in it which of the weights are int8.
        calibration: windows ``(N, C, T)`` (or images) that show the range of every activation; given, the net becomes
            int8.
    """
    shape = tuple(card["input"]["shape"][1:])
    if format == "torch":
        _put(path, lambda file: torch.save({KEY: json.dumps(card), "state_dict": module.state_dict()}, file))
    elif format == "torch.export":
        program = trace(module, shape)
        _put(path, lambda file: torch.export.save(program, file, extra_files={CARD: json.dumps(card)}))
    else:
        (onnx,) = need("format='onnx'", "onnx")
        model, known = to_onnx(module, shape)
        if calibration is not None:
            model, counted = to_int8(model, known, calibration, card["quantisation"]["int8_minimum"])
            card["quantisation"] |= {"int8_share": round(counted.share, 4), "float32": counted.left}
        onnx.helper.set_model_props(model, {KEY: json.dumps(card)})
        onnx.checker.check_model(model)
        _put(path, lambda file: file.write(model.SerializeToString()))


def _put(path: Path, write: Callable[[io.BytesIO], object]) -> None:
    """Write into memory, and from there into the file: torch's own writer ends the process on a full disk."""
    memory = io.BytesIO()
    write(memory)
    with replacing(path) as part:
        part.write_bytes(memory.getbuffer())
