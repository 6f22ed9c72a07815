"""The memory of CRD: the embeddings of all training windows."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor, nn

from kdlab import functional
from kdlab.types import InputError


class Memory(nn.Module):
    """The embeddings of all training windows by student and teacher, and the constants ``Z``; nothing of it is trained.

    ``8 N width`` bytes; over several processes they are sent to all of them in every step.

    Args:
        keys: ``Batch.index`` of the windows, ``(N,)`` int64, ascending.
        width: of the embeddings.
        seed: of the initial embeddings, uniform with variance ``1 / width``.

    Example:
        >>> memory = Memory(torch.tensor([3, 8, 9]), width=4, seed=0)
        >>> memory.rows(torch.tensor([9, 3])).tolist()
        [2, 0]
    """

    keys: Tensor
    banks: Tensor
    log_z: Tensor
    step: Tensor

    def __init__(self, keys: Tensor, width: int, seed: int) -> None:
        super().__init__()
        bound = math.sqrt(3 / width)
        start = torch.rand(2, len(keys), width, generator=generator(seed, "memory"))
        self.register_buffer("keys", keys)
        self.register_buffer("banks", (2 * start - 1) * bound)  # of the student and of the teacher
        self.register_buffer("log_z", torch.full((2,), math.nan))
        self.register_buffer("step", torch.zeros(1, dtype=torch.int64))

    def rows(self, index: Tensor) -> Tensor:
        """The rows of windows.

        Raises:
            InputError: on the CPU, for a window that is not in the memory.
        """
        rows = torch.searchsorted(self.keys, index).clamp_max(len(self.keys) - 1)
        if index.device.type == "cpu" and not torch.equal(self.keys[rows], index):
            raise InputError(
                f"CRDObjective: index must be of the {len(self.keys)} windows that the memory was made for, but got "
                f"window {int(index[self.keys[rows] != index][0])}. Train on those, or call remember(index) with all "
                "of them."
            )
        return rows

    @torch.no_grad()
    def write(self, rows: Tensor, embeddings: Tensor, log_z: Tensor, momentum: float) -> None:
        """Move these rows towards embeddings ``(2, B, width)``, and count the step."""
        held = self.banks[:, rows]
        self.banks[:, rows] = functional.unit(momentum * held + (1 - momentum) * embeddings)
        self.log_z.copy_(log_z)
        self.step += 1


def generator(seed: int, word: object) -> torch.Generator:
    """A generator that depends on a seed and a word alone."""
    digest = hashlib.blake2b(f"{seed}/{word}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))
