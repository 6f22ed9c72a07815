"""Checkpoints that are written completely or not at all."""

from __future__ import annotations

import copy
import io
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.cloud_io import get_filesystem
from lightning.pytorch.strategies import Strategy
from torch import Tensor, nn

from kdlab.files import replacing


class CompleteCheckpointIO(TorchCheckpointIO):
    """Lightning's reading and writing of checkpoints, but a file on disk is replaced by a complete one or kept.

    Lightning writes into the system's temporary folder first. Where that is another file system, its last step is a
    copy onto the checkpoint, which a full disk or a kill leaves truncated. This writes beside the checkpoint and
    renames. `Method` sets it on the trainer's strategy, unless that has a checkpoint plugin of its own.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: naming the file, when it cannot be written; an older file of that name is as it was.
        """
        system = get_filesystem(path)
        if storage_options is not None or "file" not in system.protocol:  # s3:// and others
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        local = Path(system._strip_protocol(str(path)))
        local.parent.mkdir(parents=True, exist_ok=True)
        save(checkpoint, local)


def save(content: Any, path: str | os.PathLike[str]) -> None:
    """``torch.save``, completely or not at all: into memory, and from there into a file that replaces ``path``.

    On a full disk ``torch.save`` into a file may end the process from C++.
    """
    memory = io.BytesIO()
    torch.save(content, memory)
    with replacing(path) as part, part.open("wb") as file:
        file.write(memory.getbuffer())


def snapshot(content: Any, known: Any = None) -> Any:
    """A copy of the content of a checkpoint on the processor, which further training does not change.

    Args:
        content: dicts, lists and tuples of tensors and other values.
        known: an earlier copy of the same structure; its tensors are used where they are equal, so that a file that
            holds both has them once.

    Returns:
        The copy; containers keep their type.

    Example:
        >>> weight = torch.zeros(2)
        >>> kept = snapshot({"net": [weight]})
        >>> _ = weight.fill_(1)
        >>> kept["net"][0].tolist(), snapshot({"net": [torch.zeros(2)]}, kept)["net"][0] is kept["net"][0]
        ([0.0, 0.0], True)
    """
    if type(content) in (dict, OrderedDict):
        theirs = known if isinstance(known, dict) else {}
        return type(content)((key, snapshot(value, theirs.get(key))) for key, value in content.items())
    if type(content) in (list, tuple):
        same = isinstance(known, list | tuple) and len(known) == len(content)
        return type(content)(map(snapshot, content, known if same else [None] * len(content)))
    if type(content) in (Tensor, nn.Parameter):
        mine = content.detach().to("cpu", copy=True)
        return known if _is_same(mine, known) else mine
    return copy.deepcopy(content)


def _is_same(value: Tensor, known: Any) -> bool:
    """Bit for bit: a zero has a sign, and NaN is equal to itself."""
    if not isinstance(known, Tensor) or (value.dtype, value.shape) != (known.dtype, known.shape):
        return False
    if value.layout != torch.strided or known.layout != torch.strided or value.is_quantized:
        return False
    mine, theirs = (tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (value, known))
    return torch.equal(mine, theirs)


def can_wait(strategy: Strategy) -> bool:
    """Can the content of a checkpoint be kept and written later? Not where each process writes a part of it."""
    return type(strategy).save_checkpoint is Strategy.save_checkpoint


def write_complete(strategy: Strategy) -> None:
    """Let a strategy write its checkpoints with `CompleteCheckpointIO`, where it would write plain torch files."""
    if type(strategy).checkpoint_io is Strategy.checkpoint_io and type(strategy.checkpoint_io) is TorchCheckpointIO:
        strategy.checkpoint_io = CompleteCheckpointIO()
