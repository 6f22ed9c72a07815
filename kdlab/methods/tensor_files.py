"""Weights in a file of the format safetensors: a table of names, types, shapes and places, and the numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdlab.types import InputError

SUFFIX = ".safetensors"
_MOST_HEADER = 2**26
_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "BOOL": torch.bool,
}


def read_safetensors(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a file; no code can be in it.

    Args:
        path: the file.
        what: its name in a message.

    Raises:
        InputError: when it is damaged, or of another format.
    """
    data = path.read_bytes()
    try:
        size = int.from_bytes(data[:8], "little")
        if not 2 <= size <= min(_MOST_HEADER, len(data) - 8):
            raise ValueError("the size of its table does not fit")
        table = json.loads(data[8 : 8 + size])
        return {str(k): _tensor(v, memoryview(data)[8 + size :]) for k, v in table.items() if k != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"{what}: {str(path)!r} must be a complete file of the format safetensors, but cannot be read "
            f"({type(error).__name__}: {str(error)[:100]}). Get the file again."
        ) from error


def _tensor(entry: Any, numbers: memoryview) -> Tensor:
    kind, shape, (start, end) = _TYPES[entry["dtype"]], [int(n) for n in entry["shape"]], entry["data_offsets"]
    count = math.prod(shape)
    if min([start, end - start, *shape]) < 0 or end > len(numbers) or end - start != count * kind.itemsize:
        raise ValueError("the place of a tensor does not fit")
    if not count:
        return torch.zeros(shape, dtype=kind)
    return torch.frombuffer(bytearray(numbers[start:end]), dtype=kind).reshape(shape)
