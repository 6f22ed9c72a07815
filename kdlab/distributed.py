"""All uses of ``torch.distributed`` in kdlab, in one file."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor


def _running() -> bool:
    return dist.is_available() and dist.is_initialized()


def world_size() -> int:
    """Number of processes that train together; 1 where none were started."""
    return dist.get_world_size() if _running() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if _running() else 0


def total(x: Tensor) -> Tensor:
    """Sum of a tensor over all ranks, without gradients; the tensor itself with one process.

    Example:
        >>> total(torch.tensor([1.0, 2.0]))
        tensor([1., 2.])
    """
    if world_size() == 1:
        return x
    summed = x.detach().clone()
    dist.all_reduce(summed)
    return summed


def by_rank(x: Tensor) -> Tensor:
    """A tensor of each rank, in rank order, on the processor; every process calls it with the same shape.

    Example:
        >>> by_rank(torch.tensor([1.0, 2.0]))
        tensor([[1., 2.]])
    """
    return gather(x.detach()[None], checked=True).cpu()


def own_of(rows: Tensor) -> Tensor:
    """What this rank takes up of sums by rank: its own, or, where there were more or fewer ranks, the first takes all.

    Args:
        rows: of :func:`by_rank`, maybe in an earlier process.

    Example:
        >>> own_of(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([4., 6.])
    """
    if len(rows) == world_size():
        return rows[rank()]
    return rows.sum(0) if rank() == 0 else torch.zeros_like(rows[0])


def check_same_batch(size: int, device: torch.device) -> None:
    """Raise on every rank unless all of them hold the same number of samples.

    Raises:
        ValueError: naming the sizes by rank.
    """
    if world_size() == 1:
        return
    sizes = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([size], dtype=torch.int64, device=device))
    counts = [int(one) for one in torch.cat(sizes).tolist()]
    if len(set(counts)) > 1:
        raise ValueError(
            f"Every rank must hold the same number of samples, but ranks 0 to {len(counts) - 1} hold {counts}. "
            "Drop the last, smaller batch (drop_last=True)."
        )


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(world_size())[rank()]


def gather(x: Tensor, *, checked: bool = False) -> Tensor:
    r"""The samples of all ranks, in rank order along the first dimension, with gradients to all of them.

    A loss on pairs of samples needs the complete batch: the mean over ranks of losses on local batches has another
    value and another gradient. Every rank computes the loss of the complete batch from the gathered samples, so its
    derivative with respect to the samples of rank ``r`` arises on every rank; the backward pass sums them, and the
    mean over ranks that ``DistributedDataParallel`` takes of the parameters' gradients then gives the gradient of one
    process on the complete batch.

    Args:
        x: ``(B, ...)`` with the same ``B`` on every rank.
        checked: leave out the comparison of the sizes (one small collective, and a synchronisation on a GPU), after
            :func:`check_same_batch`.

    Shapes:
        ``(B, ...) -> (world_size B, ...)``; ``x`` itself with one process.

    Raises:
        ValueError: if the ranks hold different numbers of samples.

    Example:
        >>> x = torch.ones(2, 3)
        >>> gather(x) is x
        True
    """
    if world_size() == 1:
        return x
    if not checked:
        check_same_batch(len(x), x.device)
    return cast(Tensor, _Gather.apply(x.contiguous()))  # type: ignore[no-untyped-call]
