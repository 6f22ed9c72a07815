"""What COMODO learns beside the student: a projector, with the queue of the embeddings of the last windows."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class QueuedProjector(nn.Module):
    """From the student's embedding ``(B, D)`` to the teacher's ``(B, width)``, and a queue of ``size`` of the latter.

    The queue is first in, first out; it is resumed with a fit, to the bit, and nothing of it is trained.

    Args:
        own: ``D``.
        width: of the teacher's embedding.
        hidden: units between two linear layers, behind batch norm and GELU; 0: a single linear layer.
        size: of the queue.

    Example:
        >>> queue = QueuedProjector(1, 1, 0, size=3)
        >>> for batch in ([[1.0], [2.0]], [[3.0], [4.0]]):
        ...     queue.write(torch.tensor(batch))
        >>> sorted(queue.keys.flatten().tolist())
        [2.0, 3.0, 4.0]
    """

    keys: Tensor
    place: Tensor
    held: Tensor

    def __init__(self, own: int, width: int, hidden: int, size: int) -> None:
        super().__init__()
        layers = [nn.Linear(own, hidden), nn.BatchNorm1d(hidden), nn.GELU()] if hidden else []
        self.project = nn.Sequential(*layers, nn.Linear(hidden or own, width))
        self.register_buffer("keys", torch.zeros(size, width))
        self.register_buffer("place", torch.zeros(1, dtype=torch.int64))  # of the next embedding
        self.register_buffer("held", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """The projection."""
        projected: Tensor = self.project(x)
        return projected

    def with_new(self, new: Tensor) -> tuple[Tensor, Tensor]:
        """The queue with the embeddings of a batch ``(B, width)`` behind it, and which rows of it are not empty."""
        full = torch.arange(len(self.keys), device=new.device) < self.held
        return torch.cat([self.keys.to(new.dtype), new]), torch.cat([full, full.new_ones(len(new))])

    @torch.no_grad()
    def write(self, new: Tensor) -> None:
        """Put embeddings ``(B, width)`` in the place of the oldest."""
        size, count = len(self.keys), len(new)
        rows = (self.place + torch.arange(max(count - size, 0), count, device=new.device)) % size
        self.keys.index_copy_(0, rows, new[-size:].to(self.keys.dtype))
        self.place.copy_((self.place + count) % size)
        self.held.copy_((self.held + count).clamp_max(size))
