"""Checkpoints that are written completely or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.cloud_io import get_filesystem
from lightning.pytorch.strategies import Strategy

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


def write_complete(strategy: Strategy) -> None:
    """Let a strategy write its checkpoints with `CompleteCheckpointIO`, where it would write plain torch files."""
    if type(strategy).checkpoint_io is Strategy.checkpoint_io and type(strategy.checkpoint_io) is TorchCheckpointIO:
        strategy.checkpoint_io = CompleteCheckpointIO()
